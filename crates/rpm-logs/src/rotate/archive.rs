//! The names of archives: pm2-logrotate's, so that what reads those reads these.
//!
//! `api-out.log` becomes `api-out__2026-11-25_19-20-05.log`, and `….log.gz` when it is compressed. The date is the local
//! time of the rotation. An archive never changes its name (but for `.gz`), so backups and followers are not confused by
//! numbers that move up. A second one within the same second is `…_19-20-05.1.log`.
//!
//! The names are also the order: a new one is later than all there are, even when the clock was set back.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::ledger::Ledger;
use crate::crash::step;
use crate::date::Stamp;

const DATE: &str = "%Y-%m-%d_%H-%M-%S";

/// When an archive was cut off: the date in its name, and its number within that second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    date: DateTime,
    number: u32,
}

impl Mark {
    /// Returns the mark of the present second.
    pub fn now() -> Self {
        let now = Timestamp::now().to_zoned_datetime(TimeZone::system()).datetime();
        Self { date: now.with().subsec_nanosecond(0).build().unwrap_or(now), number: 0 }
    }

    /// Returns a mark later than `other`.
    pub fn after(self, other: Option<Mark>) -> Self {
        match other {
            Some(other) if other >= self => Self { date: other.date, number: other.number + 1 },
            Some(_) | None => self,
        }
    }

    /// Returns the time it stands for, by this machine's zone.
    pub fn stamp(self) -> Stamp {
        Stamp(self.date.to_zoned_datetime(TimeZone::system()).map_or(0, |time| time.timestamp().as_millisecond()))
    }
}

/// One archive of a log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Archive {
    /// When it was cut off.
    pub mark: Mark,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is compressed.
    pub gzip: bool,
}

/// Returns the archives of a log, oldest first. One that is there both plain and compressed, since somebody was killed
/// between the two, is returned compressed.
pub fn list(log: &Path) -> io::Result<Vec<Archive>> {
    let Some((directory, stem, extension)) = parts(log) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Some((mark, gzip)) = parse(&name, stem, extension) else { continue };
        if entry.file_type()?.is_file() {
            found.push(Archive { mark, path: entry.path(), gzip });
        }
    }
    // The compressed one of a pair first.
    found.sort_by_key(|archive| (archive.mark, !archive.gzip));
    found.dedup_by_key(|archive| archive.mark);
    Ok(found)
}

/// Renames a log to its next archive; nothing when the name belongs to another file than `identity` by now.
pub(crate) fn rename(log: &Path, identity: (u64, u64)) -> io::Result<Option<PathBuf>> {
    let meta = std::fs::symlink_metadata(log)?;
    if (meta.dev(), meta.ino()) != identity {
        return Ok(None);
    }
    let archive = next(log)?;
    step()?;
    // What comes now has its place behind all of this. A ledger that cannot be written costs the precision of times.
    let _ = Ledger::write(log).and_then(|ledger| ledger.leave_behind(meta.len()));
    step()?;
    renameat_with(CWD, log, CWD, &archive, RenameFlags::NOREPLACE)?;
    step()?;
    Ok(Some(archive))
}

/// Returns the path of the next archive, which does not exist.
pub fn next(log: &Path) -> io::Result<PathBuf> {
    let newest = list(log)?.last().map(|archive| archive.mark);
    path_of(log, Mark::now().after(newest)).ok_or_else(|| io::Error::other("the log's path has no name"))
}

/// Returns where the archive of a log is that was cut off then.
pub fn path_of(log: &Path, mark: Mark) -> Option<PathBuf> {
    let (directory, stem, extension) = parts(log)?;
    let date = mark.date.strftime(DATE);
    let number = if mark.number > 0 { format!(".{}", mark.number) } else { String::new() };
    Some(directory.join(format!("{stem}__{date}{number}{extension}")))
}

