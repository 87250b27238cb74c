//! Whom the kernel has killed for want of memory: how many, and, where its log may be read, which.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::time::ClockId;

/// One record of the kernel's log has this many bytes at most.
const RECORD_MAX: usize = 8 << 10;

/// The first of all namespaces of process numbers; the kernel writes the numbers of this one into its log.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// How many processes were killed so far; nothing where the kernel does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kills {
    /// On the whole machine, of which a container is a part.
    pub machine: Option<u64>,
    /// In our own control group and below.
    pub group: Option<u64>,
}

impl Kills {
    /// Reads both counts.
    pub fn now() -> Self {
        let of = |path: &Path| {
            let text = fs::read_to_string(path).ok()?;
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.find(|(name, _)| *name == "oom_kill").and_then(|(_, count)| count.trim().parse().ok())
        };
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let own = own.map(|group| Path::new("/sys/fs/cgroup").join(group.trim_start_matches('/')));
        Self { machine: of(Path::new("/proc/vmstat")), group: own.and_then(|group| of(&group.join("memory.events"))) }
    }
}

/// What the kernel's log says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// The numbers of those it killed.
    pub victims: BTreeSet<i32>,
    /// So far back the log goes; what is older was overwritten.
    pub reaches: Duration,
}

impl Log {
    /// Reads it. `None` where we may not, or where processes have other numbers for us than for the kernel.
    pub fn read() -> Option<Self> {
        if fs::metadata("/proc/self/ns/pid").ok()?.ino() != FIRST_PID_NAMESPACE {
            return None;
        }
        let nonblocking = OFlags::NONBLOCK.bits() as i32;
        let mut file = File::options().read(true).custom_flags(nonblocking).open("/dev/kmsg").ok()?;
        let now = rustix::time::clock_gettime(ClockId::Monotonic);
        let now = Duration::new(now.tv_sec.unsigned_abs(), 0);
        let mut record = [0; RECORD_MAX];
        let (mut log, mut oldest) = (Self::default(), None);
        loop {
            match file.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    oldest = oldest.or_else(|| written_at(&text));
                    log.victims.extend(victim(&text));
                }
                // It was overwritten while we read: the next is there.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return None,
            }
        }
        log.reaches = now.saturating_sub(oldest.unwrap_or(now));
        Some(log)
    }
}

/// Returns when a record was written, since boot: `6,1234,5678901,-;text`. Of the very first nothing is older.
fn written_at(record: &str) -> Option<Duration> {
    let mut fields = record.split_once(';')?.0.split(',').skip(1);
    let (number, micros) = (fields.next()?, fields.next()?);
    if number == "0" { Some(Duration::ZERO) } else { micros.parse().ok().map(Duration::from_micros) }
}

/// Returns the number in `Memory cgroup out of memory: Killed process 4242 (node) total-vm:…`.
fn victim(record: &str) -> Option<i32> {
    let text = record.split_once(';')?.1;
    let (before, after) = text.split_once("illed process ")?;
    // Whoever may write to the log (`/dev/kmsg`) is root.
    before.contains("ut of memory").then(|| after.split(' ').next()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn victims_are_found_among_other_lines() {
        let found = |text| victim(text);
        let global = "3,812,9000,-;Out of memory: Killed process 4242 (node) total-vm:1kB, anon-rss:1kB\n";
        assert_eq!(found(global), Some(4242));
        assert_eq!(found("3,1,9,-;Memory cgroup out of memory: Killed process 7 (a b) total-vm:1kB\n"), Some(7));
        assert_eq!(found("6,1,9,-;oom_reaper: reaped process 4242 (node), now anon-rss:0kB\n"), None);
        assert_eq!(found("garbage"), None);
        assert_eq!(written_at(global), Some(Duration::from_millis(9)));
        assert_eq!(written_at("5,0,70,-;Linux version 6\n"), Some(Duration::ZERO));
    }

    #[test]
    fn the_log_is_read_or_refused() {
        // Whether it may be read is the machine's business.
        if let Some(log) = Log::read() {
            assert!(log.reaches > Duration::ZERO, "{log:?}");
        }
        let kills = Kills::now();
        assert!(kills.machine.is_some() || kills.group.is_some() || !Path::new("/proc/vmstat").exists());
    }
}
