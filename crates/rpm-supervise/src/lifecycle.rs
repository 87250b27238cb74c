//! What happens to one process, and what that does to its seat.

use std::time::Duration;

use rpm_model::{Bytes, Exit, Life, Moment, WorkerId};

use crate::command::FailureCause;
use crate::effect::{Cause, Effect, Happening, Warning};
use crate::event::Taken;
use crate::pending::Goal;
use crate::process::{Phase, Process, Readiness, Sweep, Told, Trial};
use crate::restart::{Decision, Run, Streak, decide};
use crate::seat::{Place, Seat, Second, Then};
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
    // ---- starting ----------------------------------------------------------------------------------------------

    /// Starts a process in an empty place; `again` counts it as a restart.
    pub(crate) fn spawn(&mut self, turn: &mut Turn<'_>, worker: WorkerId, cause: Cause, again: bool) {
        let Some(seat) = self.seat_mut(worker) else { return };
        seat.restarts = seat.restarts.saturating_add(u32::from(again));
        let trial = seat.trial.is_some().then_some(Trial { must_listen: false });
        let process = seat.launch(turn, cause, trial, seat.restarts);
        seat.place = Place::Serving(process);
        seat.why = None;
    }

    pub(crate) fn spawned(&mut self, turn: &mut Turn<'_>, life: Life, pid: i32, at: Moment) {
        let Some(process) = self.process_mut(life) else { return };
        process.pid = Some(pid);
        process.started_at = at;
        let cause = process.cause;
        let starting = process.phase == Phase::Spawning;
        if starting {
            process.phase = Phase::Starting;
        }
        turn.publish(life.worker, Happening::Started { cause });
        if starting {
            turn.ask_for(Effect::WatchSettling { life });
            self.check_ready(turn, life);
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

    fn check_ready(&mut self, turn: &mut Turn<'_>, life: Life) {
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
        process.trial = None;
        turn.ask_for(Effect::Admit { life });
        turn.publish(life.worker, Happening::Online);
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

    // ---- ending ------------------------------------------------------------------------------------------------

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
    fn ended(&mut self, turn: &mut Turn<'_>, life: Life, end: End, leftovers: bool) {
        let Some(seat) = self.seats.get(&life.worker) else { return };
        if seat.process(life.generation).is_none() {
            return;
        }
        if matches!(&seat.place, Place::Serving(first) if first.life == life) {
            return self.crashed(turn, life.worker, end, leftovers);
        }
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
        let on_trial = seat.trial.take().is_some();
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
        let decision = decide(&seat.spec.restart, seat.streak, run);
        let (then, why) = match decision {
            _ if stillborn => (Then::Fail, what),
            Decision::Stay if end.exit().is_none() => (Then::Fail, what),
            Decision::Stay => (Then::Stop, what),
            Decision::GiveUp { unstable } => {
                seat.streak = Streak::default();
                (Then::Fail, format!("{what}; {unstable} unstable restarts in a row"))
            }
            Decision::Again { after, streak } => {
                seat.streak = streak;
                let why = if after.is_zero() { what } else { format!("{what}; restarts after {}", spell(after)) };
                (Then::Start { at: end.at(now) + after, cause: Cause::Crash, again: true }, why)
            }
        };
        seat.why = Some(why);
        if !was_ready {
            let job_done = decision == Decision::Stay && end.exit() == Some(Exit::Code(0));
            self.let_go(turn, worker, |goal| goal == Goal::Up, (!job_done).then(|| cause.clone()));
        }
        if leftovers {
            if let Some(seat) = self.seat_mut(worker) {
                seat.place = Place::Leaving(process, then);
            }
        } else {
            self.follow(turn, worker, then);
        }
        if on_trial {
            self.roll_failed(turn, worker, cause);
        }
    }

    /// Handles that nothing of a process is left.
    fn gone(&mut self, turn: &mut Turn<'_>, life: Life) {
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
        seat.place = match then {
            Then::Stop => Place::Stopped,
            Then::Fail => Place::Errored,
            Then::Delete => Place::Deleted,
            Then::Start { at, cause, again } if at <= now => return self.spawn(turn, worker, cause, again),
            Then::Start { at, .. } => {
                seat.place = Place::Waiting { until: at };
                return;
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
                self.disappoint(turn, worker, &[Goal::Up, Goal::Rolled], FailureCause::Superseded);
                self.remove_seat(turn, worker);
            }
            _ => self.satisfy(turn, worker, &[Goal::Down]),
        }
    }

    // ---- leaving -----------------------------------------------------------------------------------------------

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
                    turn.ask_for(Effect::Drain { life, until });
                    turn.publish(worker, Happening::Stopping { cause });
                }
                seat.place = Place::Leaving(process, then);
                (!drains).then_some(life)
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
                process.phase = Phase::Stopping { kill_at: now + process.spec.stop.kill_timeout };
                turn.ask_for(Effect::Ask { life });
                if !told {
                    turn.publish(life.worker, Happening::Stopping { cause });
                }
            }
            Phase::Stuck => self.kill(turn, life),
            Phase::Stopping { .. } | Phase::Killed { .. } | Phase::Sweeping(_) => {}
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
            if let Place::Leaving(_, then @ Then::Start { .. }) = &mut seat.place {
                *then = Then::Fail;
            }
            turn.publish(worker, Happening::Errored);
        }
        if seat.trial.is_some() {
            self.roll_failed(turn, worker, FailureCause::Unkillable);
        }
        let every_goal = [Goal::Up, Goal::Rolled, Goal::Down, Goal::Gone];
        self.disappoint(turn, worker, &every_goal, FailureCause::Unkillable);
        self.check_roll(turn, worker);
    }

    // ---- time and memory ---------------------------------------------------------------------------------------

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
        if !too_much || !may || now < seat.memory_retry_at || self.rolls(life.worker) {
            return;
        }
        if process.spec.shares_sockets() && seat.spec.shares_sockets() {
            let spec = seat.spec.clone();
            self.try_out(turn, life.worker, spec, Cause::Memory);
        } else {
            let then = Then::Start { at: now, cause: Cause::Memory, again: true };
            self.leave(turn, life.worker, then, Cause::Memory, false);
        }
    }
}

impl End {
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
