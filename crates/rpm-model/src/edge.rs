//! The conversation between the daemon and the edge, the process that balances.
//!
//! A stream of frames over a unix socket, both ways: four bytes of length, big-endian, then that many bytes of JSON, at
//! most [`FRAME_MAX`]. Descriptors of listening sockets travel with the first byte of the frame that names them.
//!
//! ```text
//! edge   → Hello                        once, first
//! daemon → Ask { id, Configure }        at least once; complete, so the last one is all that matters
//! edge   → Answer { id, Done | Refused }
//! daemon → Ask { id, Member | Server | Stats | … }
//! edge   → Notice                       whenever something happened
//! ```
//!
//! When the daemon goes away the edge goes on with what it knows. `Quit` ends it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::balance::{BalancerSpec, ServerAddress, UpstreamSpec};
use crate::time::duration_ms;

/// The version of this conversation. Added fields and variants do not change it; changed meanings do.
pub const PROTOCOL: u32 = 1;

/// The longest frame: ten thousand servers are about 4 MiB.
pub const FRAME_MAX: usize = 32 << 20;

/// A frame to the edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToEdge {
    /// Chosen by the daemon; the answer carries it.
    pub id: u64,
    /// What is asked.
    pub ask: Ask,
}

/// What the daemon may ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Everything that is wanted. Applied whole, or refused whole: then the old configuration stays. Counters, health
    /// and connections of servers that stay are kept; connections of clients are never cut.
    Configure(Configuration),
    /// A worker of an app came, or changed. Known by [`Member::name`] within the upstreams that name its app.
    Member(Member),
    /// A worker is gone: nothing more is sent to it, and what it had not answered is tried elsewhere.
    RemoveMember {
        /// The app.
        app: String,
        /// The member.
        member: String,
    },
    /// `rpm drain|ready|weight UPSTREAM SERVER`.
    Server {
        /// The upstream.
        upstream: String,
        /// The server (or member).
        server: String,
        /// What to do.
        change: ServerChange,
    },
    /// Answered by [`Answer::Stats`].
    Stats,
    /// Reads certificates and error pages again. On a mistake the old ones stay.
    ReloadFiles,
    /// Opens the access logs again, after they were renamed.
    ReopenLogs,
    /// Stops accepting, lets requests end (idle connections are closed, tunnels are left until the grace is over), and
    /// exits with 0. Answered at once.
    Quit {
        /// At most so long.
        #[serde(with = "duration_ms")]
        grace: Duration,
    },
}

/// Everything that is wanted of the edge.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Configuration {
    /// Grows with each; told back in [`EdgeStats::version`].
    pub version: u64,
    /// Where clients come in.
    pub balancers: Vec<BalancerSpec>,
    /// What they reach.
    pub upstreams: Vec<UpstreamSpec>,
    /// Every worker of the apps that upstreams name. Those that are not here any more are removed.
    pub members: Vec<Member>,
    /// At most this many client connections of all balancers together.
    pub maxconn: Option<u32>,
    /// Names (see [`listener_name`]) of the descriptors that travel with this frame, in their order. A listener that
    /// the edge has already need not come again; one that no balancer names any more is closed.
    pub listeners: Vec<String>,
}

/// A worker of a managed app, as a server of every upstream that names the app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The app.
    pub app: String,
    /// This worker and no other: it changes with each life (`api:0.3`). Unique within the app.
    pub name: String,
    /// What stays the same when the worker is replaced (`api:0`): clients stick to it, hashes are made of it.
    pub seat: String,
    /// Where it is; not an app.
    pub address: ServerAddress,
    /// What the supervisor knows about it.
    pub state: MemberState,
    /// Its weight, where it is not that of the server entry.
    #[serde(default)]
    pub weight: Option<u32>,
    /// The address to connect from: workers that share a port are told apart by it (see `rpm-share`, probes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Ipv4Addr>,
}

/// What the supervisor knows about a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// Not ready: nothing is sent to it, and requests without another server wait.
    Starting,
    /// Ready.
    Ready,
    /// Nothing new is sent to it, not even of clients that stick to it; what is in flight ends.
    /// [`Notice::Drained`] follows.
    Draining,
    /// Its health check fails: as draining, without the notice.
    Unhealthy,
}

