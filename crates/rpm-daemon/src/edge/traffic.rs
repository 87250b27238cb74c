//! What balancers send to apps: asked about each second while somebody goes by it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rpm_model::edge::{Ask, EdgeStats, Latency, ServerStats};
use rpm_model::{AppId, Life, Moment};
use rpm_supervise::judge::Tally;

use super::Edge;
use super::asked::Waiting;
use crate::daemon::Daemon;

/// How long a look waits for the counters of the balancers: one that is stopped must not hold up what the others say.
const PATIENCE: Duration = Duration::from_millis(300);

/// A request that has no answer after so many times what 95 % of the others' take, and this time at least, counts as failed: an
/// app that hangs fails nothing by itself.
const UNANSWERED: (u32, Duration) = (10, Duration::from_secs(2));

/// Looks are kept for so long: longer nobody waits for a canary's answer.
const LOOKS_KEPT: Duration = Duration::from_secs(60);

/// The counters of the balancers' processes that were asked.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// The newest, and those before, by process.
    now: BTreeMap<Life, Counted>,
    before: BTreeMap<Life, Counted>,
    /// Who has not answered yet.
    open: BTreeSet<Life>,
    until: Moment,
    /// What the servers of apps with a canary had answered when it was let in, and since when that canary is watched.
    at_first: BTreeMap<AppId, (Moment, BTreeMap<Server, Answered>)>,
    /// How many requests had been sent to those servers at the looks since.
    sent: BTreeMap<AppId, VecDeque<Look>>,
}

/// A server of an upstream, at one process of a balancer.
type Server = (Life, String, String);

/// How many requests had been sent to each server at one moment.
type Look = (Moment, BTreeMap<Server, u64>);

/// What a server has answered.
#[derive(Debug, Clone, Default)]
struct Answered {
    requests: u64,
    errors: u64,
    latency: Latency,
}

