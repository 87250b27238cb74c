//! How much CPU and memory the workers use.
//!
//! Samples come from kept descriptors of `/proc/PID/stat`: cheap, and not to be fooled by a reused pid. Without a
//! memory limit a worker is looked at rarely, and when somebody asks. What a worker has started counts as the worker; who that
//! is, is found out where somebody may have been started ([`Births`]), since it is ten times as dear as the rest.

mod used;

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use rpm_model::{Bytes, Moment};
use rpm_sys::proc::{self, Sample, StatFile};

use used::Used;

/// Between two looks at workers with a memory limit, so the limit is noticed within twice this; and between two looks for
/// new processes.
pub(crate) const LIMITED_EVERY: Duration = Duration::from_secs(1);

/// Between two looks at all workers, so that `list` can show a recent average: 0.4 ms for 100 workers.
pub(crate) const ALL_EVERY: Duration = Duration::from_secs(15);

/// At one look at all workers in this many, who belongs to each is found out anew, whatever is known.
pub(crate) const TREES_EACH: u32 = 4;

/// Descendants of one worker whose files are kept open. One that has more is gone through at every look.
const KEPT_MAX: usize = 8;

/// Two looks closer than this say little about the CPU, since the kernel counts in hundredths of a second.
const CPU_WINDOW: Duration = Duration::from_millis(250);

/// What is known of one worker's processes.
#[derive(Debug)]
pub(crate) struct Sampler {
    pid: i32,
    stat: StatFile,
    base: (Moment, Duration),
    percent: f32,
    used: Used,
    /// Threads of the main process at the last look; nothing before the first.
    threads: Option<u32>,
    memory: Bytes,
    descendants: Vec<(i32, StatFile)>,
    /// Whether these are all, as far as anybody knows.
    are_all: bool,
}

/// Who may have started a process since the last look.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parents {
    Anybody,
    These(BTreeSet<i32>),
}

impl Parents {
    fn may_be(&self, pid: i32) -> bool {
        match self {
            Parents::Anybody => true,
            Parents::These(pids) => pids.contains(&pid),
        }
    }
}

/// Finds out who has started processes, by looking at the new ones instead of at everybody.
#[derive(Debug, Default)]
pub(crate) struct Births {
    births: Option<proc::Births>,
    /// New ones that could not be seen: ended already, or not quite there yet.
    unseen: Vec<i32>,
    /// A look went by without knowing.
    is_owed: bool,
    looked: Option<Moment>,
}

impl Births {
    /// Tells who they are, unless that was told a moment ago.
    pub(crate) fn parents_by(&mut self, now: Moment, most: usize) -> Option<Parents> {
        if self.looked.is_some_and(|looked| now.since(looked) < LIMITED_EVERY / 2) {
            return None;
        }
        self.looked = Some(now);
        Some(self.parents(most))
    }

    /// Tells who they are; where more than `most` processes are new, that is not found out.
    fn parents(&mut self, most: usize) -> Parents {
        let born = match &mut self.births {
            Some(births) => births.since_last(),
            None => {
                self.births = proc::Births::open();
                None
            }
        };
        self.tell(born, most, |pid| Some(proc::stat(pid)?.ppid))
    }

    fn tell(&mut self, born: Option<Range<i32>>, most: usize, parent: impl Fn(i32) -> Option<i32>) -> Parents {
        let once_more = std::mem::take(&mut self.unseen);
        let born = born.filter(|born| born.len() + once_more.len() <= most);
        let Some(born) = born else {
            self.is_owed = !self.is_owed;
            return if self.is_owed { Parents::These(BTreeSet::new()) } else { Parents::Anybody };
        };
        let unseen = &mut self.unseen;
        let mut parents: BTreeSet<i32> = once_more.into_iter().filter_map(&parent).collect();
        parents.extend(born.filter_map(|pid| {
            let seen = parent(pid);
            if seen.is_none() {
                unseen.push(pid);
            }
            seen
        }));
        if std::mem::take(&mut self.is_owed) { Parents::Anybody } else { Parents::These(parents) }
    }
}

impl Sampler {
    /// Opens the process's file. `None` when it is gone already.
    pub(crate) fn open(pid: i32, started_at: Moment) -> Option<Self> {
        let stat = StatFile::open(pid)?;
        Some(Self {
            pid,
            stat,
            base: (started_at, Duration::ZERO),
            percent: 0.0,
            used: Used::default(),
            threads: None,
            memory: Bytes(0),
            descendants: Vec::new(),
            are_all: false,
        })
    }

    /// Takes note that somebody has started processes.
    pub(crate) fn note_births(&mut self, parents: &Parents) {
        let has_started = |pid: &i32| parents.may_be(*pid);
        if has_started(&self.pid) || self.descendants.iter().any(|(pid, _)| has_started(pid)) {
            self.are_all = false;
        }
    }

