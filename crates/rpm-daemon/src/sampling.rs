//! How much CPU and memory the workers use.
//!
//! Samples come from a kept descriptor of `/proc/PID/stat`: cheap, and not to be fooled by a reused pid. Without a
//! memory limit a worker is looked at rarely, and when somebody asks.

use std::time::Duration;

use rpm_model::{Bytes, Moment};
use rpm_sys::proc::{self, StatFile};

/// Between two looks at workers with a memory limit, what they have started included at every second one: so the limit
/// is noticed within twice this.
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
    /// It had none then, and was looked at alone since.
    is_alone: bool,
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
        self.descendants = Bytes(proc::descendants(self.pid).into_iter().map(rss).sum());
        self.is_alone = false;
    }

    /// Looks at the process and, at least every second time, at what it has started: most have started nothing, and to
    /// find that out is ten times as dear as the rest.
    pub(crate) fn look_at_limit(&mut self, now: Moment) {
        if self.descendants.0 > 0 || self.is_alone {
            return self.look_at_tree(now);
        }
        self.look(now);
        self.is_alone = true;
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
