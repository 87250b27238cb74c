//! `events`: what has happened, from the file; it needs no daemon.

use std::time::Duration;

use rpm_logs::Follower;
use rpm_logs::follow::Begin;
use rpm_records::EventRecord;

use crate::args::Events;
use crate::commands::{Invocation, past, why};
use crate::report::Failure;
use crate::screens::history;

/// Events to begin with where neither a number nor a time is given: a screen full.
const LAST: usize = 50;

/// A file that is not there yet is looked for again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

pub(super) fn run(args: &Events, invocation: &Invocation) -> Result<(), Failure> {
    let root = invocation.home.root();
    let since = past::since(args.since.as_deref())?;
    let names = match args.target.as_deref().or(args.app.as_deref()) {
        Some(word) => Some(why::names(word, invocation)?),
        None => None,
    };
    let wanted = |event: &EventRecord| {
        since.is_none_or(|since| event.at_ms >= since)
            && names.as_ref().is_none_or(|names| event.app.as_ref().is_some_and(|app| names.contains(app)))
    };
    let path = rpm_records::events_path(root);
    // Before the file is read: what comes meanwhile is shown twice rather than never, and told apart by its place.
    let end = std::fs::metadata(&path).map_or(0, |meta| meta.len());
    let failed = |error: std::io::Error| Failure::new(format!("{} cannot be read: {error}", path.display()));
    let events = rpm_records::events(root, wanted).map_err(failed)?;
    let last = args.last.unwrap_or(if since.is_some() { usize::MAX } else { LAST });
    for event in &events[events.len().saturating_sub(last)..] {
        show(event, args.json, invocation);
    }
    if !args.follow {
        return Ok(());
    }
    while !path.exists() {
        std::thread::sleep(LOOK_AGAIN);
    }
    let mut follower = Follower::new().map_err(failed)?;
    follower.add((), path.clone(), Begin::Offset(end));
    while let Some(line) = follower.next().map_err(failed)? {
        // What is no event is half of one that a power failure has cut.
        if let Ok(event) = serde_json::from_slice::<EventRecord>(&line.bytes)
            && wanted(&event)
            && !events.contains(&event)
        {
            show(&event, args.json, invocation);
        }
    }
    Ok(())
}

fn show(event: &EventRecord, json: bool, invocation: &Invocation) {
    if json {
        let line = serde_json::to_string(event).unwrap_or_default();
        invocation.voice.data(&format!("{line}\n"));
    } else {
        invocation.voice.data(&history::event(event));
    }
}
