//! Replacing workers one after another without losing a request.
//!
//! ```text
//!  queue ─▶ active: incoming started ─▶ ready: admitted, becomes the first ─▶ old drained, asked, gone ─▶ replaced
//!                        │
//!                        └─▶ failed: the old one never stopped serving. The queue is dropped, and those already
//!                            replaced are rolled back in the same way, if their spec was another one.
//! ```
//!
//! One seat is replaced by [`Supervisor::try_out`]; a [`Roll`] only says which seat is next. A replacement for too much
//! memory needs no roll.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rpm_model::{AppId, AppSpec, ExecMode, Moment, WorkerId};

use crate::command::{CommandId, FailureCause};
use crate::effect::{Cause, Effect, Happening};
use crate::pending::Goal;
use crate::process::{Phase, Trial};
use crate::seat::{Place, Seat, Second, Then};
use crate::supervisor::{Supervisor, Turn};

/// The wait after a replacement for too much memory, or ill health, has failed: the old worker serves as well as it can,
/// and hurry would only add load.
const RENEW_RETRY: Duration = Duration::from_secs(30);

/// What a worker that hangs may still finish its requests in, once another one has taken its place.
const HUNG_DRAIN: Duration = Duration::from_secs(1);

/// One reload of an app.
#[derive(Debug)]
pub(crate) struct Roll {
    /// Who asked; nobody any more after the daemon died.
    pub(crate) command: Option<CommandId>,
    /// Why.
    pub(crate) cause: Cause,
    /// What the seats are replaced with.
    pub(crate) spec: Arc<AppSpec>,
    /// The app's spec before, where it was another one.
    pub(crate) previous: Option<Arc<AppSpec>>,
    /// What is to be replaced, and with what.
    pub(crate) queue: VecDeque<(WorkerId, Arc<AppSpec>)>,
    /// Seats in the middle of it.
    pub(crate) active: BTreeSet<WorkerId>,
    /// Seats that are through, and what they go back to if another one fails.
    pub(crate) replaced: Vec<(WorkerId, Arc<AppSpec>)>,
    /// Whether it has failed and goes backwards.
    pub(crate) back: bool,
    /// So many seats it begins with, and then waits; 0 for all.
    pub(crate) canary: u32,
    /// Seats begun so far, one after another.
    pub(crate) begun: u32,
    /// Whether it waits: for `promote` or `abort`, or to be judged.
    pub(crate) is_paused: bool,
    /// Since when.
    pub(crate) paused_at: Moment,
    /// Whether it was said that nothing can be judged.
    pub(crate) is_told: bool,
    /// Whether seats that are down wait for what their app depends on: other apps are started with it.
    pub(crate) in_order: bool,
    /// Whether the number of workers is to be made the spec's at the end.
    pub(crate) rescale: bool,
    /// Seats that it has added, once the others were through; they go again if it fails.
    pub(crate) added: BTreeSet<WorkerId>,
    /// When it began.
    pub(crate) since: Moment,
    /// Whether a worker did not become what it was to be.
    pub(crate) failed: bool,
    /// Whether later commands have taken seats out of it.
    pub(crate) quit: bool,
}

/// Tells that a reload is over, how, and how long it took. Other rolls are told by their causes.
fn tell_end(turn: &mut Turn<'_>, app: AppId, roll: &Roll, end: &str) {
    if roll.cause == Cause::Reload {
        let detail = format!("{end} after {} ms", turn.now.since(roll.since).as_millis());
        turn.ask_for(Effect::PublishApp { app, event: "reload", detail });
    }
}

impl Supervisor {
    /// Begins a roll over these seats.
    pub(crate) fn begin_roll(&mut self, turn: &mut Turn<'_>, app: AppId, workers: &[WorkerId], mut roll: Roll) {
        if let Some(command) = roll.command {
            self.commands.wait_for_roll(command);
        }
        let (online, down): (Vec<_>, Vec<_>) = workers
            .iter()
            .copied()
            .partition(|worker| self.seats.get(worker).is_some_and(|seat| seat.is_rolled_to(&roll.spec)));
        roll.queue = online.into_iter().map(|worker| (worker, roll.spec.clone())).collect();
        roll.active = down.iter().copied().collect();
        let (spec, cause) = (roll.spec.clone(), roll.cause);
        let Some(owner) = self.app_mut(app) else { return };
        owner.roll = Some(roll);
        // Seats that serve nobody lose nothing, and those whose processes cannot serve beside each other would be a mixture
        // for as long as it takes: they start at once, all together.
        for worker in down {
            self.try_out(turn, worker, spec.clone(), cause);
        }
        self.advance_roll(turn, app);
    }

