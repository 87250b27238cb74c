//! Listening sockets: who has them, and which thread accepts from which.

use std::os::fd::OwnedFd;

use crate::Passed;
use crate::config::Snapshot;

/// The sockets that were passed.
pub(super) struct Listeners(Vec<Held>);

struct Held {
    passed: Passed,
    /// A thread has a duplicate already.
    in_use: bool,
}

/// A socket for one thread.
pub(super) struct Share {
    pub(super) thread: usize,
    pub(super) name: String,
    pub(super) fd: OwnedFd,
}

impl Listeners {
    pub(super) fn new(passed: Vec<Passed>) -> Self {
        Self(passed.into_iter().map(|passed| Held { passed, in_use: false }).collect())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|held| held.passed.name == name)
    }

    /// Takes more sockets; those of a name that is known already are dropped. Returns how many there were before.
    pub(super) fn add(&mut self, new: Vec<Passed>) -> usize {
        let before = self.0.len();
        let known: Vec<_> = self.0.iter().map(|held| held.passed.name.clone()).collect();
        let new = new.into_iter().filter(|passed| !known.contains(&passed.name));
        self.0.extend(new.map(|passed| Held { passed, in_use: false }));
        before
    }

    /// Forgets what came with a configuration that was refused.
    pub(super) fn forget(&mut self, before: usize) {
        self.0.truncate(before);
    }

    /// Closes sockets that nothing is for, and returns what threads have to accept from that they do not yet.
    ///
    /// Each thread has a socket of the group to itself where there are enough; else threads share one, or have several.
    pub(super) fn hand_out(&mut self, snapshot: &Snapshot, threads: usize) -> Vec<Share> {
        self.0.retain(|held| snapshot.entries.contains_key(&held.passed.name));
        let mut shares = Vec::new();
        for name in snapshot.entries.keys() {
            let group: Vec<_> = (0..self.0.len()).filter(|at| self.0[*at].passed.name == *name).collect();
            for turn in 0..group.len().max(threads) {
                let Some(&at) = group.get(turn % group.len().max(1)) else { continue };
                if self.0[at].in_use {
                    continue;
                }
                // The descriptor table is full: the thread does without, and others accept.
                let Ok(fd) = self.0[at].passed.fd.try_clone() else { continue };
                shares.push(Share { thread: turn % threads, name: name.clone(), fd });
            }
        }
        self.0.iter_mut().for_each(|held| held.in_use = true);
        shares
    }
}
