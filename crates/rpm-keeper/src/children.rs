//! The programs that were started on request, alive or with an exit that nobody has acknowledged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rpm_sys::poll::{Interest, wait_all};
use rpm_sys::reap::{Reaped, Status};

use crate::client::{Exit, ExitStatus};

/// How many children there may be, exits that wait included: as many as Linux has pids by default.
pub(crate) const CHILDREN_MAX: usize = 32_768;

/// The table of children, by key.
#[derive(Debug, Default)]
pub(crate) struct Children {
    by_key: BTreeMap<Box<str>, Child>,
    key_of: BTreeMap<i32, Box<str>>,
    /// Those that live and are not our own. Not known by pid: whoever reaps them frees it before we know.
    adopted: BTreeSet<Box<str>>,
    /// Exits that this daemon has not been told of, oldest first.
    untold: VecDeque<Box<str>>,
}

/// One child.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) note: Box<[u8]>,
    pub(crate) pid: i32,
    pub(crate) started_at: u64,
    pub(crate) state: State,
}

/// Whether a child lives.
#[derive(Debug)]
pub(crate) enum State {
    /// It is our own: its exit is reaped.
    Alive(OwnedFd),
    /// An earlier keeper has started it: only its pidfd tells when it is gone, and nothing tells how.
    Adopted(OwnedFd),
    Exited(Exit),
}

/// Why a key cannot be given to a new child.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Taken {
    #[error("the child with this key is alive, as process {0}")]
    Alive(i32),
    #[error("there are {CHILDREN_MAX} children already, exits that wait for Ack included")]
    Full,
}

impl Children {
    /// Returns whether a child may be started under this key. An exit under the same key gives way to it.
    pub(crate) fn admits(&self, key: &str) -> Result<(), Taken> {
        match self.by_key.get(key) {
            Some(Child { pid, state: State::Alive(_) | State::Adopted(_), .. }) => Err(Taken::Alive(*pid)),
            Some(Child { state: State::Exited(_), .. }) => Ok(()),
            None if self.by_key.len() >= CHILDREN_MAX => Err(Taken::Full),
            None => Ok(()),
        }
    }

    pub(crate) fn add(&mut self, key: &str, child: Child) {
        match child.state {
            State::Alive(_) => {
                self.key_of.insert(child.pid, key.into());
            }
            State::Adopted(_) => {
                self.adopted.insert(key.into());
            }
            State::Exited(_) => self.untold.push_back(key.into()),
        }
        self.by_key.insert(key.into(), child);
    }

    /// Writes down an exit; returns whether it was one of ours.
    pub(crate) fn exited(&mut self, reaped: &Reaped, at_micros: u64) -> bool {
        let Some(key) = self.key_of.remove(&reaped.pid) else { return false };
        let child = self.by_key.get_mut(&key).expect("a living child is in the table");
        child.state = State::Exited(Exit {
            exit: match reaped.status {
                Status::Code(code) => ExitStatus::Code(code),
                Status::Signal { signal, core } => ExitStatus::Signal { signal, core },
            },
            at_micros,
            utime_micros: micros(reaped.utime),
            stime_micros: micros(reaped.stime),
            maxrss_bytes: reaped.maxrss,
        });
        self.untold.push_back(key);
        true
    }

    /// Takes in what the daemon knows of a process that an earlier keeper has started.
    pub(crate) fn adopt(&mut self, key: &str, child: Child) {
        let told = matches!(child.state, State::Exited(_));
        self.add(key, child);
        if told {
            self.untold.retain(|untold| **untold != *key);
        }
    }

    /// Returns the pidfds of those whose exit is not reaped by us.
    pub(crate) fn adopted(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.adopted.iter().filter_map(|key| self.by_key.get(key)?.pidfd())
    }

