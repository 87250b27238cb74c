//! The daemon as a child: starting it, starting it again, and knowing when not to.
//!
//! ```text
//!            start                    dies                      time is up
//!   Absent ─────────▶ Running ─────────────────▶ Waiting(delay) ──────────▶ Running …
//!                        │ closes its connection, lives on: killed after CLOSED_GRACE
//!                        └ dies after Shutdown: the keeper leaves
//! ```

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rpm_sys::pidfd::Pidfd;
use rpm_sys::proc::boot_clock_micros;
use rpm_sys::signal::{ENOENT, SIGKILL};
use rpm_sys::spawn::{Spawn, SpawnError};
use rpm_sys::{fail, fd};

use crate::handover::HANDOVER_VAR;
use crate::link::Link;
use crate::upgrade::STATE_FD_VAR;
use crate::{KEEPER_FD_VAR, READY_FD_VAR};

/// Where the daemon finds the connection.
const KEEPER_FD: i32 = 3;
/// Where the first daemon finds the launcher's ready pipe.
const READY_FD: i32 = 4;
/// How much may wait for a daemon that does not read; requests are not read meanwhile, so it is never much.
const QUEUED_BYTES_MAX: usize = 1024 * 1024;

/// A daemon that dies younger than this is started again later and later.
const YOUNG_MICROS: u64 = 1_000_000;
/// The first wait: long enough not to burn a core, too short to be noticed.
const DELAY_MIN_MICROS: u64 = 10_000;
/// The longest wait: apps without their daemon are only watched this late.
const DELAY_MAX_MICROS: u64 = 1_000_000;
/// How long a daemon may live on without its connection; it has nothing left to do but to exit.
const CLOSED_GRACE_MICROS: u64 = 2_000_000;

/// How to start the daemon, and what has become of it.
#[derive(Debug)]
pub(crate) struct Daemon {
    command: Vec<OsString>,
    log: PathBuf,
    pub(crate) process: Option<Process>,
    pub(crate) connection: Option<Connection>,
    /// It has announced that it leaves.
    pub(crate) leaves: bool,
    /// When to do something about it: to start it, or to kill it for having closed its connection.
    due_at: Option<u64>,
    delay: u64,
}

/// The daemon's process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) pidfd: Pidfd,
    pub(crate) started_at: u64,
    /// It is not our child but our parent: it has started us in place of a keeper that was killed.
    pub(crate) adopted: bool,
}

/// The connection to one daemon.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) link: Link,
    /// It has said Hello.
    pub(crate) greeted: bool,
    /// How far the inventory it asked for has been sent.
    pub(crate) inventory: Option<Cursor>,
    /// The program it wants the keeper to become, once everything has been sent.
    pub(crate) upgrade: Option<PathBuf>,
}

/// The last entry of the inventory that was sent.
#[derive(Debug)]
pub(crate) enum Cursor {
    Children(Option<Box<str>>),
    Held(Option<Box<str>>),
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> Result<Self, rpm_sys::SysError> {
        Ok(Self { link: Link::new(socket, QUEUED_BYTES_MAX)?, greeted: false, inventory: None, upgrade: None })
    }
}

impl Daemon {
    pub(crate) fn new(command: Vec<OsString>, log: PathBuf) -> Self {
        Self { command, log, process: None, connection: None, leaves: false, due_at: None, delay: DELAY_MIN_MICROS }
    }

    /// Starts it, with a new connection.
    ///
    /// Executed is the program that this keeper is: the file of that name may be another one by now, or broken.
    pub(crate) fn start(&mut self, ready: Option<OwnedFd>) -> Result<(), SpawnError> {
        let (ours, its) = fd::socketpair_seqpacket()?;
        let connection = Connection::new(ours)?;
        let log = rpm_sys::open::append_log(&self.log, 0o600).or_else(|_| fd::null())?;
        let env = environment(ready.is_some());

        let [program, args @ ..] = self.command.as_slice() else {
            return Err(SpawnError { step: "find program", errno: ENOENT });
        };
        let mut spawn = Spawn::new(OsStr::new(rpm_sys::proc::OWN_PROGRAM));
        spawn.argv0 = Some(program);
        spawn.args = args.iter().map(OsString::as_os_str).collect();
        spawn.env = env.iter().map(OsString::as_os_str).collect();
        spawn.new_session = true;
        spawn.fds = vec![(log.as_fd(), 1), (log.as_fd(), 2), (its.as_fd(), KEEPER_FD)];
        spawn.fds.extend(ready.iter().map(|pipe| (pipe.as_fd(), READY_FD)));
        let spawned = spawn.start()?;

        let started_at = boot_clock_micros();
        self.process = Some(Process { pid: spawned.pid, pidfd: spawned.pidfd, started_at, adopted: false });
        self.connection = Some(connection);
        self.due_at = None;
        Ok(())
    }

