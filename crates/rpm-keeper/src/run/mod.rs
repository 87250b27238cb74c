//! The keeper's loop: signals, the daemon's requests, and what is due to the daemon.
//!
//! `serve` carries out the requests and sends what is due.
//!
//! It waits (poll) for a signal, a request or a planned restart of the daemon; one turn carries out what is there.
//! Requests are read only while nothing waits to be sent: a daemon that does not read is not served, and costs no memory;
//! exits stay in the table meanwhile and are told later.

pub(crate) mod serve;

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rpm_sys::fd::{self, Lock};
use rpm_sys::pidfd::Pidfd;
use rpm_sys::poll::{Interest, wait_all};
use rpm_sys::proc::boot_clock_micros;
use rpm_sys::reap::{self, Signals, Status};
use rpm_sys::signal::{SIGCHLD, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGTERM};
use rpm_sys::{SysError, fail};

use crate::children::Children;
use crate::daemon::{Connection, Daemon, Process, say};
use crate::handover::Inherited;
use crate::store::Store;
use crate::wire::PACKET_MAX;
use crate::{ready, upgrade};

/// What a keeper is told at its start.
#[derive(Debug)]
pub struct Options {
    /// The directory it may write to; created (0700) when it is not there.
    pub home: PathBuf,
    /// Where the words of the daemon go.
    pub log: PathBuf,
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
        source: io::Error,
    },
    /// The daemon could not be started, or left with an error before it had given the keeper anything to keep.
    #[error("could not start the daemon: {0}")]
    Daemon(String),
    /// The state left by the program that this one replaces cannot be read.
    #[error("could not take over from the keeper's earlier program: {0}")]
    Resume(String),
    /// The kernel refused something that the keeper cannot do without.
    #[error(transparent)]
    Sys(#[from] SysError),
}

/// Runs the keeper until its daemon has left by [`crate::Request::Shutdown`].
///
/// To be called early in a process with one thread: signals are blocked for this thread only.
pub fn run(options: Options) -> Result<(), KeeperError> {
    fail::play("keeper");
    let pid_file = options.home.join("keeper.pid");
    let mut keeper = match (upgrade::inherited_state()?, Inherited::take()) {
        (Some(state), _) => Keeper::resume(options, state)?,
        (None, Ok(Some(inherited))) => Keeper::succeed(options, inherited)?,
        (None, Err(error)) => return Err(error.into()),
        (None, Ok(None)) => match Keeper::start(options) {
            Ok(keeper) => keeper,
            Err((ready, error)) => {
                if !matches!(error, KeeperError::AlreadyRunning) {
                    let _none_is_as_good = fs::remove_file(&pid_file);
                }
                match (ready, &error) {
                    (Some(pipe), KeeperError::AlreadyRunning) => ready::tell_already_running(pipe),
                    (Some(pipe), error) => ready::tell_failure(pipe, &with_source(error)),
                    (None, _) => {}
                }
                return Err(error);
            }
        },
    };
    loop {
        keeper.turn();
        if let Some(end) = keeper.end.take() {
            // While the lock is still held: the next keeper's file is not ours to remove.
            let _gone_is_as_good = fs::remove_file(&pid_file);
            return end;
        }
        keeper.wait()?;
    }
}

/// How many requests are carried out before signals are looked at again.
const REQUESTS_PER_TURN: usize = 64;

/// Descriptors that are never held, so that a daemon can be started and a request be read whatever is held: those of the
/// keeper itself (about ten), and what one usual request brings.
const FDS_RESERVED: usize = 48;
/// The most descriptors that are held where the limit of open files is higher still.
const HELD_MAX: usize = 65_536;
/// How many such turns the last words of a daemon may take: more than fit into a socket.
const LAST_TURNS: usize = 64;

