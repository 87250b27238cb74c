//! New lines of many files as they come, without polling.
//!
//! Each file has an inotify watch of its own (it grew or was cut), and its directory has one (a file came by that name).
//!
//! - *Its head taken away* (our rotation): the ledger tells how much, so nothing is shown twice or left out.
//! - *Cut* (`flush`, copytruncate): a file shorter than what was read of it is read from its start.
//! - *Moved away and made anew* (logrotate, `reloadLogs`): the new file is read from its start. Its writer may go on in the old
//!   one until told to reopen, so the old one is read along until the new one has its first bytes.
//! - *Missing*: it is waited for; so is its directory, in the nearest one that exists.
//!
//! What cannot be seen: a file that was cut and has grown beyond its old length before we looked.
//!
//! Pipes are read as well, by descriptor ([`FollowerHandle::add_pipe`]).
//!
//! Rooms: `handle` (adding and removing from elsewhere), `watch` (which file has the name), `reading` (one open file), `pipes`,
//! `lines` (bytes into lines).
//!
//! Memory is bounded: files are read in blocks, and a line of more than [`LINE_MAX`] comes in pieces.

mod handle;
mod lines;
mod pipes;
mod reading;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use handle::Command;
pub use handle::FollowerHandle;
use pipes::Pipes;
use watch::Followed;

/// A longer line comes in pieces.
pub const LINE_MAX: usize = 1 << 20;

/// How long the beginning of a line waits for its end.
const UNFINISHED_FOR: Duration = Duration::from_millis(500);

/// Where to begin in a file that is there already. One that comes later is read from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// At its start.
    Start,
    /// At its end: only what is new.
    End,
    /// At this byte.
    Offset(u64),
    /// At this place, which counts what went to archives too ([`ledger`](crate::rotate::ledger)).
    Place(u64),
}

/// One line of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<L> {
    /// The file's label.
    pub label: L,
    /// The line, without its end.
    pub bytes: Vec<u8>,
}

/// Follows files; `L` is how the caller names them.
pub struct Follower<L> {
    inotify: OwnedFd,
    wake: Arc<OwnedFd>,
    commands: mpsc::Sender<Command<L>>,
    received: mpsc::Receiver<Command<L>>,
    files: BTreeMap<u64, Followed<L>>,
    last: u64,
    /// Directory watches: which files' paths are to be looked at again.
    directories: BTreeMap<i32, Vec<u64>>,
    /// Files with something to read.
    dirty: VecDeque<u64>,
    pipes: Pipes<L>,
    closed: bool,
}

