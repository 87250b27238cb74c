//! What can be seen from outside.

use std::sync::Arc;
use std::time::Duration;

use rpm_model::{AppId, AppSpec, Exit, Health, Life, Moment, Status, WorkerId};

use crate::effect::Cause;
use crate::history::Past;
use crate::process::Process;
use crate::scaling::ScalingView;
use crate::seat::{Place, Seat, Then};
use crate::supervisor::{App, Supervisor};

/// An app as it is now.
#[derive(Debug, Clone)]
pub struct AppView<'a> {
    /// Which app.
    pub id: AppId,
    /// What is asked of it.
    pub spec: &'a Arc<AppSpec>,
    /// The same, or what was asked before while a reload has still to show that the new spec is good.
    pub proven: &'a Arc<AppSpec>,
    /// Whether a reload of it is under way.
    pub rolling: bool,
    /// Workers of a new release that wait for `promote` or `abort`.
    pub canaries: Vec<WorkerId>,
    /// How its number of workers follows its load, where it has `autoscale`.
    pub scaling: Option<ScalingView<'a>>,
    /// What it was before, oldest first.
    pub history: &'a [Past],
    /// Its workers, by id.
    pub workers: Vec<WorkerView<'a>>,
}

/// A worker as it is now.
#[derive(Debug, Clone)]
pub struct WorkerView<'a> {
    /// Which seat.
    pub id: WorkerId,
    /// Its app.
    pub app: AppId,
    /// Its number among the app's instances.
    pub instance: u32,
    /// The spec of the running process, or what the next one is started with.
    pub spec: &'a Arc<AppSpec>,
    /// How it fares.
    pub status: Status,
    /// How its process fares as to requests, where it has one.
    pub health: Option<Health>,
    /// The process in the seat's place. One that comes in, or is on its way out in a roll, is not shown.
    pub life: Option<Life>,
    /// The pid of that process, once known.
    pub pid: Option<i32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Unstable runs in a row.
    pub unstable: u32,
    /// When the seat was created, or its counters were reset.
    pub created_at: Moment,
    /// When its process was started.
    pub started_at: Option<Moment>,
    /// How the last process of this seat ended, and when.
    pub last_exit: Option<(Exit, Moment)>,
    /// Whether it is stopped because its process has ended by itself: nobody has stopped it.
    pub has_ended: bool,
    /// Whether another process follows the one that is on its way out, or is waited for.
    pub returns: bool,
    /// Whether it is a job whose times pass until somebody runs it.
    pub is_parked: bool,
    /// Whether its process has been ready.
    pub ready: bool,
    /// Whether its process has listened (Node's cluster protocol).
    pub listened: bool,
    /// Why it is down or waiting: `exit code 3 after 120 ms; 16 unstable restarts in a row`.
    pub why: Option<String>,
    /// Why its process was started.
    pub cause: Option<Cause>,
    /// The last wait of its exponential backoff (PM2's `prev_restart_delay`).
    pub backoff: Option<Duration>,
}

impl Supervisor {
    /// Returns all apps, by number.
    pub fn apps(&self) -> impl Iterator<Item = AppView<'_>> {
        self.apps.values().map(|app| self.app_view(app))
    }

    /// Returns one app.
    pub fn app(&self, app: AppId) -> Option<AppView<'_>> {
        self.apps.get(&app).map(|app| self.app_view(app))
    }

    /// Returns what was asked for as an app, without a look at its workers.
    pub fn spec(&self, app: AppId) -> Option<&Arc<AppSpec>> {
        self.apps.get(&app).map(|app| &app.spec)
    }

    /// Returns one worker.
    pub fn worker(&self, worker: WorkerId) -> Option<WorkerView<'_>> {
        self.seats.get(&worker).map(worker_view)
    }

    /// Returns why a process was asked to leave; nothing when it was not, or is none of ours any more.
    pub fn leaving(&self, life: Life) -> Option<Cause> {
        self.process(life)?.leaving
    }

    /// Returns how a process fares as to requests.
    pub fn health(&self, life: Life) -> Option<Health> {
        self.process(life).map(Process::health)
    }

    /// Returns when a process was started.
    pub fn started_at(&self, life: Life) -> Option<Moment> {
        Some(self.process(life)?.started_at)
    }

    fn app_view<'a>(&'a self, app: &'a App) -> AppView<'a> {
        let workers = app.workers.iter().filter_map(|worker| self.worker(*worker)).collect();
        let waits = app.roll.as_ref().filter(|roll| roll.is_paused);
        let canaries = waits.into_iter().flat_map(|roll| &roll.replaced).map(|(worker, _)| *worker).collect();
        AppView {
            id: app.id,
            spec: &app.spec,
            proven: app.proven(),
            rolling: app.roll.is_some(),
            canaries,
            scaling: app.spec.autoscale.is_some().then(|| app.scaling.view()),
            history: &app.history,
            workers,
        }
    }
}

fn worker_view(seat: &Seat) -> WorkerView<'_> {
    let process = seat.first();
    WorkerView {
        id: seat.id,
        app: seat.app,
        instance: seat.instance,
        spec: process.map_or(&seat.spec, |process| &process.spec),
        status: seat.status(),
        health: process.map(Process::health),
        life: seat.life(),
        pid: process.and_then(|process| process.pid),
        restarts: seat.restarts,
        unstable: seat.streak.unstable,
        created_at: seat.created_at,
        started_at: process.map(|process| process.started_at),
        last_exit: seat.last_exit,
        has_ended: seat.has_ended,
        returns: matches!(
            seat.place,
            Place::Waiting { .. } | Place::Leaving(_, Then::Start { .. } | Then::StartInOrder { .. })
        ),
        is_parked: seat.is_parked,
        ready: process.is_some_and(|process| process.ready),
        listened: process.is_some_and(|process| process.told.listened),
        why: seat.why.clone(),
        cause: process.map(|process| process.cause),
        backoff: seat.streak.backoff,
    }
}
