//! What a client may ask, and what it is told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rpm_model::{AppId, AppSpec, Exit, WorkerId};

use crate::effect::Cause;
use crate::event::Taken;

/// Names one command while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// An app as it was when it was saved.
#[derive(Debug, Clone, PartialEq)]
pub struct Resurrected {
    /// What is wanted.
    pub spec: Arc<AppSpec>,
    /// Whether it was stopped, and stays so.
    pub is_stopped: bool,
    /// Whether people decide on its number of workers, although it has `autoscale`.
    pub is_scaled_by_hand: bool,
}

/// A client's command. Targets are resolved before: commands name workers by id.
///
/// `specs` replace the specs of the named apps before the command acts (`--update-env`, a changed ecosystem file); the
/// workers not named keep running as they were started. A changed number of `instances` in such a spec scales the app.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Registers new apps and starts their workers (those with `autostart`), all at once.
    Start {
        /// The new apps.
        specs: Vec<Arc<AppSpec>>,
    },
    /// Registers apps as they were when they were saved: those that ran are started, whatever their `autostart` says.
    Resurrect {
        /// The apps, in the order of their ids.
        apps: Vec<Resurrected>,
    },
    /// Stops workers; they stay in the list. As in PM2, an app whose last worker is stopped is no longer watched.
    Stop {
        /// Which.
        workers: Vec<WorkerId>,
    },
    /// Stops running workers and starts them again; starts those that are down.
    Restart {
        /// Which.
        workers: Vec<WorkerId>,
        /// Specs that take effect first.
        specs: Vec<(AppId, Arc<AppSpec>)>,
    },
    /// Replaces running workers one after another without losing a request where the app shares its sockets; restarts
    /// the others. Workers that are down are started.
    Reload {
        /// Which.
        workers: Vec<WorkerId>,
        /// Specs that take effect first; taken back when the roll fails.
        specs: Vec<(AppId, Arc<AppSpec>)>,
        /// Whether it takes the place of a roll that is under way, instead of being refused.
        force: bool,
    },
    /// Notes specs that their workers have taken up as they run: nothing is started or stopped. The number of workers has to
    /// be the same.
    Adopt {
        /// Whose, and which.
        specs: Vec<(AppId, Arc<AppSpec>)>,
    },
    /// Replaces workers for a reason of the daemon's own, which every event then names: like `Reload` when `roll`, else
    /// like `Restart`.
    Renew {
        /// Which.
        workers: Vec<WorkerId>,
        /// Why.
        cause: Cause,
        /// Whether workers that share sockets are replaced without a gap.
        roll: bool,
    },
    /// Runs jobs: by hand ([`Cause::Run`], answered when the run has ended) or because their time has come
    /// ([`Cause::Schedule`], answered at once). What happens when the run before has not ended the job says.
    Run {
        /// Which.
        workers: Vec<WorkerId>,
        /// Why.
        cause: Cause,
    },
    /// Stops workers and forgets them.
    Delete {
        /// Which.
        workers: Vec<WorkerId>,
    },
    /// Changes the number of workers of an app. Going down, the lowest ids leave first, drained. 0 deletes the app.
    Scale {
        /// Which app.
        app: AppId,
        /// How many workers are wanted.
        instances: u32,
    },
    /// Says who decides on the number of an app's workers: the load, or people. `Scale` says people.
    Autoscale {
        /// Which app.
        app: AppId,
        /// Whether the load does.
        on: bool,
    },
    /// Lets a reload that waits after its first workers go on.
    Promote {
        /// Which app.
        app: AppId,
    },
    /// Puts the old release back where a reload waits after its first workers.
    Abort {
        /// Which app.
        app: AppId,
    },
    /// Sets the restart counters to zero, and `created_at` to now.
    Reset {
        /// Which.
        workers: Vec<WorkerId>,
    },
    /// Stops every worker of every app; no later command is taken. The apps stay in the saved state.
    Shutdown,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All was done. Lists the workers that the command acted on, by id.
    Done {
        /// Which.
        workers: Vec<WorkerId>,
    },
    /// Nothing was done.
    Refused(Refusal),
    /// It was begun and did not succeed.
    Failed {
        /// What failed, worker by worker.
        failures: Vec<Failure>,
        /// Whether the service is as it was before: the old workers serve (reload), or the app is gone again (start).
        undone: bool,
    },
}

