//! When logs are rotated, and what becomes of the parts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::time::duration_ms;

/// When the logs of an app are rotated, and how long the archives are kept. On by default, generously: a log that grows
/// for ever fills a disk some night.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// A log that is larger is rotated; `None` never by size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<Bytes>,
    /// Rotated at these times too, whatever its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Every>,
    /// This many archives of each log are kept; `None` all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<u32>,
    /// Archives older than this go.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration_ms::option")]
    pub retain_age: Option<Duration>,
    /// Whether archives are compressed with gzip.
    pub compress: bool,
}

/// When logs are rotated by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Every {
    /// At local midnight.
    Day,
    /// After so many milliseconds, counted from the epoch, so that a restart of the daemon changes nothing.
    Millis(u64),
}

impl Rotation {
    /// The default of `max_log_size`.
    pub const MAX_SIZE: Bytes = Bytes(100 << 20);
    /// The default of `log_retain`.
    pub const RETAIN: u32 = 10;

    /// Returns whether logs are rotated at all.
    pub fn is_on(&self) -> bool {
        self.max_size.is_some() || self.every.is_some()
    }

    /// Returns whether nothing was asked for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            max_size: Some(Self::MAX_SIZE),
            every: None,
            retain: Some(Self::RETAIN),
            retain_age: None,
            compress: true,
        }
    }
}
