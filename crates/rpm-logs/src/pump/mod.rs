//! The pump: one thread that carries the output of all apps from pipes to files.
//!
//! It sleeps in epoll, takes in large pieces, frames ([`mod@crate::frame`]) and writes in large pieces. Its memory is
//! bounded: per stream at most what is held of one line, and [`RETAIN_MAX`] while a file cannot be written.
//!
//! # Exactly once, whoever is killed
//!
//! The keeper holds a duplicate of each pipe, and of each stream's *staging* file, a memory file with one header page.
//! When the daemon dies at any instant, the next one gets both back and goes on ([`Stream::resume`]):
//!
//! ```text
//!  pipe ──splice──▶ staging ──frame──▶ write ──▶ log files
//!        (1)           └─ header: (2) intent before, (3) carried after
//! ```
//!
//! | killed | found by the next pump | done |
//! |---|---|---|
//! | before (1) | nothing new | the bytes wait in the pipe |
//! | after (1) | the staging file is longer than what was carried | frames and writes it |
//! | after (2) | an intent; the log is as long as before | writes it all |
//! | within the write | an intent; the log grew by a part | writes the rest |
//! | after the write | an intent; the log grew by all of it | settles |
//! | after (3) | no intent | as "after (1)" |
//! | while giving pages back | offsets never move, only carried pages vanish | nothing |
//!
//! (1) is one system call: the size of the staging file is the number of bytes taken. (2) and (3) are one `pwrite`
//! within one page. The intent carries the time of the lines and the state of framing, so the same output is made again.
//!
//! Several streams may share a file (merged logs, the combined file): one thread writes them all, and an intent is settled,
//! or its failure recorded, before the next write begins, so at a kill at most one write per file is in doubt. What
//! the log grew by is compared with what was to be written, so that the lines of others are not taken for ours.
//! What the rule cannot tell:
//! - the log was truncated or replaced by another file between the write and the next pump: it counts as not written,
//!   and those lines (one chunk) may stand in the log twice, never missing;
//! - somebody else appends to the same file in that very moment (an app that writes to it directly), or the stream comes back
//!   with another format: the chunk may stand there twice, or in two parts;
//! - the log is no regular file: it has no length, and the chunk is written again;
//! - the kernel cannot `splice` from the pipe to the staging file: it is read instead, and a kill between that read and
//!   the write to staging loses the chunk.
//!
//! # Whole lines
//!
//! With dates or as JSON a line is written when it is complete, so that the lines of streams that share a file stay
//! whole; so are raw lines there. A stream alone in its files lets go of an unfinished line after a second (not in
//! JSON), for prompts and progress bars.
//!
//! # Rotation
//!
//! A file that is too long, or whose time has come, is renamed between two writes ([`archive`](crate::rotate::archive) has
//! the names) and made anew by the next one. A kill between the two finds no file, and makes it. A write in doubt
//! is settled before anything is renamed, since whoever adds streams adds those in doubt first. By size the cut is at a
//! line's end, unless none comes before the file is twice (or 1 MiB) longer; by the clock it is wherever the output stands.
//! A file may be longer than its limit by what is written at once, 256 KiB.
//!
//! # When a file cannot be written
//!
//! The app goes on. What it says is kept in staging, up to [`RETAIN_MAX`], and tried again every second; beyond that
//! the oldest is dropped for the file that fails, counted and reported.

mod files;
mod staging;
mod stream;
mod thread;

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rpm_model::{LogFormat, WorkerId};
use rustix::event::{EventfdFlags, eventfd};

use crate::target::{Kind, Target};

/// This much of a stream is kept while one of its files cannot be written: minutes of a talkative app.
pub const RETAIN_MAX: u64 = 4 << 20;

/// One stream of one life, for [`Pump::add`].
#[derive(Debug)]
pub struct Stream {
    /// Names it in commands and events: the life and which stream, `3.17.out`. Unique while it lives.
    pub key: String,
    /// The end to read from. The keeper has a duplicate. Without a writer the stream ends at once, so it is to be added
    /// when the worker has its end, or its end is held until then.
    pub pipe: OwnedFd,
    /// From [`new_staging`]. The keeper has a duplicate.
    pub staging: OwnedFd,
    /// Whether an earlier pump may have worked on `staging`; a fresh one is fine too.
    pub resume: bool,
    /// The files; at most four, in the same order whenever the stream is resumed. None throws everything away.
    pub targets: Vec<Target>,
    /// How lines are written.
    pub format: LogFormat,
    /// dayjs format put before each line, or as the time of JSON records.
    pub date_format: Option<String>,
    /// Which of the worker's streams, for JSON records.
    pub kind: Kind,
    /// Whose, for JSON records.
    pub worker: WorkerId,
    /// Whose, for JSON records.
    pub app_name: String,
    /// A file with a path that is longer than this is rotated; see "Rotation". Streams that share a file say the same.
    pub max_size: Option<u64>,
}