    /// Goes on with an app's roll as far as it may.
    pub(crate) fn advance_roll(&mut self, turn: &mut Turn<'_>, app: AppId) {
        loop {
            let Some(roll) = self.apps.get(&app).and_then(|app| app.roll.as_ref()) else { return };
            // Where the canary is all there is, it is looked at all the same.
            let is_ahead = roll.begun >= roll.canary || (roll.begun > 0 && roll.queue.is_empty());
            if !roll.back && roll.canary > 0 && is_ahead {
                // Later commands may have taken those that ran ahead out of the roll: nothing is left to decide.
                match (roll.active.is_empty(), roll.replaced.is_empty()) {
                    (true, true) => self.abort_canary(turn, None, app, None),
                    (true, false) if !roll.is_paused => self.pause_roll(turn, app),
                    (true, false) | (false, _) => {}
                }
                return;
            }
            if roll.active.is_empty() && roll.queue.is_empty() {
                if roll.rescale && !roll.back && self.add_to_roll(turn, app) {
                    return;
                }
                return self.finish_roll(turn, app);
            }
            if roll.active.len() >= roll.spec.reload_parallel.max(1) as usize {
                return;
            }
            let free = |worker| self.seats.get(worker).is_none_or(|seat| !seat.is_rolling() || seat.has_stuck_second());
            let Some(index) = roll.queue.iter().position(|(worker, _)| free(worker)) else { return };
            let cause = if roll.back { Cause::Rollback } else { roll.cause };
            let Some(roll) = self.app_mut(app).and_then(|app| app.roll.as_mut()) else { return };
            let Some((worker, spec)) = roll.queue.remove(index) else { return };
            roll.active.insert(worker);
            roll.begun = roll.begun.saturating_add(1);
            if !self.passes_stopped(turn, worker, &spec) {
                self.try_out(turn, worker, spec, cause);
            }
        }
    }

    /// Starts a replacement in a seat: beside the process that serves, or in its place when none does.
    pub(crate) fn try_out(&mut self, turn: &mut Turn<'_>, worker: WorkerId, spec: Arc<AppSpec>, cause: Cause) {
        let now = turn.now;
        let in_order = self.roll_of(worker).is_some_and(|roll| roll.in_order && !roll.back);
        let Some(seat) = self.seat_mut(worker) else { return };
        if seat.has_stuck_second() {
            return self.pass_over(turn, worker);
        }
        seat.trial = Some(spec.clone());
        let beside = spec.shares_sockets() && seat.spec.shares_sockets();
        match &seat.place {
            Place::Serving(old) if old.phase == Phase::Online && beside => {
                let must_listen = old.told.listened && spec.exec_mode == ExecMode::Cluster && !spec.wait_ready;
                let process = seat.launch(turn, cause, Some(Trial { must_listen }), seat.restarts.saturating_add(1));
                seat.second = Some(Second::Incoming(process));
            }
            place => {
                let again = matches!(place, Place::Serving(_));
                let waits = in_order && !spec.depends_on.is_empty();
                let then =
                    if waits { Then::StartInOrder { cause, again } } else { Then::Start { at: now, cause, again } };
                self.leave(turn, worker, then, cause, false);
            }
        }
    }

    /// Gives a seat its spec that has gone down for good since its roll began, or is about to, or waits for other apps: nothing
    /// is started there. Returns whether it has.
    fn passes_stopped(&mut self, turn: &mut Turn<'_>, worker: WorkerId, spec: &Arc<AppSpec>) -> bool {
        let is_deferred = self.is_deferred(worker);
        let is_stopped = |seat: &&mut Seat| {
            is_deferred || seat.is_held || matches!(seat.place, Place::Stopped | Place::Leaving(_, Then::Stop))
        };
        let Some(seat) = self.seat_mut(worker).filter(is_stopped) else { return false };
        let before = std::mem::replace(&mut seat.spec, spec.clone());
        if let Some(roll) = self.roll_of(worker)
            && !roll.back
        {
            roll.replaced.push((worker, before));
        }
        self.mark_through(turn, worker);
        true
    }

