//! One open file, read to its end and on as it grows, while its head may be taken away.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, WatchFlags};

use super::lines::Lines;
use crate::rotate::history;
use crate::rotate::ledger::{Header, Ledger};

/// Read of one file before the next has its turn.
pub(super) const BLOCK: usize = 64 << 10;

/// An open file, and how far it was read.
#[derive(Debug)]
pub(super) struct Reading {
    file: File,
    pub(super) watch: i32,
    pub(super) identity: (u64, u64),
    pub(super) offset: u64,
    pub(super) lines: Lines,
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
        // A file that the ledger does not know yet will begin behind all that it knows.
        let known = moves.first_header(identity).map(|header| header.base);
        let next = || moves.ledger.as_ref().and_then(|ledger| ledger.next_base().ok());
        moves.base = known.or_else(next).unwrap_or(0);
        moves
    }

    /// Returns the ledger's first word on this file; the pump gives it right after it has made the file.
    fn first_header(&mut self, identity: (u64, u64)) -> Option<Header> {
        let deadline = Instant::now() + history::STEADY_WITHIN;
        loop {
            let known = self.header(identity);
            let is_waiting = |ledger: &Ledger| ledger.header().is_ok_and(|header| header.is_between_files());
            if known.is_some() || !self.ledger.as_ref().is_some_and(is_waiting) || Instant::now() >= deadline {
                return known;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
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

impl Reading {
    pub(super) fn open(path: &Path, inotify: &OwnedFd) -> io::Result<Self> {
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
        Ok(Self { file, watch, identity, offset: 0, lines: Lines::default(), moves })
    }

    pub(super) fn length(&self) -> u64 {
        self.file.metadata().map_or(0, |meta| meta.len())
    }

    /// Returns the offset of a place; what went to archives is read first.
    pub(super) fn offset_of(&mut self, place: u64) -> u64 {
        if place < self.moves.base {
            self.fetch_behind(place, self.moves.base);
        }
        place.saturating_sub(self.moves.base).min(self.length())
    }

    /// Returns the place behind its last byte.
    pub(super) fn end(&self) -> u64 {
        self.moves.base + self.length()
    }

    /// Has what lies between `place` and this file read first: files that came and went meanwhile. Returns whether this
    /// is still the log; if not, it is an archive itself by now.
    pub(super) fn read_from(&mut self, place: u64) -> bool {
        let base = self.moves.base;
        if place >= base || self.moves.header(self.identity).is_none() {
            // Nothing is missing, or nobody knows.
            return true;
        }
        let behind = history::behind(&self.moves.log, place, base).unwrap_or_default();
        if self.moves.header(self.identity).map(|header| header.base) != Some(base) {
            return false;
        }
        self.moves.behind.extend(behind);
        true
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

    pub(super) fn read_block(&mut self) -> io::Result<bool> {
        let old = self.lines.compact();
        loop {
            let header = self.moves.header(self.identity);
            self.follow_move(header);
            if let Some(reader) = self.moves.behind.front_mut() {
                let bytes = reader.fill_buf()?;
                let count = bytes.len();
                self.lines.buffer.extend_from_slice(bytes);
                reader.consume(count);
                if count > 0 {
                    return Ok(true);
                }
                self.moves.behind.pop_front();
                continue;
            }
            let is_cut = self.length() < self.offset;
            self.lines.buffer.resize(old + BLOCK, 0);
            let from = if is_cut { 0 } else { self.offset };
            let count = self.file.read_at(&mut self.lines.buffer[old..], from).unwrap_or(0);
            self.lines.buffer.truncate(old + count);
            if self.moves.header(self.identity) != header {
                // The head was taken away while we read.
                self.lines.buffer.truncate(old);
                continue;
            }
            if is_cut {
                // The line that had no end will not get one.
                self.lines.forget(old);
            }
            self.offset = from + count as u64;
            return Ok(count > 0);
        }
    }
}
