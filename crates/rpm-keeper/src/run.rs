//! The keeper's loop: signals, the daemon's requests, and what is due to the daemon.
//!
//! It waits (poll) for a signal, a request or a planned restart of the daemon; one turn carries out what is there.
//! Requests are read only while nothing waits to be sent: a daemon that does not read is not served, and costs no memory;
//! exits stay in the table meanwhile and are told later.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rpm_sys::fd::{self, Lock};
use rpm_sys::pidfd::Pidfd;
use rpm_sys::poll::{Interest, wait_all};
use rpm_sys::proc::{self, boot_clock_micros};
use rpm_sys::reap::{self, Signals, Status};
use rpm_sys::signal::{SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGTERM};
use rpm_sys::spawn::Spawn;
use rpm_sys::{SysError, fail};

use crate::children::{Child, Children, State};
use crate::client::{KEY_MAX, NAME_MAX, NOTE_MAX};
use crate::daemon::{Connection, Cursor, Daemon, Process, say};
use crate::handover::Inherited;
use crate::link::{Incoming, Link, receive};
use crate::message::{Exit, Told};
use crate::request::{SpawnFields, about, only, only_field};
use crate::store::Store;
use crate::wire::{self, Malformed, PACKET_MAX, op, tag};
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

    /// Sends what is due and carries out requests, until nothing is there or the daemon does not read.
    fn serve(&mut self) {
        // Taken out while it is served, so that requests may change everything else.
        let Some(mut connection) = self.daemon.connection.take() else { return };
        match self.serve_connection(&mut connection) {
            Ok(()) => self.daemon.connection = Some(connection),
            Err(Ended) => self.daemon.disconnected(),
        }
    }

    fn serve_connection(&mut self, connection: &mut Connection) -> Result<(), Ended> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut served = Ok(());
        for _ in 0..REQUESTS_PER_TURN {
            self.send_what_is_due(connection);
            if connection.link.is_waiting() {
                break;
            }
            let link = &mut connection.link;
            match receive(link.as_fd(), &mut buffer) {
                Ok(Incoming::Packet(packet, fds)) => {
                    if let Err(malformed) = self.carry_out(connection, &packet, fds) {
                        refuse(&mut connection.link, &about(&packet), &malformed.to_string());
                    }
                }
                Ok(Incoming::Nothing) => break,
                Ok(Incoming::FdsLost(packet)) => {
                    let text = "its descriptors could not be taken: the keeper may not open as many";
                    refuse(link, &about(packet), text);
                }
                Ok(Incoming::Unusable(malformed)) => refuse(link, "packet", &malformed.to_string()),
                Ok(Incoming::Closed) | Err(_) => {
                    served = Err(Ended);
                    break;
                }
            }
        }
        // The last request of a full turn may have made something due, of which no descriptor will tell.
        self.send_what_is_due(connection);
        self.buffer = buffer;
        served
    }

    /// Sends waiting packets, the rest of an inventory, untold exits; then becomes the new program, if one is wanted.
    fn send_what_is_due(&mut self, connection: &mut Connection) {
        loop {
            match connection.link.flush() {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => connection.link.mute(),
            }
            if let Some(cursor) = &mut connection.inventory {
                if !self.send_next_of_inventory(&mut connection.link, cursor) {
                    connection.inventory = None;
                }
            } else if connection.greeted
                && let Some((key, pid, exit)) = self.children.next_untold()
            {
                connection.link.packet.begin(op::EXITED).bytes(tag::KEY, key.as_bytes()).i32(tag::PID, pid);
                exit.write(&mut connection.link.packet);
                send(&mut connection.link, &[]);
                fail::pass("exit", "told");
            } else {
                let Some(binary) = connection.upgrade.take() else { return };
                if connection.link.deaf {
                    // Who asked for it is gone; the next daemon will ask again.
                    return;
                }
                // Returns only when it failed.
                let failure = upgrade::become_program(self, connection, &binary);
                refuse(&mut connection.link, "Upgrade", &failure);
            }
        }
    }

    /// Sends one entry; returns whether there may be more.
    fn send_next_of_inventory(&self, link: &mut Link, cursor: &mut Cursor) -> bool {
        match cursor {
            Cursor::Children(last) => match self.children.after(last.as_deref()) {
                Some((key, child)) => {
                    write_child(&mut link.packet, key, child);
                    send(link, child.pidfd().as_slice());
                    *last = Some(key.into());
                }
                None => *cursor = Cursor::Held(None),
            },
            Cursor::Held(last) => match self.store.after(last.as_deref()) {
                Some((name, fd)) => {
                    link.packet.begin(op::HELD).bytes(tag::NAME, name.as_bytes());
                    send(link, &[fd]);
                    *last = Some(name.into());
                }
                None => {
                    link.packet.begin(op::INVENTORY_END);
                    send(link, &[]);
                    fail::pass("inventory", "ended");
                    return false;
                }
            },
        }
        true
    }

    /// Carries out one request, and answers it unless it cannot be understood.
    fn carry_out(&mut self, connection: &mut Connection, packet: &[u8], fds: Vec<OwnedFd>) -> Result<(), Malformed> {
        let (version, op, fields) = wire::head(packet)?;
        if version == 0 {
            refuse(&mut connection.link, "packet", "there is no version 0 of the protocol");
            return Ok(());
        }
        let name = request_name(op);
        if let Some(name) = name {
            fail::pass("got", name);
        }
        self.carry_out_request(connection, packet, op, fields, fds)?;
        if let Some(name) = name {
            fail::pass("did", name);
        }
        Ok(())
    }

    fn carry_out_request(
        &mut self,
        connection: &mut Connection,
        packet: &[u8],
        op: u16,
        fields: wire::Fields<'_>,
        fds: Vec<OwnedFd>,
    ) -> Result<(), Malformed> {
        let link = &mut connection.link;
        match op {
            op::HELLO => {
                connection.greeted = true;
                self.children.begin_telling();
                if self.terminating {
                    // The signal came before there was a daemon to understand it.
                    self.daemon.signal(SIGTERM);
                }
                send_hello(link, self.nofile);
            }
            op::ADOPT => self.adopt(link, fields, fds)?,
            op::SPAWN => self.spawn(link, SpawnFields::read(fields, fds.len())?, fds),
            op::ACK => {
                if let Err(alive) = self.children.acknowledge(only(fields, tag::KEY)?) {
                    refuse(link, &about(packet), &alive.to_string());
                }
            }
            op::STORE => {
                let name = only_field(fields, tag::NAME)?.text_up_to(NAME_MAX)?;
                let found = fds.len();
                let [fd] = <[OwnedFd; 1]>::try_from(fds).map_err(|_| Malformed::Descriptors { expected: 1, found })?;
                let is_new = self.store.get(name).is_none();
                if is_new && !self.has_room_for(1) {
                    refuse(link, name, &self.fullness());
                    return Ok(());
                }
                self.store.put(name, fd);
                if !is_new {
                    // What is stored again and again is the daemon's state: something has happened, and it is over.
                    rpm_sys::memory::give_back();
                }
                self.proven = true;
            }
            op::DROP => self.store.drop_one(only(fields, tag::NAME)?),
            op::DROP_PREFIX => self.store.drop_prefix(only(fields, tag::PREFIX)?),
            op::FETCH => {
                let name = only(fields, tag::NAME)?;
                link.packet.begin(op::FD).bytes(tag::NAME, name.as_bytes());
                send(link, self.store.get(name).as_slice());
            }
            op::INVENTORY => connection.inventory = Some(Cursor::Children(None)),
            op::ORPHANS => {
                let pids = proc::children(std::process::id().cast_signed());
                let orphans = pids.into_iter().filter(|pid| !self.children.is_alive(*pid) && !self.daemon.is(*pid));
                link.packet.begin(op::IS_ORPHANS).numbers(tag::PIDS, orphans.map(i32::to_le_bytes));
                send(link, &[]);
            }
            op::UPGRADE => {
                let binary = only_field(fields, tag::BINARY)?;
                connection.upgrade = Some(PathBuf::from(OsStr::from_bytes(binary.value)));
            }
            op::SHUTDOWN => self.daemon.leaves = true,
            unknown => {
                let text = format!("this keeper (protocol version {}) does not know request {unknown}", wire::VERSION);
                refuse(link, "packet", &text);
            }
        }
        Ok(())
    }

    /// Takes in a process that another keeper has started, or the exit of one that nobody has acknowledged.
    fn adopt(&mut self, link: &mut Link, fields: wire::Fields<'_>, fds: Vec<OwnedFd>) -> Result<(), Malformed> {
        let key = only_field(fields, tag::KEY)?.text_up_to(KEY_MAX)?;
        let told = Told::read(fields)?;
        if told.note.len() > NOTE_MAX {
            return Err(Malformed::Long { tag: tag::NOTE, found: told.note.len(), max: NOTE_MAX });
        }
        let pid = told.pid.ok_or(Malformed::Missing { tag: tag::PID })?;
        let found = fds.len();
        let state = match (told.exit(), fds.into_iter().next()) {
            (Some(exit), _) => State::Exited(exit),
            (None, Some(pidfd)) => State::Adopted(pidfd),
            (None, None) => return Err(Malformed::Descriptors { expected: 1, found }),
        };
        if let Err(taken) = self.children.admits(key) {
            refuse(link, key, &taken.to_string());
        } else if !self.has_room_for(1) {
            refuse(link, key, &self.fullness());
        } else {
            let child = Child { note: told.note.into(), pid, started_at: told.started_at, state };
            self.children.adopt(key, child);
            self.proven = true;
        }
        Ok(())
    }

    fn spawn(&mut self, link: &mut Link, request: SpawnFields<'_>, fds: Vec<OwnedFd>) {
        if let Err(taken) = self.children.admits(request.key) {
            return refuse(link, request.key, &taken.to_string());
        }
        if !self.has_room_for(1 + request.keep.len()) {
            return refuse(link, request.key, &self.fullness());
        }
        let spawn = Spawn {
            program: request.program,
            argv0: request.argv0,
            args: request.args,
            env: request.env,
            cwd: Some(request.cwd),
            fds: request.inherit.iter().map(|(at, target)| (fds[*at].as_fd(), *target)).collect(),
            user: request.user,
            listen_pid: request.listen_pid,
            new_session: true,
            umask: request.umask,
            nofile: request.nofile.or(self.nofile),
            cgroup: request.cgroup.map(|at| fds[at].as_fd()),
        };
        let started = spawn.start();
        drop(spawn);
        let spawned = match started {
            Ok(spawned) => spawned,
            Err(error) => {
                link.packet
                    .begin(op::SPAWN_FAILED)
                    .bytes(tag::KEY, request.key.as_bytes())
                    .bytes(tag::STEP, error.step.as_bytes())
                    .i32(tag::ERRNO, error.errno);
                return send(link, &[]);
            }
        };
        let started_at = boot_clock_micros();
        link.packet
            .begin(op::SPAWNED)
            .bytes(tag::KEY, request.key.as_bytes())
            .i32(tag::PID, spawned.pid)
            .u64(tag::AT, started_at);
        send(link, &[spawned.pidfd.as_fd()]);
        fail::pass("spawn", "told");
        let mut fds: Vec<Option<OwnedFd>> = fds.into_iter().map(Some).collect();
        for (at, name) in request.keep {
            if let Some(fd) = fds[at].take() {
                self.store.put(name, fd);
            }
        }
        let state = State::Alive(spawned.pidfd.into());
        self.children.add(request.key, Child { note: request.note.into(), pid: spawned.pid, started_at, state });
        self.proven = true;
    }
}

