//! `describe`: everything about an app, and first why it is down.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use rpm_ipc::{AppInfo, WorkerInfo};
use rpm_model::Status;

use crate::acting::now_ms;
use crate::args::Describe;
use crate::commands::{Invocation, cwd, logs};
use crate::report::Failure;
use crate::screens::{balancers, describe, json};
use crate::target;

/// So many lines of the error log usually hold the message and its place.
const LAST_WORDS: usize = 5;

pub(super) fn run(args: &Describe, invocation: &Invocation) -> Result<(), Failure> {
    // The page shows NODE_ENV; the document has no environments, which may hold secrets.
    let mut session = invocation.session()?;
    let list = session.list(!args.json)?;
    let its_balancers = session.balancers(&list)?;
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
    let mut versions = BTreeMap::new();
    for (app, worker) in workers.iter().filter_map(|id| target::find(&list, *id)) {
        let is_down = worker.status != Status::Online;
        let last_words = match &worker.err_log {
            Some(path) if is_down => logs::last_lines(path, LAST_WORDS),
            Some(_) | None => Vec::new(),
        };
        let node = node_version(app, worker, &mut versions);
        let page = describe::describe(app, worker, node.as_deref(), &last_words, invocation.voice.program(), now_ms());
        invocation.voice.show(&page);
        if app.spec.is_balancer() {
            invocation.voice.show(&balancers::details(app, &its_balancers, crate::say::width()));
        }
    }
    Ok(())
}

/// Returns the version of Node: the app's own word, or what its interpreter says when it is asked. `known` are the
/// interpreters that were asked already.
fn node_version(app: &AppInfo, worker: &WorkerInfo, known: &mut BTreeMap<String, Option<String>>) -> Option<String> {
    if let Some(version) = worker.contact.get("node_version").and_then(|version| version.as_str()) {
        return Some(version.to_owned());
    }
    let interpreter = app.spec.interpreter.clone()?;
    let is_node = std::path::Path::new(&interpreter).file_name().is_some_and(|name| name == "node");
    if !is_node {
        return None;
    }
    let ask = |interpreter: &String| {
        let output =
            Command::new(interpreter).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        let version = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| version.trim().trim_start_matches('v').to_owned())
    };
    known.entry(interpreter).or_insert_with_key(ask).clone()
}
