//! The body of an answer, on its way to the client.

use std::future::{Future, poll_fn};
use std::io::{IoSlice, Write};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::http::{Body, Chunked};
use crate::io::transfer::{read_fresh, read_more, write_all};
use crate::io::{Buffer, Deadline, Io};
use crate::serve::forward::Framing;
use crate::serve::gzip::Squeeze;
use crate::serve::http1::Connection;
use crate::serve::leave::Left;

/// What a body passes between.
pub struct Way<'w> {
    /// The server.
    pub server: &'w Io,
    /// The client.
    pub client: &'w Connection,
    /// Whether it is looked after while the server is silent: nobody else reads from it.
    pub watch: bool,
    /// One at a time.
    pub deadline: &'w Deadline,
    /// For the server.
    pub wait_server: Duration,
    /// For the client.
    pub wait_client: Duration,
}

/// What became of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Bytes of the body that were sent, with their framing.
    pub sent: u64,
    /// Bytes that came from the server behind the head.
    pub received: u64,
    /// Whether the server's connection is at a clean end.
    pub clean: bool,
}

/// Why a body did not pass: the client's connection is of no use any more, since it cannot tell where the answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The client left, or was too slow.
    Client(Passed),
    /// The server broke off, was too slow, or sent what is no body.
    Server(Passed),
}

/// Sends `head` and the body behind it, which begins in `buffer`.
///
/// # Errors
/// When the client has not got all of it.
pub async fn relay(
    way: &Way<'_>,
    head: &[u8],
    buffer: Buffer,
    body: Body,
    framing: Framing,
    squeeze: Option<Squeeze>,
) -> Result<Passed, Broken> {
    let mut pass = Pass { way, passed: Passed { sent: 0, received: 0, clean: true }, head };
    if let Some(squeeze) = squeeze {
        return pass.squeezed(buffer, body, squeeze, framing == Framing::Chunks).await;
    }
    match (body, framing) {
        (Body::None, _) => {
            pass.passed.clean = buffer.is_empty();
            pass.send(&[]).await?;
            Ok(pass.passed)
        }
        (Body::Length(length), _) => pass.length(buffer, length).await,
        (Body::Chunked, Framing::Bare) => pass.chunked(buffer, true).await,
        (Body::Chunked, _) => pass.chunked(buffer, false).await,
        (Body::UntilClose, framing) => pass.until_close(buffer, framing == Framing::Chunks).await,
    }
}

struct Pass<'p> {
    way: &'p Way<'p>,
    passed: Passed,
    /// Sent before the first bytes of the body, and together with them.
    head: &'p [u8],
}

