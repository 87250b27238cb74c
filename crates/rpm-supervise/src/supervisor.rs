//! The supervisor: its state, and the way of an event to the room that knows what it means.
//!
//! Rooms below: `commands` (what clients ask), `starting`, `ending` and `leaving` (what happens to one process), `roll`
//! (one after another), `jobs` (what runs at its times).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rpm_model::{AppId, AppSpec, Life, Moment, Unknown, WorkerId};

use crate::command::{CommandId, Failure, FailureCause};
use crate::depends::Deferred;
use crate::effect::{Effect, Happening};
use crate::event::Event;
use crate::history::Past;
use crate::pending::{Commands, Goal};
use crate::process::Process;
use crate::restart::Pace;
use crate::roll::Roll;
use crate::saved::Saved;
use crate::scaling::Scaling;
use crate::seat::Seat;
use crate::timers::Timers;

/// Everything known and wanted of every app. Performs nothing; see the crate's documentation for how it is driven.
#[derive(Debug, Default)]
pub struct Supervisor {
    pub(crate) apps: BTreeMap<AppId, App>,
    pub(crate) seats: BTreeMap<WorkerId, Seat>,
    pub(crate) commands: Commands,
    pub(crate) next_app: u32,
    pub(crate) next_worker: u32,
    /// Seats start to count generations here: ids are used again once the list is empty, and lives never are.
    pub(crate) generation_floor: u64,
    /// The highest generation of a seat that was forgotten.
    pub(crate) generation_seen: u64,
    pub(crate) shutdown: Option<Shutdown>,
    /// What a newer program has saved, to be saved again; so in [`App`] and [`Seat`].
    pub(crate) unknown: Unknown,
    pub(crate) pace: Pace,
    /// Seats that wait for other apps.
    pub(crate) held: BTreeSet<WorkerId>,
    /// Stops that wait for other apps, and with which workers each was asked for.
    pub(crate) deferred: Vec<(Deferred, BTreeSet<WorkerId>)>,
    timers: Timers,
    /// Seats changed in this turn: their deadlines are to be worked out anew.
    touched: Vec<WorkerId>,
    /// Whether what is saved has changed in this turn.
    pub(crate) dirty: bool,
}

/// One app.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) id: AppId,
    /// What is wanted now; seats pick it up at their next commanded start.
    pub(crate) spec: Arc<AppSpec>,
    pub(crate) workers: BTreeSet<WorkerId>,
    pub(crate) roll: Option<Roll>,
    /// What it was before, oldest first.
    pub(crate) history: Vec<Past>,
    /// How its number of workers follows its load, where it does.
    pub(crate) scaling: Scaling,
    /// The command that creates this app, while no other has touched it.
    pub(crate) starting: Option<CommandId>,
    pub(crate) unknown: Unknown,
}

impl App {
    /// Returns the spec that has proven itself: while a roll brings in another one, the one before it.
    pub(crate) fn proven(&self) -> &Arc<AppSpec> {
        self.roll.as_ref().and_then(|roll| roll.previous.as_ref()).unwrap_or(&self.spec)
    }
}

/// The daemon is about to leave.
#[derive(Debug)]
pub(crate) struct Shutdown {
    pub(crate) command: CommandId,
    /// The state as it was wanted before.
    pub(crate) wanted: Saved,
    /// Whether that was written down.
    pub(crate) written: bool,
}

/// One pass: the present moment, and where effects are put.
pub(crate) struct Turn<'a> {
    pub(crate) now: Moment,
    pub(crate) effects: &'a mut Vec<Effect>,
}

impl Turn<'_> {
    pub(crate) fn ask_for(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn publish(&mut self, worker: WorkerId, happening: Happening) {
        self.effects.push(Effect::Publish { worker, happening });
    }
}

impl Supervisor {
    /// Returns a supervisor without apps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event, and puts what is to be done into `effects`, in order.
    pub fn handle(&mut self, now: Moment, event: Event, effects: &mut Vec<Effect>) {
        let turn = &mut Turn { now, effects };
        match event {
            Event::Command(id, command) => self.command(turn, id, command),
            Event::Spawned { life, pid } => self.spawned(turn, life, pid, now),
            Event::SpawnFailed { life, why } => self.spawn_failed(turn, life, why),
            Event::BindFailed { life, taken } => self.bind_failed(turn, life, taken),
            Event::Exited { life, exit, leftovers } => self.exited(turn, life, exit, leftovers),
            Event::Owed { life } => self.owed(turn, life),
            Event::TreeGone { life } => self.tree_gone(turn, life),
            Event::Listening { life } => self.told(turn, life, |told| &mut told.listened),
            Event::AppReady { life } => self.told(turn, life, |told| &mut told.app_ready),
            Event::Settled { life } => self.told(turn, life, |told| &mut told.settled),
            Event::Asked { life } => self.asked(turn, life),
            Event::Drained { life } => self.drained(turn, life),
            Event::Probed { life, found } => self.probed(turn, life, found),
            Event::Hung { life, why } => self.hung(turn, life, why),
            Event::Revived { life } => self.revived(turn, life),
            Event::Memory { life, used } => self.memory(turn, life, used),
            Event::Canary { app, seen } => self.canary_seen(turn, app, seen),
            Event::Load { app, load } => self.loaded(turn, app, load),
            Event::Deadline => {
                for worker in self.timers.take_due(now) {
                    self.due(turn, worker);
                }
            }
        }
        self.stop_deferred(turn);
        self.release_held(turn);
        self.end_turn(turn);
    }

