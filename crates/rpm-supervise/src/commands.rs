//! What clients ask.
//!
//! A command acts on its seats at once and then waits for them. A later command on the same seat takes the earlier one's
//! place, unless both want the same (two stops), and every command is answered once. A seat that is being deleted stays
//! so: `restart` and `reload` pass it over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rpm_model::{AppId, AppSpec, Life, Moment, Unknown, WorkerId};

use crate::command::{Command, CommandId, FailureCause, Outcome, Refusal};
use crate::effect::{Cause, Effect, Happening, Warning};
use crate::event::Taken;
use crate::pending::{Goal, Waiter};
use crate::process::Phase;
use crate::restart::Streak;
use crate::roll::Roll;
use crate::scaling::Scaling;
use crate::seat::{Place, Seat, Then};
use crate::supervisor::{App, Shutdown, Supervisor, Turn};

/// New specs by app.
type Specs = Vec<(AppId, Arc<AppSpec>)>;

impl Supervisor {
    /// Takes a command up, or refuses it.
    pub(crate) fn command(&mut self, turn: &mut Turn<'_>, id: CommandId, command: Command) {
        if let Err(refusal) = self.may(&command) {
            return turn.ask_for(Effect::Reply { command: id, outcome: Outcome::Refused(refusal) });
        }
        self.commands.open(id);
        // The command is not answered before it has named all the seats that it waits for.
        self.commands.wait_for_roll(id);
        match command {
            Command::Start { specs } => {
                for spec in specs {
                    let wanted = spec.autostart;
                    self.start(turn, id, spec, wanted);
                }
                // What is new has no name that could be told before it is known not to be refused.
                self.commands.begun(id, turn.effects);
            }
            Command::Resurrect { apps } => {
                for app in apps {
                    let new = self.start(turn, id, app.spec, !app.is_stopped);
                    if app.is_scaled_by_hand {
                        self.autoscale(new, false);
                    }
                }
            }
            Command::Stop { workers } => self.stop(turn, id, workers),
            Command::Restart { workers, specs } => self.restart(turn, id, workers, specs, Cause::Restart),
            Command::Reload { workers, specs, force } => {
                let stood = if force { self.cancel_rolls(turn, &workers, &specs) } else { BTreeMap::new() };
                self.reload(turn, id, workers, specs, stood, Cause::Reload);
            }
            Command::Renew { workers, cause, roll: true } => {
                self.reload(turn, id, workers, Vec::new(), BTreeMap::new(), cause);
            }
            Command::Renew { workers, cause, roll: false } => self.restart(turn, id, workers, Vec::new(), cause),
            Command::Run { workers, cause } => self.run_jobs(turn, id, workers, cause),
            Command::Delete { workers } => self.delete(turn, id, workers),
            Command::Scale { app, instances } => self.scale(turn, id, app, instances),
            Command::Autoscale { app, on } => self.autoscale(app, on),
            Command::Promote { app } => self.promote_canary(turn, id, app),
            Command::Abort { app } => self.abort_canary(turn, Some(id), app, None),
            Command::Reset { workers } => self.reset(turn, id, workers),
            Command::Adopt { specs } => self.take_up(turn, id, specs),
            Command::Shutdown => self.shut_down(turn, id),
        }
        self.commands.roll_over(id);
        self.settle(turn, id);
    }

