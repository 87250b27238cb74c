//! What a deed is done to: words become workers.

use rpm_ipc::{AppInfo, List, WorkerInfo};
use rpm_model::nearest;

use crate::text::plain;

/// Workers, and how to speak of them.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// `api`, `api (worker 3)`, `all`; safe to show.
    pub(crate) name: String,
    /// At least one.
    pub(crate) workers: Vec<&'a WorkerInfo>,
}

/// Returns a whole app as a target.
pub(crate) fn app(app: &AppInfo) -> Target<'_> {
    Target { name: plain(&app.spec.name), workers: app.workers.iter().collect() }
}

/// Returns one worker as a target.
pub(crate) fn worker<'a>(app: &AppInfo, worker: &'a WorkerInfo) -> Target<'a> {
    Target { name: format!("{} (worker {})", plain(&app.spec.name), worker.id), workers: vec![worker] }
}

/// Returns what a word stands for: `all`, an app's name, a worker's id, or a namespace.
///
/// A refusal is a sentence without a full stop.
pub(crate) fn named<'a>(list: &'a List, word: &str) -> Result<Target<'a>, String> {
    let apps = || list.apps.iter();
    let whole = |apps: Vec<&'a AppInfo>| Target {
        name: plain(word),
        workers: apps.into_iter().flat_map(|app| &app.workers).collect(),
    };
    if let Some(found) = apps().find(|app| app.spec.name == word) {
        return Ok(app(found));
    }
    if let Ok(id) = word.parse::<u32>() {
        let found = apps().find_map(|app| app.workers.iter().find(|worker| worker.id.0 == id).map(|one| (app, one)));
        if let Some((app, one)) = found {
            return Ok(worker(app, one));
        }
    }
    let matching: Vec<&AppInfo> = apps().filter(|app| word == "all" || app.spec.namespace == word).collect();
    if !matching.is_empty() {
        return Ok(whole(matching));
    }
    let near = nearest(word, apps().map(|app| app.spec.name.as_str()));
    let hint = near.map(|near| format!("; is it {}?", plain(near))).unwrap_or_default();
    Err(format!("no app, id or namespace is called {}{hint}", plain(word)))
}
