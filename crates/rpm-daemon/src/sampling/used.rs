//! How much CPU time a process and everything that it has started have used so far. Pure.
//!
//! What is alive tells of itself, and a parent of the children that it has waited for: the sum grows, but for two cases. A
//! child that ends between a look at its parent and one at itself is missed once. One whose parent does not wait for it, or
//! has ended before it, takes its share along. The count never falls: what is missing at two looks in a row is taken for
//! gone, and what comes after is counted on top.

use std::time::Duration;

/// The count.
#[derive(Debug, Default)]
pub(super) struct Used {
    shown: Duration,
    /// What those had used of whom nobody tells any more.
    gone: Duration,
    /// How much was missing at the last look.
    missing: Duration,
}

impl Used {
    /// Takes the sum of those that tell now.
    pub(super) fn take(&mut self, told: Duration) {
        let missing = self.shown.saturating_sub(told + self.gone);
        let for_good = missing.min(self.missing);
        self.gone += for_good;
        self.missing = missing - for_good;
        self.shown = self.shown.max(told + self.gone);
    }

    /// Returns all that was used.
    pub(super) fn so_far(&self) -> Duration {
        self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(told: &[u64]) -> Vec<u64> {
        let mut used = Used::default();
        let mut count = |told: &u64| {
            used.take(Duration::from_secs(*told));
            used.so_far().as_secs()
        };
        told.iter().map(&mut count).collect()
    }

    #[test]
    fn a_child_that_is_missed_once_is_not_counted_twice() {
        assert_eq!(counts(&[1, 10, 4, 11, 5, 12]), [1, 10, 10, 11, 11, 12]);
    }

    #[test]
    fn what_nobody_tells_of_any_more_stays_counted() {
        assert_eq!(counts(&[10, 4, 4, 5, 7]), [10, 10, 10, 11, 13]);
        // What was used between the looks at which it was missing is not known to be so.
        assert_eq!(counts(&[10, 4, 6, 7]), [10, 10, 10, 11]);
    }
}
