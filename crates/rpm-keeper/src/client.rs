//! The daemon's side of the conversation with its keeper.
//!
//! [`Client`] waits for nothing: it sends, or queues; it receives, or says that there is nothing. Poll its descriptor.
//! Requests are carried out in the order sent, and answered in that order; [`Message::Exited`] comes whenever it is due.
//! An exit may be heard of twice (told, in an inventory, told again after an upgrade); key and pid tell that it is the same.
//!
//! | request | answered by |
//! |---|---|
//! | `Hello` | `Hello` |
//! | `Spawn` | `Spawned` or `SpawnFailed`; `Error` when it was refused (key in use, a bound reached) |
//! | `Fetch` | `Fd` |
//! | `Inventory` | `Child`*, `Held`*, `InventoryEnd` |
//! | `Orphans` | `Orphans` |
//! | `Upgrade` | `Hello` from the new keeper, or `Error` |
//! | `Ack`, `Store`, `Drop`, `DropPrefix`, `Adopt`, `Shutdown` | nothing, or `Error` |
//!
//! The keeper may be killed too. So this side keeps a copy of everything that the keeper has (see `mirror`), and hands it to
//! the next one: [`Client::hand_over`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rpm_sys::credentials::Credentials;
use rpm_sys::{fail, fd};

use crate::KEEPER_FD_VAR;
use crate::handover::{Handover, HandoverError};
use crate::link::{Incoming, Link, receive};
use crate::message::fds_lost;
pub use crate::message::{Exit, ExitStatus, Message};
use crate::mirror::Mirror;
use crate::wire::{self, Malformed, PACKET_MAX, op, tag};

/// The longest key of a child.
pub const KEY_MAX: usize = 128;
/// The longest name of a stored descriptor.
pub const NAME_MAX: usize = 256;
/// The longest note that is kept with a child.
pub const NOTE_MAX: usize = 4096;
/// The version of the protocol that this side speaks, for [`Request::Hello`].
pub const VERSION: u16 = wire::VERSION;

/// How much may wait for a keeper that does not read: some thousand spawns. Beyond, `send` fails with `QuotaExceeded`.
const QUEUED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The connection to the keeper.
#[derive(Debug)]
pub struct Client {
    link: Link,
    buffer: Box<[u8]>,
    mirror: Mirror,
}

