//! `crashes`: how the processes of an app ended, with their last lines; it needs no daemon.

use std::path::Path;

use rpm_records::ExitRecord;

use crate::acting::now_ms;
use crate::args::Crashes;
use crate::commands::{Invocation, past, why};
use crate::report::Failure;
use crate::screens::history;

/// Writes the last crashes of some apps, the newest first: so many, each with so many lines of each stream.
pub(super) fn text(names: &[String], (count, lines): (usize, usize), root: &Path) -> Result<String, Failure> {
    let exits = on_record(names, root)?;
    let crashes = exits.iter().rev().filter(|exit| exit.is_crash()).take(count);
    Ok(crashes.map(|exit| history::exit(exit, lines, now_ms())).collect())
}

/// Returns what is on record of some apps, oldest first.
fn on_record(names: &[String], root: &Path) -> Result<Vec<ExitRecord>, Failure> {
    let mut exits: Vec<ExitRecord> = Vec::new();
    for name in names {
        exits.extend(rpm_records::exits(root, name).map_err(failed)?);
    }
    exits.sort_by_key(|exit| exit.at_ms);
    Ok(exits)
}

fn failed(error: std::io::Error) -> Failure {
    Failure::new(format!("the records of exits cannot be read: {error}"))
}

pub(super) fn run(args: &Crashes, invocation: &Invocation) -> Result<(), Failure> {
    let root = invocation.home.root();
    let since = past::since(args.since.as_deref())?.unwrap_or(0);
    let names = match &args.target {
        Some(word) => why::names(word, invocation)?,
        None => rpm_records::read::apps(root).map_err(failed)?,
    };
    let mut exits = on_record(&names, root)?;
    exits.retain(|exit| args.all || exit.is_crash());
    let on_record = exits.len();
    exits.retain(|exit| exit.at_ms >= since);
    let found = exits.len();
    exits.drain(..exits.len().saturating_sub(args.last));
    if args.json {
        let text = serde_json::to_string_pretty(&exits).map_err(|error| Failure::new(error.to_string()))?;
        invocation.voice.data(&format!("{text}\n"));
        return Ok(());
    }
    if exits.is_empty() {
        invocation.voice.say(format_args!("{}", nothing_shown(args, on_record, found)));
        return Ok(());
    }
    for exit in &exits {
        invocation.voice.data(&history::exit(exit, args.lines, now_ms()));
    }
    Ok(())
}

/// Says why no end is shown, though so many may be on record, and so many of them be since the time that was named.
fn nothing_shown(args: &Crashes, on_record: usize, found: usize) -> String {
    let word = if args.all { "end" } else { "crash" };
    let so_many = |count: usize| match (count, args.all) {
        (1, _) => format!("1 {word}"),
        (count, true) => format!("{count} ends"),
        (count, false) => format!("{count} crashes"),
    };
    let who = args.target.as_deref();
    match (on_record, found, &args.since) {
        (0, ..) => format!("no {word} of {} is on record", who.unwrap_or("any app")),
        (_, 0, Some(since)) => {
            let who = who.unwrap_or("any app");
            format!("no {word} of {who} since `{since}`; before that: {}", so_many(on_record))
        }
        (_, found, _) => format!("on record of {}: {}; none is shown", who.unwrap_or("all apps"), so_many(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shown_is_not_nothing_on_record() {
        let args = |target: Option<&str>, since: Option<&str>| Crashes {
            target: target.map(str::to_owned),
            all: false,
            last: 0,
            lines: 10,
            since: since.map(str::to_owned),
            json: false,
        };
        assert_eq!(nothing_shown(&args(None, None), 0, 0), "no crash of any app is on record");
        assert_eq!(nothing_shown(&args(Some("api"), None), 1, 1), "on record of api: 1 crash; none is shown");
        let early = nothing_shown(&args(Some("api"), Some("1s")), 3, 0);
        assert_eq!(early, "no crash of api since `1s`; before that: 3 crashes");
    }
}