/// What a person may ask of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerChange {
    /// Nothing new is sent to it; [`Notice::Drained`] follows when nothing is in flight.
    Drain,
    /// It is used again, and counts as healthy.
    Ready,
    /// Its weight, until the configuration changes it.
    Weight(u32),
}

/// A frame from the edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromEdge {
    /// The first frame.
    Hello {
        /// [`PROTOCOL`] as the edge knows it.
        protocol: u32,
        /// The edge's version of `rpm`.
        version: String,
        /// How many threads it runs: so many listening sockets of one SO_REUSEPORT group serve it best.
        threads: u32,
    },
    /// To an [`Ask`].
    Answer {
        /// The id of the frame that asked.
        id: u64,
        /// The answer.
        answer: Answer,
    },
    /// Something happened.
    Notice(Notice),
}

/// What the edge answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done.
    Done,
    /// It cannot be done; nothing has changed. One sentence for each mistake.
    Refused(Vec<String>),
    /// The counters.
    Stats(EdgeStats),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// A server's state changed.
    State {
        /// The upstream.
        upstream: String,
        /// The server.
        server: String,
        /// What it was.
        from: ServerState,
        /// What it is.
        to: ServerState,
        /// Why, for people: `3 checks failed: status 503`.
        reason: String,
    },
    /// Nothing is in flight any more at a server that drains.
    Drained {
        /// The upstream.
        upstream: String,
        /// The server.
        server: String,
    },
    /// Something is wrong that stops nothing: a certificate that cannot be read, a log that cannot be written.
    Trouble {
        /// For people.
        text: String,
    },
}

/// How a server is, as we show it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// Used.
    #[default]
    Up,
    /// Used, with a weight that still grows.
    SlowStart,
    /// Not ready yet.
    Starting,
    /// Left out for a while: it failed `max_fails` times.
    Failed,
    /// Left out for a while: it answered badly.
    Ejected,
    /// Left out: active checks fail, or the supervisor says it is not well.
    Down,
    /// Nothing new is sent to it.
    Draining,
    /// Left out by the configuration.
    Disabled,
}

/// The counters of an edge. All of them grow from its start, and are kept across configurations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EdgeStats {
    /// Of the configuration in force.
    pub version: u64,
    /// Since the edge started.
    #[serde(with = "duration_ms")]
    pub uptime: Duration,
    /// How many threads it runs.
    pub threads: u32,
    /// Clients' connections that are open.
    pub connections: u64,
    /// Lines of access logs that were dropped, because the disk did not keep up.
    pub log_lines_lost: u64,
    /// By balancer, in the order of the configuration.
    pub balancers: Vec<BalancerStats>,
    /// By upstream, in the order of the configuration.
    pub upstreams: Vec<UpstreamStats>,
}

/// The counters of a balancer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BalancerStats {
    /// Its name.
    pub name: String,
    /// Clients' connections that are open.
    pub connections: u64,
    /// Clients' connections so far.
    pub connections_total: u64,
    /// Requests (connections, in `tcp` mode) in flight.
    pub in_flight: u64,
    /// Answers by class.
    pub answers: ByClass,
    /// Requests that were refused as no HTTP, too long, or too slow.
    pub refused: u64,
    /// Requests that were refused by the rate limit.
    pub limited: u64,
    /// From clients.
    pub bytes_in: u64,
    /// To clients.
    pub bytes_out: u64,
    /// From a request's head to the last byte of its answer.
    pub latency: Latency,
}

/// The counters of an upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamStats {
    /// Its name.
    pub name: String,
    /// Requests that wait for a server.
    pub queue: u64,
    /// The most that waited at once.
    pub queue_max: u64,
    /// Requests that found the queue full, or waited too long.
    pub queue_failed: u64,
    /// By server, in the order of the configuration; members in the place of their app.
    pub servers: Vec<ServerStats>,
}

