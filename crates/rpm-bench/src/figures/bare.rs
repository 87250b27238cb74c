//! A bare loop of fork and exec: what starting processes costs on this machine, whoever does it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Result;
use tempfile::TempDir;

use super::{LONG, MANY, ms};
use crate::marks::{Marks, last_ns};
use crate::process::monotonic_ns;

/// The name of the loop in the table.
pub(super) const LOOP: &str = "fork+exec";

/// A loop without any manager.
pub(crate) struct Bare {
    marks: Marks,
    tiny: PathBuf,
    /// Holds the fifo.
    _directory: TempDir,
}

impl Bare {
    pub(super) fn new(tiny: PathBuf) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let marks = Marks::listen(directory.path().join("marks.fifo"))?;
        Ok(Self { marks, tiny, _directory: directory })
    }

    /// Returns how long it takes to start a hundred, in milliseconds; they are ended again.
    pub(super) fn once(&self) -> Result<f64> {
        let before = monotonic_ns();
        let mut children = Children(Vec::with_capacity(MANY));
        for _ in 0..MANY {
            let mut command = Command::new(&self.tiny);
            command.arg(self.marks.fifo()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            children.0.push(command.spawn()?);
        }
        Ok(ms(last_ns(&self.marks.wait(MANY, LONG)?).saturating_sub(before)))
    }
}

/// Processes that are ended when they go.
struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // A child that has ended by itself is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
