//! What the keeper tells its daemon, and how it is read.

use std::os::fd::OwnedFd;

use crate::mirror::Mirror;
use crate::wire::{self, Field, Fields, Malformed, op, tag};

/// What the keeper tells. All times are microseconds of CLOCK_BOOTTIME.
#[derive(Debug)]
pub enum Message {
    /// The keeper's answer to `Hello`.
    Hello {
        /// The version the keeper speaks.
        version: u16,
        /// The keeper's pid.
        pid: i32,
    },
    /// A program was started: it has replaced the keeper's image in the child.
    Spawned {
        /// The child's key.
        key: String,
        /// Its pid.
        pid: i32,
        /// Its pidfd.
        pidfd: OwnedFd,
        /// When it was started.
        at_micros: u64,
    },
    /// A program could not be started.
    SpawnFailed {
        /// The key it would have had.
        key: String,
        /// What failed, as a system call or a deed: `execve`, `chdir`, `find program`.
        step: String,
        /// Why.
        errno: i32,
    },
    /// A child has exited. It stays in the inventory until it is acknowledged.
    Exited {
        /// The child's key.
        key: String,
        /// Its pid.
        pid: i32,
        /// How it ended.
        exit: ExitStatus,
        /// When it was found dead.
        at_micros: u64,
        /// CPU time spent in its own code, its waited-for children included.
        utime_micros: u64,
        /// CPU time spent in the kernel, likewise.
        stime_micros: u64,
        /// The largest resident set it ever had.
        maxrss_bytes: u64,
    },
    /// One child of the inventory.
    Child {
        /// Its key.
        key: String,
        /// What was given with the spawn.
        note: Vec<u8>,
        /// Its pid.
        pid: i32,
        /// Its pidfd, while it lives.
        pidfd: Option<OwnedFd>,
        /// When it was started.
        started_at_micros: u64,
        /// Its end, until that is acknowledged.
        exit: Option<Exit>,
    },
    /// One stored descriptor of the inventory.
    Held {
        /// Its name.
        name: String,
        /// A duplicate.
        fd: OwnedFd,
    },
    /// The inventory is complete.
    InventoryEnd,
    /// The answer to `Orphans`.
    Orphans {
        /// Their pids.
        pids: Vec<i32>,
    },
    /// The answer to `Fetch`.
    Fd {
        /// The name asked for.
        name: String,
        /// A duplicate of the descriptor; `None` when nothing is stored under that name.
        fd: Option<OwnedFd>,
    },
    /// A request was refused.
    Error {
        /// The key or name the request was about, or the request's name.
        about: String,
        /// Why, for people.
        text: String,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It returned this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether a core was dumped.
        core: bool,
    },
    /// Its parent was killed before it, so nobody knows.
    Unknown,
}

/// The end of a child, as the inventory has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// How it ended.
    pub exit: ExitStatus,
    /// When it was found dead.
    pub at_micros: u64,
    /// CPU time spent in its own code, its waited-for children included.
    pub utime_micros: u64,
    /// CPU time spent in the kernel, likewise.
    pub stime_micros: u64,
    /// The largest resident set it ever had.
    pub maxrss_bytes: u64,
}

impl Exit {
    /// The end of a process that is not ours.
    pub(crate) fn unknown(at_micros: u64) -> Self {
        Self { exit: ExitStatus::Unknown, at_micros, utime_micros: 0, stime_micros: 0, maxrss_bytes: 0 }
    }

    pub(crate) fn write(&self, packet: &mut wire::Packet) {
        match self.exit {
            ExitStatus::Code(code) => packet.i32(tag::EXIT_CODE, code),
            ExitStatus::Signal { signal, core: false } => packet.i32(tag::EXIT_SIGNAL, signal),
            ExitStatus::Signal { signal, core: true } => packet.i32(tag::EXIT_SIGNAL, signal).flag(tag::CORE),
            ExitStatus::Unknown => packet.flag(tag::EXIT_UNKNOWN),
        };
        packet
            .u64(tag::AT, self.at_micros)
            .u64(tag::UTIME, self.utime_micros)
            .u64(tag::STIME, self.stime_micros)
            .u64(tag::MAXRSS, self.maxrss_bytes);
    }
}

/// The fields of a message, of which each kind uses some.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) key: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) note: Vec<u8>,
    version: u16,
    pub(crate) pid: Option<i32>,
    pids: Vec<i32>,
    at: u64,
    pub(crate) started_at: u64,
    step: String,
    errno: i32,
    code: Option<i32>,
    signal: Option<i32>,
    core: bool,
    unknown: bool,
    utime: u64,
    stime: u64,
    maxrss: u64,
    about: String,
    text: String,
    nofile: Option<u64>,
}

impl Told {
    pub(crate) fn read(fields: Fields<'_>) -> Result<Self, Malformed> {
        let mut told = Self::default();
        for field in fields {
            told.take(field?)?;
        }
        Ok(told)
    }

