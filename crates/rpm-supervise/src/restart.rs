//! When a worker that ended by itself is started again, and when we give up: a pure function of its policy.

use std::time::Duration;

use rpm_model::{Exit, Moment, RestartPolicy};

/// The longest wait of the exponential backoff (PM2's number).
const BACKOFF_MAX: Duration = Duration::from_secs(15);

/// A worker that was up this long has recovered: its backoff starts anew (PM2's number).
pub(crate) const BACKOFF_RESET: Duration = Duration::from_secs(30);

/// What a seat remembers of its restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Streak {
    /// Unstable runs in a row.
    pub(crate) unstable: u32,
    /// When the first of them began.
    pub(crate) since: Option<Moment>,
    /// The last wait of the exponential backoff.
    pub(crate) backoff: Option<Duration>,
}

/// One run of a worker that ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// When it began.
    pub(crate) started_at: Moment,
    /// When it ended.
    pub(crate) ended_at: Moment,
    /// How it ended; `None` when it could not even be started.
    pub(crate) exit: Option<Exit>,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The worker stays down, as its policy wants.
    Stay,
    /// It failed too often.
    GiveUp {
        /// Unstable runs in a row, with this one.
        unstable: u32,
    },
    /// It is started again.
    Again {
        /// The wait before the start.
        after: Duration,
        /// What to remember.
        streak: Streak,
    },
}

/// Decides what follows a run that nobody asked to end.
///
/// A run shorter than `min_uptime` is unstable, and `max_restarts` of them in a row end the matter. As in PM2 they count
/// only while the row is shorter than `min_uptime × max_restarts`, so a long `restart_delay` or a backoff goes on
/// trying for ever. (PM2 measures that from the creation of the app, so an old app that begins to crash is restarted
/// without end; here each row is measured from its own beginning, and one that has become too long is followed by another.)
pub(crate) fn decide(policy: &RestartPolicy, before: Streak, run: Run) -> Decision {
    let asked_to_stay = matches!(run.exit, Some(Exit::Code(code)) if policy.stop_exit_codes.contains(&code));
    if !policy.autorestart || asked_to_stay {
        return Decision::Stay;
    }
    let uptime = run.ended_at - run.started_at;
    let (unstable, since) = if uptime >= policy.min_uptime {
        (0, None)
    } else {
        let row = policy.min_uptime.saturating_mul(policy.max_restarts.max(1));
        let (before, since) = match before.since.filter(|since| run.ended_at - *since < row) {
            Some(since) => (before.unstable, since),
            None => (0, run.started_at),
        };
        let unstable = before.saturating_add(1);
        if unstable >= policy.max_restarts {
            return Decision::GiveUp { unstable };
        }
        (unstable, Some(since))
    };
    let backoff = policy.exp_backoff.map(|first| match before.backoff {
        Some(last) if uptime < BACKOFF_RESET => grown(last),
        _ => first,
    });
    Decision::Again { after: backoff.unwrap_or(policy.restart_delay), streak: Streak { unstable, since, backoff } }
}

/// Returns the wait after a wait: half as long again, in whole milliseconds.
fn grown(last: Duration) -> Duration {
    let ms = u64::try_from(last.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(ms.saturating_add(ms / 2)).min(BACKOFF_MAX)
}

/// How fast unstable workers are restarted, all of them together.
///
/// One that ends at once is restarted at once, as users of PM2 expect; but fifty of them would keep a CPU busy for
/// nothing. So after a burst their restarts are spread out evenly, and who is well is not disturbed. Who was killed did
/// not end by itself ([`Pace::holds`]): however often somebody kills a hundred workers, all are back at once.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When the burst would be whole again.
    whole_at: Moment,
}

/// 50 a second: an end with its record and its successor cost some 0.8 ms, and all of them less than 5 % of a core.
const PACE: Duration = Duration::from_millis(20);

/// Restarts that come at once: a hundred workers that all fail twice are not slowed down.
const BURST: u32 = 250;

/// No program ends itself so: somebody else did, or the kernel, for memory.
const SIGKILL: i32 = 9;

impl Pace {
    /// Returns whether a restart after such an end waits for its turn.
    pub(crate) fn holds(exit: Option<Exit>) -> bool {
        !matches!(exit, Some(Exit::Signal { signal: SIGKILL, .. }))
    }