impl<L: Clone + PartialEq> Follower<L> {
    /// Begins with no files.
    pub fn new() -> io::Result<Self> {
        let (commands, received) = mpsc::channel();
        Ok(Self {
            inotify: inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?,
            wake: Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?),
            commands,
            received,
            files: BTreeMap::new(),
            last: 0,
            directories: BTreeMap::new(),
            dirty: VecDeque::new(),
            pipes: Pipes::default(),
            closed: false,
        })
    }

    /// Returns what adds and removes files, also from another thread.
    pub fn handle(&self) -> FollowerHandle<L> {
        FollowerHandle { commands: self.commands.clone(), wake: self.wake.clone() }
    }

    /// Follows a file, as [`FollowerHandle::add`] does from elsewhere; here [`Begin::End`] is the end at this moment.
    pub fn add(&mut self, label: L, path: impl Into<PathBuf>, begin: Begin) {
        self.follow(label, path.into(), begin);
    }

    /// Stops following all files of a label.
    pub fn remove(&mut self, label: &L) {
        let of_label = self.files.iter().filter(|(_, file)| file.label == *label).map(|(id, _)| *id);
        for id in of_label.collect::<Vec<u64>>() {
            self.forget(id);
        }
    }

    /// Waits for the next line, or for the beginning of one whose end does not come for half a second: a question to a
    /// person, the last words of a process. `None` when the follower was closed.
    pub fn next_said(&mut self) -> io::Result<Option<Line<L>>> {
        loop {
            if let Some(come) = self.come()? {
                return Ok(come);
            }
            let Some((since, id)) =
                self.files.iter().filter_map(|(id, file)| Some((file.unfinished_since()?, *id))).min()
            else {
                self.wait(None)?;
                continue;
            };
            let left = (since + UNFINISHED_FOR).saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(self.files.get_mut(&id).and_then(Followed::take_unfinished));
            }
            self.wait(Some(left))?;
        }
    }

    /// Waits for the next line. `None` when the follower was closed.
    #[expect(clippy::should_implement_trait, reason = "it can fail, as an iterator cannot without going on")]
    pub fn next(&mut self) -> io::Result<Option<Line<L>>> {
        loop {
            if let Some(come) = self.come()? {
                return Ok(come);
            }
            self.wait(None)?;
        }
    }

    /// Returns what is to be given out without waiting, the end included.
    fn come(&mut self) -> io::Result<Option<Option<Line<L>>>> {
        let line = self.ready()?;
        Ok(if line.is_none() && self.closed { Some(self.pipes.rest()) } else { line.map(Some) })
    }

    /// The same, but gives up at `deadline` with `Ok(None)`.
    pub fn next_before(&mut self, deadline: Instant) -> io::Result<Option<Line<L>>> {
        loop {
            if let Some(line) = self.ready()? {
                return Ok(Some(line));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.closed || left.is_zero() {
                return Ok(None);
            }
            self.wait(Some(left))?;
        }
    }

    /// Returns a line if one is there, and never waits.
    pub fn ready(&mut self) -> io::Result<Option<Line<L>>> {
        loop {
            // What was read already costs no system call.
            if let Some(line) = self.buffered().or_else(|| self.pipes.buffered()) {
                return Ok(Some(line));
            }
            self.obey();
            self.notice()?;
            let piped = self.pipes.read();
            let Some(id) = self.dirty.pop_front() else {
                if piped {
                    continue;
                }
                return Ok(None);
            };
            let Some(followed) = self.files.get_mut(&id) else { continue };
            followed.queued = false;
            let (more, retired) = followed.read_block()?;
            if more {
                // In front for its lines; behind the others, when those are given out, for its next block.
                followed.queued = true;
                followed.fresh = true;
                self.dirty.push_front(id);
            }
            if let Some(watch) = retired {
                self.unwatch_file(watch);
            }
        }
    }

    /// Returns a line of the file in front, if it was read already.
    fn buffered(&mut self) -> Option<Line<L>> {
        let id = *self.dirty.front()?;
        let followed = self.files.get_mut(&id)?;
        if !followed.fresh {
            return None;
        }
        if let Some(bytes) = followed.take_line() {
            return Some(Line { label: followed.label.clone(), bytes });
        }
        followed.fresh = false;
        self.dirty.rotate_left(1);
        None
    }

    /// Returns the descriptors that are readable when [`Follower::ready`] may have a line of a file, for an event loop.
    pub fn wake_fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.inotify.as_fd(), self.wake.as_fd()]
    }

    fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let own = self.wake_fds().into_iter();
        let fds = own.chain(self.pipes.descriptors()).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let mut fds: Vec<PollFd<'_>> = fds.collect();
        let timeout =
            timeout.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn obey(&mut self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.wake, &mut count);
        while let Ok(command) = self.received.try_recv() {
            match command {
                Command::Add(label, path, begin) => self.follow(label, path, begin),
                Command::AddPipe(label, pipe) => self.pipes.add(label, pipe),
                Command::Remove(label) => self.remove(&label),
                Command::Close => self.closed = true,
            }
        }
    }

    fn follow(&mut self, label: L, path: PathBuf, begin: Begin) {
        self.last += 1;
        let id = self.last;
        let file =
            Followed { label, path, current: None, former: None, directories: Vec::new(), queued: false, fresh: false };
        self.files.insert(id, file);
        // First the directory, then the file: whatever comes in between is seen.
        self.watch_directories(id);
        self.look(id, begin);
    }

    fn forget(&mut self, id: u64) {
        let Some(file) = self.files.remove(&id) else { return };
        for reading in [file.current, file.former].into_iter().flatten() {
            self.unwatch_file(reading.watch);
        }
        self.unwatch_directories(id, file.directories);
    }
}
