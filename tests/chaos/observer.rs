//! Looks every 50 ms, from outside: /proc, the socket. What it does not like becomes a complaint.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rpm_ipc::{Client, List, Reply, Request};

use crate::processes::{self, Kept, Process, Scanner};

const EVERY: Duration = Duration::from_millis(50);

/// A dead child may wait this long for its parent: many at once, on a busy machine.
const ZOMBIE_AT_MOST: Duration = Duration::from_secs(2);

/// Complaints that are kept: the first ones tell the story.
const COMPLAINTS: usize = 20;

/// What is promised while a scenario plays, and what was seen. The scenario changes the first as it goes.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Two lives of a worker may be there: a reload.
    pub(crate) overlap: AtomicBool,
    /// The daemon is killed or stopped now and then: an answer may be missing, or late.
    pub(crate) outages: AtomicBool,
    /// Nobody is deleted: counters go up only.
    pub(crate) counters: AtomicBool,
    /// The daemon is asked.
    pub(crate) asks: AtomicBool,
    /// The longest that a list may take, without the time that others had the CPU.
    pub(crate) list_ms: AtomicU64,
    /// The most memory that the daemon may have.
    pub(crate) rss_kib: AtomicU64,
    /// How many main processes of an app are there at the least.
    pub(crate) promised: Mutex<BTreeMap<String, usize>>,
    pub(crate) slowest_ms: AtomicU64,
    pub(crate) largest_kib: AtomicU64,
    pub(crate) looks: AtomicU64,
    complaints: Mutex<Vec<String>>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            overlap: AtomicBool::new(false),
            outages: AtomicBool::new(false),
            counters: AtomicBool::new(true),
            asks: AtomicBool::new(true),
            // Without optimisation a flood on an app's channel is read some six times slower.
            list_ms: AtomicU64::new(if cfg!(debug_assertions) { 250 } else { 100 }),
            // A build without optimisation, with everything that a hundred workers need.
            rss_kib: AtomicU64::new(64 * 1024),
            promised: Mutex::default(),
            slowest_ms: AtomicU64::new(0),
            largest_kib: AtomicU64::new(0),
            looks: AtomicU64::new(0),
            complaints: Mutex::default(),
        }
    }
}

impl Watch {
    pub(crate) fn complain(&self, what: String) {
        let mut complaints = self.complaints.lock().expect("nobody panics with it");
        if complaints.len() < COMPLAINTS && !complaints.contains(&what) {
            complaints.push(what);
        }
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints.lock().expect("nobody panics with it").clone()
    }
}

