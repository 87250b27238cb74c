//! A keeper that does not answer: somebody has stopped it, or a start of its hangs in a dead file system.
//!
//! What was asked of it stays asked. It is done when the keeper goes on, or by the next keeper, should this one be killed. Only
//! those who wait for it are not left waiting.

use std::time::Duration;

use rpm_ipc::Reply;
use rpm_model::{Life, Moment};
use rpm_supervise::Event;
use rpm_sys::proc;

use crate::daemon::Daemon;

/// How long a keeper may owe an answer while somebody waits. It answers within milliseconds; a machine that swaps takes seconds.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Since when the keeper owes something, and what.
#[derive(Debug, Default)]
pub(crate) struct Silence(Option<(Moment, String)>);

impl Daemon {
    /// Returns when those who wait are told that the keeper does not answer.
    pub(crate) fn silence_due(&self) -> Option<Moment> {
        let anybody = self.commands.values().any(|asked| asked.line.is_some())
            || self.updating.as_ref().is_some_and(|update| !update.is_answered);
        self.silence.0.as_ref().filter(|_| anybody).map(|(since, _)| *since + ANSWERS_WITHIN)
    }

    /// Tells those who wait for a keeper that does not answer.
    pub(crate) fn look_at_silence(&mut self, now: Moment) {
        let unanswered = self.keeper.unanswered().next().map(str::to_owned);
        let update = || self.updating.as_ref().map(|_| "an update".to_owned());
        let first = unanswered.or_else(|| self.owed().next().map(|life| life.to_string())).or_else(update);
        let before = self.silence.0.take();
        self.silence.0 = first.map(|key| match before {
            Some((since, known)) if known == key => (since, key),
            // Another one: it goes on.
            _ => (now, key),
        });
        if self.silence_due().is_none_or(|due| due > now) {
            return;
        }
        let keeper = self.keeper_pid;
        let is_stopped = self.keeper_is_stopped();
        let waited = ANSWERS_WITHIN.as_secs();
        let (message, hint) = if is_stopped {
            let message = format!("the keeper (process {keeper}) does not answer: it is stopped (SIGSTOP)");
            (message, format!("what was asked is done when it goes on: kill -CONT {keeper}"))
        } else {
            let message = format!("the keeper (process {keeper}) has not answered for {waited} s");
            (message, "what was asked is done when it answers".to_owned())
        };
        tracing::error!("{message}; {hint}");
        for asked in self.commands.values_mut() {
            let reply = || Reply::Refused { message: message.clone(), hint: Some(hint.clone()) };
            self.replies.extend(asked.line.take().map(|(line, id)| (line, id, reply())));
        }
        // It stays under way: a keeper that becomes the newer program after all is not left with an older daemon.
        if let Some(update) = &mut self.updating {
            update.refuse(message, Some(hint));
        }
    }

    /// Returns whether somebody has stopped the keeper.
    pub(crate) fn keeper_is_stopped(&self) -> bool {
        proc::stat(self.keeper_pid).is_some_and(|stat| matches!(stat.state, b'T' | b't'))
    }

    /// Tells the core whose ends it cannot hear of now, before it takes them for processes that nothing ends.
    pub(crate) fn tell_owed(&mut self) {
        let owed: Vec<Life> = self.owed().collect();
        self.events.extend(owed.into_iter().map(|life| Event::Owed { life }));
    }

    /// Returns those that were asked to leave and did not run yet, and those that have left, which the keeper did not tell yet.
    fn owed(&self) -> impl Iterator<Item = Life> {
        let leaving = self.processes.iter().filter(|(_, process)| process.leaving);
        let is_owed = leaving.filter(|(_, process)| match &process.running {
            Some(running) => running.process.pidfd.has_exited(),
            None => true,
        });
        is_owed.map(|(life, _)| *life)
    }
}