    /// Returns why a command cannot be taken.
    fn may(&self, command: &Command) -> Result<(), Refusal> {
        if self.shutdown.is_some() {
            return Err(Refusal::ShuttingDown);
        }
        match command {
            Command::Start { specs } => self.may_depend(specs, &[]),
            Command::Resurrect { .. } | Command::Shutdown => Ok(()),
            Command::Stop { workers } | Command::Delete { workers } | Command::Reset { workers } => {
                workers.iter().try_for_each(|worker| self.known(*worker))
            }
            Command::Restart { workers, specs } => {
                self.all_known(workers, specs)?;
                self.some_stay(workers)
            }
            Command::Reload { workers, specs, force: true } => {
                self.all_known(workers, specs)?;
                self.some_stay(workers)
            }
            Command::Reload { workers, specs, force: false } => self.may_reload(workers, specs),
            // A roll has a spec to prove; who has taken up another one meanwhile is not a part of it.
            Command::Adopt { specs } => self.may_reload(&[], specs),
            Command::Renew { workers, roll: true, .. } => self.may_reload(workers, &Vec::new()),
            Command::Renew { workers, roll: false, .. } => {
                self.all_known(workers, &Vec::new())?;
                self.some_stay(workers)
            }
            Command::Run { workers, cause } => self.may_run(workers, *cause),
            Command::Promote { app } | Command::Abort { app } => self.may_decide(*app),
            Command::Autoscale { app, .. } => self.may_autoscale(*app),
            Command::Scale { app, instances } => {
                let app = self.apps.get(app).ok_or(Refusal::UnknownApp(*app))?;
                if self.staying(app.id).len() == *instances as usize {
                    return Err(Refusal::SameScale { app: app.spec.name.clone(), instances: *instances });
                }
                Ok(())
            }
        }
    }

    fn may_reload(&self, workers: &[WorkerId], specs: &Specs) -> Result<(), Refusal> {
        self.all_known(workers, specs)?;
        self.some_stay(workers)?;
        let apps = workers.iter().filter_map(|worker| self.app_of(*worker));
        for app in apps.chain(specs.iter().map(|(app, _)| *app)).collect::<BTreeSet<_>>() {
            let app = self.apps.get(&app);
            if let Some(app) = app.filter(|app| app.roll.as_ref().is_some_and(|roll| roll.is_paused)) {
                return Err(Refusal::CanaryWaits { app: app.spec.name.clone() });
            }
            if let Some(app) = app.filter(|app| app.roll.is_some()) {
                return Err(Refusal::AlreadyReloading { app: app.spec.name.clone() });
            }
        }
        Ok(())
    }

    pub(crate) fn known(&self, worker: WorkerId) -> Result<(), Refusal> {
        if self.seats.contains_key(&worker) { Ok(()) } else { Err(Refusal::UnknownWorker(worker)) }
    }

    fn all_known(&self, workers: &[WorkerId], specs: &Specs) -> Result<(), Refusal> {
        workers.iter().try_for_each(|worker| self.known(*worker))?;
        let unknown = specs.iter().find(|(app, _)| !self.apps.contains_key(app));
        unknown.map_or(Ok(()), |(app, _)| Err(Refusal::UnknownApp(*app)))?;
        self.may_depend(&[], specs)
    }

    /// Refuses to act on seats that are all being deleted: to the client they are gone.
    pub(crate) fn some_stay(&self, workers: &[WorkerId]) -> Result<(), Refusal> {
        let stays = |worker: &WorkerId| self.seats.get(worker).is_some_and(|seat| !seat.is_doomed());
        match workers.first() {
            Some(first) if !workers.iter().any(stays) => Err(Refusal::UnknownWorker(*first)),
            Some(_) | None => Ok(()),
        }
    }

    // ---- one after another -------------------------------------------------------------------------------------

    fn start(&mut self, turn: &mut Turn<'_>, id: CommandId, spec: Arc<AppSpec>, wanted: bool) -> AppId {
        let app = AppId(self.next_app);
        self.next_app += 1;
        self.dirty = true;
        let instances = spec.instances.max(1);
        let workers = BTreeSet::new();
        let (history, scaling) = (Vec::new(), Scaling::default());
        let (roll, starting, unknown) = (None, Some(id), Unknown::default());
        self.apps.insert(app, App { id: app, spec, workers, roll, history, scaling, starting, unknown });
        for worker in self.add_seats(turn, app, instances) {
            self.wait(Some(id), worker, Goal::Up);
            if self.register_job(worker, wanted) {
                self.satisfy(turn, worker, &[Goal::Up]);
            } else if wanted {
                self.start_when_possible(turn, worker, Cause::Start);
            } else {
                self.satisfy(turn, worker, &[Goal::Up]);
            }
        }
        app
    }

