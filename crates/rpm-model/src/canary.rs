//! When a canary has shown that its release is good, or bad.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::duration_ms;

/// What a canary is judged by, from the requests that balancers send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CanaryRule {
    /// It is watched for so long; then the others follow.
    #[serde(with = "duration_ms")]
    pub duration: Duration,
    /// So many percent more of its requests may fail than of the others'.
    pub max_error_rate: f64,
    /// So many times as long as the others it may take to answer (95th percentile); nothing where that does not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_latency_ratio: Option<f64>,
    /// Fewer requests than this show nothing.
    pub min_requests: u64,
}

impl Default for CanaryRule {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(60),
            max_error_rate: 1.0,
            max_latency_ratio: None,
            // One failure of fewer would be more than two percent.
            min_requests: 50,
        }
    }
}
