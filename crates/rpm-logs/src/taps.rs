//! Copies of lines for those who look on: `logs` beside `runtime`, which alone reads the [console](rpm_model::LogTarget::Console).
//!
//! Who looks on makes a named pipe beside the console's own, `STREAM.PID`, and reads it. Who prints the lines finds it there,
//! and writes a copy of each line. It never waits: what a slow reader has no room for is left out, and that is said. A
//! pipe that nobody reads any more is removed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rpm_model::{Home, WorkerId};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::names::console_path;
use crate::target::{Kind, console_reader};

/// So many are served. At the bound a new one gets nothing until another leaves.
const TAPS_MAX: usize = 256;

/// The clock that directories are stamped with ticks at least as often: a change within the same tick is not seen in the stamp.
const TICK: Duration = Duration::from_millis(50);

/// Makes the pipe through which this process looks on at a stream of a worker; returns its path too.
///
/// # Errors
/// When it cannot be made.
pub fn tap(worker: WorkerId, kind: Kind, home: &Home) -> io::Result<(PathBuf, OwnedFd)> {
    let mut path = OsString::from(console_path(worker, kind, home));
    path.push(format!(".{}", std::process::id()));
    let path = PathBuf::from(path);
    let reader = console_reader(&path)?;
    Ok((path, reader))
}

/// Those who look on.
#[derive(Debug)]
pub struct Taps {
    directory: PathBuf,
    /// The directory's stamp when its names were last read, if nothing can have changed since without changing that.
    stamp: Option<SystemTime>,
    taps: BTreeMap<OsString, Tap>,
}

#[derive(Debug)]
struct Tap {
    pipe: OwnedFd,
    /// The end of a line whose beginning is written.
    rest: Vec<u8>,
    /// Lines that there was no room for.
    missed: u64,
}

impl Taps {
    /// Serves those who look on at a console of this home.
    pub fn new(home: &Home) -> Self {
        Self { directory: home.console(), stamp: None, taps: BTreeMap::new() }
    }

    /// Copies a line, which comes without its end, to whoever looks on at the console with that path.
    pub fn copy(&mut self, console: &Path, line: &[u8]) {
        self.look();
        let Some(stream) = console.file_name() else { return };
        let directory = &self.directory;
        self.taps.retain(|name, tap| {
            let is_read = stream_of(name) != stream.to_str() || tap.give(line);
            if !is_read {
                let _gone = std::fs::remove_file(directory.join(name));
            }
            is_read
        });
    }

    /// Finds those who came.
    fn look(&mut self) {
        let now = self.directory.metadata().and_then(|metadata| metadata.modified()).ok();
        if now.is_none() || now == self.stamp {
            return;
        }
        self.stamp = now.filter(|stamp| stamp.elapsed().is_ok_and(|age| age > TICK));
        for entry in std::fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if stream_of(&name).is_none() || self.taps.contains_key(&name) || self.taps.len() >= TAPS_MAX {
                continue;
            }
            match open(&entry.path()) {
                Ok(pipe) => drop(self.taps.insert(name, Tap { pipe, rest: Vec::new(), missed: 0 })),
                // Its reader is gone, or has not opened it yet; then the next look finds it.
                Err(Errno::NXIO) if is_old(&entry) => drop(std::fs::remove_file(entry.path())),
                Err(Errno::NXIO) => self.stamp = None,
                Err(_) => {}
            }
        }
    }
}

impl Tap {
    /// Writes a line, if there is room for it; returns whether anybody reads.
    fn give(&mut self, line: &[u8]) -> bool {
        if !self.rest.is_empty() && !self.write_rest() {
            return false;
        }
        if !self.rest.is_empty() {
            self.missed += 1;
            return true;
        }
        let missed = std::mem::take(&mut self.missed);
        if missed > 0 {
            self.rest = format!("[{missed} lines came too fast to be shown here]\n").into_bytes();
        }
        self.rest.extend_from_slice(line);
        self.rest.push(b'\n');
        let whole = self.rest.len();
        let is_read = self.write_rest();
        if self.rest.len() == whole {
            // Nothing of it was taken: it was not begun.
            self.rest.clear();
            self.missed = missed + 1;
        }
        is_read
    }

    fn write_rest(&mut self) -> bool {
        match rustix::io::write(&self.pipe, &self.rest) {
            Ok(count) => drop(self.rest.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return false,
        }
        true
    }
}

/// Returns which stream a name is a copy of; a console's own pipe is none.
fn stream_of(name: &std::ffi::OsStr) -> Option<&str> {
    name.to_str()?.rsplit_once('.').map(|(stream, _)| stream)
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let pipe = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&pipe)?.st_mode) {
        FileType::Fifo => Ok(pipe),
        _ => Err(Errno::INVAL),
    }
}

/// Between making a pipe and opening it little time passes.
fn is_old(entry: &std::fs::DirEntry) -> bool {
    let made = entry.metadata().and_then(|metadata| metadata.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rpm_model::Flavour;

    use super::*;

    fn read(pipe: &OwnedFd) -> String {
        let mut text = Vec::new();
        let mut file = std::fs::File::from(pipe.try_clone().expect("a descriptor"));
        // It ends with "would block".
        let _ = file.read_to_end(&mut text);
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn who_looks_on_gets_what_comes_from_then_on() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = Home::new(directory.path().to_owned(), Flavour::Rpm);
        let console = console_path(WorkerId(3), Kind::Out, &home);
        let mut taps = Taps::new(&home);
        taps.copy(&console, b"to nobody");
        let (path, pipe) = tap(WorkerId(3), Kind::Out, &home).expect("a tap");
        taps.copy(&console, b"one");
        taps.copy(&console_path(WorkerId(3), Kind::Err, &home), b"of another stream");
        taps.copy(&console, b"two");
        assert_eq!(read(&pipe), "one\ntwo\n");
        drop(pipe);
        taps.copy(&console, b"three");
        assert!(!path.exists() && taps.taps.is_empty(), "who left is forgotten");
    }

    #[test]
    fn who_is_too_slow_misses_whole_lines_and_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = Home::new(directory.path().to_owned(), Flavour::Rpm);
        let console = console_path(WorkerId(0), Kind::Out, &home);
        let mut taps = Taps::new(&home);
        let (_, pipe) = tap(WorkerId(0), Kind::Out, &home).expect("a tap");
        let line = "x".repeat(9999);
        (0..50).for_each(|_| taps.copy(&console, line.as_bytes()));
        let first = read(&pipe);
        taps.copy(&console, b"then");
        taps.copy(&console, b"last");
        let all = first + &read(&pipe);
        let lines: Vec<&str> = all.lines().collect();
        let whole = lines.iter().filter(|given| **given == line).count();
        let note = format!("[{} lines came too fast to be shown here]", 50 - whole);
        assert_eq!(lines[whole..], [note.as_str(), "then", "last"]);
    }
}
