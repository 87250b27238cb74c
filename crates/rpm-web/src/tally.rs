//! What has happened to the workers since this process runs, counted for `/metrics`.

use std::collections::BTreeMap;

use rpm_ipc::Happened;
use rpm_model::{Exit, worker::signal_name};

/// Series of one sort; there are fewer than this, so the bound is for a daemon gone mad.
const SERIES_MAX: usize = 20_000;

/// Counts by labels.
pub(crate) type Series<K> = BTreeMap<K, u64>;

/// What is counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// By app and event.
    pub(crate) events: Series<(String, String)>,
    /// Restarts by app and reason.
    pub(crate) restarts: Series<(String, &'static str)>,
    /// Ends by app, exit code and signal, of which one is empty; both are where nobody knows.
    pub(crate) exits: Series<(String, String, String)>,
}

impl Tally {
    /// Counts what has happened.
    pub(crate) fn note(&mut self, happened: &Happened) {
        let app = || happened.app.clone();
        count(&mut self.events, (app(), happened.event.clone()));
        match happened.event.as_str() {
            "restart" => count(&mut self.restarts, (app(), reason(happened.detail.as_deref().unwrap_or_default()))),
            "exit" => {
                let exit = happened.detail.as_deref().and_then(Exit::parse).unwrap_or(Exit::Unknown);
                let (code, signal) = match exit {
                    Exit::Code(code) => (code.to_string(), String::new()),
                    Exit::Signal { signal, .. } => {
                        (String::new(), signal_name(signal).map_or_else(|| signal.to_string(), str::to_owned))
                    }
                    Exit::Unknown => (String::new(), String::new()),
                };
                count(&mut self.exits, (app(), code, signal));
            }
            _ => {}
        }
    }
}

fn count<K: Ord>(series: &mut Series<K>, key: K) {
    if series.len() < SERIES_MAX || series.contains_key(&key) {
        *series.entry(key).or_default() += 1;
    }
}

/// Returns why a worker was started again, as a label: the word before the colon in `watch: src/app.js`.
fn reason(detail: &str) -> &'static str {
    if detail == "crash: out of memory" {
        return "oom";
    }
    match detail.split(':').next().unwrap_or_default() {
        "crash" => "crash",
        "memory" => "max_memory",
        "health" => "health",
        "hang" => "hang",
        "watch" => "watch",
        "cron" => "cron",
        "reload" => "reload",
        "rollback" => "rollback",
        "restart" => "user",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use rpm_model::WorkerId;

    use super::*;

    #[test]
    fn restarts_have_a_reason_and_ends_a_code_or_a_signal() {
        let mut tally = Tally::default();
        for (event, detail) in [
            ("restart", "crash"),
            ("restart", "watch: src/a.js"),
            ("restart", "memory"),
            ("restart", "crash"),
            ("restart", "crash: out of memory"),
            ("exit", "exit code 3"),
            ("exit", "SIGSEGV (core dumped)"),
            ("exit", "unknown exit"),
            ("start", "scale"),
        ] {
            let (app, event, detail) = ("api".to_owned(), event.to_owned(), Some(detail.to_owned()));
            tally.note(&Happened { at_ms: 0, worker: WorkerId(0), app, event, detail });
        }
        let restarts: Vec<_> = tally.restarts.iter().map(|((_, reason), count)| (*reason, *count)).collect();
        assert_eq!(restarts, [("crash", 2), ("max_memory", 1), ("oom", 1), ("watch", 1)]);
        let exits: Vec<_> = tally.exits.keys().map(|(_, code, signal)| (code.as_str(), signal.as_str())).collect();
        assert_eq!(exits, [("", ""), ("", "SIGSEGV"), ("3", "")]);
        assert_eq!(tally.events[&("api".to_owned(), "exit".to_owned())], 3);
    }
}
