//! How many workers an app has: seats that are added, and seats that are given up.

use std::collections::BTreeSet;
use std::sync::Arc;

use rpm_model::{AppId, WorkerId};

use crate::command::CommandId;
use crate::effect::Cause;
use crate::pending::Goal;
use crate::seat::{Seat, Then};
use crate::supervisor::{Supervisor, Turn};

impl Supervisor {
    /// Adds or takes away workers until there are so many.
    pub(crate) fn rescale(
        &mut self,
        turn: &mut Turn<'_>,
        command: Option<CommandId>,
        app: AppId,
        instances: u32,
        cause: Cause,
    ) {
        let Some(owner) = self.app_mut(app) else { return };
        for spec in [&mut owner.spec].into_iter().chain(owner.roll.as_mut().and_then(|roll| roll.previous.as_mut())) {
            if spec.instances != instances {
                Arc::make_mut(spec).instances = instances;
            }
        }
        let missing = instances.saturating_sub(self.staying(app).len() as u32);
        for worker in self.surplus(app, instances) {
            self.quit_roll(worker);
            self.enlist(turn, command, worker, Goal::Gone);
            self.leave(turn, worker, Then::Delete, cause, true);
        }
        for worker in self.add_seats(turn, app, missing) {
            self.enlist(turn, command, worker, Goal::Up);
            if self.register_job(worker, true) {
                self.satisfy(turn, worker, &[Goal::Up]);
                continue;
            }
            self.spawn(turn, worker, cause, false);
            // What is started in the middle of a roll has its turn after the others.
            if let Some(roll) = self.app_mut(app).and_then(|app| app.roll.as_mut())
                && roll.previous.is_some()
            {
                roll.queue.push_back((worker, roll.spec.clone()));
            }
        }
    }

    /// Returns the workers that leave when the app is to have so many: the lowest ids.
    pub(crate) fn surplus(&self, app: AppId, instances: u32) -> Vec<WorkerId> {
        let mut staying = self.staying(app);
        staying.truncate(staying.len().saturating_sub(instances as usize));
        staying
    }

    /// Returns the app's workers that are not being deleted.
    pub(crate) fn staying(&self, app: AppId) -> Vec<WorkerId> {
        let Some(app) = self.apps.get(&app) else { return Vec::new() };
        let stays = |worker: &&WorkerId| self.seats.get(worker).is_some_and(|seat| !seat.is_doomed());
        app.workers.iter().filter(stays).copied().collect()
    }

    /// Returns those of the workers that are not being deleted, each once.
    pub(crate) fn not_doomed(&self, workers: Vec<WorkerId>) -> Vec<WorkerId> {
        let workers: BTreeSet<WorkerId> = workers.into_iter().collect();
        workers.into_iter().filter(|worker| self.seats.get(worker).is_some_and(|seat| !seat.is_doomed())).collect()
    }

    /// Adds empty seats with the lowest free instance numbers. As in PM2, apps of one name share the numbers.
    pub(crate) fn add_seats(&mut self, turn: &mut Turn<'_>, app: AppId, number: u32) -> Vec<WorkerId> {
        let Some(owner) = self.apps.get(&app).filter(|_| number > 0) else { return Vec::new() };
        let spec = owner.proven().clone();
        let namesakes = self.apps.values().filter(|app| app.spec.name == spec.name);
        let workers = namesakes.flat_map(|app| &app.workers);
        let taken: BTreeSet<u32> = workers.filter_map(|worker| Some(self.seats.get(worker)?.instance)).collect();
        let free: Vec<u32> = (0..).filter(|instance| !taken.contains(instance)).take(number as usize).collect();
        let mut added = Vec::with_capacity(free.len());
        for instance in free {
            let worker = WorkerId(self.next_worker);
            self.next_worker += 1;
            let seat = Seat::new(worker, app, instance, spec.clone(), self.generation_floor, turn.now);
            self.seats.insert(worker, seat);
            if let Some(owner) = self.app_mut(app) {
                owner.workers.insert(worker);
            }
            added.push(worker);
        }
        added
    }
}
