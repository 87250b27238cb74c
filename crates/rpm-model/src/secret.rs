//! Where a secret comes from. Only the place is kept and shown; what it says is read when a process is started.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// What a file contains, without its last line end.
    File(PathBuf),
    /// What a command prints, without its last line end: a program and its arguments, no shell.
    Cmd(Vec<String>),
    /// A variable of the shell that starts the app, else of the daemon.
    Env(String),
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            // Arguments may be tokens.
            Self::Cmd(argv) => write!(f, "cmd:{}", argv.first().map_or("", String::as_str)),
            Self::Env(name) => write!(f, "env:{name}"),
        }
    }
}
