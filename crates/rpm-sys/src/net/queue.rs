//! How many connections wait in a listening socket.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

use rustix::net::AddressFamily;

use crate::error::{Result, check, named};
use crate::net::diag;
use crate::net::listen::inode;

/// Returns how many connections wait to be accepted. Zero for sockets without a queue (UDP).
pub fn queue_length(socket: impl AsFd) -> Result<u32> {
    match named("getsockopt(SO_DOMAIN)", rustix::net::sockopt::socket_domain(&socket))? {
        AddressFamily::UNIX => diag::unix_queue_length(inode(&socket)?),
        _ if rustix::net::sockopt::socket_acceptconn(&socket) == Ok(true) => tcp_queue_length(socket),
        _ => Ok(0),
    }
}

/// Returns how many bytes wait to be read from a connected socket.
pub fn bytes_waiting(socket: impl AsFd) -> Result<u64> {
    named("ioctl(FIONREAD)", rustix::io::ioctl_fionread(socket))
}

/// Returns how many bytes were written to a connected socket and not yet read (unix) or acknowledged (TCP) by its peer.
pub fn bytes_unread_by_peer(socket: impl AsFd) -> Result<u64> {
    let mut count: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one int, to which the pointer leads.
    let returned = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    check("ioctl(SIOCOUTQ)", returned)?;
    Ok(u64::try_from(count).unwrap_or(0))
}

fn tcp_queue_length(socket: impl AsFd) -> Result<u32> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, and the buffer has that many.
    let returned = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    check("getsockopt(TCP_INFO)", returned)?;
    // SAFETY: the structure is plain numbers, for which the zeroes it was made of are valid too.
    let info = unsafe { info.assume_init() };
    // On a listening socket the kernel puts the length of the accept queue here.
    Ok(info.tcpi_unacked)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::net::address::Address;
    use crate::net::listen::{Listen, accept_waiting, listen, local_address};

    #[test]
    fn waiting_connections_are_counted() {
        let socket = listen(&Address::TcpAny { port: 0 }, Listen::default()).unwrap();
        let port = local_address(&socket).unwrap().port();
        assert_eq!(queue_length(&socket).unwrap(), 0);
        let _open: Vec<_> = (0..3).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
        assert_eq!(queue_length(&socket).unwrap(), 3);
        let _taken = accept_waiting(&socket).unwrap().unwrap();
        assert_eq!(queue_length(&socket).unwrap(), 2);
    }

    #[test]
    fn bytes_on_their_way_are_counted() {
        let (left, right) = crate::fd::socketpair_stream().unwrap();
        assert_eq!(bytes_unread_by_peer(&left).unwrap(), 0);
        crate::fd::send_with_fds(&left, b"hello", &[]).unwrap();
        assert_eq!(bytes_waiting(&right).unwrap(), 5);
        assert!(bytes_unread_by_peer(&left).unwrap() >= 5);
        crate::fd::consume(&right, 5).unwrap();
        assert_eq!(bytes_unread_by_peer(&left).unwrap(), 0);
    }

    #[test]
    fn waiting_connections_of_a_socket_file_are_counted() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s");
        let socket = listen(&Address::Unix { path: path.clone(), mode: None }, Listen::default()).unwrap();
        let _open: Vec<_> = (0..3).map(|_| UnixStream::connect(&path).unwrap()).collect();
        assert_eq!(queue_length(&socket).unwrap(), 3);
        let _taken = accept_waiting(&socket).unwrap().unwrap();
        assert_eq!(queue_length(&socket).unwrap(), 2);
        assert!(accept_waiting(&socket).unwrap().is_some() && accept_waiting(&socket).unwrap().is_some());
        assert!(accept_waiting(&socket).unwrap().is_none());
    }
}
