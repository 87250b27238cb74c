//! How many clients may be there at once, and who goes when there are more.
//!
//! A connection costs a descriptor, and one that asks nothing costs it for nothing. At the bound the one goes that has
//! been idle longest, those first that never said who they are; where all are being served, the newcomer is turned away.
//! Who has only just come is about to say it, and goes no sooner than the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// More than people and scripts of one user ever have open at the same time.
const GUESTS_MAX: usize = 256;

/// The clients of one socket.
#[derive(Debug, Clone)]
pub(crate) struct Guests(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    max: usize,
    /// Rises with everything that happens: tells who has been idle longest.
    clock: u64,
    all: BTreeMap<u64, Guest>,
    /// It was said that there are too many; again only when there were fewer in between.
    is_told: bool,
}

#[derive(Debug)]
struct Guest {
    greeted: bool,
    /// Requests without an answer.
    asked: usize,
    idle_since: u64,
    leave: CancellationToken,
}

/// One client, for as long as it is there.
#[derive(Debug)]
pub(crate) struct Visit {
    guests: Guests,
    id: u64,
    leave: CancellationToken,
}

impl Guests {
    /// Makes an empty house; a fourth of the descriptors that may be open is for clients.
    pub(crate) fn new() -> Self {
        let quarter = usize::try_from(rpm_sys::reap::nofile() / 4).unwrap_or(usize::MAX);
        Self::with(quarter.clamp(4, GUESTS_MAX))
    }

    fn with(max: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner { max, clock: 0, all: BTreeMap::new(), is_told: false })))
    }

    /// Lets a client in; `None` when there is no room for it.
    pub(crate) fn welcome(&self) -> Option<Visit> {
        let mut inner = self.lock();
        if inner.all.len() >= inner.max {
            if !std::mem::replace(&mut inner.is_told, true) {
                tracing::warn!("{} clients are connected: the longest idle ones are sent away", inner.max);
            }
            let idle = inner.all.iter().filter(|(_, guest)| guest.asked == 0);
            let just_came = |guest: &Guest| inner.clock - guest.idle_since < inner.max as u64 / 4;
            let rank = |guest: &Guest| (guest.greeted || just_came(guest), guest.idle_since);
            let longest = idle.min_by_key(|(_, guest)| rank(guest)).map(|(id, _)| *id)?;
            if let Some(guest) = inner.all.remove(&longest) {
                guest.leave.cancel();
            }
        } else if inner.all.len() < inner.max / 2 {
            inner.is_told = false;
        }
        inner.clock += 1;
        let id = inner.clock;
        let leave = CancellationToken::new();
        inner.all.insert(id, Guest { greeted: false, asked: 0, idle_since: id, leave: leave.clone() });
        Some(Visit { guests: self.clone(), id, leave })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked with it has left it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit {
    /// It has said who it is.
    pub(crate) fn greeted(&self) {
        self.with(|guest| guest.greeted = true);
    }

    /// It wants something.
    pub(crate) fn asked(&self) {
        self.with(|guest| guest.asked += 1);
    }

    /// It has got it.
    pub(crate) fn answered(&self) {
        self.with(|guest| guest.asked = guest.asked.saturating_sub(1));
    }

    /// Waits until it is to leave.
    pub(crate) async fn over(&self) {
        self.leave.cancelled().await;
    }

    fn with(&self, change: impl FnOnce(&mut Guest)) {
        let mut inner = self.guests.lock();
        inner.clock += 1;
        let now = inner.clock;
        if let Some(guest) = inner.all.get_mut(&self.id) {
            change(guest);
            guest.idle_since = now;
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.guests.lock().all.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_just_come_may_say_hello_though_the_others_have() {
        let guests = Guests::with(8);
        let mut there: Vec<Visit> = (0..8).map(|_| guests.welcome().unwrap()).collect();
        there.iter().for_each(Visit::greeted);
        let newcomer = guests.welcome().unwrap();
        there.push(guests.welcome().unwrap());
        assert!(!newcomer.leave.is_cancelled() && there[0].leave.is_cancelled() && there[1].leave.is_cancelled());
        // It has had its chance.
        there[7].asked();
        there.push(guests.welcome().unwrap());
        assert!(newcomer.leave.is_cancelled());
    }

    #[test]
    fn the_longest_idle_goes_first_and_a_busy_one_stays() {
        let guests = Guests::with(3);
        let [busy, idle, silent] = [0, 1, 2].map(|_| guests.welcome().unwrap());
        busy.greeted();
        busy.asked();
        idle.greeted();
        let fourth = guests.welcome().unwrap();
        assert!(silent.leave.is_cancelled() && !idle.leave.is_cancelled(), "who never said hello goes before who did");
        fourth.greeted();
        let fifth = guests.welcome().unwrap();
        assert!(idle.leave.is_cancelled() && !fourth.leave.is_cancelled() && !busy.leave.is_cancelled());
        fourth.asked();
        fifth.asked();
        assert!(guests.welcome().is_none(), "all are being served");
        busy.answered();
        assert!(guests.welcome().is_some() && busy.leave.is_cancelled());
        drop((idle, silent, fourth, fifth, busy));
        assert!(guests.lock().all.is_empty());
    }
}
