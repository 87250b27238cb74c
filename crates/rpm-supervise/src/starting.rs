//! A process from its start until it is ready.

use std::time::Duration;

use rpm_model::{Life, Moment, WorkerId};

use crate::command::FailureCause;
use crate::effect::{Cause, Effect, Happening, Warning};
use crate::ending::End;
use crate::event::Taken;
use crate::pending::Goal;
use crate::process::{Phase, Process, Readiness, Told, Trial};
use crate::seat::{Place, Seat};
use crate::supervisor::{Supervisor, Turn};

impl Seat {
    /// Asks for a process; the caller gives it its place.
    pub(crate) fn launch(&mut self, turn: &mut Turn<'_>, cause: Cause, trial: Option<Trial>, restarts: u32) -> Process {
        self.generation += 1;
        let life = Life::new(self.id, self.generation);
        let spec = self.trial.as_ref().unwrap_or(&self.spec).clone();
        turn.ask_for(Effect::Spawn {
            life,
            app: self.app,
            spec: spec.clone(),
            instance: self.instance,
            restarts,
            unstable: self.streak.unstable,
            created_at: self.created_at,
        });
        Process::new(life, spec, cause, trial, turn.now)
    }
}

impl Supervisor {
    /// Starts a process in an empty place; `again` counts it as a restart.
    pub(crate) fn spawn(&mut self, turn: &mut Turn<'_>, worker: WorkerId, cause: Cause, again: bool) {
        let Some(seat) = self.seat_mut(worker) else { return };
        seat.restarts = seat.restarts.saturating_add(u32::from(again));
        let trial = seat.trial.is_some().then_some(Trial { must_listen: false });
        let process = seat.launch(turn, cause, trial, seat.restarts);
        seat.place = Place::Serving(process);
        for waiter in seat.waiters.iter_mut().filter(|waiter| waiter.goal == Goal::NextRun) {
            waiter.goal = Goal::Run;
        }
        (seat.is_held, seat.has_ended) = (false, false);
        seat.why = None;
    }

    pub(crate) fn spawned(&mut self, turn: &mut Turn<'_>, life: Life, pid: i32, at: Moment) {
        let Some(process) = self.process_mut(life) else { return };
        process.pid = Some(pid);
        process.started_at = at;
        let cause = process.cause;
        let phase = process.phase;
        if phase == Phase::Spawning {
            process.phase = Phase::Starting;
        }
        turn.publish(life.worker, Happening::Started { cause });
        match phase {
            Phase::Spawning => {
                turn.ask_for(Effect::WatchSettling { life });
                self.check_ready(turn, life);
            }
            // It was not there yet when it was sent the signal.
            Phase::Stopping { .. } => turn.ask_for(Effect::Ask { life }),
            Phase::Killed { .. } | Phase::Stuck => turn.ask_for(Effect::Kill { life }),
            Phase::Starting | Phase::Online | Phase::Draining { .. } | Phase::Sweeping(_) => {}
        }
    }

    pub(crate) fn spawn_failed(&mut self, turn: &mut Turn<'_>, life: Life, why: String) {
        if self.process(life).is_some_and(|process| process.phase != Phase::Spawning && process.pid.is_some()) {
            return;
        }
        self.ended(turn, life, End::NotStarted(why), false);
    }

    /// Takes down what a process tells of its boot.
    pub(crate) fn told(&mut self, turn: &mut Turn<'_>, life: Life, what: fn(&mut Told) -> &mut bool) {
        // Nothing is written down for what was known already.
        let Some(mut told) = self.process(life).map(|process| process.told) else { return };
        if std::mem::replace(what(&mut told), true) {
            return;
        }
        let Some(process) = self.process_mut(life) else { return };
        process.told = told;
        self.check_ready(turn, life);
    }

    pub(crate) fn check_ready(&mut self, turn: &mut Turn<'_>, life: Life) {
        let Some(process) = self.process(life) else { return };
        if process.phase != Phase::Starting {
            return;
        }
        match process.readiness(turn.now) {
            Readiness::Ready => self.became_ready(turn, life),
            Readiness::Wait(_) => {}
            Readiness::Late { waited } if process.trial.is_some() => {
                self.roll_failed(turn, life.worker, FailureCause::NotReady { waited });
            }
            Readiness::Late { waited } if process.spec.health.is_some() => {
                self.give_up_starting(turn, life, FailureCause::NotReady { waited });
            }
            Readiness::Late { waited } => {
                self.warn_not_ready(turn, life.worker, waited);
                self.became_ready(turn, life);
            }
        }
    }

    fn warn_not_ready(&mut self, turn: &mut Turn<'_>, worker: WorkerId, waited: Duration) {
        let Some(seat) = self.seats.get(&worker) else { return };
        let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        for waiter in seat.waiters.iter().filter(|waiter| waiter.goal == Goal::Up) {
            let warning = Warning::NotReadyInTime { worker, waited_ms };
            turn.ask_for(Effect::Warn { command: waiter.command, warning });
        }
    }

    fn became_ready(&mut self, turn: &mut Turn<'_>, life: Life) {
        let Some(seat) = self.seat_mut(life.worker) else { return };
        let incoming = seat.incoming().is_some_and(|process| process.life == life);
        let Some(process) = seat.process_mut(life.generation) else { return };
        process.phase = Phase::Online;
        process.ready = true;
        let proven_at = process.proven_from(turn.now);
        if process.trial.is_some() && proven_at > turn.now {
            process.proven_at = Some(proven_at);
        } else {
            process.trial = None;
        }
        let is_proven = process.proven_at.is_none();
        turn.ask_for(Effect::Admit { life });
        turn.publish(life.worker, Happening::Online);
        if is_proven {
            self.proven(turn, life, incoming);
        }
    }

    /// Ends the trial of a process that has stayed ready for long enough.
    pub(crate) fn trial_is_over(&mut self, turn: &mut Turn<'_>, life: Life) {
        let Some(seat) = self.seat_mut(life.worker) else { return };
        let incoming = seat.incoming().is_some_and(|process| process.life == life);
        if let Some(process) = seat.process_mut(life.generation) {
            (process.trial, process.proven_at) = (None, None);
        }
        self.proven(turn, life, incoming);
    }

    fn proven(&mut self, turn: &mut Turn<'_>, life: Life, incoming: bool) {
        if incoming {
            self.promote(turn, life.worker);
        } else {
            self.trial_passed(turn, life.worker);
        }
        self.satisfy(turn, life.worker, &[Goal::Up]);
    }

    /// Handles an address that a process could not have.
    pub(crate) fn bind_failed(&mut self, turn: &mut Turn<'_>, life: Life, taken: Taken) {
        let Some(seat) = self.seats.get(&life.worker) else { return };
        let incoming = seat.incoming().is_some_and(|process| process.life == life);
        let Some(process) = seat.process(life.generation) else { return };
        let wanted = incoming || matches!(&seat.place, Place::Serving(first) if first.life == life);
        if !wanted {
            return;
        }
        if process.trial.is_some() {
            self.roll_failed(turn, life.worker, FailureCause::Taken(taken));
        } else if let Some(command) = self.is_being_created(seat.app) {
            self.abort_start(turn, command, life.worker, taken);
        } else {
            // The process itself decides what becomes of it; mostly it ends, and that is a crash like any other.
            self.disappoint(turn, life.worker, &[Goal::Up], FailureCause::Taken(taken));
        }
    }
}