    /// Puts a replacement that is ready into its seat's place, and sees the old process out.
    pub(crate) fn promote(&mut self, turn: &mut Turn<'_>, worker: WorkerId) {
        let now = turn.now;
        let Some(seat) = self.seat_mut(worker) else { return };
        let Some(Second::Incoming(incoming)) = seat.second.take() else { return };
        let cause = incoming.cause;
        seat.restarts = seat.restarts.saturating_add(1);
        let first = std::mem::replace(&mut seat.place, Place::Serving(incoming));
        if let Place::Serving(mut old) | Place::Leaving(mut old, _) = first {
            // One that hangs finishes nothing; what waits for it is handed on when it is gone.
            let patience =
                if old.checks.hangs() { HUNG_DRAIN.min(old.spec.drain_timeout) } else { old.spec.drain_timeout };
            let (life, until) = (old.life, now + patience);
            old.phase = Phase::Draining { until };
            old.leaving = Some(cause);
            seat.second = Some(Second::Outgoing(old));
            turn.ask_for(Effect::Drain { life, until });
            turn.publish(worker, Happening::Stopping { cause });
        }
        self.trial_passed(turn, worker);
    }

    /// Makes the spec on trial in a seat the seat's own.
    pub(crate) fn trial_passed(&mut self, turn: &mut Turn<'_>, worker: WorkerId) {
        let Some(seat) = self.seat_mut(worker) else { return };
        let Some(spec) = seat.trial.take() else { return };
        let before = std::mem::replace(&mut seat.spec, spec);
        seat.streak = Default::default();
        seat.why = None;
        if let Some(roll) = self.roll_of(worker)
            && roll.active.contains(&worker)
            && !roll.back
        {
            roll.replaced.push((worker, before));
        }
        self.check_roll(turn, worker);
    }

    /// Ends the trial in a seat. The old process, if it still runs, goes on serving.
    pub(crate) fn roll_failed(&mut self, turn: &mut Turn<'_>, worker: WorkerId, cause: FailureCause) {
        self.give_trial_up(turn, worker);
        let failure = self.failure(worker, cause);
        let now = turn.now;
        let retry_at = now + RENEW_RETRY;
        let Some(app) = self.app_of(worker) else { return };
        let Some(owner) = self.app_mut(app) else { return };
        let Some(roll) = owner.roll.as_mut().filter(|roll| roll.active.contains(&worker)) else {
            if let Some(seat) = self.seat_mut(worker) {
                seat.renew_after = retry_at;
            }
            return self.check_roll(turn, worker);
        };
        let mut goes_back_to = None;
        let going_back_failed = roll.back;
        let mut is_mixed = false;
        let dropped = std::mem::take(&mut roll.queue);
        let added = if roll.spec.rollback { std::mem::take(&mut roll.added) } else { BTreeSet::new() };
        if !roll.back {
            roll.back = true;
            roll.replaced.retain(|(worker, _)| !added.contains(worker));
            let changed = |before: &Arc<AppSpec>| !Arc::ptr_eq(before, &roll.spec) && *before != roll.spec;
            if roll.spec.rollback {
                roll.queue = roll.replaced.drain(..).filter(|(_, before)| changed(before)).collect();
            }
            is_mixed = !roll.replaced.is_empty();
            if let Some(previous) = roll.previous.take().filter(|_| roll.spec.rollback) {
                goes_back_to = Some(previous);
            }
        }
        roll.failed = true;
        let command = roll.command;
        let others: Vec<_> = roll.active.iter().copied().filter(|other| *other != worker).collect();
        if let Some(previous) = goes_back_to {
            owner.fall_back(previous, now);
        }
        if let Some(command) = command {
            self.commands.fail(command, failure, going_back_failed || is_mixed);
        }
        for (dropped, _) in dropped {
            self.satisfy(turn, dropped, &[Goal::Rolled]);
        }
        for worker in &added {
            self.mark_through(turn, *worker);
            self.leave(turn, *worker, Then::Delete, Cause::Rollback, true);
        }
        self.wait_for_release_before(command, worker);
        for other in others {
            if !going_back_failed {
                self.give_trial_up(turn, other);
                self.wait_for_release_before(command, other);
            }
            self.check_roll(turn, other);
        }
        self.check_roll(turn, worker);
        // A seat that the roll had added, and that was empty, is gone by now: nobody else would end the roll.
        self.advance_roll(turn, app);
    }

