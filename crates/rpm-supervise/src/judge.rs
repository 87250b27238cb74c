//! Whether a canary's release is good, from the requests that it and the others have answered. Pure.
//!
//! ```text
//!  errors ≤ others' + max_error_rate, p95 ≤ max_latency_ratio × others', for `duration` → promote
//!  so many errors, or so slow, that it cannot be chance                                 → abort, at once
//!  at the end more errors, or slower, than allowed, or nothing but errors               → abort
//!  at the end fewer than `min_requests`                                                 → nobody knows
//! ```

use std::time::Duration;

use rpm_model::CanaryRule;

/// What some workers have answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that have come to their end.
    pub requests: u64,
    /// Those of them that failed: a status of 500 or more, no connection, half an answer or none.
    pub errors: u64,
    /// The time to the answer's head that 95 % of them took at most.
    pub p95: Option<Duration>,
}

/// What is to become of a canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is watched on.
    Wait,
    /// Its time is over, and too few requests have come to it: as a fragment.
    Unproven(String),
    /// Its release is good: the figures, as a fragment.
    Promote(String),
    /// Its release is bad: why, as a fragment.
    Abort(String),
}

/// Failures that it takes at least to stop before the time is over.
const ERRORS_LEAST: u64 = 3;

/// So many standard deviations are no chance, although it is looked again and again: 0.1 %.
const SURE: f64 = 3.0;

/// Requests on both sides at which a percentile says something.
const TIMED_LEAST: u64 = 100;

/// Too slow by so much more than what is allowed, nobody waits for the end.
const FAR_TOO_SLOW: f64 = 1.5;

/// Judges a canary that was watched for so long.
pub fn judge(rule: &CanaryRule, watched: Duration, canary: &Tally, others: &Tally) -> Verdict {
    let allowed = (others.rate() + rule.max_error_rate / 100.0).min(1.0);
    let failed = || {
        if others.requests == 0 {
            return format!(
                "{} of {} requests failed, and no others were asked",
                percent(canary.rate()),
                canary.requests
            );
        }
        format!(
            "{} of {} requests failed, of the others' {} {}",
            percent(canary.rate()),
            canary.requests,
            others.requests,
            percent(others.rate())
        )
    };
    let is_over = watched >= rule.duration;
    let is_certain = canary.errors >= ERRORS_LEAST && canary.surely() > allowed;
    // Of one that has failed whatever it was asked in all its time nobody needs to see more.
    let is_enough = canary.requests >= rule.min_requests || canary.errors == canary.requests;
    if is_certain || (is_over && is_enough && canary.rate() > allowed) {
        return Verdict::Abort(format!("{}; at most {} more may", failed(), percent(rule.max_error_rate / 100.0)));
    }
    if let (Some(most), Some(own), Some(usual)) = (rule.max_latency_ratio, canary.p95, others.p95) {
        let ratio = own.as_secs_f64() / usual.as_secs_f64().max(1e-6);
        let enough = if is_over { rule.min_requests } else { TIMED_LEAST.max(rule.min_requests) };
        let limit = if is_over { most } else { most * FAR_TOO_SLOW };
        if canary.requests.min(others.requests) >= enough && ratio > limit {
            let (own, usual) = (millis(own), millis(usual));
            return Verdict::Abort(format!(
                "95 % of its answers took up to {own}, {ratio:.1} times the others' {usual}; at most {most} times may be"
            ));
        }
    }
    match is_over {
        false => Verdict::Wait,
        true if canary.requests < rule.min_requests => Verdict::Unproven(format!(
            "{} of at least {} requests have come to it in {}",
            canary.requests,
            rule.min_requests,
            seconds(rule.duration)
        )),
        true => Verdict::Promote(format!("{} in {}", failed(), seconds(watched))),
    }
}

impl Tally {
    fn rate(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.errors as f64 / self.requests as f64 }
    }

    /// Returns the least rate of errors that can be behind what was seen (Wilson's interval).
    fn surely(&self) -> f64 {
        let (n, p, z2) = (self.requests as f64, self.rate(), SURE * SURE);
        if n == 0.0 {
            return 0.0;
        }
        let middle = p + z2 / (2.0 * n);
        let reach = SURE * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        ((middle - reach) / (1.0 + z2 / n)).max(0.0)
    }
}

fn percent(rate: f64) -> String {
    format!("{:.1} %", rate * 100.0)
}