/// Everything the keeper knows.
pub(crate) struct Keeper {
    /// Held for life: one keeper per home.
    pub(crate) lock: Lock,
    signals: Signals,
    pub(crate) daemon: Daemon,
    pub(crate) children: Children,
    pub(crate) store: Store,
    /// The soft limit of open files that children get: the one we were started with, not our own.
    pub(crate) nofile: Option<u64>,
    /// How many descriptors may be held, pidfds included.
    fds_max: usize,
    /// It has been given something to keep: from then on a daemon that fails is started again.
    pub(crate) proven: bool,
    /// It was asked to leave (SIGTERM).
    pub(crate) terminating: bool,
    /// Set when the loop is to end.
    end: Option<Result<(), KeeperError>>,
    buffer: Box<[u8]>,
}

impl Keeper {
    fn start(options: Options) -> Result<Self, (Option<OwnedFd>, KeeperError)> {
        let Options { home, log, daemon_command, ready } = options;
        let prepared = || -> Result<(Lock, Signals, Option<u64>), KeeperError> {
            create_home(&home)?;
            let lock = fd::flock_exclusive(&home.join("keeper.lock"))?.ok_or(KeeperError::AlreadyRunning)?;
            fail::pass("start", "locked");
            reap::lead_session()?;
            reap::become_subreaper()?;
            let (signals, nofile) = prepare_process()?;
            write_pid(&home.join("keeper.pid"))?;
            fail::pass("start", "written");
            Ok((lock, signals, nofile))
        };
        let (lock, signals, nofile) = match prepared() {
            Ok(prepared) => prepared,
            Err(error) => return Err((ready, error)),
        };
        let mut daemon = Daemon::new(daemon_command, log);
        let spare = ready.as_ref().and_then(|pipe| fd::dup(pipe).ok());
        if let Err(error) = daemon.start(ready) {
            return Err((spare, KeeperError::Daemon(error.to_string())));
        }
        fail::pass("start", "daemon_started");
        Ok(Self::with(lock, signals, daemon, nofile))
    }

    fn resume(options: Options, state: OwnedFd) -> Result<Self, KeeperError> {
        fail::pass("upgrade", "resumed");
        let (signals, _) = prepare_process()?;
        let daemon = Daemon::new(options.daemon_command, options.log);
        let keeper = upgrade::restore(state, |lock, nofile| Self::with(lock, signals, daemon, nofile))?;
        fail::pass("upgrade", "restored");
        Ok(keeper)
    }

    /// Takes the place of a keeper that was killed; the daemon tells what that one had.
    fn succeed(options: Options, inherited: Inherited) -> Result<Self, KeeperError> {
        let Inherited { connection, daemon: pidfd, daemon_pid, lock, nofile } = inherited;
        fail::pass("succeed", "begun");
        reap::lead_session()?;
        reap::become_subreaper()?;
        let (signals, own_nofile) = prepare_process()?;
        write_pid(&options.home.join("keeper.pid"))?;
        fail::pass("succeed", "written");
        let mut daemon = Daemon::new(options.daemon_command, options.log);
        let process = Process { pid: daemon_pid, pidfd, started_at: boot_clock_micros(), adopted: true };
        daemon.resume(Some(process), Some(Connection::new(connection)?));
        let mut keeper = Self::with(lock, signals, daemon, nofile.or(own_nofile));
        keeper.proven = true;
        fail::pass("succeed", "done");
        Ok(keeper)
    }

    fn with(lock: Lock, signals: Signals, daemon: Daemon, nofile: Option<u64>) -> Self {
        Self {
            lock,
            signals,
            daemon,
            children: Children::default(),
            store: Store::default(),
            nofile,
            fds_max: usize::try_from(reap::nofile()).unwrap_or(usize::MAX).saturating_sub(FDS_RESERVED).min(HELD_MAX),
            proven: false,
            terminating: false,
            end: None,
            buffer: vec![0; PACKET_MAX].into_boxed_slice(),
        }
    }

    /// Does everything that can be done without waiting.
    fn turn(&mut self) {
        self.take_signals();
        self.reap();
        self.serve();
        if self.end.is_none() {
            self.daemon.act();
        }
    }

