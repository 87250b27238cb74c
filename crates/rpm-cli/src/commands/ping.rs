//! `ping`: is the daemon there? Starts it if not, as PM2 does.

use crate::commands::Invocation;
use crate::report::Failure;

pub(super) fn run(invocation: &Invocation) -> Result<(), Failure> {
    invocation.session()?.ping()?;
    invocation.voice.data("{ msg: 'pong' }\n");
    Ok(())
}
