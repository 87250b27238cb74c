//! The ledger of a log: `.api-out.log.ledger` beside it, 0600.
//!
//! It knows two things that the log cannot tell:
//! - **the base**: how many bytes were taken away from the file's head so far. Base plus offset is a byte's *place*, which
//!   stays the same when the head goes to an archive, so a reader that knows its place loses and doubles nothing;
//! - **times**: places and the moments at which the file was seen to be so long. What is written first after a silence is
//!   timed when it comes, the rest is right to a second.
//!
//! The header is one `pwrite`, which a SIGKILL cannot split. While the head is being taken away it says so, and readers
//! look again ([`Header::is_steady`]). A ledger that is lost or broken costs times, never bytes of a log.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::archive;
use crate::date::Stamp;

/// `rpmledg` and the layout's version.
const MAGIC: u64 = u64::from_le_bytes(*b"rpmledg\x01");

const HEADER: usize = 40;
const RECORD: usize = 16;

/// At so many records every other one of the older half goes: 1 MiB, some 18 hours of writing in every second.
const RECORDS_MAX: u64 = 65_536;

/// No log is so long, nor has ever been: what says so is broken. Below it sums of places and lengths stay numbers.
pub(super) const PLACE_MAX: u64 = 1 << 62;

/// The head is about to be marked.
const MARKING: u64 = u64::MAX;

/// What stands first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Header {
    /// The file that the base belongs to.
    pub(super) device: u64,
    pub(super) inode: u64,
    /// So many bytes were taken away before the file's first.
    pub base: u64,
    /// So many are being taken away now; see [`Header::is_steady`].
    pub(super) moving: u64,
}

impl Header {
    /// Returns whether offsets can be trusted at this moment.
    pub fn is_steady(&self) -> bool {
        self.moving == 0
    }

    pub(super) fn marking(mut self) -> Self {
        self.moving = MARKING;
        self
    }

    pub(super) fn is_of(&self, file: &File) -> io::Result<bool> {
        let meta = file.metadata()?;
        Ok(self.is_identity((meta.dev(), meta.ino())))
    }

    /// Returns whether the last file was renamed, and the next is not known yet.
    pub(crate) fn is_between_files(&self) -> bool {
        self.is_identity((0, 0))
    }

    /// Returns whether the base belongs to this file, named by device and inode.
    pub(crate) fn is_identity(&self, identity: (u64, u64)) -> bool {
        (self.device, self.inode) == identity
    }
}

/// A log's ledger, opened.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    writable: bool,
}

impl Ledger {
    /// Returns where the ledger of a log is.
    pub fn path(log: &Path) -> PathBuf {
        archive::beside(log, ".ledger")
    }

