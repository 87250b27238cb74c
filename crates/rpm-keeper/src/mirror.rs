//! What the keeper has, as the daemon knows it: the copy from which a killed keeper's successor gets everything.
//!
//! It follows what is asked and what is told. Each descriptor is held twice, here and in the keeper, and let go of here
//! when the keeper is asked to, so the keeper stays the last to hold it. A descriptor that cannot be duplicated (too many
//! open files) is missing here, and lost if the keeper is killed just then.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rpm_sys::fd;

use crate::client::{Exit, Message, Request};
use crate::link::Link;
use crate::wire::{self, op, tag};

/// The copy.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    held: BTreeMap<String, OwnedFd>,
    children: BTreeMap<String, Known>,
    /// Starts that were asked for and not answered.
    pending: BTreeMap<String, Pending>,
    /// The soft limit of open files that the keeper was started with.
    pub(crate) nofile: Option<u64>,
}

/// A child of the keeper.
#[derive(Debug)]
struct Known {
    note: Vec<u8>,
    pid: i32,
    started_at: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Alive(OwnedFd),
    /// Told, and not yet acknowledged.
    Exited(Exit),
}

/// A start as it was asked for, to be asked for again.
#[derive(Debug)]
struct Pending {
    packet: Box<[u8]>,
    fds: Vec<OwnedFd>,
    note: Vec<u8>,
    /// Which of the descriptors are to be held, and their names: the last ones, in this order. Nothing for those that were
    /// dropped before the answer came.
    keep: Vec<Option<String>>,
}