/// The thread that looks.
#[derive(Debug)]
pub(crate) struct Observer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    pub(crate) fn start(home: &Path, watch: Arc<Watch>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let mut look = Look {
            scanner: Scanner::new(home),
            home: home.to_owned(),
            watch,
            zombies: BTreeMap::new(),
            restarts: BTreeMap::new(),
        };
        let thread = std::thread::spawn(move || {
            while !stopped.load(Relaxed) {
                let begun = Instant::now();
                look.once();
                std::thread::sleep(EVERY.saturating_sub(begun.elapsed()));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _told_by_its_complaints = thread.join();
        }
    }
}

struct Look {
    scanner: Scanner,
    home: PathBuf,
    watch: Arc<Watch>,
    zombies: BTreeMap<i32, Instant>,
    restarts: BTreeMap<(u32, String), u32>,
}

impl Look {
    fn once(&mut self) {
        self.watch.looks.fetch_add(1, Relaxed);
        let processes = self.scanner.scan();
        self.copies(&processes);
        self.promises(&processes);
        let (daemon, keeper) = (self.pid("rpm.pid"), self.pid("keeper.pid"));
        self.zombies(&[daemon, keeper].into_iter().flatten().collect::<Vec<_>>());
        if let Some(rss) = daemon.and_then(processes::rss_kib) {
            self.watch.largest_kib.fetch_max(rss, Relaxed);
            let most = self.watch.rss_kib.load(Relaxed);
            if rss > most {
                self.watch.complain(format!("the daemon has more than {most} KiB"));
            }
        }
        if self.watch.asks.load(Relaxed) {
            self.ask(daemon);
        }
    }

    /// No second copy of a worker.
    fn copies(&self, processes: &[Process]) {
        if self.watch.overlap.load(Relaxed) {
            return;
        }
        let mut seats = BTreeSet::new();
        for main in processes::mains(processes) {
            if !seats.insert(main.seat()) {
                let both = processes.iter().filter(|process| process.seat() == main.seat());
                let both: Vec<_> = both.map(|process| (process.pid, process.life.clone(), process.state)).collect();
                self.watch.complain(format!("two of one worker of {:?}: {both:?}", main.app));
            }
        }
    }

    fn promises(&self, processes: &[Process]) {
        let promised = self.watch.promised.lock().expect("nobody panics with it");
        for (app, least) in promised.iter() {
            let mains = processes::mains(processes);
            let there = mains.iter().filter(|process| process.app.as_deref() == Some(app)).count();
            if there < *least {
                let all: Vec<_> = mains.iter().map(|one| (one.pid, one.state, one.life.as_deref())).collect();
                self.watch.complain(format!("{there} of {least} workers of {app} were there, among {all:?}"));
            }
        }
    }

    fn zombies(&mut self, parents: &[i32]) {
        let now = Instant::now();
        let there = processes::zombies_of(parents);
        self.zombies.retain(|pid, _| there.contains(pid));
        for pid in there {
            let since = *self.zombies.entry(pid).or_insert(now);
            if now - since > ZOMBIE_AT_MOST {
                self.watch.complain(format!("nobody waited for the dead process {pid}"));
            }
        }
    }

    fn ask(&mut self, daemon: Option<i32>) {
        let Some(daemon) = daemon else { return };
        let (kept_before, begun) = (Kept::from(daemon), Instant::now());
        let answer = list(&self.home);
        let took = begun.elapsed();
        // The machine may be busy with other things: what counts is how long the daemon would have taken alone.
        let took = took.saturating_sub(Kept::from(daemon).since(&kept_before, daemon));
        let took = took.as_millis() as u64;
        let outages = self.watch.outages.load(Relaxed);
        match answer {
            Ok(list) => {
                self.counters(&list);
                if !outages {
                    self.watch.slowest_ms.fetch_max(took, Relaxed);
                    let most = self.watch.list_ms.load(Relaxed);
                    if took > most {
                        self.watch.complain(format!("a list took {took} ms, more than {most}"));
                    }
                }
            }
            Err(error) if !outages && self.watch.asks.load(Relaxed) => {
                self.watch.complain(format!("no list: {error}"));
            }
            Err(_) => {}
        }
    }

    fn counters(&mut self, list: &List) {
        if !self.watch.counters.load(Relaxed) {
            self.restarts.clear();
            return;
        }
        for app in &list.apps {
            for worker in &app.workers {
                let key = (worker.id.0, app.spec.name.clone());
                let before = self.restarts.insert(key, worker.restarts).unwrap_or(0);
                if worker.restarts < before {
                    let (name, now) = (&app.spec.name, worker.restarts);
                    self.watch.complain(format!("the restarts of {name} went from {before} to {now}"));
                }
            }
        }
    }

    fn pid(&self, file: &str) -> Option<i32> {
        std::fs::read_to_string(self.home.join(file)).ok()?.trim().parse().ok()
    }
}

/// Asks the daemon of this home for a list.
pub(crate) fn list(home: &Path) -> Result<List, String> {
    let stream = UnixStream::connect(home.join("rpm.sock")).map_err(|error| format!("connect: {error}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).map_err(|error| error.to_string())?;
    let mut client = Client::greet(stream).map_err(|error| error.to_string())?;
    match client.call(Request::List { environment: false }, |_| {}) {
        Ok(Reply::List(list)) => Ok(list),
        Ok(other) => Err(format!("{other:?}")),
        Err(error) => Err(error.to_string()),
    }
}
