//! The last minutes of CPU and memory.

use std::collections::{BTreeMap, VecDeque};

use rpm_ipc::List;
use rpm_model::{Bytes, WorkerId};

/// Four minutes at one sample a second: more than the widest pane shows.
const KEPT: usize = 240;

/// One look at one worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) cpu: f32,
    pub(crate) memory: Bytes,
}

/// The samples of every worker in the list, oldest first. Workers that are gone are forgotten.
#[derive(Debug, Default)]
pub(crate) struct History {
    samples: BTreeMap<WorkerId, VecDeque<Sample>>,
}

impl History {
    /// Adds one sample for each worker.
    pub(crate) fn record(&mut self, list: &List) {
        let mut next = BTreeMap::new();
        for worker in list.apps.iter().flat_map(|app| &app.workers) {
            let mut samples = self.samples.remove(&worker.id).unwrap_or_default();
            if samples.len() == KEPT {
                samples.pop_front();
            }
            samples.push_back(Sample { cpu: worker.cpu, memory: worker.memory });
            next.insert(worker.id, samples);
        }
        self.samples = next;
    }

    /// Returns the last `count` samples of a worker, oldest first.
    pub(crate) fn last(&self, worker: WorkerId, count: usize) -> impl Iterator<Item = Sample> {
        let samples = self.samples.get(&worker);
        let skipped = samples.map_or(0, |samples| samples.len().saturating_sub(count));
        samples.into_iter().flatten().skip(skipped).copied()
    }
}
