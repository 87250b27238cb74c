//! Where the output of the apps goes: names of files, the pump, the reader.
//!
//! Two ways lead from a worker to its files. Without options the worker holds the file itself ([`direct`]) and nobody
//! stands between. With dates, JSON or a combined file the worker writes to a pipe and the [`Pump`] carries the bytes
//! over, each exactly once, whoever is killed in the middle.
//!
//! | room | for |
//! |---|---|
//! | [`names`] | which files an app's output and pid go to; pure |
//! | [`date`] | `log_date_format`, compiled; pure but for the time zone |
//! | [`frame`] | bytes to framed lines; pure |
//! | [`target`] | opening log files |
//! | [`hand`] | in whose name they are opened |
//! | [`empty`] | emptying them |
//! | [`mod@pump`] | the thread that carries pipes to files |
//! | [`mod@rotate`] | archives, and what of them is kept |
//! | [`tail`] | the last lines of a file |
//! | [`mod@follow`] | new lines of many files as they come |
//! | [`taps`] | copies of lines for those who look on where there is no file |
//! | [`escape`] | lines made safe for a terminal |
//!
//! Nothing here knows the daemon, the keeper or the socket.
#![forbid(unsafe_code)]

mod crash;
pub mod date;
mod empty;
pub mod escape;
pub mod follow;
pub mod frame;
#[doc(hidden)]
pub mod fuzz;
pub mod hand;
pub mod names;
pub mod pump;
pub mod rotate;
pub mod tail;
pub mod taps;
pub mod target;

pub use date::{DateFormat, Stamp};
pub use empty::{empty, empty_of};
pub use escape::escape_control;
pub use follow::{Begin, Follower, FollowerHandle, Line};
pub use names::{LogPaths, console_path, paths, pid_path};
pub use pump::{Counters, Event, Pump, Stream, new_staging};
pub use rotate::claim::Claim;
pub use rotate::history::{self, History, own_time};
pub use rotate::rotator::{self, Log, Rotator};
pub use tail::{last_lines, last_lines_to_end, last_lines_until};
pub use taps::{Taps, tap};
pub use target::{DirectFiles, Kind, Target, console_reader, console_writer, direct, open_targets};
