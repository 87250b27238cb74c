//! What happens to the apps, told between their lines as `pm2-runtime` does: scripts wait for `online` there.

use std::collections::BTreeMap;

use rpm_ipc::{Happened, List};
use rpm_logs::{DateFormat, Stamp};
use rpm_model::WorkerId;

use crate::say;
use crate::screens::format;

/// Writes the lines.
pub(super) struct LifeLines {
    date: DateFormat,
    modes: BTreeMap<WorkerId, &'static str>,
}

impl LifeLines {
    pub(super) fn new() -> Self {
        Self { date: DateFormat::local("YYYY-MM-DDTHH:mm:ss"), modes: BTreeMap::new() }
    }

    /// Learns in which mode workers run, which events do not tell.
    pub(super) fn learn(&mut self, list: &List) {
        for app in &list.apps {
            let mode = app.spec.exec_mode.name().trim_end_matches("_mode");
            self.modes.extend(app.workers.iter().map(|worker| (worker.id, mode)));
        }
    }

    /// Writes what there is to say of this.
    pub(super) fn write(&mut self, happened: &Happened) {
        if let Some(text) = self.text(happened) {
            self.say(&text, Stamp(i64::try_from(happened.at_ms).unwrap_or(i64::MAX)));
        }
    }

    /// Writes a line of our own.
    pub(super) fn say(&mut self, text: &str, at: Stamp) {
        say::out(&format!("{}: PM2 log: {text}\n", self.date.text(at)));
    }

    fn text(&self, happened: &Happened) -> Option<String> {
        let who = format!("App [{}:{}]", format::one_line(&happened.app), happened.worker.0);
        match happened.event.as_str() {
            "start" | "restart" => {
                let mode = self.modes.get(&happened.worker).copied().unwrap_or("fork");
                Some(format!("{who} starting in -{mode} mode-"))
            }
            "online" => Some(format!("{who} online")),
            "exit" => {
                let (code, signal) = exit(happened.detail.as_deref().unwrap_or_default());
                Some(format!("{who} exited with code [{code}] via signal [{signal}]"))
            }
            _ => None,
        }
    }
}

/// Returns PM2's two words for an exit: one that had no signal is told as SIGINT.
fn exit(detail: &str) -> (&str, &str) {
    match detail.strip_prefix("exit code ") {
        Some(code) => (code, "SIGINT"),
        None => ("0", detail.split(' ').next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_that_scripts_wait_for() {
        let lines = LifeLines { modes: [(WorkerId(1), "cluster")].into(), ..LifeLines::new() };
        let told = |event: &str, detail: &str| {
            let (event, detail) = (event.to_owned(), Some(detail.to_owned()));
            lines.text(&Happened { at_ms: 0, worker: WorkerId(1), app: "api".into(), event, detail })
        };
        assert_eq!(told("start", "start").as_deref(), Some("App [api:1] starting in -cluster mode-"));
        assert_eq!(told("online", "").as_deref(), Some("App [api:1] online"));
        let exited = |how: &str| format!("App [api:1] exited with {how}");
        assert_eq!(told("exit", "exit code 3"), Some(exited("code [3] via signal [SIGINT]")));
        assert_eq!(told("exit", "SIGSEGV (core dumped)"), Some(exited("code [0] via signal [SIGSEGV]")));
        assert_eq!(told("stopping", "stop"), None);
    }
}
