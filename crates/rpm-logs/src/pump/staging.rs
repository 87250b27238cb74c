//! The memory file between a pipe and its log files: what was taken from the pipe, and how far it is carried.
//!
//! One 4 KiB header page, then the bytes as they came. The file's **size** counts the bytes taken, and
//! `splice(pipe → file)` moves it in the very call that takes them, so there is no instant in which a byte is in
//! neither or in both. Offsets only ever grow; the pages of what is carried are given back by punching holes.
//! The header is one `pwrite` within one page, which a SIGKILL cannot split.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FallocateFlags, fallocate, fstat, ftruncate};
use rustix::io::{Errno, pread, pwrite, read};
use rustix::pipe::{SpliceFlags, splice};

use crate::crash::step;
use crate::date::Stamp;
use crate::frame::State;

/// Data begins on the page after the header.
const DATA: u64 = 4096;

/// At most this much is taken at once: the usual largest pipe.
const TAKE_MAX: usize = 1 << 20;

/// Carried pages are given back once there are this many bytes of them: idle streams keep less, busy ones seldom ask.
const RECYCLE: u64 = 128 << 10;

/// `rpmstag` and the layout's version.
const MAGIC: u64 = u64::from_le_bytes(*b"rpmstag\x01");

/// A stream is written to at most two files (its own and the combined one); the layout has room for four.
pub(super) const TARGETS_MAX: usize = 4;

/// The write in progress, recorded before it begins: enough to tell afterwards what of it had happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Intent {
    /// Bytes up to here will have been carried.
    pub(super) next: u64,
    /// How long their framed output is.
    pub(super) output: u64,
    /// The time they were framed with.
    pub(super) stamp: Stamp,
    /// Framing's state after them.
    pub(super) after: State,
    /// Whether the end of the stream was framed too.
    pub(super) ends: bool,
    /// The files, in the order of the stream's targets.
    pub(super) writes: Vec<Write>,
}

/// How far the output has come in one file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Write {
    /// This much of the output is in the file for certain.
    pub(super) written: u64,
    /// Where the rest goes, while it may be on its way.
    pub(super) place: Option<Place>,
}

/// The end of a file at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) length: u64,
}

/// What taking from the pipe gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// This many bytes.
    Bytes(usize),
    /// Nothing at the moment.
    Empty,
    /// The last writer is gone.
    Ended,
}

/// One stream's memory file.
#[derive(Debug)]
pub(super) struct Staging {
    file: OwnedFd,
    /// The end of what was taken; mirrors the file's size.
    size: u64,
    /// The end of what was carried.
    carried: u64,
    /// Before this everything was given back; on a page's start.
    punched: u64,
    /// Whether `splice` works between this pipe and the file.
    can_splice: bool,
}

impl Staging {
    /// Begins with an empty file.
    pub(super) fn fresh(file: OwnedFd) -> io::Result<Self> {
        ftruncate(&file, 0)?;
        ftruncate(&file, DATA)?;
        let mut staging = Self { file, size: DATA, carried: DATA, punched: DATA, can_splice: true };
        staging.settle(DATA, State::default())?;
        Ok(staging)
    }

    /// Goes on with what an earlier pump left behind, and returns framing's state and the write it was in.
    ///
    /// A file that was never begun is begun; one that cannot be understood is `InvalidData`.
    pub(super) fn resume(file: OwnedFd) -> io::Result<(Self, State, Option<Intent>)> {
        let size = fstat(&file)?.st_size as u64;
        let mut page = [0; DATA as usize];
        let length = pread(&file, &mut page, 0)?;
        if length < page.len() || page.iter().all(|byte| *byte == 0) && size == DATA {
            return Ok((Self::fresh(file)?, State::default(), None));
        }
        let header = decode(&page)
            .filter(|header| (DATA..=size).contains(&header.carried))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the staging file's header is not ours"))?;
        let staging = Self { file, size, carried: header.carried, punched: DATA, can_splice: true };
        Ok((staging, header.state, header.intent))
    }

    /// Begins with a file whose header is lost: all it holds counts as not carried.
    pub(super) fn salvage(file: OwnedFd) -> io::Result<Self> {
        let size = (fstat(&file)?.st_size as u64).max(DATA);
        let mut staging = Self { file, size, carried: DATA, punched: DATA, can_splice: true };
        staging.settle(DATA, State::default())?;
        Ok(staging)
    }