    /// Writes down which of those have ended.
    pub(crate) fn look_at_adopted(&mut self, at_micros: u64) {
        if self.adopted.is_empty() {
            return;
        }
        let interests: Vec<Interest<'_>> = self.adopted().map(|fd| Interest { fd, read: true, write: false }).collect();
        // Out of memory, at worst: the next turn looks again.
        let Ok(ready) = wait_all(&interests, Some(Duration::ZERO)) else { return };
        let ended: Vec<Box<str>> =
            self.adopted.iter().zip(ready).filter(|(_, ready)| ready.read).map(|(key, _)| key.clone()).collect();
        for key in ended {
            self.adopted.remove(&key);
            let child = self.by_key.get_mut(&key).expect("a living child is in the table");
            child.state = State::Exited(Exit::unknown(at_micros));
            self.untold.push_back(key);
        }
    }

    /// Forgets a child that has exited; a living one stays.
    pub(crate) fn acknowledge(&mut self, key: &str) -> Result<(), Taken> {
        match self.by_key.get(key) {
            Some(Child { pid, state: State::Alive(_) | State::Adopted(_), .. }) => return Err(Taken::Alive(*pid)),
            Some(Child { state: State::Exited(_), .. }) => {
                self.by_key.remove(key);
            }
            None => {}
        }
        Ok(())
    }

    /// Takes the oldest exit that this daemon has not been told of.
    pub(crate) fn next_untold(&mut self) -> Option<(Box<str>, i32, Exit)> {
        while let Some(key) = self.untold.pop_front() {
            // Acknowledged meanwhile, or its key is in use again: nothing to tell.
            if let Some(Child { pid, state: State::Exited(exit), .. }) = self.by_key.get(&key) {
                return Some((key, *pid, *exit));
            }
        }
        None
    }

    /// Forgets what has been told: a new daemon learns of earlier exits from its inventory.
    pub(crate) fn begin_telling(&mut self) {
        self.untold.clear();
    }

    /// Returns the first child whose key comes after `key`.
    pub(crate) fn after(&self, key: Option<&str>) -> Option<(&str, &Child)> {
        let start = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_key.range::<str, _>((start, Bound::Unbounded)).next().map(|(key, child)| (&**key, child))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Child)> {
        self.by_key.iter().map(|(key, child)| (&**key, child))
    }

    pub(crate) fn is_alive(&self, pid: i32) -> bool {
        self.key_of.contains_key(&pid)
    }

    pub(crate) fn alive(&self) -> usize {
        self.key_of.len() + self.adopted.len()
    }
}

impl Child {
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Alive(pidfd) | State::Adopted(pidfd) => Some(pidfd.as_fd()),
            State::Exited(_) => None,
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(pid: i32) -> Child {
        let pidfd = rpm_sys::fd::null().unwrap();
        Child { note: Box::default(), pid, started_at: 1, state: State::Alive(pidfd) }
    }

    fn end(pid: i32) -> Reaped {
        Reaped { pid, status: Status::Code(3), utime: Duration::ZERO, stime: Duration::ZERO, maxrss: 0 }
    }

    #[test]
    fn an_exit_is_kept_until_it_is_acknowledged() {
        let mut children = Children::default();
        children.add("api", alive(10));
        assert_eq!(children.admits("api"), Err(Taken::Alive(10)));
        assert_eq!(children.acknowledge("api"), Err(Taken::Alive(10)));
        assert!(!children.exited(&end(11), 5), "a stranger's exit is nobody's");
        assert!(children.exited(&end(10), 5));
        let (key, pid, exit) = children.next_untold().unwrap();
        assert_eq!((&*key, pid, exit.exit, exit.at_micros), ("api", 10, ExitStatus::Code(3), 5));
        assert!(children.next_untold().is_none());
        assert_eq!(children.iter().count(), 1);
        children.acknowledge("api").unwrap();
        children.acknowledge("api").unwrap();
        assert_eq!(children.iter().count(), 0);
    }

    #[test]
    fn a_new_child_takes_the_key_of_one_that_has_exited() {
        let mut children = Children::default();
        children.add("api", alive(10));
        children.exited(&end(10), 5);
        assert_eq!(children.admits("api"), Ok(()));
        children.add("api", alive(12));
        assert!(children.next_untold().is_none());
        assert!(children.is_alive(12) && !children.is_alive(10));
        assert!(children.exited(&end(12), 6));
        assert_eq!(children.next_untold().unwrap().1, 12);
    }
}