impl Client {
    /// Takes the daemon's end of the connection, and makes it non-blocking.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let link = Link::new(socket, QUEUED_BYTES_MAX)?;
        Ok(Self { link, buffer: vec![0; PACKET_MAX].into_boxed_slice(), mirror: Mirror::default() })
    }

    /// Takes the connection this process was started with; `None` when it was not started by a keeper.
    ///
    /// Works once in the life of a process.
    pub fn inherited() -> io::Result<Option<Self>> {
        let Some(value) = std::env::var_os(KEEPER_FD_VAR) else { return Ok(None) };
        let number = value.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
            let text = format!("{KEEPER_FD_VAR} should be the number of a descriptor, it is {value:?}");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        Self::new(fd::take_inherited(number)?).map(Some)
    }

    /// Sends a request. When the socket is full the request is queued, with duplicates of its descriptors; call
    /// [`Client::flush`] when the socket is writable.
    ///
    /// A keeper that is gone is no failure: [`Client::recv`] tells, and its successor gets what it should have got.
    pub fn send(&mut self, request: &Request<'_>) -> io::Result<()> {
        let packet = &mut self.link.packet;
        let mut fds = Vec::new();
        match request {
            Request::Hello { version } => {
                packet.begin(op::HELLO).u16(tag::VERSION, *version);
            }
            Request::Spawn(spawn) => {
                spawn.check()?;
                packet.begin(op::SPAWN);
                spawn.write(packet, &mut fds)?;
            }
            Request::Ack { key } => {
                packet.begin(op::ACK).bytes(tag::KEY, key.as_bytes());
            }
            Request::Store { name, fd } => {
                fds.push(*fd);
                packet.begin(op::STORE).bytes(tag::NAME, within("a name", name, NAME_MAX)?);
            }
            Request::Drop { name } => {
                packet.begin(op::DROP).bytes(tag::NAME, name.as_bytes());
            }
            Request::DropPrefix { prefix } => {
                packet.begin(op::DROP_PREFIX).bytes(tag::PREFIX, prefix.as_bytes());
            }
            Request::Fetch { name } => {
                packet.begin(op::FETCH).bytes(tag::NAME, name.as_bytes());
            }
            Request::Inventory => {
                packet.begin(op::INVENTORY);
            }
            Request::Orphans => {
                packet.begin(op::ORPHANS);
            }
            Request::Adopt(adopted) => {
                within("a key", adopted.key, KEY_MAX)?;
                if adopted.note.len() > NOTE_MAX {
                    return Err(too_long("a note", adopted.note.len(), NOTE_MAX));
                }
                fds.push(adopted.pidfd);
                packet
                    .begin(op::ADOPT)
                    .bytes(tag::KEY, adopted.key.as_bytes())
                    .bytes(tag::NOTE, adopted.note)
                    .i32(tag::PID, adopted.pid)
                    .u64(tag::STARTED_AT, adopted.started_at_micros);
            }
            Request::Upgrade { binary } => {
                packet.begin(op::UPGRADE).bytes(tag::BINARY, binary.as_os_str().as_bytes());
            }
            Request::Shutdown => {
                packet.begin(op::SHUTDOWN);
            }
        }
        self.mirror.asked(request, self.link.packet.as_slice(), &fds);
        let sent = self.link.send(&fds);
        self.link.packet.shrink();
        if let Some(name) = request.point() {
            fail::pass("asked", name);
        }
        sent.or_else(unless_gone)
    }

    /// Sends what waits; returns whether everything has left.
    pub fn flush(&mut self) -> io::Result<bool> {
        self.link.flush().or_else(|error| unless_gone(error).map(|()| true))
    }

    /// Returns the keys of the programs whose start was asked for and not answered.
    pub fn unanswered(&self) -> impl Iterator<Item = &str> {
        self.mirror.unanswered()
    }

    /// Returns the names of the stored descriptors that begin so.
    pub fn held<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.mirror.held(prefix)
    }

    /// Notes that a program runs whose start was not answered: the keeper died in between.
    pub fn found(&mut self, key: &str, pid: i32, pidfd: BorrowedFd<'_>, at_micros: u64) {
        self.mirror.spawned(key, pid, pidfd, at_micros);
    }

    /// Starts a keeper in place of one that is gone, and hands it everything the old one had; what was asked and not
    /// answered is asked again. The conversation goes on with it, from its `Hello`.
    ///
    /// `keeper_argv` is as for [`crate::launch()`].
    ///
    /// # Errors
    /// When no keeper can be started, or there is another one already.
    pub fn hand_over(
        &mut self,
        home: &Path,
        log: &Path,
        keeper_argv: &[OsString],
    ) -> Result<rpm_sys::spawn::Spawned, HandoverError> {
        let (handover, ours) = Handover::prepare(home)?;
        fail::pass("succession", "prepared");
        let mut link = Link::new(ours, QUEUED_BYTES_MAX)?;
        // Before it is started: what fits into the socket is there even if this process dies in the next moment.
        self.mirror.tell(&mut link)?;
        fail::pass("succession", "told");
        let spawned = handover.start(log, keeper_argv, self.mirror.nofile)?;
        fail::pass("succession", "started");
        self.link = link;
        Ok(spawned)
    }

    /// Returns whether requests wait for the socket to become writable.
    pub fn wants_flush(&self) -> bool {
        self.link.is_waiting()
    }

    /// Receives the next message; `None` when there is none yet, `UnexpectedEof` when the keeper is gone.
    pub fn recv(&mut self) -> io::Result<Option<Message>> {
        loop {
            let (packet, fds) = match receive(self.link.as_fd(), &mut self.buffer)? {
                Incoming::Nothing => return Ok(None),
                Incoming::Closed => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the keeper has closed the connection"));
                }
                Incoming::Packet(packet, fds) => (packet, fds),
                // What names the message can still be read; only its descriptors are missing.
                Incoming::FdsLost(packet) => return Ok(Some(fds_lost(packet))),
                Incoming::Unusable(malformed) => return Err(invalid(malformed)),
            };
            if let Some(message) = Message::read(&packet, fds, &mut self.mirror).map_err(invalid)? {
                self.mirror.told(&message);
                if let Some(name) = message.point() {
                    fail::pass("heard", name);
                }
                return Ok(Some(message));
            }
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

impl AsRawFd for Client {
    fn as_raw_fd(&self) -> RawFd {
        self.link.as_fd().as_raw_fd()
    }
}

/// What the daemon asks of the keeper.
#[derive(Debug)]
pub enum Request<'a> {
    /// Opens the conversation. Exits are told from here on; earlier ones are in the inventory.
    Hello {
        /// [`VERSION`].
        version: u16,
    },
    /// Starts a program.
    Spawn(SpawnRequest<'a>),
    /// Forgets an exited child.
    Ack {
        /// Its key.
        key: &'a str,
    },
    /// Takes in a process that an earlier keeper has started: its end will be told, as [`ExitStatus::Unknown`].
    Adopt(Adopted<'a>),
    /// Keeps a descriptor open; one already stored under the name is closed.
    Store {
        /// The name, at most [`NAME_MAX`] bytes.
        name: &'a str,
        /// The descriptor; the caller may close its own.
        fd: BorrowedFd<'a>,
    },
    /// Closes a stored descriptor. A name that is not stored is no mistake.
    Drop {
        /// The name.
        name: &'a str,
    },
    /// Closes all stored descriptors whose names begin so.
    DropPrefix {
        /// How the names begin.
        prefix: &'a str,
    },
    /// Asks for a duplicate of a stored descriptor.
    Fetch {
        /// The name.
        name: &'a str,
    },
    /// Asks for everything: children with their exits, and stored descriptors.
    Inventory,
    /// Asks for children of the keeper that it did not start: descendants of workers whose parent has left.
    Orphans,
    /// Replaces the keeper's program in place, keeping its pid, children, descriptors and this connection.
    Upgrade {
        /// The new program.
        binary: &'a Path,
    },
    /// Announces that the daemon leaves on purpose: it is not started again, and the keeper leaves after it.
    Shutdown,
}

impl Request<'_> {
    /// Returns what the point behind its sending is called; the daemon does not ask the others.
    fn point(&self) -> Option<&'static str> {
        Some(match self {
            Self::Hello { .. } => "hello",
            Self::Spawn(_) => "spawn",
            Self::Ack { .. } => "ack",
            Self::Adopt(_) => "adopt",
            Self::Store { .. } => "store",
            Self::Drop { .. } => "drop",
            Self::DropPrefix { .. } => "drop_prefix",
            Self::Inventory => "inventory",
            Self::Upgrade { .. } => "upgrade",
            Self::Shutdown => "shutdown",
            Self::Fetch { .. } | Self::Orphans => return None,
        })
    }
}

