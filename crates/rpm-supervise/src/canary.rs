//! A roll that stops after its first workers, and waits for somebody's word, or is judged.
//!
//! ```text
//!  the first `canary` seats replaced ─▶ paused ─┬─ promote, or judged to be good ─▶ the other seats
//!                                               └─ abort, judged to be bad, or one of them fails ─▶ back
//! ```
//!
//! Without a [`CanaryRule`](rpm_model::CanaryRule) whoever asked for the roll is answered when it pauses. With one the answer
//! is what became of it; where nothing can be judged, it is given then, and people decide.

use std::time::Duration;

use rpm_model::{AppId, Moment, WorkerId};

use crate::command::{CommandId, FailureCause, Refusal};
use crate::effect::{Effect, Warning};
use crate::judge::{Tally, Verdict, judge};
use crate::pending::Goal;
use crate::supervisor::{Supervisor, Turn};

/// A canary that is to be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Its app.
    pub app: AppId,
    /// The workers that run the new release.
    pub workers: Vec<WorkerId>,
    /// Since when.
    pub since: Moment,
    /// For how long.
    pub duration: Duration,
}

impl Supervisor {
    /// Returns the canaries that are to be judged (see [`Event::Canary`](crate::Event::Canary)).
    pub fn watched_canaries(&self) -> impl Iterator<Item = Watched> + '_ {
        self.apps.values().filter_map(|app| {
            let roll = app.roll.as_ref().filter(|roll| roll.is_paused)?;
            let duration = roll.spec.canary_rule.as_ref()?.duration;
            let workers = roll.replaced.iter().map(|(worker, _)| *worker).collect();
            Some(Watched { app: app.id, workers, since: roll.paused_at, duration })
        })
    }

    /// Returns why there is nothing to be promoted or aborted.
    pub(crate) fn may_decide(&self, app: AppId) -> Result<(), Refusal> {
        let app = self.apps.get(&app).ok_or(Refusal::UnknownApp(app))?;
        match app.roll.as_ref().is_some_and(|roll| roll.is_paused) {
            true => Ok(()),
            false => Err(Refusal::NoCanary { app: app.spec.name.clone() }),
        }
    }

    /// Lets a roll wait.
    pub(crate) fn pause_roll(&mut self, turn: &mut Turn<'_>, app: AppId) {
        let now = turn.now;
        let Some(owner) = self.app_mut(app) else { return };
        let all = owner.workers.len();
        let Some(roll) = owner.roll.as_mut() else { return };
        (roll.is_paused, roll.paused_at) = (true, now);
        let rule = roll.spec.canary_rule.clone();
        let until = rule.as_ref().map_or_else(
            || "waits for promote or abort".to_owned(),
            |rule| format!("watched for {} s", rule.duration.as_secs_f64()),
        );
        let detail = format!("{} of {all} run the new release; {until}", roll.replaced.len());
        turn.ask_for(Effect::PublishApp { app, event: "canary", detail });
        if rule.is_none() {
            self.let_roll_wait_alone(turn, app);
        }
    }

    /// Answers whoever asked for a roll that waits: people decide what becomes of it.
    fn let_roll_wait_alone(&mut self, turn: &mut Turn<'_>, app: AppId) {
        let Some(roll) = self.app_mut(app).and_then(|app| app.roll.as_mut()) else { return };
        let (command, queued) = (roll.command.take(), roll.queue.clone());
        for (worker, _) in queued {
            self.satisfy(turn, worker, &[Goal::Rolled]);
        }
        self.roll_over(turn, command);
    }

    /// Judges a canary by what it and the others have answered; nothing where nobody counts that.
    pub(crate) fn canary_seen(&mut self, turn: &mut Turn<'_>, app: AppId, seen: Option<(Tally, Tally)>) {
        let Some(roll) = self.apps.get(&app).and_then(|app| app.roll.as_ref()).filter(|roll| roll.is_paused) else {
            return;
        };
        let Some(rule) = roll.spec.canary_rule.as_ref() else { return };
        let verdict = match seen {
            Some((canary, others)) => judge(rule, turn.now.since(roll.paused_at), &canary, &others),
            None => Verdict::Unproven("no balancer sends it requests".to_owned()),
        };
        let Some(worker) = roll.replaced.first().map(|(worker, _)| *worker) else { return };
        let (command, is_told) = (roll.command, roll.is_told);
        let tell = |turn: &mut Turn<'_>, text: String| {
            let detail = text.clone();
            turn.ask_for(Effect::PublishApp { app, event: "canary", detail });
            if let Some(command) = command {
                turn.ask_for(Effect::Warn { command, warning: Warning::Canary { app, text } });
            }
        };
        match verdict {
            Verdict::Wait => {}
            Verdict::Unproven(_) if is_told => {}
            Verdict::Unproven(why) => {
                tell(turn, format!("waits for promote or abort: {why}"));
                if let Some(roll) = self.apps.get_mut(&app).and_then(|app| app.roll.as_mut()) {
                    roll.is_told = true;
                }
                self.let_roll_wait_alone(turn, app);
            }
            Verdict::Promote(figures) => {
                tell(turn, format!("promoted: {figures}"));
                self.go_on(turn, app);
            }
            Verdict::Abort(why) => {
                turn.ask_for(Effect::PublishApp { app, event: "canary", detail: format!("aborted: {why}") });
                self.abort_canary(turn, None, app, Some((worker, FailureCause::Judged { why })));
            }
        }
    }

    /// Goes on with the other workers, for whom that was asked.
    pub(crate) fn promote_canary(&mut self, turn: &mut Turn<'_>, id: CommandId, app: AppId) {
        self.let_roll_wait_alone(turn, app);
        let Some(roll) = self.app_mut(app).and_then(|app| app.roll.as_mut()) else { return };
        roll.command = Some(id);
        let queued: Vec<WorkerId> = roll.queue.iter().map(|(worker, _)| *worker).collect();
        self.wait_for_roll(turn, id, queued);
        self.go_on(turn, app);
    }

    fn go_on(&mut self, turn: &mut Turn<'_>, app: AppId) {
        let Some(roll) = self.app_mut(app).and_then(|app| app.roll.as_mut()) else { return };
        (roll.canary, roll.is_paused) = (0, false);
        self.advance_roll(turn, app);
    }

    /// Puts the old release back, and says to whoever still waits for the roll who failed, and how.
    pub(crate) fn abort_canary(
        &mut self,
        turn: &mut Turn<'_>,
        id: Option<CommandId>,
        app: AppId,
        failed: Option<(WorkerId, FailureCause)>,
    ) {
        let now = turn.now;
        let Some(owner) = self.app_mut(app) else { return };
        let Some(roll) = owner.roll.as_mut() else { return };
        let before = roll.command.take();
        // Where nobody else asks, the command of the roll waits until all is as it was.
        roll.command = id.or(before);
        let dropped = std::mem::take(&mut roll.queue);
        (roll.back, roll.canary, roll.is_paused) = (true, 0, false);
        let (changed, same): (Vec<_>, Vec<_>) = roll.replaced.drain(..).partition(|(_, before)| *before != roll.spec);
        let stays: Vec<WorkerId> = same.into_iter().map(|(worker, _)| worker).collect();
        let queued: Vec<WorkerId> = changed.iter().map(|(worker, _)| *worker).collect();
        let first = queued.first().or(stays.first()).copied();
        roll.queue = changed.into();
        if let Some(previous) = roll.previous.take() {
            owner.fall_back(previous, now);
        }
        let worker = first.or(dropped.front().map(|(worker, _)| *worker)).or(owner.workers.first().copied());
        if let (Some(command), Some(worker)) = (before, worker) {
            let (worker, cause) = failed.unwrap_or((worker, FailureCause::Superseded));
            let failure = self.failure(worker, cause);
            self.commands.fail(command, failure, false);
        }
        for worker in stays {
            let failure = self.failure(worker, FailureCause::NothingBefore);
            turn.ask_for(Effect::PublishApp {
                app,
                event: "canary",
                detail: format!("worker {worker} {}", failure.cause),
            });
            if let Some(command) = id.or(before) {
                self.commands.fail(command, failure, true);
            }
        }
        for (worker, _) in dropped {
            self.satisfy(turn, worker, &[Goal::Rolled]);
        }
        if let Some(id) = id {
            self.roll_over(turn, before);
            self.wait_for_roll(turn, id, queued);
        }
        self.advance_roll(turn, app);
    }

    /// Puts the old release back where a worker that runs ahead has failed while others wait.
    pub(crate) fn canary_failed(&mut self, turn: &mut Turn<'_>, worker: WorkerId, cause: FailureCause) {
        let Some(app) = self.app_of(worker) else { return };
        let roll = self.apps.get(&app).and_then(|app| app.roll.as_ref());
        if roll.is_some_and(|roll| roll.is_paused && roll.replaced.iter().any(|(one, _)| *one == worker)) {
            let detail = format!("aborted: worker {worker} {cause}");
            turn.ask_for(Effect::PublishApp { app, event: "canary", detail });
            self.abort_canary(turn, None, app, Some((worker, cause)));
        }
    }

    fn wait_for_roll(&mut self, turn: &mut Turn<'_>, id: CommandId, workers: Vec<WorkerId>) {
        self.commands.wait_for_roll(id);
        for worker in workers {
            self.enlist(turn, Some(id), worker, Goal::Rolled);
        }
    }
}
