//! Our end of the conversation with the daemon: frames and descriptors, one after another.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use rpm_model::edge::{FRAME_MAX, FromEdge, ToEdge};
use rpm_sys::SysError;
use rpm_sys::fd::{FDS_PER_MESSAGE_MAX, recv_with_fds};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;

/// So many frames may wait for a daemon that does not read, or is being replaced. Then notices are dropped: what they
/// say is in the counters too.
pub const FRAMES_WAITING: usize = 4096;

/// Reads frames.
pub struct Reader {
    socket: tokio::net::unix::OwnedReadHalf,
    bytes: Vec<u8>,
    /// Descriptors in the order in which they came, until the frame that names them is whole.
    fds: RefCell<VecDeque<OwnedFd>>,
}

/// Takes a control socket apart.
///
/// # Errors
/// When it is no socket that can be waited for.
pub fn open(socket: OwnedFd) -> io::Result<(Reader, OwnedWriteHalf)> {
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true)?;
    let (read, write) = UnixStream::from_std(socket)?.into_split();
    Ok((Reader { socket: read, bytes: Vec::new(), fds: RefCell::default() }, write))
}

impl Reader {
    /// Returns the next frame; `None` when the other end is gone.
    ///
    /// # Errors
    /// Those of the socket; `InvalidData` for what is no frame, and the conversation is over then.
    pub async fn next(&mut self) -> io::Result<Option<Result<ToEdge, String>>> {
        loop {
            if let Some(first) = self.bytes.first_chunk::<4>() {
                let length = u32::from_be_bytes(*first) as usize;
                if length > FRAME_MAX {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is longer than any may be"));
                }
                if self.bytes.len() >= 4 + length {
                    let frame = serde_json::from_slice(&self.bytes[4..4 + length]);
                    self.bytes.drain(..4 + length);
                    return Ok(Some(frame.map_err(|error| error.to_string())));
                }
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Takes the next `count` descriptors that came.
    pub fn take_fds(&mut self, count: usize) -> Vec<OwnedFd> {
        let fds = self.fds.get_mut();
        let count = count.min(fds.len());
        fds.drain(..count).collect()
    }

    async fn fill(&mut self) -> io::Result<usize> {
        let mut part = vec![0; 64 << 10];
        let socket: &UnixStream = self.socket.as_ref();
        let count = socket
            .async_io(Interest::READABLE, || match recv_with_fds(socket, &mut part, FDS_PER_MESSAGE_MAX) {
                Ok((count, fds)) => {
                    self.fds.borrow_mut().extend(fds);
                    Ok(count)
                }
                Err(SysError { errno, .. }) => Err(io::Error::from_raw_os_error(errno)),
            })
            .await?;
        self.bytes.extend_from_slice(&part[..count]);
        Ok(count)
    }
}

/// Writes frames, as they come, until there are no more.
pub async fn write(mut socket: OwnedWriteHalf, mut frames: mpsc::Receiver<FromEdge>) {
    while let Some(frame) = frames.recv().await {
        // The types have no map keys but numbers and no floats that JSON lacks.
        let Ok(body) = serde_json::to_vec(&frame) else { continue };
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let whole = [&length.to_be_bytes()[..], &body].concat();
        if socket.write_all(&whole).await.is_err() {
            return;
        }
    }
}
