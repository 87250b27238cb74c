//! The thread that writes.
//!
//! An end is written when what the process said last is in its logs: at once where it wrote them itself, else when the
//! log thread has told that the pipes are empty ([`Recorder::stream_ended`]), or after [`PATIENCE`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rpm_model::Life;

use crate::core_dump;
use crate::event::EventRecord;
use crate::exit::ExitRecord;
use crate::ledger::Ledger;
use crate::queue::{Receiver, Sender, bounded};
use crate::tail::last_lines;
use crate::{Sort, app_path, events_path};

/// Twice this is the most that events take: some 40,000 of them.
const EVENTS_MAX: u64 = 4 << 20;

/// Twice this is the most that the crashes of one app take: thirty with all their lines, thousands without.
const CRASHES_MAX: u64 = 2 << 20;

/// Twice this is the most that its other ends take. What one said that left as it was asked to is seldom read.
const EXITS_MAX: u64 = 512 << 10;

/// Apps whose ends of a sort are kept. At the bound the one that has been quiet longest is forgotten.
const APPS_MAX: usize = 200;

/// Files that are held open.
const OPEN_MAX: usize = 16;

/// Lines of each stream that are kept with an exit.
const LINES: usize = 200;

/// Bytes of each stream that are looked through for them: lines of 320 letters, on average.
const REACH: u64 = 64 << 10;

/// Jobs that may wait for the disk. At the bound they are dropped and counted: no worker waits for a record.
const WAITING: usize = 8192;

/// How long an end waits for what the process said last: descendants that it left may hold its pipes for ever.
const PATIENCE: Duration = Duration::from_secs(1);

/// Exits of one app that are compared with one that may be on record already.
const COMPARED: usize = 64;

/// The thread, from outside. Dropping it writes what waits and ends it.
#[derive(Debug)]
pub struct Recorder {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    lost: AtomicU64,
}

/// An end that is to be recorded.
#[derive(Debug)]
pub struct Ended {
    /// What is known of it; the last lines are filled in.
    pub record: ExitRecord,
    /// Where it was started, and has left its core dump if it has left one.
    pub cwd: PathBuf,
    /// Where standard output went.
    pub out: Option<LogPart>,
    /// Where standard error went.
    pub err: Option<LogPart>,
    /// Log streams that may still have to say something, by their names.
    pub waits_for: Vec<String>,
    /// Whether it may be on record already: it came about while no daemon ran.
    pub maybe_known: bool,
}

/// A log, and where in it a life begins.
#[derive(Debug, Clone)]
pub struct LogPart {
    /// The file.
    pub path: PathBuf,
    /// The offset.
    pub from: u64,
}

#[derive(Debug)]
enum Job {
    Event(EventRecord),
    Ended(Box<Ended>),
    StreamEnded(String),
}

impl Recorder {
    /// Starts the thread. `on_written` is called on it when an end is on disk, or cannot be written.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(root: &Path, on_written: impl Fn(Life) + Send + 'static) -> io::Result<Self> {
        let (jobs, inbox) = bounded(WAITING);
        let root = root.to_owned();
        let thread = std::thread::Builder::new()
            .name("rpm-records".to_owned())
            .spawn(move || Writer::new(root, on_written).run(&inbox))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), lost: AtomicU64::new(0) })
    }

    /// Records an event, soon.
    pub fn event(&self, event: EventRecord) {
        self.send(Job::Event(event));
    }

    /// Records an end, soon; returns whether it was taken.
    pub fn ended(&self, ended: Ended) -> bool {
        self.send(Job::Ended(Box::new(ended)))
    }

    /// Tells that everything a log stream had is in its files.
    pub fn stream_ended(&self, key: String) {
        self.send(Job::StreamEnded(key));
    }

    fn send(&self, job: Job) -> bool {
        let Some(jobs) = &self.jobs else { return false };
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > 0 {
            let note = EventRecord {
                at_ms: 0,
                event: "lost".to_owned(),
                detail: Some(format!("{lost} records: the disk was too slow")),
                ..EventRecord::default()
            };
            if jobs.try_send(Job::Event(note)) {
                self.lost.fetch_sub(lost, Ordering::Relaxed);
            }
        }
        let taken = jobs.try_send(job);
        if !taken {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has said so.
            let _ = thread.join();
        }
    }
}

/// An end that waits for the last words.
struct Waiting {
    ended: Box<Ended>,
    streams: BTreeSet<String>,
    until: Instant,
}

struct Writer<F> {
    root: PathBuf,
    on_written: F,
    events: Ledger,
    /// Files of apps by their paths, the one used last at the end.
    exits: VecDeque<(PathBuf, Ledger)>,
    waiting: BTreeMap<Life, Waiting>,
    fails: bool,
}

