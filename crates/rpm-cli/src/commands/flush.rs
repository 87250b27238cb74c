//! `flush`: the logs are empty again.
//!
//! The writers hold their files open for appending, so a file that is cut here is written from its start again.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rpm_logs::hand;
use rustix::fs::OFlags;

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
    let mut files = BTreeSet::new();
    if args.target.is_none() {
        files.insert(invocation.home.daemon_log());
    }
    for (app, worker) in workers.iter().filter_map(|id| target::find(&list, *id)) {
        for file in [&worker.out_log, &worker.err_log, &worker.combined_log].into_iter().flatten() {
            hand::choose(file, &app.spec, &invocation.home).map_err(|error| failed(file, &error))?;
            files.insert(file.clone());
        }
    }
    for file in &files {
        cut(file).map_err(|error| failed(file, &error))?;
        invocation.voice.say(format_args!("Flushing {}", file.display()));
    }
    invocation.voice.say("Logs flushed");
    Ok(())
}

fn failed(file: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("failed to empty {}: {error}", file.display()))
}

fn cut(path: &Path) -> io::Result<()> {
    let _acting = hand::act_for(path)?;
    // Never through a link in the last place, as the logs are opened: it could lead to anybody's file.
    match OpenOptions::new().write(true).custom_flags(OFlags::NOFOLLOW.bits() as i32).open(path) {
        // Only a file has a length; a terminal or a pipe somebody named as a log has none.
        Ok(file) if file.metadata()?.is_file() => file.set_len(0),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
