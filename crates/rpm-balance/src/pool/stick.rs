//! Which server a client's address sticks to, where the first one is chosen by load.
//!
//! Of this process only: a new one lets the first choice be made again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rpm_model::Moment;

/// A client that was away for so long is a new one.
const KEPT: Duration = Duration::from_secs(30 * 60);

/// So many clients are remembered in each part, a million in all; then those that came longest ago are forgotten.
const PART_MAX: usize = 16 << 10;

/// Locks that clients share.
const PARTS: usize = 64;

/// Seats by the addresses of clients.
#[derive(Debug)]
pub struct StickTable(Box<[Mutex<Part>]>);

/// Seats, and when their clients came last.
type Part = HashMap<IpAddr, (u64, Moment)>;

impl Default for StickTable {
    fn default() -> Self {
        Self((0..PARTS).map(|_| Mutex::default()).collect())
    }
}

impl StickTable {
    /// Returns the seat of a client.
    pub fn get(&self, client: IpAddr, now: Moment) -> Option<u64> {
        let mut part = self.part(client).lock().unwrap_or_else(PoisonError::into_inner);
        let (seat, used) = part.get_mut(&client)?;
        if now.since(*used) >= KEPT {
            part.remove(&client);
            return None;
        }
        *used = now;
        Some(*seat)
    }

    /// Remembers the seat of a client.
    pub fn put(&self, client: IpAddr, seat: u64, now: Moment) {
        let mut part = self.part(client).lock().unwrap_or_else(PoisonError::into_inner);
        if part.len() >= PART_MAX && !part.contains_key(&client) {
            let mut times: Vec<Moment> = part.values().map(|(_, used)| *used).collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            part.retain(|_, (_, used)| *used > median);
        }
        part.insert(client, (seat, now));
    }

    fn part(&self, client: IpAddr) -> &Mutex<Part> {
        &self.0[(crate::pick::client_key(client) % PARTS as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_stay_for_a_while_and_there_is_an_end_to_them() {
        let table = StickTable::default();
        let client: IpAddr = "10.0.0.1".parse().unwrap();
        let at = |seconds: u64| Moment(seconds * 1_000_000);
        table.put(client, 7, at(1));
        assert_eq!(table.get(client, at(60)), Some(7));
        assert_eq!(table.get(client, at(60 + 29 * 60)), Some(7), "it came meanwhile");
        assert_eq!(table.get(client, at(60 + 60 * 60)), None);
        for number in 0..2_000_000u32 {
            table.put(IpAddr::V4(number.into()), 1, at(u64::from(number)));
        }
        let kept: usize = table.0.iter().map(|part| part.lock().unwrap().len()).sum();
        assert!(kept <= PARTS * PART_MAX && kept > 0, "{kept}");
        assert!(table.get(IpAddr::V4(1_999_999.into()), at(1_999_999)).is_some(), "the last one");
    }
}