impl Mirror {
    /// Takes note of a request, as it is about to be sent.
    pub(crate) fn asked(&mut self, request: &Request<'_>, packet: &[u8], fds: &[BorrowedFd<'_>]) {
        match request {
            Request::Spawn(spawn) => {
                let Ok(fds) = fds.iter().map(fd::dup).collect::<Result<Vec<_>, _>>() else { return };
                let keep = spawn.keep.iter().map(|(name, _)| Some((*name).to_owned())).collect();
                let pending = Pending { packet: packet.into(), fds, note: spawn.note.to_vec(), keep };
                self.pending.insert(spawn.key.to_owned(), pending);
            }
            Request::Adopt(adopted) => {
                if let Ok(pidfd) = fd::dup(adopted.pidfd) {
                    let known = Known {
                        note: adopted.note.to_vec(),
                        pid: adopted.pid,
                        started_at: adopted.started_at_micros,
                        state: State::Alive(pidfd),
                    };
                    self.children.insert(adopted.key.to_owned(), known);
                }
            }
            Request::Ack { key } => {
                if self.children.get(*key).is_some_and(|known| matches!(known.state, State::Exited(_))) {
                    self.children.remove(*key);
                }
            }
            Request::Store { name, fd } => self.hold(name, *fd),
            Request::Drop { name } => self.let_go(|held| held == *name),
            Request::DropPrefix { prefix } => self.let_go(|held| held.starts_with(*prefix)),
            Request::Hello { .. }
            | Request::Fetch { .. }
            | Request::Inventory
            | Request::Orphans
            | Request::Upgrade { .. }
            | Request::Shutdown => {}
        }
    }

    /// Takes note of what the keeper tells.
    pub(crate) fn told(&mut self, message: &Message) {
        match message {
            Message::Spawned { key, pid, pidfd, at_micros } => self.spawned(key, *pid, pidfd.as_fd(), *at_micros),
            Message::SpawnFailed { key, .. } => {
                self.pending.remove(key);
            }
            // What was refused is not there. Keys and names do not look alike.
            Message::Error { about, .. } => {
                self.pending.remove(about);
                self.held.remove(about);
            }
            Message::Exited { key, exit, at_micros, utime_micros, stime_micros, maxrss_bytes, .. } => {
                if let Some(known) = self.children.get_mut(key) {
                    known.state = State::Exited(Exit {
                        exit: *exit,
                        at_micros: *at_micros,
                        utime_micros: *utime_micros,
                        stime_micros: *stime_micros,
                        maxrss_bytes: *maxrss_bytes,
                    });
                }
            }
            Message::Child { key, note, pid, pidfd, started_at_micros, exit } => {
                let alive = pidfd.as_ref().and_then(|pidfd| fd::dup(pidfd).ok()).map(State::Alive);
                if let Some(state) = exit.map(State::Exited).or(alive) {
                    let known = Known { note: note.clone(), pid: *pid, started_at: *started_at_micros, state };
                    self.children.insert(key.clone(), known);
                }
            }
            Message::Held { name, fd } => self.hold(name, fd.as_fd()),
            Message::Hello { .. } | Message::InventoryEnd | Message::Orphans { .. } | Message::Fd { .. } => {}
        }
    }

    pub(crate) fn spawned(&mut self, key: &str, pid: i32, pidfd: BorrowedFd<'_>, started_at: u64) {
        let Some(pending) = self.pending.remove(key) else { return };
        let Pending { mut fds, note, keep, .. } = pending;
        let kept = fds.split_off(fds.len() - keep.len());
        self.held.extend(keep.into_iter().zip(kept).filter_map(|(name, fd)| Some((name?, fd))));
        if let Ok(pidfd) = fd::dup(pidfd) {
            self.children.insert(key.to_owned(), Known { note, pid, started_at, state: State::Alive(pidfd) });
        }
    }

    pub(crate) fn held<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.held
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .map(|(name, _)| &**name)
            .take_while(move |name| name.starts_with(prefix))
    }

    pub(crate) fn unanswered(&self) -> impl Iterator<Item = &str> {
        self.pending.keys().map(String::as_str)
    }

    /// Tells everything to a new keeper: descriptors first, so that no process is there without its own.
    pub(crate) fn tell(&self, link: &mut Link) -> io::Result<()> {
        link.packet.begin(op::HELLO).u16(tag::VERSION, wire::VERSION);
        link.send(&[])?;
        for (name, fd) in &self.held {
            link.packet.begin(op::STORE).bytes(tag::NAME, name.as_bytes());
            link.send(&[fd.as_fd()])?;
        }
        for (key, known) in &self.children {
            link.packet
                .begin(op::ADOPT)
                .bytes(tag::KEY, key.as_bytes())
                .bytes(tag::NOTE, &known.note)
                .i32(tag::PID, known.pid)
                .u64(tag::STARTED_AT, known.started_at);
            match &known.state {
                State::Alive(pidfd) => link.send(&[pidfd.as_fd()])?,
                State::Exited(exit) => {
                    exit.write(&mut link.packet);
                    link.send(&[])?;
                }
            }
        }
        for pending in self.pending.values() {
            let fds: Vec<BorrowedFd<'_>> = pending.fds.iter().map(AsFd::as_fd).collect();
            link.packet.again(&pending.packet);
            link.send(&fds)?;
        }
        Ok(())
    }

    fn let_go(&mut self, is_meant: impl Fn(&str) -> bool) {
        self.held.retain(|name, _| !is_meant(name));
        for name in self.pending.values_mut().flat_map(|pending| &mut pending.keep) {
            name.take_if(|name| is_meant(name));
        }
    }

    fn hold(&mut self, name: &str, fd: BorrowedFd<'_>) {
        match fd::dup(fd) {
            Ok(fd) => self.held.insert(name.to_owned(), fd),
            Err(_) => self.held.remove(name),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::client::SpawnRequest;

    #[test]
    fn what_was_dropped_before_the_answer_came_is_not_held() {
        let mut mirror = Mirror::default();
        let fd = fd::null().unwrap();
        let mut spawn = SpawnRequest::new("1.0", OsStr::new("x"));
        spawn.inherit = vec![(fd.as_fd(), 0)];
        spawn.keep =
            ["ipc/1.0", "log/1.0/out/pipe", "log/1.0/out/staging", "input/1.0"].map(|name| (name, fd.as_fd())).into();
        mirror.asked(&Request::Spawn(spawn), b"packet", &[fd.as_fd(); 5]);
        mirror.asked(&Request::Drop { name: "ipc/1.0" }, &[], &[]);
        mirror.asked(&Request::DropPrefix { prefix: "log/1.0/" }, &[], &[]);
        assert_eq!(mirror.unanswered().collect::<Vec<_>>(), ["1.0"]);
        mirror.spawned("1.0", 7, fd.as_fd(), 1);
        assert_eq!(mirror.held("").collect::<Vec<_>>(), ["input/1.0"]);
        assert_eq!(mirror.unanswered().count(), 0);
        // A second answer, as after a look for it, changes nothing.
        mirror.spawned("1.0", 8, fd.as_fd(), 1);
        assert_eq!(mirror.children["1.0"].pid, 7);
    }

    #[test]
    fn only_an_exit_is_acknowledged() {
        let mut mirror = Mirror::default();
        let child = |exit| Message::Child {
            key: "1.0".into(),
            note: Vec::new(),
            pid: 7,
            pidfd: Some(fd::null().unwrap()),
            started_at_micros: 1,
            exit,
        };
        mirror.told(&child(None));
        mirror.asked(&Request::Ack { key: "1.0" }, &[], &[]);
        assert_eq!(mirror.children.len(), 1);
        mirror.told(&child(Some(Exit::unknown(5))));
        mirror.asked(&Request::Ack { key: "1.0" }, &[], &[]);
        assert!(mirror.children.is_empty());
    }

    #[test]
    fn what_the_keeper_refused_is_not_handed_over() {
        let mut mirror = Mirror::default();
        let fd = fd::null().unwrap();
        mirror.asked(&Request::Store { name: "clients", fd: fd.as_fd() }, &[], &[fd.as_fd()]);
        mirror.asked(&Request::Spawn(SpawnRequest::new("1.0", OsStr::new("x"))), &[], &[]);
        for about in ["clients", "1.0"] {
            mirror.told(&Message::Error { about: about.into(), text: "full".into() });
        }
        assert_eq!((mirror.held("").count(), mirror.unanswered().count()), (0, 0));
    }
}
