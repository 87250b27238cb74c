//! One log that the [rotator](super::rotator) watches: when it is looked at, and what is seen then.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::fs::inotify::{self, WatchFlags};

use super::claim::Claim;
use super::collapse;
use super::ledger::Ledger;
use super::rotator::{Event, Log, Written};
use crate::date::Stamp;
use crate::hand;

/// Between two looks at a log that grows; times of lines are right to this.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// A log that grows by gigabytes a second passes its limit by a tenth of that at most.
pub(super) const LOOK_MIN: Duration = Duration::from_millis(50);

/// More in a second than a disk takes: a burst into memory. To copy a log meanwhile would cost its writers a fifth of
/// their speed, and the disk is behind anyway.
const BURST: u64 = 512 << 20;

/// How long a burst may keep a log from being rotated.
const BURST_MAX: Duration = Duration::from_secs(1);

/// A log whose rotation failed, or that is not there, is left alone for so long.
pub(super) const REST: Duration = Duration::from_secs(15);

/// A log in whose place another file stands is left alone for so long: whoever renamed it (logrotate) is about to say
/// so, and then it is [put back](super::moved) by what the ledger knows of it.
const GRACE: Duration = Duration::from_secs(5);

/// Less free than this is a full disk: one write of a busy app.
const ROOM_MIN: u64 = 64 << 10;

/// Whatever happens to a file fires the watch: growth, another name, removal.
const NEWS: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONESHOT)
    .union(WatchFlags::DONT_FOLLOW);

/// One log, and what was last seen of it.
pub(super) struct Watched {
    pub(super) log: Log,
    pub(super) written: Written,
    pub(super) seen: Option<Seen>,
    /// The file that stands in its place, and may be adopted.
    replaced_by: Option<(u64, u64)>,
    /// Since when a burst keeps it from being rotated.
    bursting_since: Option<Instant>,
    /// The watch that fires once, while nothing grows.
    pub(super) armed: Option<i32>,
    pub(super) look_at: Option<Instant>,
    /// When the clock rotates it.
    pub(super) rotate_at: Option<Stamp>,
    pub(super) failing: bool,
    /// Its disk is.
    pub(super) full: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) identity: (u64, u64),
    length: u64,
    at: Instant,
}

impl Watched {
    /// A log of which nothing is known yet.
    pub(super) fn new(log: Log, written: Written, rotate_at: Option<Stamp>) -> Self {
        Self {
            log,
            written,
            seen: None,
            replaced_by: None,
            bursting_since: None,
            armed: None,
            look_at: Some(Instant::now()),
            rotate_at,
            failing: false,
            full: false,
        }
    }

    /// Looks how long the log is; rotates it when it is too long, and returns the archive.
    pub(super) fn look(&mut self, inotify: &OwnedFd) -> io::Result<Option<PathBuf>> {
        let path = &self.log.path.clone();
        let _acting = hand::act_for(path)?;
        let meta = open(path)?.metadata()?;
        if !meta.is_file() {
            self.look_at = None;
            return Ok(None);
        }
        let now = Instant::now();
        let (identity, length) = ((meta.dev(), meta.ino()), meta.len());
        if !self.log.is_pumped && self.is_replaced(identity) {
            self.look_at = Some(now + GRACE);
            return Ok(None);
        }
        let before = self.seen.replace(Seen { identity, length, at: now });
        if before.is_none_or(|before| before.identity != identity || before.length != length) {
            self.note(length, Stamp::now())?;
        }
        let grown = before.filter(|before| before.identity == identity).map(|before| {
            let growth = if length < before.length { length + 1 } else { length - before.length };
            (growth, now - before.at)
        });
        let limit = self.log.rotation.max_size.map(|size| size.0);
        let must_rotate = !self.log.is_pumped && limit.is_some_and(|limit| length > limit);
        if must_rotate && grown.is_some_and(|(growth, elapsed)| is_burst(growth, elapsed)) {
            let since = *self.bursting_since.get_or_insert(now);
            if now - since < BURST_MAX {
                self.look_at = Some(now + LOOK_MIN);
                return Ok(None);
            }
        }
        self.bursting_since = None;
        if must_rotate && let Some(archive) = collapse::rotate(path)? {
            let length = open(path)?.metadata()?.len();
            self.seen = Some(Seen { identity, length, at: Instant::now() });
            // A flood may have filled it again meanwhile.
            self.look_at = Some(Instant::now() + LOOK_MIN);
            return Ok(Some(archive));
        }
        let (growth, elapsed) = grown.unwrap_or((length, LOOK_MAX));
        let left = limit.filter(|_| !self.log.is_pumped).map(|limit| limit.saturating_sub(length));
        self.look_at = next_look(growth, elapsed, left).map(|wait| now + wait);
        if self.look_at.is_none() {
            self.armed = Some(inotify::add_watch(inotify, path, NEWS)?);
            // What came before the watch was there does not fire it.
            if open(path)?.metadata()?.len() != length {
                self.look_at = Some(now + LOOK_MIN);
            }
        }
        Ok(None)
    }