    /// Looks at the process and at what it has started.
    pub(crate) fn look(&mut self, now: Moment) {
        // Parents before their children: who ends meanwhile is missed once, and not counted twice.
        let Some(own) = self.stat.sample() else { return };
        let known = self.are_all.then(|| self.descendants.iter().map(|(_, stat)| stat.sample()).collect());
        // Where one is gone, those that it had started are somebody else's.
        let known: Option<Vec<Sample>> = known.and_then(|known: Vec<Option<Sample>>| known.into_iter().collect());
        let others = known.unwrap_or_else(|| self.find_descendants());
        self.threads = Some(own.threads);
        let all = || others.iter().chain([&own]);
        self.memory = Bytes(all().map(|sample| sample.rss).sum());
        self.used.take(all().map(|sample| sample.cpu + sample.cpu_of_ended).sum());
        let ((since, before), used) = (self.base, self.used.so_far());
        let elapsed = now.since(since);
        if elapsed >= CPU_WINDOW {
            self.percent = 100.0 * (used - before).as_secs_f32() / elapsed.as_secs_f32();
            self.base = (now, used);
        }
    }

    /// Looks at the process and at everything it has started, whatever is known of that.
    pub(crate) fn look_at_tree(&mut self, now: Moment) {
        self.are_all = false;
        self.look(now);
    }

    fn find_descendants(&mut self) -> Vec<Sample> {
        let found = proc::descendants(self.pid);
        self.are_all = found.len() <= KEPT_MAX;
        self.descendants.clear();
        let mut samples = Vec::with_capacity(found.len());
        for pid in found {
            let Some(stat) = StatFile::open(pid) else { continue };
            samples.extend(stat.sample());
            if self.are_all {
                self.descendants.push((pid, stat));
            }
        }
        samples
    }

    /// Returns the CPU in percent of one core, over the time between the last two looks.
    pub(crate) fn percent(&self) -> f32 {
        self.percent
    }

    /// Returns the CPU time used so far, and the number of the main process's threads, as of the last look.
    pub(crate) fn seen(&self) -> Option<(Duration, u32)> {
        Some((self.used.so_far(), self.threads?))
    }

    /// Returns the resident memory of all of them.
    pub(crate) fn memory(&self) -> Bytes {
        self.memory
    }

    /// Returns the CPU time used so far and whether everything sleeps; `None` when the process is gone.
    ///
    /// A process that sleeps may be a launcher that waits for its child (`pyenv`, `npm start`), so children count.
    pub(crate) fn activity(&self) -> Option<(Duration, bool)> {
        let is_asleep = |state| state == b'S';
        let mut ran = proc::run_time(self.pid)?;
        let mut asleep = is_asleep(self.stat.sample()?.state);
        if asleep {
            for pid in proc::descendants(self.pid) {
                ran += proc::run_time(pid).unwrap_or_default();
                asleep &= proc::stat(pid).is_none_or(|stat| is_asleep(stat.state));
            }
        }
        Some((ran, asleep))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    fn these(pids: &[i32]) -> Parents {
        Parents::These(pids.iter().copied().collect())
    }

    #[test]
    fn parents_are_told_by_their_children() {
        let mut births = Births::default();
        // 12 is about to be.
        let parent = |pid| [(10, 2), (11, 3)].into_iter().find(|(child, _)| *child == pid).map(|(_, parent)| parent);
        assert_eq!(births.tell(Some(10..13), 9, parent), these(&[2, 3]));
        assert_eq!(births.tell(Some(13..13), 9, |pid| (pid == 12).then_some(4)), these(&[4]));
        assert_eq!(births.tell(Some(13..13), 9, |_| None), these(&[]));
    }

    #[test]
    fn where_nobody_can_tell_every_second_look_is_at_all() {
        let mut births = Births::default();
        assert_eq!(births.tell(None, 9, |_| None), these(&[]));
        assert_eq!(births.tell(Some(1..11), 9, |_| Some(1)), Parents::Anybody);
        assert_eq!(births.tell(None, 9, |_| None), these(&[]));
        // Those that were missed meanwhile are looked for.
        assert_eq!(births.tell(Some(11..12), 9, |_| Some(1)), Parents::Anybody);
        assert_eq!(births.tell(Some(12..13), 9, |_| Some(1)), these(&[1]));
    }

    /// A shell whose child is busy showed next to nothing, and what the child had used was gone with it.
    #[test]
    fn what_a_child_uses_counts_while_it_runs_and_afterwards() {
        let script = "(while :; do :; done) & echo $!; wait; read line";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let child: i32 = line.trim().parse().expect("a number");
        let mut sampler = Sampler::open(shell.id() as i32, Moment(0)).expect("it runs");
        let mut used_after = |at: Moment| {
            sampler.look(at);
            (sampler.seen().expect("it was seen").0, sampler.percent())
        };
        let (mut at, mut used, mut percent) = (Moment(0), Duration::ZERO, 0.0);
        while used < Duration::from_millis(100) {
            at = at + CPU_WINDOW;
            (used, percent) = used_after(at);
        }
        assert!(percent > 0.0, "{percent}");
        rpm_sys::pidfd::Pidfd::open(child).expect("it runs").signal(9).expect("it is ours");
        while proc::exists(child) {
            std::thread::yield_now();
        }
        let [first, second, third] = [at, at, at].map(|at| used_after(at + CPU_WINDOW).0);
        assert!(used <= first && first <= second && second == third, "{used:?}, {first:?}, {second:?}, {third:?}");
        shell.kill().and_then(|()| shell.wait()).expect("it ends");
    }

    #[test]
    fn a_child_is_found_at_the_next_look() {
        let own = std::process::id() as i32;
        let mut births = Births::default();
        while births.parents(0) != Parents::Anybody {}
        births.parents(usize::MAX);
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = births.parents(usize::MAX);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.may_be(own), "{found:?}");
    }
}
