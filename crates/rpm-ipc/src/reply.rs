//! What the daemon answers.

use std::path::PathBuf;

use rpm_model::edge::{CheckResult, EdgeStats};
use rpm_model::{AppId, AppSpec, Bytes, Exit, Health, Life, LoadKind, Status, WorkerId};
use serde::{Deserialize, Serialize};

use crate::figures::Figures;
use crate::hello::Hello;

/// A frame from the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromDaemon {
    /// The first frame.
    Hello(Hello),
    /// Something on the way to the reply.
    Notice {
        /// The request's id.
        id: u64,
        /// What.
        notice: Notice,
    },
    /// The last word on a request.
    Reply {
        /// The request's id.
        id: u64,
        /// The answer.
        reply: Box<Reply>,
    },
}

/// The last word on a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To `Ping`.
    Pong(DaemonInfo),
    /// To `List`.
    List(List),
    /// To `Figures`.
    Figures(Figures),
    /// It was done. Lists the workers acted on.
    Done {
        /// Which.
        workers: Vec<WorkerId>,
    },
    /// It was done, and there is something to know: a sentence without a full stop.
    Noted {
        /// What.
        note: String,
    },
    /// To `Save` with a place: the list is there.
    Saved {
        /// The file.
        list: PathBuf,
        /// What there is to know besides: a sentence without a full stop.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Nothing was done: a sentence without a full stop that says why, and perhaps what to do.
    Refused {
        /// Why.
        message: String,
        /// What to do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// To `Balancers`: one for each.
    Balancers(Vec<BalancerInfo>),
    /// To `History`: oldest first.
    History(Vec<Release>),
    /// It was begun and did not succeed.
    Failed(Failed),
    /// To `Trigger`: what each worker said, in the order in which they did.
    Answers {
        /// The answers.
        answers: Vec<ActionAnswer>,
        /// Workers that said nothing in time, or ended.
        silent: Vec<WorkerId>,
    },
}

/// A spec that an app had before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// The spec.
    pub spec: AppSpec,
    /// Until when it was the app's, in milliseconds since the Unix epoch.
    pub until_ms: u64,
    /// Whether it failed and the one before was put back, or was replaced by the next.
    pub rolled_back: bool,
}

/// What a balancer tells of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BalancerInfo {
    /// Its app.
    pub app: AppId,
    /// Its counters; nothing when it does not run, or did not answer in time.
    pub stats: Option<EdgeStats>,
}

/// What a worker answered to an action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionAnswer {
    /// Which worker.
    pub worker: WorkerId,
    /// What the action returned.
    pub value: serde_json::Value,
}

/// A command that did not succeed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// What failed, worker by worker.
    pub failures: Vec<FailureInfo>,
    /// Whether everything is as it was before.
    pub undone: bool,
}

/// One worker that did not do what was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailureInfo {
    /// Which worker.
    pub worker: WorkerId,
    /// Its app's name.
    pub app: String,
    /// What happened: completes "api, worker 2 …".
    pub message: String,
    /// The last lines it wrote to standard error, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stderr: Vec<String>,
}

/// Something on the way to a reply, or in a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// How far a command has come.
    Progress {
        /// Workers that are done.
        done: u32,
        /// Workers in all.
        total: u32,
    },
    /// Something the user should know that is no failure: a sentence.
    Warning(String),
    /// What was found on the way: a sentence.
    Told(String),
    /// Something happened to a worker.
    Happened(Happened),
    /// The stream of events had to drop this many because the client was too slow.
    Lagged(u64),
}

/// Something that happened to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Happened {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Which worker.
    pub worker: WorkerId,
    /// Its app's name.
    pub app: String,
    /// PM2's word for it: `start`, `online`, `exit`, `restart`, `stop`, `delete`, …
    pub event: String,
    /// Why or how, as a fragment: `exit code 3`, `memory`, `reload`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Everything there is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// The apps, oldest first.
    pub apps: Vec<AppInfo>,
    /// The daemon itself.
    pub daemon: DaemonInfo,
}

/// The daemon itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonInfo {
    /// Its version.
    pub version: String,
    /// Its pid.
    pub pid: i32,
    /// The keeper's pid.
    pub keeper_pid: i32,
    /// When it started, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
}

/// One app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppInfo {
    /// Its number.
    pub id: AppId,
    /// What was asked; environments are empty unless wanted.
    pub spec: AppSpec,
    /// Whether a roll is under way.
    pub rolling: bool,
    /// Workers of a new release that wait for `promote` or `abort`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canaries: Vec<WorkerId>,
    /// How its number of workers follows its load, where it has `autoscale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscale: Option<AutoscaleInfo>,
    /// When it next runs, or is restarted, by its times: in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run_ms: Option<u64>,
    /// Its workers, by id.
    pub workers: Vec<WorkerInfo>,
}

