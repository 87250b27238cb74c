//! Making and ending listening sockets.
//!
//! Sockets are close-on-exec and *blocking*, as systemd hands them out: gunicorn, Go and nginx set the mode they want on
//! what they are given, and programs that do not (the standard library of Rust, simple scripts) expect one that waits.
//! Node sets no mode on a socket that comes through its channel, and must get a non-blocking one.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::sockopt;
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::{Result, SysError, named};
use crate::net::address::Address;

/// What Node asks for; the kernel caps it at net.core.somaxconn.
pub const BACKLOG: u32 = 511;

/// How to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// How many connections may wait.
    pub backlog: u32,
    /// Whether other sockets may share the address.
    pub sharing: Sharing,
}

/// Whether other sockets may share an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// No: the address is ours alone, or EADDRINUSE.
    Alone,
    /// The first of a SO_REUSEPORT group: nobody else may have the address now (a stranger of the same user who shares
    /// too would shift every index), later sockets may join.
    First,
    /// One more of a SO_REUSEPORT group.
    Join,
}

impl Default for Listen {
    fn default() -> Self {
        Self { backlog: BACKLOG, sharing: Sharing::Alone }
    }
}

/// Creates, binds and (but for UDP) listens.
pub fn listen(address: &Address, how: Listen) -> Result<OwnedFd> {
    match address {
        Address::Tcp { at, v6only } => tcp(*at, *v6only, how),
        Address::TcpAny { port } => match tcp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port)), false, how) {
            Err(SysError { errno: libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL, .. }) => {
                tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port)), false, how)
            }
            result => result,
        },
        Address::Udp { at, v6only, reuse } => udp(*at, *v6only, *reuse),
        Address::Unix { path, mode } => unix(path, *mode, how.backlog),
    }
}

/// Takes a TCP socket out of listening at once, whoever else has a duplicate of it.
///
/// Connections that waited in it are reset. It leaves its SO_REUSEPORT group before this returns.
pub fn stop_listening(socket: impl AsFd) -> Result<()> {
    match rustix::net::shutdown(socket, Shutdown::Both) {
        Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
        Err(errno) => Err(SysError::new("shutdown", errno.raw_os_error())),
    }
}

/// Returns whether a socket listens.
pub fn is_listening(socket: impl AsFd) -> bool {
    sockopt::socket_acceptconn(socket).unwrap_or(false)
}

/// Returns what a TCP or UDP socket is bound to; `None` for other kinds.
pub fn local_address(socket: impl AsFd) -> Option<SocketAddr> {
    SocketAddr::try_from(rustix::net::getsockname(socket).ok()?).ok()
}

/// Lets small writes of a TCP socket go out at once; connections that a listening socket gives have it from there.
pub fn set_nodelay(socket: impl AsFd) -> Result<()> {
    named("setsockopt", sockopt::set_tcp_nodelay(socket, true))
}

/// Returns the number by which `/proc` and sock_diag know a socket.
pub fn inode(socket: impl AsFd) -> Result<u64> {
    Ok(named("fstat", rustix::fs::fstat(socket))?.st_ino)
}

/// Takes one waiting connection; `None` when none waits. Makes the listening socket non-blocking.
pub fn accept_waiting(socket: impl AsFd) -> Result<Option<OwnedFd>> {
    crate::fd::set_nonblocking(&socket, true)?;
    match rustix::net::accept_with(socket, SocketFlags::CLOEXEC) {
        Ok(connection) => Ok(Some(connection)),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(errno) => Err(SysError::new("accept4", errno.raw_os_error())),
    }
}

/// Removes a socket file; anything else of that name is left alone.
pub fn unlink(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            std::fs::remove_file(path).map_err(|error| SysError::from_io("unlink", &error))
        }
        _ => Ok(()),
    }
}

fn tcp(at: SocketAddr, v6only: bool, how: Listen) -> Result<OwnedFd> {
    // Connections of a former owner in TIME_WAIT do not hold the port.
    let reuse = Reuse { address: true, port: how.sharing == Sharing::Join };
    let socket = bound(at, SocketType::STREAM, v6only, reuse)?;
    if how.sharing == Sharing::First {
        named("setsockopt(SO_REUSEPORT)", sockopt::set_socket_reuseport(&socket, true))?;
    }
    named("listen", rustix::net::listen(&socket, backlog(how.backlog)))?;
    Ok(socket)
}

fn udp(at: SocketAddr, v6only: bool, reuse: bool) -> Result<OwnedFd> {
    bound(at, SocketType::DGRAM, v6only, Reuse { address: reuse, port: false })
}