/// Why a command cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No worker of that id.
    UnknownWorker(WorkerId),
    /// No app of that id.
    UnknownApp(AppId),
    /// A roll of that app is under way.
    AlreadyReloading {
        /// The app's name.
        app: String,
    },
    /// A roll of that app waits for a decision.
    CanaryWaits {
        /// The app's name.
        app: String,
    },
    /// No roll of that app waits for a decision.
    NoCanary {
        /// The app's name.
        app: String,
    },
    /// The app has that many workers already.
    SameScale {
        /// The app's name.
        app: String,
        /// The number.
        instances: u32,
    },
    /// The app's number of workers does not follow its load.
    NotAutoscaled {
        /// The app's name.
        app: String,
    },
    /// The app is no job.
    NoJob {
        /// The app's name.
        app: String,
    },
    /// A run of the job is under way, and no other is to be beside or after it.
    RunsAlready {
        /// The app's name.
        app: String,
    },
    /// An app depends on one that is not there.
    UnknownDependency {
        /// The app's name.
        app: String,
        /// What it depends on.
        missing: String,
    },
    /// Apps depend on each other in a circle.
    DependencyCircle {
        /// Their names; the first is the last, too.
        apps: Vec<String>,
    },
    /// The daemon is about to leave.
    ShuttingDown,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::UnknownWorker(id) => write!(f, "no worker has the id {id}"),
            Refusal::UnknownApp(id) => write!(f, "no app has the number {id}"),
            Refusal::AlreadyReloading { app } => write!(f, "a reload of {app} is already in progress"),
            Refusal::CanaryWaits { app } => write!(f, "a canary of {app} waits for `promote {app}` or `abort {app}`"),
            Refusal::NoCanary { app } => write!(f, "no canary of {app} waits for a decision"),
            Refusal::SameScale { app, instances } => write!(f, "{app} already runs {instances} instances"),
            Refusal::NotAutoscaled { app } => write!(f, "{app} has no `autoscale` in its settings"),
            Refusal::NoJob { app } => write!(f, "{app} is no job: it has no `schedule`"),
            Refusal::RunsAlready { app } => write!(f, "a run of {app} is under way"),
            Refusal::UnknownDependency { app, missing } => {
                write!(f, "{app} depends on {missing}, and no app is called so")
            }
            Refusal::DependencyCircle { apps } => {
                write!(f, "these apps depend on each other in a circle: {}", apps.join(" → "))
            }
            Refusal::ShuttingDown => f.write_str("the daemon is shutting down"),
        }
    }
}

/// One worker that did not do what was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Which worker.
    pub worker: WorkerId,
    /// Its app's name.
    pub app: String,
    /// What happened.
    pub cause: FailureCause,
}

/// Why a worker did not do what was asked.
#[derive(Debug, Clone, PartialEq)]
pub enum FailureCause {
    /// It ended before it was ready.
    Exited {
        /// How.
        exit: Exit,
        /// How long it had run.
        uptime: Duration,
    },
    /// It could not be started.
    SpawnFailed(String),
    /// It was not ready in time.
    NotReady {
        /// The time it had.
        waited: Duration,
    },
    /// It did not pass its health check.
    Unhealthy {
        /// What was wrong the last time.
        why: String,
    },
    /// Its release was judged to be worse than the one before.
    Judged {
        /// As a fragment: `9.8 % of 40 requests failed …`.
        why: String,
    },
    /// It is a canary that was aborted, and what it was before was the same spec.
    NothingBefore,
    /// The release before was put back in its place, and that did not come up.
    NotBack(Box<FailureCause>),
    /// An address it needs is taken.
    Taken(Taken),
    /// It is still there after SIGKILL.
    Unkillable,
    /// It waits for another app.
    Dependency {
        /// As a fragment: `waits for db to be healthy, which is down`.
        why: String,
    },
    /// A later command took its place.
    Superseded,
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailureCause::Exited { exit, uptime } => write!(f, "ended with {exit} after {} ms", uptime.as_millis()),
            FailureCause::SpawnFailed(why) => write!(f, "could not be started: {why}"),
            FailureCause::NotReady { waited } => write!(f, "was not ready within {} ms", waited.as_millis()),
            FailureCause::Unhealthy { why } => write!(f, "did not pass its health check: {why}"),
            FailureCause::NotBack(cause) => write!(f, "was given back the release before, and that {cause}"),
            FailureCause::Judged { why } => write!(f, "did worse than the others: {why}"),
            FailureCause::NothingBefore => f.write_str(
                "runs on as it is: no setting differs from the release before, and its files are not kept by rpm",
            ),
            FailureCause::Taken(Taken { address, owner: Some(owner), .. }) => {
                write!(f, "could not listen: {address} is used by {owner}")
            }
            FailureCause::Taken(Taken { address, owner: None, error }) => {
                write!(f, "could not listen on {address}: {error}")
            }
            FailureCause::Dependency { why } => f.write_str(why),
            FailureCause::Unkillable => f.write_str("is still there after SIGKILL"),
            FailureCause::Superseded => f.write_str("was overtaken by a later command"),
        }
    }
}