    fn stop(&mut self, turn: &mut Turn<'_>, id: CommandId, workers: Vec<WorkerId>) {
        let apps = self.apps_of(&workers);
        let with: BTreeSet<WorkerId> = workers.iter().copied().collect();
        // All of them first: one that is stopped later must not be taken for one that is wanted again.
        for worker in &with {
            self.enlist(turn, Some(id), *worker, Goal::Down);
            self.park_job(*worker);
            if let Some(seat) = self.seat_mut(*worker) {
                seat.has_ended = false;
            }
        }
        self.each(turn, workers, |this, turn, worker| {
            let doomed = this.seats.get(&worker).is_some_and(Seat::is_doomed);
            let then = if doomed { Then::Delete } else { Then::Stop };
            this.stop_in_order(turn, worker, then, &with);
        });
        for app in apps {
            self.end_watching(app);
        }
    }

    /// Turns off the watching of files of an app that is stopped: nothing but a command starts it again.
    fn end_watching(&mut self, app: AppId) {
        let Some(owner) = self.apps.get(&app).filter(|app| app.spec.watch.enabled) else { return };
        let is_stopped = |seat: &Seat| matches!(seat.place, Place::Stopped | Place::Leaving(_, Then::Stop));
        if !owner.workers.iter().all(|worker| self.seats.get(worker).is_none_or(is_stopped)) {
            return;
        }
        let Some(owner) = self.app_mut(app) else { return };
        for spec in [&mut owner.spec].into_iter().chain(owner.roll.as_mut().and_then(|roll| roll.previous.as_mut())) {
            Arc::make_mut(spec).watch.enabled = false;
        }
    }

    fn delete(&mut self, turn: &mut Turn<'_>, id: CommandId, workers: Vec<WorkerId>) {
        let with: BTreeSet<WorkerId> = workers.iter().copied().collect();
        for worker in &with {
            self.enlist(turn, Some(id), *worker, Goal::Gone);
        }
        self.each(turn, workers, |this, turn, worker| {
            this.quit_roll(worker);
            this.stop_in_order(turn, worker, Then::Delete, &with);
        });
    }

    fn restart(&mut self, turn: &mut Turn<'_>, id: CommandId, workers: Vec<WorkerId>, specs: Specs, cause: Cause) {
        for (app, spec) in &specs {
            self.cancel_roll(turn, *app);
            let rescale = self.apply(turn, *app, spec);
            self.redefine_job(*app);
            if rescale {
                self.rescale(turn, Some(id), *app, spec.instances, Cause::Scale);
            }
        }
        let workers = self.not_doomed(workers);
        let apps = self.apps_of(&workers);
        self.each(turn, workers, |this, turn, worker| this.start_again(turn, id, worker, cause, &apps));
    }

    /// Ends the rolls of the apps that a command names; returns what the specs of those apps were before them.
    fn cancel_rolls(
        &mut self,
        turn: &mut Turn<'_>,
        workers: &[WorkerId],
        specs: &Specs,
    ) -> BTreeMap<AppId, Arc<AppSpec>> {
        let mut apps = self.apps_of(workers);
        apps.extend(specs.iter().map(|(app, _)| *app));
        apps.into_iter().filter_map(|app| Some((app, self.cancel_roll(turn, app)?))).collect()
    }

