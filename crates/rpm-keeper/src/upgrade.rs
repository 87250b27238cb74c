//! Becoming a new program in place: same pid, same children, same descriptors, same connection.
//!
//! Everything the keeper knows is written into a memory file, every descriptor it holds is made to survive execve, and
//! the new program reads the file named by `RPM_KEEPER_STATE_FD`. Signals stay blocked throughout, so an exit that
//! happens in between waits as a zombie and as a pending SIGCHLD. When execve fails, nothing has happened.
//!
//! The file is a sequence of packets as in `wire`, each behind its length; descriptors are told by number. So an older
//! and a newer keeper understand each other for the same reasons as the daemon does.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use rpm_sys::fail;
use rpm_sys::fd::{self, Lock, number, set_cloexec};
use rpm_sys::pidfd::Pidfd;
use rpm_sys::spawn::execute;

use crate::children::{Child, State};
use crate::daemon::{Connection, Process, joined};
use crate::handover::HANDOVER_VAR;
use crate::message::Told;
use crate::run::serve::{greet_again, write_child};
use crate::run::{Keeper, KeeperError};
use crate::wire::{self, Fields, Malformed, Packet, tag};

/// The environment variable that tells a keeper which descriptor holds the state it takes over.
pub(crate) const STATE_FD_VAR: &str = "RPM_KEEPER_STATE_FD";

/// The largest state: the most children with the longest notes, the most descriptors with the longest names.
const STATE_MAX: usize = 256 * 1024 * 1024;

/// Records of the state that are no messages; their numbers are only used here.
mod record {
    pub(super) const KEEPER: u16 = 0x4001;
    pub(super) const DAEMON: u16 = 0x4002;
    pub(super) const HELD: u16 = crate::wire::op::HELD;
    pub(super) const CHILD: u16 = crate::wire::op::CHILD;
}

/// Fields that only the state has.
mod field {
    pub(super) const FD: u16 = 0x4001;
    pub(super) const LINK_FD: u16 = 0x4002;
    pub(super) const PROVEN: u16 = 0x4003;
    pub(super) const TERMINATING: u16 = 0x4004;
    pub(super) const LEAVES: u16 = 0x4005;
    pub(super) const GREETED: u16 = 0x4006;
    /// Not our own child: a process of an earlier keeper, or the daemon that has started us.
    pub(super) const ADOPTED: u16 = 0x4007;
}

/// Executes the new program; returns only when that fails, with the reason.
pub(crate) fn become_program(keeper: &Keeper, connection: &Connection, binary: &Path) -> String {
    fail::pass("upgrade", "begun");
    let state = match fd::sealed_memory_file("rpm-keeper-state", &write(keeper, connection)) {
        Ok(state) => state,
        Err(error) => return format!("its state could not be written down: {error}"),
    };
    fail::pass("upgrade", "written");
    let kept = || survivors(keeper, connection).chain([state.as_fd()]);
    let marked = kept().try_for_each(|fd| set_cloexec(fd, false));
    let failure = match marked {
        Ok(()) => {
            fail::pass("upgrade", "marked");
            let argv: Vec<OsString> = std::env::args_os().collect();
            let argv: Vec<&OsStr> = argv.iter().map(OsString::as_os_str).collect();
            let env: Vec<OsString> = std::env::vars_os()
                // The launcher's pipe is closed by now, and its number may be another descriptor's.
                .filter(|(name, _)| [STATE_FD_VAR, HANDOVER_VAR, crate::READY_FD_VAR].iter().all(|own| name != own))
                .map(|(name, value)| joined(&name, &value))
                .chain([format!("{STATE_FD_VAR}={}", number(&state)).into()])
                .collect();
            let env: Vec<&OsStr> = env.iter().map(OsString::as_os_str).collect();
            format!("could not execute {}: {}", binary.display(), execute(binary, &argv, &env))
        }
        Err(error) => error.to_string(),
    };
    for fd in kept() {
        let _marked_again = set_cloexec(fd, true);
    }
    failure
}

