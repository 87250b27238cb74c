//! A real PM2, as it is found: its list on disk, and the daemon that may still run.

pub mod dump;
pub mod live;
