//! What the user named and asked for.
//!
//! An [`AppSpec`] is complete: defaults filled in, paths absolute, the environment resolved. It is never changed by
//! what happens to the app; a new request brings a new spec.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::autoscale::AutoscaleSpec;
use crate::balance::Arrangement;
use crate::bytes::Bytes;
use crate::canary::CanaryRule;
use crate::health::{HealthSpec, StackDump};
use crate::hooks::{Hook, Hooks};
use crate::job::JobSpec;
use crate::limits::Limits;
use crate::rotation::Rotation;
use crate::secret::Secret;
use crate::time::duration_ms;
use crate::unknown::Unknown;
use crate::webhook::Webhook;

/// The namespace of an app that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Names one app within one daemon; never reused while the daemon's state lives.
///
/// Needed beside the name because PM2 allows two apps of the same name (`start -f`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AppId(pub u32);

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Environment variables by name.
pub type Environment = BTreeMap<String, String>;

/// Variables that speak to one process alone: whoever inherits them answers in its name.
const NOT_INHERITED: [&str; 13] = [
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "NODE_APP_INSTANCE",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "RPM_KEEPER_FD",
    "RPM_READY_FD",
    "RPM_LIFE",
];

/// Returns whether an app may have this variable of the process that starts it.
pub fn is_inheritable(variable: &str) -> bool {
    !NOT_INHERITED.contains(&variable)
}

/// Everything asked of one app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppSpec {
    /// What the user calls it.
    pub name: String,
    /// The group it belongs to; `default` unless given.
    pub namespace: String,
    /// The program, or the script given to the interpreter: an absolute path.
    pub script: PathBuf,
    /// The program that runs the script: a name on PATH or an absolute path; `None` runs the script itself.
    pub interpreter: Option<String>,
    /// Arguments of the interpreter, before the script.
    pub interpreter_args: Vec<String>,
    /// Arguments of the script.
    pub args: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// The directory that it led to when the app was last started or reloaded, where it is reached through a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<PathBuf>,
    /// How workers get their sockets.
    pub exec_mode: ExecMode,
    /// How many workers are wanted; at least 1.
    pub instances: u32,
    /// Whether the user named a number of instances (PM2's log naming depends on it).
    pub instances_given: bool,
    /// Between which numbers, and by what, the number of workers follows the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscale: Option<Box<AutoscaleSpec>>,
    /// Addresses whose listening sockets are passed to the workers (`exec_mode: "socket"`): `HOST:PORT` or a path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<String>,
    /// How cluster and socket workers share a port.
    #[serde(default)]
    pub socket_mode: SocketMode,
    /// What each worker listens on behind a balancer (`exec_mode: "proxy"`), by what stands in its `PORT`.
    #[serde(default, skip_serializing_if = "ProxySocket::is_tcp")]
    pub proxy_socket: ProxySocket,
    /// Variables that the user declared for this app (`env`, `env_<name>`, `--env`).
    pub env: Environment,
    /// Variables of the shell that asked, without the declared ones. Inherited by the workers under [`AppSpec::env`].
    pub env_shell: Environment,
    /// Variable that carries the instance number.
    pub instance_var: String,
    /// Variable that grows by one per instance, when declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub increment_var: Option<String>,
    /// When to start again, and when to give up.
    pub restart: RestartPolicy,
    /// How a worker is asked to leave.
    pub stop: StopPolicy,
    /// Whether the app itself says when it is ready.
    pub wait_ready: bool,
    /// How long to wait for readiness; `None` is PM2's 3 s at a start, and 60 s in a reload.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration_ms::option")]
    pub listen_timeout: Option<Duration>,
    /// Apps, by name, that must be there before this one starts, and that are stopped after it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub depends_on: BTreeMap<String, Dependency>,
    /// What is asked of every worker from time to time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSpec>,
    /// A worker that gives no sign of life for so long, or accepts no connection that waits, hangs and is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration_ms::option")]
    pub watchdog: Option<Duration>,
    /// How one that hangs is made to tell where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_dump: Option<StackDump>,
    /// Replaced when its process tree uses more than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory_restart: Option<Bytes>,
    /// At most this long for requests in flight when a worker is replaced.
    #[serde(with = "duration_ms")]
    pub drain_timeout: Duration,
    /// How many workers a roll replaces at a time.
    pub reload_parallel: u32,
    /// How long a new worker must stay ready in a roll before the old one goes.
    #[serde(default, skip_serializing_if = "Duration::is_zero", with = "duration_ms")]
    pub min_ready: Duration,
    /// How long each worker of a roll has to become ready; `None` for `listen_timeout`, and what its checks allow.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration_ms::option")]
    pub progress_deadline: Option<Duration>,
    /// So many workers a roll replaces first, and then waits; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub canary: u32,
    /// What those are judged by; without it people decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_rule: Option<CanaryRule>,
    /// Whether a roll that fails puts the old release back where the new one runs already.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub rollback: bool,
    /// Restarted when files change.
    #[serde(default, skip_serializing_if = "WatchSpec::is_default")]
    pub watch: WatchSpec,
    /// Restarted (without a gap where sockets are shared) at the times of this cron pattern of 5 or 6 fields, or `@daily`
    /// and its like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Whether it is a job, and when that runs: to its end, and then not again before its next time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobSpec>,
    /// What is run around the life of each of its processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Box<Hooks>>,
    /// Who is told over HTTP of what happens to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<Webhook>,
    /// Where output goes.
    pub logs: LogSpec,
    /// PID file; the worker's id is inserted before the extension. An absolute path, or `None` for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_file: Option<PathBuf>,
    /// Started at once; `false` registers the app as stopped.
    pub autostart: bool,
    /// Variables whose values are read when a process is started, and written nowhere.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Secret>,
    /// What the kernel grants each worker.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Target user and group, by number: `(uid, gid)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<(u32, u32)>,
    /// The app's own version, from the nearest package.json; `N/A` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it balances, where it is no app of the user's but a balancer: one process of our own program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balancer: Option<Box<Arrangement>>,
    /// PM2's other keys, kept as written for `jlist` and `describe`.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub other: serde_json::Map<String, serde_json::Value>,
    /// What a newer program has saved of it.
    #[serde(default, flatten)]
    pub unknown: Unknown,
}

