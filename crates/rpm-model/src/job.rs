//! Apps that run at their times, to their end, instead of for ever.

use serde::{Deserialize, Serialize};

/// When a job runs, and what becomes of a time that finds it running still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// A cron pattern of 5 or 6 fields, `@daily` and its like, or `@every 10m`.
    pub schedule: String,
    /// The time zone that the pattern is meant in, by its IANA name; `None` is that of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What happens when the run before has not ended.
    #[serde(default)]
    pub on_overlap: Overlap,
    /// Whether it runs once, as soon as it can, when times have passed while nobody was there to keep them.
    #[serde(default)]
    pub catch_up: bool,
}

/// What happens at a time when the run before has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The time passes, and is told as skipped.
    #[default]
    Skip,
    /// It runs again as soon as the run before has ended. One run waits at most; further times are skipped.
    Queue,
    /// The run before is stopped, and it runs anew.
    Replace,
}
