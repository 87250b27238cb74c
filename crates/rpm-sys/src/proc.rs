//! What `/proc` and the clocks say about processes and the machine.
//!
//! Everything is a snapshot: by the time it is read the process may be gone, which is `None` and never an error.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::ClockId;

use crate::error::{Result, SysError};

/// One process, as `/proc/PID/stat` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Its number.
    pub pid: i32,
    /// Its name: at most 15 bytes, and anything may be in it.
    pub comm: String,
    /// `R`unning, `S`leeping, `D` uninterruptible, `Z`ombie, s`T`opped …
    pub state: u8,
    /// Its parent.
    pub ppid: i32,
    /// Its process group.
    pub pgrp: i32,
    /// Its session.
    pub session: i32,
    /// Its terminal: `pts/3`, `tty1`; nothing when it has none.
    pub terminal: Option<String>,
    /// CPU time spent in its own code.
    pub utime: Duration,
    /// CPU time spent in the kernel.
    pub stime: Duration,
    /// When it was started, in clock ticks since boot.
    pub start_time: u64,
    /// Memory that is in RAM now.
    pub rss_bytes: u64,
    /// How many threads it has.
    pub threads: u32,
    /// It has begun to end: its memory may be gone already, and with that its environment.
    pub is_exiting: bool,
}

/// Reads what is known about a process; `None` when there is no such process.
pub fn stat(pid: i32) -> Option<Stat> {
    StatFile::open(pid)?.stat()
}

/// Returns when a process was started, in clock ticks since boot; `None` when there is no such process.
pub fn start_time(pid: i32) -> Option<u64> {
    stat(pid).map(|stat| stat.start_time)
}

/// An open `/proc/PID/stat`: it goes on meaning the same process, and reading it again needs no lookup of a path.
#[derive(Debug)]
pub struct StatFile(File);

/// What changes about a process all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// CPU time spent so far, in its own code and in the kernel.
    pub cpu: Duration,
    /// The same of its children that have ended and were waited for, and of theirs.
    pub cpu_of_ended: Duration,
    /// Memory that is in RAM now, in bytes.
    pub rss: u64,
    /// How many threads it has.
    pub threads: u32,
    /// As [`Stat::state`].
    pub state: u8,
}

impl StatFile {
    /// Opens the file of the process that has this number now; `None` when there is none.
    pub fn open(pid: i32) -> Option<Self> {
        File::open(format!("/proc/{pid}/stat")).ok().map(Self)
    }

    /// Reads the file again; `None` when the process is gone.
    pub fn sample(&self) -> Option<Sample> {
        let mut buffer = [0; STAT_MAX];
        let fields = StatFields::of(self.read(&mut buffer)?)?;
        // Hundreds of processes are looked at in a row: each line is gone through once.
        let mut values = fields.tail.split_ascii_whitespace().enumerate();
        let mut next = |place| values.find(|(at, _)| *at == place)?.1.parse::<u64>().ok();
        let (utime, stime) = (next(UTIME)?, next(STIME)?);
        let (utime_of_ended, stime_of_ended) = (next(UTIME_OF_ENDED)?, next(STIME_OF_ENDED)?);
        let (threads, pages) = (next(THREADS)?, next(RSS)?);
        Some(Sample {
            cpu: ticks(utime + stime),
            cpu_of_ended: ticks(utime_of_ended + stime_of_ended),
            rss: pages * page_size(),
            threads: u32::try_from(threads).ok()?,
            state: fields.state()?,
        })
    }

    /// Reads everything; `None` when the process is gone.
    pub fn stat(&self) -> Option<Stat> {
        let mut buffer = [0; STAT_MAX];
        Stat::parse(self.read(&mut buffer)?)
    }

    fn read<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let length = self.0.read_at(buffer, 0).ok().filter(|length| *length > 0)?;
        Some(&buffer[..length])
    }
}

/// Tells which numbers were given to processes: the kernel hands them out one after another.
///
/// For who wants to know whether somebody has a child now and would have to look at everybody otherwise.
#[derive(Debug)]
pub struct Births {
    load: File,
    last: i32,
}

impl Births {
    /// Begins here. `None` where the kernel does not tell.
    pub fn open() -> Option<Self> {
        let mut births = Self { load: File::open("/proc/loadavg").ok()?, last: 0 };
        births.last = births.latest()?;
        Some(births)
    }

    /// Returns the numbers given since the last call, those of threads too. `None` when nobody can tell: they have
    /// begun anew from the lowest.
    pub fn since_last(&mut self) -> Option<Range<i32>> {
        let latest = self.latest()?;
        let before = std::mem::replace(&mut self.last, latest);
        (latest >= before).then(|| before.saturating_add(1)..latest.saturating_add(1))
    }

