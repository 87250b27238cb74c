//! What is seen at one moment: the daemon's figures, the balancers' counters, and what the kernel tells of the workers.

use std::collections::BTreeMap;
use std::time::Instant;

use rpm_ipc::{BalancerInfo, Figures, WorkerFigures};
use rpm_model::edge::{EdgeStats, ServerStats};
use rpm_model::{AppId, WorkerId};
use rpm_sys::proc::{self, FdDir};

use crate::history::Point;

/// Everything that is seen at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) at: Instant,
    pub(crate) at_ms: u64,
    pub(crate) list: Figures,
    pub(crate) balancers: Vec<BalancerInfo>,
    pub(crate) workers: BTreeMap<WorkerId, Measured>,
    pub(crate) daemon: Option<Measured>,
    pub(crate) keeper: Option<Measured>,
    pub(crate) host: Host,
    /// By app's name.
    pub(crate) traffic: BTreeMap<String, Traffic>,
}

/// What the kernel tells of one process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    pid: i32,
    /// User and system, since its start; of a worker, with its descendants.
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
    pub(crate) threads: u32,
    /// Nothing where the kernel does not tell us.
    pub(crate) open_fds: Option<u64>,
}

/// The machine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Host {
    pub(crate) cpus: usize,
    pub(crate) load: [f64; 3],
    pub(crate) memory_total: u64,
    pub(crate) memory_available: u64,
}

/// What a balancer says of an app, between two looks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Traffic {
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) in_flight: u64,
    pub(crate) queue: u64,
    /// Milliseconds; nothing where no request came.
    pub(crate) p99: Option<f64>,
}

impl Measured {
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = proc::stat(pid)?;
        Some(Self {
            pid,
            cpu_seconds: (stat.utime + stat.stime).as_secs_f64(),
            resident_bytes: stat.rss_bytes,
            threads: stat.threads,
            open_fds: FdDir::open(pid)?.count(),
        })
    }

    /// Takes what the daemon has seen of a worker a moment ago; an older one does not tell.
    fn of_worker(worker: &WorkerFigures, open_fds: Option<u64>) -> Option<Self> {
        let pid = worker.pid?;
        let (Some(cpu_time), Some(threads)) = (worker.cpu_time_ms, worker.threads) else { return Self::of(pid) };
        Some(Self { pid, cpu_seconds: cpu_time as f64 / 1000.0, resident_bytes: worker.memory.0, threads, open_fds })
    }

    /// Keeps what the same process is known to have used: a new daemon knows nothing of descendants that ended unseen.
    fn not_below(mut self, before: Option<&Self>) -> Self {
        if let Some(before) = before.filter(|before| before.pid == self.pid) {
            self.cpu_seconds = self.cpu_seconds.max(before.cpu_seconds);
        }
        self
    }
}

/// How many descriptors each worker has open. Their directories are kept, which spares the way there: it is most of
/// what a question costs.
#[derive(Debug, Default)]
pub(crate) struct OpenFds {
    of: BTreeMap<i32, Counted>,
}

#[derive(Debug)]
struct Counted {
    directory: FdDir,
    count: Option<u64>,
    is_new: bool,
}

impl OpenFds {
    /// Counts again for the processes that are known: a moment that is spent waiting for the daemon anyway.
    pub(crate) fn count(&mut self) {
        for counted in self.of.values_mut() {
            counted.count = counted.directory.count();
            counted.is_new = true;
        }
    }

    /// Returns the count of a process; counts where it is not known, or where another has its number now.
    fn get(&mut self, pid: i32) -> Option<u64> {
        if let Some(known) = self.of.get_mut(&pid)
            && std::mem::take(&mut known.is_new)
            && known.count.is_some()
        {
            return known.count;
        }
        let directory = FdDir::open(pid)?;
        let count = directory.count();
        // The other half is for those who ask.
        if (self.of.len() as u64) < rpm_sys::reap::nofile() / 2 {
            self.of.insert(pid, Counted { directory, count, is_new: false });
        }
        count
    }

    /// Forgets the processes that nobody has asked for since they were counted.
    fn forget_others(&mut self) {
        self.of.retain(|_, counted| !counted.is_new);
    }
}

