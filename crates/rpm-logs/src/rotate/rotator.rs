//! The thread that watches how logs grow, rotates those that the workers write themselves, and keeps the ledgers.
//!
//! A silent log costs nothing: an inotify watch that fires once tells when it is written again, which also times what comes
//! first. While it grows it is looked at every second, sooner as it comes near its limit ([`next_look`]), so a flood
//! costs as little as a trickle. Nobody waits for this thread.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use rpm_model::{Every, Rotation};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::OFlags;
use rustix::fs::inotify::{self, WatchFlags};

use super::ledger::Ledger;
use super::{collapse, moved, tidy};
use crate::date::Stamp;

/// Between two looks at a log that grows; times of lines are right to this.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// A log that grows by gigabytes a second passes its limit by a tenth of that at most.
const LOOK_MIN: Duration = Duration::from_millis(50);

/// A log whose rotation failed, or that is not there, is left alone for so long.
const REST: Duration = Duration::from_secs(15);

/// Less free than this is a full disk: one write of a busy app.
const ROOM_MIN: u64 = 64 << 10;

/// Whatever happens to a file fires the watch: growth, another name, removal.
const NEWS: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONESHOT)
    .union(WatchFlags::DONT_FOLLOW);

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
pub struct Written(Arc<AtomicU64>);

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
        let written = logs.iter().map(|log| known.remove(&log.path).unwrap_or_default());
        let logs: Vec<_> =
            written.collect::<Vec<_>>().into_iter().zip(logs).map(|(written, log)| (log, written)).collect();
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

