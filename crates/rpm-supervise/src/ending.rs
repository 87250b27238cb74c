//! The end of a process, and what follows in its seat: the heart of supervision.

use std::time::Duration;

use rpm_model::{Exit, Life, Moment, WorkerId};

use crate::command::FailureCause;
use crate::effect::{Cause, Effect, Happening};
use crate::pending::Goal;
use crate::process::{Phase, Process, Sweep};
use crate::restart::{Decision, Pace, Run, Streak, decide};
use crate::seat::{Place, Second, Then};
use crate::supervisor::{Supervisor, Turn};

/// How a process ended that nobody had asked to leave.
pub(crate) enum End {
    /// It ran and ended.
    Exited {
        exit: Exit,
        /// When; earlier than now if nobody looked (a daemon that died).
        at: Moment,
    },
    /// It could not be started.
    NotStarted(String),
}

impl Supervisor {
    pub(crate) fn exited(&mut self, turn: &mut Turn<'_>, life: Life, exit: Exit, leftovers: bool) {
        self.exited_at(turn, life, exit, leftovers, turn.now);
    }

    pub(crate) fn exited_at(&mut self, turn: &mut Turn<'_>, life: Life, exit: Exit, leftovers: bool, at: Moment) {
        if self.process(life).is_some_and(Process::runs) {
            let Some(seat) = self.seat_mut(life.worker) else { return };
            seat.last_exit = Some((exit, at));
            turn.publish(life.worker, Happening::Exited { exit });
            self.ended(turn, life, End::Exited { exit, at }, leftovers);
        }
    }

    pub(crate) fn tree_gone(&mut self, turn: &mut Turn<'_>, life: Life) {
        if self.process(life).is_some_and(|process| !process.runs()) {
            self.gone(turn, life);
        }
    }

    /// Handles the end of a process; descendants may be left.
    pub(crate) fn ended(&mut self, turn: &mut Turn<'_>, life: Life, end: End, leftovers: bool) {
        let Some(seat) = self.seats.get(&life.worker) else { return };
        if seat.process(life.generation).is_none() {
            return;
        }
        if matches!(&seat.place, Place::Serving(first) if first.life == life) {
            return self.crashed(turn, life.worker, end, leftovers);
        }
        let cut_off = seat.first().filter(|process| process.life == life).map(|process| end.failure(process));
        if let Some(cause) = cut_off {
            self.disappoint(turn, life.worker, &[Goal::Run], cause);
        }
        let Some(seat) = self.seats.get(&life.worker) else { return };
        let failed = seat.incoming().filter(|process| process.life == life).map(|process| end.failure(process));
        if let Some(cause) = failed {
            self.sweep(turn, life, leftovers);
            if let Some(seat) = self.seat_mut(life.worker)
                && let Some(Second::Incoming(process)) = seat.second.take()
            {
                seat.second = leftovers.then_some(Second::Outgoing(process));
            }
            return self.roll_failed(turn, life.worker, cause);
        }
        if leftovers {
            self.sweep(turn, life, leftovers);
        } else {
            self.gone(turn, life);
        }
    }

    /// Ends what descendants of an ended process are left: those of one that was asked to leave have its grace.
    fn sweep(&mut self, turn: &mut Turn<'_>, life: Life, leftovers: bool) {
        let now = turn.now;
        let Some(process) = self.process_mut(life).filter(|_| leftovers) else { return };
        process.phase = Phase::Sweeping(match process.phase {
            Phase::Stopping { kill_at } => Sweep::Grace { kill_at },
            Phase::Spawning
            | Phase::Starting
            | Phase::Online
            | Phase::Draining { .. }
            | Phase::Killed { .. }
            | Phase::Sweeping(_)
            | Phase::Stuck => {
                turn.ask_for(Effect::Kill { life });
                Sweep::Killed { give_up_at: Process::sweep_until(now) }
            }
        });
    }

