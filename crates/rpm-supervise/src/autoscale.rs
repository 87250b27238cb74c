//! How many workers an app needs, from what they are seen to do. Pure: looks in, changes out.
//!
//! ```text
//! wanted = the most that any target asks for: ready × seen / target, rounded up
//!
//! wanted > workers for `up_after`    → up, by at most `step_up`, never above `max`
//! wanted < workers for `down_after`  → down to the most that was wanted meanwhile, never below `min`
//! ```
//!
//! What keeps it calm: workers that are not ready are waited for; a load that is not half as much again as the target waits
//! until `cool_down` has passed since the last change; on the way down a worker is only given up when the rest would be
//! at most 80 % of their targets. So noise makes at most one change in each `cool_down`, and a real step is answered at once.
//! Workers that crash are no reason for more of them.

use std::collections::VecDeque;
use std::time::Duration;

use rpm_model::Moment;

/// What is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Never fewer workers.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// What one worker should carry.
    pub targets: Load,
    /// An overload must last so long.
    pub up_after: Duration,
    /// As must a load that fewer could carry.
    pub down_after: Duration,
    /// At most so many workers more at once.
    pub step_up: u32,
    /// At most so many fewer.
    pub step_down: u32,
    /// Between two changes, unless the load is far above its target.
    pub cool_down: Duration,
}

/// A load by kind; as a target what one worker should carry, as a look what all of them carry together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// Percent of one core.
    pub cpu: Option<f64>,
    /// Bytes.
    pub memory: Option<f64>,
    /// Requests without an answer yet.
    pub in_flight: Option<f64>,
    /// Requests a second.
    pub rate: Option<f64>,
    /// Connections that nobody has accepted yet.
    pub queue: Option<f64>,
}

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
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// How many there are.
    pub from: u32,
    /// How many there should be.
    pub to: u32,
    /// What asked for it.
    pub kind: &'static str,
    /// What one worker carries of it.
    pub seen: f64,
    /// What one worker should.
    pub target: f64,
}

/// So much above its target a load does not wait for the cool-down.
const FAR_ABOVE: f64 = 1.5;

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
    changed_at: Option<Moment>,
}

impl Autoscaler {
    /// Takes a look; returns what is to be changed.
    pub fn look(&mut self, now: Moment, policy: &Policy, look: &Look) -> Option<Change> {
        let since = *self.since.get_or_insert(now);
        let most = most_wanted(policy, look)?;
        let wanted = most.up.clamp(policy.min, policy.max);
        self.remember(now, policy, most.down.clamp(policy.min, policy.max));
        let change = |to| Change { from: look.workers, to, kind: most.kind, seen: most.seen, target: most.target };
        let to = if look.workers < policy.min {
            policy.min
        } else if look.workers > policy.max {
            policy.max
        } else if look.is_crashing || look.ready < look.workers {
            self.above_since = None;
            return None;
        } else if wanted > look.workers {
            let above_since = *self.above_since.get_or_insert(now);
            if now.since(above_since) < policy.up_after
                || (most.seen < FAR_ABOVE * most.target && self.is_cooling(now, policy))
            {
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
        (self.above_since, self.changed_at) = (None, Some(now));
        Some(change(to))
    }

    fn is_cooling(&self, now: Moment, policy: &Policy) -> bool {
        self.changed_at.is_some_and(|at| now.since(at) < policy.cool_down)
    }

    fn remember(&mut self, now: Moment, policy: &Policy, wanted: u32) {
        while self.wanted.back().is_some_and(|(_, last)| *last <= wanted) {
            self.wanted.pop_back();
        }
        self.wanted.push_back((now, wanted));
        while self.wanted.front().is_some_and(|(at, _)| now.since(*at) > policy.down_after) {
            self.wanted.pop_front();
        }
    }
}

struct Most {
    up: u32,
    down: u32,
    kind: &'static str,
    seen: f64,
    target: f64,
}

/// Returns what the kind of load asks for that asks for most; nothing where none can be seen.
fn most_wanted(policy: &Policy, look: &Look) -> Option<Most> {
    let (targets, load) = (&policy.targets, &look.load);
    let kinds = [
        ("cpu", targets.cpu, load.cpu),
        ("memory", targets.memory, load.memory),
        ("in_flight", targets.in_flight, load.in_flight),
        ("rate", targets.rate, load.rate),
        ("queue", targets.queue, load.queue),
    ];
    let asked = kinds.into_iter().filter_map(|(kind, target, load)| {
        let (target, load) = (target.filter(|target| *target > 0.0)?, load?);
        let up = (load / target).ceil().max(0.0) as u32;
        let down = (load / (target * HEADROOM)).ceil().max(0.0) as u32;
        Some(Most { up, down, kind, seen: load / f64::from(look.ready.max(1)), target })
    });
    asked.max_by(|one, other| (one.seen / one.target).total_cmp(&(other.seen / other.target)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> Policy {
        Policy {
            min: 2,
            max: 10,
            targets: Load { rate: Some(100.0), ..Load::default() },
            up_after: Duration::from_secs(2),
            down_after: Duration::from_secs(60),
            step_up: 4,
            step_down: 1,
            cool_down: Duration::from_secs(60),
        }
    }

    /// Plays looks of one second each; a change is carried out and ready at the next look.
    fn play(
        policy: &Policy,
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
        let first = changes[0];
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