/// Returns when to look again at a log that grew by `growth` in `elapsed` and may grow by `left`; `None` when it did not
/// grow: then something else wakes us.
pub fn next_look(growth: u64, elapsed: Duration, left: Option<u64>) -> Option<Duration> {
    if growth == 0 {
        return None;
    }
    let Some(left) = left else { return Some(LOOK_MAX) };
    let full_in = elapsed.as_secs_f64() * left as f64 / growth as f64;
    Some(Duration::from_secs_f64(full_in.min(LOOK_MAX.as_secs_f64())).clamp(LOOK_MIN, LOOK_MAX))
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

/// One log, and what was last seen of it.
struct Watched {
    log: Log,
    written: Written,
    seen: Option<Seen>,
    /// The watch that fires once, while nothing grows.
    armed: Option<i32>,
    look_at: Option<Instant>,
    /// When the clock rotates it.
    rotate_at: Option<Stamp>,
    failing: bool,
    /// Its disk is.
    full: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    identity: (u64, u64),
    length: u64,
    at: Instant,
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
                watched.time_first_bytes();
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
                    let mut watched = Watched {
                        log,
                        written,
                        seen: None,
                        armed: None,
                        look_at: Some(now.0),
                        rotate_at,
                        failing: false,
                        full: false,
                    };
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
            if let Err(error) = Ledger::forget(&gone.log.path) {
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

impl Watched {
    /// Looks how long the log is; rotates it when it is too long, and returns the archive.
    fn look(&mut self, inotify: &OwnedFd) -> io::Result<Option<PathBuf>> {
        let path = &self.log.path;
        let meta = open(path)?.metadata()?;
        if !meta.is_file() {
            self.look_at = None;
            return Ok(None);
        }
        let now = Instant::now();
        let (identity, length) = ((meta.dev(), meta.ino()), meta.len());
        let before = self.seen.replace(Seen { identity, length, at: now });
        if before.is_none_or(|before| before.identity != identity || before.length != length) {
            self.note(length, Stamp::now())?;
        }
        let limit = self.log.rotation.max_size.map(|size| size.0);
        let must_rotate = !self.log.is_pumped && limit.is_some_and(|limit| length > limit);
        if must_rotate && let Some(archive) = collapse::rotate(path)? {
            let length = open(path)?.metadata()?.len();
            self.seen = Some(Seen { identity, length, at: Instant::now() });
            // A flood may have filled it again meanwhile.
            self.look_at = Some(Instant::now() + LOOK_MIN);
            return Ok(Some(archive));
        }
        let grown = before.filter(|before| before.identity == identity).map(|before| {
            let growth = if length < before.length { length + 1 } else { length - before.length };
            (growth, now - before.at)
        });
        let (growth, elapsed) = grown.unwrap_or((length, LOOK_MAX));
        let left = limit.filter(|_| !self.log.is_pumped).map(|limit| limit.saturating_sub(length));
        self.look_at = next_look(growth, elapsed, left).map(|wait| now + wait);
        if self.look_at.is_none() {
            self.armed = Some(inotify::add_watch(inotify, path, NEWS)?);
            // What came before the watch was there does not fire it.
            if open(path)?.metadata()?.len() != length {
                self.look_at = Some(now + LOOK_MIN);
            }
        }
        Ok(None)
    }

    /// Looks whether what the worker writes itself can be written, and soon again when not.
    fn look_for_room(&mut self, on_event: &mut (dyn FnMut(Event) + Send)) {
        if self.log.is_pumped {
            // The pump knows better.
            self.full = false;
            return;
        }
        self.take_in_room(is_disk_full(&self.log.path), on_event);
    }

    fn take_in_room(&mut self, is_full: bool, on_event: &mut (dyn FnMut(Event) + Send)) {
        let log = || self.log.path.clone();
        match (self.full, is_full) {
            (false, true) => on_event(Event::Full { log: log() }),
            (true, false) => on_event(Event::Room { log: log() }),
            (false, false) | (true, true) => {}
        }
        self.full = is_full;
        if is_full {
            self.look_at = Some(self.look_at.unwrap_or(Instant::now() + LOOK_MAX));
        }
    }

    /// Notes when the log went on after a silence.
    fn time_first_bytes(&mut self) {
        if let Some(seen) = self.seen {
            // What is missing in the ledger costs the precision of a time.
            let _ = self.note(seen.length, Stamp::now());
        }
    }

    fn note(&self, length: u64, at: Stamp) -> io::Result<()> {
        let file = open(&self.log.path)?;
        let ledger = Ledger::write(&self.log.path)?;
        let header = ledger.header_for(&file)?;
        let place = header.base + length.min(file.metadata()?.len());
        // A head that is just being taken away would be counted twice.
        if ledger.header()? == header && header.is_steady() {
            self.written.0.fetch_max(place, Ordering::Relaxed);
        }
        ledger.note(place, at)
    }

    fn fail(&mut self, error: io::Error, on_event: &mut (dyn FnMut(Event) + Send)) {
        if !std::mem::replace(&mut self.failing, true) {
            on_event(Event::Failed { log: self.log.path.clone(), error });
        }
    }
}

/// Returns whether the disk of a log has no room: what is left is less than the file system needs for itself to go on.
fn is_disk_full(log: &Path) -> bool {
    let Some(space) = log.ancestors().find_map(|path| rustix::fs::statvfs(path).ok()) else { return false };
    // Some of it is root's alone.
    let free = if rustix::process::geteuid().is_root() { space.f_bfree } else { space.f_bavail };
    space.f_blocks > 0 && free.saturating_mul(space.f_frsize) < ROOM_MIN
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32).open(path)
}

/// The thread of the lowest priority that compresses.
struct Tidier {
    work: Option<mpsc::Sender<(PathBuf, Rotation)>>,
    leaving: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tidier {
    fn start(mut on_event: impl FnMut(Event) + Send + 'static) -> io::Result<Self> {
        let (work, received) = mpsc::channel::<(PathBuf, Rotation)>();
        let leaving = Arc::new(AtomicBool::new(false));
        let go_on = {
            let leaving = leaving.clone();
            move || !leaving.load(Ordering::Relaxed)
        };
        let run = move || {
            // On Linux this is the thread's own priority. Without it the work is done all the same.
            let _ = rustix::process::setpriority_process(None, 19);
            while let Ok((log, rotation)) = received.recv() {
                if !go_on() {
                    return;
                }
                if let Err(error) = tidy::tidy(&log, &rotation, &go_on) {
                    on_event(Event::Failed { log, error });
                }
            }
        };
        let thread = std::thread::Builder::new().name("log-tidy".into()).spawn(run)?;
        Ok(Self { work: Some(work), leaving, thread: Some(thread) })
    }

    fn tidy(&self, log: &Path, rotation: &Rotation) {
        if let Some(work) = &self.work {
            let _ = work.send((log.to_owned(), rotation.clone()));
        }
    }
}

impl Drop for Tidier {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_the_limit_the_sooner_the_look() {
        let second = Duration::from_secs(1);
        assert_eq!(next_look(0, second, Some(10)), None);
        assert_eq!(next_look(1, second, Some(1_000_000)), Some(LOOK_MAX));
        assert_eq!(next_look(1_000, second, Some(500)), Some(Duration::from_millis(500)));
        assert_eq!(next_look(1_000_000, second, Some(0)), Some(LOOK_MIN));
        assert_eq!(next_look(1, second, None), Some(LOOK_MAX));
    }

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
