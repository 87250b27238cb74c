//! A roll that stops after its first workers, and waits for somebody's word.
//!
//! ```text
//!  the first `canary` seats replaced ─▶ paused: the command is answered ─┬─ promote ─▶ the other seats
//!                                                                        └─ abort, or one of them fails ─▶ back
//! ```

use rpm_model::{AppId, WorkerId};

use crate::command::{CommandId, Refusal};
use crate::pending::Goal;
use crate::supervisor::{Supervisor, Turn};

impl Supervisor {
    /// Returns why there is nothing to be promoted or aborted.
    pub(crate) fn may_decide(&self, app: AppId) -> Result<(), Refusal> {
        let app = self.apps.get(&app).ok_or(Refusal::UnknownApp(app))?;
        match app.roll.as_ref().is_some_and(|roll| roll.is_paused) {
            true => Ok(()),
            false => Err(Refusal::NoCanary { app: app.spec.name.clone() }),
        }
    }

    /// Lets a roll wait; whoever asked for it is answered.
    pub(crate) fn pause_roll(&mut self, turn: &mut Turn<'_>, app: AppId) {
        let Some(roll) = self.app_mut(app).and_then(|app| app.roll.as_mut()) else { return };
        roll.is_paused = true;
        let (command, queued) = (roll.command.take(), roll.queue.clone());
        for (worker, _) in queued {
            self.satisfy(turn, worker, &[Goal::Rolled]);
        }
        self.roll_over(turn, command);
    }

    /// Goes on with the other workers.
    pub(crate) fn promote_canary(&mut self, turn: &mut Turn<'_>, id: CommandId, app: AppId) {
        let Some(roll) = self.app_mut(app).and_then(|app| app.roll.as_mut()) else { return };
        (roll.canary, roll.is_paused, roll.command) = (0, false, Some(id));
        let queued: Vec<WorkerId> = roll.queue.iter().map(|(worker, _)| *worker).collect();
        self.wait_for_roll(turn, id, queued);
        self.advance_roll(turn, app);
    }

    /// Puts the old release back.
    pub(crate) fn abort_canary(&mut self, turn: &mut Turn<'_>, id: Option<CommandId>, app: AppId) {
        let now = turn.now;
        let Some(owner) = self.app_mut(app) else { return };
        let Some(roll) = owner.roll.as_mut() else { return };
        let before = std::mem::replace(&mut roll.command, id);
        let dropped = std::mem::take(&mut roll.queue);
        (roll.back, roll.canary, roll.is_paused) = (true, 0, false);
        let changed = |before: &std::sync::Arc<rpm_model::AppSpec>| *before != roll.spec;
        roll.queue = roll.replaced.drain(..).filter(|(_, before)| changed(before)).collect();
        let queued: Vec<WorkerId> = roll.queue.iter().map(|(worker, _)| *worker).collect();
        if let Some(previous) = roll.previous.take() {
            owner.fall_back(previous, now);
        }
        for (worker, _) in dropped {
            self.satisfy(turn, worker, &[Goal::Rolled]);
        }
        self.roll_over(turn, before);
        if let Some(id) = id {
            self.wait_for_roll(turn, id, queued);
        }
        self.advance_roll(turn, app);
    }

    /// Puts the old release back where a worker that runs ahead has failed while others wait.
    pub(crate) fn canary_failed(&mut self, turn: &mut Turn<'_>, worker: WorkerId) {
        let Some(app) = self.app_of(worker) else { return };
        let roll = self.apps.get(&app).and_then(|app| app.roll.as_ref());
        if roll.is_some_and(|roll| roll.is_paused && roll.replaced.iter().any(|(one, _)| *one == worker)) {
            self.abort_canary(turn, None, app);
        }
    }

    fn wait_for_roll(&mut self, turn: &mut Turn<'_>, id: CommandId, workers: Vec<WorkerId>) {
        self.commands.wait_for_roll(id);
        for worker in workers {
            self.enlist(turn, Some(id), worker, Goal::Rolled);
        }
    }
}
