//! `logrotate`: a file for the system's own log rotation.

use std::path::Path;

use crate::args::Logrotate;
use crate::boot::account;
use crate::commands::{Invocation, startup};
use crate::report::Failure;

pub(super) fn run(args: &Logrotate, invocation: &Invocation) -> Result<(), Failure> {
    let program = invocation.voice.program();
    let uid = rustix::process::geteuid().as_raw();
    let account = account::find(args.user.as_deref(), uid).ok_or_else(|| {
        Failure::new(format!("there is no user {}", args.user.as_deref().unwrap_or("of that number")))
    })?;
    if uid != 0 && args.root.is_none() {
        invocation.voice.say("To do this, root is needed. Copy and paste:");
        invocation.voice.data(&format!("sudo {program} logrotate -u {}\n", account.name));
        return Err(Failure::new("only root can change what logrotate does"));
    }
    let logs = match &args.user {
        Some(_) => account.home.join(format!(".{program}/logs")),
        None => invocation.home.logs(),
    };
    let file = Path::new("/etc/logrotate.d").join(format!("{program}-{}", account.name));
    let file = startup::below(args.root.as_deref(), &file);
    let text = text(&logs, &account.name);
    let written = file.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&file, text));
    written.map_err(|error| Failure::new(format!("{} cannot be written: {error}", file.display())))?;
    invocation.voice.say(format_args!("Writing logrotate configuration in {}", file.display()));
    Ok(())
}

/// Apps write their raw logs themselves and do not open them anew, so the file stays and is cut: every writer appends,
/// and goes on at its new end.
fn text(logs: &Path, user: &str) -> String {
    format!(
        "\"{}/*.log\" {{\n    su {user} {user}\n    weekly\n    rotate 12\n    missingok\n    notifempty\n    compress\n    \
         delaycompress\n    copytruncate\n}}\n",
        logs.display()
    )
}
