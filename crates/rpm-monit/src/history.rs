//! The last minutes of CPU and memory.

use std::collections::{BTreeMap, VecDeque};

use rpm_ipc::List;
use rpm_model::{Bytes, WorkerId};

/// Five minutes at one sample a second: more than the widest chart shows. 500 workers take 2.4 MB.
const KEPT: usize = 300;

/// One look at one worker, or at several together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    /// Percent of one core.
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

    /// Returns the last `count` sums of several workers, oldest first.
    pub(crate) fn last(&self, workers: impl Iterator<Item = WorkerId>, count: usize) -> Vec<Sample> {
        let mut sums: Vec<Sample> = Vec::new();
        for samples in workers.filter_map(|worker| self.samples.get(&worker)) {
            let taken = samples.len().min(count);
            // All end now; one that came later has fewer.
            if sums.len() < taken {
                let missing = taken - sums.len();
                sums.splice(0..0, std::iter::repeat_n(Sample::default(), missing));
            }
            let start = sums.len() - taken;
            for (sum, sample) in sums[start..].iter_mut().zip(samples.range(samples.len() - taken..)) {
                sum.cpu += sample.cpu;
                sum.memory.0 += sample.memory.0;
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::list;

    #[test]
    fn workers_together_end_at_the_same_moment_and_no_more_than_five_minutes_are_kept() {
        let mut history = History::default();
        let mut only_first = list();
        only_first.apps[0].workers.truncate(1);
        only_first.apps[0].workers[0].cpu = 1.0;
        history.record(&only_first);
        let mut both = list();
        both.apps[0].workers[0].cpu = 2.0;
        both.apps[0].workers[1].cpu = 10.0;
        history.record(&both);
        let cpu = |history: &History, count| -> Vec<f32> {
            history.last([WorkerId(1), WorkerId(0)].into_iter(), count).iter().map(|sample| sample.cpu).collect()
        };
        assert_eq!(cpu(&history, 9), [1.0, 12.0]);
        assert_eq!(cpu(&history, 1), [12.0]);
        for _ in 0..2 * KEPT {
            history.record(&both);
        }
        assert_eq!(cpu(&history, usize::MAX).len(), KEPT);
    }
}
