//! Choosing a server: pure. Candidates, a key and a random number in, an index out.
//!
//! One file per way of choosing. What all of them promise is one table of cases (`table`): never a candidate that is
//! not open or has no weight, always one where there is one, shares by weight.
//!
//! Who is a candidate at all (healthy, not full, not tried already) is decided before.

mod first;
mod hash;
mod ip_hash;
mod least_conn;
mod random_two;
mod round_robin;
#[cfg(test)]
mod table;

pub use hash::{hash_bytes, mix};
pub use ip_hash::{client_key, network_key};
pub use round_robin::Turns;

use rpm_model::balance::Balance;

/// A server as choosing sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its share; zero for none. Any unit, the same for all.
    pub weight: u32,
    /// Requests in flight.
    pub in_flight: u32,
    /// Hash of its seat: the same whoever sits there, in every process.
    pub seat: u64,
    /// Whether it can take this request.
    pub open: bool,
}

impl Candidate {
    fn eligible(&self) -> bool {
        self.open && self.weight > 0
    }
}

/// Returns the index of the chosen candidate; `None` when none is open.
///
/// `key` is what hashing methods look at; without one they take turns. `random` is any number, uniformly drawn.
pub fn choose(
    method: &Balance,
    turns: &mut Turns,
    candidates: &[Candidate],
    key: Option<u64>,
    random: u64,
) -> Option<usize> {
    match (method, key) {
        (Balance::RoundRobin, _) => turns.next(candidates),
        (Balance::LeastConn, _) => least_conn::choose(turns, candidates),
        (Balance::RandomTwo, _) => random_two::choose(candidates, random),
        (Balance::First, _) => first::choose(candidates),
        (Balance::IpHash, Some(key)) => ip_hash::choose(candidates, key).or_else(|| turns.next(candidates)),
        (Balance::Hash(_), Some(key)) => hash::choose(candidates, key),
        (Balance::IpHash | Balance::Hash(_), None) => turns.next(candidates),
    }
}

/// Returns whether `a` carries less for its weight than `b`, counting the request that is about to be sent.
fn lighter(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    let load = |one: &Candidate, other: &Candidate| (u64::from(one.in_flight) + 1) * u64::from(other.weight);
    load(a, b).cmp(&load(b, a))
}
