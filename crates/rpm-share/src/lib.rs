//! Sharing a port among workers: slots, steering, drains, and Node's cluster protocol.
//!
//! Driven from outside: nothing here waits, starts threads or keeps time. The daemon calls in, polls the descriptors
//! of the [`Channel`]s, and carries what [`Ports::changes`] says to the keeper, in order, *before* it hands a claimed
//! socket to a worker. Then a daemon that is killed between any two steps leaves a state that [`Ports::restore`]
//! understands.
//!
//! - [`want`]: what a worker wants to listen on ([`Want`])
//! - [`ports`]: who listens where ([`Ports`])
//! - [`node`]: the conversation with a Node worker ([`Channel`], [`FromApp`])
//!
//! Inside: `slots` (one socket for each worker, steered), `handle` (one socket for all), `name` (what the keeper calls
//! them).
#![forbid(unsafe_code)]

pub mod node;
pub mod ports;
pub mod want;

mod handle;
mod name;
mod slots;

pub use node::{Channel, ChannelError, FromApp};
pub use ports::{Change, Claim, Drain, Owner, Ports, Refused, Stranded};
pub use want::{Kind, Want};
