//! The thread that watches how logs grow, rotates those that the workers write themselves, and keeps the ledgers.
//!
//! A silent log costs nothing: an inotify watch that fires once tells when it is written again, which also times what comes
//! first. While it grows it is looked at every second, sooner as it comes near its limit (`watched`), so a flood
//! costs as little as a trickle. Nobody waits for this thread.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use rpm_model::{Every, Rotation};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;

use super::ledger::Ledger;
use super::tidy::Tidier;
use super::watched::{LOOK_MIN, REST, Watched, is_disk_full};
use super::{collapse, moved};
use crate::date::Stamp;
use crate::hand;

/// A log to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The file.
    pub path: PathBuf,
    /// When it is rotated.
    pub rotation: Rotation,
    /// Whether the pump writes it, and rotates it when it is told or finds it too large.
    pub is_pumped: bool,
}

/// What the rotator has to tell. The callback runs on its threads: it should pass the event on and return.
#[derive(Debug)]
pub enum Event {
    /// A log was rotated.
    Rotated {
        /// The log.
        log: PathBuf,
        /// Its archive.
        archive: PathBuf,
    },
    /// The time has come for a log that the pump writes.
    Due {
        /// The log.
        log: PathBuf,
    },
    /// A disk is full, and nobody but the worker itself hears of it: what it says now is lost. Told once until there is
    /// room.
    Full {
        /// The log.
        log: PathBuf,
    },
    /// There is room again.
    Room {
        /// The log.
        log: PathBuf,
    },
    /// A log could not be rotated, or its archives not tidied. It is tried again; told once until it works.
    Failed {
        /// The log.
        log: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A log that a worker writes itself, by the descriptor that it has of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// Where the log should be.
    pub log: PathBuf,
    /// The worker.
    pub pid: i32,
    /// 1 or 2.
    pub descriptor: i32,
}

/// How many bytes were ever written to a log, what rotation took away included, as of the last look at it.
#[derive(Debug, Clone, Default)]
pub struct Written(pub(super) Arc<AtomicU64>);

impl Written {
    /// Returns the number; it never goes back.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

enum Command {
    Set(Vec<(Log, Written)>),
    Tidy(PathBuf),
    LookForRoom,
    PutBack(Vec<Writer>, Box<dyn FnOnce(Vec<String>) + Send>),
    Shutdown,
}

/// The running rotator.
#[derive(Debug)]
pub struct Rotator {
    commands: mpsc::Sender<Command>,
    wake: Arc<OwnedFd>,
    written: BTreeMap<PathBuf, Written>,
    thread: Option<JoinHandle<()>>,
}

impl Rotator {
    /// Starts the thread; what an earlier one was killed in is finished when its log is named.
    pub fn start(on_event: impl FnMut(Event) + Send + Clone + 'static) -> io::Result<Self> {
        let (commands, received) = mpsc::channel();
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let tidier = Tidier::start(on_event.clone())?;
        let mut room =
            Room { received, wake: wake.clone(), inotify, logs: BTreeMap::new(), tidier, on_event: Box::new(on_event) };
        let thread = std::thread::Builder::new().name("log-rotate".into()).spawn(move || room.run())?;
        Ok(Self { commands, wake, written: BTreeMap::new(), thread: Some(thread) })
    }

    /// Tells which logs there are; those that are not named are not looked at any more.
    pub fn set(&mut self, logs: Vec<Log>) {
        let mut known = std::mem::take(&mut self.written);
        let with_count = |log: Log| {
            let written = known.remove(&log.path).unwrap_or_default();
            (log, written)
        };
        let logs: Vec<_> = logs.into_iter().map(with_count).collect();
        self.written = logs.iter().map(|(log, written)| (log.path.clone(), written.clone())).collect();
        self.tell(Command::Set(logs));
    }

    /// Returns how much was written to a log that was named.
    pub fn written(&self, log: &Path) -> Option<&Written> {
        self.written.get(log)
    }

    /// Has the archives of a log looked at: the pump made one.
    pub fn tidy(&self, log: &Path) {
        self.tell(Command::Tidy(log.to_owned()));
    }

    /// Has a look whether disks are full. A log tells nobody that it cannot be written: from time to time somebody must ask.
    pub fn look_for_room(&self) {
        self.tell(Command::LookForRoom);
    }

    /// Puts logs back in their places that were renamed while their workers write to them; `done` gets a sentence for
    /// each that could not be.
    pub fn put_back(&self, writers: Vec<Writer>, done: impl FnOnce(Vec<String>) + Send + 'static) {
        self.tell(Command::PutBack(writers, Box::new(done)));
    }

