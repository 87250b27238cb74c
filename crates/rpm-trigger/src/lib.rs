//! What restarts an app from outside: changed files, and times.
//!
//! Pure: nothing here looks at a file or a clock. Who reads a setting checks it with the same types that the daemon acts
//! by, so what was accepted works.
//!
//! - [`files`]: which paths of an app matter ([`Rules`])
//! - [`quiet`]: many changes, one restart ([`Quiet`])
//! - [`schedule`]: when a cron pattern is next due ([`Schedule`])
#![forbid(unsafe_code)]

pub mod files;
pub mod quiet;
pub mod schedule;

pub use files::{BadPattern, Rules};
pub use quiet::{Quiet, Verdict};
pub use schedule::{BadCron, Schedule};
