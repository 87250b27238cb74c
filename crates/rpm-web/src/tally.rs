//! What has happened to the workers since this process runs, counted for `/metrics`.

use std::collections::BTreeMap;

use rpm_ipc::Happened;
use rpm_model::edge::Latency;
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
    /// Reloads by app and how they ended.
    pub(crate) reloads: Series<(String, &'static str)>,
    /// How long they took, by app.
    pub(crate) reload_times: BTreeMap<String, Latency>,
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
            "reload" => self.note_reload(&happened.app, happened.detail.as_deref().unwrap_or_default()),
            _ => {}
        }
    }

    /// Counts a reload by what was told of it: `done after 1500 ms`.
    fn note_reload(&mut self, app: &str, detail: &str) {
        let Some((end, took)) = detail.split_once(" after ") else { return };
        let end = match end {
            "done" => "success",
            "failed" => "failed",
            "aborted" => "aborted",
            "superseded" => "superseded",
            _ => "other",
        };
        count(&mut self.reloads, (app.to_owned(), end));
        let Some(ms) = took.strip_suffix(" ms").and_then(|ms| ms.parse::<u64>().ok()) else { return };
        if self.reload_times.len() < SERIES_MAX || self.reload_times.contains_key(app) {
            let times = self.reload_times.entry(app.to_owned()).or_default();
            let took_us = ms.saturating_mul(1000);
            times.count += 1;
            times.sum_us = times.sum_us.saturating_add(took_us);
            let bound = RELOAD_BOUNDS.into_iter().find(|bound| *bound >= took_us).unwrap_or(u64::MAX);
            *times.buckets.entry(bound).or_default() += 1;
        }
    }
}

/// Upper bounds of the buckets for reloads in microseconds: from one quick worker to a long roll with canaries.
pub(crate) const RELOAD_BOUNDS: [u64; 12] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
];

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
            ("reload", "done after 1500 ms"),
            ("reload", "failed after 10000000000 ms"),
            ("reload", "of another version"),
        ] {
            let (app, event, detail) = ("api".to_owned(), event.to_owned(), Some(detail.to_owned()));
            tally.note(&Happened { at_ms: 0, worker: WorkerId(0), app, event, detail });
        }
        let restarts: Vec<_> = tally.restarts.iter().map(|((_, reason), count)| (*reason, *count)).collect();
        assert_eq!(restarts, [("crash", 2), ("max_memory", 1), ("oom", 1), ("watch", 1)]);
        let exits: Vec<_> = tally.exits.keys().map(|(_, code, signal)| (code.as_str(), signal.as_str())).collect();
        assert_eq!(exits, [("", ""), ("", "SIGSEGV"), ("3", "")]);
        let reloads: Vec<_> = tally.reloads.iter().map(|((_, end), count)| (*end, *count)).collect();
        assert_eq!(reloads, [("failed", 1), ("success", 1)]);
        let times = &tally.reload_times["api"];
        let buckets: Vec<_> = times.buckets.iter().map(|(bound, count)| (*bound, *count)).collect();
        assert_eq!((times.count, buckets), (2, vec![(2_500_000, 1), (u64::MAX, 1)]));
        assert_eq!(tally.events[&("api".to_owned(), "exit".to_owned())], 3);
    }
}
