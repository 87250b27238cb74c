//! `READY=1` and `WATCHDOG=1`, for apps that say so in systemd's way.
//!
//! Each life that is waited for has a datagram socket of its own, so a message needs no search for its sender.
//! Protocol: sd_notify(3).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use rpm_model::{Home, Life};

/// The longest message; systemd's own bound is one page.
const LONGEST: usize = 4096;

/// Opens the socket of a life; returns it with the value of NOTIFY_SOCKET.
///
/// A path in the state directory, which nobody else can enter, and not an abstract name, to which anybody could send.
pub(crate) fn open(home: &Home, life: Life) -> io::Result<(OwnedFd, String)> {
    let path = home.root().join(format!("notify-{life}.sock"));
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let socket = UnixDatagram::bind(&path)?;
    socket.set_nonblocking(true)?;
    Ok((socket.into(), path.to_string_lossy().into_owned()))
}

/// Removes the socket's name.
pub(crate) fn close(home: &Home, life: Life) {
    let _ = std::fs::remove_file(home.root().join(format!("notify-{life}.sock")));
}

/// What an app has said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// `READY=1`.
    pub(crate) ready: bool,
    /// `WATCHDOG=1`.
    pub(crate) alive: bool,
    /// `WATCHDOG=trigger`: it knows itself that it hangs.
    pub(crate) gives_up: bool,
}

/// Takes all messages that are there.
pub(crate) fn receive(socket: &OwnedFd) -> Said {
    let mut bytes = [0; LONGEST];
    let mut said = Said::default();
    while let Ok((count, _)) = rustix::net::recv(socket, &mut bytes, rustix::net::RecvFlags::DONTWAIT) {
        for line in bytes[..count].split(|byte| *byte == b'\n') {
            said.ready |= line == b"READY=1";
            said.alive |= line == b"WATCHDOG=1";
            said.gives_up |= line == b"WATCHDOG=trigger";
        }
    }
    said
}
