//! One socket for all workers of an app: socket files, UDP, and TCP in the shared mode.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rpm_model::{Life, WorkerId};
use rpm_sys::net::listen::{self, Listen, listen, local_address, stop_listening};
use rpm_sys::net::{Address, queue_length};
use rpm_sys::{Result, fd};
use serde_json::Value;

use crate::want::Want;

/// A socket that all workers of an app have.
#[derive(Debug)]
pub(crate) struct Handle {
    socket: OwnedFd,
    address: Address,
    /// Who has it, and whether it uses it now. The socket lives as long as a seat is here.
    users: BTreeMap<Life, bool>,
    /// What the first worker sent along; all get it.
    pub(crate) data: Value,
    /// What the keeper calls it at present.
    pub(crate) kept_as: Option<String>,
}

impl Handle {
    /// Opens the socket.
    pub(crate) fn open(address: Address, want: &Want) -> Result<Self> {
        let socket = listen(&address, Listen { backlog: want.backlog_or_default(), ..Listen::default() })?;
        fd::set_nonblocking(&socket, want.nonblocking)?;
        Ok(Self { socket, address, users: BTreeMap::new(), data: want.data.clone(), kept_as: None })
    }

    /// Takes back what the keeper held. Which of the lives use it is not known: each may ask again.
    pub(crate) fn restore(address: Address, socket: OwnedFd, name: String, lives: impl Iterator<Item = Life>) -> Self {
        let users = lives.map(|life| (life, false)).collect();
        Self { socket, address, users, data: Value::Null, kept_as: Some(name) }
    }

    /// Gives the socket to one more life; `false` when it uses it already.
    pub(crate) fn seat(&mut self, life: Life) -> bool {
        let used = std::mem::replace(self.users.entry(life).or_insert(false), true);
        self.users.retain(|user, used| user.worker != life.worker || *user >= life || *used);
        !used
    }

    /// Notes that a life uses it no more, while its seat keeps it open.
    pub(crate) fn vacate(&mut self, life: Life) {
        if let Some(used) = self.users.get_mut(&life) {
            *used = false;
        }
    }

    /// Takes the socket away from lives; returns whether that leaves nobody who could want it.
    pub(crate) fn free(&mut self, gone: impl Fn(Life) -> bool) -> bool {
        let before = self.users.len();
        self.users.retain(|life, _| !gone(*life));
        self.users.is_empty() && before > 0
    }

    /// Ends it for good.
    pub(crate) fn close(&self) {
        match &self.address {
            Address::Unix { path, .. } => {
                let _not_ours_any_more = listen::unlink(path);
            }
            Address::Udp { .. } => {}
            Address::Tcp { .. } | Address::TcpAny { .. } => {
                let _already_gone = stop_listening(&self.socket);
            }
        }
    }

    /// Returns whether a life has it.
    pub(crate) fn has(&self, life: Life) -> bool {
        self.users.contains_key(&life)
    }

    /// Returns whether a seat keeps it open.
    pub(crate) fn is_used(&self) -> bool {
        !self.users.is_empty()
    }

    /// Returns whether other seats use it too, so that its queue is not this one's alone.
    pub(crate) fn is_used_beside(&self, worker: WorkerId) -> bool {
        self.users.iter().any(|(life, used)| *used && life.worker != worker)
    }

    /// Returns a duplicate for a worker or for the keeper.
    pub(crate) fn duplicate(&self) -> Result<OwnedFd> {
        fd::dup(&self.socket)
    }

    /// Returns what it is bound to; `None` for socket files.
    pub(crate) fn bound(&self) -> Option<SocketAddr> {
        match self.address {
            Address::Unix { .. } => None,
            _ => local_address(&self.socket),
        }
    }

    /// Returns what the keeper calls it at present, and what it is.
    pub(crate) fn kept(&mut self) -> (&mut Option<String>, BorrowedFd<'_>) {
        (&mut self.kept_as, self.socket.as_fd())
    }

    /// Returns how many connections wait.
    pub(crate) fn waiting(&self) -> u32 {
        queue_length(&self.socket).unwrap_or(0)
    }
}
