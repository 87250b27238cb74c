//! What the kernel grants the processes of one worker together, by a control group of its own.

use serde::{Deserialize, Serialize};

use crate::Bytes;

/// The limits of one worker and everything it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory; who needs more is killed by the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<Bytes>,
    /// CPU time, in hundredths of one CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_max_percent: Option<u32>,
    /// Processes and threads; a fork beyond that fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_max: Option<u32>,
}

impl Limits {
    /// Returns whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the controllers that are needed, as the kernel names them, each with the key that wants it.
    pub fn controllers(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let wanted = [
            (self.memory_max.is_some(), ("memory", "memory_max")),
            (self.cpu_max_percent.is_some(), ("cpu", "cpu_max")),
            (self.pids_max.is_some(), ("pids", "pids_max")),
        ];
        wanted.into_iter().filter_map(|(is_wanted, names)| is_wanted.then_some(names))
    }
}
