//! A keeper in place of one that was killed.
//!
//! The daemon lives on when its keeper is killed, and so do the workers, which get another parent. The daemon starts the next
//! keeper itself, as a child, with three descriptors: the connection, in which everything that the old keeper had waits
//! already; the daemon's own pidfd, since a keeper that is not its parent cannot reap it; and the lock, taken here, so
//! that no command can start another keeper in between.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rpm_sys::SysError;
use rpm_sys::fd::{self, Lock};
use rpm_sys::pidfd::Pidfd;
use rpm_sys::spawn::{Spawn, SpawnError, Spawned};

use crate::daemon::joined;
use crate::upgrade::STATE_FD_VAR;
use crate::{KEEPER_FD_VAR, READY_FD_VAR};

/// The environment variable that tells a keeper that it is a successor: the daemon's pid, and after a comma the soft
/// limit of open files that programs get.
pub(crate) const HANDOVER_VAR: &str = "RPM_HANDOVER";

/// Where the successor finds its descriptors.
const CONNECTION_FD: i32 = 3;
const DAEMON_FD: i32 = 4;
const LOCK_FD: i32 = 5;

/// A child of the killed keeper may have been about to execute its program, with the lock still open: a matter of a
/// millisecond. Who holds it longer is another keeper.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const BETWEEN_TRIES: Duration = Duration::from_millis(5);

/// Why a killed keeper has no successor.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// Another keeper has the home.
    #[error("another keeper is running already")]
    AlreadyRunning,
    /// The kernel refused.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// The connection failed.
    #[error("could not tell the next keeper: {0}")]
    Tell(#[from] io::Error),
    /// The keeper could not be started.
    #[error("could not start the keeper: {0}")]
    Spawn(#[from] SpawnError),
}

/// The daemon's side: everything that the successor is started with.
pub(crate) struct Handover {
    connection: OwnedFd,
    daemon: Pidfd,
    lock: Lock,
}

impl Handover {
    /// Takes the home, and makes a connection; returns the daemon's end of it, too.
    pub(crate) fn prepare(home: &Path) -> Result<(Self, OwnedFd), HandoverError> {
        let path = home.join("keeper.lock");
        let deadline = Instant::now() + LOCK_PATIENCE;
        let lock = loop {
            match fd::flock_exclusive(&path)? {
                Some(lock) => break lock,
                None if Instant::now() > deadline => return Err(HandoverError::AlreadyRunning),
                None => std::thread::sleep(BETWEEN_TRIES),
            }
        };
        let daemon = Pidfd::open(std::process::id().cast_signed())?;
        let (ours, connection) = fd::socketpair_seqpacket()?;
        Ok((Self { connection, daemon, lock }, ours))
    }

    /// Starts the successor.
    pub(crate) fn start(
        self,
        log: &Path,
        keeper_argv: &[OsString],
        nofile: Option<u64>,
    ) -> Result<Spawned, HandoverError> {
        let log = rpm_sys::open::append_log(log, 0o600).or_else(|_| fd::null())?;
        let [program, args @ ..] = keeper_argv else {
            return Err(SpawnError { step: "find program", errno: rpm_sys::signal::ENOENT }.into());
        };
        let mut about = std::process::id().to_string();
        if let Some(nofile) = nofile {
            about.push_str(&format!(",{nofile}"));
        }
        let ours = [READY_FD_VAR, KEEPER_FD_VAR, STATE_FD_VAR, HANDOVER_VAR];
        let env: Vec<OsString> = std::env::vars_os()
            .filter(|(name, _)| ours.iter().all(|own| name != own))
            .map(|(name, value)| joined(&name, &value))
            .chain([format!("{HANDOVER_VAR}={about}").into()])
            .collect();
        // What this daemon is, whatever has become of the file of that name.
        let mut spawn = Spawn::new(OsStr::new(rpm_sys::proc::OWN_PROGRAM));
        spawn.argv0 = Some(program);
        spawn.args = args.iter().map(OsString::as_os_str).collect();
        spawn.env = env.iter().map(OsString::as_os_str).collect();
        spawn.cwd = Some(Path::new("/"));
        spawn.new_session = true;
        spawn.fds = vec![
            (log.as_fd(), 2),
            (self.connection.as_fd(), CONNECTION_FD),
            (self.daemon.as_fd(), DAEMON_FD),
            (self.lock.as_fd(), LOCK_FD),
        ];
        Ok(spawn.start()?)
    }
}

/// The successor's side: what it was started with.
pub(crate) struct Inherited {
    pub(crate) connection: OwnedFd,
    pub(crate) daemon: Pidfd,
    pub(crate) daemon_pid: i32,
    pub(crate) lock: Lock,
    pub(crate) nofile: Option<u64>,
}

impl Inherited {
    /// Takes what this process was started with; `None` when it is no successor.
    pub(crate) fn take() -> Result<Option<Self>, SysError> {
        let Some(about) = std::env::var_os(HANDOVER_VAR) else { return Ok(None) };
        let about = about.to_string_lossy();
        let (pid, nofile) = about.split_once(',').unwrap_or((&about, ""));
        Ok(Some(Self {
            connection: fd::take_inherited(CONNECTION_FD)?,
            daemon: Pidfd::from_fd(fd::take_inherited(DAEMON_FD)?),
            daemon_pid: pid.parse().unwrap_or_default(),
            lock: Lock::from(fd::take_inherited(LOCK_FD)?),
            nofile: nofile.parse().ok(),
        }))
    }
}