    fn take(&mut self, field: Field<'_>) -> Result<(), Malformed> {
        match field.tag {
            tag::KEY => self.key = Some(field.text()?.to_owned()),
            tag::NAME => self.name = Some(field.text()?.to_owned()),
            tag::NOTE => self.note = field.value.to_vec(),
            tag::VERSION => self.version = field.u16()?,
            tag::PID => self.pid = Some(field.i32()?),
            tag::PIDS => self.pids = field.quads()?.map(i32::from_le_bytes).collect(),
            tag::AT => self.at = field.u64()?,
            tag::STARTED_AT => self.started_at = field.u64()?,
            tag::STEP => self.step = field.lossy().into_owned(),
            tag::ERRNO => self.errno = field.i32()?,
            tag::EXIT_CODE => self.code = Some(field.i32()?),
            tag::EXIT_SIGNAL => self.signal = Some(field.i32()?),
            tag::CORE => self.core = true,
            tag::EXIT_UNKNOWN => self.unknown = true,
            tag::NOFILE => self.nofile = Some(field.u64()?),
            tag::UTIME => self.utime = field.u64()?,
            tag::STIME => self.stime = field.u64()?,
            tag::MAXRSS => self.maxrss = field.u64()?,
            tag::ABOUT => self.about = field.lossy().into_owned(),
            tag::TEXT => self.text = field.lossy().into_owned(),
            // From a keeper that knows more than this side does.
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        let exit = match (self.code, self.signal) {
            (Some(code), _) => ExitStatus::Code(code),
            (None, Some(signal)) => ExitStatus::Signal { signal, core: self.core },
            (None, None) if self.unknown => ExitStatus::Unknown,
            (None, None) => return None,
        };
        Some(Exit {
            exit,
            at_micros: self.at,
            utime_micros: self.utime,
            stime_micros: self.stime,
            maxrss_bytes: self.maxrss,
        })
    }

    fn key(&mut self) -> Result<String, Malformed> {
        self.key.take().ok_or(Malformed::Missing { tag: tag::KEY })
    }

    fn name(&mut self) -> Result<String, Malformed> {
        self.name.take().ok_or(Malformed::Missing { tag: tag::NAME })
    }

    fn pid(&self) -> Result<i32, Malformed> {
        self.pid.ok_or(Malformed::Missing { tag: tag::PID })
    }
}

impl Message {
    /// Returns what the point behind its arrival is called; the rest comes where something was refused, or never.
    pub(crate) fn point(&self) -> Option<&'static str> {
        Some(match self {
            Self::Hello { .. } => "hello",
            Self::Spawned { .. } => "spawned",
            Self::Exited { .. } => "exited",
            Self::Child { .. } => "child",
            Self::Held { .. } => "held",
            Self::InventoryEnd => "inventory_end",
            Self::SpawnFailed { .. } | Self::Orphans { .. } | Self::Fd { .. } | Self::Error { .. } => return None,
        })
    }

    /// Reads one packet; `None` for a kind of message that this side does not know.
    pub(crate) fn read(packet: &[u8], fds: Vec<OwnedFd>, mirror: &mut Mirror) -> Result<Option<Self>, Malformed> {
        let (_, op, fields) = wire::head(packet)?;
        let mut told = Told::read(fields)?;
        let found = fds.len();
        let mut fds = fds.into_iter();
        let mut fd = || fds.next().ok_or(Malformed::Descriptors { expected: 1, found });
        Ok(Some(match op {
            op::IS_HELLO => {
                mirror.nofile = told.nofile;
                Self::Hello { version: told.version, pid: told.pid()? }
            }
            op::SPAWNED => Self::Spawned { key: told.key()?, pid: told.pid()?, pidfd: fd()?, at_micros: told.at },
            op::SPAWN_FAILED => Self::SpawnFailed { key: told.key()?, step: told.step, errno: told.errno },
            op::EXITED => {
                let end = told.exit().ok_or(Malformed::Missing { tag: tag::EXIT_CODE })?;
                Self::Exited {
                    key: told.key()?,
                    pid: told.pid()?,
                    exit: end.exit,
                    at_micros: end.at_micros,
                    utime_micros: end.utime_micros,
                    stime_micros: end.stime_micros,
                    maxrss_bytes: end.maxrss_bytes,
                }
            }
            op::CHILD => Self::Child {
                exit: told.exit(),
                key: told.key()?,
                pid: told.pid()?,
                pidfd: fd().ok(),
                started_at_micros: told.started_at,
                note: told.note,
            },
            op::HELD => Self::Held { name: told.name()?, fd: fd()? },
            op::INVENTORY_END => Self::InventoryEnd,
            op::IS_ORPHANS => Self::Orphans { pids: told.pids },
            op::FD => Self::Fd { name: told.name()?, fd: fd().ok() },
            op::ERROR => Self::Error { about: told.about, text: told.text },
            _ => return Ok(None),
        }))
    }
}

/// What stands for a message whose descriptors could not be taken.
pub(crate) fn fds_lost(packet: &[u8]) -> Message {
    let told = wire::head(packet).and_then(|(_, _, fields)| Told::read(fields)).unwrap_or_default();
    Message::Error {
        about: told.key.or(told.name).unwrap_or_default(),
        text: "the descriptors of a message could not be taken: too many open files in this process".to_owned(),
    }
}
