//! What the load balancer says of the workers behind it.

use std::collections::BTreeMap;

use rpm_model::WorkerId;
use serde::{Deserialize, Serialize};

/// What there is to say, by worker. A worker that is behind no balancer has no entry; where none has, the columns are
/// not shown at all.
pub type Traffic = BTreeMap<WorkerId, WorkerTraffic>;

/// How busy one worker is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerTraffic {
    /// Requests that ended within the last second.
    pub requests_per_second: f64,
    /// The time that 99 of 100 requests took at most, in milliseconds; nothing when there were none.
    pub p99_ms: Option<f64>,
    /// Requests that have no answer yet.
    pub in_flight: u64,
    /// Requests that wait for a free place.
    pub queue: u64,
}

/// Returns the traffic of several workers together; nothing when none of them has an entry.
///
/// Of the 99th percentiles the largest is told: they cannot be added, and it is an upper bound.
pub(crate) fn together(traffic: &Traffic, workers: impl Iterator<Item = WorkerId>) -> Option<WorkerTraffic> {
    workers.filter_map(|worker| traffic.get(&worker)).copied().reduce(|sum, one| WorkerTraffic {
        requests_per_second: sum.requests_per_second + one.requests_per_second,
        p99_ms: match (sum.p99_ms, one.p99_ms) {
            (Some(sum), Some(one)) => Some(sum.max(one)),
            (sum, one) => sum.or(one),
        },
        in_flight: sum.in_flight + one.in_flight,
        queue: sum.queue + one.queue,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_has_the_sum_of_its_workers_and_the_worst_of_their_percentiles() {
        let one = |rate, p99_ms, in_flight| WorkerTraffic { requests_per_second: rate, p99_ms, in_flight, queue: 1 };
        let traffic = Traffic::from([(WorkerId(1), one(10.0, Some(5.0), 2)), (WorkerId(2), one(5.5, None, 3))]);
        let sum = together(&traffic, (0..4).map(WorkerId)).unwrap();
        assert_eq!(sum, WorkerTraffic { requests_per_second: 15.5, p99_ms: Some(5.0), in_flight: 5, queue: 2 });
        assert_eq!(together(&traffic, std::iter::once(WorkerId(9))), None);
    }
}
