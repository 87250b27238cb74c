//! Starting a keeper, detached, and waiting until its daemon takes requests.
//!
//! Two commands at once: each first locks `launch.lock` and holds it until its daemon is ready, so the second comes to its
//! turn when the first has done the work. Its keeper then finds `keeper.lock` taken and says so through the ready pipe;
//! the answer is [`LaunchError::AlreadyRunning`], and the socket is there to be connected to. Nothing is polled: the
//! kernel wakes whoever waits for a lock, and the ready pipe ends with whoever holds it.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rpm_sys::SysError;
use rpm_sys::fd::{self, Lock};
use rpm_sys::poll::{Interest, wait};
use rpm_sys::spawn::{Spawn, SpawnError};

use crate::daemon::joined;
use crate::handover::HANDOVER_VAR;
use crate::ready::{ALREADY_RUNNING, READY};
use crate::upgrade::STATE_FD_VAR;
use crate::{KEEPER_FD_VAR, READY_FD_VAR};

/// Why no keeper could be launched.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Another keeper has this home; connect to its daemon.
    #[error("a keeper is running already")]
    AlreadyRunning,
    /// The daemon, or its keeper, said why it cannot work.
    #[error("{0}")]
    Daemon(String),
    /// The daemon died without a word; the end of its log may tell.
    #[error("the daemon died while it started; {} may tell why", .0.display())]
    Died(PathBuf),
    /// The daemon was not ready in time.
    #[error("the daemon was not ready within {0:?}")]
    Late(Duration),
    /// The kernel refused.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// The keeper could not be started.
    #[error("could not start the keeper")]
    Spawn(#[from] SpawnError),
}

/// Long enough for a machine that is busy booting; a daemon is normally ready in some ten milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where the keeper finds the ready pipe.
const READY_FD: i32 = 3;

/// Starts a keeper, detached, and returns when its daemon takes requests.
///
/// `keeper_argv` is the keeper's program and arguments; that program is to call [`crate::run()`] with the pipe it gets
/// from [`crate::ready::inherited`]. The keeper has our environment, `/` as its directory, and its own words go to
/// `log`. After [`LaunchError::Late`] a keeper may be there, and its daemon ready a little later.
pub fn launch(home: &Path, log: &Path, keeper_argv: &[OsString]) -> Result<(), LaunchError> {
    let deadline = Instant::now() + PATIENCE;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(home);
    made.map_err(|error| SysError::from_io("mkdir", &error))?;
    let _one_at_a_time = lock_until(home.join("launch.lock"), deadline)?;

    let (read, write) = fd::pipe(None)?;
    let log_path = log;
    let log = rpm_sys::open::append_log(log_path, 0o600)?;
    let [program, args @ ..] = keeper_argv else {
        return Err(SpawnError { step: "find program", errno: rpm_sys::signal::ENOENT }.into());
    };
    let env: Vec<OsString> = std::env::vars_os()
        .filter(|(name, _)| [READY_FD_VAR, KEEPER_FD_VAR, STATE_FD_VAR, HANDOVER_VAR].iter().all(|own| name != own))
        .map(|(name, value)| joined(&name, &value))
        .chain([format!("{READY_FD_VAR}={READY_FD}").into()])
        .collect();
    let mut spawn = Spawn::new(program);
    spawn.args = args.iter().map(OsString::as_os_str).collect();
    spawn.env = env.iter().map(OsString::as_os_str).collect();
    spawn.cwd = Some(Path::new(OsStr::new("/")));
    spawn.new_session = true;
    spawn.fds = vec![(log.as_fd(), 2), (write.as_fd(), READY_FD)];
    spawn.start()?;
    drop(spawn);
    drop(write);

    match listen(read, deadline)?.as_deref() {
        None => Err(LaunchError::Late(PATIENCE)),
        Some([]) => Err(LaunchError::Died(log_path.to_owned())),
        Some([READY, ..]) => Ok(()),
        Some([ALREADY_RUNNING, ..]) => Err(LaunchError::AlreadyRunning),
        Some(text) => Err(LaunchError::Daemon(String::from_utf8_lossy(text).trim_end().to_owned())),
    }
}

/// Reads what is said until the pipe ends, or the first word if that is all that is needed; `None` when the time is up.
fn listen(pipe: OwnedFd, deadline: Instant) -> Result<Option<Vec<u8>>, SysError> {
    let mut pipe = File::from(pipe);
    let mut said = Vec::new();
    loop {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else { return Ok(None) };
        let [ready] = wait([Interest { fd: pipe.as_fd(), read: true, write: false }], Some(left))?;
        if !ready.read {
            continue;
        }
        let mut chunk = [0; 4096];
        let length = pipe.read(&mut chunk).map_err(|error| SysError::from_io("read", &error))?;
        said.extend_from_slice(&chunk[..length]);
        if length == 0 || matches!(said.first(), Some(&READY | &ALREADY_RUNNING)) {
            return Ok(Some(said));
        }
    }
}

/// Waits for the lock, at most until the deadline.
///
/// flock cannot wait with a limit, so a thread waits; when it is too late the thread ends with this short-lived process.
fn lock_until(path: PathBuf, deadline: Instant) -> Result<Lock, LaunchError> {
    if let Some(lock) = fd::flock_exclusive(&path)? {
        return Ok(lock);
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || sender.send(fd::flock_exclusive_wait(&path)));
    match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(lock) => Ok(lock?),
        Err(_) => Err(LaunchError::Late(PATIENCE)),
    }
}
