//! The last hour of each app, for charts.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rpm_model::AppId;
use serde::Serialize;

/// Between two points.
pub(crate) const EVERY: Duration = Duration::from_secs(5);

/// An hour of them: 17 KiB an app.
const POINTS_MAX: usize = 720;

/// Apps beyond this many have no history: 4.3 MiB in all.
const APPS_MAX: usize = 256;

/// How an app was at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Point {
    /// Seconds since the Unix epoch.
    pub(crate) at: u32,
    /// Percent of one core, of all workers together.
    pub(crate) cpu: f32,
    /// Bytes, of all workers together.
    pub(crate) memory: f32,
    /// Requests a second.
    pub(crate) rate: f32,
    /// Requests without an answer yet.
    pub(crate) in_flight: f32,
    /// Milliseconds that 99 of 100 requests took at most; nothing where there were none.
    pub(crate) p99: Option<f32>,
}

/// The last hour.
#[derive(Debug, Default)]
pub(crate) struct History {
    last: Option<Instant>,
    apps: BTreeMap<AppId, VecDeque<Point>>,
}

impl History {
    /// Takes a point of every app, if the last one is long enough ago; apps that are gone are forgotten.
    pub(crate) fn note(&mut self, now: Instant, points: impl Iterator<Item = (AppId, Point)>) {
        if self.last.is_some_and(|last| now.duration_since(last) < EVERY) {
            return;
        }
        self.last = Some(now);
        let mut before = std::mem::take(&mut self.apps);
        for (app, point) in points.take(APPS_MAX) {
            let mut kept = before.remove(&app).unwrap_or_default();
            while kept.len() >= POINTS_MAX {
                kept.pop_front();
            }
            kept.push_back(point);
            self.apps.insert(app, kept);
        }
    }

    /// Returns the points of an app, oldest first.
    pub(crate) fn of(&self, app: AppId) -> Vec<Point> {
        self.apps.get(&app).map(|points| points.iter().copied().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(at: u32) -> Point {
        Point { at, cpu: 1.0, memory: 2.0, rate: 3.0, in_flight: 4.0, p99: None }
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_forgets_apps_that_are_gone(apps in 0_u32..400, rounds in 1_u32..900) {
            let mut history = History::default();
            let start = Instant::now();
            for round in 0..rounds {
                let count = if round % 2 == 0 { apps } else { apps.min(3) };
                history.note(start + EVERY * round, (0..count).map(|app| (AppId(app), point(round))));
                // Too soon: not noted.
                history.note(start + EVERY * round + EVERY / 2, std::iter::empty());
            }
            prop_assert!(history.apps.len() <= APPS_MAX);
            let first = history.of(AppId(0));
            prop_assert_eq!(first.len(), if apps == 0 { 0 } else { (rounds as usize).min(POINTS_MAX) });
            prop_assert!(first.windows(2).all(|pair| pair[0].at < pair[1].at));
            prop_assert!(history.of(AppId(5)).len() <= 1);
        }
    }
}
