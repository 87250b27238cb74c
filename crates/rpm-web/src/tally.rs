//! What has happened to the workers since this process runs, counted for `/metrics`.
//!
//! It is counted from the events on record, in which also stands what came about while no daemon ran.

use std::collections::BTreeMap;

use rpm_model::edge::Latency;
use rpm_model::{AppId, DEFAULT_NAMESPACE, Exit, worker::signal_name};
use rpm_records::EventRecord;

/// Apps, and series of one sort of an app; there are fewer than this, so the bound is for a daemon gone mad.
const SERIES_MAX: usize = 20_000;

/// Counts by labels.
pub(crate) type Series<K> = BTreeMap<K, u64>;

/// Whose something is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Whose {
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// Tells apps of the same name apart.
    pub(crate) id: Option<AppId>,
}

/// What is counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) apps: BTreeMap<Whose, Counts>,
}

/// What is counted of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// By event.
    pub(crate) events: Series<String>,
    /// Restarts by reason.
    pub(crate) restarts: Series<&'static str>,
    /// Ends by exit code and signal, of which one is empty; both are where nobody knows.
    pub(crate) exits: Series<(String, String)>,
    /// Reloads by how they ended.
    pub(crate) reloads: Series<&'static str>,
    /// How long they took.
    pub(crate) reload_times: Latency,
}

impl Tally {
    /// Counts what has happened to workers; what was asked by a client is no such thing.
    pub(crate) fn note(&mut self, event: &EventRecord) {
        let Some(name) = event.app.clone().filter(|_| event.event != "command") else { return };
        let namespace = event.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let whose = Whose { name, namespace, id: event.app_id };
        if self.apps.len() < SERIES_MAX || self.apps.contains_key(&whose) {
            self.apps.entry(whose).or_default().note(event);
        }
    }
}

impl Counts {
    fn note(&mut self, event: &EventRecord) {
        count(&mut self.events, event.event.clone());
        let detail = event.detail.as_deref();
        match event.event.as_str() {
            "restart" => count(&mut self.restarts, reason(detail.unwrap_or_default())),
            "exit" => {
                let (code, signal) = match detail.and_then(Exit::parse).unwrap_or(Exit::Unknown) {
                    Exit::Code(code) => (code.to_string(), String::new()),
                    Exit::Signal { signal, .. } => {
                        (String::new(), signal_name(signal).map_or_else(|| signal.to_string(), str::to_owned))
                    }
                    Exit::Unknown => (String::new(), String::new()),
                };
                count(&mut self.exits, (code, signal));
            }
            "reload" => self.note_reload(detail.unwrap_or_default()),
            _ => {}
        }
    }

    /// Counts a reload by what was told of it: `done after 1500 ms`.
    fn note_reload(&mut self, detail: &str) {
        let Some((end, took)) = detail.split_once(" after ") else { return };
        let end = match end {
            "done" => "success",
            "failed" => "failed",
            "aborted" => "aborted",
            "superseded" => "superseded",
            _ => "other",
        };
        count(&mut self.reloads, end);
        let Some(ms) = took.strip_suffix(" ms").and_then(|ms| ms.parse::<u64>().ok()) else { return };
        let took_us = ms.saturating_mul(1000);
        let times = &mut self.reload_times;
        times.count += 1;
        times.sum_us = times.sum_us.saturating_add(took_us);
        let bound = RELOAD_BOUNDS.into_iter().find(|bound| *bound >= took_us).unwrap_or(u64::MAX);
        *times.buckets.entry(bound).or_default() += 1;
    }

    /// Adds what was counted of another app that has the same labels.
    pub(crate) fn add(&mut self, other: &Self) {
        fn sum<K: Ord + Clone>(all: &mut Series<K>, more: &Series<K>) {
            more.iter().for_each(|(key, count)| *all.entry(key.clone()).or_default() += count);
        }
        sum(&mut self.events, &other.events);
        sum(&mut self.restarts, &other.restarts);
        sum(&mut self.exits, &other.exits);
        sum(&mut self.reloads, &other.reloads);
        self.reload_times.count += other.reload_times.count;
        self.reload_times.sum_us = self.reload_times.sum_us.saturating_add(other.reload_times.sum_us);
        sum(&mut self.reload_times.buckets, &other.reload_times.buckets);
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
            ("command", "restart"),
        ] {
            let (app, event, detail) = (Some("api".to_owned()), event.to_owned(), Some(detail.to_owned()));
            tally.note(&EventRecord { app, event, detail, ..EventRecord::default() });
        }
        let (whose, counts) = tally.apps.first_key_value().unwrap();
        assert_eq!((whose.name.as_str(), whose.namespace.as_str(), tally.apps.len()), ("api", "default", 1));
        let restarts: Vec<_> = counts.restarts.iter().map(|(reason, count)| (*reason, *count)).collect();
        assert_eq!(restarts, [("crash", 2), ("max_memory", 1), ("oom", 1), ("watch", 1)]);
        let exits: Vec<_> = counts.exits.keys().map(|(code, signal)| (code.as_str(), signal.as_str())).collect();
        assert_eq!(exits, [("", ""), ("", "SIGSEGV"), ("3", "")]);
        let reloads: Vec<_> = counts.reloads.iter().map(|(end, count)| (*end, *count)).collect();
        assert_eq!(reloads, [("failed", 1), ("success", 1)]);
        let times = &counts.reload_times;
        let buckets: Vec<_> = times.buckets.iter().map(|(bound, count)| (*bound, *count)).collect();
        assert_eq!((times.count, buckets), (2, vec![(2_500_000, 1), (u64::MAX, 1)]));
        assert_eq!((counts.events["exit"], counts.events.get("command")), (3, None));
        let mut twice = counts.clone();
        twice.add(counts);
        assert_eq!((twice.restarts["crash"], twice.reload_times.buckets[&2_500_000]), (4, 2));
    }
}