impl<F: Fn(Life)> Writer<F> {
    fn new(root: PathBuf, on_written: F) -> Self {
        let events = Ledger::new(events_path(&root), EVENTS_MAX);
        Self { root, on_written, events, exits: VecDeque::new(), waiting: BTreeMap::new(), fails: false }
    }

    fn run(mut self, inbox: &Receiver<Job>) {
        loop {
            let due = self.waiting.values().map(|waiting| waiting.until).min();
            let job = match due {
                Some(due) => match inbox.recv_timeout(due.saturating_duration_since(Instant::now())) {
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => break,
                    Ok(job) => Some(job),
                },
                None => match inbox.recv() {
                    Ok(job) => Some(job),
                    Err(_) => break,
                },
            };
            match job {
                Some(Job::Event(mut event)) => {
                    if event.at_ms == 0 {
                        event.at_ms = now_ms();
                    }
                    let written = self.events.append(&event);
                    self.look(written);
                }
                Some(Job::Ended(ended)) => self.take(ended),
                Some(Job::StreamEnded(key)) => {
                    self.write_those(|waiting| waiting.streams.remove(&key) && waiting.streams.is_empty());
                }
                None => {}
            }
            let now = Instant::now();
            self.write_those(|waiting| waiting.until <= now);
        }
        self.write_those(|_| true);
    }

    fn take(&mut self, mut ended: Box<Ended>) {
        if ended.maybe_known && self.is_known(&ended.record) {
            return (self.on_written)(ended.record.life);
        }
        let streams: BTreeSet<String> = std::mem::take(&mut ended.waits_for).into_iter().collect();
        if streams.is_empty() {
            return self.write(*ended);
        }
        let until = Instant::now() + PATIENCE;
        self.waiting.insert(ended.record.life, Waiting { ended, streams, until });
    }

    /// Writes the ends of which `ready` says that they wait for nothing more.
    fn write_those(&mut self, mut ready: impl FnMut(&mut Waiting) -> bool) {
        let lives: Vec<Life> =
            self.waiting.iter_mut().filter_map(|(life, waiting)| ready(waiting).then_some(*life)).collect();
        for life in lives {
            if let Some(waiting) = self.waiting.remove(&life) {
                self.write(*waiting.ended);
            }
        }
    }

    fn write(&mut self, ended: Ended) {
        let Ended { mut record, cwd, out, err, .. } = ended;
        record.core = core_dump::find(&record, &cwd);
        let lines = |part: Option<LogPart>| {
            part.map(|part| last_lines(&part.path, part.from, LINES, REACH)).unwrap_or_default()
        };
        (record.out, record.err) = (lines(out), lines(err));
        let written = self.ledger(&record.app, Sort::of(&record)).append(&record);
        self.look(written);
        // What cannot be written is not told again for ever either.
        (self.on_written)(record.life);
    }

