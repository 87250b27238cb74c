//! `send`: a line for the standard input of a worker.

use rpm_ipc::{Reply, Request};

use crate::args::Send;
use crate::commands::{Invocation, cwd};
use crate::report::Failure;
use crate::session::Session;
use crate::{session, target};

pub(super) fn run(args: &Send, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let worker = only_worker(&args.target, &mut session)?;
    write(&mut session, worker, format!("{}\n", args.line))?;
    invocation.voice.say(format_args!("sent to worker {worker}"));
    Ok(())
}

/// Returns the one worker that a word names.
///
/// # Errors
/// When it names several: input is for one.
pub(super) fn only_worker(word: &str, session: &mut Session) -> Result<rpm_model::WorkerId, Failure> {
    let list = session.list(false)?;
    match target::resolve_workers(word, &list, &cwd())?.as_slice() {
        [worker] => Ok(*worker),
        several => Err(Failure::new(format!("{word} has {} workers; input is for one", several.len()))
            .hint("name it by its id: `rpm list` shows them")),
    }
}

/// Writes to a worker's standard input.
///
/// # Errors
/// When it has none, or does not read.
pub(super) fn write(session: &mut Session, worker: rpm_model::WorkerId, text: String) -> Result<(), Failure> {
    match session.act(Request::Write { worker, text }, |_| {})? {
        Reply::Done { .. } => Ok(()),
        Reply::Refused { message, hint } => Err(Failure::new(format!("could not send: {message}")).maybe_hint(hint)),
        other => Err(session::unexpected(other)),
    }
}
