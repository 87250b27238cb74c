//! What the core asks for.

use std::sync::Arc;

use rpm_model::{AppId, AppSpec, Exit, Life, Moment, WorkerId};
use serde::{Deserialize, Serialize};

use crate::command::{CommandId, Outcome};

/// Something that the core wants done. Effects are carried out in order, within the turn, and never awaited.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Starts a process; answered by `Spawned` or `SpawnFailed`.
    ///
    /// A life whose seat has listening sockets left by a life that ended takes those over; while the life before it
    /// still runs (a roll), it gets fresh ones, outside the steering program until admitted.
    Spawn {
        /// The new life.
        life: Life,
        /// Its app.
        app: AppId,
        /// The app's spec.
        spec: Arc<AppSpec>,
        /// Its number among the app's instances.
        instance: u32,
        /// How often the seat was started again so far (PM2's `restart_time`).
        restarts: u32,
        /// Unstable restarts in a row.
        unstable: u32,
        /// When the seat was created.
        created_at: Moment,
    },
    /// Watches the process boot; answered by `Settled` unless it ends before.
    WatchSettling {
        /// Which process.
        life: Life,
    },
    /// Lets new connections in.
    Admit {
        /// Which process.
        life: Life,
    },
    /// Lets no new connection in, as long as another worker is there to have it; `Admit` takes it back.
    Withhold {
        /// Which process.
        life: Life,
    },
    /// Makes a process that hangs tell where, as its app wants.
    Dump {
        /// Which process.
        life: Life,
    },
    /// Lets no new connection in, and waits for its queue and its requests in flight; answered by `Drained`.
    Drain {
        /// Which process.
        life: Life,
        /// The latest moment for `Drained`.
        until: Moment,
    },
    /// Asks the process tree to leave: the signal of the app's stop policy, or the message `shutdown`. An app may want
    /// something to be run before that; then it is answered by `Asked`.
    Ask {
        /// Which process.
        life: Life,
    },
    /// Sends SIGKILL to the process tree, or to what is left of it.
    Kill {
        /// Which process.
        life: Life,
    },
    /// Closes what is left of a seat that is down: its listening sockets, so that new connections are refused.
    Close {
        /// Which seat.
        worker: WorkerId,
    },
    /// Forgets a seat, after `Close`.
    Forget {
        /// Which seat.
        worker: WorkerId,
    },
    /// Answers a command; the last word on it.
    Reply {
        /// Which command.
        command: CommandId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Tells how far a command has come.
    Progress {
        /// Which command.
        command: CommandId,
        /// Workers that are done.
        done: u32,
        /// Workers in all.
        total: u32,
    },
    /// Tells the client of a command something that is no failure.
    Warn {
        /// Which command.
        command: CommandId,
        /// What.
        warning: Warning,
    },
    /// Writes down the state (see `Supervisor::saved`); asked for once a turn at most.
    Persist,
    /// Tells whoever listens what happened to a worker.
    Publish {
        /// Which seat.
        worker: WorkerId,
        /// What.
        happening: Happening,
    },
    /// Tells whoever listens what was decided of an app as a whole.
    PublishApp {
        /// Which app.
        app: AppId,
        /// A word for it.
        event: &'static str,
        /// With the figures that led to it.
        detail: String,
    },
    /// The shutdown is complete: no worker is left.
    Leave,
}

impl Effect {
    /// Returns whether the world sees this effect in a way that a new daemon must know of: the state is to be written
    /// down soon after (a delay of other writes is harmless), before the process has left and before a reply is seen.
    pub fn is_irrevocable(&self) -> bool {
        match self {
            Effect::Admit { .. }
            | Effect::Drain { .. }
            | Effect::Ask { .. }
            | Effect::Kill { .. }
            | Effect::Forget { .. }
            | Effect::Reply { .. } => true,
            // A life that was started is known to the keeper, with its counters.
            Effect::Spawn { .. }
            | Effect::WatchSettling { .. }
            // Who is found ill is found ill again.
            | Effect::Withhold { .. }
            | Effect::Dump { .. }
            | Effect::Close { .. }
            | Effect::Progress { .. }
            | Effect::Warn { .. }
            | Effect::Persist
            | Effect::Publish { .. }
            | Effect::PublishApp { .. }
            | Effect::Leave => false,
        }
    }

    /// Returns the process that is to be acted on.
    pub fn life(&self) -> Option<Life> {
        match self {
            Effect::Spawn { life, .. }
            | Effect::WatchSettling { life }
            | Effect::Admit { life }
            | Effect::Withhold { life }
            | Effect::Dump { life }
            | Effect::Drain { life, .. }
            | Effect::Ask { life }
            | Effect::Kill { life } => Some(*life),
            Effect::Close { .. }
            | Effect::Forget { .. }
            | Effect::Reply { .. }
            | Effect::Progress { .. }
            | Effect::Warn { .. }
            | Effect::Persist
            | Effect::Publish { .. }
            | Effect::PublishApp { .. }
            | Effect::Leave => None,
        }
    }
}

/// Something the client of a command should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The worker counts as online although it did not say so within its listen timeout (PM2's rule at a start).
    NotReadyInTime {
        /// Which seat.
        worker: WorkerId,
        /// The time it had, in milliseconds.
        waited_ms: u64,
    },
    /// What was found of a canary.
    Canary {
        /// Its app.
        app: AppId,
        /// As a fragment: `promoted: 0.0 % of 200 requests failed …`.
        text: String,
    },
}

/// What happened to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// A process was started.
    Started {
        /// Why.
        cause: Cause,
    },
    /// It is ready.
    Online,
    /// It has failed its health check too often: it gets no new connections while others can have them.
    Unhealthy,
    /// It passes its health check again.
    Healthy,
    /// The time of a job has passed without a run: the one before has not ended.
    Skipped,
    /// A job runs again when the run before has ended.
    Queued,
    /// It was asked to leave.
    Stopping {
        /// Why.
        cause: Cause,
    },
    /// It ended.
    Exited {
        /// How.
        exit: Exit,
    },
    /// It is down for good.
    Stopped,
    /// It failed too often.
    Errored,
    /// It was forgotten.
    Deleted,
}

/// Why a process was started or asked to leave. Every restart has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A client's `start`.
    Start,
    /// A client's `stop` or `delete`, or the daemon's shutdown.
    Stop,
    /// A client's `restart`.
    Restart,
    /// A client's `reload`.
    Reload,
    /// A roll that failed put the old release back.
    Rollback,
    /// A client's `scale`.
    Scale,
    /// The app's load asked for more workers, or fewer.
    Autoscale,
    /// The process before it ended by itself.
    Crash,
    /// The process before it used too much memory.
    Memory,
    /// The process before it failed its health check too often.
    Health,
    /// The process before it did not answer any more.
    Hang,
    /// A watched file changed.
    Watch,
    /// The app's cron pattern came due.
    Cron,
    /// The job's time came.
    Schedule,
    /// A client's `run`.
    Run,
}
