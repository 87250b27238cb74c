//! The state to be found after a shutdown: nothing runs, and what is wanted is known.

use super::{Saved, SavedApp, SavedPlace, SavedThen};

impl Saved {
    /// Returns the state to be found after a shutdown: what runs is wanted, what is being deleted is gone.
    pub(crate) fn at_rest(mut self) -> Self {
        for app in &mut self.apps {
            app.end_roll();
            app.seats
                .retain(|seat| !matches!(seat.place, SavedPlace::Deleted | SavedPlace::Leaving(_, SavedThen::Delete)));
            for seat in &mut app.seats {
                seat.second = None;
                seat.trial = None;
                seat.queued = None;
                // A run that was cut off is not made up for: its times come again.
                let is_job = app.specs.get(seat.spec).or(app.specs.first()).is_some_and(|spec| spec.job.is_some());
                seat.place = match seat.place {
                    SavedPlace::Waiting { .. } | SavedPlace::Serving(_) if is_job => SavedPlace::Stopped,
                    SavedPlace::Stopped | SavedPlace::Leaving(_, SavedThen::Stop) => SavedPlace::Stopped,
                    SavedPlace::Errored | SavedPlace::Leaving(_, SavedThen::Fail) => SavedPlace::Errored,
                    SavedPlace::Deleted
                    | SavedPlace::Wanted
                    | SavedPlace::Waiting { .. }
                    | SavedPlace::Serving(_)
                    | SavedPlace::Leaving(_, SavedThen::Start { .. } | SavedThen::Delete) => SavedPlace::Wanted,
                };
            }
        }
        self.apps.retain(|app| !app.seats.is_empty());
        self
    }
}

impl SavedApp {
    /// Ends a roll that nobody goes on with: what has not proven itself is not what is wanted.
    fn end_roll(&mut self) {
        let Some(roll) = self.roll.take() else { return };
        let previous = roll.previous.filter(|index| *index < self.specs.len()).unwrap_or(0);
        self.specs.swap(0, previous);
        for (index, ..) in &mut self.history {
            *index = match *index {
                0 => previous,
                index if index == previous => 0,
                index => index,
            };
        }
        self.seats.iter_mut().for_each(|seat| seat.spec = 0);
    }
}
