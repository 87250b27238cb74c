//! Connecting from an address of one's choice, as probes do.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::error::{Result, SysError, named};

/// Begins a connection from `source` without waiting: the socket is non-blocking, and writable when it is open (or has
/// failed: then SO_ERROR says why).
pub fn connect_from(source: Ipv4Addr, to: SocketAddr) -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = named("socket", rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None))?;
    named("bind", rustix::net::bind(&socket, &SocketAddr::from((source, 0))))?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(SysError::new("connect", errno.raw_os_error())),
    }
}
