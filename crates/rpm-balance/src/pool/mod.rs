//! Servers as requests find them: who is there, how they are, and whose turn it is.
//!
//! - [`live`]: what changes about a server, shared by all threads and kept across configurations
//! - [`upstream`]: servers that stand in for one another; one consistent world for a request
//! - [`queue`]: requests that wait for a server
//! - [`lease`]: one request at one server
//! - [`stick`]: which server a client's address sticks to

pub mod lease;
pub mod live;
pub mod queue;
pub mod stick;
pub mod upstream;

pub use lease::Lease;
pub use live::Live;
pub use queue::Queue;
pub use stick::StickTable;
pub use upstream::{Asked, Choice, Server, Target, Upstream};

use std::sync::LazyLock;
use std::time::Instant;

use rpm_model::Moment;

/// Returns the time since this process began to look at clocks.
pub fn now() -> Moment {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    // A second, so that nothing happened at moment zero.
    Moment(u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_add(1_000_000))
}
