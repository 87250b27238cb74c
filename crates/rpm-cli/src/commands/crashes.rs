//! `crashes`: how the processes of an app ended, with their last lines; it needs no daemon.

use rpm_records::ExitRecord;

use crate::acting::now_ms;
use crate::args::Crashes;
use crate::commands::{Invocation, past, why};
use crate::report::Failure;
use crate::screens::history;

pub(super) fn run(args: &Crashes, invocation: &Invocation) -> Result<(), Failure> {
    let root = invocation.home.root();
    let since = past::since(args.since.as_deref())?.unwrap_or(0);
    let failed = |error: std::io::Error| Failure::new(format!("the records of exits cannot be read: {error}"));
    let names = match &args.target {
        Some(word) => why::names(word, invocation)?,
        None => rpm_records::read::apps(root).map_err(failed)?,
    };
    let mut exits: Vec<ExitRecord> = Vec::new();
    for name in &names {
        exits.extend(rpm_records::exits(root, name).map_err(failed)?);
    }
    exits.retain(|exit| exit.at_ms >= since && (args.all || exit.is_crash()));
    exits.sort_by_key(|exit| exit.at_ms);
    exits.drain(..exits.len().saturating_sub(args.last));
    if args.json {
        let text = serde_json::to_string_pretty(&exits).map_err(|error| Failure::new(error.to_string()))?;
        invocation.voice.data(&format!("{text}\n"));
        return Ok(());
    }
    if exits.is_empty() {
        let who = args.target.as_deref().unwrap_or("any app");
        let what = if args.all { "no end" } else { "no crash" };
        invocation.voice.say(format_args!("{what} of {who} is on record"));
        return Ok(());
    }
    for exit in &exits {
        invocation.voice.data(&history::exit(exit, args.lines, now_ms()));
    }
    Ok(())
}