    /// `stood` are the last specs that are known to be good, where those are not the present ones.
    fn reload(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        workers: Vec<WorkerId>,
        specs: Specs,
        mut stood: BTreeMap<AppId, Arc<AppSpec>>,
        cause: Cause,
    ) {
        let mut apps: BTreeMap<AppId, Vec<WorkerId>> = BTreeMap::new();
        for worker in self.not_doomed(workers) {
            apps.entry(self.app_of(worker).expect("the workers of a command are known")).or_default().push(worker);
        }
        let started: BTreeSet<AppId> = apps.keys().copied().collect();
        let mut specs: BTreeMap<AppId, Arc<AppSpec>> = specs.into_iter().collect();
        for app in specs.keys() {
            apps.entry(*app).or_default();
        }
        for (app, mut workers) in apps {
            let before = stood.remove(&app).unwrap_or_else(|| self.apps[&app].spec.clone());
            let given = specs.remove(&app);
            let rescale = given.as_ref().is_some_and(|spec| self.apply(turn, app, spec));
            let spec = self.apps[&app].spec.clone();
            self.redefine_job(app);
            if rescale {
                // Those that leave at the end anyway are not replaced before.
                let surplus = self.surplus(app, spec.instances);
                workers.retain(|worker| !surplus.contains(worker));
            }
            // Workers that change how they get their sockets cannot serve beside each other; a mixture could neither be
            // rolled nor rolled back as one.
            let shares = |worker: &WorkerId| spec.shares_sockets() && self.seats[worker].spec.shares_sockets();
            let beside = workers.iter().all(shares);
            // Who reads a file tells what its own mode leaves out.
            let is_told = given.is_some() && !spec.shares_sockets();
            if !beside && spec.canary > 0 && cause == Cause::Reload && !is_told {
                let text = "is left out: its workers cannot serve beside each other".to_owned();
                turn.ask_for(Effect::Warn { command: id, warning: Warning::Canary { app, text } });
            }
            // One that takes the place of the old one has to prove itself, too, where there is something to go back to.
            let goes_back = cause == Cause::Reload && spec.rollback && *before != *spec;
            let is_proven = goes_back && before.job.is_none() && spec.job.is_none();
            if workers.is_empty() || !(is_proven || beside) {
                for worker in workers {
                    self.start_again(turn, id, worker, cause, &started);
                }
                if rescale {
                    self.rescale(turn, Some(id), app, spec.instances, Cause::Scale);
                }
                continue;
            }
            for worker in &workers {
                self.enlist(turn, Some(id), *worker, Goal::Rolled);
            }
            let spec_canary = spec.canary;
            let roll = Roll {
                command: Some(id),
                cause,
                previous: (*before != *spec).then_some(before),
                spec,
                queue: VecDeque::new(),
                active: BTreeSet::new(),
                replaced: Vec::new(),
                back: false,
                canary: if cause == Cause::Reload { spec_canary } else { 0 },
                begun: 0,
                is_paused: false,
                paused_at: Moment::default(),
                is_told: false,
                in_order: started.len() > 1,
                rescale,
                added: BTreeSet::new(),
                since: turn.now,
                failed: false,
                quit: false,
            };
            self.begin_roll(turn, app, &workers, roll);
        }
    }

    fn scale(&mut self, turn: &mut Turn<'_>, id: CommandId, app: AppId, instances: u32) {
        if instances == 0 {
            let workers = self.apps[&app].workers.iter().copied().collect();
            return self.delete(turn, id, workers);
        }
        self.autoscale(app, false);
        self.rescale(turn, Some(id), app, instances, Cause::Scale);
        self.advance_roll(turn, app);
    }

    fn reset(&mut self, turn: &mut Turn<'_>, id: CommandId, workers: Vec<WorkerId>) {
        let now = turn.now;
        for worker in workers {
            self.commands.wait_for(id, worker);
            self.commands.release(id, turn.effects);
            let Some(seat) = self.seat_mut(worker) else { continue };
            seat.restarts = 0;
            seat.streak = Streak::default();
            seat.created_at = now;
        }
    }