    fn latest(&self) -> Option<i32> {
        let mut buffer = [0; 128];
        let length = self.load.read_at(&mut buffer, 0).ok()?;
        std::str::from_utf8(&buffer[..length]).ok()?.split_ascii_whitespace().next_back()?.parse().ok()
    }
}

/// An open `/proc/PID/fd`, of which nothing is read but how many entries it has.
#[derive(Debug)]
pub struct FdDir(File);

impl FdDir {
    /// Opens the directory of the process that has this number now; `None` when there is none.
    pub fn open(pid: i32) -> Option<Self> {
        // By its path alone: to list another user's would take a right that to count does not.
        let mut by_path = OpenOptions::new();
        by_path.read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY);
        by_path.open(format!("/proc/{pid}/fd")).ok().map(Self)
    }

    /// Returns how many descriptors the process has open; `None` when it is gone. Since Linux 6.2 the size of this
    /// directory is the number of its entries; before, it is 0, and `None` is told.
    pub fn count(&self) -> Option<u64> {
        self.0.metadata().ok().map(|meta| meta.len()).filter(|size| *size > 0)
    }
}

/// Some 52 numbers of up to 20 digits.
const STAT_MAX: usize = 1536;

// Places in /proc/PID/stat, counted from the state, which follows the name.
const PPID: usize = 1;
const PGRP: usize = 2;
const SESSION: usize = 3;
const FLAGS: usize = 6;
const TTY: usize = 4;
const UTIME: usize = 11;
const STIME: usize = 12;
const UTIME_OF_ENDED: usize = 13;
const STIME_OF_ENDED: usize = 14;
const THREADS: usize = 17;
const START_TIME: usize = 19;
const RSS: usize = 21;

/// Set before anything else of an ending process is given back (the kernel's include/linux/sched.h).
const PF_EXITING: u32 = 0x4;

/// The fields after the name. The name itself may hold blanks and parentheses, so they begin at the last one.
struct StatFields<'a> {
    head: &'a [u8],
    tail: &'a str,
}

impl<'a> StatFields<'a> {
    fn of(line: &'a [u8]) -> Option<Self> {
        let end = line.iter().rposition(|byte| *byte == b')')?;
        Some(Self { head: &line[..end], tail: std::str::from_utf8(line.get(end + 2..)?).ok()? })
    }

    fn number<T: std::str::FromStr>(&self, place: usize) -> Option<T> {
        self.tail.split_ascii_whitespace().nth(place)?.parse().ok()
    }

    fn state(&self) -> Option<u8> {
        self.tail.bytes().next()
    }
}

impl Stat {
    fn parse(line: &[u8]) -> Option<Self> {
        let fields = StatFields::of(line)?;
        let open = fields.head.iter().position(|byte| *byte == b'(')?;
        Some(Self {
            pid: std::str::from_utf8(&fields.head[..open]).ok()?.trim().parse().ok()?,
            comm: String::from_utf8_lossy(&fields.head[open + 1..]).into_owned(),
            state: fields.state()?,
            ppid: fields.number(PPID)?,
            pgrp: fields.number(PGRP)?,
            session: fields.number(SESSION)?,
            terminal: terminal(fields.number(TTY)?),
            utime: ticks(fields.number(UTIME)?),
            stime: ticks(fields.number(STIME)?),
            start_time: fields.number(START_TIME)?,
            rss_bytes: fields.number::<u64>(RSS)? * page_size(),
            threads: fields.number(THREADS)?,
            is_exiting: fields.number::<u32>(FLAGS)? & PF_EXITING != 0,
        })
    }
}

/// Returns the name of a terminal by its device number, whose minor number lies around the major one.
fn terminal(device: u32) -> Option<String> {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match major {
        // Unix 98 terminals have eight major numbers of 256 each.
        136..=143 => Some(format!("pts/{}", (major - 136) * 256 + minor)),
        4 => Some(format!("tty{minor}")),
        _ => None,
    }
}

/// Returns whether a thread of a process runs, waits for its turn, or for the disk.
pub fn has_busy_thread(pid: i32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.into_iter().any(|thread| {
        let line = fs::read(thread.path().join("stat")).unwrap_or_default();
        StatFields::of(&line).and_then(|fields| fields.state()).is_some_and(|state| state != b'S')
    })
}

/// Returns the words a process was started with, joined by blanks; empty when it is gone.
pub fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ")
}

