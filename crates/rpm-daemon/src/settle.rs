//! When has a process finished booting, as far as can be seen from outside?
//!
//! Pure. A process that boots uses the CPU; one that has come up sleeps until somebody asks something of it. So: asleep
//! at two looks in a row, without a nanosecond of CPU in between. A runnable process that only waits for its turn on a
//! busy machine is not asleep, and so does not count as settled.

use std::time::Duration;

/// The time between two looks at one process. Twice this is what a start waits at least: below what a person notices.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(8);

/// Looks in a row that must show no activity.
const QUIET_LOOKS: u32 = 2;

/// What was seen of one process so far.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    ran: Option<Duration>,
    quiet: u32,
}

impl Settling {
    /// Takes one look: the CPU time used so far, and whether the process sleeps. Returns whether it has settled.
    pub(crate) fn look(&mut self, ran: Duration, asleep: bool) -> bool {
        let idle = asleep && self.ran == Some(ran);
        self.ran = Some(ran);
        self.quiet = if idle { self.quiet + 1 } else { 0 };
        self.quiet >= QUIET_LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(seen: &[(u64, bool)]) -> Vec<bool> {
        let mut settling = Settling::default();
        seen.iter().map(|(ran, asleep)| settling.look(Duration::from_micros(*ran), *asleep)).collect()
    }

    #[test]
    fn a_sleeper_settles_at_its_third_look() {
        assert_eq!(looks(&[(5, true), (5, true), (5, true)]), [false, false, true]);
    }

    #[test]
    fn work_between_two_looks_starts_the_count_again() {
        assert_eq!(looks(&[(5, true), (5, true), (9, true), (9, true), (9, true)]), [false, false, false, false, true]);
    }

    #[test]
    fn a_process_that_waits_for_its_turn_is_not_asleep() {
        assert_eq!(looks(&[(5, false), (5, false), (5, false), (5, false)]), [false; 4]);
    }
}