struct Reuse {
    address: bool,
    port: bool,
}

fn bound(at: SocketAddr, kind: SocketType, v6only: bool, reuse: Reuse) -> Result<OwnedFd> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = named("socket", rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None))?;
    named("setsockopt(SO_REUSEADDR)", sockopt::set_socket_reuseaddr(&socket, reuse.address))?;
    named("setsockopt(SO_REUSEPORT)", sockopt::set_socket_reuseport(&socket, reuse.port))?;
    if at.is_ipv6() {
        named("setsockopt(IPV6_V6ONLY)", sockopt::set_ipv6_v6only(&socket, v6only))?;
    }
    named("bind", rustix::net::bind(&socket, &at))?;
    Ok(socket)
}

fn unix(path: &Path, mode: Option<u32>, waiting: u32) -> Result<OwnedFd> {
    let name = named("bind", SocketAddrUnix::new(path))?;
    let socket =
        named("socket", rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None))?;
    match rustix::net::bind(&socket, &name) {
        Err(rustix::io::Errno::ADDRINUSE) if is_stale(path) => {
            unlink(path)?;
            named("bind", rustix::net::bind(&socket, &name))?;
        }
        result => named("bind", result)?,
    }
    if let Some(mode) = mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(|error| SysError::from_io("chmod", &error))?;
    }
    named("listen", rustix::net::listen(&socket, backlog(waiting)))?;
    Ok(socket)
}

/// Returns whether a socket file is one that nobody listens on any more.
fn is_stale(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    is_socket && UnixStream::connect(path).is_err_and(|error| error.raw_os_error() == Some(libc::ECONNREFUSED))
}

fn backlog(wanted: u32) -> i32 {
    i32::try_from(wanted).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_group_refuses_a_stranger_and_lets_later_ones_join() {
        let first =
            listen(&Address::TcpAny { port: 0 }, Listen { sharing: Sharing::First, ..Listen::default() }).unwrap();
        let port = local_address(&first).unwrap().port();
        let join = Listen { sharing: Sharing::Join, ..Listen::default() };
        let second = listen(&Address::TcpAny { port }, join).unwrap();
        assert!(is_listening(&first) && is_listening(&second));
        for sharing in [Sharing::First, Sharing::Alone] {
            let stranger = listen(&Address::TcpAny { port }, Listen { sharing, ..Listen::default() });
            assert_eq!(stranger.unwrap_err().errno, libc::EADDRINUSE);
        }
        drop(first);
        let stranger = listen(&Address::TcpAny { port }, Listen { sharing: Sharing::First, ..Listen::default() });
        assert_eq!(
            stranger.unwrap_err().errno,
            libc::EADDRINUSE,
            "a sharing socket of the same user is a stranger too"
        );
    }

    #[test]
    fn a_stopped_socket_listens_no_more_even_with_duplicates() {
        let socket = listen(&Address::tcp("127.0.0.1:0".parse().unwrap()), Listen::default()).unwrap();
        let at = local_address(&socket).unwrap();
        let _duplicate = crate::fd::dup(&socket).unwrap();
        stop_listening(&socket).unwrap();
        assert!(!is_listening(&socket));
        assert!(std::net::TcpStream::connect(at).is_err());
        stop_listening(&socket).unwrap();
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
        let home = tempfile::tempdir().unwrap();
        let address = Address::Unix { path: home.path().join("s"), mode: Some(0o666) };
        let first = listen(&address, Listen::default()).unwrap();
        let mode = std::fs::metadata(home.path().join("s")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        assert_eq!(listen(&address, Listen::default()).unwrap_err().errno, libc::EADDRINUSE);
        drop(first);
        listen(&address, Listen::default()).unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let taken = listen(&Address::Unix { path: file.clone(), mode: None }, Listen::default());
        assert_eq!(taken.unwrap_err().errno, libc::EADDRINUSE);
        unlink(&file).unwrap();
        assert_eq!(std::fs::read_to_string(file).unwrap(), "precious");
    }

    #[test]
    fn udp_ports_are_bound_alone_or_by_agreement() {
        let udp = |at, reuse| listen(&Address::Udp { at, v6only: false, reuse }, Listen::default());
        let socket = udp("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let at = local_address(&socket).unwrap();
        assert_ne!(at.port(), 0);
        assert!(!is_listening(&socket));
        assert_eq!(udp(at, false).unwrap_err().errno, libc::EADDRINUSE);
        udp(at, true).unwrap();
    }
}
