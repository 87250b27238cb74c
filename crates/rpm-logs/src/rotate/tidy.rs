//! What becomes of archives: compressed, and removed when they are too many or too old.
//!
//! A kill at any point leaves a part that is made anew, or an archive both plain and compressed, of which the plain one
//! then goes: the compressed one has its name only when it is whole and synced.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rpm_model::Rotation;
use rustix::fs::OFlags;

use super::archive::{self, Archive};
use super::collapse::{remove_if_there, sync_directory};
use super::rotator::Event;
use crate::crash::step;
use crate::date::Stamp;
use crate::hand;

/// Repetitive text shrinks nearly as much as at 6, in a third of the time.
const LEVEL: Compression = Compression::new(3);

/// Read and compressed at once; between two the work can be broken off.
const PIECE: usize = 256 << 10;

/// The thread of the lowest priority that compresses.
pub(super) struct Tidier {
    work: Option<mpsc::Sender<(PathBuf, Rotation)>>,
    leaving: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tidier {
    pub(super) fn start(mut on_event: impl FnMut(Event) + Send + 'static) -> io::Result<Self> {
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
                let tidied = hand::act_for(&log).and_then(|_acting| tidy(&log, &rotation, &go_on));
                if let Err(error) = tidied {
                    on_event(Event::Failed { log, error });
                }
            }
        };
        let thread = std::thread::Builder::new().name("log-tidy".into()).spawn(run)?;
        Ok(Self { work: Some(work), leaving, thread: Some(thread) })
    }

    pub(super) fn tidy(&self, log: &Path, rotation: &Rotation) {
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

/// Brings the archives of one log into the state that is wanted. `go_on` is asked from time to time.
fn tidy(log: &Path, rotation: &Rotation, go_on: &dyn Fn() -> bool) -> io::Result<()> {
    // First what goes, so that nothing is compressed in vain.
    for archive in surplus(archive::list(log)?, rotation, Stamp::now()) {
        for form in [plain_path(&archive), compressed_path(&archive)] {
            remove_if_there(&form)?;
        }
    }
    for archive in archive::list(log)? {
        let plain = plain_path(&archive);
        if archive.gzip {
            // Left by a kill between the two names.
            remove_if_there(&plain)?;
        } else if rotation.compress {
            compress(&plain, &compressed_path(&archive), go_on)?;
        }
        if !go_on() {
            break;
        }
    }
    Ok(())
}

/// Returns what is not to be kept.
fn surplus(archives: Vec<Archive>, rotation: &Rotation, now: Stamp) -> Vec<Archive> {
    let count = rotation.retain.map_or(usize::MAX, |count| count as usize);
    let too_many = archives.len().saturating_sub(count);
    let age = |archive: &Archive| Duration::from_millis(u64::try_from(now.0 - archive.mark.stamp().0).unwrap_or(0));
    let too_old = |archive: &Archive| rotation.retain_age.is_some_and(|limit| age(archive) > limit);
    archives.into_iter().enumerate().filter(|(n, archive)| *n < too_many || too_old(archive)).map(|(_, a)| a).collect()
}

fn compress(plain: &Path, compressed: &Path, go_on: &dyn Fn() -> bool) -> io::Result<()> {
    let part = archive::beside(plain, ".part");
    remove_if_there(&part)?;
    step()?;
    let mut input = File::options().read(true).custom_flags(OFlags::NOFOLLOW.bits() as i32).open(plain)?;
    let output = File::options().write(true).create_new(true).mode(0o600).open(&part)?;
    let mut encoder = GzEncoder::new(output, LEVEL);
    let mut piece = vec![0; PIECE];
    let mut length = 0;
    loop {
        if !go_on() {
            return remove_if_there(&part);
        }
        let count = input.read(&mut piece)?;
        if count == 0 {
            break;
        }
        length += count as u64;
        encoder.write_all(&piece[..count])?;
    }
    let output = encoder.finish()?;
    output.sync_data()?;
    step()?;
    if input.metadata()?.len() != length {
        // Somebody still writes to it. It is compressed when he has left.
        return remove_if_there(&part);
    }
    std::fs::rename(&part, compressed)?;
    sync_directory(compressed)?;
    step()?;
    remove_if_there(plain)
}

fn plain_path(archive: &Archive) -> PathBuf {
    if archive.gzip { archive.path.with_extension("") } else { archive.path.clone() }
}

fn compressed_path(archive: &Archive) -> PathBuf {
    if archive.gzip {
        return archive.path.clone();
    }
    let mut path = archive.path.clone().into_os_string();
    path.push(".gz");
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::arm;
    use flate2::read::GzDecoder;

    fn make(log: &Path, count: usize) {
        for n in 0..count {
            std::fs::write(archive::next(log).expect("a name"), format!("archive {n}\n")).expect("writes");
        }
    }

    fn content(archive: &Archive) -> String {
        let file = File::open(&archive.path).expect("opens");
        let mut text = String::new();
        match archive.gzip {
            true => GzDecoder::new(file).read_to_string(&mut text),
            false => { file }.read_to_string(&mut text),
        }
        .expect("reads");
        text
    }

    #[test]
    fn the_newest_are_kept_and_compressed_whoever_is_killed() {
        for steps in 0..20 {
            let dir = tempfile::tempdir().expect("a directory");
            let log = dir.path().join("a.log");
            make(&log, 5);
            let rotation = Rotation { retain: Some(3), ..Rotation::default() };
            arm(Some(steps));
            let _ = tidy(&log, &rotation, &|| true);
            arm(None);
            tidy(&log, &rotation, &|| true).expect("tidies");
            let archives = archive::list(&log).expect("lists");
            assert!(archives.iter().all(|archive| archive.gzip));
            let contents: Vec<String> = archives.iter().map(content).collect();
            assert_eq!(contents, ["archive 2\n", "archive 3\n", "archive 4\n"], "killed after {steps} steps");
            assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 3);
        }
    }

    #[test]
    fn the_old_ones_go() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("a.log");
        make(&log, 2);
        let rotation = Rotation { retain_age: Some(Duration::from_secs(60)), ..Rotation::default() };
        let archives = archive::list(&log).expect("lists");
        let now = Stamp::now();
        assert!(surplus(archives.clone(), &rotation, now).is_empty());
        assert_eq!(surplus(archives, &rotation, Stamp(now.0 + 120_000)).len(), 2);
    }

    #[test]
    fn work_that_is_broken_off_leaves_the_plain_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("a.log");
        make(&log, 1);
        tidy(&log, &Rotation::default(), &|| false).expect("breaks off");
        let archives = archive::list(&log).expect("lists");
        assert!(!archives[0].gzip && content(&archives[0]) == "archive 0\n");
    }
}
