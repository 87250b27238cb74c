//! (being written)
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What a keeper is told at its start.
#[derive(Debug)]
pub struct Options {
    /// The directory it may write to; created (0700) when it is not there.
    pub home: PathBuf,
    /// The daemon's program (an absolute path) and arguments.
    pub daemon_command: Vec<OsString>,
    /// The pipe on which the launcher waits for the first daemon; see [`crate::ready`].
    pub ready: Option<OwnedFd>,
}

/// Why a keeper could not start, or had to leave.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Another keeper has this home.
    #[error("a keeper is running already")]
    AlreadyRunning,
    /// The home cannot be used.
    #[error("could not prepare {path}")]
    Home {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The daemon could not be started, or left with an error before it had given the keeper anything to keep.
    #[error("could not start the daemon: {0}")]
    Daemon(String),
    /// The kernel refused something that the keeper cannot do without.
    #[error(transparent)]
    Sys(#[from] rpm_sys::SysError),
}

/// Runs the keeper until its daemon has left by [`crate::Request::Shutdown`].
pub fn run(_options: Options) -> Result<(), KeeperError> {
    Err(KeeperError::AlreadyRunning)
}