    fn take_up(&mut self, turn: &mut Turn<'_>, id: CommandId, specs: Specs) {
        for (app, spec) in specs {
            self.apply(turn, app, &spec);
            let workers: Vec<WorkerId> = self.apps[&app].workers.iter().copied().collect();
            for worker in workers {
                self.commands.wait_for(id, worker);
                self.commands.release(id, turn.effects);
                let Some(seat) = self.seat_mut(worker) else { continue };
                seat.spec = spec.clone();
                if let Some(process) = seat.first_mut() {
                    process.spec = spec.clone();
                }
            }
        }
    }

    fn shut_down(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        self.shutdown = Some(Shutdown { command: id, wanted: self.saved().at_rest(), written: false });
        self.dirty = true;
        let workers = self.seats.keys().copied().collect();
        self.stop(turn, id, workers);
    }

    // ---- what they have in common ------------------------------------------------------------------------------

    fn apps_of(&self, workers: &[WorkerId]) -> BTreeSet<AppId> {
        workers.iter().filter_map(|worker| self.app_of(*worker)).collect()
    }

    /// Acts on each worker, after ending its trial in a roll; then lets the rolls go on.
    fn each(
        &mut self,
        turn: &mut Turn<'_>,
        workers: Vec<WorkerId>,
        mut act: impl FnMut(&mut Self, &mut Turn<'_>, WorkerId),
    ) {
        let apps = self.apps_of(&workers);
        let workers: BTreeSet<WorkerId> = workers.into_iter().collect();
        for worker in workers {
            self.put_off_roll(worker);
            act(self, turn, worker);
        }
        for app in apps {
            self.advance_roll(turn, app);
        }
    }

    /// Stops what runs in a seat and starts it with the app's spec; starts it at once when it is down. `apps` are all that the
    /// command starts.
    fn start_again(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        worker: WorkerId,
        cause: Cause,
        apps: &BTreeSet<AppId>,
    ) {
        let now = turn.now;
        if self.becomes_job(worker) {
            return self.end_service(turn, id, worker);
        }
        self.put_off_roll(worker);
        // A restart that nobody commanded takes nothing from who waits for the worker to run: it will. And a roll goes on.
        let by_itself = matches!(cause, Cause::Cron | Cause::Watch);
        let stays = |waiting| waiting == Goal::Rolled || (by_itself && waiting == Goal::Up);
        self.enlist_beside(turn, Some(id), worker, Goal::Up, stays);
        // While the app rolls, its spec still has to prove itself: a seat that waits for its turn stays with its own.
        let app = self.app_of(worker).and_then(|app| self.apps.get(&app));
        let spec = app.filter(|app| app.roll.is_none()).map(|app| app.spec.clone());
        let in_order = self.starts_in_order(worker, apps);
        let Some(seat) = self.seat_mut(worker) else { return };
        if let Some(spec) = spec {
            seat.spec = spec;
        }
        seat.streak = Streak::default();
        (seat.is_parked, seat.queued) = (false, None);
        // As in PM2, what waits for its restart counts as if it ran.
        let again = matches!(seat.place, Place::Waiting { .. })
            || seat.first().is_some_and(|process| process.runs() && process.phase != Phase::Stuck);
        let then = if in_order { Then::StartInOrder { cause, again } } else { Then::Start { at: now, cause, again } };
        self.leave(turn, worker, then, cause, false);
    }

    /// Makes a command wait for a seat, in the place of those that want something else of it.
    pub(crate) fn enlist(&mut self, turn: &mut Turn<'_>, command: Option<CommandId>, worker: WorkerId, goal: Goal) {
        self.enlist_beside(turn, command, worker, goal, |_| false);
    }

    /// The same, beside those whose goals stay.
    fn enlist_beside(
        &mut self,
        turn: &mut Turn<'_>,
        command: Option<CommandId>,
        worker: WorkerId,
        goal: Goal,
        stays: impl Fn(Goal) -> bool,
    ) {
        if let Some(app) = self.app_of(worker).and_then(|app| self.apps.get_mut(&app)) {
            app.starting = None;
        }
        self.forget_deferred(worker);
        self.let_go(
            turn,
            worker,
            |waiting| !waiting.is_served_by(goal) && !stays(waiting),
            Some(FailureCause::Superseded),
        );
        self.wait(command, worker, goal);
    }

    /// Lets a command that has failed in a seat wait until the release before is up there, if that is what happens.
    pub(crate) fn wait_for_release_before(&mut self, command: Option<CommandId>, worker: WorkerId) {
        let comes_back = self.seats.get(&worker).is_some_and(|seat| match &seat.place {
            Place::Serving(process) => process.cause == Cause::Rollback && !process.ready,
            Place::Leaving(_, Then::Start { cause, .. }) => *cause == Cause::Rollback,
            Place::Leaving(..) | Place::Waiting { .. } | Place::Stopped | Place::Errored | Place::Deleted => false,
        });
        if comes_back && let Some(command) = command {
            self.add_waiter(worker, Waiter { command, goal: Goal::Up, is_back: true });
        }
    }

    fn wait(&mut self, command: Option<CommandId>, worker: WorkerId, goal: Goal) {
        if let Some(command) = command {
            self.add_waiter(worker, Waiter { command, goal, is_back: false });
        }
    }

    fn add_waiter(&mut self, worker: WorkerId, waiter: Waiter) {
        if let Some(seat) = self.seats.get_mut(&worker) {
            seat.waiters.push(waiter);
            self.commands.wait_for(waiter.command, worker);
        }
    }

    /// Makes a spec the app's. Returns whether it asks for another number of workers.
    fn apply(&mut self, turn: &Turn<'_>, app: AppId, spec: &Arc<AppSpec>) -> bool {
        let Some(app) = self.app_mut(app) else { return false };
        let rescale = app.spec.instances != spec.instances;
        if spec.autoscale.is_none() {
            app.scaling = Scaling::default();
        }
        app.succeed(spec.clone(), turn.now);
        rescale
    }

    // ---- a start that cannot succeed ---------------------------------------------------------------------------

    /// Returns the command that is creating this app, while it waits for one of its workers.
    pub(crate) fn is_being_created(&self, app: AppId) -> Option<CommandId> {
        let app = self.apps.get(&app)?;
        let command = app.starting.filter(|command| self.commands.is_open(*command))?;
        let waits = |worker: &WorkerId| {
            self.seats.get(worker).is_some_and(|seat| seat.waiters.iter().any(|waiter| waiter.command == command))
        };
        app.workers.iter().any(waits).then_some(command)
    }

    /// Takes back the start of an app whose address is taken: nothing of it is left.
    pub(crate) fn abort_start(&mut self, turn: &mut Turn<'_>, command: CommandId, worker: WorkerId, taken: Taken) {
        let failure = self.failure(worker, FailureCause::Taken(taken));
        self.commands.fail(command, failure, false);
        let Some(app) = self.app_of(worker).and_then(|app| self.app_mut(app)) else { return };
        app.starting = None;
        for worker in app.workers.clone() {
            let Some(seat) = self.seat_mut(worker) else { continue };
            match seat.waiters.iter_mut().find(|waiter| waiter.command == command) {
                Some(waiter) => waiter.goal = Goal::Gone,
                None => self.wait(Some(command), worker, Goal::Gone),
            }
            self.quit_roll(worker);
            let lives: Vec<Life> = self.seats.get(&worker).into_iter().flat_map(Seat::lives).collect();
            for life in lives {
                turn.publish(worker, Happening::Stopping { cause: Cause::Stop });
                if let Some(process) = self.process_mut(life) {
                    process.leaving.get_or_insert(Cause::Stop);
                }
                self.kill(turn, life);
            }
            self.leave(turn, worker, Then::Delete, Cause::Stop, false);
        }
    }
}