/// A process that an earlier keeper has started.
#[derive(Debug, Clone, Copy)]
pub struct Adopted<'a> {
    /// As in [`SpawnRequest`].
    pub key: &'a str,
    /// As in [`SpawnRequest`].
    pub note: &'a [u8],
    /// Its pid.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: BorrowedFd<'a>,
    /// When it was started.
    pub started_at_micros: u64,
}

/// A program to start.
#[derive(Debug)]
pub struct SpawnRequest<'a> {
    /// What the child is known by, at most [`KEY_MAX`] bytes; one child at a time has it.
    pub key: &'a str,
    /// The daemon's own words about the child, given back in the inventory; at most [`NOTE_MAX`] bytes.
    pub note: &'a [u8],
    /// The program; without a slash it is looked for on the `PATH` of `env`.
    pub program: &'a OsStr,
    /// Its arguments, without the program's own name.
    pub args: &'a [OsString],
    /// Its whole environment, as `NAME=value`.
    pub env: &'a [OsString],
    /// Its working directory.
    pub cwd: &'a Path,
    /// Descriptors with the number each has in the child. Without 0, 1 or 2 the child has `/dev/null` there; it has no others.
    pub inherit: Vec<(BorrowedFd<'a>, i32)>,
    /// Descriptors that are stored, if and only if the program starts.
    pub keep: Vec<(&'a str, BorrowedFd<'a>)>,
    /// Whether to add `LISTEN_PID`, the child's own pid, to its environment.
    pub listen_pid: bool,
    /// The user and group to run as; supplementary groups are looked up on this side.
    pub user: Option<(u32, u32)>,
    /// The file mode mask; the keeper's own if none.
    pub umask: Option<u32>,
    /// The soft limit of open files; the one the keeper was started with if none.
    pub nofile: Option<u64>,
    /// By what its descendants are known, whatever they do to themselves: see [`rpm_sys::limit`].
    pub mark: Option<u64>,
    /// What the program sees as its own name; `program` if none.
    pub argv0: Option<&'a OsStr>,
    /// The `cgroup.procs` of the control group that the child is to be in, open for writing.
    pub cgroup: Option<BorrowedFd<'a>>,
}

