//! How far a long command has come: a bar on a terminal, nothing elsewhere (the lines at the end tell).

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rpm_ipc::Notice;

use crate::say::Voice;

/// A bar for one worker would jump from nothing to all.
const WORTH_A_BAR: u32 = 2;

/// Shows the notices of one request.
pub struct Progress {
    voice: Voice,
    verb: &'static str,
    /// What is claimed once the command is known to be taken up.
    opening: Vec<String>,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins; nothing is shown before the first notice.
    pub fn new(voice: &Voice, verb: &'static str, opening: Vec<String>) -> Self {
        Self { voice: *voice, verb, opening, bar: None }
    }

    /// Says what is being done: nobody has refused it.
    pub fn taken_up(&mut self) {
        for line in self.opening.drain(..) {
            self.voice.say(line);
        }
    }

    /// Shows one notice.
    pub fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Progress { done, total } => self.advance(done, total),
            Notice::Warning(sentence) => match &self.bar {
                Some(bar) => bar.suspend(|| self.voice.warn(sentence)),
                None => self.voice.warn(sentence),
            },
            Notice::Told(sentence) => match &self.bar {
                Some(bar) => bar.suspend(|| self.voice.say(sentence)),
                None => self.voice.say(sentence),
            },
            Notice::Happened(_) | Notice::Lagged(_) => {}
        }
    }

    fn advance(&mut self, done: u32, total: u32) {
        self.taken_up();
        if self.voice.silent || total < WORTH_A_BAR || !std::io::stderr().is_terminal() {
            return;
        }
        let verb = self.verb;
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(total.into()), ProgressDrawTarget::stderr());
            // The template is a constant of ours.
            let style = ProgressStyle::with_template("{prefix} {bar:30.green} {pos}/{len} {elapsed}");
            bar.set_style(style.expect("a constant template").progress_chars("━━─"));
            bar.set_prefix(verb);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        bar.set_length(total.into());
        bar.set_position(done.into());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