impl Host {
    pub(crate) fn now() -> Self {
        let load = sysinfo::System::load_average().map(|load| [load.one, load.five, load.fifteen]).unwrap_or_default();
        let mut host =
            Self { load, cpus: std::thread::available_parallelism().map_or(1, usize::from), ..Self::default() };
        if let Ok(mut system) = sysinfo::System::new() {
            system.refresh_memory();
            (host.memory_total, host.memory_available) = (system.total_memory(), system.available_memory());
        }
        host
    }
}

impl Snapshot {
    /// Puts together what is seen now; rates are those since `before`.
    pub(crate) fn new(
        list: Figures,
        balancers: Vec<BalancerInfo>,
        open_fds: &mut OpenFds,
        before: Option<&Self>,
    ) -> Self {
        let all = list.apps.iter().flat_map(|app| &app.workers);
        let measured = all.filter_map(|worker| {
            let open = open_fds.get(worker.pid?);
            let known = before.and_then(|before| before.workers.get(&worker.id));
            Some((worker.id, Measured::of_worker(worker, open)?.not_below(known)))
        });
        let workers = measured.collect();
        open_fds.forget_others();
        let at = Instant::now();
        let traffic = before.map(|before| traffic(&balancers, before, at)).unwrap_or_default();
        Self {
            at,
            at_ms: proc::wall_clock_millis(),
            workers,
            daemon: Measured::of(list.daemon.pid),
            keeper: Measured::of(list.daemon.keeper_pid),
            host: Host::now(),
            traffic,
            list,
            balancers,
        }
    }

    /// Returns a point of every app for the history.
    pub(crate) fn points(&self) -> impl Iterator<Item = (AppId, Point)> + '_ {
        let at = u32::try_from(self.at_ms / 1000).unwrap_or(u32::MAX);
        self.list.apps.iter().map(move |app| {
            let traffic = self.traffic.get(&app.name).copied().unwrap_or_default();
            let point = Point {
                at,
                cpu: app.workers.iter().map(|worker| worker.cpu).sum(),
                memory: app.workers.iter().map(|worker| worker.memory.0 as f32).sum(),
                rate: traffic.rate as f32,
                in_flight: traffic.in_flight as f32,
                p99: traffic.p99.map(|p99| p99 as f32),
            };
            (app.id, point)
        })
    }
}

fn traffic(balancers: &[BalancerInfo], before: &Snapshot, at: Instant) -> BTreeMap<String, Traffic> {
    let elapsed = at.duration_since(before.at).as_secs_f64().max(0.001);
    let mut all: BTreeMap<String, Traffic> = BTreeMap::new();
    for (balancer, stats) in balancers.iter().filter_map(|one| Some((one.app, one.stats.as_ref()?))) {
        let earlier = before.balancers.iter().find(|one| one.app == balancer).and_then(|one| one.stats.as_ref());
        for upstream in &stats.upstreams {
            let mut counted = false;
            for server in &upstream.servers {
                let Some(app) = &server.app else { continue };
                let of_app = all.entry(app.clone()).or_default();
                // Those that wait do so for any server of the upstream: they are counted once.
                of_app.queue += if std::mem::replace(&mut counted, true) { 0 } else { upstream.queue };
                of_app.in_flight += server.in_flight;
                let was = earlier.and_then(|stats| server_in(stats, &upstream.name, &server.name));
                let none = ServerStats::default();
                let was = was.unwrap_or(&none);
                of_app.rate += server.requests.saturating_sub(was.requests) as f64 / elapsed;
                let p99 = server.latency.percentile_since(&was.latency, 0.99).map(|micros| micros as f64 / 1000.0);
                of_app.p99 = [of_app.p99, p99].into_iter().flatten().reduce(f64::max);
            }
        }
    }
    all
}

fn server_in<'a>(stats: &'a EdgeStats, upstream: &str, server: &str) -> Option<&'a ServerStats> {
    let upstream = stats.upstreams.iter().find(|one| one.name == upstream)?;
    upstream.servers.iter().find(|one| one.name == server)
}