/// Returns the CPU time of all living threads of a process, to the nanosecond (`stat` counts in hundredths).
///
/// `None` when the process is gone or the kernel keeps no such count.
pub fn run_time(pid: i32) -> Option<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        // A thread that has just left has no file any more.
        let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
        total += text.split_ascii_whitespace().next()?.parse::<u64>().ok()?;
    }
    (total > 0).then(|| Duration::from_nanos(total))
}

/// Returns the children of a process.
pub fn children(pid: i32) -> Vec<i32> {
    children_listed(pid).unwrap_or_else(|| Table::scan().children(pid).to_vec())
}

/// Returns all descendants of a process, parents before their children.
pub fn descendants(pid: i32) -> Vec<i32> {
    let mut listed = children_listed(pid);
    // Asked once, since without the kernel's lists each question would cost a scan.
    let table = listed.is_none().then(Table::scan);
    let mut found = Vec::new();
    let mut next = 0;
    let mut parent = pid;
    loop {
        let children = match &table {
            Some(table) => table.children(parent).to_vec(),
            None => listed.take().or_else(|| children_listed(parent)).unwrap_or_default(),
        };
        // While we read, a number may be given to another process; that must not send us in circles.
        found.extend(children.into_iter().filter(|child| *child != pid).collect::<Vec<_>>());
        let Some(following) = found.get(next) else { break };
        parent = *following;
        next += 1;
        if next > DESCENDANTS_MAX {
            break;
        }
    }
    found.dedup();
    found
}

/// More processes than a machine has by default (pid_max); reached only by going in circles.
const DESCENDANTS_MAX: usize = 32_768;

/// The kernel's own lists, one for each thread; `None` when there are none (CONFIG_PROC_CHILDREN, or no process).
fn children_listed(pid: i32) -> Option<Vec<i32>> {
    let mut found = Vec::new();
    let mut any = false;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        if let Ok(text) = fs::read_to_string(thread.path().join("children")) {
            any = true;
            found.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
    }
    any.then_some(found)
}

/// Who is whose child, by asking every process for its parent.
struct Table(BTreeMap<i32, Vec<i32>>);

impl Table {
    fn scan() -> Self {
        let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for pid in pids() {
            if let Some(stat) = stat(pid) {
                children.entry(stat.ppid).or_default().push(pid);
            }
        }
        Self(children)
    }

    fn children(&self, pid: i32) -> &[i32] {
        self.0.get(&pid).map_or(&[], Vec::as_slice)
    }
}

/// Returns every process there is.
pub fn pids() -> Vec<i32> {
    let Ok(listing) = fs::read_dir("/proc") else { return Vec::new() };
    listing.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Returns whether a process has this number, be it a zombie.
pub fn exists(pid: i32) -> bool {
    let tested = rustix::process::Pid::from_raw(pid).map(rustix::process::test_kill_process);
    // Another user's may not be signalled, so it is there.
    tested.is_some_and(|tested| tested != Err(rustix::io::Errno::SRCH))
}

/// Returns whether the process was started with this `NAME=value` in its environment; `false` when it may not be read.
pub fn environ_has(pid: i32, variable: &[u8]) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| one == variable))
}

/// Returns a variable of the environment that a process was started with; `None` when it is not there or may not be read.
pub fn environ_get(pid: i32, name: &str) -> Option<String> {
    let all = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = all.split(|byte| *byte == 0).find_map(|one| one.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    String::from_utf8(value.to_vec()).ok()
}

/// By this name a child executes the program that its parent is, also when the file has been replaced or deleted.
pub const OWN_PROGRAM: &str = "/proc/self/exe";

/// Returns the file name of the program a process executes, also when that file has been deleted.
pub fn exe_name(pid: i32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = path.file_name()?.to_string_lossy();
    Some(name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned())
}

/// Returns what tells this run of the machine from every other.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).map_err(|error| SysError::from_io("read(boot_id)", &error))?;
    Ok(text.trim().to_owned())
}

/// Returns the microseconds since boot, time asleep included. Nobody can set this clock.
pub fn boot_clock_micros() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Boottime);
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000
}

/// Returns the milliseconds since 1970, as far as the machine's clock is set.
pub fn wall_clock_millis() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Realtime);
    now.tv_sec.unsigned_abs() * 1_000 + now.tv_nsec.unsigned_abs() / 1_000_000
}

/// Returns the machine's memory in bytes.
pub fn total_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram * u64::from(info.mem_unit)
}

