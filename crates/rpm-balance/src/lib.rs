//! The load balancer's data plane: the edge.
//!
//! It is told what to balance ([`rpm_model::edge`]) and knows no supervision: add, weight, drain, remove. It is driven
//! by two things only, the listening sockets that it was given and the control socket.
//!
//! ```text
//! control socket ─▶ edge (main thread) ── snapshots, swapped whole ──▶ threads, one for each core
//!                     │  active checks                                   accept → plan → exchange
//!                     └─ counters, states  ◀── shared atomics ───────────┘
//! ```
//!
//! | room | for |
//! |---|---|
//! | [`pick`] | choosing a server: pure |
//! | [`health`] | how well one server is: a machine without a clock |
//! | [`http`] | messages of HTTP/1.1: pure, strict |
//! | [`http2`] | HTTP/2, turned into HTTP/1.1 and back |
//! | [`config`] | what was asked, made ready for requests |
//! | [`pool`] | servers as requests find them |
//! | [`io`] | bytes in and out, for one thread |
//! | [`serve`] | connections of clients |
//! | [`thread`] | what one thread has for itself |
//! | [`edge`], [`control`] | the main thread, and the conversation with the daemon |
//! | [`check`] | active checks |
//! | [`count`], [`stats`], [`log`] | what was |
//! | [`proxy`], [`rate`], [`tls`] | one thing each |
#![forbid(unsafe_code)]

pub mod check;
pub mod config;
pub mod control;
pub mod count;
pub mod edge;
pub mod health;
pub mod http;
pub mod http2;
pub mod io;
pub mod log;
pub mod pick;
pub mod pool;
pub mod proxy;
pub mod rate;
pub mod serve;
pub mod stats;
pub mod thread;
pub mod tls;

use std::io::Write;
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
    match edge::run(listeners, control, options) {
        Ok(()) => 0,
        Err(error) => {
            // `eprintln!` would panic when the disk of the log is full.
            let _ = writeln!(std::io::stderr(), "the balancer cannot run: {error}");
            1
        }
    }
}
