//! Commands of the user's own around the life of a process.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::duration_ms;

/// What is run around the life of each process of an app: a program and its arguments each, none where empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// Before the process is started, which it is only when this ends with 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_start: Vec<String>,
    /// When the process is ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_start: Vec<String>,
    /// Before the process is asked to leave, which it is when this has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_stop: Vec<String>,
    /// When the process has ended, however that was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_exit: Vec<String>,
    /// What takes longer is killed.
    #[serde(with = "duration_ms")]
    pub timeout: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            pre_start: Vec::new(),
            post_start: Vec::new(),
            pre_stop: Vec::new(),
            on_exit: Vec::new(),
            timeout: Duration::from_secs(30),
        }
    }
}

impl Hooks {
    /// Returns the command of a hook, if it has one.
    pub fn command(&self, hook: Hook) -> Option<&[String]> {
        let argv = match hook {
            Hook::PreStart => &self.pre_start,
            Hook::PostStart => &self.post_start,
            Hook::PreStop => &self.pre_stop,
            Hook::OnExit => &self.on_exit,
        };
        Some(argv.as_slice()).filter(|argv| !argv.is_empty())
    }
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before the start.
    PreStart,
    /// After the start.
    PostStart,
    /// Before the stop.
    PreStop,
    /// After the end.
    OnExit,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::PreStart, Self::PostStart, Self::PreStop, Self::OnExit];

    /// Returns its key in an ecosystem file.
    pub fn name(self) -> &'static str {
        match self {
            Hook::PreStart => "pre_start",
            Hook::PostStart => "post_start",
            Hook::PreStop => "pre_stop",
            Hook::OnExit => "on_exit",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
