//! Adding and removing files from another thread.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use super::Begin;

pub(super) enum Command<L> {
    Add(L, PathBuf, Begin),
    AddPipe(L, OwnedFd),
    Remove(L),
    Close,
}

/// Adds and removes files while another thread waits in [`Follower::next`](super::Follower::next).
#[derive(Debug)]
pub struct FollowerHandle<L> {
    pub(super) commands: mpsc::Sender<Command<L>>,
    pub(super) wake: Arc<OwnedFd>,
}

impl<L> Clone for FollowerHandle<L> {
    fn clone(&self) -> Self {
        Self { commands: self.commands.clone(), wake: self.wake.clone() }
    }
}

impl<L> FollowerHandle<L> {
    /// Follows a file, from its place at the time the follower learns of it. A label may stand for several files, and a file may have several labels.
    pub fn add(&self, label: L, path: impl Into<PathBuf>, begin: Begin) {
        self.tell(Command::Add(label, path.into(), begin));
    }

    /// Reads a pipe that never ends ([`console_reader`](crate::console_reader)), until the follower is closed.
    pub fn add_pipe(&self, label: L, pipe: OwnedFd) {
        self.tell(Command::AddPipe(label, pipe));
    }

    /// Stops following all files of a label.
    pub fn remove(&self, label: L) {
        self.tell(Command::Remove(label));
    }

    /// Makes [`Follower::next`](super::Follower::next) return `None` once what was read is given out.
    pub fn close(&self) {
        self.tell(Command::Close);
    }

    fn tell(&self, command: Command<L>) {
        // A follower that is gone follows nothing.
        if self.commands.send(command).is_ok() {
            let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
        }
    }
}
