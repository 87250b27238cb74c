//! What workers log, for as long as anybody wants to hear it.
//!
//! The files are read, never the writers asked, by a thread that exists only while there are subscribers.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use rpm_logs::follow::Begin;
use rpm_logs::{Follower, FollowerHandle};
use tokio::sync::mpsc;

/// Chunks that may wait for the bus. At the bound the thread waits, and the files wait for it.
const WAITING: usize = 64;

/// Lines of one file that are told together, as a chunk of output is.
const CHUNK_MAX: usize = 64 << 10;

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) worker: u32,
    /// `log:out` or `log:err`.
    pub(super) topic: &'static str,
}

/// Some lines of one log.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) label: Label,
    pub(super) bytes: Vec<u8>,
}

/// The thread, and what it reads.
pub(super) struct Output {
    handle: FollowerHandle<Label>,
    chunks: mpsc::Receiver<Chunk>,
    known: BTreeMap<PathBuf, Label>,
    since: std::time::SystemTime,
}

impl Output {
    pub(super) fn start() -> io::Result<Self> {
        let (told, chunks) = mpsc::channel(WAITING);
        let mut follower = Follower::new()?;
        let handle = follower.handle();
        std::thread::Builder::new().name("pm2-logs".into()).spawn(move || {
            if let Err(error) = read(&mut follower, &told) {
                tracing::error!("the logs cannot be followed for the bus: {error}");
            }
        })?;
        Ok(Self { handle, chunks, known: BTreeMap::new(), since: std::time::SystemTime::now() })
    }

    /// Makes the files that are read these. A file that several workers share is told as the first one's.
    pub(super) fn set(&mut self, files: BTreeMap<PathBuf, Label>) {
        for (_, label) in self.known.extract_if(.., |path, label| files.get(path) != Some(label)) {
            self.handle.remove(label);
        }
        for (path, label) in files {
            if self.known.insert(path.clone(), label).is_none() {
                let begin = self.begin(&path);
                self.handle.add(label, path, begin);
            }
        }
    }

    /// Waits for the next chunk.
    pub(super) async fn next(&mut self) -> Option<Chunk> {
        self.chunks.recv().await
    }

    /// A log that is younger than the subscription is told whole.
    fn begin(&self, path: &std::path::Path) -> Begin {
        let born = path.metadata().and_then(|metadata| metadata.created());
        if born.is_ok_and(|born| born >= self.since) { Begin::Start } else { Begin::End }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.handle.close();
    }
}

fn read(follower: &mut Follower<Label>, told: &mpsc::Sender<Chunk>) -> io::Result<()> {
    let mut ahead = None;
    loop {
        let first = match ahead.take() {
            Some(line) => Some(line),
            None => follower.next()?,
        };
        let Some(first) = first else { return Ok(()) };
        let mut chunk = Chunk { label: first.label, bytes: first.bytes };
        chunk.bytes.push(b'\n');
        while chunk.bytes.len() < CHUNK_MAX {
            match follower.ready()? {
                Some(line) if line.label == chunk.label => {
                    chunk.bytes.extend(line.bytes);
                    chunk.bytes.push(b'\n');
                }
                other => {
                    ahead = other;
                    break;
                }
            }
        }
        if told.blocking_send(chunk).is_err() {
            return Ok(());
        }
    }
}
