//! What the processes of a canary answer, beside what the others do in the same time: by the counters of the balancers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rpm_model::edge::{Latency, ServerStats};
use rpm_model::{Life, Moment};
use rpm_supervise::judge::Tally;

/// A request that has no answer after so many times what 95 % of the others' take, and this time at least, counts as failed: an
/// app that hangs fails nothing by itself.
const UNANSWERED: (u32, Duration) = (10, Duration::from_secs(2));

/// Where nobody tells what is usual (the canary is all there is, and has answered nothing), an answer is waited for so long, or
/// half of the canary's time where that is shorter. Who waits longer for the beginning of an answer is rare.
const UNANSWERED_EVER: Duration = Duration::from_secs(30);

/// Looks are kept for so long: longer nobody waits for a canary's answer.
const LOOKS_KEPT: Duration = Duration::from_secs(60);

/// A server of an upstream, at one process of a balancer.
type Server<'a> = (Life, &'a str, &'a str);

/// The same, to be kept.
type Key = (Life, String, String);

/// The servers of an app, as the balancers have counted them up to one moment.
pub(super) struct Seen<'a> {
    pub(super) at: Moment,
    pub(super) servers: Vec<(Server<'a>, &'a ServerStats)>,
}

/// Which processes are the canary's.
#[derive(Debug, Default)]
pub(crate) struct Who {
    /// The names of its processes.
    pub(crate) ours: BTreeSet<String>,
    /// Those of its seats: what sat there before is on neither side.
    pub(crate) seats: BTreeSet<String>,
    /// How long it is watched, where what is sent to it is to be answered: requests, not connections.
    pub(crate) answers_within: Option<Duration>,
}

/// A canary that is watched.
#[derive(Debug)]
pub(super) struct Canary {
    since: Moment,
    /// What each server had answered at the first look.
    at_first: BTreeMap<Key, Answered>,
    /// How many requests had been sent to each at the looks since.
    sent: VecDeque<(Moment, BTreeMap<Key, u64>)>,
}

/// What the canary has answered, and what the others have.
#[derive(Default)]
struct Sides<T> {
    canary: T,
    others: T,
}

impl<T> Sides<T> {
    fn of(&mut self, name: &str, who: &Who) -> Option<&mut T> {
        let seat = name.rsplit_once('.').map_or(name, |(seat, _)| seat);
        match () {
            () if who.ours.contains(name) => Some(&mut self.canary),
            () if !who.seats.contains(seat) => Some(&mut self.others),
            () => None,
        }
    }
}

impl Canary {
    /// Begins with a first look.
    pub(super) fn new(since: Moment, seen: &Seen<'_>) -> Self {
        let at_first = seen.servers.iter().map(|(server, stats)| (key(server), Answered::by(stats))).collect();
        Self { since, at_first, sent: VecDeque::new() }
    }

    /// Returns since when it is watched.
    pub(super) fn since(&self) -> Moment {
        self.since
    }

    /// Returns what the canary's processes have answered, and what the others have since the first look.
    pub(super) fn look(&mut self, seen: &Seen<'_>, who: &Who) -> (Tally, Tally) {
        let (mut now, mut before) = (Sides::<Answered>::default(), Answered::default());
        for (server, stats) in &seen.servers {
            let Some(side) = now.of(server.2, who) else { continue };
            side.add(&Answered::by(stats));
            // All that a canary's process has answered was by the new release. Of another that has gone since nothing is
            // known any more, on either side.
            if !who.ours.contains(server.2) {
                before.add(self.at_first.get(&key(server)).unwrap_or(&Answered::default()));
            }
        }
        let (mut canary, mut others) = (now.canary.since(&Answered::default()), now.others.since(&before));
        // Where nothing is ever answered (plain connections) nothing is missing.
        let (times, least) = UNANSWERED;
        let patience = match others.p95.or(canary.p95) {
            Some(usual) => Some((usual * times).max(least)),
            None if others.requests > 0 => Some(least),
            None => who.answers_within.map(|watched| UNANSWERED_EVER.min(watched / 2)),
        };
        if let Some(patience) = patience {
            let missing = self.unanswered(seen, who, patience);
            for (side, missing) in [(&mut canary, missing.canary), (&mut others, missing.others)] {
                (side.requests, side.errors) = (side.requests + missing, side.errors + missing);
            }
        }
        (canary, others)
    }

