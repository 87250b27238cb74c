//! Rotation of a log that its writers hold open themselves, without a lost or doubled byte.
//!
//! A writer with O_APPEND cannot be told to go elsewhere, but the file's head can be taken away under its hands:
//! `fallocate(FALLOC_FL_COLLAPSE_RANGE)` removes whole blocks at the start, and the next write appends at the new end.
//! The kernel serialises both by the inode's lock; 46 rotations under a flood of 114 MB/s left 2,000,000 numbered
//! lines exact. Writers wait meanwhile, 37 ms at worst there: mostly for the disk to take what is not on it yet. So that is
//! waited for before, without the lock, until little is left; a burst that the disk cannot keep up with is over by then, or
//! [`CALM_WITHIN`] is.
//!
//! # Where the cut is
//!
//! On a block's boundary, as the call demands, and there on one with a line's end before it: of 4-KiB blocks
//! one in a hundred is, for lines of 100 bytes, so the last such boundary is seldom far from the end. Of at most
//! [`BOUNDARIES`] none may be; then the line is cut in two: its first part ends the archive and the rest begins the
//! log. What reads both in turn (`logs`, `zcat a b`) sees it whole.
//!
//! # Steps, and what a kill leaves
//!
//! ```text
//!  (1) .LOG.copying   the head, copied         (4) the head's first bytes become a unique mark
//!  (2) synced                                  (5) the head is taken away, in one system call
//!  (3) renamed .LOG.copied-BASE-MARK           (6) the ledger's base moves   (7) the copy gets its archive's name
//! ```
//!
//! | killed | found by [`recover`] | done |
//! |---|---|---|
//! | before (3) | `.copying` | removed: the log is as it was |
//! | before (4) | `.copied`, no mark, the base is BASE, nothing is moving | goes on with (4) |
//! | before (5) | the mark stands first in the log | goes on with (5) |
//! | before (6) | no mark, and the ledger says that so much is moving | goes on with (6) |
//! | before (7) | no mark, and the base has moved | goes on with (7) |
//!
//! The mark is there since nothing else tells a log that lost its head from one that repeats itself. The ledger
//! says that offsets are in motion before the mark is written, so that readers look away.
//! A log that was emptied or replaced by somebody else in the middle of this keeps what it has; the copy becomes an archive
//! all the same: better twice than lost.
//!
//! # Where it does not work
//!
//! tmpfs refuses the call, and btrfs, ZFS and NFS are said to ([`is_possible`] tries it on a nameless file, so no list is
//! kept). What else there is:
//! - *rename and reopen* is impossible: the writers keep the renamed file;
//! - *punching a hole* keeps offsets: the log's length grows for ever, `cat` and `grep` meet gigabytes of zeros;
//! - *copy and truncate* loses what is written in between;
//! - *a pipe through the pump*: exact, and by a prototype 2.4, 1.7 and 0.4 times the speed of the file itself for writes of
//!   100 bytes, 4 KiB and 64 KiB.
//!
//! So there, and where logs are rotated by the clock (a quiet log has less than a block to take away), output goes
//! through the pump.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FallocateFlags, Mode, OFlags, RenameFlags, fallocate, fstatfs, renameat_with};

use super::archive;
use super::claim::Claim;
use super::ledger::{Header, Ledger, PLACE_MAX};
use crate::crash::step;
use crate::hand;

/// Boundaries of blocks that are looked at for a line's end: 64 MiB, some 10 ms.
const BOUNDARIES: u64 = 16_384;

/// How much may have been written while the disk took what was before it: a few milliseconds for any disk.
const TAIL_MAX: u64 = 16 << 20;

/// How long a burst may keep a log from being cut. A log is longer than its limit by what is written in this time.
const CALM_WITHIN: Duration = Duration::from_secs(1);

/// The length of a mark: a UUID as the kernel writes it.
const MARK: usize = 36;

/// Returns whether the head of files in this directory can be taken away.
pub fn is_possible(directory: &Path) -> bool {
    let attempt = || -> io::Result<()> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?);
        let block = block_size(&file)?;
        file.write_all_at(&vec![1; 2 * block as usize], 0)?;
        Ok(fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, block)?)
    };
    attempt().is_ok()
}

/// Moves the head of a log to an archive and returns that; `None` when there is less than a block.
pub(crate) fn rotate(log: &Path) -> io::Result<Option<PathBuf>> {
    rotate_into(log, None)
}

/// Moves the head of a log to `place`, in place of the empty file there.
pub(super) fn rotate_to(log: &Path, place: &Path) -> io::Result<Option<PathBuf>> {
    rotate_into(log, Some(place))
}

