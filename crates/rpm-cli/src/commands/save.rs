//! `save`: the list is written for `resurrect`.

use rpm_ipc::{ListFiles, Reply, Request};
use rpm_model::Flavour;

use crate::args::Save;
use crate::commands::Invocation;
use crate::report::Failure;
use crate::session;

pub(super) fn run(args: &Save, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let is_empty = session.list(false)?.apps.iter().all(|app| app.spec.is_module());
    invocation.voice.say("Saving current process list...");
    let own = invocation.home.dump();
    // PM2's client writes the list, so the variables of its environment say where, not those of the daemon's.
    let files = (invocation.voice.flavour == Flavour::Pm2)
        .then(|| ListFiles { list: own.clone(), backup: invocation.home.dump_backup() });
    let is_named = files.is_some();
    let (saved, note) = match session.act(Request::Save { force: args.force, files }, |_| {})? {
        Reply::Saved { list, note } => (list, note),
        Reply::Done { .. } | Reply::Noted { .. } if is_named => {
            return Err(Failure::new(
                "the daemon is older than this program, and has saved where its own variables say",
            )
            .hint(format!("`{} update` replaces it", invocation.voice.program())));
        }
        Reply::Done { .. } => (own, None),
        Reply::Noted { note } => (own, Some(note)),
        // Nothing to save is no failure in PM2, and what was saved before is still there.
        Reply::Refused { message, hint } if is_empty && !args.force => {
            let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            invocation.voice.warn(format_args!("{message}{hint}"));
            return Ok(());
        }
        other => return Err(session::unexpected(other)),
    };
    if let Some(note) = note {
        invocation.voice.warn(note);
    }
    invocation.voice.say(format_args!("Successfully saved in {}", saved.display()));
    Ok(())
}
