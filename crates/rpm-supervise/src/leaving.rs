//! The way out of a process that is not wanted any more: drained, asked, killed, given up. And what comes due meanwhile.

use std::time::Duration;

use rpm_model::{Bytes, Life, WorkerId};

use crate::command::FailureCause;
use crate::effect::{Cause, Effect, Happening};
use crate::pending::Goal;
use crate::process::{Phase, Sweep};
use crate::seat::{Place, Second, Then};
use crate::supervisor::{Supervisor, Turn};

/// What a process that hangs has to tell where: the stacks of some hundred threads take a part of it.
const DUMP_TIME: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Sees a seat's processes out; `then` follows. With `drain`, requests in flight are finished first where the app
    /// shares its sockets.
    pub(crate) fn leave(&mut self, turn: &mut Turn<'_>, worker: WorkerId, then: Then, cause: Cause, drain: bool) {
        let now = turn.now;
        let Some(seat) = self.seat_mut(worker) else { return };
        let second = match seat.second.take() {
            Some(Second::Incoming(process) | Second::Outgoing(process)) => {
                let life = process.life;
                seat.second = Some(Second::Outgoing(process));
                Some(life)
            }
            None => None,
        };
        let first = match std::mem::replace(&mut seat.place, Place::Stopped) {
            Place::Serving(mut process) => {
                let life = process.life;
                let drains = drain && process.phase == Phase::Online && process.spec.shares_sockets();
                if drains {
                    let until = now + process.spec.drain_timeout;
                    process.phase = Phase::Draining { until };
                    process.leaving = Some(cause);
                    turn.ask_for(Effect::Drain { life, until });
                    turn.publish(worker, Happening::Stopping { cause });
                }
                // Nothing is asked of the world: it only stays until it has told where it hangs.
                let tells = cause == Cause::Hang && process.phase == Phase::Online && process.spec.stack_dump.is_some();
                if tells && !drains {
                    process.phase = Phase::Draining { until: now + DUMP_TIME };
                    process.leaving = Some(cause);
                    turn.publish(worker, Happening::Stopping { cause });
                }
                seat.place = Place::Leaving(process, then);
                (!drains && !tells).then_some(life)
            }
            Place::Leaving(process, _) => {
                let life = process.life;
                let drains = drain && matches!(process.phase, Phase::Draining { .. });
                seat.place = Place::Leaving(process, then);
                (!drains).then_some(life)
            }
            Place::Stopped if then == Then::Stop => {
                // Down already: nothing to close, nothing to tell.
                if second.is_none() {
                    return self.satisfy(turn, worker, &[Goal::Down]);
                }
                None
            }
            Place::Stopped | Place::Errored | Place::Waiting { .. } | Place::Deleted => {
                self.follow(turn, worker, then);
                None
            }
        };
        for life in first.into_iter().chain(second) {
            self.ask(turn, life, cause);
        }
    }

    /// Asks a process to leave, unless it was asked before.
    pub(crate) fn ask(&mut self, turn: &mut Turn<'_>, life: Life, cause: Cause) {
        let now = turn.now;
        let Some(process) = self.process_mut(life) else { return };
        let told = matches!(process.phase, Phase::Draining { .. });
        match process.phase {
            Phase::Spawning | Phase::Starting | Phase::Online | Phase::Draining { .. } => {
                process.phase = Phase::Stopping { kill_at: now + process.spec.patience() };
                process.leaving.get_or_insert(cause);
                turn.ask_for(Effect::Ask { life });
                if !told {
                    turn.publish(life.worker, Happening::Stopping { cause });
                }
            }
            Phase::Stuck => self.kill(turn, life),
            Phase::Stopping { .. } | Phase::Killed { .. } | Phase::Sweeping(_) => {}
        }
    }

    /// Lets the grace of a process begin that was asked to leave only now: what was to be run first has ended.
    pub(crate) fn asked(&mut self, turn: &mut Turn<'_>, life: Life) {
        let now = turn.now;
        if let Some(process) = self.process_mut(life)
            && let Phase::Stopping { kill_at } = process.phase
        {
            process.phase = Phase::Stopping { kill_at: kill_at.min(now + process.spec.stop.kill_timeout) };
        }
    }

    /// Kills a process.
    pub(crate) fn kill(&mut self, turn: &mut Turn<'_>, life: Life) {
        let now = turn.now;
        let Some(process) = self.process_mut(life) else { return };
        let give_up_at = process.give_up_at(now);
        process.phase = match process.phase {
            Phase::Sweeping(_) => Phase::Sweeping(Sweep::Killed { give_up_at }),
            Phase::Spawning
            | Phase::Starting
            | Phase::Online
            | Phase::Draining { .. }
            | Phase::Stopping { .. }
            | Phase::Killed { .. }
            | Phase::Stuck => Phase::Killed { give_up_at },
        };
        turn.ask_for(Effect::Kill { life });
    }

    /// Puts off the verdict on a killed process of which there is no news: it is not the process that does not end.
    pub(crate) fn owed(&mut self, turn: &mut Turn<'_>, life: Life) {
        let now = turn.now;
        if let Some(process) = self.process_mut(life)
            && matches!(process.phase, Phase::Killed { .. })
        {
            process.phase = Phase::Killed { give_up_at: process.give_up_at(now) };
        }
    }

    pub(crate) fn drained(&mut self, turn: &mut Turn<'_>, life: Life) {
        if self.process(life).is_some_and(|process| matches!(process.phase, Phase::Draining { .. })) {
            // The cause was told when the drain began.
            self.ask(turn, life, Cause::Stop);
        }
    }

    /// Handles a process that not even SIGKILL ended.
    fn stuck(&mut self, turn: &mut Turn<'_>, life: Life) {
        let worker = life.worker;
        let Some(seat) = self.seat_mut(worker) else { return };
        if let Some(process) = seat.process_mut(life.generation) {
            process.phase = Phase::Stuck;
        }
        if seat.life() == Some(life) {
            seat.why = Some("still there after SIGKILL".to_owned());
            if let Place::Leaving(_, then @ (Then::Start { .. } | Then::StartInOrder { .. })) = &mut seat.place {
                *then = Then::Fail;
            }
            turn.publish(worker, Happening::Errored);
        }
        if seat.trial.is_some() {
            self.roll_failed(turn, worker, FailureCause::Unkillable);
        }
        let every_goal = [Goal::Up, Goal::Rolled, Goal::Down, Goal::Gone, Goal::Run, Goal::NextRun];
        self.disappoint(turn, worker, &every_goal, FailureCause::Unkillable);
        self.check_roll(turn, worker);
    }

    /// Does what is due in a seat.
    pub(crate) fn due(&mut self, turn: &mut Turn<'_>, worker: WorkerId) {
        let now = turn.now;
        let Some(seat) = self.seat_mut(worker) else { return };
        match &seat.place {
            Place::Waiting { until } if *until <= now => return self.spawn(turn, worker, Cause::Crash, true),
            Place::Serving(process) if process.phase == Phase::Online => {
                if seat.backoff_ends(process).is_some_and(|at| at <= now) {
                    seat.streak.backoff = None;
                }
            }
            Place::Waiting { .. }
            | Place::Serving(_)
            | Place::Leaving(..)
            | Place::Stopped
            | Place::Errored
            | Place::Deleted => {}
        }
        for life in seat.lives() {
            self.process_due(turn, life);
        }
    }

    fn process_due(&mut self, turn: &mut Turn<'_>, life: Life) {
        let now = turn.now;
        let Some(process) = self.process(life) else { return };
        match process.phase {
            Phase::Online if process.proven_at.is_some_and(|at| at <= now) => self.trial_is_over(turn, life),
            Phase::Spawning | Phase::Online | Phase::Stuck => {}
            Phase::Starting => self.check_ready(turn, life),
            Phase::Draining { until } if until <= now => self.drained(turn, life),
            Phase::Stopping { kill_at } | Phase::Sweeping(Sweep::Grace { kill_at }) if kill_at <= now => {
                self.kill(turn, life);
            }
            Phase::Killed { give_up_at } if give_up_at <= now => self.stuck(turn, life),
            Phase::Sweeping(Sweep::Killed { give_up_at }) if give_up_at <= now => {
                // The process itself is gone; whoever asked is told, and the seat goes on.
                self.disappoint(turn, life.worker, &[Goal::Down, Goal::Gone], FailureCause::Unkillable);
                self.gone(turn, life);
            }
            Phase::Draining { .. } | Phase::Stopping { .. } | Phase::Killed { .. } | Phase::Sweeping(_) => {}
        }
    }

    /// Replaces a process that uses too much memory.
    pub(crate) fn memory(&mut self, turn: &mut Turn<'_>, life: Life, used: Bytes) {
        let now = turn.now;
        let Some(seat) = self.seats.get(&life.worker) else { return };
        let Place::Serving(process) = &seat.place else { return };
        let too_much = process.spec.max_memory_restart.is_some_and(|limit| used > limit);
        let may = process.life == life && process.phase == Phase::Online && !seat.is_rolling();
        if !too_much || !may || now < seat.renew_after || self.is_rolled_now(life.worker) {
            return;
        }
        self.renew(turn, life.worker, Cause::Memory);
    }

    /// Replaces the process of a seat for a reason of our own: without a gap where the app shares its sockets.
    pub(crate) fn renew(&mut self, turn: &mut Turn<'_>, worker: WorkerId, cause: Cause) {
        let Some(seat) = self.seats.get(&worker) else { return };
        if seat.spec.job.is_some() {
            // Its next process comes at its next time.
            return self.leave(turn, worker, Then::Stop, cause, false);
        }
        let shares = seat.first().is_some_and(|process| process.spec.shares_sockets());
        if shares && seat.spec.shares_sockets() {
            let spec = seat.spec.clone();
            self.try_out(turn, worker, spec, cause);
        } else {
            let then = Then::Start { at: turn.now, cause, again: true };
            self.leave(turn, worker, then, cause, false);
        }
    }
}
