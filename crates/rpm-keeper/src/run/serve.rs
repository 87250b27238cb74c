//! The daemon's requests, and what is due to it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rpm_sys::fail;
use rpm_sys::proc::{self, boot_clock_micros};
use rpm_sys::signal::SIGTERM;
use rpm_sys::spawn::Spawn;

use super::{Keeper, REQUESTS_PER_TURN};
use crate::children::{Child, State};
use crate::client::{KEY_MAX, NAME_MAX, NOTE_MAX};
use crate::daemon::{Connection, Cursor};
use crate::link::{Incoming, Link, receive};
use crate::message::{Exit, Told};
use crate::request::{SpawnFields, about, only, only_field};
use crate::upgrade;
use crate::wire::{self, Malformed, op, tag};

impl Keeper {
    /// Sends what is due and carries out requests, until nothing is there or the daemon does not read.
    pub(super) fn serve(&mut self) {
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
            mark: request.mark,
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
