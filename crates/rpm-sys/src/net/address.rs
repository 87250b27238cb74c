//! Where one can listen.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Where one can listen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A TCP port on an address of this machine.
    Tcp {
        /// Address and port; port 0 lets the kernel choose.
        at: SocketAddr,
        /// Whether an IPv6 socket refuses IPv4 (without it `::` takes both).
        v6only: bool,
    },
    /// A TCP port on every address: `::` with IPv4, or `0.0.0.0` on a machine without IPv6.
    TcpAny {
        /// The port; 0 lets the kernel choose.
        port: u16,
    },
    /// A UDP port on an address of this machine.
    Udp {
        /// Address and port; port 0 lets the kernel choose.
        at: SocketAddr,
        /// Whether an IPv6 socket refuses IPv4.
        v6only: bool,
        /// Whether other programs that agree may have the port too (SO_REUSEADDR): multicast.
        reuse: bool,
    },
    /// A socket file.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Its permissions; `None` leaves what the umask gives.
        mode: Option<u32>,
    },
}

impl Address {
    /// Returns a TCP address without restrictions.
    pub fn tcp(at: SocketAddr) -> Self {
        Address::Tcp { at, v6only: false }
    }

    /// Returns the same address with another port, where it has ports.
    pub fn with_port(&self, port: u16) -> Self {
        let mut address = self.clone();
        match &mut address {
            Address::Tcp { at, .. } | Address::Udp { at, .. } => at.set_port(port),
            Address::TcpAny { port: own } => *own = port,
            Address::Unix { .. } => {}
        }
        address
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { at, .. } | Address::Udp { at, .. } => at.fmt(f),
            Address::TcpAny { port } => write!(f, "[::]:{port}"),
            Address::Unix { path, .. } => path.display().fmt(f),
        }
    }
}

/// Returns an address to which a connection from this machine reaches a socket bound to `bound`.
pub fn reachable(bound: SocketAddr) -> SocketAddr {
    match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), bound.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), bound.port()),
        _ => bound,
    }
}
