//! Bytes in and out, for one thread.
//!
//! - [`stream`]: a connection, of whatever kind
//! - [`buffer`]: memory for bytes, lent only while there are bytes
//! - [`deadline`]: a time that is set often and runs out seldom
//! - [`prefixed`]: a stream whose first bytes were read already
//! - [`transfer`]: waiting for bytes, and writing all of them

pub mod buffer;
pub mod deadline;
pub mod prefixed;
pub mod stream;
pub mod transfer;

pub use buffer::{Buffer, Text};
pub use deadline::Deadline;
pub use stream::Io;
