//! One event.

use rpm_model::{AppId, WorkerId};
use serde::{Deserialize, Serialize};

/// Something that happened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// A word for it: PM2's where it has one (`start`, `online`, `exit`, `restart`, `stop`, `delete`), `command` for what
    /// a client asked, `daemon` for the daemon's own coming and going.
    pub event: String,
    /// The app it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The app's number, which tells it from others of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<AppId>,
    /// The app's namespace; nothing for the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The worker it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// Why or how, as a fragment: `exit code 3`, `reload`, `watch: src/app.js`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Who asked: `root on pts/3 (rpm restart api)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}