    /// Sees a replacement on trial out; one that had the place to itself makes room for the seat's own spec.
    fn give_trial_up(&mut self, turn: &mut Turn<'_>, worker: WorkerId) {
        let now = turn.now;
        let Some(seat) = self.seat_mut(worker) else { return };
        let was_on_trial = seat.trial.take().is_some();
        if self.see_replacement_out(turn, worker, Cause::Rollback) {
            return;
        }
        let Some(seat) = self.seat_mut(worker) else { return };
        // One that is to be stopped after others is not left alone with its trial: nobody would end that.
        if let Place::Serving(process) = &mut seat.place
            && (process.trial.is_some() || (was_on_trial && (!process.ready || process.proven_at.is_some())))
        {
            (process.trial, process.proven_at) = (None, None);
            let then = Then::Start { at: now, cause: Cause::Rollback, again: false };
            let life = process.life;
            if let Place::Serving(process) = std::mem::replace(&mut seat.place, Place::Stopped) {
                seat.place = Place::Leaving(process, then);
            }
            self.ask(turn, life, Cause::Rollback);
        }
    }

    /// Asks a replacement to leave that is beside the process that serves. Returns whether there is one.
    pub(crate) fn see_replacement_out(&mut self, turn: &mut Turn<'_>, worker: WorkerId, cause: Cause) -> bool {
        let Some(seat) = self.seat_mut(worker).filter(|seat| seat.incoming().is_some()) else { return false };
        let Some(Second::Incoming(process)) = seat.second.take() else { return false };
        let life = process.life;
        seat.second = Some(Second::Outgoing(process));
        self.ask(turn, life, cause);
        true
    }

    /// Looks whether a seat is through with its part of a roll, and whether the next one may begin.
    pub(crate) fn check_roll(&mut self, turn: &mut Turn<'_>, worker: WorkerId) {
        let Some(seat) = self.seats.get(&worker) else { return };
        let app = seat.app;
        let busy = seat.is_rolling() && !seat.has_stuck_second();
        if self.apps.get(&app).is_none_or(|app| app.roll.is_none()) {
            return;
        }
        if !busy {
            self.mark_through(turn, worker);
        }
        self.advance_roll(turn, app);
    }

    /// Takes a seat out of the active ones.
    fn mark_through(&mut self, turn: &mut Turn<'_>, worker: WorkerId) {
        if let Some(roll) = self.roll_of(worker)
            && roll.active.remove(&worker)
        {
            self.satisfy(turn, worker, &[Goal::Rolled]);
        }
    }

    /// Leaves a seat as it is: an older process of it cannot be killed, and a third one is not started.
    fn pass_over(&mut self, turn: &mut Turn<'_>, worker: WorkerId) {
        self.disappoint(turn, worker, &[Goal::Rolled], FailureCause::Unkillable);
        self.mark_through(turn, worker);
    }

    /// Adds the workers that the spec asks for beside those that there are: the roll is done when they are ready, too. Returns
    /// whether there are any.
    fn add_to_roll(&mut self, turn: &mut Turn<'_>, app: AppId) -> bool {
        let Some(owner) = self.apps.get(&app) else { return false };
        let (spec, command) = (owner.spec.clone(), owner.roll.as_ref().and_then(|roll| roll.command));
        let missing = spec.instances.saturating_sub(self.staying(app).len() as u32);
        let added = if spec.job.is_some() { Vec::new() } else { self.add_seats(turn, app, missing) };
        let Some(roll) = self.app_mut(app).and_then(|app| app.roll.as_mut()).filter(|_| !added.is_empty()) else {
            return false;
        };
        roll.rescale = false;
        roll.active.extend(&added);
        roll.added.extend(&added);
        for worker in added {
            self.enlist(turn, command, worker, Goal::Rolled);
            if let Some(seat) = self.seat_mut(worker) {
                (seat.spec, seat.trial) = (spec.clone(), Some(spec.clone()));
            }
            self.spawn(turn, worker, Cause::Scale, false);
        }
        true
    }