/// The counters of a server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerStats {
    /// Its name.
    pub name: String,
    /// Where it is, for people.
    pub address: String,
    /// Its app, where it is a member.
    pub app: Option<String>,
    /// How it is.
    pub state: ServerState,
    /// For how long.
    #[serde(with = "duration_ms")]
    pub state_age: Duration,
    /// Why it came to that state; empty where nothing happened.
    pub state_reason: String,
    /// The weight in force (while it grows, the one of this moment).
    pub weight: u32,
    /// Whether it is a backup.
    pub backup: bool,
    /// Requests (connections, in `tcp` mode) in flight.
    pub in_flight: u64,
    /// Requests sent to it so far, retries included.
    pub requests: u64,
    /// Answers by class.
    pub answers: ByClass,
    /// Connections to it that could not be opened.
    pub connect_errors: u64,
    /// Answers that were no HTTP, broke off, or never came.
    pub answer_errors: u64,
    /// Requests that were tried again elsewhere after it failed.
    pub retries: u64,
    /// Connections to it that were opened.
    pub connections: u64,
    /// Idle connections to it.
    pub idle: u64,
    /// To the server.
    pub bytes_out: u64,
    /// From the server.
    pub bytes_in: u64,
    /// From the request sent to the answer's head.
    pub latency: Latency,
    /// The last active check; `None` where there was none.
    pub check: Option<CheckResult>,
}

/// Answers by class of status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ByClass {
    /// 100 to 199: upgrades.
    pub informational: u64,
    /// 200 to 299.
    pub success: u64,
    /// 300 to 399.
    pub redirect: u64,
    /// 400 to 499.
    pub client_error: u64,
    /// 500 to 599.
    pub server_error: u64,
}

impl ByClass {
    /// Returns the sum.
    pub fn total(&self) -> u64 {
        self.informational + self.success + self.redirect + self.client_error + self.server_error
    }
}

/// Times of answers in microseconds; each percentile is at most 7 % above the true one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// The sum, for averages.
    pub sum_us: u64,
    /// Half of them were faster.
    pub p50_us: u64,
    /// 90 % of them were faster.
    pub p90_us: u64,
    /// 99 % of them were faster.
    pub p99_us: u64,
    /// Counts by upper bound in microseconds, for the metrics endpoint; bounds without a count are left out.
    pub buckets: BTreeMap<u64, u64>,
}

impl Latency {
    /// Returns the time in microseconds that `share` of the requests took at most that were measured after `before`;
    /// nothing when there were none.
    pub fn percentile_since(&self, before: &Self, share: f64) -> Option<u64> {
        let earlier = |bound| before.buckets.get(bound).copied().unwrap_or_default();
        let news = || self.buckets.iter().map(|(bound, count)| (*bound, count.saturating_sub(earlier(bound))));
        let total: u64 = news().map(|(_, count)| count).sum();
        // The smallest rank that covers the share, and the first at least.
        let rank = ((total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        news().find_map(|(bound, count)| {
            seen += count;
            (count > 0 && seen >= rank).then_some(bound)
        })
    }
}

/// What an active check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckResult {
    /// Whether it passed.
    pub passed: bool,
    /// For people: `status 200`, `connection refused`.
    pub text: String,
    /// How long it took.
    #[serde(with = "duration_ms")]
    pub took: Duration,
    /// How long ago.
    #[serde(with = "duration_ms")]
    pub age: Duration,
}

/// Returns the name that a listening socket is passed under: the address as it is written in the configuration.
///
/// Several descriptors of the same name are the sockets of one SO_REUSEPORT group, in the order in which they joined.
pub fn listener_name(address: &crate::balance::ListenAddress) -> String {
    address.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_of_what_came_since() {
        let at = |buckets: &[(u64, u64)]| Latency { buckets: buckets.iter().copied().collect(), ..Latency::default() };
        let (before, after) = (at(&[(100, 1000)]), at(&[(100, 1098), (200, 1), (900, 1)]));
        assert_eq!(after.percentile_since(&before, 0.5), Some(100));
        assert_eq!(after.percentile_since(&before, 0.99), Some(200));
        assert_eq!(after.percentile_since(&before, 1.0), Some(900));
        assert_eq!(after.percentile_since(&after, 0.99), None);
        // An edge that was started anew counts from nothing.
        assert_eq!(at(&[(300, 2)]).percentile_since(&before, 0.99), Some(300));
    }
}
