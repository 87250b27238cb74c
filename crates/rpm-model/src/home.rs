//! The state directory, and the names of the files in it.

use std::path::{Path, PathBuf};

/// Which program's names are used: our own, or PM2's (when invoked as `pm2`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// `~/.rpm`, `RPM_HOME`, `rpm.sock`, `dump.json`.
    Rpm,
    /// `~/.pm2`, `PM2_HOME`, `pm2.pid`, `dump.pm2`.
    Pm2,
}

/// The state directory of one daemon: an absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
    flavour: Flavour,
}

impl Home {
    /// Names the directory; creates nothing.
    pub fn new(root: PathBuf, flavour: Flavour) -> Self {
        Self { root, flavour }
    }

    /// Returns the directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns whose names are used.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Returns the socket that clients talk to.
    pub fn socket(&self) -> PathBuf {
        self.root.join("rpm.sock")
    }

    /// Returns the file with the daemon's pid.
    pub fn daemon_pid(&self) -> PathBuf {
        self.own("rpm.pid", "pm2.pid")
    }

    /// Returns the file with the keeper's pid.
    pub fn keeper_pid(&self) -> PathBuf {
        self.root.join("keeper.pid")
    }

    /// Returns the log of daemon and keeper.
    pub fn daemon_log(&self) -> PathBuf {
        self.own("rpm.log", "pm2.log")
    }

    /// Returns the list that `save` writes and `resurrect` reads.
    pub fn dump(&self) -> PathBuf {
        self.own("dump.json", "dump.pm2")
    }

    /// Returns the desired state and the counters, for the next daemon.
    pub fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// Returns the directory of the apps' logs.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Returns the directory of the apps' pid files.
    pub fn pids(&self) -> PathBuf {
        self.root.join("pids")
    }

    fn own(&self, rpm: &str, pm2: &str) -> PathBuf {
        self.root.join(match self.flavour {
            Flavour::Rpm => rpm,
            Flavour::Pm2 => pm2,
        })
    }
}
