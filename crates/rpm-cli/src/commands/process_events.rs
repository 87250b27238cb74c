//! `--json` while logs are followed: what happens to the processes stands among the lines, as with PM2.

use std::collections::BTreeMap;

use rpm_ipc::Happened;
use rpm_logs::{DateFormat, Stamp};
use rpm_model::WorkerId;
use serde_json::json;

use crate::say;
use crate::screens::format;

/// Writes the records.
pub(super) struct ProcessEvents {
    date: DateFormat,
    /// Why each worker was started last, which PM2 tells once it is up.
    causes: BTreeMap<WorkerId, String>,
}

impl ProcessEvents {
    pub(super) fn new() -> Self {
        Self { date: DateFormat::iso(), causes: BTreeMap::new() }
    }

    /// Writes what there is to say of this.
    pub(super) fn write(&mut self, happened: &Happened) {
        let at = i64::try_from(happened.at_ms).unwrap_or(i64::MAX);
        for status in self.statuses(happened) {
            let record = json!({
                "timestamp": self.date.text(Stamp(at)),
                "type": "process_event",
                "status": status,
                "app_name": format::one_line(&happened.app),
            });
            say::out(&format!("{record}\n"));
        }
    }

    /// Returns PM2's words.
    fn statuses(&mut self, happened: &Happened) -> Vec<&'static str> {
        match happened.event.as_str() {
            "start" | "restart" => {
                let cause = happened.detail.as_deref().and_then(|detail| detail.split(':').next()).unwrap_or_default();
                self.causes.insert(happened.worker, cause.to_owned());
                Vec::new()
            }
            "online" => match self.causes.remove(&happened.worker).as_deref() {
                // Without a word about it: it was started before anybody listened.
                Some("start" | "scale" | "autoscale") | None => vec!["online", "start"],
                Some("restart" | "memory" | "watch" | "cron") => vec!["online", "restart"],
                Some("reload") => vec!["online", "reload"],
                Some(_) => vec!["online"],
            },
            "exit" => vec!["exit"],
            "stop" => vec!["stop"],
            "restart overlimit" => vec!["restart overlimit"],
            "delete" => vec!["delete"],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_told_once_the_process_is_up() {
        let mut events = ProcessEvents::new();
        let mut told = |event: &str, detail: Option<&str>| {
            let (event, detail) = (event.to_owned(), detail.map(str::to_owned));
            events.statuses(&Happened { at_ms: 0, worker: WorkerId(0), app: "a".into(), event, detail })
        };
        assert_eq!(told("online", None), ["online", "start"]);
        assert_eq!(told("start", Some("start")), [""; 0]);
        assert_eq!(told("online", None), ["online", "start"]);
        assert_eq!(told("exit", Some("exit code 1")), ["exit"]);
        assert_eq!(told("restart", Some("crash")), [""; 0]);
        assert_eq!(told("online", None), ["online"]);
        assert_eq!(told("restart", Some("watch: /srv/a.js")), [""; 0]);
        assert_eq!(told("online", None), ["online", "restart"]);
        assert_eq!(told("stopping", Some("stop")), [""; 0]);
        assert_eq!(told("stop", None), ["stop"]);
    }
}