fn survivors<'a>(keeper: &'a Keeper, connection: &'a Connection) -> impl Iterator<Item = BorrowedFd<'a>> {
    [keeper.lock.as_fd(), connection.link.as_fd()]
        .into_iter()
        .chain(keeper.daemon.process.iter().map(|process| process.pidfd.as_fd()))
        .chain(keeper.children.iter().filter_map(|(_, child)| child.pidfd()))
        .chain(keeper.store.iter().map(|(_, fd)| fd))
}

fn write(keeper: &Keeper, connection: &Connection) -> Vec<u8> {
    let mut state = Vec::new();
    let mut packet = Packet::default();

    packet.begin(record::KEEPER).i32(field::FD, number(&keeper.lock));
    if let Some(nofile) = keeper.nofile {
        packet.u64(tag::NOFILE, nofile);
    }
    for (set, flag) in [
        (keeper.proven, field::PROVEN),
        (keeper.terminating, field::TERMINATING),
        (keeper.daemon.leaves, field::LEAVES),
    ] {
        if set {
            packet.flag(flag);
        }
    }
    add(&mut state, &packet);

    packet.begin(record::DAEMON).i32(field::LINK_FD, number(&connection.link));
    if let Some(Process { pid, pidfd, started_at, adopted }) = &keeper.daemon.process {
        packet.i32(tag::PID, *pid).i32(field::FD, number(pidfd)).u64(tag::STARTED_AT, *started_at);
        if *adopted {
            packet.flag(field::ADOPTED);
        }
    }
    if connection.greeted {
        packet.flag(field::GREETED);
    }
    add(&mut state, &packet);

    for (key, child) in keeper.children.iter() {
        write_child(&mut packet, key, child);
        if let Some(pidfd) = child.pidfd() {
            packet.i32(field::FD, number(pidfd));
        }
        if let State::Adopted(_) = child.state {
            packet.flag(field::ADOPTED);
        }
        add(&mut state, &packet);
    }
    for (name, held) in keeper.store.iter() {
        packet.begin(record::HELD).bytes(tag::NAME, name.as_bytes()).i32(field::FD, number(held));
        add(&mut state, &packet);
    }
    state
}

fn add(state: &mut Vec<u8>, packet: &Packet) {
    let length = u32::try_from(packet.as_slice().len()).expect("a record is a key and a note long");
    state.extend_from_slice(&length.to_le_bytes());
    state.extend_from_slice(packet.as_slice());
}

/// Returns the state that this program is to take over, if it was executed by a keeper.
pub(crate) fn inherited_state() -> Result<Option<OwnedFd>, KeeperError> {
    let Some(value) = std::env::var_os(STATE_FD_VAR) else { return Ok(None) };
    let number = value.to_str().and_then(|text| text.parse().ok());
    let number = number.ok_or_else(|| KeeperError::Resume(format!("{STATE_FD_VAR} is {value:?}, not a number")))?;
    Ok(Some(fd::take_inherited(number)?))
}

/// Reads the state back. `make` builds a keeper that knows nothing yet.
pub(crate) fn restore(state: OwnedFd, make: impl FnOnce(Lock, Option<u64>) -> Keeper) -> Result<Keeper, KeeperError> {
    let bytes = fd::read_sealed(&state, STATE_MAX)?;
    drop(state);
    let mut records = Records(&bytes);
    let resume = |error: Malformed| KeeperError::Resume(error.to_string());

    let first = records.next().ok_or(KeeperError::Resume("the state is empty".to_owned()))?;
    let (kind, extra, _) = first.and_then(read_record).map_err(resume)?;
    let (record::KEEPER, Some(lock)) = (kind, extra.fd) else {
        return Err(KeeperError::Resume("the state does not begin with the keeper".to_owned()));
    };
    let mut keeper = make(Lock::from(fd::take_inherited(lock)?), extra.nofile);
    keeper.proven = extra.proven;
    keeper.terminating = extra.terminating;
    keeper.daemon.leaves = extra.leaves;

    for record in records {
        let (kind, extra, told) = record.and_then(read_record).map_err(resume)?;
        take(&mut keeper, kind, extra, told)?;
    }
    if let Some(connection) = &mut keeper.daemon.connection {
        greet_again(&mut connection.link, keeper.nofile);
    }
    Ok(keeper)
}

