//! Many changes, one restart: a machine that waits until the files are quiet.
//!
//! ```text
//!            change              quiet, or long enough
//!  Idle ────────────▶ Waiting ────────────────────────▶ Restarting ──── restart over ───▶ Idle
//!                      ▲  │ change: waits again           │    ▲
//!                      │  └──┘                    change  │    │
//!                      │                                  ▼    │ too often in a row: the app changes its own files
//!                      └────── restart over ──── Restarting, missed one
//! ```
//!
//! A change during a restart may have come too late for the new process, so one more restart follows. (PM2 drops it.)

use std::path::PathBuf;
use std::time::Duration;

use rpm_model::Moment;

/// The least wait: editors and compilers write several files in one go, and a file in several pieces.
const QUIET: Duration = Duration::from_millis(100);

/// The longest that further changes put a restart off, beyond the app's own delay: something may change all the time.
const LONGEST: Duration = Duration::from_secs(5);

/// So many restarts, each with a change while it ran, are no coincidence: the app itself writes what is watched. From
/// then on changes during a restart are dropped, as PM2 does always, so that the app comes to rest.
const IN_A_ROW_MAX: u32 = 5;

/// The changes of one app, and what is to be done about them.
#[derive(Debug)]
pub struct Quiet {
    delay: Duration,
    state: State,
    /// Restarts in a row that were due to a change during the one before.
    in_a_row: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Nothing has changed.
    Idle,
    /// This was the first to change; a restart follows.
    Waiting { what: PathBuf, since: Moment, until: Moment },
    /// A restart is under way; this has changed since it began.
    Restarting { missed: Option<PathBuf> },
}

/// What follows the end of a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing has changed meanwhile.
    Rest,
    /// Something has: another restart is due soon.
    Again,
    /// Something has, as in the restarts before, so the app is changing it: nothing more is done about this file.
    Dropped(PathBuf),
}

impl Quiet {
    /// Returns a machine that waits `delay` after the last change.
    pub fn new(delay: Duration) -> Self {
        Self { delay: delay.max(QUIET), state: State::Idle, in_a_row: 0 }
    }

    /// Changes the wait; what waits already is not affected.
    pub fn set_delay(&mut self, delay: Duration) {
        self.delay = delay.max(QUIET);
    }

    /// Takes a change.
    pub fn changed(&mut self, now: Moment, what: PathBuf) {
        match &mut self.state {
            State::Idle => self.state = State::Waiting { what, since: now, until: now + self.delay },
            State::Waiting { since, until, .. } => *until = (now + self.delay).min(*since + self.delay + LONGEST),
            State::Restarting { missed } => {
                missed.get_or_insert(what);
            }
        }
    }

    /// Returns when a restart is due.
    pub fn due(&self) -> Option<Moment> {
        match self.state {
            State::Waiting { until, .. } => Some(until),
            State::Idle | State::Restarting { .. } => None,
        }
    }

    /// Begins the restart that is due, if there is one; returns what has changed.
    pub fn begin(&mut self, now: Moment) -> Option<PathBuf> {
        match &mut self.state {
            State::Waiting { what, until, .. } if *until <= now => {
                let what = std::mem::take(what);
                self.state = State::Restarting { missed: None };
                Some(what)
            }
            State::Idle | State::Waiting { .. } | State::Restarting { .. } => None,
        }
    }

    /// Returns whether a restart is under way.
    pub fn is_restarting(&self) -> bool {
        matches!(self.state, State::Restarting { .. })
    }

