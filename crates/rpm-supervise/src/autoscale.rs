//! How many workers an app needs, from what they are seen to do. Pure: looks in, changes out.
//!
//! ```text
//! wanted = the most that any target asks for: ready × seen / target, rounded up
//!
//! wanted > workers for `up_after`    → up, by at most `step_up`, never above `max`
//! wanted < workers for `down_after`  → down to the most that was wanted meanwhile, never below `min`
//! ```
//!
//! What keeps it calm: workers that are not ready are waited for; a load that is not half as much again as the target, and
//! not above it without a break for 20 s, waits until `cool_down` has passed since the last change; on the way down a worker is only given up when the rest would be
//! at most 80 % of their targets. So noise makes at most one change in each `cool_down`, and a real step is answered at once.
//! Workers that crash are no reason for more of them.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use rpm_model::{AutoscaleSpec, Load, LoadKind, Moment};
use serde::{Deserialize, Serialize};

/// What is seen of an app at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Its workers.
    pub workers: u32,
    /// Those that serve.
    pub ready: u32,
    /// Whether any of them ends again and again.
    pub is_crashing: bool,
    /// What they carry together.
    pub load: Load,
}

/// A change that is due, with the figures that led to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// How many there are.
    pub from: u32,
    /// How many there should be.
    pub to: u32,
    /// What one worker carries, and should: what asks for most first.
    pub figures: Vec<Figure>,
}

/// What one worker carries of one kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Of what.
    pub kind: LoadKind,
    /// So much.
    pub seen: f64,
    /// So much it should carry.
    pub target: f64,
}

impl Figure {
    /// Returns whether nobody should wait: it is far above its target. A worker whose only thread fills its core cannot
    /// show how much more there is.
    fn is_far_above(&self) -> bool {
        self.seen >= FAR_ABOVE * self.target || (self.kind == LoadKind::Cpu && self.seen >= CORE_FULL)
    }
}

/// `2 → 6 workers: rate 375/s for each of 100/s, cpu 20 % of 70 %`
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {} workers", self.from, self.to)?;
        for (index, Figure { kind, seen, target }) in self.figures.iter().enumerate() {
            let (seen, target) = (kind.amount(*seen), kind.amount(*target));
            match index {
                0 => write!(f, ": {kind} {seen} for each, {target} wanted")?,
                _ => write!(f, "; {kind} {seen}, {target} wanted")?,
            }
        }
        if self.figures.is_empty() {
            f.write_str(": there were more, or fewer, than may be")?;
        }
        Ok(())
    }
}

/// So much above its target a load does not wait for the cool-down.
const FAR_ABOVE: f64 = 1.5;

/// A load that is above its target at every look for so long is no noise: where clients wait for each other, what comes in
/// is no more than what is done, and shows only so much of what is missing.
const STEADILY: Duration = Duration::from_secs(20);

/// Percent of a core at which one thread can hardly do more.
const CORE_FULL: f64 = 90.0;

/// What is left over the targets when a worker is given up.
const HEADROOM: f64 = 0.8;

/// What is remembered of one app.
#[derive(Debug, Clone, Default)]
pub struct Autoscaler {
    /// Since when more are wanted.
    above_since: Option<Moment>,
    /// What was wanted within `down_after`: the newest last, each more than all after it.
    wanted: VecDeque<(Moment, u32)>,
    /// Since when there are looks without a gap.
    since: Option<Moment>,
    pub(crate) changed_at: Option<Moment>,
}

