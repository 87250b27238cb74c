//! The log files of an app, and whose lines are in them.

use std::path::PathBuf;

use rpm_ipc::AppInfo;
use rpm_model::WorkerId;
use serde_json::{Value, json};

/// How far back the last lines of a log are looked for.
const REACH: u64 = 1 << 20;

/// One log file.
#[derive(Debug, PartialEq)]
pub(crate) struct Source {
    /// Who writes to it; nothing where several do.
    pub(crate) worker: Option<WorkerId>,
    /// `out` or `err`.
    pub(crate) stream: &'static str,
    pub(crate) path: PathBuf,
}

/// Returns the log files of an app, each once.
pub(crate) fn sources(app: &AppInfo) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for worker in &app.workers {
        let mut files = vec![("out", worker.out_log.clone()), ("err", worker.err_log.clone())];
        if files.iter().all(|(_, path)| path.is_none()) {
            files = vec![("out", worker.combined_log.clone())];
        }
        for (stream, path) in files.into_iter().filter_map(|(stream, path)| Some((stream, path?))) {
            match sources.iter_mut().find(|known| known.path == path) {
                None => sources.push(Source { worker: Some(worker.id), stream, path }),
                Some(known) if known.worker != Some(worker.id) => known.worker = None,
                Some(_) => {}
            }
        }
    }
    sources
}

/// Returns a line as it is shown.
pub(crate) fn line(stream: &str, worker: Option<WorkerId>, text: &str) -> Value {
    json!({ "stream": stream, "worker": worker, "text": text })
}

/// Returns the last lines of the logs of an app; of each file alone, since files do not say which line was first.
pub(crate) fn last(app: &AppInfo, stream: Option<&str>, count: usize) -> Vec<Value> {
    let wanted = sources(app).into_iter().filter(|source| stream.is_none_or(|stream| stream == source.stream));
    let read = wanted.flat_map(|Source { worker, stream, path }| {
        let lines = rpm_records::last_lines(&path, 0, count, REACH).into_iter();
        lines.map(move |text| line(stream, worker, &text))
    });
    read.collect()
}
