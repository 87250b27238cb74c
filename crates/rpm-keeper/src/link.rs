//! One end of the connection between daemon and keeper: packets out, packets in, nobody waits.
//!
//! A packet goes straight to the socket; only when that is full it is copied, with duplicates of its descriptors, into a
//! bounded queue.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rpm_sys::SysError;
use rpm_sys::fd::{self, Received};

use crate::wire::{self, FDS_MAX, LARGE_MAX, Malformed, PACKET_MAX, Packet, op};

/// Sending side of a connection.
#[derive(Debug)]
pub(crate) struct Link {
    socket: OwnedFd,
    /// The packet being built.
    pub(crate) packet: Packet,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    queued_bytes_max: usize,
    /// The other side cannot be told anything any more, though it may have said something before it left.
    pub(crate) deaf: bool,
}

#[derive(Debug)]
struct Queued {
    bytes: Box<[u8]>,
    fds: Vec<OwnedFd>,
}

impl Link {
    /// Takes a connected socket, and makes it non-blocking.
    ///
    /// At `queued_bytes_max` waiting bytes [`Link::send`] refuses (`QuotaExceeded`).
    pub(crate) fn new(socket: OwnedFd, queued_bytes_max: usize) -> Result<Self, SysError> {
        fd::set_nonblocking(&socket, true)?;
        Ok(Self {
            socket,
            packet: Packet::default(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            queued_bytes_max,
            deaf: false,
        })
    }

    /// Sends the packet that was built, with these descriptors, or queues it.
    pub(crate) fn send(&mut self, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if fds.len() > FDS_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} descriptors do not fit into one message, at most {FDS_MAX} do", fds.len()),
            ));
        }
        if self.packet.as_slice().len() > PACKET_MAX {
            return self.send_large(fds);
        }
        if self.queue.is_empty() && self.try_send(fds)? {
            return Ok(());
        }
        let bytes = Box::from(self.packet.as_slice());
        let fds = fds.iter().map(fd::dup).collect::<Result<_, _>>()?;
        self.enqueue(bytes, fds)
    }

    fn send_large(&mut self, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let length = self.packet.as_slice().len();
        if length > LARGE_MAX {
            let text = format!("a message of {length} bytes is too long, at most {LARGE_MAX} are taken");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let file = fd::sealed_memory_file("rpm-message", self.packet.as_slice())?;
        self.packet.shrink();
        self.packet.begin(op::LARGE);
        let mut all = Vec::with_capacity(fds.len() + 1);
        all.push(file.as_fd());
        all.extend_from_slice(fds);
        if self.queue.is_empty() && self.try_send(&all)? {
            return Ok(());
        }
        let bytes = Box::from(self.packet.as_slice());
        let fds = all.iter().map(fd::dup).collect::<Result<_, _>>()?;
        self.enqueue(bytes, fds)
    }

    fn try_send(&self, fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
        match fd::send_with_fds(&self.socket, self.packet.as_slice(), fds) {
            Ok(_) => Ok(true),
            Err(error) if error.would_block() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn enqueue(&mut self, bytes: Box<[u8]>, fds: Vec<OwnedFd>) -> io::Result<()> {
        if self.queued_bytes + bytes.len() > self.queued_bytes_max {
            let text = format!("{} bytes are waiting for the other side already", self.queued_bytes);
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
        }
        self.queued_bytes += bytes.len();
        self.queue.push_back(Queued { bytes, fds });
        Ok(())
    }

    /// Gives up sending: what waits and what comes is dropped.
    pub(crate) fn mute(&mut self) {
        self.deaf = true;
        self.queue.clear();
        self.queued_bytes = 0;
    }

    /// Sends what waits; returns whether everything has left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        while let Some(next) = self.queue.front() {
            let fds: Vec<BorrowedFd<'_>> = next.fds.iter().map(AsFd::as_fd).collect();
            match fd::send_with_fds(&self.socket, &next.bytes, &fds) {
                Ok(_) => {}
                Err(error) if error.would_block() => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            self.queued_bytes -= next.bytes.len();
            self.queue.pop_front();
        }
        Ok(true)
    }

    /// Returns whether packets wait for the socket to become writable.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What was found in the socket.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    /// Nothing waits.
    Nothing,
    /// The other side has closed its end.
    Closed,
    /// One whole message and its descriptors.
    Packet(Cow<'a, [u8]>, Vec<OwnedFd>),
    /// A message whose descriptors could not all be taken.
    FdsLost(&'a [u8]),
    /// A message that cannot be read.
    Unusable(Malformed),
}

/// Takes the next message out of a socket; `buffer` holds [`PACKET_MAX`] bytes.
pub(crate) fn receive<'a>(socket: BorrowedFd<'_>, buffer: &'a mut [u8]) -> Result<Incoming<'a>, SysError> {
    let Received { length, mut fds, bytes_lost, fds_lost } = match recv_past_reset(socket, buffer) {
        Ok(received) => received,
        Err(error) if error.would_block() => return Ok(Incoming::Nothing),
        Err(error) => return Err(error),
    };
    let packet = &buffer[..length];
    if packet.is_empty() {
        return Ok(Incoming::Closed);
    }
    if bytes_lost {
        return Ok(Incoming::Unusable(Malformed::Overrun { tag: 0, length: length + 1, left: length }));
    }
    if fds_lost {
        return Ok(Incoming::FdsLost(packet));
    }
    let op = wire::head(packet).map(|(_, op, _)| op);
    if op != Ok(op::LARGE) {
        return Ok(Incoming::Packet(Cow::Borrowed(packet), fds));
    }
    if fds.is_empty() {
        return Ok(Incoming::Unusable(Malformed::Descriptors { expected: 1, found: 0 }));
    }
    let file = fds.remove(0);
    Ok(match fd::read_sealed(&file, LARGE_MAX) {
        Ok(content) => Incoming::Packet(Cow::Owned(content), fds),
        Err(error) => Incoming::Unusable(Malformed::Large(error)),
    })
}

/// A peer that died without having read everything leaves an error behind, and the kernel reports that error before the
/// peer's last words, once. They may be a Store or a Shutdown.
fn recv_past_reset(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Received, SysError> {
    match fd::recv_packet(socket, buffer, FDS_MAX + 1) {
        Err(error) if io::Error::from(error).kind() == io::ErrorKind::ConnectionReset => {
            fd::recv_packet(socket, buffer, FDS_MAX + 1)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tag;

    fn next(socket: &OwnedFd, buffer: &mut [u8]) -> (Vec<u8>, usize) {
        match receive(socket.as_fd(), buffer).unwrap() {
            Incoming::Packet(bytes, fds) => (bytes.into_owned(), fds.len()),
            other => panic!("a packet was sent, not {other:?}"),
        }
    }

    #[test]
    fn a_full_socket_queues_in_order_up_to_its_bound() {
        let (left, right) = fd::socketpair_seqpacket().unwrap();
        let null = fd::null().unwrap();
        let mut link = Link::new(left, 1 << 20).unwrap();
        let mut sent = 0u32;
        let refused = loop {
            link.packet.begin(op::STORE).u32(tag::AT, sent).bytes(tag::NAME, &[0; 10_000]);
            match link.send(&[null.as_fd()]) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::QuotaExceeded);
        assert!(link.is_waiting() && sent > 100);
        let mut buffer = vec![0; PACKET_MAX];
        for expected in 0..sent {
            let (bytes, fds) = next(&right, &mut buffer);
            let number = wire::head(&bytes).unwrap().2.next().unwrap().unwrap().u32().unwrap();
            assert_eq!((number, fds), (expected, 1));
            link.flush().unwrap();
        }
        assert!(link.flush().unwrap() && !link.is_waiting());
    }

    #[test]
    fn the_last_words_of_a_peer_that_did_not_read_are_heard() {
        let (left, right) = fd::socketpair_seqpacket().unwrap();
        fd::send_with_fds(&left, b"unread", &[]).unwrap();
        fd::send_with_fds(&right, &[1, 0, 11, 0], &[]).unwrap();
        drop(right);
        let mut buffer = vec![0; PACKET_MAX];
        assert!(matches!(receive(left.as_fd(), &mut buffer).unwrap(), Incoming::Packet(..)));
        assert!(matches!(receive(left.as_fd(), &mut buffer).unwrap(), Incoming::Closed));
    }

    #[test]
    fn a_long_message_travels_in_a_memory_file() {
        let (left, right) = fd::socketpair_seqpacket().unwrap();
        let null = fd::null().unwrap();
        let mut link = Link::new(left, 1 << 20).unwrap();
        link.packet.begin(op::SPAWN).bytes(tag::ENV, &vec![7; 3_000_000]);
        link.send(&[null.as_fd(), null.as_fd()]).unwrap();
        let (bytes, fds) = next(&right, &mut vec![0; PACKET_MAX]);
        assert_eq!((bytes.len(), fds), (4 + 6 + 3_000_000, 2));
        link.packet.begin(op::SPAWN).bytes(tag::ENV, &vec![7; LARGE_MAX]);
        assert_eq!(link.send(&[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        link.packet.begin(op::LARGE);
        link.send(&[]).unwrap();
        let mut buffer = vec![0; PACKET_MAX];
        assert!(matches!(receive(right.as_fd(), &mut buffer).unwrap(), Incoming::Unusable(_)));
    }
}
