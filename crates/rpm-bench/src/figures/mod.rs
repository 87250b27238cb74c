//! One measurement per file.
//!
//! Contenders take turns (A B C, A B C, …), so that a slow minute of the machine hits all of them. A figure that fails
//! for one contender is told and left out; the others go on.

mod bare;
mod cold;
mod crash;
mod http;
mod idle;
mod killed;
mod list;
mod memory;
mod start;
mod stop;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tempfile::TempDir;

use crate::manager::{Kind, Manager};
use crate::marks::{Marks, compile};
use crate::samples::Samples;
use crate::table::Row;
use bare::Bare;

/// The number of workers in most figures.
pub(crate) const MANY: usize = 100;
/// The longest wait for a hundred processes, with PM2 on a slow machine.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// A measurement by its name.
#[derive(Debug)]
pub struct Figure {
    /// The name on the command line.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
    /// Measures.
    pub measure: fn(&Bench) -> Result<Vec<Row>>,
}

/// Every measurement.
pub const FIGURES: [Figure; 9] = [
    Figure { name: "list", about: "`list` with 100 workers", measure: list::measure },
    Figure { name: "cold", about: "no daemon -> first process running", measure: cold::measure },
    Figure { name: "start100", about: "100 processes started, all running", measure: start::measure },
    Figure { name: "stop100", about: "`stop` of 100 processes", measure: stop::measure },
    Figure { name: "killed100", about: "100 workers killed at once, all back", measure: killed::measure },
    Figure { name: "crash", about: "a crash -> its replacement's first instruction", measure: crash::measure },
    Figure { name: "memory", about: "memory with 100 workers, and after 2000 crashes", measure: memory::measure },
    Figure { name: "idle", about: "CPU while 100 workers do nothing", measure: idle::measure },
    Figure { name: "http", about: "requests per second through two Node workers", measure: http::measure },
];

/// What every measurement needs.
#[derive(Debug)]
pub struct Bench {
    /// The managers to be compared, ours first.
    pub managers: Vec<(Kind, PathBuf)>,
    /// The top of the repository.
    pub repository: PathBuf,
    /// Whether few samples will do.
    pub quick: bool,
    /// Holds the tiny program.
    _directory: TempDir,
    tiny: PathBuf,
}

impl Bench {
    /// Prepares what all measurements share.
    ///
    /// # Errors
    /// When the tiny program cannot be compiled.
    pub fn new(managers: Vec<(Kind, PathBuf)>, repository: PathBuf, quick: bool) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("rpm-bench-").tempdir()?;
        let tiny = compile(directory.path())?;
        Ok(Self { managers, repository, quick, _directory: directory, tiny })
    }

    /// Returns how many samples to take: `full` of them, or `quick` when few will do.
    pub(crate) fn samples(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// Returns one stage for each manager.
    pub(crate) fn stages(&self) -> Result<Vec<Stage>> {
        self.managers.iter().map(|(kind, binary)| self.stage(*kind, binary)).collect()
    }

    fn stage(&self, kind: Kind, binary: &Path) -> Result<Stage> {
        let manager = Manager::new(kind, binary)?;
        let marks = Marks::listen(manager.home().join("marks.fifo"))?;
        Ok(Stage { manager, marks, tiny: self.tiny.clone() })
    }

    /// Returns a loop without any manager, running the same program.
    pub(crate) fn bare(&self) -> Result<Bare> {
        Bare::new(self.tiny.clone())
    }
}

/// A manager, and the tiny programs it is to run.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) manager: Manager,
    pub(crate) marks: Marks,
    tiny: PathBuf,
}

impl Stage {
    pub(crate) fn name(&self) -> &'static str {
        self.manager.kind().name()
    }

    /// Writes an ecosystem file with so many instances of the tiny program, and returns its path.
    pub(crate) fn ecosystem(&self, instances: usize) -> Result<String> {
        let file = self.manager.home().join(format!("tiny-{instances}.json"));
        let app = json!({
            "name": "tiny", "script": self.tiny, "args": [self.marks.fifo()], "interpreter": "none",
            "exec_mode": "fork", "instances": instances,
            // A crash is what is measured; nobody should give up.
            "max_restarts": 1_000_000,
        });
        std::fs::write(&file, json!({ "apps": [app] }).to_string())?;
        Ok(file.to_str().context("the temporary directory is not UTF-8")?.to_owned())
    }

    /// Starts so many tiny programs and waits until all have begun; returns their pids.
    pub(crate) fn start(&self, instances: usize) -> Result<Vec<i32>> {
        self.manager.run(&["start", &self.ecosystem(instances)?])?;
        Ok(self.marks.wait(instances, LONG)?.iter().map(|mark| mark.pid).collect())
    }

    /// Brings the daemon up, with nothing to do.
    pub(crate) fn daemon(&self) -> Result<()> {
        self.start(1)?;
        self.clear()
    }

    /// Deletes every app.
    pub(crate) fn clear(&self) -> Result<()> {
        self.manager.run(&["delete", "all"])?;
        self.marks.clear();
        Ok(())
    }
}

/// Somebody whose measurement can be taken once more.
pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    pub(crate) once: Box<dyn FnMut() -> Result<f64> + 'a>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(name: &'static str, once: impl FnMut() -> Result<f64> + 'a) -> Self {
        Self { name, once: Box::new(once) }
    }
}

/// Measures everybody `count` times, in turns. Who fails is told and left out of later rounds.
pub(crate) fn in_turns(mut contenders: Vec<Contender<'_>>, count: usize) -> Vec<(&'static str, Samples)> {
    let mut measured: Vec<_> = contenders.iter().map(|contender| (contender.name, Samples::default())).collect();
    for _ in 0..count {
        contenders.retain_mut(|contender| match (contender.once)() {
            Ok(value) => {
                let own = measured.iter_mut().find(|(name, _)| *name == contender.name);
                own.expect("every contender has a place").1.add(value);
                true
            }
            Err(error) => {
                eprintln!("{}: {error:#}", contender.name);
                false
            }
        });
    }
    measured
}

/// Returns milliseconds from nanoseconds.
pub(crate) fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}