/// What the pump has to tell. The callback runs on the pump's thread: it should pass the event on and return.
#[derive(Debug)]
pub enum Event {
    /// Everything up to the end of the pipe is in the files, and the stream is forgotten: the keeper's duplicates can
    /// go. Also the answer to [`Pump::finish`] for a stream that is not there (any more).
    Ended {
        /// The stream.
        key: String,
    },
    /// A file cannot be written. Told once; it is tried again until it works.
    WriteFailed {
        /// The first stream that noticed.
        key: String,
        /// The file, where it has a path.
        path: Option<PathBuf>,
        /// Why.
        error: io::Error,
    },
    /// A file that could not be written is written again.
    WriteResumed {
        /// The stream that noticed.
        key: String,
        /// The file, where it has a path.
        path: Option<PathBuf>,
    },
    /// A file could not be written for so long that output was dropped. Told for each piece.
    Dropping {
        /// The stream.
        key: String,
        /// The file, where it has a path.
        path: Option<PathBuf>,
        /// So many bytes are missing there.
        lost: u64,
        /// So many lines end in them.
        lines: u64,
        /// The first piece since the file failed.
        is_first: bool,
    },
    /// A file was rotated.
    Rotated {
        /// The log.
        log: PathBuf,
        /// Its archive.
        archive: PathBuf,
    },
    /// A file could not be rotated; it is written on, and tried again. Told once until it works.
    RotateFailed {
        /// The log.
        log: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A stream's pipe or staging file does not work. A staging file that cannot be understood is begun anew, with
    /// what it holds carried as if none of it had been; a pipe that cannot be read is tried again.
    StreamFailed {
        /// The stream.
        key: String,
        /// Why.
        error: io::Error,
    },
}

impl Event {
    fn of_rotation((log, result): (PathBuf, io::Result<PathBuf>)) -> Self {
        match result {
            Ok(archive) => Event::Rotated { log, archive },
            Err(error) => Event::RotateFailed { log, error },
        }
    }
}

/// What the pump has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Streams at this moment.
    pub streams: u64,
    /// Bytes taken from pipes.
    pub bytes_taken: u64,
    /// Bytes written to files.
    pub bytes_written: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Bytes of output dropped because a file could not be written for too long.
    pub bytes_dropped: u64,
    /// Times the thread woke up.
    pub wakeups: u64,
}

#[derive(Debug, Default)]
struct SharedCounters {
    streams: AtomicU64,
    bytes_taken: AtomicU64,
    bytes_written: AtomicU64,
    write_errors: AtomicU64,
    bytes_dropped: AtomicU64,
    wakeups: AtomicU64,
}

enum Command {
    Add(Vec<Stream>),
    Finish(String),
    Reopen(Box<dyn FnOnce() + Send>),
    Rotate(PathBuf),
    Shutdown,
}

/// The running pump.
#[derive(Debug)]
pub struct Pump {
    commands: mpsc::Sender<Command>,
    wake: Arc<OwnedFd>,
    counters: Arc<SharedCounters>,
    thread: Option<JoinHandle<()>>,
}

/// Makes a stream's staging file.
pub fn new_staging(name: &str) -> io::Result<OwnedFd> {
    Ok(rpm_sys::fd::memory_file(name)?)
}

impl Pump {
    /// Starts the thread.
    pub fn start(on_event: impl FnMut(Event) + Send + 'static) -> io::Result<Pump> {
        let (commands, received) = mpsc::channel();
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let counters = Arc::new(SharedCounters::default());
        let run = thread::prepare(received, wake.clone(), counters.clone(), Box::new(on_event))?;
        let thread = std::thread::Builder::new().name("log-pump".into()).spawn(run)?;
        Ok(Pump { commands, wake, counters, thread: Some(thread) })
    }

    /// Takes over a stream: completes what an earlier pump began, then carries what comes.
    pub fn add(&self, stream: Stream) {
        self.add_all(vec![stream]);
    }

    /// Takes over several streams at once.
    ///
    /// Streams that are resumed and share a file should come in one call: a write that was cut in the middle is then
    /// completed before the others write behind it.
    pub fn add_all(&self, streams: Vec<Stream>) {
        self.tell(Command::Add(streams));
    }

    /// Asks for [`Event::Ended`]: told when the pipe's end was reached and everything is in the files.
    ///
    /// A stream ends by itself when its last writer is gone; descendants that still write are waited for. This is for
    /// whoever did not listen then.
    pub fn finish(&self, key: &str) {
        self.tell(Command::Finish(key.to_owned()));
    }

    /// Opens all files again by their paths, after they were moved away.
    pub fn reopen(&self) {
        self.reopen_then(|| {});
    }

    /// The same, and calls `done` on the pump's thread when nothing is written to the old files any more.
    pub fn reopen_then(&self, done: impl FnOnce() + Send + 'static) {
        self.tell(Command::Reopen(Box::new(done)));
    }

    /// Rotates a file now, unless it is empty.
    pub fn rotate(&self, log: impl Into<PathBuf>) {
        self.tell(Command::Rotate(log.into()));
    }

    /// Carries what is in the pipes at this moment, then stops. What comes later, and unfinished lines, wait in the
    /// pipes and staging files for the next pump. Dropping the pump does the same.
    pub fn shutdown(self) {}

    /// Returns what was done so far.
    pub fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            streams: read(&self.counters.streams),
            bytes_taken: read(&self.counters.bytes_taken),
            bytes_written: read(&self.counters.bytes_written),
            write_errors: read(&self.counters.write_errors),
            bytes_dropped: read(&self.counters.bytes_dropped),
            wakeups: read(&self.counters.wakeups),
        }
    }

    fn tell(&self, command: Command) {
        // The thread outlives every handle unless it panicked, and then there is nobody to tell.
        if self.commands.send(command).is_ok() {
            let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.tell(Command::Shutdown);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
