//! The log files of all streams, each opened once however many streams write to it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, write};

use super::staging::Place;
use crate::crash::step;
use crate::hand;
use crate::rotate::ledger::Ledger;
use crate::rotate::{archive, claim};
use crate::target::{Target, direct};

/// A file that is full waits for the end of a line until it is so much longer, or twice as long.
const LINE_WAIT: u64 = 1 << 20;

/// Names one file in [`Files`].
pub(super) type FileId = u64;

/// All open log files.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: BTreeMap<FileId, File>,
    last: FileId,
}

#[derive(Debug)]
struct File {
    path: Option<PathBuf>,
    /// `None` until the first write, and while the path cannot be opened.
    fd: Option<OwnedFd>,
    users: usize,
    /// The last write failed; told once.
    failing: bool,
    /// Longer than this it is rotated.
    max_size: Option<u64>,
    /// It is longer, and waits for the end of a line.
    full: bool,
    /// The last rotation failed; told once.
    stuck: bool,
}

/// Has the ledger know the new file at once: whoever follows the log learns from it what is before the file. One that cannot
/// be written costs that, and the precision of times.
fn adopt(log: &Path, file: BorrowedFd<'_>) {
    let _ = hand::act_for(log).and_then(|_acting| {
        let file = std::fs::File::from(file.try_clone_to_owned()?);
        Ledger::write(log)?.header_for(&file)
    });
}

impl Files {
    /// Returns the file for a target, opened if that is possible already.
    pub(super) fn acquire(&mut self, target: Target, max_size: Option<u64>) -> FileId {
        let (path, fd) = match target {
            Target::Path(path) => (Some(path), None),
            Target::Fd(fd) => (None, Some(fd)),
        };
        let known = self.files.iter_mut().find(|(_, file)| path.is_some() && file.path == path);
        if let Some((id, file)) = known {
            file.users += 1;
            file.max_size = max_size;
            return *id;
        }
        self.last += 1;
        self.files.insert(self.last, File { path, fd, users: 1, failing: false, max_size, full: false, stuck: false });
        // An error shows again, and is told, at the first write.
        let _ = self.open(self.last);
        self.last
    }

    /// Closes the file when this was its last user.
    pub(super) fn release(&mut self, id: FileId) {
        let file = self.file(id);
        file.users -= 1;
        if file.users == 0 {
            self.files.remove(&id);
        }
    }

    /// Opens every file anew by its path; one that cannot be opened is tried again at its next write.
    pub(super) fn reopen(&mut self) {
        let ids: Vec<FileId> = self.files.keys().copied().collect();
        for id in ids {
            if self.file(id).path.is_some() {
                self.file(id).fd = None;
                let _ = self.open(id);
            }
        }
    }

    /// Rotates a file if it is too long, and returns its name and its archive's, or that this fails, once.
    ///
    /// `ends_line`: what was written last ended a line. Nothing may be in doubt about a write to it.
    pub(super) fn rotate_if_full(&mut self, id: FileId, ends_line: bool) -> Option<(PathBuf, io::Result<PathBuf>)> {
        let max = self.file(id).max_size?;
        let length = self.place(id).ok()??.length;
        self.file(id).full = length > max;
        if length <= max || !(ends_line || length > max.saturating_mul(2).max(max + LINE_WAIT)) {
            return None;
        }
        self.rotate(id)
    }

    /// Returns whether a file is to be rotated at the next end of a line.
    pub(super) fn is_full(&self, id: FileId) -> bool {
        self.files.get(&id).is_some_and(|file| file.full)
    }

    /// Rotates a file that has this path and is not empty.
    pub(super) fn rotate_path(&mut self, path: &Path) -> Option<(PathBuf, io::Result<PathBuf>)> {
        let (id, _) = self.files.iter().find(|(_, file)| file.path.as_deref() == Some(path))?;
        let id = *id;
        let length = self.place(id).ok()??.length;
        if length > 0 { self.rotate(id) } else { None }
    }

    fn rotate(&mut self, id: FileId) -> Option<(PathBuf, io::Result<PathBuf>)> {
        let log = self.file(id).path.clone()?;
        let open = self.place(id).ok()??;
        let rename = || {
            let _acting = hand::act_for(&log)?;
            archive::rename(&log, (open.device, open.inode))
        };
        let result = claim::unless_claimed(&log, rename)?;
        let was_stuck = std::mem::replace(&mut self.file(id).stuck, result.is_err());
        match result {
            Ok(None) => None,
            Ok(Some(archive)) => {
                self.file(id).fd = None;
                self.file(id).full = false;
                // An error shows again, and is told, at the next write.
                if let Ok(file) = self.open(id) {
                    adopt(&log, file.as_fd());
                }
                Some((log, Ok(archive)))
            }
            Err(error) => (!was_stuck).then_some((log, Err(error))),
        }
    }

