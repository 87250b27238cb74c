//! Whether a process is well, by what it answers to its health checks, and what follows when it is not.
//!
//! ```text
//!             rise passes                  fall failures
//!  unknown ────────────────▶ well ────────────────────────▶ ill ──▶ out of rotation, then replaced
//!     │                       ▲                               │
//!     │                       └───────────── rise passes ─────┘     (in rotation again)
//!     └─ fall failures after start_period ─────────────────────────▶ given up: a start or a roll has failed
//! ```
//!
//! The count itself is not written down, and costs no write: a new daemon counts anew from the last verdict.

use rpm_model::{HealthSpec, Life, Moment, WorkerId};

use crate::command::FailureCause;
use crate::effect::{Cause, Effect, Happening};
use crate::event::Trouble;
use crate::pending::Goal;
use crate::process::Phase;
use crate::seat::{Place, Then};
use crate::supervisor::{Supervisor, Turn};

/// What the health checks of one process have shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Checks {
    passes: u32,
    failures: u32,
    /// Whether it was ill because it did not answer.
    hangs: bool,
    well: Option<bool>,
}

/// What one answer changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing.
    Same,
    /// It is well from now on.
    Well,
    /// It is ill from now on.
    Ill,
    /// It was ill and is so still.
    StillIll,
}

impl Checks {
    /// Returns what was written down of a process.
    pub(crate) fn found(well: Option<bool>) -> Self {
        Self { well, ..Self::default() }
    }

    /// Returns whether it was last found well, or ill, if either.
    pub(crate) fn verdict(self) -> Option<bool> {
        self.well
    }

    pub(crate) fn is_well(self) -> bool {
        self.well == Some(true)
    }

    /// Returns whether it was found to hang.
    pub(crate) fn hangs(self) -> bool {
        self.is_ill() && self.hangs
    }

    pub(crate) fn is_ill(self) -> bool {
        self.well == Some(false)
    }

    /// Takes one answer; a failure is forgiven in the `start_period` of a process that was never well.
    fn take(&mut self, passed: bool, spec: &HealthSpec, started_at: Moment, now: Moment) -> Verdict {
        if passed {
            self.failures = 0;
            self.passes = self.passes.saturating_add(1);
            if self.is_well() || self.passes < spec.rise {
                return Verdict::Same;
            }
            self.well = Some(true);
            return Verdict::Well;
        }
        self.passes = 0;
        if self.well.is_none() && now < started_at + spec.start_period {
            return Verdict::Same;
        }
        self.failures = self.failures.saturating_add(1);
        match self.well {
            Some(false) => Verdict::StillIll,
            _ if self.failures < spec.fall => Verdict::Same,
            Some(true) | None => {
                self.well = Some(false);
                Verdict::Ill
            }
        }
    }
}

impl Supervisor {
    /// Takes the answer to a question about a process's health.
    pub(crate) fn probed(&mut self, turn: &mut Turn<'_>, life: Life, found: Result<(), Trouble>) {
        // Not `seat_mut`: counting alone is not written down.
        let process = self.seats.get_mut(&life.worker).and_then(|seat| seat.process_mut(life.generation));
        let Some(process) = process.filter(|process| matches!(process.phase, Phase::Starting | Phase::Online)) else {
            return;
        };
        let spec = process.spec.clone();
        let Some(health) = &spec.health else { return };
        let is_online = process.phase == Phase::Online;
        match (process.checks.take(found.is_ok(), health, process.started_at, turn.now), found) {
            (Verdict::Same, _) => {}
            (Verdict::Well, _) => {
                let Some(seat) = self.seat_mut(life.worker) else { return };
                if is_online {
                    seat.why = None;
                    self.recovered(turn, life);
                } else {
                    self.check_ready(turn, life);
                }
            }
            (Verdict::Ill, Err(trouble)) if is_online => self.fell_ill(turn, life, trouble),
            (Verdict::StillIll, Err(_)) if is_online => self.replace_ill(turn, life.worker),
            (Verdict::Ill | Verdict::StillIll, Err(trouble)) => {
                self.give_up_starting(turn, life, FailureCause::Unhealthy { why: trouble.why });
            }
            (Verdict::Ill | Verdict::StillIll, Ok(())) => {}
        }
    }

