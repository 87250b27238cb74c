//! Jobs: apps that run to their end at their times. Whoever keeps the time says that it has come ([`Command::Run`]); what
//! follows is decided here.
//!
//! ```text
//! Stopped, Errored ── its time ──▶ Serving ──▶ (ended) ──▶ Stopped
//!                                     │ its time: Skip → told; Queue → once more afterwards; Replace → stopped, then anew
//! ```
//!
//! A seat of a job that was stopped by hand is *parked*: its times pass until it is run or defined anew.
//!
//! [`Command::Run`]: crate::Command::Run

use rpm_model::{AppId, Overlap, WorkerId};

use crate::command::{CommandId, Refusal};
use crate::effect::{Cause, Happening};
use crate::pending::Goal;
use crate::seat::{Place, Then};
use crate::supervisor::{Supervisor, Turn};

impl Supervisor {
    pub(crate) fn may_run(&self, workers: &[WorkerId], cause: Cause) -> Result<(), Refusal> {
        workers.iter().try_for_each(|worker| self.known(*worker))?;
        self.some_stay(workers)?;
        for worker in workers {
            let Some(app) = self.app_of(*worker).and_then(|app| self.apps.get(&app)) else { continue };
            let name = || app.spec.name.clone();
            let job = app.spec.job.as_ref().ok_or_else(|| Refusal::NoJob { app: name() })?;
            if cause == Cause::Run && job.on_overlap == Overlap::Skip && self.is_busy(*worker) {
                return Err(Refusal::RunsAlready { app: name() });
            }
        }
        Ok(())
    }

    pub(crate) fn run_jobs(&mut self, turn: &mut Turn<'_>, id: CommandId, workers: Vec<WorkerId>, cause: Cause) {
        for worker in self.not_doomed(workers) {
            let Some(app) = self.app_of(worker).and_then(|app| self.apps.get(&app)) else { continue };
            let (spec, by_hand) = (app.spec.clone(), cause == Cause::Run);
            let Some(overlap) = spec.job.as_ref().map(|job| job.on_overlap) else { continue };
            let is_busy = self.is_busy(worker);
            if by_hand {
                self.enlist(turn, Some(id), worker, Goal::NextRun);
            }
            let Some(seat) = self.seat_mut(worker) else { continue };
            if by_hand {
                seat.is_parked = false;
            } else if seat.is_parked {
                continue;
            }
            seat.spec = spec;
            match overlap {
                _ if !is_busy => self.start_when_possible(turn, worker, cause),
                Overlap::Queue if seat.queued.is_none() => {
                    seat.queued = Some(cause);
                    turn.publish(worker, Happening::Queued);
                }
                // For whoever waits for the next run there is one.
                Overlap::Queue if by_hand => {}
                Overlap::Skip | Overlap::Queue => turn.publish(worker, Happening::Skipped),
                Overlap::Replace => {
                    let then = Then::Start { at: turn.now, cause, again: false };
                    self.leave(turn, worker, then, cause, false);
                }
            }
        }
    }

    /// Takes up a new seat, if it is one of a job: it waits for its times, or is parked. Returns whether it is.
    pub(crate) fn register_job(&mut self, worker: WorkerId, wanted: bool) -> bool {
        let Some(seat) = self.seat_mut(worker).filter(|seat| seat.spec.job.is_some()) else { return false };
        seat.is_parked = !wanted;
        true
    }

    /// Lets the times of a job pass that somebody stops.
    pub(crate) fn park_job(&mut self, worker: WorkerId) {
        if let Some(seat) = self.seat_mut(worker) {
            seat.queued = None;
            seat.is_parked = seat.spec.job.is_some();
        }
    }

    /// Lets the seats of a job know its new spec. A run that is under way ends as it began.
    pub(crate) fn redefine_job(&mut self, app: AppId) {
        let Some(app) = self.apps.get(&app).filter(|app| app.spec.job.is_some()) else { return };
        let (spec, workers) = (app.spec.clone(), app.workers.clone());
        for worker in workers {
            if let Some(seat) = self.seat_mut(worker).filter(|seat| seat.spec.job.is_some()) {
                seat.spec = spec.clone();
                seat.is_parked = false;
            }
        }
    }

    /// Returns whether a seat was one of an app that runs for ever, and is one of a job from now on.
    pub(crate) fn becomes_job(&self, worker: WorkerId) -> bool {
        let Some(seat) = self.seats.get(&worker) else { return false };
        let app = self.apps.get(&seat.app);
        seat.spec.job.is_none() && app.is_some_and(|app| app.spec.job.is_some())
    }

    /// Ends what ran for ever in a seat that is one of a job from now on.
    pub(crate) fn end_service(&mut self, turn: &mut Turn<'_>, id: CommandId, worker: WorkerId) {
        self.quit_roll(worker);
        self.enlist(turn, Some(id), worker, Goal::Down);
        let spec = self.app_of(worker).and_then(|app| self.apps.get(&app)).map(|app| app.spec.clone());
        if let (Some(spec), Some(seat)) = (spec, self.seat_mut(worker)) {
            seat.spec = spec;
        }
        self.leave(turn, worker, Then::Stop, Cause::Restart, false);
    }

    /// Returns whether a run is under way, or about to begin.
    fn is_busy(&self, worker: WorkerId) -> bool {
        let Some(seat) = self.seats.get(&worker) else { return false };
        match &seat.place {
            Place::Stopped | Place::Errored | Place::Deleted => false,
            Place::Waiting { .. } | Place::Serving(_) | Place::Leaving(..) => true,
        }
    }
}
