//! How a worker is found to be well or ill.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::balance::StatusRange;
use crate::time::duration_ms;

/// What is asked of every worker of an app from time to time, and what follows from the answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthSpec {
    /// What is asked.
    pub probe: Probe,
    /// Between two questions to a worker that is ready.
    #[serde(with = "duration_ms")]
    pub interval: Duration,
    /// For one answer.
    #[serde(with = "duration_ms")]
    pub timeout: Duration,
    /// So many good answers in a row make a worker ready.
    pub rise: u32,
    /// So many failures in a row make it unhealthy.
    pub fall: u32,
    /// From its start on, failures of a worker that was never ready are forgiven for so long.
    #[serde(with = "duration_ms")]
    pub start_period: Duration,
}

/// How a worker that hangs is made to tell where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StackDump {
    /// By a signal, of this number on Linux.
    Signal(i32),
    /// By what its runtime offers.
    Of(Runtime),
}

/// A runtime that can be asked for its stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// Node, by its inspector.
    Inspector,
}

impl Default for HealthSpec {
    fn default() -> Self {
        Self {
            probe: Probe::default(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: 1,
            fall: 3,
            start_period: Duration::from_secs(30),
        }
    }
}

impl HealthSpec {
    /// Returns the longest that a worker may take from its start until it is either ready or given up.
    pub fn patience(&self) -> Duration {
        self.start_period + (self.interval + self.timeout) * self.fall
    }
}

/// What is asked of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// Whether a connection opens.
    Tcp {
        /// Where, on this machine; `None` for where the worker listens.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    },
    /// Whether `GET` is answered well.
    Http {
        /// Path and query.
        path: String,
        /// The Host that is asked for; `None` for `localhost`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// Which statuses pass; none means 200 to 399.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        status: Vec<StatusRange>,
        /// Text that the first 64 KiB of the body must contain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
        /// Where, on this machine; `None` for where the worker listens.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    },
    /// Whether a command ends with 0. It runs in the app's directory with the app's environment.
    Exec {
        /// The program and its arguments.
        argv: Vec<String>,
    },
}

impl Default for Probe {
    fn default() -> Self {
        Self::Tcp { port: None }
    }
}

/// How a worker fares as to the requests that it may get; shown beside PM2's [`Status`](crate::Status).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Its process runs and is not ready.
    Starting,
    /// It gets requests.
    Ready,
    /// Its health check fails, or it hangs: it gets none where others can have them, and is being replaced.
    Unhealthy,
    /// It finishes what it has, or was asked to leave.
    Draining,
}

impl Health {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Starting => "starting",
            Health::Ready => "ready",
            Health::Unhealthy => "unhealthy",
            Health::Draining => "draining",
        }
    }
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