    /// Returns when a restart that is due may take place.
    pub(crate) fn take(&mut self, due: Moment) -> Moment {
        let before = Moment(self.whole_at.0.saturating_sub((PACE * BURST).as_micros() as u64));
        self.whole_at = self.whole_at.max(due) + PACE;
        due.max(before)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn run(start_ms: u64, uptime_ms: u64, exit: Exit) -> Run {
        let started_at = Moment(start_ms * 1000);
        Run { started_at, ended_at: started_at + ms(uptime_ms), exit: Some(exit) }
    }

    #[test]
    fn after_a_burst_unstable_workers_are_restarted_evenly() {
        let mut pace = Pace::default();
        let now = Moment(1_000_000);
        for _ in 0..BURST {
            assert_eq!(pace.take(now), now);
        }
        assert_eq!(pace.take(now), now);
        assert_eq!(pace.take(now), now + PACE);
        assert_eq!(pace.take(now), now + PACE * 2);
        let later = now + PACE * (BURST + 10);
        assert_eq!(pace.take(later), later, "it is whole again");
    }

    #[test]
    fn who_was_killed_does_not_wait_for_a_turn() {
        let signal = |signal| Some(Exit::Signal { signal, core: false });
        assert!(!Pace::holds(signal(9)));
        for exit in [signal(11), Some(Exit::Code(1)), Some(Exit::Unknown), None] {
            assert!(Pace::holds(exit), "{exit:?}");
        }
    }

    /// Runs a worker that lives `uptime_ms` each time, until it is given up or `runs` are through.
    fn live(policy: &RestartPolicy, uptime_ms: u64, runs: u32) -> (u32, Streak, Vec<Duration>) {
        let (mut streak, mut now, mut waits) = (Streak::default(), 0, Vec::new());
        for done in 1..=runs {
            match decide(policy, streak, run(now, uptime_ms, Exit::Code(1))) {
                Decision::Again { after, streak: next } => {
                    now += uptime_ms + after.as_millis() as u64;
                    waits.push(after);
                    streak = next;
                }
                Decision::GiveUp { .. } | Decision::Stay => return (done, streak, waits),
            }
        }
        (runs + 1, streak, waits)
    }

    #[test]
    fn sixteen_unstable_runs_in_a_row_are_the_end() {
        let (runs, _, waits) = live(&RestartPolicy::default(), 20, 100);
        assert_eq!(runs, 16);
        assert!(waits.iter().all(Duration::is_zero));
    }

    /// Its row had become too long to count, and it was restarted without end.
    #[test]
    fn a_crash_loop_that_began_slowly_ends_all_the_same() {
        let (policy, mut now) = (RestartPolicy::default(), 20_000);
        let mut streak = Streak { unstable: 3, since: Some(Moment(0)), backoff: None };
        for left in (0..16).rev() {
            match decide(&policy, streak, run(now, 20, Exit::Code(1))) {
                Decision::Again { streak: next, .. } => streak = next,
                other => assert_eq!((other, left), (Decision::GiveUp { unstable: 16 }, 0)),
            }
            now += 20;
        }
    }

    #[test]
    fn a_stable_run_forgives_the_unstable_ones() {
        let before = Streak { unstable: 15, since: Some(Moment(0)), backoff: None };
        let Decision::Again { streak, .. } = decide(&RestartPolicy::default(), before, run(300, 1000, Exit::Code(1)))
        else {
            panic!("a stable run is followed by another")
        };
        assert_eq!(streak, Streak::default());
    }

    #[test]
    fn a_backoff_grows_by_half_up_to_15_s_and_never_gives_up() {
        let policy = RestartPolicy { exp_backoff: Some(ms(100)), ..RestartPolicy::default() };
        let (runs, streak, waits) = live(&policy, 10, 200);
        assert_eq!(runs, 201);
        assert_eq!(&waits[..4], [ms(100), ms(150), ms(225), ms(337)]);
        assert_eq!(streak.backoff, Some(BACKOFF_MAX));
        let Decision::Again { after, .. } = decide(&policy, streak, run(0, 30_000, Exit::Code(1))) else {
            panic!("it is started again")
        };
        assert_eq!(after, ms(100));
    }

    #[test]
    fn a_stop_exit_code_keeps_it_down_but_a_signal_never_does() {
        let policy = RestartPolicy { stop_exit_codes: vec![0, 2], ..RestartPolicy::default() };
        let end = |exit| decide(&policy, Streak::default(), run(0, 5000, exit));
        assert_eq!(end(Exit::Code(2)), Decision::Stay);
        assert!(matches!(end(Exit::Signal { signal: 2, core: false }), Decision::Again { .. }));
        assert!(matches!(end(Exit::Unknown), Decision::Again { .. }));
        let never = RestartPolicy { autorestart: false, ..RestartPolicy::default() };
        assert_eq!(decide(&never, Streak::default(), run(0, 5000, Exit::Code(1))), Decision::Stay);
    }

    proptest! {
        #[test]
        fn whatever_the_policy_a_crash_loop_without_waits_ends(
            min_uptime in 1u64..5000, max_restarts in 0u32..40, uptime in 0u64..5000,
        ) {
            let policy = RestartPolicy { min_uptime: ms(min_uptime), max_restarts, ..RestartPolicy::default() };
            let (runs, streak, _) = live(&policy, uptime, 100);
            if uptime < min_uptime {
                prop_assert_eq!(runs, max_restarts.max(1));
            } else {
                prop_assert_eq!((runs, streak), (101, Streak::default()));
            }
        }

        #[test]
        fn a_wait_is_never_above_the_cap_nor_below_the_wait_before(
            first in 1u64..20_000, uptimes in proptest::collection::vec(0u64..40_000, 1..30),
        ) {
            let policy = RestartPolicy { exp_backoff: Some(ms(first)), ..RestartPolicy::default() };
            let (mut streak, mut now) = (Streak::default(), 0);
            for uptime in uptimes {
                let Decision::Again { after, streak: next } = decide(&policy, streak, run(now, uptime, Exit::Code(1)))
                else { break };
                prop_assert!(after <= BACKOFF_MAX.max(ms(first)));
                if uptime >= 30_000 || streak.backoff.is_none() {
                    prop_assert_eq!(after, ms(first));
                } else {
                    prop_assert!(after >= streak.backoff.unwrap().min(BACKOFF_MAX));
                }
                now += uptime + after.as_millis() as u64;
                streak = next;
            }
        }
    }
}
