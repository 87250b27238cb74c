//! What an app was before: the specs that it has had, and what became of each.

use std::sync::Arc;

use rpm_model::{AppSpec, Moment};
use serde::{Deserialize, Serialize};

use crate::supervisor::App;

/// So many are kept. Each holds the environment of a shell.
const KEPT: usize = 5;

/// A spec that an app does not have any more.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// The spec.
    pub spec: Arc<AppSpec>,
    /// Until when it was the app's.
    pub until: Moment,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Another one took its place.
    Replaced,
    /// It failed in a roll, or was aborted; the one before was put back.
    RolledBack,
}

impl App {
    /// Makes a spec the app's; the one before is remembered where it was another.
    pub(crate) fn succeed(&mut self, spec: Arc<AppSpec>, now: Moment) {
        if *self.spec != *spec {
            self.remember(Past { spec: self.spec.clone(), until: now, fate: Fate::Replaced });
        }
        self.spec = spec;
    }

    /// Puts the spec before a failed roll back.
    pub(crate) fn fall_back(&mut self, spec: Arc<AppSpec>, now: Moment) {
        // It is the present one again, and no longer past.
        if let Some(index) = self.history.iter().rposition(|past| past.fate == Fate::Replaced && past.spec == spec) {
            self.history.remove(index);
        }
        let failed = std::mem::replace(&mut self.spec, spec);
        self.remember(Past { spec: failed, until: now, fate: Fate::RolledBack });
    }

    fn remember(&mut self, past: Past) {
        self.history.push(past);
        let surplus = self.history.len().saturating_sub(KEPT);
        self.history.drain(..surplus);
    }
}
