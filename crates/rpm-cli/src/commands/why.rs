//! `why`: in a sentence why an app is as it is, and the evidence.

use std::path::Path;

use rpm_ipc::{AppInfo, List};
use rpm_model::WorkerId;
use rpm_records::{EventRecord, ExitRecord};

use crate::acting::now_ms;
use crate::args::Why;
use crate::commands::{Invocation, cwd};
use crate::report::Failure;
use crate::screens::{history, why};
use crate::session::Session;
use crate::target;

/// Events that are shown as evidence.
const EVENTS: usize = 8;

pub(super) fn run(args: &Why, invocation: &Invocation) -> Result<(), Failure> {
    let root = invocation.home.root();
    let list = list(invocation)?;
    let names = names_in(&args.target, list.as_ref(), invocation)?;
    let workers = match &list {
        Some(list) => target::resolve_workers(&args.target, list, &cwd()).unwrap_or_default(),
        None => Vec::new(),
    };
    let mut documents = Vec::new();
    for name in names {
        let (exits, events) = evidence(&name, root)?;
        let of_app = list.iter().flat_map(|list| &list.apps).filter(|app| app.spec.name == name);
        let seats = of_app.flat_map(|app| &app.workers).filter(|worker| workers.contains(&worker.id));
        let answers: Vec<why::Answer<'_>> = seats.map(|worker| why::answer(&name, worker, &exits, now_ms())).collect();
        if args.json {
            documents.push(why::document(&name, &answers, &exits, &events));
            continue;
        }
        invocation.voice.data(&screen(&name, &answers, &exits, &events));
    }
    if args.json {
        let text = serde_json::to_string_pretty(&documents).map_err(|error| Failure::new(error.to_string()))?;
        invocation.voice.data(&format!("{text}\n"));
    }
    Ok(())
}

/// Says why some workers of an app are as they are.
pub(super) fn text(app: &AppInfo, workers: &[WorkerId], root: &Path) -> Result<String, Failure> {
    let name = &app.spec.name;
    let (exits, events) = evidence(name, root)?;
    let seats = app.workers.iter().filter(|worker| workers.contains(&worker.id));
    let answers: Vec<_> = seats.map(|worker| why::answer(name, worker, &exits, now_ms())).collect();
    Ok(screen(name, &answers, &exits, &events))
}

/// Returns the ends of an app, and what happened to it last.
fn evidence(name: &str, root: &Path) -> Result<(Vec<ExitRecord>, Vec<EventRecord>), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("what has happened cannot be read: {error}"));
    let exits = rpm_records::exits(root, name).map_err(failed)?;
    let mut events = rpm_records::events(root, |event| event.app.as_deref() == Some(name)).map_err(failed)?;
    events.drain(..events.len().saturating_sub(EVENTS));
    Ok((exits, events))
}

/// Says as JSON why an app is as it is.
pub(super) fn document(app: &AppInfo, exits: &[ExitRecord], events: &[EventRecord]) -> serde_json::Value {
    let name = &app.spec.name;
    let answers: Vec<_> = app.workers.iter().map(|worker| why::answer(name, worker, exits, now_ms())).collect();
    why::document(name, &answers, exits, events)
}

fn screen(name: &str, answers: &[why::Answer<'_>], exits: &[ExitRecord], events: &[EventRecord]) -> String {
    let mut text = String::new();
    if answers.is_empty() {
        text.push_str(&why::of_the_gone(name, exits, now_ms()));
    }
    for answer in answers {
        text.push_str(&answer.screen(now_ms()));
    }
    if !events.is_empty() {
        text.push_str("  what happened last:\n");
        for event in events {
            text.push_str("    ");
            text.push_str(&history::event(event));
        }
    }
    text
}

/// Returns the names of the apps that a word points at: of those that are there, else of those that are on record.
///
/// # Errors
/// When there is none of either.
pub(super) fn names(word: &str, invocation: &Invocation) -> Result<Vec<String>, Failure> {
    names_in(word, list(invocation)?.as_ref(), invocation)
}

fn names_in(word: &str, list: Option<&List>, invocation: &Invocation) -> Result<Vec<String>, Failure> {
    let found = list.map(|list| target::resolve_workers(word, list, &cwd()).map(|workers| (list, workers)));
    let refused = match found {
        Some(Ok((list, workers))) => {
            let apps = workers.iter().filter_map(|worker| target::find(list, *worker));
            let mut names: Vec<String> = apps.map(|(app, _)| app.spec.name.clone()).collect();
            names.sort_unstable();
            names.dedup();
            return Ok(names);
        }
        Some(Err(refused)) => Some(refused),
        None => None,
    };
    let root = invocation.home.root();
    let on_record = rpm_records::read::apps(root).unwrap_or_default();
    if word == "all" && !on_record.is_empty() {
        return Ok(on_record);
    }
    let is_known = on_record.iter().any(|name| name == word)
        || rpm_records::events(root, |event| event.app.as_deref() == Some(word)).is_ok_and(|events| !events.is_empty());
    if is_known {
        return Ok(vec![word.to_owned()]);
    }
    Err(refused.unwrap_or_else(|| {
        let failure = Failure::new(format!("no app {word} is on record, and no daemon runs"));
        match rpm_model::nearest(word, on_record.iter().map(String::as_str)) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure,
        }
    }))
}

/// Returns what is there; nothing where no daemon runs, which is none's fault and is not changed by asking.
fn list(invocation: &Invocation) -> Result<Option<List>, Failure> {
    match Session::open_existing(&invocation.home)? {
        Some(mut session) => session.list(false).map(Some),
        None => Ok(None),
    }
}