    fn wait(&self) -> Result<(), SysError> {
        let timeout = self.daemon.due_in_micros().map(Duration::from_micros);
        let readable = |fd| Interest { fd, read: true, write: false };
        let mut interests = vec![readable(self.signals.as_fd())];
        if let Some(Connection { link, .. }) = &self.daemon.connection {
            let waiting = link.is_waiting();
            interests.push(Interest { fd: link.as_fd(), read: !waiting, write: waiting });
        }
        interests.extend(self.daemon.adopted().map(|pidfd| readable(pidfd.as_fd())));
        interests.extend(self.children.adopted().map(readable));
        wait_all(&interests, timeout).map(drop)
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            if signal != SIGCHLD {
                self.terminating = true;
                self.daemon.signal(SIGTERM);
            }
        }
        if self.terminating && self.daemon.process.is_none() && self.children.alive() == 0 {
            self.end = Some(Ok(()));
        }
    }

    /// Takes every exit there is. Asked each turn, signal or not: it costs one call when there is none.
    fn reap(&mut self) {
        while let Some(reaped) = reap::wait_any() {
            if self.daemon.is(reaped.pid) {
                self.daemon_died(Some(reaped.status));
            } else {
                // An orphan's exit is nobody's news.
                self.children.exited(&reaped, boot_clock_micros());
                fail::pass("exit", "reaped");
            }
        }
        self.children.look_at_adopted(boot_clock_micros());
        if self.daemon.adopted().is_some_and(Pidfd::has_exited) {
            self.daemon_died(None);
        }
    }

    /// `status` is known of a child only.
    fn daemon_died(&mut self, status: Option<Status>) {
        fail::pass("daemon", "gone");
        // Its last words may still wait in the socket: a Shutdown, a Store. There is an end to them, unless someone else
        // holds its end of the connection and goes on talking.
        if let Some(connection) = &mut self.daemon.connection {
            connection.link.mute();
        }
        for _ in 0..LAST_TURNS {
            self.serve();
        }
        self.daemon.died();
        fail::pass("daemon", "forgotten");
        let left_alone = self.children.alive() == 0;
        if self.daemon.leaves {
            self.kill_left();
        }
        if self.daemon.leaves || (self.terminating && left_alone) {
            self.end = Some(Ok(()));
            return;
        }
        match status {
            // It says itself that it cannot work, and there is nothing to guard.
            Some(Status::Code(code)) if !self.proven => {
                self.end = Some(Err(KeeperError::Daemon(format!("it left with exit code {code}"))));
            }
            Some(Status::Code(code)) => say(format_args!("the daemon left with exit code {code}; it is started again")),
            None => say(format_args!("the daemon is gone; it is started again")),
            Some(Status::Signal { signal, .. }) => {
                say(format_args!("the daemon was killed by signal {signal}; it is started again"));
            }
        }
    }
}

impl Keeper {
    /// Kills what still runs when the daemon has left for good: it believed that nobody was there. A start that it asked
    /// for while this keeper was stopped is carried out only now, and no later daemon would know of it.
    fn kill_left(&self) {
        for pidfd in self.children.iter().filter_map(|(_, child)| child.pidfd()) {
            if let Ok(pidfd) = fd::dup(pidfd) {
                let _gone_is_as_good = Pidfd::from_fd(pidfd).signal(SIGKILL);
            }
        }
    }
}

/// What every program of a keeper sets up for itself; returns the soft limit of open files as it was.
fn prepare_process() -> Result<(Signals, Option<u64>), KeeperError> {
    reap::ignore(&[SIGHUP, SIGPIPE])?;
    let signals = reap::signalfd(&[SIGCHLD, SIGTERM, SIGINT])?;
    Ok((signals, reap::raise_nofile()?))
}

fn create_home(home: &Path) -> Result<(), KeeperError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(home);
    made.map_err(|source| KeeperError::Home { path: home.to_owned(), source })
}

fn write_pid(path: &Path) -> Result<(), KeeperError> {
    let temporary = path.with_extension("pid.new");
    let write = || -> io::Result<()> {
        let mut file: File = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        writeln!(file, "{}", std::process::id())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| KeeperError::Home { path: path.to_owned(), source })
}

fn with_source(error: &KeeperError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