    /// Returns whether several streams write to this file.
    pub(super) fn is_shared(&self, id: FileId) -> bool {
        self.files.get(&id).is_some_and(|file| file.users > 1)
    }

    /// Returns the file's path.
    pub(super) fn path(&self, id: FileId) -> Option<&Path> {
        self.files.get(&id)?.path.as_deref()
    }

    /// Returns the end of the file; nothing for what has no length.
    pub(super) fn place(&mut self, id: FileId) -> io::Result<Option<Place>> {
        let stat = fstat(self.open(id)?)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(regular.then_some(Place { device: stat.st_dev, inode: stat.st_ino, length: stat.st_size as u64 }))
    }

    /// Returns how much of `output` a write that was cut off has left in the file, whose end was at `then`; nothing
    /// where the file cannot tell.
    ///
    /// The growth alone would do, were we the only writer. Its bytes are compared as well, so that what others wrote
    /// there is not taken for ours.
    pub(super) fn landed(&mut self, id: FileId, then: Place, output: &[u8]) -> Option<u64> {
        let now = self.place(id).ok()??;
        if (then.device, then.inode) != (now.device, now.inode) || now.length < then.length {
            return None;
        }
        let grown = usize::try_from(now.length - then.length).unwrap_or(usize::MAX).min(output.len());
        let mut bytes = vec![0; grown];
        let own = format!("/proc/self/fd/{}", rpm_sys::fd::number(self.open(id).ok()?));
        match std::fs::File::open(own).and_then(|file| file.read_exact_at(&mut bytes, then.length)) {
            Ok(()) if bytes != output[..grown] => Some(0),
            Ok(()) | Err(_) => Some(grown as u64),
        }
    }

    /// Takes back what was written last, `torn`, the beginning of a line that will not go on; returns whether that was
    /// possible: nobody has written behind it.
    pub(super) fn take_back(&mut self, id: FileId, torn: &[u8]) -> bool {
        let Ok(Some(now)) = self.place(id) else { return false };
        let Some(start) = now.length.checked_sub(torn.len() as u64) else { return false };
        let Ok(fd) = self.open(id) else { return false };
        let own = format!("/proc/self/fd/{}", rpm_sys::fd::number(&*fd));
        let mut bytes = vec![0; torn.len()];
        let is_ours = std::fs::File::open(own).and_then(|file| file.read_exact_at(&mut bytes, start)).is_ok();
        is_ours && bytes == torn && rustix::fs::ftruncate(&*fd, start).is_ok()
    }

    /// Writes as much as goes, and says how much, and what stopped it.
    pub(super) fn write(&mut self, id: FileId, bytes: &[u8]) -> (usize, Option<io::Error>) {
        let fd = match self.open(id) {
            Ok(fd) => fd,
            Err(error) => return (0, Some(error)),
        };
        let mut done = 0;
        while done < bytes.len() {
            // In tests death also comes between two parts of one write.
            let part = if cfg!(test) { bytes.len().div_ceil(2).min(bytes.len() - done) } else { bytes.len() - done };
            if let Err(killed) = step() {
                return (done, Some(killed));
            }
            match write(&*fd, &bytes[done..done + part]) {
                Ok(0) => return (done, Some(io::ErrorKind::WriteZero.into())),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(error) => return (done, Some(error.into())),
            }
        }
        (done, None)
    }

    /// Notes how a write went, and returns whether that is news.
    pub(super) fn note(&mut self, id: FileId, failing: bool) -> bool {
        std::mem::replace(&mut self.file(id).failing, failing) != failing
    }

    fn open(&mut self, id: FileId) -> io::Result<&mut OwnedFd> {
        let File { path, fd, .. } = self.file(id);
        if let (None, Some(path)) = (&fd, path) {
            *fd = Some(direct(path)?);
        }
        Ok(fd.as_mut().expect("a file without a path came open"))
    }

    fn file(&mut self, id: FileId) -> &mut File {
        self.files.get_mut(&id).expect("streams hold ids of files they acquired")
    }
}