/// How a job fares between two of its runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetweenRuns {
    /// It waits for its next time.
    Scheduled,
    /// It does, too, and its last run has failed.
    Failed,
}

impl BetweenRuns {
    /// Returns how a worker fares that is a job between its runs: `stopped` would sound as if it were out of use.
    pub fn of(spec: &AppSpec, status: Status, is_parked: bool, last_exit: Option<Exit>) -> Option<Self> {
        if status != Status::Stopped || spec.job.is_none() || is_parked {
            return None;
        }
        let agreed = &spec.restart.stop_exit_codes;
        let failed = match last_exit {
            Some(Exit::Code(code)) => code != 0 && !agreed.contains(&code),
            Some(Exit::Signal { .. } | Exit::Unknown) => true,
            None => false,
        };
        Some(if failed { BetweenRuns::Failed } else { BetweenRuns::Scheduled })
    }

    /// Returns the word that is shown in the place of a status.
    pub fn word(self) -> &'static str {
        match self {
            BetweenRuns::Scheduled => "scheduled",
            BetweenRuns::Failed => "failed",
        }
    }
}

impl AppInfo {
    /// Returns how a worker fares that is a job between its runs.
    pub fn between_runs(&self, worker: &WorkerInfo) -> Option<BetweenRuns> {
        BetweenRuns::of(&self.spec, worker.status, worker.parked, worker.last_exit)
    }
}

/// How the number of an app's workers follows its load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AutoscaleInfo {
    /// Whether the load decides, and not people.
    pub is_on: bool,
    /// What is done or waited for, for people.
    pub standing: String,
    /// What is gone by.
    pub figures: Vec<LoadFigure>,
    /// The last decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Decision>,
}

/// What one worker carries of one kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LoadFigure {
    /// Of what.
    pub kind: LoadKind,
    /// So much at the last look, if that could be seen.
    pub seen: Option<f64>,
    /// So much it should carry.
    pub target: f64,
}

/// A change of the number of workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How many there were.
    pub from: u32,
    /// How many there are to be.
    pub to: u32,
    /// With the figures that led to it.
    pub text: String,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its id (`pm_id`).
    pub id: WorkerId,
    /// Its number among the app's instances.
    pub instance: u32,
    /// How it fares.
    pub status: Status,
    /// How its process fares as to requests, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// What its last health check found, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckResult>,
    /// Its process, if there is one.
    pub pid: Option<i32>,
    /// Which of its processes.
    pub life: Option<Life>,
    /// How often it was started again (`restart_time`).
    pub restarts: u32,
    /// Unstable restarts in a row.
    pub unstable: u32,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When its process was started, in milliseconds since the Unix epoch.
    pub started_at_ms: Option<u64>,
    /// How its last process ended.
    pub last_exit: Option<Exit>,
    /// When that was, in milliseconds since the Unix epoch.
    pub last_exit_at_ms: Option<u64>,
    /// Whether it is a job that was stopped: its times pass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parked: bool,
    /// Whether it runs, or is to run, other settings than its app's: a reload is under way, or did not come to its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outdated: bool,
    /// Why it is down, or what it waits for: a sentence without a full stop.
    pub why: Option<String>,
    /// What made the present process start: `start`, `crash`, `reload`, `memory`, …
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
    /// Where standard output goes; nothing when it is thrown away.
    pub out_log: Option<PathBuf>,
    /// Where standard error goes.
    pub err_log: Option<PathBuf>,
    /// Where both go.
    pub combined_log: Option<PathBuf>,
    /// The pid file.
    pub pid_file: PathBuf,
    /// The current restart delay of an exponential backoff, in milliseconds.
    pub backoff_ms: Option<u64>,
    /// The user it runs as.
    pub user: String,
    /// What the app said of itself over its IPC channel (`axm_monitor`, `axm_actions`, `axm_options`, `node_version`).
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub contact: Contact,
    /// Bytes of its output that no file took: the disk was full.
    #[serde(default)]
    pub output_lost: u64,
    /// Why the kernel does not hold it to its limits, where it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_limited: Option<String>,
    /// Why one of its logs cannot be written at this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_trouble: Option<String>,
}

/// What the app said of itself, by PM2's names.
pub type Contact = serde_json::Map<String, serde_json::Value>;
