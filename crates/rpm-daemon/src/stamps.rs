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

    /// Takes a time down; it counts from the next [`write`](Self::write) on.
    pub(crate) fn set(&mut self, app: &str, at_ms: u64) {
        self.times.insert(app.to_owned(), at_ms);
    }

    pub(crate) fn forget(&mut self, app: &str) {
        if self.times.remove(app).is_some() {
            self.write(Durability::Process);
        }
    }

    pub(crate) fn write(&self, durability: Durability) {
        let content = serde_json::to_vec(&self.times).unwrap_or_default();
        if let Err(error) = files::replace(&self.path, &content, durability) {
            tracing::warn!("{} could not be written: {error}", self.path.display());
        }
    }
}
