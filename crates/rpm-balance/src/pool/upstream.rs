//! Servers that stand in for one another.
//!
//! Immutable: a request sees one consistent world. What changes is in [`Live`].

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rpm_model::Moment;
use rpm_model::balance::{Balance, CheckSpec, Protocol, ProxyVersion, Sticky};
use rpm_model::edge::ServerState;

use crate::health::in_use;
use crate::pick::{Candidate, Turns, choose};
use crate::pool::{Live, Queue, StickTable};

/// Servers that stand in for one another. See [`rpm_model::balance::UpstreamSpec`].
#[allow(missing_docs)]
pub struct Upstream {
    pub name: String,
    pub balance: Balance,
    pub sticky: Option<Sticky>,
    /// Where clients stick by their address, and that is not what they are chosen by.
    pub stick: Option<Arc<StickTable>>,
    pub retries: u32,
    pub keepalive: usize,
    pub keepalive_timeout: Duration,
    pub queue_longest: u32,
    pub timeout_queue: Duration,
    pub protocol: Protocol,
    pub host: Option<String>,
    pub check: Option<CheckSpec>,
    /// At most so many servers are ejected at a time.
    pub ejected_most: usize,
    /// Whether workers of an app are among the servers, so that one may be about to come.
    pub has_app: bool,
    pub servers: Vec<Server>,
    pub queue: Arc<Queue>,
}

/// A server in one configuration.
#[allow(missing_docs)]
pub struct Server {
    pub name: String,
    pub app: Option<String>,
    /// Hash of its seat.
    pub seat: u64,
    pub address: String,
    pub target: Target,
    pub weight: u32,
    pub maxconn: u32,
    pub backup: bool,
    pub send_proxy: Option<ProxyVersion>,
    pub live: Arc<Live>,
}

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One of these, the first first.
    Tcp(Vec<SocketAddr>),
    /// A socket file.
    Unix(PathBuf),
    /// A worker that shares its port with others: they are told apart by the address that one comes from.
    Steered {
        /// The address to connect from.
        source: Ipv4Addr,
        /// The port that they share.
        to: SocketAddr,
    },
}

/// What a request brings to the choice.
#[derive(Default)]
pub struct Asked {
    /// What hashing methods look at.
    pub key: Option<u64>,
    /// The seat that its client sticks to.
    pub seat: Option<u64>,
    /// Servers that failed it already.
    pub tried: Vec<Arc<Live>>,
    /// Any number.
    pub random: u64,
}

/// Whom a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The server with this index.
    Server(usize),
    /// Nobody now, but somebody may come free, come up or become ready.
    Wait,
    /// Only those that failed it already.
    TriedAll,
    /// Nobody.
    Nobody,
}

impl Server {
    fn weight_now(&self, now: Moment) -> u32 {
        let own = self.live.weight.load(Relaxed);
        let weight = if own == u32::MAX { self.weight } else { own };
        // In hundredths, so that a part of a weight of one can grow too.
        weight.min(1 << 16) * self.live.share(now)
    }

    /// Returns the weight in force, for people.
    pub fn weight_shown(&self, now: Moment) -> u32 {
        self.weight_now(now).div_ceil(100)
    }

    fn is_full(&self) -> bool {
        self.live.in_flight.load(Relaxed) >= self.maxconn
    }
}

impl Upstream {
    /// Chooses a server. `candidates` is scratch.
    pub fn choose(&self, turns: &mut Turns, candidates: &mut Vec<Candidate>, asked: &Asked, now: Moment) -> Choice {
        if let Some(index) = self.stuck(asked, now) {
            return if self.servers[index].is_full() { Choice::Wait } else { Choice::Server(index) };
        }
        let mut full = false;
        for backup in [false, true] {
            full |= self.gather(candidates, asked, backup, now);
            if let Some(index) = self.choose_among(turns, candidates, asked, now) {
                return Choice::Server(index);
            }
            // As HAProxy has it, backups are for when the others are down, not for when they are busy.
            if full {
                return Choice::Wait;
            }
        }
        self.last_resort(turns, candidates, asked, now)
    }