impl Autoscaler {
    /// Takes a look; returns what is to be changed.
    pub fn look(&mut self, now: Moment, policy: &AutoscaleSpec, look: &Look) -> Option<Change> {
        let since = *self.since.get_or_insert(now);
        let change = |to, figures| Change { from: look.workers, to, figures };
        if look.workers > policy.max {
            return Some(self.changes(now, change(policy.max, Vec::new())));
        }
        if look.is_crashing {
            self.above_since = None;
            return None;
        }
        if look.workers < policy.min {
            return Some(self.changes(now, change(policy.min, Vec::new())));
        }
        let figures = figures(policy, look);
        let first = figures.first()?;
        let workers = |carried: f64| {
            (figures.iter().map(|one| one.seen / one.target).fold(0.0, f64::max) / carried
                * f64::from(look.ready.max(1)))
            .ceil() as u32
        };
        let wanted = workers(1.0).clamp(policy.min, policy.max);
        self.remember(now, policy, workers(HEADROOM).clamp(policy.min, policy.max));
        if look.ready < look.workers {
            self.above_since = None;
            return None;
        }
        let to = if wanted > look.workers {
            let above_since = *self.above_since.get_or_insert(now);
            let lasts = now.since(above_since);
            let is_urgent = first.is_far_above() || lasts >= STEADILY.max(policy.up_after * 10);
            if lasts < policy.up_after || (!is_urgent && self.is_cooling(now, policy)) {
                return None;
            }
            wanted.min(look.workers.saturating_add(policy.step_up))
        } else {
            self.above_since = None;
            let kept = self.wanted.front().map_or(wanted, |(_, most)| *most);
            if kept >= look.workers || now.since(since) < policy.down_after || self.is_cooling(now, policy) {
                return None;
            }
            kept.max(look.workers.saturating_sub(policy.step_down))
        };
        Some(self.changes(now, change(to, figures)))
    }

    /// Notes that nobody can look for a while: the workers are being replaced, or somebody else decides.
    pub(crate) fn interrupt(&mut self) {
        *self = Self { changed_at: self.changed_at, ..Self::default() };
    }

    fn changes(&mut self, now: Moment, change: Change) -> Change {
        (self.above_since, self.changed_at) = (None, Some(now));
        change
    }

    fn is_cooling(&self, now: Moment, policy: &AutoscaleSpec) -> bool {
        self.changed_at.is_some_and(|at| now.since(at) < policy.cool_down)
    }

    fn remember(&mut self, now: Moment, policy: &AutoscaleSpec, wanted: u32) {
        while self.wanted.back().is_some_and(|(_, last)| *last <= wanted) {
            self.wanted.pop_back();
        }
        self.wanted.push_back((now, wanted));
        while self.wanted.front().is_some_and(|(at, _)| now.since(*at) > policy.down_after) {
            self.wanted.pop_front();
        }
    }
}

