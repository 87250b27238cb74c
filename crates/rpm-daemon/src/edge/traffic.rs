//! What balancers send to apps: asked about each second while somebody goes by it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rpm_model::balance::Mode;
use rpm_model::edge::{Ask, EdgeStats};
use rpm_model::{AppId, Life, Moment};
use rpm_supervise::judge::Tally;

use super::Edge;
use super::asked::Waiting;
use super::canary::{Canary, Seen, Who};
use crate::daemon::Daemon;

/// How long a look waits for the counters of the balancers: one that is stopped must not hold up what the others say.
const PATIENCE: Duration = Duration::from_millis(300);

/// The counters of the balancers' processes that were asked.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// The newest, and those before, by process.
    now: BTreeMap<Life, Counted>,
    before: BTreeMap<Life, Counted>,
    /// Who has not answered yet.
    open: BTreeSet<Life>,
    until: Moment,
    /// The canaries that are watched.
    canaries: BTreeMap<AppId, Canary>,
}

/// The counters of one process at one moment.
#[derive(Debug)]
struct Counted {
    at: Moment,
    stats: EdgeStats,
}

/// What one app has to do with requests.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Carried {
    /// Requests without an answer yet; those that wait for a worker too.
    pub(crate) in_flight: f64,
    /// Requests a second since the look before.
    pub(crate) rate: Option<f64>,
}

impl Traffic {
    /// Returns whether answers are waited for at that moment.
    pub(crate) fn is_awaited(&self, now: Moment) -> bool {
        !self.open.is_empty() && now < self.until
    }

    /// Returns when answers are not waited for any longer.
    pub(crate) fn due(&self) -> Option<Moment> {
        (!self.open.is_empty()).then_some(self.until)
    }

    /// Returns what a canary's processes have answered, and what the others have since the first look at them; nothing at that
    /// one, and where no balancer has told of the app.
    pub(crate) fn of_canary(&mut self, (id, app): (AppId, &str), since: Moment, who: &Who) -> Option<(Tally, Tally)> {
        let seen = seen(&self.now, app)?;
        match self.canaries.get_mut(&id).filter(|watched| watched.since() == since) {
            Some(watched) => Some(watched.look(&seen, who)),
            None => {
                self.canaries.insert(id, Canary::new(since, &seen));
                None
            }
        }
    }

    /// Forgets the canaries that are not watched any more.
    pub(crate) fn keep_canaries(&mut self, watched: &BTreeSet<AppId>) {
        self.canaries.retain(|app, _| watched.contains(app));
    }

    /// Returns what an app carries; nothing where no balancer has it, or has told in time.
    pub(crate) fn of(&self, app: &str) -> Option<Carried> {
        let each = self.now.iter().filter_map(|(life, counted)| carried(app, counted, self.before.get(life)));
        each.reduce(|one, other| Carried {
            in_flight: one.in_flight + other.in_flight,
            rate: one.rate.zip(other.rate).map(|(one, other)| one + other),
        })
    }
}

/// Returns what is known of an app's servers; nothing where no balancer has told of one.
fn seen<'a>(now: &'a BTreeMap<Life, Counted>, app: &str) -> Option<Seen<'a>> {
    let servers = now.iter().flat_map(|(life, counted)| {
        let upstreams = counted.stats.upstreams.iter();
        upstreams
            .flat_map(|up| up.servers.iter().map(|server| ((*life, up.name.as_str(), server.name.as_str()), server)))
    });
    let servers: Vec<_> = servers.filter(|(_, stats)| stats.app.as_deref() == Some(app)).collect();
    let at = now.values().map(|counted| counted.at).max()?;
    (!servers.is_empty()).then_some(Seen { at, servers })
}

