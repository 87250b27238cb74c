//! (being written)

use std::ffi::OsString;
use std::path::Path;

/// Why no keeper could be launched.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Another keeper has this home; connect to its daemon.
    #[error("a keeper is running already")]
    AlreadyRunning,
    /// The daemon said why it cannot work.
    #[error("{0}")]
    Daemon(String),
    /// The daemon or the keeper died without a word; the end of its log may tell.
    #[error("the daemon died while it started")]
    Died,
    /// The daemon was not ready in time.
    #[error("the daemon was not ready within {0:?}")]
    Late(std::time::Duration),
    /// The kernel refused.
    #[error(transparent)]
    Sys(#[from] rpm_sys::SysError),
    /// The keeper could not be started.
    #[error("the keeper could not be started")]
    Spawn(#[from] rpm_sys::spawn::SpawnError),
}

/// Starts a keeper, detached, and returns when its daemon takes requests.
pub fn launch(_home: &Path, _keeper_argv: &[OsString]) -> Result<(), LaunchError> {
    Err(LaunchError::Died)
}