    fn tell(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
        }
    }
}

impl Drop for Rotator {
    fn drop(&mut self) {
        self.tell(Command::Shutdown);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Returns the first moment after `now` at which a log is rotated by the clock.
pub fn next_time(every: Every, now: Stamp, zone: &TimeZone) -> Stamp {
    match every {
        Every::Millis(period) => {
            let period = i64::try_from(period).unwrap_or(i64::MAX).max(1);
            Stamp((now.0.div_euclid(period) + 1).saturating_mul(period))
        }
        Every::Day => {
            let midnight = jiff::Timestamp::from_millisecond(now.0)
                .ok()
                .and_then(|now| now.to_zoned_datetime(zone.clone()).tomorrow().ok()?.start_of_day().ok());
            midnight.map_or(Stamp(i64::MAX), |at| Stamp(at.timestamp().as_millisecond()))
        }
    }
}

struct Room {
    received: mpsc::Receiver<Command>,
    wake: Arc<OwnedFd>,
    inotify: OwnedFd,
    logs: BTreeMap<PathBuf, Watched>,
    tidier: Tidier,
    on_event: Box<dyn FnMut(Event) + Send>,
}

impl Room {
    fn run(&mut self) {
        loop {
            self.wait();
            self.notice();
            if !self.obey() {
                return;
            }
            self.look_around();
        }
    }

    fn wait(&self) {
        let now = (Instant::now(), Stamp::now());
        let looks = self.logs.values().filter_map(|watched| watched.look_at).map(|at| at.duration_since(now.0));
        let times = self.logs.values().filter_map(|watched| watched.rotate_at);
        let times = times.map(|at| Duration::from_millis(u64::try_from(at.0.saturating_sub(now.1.0)).unwrap_or(0)));
        let timeout = looks.chain(times).min();
        // The clock may be set; what waits for it is asked again within the hour.
        let timeout = timeout.map(|left| left.min(Duration::from_secs(3600)) + Duration::from_millis(1));
        let timeout =
            timeout.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) });
        let mut fds = [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(&*self.wake, PollFlags::IN)];
        // EINTR is as good as a timeout.
        let _ = poll(&mut fds, timeout.as_ref());
    }