    /// Handles the end of a serving process: the heart of supervision.
    fn crashed(&mut self, turn: &mut Turn<'_>, worker: WorkerId, end: End, leftovers: bool) {
        let now = turn.now;
        let Some(seat) = self.seat_mut(worker) else { return };
        let Place::Serving(mut process) = std::mem::replace(&mut seat.place, Place::Stopped) else { return };
        if leftovers {
            process.phase = Phase::Sweeping(Sweep::Killed { give_up_at: Process::sweep_until(now) });
            turn.ask_for(Effect::Kill { life: process.life });
        }
        // A replacement is on its way: it takes the place as it is, and is judged there.
        match seat.second.take() {
            Some(Second::Incoming(incoming)) => {
                seat.place = Place::Serving(incoming);
                seat.restarts = seat.restarts.saturating_add(1);
                seat.second = leftovers.then_some(Second::Outgoing(process));
                return;
            }
            second => seat.second = second,
        }
        let cause = end.failure(&process);
        let trial = seat.trial.take();
        let on_trial = trial.is_some();
        // The release before is started at once, however often the one on trial would be tried again.
        let goes_back = trial.as_ref().is_some_and(|trial| trial.rollback && *trial != seat.spec);
        let run = Run { started_at: process.started_at, ended_at: end.at(now), exit: end.exit() };
        let uptime = spell(run.ended_at - run.started_at);
        let was_ready = process.ready;
        let what = match &end {
            End::Exited { exit, .. } => format!("{exit} after {uptime}"),
            End::NotStarted(why) => format!("could not be started: {why}"),
        };
        // A program that cannot be started at all is not tried sixteen times while somebody waits for the first.
        let stillborn = matches!(end, End::NotStarted(_))
            && process.cause == Cause::Start
            && seat.waiters.iter().any(|waiter| waiter.goal == Goal::Up);
        let mut is_paced = false;
        let decision = decide(&trial.as_ref().unwrap_or(&seat.spec).restart, seat.streak, run);
        let (then, why) = match decision {
            _ if stillborn => (Then::Fail, what),
            Decision::Stay if end.exit().is_none() => (Then::Fail, what),
            Decision::Stay => (Then::Stop, what),
            Decision::GiveUp { .. } | Decision::Again { .. } if goes_back => {
                seat.streak = Streak::default();
                (Then::Start { at: end.at(now), cause: Cause::Rollback, again: false }, what)
            }
            Decision::GiveUp { unstable } => {
                seat.streak = Streak::default();
                (Then::Fail, format!("{what}; {unstable} unstable restarts in a row"))
            }
            Decision::Again { after, streak } => {
                seat.streak = streak;
                is_paced = streak.since.is_some() && Pace::holds(end.exit());
                let why = if after.is_zero() { what } else { format!("{what}; restarts after {}", spell(after)) };
                (Then::Start { at: end.at(now) + after, cause: Cause::Crash, again: true }, why)
            }
        };
        seat.why = Some(why);
        seat.has_ended = then == Then::Stop;
        let agreed = &trial.as_ref().unwrap_or(&seat.spec).restart.stop_exit_codes;
        let job_done = decision == Decision::Stay && end.is_success(agreed);
        self.let_go(turn, worker, |goal| goal == Goal::Run, (!job_done).then(|| cause.clone()));
        if !was_ready || on_trial {
            self.let_go(turn, worker, |goal| goal == Goal::Up, (!job_done).then(|| cause.clone()));
        }
        let then = match then {
            Then::Start { at, cause, again } if is_paced => Then::Start { at: self.pace.take(at), cause, again },
            then => then,
        };
        if job_done && let Some(seat) = self.seat_mut(worker) {
            seat.trial = trial;
            self.trial_passed(turn, worker);
        }
        if leftovers {
            if let Some(seat) = self.seat_mut(worker) {
                seat.place = Place::Leaving(process, then);
            }
        } else {
            self.follow(turn, worker, then);
        }
        match (on_trial, job_done) {
            (true, true) => {}
            (true, false) => self.roll_failed(turn, worker, cause),
            (false, _) => self.canary_failed(turn, worker, cause),
        }
    }

    /// Handles that nothing of a process is left.
    pub(crate) fn gone(&mut self, turn: &mut Turn<'_>, life: Life) {
        let Some(seat) = self.seat_mut(life.worker) else { return };
        match &seat.place {
            Place::Leaving(first, then) if first.life == life => {
                let then = *then;
                self.follow(turn, life.worker, then);
            }
            Place::Leaving(..)
            | Place::Serving(_)
            | Place::Stopped
            | Place::Errored
            | Place::Waiting { .. }
            | Place::Deleted => {
                seat.second = None;
                self.rest(turn, life.worker);
                self.check_roll(turn, life.worker);
            }
        }
    }

