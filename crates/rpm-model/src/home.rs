//! The state directory, and the names of the files in it.

use std::collections::BTreeMap;
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
    moved: BTreeMap<&'static str, PathBuf>,
}

/// PM2's variables that move one file or directory out of its home.
const MOVING: [&str; 10] = [
    "PM2_PID_FILE_PATH",
    "PM2_LOG_FILE_PATH",
    "PM2_DUMP_FILE_PATH",
    "PM2_DUMP_BACKUP_FILE_PATH",
    "PM2_DEFAULT_LOG_PATH",
    "PM2_DEFAULT_PID_PATH",
    "PM2_DEFAULT_MODULE_PATH",
    "PM2_MODULE_CONF_FILE",
    "PM2_DAEMON_RPC_PORT",
    "PM2_DAEMON_PUB_PORT",
];

impl Home {
    /// Names the directory; creates nothing.
    pub fn new(root: PathBuf, flavour: Flavour) -> Self {
        Self { root, flavour, moved: BTreeMap::new() }
    }

    /// Moves single files to where PM2's variables want them, for a home of PM2's. A relative path lies in the home, so
    /// that client, keeper and daemon mean the same file wherever they run.
    #[must_use]
    pub fn with_variables(mut self, var: impl Fn(&str) -> Option<PathBuf>) -> Self {
        if self.flavour == Flavour::Pm2 {
            let set = |name: &'static str| Some((name, var(name).filter(|path| !path.as_os_str().is_empty())?));
            let found = MOVING.into_iter().filter_map(set);
            self.moved = found.map(|(name, path)| (name, self.root.join(path))).collect();
        }
        self
    }

    /// Takes relative paths of the saved list from a directory, for the client that was called there: PM2's own client
    /// writes that file.
    #[must_use]
    pub fn with_lists_from(mut self, directory: &Path, var: impl Fn(&str) -> Option<PathBuf>) -> Self {
        for (name, path) in &mut self.moved {
            if name.starts_with("PM2_DUMP_")
                && let Some(given) = var(name)
            {
                *path = directory.join(given);
            }
        }
        self
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
        self.own("PM2_PID_FILE_PATH", "rpm.pid", "pm2.pid")
    }

    /// Returns the file with the keeper's pid.
    pub fn keeper_pid(&self) -> PathBuf {
        self.root.join("keeper.pid")
    }

    /// Returns the log of daemon and keeper.
    pub fn daemon_log(&self) -> PathBuf {
        self.own("PM2_LOG_FILE_PATH", "rpm.log", "pm2.log")
    }

    /// Returns the list that `save` writes and `resurrect` reads.
    pub fn dump(&self) -> PathBuf {
        self.own("PM2_DUMP_FILE_PATH", "dump.json", "dump.pm2")
    }

    /// Returns the list that `save` found and replaced.
    pub fn dump_backup(&self) -> PathBuf {
        self.own("PM2_DUMP_BACKUP_FILE_PATH", "dump.json.bak", "dump.pm2.bak")
    }

    /// Returns the desired state and the counters, for the next daemon.
    pub fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// Returns the directory of the apps' logs.
    pub fn logs(&self) -> PathBuf {
        self.own("PM2_DEFAULT_LOG_PATH", "logs", "logs")
    }

    /// Returns the directory of the pipes through which apps in the foreground are read.
    pub fn console(&self) -> PathBuf {
        self.root.join("console")
    }

    /// Returns the directory of the apps' pid files.
    pub fn pids(&self) -> PathBuf {
        self.own("PM2_DEFAULT_PID_PATH", "pids", "pids")
    }

    /// Returns the directory that modules are installed in.
    pub fn modules(&self) -> PathBuf {
        self.own("PM2_DEFAULT_MODULE_PATH", "modules", "modules")
    }

    /// Returns the values of apps and modules, which `set` writes.
    pub fn module_conf(&self) -> PathBuf {
        self.own("PM2_MODULE_CONF_FILE", "module_conf.json", "module_conf.json")
    }

    /// Returns the socket of PM2's own protocol for requests.
    pub fn pm2_rpc(&self) -> PathBuf {
        self.own("PM2_DAEMON_RPC_PORT", "rpc.sock", "rpc.sock")
    }

    /// Returns the socket of PM2's own protocol for events.
    pub fn pm2_pub(&self) -> PathBuf {
        self.own("PM2_DAEMON_PUB_PORT", "pub.sock", "pub.sock")
    }

    fn own(&self, variable: &str, rpm: &str, pm2: &str) -> PathBuf {
        let name = match self.flavour {
            Flavour::Rpm => rpm,
            Flavour::Pm2 => pm2,
        };
        self.moved.get(variable).cloned().unwrap_or_else(|| self.root.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_pm2_moves_one_file_of_a_pm2_home() {
        let var = |name: &str| match name {
            "PM2_DUMP_FILE_PATH" => Some(PathBuf::from("/srv/list")),
            "PM2_DEFAULT_LOG_PATH" => Some(PathBuf::from("mine")),
            "PM2_PID_FILE_PATH" => Some(PathBuf::new()),
            "PM2_DEFAULT_MODULE_PATH" => Some(PathBuf::from("/srv/modules")),
            _ => None,
        };
        let of = |flavour| Home::new("/h".into(), flavour).with_variables(var);
        let pm2 = of(Flavour::Pm2);
        assert_eq!(pm2.dump(), Path::new("/srv/list"));
        assert_eq!(pm2.dump_backup(), Path::new("/h/dump.pm2.bak"));
        assert_eq!(pm2.logs(), Path::new("/h/mine"));
        assert_eq!(pm2.modules(), Path::new("/srv/modules"));
        let relative = |name: &str| (name == "PM2_DUMP_BACKUP_FILE_PATH").then(|| PathBuf::from("old"));
        let called = Home::new("/h".into(), Flavour::Pm2).with_variables(relative);
        assert_eq!(called.dump_backup(), Path::new("/h/old"));
        assert_eq!(called.with_lists_from(Path::new("/w"), relative).dump_backup(), Path::new("/w/old"));
        assert_eq!(of(Flavour::Rpm).modules(), Path::new("/h/modules"));
        assert_eq!(pm2.daemon_pid(), Path::new("/h/pm2.pid"));
        assert_eq!(of(Flavour::Rpm).dump(), Path::new("/h/dump.json"));
    }
}
