//! How a server is found to be well or ill.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::duration_ms;

/// Active checks of every server of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckSpec {
    /// What is asked.
    pub check: Check,
    /// Between two checks of a server that is up (HAProxy's `inter`).
    #[serde(with = "duration_ms")]
    pub interval: Duration,
    /// Between two checks while the state is about to change (`fastinter`); `None` for `interval`.
    #[serde(with = "duration_ms::option")]
    pub fast_interval: Option<Duration>,
    /// Between two checks of a server that is down (`downinter`); `None` for `interval`.
    #[serde(with = "duration_ms::option")]
    pub down_interval: Option<Duration>,
    /// For one check to pass.
    #[serde(with = "duration_ms")]
    pub timeout: Duration,
    /// So many passes in a row bring a server up.
    pub rise: u32,
    /// So many failures in a row take it down.
    pub fall: u32,
    /// Another port to ask, where health is answered elsewhere.
    pub port: Option<u16>,
}

impl Default for CheckSpec {
    fn default() -> Self {
        // HAProxy's: inter 2s, rise 2, fall 3.
        Self {
            check: Check::Tcp,
            interval: Duration::from_secs(2),
            fast_interval: None,
            down_interval: None,
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            port: None,
        }
    }
}

/// What a check asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Whether a connection opens.
    #[default]
    Tcp,
    /// Whether a request is answered well.
    Http {
        /// `GET`, `HEAD` or `OPTIONS`.
        method: String,
        /// Path and query.
        path: String,
        /// The Host that is asked for; `None` for `localhost`.
        #[serde(default)]
        host: Option<String>,
        /// Which statuses pass; none means 200 to 399.
        #[serde(default)]
        status: Vec<StatusRange>,
        /// Text that the first 64 KiB of the body must contain.
        #[serde(default)]
        body: Option<String>,
    },
}

/// Statuses from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRange {
    /// The first.
    pub first: u16,
    /// The last; the same as the first for one.
    pub last: u16,
}

impl StatusRange {
    /// Returns whether the status is one of them.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }

    /// Returns whether a status is good: one of these, or 200 to 399 where none are named.
    pub fn accept(ranges: &[Self], status: u16) -> bool {
        if ranges.is_empty() { (200..400).contains(&status) } else { ranges.iter().any(|range| range.contains(status)) }
    }
}

/// When a server that answers, but badly, is left out for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutlierSpec {
    /// So many answers of 500 to 599 in a row.
    pub consecutive_5xx: u32,
    /// How long it is left out the first time; each further time that much longer, ten times at most.
    #[serde(with = "duration_ms")]
    pub ejection: Duration,
    /// At most this share of the servers is left out at a time, in percent; one always may be, where there are others.
    pub max_percent: u8,
}

impl Default for OutlierSpec {
    fn default() -> Self {
        // Envoy's, but for the share: its 10 % means nothing with the two to eight servers that are common here.
        Self { consecutive_5xx: 5, ejection: Duration::from_secs(30), max_percent: 50 }
    }
}
