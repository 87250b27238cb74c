//! A tiny program that says when it was started.
//!
//! The same program and the same way of seeing it for everything that starts processes: it writes its pid and the
//! monotonic clock to a fifo as the first thing in `main`. No polling, so no poll interval in the figures.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// A process has begun.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    /// Which.
    pub pid: i32,
    /// When its `main` began, on the monotonic clock.
    pub at_ns: u64,
}

/// Compiles the tiny program, statically: what is measured is the manager, not the dynamic linker.
///
/// # Errors
/// When there is no C compiler.
pub fn compile(directory: &Path) -> Result<PathBuf> {
    let (source, program) = (directory.join("tiny.c"), directory.join("tiny"));
    std::fs::write(&source, include_str!("../fixtures/tiny.c"))?;
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let status = Command::new(&compiler).args(["-O2", "-static", "-o"]).arg(&program).arg(&source).status();
    let status = status.with_context(|| format!("could not run the C compiler `{compiler}` (CC names another)"))?;
    if !status.success() {
        bail!("`{compiler}` could not compile the tiny program: {status}");
    }
    Ok(program)
}

/// Where the tiny programs leave their marks.
#[derive(Debug)]
pub struct Marks {
    fifo: PathBuf,
    marks: Receiver<Mark>,
}

impl Marks {
    /// Makes a fifo at `fifo` and listens.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn listen(fifo: PathBuf) -> Result<Self> {
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).context("could not make a fifo")?;
        // Open for writing too: the reader never sees an end, and the programs never wait for a reader.
        let file = OpenOptions::new().read(true).write(true).open(&fifo)?;
        let (sender, marks) = mpsc::channel();
        thread::spawn(move || {
            for mark in lines(file) {
                if sender.send(mark).is_err() {
                    return;
                }
            }
        });
        Ok(Self { fifo, marks })
    }

    /// Returns the fifo: the argument of the tiny program.
    pub fn fifo(&self) -> &Path {
        &self.fifo
    }

    /// Waits for this many marks.
    ///
    /// # Errors
    /// When they do not come within `deadline`.
    pub fn wait(&self, count: usize, deadline: Duration) -> Result<Vec<Mark>> {
        let until = Instant::now() + deadline;
        let mut marks = Vec::with_capacity(count);
        while marks.len() < count {
            match self.marks.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(mark) => marks.push(mark),
                Err(_) => bail!("{} of {count} processes began within {} s", marks.len(), deadline.as_secs()),
            }
        }
        Ok(marks)
    }

    /// Forgets the marks that have come and that nobody waited for.
    pub fn clear(&self) {
        self.marks.try_iter().for_each(drop);
    }
}

/// Returns the moment of the last of some marks.
pub fn last_ns(marks: &[Mark]) -> u64 {
    marks.iter().map(|mark| mark.at_ns).max().unwrap_or(0)
}

fn lines(file: File) -> impl Iterator<Item = Mark> {
    BufReader::new(file).lines().map_while(Result::ok).filter_map(|line| {
        let (pid, at_ns) = line.split_once(' ')?;
        Some(Mark { pid: pid.parse().ok()?, at_ns: at_ns.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    #[test]
    fn a_tiny_program_says_when_it_began() {
        let directory = tempfile::tempdir().unwrap();
        let tiny = compile(directory.path()).unwrap();
        let marks = Marks::listen(directory.path().join("marks")).unwrap();
        let before = process::monotonic_ns();
        let mut child = Command::new(tiny).arg(marks.fifo()).spawn().unwrap();
        let mark = marks.wait(1, Duration::from_secs(10)).unwrap()[0];
        let after = process::monotonic_ns();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(mark.pid, child.id() as i32);
        assert!(before < mark.at_ns && mark.at_ns < after);
        assert!(marks.wait(1, Duration::ZERO).is_err());
    }
}