    /// Goes on with a daemon that an earlier program of this keeper has started.
    pub(crate) fn resume(&mut self, process: Option<Process>, connection: Option<Connection>) {
        if process.is_none() || connection.is_none() {
            self.due_at = Some(boot_clock_micros());
        }
        self.process = process;
        self.connection = connection;
    }

    /// Returns whether this child of ours is the daemon.
    pub(crate) fn is(&self, pid: i32) -> bool {
        self.process.as_ref().is_some_and(|process| !process.adopted && process.pid == pid)
    }

    /// Returns the pidfd by which its death is noticed, if it is not reaped by us.
    pub(crate) fn adopted(&self) -> Option<&Pidfd> {
        self.process.as_ref().filter(|process| process.adopted).map(|process| &process.pidfd)
    }

    /// It has died: plans when to start it again.
    pub(crate) fn died(&mut self) {
        let now = boot_clock_micros();
        let age = self.process.take().map_or(0, |process| now.saturating_sub(process.started_at));
        self.connection = None;
        if age >= YOUNG_MICROS {
            self.delay = DELAY_MIN_MICROS;
            self.due_at = Some(now);
        } else {
            self.put_off(now);
        }
    }

    /// It could not be started: plans the next attempt.
    pub(crate) fn put_off(&mut self, now: u64) {
        self.due_at = Some(now + self.delay);
        self.delay = (self.delay * 2).min(DELAY_MAX_MICROS);
    }

    /// Its connection has ended, which is mostly the first sign of its death.
    pub(crate) fn disconnected(&mut self) {
        self.connection = None;
        if self.process.is_some() {
            self.due_at = Some(boot_clock_micros() + CLOSED_GRACE_MICROS);
        }
    }

    /// Returns how long nothing is to be done about it; no limit if none.
    pub(crate) fn due_in_micros(&self) -> Option<u64> {
        self.due_at.map(|at| at.saturating_sub(boot_clock_micros()))
    }

    /// Does what is due now.
    pub(crate) fn act(&mut self) {
        let now = boot_clock_micros();
        if self.due_at.is_none_or(|at| at > now) {
            return;
        }
        self.due_at = None;
        if let Some(process) = &self.process {
            say(format_args!("the daemon has closed its connection and does not leave; it is killed"));
            let _gone_is_as_good = process.pidfd.signal(SIGKILL);
        } else if let Err(error) = self.start(None) {
            say(format_args!("could not start the daemon: {error}"));
            self.put_off(now);
        } else {
            fail::pass("daemon", "started");
        }
    }

    pub(crate) fn signal(&self, signal: i32) {
        if let Some(process) = &self.process {
            let _gone_is_as_good = process.pidfd.signal(signal);
        }
    }
}

/// Writes a line to the log, if that can be: `eprintln!` would panic when the disk is full.
pub(crate) fn say(text: std::fmt::Arguments<'_>) {
    let _a_full_disk_is_no_reason_to_die = writeln!(io::stderr(), "keeper: {text}");
}

/// Our own environment with our own variables set right.
fn environment(with_ready: bool) -> Vec<OsString> {
    let ours = [KEEPER_FD_VAR, READY_FD_VAR, STATE_FD_VAR, HANDOVER_VAR];
    let inherited = std::env::vars_os().filter(|(name, _)| ours.iter().all(|own| name != own));
    let mut env: Vec<OsString> = inherited.map(|(name, value)| joined(&name, &value)).collect();
    env.push(format!("{KEEPER_FD_VAR}={KEEPER_FD}").into());
    if with_ready {
        env.push(format!("{READY_FD_VAR}={READY_FD}").into());
    }
    env
}

pub(crate) fn joined(name: &OsStr, value: &OsStr) -> OsString {
    let mut variable = OsString::with_capacity(name.len() + 1 + value.len());
    variable.push(name);
    variable.push("=");
    variable.push(value);
    variable
}