/// Returns the path of a hidden file beside a log: `.api-out.log.SUFFIX`.
pub(super) fn beside(log: &Path, suffix: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(log.file_name().unwrap_or_default());
    name.push(suffix);
    log.with_file_name(name)
}

/// Returns the directory, `api-out` and `.log`.
fn parts(log: &Path) -> Option<(&Path, &str, &str)> {
    let name = log.file_name()?.to_str()?;
    let directory = log.parent()?;
    Some(match name.rfind('.') {
        Some(dot) if dot > 0 => (directory, &name[..dot], &name[dot..]),
        Some(_) | None => (directory, name, ""),
    })
}

fn parse(name: &str, stem: &str, extension: &str) -> Option<(Mark, bool)> {
    let rest = name.strip_prefix(stem)?.strip_prefix("__")?;
    let (rest, gzip) = match rest.strip_suffix(".gz") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let text = rest.strip_suffix(extension)?;
    let (date, number) = match text.split_once('.') {
        // Only as we write it: `.01` would be another archive's name for the same mark.
        Some((date, number)) if !number.starts_with('0') => (date, number.parse().ok()?),
        Some(_) => return None,
        None => (text, 0),
    };
    // strptime takes single digits too.
    let right_length = date.len() == "2026-11-25_19-20-05".len();
    let date = DateTime::strptime(DATE, date).ok().filter(|_| right_length)?;
    Some((Mark { date, number }, gzip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(date: &str, number: u32) -> Mark {
        Mark { date: DateTime::strptime(DATE, date).expect("a date"), number }
    }

    #[test]
    fn names_are_pm2_logrotates() {
        for (log, number, expected) in [
            ("/l/api-out.log", 0, "/l/api-out__2026-11-25_19-20-05.log"),
            ("/l/api-out-3.log", 2, "/l/api-out-3__2026-11-25_19-20-05.2.log"),
            ("/l/plain", 0, "/l/plain__2026-11-25_19-20-05"),
            ("/l/.hidden", 1, "/l/.hidden__2026-11-25_19-20-05.1"),
        ] {
            let mark = mark("2026-11-25_19-20-05", number);
            let path = path_of(Path::new(log), mark).expect("a path");
            assert_eq!(path, Path::new(expected));
            let name = path.file_name().and_then(|name| name.to_str()).expect("text");
            let (_, stem, extension) = parts(Path::new(log)).expect("parts");
            assert_eq!(parse(name, stem, extension), Some((mark, false)));
            assert_eq!(parse(&format!("{name}.gz"), stem, extension), Some((mark, true)));
        }
    }

    #[test]
    fn what_only_looks_like_an_archive_is_left_alone() {
        for name in [
            "a.log",
            "a__.log",
            "a__2026-11-25.log",
            "a__2026-11-25_19-20-5.log",
            "a__2026-11-25_19-20-05.log.bak",
            "a__2026-11-25_19-20-05.01.log",
            "a__2026-11-25_19-20-05..log",
            "a-b__2026-11-25_19-20-05.log",
        ] {
            assert_eq!(parse(name, "a", ".log"), None, "{name}");
        }
    }

    #[test]
    fn a_new_one_is_later_even_when_the_clock_went_back() {
        let old = mark("2026-11-25_19-20-05", 0);
        let new = mark("2026-11-25_19-00-00", 0);
        assert_eq!(new.after(Some(old)), mark("2026-11-25_19-20-05", 1));
        assert_eq!(old.after(Some(new)), old);
        assert_eq!(old.after(None), old);
    }

    #[test]
    fn the_compressed_one_of_a_pair_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("a.log");
        for name in ["a__2026-11-25_19-20-05.log", "a__2026-11-25_19-20-05.log.gz", "a__2025-11-25_19-20-05.log", "b"] {
            std::fs::write(dir.path().join(name), "x").expect("writes");
        }
        let found: Vec<bool> = list(&log).expect("lists").iter().map(|archive| archive.gzip).collect();
        assert_eq!(found, [false, true]);
    }
}