impl AppSpec {
    /// More workers than this on one machine is a slip of the finger.
    pub const INSTANCES_MAX: u32 = 10_000;

    /// Returns a spec with PM2's defaults for the program at `script`, run in `cwd`.
    pub fn new(name: impl Into<String>, script: impl Into<PathBuf>, cwd: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            namespace: DEFAULT_NAMESPACE.into(),
            script: script.into(),
            interpreter: None,
            interpreter_args: Vec::new(),
            args: Vec::new(),
            cwd: cwd.into(),
            release: None,
            exec_mode: ExecMode::Fork,
            instances: 1,
            instances_given: false,
            autoscale: None,
            listen: Vec::new(),
            socket_mode: SocketMode::default(),
            proxy_socket: ProxySocket::default(),
            env: Environment::new(),
            env_shell: Environment::new(),
            instance_var: "NODE_APP_INSTANCE".into(),
            increment_var: None,
            restart: RestartPolicy::default(),
            stop: StopPolicy::default(),
            wait_ready: false,
            listen_timeout: None,
            depends_on: BTreeMap::new(),
            health: None,
            watchdog: None,
            stack_dump: None,
            max_memory_restart: None,
            drain_timeout: Duration::from_secs(10),
            reload_parallel: 1,
            min_ready: Duration::ZERO,
            progress_deadline: None,
            canary: 0,
            canary_rule: None,
            rollback: true,
            watch: WatchSpec::default(),
            cron: None,
            job: None,
            hooks: None,
            webhooks: Vec::new(),
            logs: LogSpec::default(),
            pid_file: None,
            autostart: true,
            secrets: BTreeMap::new(),
            limits: Limits::default(),
            user: None,
            version: None,
            balancer: None,
            other: serde_json::Map::new(),
            unknown: Unknown::default(),
        }
    }

    /// Returns whether it is a module: run beside the apps, and not meant by `all`.
    pub fn is_module(&self) -> bool {
        self.other.get("pmx_module") == Some(&serde_json::Value::Bool(true))
    }

    /// Returns whether it is a balancer, shown beside the apps.
    pub fn is_balancer(&self) -> bool {
        self.balancer.is_some()
    }

    /// Returns the command of a hook, if it has one.
    pub fn hook(&self, hook: Hook) -> Option<&[String]> {
        self.hooks.as_ref()?.command(hook)
    }

    /// Returns how long a process may take that was asked to leave: its grace, and before that what is run first.
    pub fn patience(&self) -> Duration {
        let before = self.hooks.as_ref().filter(|hooks| !hooks.pre_stop.is_empty()).map(|hooks| hooks.timeout);
        self.stop.kill_timeout + before.unwrap_or_default()
    }

    /// Returns whether Node runs it.
    pub fn is_run_by_node(&self) -> bool {
        let interpreter = self.interpreter.as_deref().map(std::path::Path::new);
        interpreter.and_then(std::path::Path::file_name).is_some_and(|name| name == "node")
    }

    /// Returns whether two lives of a seat can serve side by side, so that one is replaced by the other without a gap:
    /// they share listening sockets that outlive them, or the balancer sends each its requests.
    pub fn shares_sockets(&self) -> bool {
        matches!(self.exec_mode, ExecMode::Cluster | ExecMode::Socket | ExecMode::Proxy)
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn yes() -> bool {
    true
}

fn is_true(flag: &bool) -> bool {
    *flag
}

/// What an app must have done before one that depends on it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dependency {
    /// A process of it runs.
    Started,
    /// Its workers are ready.
    Healthy,
    /// Its processes have ended well: it is a job.
    Completed,
}

