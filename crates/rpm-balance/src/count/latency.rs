//! Times of answers, in buckets that grow with the time: sixteen for each doubling, so none is wider than a sixteenth
//! of what it holds.

use std::time::Duration;

use rpm_model::edge::Latency;

use crate::count::Counter;

const STEPS: usize = 16;
/// Up to 2^32 µs, more than an hour; what took longer counts as that.
const BUCKETS: usize = STEPS * 29;

/// Times of answers, counted by one thread.
#[derive(Debug)]
pub struct Histogram {
    counts: Box<[Counter]>,
    sum_us: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: (0..BUCKETS).map(|_| Counter::default()).collect(), sum_us: Counter::default() }
    }
}

impl Histogram {
    /// Counts one.
    pub fn count(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min(u64::from(u32::MAX));
        self.counts[bucket(us)].add(1);
        self.sum_us.add(us);
    }

    /// Returns what several threads counted, together.
    pub fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> Latency {
        let mut counts = vec![0u64; BUCKETS];
        let mut latency = Latency::default();
        for one in all {
            for (sum, counter) in counts.iter_mut().zip(&one.counts) {
                *sum += counter.get();
            }
            latency.sum_us += one.sum_us.get();
        }
        latency.count = counts.iter().sum();
        let mut seen = 0;
        for (index, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            seen += count;
            let bound = upper(index);
            latency.buckets.insert(bound, *count);
            let percentiles = [(50, &mut latency.p50_us), (90, &mut latency.p90_us), (99, &mut latency.p99_us)];
            for (percent, slot) in percentiles {
                if *slot == 0 && seen * 100 >= latency.count * percent {
                    *slot = bound;
                }
            }
        }
        latency
    }
}

/// Below 16 each number has a bucket; above, the four bits behind the first one choose among sixteen.
fn bucket(us: u64) -> usize {
    if us < STEPS as u64 {
        return us as usize;
    }
    let doublings = us.ilog2() as usize - 4;
    (doublings * STEPS + (us >> doublings) as usize).min(BUCKETS - 1)
}

/// Returns the greatest number in a bucket; at least 1, so that zero can mean "none".
fn upper(bucket: usize) -> u64 {
    if bucket < STEPS {
        return (bucket as u64).max(1);
    }
    let doublings = bucket / STEPS - 1;
    (((bucket % STEPS + STEPS + 1) as u64) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_in_a_bucket_that_is_seven_percent_wide_at_most() {
        for us in (0..100_000).chain((0..32).map(|bit| 1u64 << bit)).chain([u64::from(u32::MAX)]) {
            let bound = upper(bucket(us));
            assert!(bound >= us && bound as f64 <= (us as f64 * 1.07).max(1.0), "{us}: {bound}");
        }
    }

    #[test]
    fn percentiles_of_several_threads_are_those_of_all_times() {
        let threads: [Histogram; 2] = Default::default();
        for us in 1..=1000u64 {
            threads[us as usize % 2].count(Duration::from_micros(us));
        }
        let latency = Histogram::sum(threads.iter());
        assert_eq!((latency.count, latency.sum_us), (1000, 500_500));
        for (value, expected) in [(latency.p50_us, 500.0), (latency.p90_us, 900.0), (latency.p99_us, 990.0)] {
            assert!((1.0..1.07).contains(&(value as f64 / expected)), "{value} for {expected}");
        }
        assert_eq!(latency.buckets.values().sum::<u64>(), 1000);
        assert_eq!(Histogram::sum([].iter()), Latency::default());
    }
}
