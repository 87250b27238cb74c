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
//! Memory is bounded: files are read in blocks, and a line of more than [`LINE_MAX`] comes in pieces.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use memchr::memchr;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::rotate::history;
use crate::rotate::ledger::{Header, Ledger};

/// A longer line comes in pieces.
pub const LINE_MAX: usize = 1 << 20;

/// Read of one file before the next has its turn.
const BLOCK: usize = 64 << 10;

/// A name came or went. (Adding a watch again replaces its flags, so all directories have the same.)
const DIRECTORY_NEWS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

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

enum Command<L> {
    Add(L, PathBuf, Begin),
    Remove(L),
    Close,
}

/// Adds and removes files while another thread waits in [`Follower::next`].
#[derive(Debug)]
pub struct FollowerHandle<L> {
    commands: mpsc::Sender<Command<L>>,
    wake: Arc<OwnedFd>,
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

    /// Stops following all files of a label.
    pub fn remove(&self, label: L) {
        self.tell(Command::Remove(label));
    }

    /// Makes [`Follower::next`] return `None` once what was read is given out.
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
    closed: bool,
}

#[derive(Debug)]
struct Followed<L> {
    label: L,
    path: PathBuf,
    current: Option<Reading>,
    /// The file that had the name before, until the new one has bytes.
    former: Option<Reading>,
    directories: Vec<i32>,
    /// It is among the dirty ones.
    queued: bool,
    /// A block of it was read whose lines are not given out yet.
    fresh: bool,
}

/// An open file, and how far it was read.
#[derive(Debug)]
struct Reading {
    file: File,
    watch: i32,
    identity: (u64, u64),
    offset: u64,
    /// Bytes read and not given out: lines from `start`, and one without its end.
    buffer: Vec<u8>,
    start: usize,
    /// No line's end before this.
    scanned: usize,
    moves: Moves,
}

/// What is known of a file whose head may be taken away while it is read.
struct Moves {
    log: PathBuf,
    ledger: Option<Ledger>,
    /// What the ledger said when it was waited for in vain: whoever was at it is dead, and it is not waited for again.
    stuck: Option<Header>,
    base: u64,
    /// What went to archives before it was read.
    behind: VecDeque<Box<dyn BufRead + Send>>,
}

impl std::fmt::Debug for Moves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moves").field("log", &self.log).field("base", &self.base).finish_non_exhaustive()
    }
}

impl Moves {
    fn of(log: &Path, identity: (u64, u64)) -> Self {
        let mut moves = Self { log: log.to_owned(), ledger: None, stuck: None, base: 0, behind: VecDeque::new() };
        moves.base = moves.header(identity).map_or(0, |header| header.base);
        moves
    }

    /// Returns the ledger's word on this file, when nothing is being moved.
    fn header(&mut self, identity: (u64, u64)) -> Option<Header> {
        if self.ledger.is_none() {
            self.ledger = Ledger::read(&self.log).ok().flatten();
        }
        let ledger = self.ledger.as_ref()?;
        let header = match ledger.header().ok()? {
            header if header.is_steady() || self.stuck == Some(header) => header,
            _ => history::steady(ledger).ok()?,
        };
        self.stuck = Some(header).filter(|header| !header.is_steady());
        Some(header).filter(|header| header.is_identity(identity))
    }
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

