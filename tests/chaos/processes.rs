//! What /proc tells of the processes of one scenario: all have its state directory in their environment.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

/// One process.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) state: char,
    /// Clock ticks since boot: with the pid this names a process for ever.
    pub(crate) started: u64,
    /// The mark of a worker and its descendants: `seat.generation`.
    pub(crate) life: Option<String>,
    /// The app's name, as its environment tells it.
    pub(crate) app: Option<String>,
}

impl Process {
    /// Returns the seat in the mark.
    pub(crate) fn seat(&self) -> Option<&str> {
        self.life.as_deref()?.split('.').next()
    }
}

/// Looks again and again; remembers what cannot change.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    needle: Vec<u8>,
    seen: HashMap<(i32, u64), Option<Process>>,
}

impl Scanner {
    pub(crate) fn new(home: &Path) -> Self {
        Self { needle: format!("RPM_HOME={}", home.display()).into_bytes(), seen: HashMap::new() }
    }

    /// Returns the processes of this scenario; zombies are not among them, since they have no environment.
    pub(crate) fn scan(&mut self) -> Vec<Process> {
        let now = uptime_ticks();
        let mut found = Vec::new();
        let mut seen = HashMap::new();
        for pid in pids() {
            let Some((parent, state, started)) = stat(pid) else { continue };
            let known = self.seen.remove(&(pid, started));
            let process = match known {
                Some(known) => known.map(|known| Process { parent, state, ..known }),
                None => self.look(pid, parent, state, started),
            };
            // A process has the environment of its parent until it has become another program.
            let is_settled = process.as_ref().is_some_and(|process| process.life.is_some()) || now > started + 100;
            if is_settled {
                seen.insert((pid, started), process.clone());
            }
            found.extend(process.filter(|process| process.state != 'Z'));
        }
        self.seen = seen;
        found
    }

    fn look(&self, pid: i32, parent: i32, state: char, started: u64) -> Option<Process> {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let variables = || environment.split(|byte| *byte == 0);
        variables().find(|variable| **variable == self.needle[..])?;
        let value = |name: &str| {
            let value = variables().find_map(|variable| variable.strip_prefix(name.as_bytes()))?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        Some(Process { pid, parent, state, started, life: value("RPM_LIFE="), app: value("name=") })
    }
}

/// Returns the main processes of workers: those that are not the children of a process of the same life.
pub(crate) fn mains(processes: &[Process]) -> Vec<&Process> {
    let is_main = |process: &&Process| {
        process.life.is_some()
            && !processes.iter().any(|other| other.pid == process.parent && other.life == process.life)
    };
    processes.iter().filter(is_main).collect()
}

/// Returns the pids of the dead children that their parent has not waited for.
pub(crate) fn zombies_of(parents: &[i32]) -> Vec<i32> {
    let is_one = |pid: &i32| stat(*pid).is_some_and(|(parent, state, _)| state == 'Z' && parents.contains(&parent));
    pids().into_iter().filter(is_one).collect()
}

/// Returns the resident memory in KiB.
pub(crate) fn rss_kib(pid: i32) -> Option<u64> {
    field(pid, "VmRSS:")?.split_whitespace().next()?.parse().ok()
}

/// Returns a line of /proc/PID/status.
pub(crate) fn field(pid: i32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned())
}

/// Returns the numbers of the open descriptors, and what they lead to.
pub(crate) fn descriptors(pid: i32) -> Vec<(i32, String)> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let mut open: Vec<(i32, String)> = entries
        .flatten()
        .filter_map(|entry| {
            let target = std::fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, target.to_string_lossy().into_owned()))
        })
        .collect();
    open.sort();
    open
}

/// Returns the clock ticks of CPU that a process has used.
pub(crate) fn cpu_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let number = |index| rest.split_whitespace().nth(index).and_then(|word: &str| word.parse::<u64>().ok());
    number(11).unwrap_or(0) + number(12).unwrap_or(0)
}

/// For how long others have kept the CPU from a process, from us, and from the machine, so far.
pub(crate) struct Kept {
    threads: BTreeMap<i32, Duration>,
    from_us: Duration,
    from_the_machine: Duration,
}

impl Kept {
    pub(crate) fn from(pid: i32) -> Self {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let tids = tasks.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let waited = |tid: i32| (tid, waited_for_cpu(&format!("/proc/{pid}/task/{tid}/schedstat")));
        let threads = tids.map(waited).collect();
        Self { threads, from_us: waited_for_cpu("/proc/thread-self/schedstat"), from_the_machine: stolen() }
    }

    /// Returns how much of that came since `before`, for a question that goes through us, the process's main thread and one
    /// other, of which nobody knows which it was.
    pub(crate) fn since(&self, before: &Self, pid: i32) -> Duration {
        let more = |(tid, waited): (&i32, &Duration)| {
            waited.saturating_sub(before.threads.get(tid).copied().unwrap_or_default())
        };
        let main = self.threads.get_key_value(&pid).map(more).unwrap_or_default();
        let other = self.threads.iter().filter(|(tid, _)| **tid != pid).map(more).max().unwrap_or_default();
        let ours = self.from_us.saturating_sub(before.from_us);
        main + other + ours + self.from_the_machine.saturating_sub(before.from_the_machine)
    }
}

/// Returns for how long a thread was ready to run, and another one ran instead.
fn waited_for_cpu(schedstat: &str) -> Duration {
    let text = std::fs::read_to_string(schedstat).unwrap_or_default();
    let nanos = text.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// Returns for how long other machines ran on our processors: steal time, in hundredths of a second.
fn stolen() -> Duration {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = text.lines().next().unwrap_or_default();
    let ticks: u64 = all.split_whitespace().nth(8).and_then(|word| word.parse().ok()).unwrap_or(0);
    Duration::from_millis(ticks * 10)
}

fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc is there");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn stat(pid: i32) -> Option<(i32, char, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = stat.rsplit(')').next()?.split_whitespace();
    let state = words.next()?.chars().next()?;
    let parent = words.next()?.parse().ok()?;
    let started = words.nth(17)?.parse().ok()?;
    Some((parent, state, started))
}

fn uptime_ticks() -> u64 {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds: f64 = uptime.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    (seconds * 100.0) as u64
}
