//! Making room for a newer program: the keeper becomes it in place, then this daemon leaves and the keeper starts the
//! next one.
//!
//! ```text
//! client ──Update──▶ daemon ──Upgrade──▶ keeper (execs itself: same pid, children, descriptors)
//!                      ◀──Hello── the new keeper          ◀──Error── it could not: nothing has happened
//!                    writes its state down, answers, leaves; the new keeper starts the new daemon
//! ```
//!
//! It is the death that the daemon is built to survive, at a chosen moment: no worker notices.

use std::path::Path;
use std::time::Duration;

use rpm_ipc::Reply;
use rpm_sys::fail;

use crate::clients::Line;
use crate::daemon::Daemon;

/// How long the answer may take to reach the client; it also learns from the next daemon that all went well.
const FAREWELL: Duration = Duration::from_millis(500);

/// An update that is under way.
#[derive(Debug)]
pub(crate) struct Updating {
    line: Line,
    id: u64,
    /// Whoever asked has an answer already: the keeper was silent for too long.
    pub(crate) is_answered: bool,
}

impl Updating {
    /// Tells whoever asked that nothing comes of it; only once.
    pub(crate) fn refuse(&mut self, message: String, hint: Option<String>) {
        if !std::mem::replace(&mut self.is_answered, true) {
            self.line.reply(self.id, Reply::Refused { message, hint });
        }
    }
}

impl Daemon {
    /// Asks the keeper to become the program at `binary`.
    pub(crate) fn update(&mut self, binary: &Path, (line, id): (Line, u64)) {
        let refused = |message, hint| Reply::Refused { message, hint };
        // It would do so whenever it goes on, with nobody there who asked.
        if self.keeper_is_stopped() {
            let keeper = self.keeper_pid;
            let message = format!("the keeper (process {keeper}), which would do it, is stopped (SIGSTOP)");
            return line.reply(id, refused(message, Some(format!("let it go on, and try again: kill -CONT {keeper}"))));
        }
        if let Err(message) = self.may_update(binary) {
            let hint = Some("try again when it is done".to_owned()).filter(|_| binary.is_absolute());
            return line.reply(id, refused(message, hint));
        }
        tracing::info!("the keeper is asked to become {}", binary.display());
        self.updating = Some(Updating { line, id, is_answered: false });
        self.ask_keeper(&rpm_keeper::client::Request::Upgrade { binary });
    }

    fn may_update(&self, binary: &Path) -> Result<(), String> {
        if !binary.is_absolute() {
            return Err(format!("{} is no absolute path", binary.display()));
        }
        if self.updating.is_some() {
            return Err("an update is under way".into());
        }
        // Whoever waits for a command would be left without an answer. What nobody waits for (a restart by the clock) goes on
        // with the next daemon.
        match self.commands.values().filter(|asked| asked.line.is_some()).count() {
            0 => Ok(()),
            1 => Err("a command is under way".into()),
            count => Err(format!("{count} commands are under way")),
        }
    }

    /// The keeper says hello: it is the new program.
    pub(crate) fn keeper_upgraded(&mut self) {
        if self.updating.is_some() {
            fail::pass("update", "hello");
            self.upgraded = true;
        }
    }

    /// The keeper could not become the new program, or was killed as soon as it was: nobody goes on but this daemon.
    pub(crate) fn keeper_not_upgraded(&mut self, text: String) {
        self.upgraded = false;
        if let Some(mut update) = self.updating.take() {
            update.refuse(text, None);
        }
    }

    /// Leaves everything to the next daemon.
    pub(crate) async fn hand_over(&mut self, Updating { line, id, .. }: Updating) {
        self.all_saved().await;
        if self.dirty {
            self.write_state();
        }
        fail::pass("update", "written");
        self.record_own("makes room for a newer program");
        self.forensics.close();
        if let Err(error) = self.keeper.flush() {
            tracing::warn!("the keeper did not take the last requests: {error}");
        }
        line.reply(id, Reply::Done { workers: Vec::new() });
        fail::pass("update", "answered");
        let _ = tokio::time::timeout(FAREWELL, line.closed()).await;
    }
}