    /// Waits for the next line. `None` when the follower was closed.
    #[expect(clippy::should_implement_trait, reason = "it can fail, as an iterator cannot without going on")]
    pub fn next(&mut self) -> io::Result<Option<Line<L>>> {
        loop {
            if let Some(line) = self.ready()? {
                return Ok(Some(line));
            }
            if self.closed {
                return Ok(None);
            }
            self.wait(None)?;
        }
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
            if let Some(line) = self.buffered() {
                return Ok(Some(line));
            }
            self.obey();
            self.notice()?;
            let Some(id) = self.dirty.pop_front() else { return Ok(None) };
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

    /// Returns the descriptors that are readable when [`Follower::ready`] may have a line, for an event loop.
    pub fn wake_fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.inotify.as_fd(), self.wake.as_fd()]
    }

    fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(&*self.wake, PollFlags::IN)];
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

    /// Watches the directory of a file, or the nearest above it that exists, and the one above that: a directory does not
    /// tell of its own removal while a removed file of it is still open.
    fn watch_directories(&mut self, id: u64) {
        let Some(followed) = self.files.get_mut(&id) else { return };
        let nearest = || -> Vec<i32> {
            let directories = followed.path.ancestors().skip(1);
            let watches = directories.filter_map(|directory| {
                let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
                inotify::add_watch(&self.inotify, directory, DIRECTORY_NEWS).ok()
            });
            watches.take(2).collect()
        };
        let mut found = nearest();
        let mut passed = Vec::new();
        // A nearer one may have been made just before its parent was watched.
        loop {
            let again = nearest();
            if again == found {
                break;
            }
            passed.append(&mut found);
            found = again;
        }
        for watch in &found {
            let users = self.directories.entry(*watch).or_default();
            if !users.contains(&id) {
                users.push(id);
            }
        }
        passed.append(&mut followed.directories);
        followed.directories = found.clone();
        passed.retain(|watch| !found.contains(watch));
        self.unwatch_directories(id, passed);
    }

    fn unwatch_directories(&mut self, id: u64, watches: Vec<i32>) {
        for watch in watches {
            let users = self.directories.entry(watch).or_default();
            users.retain(|user| *user != id);
            if users.is_empty() {
                self.directories.remove(&watch);
                let _ = inotify::remove_watch(&self.inotify, watch);
            }
        }
    }

    fn unwatch_file(&mut self, watch: i32) {
        let readings = self.files.values().flat_map(|file| [&file.current, &file.former]).flatten();
        if !readings.into_iter().any(|reading| reading.watch == watch) {
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// Looks which file has the name now.
    fn look(&mut self, id: u64, begin: Begin) {
        let Some(followed) = self.files.get_mut(&id) else { return };
        let Ok(mut reading) = Reading::open(&followed.path, &self.inotify) else { return };
        if followed.current.as_ref().is_some_and(|current| current.identity == reading.identity) {
            return;
        }
        if followed.former.as_ref().is_some_and(|former| former.identity == reading.identity) {
            // Put back where it was.
            std::mem::swap(&mut followed.current, &mut followed.former);
            self.mark(id);
            return;
        }
        reading.offset = match begin {
            Begin::Start => 0,
            Begin::End => reading.length(),
            Begin::Offset(offset) => offset.min(reading.length()),
            Begin::Place(place) => reading.offset_of(place),
        };
        let retired = followed.former.take();
        followed.former = followed.current.replace(reading);
        if let Some(retired) = retired {
            self.unwatch_file(retired.watch);
        }
        self.mark(id);
    }

    fn mark(&mut self, id: u64) {
        if let Some(followed) = self.files.get_mut(&id)
            && !std::mem::replace(&mut followed.queued, true)
        {
            self.dirty.push_back(id);
        }
    }

    /// Takes in what inotify has to tell.
    fn notice(&mut self) -> io::Result<()> {
        let mut grown: Vec<i32> = Vec::new();
        let mut named: Vec<i32> = Vec::new();
        let mut overflow = false;
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut space);
        loop {
            match reader.next() {
                Ok(event) => {
                    let list = if self.directories.contains_key(&event.wd()) { &mut named } else { &mut grown };
                    if list.last() != Some(&event.wd()) {
                        list.push(event.wd());
                    }
                    overflow |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if grown.is_empty() && named.is_empty() && !overflow {
            return Ok(());
        }
        let ids: Vec<u64> = self.files.keys().copied().collect();
        for id in ids {
            let followed = &self.files[&id];
            let reads =
                |watch: &i32| [&followed.current, &followed.former].into_iter().flatten().any(|r| r.watch == *watch);
            let touched = overflow || grown.iter().any(reads);
            if overflow || followed.directories.iter().any(|watch| named.contains(watch)) {
                // The nearest directory may be a nearer one now.
                self.watch_directories(id);
                self.look(id, Begin::Start);
            }
            if touched {
                self.mark(id);
            }
        }
        Ok(())
    }
}

impl<L> Followed<L> {
    /// Returns a line that was read already; those of the former file come first.
    fn take_line(&mut self) -> Option<Vec<u8>> {
        [&mut self.former, &mut self.current].into_iter().flatten().find_map(Reading::take_line)
    }

    /// Reads on, and returns whether anything came, and the watch of a former file that is now done with.
    fn read_block(&mut self) -> io::Result<(bool, Option<i32>)> {
        let former_came = match &mut self.former {
            Some(former) => former.read_block()?,
            None => false,
        };
        if former_came {
            return Ok((true, None));
        }
        let came = match &mut self.current {
            Some(current) => current.read_block()?,
            None => false,
        };
        if came && let Some(mut former) = self.former.take() {
            // Nobody will end its last line.
            let rest = former.buffer.split_off(former.start);
            if let (false, Some(current)) = (rest.is_empty(), &mut self.current) {
                current.buffer.splice(current.start..current.start, rest.into_iter().chain([b'\n']));
                current.scanned = current.start;
            }
            return Ok((true, Some(former.watch)));
        }
        Ok((came, None))
    }
}

impl Reading {
    fn open(path: &Path, inotify: &OwnedFd) -> io::Result<Self> {
        // A pipe in place of a log would keep us waiting.
        let file = File::options().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        // Through the descriptor, so that it is this file even if another has taken the name by now.
        let own = format!("/proc/self/fd/{}", rpm_sys::fd::number(&file));
        let watch = inotify::add_watch(inotify, own, WatchFlags::MODIFY)?;
        let identity = (meta.dev(), meta.ino());
        let moves = Moves::of(path, identity);
        Ok(Self { file, watch, identity, offset: 0, buffer: Vec::new(), start: 0, scanned: 0, moves })
    }

    fn length(&self) -> u64 {
        self.file.metadata().map_or(0, |meta| meta.len())
    }

    /// Returns the offset of a place; what went to archives is read first.
    fn offset_of(&mut self, place: u64) -> u64 {
        if place < self.moves.base {
            self.fetch_behind(place, self.moves.base);
        }
        place.saturating_sub(self.moves.base).min(self.length())
    }

    fn fetch_behind(&mut self, place: u64, base: u64) {
        // What is gone from there, too, cannot be shown.
        self.moves.behind.extend(history::behind(&self.moves.log, place, base).unwrap_or_default());
    }

    /// Takes in that the file's head went to an archive.
    fn follow_move(&mut self, mut header: Option<Header>) {
        while let Some(base) = header.map(|header| header.base).filter(|base| *base != self.moves.base) {
            let place = self.moves.base + self.offset;
            if place < base {
                let behind = history::behind(&self.moves.log, place, base).unwrap_or_default();
                // The newest archive ends at the base only if no other was made while they were looked up.
                let now = self.moves.header(self.identity);
                if now.map(|header| header.base) != Some(base) {
                    header = now;
                    continue;
                }
                self.moves.behind.extend(behind);
            }
            self.offset = place.saturating_sub(base);
            self.moves.base = base;
        }
    }

    fn read_block(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        let old = self.buffer.len();
        loop {
            let header = self.moves.header(self.identity);
            self.follow_move(header);
            if let Some(reader) = self.moves.behind.front_mut() {
                let bytes = reader.fill_buf()?;
                let count = bytes.len();
                self.buffer.extend_from_slice(bytes);
                reader.consume(count);
                if count > 0 {
                    return Ok(true);
                }
                self.moves.behind.pop_front();
                continue;
            }
            let is_cut = self.length() < self.offset;
            self.buffer.resize(old + BLOCK, 0);
            let from = if is_cut { 0 } else { self.offset };
            let count = self.file.read_at(&mut self.buffer[old..], from).unwrap_or(0);
            self.buffer.truncate(old + count);
            if self.moves.header(self.identity) != header {
                // The head was taken away while we read.
                self.buffer.truncate(old);
                continue;
            }
            if is_cut {
                // The line that had no end will not get one.
                self.buffer.drain(..old);
                self.scanned = 0;
            }
            self.offset = from + count as u64;
            return Ok(count > 0);
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let (length, skip) = match memchr(b'\n', &self.buffer[self.scanned..]) {
            Some(end) => (self.scanned + end - self.start, 1),
            None if self.buffer.len() - self.start >= LINE_MAX => (LINE_MAX, 0),
            None => {
                self.scanned = self.buffer.len();
                return None;
            }
        };
        let line = self.buffer[self.start..self.start + length].to_vec();
        self.start += length + skip;
        self.scanned = self.start;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;

    /// Ample for a slow machine; a test that passes never waits for it.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("opens");
        file.write_all(text.as_bytes()).expect("writes");
    }

    fn expect<L: Clone + PartialEq>(follower: &mut Follower<L>, lines: &[&str]) {
        for expected in lines {
            let line = follower.next_before(Instant::now() + PATIENCE).expect("follows").expect("a line");
            assert_eq!(String::from_utf8_lossy(&line.bytes), **expected);
        }
        assert!(follower.ready().expect("follows").is_none(), "no line more");
    }

    fn follower(path: &Path, begin: Begin) -> Follower<&'static str> {
        let mut follower = Follower::new().expect("begins");
        follower.add("a", path, begin);
        follower
    }

    #[test]
    fn new_lines_come_and_half_ones_wait_for_their_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("a.log");
        append(&log, "old\n");
        for (begin, first) in [(Begin::End, &[][..]), (Begin::Start, &["old"]), (Begin::Offset(1), &["ld"])] {
            let mut follower = follower(&log, begin);
            expect(&mut follower, first);
        }
        let mut follower = follower(&log, Begin::End);
        expect(&mut follower, &[]);
        append(&log, "one\ntw");
        expect(&mut follower, &["one"]);
        append(&log, "o\n\n");
        expect(&mut follower, &["two", ""]);
    }

    #[test]
    fn a_file_that_is_cut_is_read_from_its_start() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("a.log");
        append(&log, "a long line before\n");
        let mut follower = follower(&log, Begin::End);
        append(&log, "one\nhalf");
        expect(&mut follower, &["one"]);
        File::create(&log).expect("cuts");
        append(&log, "two\n");
        expect(&mut follower, &["two"]);
    }

    #[test]
    fn a_file_that_is_moved_away_is_read_to_its_end_and_then_its_successor() {
        let dir = tempfile::tempdir().expect("a directory");
        let (log, old) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
        append(&log, "zero\n");
        let mut follower = follower(&log, Begin::End);
        expect(&mut follower, &[]);
        std::fs::rename(&log, &old).expect("moves");
        append(&old, "one\n");
        expect(&mut follower, &["one"]);
        File::create(&log).expect("the new one");
        // Its writer was not told yet.
        append(&old, "two\n");
        expect(&mut follower, &["two"]);
        append(&old, "last");
        append(&log, "three\n");
        expect(&mut follower, &["last", "three"]);
        append(&old, "nobody reads this\n");
        append(&log, "four\n");
        expect(&mut follower, &["four"]);
        // Again, with nobody looking in between.
        std::fs::rename(&log, &old).expect("moves");
        append(&old, "five\n");
        append(&log, "six\n");
        expect(&mut follower, &["five", "six"]);
        std::fs::remove_file(&log).expect("removes");
        append(&log, "seven\n");
        expect(&mut follower, &["seven"]);
    }

    #[test]
    fn files_and_directories_that_are_missing_are_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("x/y/a.log");
        let mut follower = follower(&log, Begin::End);
        expect(&mut follower, &[]);
        std::fs::create_dir(dir.path().join("x")).expect("makes");
        expect(&mut follower, &[]);
        std::fs::create_dir(dir.path().join("x/y")).expect("makes");
        append(&log, "one\n");
        expect(&mut follower, &["one"]);
        std::fs::remove_dir_all(dir.path().join("x")).expect("removes");
        expect(&mut follower, &[]);
        std::fs::create_dir_all(dir.path().join("x/y")).expect("makes");
        append(&log, "two\n");
        expect(&mut follower, &["two"]);
    }

    #[test]
    fn files_are_added_and_removed_while_it_waits() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths: Vec<PathBuf> = (0..3).map(|n| dir.path().join(format!("{n}.log"))).collect();
        let mut follower = Follower::new().expect("begins");
        let handle = follower.handle();
        let (sender, lines) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            while let Some(line) = follower.next().expect("follows") {
                sender.send((line.label, String::from_utf8(line.bytes).expect("text"))).expect("listens");
            }
        });
        for (label, path) in paths.iter().enumerate() {
            append(path, &format!("line {label}\n"));
            handle.add(label, path, Begin::Start);
            assert_eq!(lines.recv_timeout(PATIENCE), Ok((label, format!("line {label}"))));
        }
        handle.remove(1);
        append(&paths[1], "unheard\n");
        append(&paths[2], "heard\n");
        assert_eq!(lines.recv_timeout(PATIENCE), Ok((2, "heard".into())));
        handle.close();
        waiting.join().expect("ends");
        assert!(lines.try_recv().is_err());
    }

    #[test]
    fn one_file_under_two_labels_speaks_twice() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("a.log");
        let mut follower = Follower::new().expect("begins");
        let handle = follower.handle();
        handle.add(1, &log, Begin::Start);
        handle.add(2, &log, Begin::Start);
        append(&log, "x\n");
        expect(&mut follower, &["x", "x"]);
        handle.remove(1);
        expect(&mut follower, &[]);
        append(&log, "y\n");
        expect(&mut follower, &["y"]);
    }

    #[test]
    fn a_line_without_end_comes_in_pieces() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("a.log");
        append(&log, &"x".repeat(3 * LINE_MAX));
        let mut follower = follower(&log, Begin::Start);
        let mut length = 0;
        while let Some(line) = follower.ready().expect("follows") {
            length += line.bytes.len();
        }
        assert_eq!(length, 3 * LINE_MAX);
    }

    #[test]
    fn a_flood_in_one_file_does_not_silence_the_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let (flood, quiet) = (dir.path().join("flood.log"), dir.path().join("quiet.log"));
        append(&flood, &"flood\n".repeat(100_000));
        append(&quiet, "quiet\n");
        let mut follower = Follower::new().expect("begins");
        follower.handle().add("flood", &flood, Begin::Start);
        follower.handle().add("quiet", &quiet, Begin::Start);
        let mut before = 0;
        loop {
            let line = follower.ready().expect("follows").expect("a line");
            if line.label == "quiet" {
                break;
            }
            before += 1;
        }
        assert!(before <= BLOCK / 6 + 1, "{before} lines before");
    }

    #[test]
    fn a_file_is_followed_while_its_head_is_taken_away() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory");
        if !crate::rotate::collapse::is_possible(dir.path()) {
            eprintln!("skipped: the head of files cannot be taken away on this file system");
            return;
        }
        let path = dir.path().join("a.log");
        append(&path, "");
        let mut follower = follower(&path, Begin::Start);
        let writer = {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut file = OpenOptions::new().append(true).open(path).expect("opens");
                for n in 0..60_000 {
                    writeln!(file, "line {n} of many").expect("writes");
                }
            })
        };
        let rotating = {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut rotations = 0;
                while !writer.is_finished() {
                    rotations += usize::from(crate::rotate::collapse::rotate(&path).expect("rotates").is_some());
                }
                rotations
            })
        };
        for n in 0..60_000 {
            // A slow reader finds what it missed in the archives.
            if n % 20_000 == 0 {
                std::thread::sleep(Duration::from_millis(50));
            }
            let line = follower.next_before(Instant::now() + PATIENCE).expect("follows").expect("a line");
            assert_eq!(String::from_utf8_lossy(&line.bytes), format!("line {n} of many"));
        }
        assert!(rotating.join().expect("it rotated") > 1);
        assert!(follower.ready().expect("follows").is_none());
    }
}
