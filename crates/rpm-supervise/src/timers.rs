//! Which seat is due next.
//!
//! A seat has one deadline, worked out anew from its state after every change, so no timer can be stale.

use std::collections::{BTreeMap, BTreeSet};

use rpm_model::{Moment, WorkerId};

/// The deadlines of all seats, soonest first.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Moment, WorkerId)>,
    set: BTreeMap<WorkerId, Moment>,
}

impl Timers {
    /// Sets or clears the deadline of a seat.
    pub(crate) fn set(&mut self, worker: WorkerId, at: Option<Moment>) {
        let before = match at {
            Some(at) => self.set.insert(worker, at),
            None => self.set.remove(&worker),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.due.remove(&(before, worker));
        }
        if let Some(at) = at {
            self.due.insert((at, worker));
        }
    }

    /// Returns the soonest deadline.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes out the seats that are due, soonest first.
    pub(crate) fn take_due(&mut self, now: Moment) -> Vec<WorkerId> {
        let mut workers = Vec::new();
        while let Some((at, worker)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            self.set.remove(&worker);
            workers.push(worker);
        }
        workers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_come_due_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set(WorkerId(1), Some(Moment(30)));
        timers.set(WorkerId(2), Some(Moment(10)));
        timers.set(WorkerId(3), Some(Moment(20)));
        timers.set(WorkerId(1), Some(Moment(5)));
        timers.set(WorkerId(3), None);
        assert_eq!(timers.next(), Some(Moment(5)));
        assert_eq!(timers.take_due(Moment(10)), [WorkerId(1), WorkerId(2)]);
        assert_eq!(timers.next(), None);
    }
}
