//! The daemon's end of the conversation with one edge: frames in and out, without waiting.
//!
//! A frame leaves the socket's queue whole or not at all, and enters it so: a daemon that is killed in the middle leaves
//! a stream that the next one can go on with. Only frames longer than [`WHOLE_MAX`] are taken and sent in pieces.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rpm_model::edge::{FRAME_MAX, FromEdge, ToEdge};
use rpm_sys::fd;

/// The longest frame that is taken in one piece: well below what a socket's queue holds (about 200 KiB).
const WHOLE_MAX: usize = 96 * 1024;

/// Frames that may wait for an edge that does not read. At the bound the edge is given up.
const QUEUED_MAX: usize = 4096;

const EAGAIN: i32 = 11;

/// The conversation with one edge.
#[derive(Debug)]
pub(crate) struct Control {
    socket: OwnedFd,
    queued: VecDeque<Outgoing>,
    /// The part of a long frame that was taken so far.
    taken: Vec<u8>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

impl Control {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        fd::set_nonblocking(&socket, true).map_err(io_error)?;
        Ok(Self { socket, queued: VecDeque::new(), taken: Vec::new(), buffer: vec![0; 4 + WHOLE_MAX] })
    }

    /// Sends a frame, with descriptors at its first byte.
    pub(crate) fn send(&mut self, frame: &ToEdge, fds: Vec<OwnedFd>) -> io::Result<()> {
        let body = serde_json::to_vec(frame)?;
        let length = u32::try_from(body.len()).ok().filter(|length| *length as usize <= FRAME_MAX);
        let length = length.ok_or_else(|| io::Error::other("the configuration is longer than a frame may be"))?;
        if self.queued.len() >= QUEUED_MAX {
            return Err(io::Error::other("the edge does not read what it is told"));
        }
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(body);
        self.queued.push_back(Outgoing { bytes, sent: 0, fds });
        self.flush()
    }

    /// Sends what waits, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some(first) = self.queued.front_mut() {
            let fds: Vec<BorrowedFd<'_>> = first.fds.iter().map(AsFd::as_fd).collect();
            match fd::send_with_fds(&self.socket, &first.bytes[first.sent..], &fds) {
                Ok(count) => {
                    first.sent += count;
                    first.fds.clear();
                    if first.sent >= first.bytes.len() {
                        self.queued.pop_front();
                    }
                }
                Err(error) if error.errno == EAGAIN => return Ok(()),
                Err(error) => return Err(io_error(error)),
            }
        }
        Ok(())
    }

    /// Takes one frame; `None` when there is no whole one. An error means that the edge is gone, or talks nonsense.
    pub(crate) fn receive(&mut self) -> io::Result<Option<FromEdge>> {
        if !self.taken.is_empty() {
            return self.receive_long();
        }
        let waiting = match fd::peek(&self.socket, &mut self.buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(waiting) => waiting,
            Err(error) if error.errno == EAGAIN => return Ok(None),
            Err(error) => return Err(io_error(error)),
        };
        let Some(length) = self.buffer[..waiting].first_chunk().map(|first| u32::from_be_bytes(*first) as usize) else {
            return Ok(None);
        };
        if length > FRAME_MAX {
            return Err(io::Error::other("a frame is longer than any may be"));
        }
        if length > WHOLE_MAX {
            return self.receive_long();
        }
        if waiting < 4 + length {
            return Ok(None);
        }
        let mut got = 0;
        while got < 4 + length {
            let (count, _) = fd::recv_with_fds(&self.socket, &mut self.buffer[got..4 + length], 0).map_err(io_error)?;
            got += count;
        }
        serde_json::from_slice(&self.buffer[4..4 + length]).map(Some).map_err(Into::into)
    }

    fn receive_long(&mut self) -> io::Result<Option<FromEdge>> {
        loop {
            let wanted = match self.taken.first_chunk() {
                Some(first) => 4 + u32::from_be_bytes(*first) as usize,
                None => 4,
            };
            if self.taken.len() == wanted && wanted > 4 {
                let frame = std::mem::take(&mut self.taken);
                return serde_json::from_slice(&frame[4..]).map(Some).map_err(Into::into);
            }
            let room = (wanted - self.taken.len()).min(self.buffer.len());
            match fd::recv_with_fds(&self.socket, &mut self.buffer[..room], 0) {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((count, _)) => self.taken.extend_from_slice(&self.buffer[..count]),
                Err(error) if error.errno == EAGAIN => return Ok(None),
                Err(error) => return Err(io_error(error)),
            }
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn io_error(error: rpm_sys::SysError) -> io::Error {
    io::Error::from_raw_os_error(error.errno)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use rpm_model::edge::{Answer, Ask};

    use super::*;

    fn pair() -> (Control, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Control::new(ours.into()).unwrap(), theirs)
    }

    fn framed(frame: &FromEdge) -> Vec<u8> {
        let body = serde_json::to_vec(frame).unwrap();
        [(body.len() as u32).to_be_bytes().to_vec(), body].concat()
    }

    #[test]
    fn a_frame_is_left_in_the_socket_until_it_is_whole() {
        let (mut control, mut edge) = pair();
        let done = FromEdge::Answer { id: 7, answer: Answer::Done };
        let bytes = framed(&done);
        for cut in 0..bytes.len() {
            edge.write_all(&bytes[..cut]).unwrap();
            assert_eq!(control.receive().unwrap(), None, "{cut}");
            // Another daemon: what it finds is the frame from its beginning.
            let mut next = Control::new(fd::dup(&control).unwrap()).unwrap();
            edge.write_all(&bytes[cut..]).unwrap();
            assert_eq!(next.receive().unwrap(), Some(done.clone()), "{cut}");
        }
        edge.write_all(&bytes.repeat(3)).unwrap();
        for _ in 0..3 {
            assert_eq!(control.receive().unwrap(), Some(done.clone()));
        }
        drop(edge);
        assert!(control.receive().is_err());
    }

    #[test]
    fn a_long_frame_comes_in_pieces() {
        let (mut control, mut edge) = pair();
        let long = FromEdge::Answer { id: 1, answer: Answer::Refused(vec!["x".repeat(WHOLE_MAX)]) };
        let bytes = framed(&long);
        let writer = std::thread::spawn(move || edge.write_all(&bytes).map(|()| edge));
        let frame = loop {
            if let Some(frame) = control.receive().unwrap() {
                break frame;
            }
            std::thread::yield_now();
        };
        assert_eq!(frame, long);
        let mut edge = writer.join().unwrap().unwrap();
        control.send(&ToEdge { id: 2, ask: Ask::Stats }, Vec::new()).unwrap();
        let mut length = [0; 4];
        edge.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        edge.read_exact(&mut body).unwrap();
        assert_eq!(serde_json::from_slice::<ToEdge>(&body).unwrap().ask, Ask::Stats);
    }
}