    /// Tells of a failure once, not with every record.
    fn look(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) => self.fails = false,
            Err(error) if !std::mem::replace(&mut self.fails, true) => {
                tracing::error!("what happens cannot be recorded: {error}");
            }
            Err(_) => {}
        }
    }

    fn is_known(&self, record: &ExitRecord) -> bool {
        let known = crate::exits(&self.root, &record.app).unwrap_or_default();
        known.iter().rev().take(COMPARED).any(|other| other.is_same(record))
    }

    fn ledger(&mut self, app: &str, sort: Sort) -> &mut Ledger {
        let path = app_path(&self.root, sort, app);
        let ledger = match self.exits.iter().position(|(known, _)| *known == path) {
            Some(index) => self.exits.remove(index),
            None => None,
        };
        let ledger = ledger.unwrap_or_else(|| {
            if !path.exists() {
                self.make_room(sort);
            }
            let max = match sort {
                Sort::Crash => CRASHES_MAX,
                Sort::Exit => EXITS_MAX,
            };
            (path.clone(), Ledger::new(path, max))
        });
        if self.exits.len() >= OPEN_MAX {
            self.exits.pop_front();
        }
        self.exits.push_back(ledger);
        &mut self.exits.back_mut().expect("one was just added").1
    }

    /// Forgets the apps that have been quiet longest, where there are too many.
    fn make_room(&self, sort: Sort) {
        let Ok(entries) = std::fs::read_dir(sort.path(&self.root)) else { return };
        let mut files: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "jsonl"))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort_unstable();
        for (_, path) in files.iter().take((files.len() + 1).saturating_sub(APPS_MAX)) {
            for path in [path.clone(), crate::ledger::before(path)] {
                // Gone already is what we want.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use rpm_model::{Exit, WorkerId};

    use super::*;

    fn record(app: &str, generation: u64) -> ExitRecord {
        ExitRecord {
            at_ms: 1000 * generation,
            app: app.to_owned(),
            worker: WorkerId(3),
            instance: 0,
            life: Life::new(WorkerId(3), generation),
            pid: 42,
            started_at_ms: 0,
            uptime_ms: 1000,
            exit: Exit::Code(3),
            oom: None,
            core: None,
            memory: None,
            memory_max: None,
            cpu: None,
            cpu_ms: None,
            asked: None,
            out: Vec::new(),
            err: Vec::new(),
        }
    }

    fn ended(record: ExitRecord) -> Ended {
        Ended { record, cwd: PathBuf::new(), out: None, err: None, waits_for: Vec::new(), maybe_known: false }
    }

    #[test]
    fn an_end_waits_for_the_last_words() {
        let home = tempfile::tempdir().unwrap();
        let log = home.path().join("log");
        std::fs::write(&log, "of a life before\n").unwrap();
        let (told, written) = channel();
        let recorder = Recorder::start(home.path(), move |life| told.send(life).unwrap()).unwrap();
        let part = LogPart { path: log.clone(), from: 17 };
        let waits_for = vec!["3.1/out".to_owned(), "3.1/err".to_owned()];
        recorder.ended(Ended { err: Some(part), waits_for, ..ended(record("api", 1)) });
        std::fs::write(&log, "of a life before\nlast words\n").unwrap();
        recorder.stream_ended("3.1/err".to_owned());
        recorder.stream_ended("3.1/out".to_owned());
        assert_eq!(written.recv().unwrap(), Life::new(WorkerId(3), 1));
        let exits = crate::exits(home.path(), "api").unwrap();
        assert_eq!(exits[0].err, ["last words"]);
        assert!(exits[0].is_crash());
    }

    #[test]
    fn what_waits_is_written_when_the_recorder_leaves() {
        let home = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(home.path(), |_| {}).unwrap();
        recorder.ended(Ended { waits_for: vec!["3.1/out".to_owned()], ..ended(record("api", 1)) });
        recorder.event(EventRecord { event: "exit".to_owned(), ..EventRecord::default() });
        drop(recorder);
        assert_eq!(crate::exits(home.path(), "api").unwrap().len(), 1);
        assert_eq!(crate::events(home.path(), |_| true).unwrap().len(), 1);
    }

    #[test]
    fn an_end_that_is_told_twice_is_recorded_once() {
        let home = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let recorder = Recorder::start(home.path(), |_| {}).unwrap();
            recorder.ended(Ended { maybe_known: true, ..ended(record("api", 1)) });
        }
        let recorder = Recorder::start(home.path(), |_| {}).unwrap();
        recorder.ended(Ended { maybe_known: true, ..ended(record("api", 2)) });
        drop(recorder);
        assert_eq!(crate::exits(home.path(), "api").unwrap().len(), 2);
    }

    /// Nine reloads of a chatty app within half a minute, and its crash was on record no more.
    #[test]
    fn no_number_of_ends_that_were_asked_for_pushes_out_a_crash() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("log");
        std::fs::write(&path, format!("{}\n", "x".repeat(300)).repeat(200)).unwrap();
        let recorder = Recorder::start(home.path(), |_| {}).unwrap();
        recorder.ended(ended(record("api", 1)));
        for generation in 2..100 {
            let asked = Some(crate::Asked { cause: "reload".to_owned(), by: None, detail: None });
            let record = ExitRecord { asked, ..record("api", generation) };
            recorder.ended(Ended { out: Some(LogPart { path: path.clone(), from: 0 }), ..ended(record) });
        }
        drop(recorder);
        let exits = crate::exits(home.path(), "api").unwrap();
        assert!(exits[0].is_crash() && exits.iter().filter(|exit| exit.is_crash()).count() == 1);
        assert_eq!(exits.last().unwrap().life, Life::new(WorkerId(3), 99));
        assert!(exits.len() < 50, "they are bounded");
        assert_eq!(exits.last().unwrap().out.len(), LINES);
        assert_eq!(crate::read::apps(home.path()).unwrap(), ["api"]);
    }

    #[test]
    fn the_apps_that_are_kept_are_bounded() {
        let home = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(home.path(), |_| {}).unwrap();
        for number in 0..APPS_MAX + 20 {
            recorder.ended(ended(record(&format!("app-{number}"), 1)));
        }
        drop(recorder);
        let names = crate::read::apps(home.path()).unwrap();
        assert_eq!(names.len(), APPS_MAX);
        assert!(names.contains(&format!("app-{}", APPS_MAX + 19)));
    }
}
