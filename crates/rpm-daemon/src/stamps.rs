//! When the times of each job were last kept: what `catch_up` counts from, after a reboot too.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rpm_model::Home;

use crate::files::{self, Durability};

/// A file of this many jobs is none of ours.
const SIZE_MAX: u64 = 1 << 20;

/// By the name of the app, in milliseconds since the Unix epoch.
pub(crate) struct Stamps {
    path: PathBuf,
    times: BTreeMap<String, u64>,
}

impl Stamps {
    /// Reads what an earlier daemon has written. Where it cannot be read, no time was missed.
    pub(crate) fn of(home: &Home) -> Self {
        let path = home.root().join("jobs.json");
        let is_small = std::fs::metadata(&path).is_ok_and(|meta| meta.len() <= SIZE_MAX);
        let times = is_small.then(|| std::fs::read(&path).ok()).flatten();
        let times = times.and_then(|content| serde_json::from_slice(&content).ok()).unwrap_or_default();
        Self { path, times }
    }

    pub(crate) fn get(&self, app: &str) -> Option<u64> {
        self.times.get(app).copied()
    }

    pub(crate) fn set(&mut self, app: &str, at_ms: u64) {
        self.times.insert(app.to_owned(), at_ms);
        self.write();
    }

    pub(crate) fn forget(&mut self, app: &str) {
        if self.times.remove(app).is_some() {
            self.write();
        }
    }

    /// It is in the page cache when this returns: a crash of the machine may take the last minute with it.
    fn write(&self) {
        let content = serde_json::to_vec(&self.times).unwrap_or_default();
        if let Err(error) = files::replace(&self.path, &content, Durability::Process) {
            tracing::warn!("{} could not be written: {error}", self.path.display());
        }
    }
}