    fn finish_roll(&mut self, turn: &mut Turn<'_>, app: AppId) {
        let Some(owner) = self.app_mut(app) else { return };
        let Some(roll) = owner.roll.take() else { return };
        if roll.rescale && !roll.back {
            let wanted = owner.spec.instances;
            self.rescale(turn, roll.command, app, wanted, Cause::Scale);
        }
        let end = match (roll.back, roll.failed) {
            (false, false) if roll.quit && roll.replaced.is_empty() => "superseded",
            (false, false) => "done",
            (true, false) => "aborted",
            (_, true) => "failed",
        };
        tell_end(turn, app, &roll, end);
        self.roll_over(turn, roll.command);
    }

    /// Tells the command of a roll that the roll is over.
    pub(crate) fn roll_over(&mut self, turn: &mut Turn<'_>, command: Option<CommandId>) {
        if let Some(command) = command {
            self.commands.roll_over(command);
            self.settle(turn, command);
        }
    }

    /// Ends the trial in a seat, because a later command stops what runs there. It has its turn in the roll once more: what is
    /// restarted or stopped meanwhile must not be left with another release than the others.
    pub(crate) fn put_off_roll(&mut self, worker: WorkerId) {
        if self.seats.get(&worker).is_none_or(|seat| seat.trial.is_none()) {
            return;
        }
        let Some(trial) = self.seat_mut(worker).and_then(|seat| seat.trial.take()) else { return };
        if let Some(roll) = self.roll_of(worker)
            && roll.active.remove(&worker)
        {
            roll.begun = roll.begun.saturating_sub(1);
            roll.queue.push_front((worker, trial));
        }
    }

    /// Takes a seat out of its app's roll, because a later command takes it away.
    pub(crate) fn quit_roll(&mut self, worker: WorkerId) {
        if let Some(seat) = self.seats.get(&worker)
            && seat.trial.is_some()
            && let Some(seat) = self.seat_mut(worker)
        {
            seat.trial = None;
        }
        if self.rolls(worker)
            && let Some(roll) = self.roll_of(worker)
        {
            roll.queue.retain(|(queued, _)| *queued != worker);
            roll.active.remove(&worker);
            roll.replaced.retain(|(replaced, _)| *replaced != worker);
            (roll.rescale, roll.quit) = (false, true);
        }
    }

    /// Ends an app's roll where it stands, because a later command takes its place; returns the spec from before it.
    pub(crate) fn cancel_roll(&mut self, turn: &mut Turn<'_>, app: AppId) -> Option<Arc<AppSpec>> {
        let roll = self.app_mut(app).and_then(|app| app.roll.take())?;
        let queued: Vec<_> = roll.queue.iter().map(|(worker, _)| *worker).collect();
        for worker in roll.active.iter().copied().chain(queued) {
            self.give_trial_up(turn, worker);
            self.disappoint(turn, worker, &[Goal::Rolled], FailureCause::Superseded);
        }
        tell_end(turn, app, &roll, "superseded");
        self.roll_over(turn, roll.command);
        roll.previous
    }

    /// Returns whether a seat's process is about to be replaced by its app's roll; while that waits for somebody's word, a
    /// worker that fails is replaced as ever.
    pub(crate) fn is_rolled_now(&self, worker: WorkerId) -> bool {
        let app = self.app_of(worker).and_then(|app| self.apps.get(&app));
        let is_paused = app.and_then(|app| app.roll.as_ref()).is_some_and(|roll| roll.is_paused);
        !is_paused && self.rolls(worker)
    }

    /// Returns whether a seat has a part in its app's roll, now or later.
    pub(crate) fn rolls(&self, worker: WorkerId) -> bool {
        let app = self.app_of(worker).and_then(|app| self.apps.get(&app));
        app.and_then(|app| app.roll.as_ref()).is_some_and(|roll| {
            roll.active.contains(&worker)
                || roll.queue.iter().any(|(queued, _)| *queued == worker)
                || roll.replaced.iter().any(|(replaced, _)| *replaced == worker)
        })
    }

    /// Returns the roll of a seat's app, to be changed.
    fn roll_of(&mut self, worker: WorkerId) -> Option<&mut Roll> {
        let app = self.app_of(worker)?;
        self.app_mut(app)?.roll.as_mut()
    }
}
