//! What is said of sockets: to workers, to the keeper, to whoever asks.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rpm_model::AppId;
use serde_json::Value;

use crate::want::Kind;

/// A listening socket for a worker.
#[derive(Debug)]
pub struct Claim {
    /// A duplicate for the worker. Carry out [`Ports::changes`](super::Ports::changes) before it is sent.
    pub fd: OwnedFd,
    /// Whether the socket was not taken over from an earlier life of the seat.
    pub fresh: bool,
    /// What it is bound to: `[::]:8000`, `127.0.0.1:8000`, `/run/x.sock`.
    pub address: String,
    /// The port it is bound to, when it has one.
    pub port: Option<u16>,
    /// The worker's key for it.
    pub key: String,
    /// Which sort of socket.
    pub kind: Kind,
    /// What the first worker sent along, to be given to all.
    pub data: Value,
}

/// A socket that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// The system's number, positive: EADDRINUSE, EACCES …
    pub errno: i32,
    /// What was wanted.
    pub address: String,
    /// Who has it, when that can be known.
    pub owner: Option<Owner>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listen on {}: {}", self.address, std::io::Error::from_raw_os_error(self.errno))?;
        match &self.owner {
            Some(owner) => write!(f, " (held by {owner})"),
            None => Ok(()),
        }
    }
}

/// Who holds an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// One of our apps.
    App(AppId),
    /// A process that is none of ours, or a worker that bound by itself.
    Process {
        /// Its pid.
        pid: i32,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::App(app) => write!(f, "app {app}"),
            Owner::Process { pid, name } => write!(f, "{name} (pid {pid})"),
        }
    }
}

/// What the keeper must do, in order.
#[derive(Debug)]
pub enum Change {
    /// Store this descriptor.
    Keep {
        /// Under this name.
        name: String,
        /// The descriptor.
        fd: OwnedFd,
    },
    /// Close what is stored.
    Forget {
        /// Under this name.
        name: String,
    },
}

/// What a draining worker still has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drain {
    /// Connections that wait in its queues, or whose handshake began before it was retired.
    pub queued: u32,
    /// Accepted connections in the middle of a request.
    pub busy: u32,
}

impl Drain {
    /// Returns whether the worker can be asked to leave without cutting a request.
    pub fn is_done(self) -> bool {
        self.queued == 0 && self.busy == 0
    }
}

/// A connection that waited in the slot of a worker that is gone.
#[derive(Debug)]
pub struct Stranded {
    /// The seat's key for the socket it came in by; the same in the seat's other lives.
    pub key: String,
    /// The connection.
    pub connection: OwnedFd,
}

/// How to reach one worker through the port it shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbePath {
    /// The address to connect from; without one the probe reaches any worker.
    pub source: Option<Ipv4Addr>,
    /// The address to connect to.
    pub to: SocketAddr,
}