    /// Takes a process that serves out of rotation, and replaces it.
    fn fell_ill(&mut self, turn: &mut Turn<'_>, life: Life, trouble: Trouble) {
        // A new release that falls ill while it is on trial has failed it; so has one that runs ahead of the others.
        if self.process(life).is_some_and(|process| process.trial.is_some()) {
            return self.roll_failed(turn, life.worker, FailureCause::Unhealthy { why: trouble.why });
        }
        self.canary_failed(turn, life.worker, FailureCause::Unhealthy { why: trouble.why.clone() });
        let Some(seat) = self.seat_mut(life.worker) else { return };
        seat.why = Some(format!("unhealthy: {}", trouble.why));
        let Some(process) = seat.process_mut(life.generation) else { return };
        process.checks.hangs = trouble.is_silent;
        if trouble.is_silent && process.spec.stack_dump.is_some() {
            turn.ask_for(Effect::Dump { life });
        }
        turn.ask_for(Effect::Withhold { life });
        turn.publish(life.worker, Happening::Unhealthy);
        self.replace_ill(turn, life.worker);
    }

    fn recovered(&mut self, turn: &mut Turn<'_>, life: Life) {
        turn.ask_for(Effect::Admit { life });
        turn.publish(life.worker, Happening::Healthy);
    }

    /// Handles that a process hangs, whatever its health checks say.
    pub(crate) fn hung(&mut self, turn: &mut Turn<'_>, life: Life, why: String) {
        let Some(process) = self.process(life).filter(|process| process.phase == Phase::Online) else { return };
        if process.checks.is_ill() {
            return self.replace_ill(turn, life.worker);
        }
        if let Some(process) = self.process_mut(life) {
            process.checks = Checks::found(Some(false));
        }
        self.fell_ill(turn, life, Trouble { why, is_silent: true });
    }

    /// Handles that a process that hung does so no longer. One with health checks has to pass them.
    pub(crate) fn revived(&mut self, turn: &mut Turn<'_>, life: Life) {
        let Some(process) = self.process(life).filter(|process| process.phase == Phase::Online) else { return };
        if process.spec.health.is_some() || !process.checks.is_ill() {
            return;
        }
        if let Some(seat) = self.seat_mut(life.worker) {
            seat.why = None;
            if let Some(process) = seat.process_mut(life.generation) {
                process.checks = Checks::default();
            }
        }
        self.recovered(turn, life);
    }

    /// Replaces a worker that is ill, unless that is under way, or others of its app are replaced just now: where all fall ill
    /// together, because of something that they share, new ones would do no better, and the old ones may recover.
    fn replace_ill(&mut self, turn: &mut Turn<'_>, worker: WorkerId) {
        let Some(seat) = self.seats.get(&worker) else { return };
        let Place::Serving(process) = &seat.place else { return };
        if process.phase != Phase::Online
            || seat.is_rolling()
            || self.is_rolled_now(worker)
            || turn.now < seat.renew_after
        {
            return;
        }
        let at_once = process.spec.reload_parallel.max(1) as usize;
        let others = self.apps.get(&seat.app).into_iter().flat_map(|app| &app.workers);
        let replaced = others.filter(|other| self.seats.get(other).is_some_and(|other| other.trial.is_some()));
        if process.spec.shares_sockets() && replaced.count() >= at_once {
            return;
        }
        let cause = if process.checks.hangs { Cause::Hang } else { Cause::Health };
        self.renew(turn, worker, cause);
    }

    /// Ends the start of a process that did not become well in its time.
    pub(crate) fn give_up_starting(&mut self, turn: &mut Turn<'_>, life: Life, cause: FailureCause) {
        let now = turn.now;
        let Some(seat) = self.seat_mut(life.worker) else { return };
        let Some(process) = seat.process(life.generation) else { return };
        if process.trial.is_some() || seat.trial.is_some() {
            return self.roll_failed(turn, life.worker, cause);
        }
        if !matches!(&seat.place, Place::Serving(first) if first.life == life) {
            return;
        }
        let policy = &process.spec.restart;
        let after = policy.restart_delay;
        let then = match policy.autorestart {
            true => Then::Start { at: now + after, cause: Cause::Health, again: true },
            false => Then::Fail,
        };
        seat.why = Some(cause.to_string());
        // Whoever waits for it is told; it is tried again like one that crashes.
        self.disappoint(turn, life.worker, &[Goal::Up], cause);
        self.leave(turn, life.worker, then, Cause::Health, false);
    }
}