    /// Returns the moment anything is next due; [`Event::Deadline`] is wanted then.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.timers.next()
    }

    /// Returns the app of a worker.
    pub fn app_of(&self, worker: WorkerId) -> Option<AppId> {
        self.seats.get(&worker).map(|seat| seat.app)
    }

    /// Returns whether a process is one of its seat's: in its place, coming in, or on its way out.
    pub fn is_current(&self, life: Life) -> bool {
        self.process(life).is_some()
    }

    /// Works out deadlines, and asks for what was changed to be written down.
    pub(crate) fn end_turn(&mut self, turn: &mut Turn<'_>) {
        while let Some(worker) = self.touched.pop() {
            let deadline = self.seats.get(&worker).and_then(|seat| seat.deadline(turn.now));
            self.timers.set(worker, deadline);
        }
        // What was wanted before a shutdown is written once, and not overwritten by what the shutdown does.
        let written = self.shutdown.as_mut().is_some_and(|shutdown| std::mem::replace(&mut shutdown.written, true));
        if std::mem::take(&mut self.dirty) && !written {
            turn.ask_for(Effect::Persist);
        }
    }

    /// Returns a seat to be changed.
    pub(crate) fn seat_mut(&mut self, worker: WorkerId) -> Option<&mut Seat> {
        let seat = self.seats.get_mut(&worker)?;
        self.touched.push(worker);
        self.dirty = true;
        Some(seat)
    }

    /// Returns an app to be changed.
    pub(crate) fn app_mut(&mut self, app: AppId) -> Option<&mut App> {
        let app = self.apps.get_mut(&app)?;
        self.dirty = true;
        Some(app)
    }

    /// Returns a process that is one of its seat's.
    pub(crate) fn process(&self, life: Life) -> Option<&Process> {
        self.seats.get(&life.worker)?.process(life.generation)
    }

    /// Returns a process that is one of its seat's, to be changed.
    pub(crate) fn process_mut(&mut self, life: Life) -> Option<&mut Process> {
        self.seat_mut(life.worker)?.process_mut(life.generation)
    }

    /// Takes a seat out of the list, and its app when it was the last one.
    pub(crate) fn remove_seat(&mut self, turn: &mut Turn<'_>, worker: WorkerId) {
        self.touched.push(worker);
        self.dirty = true;
        let Some(seat) = self.seats.remove(&worker) else { return };
        self.generation_seen = self.generation_seen.max(seat.generation);
        let Some(app) = self.apps.get_mut(&seat.app) else { return };
        app.workers.remove(&worker);
        if app.workers.is_empty() {
            let roll = app.roll.take();
            self.apps.remove(&seat.app);
            self.roll_over(turn, roll.and_then(|roll| roll.command));
        }
        // PM2 counts from 0 again when its list is empty.
        if self.seats.is_empty() {
            self.next_worker = 0;
            self.generation_floor = self.generation_seen;
        }
    }

    /// Tells the commands that wait for one of these goals that it is reached.
    pub(crate) fn satisfy(&mut self, turn: &mut Turn<'_>, worker: WorkerId, goals: &[Goal]) {
        self.let_go(turn, worker, |goal| goals.contains(&goal), None);
    }

    /// Tells the commands that wait for one of these goals that it will not be reached.
    pub(crate) fn disappoint(&mut self, turn: &mut Turn<'_>, worker: WorkerId, goals: &[Goal], cause: FailureCause) {
        self.let_go(turn, worker, |goal| goals.contains(&goal), Some(cause));
    }

    /// Lets the waiters of a seat go whose goal is named; with a failure when there is one.
    pub(crate) fn let_go(
        &mut self,
        turn: &mut Turn<'_>,
        worker: WorkerId,
        named: impl Fn(Goal) -> bool,
        failure: Option<FailureCause>,
    ) {
        let Some(seat) = self.seats.get_mut(&worker) else { return };
        if seat.waiters.is_empty() {
            return;
        }
        let (gone, left): (Vec<_>, Vec<_>) = seat.waiters.iter().partition(|waiter| named(waiter.goal));
        seat.waiters = left;
        for waiter in gone {
            if let Some(cause) = &failure {
                let cause = match waiter.is_back {
                    true => FailureCause::NotBack(Box::new(cause.clone())),
                    false => cause.clone(),
                };
                let failure = self.failure(worker, cause);
                self.commands.fail(waiter.command, failure, true);
            }
            self.commands.release(waiter.command, turn.effects);
            self.settle(turn, waiter.command);
        }
    }

    /// Answers a command that waits for nothing more.
    pub(crate) fn settle(&mut self, turn: &mut Turn<'_>, command: CommandId) {
        let answered = self.commands.settle(command, turn.effects);
        if answered && self.shutdown.as_ref().is_some_and(|shutdown| shutdown.command == command) {
            turn.ask_for(Effect::Leave);
        }
    }

    /// Returns what a client is told about a worker that did not do what was asked.
    pub(crate) fn failure(&self, worker: WorkerId, cause: FailureCause) -> Failure {
        let app = self.app_of(worker).and_then(|app| self.apps.get(&app));
        Failure { worker, app: app.map(|app| app.spec.name.clone()).unwrap_or_default(), cause }
    }
}