    /// Takes in which silent logs are written again.
    fn notice(&mut self) {
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut space);
        let mut fired = Vec::new();
        let mut overflow = false;
        while let Ok(event) = reader.next() {
            overflow |= event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW);
            fired.push(event.wd());
        }
        let now = Instant::now();
        for watched in self.logs.values_mut() {
            if watched.armed.is_some_and(|watch| overflow || fired.contains(&watch)) {
                watched.armed = None;
                watched.time_first_bytes(now);
                watched.look_at = Some(now + LOOK_MIN);
            }
        }
    }

    fn obey(&mut self) -> bool {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.wake, &mut count);
        while let Ok(command) = self.received.try_recv() {
            match command {
                Command::Set(logs) => self.set(logs),
                Command::Tidy(log) => self.tidy(&log),
                Command::LookForRoom => {
                    // A file system is asked once, not for each of its hundreds of logs.
                    let mut disks = BTreeMap::new();
                    for watched in self.logs.values_mut().filter(|watched| !watched.full && !watched.log.is_pumped) {
                        let ask = || is_disk_full(&watched.log.path);
                        let is_full = match watched.seen {
                            Some(seen) => *disks.entry(seen.identity.0).or_insert_with(ask),
                            None => ask(),
                        };
                        watched.take_in_room(is_full, &mut self.on_event);
                    }
                }
                Command::PutBack(writers, done) => {
                    let mut failed = Vec::new();
                    for writer in writers {
                        match moved::put_back(&writer) {
                            Ok(()) => {}
                            Err(error) => failed.push(format!("{}: {error}", writer.log.display())),
                        }
                        if let Some(watched) = self.logs.get_mut(&writer.log) {
                            watched.look_at = Some(Instant::now());
                        }
                    }
                    done(failed);
                }
                Command::Shutdown => return false,
            }
        }
        true
    }

    fn set(&mut self, logs: Vec<(Log, Written)>) {
        let now = (Instant::now(), Stamp::now());
        let mut old = std::mem::take(&mut self.logs);
        for (log, written) in logs {
            let path = log.path.clone();
            let rotate_at = log.rotation.every.map(|every| next_time(every, now.1, &TimeZone::system()));
            let watched = match old.remove(&path) {
                Some(mut known) => {
                    if known.log != log {
                        known.look_at = Some(now.0);
                        known.rotate_at = rotate_at;
                        known.log = log;
                    }
                    known
                }
                None => {
                    let mut watched = Watched::new(log, written, rotate_at);
                    match collapse::recover(&path) {
                        Ok(archives) => {
                            for archive in archives {
                                (self.on_event)(Event::Rotated { log: path.clone(), archive });
                            }
                        }
                        Err(error) => watched.fail(error, &mut self.on_event),
                    }
                    self.tidier.tidy(&path, &watched.log.rotation);
                    watched
                }
            };
            self.logs.insert(path, watched);
        }
        for gone in old.into_values() {
            if let Some(watch) = gone.armed {
                // Where two names mean one file they have one watch; the other is then woken once in vain.
                let _ = inotify::remove_watch(&self.inotify, watch);
            }
            let forgotten = hand::act_for(&gone.log.path).and_then(|_acting| Ledger::forget(&gone.log.path));
            if let Err(error) = forgotten {
                (self.on_event)(Event::Failed { log: gone.log.path, error });
            }
        }
    }

    fn look_around(&mut self) {
        let now = (Instant::now(), Stamp::now());
        let mut rotated = Vec::new();
        for watched in self.logs.values_mut() {
            if watched.rotate_at.is_some_and(|at| at <= now.1) {
                let every = watched.log.rotation.every;
                watched.rotate_at = every.map(|every| next_time(every, now.1, &TimeZone::system()));
                if watched.log.is_pumped {
                    (self.on_event)(Event::Due { log: watched.log.path.clone() });
                }
            }
            if watched.look_at.is_some_and(|at| at <= now.0) {
                let looked = watched.look(&self.inotify);
                if watched.full || watched.look_at.is_none() {
                    // It has stopped growing: of its own accord?
                    watched.look_for_room(&mut self.on_event);
                }
                match looked {
                    Ok(Some(archive)) => {
                        watched.failing = false;
                        rotated.push(watched.log.path.clone());
                        (self.on_event)(Event::Rotated { log: watched.log.path.clone(), archive });
                    }
                    Ok(None) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        watched.seen = None;
                        watched.look_at = Some(Instant::now() + REST);
                    }
                    Err(error) => {
                        watched.look_at = Some(Instant::now() + REST);
                        watched.fail(error, &mut self.on_event);
                    }
                }
            }
        }
        for log in rotated {
            self.tidy(&log);
        }
    }

    fn tidy(&mut self, log: &Path) {
        if let Some(watched) = self.logs.get_mut(log) {
            watched.look_at = Some(Instant::now());
            self.tidier.tidy(log, &watched.log.rotation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_nobody_writes_any_more_leaves_no_ledger_of_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let logs = ["empty", "gone", "full"].map(|name| dir.path().join(name));
        let log = |path: &PathBuf| Log { path: path.clone(), rotation: Rotation::default(), is_pumped: false };
        let has_ledger = |path: &PathBuf| Ledger::path(path).exists();
        for path in &logs {
            std::fs::write(path, "").expect("writes");
        }
        let mut rotator = Rotator::start(|_| {}).expect("a thread");
        rotator.set(logs.iter().map(log).collect());
        let until = |what: &dyn Fn() -> bool| {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !what() {
                assert!(Instant::now() < deadline, "it does not come");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        until(&|| logs.iter().all(has_ledger));
        std::fs::remove_file(&logs[1]).expect("removes");
        std::fs::write(&logs[2], "a line\n").expect("writes");
        rotator.set(Vec::new());
        until(&|| !has_ledger(&logs[0]) && !has_ledger(&logs[1]));
        drop(rotator);
        assert!(has_ledger(&logs[2]), "its times are still of use");
    }

    #[test]
    fn the_clock_strikes_at_midnight_and_at_whole_periods() {
        let zone = TimeZone::get("America/New_York").expect("a zone");
        let at = |text: &str| Stamp(text.parse::<jiff::Timestamp>().expect("a time").as_millisecond());
        // The day on which the clocks go back has 25 hours.
        assert_eq!(next_time(Every::Day, at("2026-11-01T04:00:00Z"), &zone), at("2026-11-02T05:00:00Z"));
        assert_eq!(next_time(Every::Day, at("2026-11-02T04:59:59.999Z"), &zone), at("2026-11-02T05:00:00Z"));
        let hours = Every::Millis(6 * 3_600_000);
        assert_eq!(next_time(hours, at("2026-11-01T06:00:00Z"), &zone), at("2026-11-01T12:00:00Z"));
    }
}
