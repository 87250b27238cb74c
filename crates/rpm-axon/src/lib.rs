//! What PM2's own clients speak, so that `require('pm2')` finds what it expects.
//!
//! - [`frame`]: messages as bytes. Pure: bytes in, messages out, nothing believed before it is checked.
//! - [`call`]: remote calls on the `rep` socket, and messages on the `pub` socket.
//! - [`process`]: a worker as PM2 describes it; `jlist` prints the same. [`app`]: an app as PM2's client asks for it.
//! - [`exception`]: what Node says of an exception, as PM2 tells it.
//!
//! Nothing here opens a socket or knows a daemon.
#![forbid(unsafe_code)]

pub mod app;
pub mod call;
pub mod exception;
pub mod frame;
pub mod process;

pub use call::{Answer, Call, NoCall, publication};
pub use exception::Exceptions;
pub use frame::{Argument, Garbage, LONGEST, Message};