impl<'a> SpawnRequest<'a> {
    /// Describes a program without arguments, environment or descriptors, in `/`.
    pub fn new(key: &'a str, program: &'a OsStr) -> Self {
        Self {
            key,
            note: &[],
            program,
            args: &[],
            env: &[],
            cwd: Path::new("/"),
            inherit: Vec::new(),
            keep: Vec::new(),
            listen_pid: false,
            user: None,
            umask: None,
            nofile: None,
            mark: None,
            argv0: None,
            cgroup: None,
        }
    }

    fn check(&self) -> io::Result<()> {
        within("a key", self.key, KEY_MAX)?;
        if self.note.len() > NOTE_MAX {
            return Err(too_long("a note", self.note.len(), NOTE_MAX));
        }
        self.keep.iter().try_for_each(|(name, _)| within("a name", name, NAME_MAX).map(drop))
    }

    fn write(&self, packet: &mut wire::Packet, fds: &mut Vec<BorrowedFd<'a>>) -> io::Result<()> {
        packet.bytes(tag::KEY, self.key.as_bytes()).bytes(tag::NOTE, self.note);
        packet.bytes(tag::PROGRAM, self.program.as_bytes()).bytes(tag::CWD, self.cwd.as_os_str().as_bytes());
        for arg in self.args {
            packet.bytes(tag::ARG, arg.as_bytes());
        }
        for variable in self.env {
            packet.bytes(tag::ENV, variable.as_bytes());
        }
        for (fd, target) in &self.inherit {
            packet.i32(tag::INHERIT, *target);
            fds.push(*fd);
        }
        for (name, fd) in &self.keep {
            packet.bytes(tag::KEEP, name.as_bytes());
            fds.push(*fd);
        }
        if let Some(cgroup) = self.cgroup {
            packet.flag(tag::CGROUP);
            fds.push(cgroup);
        }
        if self.listen_pid {
            packet.flag(tag::LISTEN_PID);
        }
        if let Some((uid, gid)) = self.user {
            let user = Credentials::of(uid, gid)?;
            let ids = [user.uid, user.gid].into_iter().chain(user.groups);
            packet.numbers(tag::USER, ids.map(u32::to_le_bytes));
        }
        if let Some(umask) = self.umask {
            packet.u32(tag::UMASK, umask);
        }
        if let Some(nofile) = self.nofile {
            packet.u64(tag::NOFILE, nofile);
        }
        if let Some(mark) = self.mark {
            packet.u64(tag::MARK, mark);
        }
        if let Some(argv0) = self.argv0 {
            packet.bytes(tag::ARGV0, argv0.as_bytes());
        }
        Ok(())
    }
}

/// Lets pass that nobody is there any more.
fn unless_gone(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected => Ok(()),
        _ => Err(error),
    }
}

fn within<'a>(what: &str, text: &'a str, max: usize) -> io::Result<&'a [u8]> {
    if text.len() > max { Err(too_long(what, text.len(), max)) } else { Ok(text.as_bytes()) }
}

fn too_long(what: &str, found: usize, max: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{what} has at most {max} bytes, not {found}"))
}

fn invalid(malformed: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, malformed)
}
