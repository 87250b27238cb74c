//! One request at one server.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::count::ServerCount;
use crate::pool::Live;

/// One request at one server: it counts as in flight until this is dropped.
pub struct Lease {
    live: Arc<Live>,
    thread: usize,
}

impl Lease {
    /// Takes one of the server's places; `None` when all `most` are taken.
    pub fn take(live: &Arc<Live>, most: u32, thread: usize) -> Option<Self> {
        if live.in_flight.fetch_add(1, Relaxed) >= most {
            live.in_flight.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Self { live: live.clone(), thread })
    }

    /// Returns the server.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Returns what this thread counts of it.
    pub fn count(&self) -> &ServerCount {
        &self.live.counts[self.thread]
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.live.release();
    }
}