/// How workers get their sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecMode {
    /// Each worker opens what it needs by itself.
    Fork,
    /// Node's cluster protocol: the worker asks for its listening sockets.
    Cluster,
    /// Listening sockets are passed as LISTEN_FDS.
    Socket,
    /// Each worker binds a port of its own behind the balancer.
    Proxy,
}

impl ExecMode {
    /// Returns PM2's word for it: `fork_mode`, `cluster_mode` and so on.
    pub fn name(self) -> &'static str {
        match self {
            ExecMode::Fork => "fork_mode",
            ExecMode::Cluster => "cluster_mode",
            ExecMode::Socket => "socket_mode",
            ExecMode::Proxy => "proxy_mode",
        }
    }
}

/// How the workers of one app share a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketMode {
    /// One SO_REUSEPORT socket for each worker, steered by a classic BPF program.
    #[default]
    Reuseport,
    /// One listening socket for all.
    Shared,
}

/// What a worker behind a balancer listens on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxySocket {
    /// A port of its own.
    #[default]
    Tcp,
    /// A socket file of its own: half of what a port costs.
    Unix,
}

impl ProxySocket {
    fn is_tcp(&self) -> bool {
        *self == Self::Tcp
    }
}

/// When a worker is started again, and when we give up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// Whether an exit is followed by a new start at all.
    pub autorestart: bool,
    /// Exit codes after which the worker stays down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop_exit_codes: Vec<i32>,
    /// A worker that lived shorter than this counts as unstable.
    #[serde(with = "duration_ms")]
    pub min_uptime: Duration,
    /// This many unstable restarts in a row make the worker `errored`.
    pub max_restarts: u32,
    /// Fixed wait before each restart.
    #[serde(with = "duration_ms")]
    pub restart_delay: Duration,
    /// First wait of an exponential backoff (×1.5 each time, at most 15 s, forgotten after 30 s up).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration_ms::option")]
    pub exp_backoff: Option<Duration>,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            autorestart: true,
            stop_exit_codes: Vec::new(),
            min_uptime: Duration::from_millis(1000),
            max_restarts: 16,
            restart_delay: Duration::ZERO,
            exp_backoff: None,
        }
    }
}

