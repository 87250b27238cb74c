//! How much CPU and memory the workers use.
//!
//! Samples come from a kept descriptor of `/proc/PID/stat`: cheap, and not to be fooled by a reused pid. Without a
//! memory limit a worker is looked at rarely, and when somebody asks.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use rpm_model::{Bytes, Moment};
use rpm_sys::proc::{self, StatFile};

/// Between two looks at workers with a memory limit. What they have started is looked at whenever they may have started
/// something ([`Births`]), or at every second look where nobody can tell: so the limit is noticed within twice this.
pub(crate) const LIMITED_EVERY: Duration = Duration::from_secs(1);

/// Between two looks at all workers, so that `list` can show a recent average: 0.4 ms for 100 workers.
pub(crate) const ALL_EVERY: Duration = Duration::from_secs(15);

/// One look at all workers in this many takes their descendants in: ten times as dear.
pub(crate) const TREES_EACH: u32 = 4;

/// Two looks closer than this say little about the CPU, since the kernel counts in hundredths of a second.
const CPU_WINDOW: Duration = Duration::from_millis(250);

/// What is known of one process.
#[derive(Debug)]
pub(crate) struct Sampler {
    pid: i32,
    stat: StatFile,
    base: (Moment, Duration),
    percent: f32,
    /// CPU time and threads at the last look.
    seen: Option<(Duration, u32)>,
    own: Bytes,
    /// Memory of the descendants, at the last look that asked for them.
    descendants: Bytes,
    /// It had none then.
    is_alone: bool,
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
}

impl Births {
    /// Tells who they are; where more than `most` processes are new, that is not found out.
    pub(crate) fn parents(&mut self, most: usize) -> Parents {
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
        let base = (started_at, Duration::ZERO);
        Some(Self { pid, stat, base, percent: 0.0, seen: None, own: Bytes(0), descendants: Bytes(0), is_alone: false })
    }

    /// Looks at the process itself.
    pub(crate) fn look(&mut self, now: Moment) {
        let Some(sample) = self.stat.sample() else { return };
        self.own = Bytes(sample.rss);
        self.seen = Some((sample.cpu, sample.threads));
        let (since, cpu) = self.base;
        let elapsed = now.since(since);
        if elapsed >= CPU_WINDOW {
            self.percent = 100.0 * sample.cpu.saturating_sub(cpu).as_secs_f32() / elapsed.as_secs_f32();
            self.base = (now, sample.cpu);
        }
    }

    /// Looks at the process and everything it has started.
    pub(crate) fn look_at_tree(&mut self, now: Moment) {
        self.look(now);
        let rss = |pid| proc::stat(pid).map_or(0, |stat| stat.rss_bytes);
        let descendants = proc::descendants(self.pid);
        self.is_alone = descendants.is_empty();
        self.descendants = Bytes(descendants.into_iter().map(rss).sum());
    }

    /// Looks at the process and at what it has started, if it has: most have started nothing, and to find that out is
    /// ten times as dear as the rest.
    pub(crate) fn look_at_limit(&mut self, now: Moment, parents: &Parents) {
        if self.is_alone && !parents.may_be(self.pid) {
            return self.look(now);
        }
        self.look_at_tree(now);
    }

    /// Returns the CPU in percent of one core, over the time between the last two looks.
    pub(crate) fn percent(&self) -> f32 {
        self.percent
    }

    /// Returns the CPU time used so far and the number of threads, as of the last look.
    pub(crate) fn seen(&self) -> Option<(Duration, u32)> {
        self.seen
    }

    /// Returns the resident memory of the process tree.
    pub(crate) fn memory(&self) -> Bytes {
        Bytes(self.own.0 + self.descendants.0)
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