impl Answered {
    fn by(server: &ServerStats) -> Self {
        let errors = server.connect_errors + server.answer_errors;
        Self {
            requests: server.answers.total() + errors,
            errors: server.answers.server_error + errors,
            latency: server.latency.clone(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        for (bound, count) in &other.latency.buckets {
            *self.latency.buckets.entry(*bound).or_default() += count;
        }
    }

    fn since(&self, before: &Self) -> Tally {
        Tally {
            requests: self.requests.saturating_sub(before.requests),
            errors: self.errors.saturating_sub(before.errors),
            p95: self.latency.percentile_since(&before.latency, 0.95).map(Duration::from_micros),
        }
    }
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

    /// Returns what a canary's processes have answered, and what the others have since the first look at them;
    /// nothing at that one, and where no balancer has told of the app. `ours` are the names of the canary's processes, `seats` those of its seats.
    pub(crate) fn of_canary(
        &mut self,
        (id, app): (AppId, &str),
        since: Moment,
        ours: &BTreeSet<String>,
        seats: &BTreeSet<String>,
    ) -> Option<(Tally, Tally)> {
        let servers = self.now.iter().flat_map(|(life, counted)| {
            let upstreams = counted.stats.upstreams.iter();
            upstreams.flat_map(move |up| up.servers.iter().map(move |server| (*life, up.name.clone(), server)))
        });
        let of_app: Vec<_> = servers.filter(|(.., server)| server.app.as_deref() == Some(app)).collect();
        if of_app.is_empty() {
            return None;
        }
        let counts = || of_app.iter().map(|(life, up, server)| ((*life, up.clone(), server.name.clone()), *server));
        let first = self.at_first.entry(id).or_insert_with(|| (since, BTreeMap::new()));
        if first.0 != since || first.1.is_empty() {
            *first = (since, counts().map(|(key, server)| (key, Answered::by(server))).collect());
            self.sent.remove(&id);
            return None;
        }
        let (mut canary, mut others, mut before) = (Answered::default(), Answered::default(), Answered::default());
        for (key, server) in counts() {
            let seat = server.name.rsplit_once('.').map_or(server.name.as_str(), |(seat, _)| seat);
            if ours.contains(&server.name) {
                // All that it has answered was by the new release.
                canary.add(&Answered::by(server));
            } else if !seats.contains(seat) {
                others.add(&Answered::by(server));
                // Of one that has gone since nothing is known any more, on either side.
                before.add(first.1.get(&key).unwrap_or(&Answered::default()));
            }
        }
        let (mut ours_so_far, mut others_so_far) = (canary.since(&Answered::default()), others.since(&before));
        // Where nothing is ever answered (plain connections) nothing is missing.
        if others_so_far.requests > 0 {
            let (times, least) = UNANSWERED;
            let patience = others_so_far.p95.map_or(least, |usual| (usual * times).max(least));
            let now = self.now.values().map(|counted| counted.at).max().unwrap_or_default();
            let looks = self.sent.entry(id).or_default();
            let then = looks.iter().rev().find(|(at, _)| *at + patience <= now).map(|(_, sent)| sent);
            for (key, server) in counts() {
                let sent = then.and_then(|sent| sent.get(&key)).copied().unwrap_or_default();
                // Whose client has left is not counted, and in flight no more.
                let missing = sent.saturating_sub(Answered::by(server).requests).min(server.in_flight);
                let seat = server.name.rsplit_once('.').map_or(server.name.as_str(), |(seat, _)| seat);
                let side = match () {
                    () if ours.contains(&server.name) => &mut ours_so_far,
                    () if !seats.contains(seat) => &mut others_so_far,
                    () => continue,
                };
                (side.requests, side.errors) = (side.requests + missing, side.errors + missing);
            }
            looks.push_back((now, counts().map(|(key, server)| (key, server.requests)).collect()));
            while looks.front().is_some_and(|(at, _)| *at + LOOKS_KEPT < now) {
                looks.pop_front();
            }
        }
        Some((ours_so_far, others_so_far))
    }

    /// Forgets the canaries that are not watched any more.
    pub(crate) fn keep_canaries(&mut self, watched: &BTreeSet<AppId>) {
        self.at_first.retain(|app, _| watched.contains(app));
        self.sent.retain(|app, _| watched.contains(app));
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
    fn a_canary_is_counted_beside_the_others() {
        let (edge, app) = (Life::new(WorkerId(9), 1), AppId(3));
        let (ours, seats) = (["api:0.2".to_owned()].into(), ["api:0".to_owned()].into());
        let answers = |all: &[(&str, u64, u64)]| {
            let mut counted = counted(1, &all.iter().map(|one| ("api", one.0, 0, 0)).collect::<Vec<_>>(), 0);
            for (server, (_, good, bad)) in counted.stats.upstreams[0].servers.iter_mut().zip(all) {
                (server.answers.success, server.answers.server_error) = (*good, *bad);
            }
            counted
        };
        let mut traffic = Traffic::default();
        let mut look = |counted: Counted| {
            traffic.now = [(edge, counted)].into();
            let (canary, others) = traffic.of_canary((app, "api"), Moment(7), &ours, &seats)?;
            Some([(canary.requests, canary.errors), (others.requests, others.errors)])
        };
        // What the others did before does not count, nor does the process that the canary has replaced.
        let first = look(answers(&[("api:0.1", 500, 9), ("api:0.2", 3, 1), ("api:1.1", 1000, 7)]));
        assert_eq!(first, None);
        let later = look(answers(&[("api:0.2", 40, 2), ("api:1.1", 1100, 8), ("api:2.1", 20, 0)]));
        assert_eq!(later, Some([(42, 2), (121, 1)]));
    }

    #[test]
    fn a_canary_that_answers_nothing_fails() {
        let (edge, app) = (Life::new(WorkerId(9), 1), AppId(3));
        let (ours, seats) = (["api:0.2".to_owned()].into(), ["api:0".to_owned()].into());
        let mut traffic = Traffic::default();
        let mut look = |seconds, hangs: u64, answered: u64| {
            let servers = [("api", "api:0.2", hangs, hangs), ("api", "api:1.1", answered + 1, 1)];
            let mut counted = counted(seconds, &servers, 0);
            counted.stats.upstreams[0].servers[1].answers.success = answered;
            traffic.now = [(edge, counted)].into();
            let (canary, others) = traffic.of_canary((app, "api"), Moment(7), &ours, &seats)?;
            Some([(canary.requests, canary.errors), (others.requests, others.errors)])
        };
        assert_eq!(look(1, 0, 10), None);
        assert_eq!(look(2, 20, 30), Some([(0, 0), (20, 0)]));
        // What was sent less than two seconds ago may still be answered.
        assert_eq!(look(3, 40, 50), Some([(0, 0), (40, 0)]));
        assert_eq!(look(4, 60, 70), Some([(20, 20), (60, 0)]));
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