    /// Takes the end of the restart, however it went.
    pub fn over(&mut self, now: Moment) -> Verdict {
        let State::Restarting { missed } = &mut self.state else { return Verdict::Rest };
        let missed = missed.take();
        self.state = State::Idle;
        match missed {
            None => {
                self.in_a_row = 0;
                Verdict::Rest
            }
            Some(what) if self.in_a_row >= IN_A_ROW_MAX => Verdict::Dropped(what),
            Some(what) => {
                self.in_a_row += 1;
                self.changed(now, what);
                Verdict::Again
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(ms: u64) -> Moment {
        Moment(ms * 1000)
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_is_one_restart_after_its_last_change() {
        let mut quiet = Quiet::new(ms(200));
        for change in 0..500 {
            quiet.changed(at(change), format!("/f{change}").into());
        }
        assert_eq!(quiet.due(), Some(at(699)));
        assert_eq!(quiet.begin(at(698)), None);
        assert_eq!(quiet.begin(at(699)), Some("/f0".into()));
        assert_eq!(quiet.over(at(900)), Verdict::Rest);
        assert_eq!(quiet.due(), None);
    }

    #[test]
    fn changes_without_end_do_not_put_a_restart_off_for_ever() {
        let mut quiet = Quiet::new(ms(0));
        let begun = (0..10_000).find(|time| {
            quiet.changed(at(*time), "/f".into());
            quiet.begin(at(*time)).is_some()
        });
        assert_eq!(begun, Some(5100));
    }

    #[test]
    fn changes_during_a_restart_are_one_more_restart() {
        let mut quiet = Quiet::new(ms(0));
        quiet.changed(at(0), "/a".into());
        assert_eq!(quiet.begin(at(100)), Some("/a".into()));
        quiet.changed(at(150), "/b".into());
        quiet.changed(at(160), "/c".into());
        assert_eq!(quiet.due(), None, "not before the first is over");
        assert_eq!(quiet.over(at(1000)), Verdict::Again);
        assert_eq!(quiet.begin(at(1100)), Some("/b".into()));
        assert_eq!(quiet.over(at(2000)), Verdict::Rest);
        assert_eq!(quiet.due(), None);
    }

    #[test]
    fn an_app_that_writes_its_own_files_comes_to_rest() {
        let mut quiet = Quiet::new(ms(0));
        quiet.changed(at(0), "/code".into());
        let mut restarts = 0;
        let mut now = 0;
        while let Some(due) = quiet.due() {
            assert!(quiet.begin(due).is_some());
            restarts += 1;
            now = due.0 / 1000 + 50;
            quiet.changed(at(now), "/cache".into());
            if quiet.over(at(now + 50)) == Verdict::Dropped("/cache".into()) {
                break;
            }
        }
        assert_eq!(restarts, 1 + IN_A_ROW_MAX);
        // A change at rest still counts.
        quiet.changed(at(now + 1000), "/code".into());
        assert!(quiet.due().is_some());
    }

    proptest! {
        /// Changes come at any times, restarts take any time.
        #[test]
        fn no_change_is_lost_and_restarts_are_bounded(
            delay in 0u64..500,
            gaps in proptest::collection::vec(0u64..2000, 1..60),
            took in proptest::collection::vec(1u64..1500, 1..60),
        ) {
            let mut quiet = Quiet::new(ms(delay));
            let mut changes: Vec<u64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let number = changes.len();
            changes.reverse();
            let (mut begun, mut over_at, mut turns) = (Vec::new(), None::<u64>, 0);
            let mut dropped = false;
            let mut last = 0;
            while let Some(now) = [changes.last().copied(), quiet.due().map(|due| due.0 / 1000), over_at]
                .into_iter().flatten().min()
            {
                turns += 1;
                prop_assert!(turns < 10_000);
                if over_at == Some(now) {
                    over_at = None;
                    dropped |= matches!(quiet.over(at(now)), Verdict::Dropped(_));
                } else if changes.last() == Some(&now) {
                    changes.pop();
                    last = now;
                    quiet.changed(at(now), format!("/{now}").into());
                } else {
                    prop_assert!(over_at.is_none(), "two restarts at once");
                    prop_assert!(quiet.begin(at(now)).is_some());
                    over_at = Some(now + took[begun.len() % took.len()]);
                    begun.push(now);
                }
            }
            let restarted_after = begun.last().copied().unwrap_or_default();
            prop_assert!(restarted_after >= last || dropped, "the change at {last} is lost: {begun:?}");
            prop_assert!(begun.len() <= number, "no change gives two restarts: {begun:?}");
            for pair in begun.windows(2) {
                prop_assert!(pair[1] - pair[0] >= delay.max(100));
            }
        }
    }
}