    /// Opens a log's ledger to read it; `None` where there is none, or none that can be understood.
    pub fn read(log: &Path) -> io::Result<Option<Self>> {
        match open(&Self::path(log), false) {
            Ok(file) => Ok(Some(Self { file, writable: false }).filter(|ledger| ledger.header().is_ok())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a log's ledger to write it, made where it is missing or broken.
    pub(crate) fn write(log: &Path) -> io::Result<Self> {
        let ledger = Self { file: open(&Self::path(log), true)?, writable: true };
        if ledger.header().is_err() {
            ledger.file.set_len(0)?;
            ledger.set_header(Header::default())?;
        }
        Ok(ledger)
    }

    /// Removes the ledger of a log that nobody writes any more, where the log is gone, or never had anything in it.
    pub(super) fn forget(log: &Path) -> io::Result<()> {
        let is_void = match std::fs::symlink_metadata(log) {
            Ok(meta) => meta.is_file() && meta.len() == 0,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        let is_needed = || Self::read(log).ok().flatten().and_then(|ledger| ledger.header().ok());
        if !is_void || (log.exists() && is_needed().is_some_and(|header| header.base > 0)) {
            return Ok(());
        }
        super::collapse::remove_if_there(&Self::path(log))
    }

    /// Returns the header as it is now.
    pub fn header(&self) -> io::Result<Header> {
        let mut bytes = [0; HEADER];
        self.file.read_exact_at(&mut bytes, 0)?;
        let word = |n: usize| u64::from_le_bytes(bytes[n * 8..][..8].try_into().expect("eight bytes"));
        if word(0) != MAGIC || word(3) > PLACE_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Header { device: word(1), inode: word(2), base: word(3), moving: word(4) })
    }

    pub(super) fn set_header(&self, header: Header) -> io::Result<()> {
        let mut bytes = [0; HEADER];
        let words = [MAGIC, header.device, header.inode, header.base, header.moving];
        for (word, bytes) in words.iter().zip(bytes.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        self.file.write_all_at(&bytes, 0)
    }

    /// Returns the header for the log `file`, begun anew behind everything known when the ledger is another file's, as after a
    /// rename, or when the file was cut.
    pub(crate) fn header_for(&self, file: &File) -> io::Result<Header> {
        let header = self.header()?;
        let next = self.next_base()?;
        let meta = file.metadata()?;
        if header.is_of(file)? && (!header.is_steady() || header.base + meta.len() >= next) {
            return Ok(header);
        }
        let fresh = Header { device: meta.dev(), inode: meta.ino(), base: next, moving: 0 };
        self.set_header(fresh)?;
        Ok(fresh)
    }

    /// Returns the base of the file that comes next: places before it are those of archives, or of nothing.
    pub(crate) fn next_base(&self) -> io::Result<u64> {
        let last = self.last_record()?.map_or(0, |(place, _)| place);
        Ok(self.header()?.base.max(last))
    }

    /// Moves the base behind a file that is about to be renamed, and belongs to no file until the next is seen.
    pub(super) fn leave_behind(&self, length: u64) -> io::Result<()> {
        let Header { base, .. } = self.header()?;
        self.set_header(Header { device: 0, inode: 0, base: base + length, moving: 0 })
    }

    /// Notes that at `at` the log ended at `place`: what is before was written earlier, what is behind later.
    pub(super) fn note(&self, place: u64, at: Stamp) -> io::Result<()> {
        if self.count()? >= RECORDS_MAX {
            self.thin()?;
        }
        let mut bytes = [0; RECORD];
        bytes[..8].copy_from_slice(&place.to_le_bytes());
        bytes[8..].copy_from_slice(&at.0.to_le_bytes());
        let count = self.count()?;
        let before = |back: u64| count.checked_sub(back).map(|number| self.record(number)).transpose();
        let number = match (before(2)?, before(1)?) {
            (_, Some((last, _))) if last > place && last <= PLACE_MAX => return Ok(()),
            // Of a silence the first record says when what is before it was there, the last when it went on.
            (Some((first, _)), Some((last, _))) if first == place && last == place => count - 1,
            (_, Some(_) | None) => count,
        };
        self.file.write_all_at(&bytes, HEADER as u64 + number * RECORD as u64)
    }

    /// Returns all records.
    pub fn records(&self) -> io::Result<Times> {
        let count = self.count()? as usize;
        let mut bytes = vec![0; count * RECORD];
        let length = read_up_to(&self.file, &mut bytes, HEADER as u64)?;
        bytes.truncate(length / RECORD * RECORD);
        Ok(Times(bytes.chunks_exact(RECORD).map(record).collect()))
    }

    fn count(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len().saturating_sub(HEADER as u64) / RECORD as u64)
    }

    fn last_record(&self) -> io::Result<Option<(u64, Stamp)>> {
        let last = self.count()?.checked_sub(1).map(|last| self.record(last)).transpose()?;
        Ok(last.filter(|(place, _)| *place <= PLACE_MAX))
    }

    fn record(&self, number: u64) -> io::Result<(u64, Stamp)> {
        let mut bytes = [0; RECORD];
        self.file.read_exact_at(&mut bytes, HEADER as u64 + number * RECORD as u64)?;
        Ok(record(&bytes))
    }

    /// Lets every other record of the older half go. A kill in between leaves records twice or out of order, which
    /// [`Times`] bears.
    fn thin(&self) -> io::Result<()> {
        debug_assert!(self.writable, "only the writer notes");
        let Times(records) = self.records()?;
        let half = records.len() / 2;
        let kept = records.iter().enumerate().filter(|(n, _)| *n >= half || n % 2 == 0).map(|(_, record)| record);
        let bytes: Vec<u8> =
            kept.flat_map(|(place, at)| place.to_le_bytes().into_iter().chain(at.0.to_le_bytes())).collect();
        self.file.write_all_at(&bytes, HEADER as u64)?;
        self.file.set_len((HEADER + bytes.len()) as u64)
    }
}

/// When the bytes of a log were written.
#[derive(Debug, Clone, Default)]
pub struct Times(Vec<(u64, Stamp)>);

impl Times {
    /// Returns the latest moment known at or before which the byte at `place` had not been written: the best guess of
    /// its time, too early by the granularity at most.
    pub fn of(&self, place: u64) -> Option<Stamp> {
        let behind = self.0.partition_point(|(start, _)| *start <= place);
        Some(self.0[behind.checked_sub(1)?].1)
    }

    /// Returns the first moment known: what is before all places was written until then.
    pub(crate) fn first(&self) -> Option<Stamp> {
        self.0.first().map(|(_, at)| *at)
    }

    /// Returns a place before which everything was written before `since`.
    pub fn place_at(&self, since: Stamp) -> u64 {
        let later = self.0.partition_point(|(_, at)| *at < since);
        later.checked_sub(1).map_or(0, |last| self.0[last].0)
    }
}

fn record(bytes: &[u8]) -> (u64, Stamp) {
    let place = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    (place, Stamp(i64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"))))
}

fn open(path: &Path, write: bool) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    File::options().read(true).write(write).create(write).mode(0o600).custom_flags(flags.bits() as i32).open(path)
}

fn read_up_to(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], at + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
