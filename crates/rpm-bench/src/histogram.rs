//! Latencies in bounded memory.

use std::time::Duration;

/// Buckets grow by this factor: a quantile is off by at most 1 %.
const GROWTH: f64 = 1.01;
/// Enough for 10 µs to 100 s.
const BUCKETS: usize = 1700;
const LOWEST_US: f64 = 10.0;

/// A histogram of durations.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn add(&mut self, duration: Duration) {
        let steps = (duration.as_secs_f64() * 1e6 / LOWEST_US).max(1.0).ln() / GROWTH.ln();
        self.counts[(steps as usize).min(BUCKETS - 1)] += 1;
        self.total += 1;
    }

    /// Counts everything that another histogram has counted.
    pub fn merge(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.total += other.total;
    }

    /// Returns the duration that a share of all (0 to 1) does not exceed, in milliseconds; zero when nothing was counted.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return LOWEST_US * GROWTH.powi(bucket as i32 + 1) / 1e3;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_off_by_at_most_one_percent() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_ms(0.5), 0.0);
        (1..=1000).for_each(|ms| histogram.add(Duration::from_millis(ms)));
        for share in [0.5, 0.9, 0.99] {
            let found = histogram.quantile_ms(share) / (1000.0 * share);
            assert!((0.99..1.011).contains(&found), "{share}: {found}");
        }
    }
}