    /// Counts the requests that should have been answered by now.
    fn unanswered(&mut self, seen: &Seen<'_>, who: &Who, patience: Duration) -> Sides<u64> {
        let then = self.sent.iter().rev().find(|(at, _)| *at + patience <= seen.at).map(|(_, sent)| sent);
        let mut missing = Sides::<u64>::default();
        for (server, stats) in &seen.servers {
            let sent = then.and_then(|sent| sent.get(&key(server))).copied().unwrap_or_default();
            if let Some(side) = missing.of(server.2, who) {
                // Whose client has left is not counted, and in flight no more.
                *side += sent.saturating_sub(Answered::by(stats).requests).min(stats.in_flight);
            }
        }
        let sent = seen.servers.iter().map(|(server, stats)| (key(server), stats.requests)).collect();
        self.sent.push_back((seen.at, sent));
        while self.sent.front().is_some_and(|(at, _)| *at + LOOKS_KEPT < seen.at) {
            self.sent.pop_front();
        }
        missing
    }
}

fn key((life, upstream, name): &Server<'_>) -> Key {
    (*life, (*upstream).to_owned(), (*name).to_owned())
}

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

#[cfg(test)]
mod tests {
    use rpm_model::WorkerId;

    use super::*;

    /// A server by name, what it has answered well and badly, and what was sent to it without an answer so far.
    type Row = (&'static str, u64, u64, u64);

    fn looks(answers_within: Option<Duration>) -> impl FnMut(u64, &[Row]) -> Option<[(u64, u64); 2]> {
        let (ours, seats) = (["api:0.2".to_owned()].into(), ["api:0".to_owned()].into());
        let who = Who { ours, seats, answers_within };
        let mut watched = None;
        move |seconds, rows| {
            let stats: Vec<_> = rows
                .iter()
                .map(|(name, good, bad, in_flight)| {
                    let mut stats = ServerStats { name: (*name).to_owned(), ..ServerStats::default() };
                    (stats.answers.success, stats.answers.server_error) = (*good, *bad);
                    (stats.requests, stats.in_flight) = (good + bad + in_flight, *in_flight);
                    stats
                })
                .collect();
            let edge = Life::new(WorkerId(9), 1);
            let servers = stats.iter().map(|stats| ((edge, "up", stats.name.as_str()), stats)).collect();
            let seen = Seen { at: Moment(seconds * 1_000_000), servers };
            let Some(watched) = &mut watched else {
                watched = Some(Canary::new(seen.at, &seen));
                return None;
            };
            let (canary, others) = watched.look(&seen, &who);
            Some([(canary.requests, canary.errors), (others.requests, others.errors)])
        }
    }

    #[test]
    fn it_is_counted_beside_the_others() {
        let mut look = looks(None);
        // What the others did before does not count, nor does the process that the canary has replaced.
        assert_eq!(look(1, &[("api:0.1", 500, 9, 0), ("api:0.2", 3, 1, 0), ("api:1.1", 1000, 7, 0)]), None);
        let later = look(2, &[("api:0.2", 40, 2, 0), ("api:1.1", 1100, 8, 0), ("api:2.1", 20, 0, 0)]);
        assert_eq!(later, Some([(42, 2), (121, 1)]));
    }

    #[test]
    fn one_that_answers_nothing_fails() {
        let mut look = looks(None);
        let mut look =
            |seconds, hangs, answered| look(seconds, &[("api:0.2", 0, 0, hangs), ("api:1.1", answered, 0, 1)]);
        assert_eq!(look(1, 0, 10), None);
        assert_eq!(look(2, 20, 30), Some([(0, 0), (20, 0)]));
        // What was sent less than two seconds ago may still be answered.
        assert_eq!(look(3, 40, 50), Some([(0, 0), (40, 0)]));
        assert_eq!(look(4, 60, 70), Some([(20, 20), (60, 0)]));
    }

    /// One of one that hung was waited for without end: there were no others who answered.
    #[test]
    fn one_that_is_all_there_is_and_answers_nothing_fails() {
        for (answers_within, missing) in [(Some(Duration::from_secs(8)), (4, 4)), (None, (0, 0))] {
            let mut look = looks(answers_within);
            let mut look = |seconds, hangs| look(seconds, &[("api:0.2", 0, 0, hangs)]);
            assert_eq!(look(1, 0), None);
            assert_eq!([look(2, 4), look(5, 6)], [Some([(0, 0); 2]); 2]);
            assert_eq!(look(6, 6), Some([missing, (0, 0)]));
        }
    }
}