fn rotate_into(log: &Path, place: Option<&Path>) -> io::Result<Option<PathBuf>> {
    let _claim = Claim::new(log);
    let file = open_log(log)?;
    let ledger = Ledger::write(log)?;
    let header = ledger.header_for(&file)?;
    let length = file.metadata()?.len();
    let Some(cut) = choose_cut(length, block_size(&file)?, |at| byte_at(&file, at))? else { return Ok(None) };
    let copied = copy_head(log, &file, header.base, cut)?;
    finish(log, &file, &ledger, &copied, place).map(Some)
}

/// Finishes or undoes what somebody was killed in, and returns the archives that came of it.
pub(crate) fn recover(log: &Path) -> io::Result<Vec<PathBuf>> {
    let _acting = hand::act_for(log)?;
    remove_if_there(&copying_path(log))?;
    let mut archives = Vec::new();
    let _claim = Claim::new(log);
    for copied in Copied::find(log)? {
        archives.push(match open_log(log) {
            Ok(file) => finish(log, &file, &Ledger::write(log)?, &copied, None)?,
            // The log itself is gone: what was copied is all there is.
            Err(error) if error.kind() == io::ErrorKind::NotFound => publish(log, &copied)?,
            Err(error) => return Err(error),
        });
    }
    Ok(archives)
}