fn millis(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

fn seconds(time: Duration) -> String {
    format!("{:.0} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(requests: u64, errors: u64, p95_ms: u64) -> Tally {
        Tally { requests, errors, p95: Some(Duration::from_millis(p95_ms)) }
    }

    fn rule() -> CanaryRule {
        CanaryRule { max_latency_ratio: Some(2.0), ..CanaryRule::default() }
    }

    const fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_release_that_fails_a_tenth_is_aborted_long_before_its_time() {
        let Verdict::Abort(why) = judge(&rule(), after(2), &tally(40, 4, 10), &tally(120, 0, 10)) else {
            panic!("it waits")
        };
        assert_eq!(why, "10.0 % of 40 requests failed, of the others' 120 0.0 %; at most 1.0 % more may");
    }

    #[test]
    fn one_that_fails_all_of_few_requests_is_aborted_at_the_end() {
        assert_eq!(judge(&rule(), after(59), &tally(2, 2, 10), &Tally::default()), Verdict::Wait);
        assert!(matches!(judge(&rule(), after(60), &tally(2, 2, 10), &Tally::default()), Verdict::Abort(_)));
        assert!(matches!(judge(&rule(), after(60), &tally(2, 1, 10), &Tally::default()), Verdict::Unproven(_)));
        assert!(matches!(judge(&rule(), after(60), &Tally::default(), &Tally::default()), Verdict::Unproven(_)));
    }

    #[test]
    fn a_single_failure_is_chance_until_the_time_is_over() {
        assert_eq!(judge(&rule(), after(2), &tally(5, 1, 10), &tally(20, 0, 10)), Verdict::Wait);
        assert!(matches!(judge(&rule(), after(60), &tally(60, 1, 10), &tally(200, 0, 10)), Verdict::Abort(_)));
        assert!(matches!(judge(&rule(), after(60), &tally(200, 1, 10), &tally(600, 0, 10)), Verdict::Promote(_)));
    }

    #[test]
    fn what_the_others_fail_at_too_is_not_its_fault() {
        let promoted = judge(&rule(), after(60), &tally(400, 40, 10), &tally(1200, 118, 10));
        assert_eq!(
            promoted,
            Verdict::Promote("10.0 % of 400 requests failed, of the others' 1200 9.8 % in 60 s".into())
        );
    }

    #[test]
    fn a_slow_release_is_aborted() {
        assert_eq!(judge(&rule(), after(5), &tally(90, 0, 90), &tally(400, 0, 20)), Verdict::Wait);
        assert!(matches!(judge(&rule(), after(5), &tally(100, 0, 90), &tally(400, 0, 20)), Verdict::Abort(_)));
        assert_eq!(judge(&rule(), after(5), &tally(300, 0, 50), &tally(900, 0, 20)), Verdict::Wait);
        let Verdict::Abort(why) = judge(&rule(), after(60), &tally(300, 0, 50), &tally(900, 0, 20)) else {
            panic!("it is 2.5 times as slow")
        };
        assert_eq!(why, "95 % of its answers took up to 50 ms, 2.5 times the others' 20 ms; at most 2 times may be");
        let patient = CanaryRule { max_latency_ratio: None, ..rule() };
        assert!(matches!(judge(&patient, after(60), &tally(300, 0, 500), &tally(900, 0, 2)), Verdict::Promote(_)));
    }

    #[test]
    fn without_requests_nothing_is_shown() {
        let told = "12 of at least 50 requests have come to it in 60 s";
        let verdict = judge(&rule(), after(61), &tally(12, 0, 10), &tally(40, 0, 10));
        assert_eq!(verdict, Verdict::Unproven(told.into()));
    }

    proptest! {
        #[test]
        fn before_its_time_nothing_is_promoted(requests in 0_u64..10_000, errors in 0_u64..100, p95 in 1_u64..1000) {
            let verdict = judge(&rule(), after(59), &tally(requests, errors.min(requests), p95), &tally(1000, 3, 50));
            prop_assert!(matches!(verdict, Verdict::Wait | Verdict::Abort(_)));
        }

        #[test]
        fn more_failures_never_make_it_better(requests in 50_u64..5000, errors in 0_u64..50, seconds in 0_u64..100) {
            let of = |errors: u64| judge(&rule(), after(seconds), &tally(requests, errors, 10), &tally(2000, 10, 10));
            if matches!(of(errors), Verdict::Abort(_)) {
                prop_assert!(matches!(of(errors + 1), Verdict::Abort(_)));
            }
        }
    }
}
