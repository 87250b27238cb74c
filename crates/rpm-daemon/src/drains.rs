//! When is a worker that gets no new connections free to go?
//!
//! Pure. Its queue must be empty and no request in flight, at several looks in a row; and some time must have passed
//! since the last connection could have come in, because between a connection's arrival and its first byte nothing
//! tells it from an idle one.

use std::time::Duration;

use rpm_model::Moment;

use crate::process::Draining;

/// Between two looks. A look is one question to the kernel for each address.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A client sends its request within a round trip of its connection; this covers a trip around the world, halved.
const ARRIVAL: Duration = Duration::from_millis(100);

/// Looks in a row without anything in flight.
const QUIET_LOOKS: u32 = 3;

/// Takes one look; returns whether the drain is over.
pub(crate) fn look(drain: &mut Draining, now: Moment, in_flight: u32) -> bool {
    drain.quiet = if in_flight == 0 { drain.quiet + 1 } else { 0 };
    now >= drain.until || (drain.quiet >= QUIET_LOOKS && now.since(drain.since) >= ARRIVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain() -> Draining {
        Draining { since: Moment(0), until: Moment(10_000_000), quiet: 0 }
    }

    fn at(ms: u64) -> Moment {
        Moment(ms * 1000)
    }

    #[test]
    fn an_idle_worker_goes_after_the_arrival_time() {
        let mut drain = drain();
        assert!(!look(&mut drain, at(5), 0) && !look(&mut drain, at(10), 0) && !look(&mut drain, at(15), 0));
        assert!(look(&mut drain, at(100), 0));
    }

    #[test]
    fn a_request_in_flight_keeps_it_until_its_time_is_up() {
        let mut drain = drain();
        assert!(!look(&mut drain, at(5000), 1));
        assert!(!look(&mut drain, at(9999), 1));
        assert!(look(&mut drain, at(10_000), 1));
    }

    #[test]
    fn one_quiet_look_between_two_requests_is_not_enough() {
        let mut drain = drain();
        for ms in (200..400).step_by(10) {
            assert!(!look(&mut drain, at(ms), u32::from(ms % 20 == 0)));
        }
    }
}
