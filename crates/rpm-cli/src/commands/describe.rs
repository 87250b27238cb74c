//! `describe`: everything about an app, and first why it is down.

use rpm_model::Status;

use crate::acting::now_ms;
use crate::args::Describe;
use crate::commands::{Invocation, cwd, logs};
use crate::report::Failure;
use crate::screens::{describe, json};
use crate::target;

/// So many lines of the error log usually hold the message and its place.
const LAST_WORDS: usize = 5;

pub(super) fn run(args: &Describe, invocation: &Invocation) -> Result<(), Failure> {
    let list = invocation.session()?.list(false)?;
    let workers = target::resolve_workers(&args.target, &list, &cwd())?;
    if args.json {
        let mut apps = list.apps;
        for app in &mut apps {
            app.workers.retain(|worker| workers.contains(&worker.id));
        }
        apps.retain(|app| !app.workers.is_empty());
        invocation.voice.data(&json::apps(apps));
        return Ok(());
    }
    for (app, worker) in workers.iter().filter_map(|id| target::find(&list, *id)) {
        let is_down = worker.status != Status::Online;
        let last_words = match &worker.err_log {
            Some(path) if is_down => logs::last_lines(path, LAST_WORDS),
            Some(_) | None => Vec::new(),
        };
        let page = describe::describe(app, worker, &last_words, invocation.voice.program(), now_ms());
        invocation.voice.show(&page);
    }
    Ok(())
}
