//! The load balancer's data plane: the edge.
//!
//! It is told what to balance ([`rpm_model::edge`]) and knows no supervision: add, weight, drain, remove. It is driven
//! by two things only, the listening sockets that it was given and the control socket.
#![forbid(unsafe_code)]

pub mod health;
pub mod http;
pub mod pick;

use std::os::fd::OwnedFd;

/// A listening socket that was passed to the edge.
#[derive(Debug)]
pub struct Passed {
    /// See [`rpm_model::edge::listener_name`].
    pub name: String,
    /// The socket; several of the same name are one SO_REUSEPORT group.
    pub fd: OwnedFd,
}

/// How the edge runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How many threads; `None` for one per core.
    pub threads: Option<usize>,
}

/// Runs the edge until it is told to quit; returns the exit code.
///
/// `control` is one end of a unix stream socket; the conversation on it is [`rpm_model::edge`]'s.
pub fn run(listeners: Vec<Passed>, control: OwnedFd, options: Options) -> u8 {
    let _ = (listeners, control, options);
    1
}