/// How a worker is asked to leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopPolicy {
    /// The polite signal, by its number on Linux.
    pub signal: i32,
    /// The grace between the polite signal and SIGKILL.
    #[serde(with = "duration_ms")]
    pub kill_timeout: Duration,
    /// Whether descendants are signalled too.
    pub treekill: bool,
    /// Whether the IPC message `shutdown` takes the place of the signal.
    pub shutdown_with_message: bool,
}

impl Default for StopPolicy {
    fn default() -> Self {
        // SIGINT and 1600 ms are PM2's.
        Self { signal: 2, kill_timeout: Duration::from_millis(1600), treekill: true, shutdown_with_message: false }
    }
}

/// Which changes of files restart an app. What is ignored stays known while watching is turned off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchSpec {
    /// Whether files are watched at all.
    pub enabled: bool,
    /// Paths or globs, from the working directory; none means the working directory itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Globs, paths and `/regexes/` of what does not matter; `None` is PM2's default: hidden files and `node_modules`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<Vec<String>>,
    /// Only files with one of these extensions matter, where any are named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// The wait after the last change.
    #[serde(default, with = "duration_ms")]
    pub delay: Duration,
    /// Whether directories behind symbolic links are watched too.
    pub follow_symlinks: bool,
}

impl Default for WatchSpec {
    fn default() -> Self {
        Self {
            enabled: false,
            paths: Vec::new(),
            ignore: None,
            extensions: Vec::new(),
            delay: Duration::ZERO,
            follow_symlinks: true,
        }
    }
}

impl WatchSpec {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where the output of an app goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// Standard output.
    pub out: LogTarget,
    /// Standard error.
    pub err: LogTarget,
    /// A file that gets both streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined: Option<LogTarget>,
    /// Whether the workers write to the same files; `false` inserts `-<id>` before the extension.
    pub merge: bool,
    /// dayjs format put before each line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_format: Option<String>,
    /// How lines are written.
    #[serde(default)]
    pub format: LogFormat,
    /// When the files are rotated.
    #[serde(default, skip_serializing_if = "Rotation::is_default")]
    pub rotation: Rotation,
}

impl LogSpec {
    /// Returns where one of the two streams goes.
    pub fn target(&self, is_error: bool) -> &LogTarget {
        if is_error { &self.err } else { &self.out }
    }

    /// Has what would go to files that nobody has named go elsewhere: `runtime` reads it.
    pub fn leave_default_files(&mut self, elsewhere: &LogTarget) {
        // The combined file gets both, and is a file.
        if self.combined.as_ref().is_some_and(|target| *target != LogTarget::Null) {
            return;
        }
        for target in [&mut self.out, &mut self.err].into_iter().filter(|target| **target == LogTarget::Default) {
            target.clone_from(elsewhere);
        }
    }

    /// Has what `runtime` reads go to files again: without it, nobody would read it.
    pub fn leave_console(&mut self) {
        for target in [&mut self.out, &mut self.err].into_iter().filter(|target| **target == LogTarget::Console) {
            *target = LogTarget::Default;
        }
    }

    /// Returns whether bytes reach the files as the app wrote them, so that the app can hold the files itself.
    pub fn is_direct(&self) -> bool {
        self.combined.as_ref().is_none_or(|target| *target == LogTarget::Null)
            && self.date_format.is_none()
            && self.format == LogFormat::Raw
    }
}

/// One destination of output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogTarget {
    /// `RPM_HOME/logs/NAME-out.log` or `NAME-error.log`.
    #[default]
    Default,
    /// Nowhere (`NULL`, `/dev/null`, `disable_logs`).
    Null,
    /// This file: an absolute path, before any `-<id>` is inserted.
    File(PathBuf),
    /// What `runtime` prints, through a named pipe that it reads ([`Home::console`](crate::Home::console)); no file.
    Console,
}

/// How lines are written to a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// The bytes of the app.
    #[default]
    Raw,
    /// One JSON object a line.
    Json,
}
