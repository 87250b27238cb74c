//! Connecting from an address of one's choice, as probes do.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::error::{Result, SysError, check, named};

/// Begins a connection without waiting: the socket is non-blocking, and writable when it is open (or has failed: then
/// SO_ERROR says why). Where a `source` is given, it comes from there.
pub fn begin_connection(source: Option<Ipv4Addr>, to: SocketAddr) -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = named("socket", rustix::net::socket_with(family, SocketType::STREAM, flags, None))?;
    if let Some(source) = source {
        come_from(&socket, source)?;
    }
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(SysError::new("connect", errno.raw_os_error())),
    }
}

fn come_from(socket: &OwnedFd, source: Ipv4Addr) -> Result<()> {
    // The port is chosen when it is known where to: else one address would have 28,000 connections to all the world.
    let late: libc::c_int = 1;
    // SAFETY: the option takes an int, which outlives the call.
    let returned = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const late).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    check("setsockopt(IP_BIND_ADDRESS_NO_PORT)", returned)?;
    named("bind", rustix::net::bind(socket, &SocketAddr::from((source, 0))))
}

/// Sends what can be sent without waiting: `None` when nothing can, as on a connection that is not open yet. One over
/// the loopback is open at once.
pub fn send_now(socket: impl AsFd, bytes: &[u8]) -> Result<Option<usize>> {
    let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
    match rustix::net::send(socket, bytes, flags) {
        Ok(count) => Ok(Some(count)),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => named("send", Err(error)),
    }
}

/// Receives what is there already, without waiting: `None` when nothing is, zero bytes at the end.
pub fn receive_now(socket: impl AsFd, bytes: &mut [u8]) -> Result<Option<usize>> {
    match rustix::net::recv(socket, bytes, rustix::net::RecvFlags::DONTWAIT) {
        Ok((count, _)) => Ok(Some(count)),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => named("recv", Err(error)),
    }
}