/// Returns how many processes wanted to run or waited for a disk, on average over 1, 5 and 15 minutes.
pub fn load_average() -> [f64; 3] {
    /// sysinfo(2): SI_LOAD_SHIFT.
    const ONE: f64 = 65536.0;
    rustix::system::sysinfo().loads.map(|load| load as f64 / ONE)
}

/// Returns the bytes of memory that programs could still get without any being swapped out; `None` where the kernel
/// does not tell.
pub fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()? * 1024)
}

/// Returns the clock ticks of a second, in which `/proc` counts.
pub fn ticks_per_second() -> u64 {
    static TICKS: OnceLock<u64> = OnceLock::new();
    // SAFETY: sysconf reads a constant.
    *TICKS.get_or_init(|| u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100).max(1))
}

fn ticks(count: u64) -> Duration {
    Duration::from_nanos(count.saturating_mul(1_000_000_000 / ticks_per_second()))
}

fn page_size() -> u64 {
    static SIZE: OnceLock<u64> = OnceLock::new();
    // SAFETY: sysconf reads a constant.
    *SIZE.get_or_init(|| u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_may_look_like_the_end_of_itself() {
        let line = b"42 (a) S 1 (b) S 7 8 9 0 -1 4194560 1 2 3 4 150 50 5 6 20 0 3 0 777 8000 25 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.pid, stat.comm.as_str(), stat.state), (42, "a) S 1 (b", b'S'));
        assert_eq!((stat.ppid, stat.pgrp, stat.session, stat.threads), (7, 8, 9, 3));
        assert_eq!((stat.start_time, stat.rss_bytes), (777, 25 * page_size()));
        assert_eq!(stat.utime + stat.stime, ticks(200));
        assert_eq!(Stat::parse(b"42 (a"), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn a_kept_descriptor_sees_the_same_process_until_it_is_gone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id() as i32;
        let file = StatFile::open(pid).unwrap();
        assert!(file.sample().is_some());
        let open = FdDir::open(pid).unwrap();
        // A program has three at least; the kernel may not tell.
        assert!(open.count().is_none_or(|count| count >= 3), "{:?}", open.count());
        let own = StatFile::open(std::process::id() as i32).unwrap();
        let (sample, whole) = (own.sample().unwrap(), own.stat().unwrap());
        assert!(sample.rss > 0 && sample.threads > 0 && sample.cpu <= whole.utime + whole.stime, "{sample:?}");
        assert_eq!(stat(pid).unwrap().ppid, std::process::id() as i32);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(file.sample(), None);
        assert_eq!(open.count(), None);
        assert_eq!(stat(pid), None);
        assert!(run_time(std::process::id() as i32).is_some());
        assert_eq!(run_time(pid), None);
    }

    #[test]
    fn descendants_are_found_by_list_and_by_scan() {
        let mut shell = Command::new("sh")
            .args(["-c", "sh -c 'sleep 60 & echo $!; wait' & wait"])
            .stdout(Stdio::piped())
            .env("RPM_TEST_MARK", "yes")
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let grandchild: i32 = line.trim().parse().unwrap();
        let top = shell.id() as i32;
        let middle = stat(grandchild).unwrap().ppid;
        assert_eq!(descendants(top), [middle, grandchild]);
        if let Some(listed) = children_listed(top) {
            assert_eq!(listed, [middle]);
        }
        let table = Table::scan();
        assert_eq!((table.children(top), table.children(middle)), (&[middle][..], &[grandchild][..]));
        assert!(environ_has(middle, b"RPM_TEST_MARK=yes") && !environ_has(middle, b"RPM_TEST_MARK=ye"));
        assert!(exe_name(middle).is_some());
        // From the top: one that is killed before its parent may be waited for before its parent is looked up.
        for pid in [top, middle, grandchild] {
            crate::pidfd::Pidfd::open(pid).unwrap().signal(libc::SIGKILL).unwrap();
        }
        shell.wait().unwrap();
    }

    #[test]
    fn a_child_is_among_those_born_since() {
        let mut births = Births::open().unwrap();
        let mut child = Command::new("true").spawn().unwrap();
        let born = births.since_last();
        // Numbers begin anew at some time.
        assert!(born.is_none_or(|born| born.contains(&(child.id() as i32))));
        child.wait().unwrap();
    }

    #[test]
    fn the_machine_is_described() {
        assert_eq!(boot_id().unwrap().len(), 36);
        assert!(boot_clock_micros() > 0 && wall_clock_millis() > 1_600_000_000_000);
        assert!(total_memory() > 1 << 24);
        assert!(children(i32::MAX).is_empty());
    }
}
