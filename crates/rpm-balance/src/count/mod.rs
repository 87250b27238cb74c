//! Counters. Each thread has its own, in its own cache lines; whoever asks adds them up.

mod latency;

pub use latency::Histogram;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rpm_model::edge::ByClass;

/// A number that one thread counts and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// Takes away.
    pub fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Relaxed);
    }

    /// Returns the number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Answers by class of status.
#[derive(Debug, Default)]
pub struct Classes([Counter; 5]);

impl Classes {
    /// Counts an answer.
    pub fn count(&self, status: u16) {
        self.0[usize::from(status / 100).clamp(1, 5) - 1].add(1);
    }

    /// Adds what was counted.
    pub fn add_to(&self, sum: &mut ByClass) {
        let ByClass { informational, success, redirect, client_error, server_error } = sum;
        let sums = [informational, success, redirect, client_error, server_error];
        for (sum, counter) in sums.into_iter().zip(&self.0) {
            *sum += counter.get();
        }
    }
}

/// What one thread counts of one server.
#[derive(Debug, Default)]
#[repr(align(128))]
#[allow(missing_docs)]
pub struct ServerCount {
    pub requests: Counter,
    pub answers: Classes,
    pub connect_errors: Counter,
    pub answer_errors: Counter,
    pub retries: Counter,
    pub connections: Counter,
    pub idle: Counter,
    pub bytes_out: Counter,
    pub bytes_in: Counter,
    pub latency: Histogram,
}

/// What one thread counts of one balancer.
#[derive(Debug, Default)]
#[repr(align(128))]
#[allow(missing_docs)]
pub struct BalancerCount {
    pub connections_total: Counter,
    pub in_flight: Counter,
    pub answers: Classes,
    pub refused: Counter,
    pub limited: Counter,
    pub bytes_in: Counter,
    pub bytes_out: Counter,
    pub latency: Histogram,
}