fn take(keeper: &mut Keeper, kind: u16, extra: Extra, told: Told) -> Result<(), KeeperError> {
    let owned = extra.fd.map(fd::take_inherited).transpose()?;
    match kind {
        record::DAEMON => {
            let link = extra.link_fd.map(fd::take_inherited).transpose()?;
            let connection = link.map(Connection::new).transpose()?.map(|mut connection| {
                connection.greeted = extra.greeted;
                connection
            });
            let process = match (told.pid, owned) {
                (Some(pid), Some(pidfd)) => {
                    let pidfd = Pidfd::from_fd(pidfd);
                    Some(Process { pid, pidfd, started_at: told.started_at, adopted: extra.adopted })
                }
                _ => None,
            };
            keeper.daemon.resume(process, connection);
        }
        record::CHILD => {
            let exit = told.exit();
            let (Some(key), Some(pid)) = (told.key, told.pid) else {
                return Err(KeeperError::Resume("a child without a key or a pid".to_owned()));
            };
            let state = match (exit, owned) {
                (Some(exit), _) => State::Exited(exit),
                (None, Some(pidfd)) if extra.adopted => State::Adopted(pidfd),
                (None, Some(pidfd)) => State::Alive(pidfd),
                (None, None) => return Err(KeeperError::Resume(format!("the living child {key} has no pidfd"))),
            };
            keeper.children.add(&key, Child { note: told.note.into(), pid, started_at: told.started_at, state });
        }
        record::HELD => {
            let (Some(name), Some(held)) = (told.name, owned) else {
                return Err(KeeperError::Resume("a held descriptor without a name or a number".to_owned()));
            };
            keeper.store.put(&name, held);
        }
        // From a keeper that knew more than this one; what it held under an unknown record is closed.
        _ => {}
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Extra {
    fd: Option<RawFd>,
    link_fd: Option<RawFd>,
    nofile: Option<u64>,
    proven: bool,
    terminating: bool,
    leaves: bool,
    greeted: bool,
    adopted: bool,
}

fn read_record(packet: &[u8]) -> Result<(u16, Extra, Told), Malformed> {
    let (_, kind, fields) = wire::head(packet)?;
    Ok((kind, Extra::read(fields)?, Told::read(fields)?))
}

impl Extra {
    fn read(fields: Fields<'_>) -> Result<Self, Malformed> {
        let mut extra = Self::default();
        for one in fields {
            let one = one?;
            match one.tag {
                field::FD => extra.fd = Some(one.i32()?),
                field::LINK_FD => extra.link_fd = Some(one.i32()?),
                field::PROVEN => extra.proven = true,
                field::TERMINATING => extra.terminating = true,
                field::LEAVES => extra.leaves = true,
                field::GREETED => extra.greeted = true,
                field::ADOPTED => extra.adopted = true,
                tag::NOFILE => extra.nofile = Some(one.u64()?),
                _ => {}
            }
        }
        Ok(extra)
    }
}

/// The packets of a state, each behind its length.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<&'a [u8], Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.0);
        let Some((length, rest)) = rest.split_first_chunk::<4>() else {
            return Some(Err(Malformed::Short(rest.len())));
        };
        let length = u32::from_le_bytes(*length) as usize;
        let Some((packet, rest)) = rest.split_at_checked(length) else {
            return Some(Err(Malformed::Overrun { tag: 0, length, left: rest.len() }));
        };
        self.0 = rest;
        Some(Ok(packet))
    }
}