impl Pass<'_> {
    async fn length(mut self, first: Buffer, length: u64) -> Result<Passed, Broken> {
        let mut left = length;
        let mut buffer = first;
        loop {
            let bytes = buffer.filled();
            let count = (bytes.len() as u64).min(left) as usize;
            self.passed.received += count as u64;
            // What is longer than it says never reaches the next answer.
            self.passed.clean &= count == bytes.len();
            left -= count as u64;
            self.send(&[IoSlice::new(&bytes[..count])]).await?;
            if left == 0 {
                return Ok(self.passed);
            }
            drop(buffer);
            buffer = self.read().await?;
            if buffer.is_empty() {
                return Err(Broken::Server(self.passed));
            }
        }
    }

    async fn chunked(mut self, first: Buffer, data_only: bool) -> Result<Passed, Broken> {
        let mut chunked = Chunked::default();
        let mut buffer = first;
        loop {
            let Ok(piece) = chunked.pass(buffer.filled_mut(), data_only) else {
                return Err(Broken::Server(self.passed));
            };
            self.passed.received += piece.consumed as u64;
            if piece.kept > 0 || !self.head.is_empty() {
                self.send(&[IoSlice::new(&buffer.filled()[..piece.kept])]).await?;
            }
            buffer.consume(piece.consumed);
            if chunked.is_done() {
                self.passed.clean &= buffer.is_empty();
                return Ok(self.passed);
            }
            let count = if buffer.is_empty() {
                drop(buffer);
                buffer = self.read().await?;
                buffer.filled().len()
            } else {
                buffer.make_space(crate::io::buffer::LARGE);
                self.way.deadline.set(self.way.wait_server);
                let more = read_more(self.way.server, &mut buffer, self.way.deadline).await;
                more.map_err(|_| Broken::Server(self.passed))?
            };
            if count == 0 {
                return Err(Broken::Server(self.passed));
            }
        }
    }

    /// Passes the data on in its compressed form.
    async fn squeezed(
        mut self,
        first: Buffer,
        body: Body,
        mut squeeze: Squeeze,
        chunks: bool,
    ) -> Result<Passed, Broken> {
        let (mut left, mut chunked) =
            (if let Body::Length(length) = body { length } else { u64::MAX }, Chunked::default());
        self.passed.clean = body != Body::UntilClose;
        let mut buffer = first;
        loop {
            let (data, used, done) = if body == Body::Chunked {
                let piece = chunked.pass(buffer.filled_mut(), true).map_err(|_| Broken::Server(self.passed))?;
                (piece.kept, piece.consumed, chunked.is_done())
            } else {
                let count = (buffer.filled().len() as u64).min(left) as usize;
                left -= count as u64;
                (count, count, left == 0)
            };
            self.passed.received += used as u64;
            squeeze.put(&buffer.filled()[..data]);
            buffer.consume(used);
            if done {
                self.passed.clean &= buffer.is_empty();
                return self.last_squeezed(squeeze, chunks).await;
            }
            if squeeze.is_worth() {
                let out = squeeze.take();
                self.send_squeezed(&out, chunks).await?;
            }
            let before = buffer.filled().len();
            buffer.make_space(crate::io::buffer::LARGE);
            if buffer.space().is_empty() {
                drop(buffer);
                buffer = Buffer::large();
            }
            let way = self.way;
            way.deadline.set(way.wait_server);
            let mut reading = pin!(read_more(way.server, &mut buffer, way.deadline));
            let ready = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await;
            let read = match ready {
                Poll::Ready(read) => Ok(read),
                Poll::Pending => {
                    // What is there need not wait for more.
                    let out = squeeze.flush();
                    self.send_squeezed(&out, chunks).await?;
                    way.deadline.set(way.wait_server);
                    way.client.unless_left(way.watch, reading).await
                }
            };
            let read = read.map_err(|Left| Broken::Client(self.passed))?;
            if read.map_err(|_| Broken::Server(self.passed))? == 0 {
                let ended = body == Body::UntilClose && before == 0;
                return if ended {
                    self.last_squeezed(squeeze, chunks).await
                } else {
                    Err(Broken::Server(self.passed))
                };
            }
        }
    }

    async fn send_squeezed(&mut self, out: &[u8], chunks: bool) -> Result<(), Broken> {
        if out.is_empty() && self.head.is_empty() {
            return Ok(());
        }
        if !chunks || out.is_empty() {
            return self.send(&[IoSlice::new(out)]).await;
        }
        let size = format!("{:x}\r\n", out.len());
        self.send(&[IoSlice::new(size.as_bytes()), IoSlice::new(out), IoSlice::new(b"\r\n")]).await
    }

    async fn last_squeezed(mut self, squeeze: Squeeze, chunks: bool) -> Result<Passed, Broken> {
        self.send_squeezed(&squeeze.finish(), chunks).await?;
        if chunks {
            self.send(&[IoSlice::new(b"0\r\n\r\n")]).await?;
        }
        Ok(self.passed)
    }

    async fn until_close(mut self, first: Buffer, chunks: bool) -> Result<Passed, Broken> {
        let mut buffer = first;
        self.passed.clean = false;
        let mut began = false;
        loop {
            let bytes = buffer.filled();
            self.passed.received += bytes.len() as u64;
            if bytes.is_empty() && began {
                if chunks {
                    self.send(&[IoSlice::new(b"0\r\n\r\n")]).await?;
                }
                return Ok(self.passed);
            }
            began = true;
            if chunks && !bytes.is_empty() {
                let mut size = [0; 20];
                let mut rest = &mut size[..];
                let _ = write!(rest, "{:x}\r\n", bytes.len());
                let unused = rest.len();
                let line = &size[..size.len() - unused];
                self.send(&[IoSlice::new(line), IoSlice::new(bytes), IoSlice::new(b"\r\n")]).await?;
            } else {
                self.send(&[IoSlice::new(bytes)]).await?;
            }
            drop(buffer);
            buffer = self.read().await?;
        }
    }

    async fn read(&self) -> Result<Buffer, Broken> {
        self.way.deadline.set(self.way.wait_server);
        let reading = read_fresh(self.way.server, Buffer::large, self.way.deadline);
        match self.way.client.unless_left(self.way.watch, reading).await {
            Ok(read) => read.map_err(|_| Broken::Server(self.passed)),
            Err(Left) => Err(Broken::Client(self.passed)),
        }
    }

    /// Sends the head, if it was not sent yet, and `body`.
    async fn send(&mut self, body: &[IoSlice<'_>]) -> Result<(), Broken> {
        let mut slices = [IoSlice::new(self.head), IoSlice::new(&[]), IoSlice::new(&[]), IoSlice::new(&[])];
        slices[1..=body.len()].copy_from_slice(body);
        let length: usize = body.iter().map(|slice| slice.len()).sum();
        let head = std::mem::take(&mut self.head).len();
        let slices = &mut slices[usize::from(head == 0)..=body.len()];
        match write_all(&self.way.client.io, slices, self.way.deadline, self.way.wait_client).await {
            Ok(_) => {
                self.passed.sent += length as u64;
                Ok(())
            }
            Err(unwritten) => {
                self.passed.sent += unwritten.written.saturating_sub(head) as u64;
                Err(Broken::Client(self.passed))
            }
        }
    }
}
