//! `autoscale`: how many workers an app may have, and what one of them should carry.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::time::duration_ms;

/// What is wanted of an app that scales itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AutoscaleSpec {
    /// Never fewer workers; at least 1.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// What one worker should carry; one kind at least.
    pub targets: Load,
    /// An overload must last so long.
    #[serde(with = "duration_ms")]
    pub up_after: Duration,
    /// As must a load that fewer could carry.
    #[serde(with = "duration_ms")]
    pub down_after: Duration,
    /// At most so many workers more at once.
    pub step_up: u32,
    /// At most so many fewer.
    pub step_down: u32,
    /// Between two changes, unless the load is far above its target.
    #[serde(with = "duration_ms")]
    pub cool_down: Duration,
}

impl AutoscaleSpec {
    /// Returns what is usual, for so many workers and what they should carry.
    pub fn new(min: u32, max: u32, targets: Load) -> Self {
        Self {
            min,
            max,
            targets,
            // Three looks that agree, and an answer within three seconds.
            up_after: Duration::from_millis(1500),
            down_after: Duration::from_secs(60),
            step_up: 4,
            step_down: 1,
            cool_down: Duration::from_secs(60),
        }
    }
}

/// A load by kind: as a target what one worker should carry, as a figure what all of them carry together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Percent of one core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
    /// Requests without an answer yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<f64>,
    /// Requests a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Connections that nobody has accepted yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<f64>,
}

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadKind {
    /// Percent of one core.
    Cpu,
    /// Bytes.
    Memory,
    /// Requests without an answer yet.
    InFlight,
    /// Requests a second.
    Rate,
    /// Connections that nobody has accepted yet.
    Queue,
}

impl LoadKind {
    /// All of them.
    pub const ALL: [LoadKind; 5] =
        [LoadKind::Cpu, LoadKind::Memory, LoadKind::InFlight, LoadKind::Rate, LoadKind::Queue];

    /// Returns its key in a file.
    pub fn name(self) -> &'static str {
        match self {
            LoadKind::Cpu => "cpu",
            LoadKind::Memory => "memory",
            LoadKind::InFlight => "in_flight",
            LoadKind::Rate => "rate",
            LoadKind::Queue => "queue",
        }
    }

    /// Writes an amount of it with its unit: `71 %`, `120/s`, `212.4mb`.
    pub fn amount(self, value: f64) -> String {
        match self {
            LoadKind::Cpu => format!("{value:.0} %"),
            LoadKind::Memory => Bytes(value.max(0.0) as u64).to_string(),
            LoadKind::Rate => format!("{value:.0}/s"),
            LoadKind::InFlight | LoadKind::Queue => format!("{value:.1}"),
        }
    }
}

impl fmt::Display for LoadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Load {
    /// Returns what there is of a kind.
    pub fn of(&self, kind: LoadKind) -> Option<f64> {
        match kind {
            LoadKind::Cpu => self.cpu,
            LoadKind::Memory => self.memory,
            LoadKind::InFlight => self.in_flight,
            LoadKind::Rate => self.rate,
            LoadKind::Queue => self.queue,
        }
    }

    /// Returns whether there is nothing of any kind.
    pub fn is_empty(&self) -> bool {
        LoadKind::ALL.iter().all(|kind| self.of(*kind).is_none())
    }
}
