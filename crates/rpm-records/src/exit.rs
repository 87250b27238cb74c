//! How one process ended, with the evidence.

use std::fmt;
use std::path::PathBuf;

use rpm_model::{Bytes, Exit, Life, WorkerId};
use serde::{Deserialize, Serialize};

/// The end of one process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// When it was found dead, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Its app's name.
    pub app: String,
    /// Its seat.
    pub worker: WorkerId,
    /// Its number among the app's instances.
    #[serde(default)]
    pub instance: u32,
    /// Which process of the seat.
    pub life: Life,
    /// Its pid.
    pub pid: i32,
    /// When it was started, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// How long it ran, in milliseconds.
    pub uptime_ms: u64,
    /// How it ended.
    pub exit: Exit,
    /// Whether the kernel killed it for want of memory; nothing where that cannot be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom: Option<bool>,
    /// Where its core dump is, if there is one and that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<CoreDump>,
    /// Resident memory of the process tree when it was last looked at, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// The largest resident set the process ever had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<Bytes>,
    /// CPU in percent of one core when it was last looked at, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f32>,
    /// All the CPU time it used, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Who or what asked it to leave; nothing when it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// The last lines of its standard output, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub out: Vec<String>,
    /// The last lines of its standard error, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub err: Vec<String>,
}

/// Who or what asked a process to leave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The cause in one word: `stop`, `reload`, `memory`, `watch`, `cron`, `health`, …
    pub cause: String,
    /// Who: `root on pts/3 (rpm restart api)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What else is known: the file that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Where a core dump is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CoreDump {
    /// In this file.
    File(PathBuf),
    /// Whoever takes all of them on this machine has it.
    Taken {
        /// The program, or the socket.
        by: String,
        /// The command that shows it, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ask: Option<String>,
    },
}

impl fmt::Display for CoreDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Taken { ask: Some(command), .. } => write!(f, "`{command}`"),
            Self::Taken { by, ask: None } => write!(f, "taken by {by}"),
        }
    }
}

/// Causes that are failures of the process, although we ended it.
const FAILURES: [&str; 3] = ["memory", "health", "hang"];

impl ExitRecord {
    /// Returns whether something went wrong: it ended by itself and not with code 0, or was ended for what it did.
    pub fn is_crash(&self) -> bool {
        match &self.asked {
            Some(asked) => FAILURES.contains(&asked.cause.as_str()),
            None => self.exit != Exit::Code(0),
        }
    }

    /// Returns whether two records tell of the same end: an exit may be heard of twice when a daemon is killed.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        // The wall clock that a moment is told by may have been corrected between two daemons.
        self.life == other.life && self.pid == other.pid && self.started_at_ms.abs_diff(other.started_at_ms) < 2_000
    }
}