fn carried(app: &str, now: &Counted, before: Option<&Counted>) -> Option<Carried> {
    let mut found = None;
    for upstream in &now.stats.upstreams {
        let ours = || upstream.servers.iter().filter(|server| server.app.as_deref() == Some(app));
        if ours().next().is_none() {
            continue;
        }
        let (in_flight, requests) = found.get_or_insert((0, 0));
        *in_flight += upstream.queue + ours().map(|server| server.in_flight).sum::<u64>();
        let earlier = |name: &str| {
            let all = before?.stats.upstreams.iter().find(|one| one.name == upstream.name)?;
            all.servers.iter().find(|one| one.name == name).map(|one| one.requests)
        };
        // One that was not there before counts from nothing.
        *requests += ours().map(|one| one.requests.saturating_sub(earlier(&one.name).unwrap_or_default())).sum::<u64>();
    }
    let (in_flight, requests) = found?;
    let elapsed = before.map(|before| now.at.since(before.at).as_secs_f64()).filter(|elapsed| *elapsed > 0.0);
    Some(Carried { in_flight: in_flight as f64, rate: elapsed.map(|elapsed| requests as f64 / elapsed) })
}

impl Daemon {
    /// Returns whether a balancer that runs has the app.
    pub(crate) fn is_balanced(&self, app: &str) -> bool {
        self.edges.edges.values().any(|edge| edge.arrangement().is_some_and(|all| all.apps().contains(app)))
    }

    /// Returns whether a balancer that runs sends the app requests, which are to be answered one by one.
    pub(crate) fn is_asked_by_http(&self, app: &str) -> bool {
        let mut all = self.edges.edges.values().filter_map(Edge::arrangement);
        all.any(|all| all.balancer.mode == Mode::Http && all.apps().contains(app))
    }

    /// Asks the balancers of these apps for their counters.
    pub(crate) fn ask_for_traffic(&mut self, apps: &BTreeSet<String>, now: Moment) {
        let has = |edge: &Edge| {
            edge.arrangement().is_some_and(|all| all.apps().iter().any(|name| apps.contains(*name))) && !edge.quitting
        };
        let lives: Vec<Life> = self.edges.edges.iter().filter(|(_, edge)| has(edge)).map(|(life, _)| *life).collect();
        let traffic = &mut self.edges.traffic;
        traffic.before = std::mem::take(&mut traffic.now);
        traffic.open = lives.iter().copied().collect();
        traffic.until = now + PATIENCE;
        for life in &lives {
            self.ask_edge(*life, Ask::Stats, Waiting::Traffic);
        }
    }

    /// Takes the counters of an edge, or that there are none.
    pub(super) fn traffic_told(&mut self, life: Life, stats: Option<EdgeStats>) {
        let traffic = &mut self.edges.traffic;
        // Of an answer that comes too late nobody knows any more which look it was for.
        if traffic.open.remove(&life)
            && let Some(stats) = stats
        {
            traffic.now.insert(life, Counted { at: crate::view::now(), stats });
        }
    }
}

#[cfg(test)]
mod tests {
    use rpm_model::WorkerId;
    use rpm_model::edge::{ServerStats, UpstreamStats};

    use super::*;

    fn counted(seconds: u64, servers: &[(&str, &str, u64, u64)], queue: u64) -> Counted {
        let server = |(app, name, requests, in_flight): &(&str, &str, u64, u64)| ServerStats {
            name: (*name).to_owned(),
            app: Some((*app).to_owned()),
            requests: *requests,
            in_flight: *in_flight,
            ..ServerStats::default()
        };
        let servers = servers.iter().map(server).collect();
        let upstream = UpstreamStats { name: "up".into(), queue, servers, ..UpstreamStats::default() };
        let stats = EdgeStats { upstreams: vec![upstream], ..EdgeStats::default() };
        Counted { at: Moment(seconds * 1_000_000), stats }
    }

    #[test]
    fn requests_are_counted_over_the_workers_of_an_app() {
        let edge = Life::new(WorkerId(9), 1);
        let mut traffic = Traffic::default();
        traffic.now.insert(edge, counted(1, &[("api", "api:0.1", 100, 3), ("web", "web:0.1", 7, 1)], 2));
        assert_eq!(traffic.of("api"), Some(Carried { in_flight: 5.0, rate: None }));
        assert_eq!(traffic.of("db"), None);
        traffic.before = std::mem::take(&mut traffic.now);
        // Another worker came, and the first was replaced.
        traffic.now.insert(edge, counted(3, &[("api", "api:0.2", 40, 1), ("api", "api:1.1", 60, 0)], 0));
        assert_eq!(traffic.of("api"), Some(Carried { in_flight: 1.0, rate: Some(50.0) }));
    }
}
