//! What is written down.
//!
//! The saved state is data of its own: the core's state converts into it and back. What is not saved: commands (their
//! clients are gone with the daemon) and timers (they follow from the state). It may be a little older than the last turn
//! (see [`Effect::is_irrevocable`](crate::Effect::is_irrevocable)).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rpm_model::{AppId, AppSpec, Exit, Life, Moment, Unknown, WorkerId};
use serde::{Deserialize, Serialize};

use crate::autoscale::Change;
use crate::effect::Cause;
use crate::health::Checks;
use crate::history::{Fate, Past};
use crate::process::{Phase, Process, Sweep, Told, Trial};
use crate::restart::Streak;
use crate::roll::Roll;
use crate::scaling::Scaling;
use crate::seat::{Place, Seat, Second, Then};
use crate::supervisor::{App, Supervisor};

mod absurd;
mod rest;

/// The version that is written.
const VERSION: u32 = 1;

/// Everything that a new daemon needs to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The version of this format.
    pub version: u32,
    pub(crate) next_app: u32,
    pub(crate) next_worker: u32,
    #[serde(default)]
    pub(crate) generation_floor: u64,
    #[serde(default)]
    pub(crate) generation_seen: u64,
    pub(crate) apps: Vec<SavedApp>,
    #[serde(default, flatten)]
    pub(crate) unknown: Unknown,
}

/// A process as it was when the state was written.
#[derive(Debug, Clone, Copy)]
pub struct SavedLife<'a> {
    /// Which process.
    pub life: Life,
    /// What it was started with.
    pub spec: &'a Arc<AppSpec>,
    /// Its number among the app's instances.
    pub instance: u32,
    /// Its pid.
    pub pid: i32,
    /// When it was started.
    pub started_at: Moment,
    /// Why it was asked to leave, if it was.
    pub leaving: Option<Cause>,
}

/// One app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedApp {
    id: AppId,
    /// Each spec that is in use once; the others name them by index. The first is the app's.
    #[serde(with = "rpm_model::unknown::deep::list")]
    specs: Vec<Arc<AppSpec>>,
    seats: Vec<SavedSeat>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    roll: Option<SavedRoll>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    history: Vec<(usize, Moment, Fate)>,
    #[serde(default, skip_serializing_if = "SavedScaling::is_usual")]
    scaling: SavedScaling,
    #[serde(default, flatten)]
    unknown: Unknown,
}

/// Who decides on the number of workers, and what was decided last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct SavedScaling {
    is_paused: bool,
    last: Option<(Moment, Change)>,
}

