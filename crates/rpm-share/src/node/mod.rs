//! The conversation with a Node worker: `process.send` and Node's cluster protocol.
//!
//! One JSON value per line, both ways, over a unix socket pair; an object whose `cmd` begins with `NODE_` is
//! internal, everything else is the app's. A descriptor travels with the line that announces it. bun speaks the same
//! with other framing: a byte 0x02 before internal lines, and `$hasHandle` in place of a wrapper around handles.
//!
//! - [`channel`]: lines in and out of the socket, handles one at a time
//! - [`message`]: what the lines mean

pub mod channel;
pub mod message;

pub use channel::{Channel, ChannelError};
pub use message::FromApp;
