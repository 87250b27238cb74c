//! Access logs, off the hot path: threads gather lines, one other thread writes them.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rpm_model::balance::{AccessLog, AccessLogFormat};

/// A block of lines is sent on when it is this long, or a second old.
pub const BLOCK: usize = 32 << 10;

/// So many blocks may wait for the disk: 8 MiB. Then lines are dropped and counted: a disk that hangs must not stop
/// the requests.
const BLOCKS_WAITING: usize = 256;

/// One access log.
#[derive(Debug)]
pub struct LogFile {
    wanted: AccessLog,
    file: Mutex<File>,
    broken: AtomicBool,
}

impl LogFile {
    /// Opens it for appending.
    ///
    /// # Errors
    /// With a sentence.
    pub fn open(wanted: &AccessLog) -> Result<Self, String> {
        let file = open(wanted)?;
        Ok(Self { wanted: wanted.clone(), file: Mutex::new(file), broken: AtomicBool::new(false) })
    }

    /// Returns whether it is what is wanted.
    pub fn is_for(&self, wanted: &AccessLog) -> bool {
        self.wanted == *wanted
    }

    /// Returns how lines are written.
    pub fn format(&self) -> AccessLogFormat {
        self.wanted.format
    }

    /// Opens it again, after it was renamed.
    ///
    /// # Errors
    /// With a sentence; the old file stays open then.
    pub fn reopen(&self) -> Result<(), String> {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = open(&self.wanted)?;
        Ok(())
    }
}

fn open(wanted: &AccessLog) -> Result<File, String> {
    let shown = wanted.path.display();
    if let Some(parent) = wanted.path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| format!("{} cannot be made: {error}", parent.display()))?;
    }
    // Clients' addresses are nobody else's business.
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&wanted.path);
    file.map_err(|error| format!("the access log {shown} cannot be opened: {error}"))
}

/// What the thread that writes is sent.
enum Block {
    /// Lines for one log.
    Lines(Arc<LogFile>, Vec<u8>),
    /// Everything before has been written when this is answered.
    Drained(SyncSender<()>),
}

/// Where threads send their lines.
#[derive(Clone)]
pub struct Writer {
    blocks: SyncSender<Block>,
    lost: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread that writes. `trouble` is called once for each log that cannot be written.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(trouble: impl Fn(String) + Send + 'static) -> std::io::Result<Self> {
        let (blocks, waiting) = sync_channel(BLOCKS_WAITING);
        std::thread::Builder::new().name("access log".into()).spawn(move || write(&waiting, trouble))?;
        Ok(Self { blocks, lost: Arc::default() })
    }

    /// Sends lines on, without waiting.
    pub fn send(&self, log: &Arc<LogFile>, lines: Vec<u8>) {
        if let Err(TrySendError::Full(block) | TrySendError::Disconnected(block)) =
            self.blocks.try_send(Block::Lines(log.clone(), lines))
            && let Block::Lines(_, lines) = block
        {
            self.lost.fetch_add(memchr::memchr_iter(b'\n', &lines).count() as u64, Relaxed);
        }
    }

    /// Waits until everything that was sent is written, but not for a disk that hangs.
    pub fn drain(&self) {
        let (drained, wait) = sync_channel(1);
        if self.blocks.try_send(Block::Drained(drained)).is_ok() {
            let _ = wait.recv_timeout(std::time::Duration::from_secs(2));
        }
    }

    /// Returns how many lines were dropped.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

fn write(waiting: &Receiver<Block>, trouble: impl Fn(String)) {
    while let Ok(block) = waiting.recv() {
        let (log, lines) = match block {
            Block::Lines(log, lines) => (log, lines),
            Block::Drained(drained) => {
                let _ = drained.try_send(());
                continue;
            }
        };
        let written = log.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&lines);
        match written {
            Ok(()) => log.broken.store(false, Relaxed),
            Err(error) if !log.broken.swap(true, Relaxed) => {
                trouble(format!("the access log {} cannot be written: {error}", log.wanted.path.display()));
            }
            Err(_) => {}
        }
    }
}
