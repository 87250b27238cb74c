//! `save`: the list is written for `resurrect`.

use rpm_ipc::{Reply, Request};

use crate::args::Save;
use crate::commands::Invocation;
use crate::report::Failure;
use crate::session;

pub(super) fn run(args: &Save, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let is_empty = session.list(false)?.apps.iter().all(|app| app.spec.is_module());
    invocation.voice.say("Saving current process list...");
    match session.act(Request::Save { force: args.force }, |_| {})? {
        reply @ (Reply::Done { .. } | Reply::Noted { .. }) => {
            if let Reply::Noted { note } = reply {
                invocation.voice.warn(note);
            }
            invocation.voice.say(format_args!("Successfully saved in {}", invocation.home.dump().display()));
            Ok(())
        }
        // Nothing to save is no failure in PM2, and what was saved before is still there.
        Reply::Refused { message, hint } if is_empty && !args.force => {
            let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            invocation.voice.warn(format_args!("{message}{hint}"));
            Ok(())
        }
        other => Err(session::unexpected(other)),
    }
}
