//! What changes about apps and workers all the time: a list without what was asked for.
//!
//! A look at 500 workers once a second, or for each question of Prometheus, is to cost next to nothing, so what is not
//! there is not written, and no spec, path or environment is.

use rpm_model::{AppId, Bytes, ExecMode, Health, Status, WorkerId};
use serde::{Deserialize, Serialize};

use crate::reply::{AutoscaleInfo, BetweenRuns, Contact, DaemonInfo};

/// The answer to [`Request::Figures`](crate::Request::Figures).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The apps, oldest first.
    pub apps: Vec<AppFigures>,
    /// The daemon itself.
    pub daemon: DaemonInfo,
}

/// What an app is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppKind {
    /// The user's.
    #[default]
    App,
    /// A balancer.
    Balancer,
    /// A module.
    Module,
}

impl AppKind {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            AppKind::App => "app",
            AppKind::Balancer => "balancer",
            AppKind::Module => "module",
        }
    }

    fn is_app(&self) -> bool {
        *self == AppKind::App
    }
}

/// One app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppFigures {
    /// Its number.
    pub id: AppId,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "AppKind::is_app")]
    pub kind: AppKind,
    /// How its workers are run.
    pub exec_mode: ExecMode,
    /// Whether a roll is under way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rolling: bool,
    /// Workers of a new release that wait for `promote` or `abort`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canaries: Vec<WorkerId>,
    /// How its number of workers follows its load, where it has `autoscale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscale: Option<AutoscaleFigures>,
    /// Whether it is a job.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_job: bool,
    /// When it next runs, or is restarted, by its times: in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run_ms: Option<u64>,
    /// Its workers, by id.
    pub workers: Vec<WorkerFigures>,
    /// Its logs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogFigures>,
}

/// What is written to a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
    /// Both.
    Combined,
}

impl LogStream {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            LogStream::Out => "out",
            LogStream::Err => "err",
            LogStream::Combined => "combined",
        }
    }
}

/// One log of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFigures {
    /// What is written to it.
    pub stream: LogStream,
    /// The one instance that writes to it; nothing where several do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<u32>,
    /// So many bytes were ever written to it, those that rotation took away included. While it grows this is a second
    /// old at most.
    pub bytes: u64,
}

/// How the number of an app's workers follows its load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AutoscaleFigures {
    /// There are never fewer workers.
    pub min: u32,
    /// There are never more workers.
    pub max: u32,
    /// How it stands.
    pub info: AutoscaleInfo,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerFigures {
    /// Its id (`pm_id`).
    pub id: WorkerId,
    /// Its number among the app's instances.
    pub instance: u32,
    /// How it fares.
    pub status: Status,
    /// How its process fares as to requests, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How it fares as a job, between two runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between_runs: Option<BetweenRuns>,
    /// Its process, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// When its process was started, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<u64>,
    /// How often it was started again.
    #[serde(default, skip_serializing_if = "is_none")]
    pub restarts: u32,
    /// Unstable restarts in a row.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unstable: u32,
    /// Why it is down, or what it waits for: a sentence without a full stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What made the present process start: `start`, `crash`, `reload`, `memory`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// CPU used since the last look, in percent of one core.
    pub cpu: f32,
    /// CPU time of the present process since its start, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_time_ms: Option<u64>,
    /// Threads of the present process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Resident memory of the process tree.
    pub memory: Bytes,
    /// Bytes of its output that no file took: the disk was full.
    #[serde(default, skip_serializing_if = "is_none")]
    pub output_lost: u64,
    /// Lines of its output that no file took.
    #[serde(default, skip_serializing_if = "is_none")]
    pub lines_lost: u64,
    /// What the app measures itself (`axm:monitor`).
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub monitor: Contact,
}

impl WorkerFigures {
    /// Returns whether it gets requests, and answers them.
    pub fn serves(&self) -> bool {
        self.status == Status::Online && self.health.is_none_or(|health| health == Health::Ready)
    }

    /// Returns whether it is to run: it was not stopped, and has not ended for good.
    pub fn is_wanted(&self) -> bool {
        self.status != Status::Stopped
    }

    /// Returns the word for how it fares: its status, but where it is online and ill.
    pub fn state(&self) -> &'static str {
        match (self.status, self.health) {
            (Status::Online, Some(Health::Unhealthy)) => Health::Unhealthy.as_str(),
            (status, _) => status.as_str(),
        }
    }
}

fn is_none<N: PartialEq + Default>(count: &N) -> bool {
    *count == N::default()
}
