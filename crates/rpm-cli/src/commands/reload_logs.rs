//! `reloadLogs`: the log files are opened anew.

use rpm_ipc::Request;

use crate::acting;
use crate::commands::Invocation;
use crate::report::Failure;

pub(super) fn run(invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    acting::act(&mut session, invocation, "reopen the logs", Request::ReopenLogs)?;
    invocation.voice.say("Logs reopened");
    Ok(())
}