/// Returns the copy that ends at `base` and has no archive's name yet: between (6) and (7) it is the newest archive.
pub(super) fn unpublished(log: &Path, base: u64) -> io::Result<Option<File>> {
    for copied in Copied::find(log)? {
        match File::options().read(true).custom_flags(OFlags::NOFOLLOW.bits() as i32).open(&copied.path) {
            Ok(copy) if copied.base + copy.metadata()?.len() == base => return Ok(Some(copy)),
            Ok(_) => {}
            // It has its name by now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Steps (1) to (3).
pub(super) fn copy_head(log: &Path, file: &File, base: u64, cut: u64) -> io::Result<Copied> {
    let copying = copying_path(log);
    remove_if_there(&copying)?;
    step()?;
    let copy = File::options().write(true).create_new(true).mode(0o600).open(&copying)?;
    step()?;
    let mut head = rustix::io::dup(file).map(File::from)?;
    io::Seek::rewind(&mut head)?;
    if io::copy(&mut head.take(cut), &mut &copy)? < cut {
        remove_if_there(&copying)?;
        return Err(io::Error::other("the log was cut by somebody else while it was copied"));
    }
    step()?;
    copy.sync_data()?;
    write_tail_out(file)?;
    let mark = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned();
    let copied = Copied { path: archive::beside(log, &format!(".copied-{base}-{mark}")), base, mark };
    step()?;
    std::fs::rename(&copying, &copied.path)?;
    sync_directory(log)?;
    Ok(copied)
}

/// Has what is behind the cut written to the disk, so that the writers do not wait for it in (5).
fn write_tail_out(file: &File) -> io::Result<()> {
    let until = Instant::now() + CALM_WITHIN;
    loop {
        let length = file.metadata()?.len();
        file.sync_data()?;
        if file.metadata()?.len().saturating_sub(length) <= TAIL_MAX || Instant::now() >= until {
            return Ok(());
        }
    }
}

/// Steps (4) to (7), from wherever they were left.
fn finish(log: &Path, file: &File, ledger: &Ledger, copied: &Copied, place: Option<&Path>) -> io::Result<PathBuf> {
    step()?;
    let copy = File::options().read(true).custom_flags(OFlags::NOFOLLOW.bits() as i32).open(&copied.path)?;
    let cut = copy.metadata()?.len();
    let header = ledger.header()?;
    let base = Header { base: copied.base, moving: 0, ..header };
    let moved = Header { base: copied.base + cut, ..base };
    let is_ours = header.is_of(file)?;
    let is_marked = starts_with(file, copied.mark.as_bytes());
    let is_done = !is_marked && (header == moved || header.moving == cut);
    if is_ours && !is_done {
        if !is_marked {
            let unchanged = header.base == copied.base && file.metadata()?.len() > cut && same_head(file, &copy)?;
            if !unchanged {
                return publish(log, copied);
            }
            ledger.set_header(base.marking())?;
            step()?;
            file.write_all_at(copied.mark.as_bytes(), 0)?;
            step()?;
        }
        ledger.set_header(Header { moving: cut, ..base })?;
        step()?;
        if let Err(error) = fallocate(file, FallocateFlags::COLLAPSE_RANGE, 0, cut) {
            // As it was: the copy has the bytes under the mark.
            let mut head = vec![0; copied.mark.len()];
            copy.read_exact_at(&mut head, 0)?;
            file.write_all_at(&head, 0)?;
            ledger.set_header(base)?;
            remove_if_there(&copied.path)?;
            return Err(error.into());
        }
        step()?;
    }
    if is_ours {
        ledger.set_header(moved)?;
    }
    step()?;
    match place {
        Some(place) => {
            std::fs::rename(&copied.path, place)?;
            Ok(place.to_owned())
        }
        None => publish(log, copied),
    }
}

/// Step (7).
fn publish(log: &Path, copied: &Copied) -> io::Result<PathBuf> {
    let archive = archive::next(log)?;
    renameat_with(CWD, &copied.path, CWD, &archive, RenameFlags::NOREPLACE)?;
    Ok(archive)
}

/// Returns where to cut: see the module's comment.
fn choose_cut(length: u64, block: u64, byte_at: impl Fn(u64) -> io::Result<u8>) -> io::Result<Option<u64>> {
    // The call wants something left behind it.
    let Some(last) = length.checked_sub(1).map(|last| last / block).filter(|last| *last > 0) else { return Ok(None) };
    let lowest = last.saturating_sub(BOUNDARIES).max(last / 2).max(1);
    for boundary in (lowest..=last).rev() {
        if byte_at(boundary * block - 1)? == b'\n' {
            return Ok(Some(boundary * block));
        }
    }
    Ok(Some(last * block))
}

/// A head that was copied, synced and not yet given its archive's name.
#[derive(Debug)]
pub(super) struct Copied {
    path: PathBuf,
    base: u64,
    mark: String,
}

impl Copied {
    fn find(log: &Path) -> io::Result<Vec<Self>> {
        let (Some(directory), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else {
            return Ok(Vec::new());
        };
        let prefix = format!(".{name}.copied-");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Some((base, mark)) = name.strip_prefix(&prefix).and_then(|rest| rest.split_once('-')) else { continue };
            if let Ok(base) = base.parse()
                && base <= PLACE_MAX
                && mark.len() == MARK
                && entry.file_type()?.is_file()
            {
                found.push(Self { path: entry.path(), base, mark: mark.to_owned() });
            }
        }
        found.sort_by_key(|copied| copied.base);
        Ok(found)
    }
}

/// Opens a log to change its head. A symbolic link is refused, and so is a file that has another name somewhere: it
/// may be no log at all there.
pub(super) fn open_log(log: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options().read(true).write(true).custom_flags(flags.bits() as i32).open(log)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if meta.nlink() > 1 {
        return Err(io::Error::other("the file has another name (a hard link)"));
    }
    Ok(file)
}

fn copying_path(log: &Path) -> PathBuf {
    archive::beside(log, ".copying")
}

fn block_size(file: &File) -> io::Result<u64> {
    let size = u64::try_from(fstatfs(file)?.f_bsize).unwrap_or(0);
    // Not to be divided by, nor to fill the memory with.
    if (512..=1 << 20).contains(&size) { Ok(size) } else { Err(io::Error::other("the size of blocks is absurd")) }
}

fn byte_at(file: &File, at: u64) -> io::Result<u8> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    Ok(byte[0])
}

fn starts_with(file: &File, mark: &[u8]) -> bool {
    let mut head = vec![0; mark.len()];
    file.read_exact_at(&mut head, 0).is_ok() && head == mark
}

fn same_head(file: &File, copy: &File) -> io::Result<bool> {
    let (mut a, mut b) = ([0; 512], [0; 512]);
    file.read_exact_at(&mut a, 0)?;
    copy.read_exact_at(&mut b, 0)?;
    Ok(a == b)
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(super) fn sync_directory(of: &Path) -> io::Result<()> {
    let Some(directory) = of.parent() else { return Ok(()) };
    let directory: OwnedFd = File::open(directory)?.into();
    Ok(rustix::fs::fsync(directory)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::arm;
    use std::io::Write;

    /// A directory whose file system can do it: the build's, else the tests have nothing to try.
    fn directory() -> Option<tempfile::TempDir> {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory");
        if !is_possible(dir.path()) {
            eprintln!("skipped: the head of files cannot be taken away on this file system");
            return None;
        }
        Some(dir)
    }

    fn everything(log: &Path) -> Vec<u8> {
        let archives = archive::list(log).expect("lists");
        let parts = archives.iter().map(|archive| &*archive.path).chain([log]);
        parts.flat_map(|part| std::fs::read(part).expect("reads")).collect()
    }

    fn lines(from: usize, to: usize) -> String {
        (from..to).map(|n| format!("line {n} {}\n", "x".repeat(n % 90))).collect()
    }

    #[test]
    fn the_cut_is_behind_a_line_where_a_boundary_has_one() {
        let text = lines(0, 100_000).into_bytes();
        let at = |at: u64| Ok(text[at as usize]);
        let cut = choose_cut(text.len() as u64, 4096, at).expect("reads").expect("a cut");
        assert!(cut % 4096 == 0 && text[cut as usize - 1] == b'\n' && cut > text.len() as u64 / 2, "{cut}");
        let dots = |_| Ok(b'.');
        assert_eq!(choose_cut(10_000, 4096, dots).expect("reads"), Some(8192));
        // Something must be left.
        assert_eq!(choose_cut(8192, 4096, dots).expect("reads"), Some(4096));
        assert_eq!(choose_cut(4096, 4096, dots).expect("reads"), None);
        assert_eq!(choose_cut(0, 4096, dots).expect("reads"), None);
    }

    #[test]
    fn death_at_any_step_loses_and_doubles_nothing() {
        let Some(dir) = directory() else { return };
        let mut survived = false;
        for steps in 0..100 {
            // A log that repeats itself: its head looks the same whether it was taken away or not.
            for repeating in [false, true] {
                let log = dir.path().join(format!("{steps}-{repeating}.log"));
                let mut expected = if repeating { "again\n".repeat(20_000) } else { lines(0, 2_000) };
                std::fs::write(&log, &expected).expect("writes");
                let mut writer = File::options().append(true).open(&log).expect("opens");
                arm(Some(steps));
                let result = rotate(&log);
                arm(None);
                survived = result.is_ok();
                writer.write_all(b"meanwhile\n").expect("writes");
                expected.push_str("meanwhile\n");
                // Death in the recovery, too.
                for again in 0..3 {
                    arm(Some(again));
                    let _ = recover(&log);
                    arm(None);
                }
                recover(&log).expect("recovers");
                assert!(everything(&log) == expected.as_bytes(), "killed after {steps} steps, repeating: {repeating}");
                let ledger = Ledger::write(&log).expect("opens");
                let header = ledger.header_for(&writer).expect("reads");
                let archived: u64 =
                    archive::list(&log).expect("lists").iter().map(|a| a.path.metadata().expect("stats").len()).sum();
                assert!(header.is_steady() && header.base == archived, "killed after {steps} steps: {header:?}");
            }
            if survived {
                return;
            }
        }
        panic!("it never came to its end");
    }

    #[test]
    fn a_flood_is_cut_between_two_bytes() {
        let Some(dir) = directory() else { return };
        let log = dir.path().join("flood.log");
        let mut writer = File::options().append(true).create(true).open(&log).expect("opens");
        let flood = std::thread::spawn(move || {
            for piece in 0..4_000 {
                writer.write_all(lines(piece * 20, piece * 20 + 20).as_bytes()).expect("writes");
            }
        });
        let mut rotations = 0;
        while !flood.is_finished() {
            rotations += usize::from(rotate(&log).expect("rotates").is_some());
        }
        flood.join().expect("it wrote all");
        assert!(rotations > 0);
        assert!(everything(&log) == lines(0, 80_000).as_bytes(), "after {rotations} rotations");
    }

    #[test]
    fn a_log_that_was_emptied_in_between_is_not_cut() {
        let Some(dir) = directory() else { return };
        let log = dir.path().join("a.log");
        std::fs::write(&log, lines(0, 2_000)).expect("writes");
        let file = open_log(&log).expect("opens");
        let ledger = Ledger::write(&log).expect("opens");
        let base = ledger.header_for(&file).expect("reads").base;
        let copied = copy_head(&log, &file, base, 4096).expect("copies");
        std::fs::write(&log, lines(5_000, 6_000)).expect("writes");
        finish(&log, &file, &ledger, &copied, None).expect("finishes");
        assert_eq!(std::fs::read_to_string(&log).expect("reads"), lines(5_000, 6_000));
    }

    #[test]
    fn links_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let (real, link) = (dir.path().join("real"), dir.path().join("link.log"));
        std::fs::write(&real, lines(0, 2_000)).expect("writes");
        std::os::unix::fs::symlink(&real, &link).expect("links");
        assert!(rotate(&link).is_err());
        std::fs::remove_file(&link).expect("removes");
        std::fs::hard_link(&real, &link).expect("links");
        assert!(rotate(&link).expect_err("refused").to_string().contains("another name"));
    }
}