    /// Takes what the pipe has. Never waits.
    pub(super) fn take(&mut self, pipe: impl AsFd) -> io::Result<Taken> {
        step()?;
        let taken = if self.can_splice {
            let mut end = self.size;
            splice(&pipe, None, &self.file, Some(&mut end), TAKE_MAX, SpliceFlags::NONBLOCK)
        } else {
            self.take_by_read(&pipe)
        };
        match taken {
            Ok(0) => Ok(Taken::Ended),
            Ok(count) => {
                self.size += count as u64;
                step()?;
                Ok(Taken::Bytes(count))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Taken::Empty),
            Err(Errno::INVAL | Errno::NOSYS) if self.can_splice => {
                self.can_splice = false;
                self.take(pipe)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The way of kernels and descriptors without `splice`. A kill between its two calls loses what was read.
    fn take_by_read(&self, pipe: impl AsFd) -> rustix::io::Result<usize> {
        let mut buffer = vec![0; 64 << 10];
        let count = read(pipe, &mut buffer)?;
        let mut done = 0;
        while done < count {
            done += pwrite(&self.file, &buffer[done..count], self.size + done as u64)?;
        }
        Ok(count)
    }

    /// Uses `read` from now on.
    #[cfg(test)]
    pub(super) fn forbid_splice(&mut self) {
        self.can_splice = false;
    }

    /// Returns how many bytes are taken and not yet carried.
    pub(super) fn backlog(&self) -> u64 {
        self.size - self.carried
    }

    /// Returns the end of what was carried, as [`Intent::next`] counts.
    pub(super) fn carried(&self) -> u64 {
        self.carried
    }

    /// Appends to `buffer` at most `max` bytes that are not yet carried, from the one after `skip`.
    pub(super) fn read(&self, skip: u64, max: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let wanted = usize::try_from(self.backlog() - skip).unwrap_or(usize::MAX).min(max);
        let start = buffer.len();
        buffer.resize(start + wanted, 0);
        let mut done = 0;
        while done < wanted {
            match pread(&self.file, &mut buffer[start + done..], self.carried + skip + done as u64)? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the staging file was cut")),
                count => done += count,
            }
        }
        Ok(())
    }

    /// Records the write that is about to begin; `state` is framing's state before it.
    pub(super) fn intend(&mut self, state: State, intent: &Intent) -> io::Result<()> {
        self.write_header(state, Some(intent))
    }

    /// Records that everything up to `carried` is in the files.
    pub(super) fn settle(&mut self, carried: u64, state: State) -> io::Result<()> {
        self.carried = carried;
        self.write_header(state, None)
    }

    /// Gives carried pages back.
    pub(super) fn recycle(&mut self) {
        let end = self.carried / DATA * DATA;
        if end - self.punched >= RECYCLE {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // Where holes are impossible the file grows; nothing is wrong but its memory.
            let _ = fallocate(&self.file, flags, self.punched, end - self.punched);
            self.punched = end;
        }
    }

    fn write_header(&self, state: State, intent: Option<&Intent>) -> io::Result<()> {
        step()?;
        let bytes = encode(self.carried, state, intent);
        let written = pwrite(&self.file, &bytes, 0)?;
        if written == bytes.len() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::WriteZero)) }
    }
}

struct Header {
    carried: u64,
    state: State,
    intent: Option<Intent>,
}

/// Words of a header: magic, carried, state (2), number of writes plus one or 0, next, output, stamp, after (2), ends;
/// then 5 for each write.
const WORDS: usize = 11 + 5 * TARGETS_MAX;

/// No time: far before any.
const NEVER: u64 = i64::MIN as u64;

fn encode(carried: u64, state: State, intent: Option<&Intent>) -> [u8; WORDS * 8] {
    let pack = |state: State| [u64::from(state.mid_line), state.held_since.map_or(NEVER, |stamp| stamp.0 as u64)];
    let mut words = [0; WORDS];
    words[0] = MAGIC;
    words[1] = carried;
    words[2..4].copy_from_slice(&pack(state));
    if let Some(intent) = intent {
        words[4] = intent.writes.len() as u64 + 1;
        words[5] = intent.next;
        words[6] = intent.output;
        words[7] = intent.stamp.0 as u64;
        words[8..10].copy_from_slice(&pack(intent.after));
        words[10] = u64::from(intent.ends);
        for (write, words) in intent.writes.iter().zip(words[11..].chunks_exact_mut(5)) {
            words[0] = write.written;
            if let Some(place) = write.place {
                words[1..5].copy_from_slice(&[1, place.device, place.inode, place.length]);
            }
        }
    }
    let mut bytes = [0; WORDS * 8];
    for (word, bytes) in words.iter().zip(bytes.chunks_exact_mut(8)) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn decode(page: &[u8]) -> Option<Header> {
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(page.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    }
    let unpack = |words: &[u64]| State {
        mid_line: words[0] != 0,
        held_since: (words[1] != NEVER).then_some(Stamp(words[1] as i64)),
    };
    if words[0] != MAGIC || words[4] > TARGETS_MAX as u64 + 1 {
        return None;
    }
    let writes = |count: u64| {
        let of = |words: &[u64]| Write {
            written: words[0],
            place: (words[1] != 0).then_some(Place { device: words[2], inode: words[3], length: words[4] }),
        };
        words[11..].chunks_exact(5).take(count as usize).map(of).collect()
    };
    let intent = words[4].checked_sub(1).map(|count| Intent {
        next: words[5],
        output: words[6],
        stamp: Stamp(words[7] as i64),
        after: unpack(&words[8..10]),
        ends: words[10] != 0,
        writes: writes(count),
    });
    Some(Header { carried: words[1], state: unpack(&words[2..4]), intent })
}
