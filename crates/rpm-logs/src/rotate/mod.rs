//! Rotation: a log that grew too large, or whose time has come, goes to an archive, and the log goes on empty.
//!
//! | room | for |
//! |---|---|
//! | [`archive`] | the names of archives, and their order |
//! | [`claim`] | who writes a log itself, or is at its head: it keeps its name |
//! | [`collapse`] | logs that the workers write themselves: the head is taken away under their hands |
//! | [`history`] | archives and log read as one, with the times of lines |
//! | [`ledger`] | how much was taken away, and when what was written |
//! | [`rotator`] | the thread that watches how logs grow |
//! | `watched` | one log that it watches |
//! | `moved` | logs that somebody renamed under their writers |
//! | `tidy` | compression and what is kept, on a thread of the lowest priority |
//!
//! Logs that the [pump](crate::pump) writes are rotated by it, between two writes: renamed, and opened anew.

pub mod archive;
pub mod claim;
pub mod collapse;
pub mod history;
pub mod ledger;
mod moved;
pub mod rotator;
mod tidy;
mod watched;