/// Returns what one worker carries of each kind that has a target and is seen; what asks for most first.
pub fn figures(policy: &AutoscaleSpec, look: &Look) -> Vec<Figure> {
    let of = |kind: LoadKind| {
        let target = policy.targets.of(kind).filter(|target| *target > 0.0)?;
        let seen = look.load.of(kind)? / f64::from(look.ready.max(1));
        // A number that reads back from the disk as it was written.
        Some(Figure { kind, seen: (seen * 1000.0).round() / 1000.0, target })
    };
    let mut figures: Vec<Figure> = LoadKind::ALL.into_iter().filter_map(of).collect();
    figures.sort_by(|one, other| (other.seen / other.target).total_cmp(&(one.seen / one.target)));
    figures
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> AutoscaleSpec {
        AutoscaleSpec::new(2, 10, Load { rate: Some(100.0), ..Load::default() })
    }

    /// Plays looks of one second each; a change is carried out and ready at the next look.
    fn play(
        policy: &AutoscaleSpec,
        seconds: u64,
        start: u32,
        rate: impl Fn(u64) -> f64,
        crashing: bool,
    ) -> Vec<(u64, Change)> {
        let (mut scaler, mut workers, mut changes) = (Autoscaler::default(), start, Vec::new());
        for second in 0..seconds {
            let load = Load { rate: Some(rate(second)), ..Load::default() };
            let look = Look { workers, ready: workers, is_crashing: crashing, load };
            let now = Moment::default() + Duration::from_secs(second);
            if let Some(change) = scaler.look(now, policy, &look) {
                workers = change.to;
                changes.push((second, change));
            }
        }
        changes
    }

    #[test]
    fn a_step_to_five_times_the_load_is_answered_within_three_seconds() {
        let changes = play(&policy(), 300, 2, |second| if second < 100 { 150.0 } else { 750.0 }, false);
        let first = &changes[0];
        assert!((100..=103).contains(&first.0) && first.1.to == 6, "{changes:?}");
        assert!(changes[1].0 < 170 && changes[1].1.to == 8, "{changes:?}");
        assert_eq!(changes.len(), 2);
    }

    #[test]
    fn a_day_of_traffic_in_a_second() {
        let day = |second: u64| 500.0 - 450.0 * (second as f64 / 86_400.0 * std::f64::consts::TAU).cos();
        let changes = play(&policy(), 86_400, 2, day, false);
        assert!(changes.len() <= 24, "{}", changes.len());
        assert_eq!(changes.iter().map(|(_, change)| change.to).max(), Some(10));
        assert_eq!(changes.last().unwrap().1.to, 2);
    }

    #[test]
    fn a_crash_loop_gets_no_more_workers() {
        assert_eq!(play(&policy(), 600, 2, |_| 5000.0, true), []);
    }

    /// Plays the CPU of workers with one thread each, that have so much to do together.
    fn cores(seconds: u64, percent: impl Fn(u64) -> f64) -> Vec<(u64, Change)> {
        let policy = AutoscaleSpec::new(1, 10, Load { cpu: Some(70.0), ..Load::default() });
        let (mut scaler, mut workers, mut changes) = (Autoscaler::default(), 1, Vec::new());
        for second in 0..seconds {
            let cpu = percent(second).min(100.0 * f64::from(workers));
            let load = Load { cpu: Some(cpu), ..Load::default() };
            let look = Look { workers, ready: workers, is_crashing: false, load };
            if let Some(change) = scaler.look(Moment::default() + Duration::from_secs(second), &policy, &look) {
                workers = change.to;
                changes.push((second, change));
            }
        }
        changes
    }

    #[test]
    fn workers_that_fill_their_cores_do_not_wait_for_the_cool_down() {
        let changes = cores(60, |second| if second < 10 { 50.0 } else { 500.0 });
        let reached = changes.iter().find(|(_, change)| change.to >= 6).expect("there are enough in the end");
        assert!(reached.0 <= 30, "{changes:?}");
    }

    #[test]
    fn a_change_tells_the_figures() {
        let targets = Load { rate: Some(100.0), cpu: Some(70.0), ..Load::default() };
        let load = Load { rate: Some(750.0), cpu: Some(40.0), ..Load::default() };
        let look = Look { workers: 2, ready: 2, is_crashing: false, load };
        let change = Change { from: 2, to: 6, figures: figures(&AutoscaleSpec::new(2, 10, targets), &look) };
        assert_eq!(change.to_string(), "2 → 6 workers: rate 375/s for each, 100/s wanted; cpu 20 %, 70 % wanted");
    }

    #[test]
    fn a_number_out_of_bounds_is_corrected_whatever_is_seen() {
        let look = |workers, is_crashing| Look { workers, ready: workers, is_crashing, load: Load::default() };
        let to = |look| Autoscaler::default().look(Moment::default(), &policy(), &look).map(|change| change.to);
        assert_eq!(to(look(1, false)), Some(2));
        assert_eq!(to(look(12, false)), Some(10));
        assert_eq!(to(look(1, true)), None, "those that crash get no company");
        assert_eq!(to(look(3, false)), None);
    }

    proptest! {
        #[test]
        fn noise_makes_at_most_one_change_a_minute(base in 200.0..900.0_f64, noise in proptest::collection::vec(-0.3..0.3_f64, 1200)) {
            let start = ((base / 100.0).ceil() as u32).clamp(2, 10);
            let changes = play(&policy(), 1200, start, |second| base * (1.0 + noise[second as usize]), false);
            prop_assert!(changes.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 60), "{:?}", changes);
        }

        #[test]
        fn never_below_min_nor_above_max_nor_by_more_than_a_step(
            rates in proptest::collection::vec(0.0..5000.0_f64, 400), start in 2_u32..=10,
        ) {
            for (_, change) in play(&policy(), 400, start, |second| rates[second as usize / 10], false) {
                prop_assert!((2..=10).contains(&change.to) && change.to != change.from);
                prop_assert!(change.to <= change.from + 4 && change.to + 1 >= change.from);
            }
        }
    }
}