    /// Does what follows when a place has become empty.
    pub(crate) fn follow(&mut self, turn: &mut Turn<'_>, worker: WorkerId, then: Then) {
        let now = turn.now;
        let Some(seat) = self.seat_mut(worker) else { return };
        let queued = seat.queued.take_if(|_| matches!(then, Then::Stop | Then::Fail));
        if let Some(cause) = queued {
            return self.spawn(turn, worker, cause, false);
        }
        seat.place = match then {
            Then::Stop => Place::Stopped,
            Then::Fail => Place::Errored,
            Then::Delete => Place::Deleted,
            Then::Start { at, cause, again } if at <= now => return self.spawn(turn, worker, cause, again),
            Then::Start { at, .. } => {
                seat.place = Place::Waiting { until: at };
                return;
            }
            Then::StartInOrder { cause, again } => {
                seat.restarts = seat.restarts.saturating_add(u32::from(again));
                return self.hold(turn, worker, cause, None);
            }
        };
        self.rest(turn, worker);
    }

    /// Lets a seat rest that is down for good, once its second process is gone too.
    fn rest(&mut self, turn: &mut Turn<'_>, worker: WorkerId) {
        let Some(seat) = self.seats.get(&worker) else { return };
        if seat.second.is_some() {
            return;
        }
        let happening = match seat.place {
            Place::Stopped => Happening::Stopped,
            Place::Errored => Happening::Errored,
            Place::Deleted => Happening::Deleted,
            Place::Waiting { .. } | Place::Serving(_) | Place::Leaving(..) => return,
        };
        turn.ask_for(Effect::Close { worker });
        turn.publish(worker, happening);
        match happening {
            Happening::Deleted => {
                turn.ask_for(Effect::Forget { worker });
                // Whoever waited for anything here has it, or is told that the seat is no more.
                self.satisfy(turn, worker, &[Goal::Down, Goal::Gone]);
                self.disappoint(
                    turn,
                    worker,
                    &[Goal::Up, Goal::Rolled, Goal::Run, Goal::NextRun],
                    FailureCause::Superseded,
                );
                self.remove_seat(turn, worker);
            }
            _ => self.satisfy(turn, worker, &[Goal::Down]),
        }
    }
}

impl End {
    /// Returns whether a job may end so: with 0, or with a code that was agreed on.
    fn is_success(&self, agreed: &[i32]) -> bool {
        matches!(self.exit(), Some(Exit::Code(code)) if code == 0 || agreed.contains(&code))
    }

    fn exit(&self) -> Option<Exit> {
        match self {
            End::Exited { exit, .. } => Some(*exit),
            End::NotStarted(_) => None,
        }
    }

    fn at(&self, now: Moment) -> Moment {
        match self {
            End::Exited { at, .. } => *at,
            End::NotStarted(_) => now,
        }
    }

    /// Returns what a client is told.
    fn failure(&self, process: &Process) -> FailureCause {
        match self {
            End::Exited { exit, at } => FailureCause::Exited { exit: *exit, uptime: *at - process.started_at },
            End::NotStarted(why) => FailureCause::SpawnFailed(why.clone()),
        }
    }
}

/// Writes a duration for people: `120 ms`, `1.5 s`, `3 min`, `5 h`, `2 d`.
fn spell(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{} s", ms as f64 / 1000.0).replace(".0 ", " "),
        60_000..3_600_000 => format!("{} min", ms / 60_000),
        3_600_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spelled_for_people() {
        let spelled = |ms| spell(Duration::from_millis(ms));
        assert_eq!(spelled(120), "120 ms");
        assert_eq!(spelled(1500), "1.5 s");
        assert_eq!(spelled(2000), "2 s");
        assert_eq!(spelled(200_000), "3 min");
        assert_eq!(spelled(7_300_000), "2 h");
        assert_eq!(spelled(200_000_000), "2 d");
    }
}