impl Keeper {
    /// Returns whether that many descriptors can be held besides those that are.
    fn has_room_for(&self, more: usize) -> bool {
        self.store.len() + self.children.alive() + more <= self.fds_max
    }

    fn fullness(&self) -> String {
        let (held, alive, max) = (self.store.len(), self.children.alive(), self.fds_max);
        format!(
            "the keeper holds {held} descriptors and {alive} children; its limit of open files allows {max} together"
        )
    }
}

/// Returns what the points before and after a request are called; those that no daemon sends have none.
fn request_name(op: u16) -> Option<&'static str> {
    Some(match op {
        op::HELLO => "hello",
        op::ADOPT => "adopt",
        op::SPAWN => "spawn",
        op::ACK => "ack",
        op::STORE => "store",
        op::DROP => "drop",
        op::DROP_PREFIX => "drop_prefix",
        op::INVENTORY => "inventory",
        op::UPGRADE => "upgrade",
        op::SHUTDOWN => "shutdown",
        _ => return None,
    })
}

/// The daemon has closed its end of the connection, and everything it said is carried out.
#[derive(Debug)]
struct Ended;

/// Sends, or notes that the daemon cannot be told any more; what it said before is carried out all the same.
fn send(link: &mut Link, fds: &[BorrowedFd<'_>]) {
    // Nothing was waiting when the request was read, so the queue's bound is not in reach: every failure is the socket's.
    if !link.deaf && link.send(fds).is_err() {
        link.mute();
    }
}

fn refuse(link: &mut Link, about: &str, text: &str) {
    link.packet.begin(op::ERROR).bytes(tag::ABOUT, about.as_bytes()).bytes(tag::TEXT, text.as_bytes());
    send(link, &[]);
}

fn send_hello(link: &mut Link, nofile: Option<u64>) {
    let pid = std::process::id().cast_signed();
    link.packet.begin(op::IS_HELLO).u16(tag::VERSION, wire::VERSION).i32(tag::PID, pid);
    if let Some(nofile) = nofile {
        link.packet.u64(tag::NOFILE, nofile);
    }
    send(link, &[]);
}

/// Tells the daemon that the keeper's new program has taken over.
pub(crate) fn greet_again(link: &mut Link, nofile: Option<u64>) {
    send_hello(link, nofile);
}

pub(crate) fn write_child(packet: &mut wire::Packet, key: &str, child: &Child) {
    packet
        .begin(op::CHILD)
        .bytes(tag::KEY, key.as_bytes())
        .bytes(tag::NOTE, &child.note)
        .i32(tag::PID, child.pid)
        .u64(tag::STARTED_AT, child.started_at);
    if let State::Exited(exit) = &child.state {
        Exit::write(exit, packet);
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