    /// Returns whether another file has taken the log's place since the last look; once for each.
    fn is_replaced(&mut self, identity: (u64, u64)) -> bool {
        let is_other = self.seen.is_some_and(|seen| seen.identity != identity);
        let was_told = std::mem::replace(&mut self.replaced_by, is_other.then_some(identity));
        is_other && was_told != Some(identity)
    }

    /// Looks whether what the worker writes itself can be written, and soon again when not.
    pub(super) fn look_for_room(&mut self, on_event: &mut (dyn FnMut(Event) + Send)) {
        if self.log.is_pumped {
            // The pump knows better.
            self.full = false;
            return;
        }
        self.take_in_room(is_disk_full(&self.log.path), on_event);
    }

    pub(super) fn take_in_room(&mut self, is_full: bool, on_event: &mut (dyn FnMut(Event) + Send)) {
        let log = || self.log.path.clone();
        match (self.full, is_full) {
            (false, true) => on_event(Event::Full { log: log() }),
            (true, false) => on_event(Event::Room { log: log() }),
            (false, false) | (true, true) => {}
        }
        self.full = is_full;
        if is_full {
            self.look_at = Some(self.look_at.unwrap_or(Instant::now() + LOOK_MAX));
        }
    }

    /// Notes when the log went on after a silence.
    pub(super) fn time_first_bytes(&mut self, now: Instant) {
        // Until now it had not grown.
        if let Some(seen) = &mut self.seen {
            seen.at = now;
        }
        let is_there =
            |seen: &Seen| self.log.path.symlink_metadata().is_ok_and(|now| seen.identity == (now.dev(), now.ino()));
        if let Some(seen) = self.seen.filter(is_there) {
            // What is missing in the ledger costs the precision of a time.
            let _ = self.note(seen.length, Stamp::now());
        }
    }

    fn note(&self, length: u64, at: Stamp) -> io::Result<()> {
        let _acting = hand::act_for(&self.log.path)?;
        // The pump renames it in two steps, between which the ledger is of no file.
        let _claim = Claim::new(&self.log.path);
        let file = open(&self.log.path)?;
        let ledger = Ledger::write(&self.log.path)?;
        let header = ledger.header_for(&file)?;
        let place = header.base + length.min(file.metadata()?.len());
        // A head that is just being taken away would be counted twice.
        if ledger.header()? == header && header.is_steady() {
            self.written.0.fetch_max(place, Ordering::Relaxed);
        }
        ledger.note(place, at)
    }

    pub(super) fn fail(&mut self, error: io::Error, on_event: &mut (dyn FnMut(Event) + Send)) {
        if !std::mem::replace(&mut self.failing, true) {
            on_event(Event::Failed { log: self.log.path.clone(), error });
        }
    }
}

/// Returns whether the disk of a log has no room: what is left is less than the file system needs for itself to go on.
pub(super) fn is_disk_full(log: &Path) -> bool {
    let Some(space) = log.ancestors().find_map(|path| rustix::fs::statvfs(path).ok()) else { return false };
    // Some of it is root's alone.
    let free = if rustix::process::geteuid().is_root() { space.f_bfree } else { space.f_bavail };
    space.f_blocks > 0 && free.saturating_mul(space.f_frsize) < ROOM_MIN
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32).open(path)
}

/// Returns whether a log that grew by `growth` in `elapsed` grows faster than any disk takes it.
fn is_burst(growth: u64, elapsed: Duration) -> bool {
    growth as f64 > BURST as f64 * elapsed.as_secs_f64()
}

/// Returns when to look again at a log that grew by `growth` in `elapsed` and may grow by `left`; `None` when it did not
/// grow: then something else wakes us.
fn next_look(growth: u64, elapsed: Duration, left: Option<u64>) -> Option<Duration> {
    if growth == 0 {
        return None;
    }
    let Some(left) = left else { return Some(LOOK_MAX) };
    let full_in = elapsed.as_secs_f64() * left as f64 / growth as f64;
    Some(Duration::from_secs_f64(full_in.min(LOOK_MAX.as_secs_f64())).clamp(LOOK_MIN, LOOK_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_the_limit_the_sooner_the_look() {
        let second = Duration::from_secs(1);
        assert_eq!(next_look(0, second, Some(10)), None);
        assert_eq!(next_look(1, second, Some(1_000_000)), Some(LOOK_MAX));
        assert_eq!(next_look(1_000, second, Some(500)), Some(Duration::from_millis(500)));
        assert_eq!(next_look(1_000_000, second, Some(0)), Some(LOOK_MIN));
        assert_eq!(next_look(1, second, None), Some(LOOK_MAX));
    }

    #[test]
    fn what_comes_faster_than_disks_are_is_a_burst() {
        assert!(is_burst(100 << 20, LOOK_MIN));
        assert!(!is_burst(300 << 20, Duration::from_secs(1)));
        assert!(!is_burst(0, Duration::ZERO));
    }
}