    /// Returns the earliest moment at which the choice may be another one by the clock alone.
    pub fn change_at(&self, now: Moment) -> Option<Moment> {
        let soonest = self.servers.iter().map(|server| server.live.change_at()).filter(|at| *at > now).min();
        soonest.filter(|at| at.0 != u64::MAX)
    }

    /// Returns whether one more server may be ejected.
    pub fn may_eject(&self, now: Moment) -> bool {
        let ejected = self.servers.iter().filter(|server| server.live.state(now) == ServerState::Ejected).count();
        ejected < self.ejected_most
    }

    fn stuck(&self, asked: &Asked, now: Moment) -> Option<usize> {
        let seat = asked.seat?;
        self.servers
            .iter()
            .position(|server| server.seat == seat && in_use(server.live.state(now)) && !was_tried(asked, server))
    }

    /// Fills `candidates` in the order of the servers; returns whether one that could be used is full.
    fn gather(&self, candidates: &mut Vec<Candidate>, asked: &Asked, backup: bool, now: Moment) -> bool {
        let mut any_full = false;
        candidates.clear();
        for server in &self.servers {
            let state = server.live.state(now);
            let trial = state == ServerState::Failed && now >= server.live.change_at();
            let usable = server.backup == backup && (in_use(state) || trial) && !was_tried(asked, server);
            let weight = if server.backup == backup { server.weight_now(now) } else { 0 };
            let full = usable && weight > 0 && server.is_full();
            any_full |= full;
            candidates.push(Candidate {
                weight,
                in_flight: server.live.in_flight.load(Relaxed),
                seat: server.seat,
                open: usable && !full,
            });
        }
        any_full
    }

    fn choose_among(
        &self,
        turns: &mut Turns,
        candidates: &mut [Candidate],
        asked: &Asked,
        now: Moment,
    ) -> Option<usize> {
        loop {
            let index = choose(&self.balance, turns, candidates, asked.key, asked.random)?;
            let live = &self.servers[index].live;
            if live.state(now) != ServerState::Failed || live.probe(now) {
                return Some(index);
            }
            // Another thread took the trial.
            candidates[index].open = false;
        }
    }

    /// Nobody is well. What failed or answered badly may still answer, and refusing for sure helps nobody.
    fn last_resort(&self, turns: &mut Turns, candidates: &mut Vec<Candidate>, asked: &Asked, now: Moment) -> Choice {
        let state = |server: &Server| server.live.state(now);
        let usable = |server: &&Server| in_use(state(server)) && server.weight_now(now) > 0;
        if self.servers.iter().filter(usable).any(|server| was_tried(asked, server)) {
            return Choice::TriedAll;
        }
        if self.has_app || self.servers.iter().any(|server| state(server) == ServerState::Starting) {
            return Choice::Wait;
        }
        let doubtful = |server: &Server| matches!(state(server), ServerState::Failed | ServerState::Ejected);
        candidates.clear();
        candidates.extend(self.servers.iter().map(|server| Candidate {
            weight: server.weight_now(now),
            in_flight: server.live.in_flight.load(Relaxed),
            seat: server.seat,
            open: doubtful(server) && !server.is_full() && !was_tried(asked, server),
        }));
        match choose(&self.balance, turns, candidates, asked.key, asked.random) {
            Some(index) => Choice::Server(index),
            None if self.servers.iter().any(|server| doubtful(server) && was_tried(asked, server)) => Choice::TriedAll,
            None => Choice::Nobody,
        }
    }
}

fn was_tried(asked: &Asked, server: &Server) -> bool {
    asked.tried.iter().any(|live| Arc::ptr_eq(live, &server.live))
}

#[cfg(test)]
mod tests;
