//! (being written)

/// Returns when a process was started, in clock ticks since boot; `None` when there is no such process.
pub fn start_time(_pid: i32) -> Option<u64> { None }

