//! Whether a saved state can have been written by us.

use rpm_model::AppSpec;

use super::{Saved, SavedSeat};

/// A thousand restarts a second for 24 days.
const ABSURD: u32 = u32::MAX / 2;

impl Saved {
    /// Returns what shows that this was never written by us: numbers that no machine comes to, from which counting on
    /// would end in an overflow.
    pub fn absurdity(&self) -> Option<&'static str> {
        let seats = || self.apps.iter().flat_map(|app| &app.seats);
        let mut specs = self.apps.iter().flat_map(|app| &app.specs);
        let ids = [self.next_app, self.next_worker].into_iter().chain(self.apps.iter().map(|app| app.id.0));
        let ids = ids.chain(seats().map(|seat| seat.id.0));
        let counts = seats().flat_map(|seat| [seat.restarts, seat.unstable, seat.instance]);
        let generations = [self.generation_floor, self.generation_seen].into_iter();
        let generations = generations.chain(seats().map(|seat| seat.generation));
        let generations = generations.chain(seats().flat_map(SavedSeat::processes).map(|process| process.generation));
        if ids.max() > Some(ABSURD) || counts.max() > Some(ABSURD) {
            Some("a number in it is absurd")
        } else if generations.max() > Some(u64::from(ABSURD)) {
            Some("a generation in it is absurd")
        } else if specs.any(|spec| spec.instances > AppSpec::INSTANCES_MAX) {
            Some("a number of instances in it is absurd")
        } else {
            None
        }
    }
}