impl SavedScaling {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// One seat. A spec is an index into the app's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SavedSeat {
    id: WorkerId,
    instance: u32,
    spec: usize,
    generation: u64,
    created_at: Moment,
    restarts: u32,
    #[serde(default)]
    unstable: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unstable_since: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backoff: Option<Duration>,
    place: SavedPlace,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    second: Option<SavedSecond>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trial: Option<usize>,
    #[serde(default, rename = "memory_retry_at")]
    renew_after: Moment,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_held: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_for: Option<Cause>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_parked: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queued: Option<Cause>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_exit: Option<(Exit, Moment)>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_ended: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(default, flatten)]
    unknown: Unknown,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedPlace {
    Stopped,
    Errored,
    Waiting {
        until: Moment,
    },
    Serving(SavedProcess),
    Leaving(SavedProcess, SavedThen),
    Deleted,
    /// Empty because of a shutdown: to be started when the daemon is back.
    Wanted,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedThen {
    Stop,
    Fail,
    Delete,
    Start { at: Moment, cause: Cause, again: bool },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedSecond {
    Incoming(SavedProcess),
    Outgoing(SavedProcess),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SavedProcess {
    generation: u64,
    spec: usize,
    cause: Cause,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    started_at: Moment,
    phase: SavedPhase,
    /// Set for a process on trial: whether it must listen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    must_listen: Option<bool>,
    /// It is ready, and on trial until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proven_at: Option<Moment>,
    #[serde(default)]
    listened: bool,
    #[serde(default)]
    app_ready: bool,
    #[serde(default)]
    settled: bool,
    /// Whether it was last found well, or ill, if either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    well: Option<bool>,
    #[serde(default)]
    ready: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leaving: Option<Cause>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedPhase {
    Spawning,
    Starting,
    Online,
    Draining { until: Moment },
    Stopping { kill_at: Moment },
    Killed { give_up_at: Moment },
    Sweeping { kill_at: Moment },
    Swept { give_up_at: Moment },
    Stuck,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SavedRoll {
    #[serde(default = "reload")]
    cause: Cause,
    spec: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<usize>,
    queue: Vec<(WorkerId, usize)>,
    active: Vec<WorkerId>,
    replaced: Vec<(WorkerId, usize)>,
    back: bool,
    #[serde(default)]
    canary: u32,
    #[serde(default)]
    begun: u32,
    #[serde(default)]
    is_paused: bool,
    #[serde(default)]
    paused_at: Moment,
    rescale: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    added: Vec<WorkerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Moment>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    failed: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    quit: bool,
}

/// What every roll was for when its cause was not written down.
fn reload() -> Cause {
    Cause::Reload
}

impl Supervisor {
    /// Returns what is to be written down. From a shutdown on this is what was wanted before it.
    pub fn saved(&self) -> Saved {
        if let Some(shutdown) = &self.shutdown {
            return shutdown.wanted.clone();
        }
        let apps = self.apps.values().map(|app| self.save_app(app)).collect();
        Saved {
            version: VERSION,
            next_app: self.next_app,
            next_worker: self.next_worker,
            generation_floor: self.generation_floor,
            generation_seen: self.generation_seen,
            apps,
            unknown: self.unknown.clone(),
        }
    }

    fn save_app(&self, app: &App) -> SavedApp {
        let mut specs = Specs(vec![app.spec.clone()]);
        let seats =
            app.workers.iter().filter_map(|worker| self.seats.get(worker)).map(|seat| save_seat(seat, &mut specs));
        let seats = seats.collect();
        let roll = app.roll.as_ref().map(|roll| SavedRoll {
            cause: roll.cause,
            spec: specs.index(&roll.spec),
            previous: roll.previous.as_ref().map(|spec| specs.index(spec)),
            queue: roll.queue.iter().map(|(worker, spec)| (*worker, specs.index(spec))).collect(),
            active: roll.active.iter().copied().collect(),
            replaced: roll.replaced.iter().map(|(worker, spec)| (*worker, specs.index(spec))).collect(),
            back: roll.back,
            canary: roll.canary,
            begun: roll.begun,
            is_paused: roll.is_paused,
            paused_at: roll.paused_at,
            rescale: roll.rescale,
            added: roll.added.iter().copied().collect(),
            since: Some(roll.since),
            failed: roll.failed,
            quit: roll.quit,
        });
        let history = app.history.iter().map(|past| (specs.index(&past.spec), past.until, past.fate)).collect();
        let scaling = SavedScaling { is_paused: app.scaling.is_paused, last: app.scaling.last.clone() };
        SavedApp { id: app.id, specs: specs.0, seats, roll, history, scaling, unknown: app.unknown.clone() }
    }

    pub(crate) fn load_app(&mut self, saved: SavedApp, now: Moment, wanted: &mut Vec<WorkerId>) {
        let Some(first) = saved.specs.first().cloned() else { return };
        // An index that a damaged file got wrong means the app's own spec.
        let spec = |index: usize| saved.specs.get(index).unwrap_or(&first).clone();
        let workers: BTreeSet<WorkerId> = saved.seats.iter().map(|seat| seat.id).collect();
        let roll = saved.roll.map(|roll| Roll {
            command: None,
            cause: roll.cause,
            spec: spec(roll.spec),
            previous: roll.previous.map(&spec),
            queue: roll.queue.into_iter().map(|(worker, index)| (worker, spec(index))).collect(),
            active: roll.active.into_iter().filter(|worker| workers.contains(worker)).collect(),
            replaced: roll.replaced.into_iter().map(|(worker, index)| (worker, spec(index))).collect(),
            back: roll.back,
            canary: roll.canary,
            begun: roll.begun,
            is_paused: roll.is_paused,
            paused_at: roll.paused_at.min(now),
            is_told: false,
            in_order: false,
            rescale: roll.rescale,
            added: roll.added.into_iter().collect(),
            // Nobody wrote it down: it is not shorter than what is left of it.
            since: roll.since.map_or(now, |since| since.min(now)),
            failed: roll.failed,
            quit: roll.quit,
        });
        for seat in saved.seats {
            if seat.place == SavedPlace::Wanted {
                wanted.push(seat.id);
            }
            let seat = load_seat(seat, saved.id, now, &spec);
            if seat.is_held {
                self.held.insert(seat.id);
            }
            self.next_worker = self.next_worker.max(seat.id.0.saturating_add(1));
            self.seats.insert(seat.id, seat);
        }
        self.next_app = self.next_app.max(saved.id.0.saturating_add(1));
        if !workers.is_empty() {
            let past =
                |(index, until, fate): &(usize, Moment, Fate)| Past { spec: spec(*index), until: *until, fate: *fate };
            let history = saved.history.iter().map(past).collect();
            let last = saved.scaling.last.map(|(at, change)| (at.min(now), change));
            let scaling = Scaling::restored(saved.scaling.is_paused, last);
            let (id, spec, starting, unknown) = (saved.id, spec(0), None, saved.unknown);
            self.apps.insert(id, App { id, spec, workers, roll, history, scaling, starting, unknown });
        }
    }
}

impl SavedSeat {
    fn processes(&self) -> impl Iterator<Item = &SavedProcess> {
        let own = match &self.place {
            SavedPlace::Serving(process) | SavedPlace::Leaving(process, _) => Some(process),
            SavedPlace::Stopped
            | SavedPlace::Errored
            | SavedPlace::Waiting { .. }
            | SavedPlace::Deleted
            | SavedPlace::Wanted => None,
        };
        let second = self.second.as_ref();
        let second = second.map(|(SavedSecond::Incoming(process) | SavedSecond::Outgoing(process))| process);
        own.into_iter().chain(second)
    }
}

impl Saved {
    /// Returns which app a seat is of, how it is to run, and the generation of its newest process.
    pub fn seat(&self, worker: WorkerId) -> Option<(AppId, &Arc<AppSpec>, u64)> {
        let mut seats = self.apps.iter().flat_map(|app| app.seats.iter().map(move |seat| (app, seat)));
        let (app, seat) = seats.find(|(_, seat)| seat.id == worker)?;
        let spec = app.specs.get(seat.spec).or(app.specs.first())?;
        Some((app.id, spec, seat.generation))
    }

    /// Returns the processes that were there when this was written, whether or not they have ended since.
    pub fn lives(&self) -> impl Iterator<Item = SavedLife<'_>> {
        self.apps.iter().flat_map(|app| {
            app.seats.iter().flat_map(move |seat| {
                let first = match &seat.place {
                    SavedPlace::Serving(process) | SavedPlace::Leaving(process, _) => Some(process),
                    SavedPlace::Stopped
                    | SavedPlace::Errored
                    | SavedPlace::Waiting { .. }
                    | SavedPlace::Deleted
                    | SavedPlace::Wanted => None,
                };
                let second = seat.second.as_ref().map(|second| match second {
                    SavedSecond::Incoming(process) | SavedSecond::Outgoing(process) => process,
                });
                first.into_iter().chain(second).filter_map(move |process| {
                    // One that has ended and left descendants was told of before.
                    let ended = matches!(process.phase, SavedPhase::Sweeping { .. } | SavedPhase::Swept { .. });
                    Some(SavedLife {
                        life: Life::new(seat.id, process.generation),
                        spec: app.specs.get(process.spec).or(app.specs.first())?,
                        instance: seat.instance,
                        pid: process.pid.filter(|_| !ended)?,
                        started_at: process.started_at,
                        leaving: process.leaving,
                    })
                })
            })
        })
    }

    /// Returns the number of a seat among its app's instances.
    pub fn instance(&self, worker: WorkerId) -> Option<u32> {
        let mut seats = self.apps.iter().flat_map(|app| &app.seats);
        seats.find(|seat| seat.id == worker).map(|seat| seat.instance)
    }

    /// Returns whether there is no app.
    pub fn is_empty(&self) -> bool {
        self.apps.is_empty()
    }
}

/// The specs of an app, each once.
struct Specs(Vec<Arc<AppSpec>>);

impl Specs {
    fn index(&mut self, spec: &Arc<AppSpec>) -> usize {
        let known = self.0.iter().position(|known| Arc::ptr_eq(known, spec));
        known.unwrap_or_else(|| {
            self.0.push(spec.clone());
            self.0.len() - 1
        })
    }
}

fn save_seat(seat: &Seat, specs: &mut Specs) -> SavedSeat {
    SavedSeat {
        id: seat.id,
        instance: seat.instance,
        spec: specs.index(&seat.spec),
        generation: seat.generation,
        created_at: seat.created_at,
        restarts: seat.restarts,
        unstable: seat.streak.unstable,
        unstable_since: seat.streak.since,
        backoff: seat.streak.backoff,
        place: match &seat.place {
            Place::Stopped => SavedPlace::Stopped,
            Place::Errored => SavedPlace::Errored,
            Place::Waiting { until } => SavedPlace::Waiting { until: *until },
            Place::Serving(process) => SavedPlace::Serving(save_process(process, specs)),
            Place::Leaving(process, then) => {
                let then = match *then {
                    Then::Stop => SavedThen::Stop,
                    Then::Fail => SavedThen::Fail,
                    Then::Delete => SavedThen::Delete,
                    Then::Start { at, cause, again } => SavedThen::Start { at, cause, again },
                    // With `is_held`, which an older daemon passes over.
                    Then::StartInOrder { cause, again } => SavedThen::Start { at: Moment(0), cause, again },
                };
                SavedPlace::Leaving(save_process(process, specs), then)
            }
            Place::Deleted => SavedPlace::Deleted,
        },
        second: seat.second.as_ref().map(|second| match second {
            Second::Incoming(process) => SavedSecond::Incoming(save_process(process, specs)),
            Second::Outgoing(process) => SavedSecond::Outgoing(save_process(process, specs)),
        }),
        trial: seat.trial.as_ref().map(|spec| specs.index(spec)),
        renew_after: seat.renew_after,
        is_held: seat.is_held || matches!(seat.place, Place::Leaving(_, Then::StartInOrder { .. })),
        held_for: Some(seat.held_for).filter(|cause| seat.is_held && *cause != Cause::Start),
        is_parked: seat.is_parked,
        queued: seat.queued,
        last_exit: seat.last_exit,
        has_ended: seat.has_ended,
        why: seat.why.clone(),
        unknown: seat.unknown.clone(),
    }
}

fn save_process(process: &Process, specs: &mut Specs) -> SavedProcess {
    SavedProcess {
        generation: process.life.generation.0,
        spec: specs.index(&process.spec),
        cause: process.cause,
        pid: process.pid,
        started_at: process.started_at,
        phase: match process.phase {
            Phase::Spawning => SavedPhase::Spawning,
            Phase::Starting => SavedPhase::Starting,
            Phase::Online => SavedPhase::Online,
            Phase::Draining { until } => SavedPhase::Draining { until },
            Phase::Stopping { kill_at } => SavedPhase::Stopping { kill_at },
            Phase::Killed { give_up_at } => SavedPhase::Killed { give_up_at },
            Phase::Sweeping(Sweep::Grace { kill_at }) => SavedPhase::Sweeping { kill_at },
            Phase::Sweeping(Sweep::Killed { give_up_at }) => SavedPhase::Swept { give_up_at },
            Phase::Stuck => SavedPhase::Stuck,
        },
        must_listen: process.trial.map(|trial| trial.must_listen),
        proven_at: process.proven_at,
        listened: process.told.listened,
        app_ready: process.told.app_ready,
        settled: process.told.settled,
        well: process.checks.verdict(),
        ready: process.ready,
        leaving: process.leaving,
    }
}

/// Makes a seat of what was saved. Moments that lie further ahead than they can (the boot clock began anew) come near.
fn load_seat(saved: SavedSeat, app: AppId, now: Moment, spec: &impl Fn(usize) -> Arc<AppSpec>) -> Seat {
    let id = saved.id;
    let own = spec(saved.spec);
    let longest_wait = own.restart.restart_delay.max(own.restart.exp_backoff.unwrap_or_default());
    let soonest = |at: Moment| at.min(now + longest_wait.max(Duration::from_secs(15)));
    let is_held = saved.is_held && matches!(saved.place, SavedPlace::Waiting { .. });
    Seat {
        id,
        app,
        instance: saved.instance,
        generation: saved.generation,
        created_at: saved.created_at,
        restarts: saved.restarts,
        streak: Streak { unstable: saved.unstable, since: saved.unstable_since, backoff: saved.backoff },
        place: match saved.place {
            SavedPlace::Stopped | SavedPlace::Wanted => Place::Stopped,
            SavedPlace::Errored => Place::Errored,
            SavedPlace::Waiting { until } if saved.is_held => Place::Waiting { until },
            SavedPlace::Waiting { until } => Place::Waiting { until: soonest(until) },
            SavedPlace::Serving(process) => Place::Serving(load_process(process, id, now, spec)),
            SavedPlace::Leaving(process, then) => {
                let then = match then {
                    SavedThen::Stop => Then::Stop,
                    SavedThen::Fail => Then::Fail,
                    SavedThen::Delete => Then::Delete,
                    SavedThen::Start { cause, again, .. } if saved.is_held => Then::StartInOrder { cause, again },
                    SavedThen::Start { at, cause, again } => Then::Start { at: soonest(at), cause, again },
                };
                Place::Leaving(load_process(process, id, now, spec), then)
            }
            SavedPlace::Deleted => Place::Deleted,
        },
        second: saved.second.map(|second| match second {
            SavedSecond::Incoming(process) => Second::Incoming(load_process(process, id, now, spec)),
            SavedSecond::Outgoing(process) => Second::Outgoing(load_process(process, id, now, spec)),
        }),
        trial: saved.trial.map(spec),
        renew_after: soonest(saved.renew_after),
        is_held,
        held_for: saved.held_for.unwrap_or(Cause::Start),
        is_parked: saved.is_parked,
        queued: saved.queued,
        last_exit: saved.last_exit,
        has_ended: saved.has_ended,
        why: saved.why,
        spec: own,
        waiters: Vec::new(),
        unknown: saved.unknown,
    }
}

fn load_process(saved: SavedProcess, worker: WorkerId, now: Moment, spec: &impl Fn(usize) -> Arc<AppSpec>) -> Process {
    let spec = spec(saved.spec);
    let (kill_timeout, patience) = (spec.stop.kill_timeout, spec.patience());
    let give_up = kill_timeout.max(Duration::from_secs(1));
    Process {
        life: Life::new(worker, saved.generation),
        cause: saved.cause,
        pid: saved.pid,
        started_at: saved.started_at.min(now),
        phase: match saved.phase {
            SavedPhase::Spawning => Phase::Spawning,
            SavedPhase::Starting => Phase::Starting,
            SavedPhase::Online => Phase::Online,
            SavedPhase::Draining { until } => Phase::Draining { until: until.min(now + spec.drain_timeout) },
            SavedPhase::Stopping { kill_at } => Phase::Stopping { kill_at: kill_at.min(now + patience) },
            SavedPhase::Killed { give_up_at } => Phase::Killed { give_up_at: give_up_at.min(now + give_up) },
            SavedPhase::Sweeping { kill_at } => {
                Phase::Sweeping(Sweep::Grace { kill_at: kill_at.min(now + kill_timeout) })
            }
            SavedPhase::Swept { give_up_at } => {
                Phase::Sweeping(Sweep::Killed { give_up_at: give_up_at.min(now + give_up) })
            }
            SavedPhase::Stuck => Phase::Stuck,
        },
        trial: saved.must_listen.map(|must_listen| Trial { must_listen }),
        proven_at: saved.proven_at.map(|at| at.min(now + spec.min_ready.max(spec.restart.min_uptime))),
        told: Told { listened: saved.listened, app_ready: saved.app_ready, settled: saved.settled },
        checks: Checks::found(saved.well),
        ready: saved.ready,
        leaving: saved.leaving,
        spec,
    }
}
