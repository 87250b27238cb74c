//! What the dashboard shows of requests: the difference between two looks at the balancers' counters.

use std::collections::BTreeMap;
use std::time::Instant;

use rpm_ipc::{BalancerInfo, List};
use rpm_model::edge::Latency;
use rpm_model::{AppId, WorkerId};
use rpm_monit::{Traffic, WorkerTraffic};

/// What a server had counted at the last look.
struct Counted {
    requests: u64,
    latency: Latency,
}

/// A server of a balancer: the balancer, the upstream, the server's name, which changes with each life.
type Server = (AppId, String, String);

/// Remembers the last look.
#[derive(Default)]
pub(super) struct Meter {
    before: Option<(Instant, BTreeMap<Server, Counted>)>,
}

impl Meter {
    /// Returns what the workers of `list` were asked since the last look.
    pub(super) fn read(&mut self, now: Instant, list: &List, balancers: Vec<BalancerInfo>) -> Traffic {
        let mut traffic = Traffic::new();
        let mut counted = BTreeMap::new();
        let none = Counted { requests: 0, latency: Latency::default() };
        let elapsed = self.before.as_ref().map(|(at, _)| now.duration_since(*at).as_secs_f64().max(0.001));
        for balancer in balancers {
            for upstream in balancer.stats.into_iter().flat_map(|stats| stats.upstreams) {
                // Those that wait are the upstream's; they are shown with its first worker, so that a sum counts them once.
                let mut queue = Some(upstream.queue);
                for server in upstream.servers {
                    let Some(worker) = server.app.as_deref().and_then(|app| find(list, app, &server.name)) else {
                        continue;
                    };
                    let key = (balancer.app, upstream.name.clone(), server.name);
                    let before = self.before.as_ref().map(|(_, all)| all.get(&key).unwrap_or(&none));
                    let one: &mut WorkerTraffic = traffic.entry(worker).or_default();
                    one.in_flight += server.in_flight;
                    one.queue += queue.take().unwrap_or_default();
                    if let (Some(before), Some(elapsed)) = (before, elapsed) {
                        one.requests_per_second += server.requests.saturating_sub(before.requests) as f64 / elapsed;
                        let p99 = server.latency.percentile_since(&before.latency, 0.99);
                        let p99 = p99.map(|micros| micros as f64 / 1000.0);
                        one.p99_ms = [one.p99_ms, p99].into_iter().flatten().reduce(f64::max);
                    }
                    counted.insert(key, Counted { requests: server.requests, latency: server.latency });
                }
            }
        }
        self.before = Some((now, counted));
        traffic
    }
}

/// Returns the worker that a balancer calls `api:0.3`: the app, its instance, the life.
fn find(list: &List, app: &str, server: &str) -> Option<WorkerId> {
    let instance: u32 = server.strip_prefix(app)?.strip_prefix(':')?.split('.').next()?.parse().ok()?;
    let workers = list.apps.iter().filter(|one| one.spec.name == app).flat_map(|one| &one.workers);
    workers.filter(|worker| worker.instance == instance).map(|worker| worker.id).next()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rpm_model::edge::{EdgeStats, ServerStats, UpstreamStats};

    use super::*;
    use crate::screens::samples;

    #[test]
    fn rates_are_differences_and_a_new_life_counts_from_nothing() {
        let list = samples::list(vec![samples::app(1, "api", "default", &[7])]);
        let seen = |name: &str, requests, buckets: &[(u64, u64)]| {
            let latency = Latency { buckets: buckets.iter().copied().collect(), ..Latency::default() };
            let app = Some("api".to_owned());
            let server =
                ServerStats { name: name.into(), app, requests, in_flight: 2, latency, ..ServerStats::default() };
            let upstream =
                UpstreamStats { name: "u".into(), queue: 5, servers: vec![server], ..UpstreamStats::default() };
            let stats = EdgeStats { upstreams: vec![upstream], ..EdgeStats::default() };
            vec![BalancerInfo { app: AppId(9), stats: Some(stats) }]
        };
        let (mut meter, start) = (Meter::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let first = meter.read(start, &list, seen("api:0.1", 1000, &[(500, 1000)]))[&WorkerId(7)];
        assert_eq!((first.requests_per_second, first.p99_ms, first.in_flight, first.queue), (0.0, None, 2, 5));
        let next = meter.read(after(2), &list, seen("api:0.1", 1100, &[(500, 1000), (2000, 100)]))[&WorkerId(7)];
        assert_eq!((next.requests_per_second, next.p99_ms), (50.0, Some(2.0)));
        let life = meter.read(after(4), &list, seen("api:0.2", 30, &[(1000, 30)]))[&WorkerId(7)];
        assert_eq!((life.requests_per_second, life.p99_ms), (15.0, Some(1.0)));
        assert!(meter.read(after(5), &list, seen("web:0.2", 30, &[])).is_empty());
    }
}
