//! `flush`: the logs are empty again.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use rpm_ipc::WorkerInfo;

use crate::args::Optional;
use crate::commands::{Invocation, cwd};
use crate::report::Failure;
use crate::target;

pub(super) fn run(args: &Optional, invocation: &Invocation) -> Result<(), Failure> {
    let list = invocation.session()?.list(false)?;
    let workers = match &args.target {
        Some(word) => target::resolve_workers(word, &list, &cwd())?,
        None => target::ids(&list, |_| true),
    };
    let mut done = BTreeSet::new();
    if args.target.is_none() {
        let own = invocation.home.daemon_log();
        rpm_logs::empty(&own).map_err(|error| failed(&own, &error))?;
        done.insert(own);
    }
    for (app, worker) in workers.iter().filter_map(|id| target::find(&list, *id)) {
        for file in of(worker) {
            rpm_logs::empty_of(&file, &app.spec, &invocation.home).map_err(|error| failed(&file, &error))?;
            done.insert(file);
        }
    }
    for file in &done {
        invocation.voice.say(format_args!("Flushing {}", file.display()));
    }
    invocation.voice.say("Logs flushed");
    Ok(())
}

fn failed(file: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("failed to empty {}: {error}", file.display()))
}

/// Returns the files that a worker writes to.
pub(super) fn of(worker: &WorkerInfo) -> impl Iterator<Item = PathBuf> {
    [&worker.out_log, &worker.err_log, &worker.combined_log].into_iter().flatten().cloned()
}
