//! A body of HTTP/2, read as one of HTTP/1.1.

use std::io::{self, Write};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use tokio::io::ReadBuf;

use super::head::{self, Coding};

/// A body of HTTP/2, read as one of HTTP/1.1.
pub struct Incoming {
    stream: RecvStream,
    coding: Coding,
    /// The line before the data, or everything behind the last of it.
    line: Vec<u8>,
    line_read: usize,
    data: Bytes,
    /// Behind the data there is a line end to come.
    open_chunk: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Data,
    Trailers,
    Ended,
}

impl Incoming {
    /// Returns what comes as `coding`.
    pub fn new(stream: RecvStream, coding: Coding) -> Self {
        let state = if coding == Coding::None { State::Ended } else { State::Data };
        Self { stream, coding, line: Vec::new(), line_read: 0, data: Bytes::new(), open_chunk: false, state }
    }

    /// Reads; nothing when it has ended.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        loop {
            self.give(into);
            if into.remaining() == 0 || !self.is_given() {
                return Poll::Ready(Ok(()));
            }
            let polled = match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Data => self.poll_data(cx),
                State::Trailers => self.poll_trailers(cx),
            };
            match polled {
                Poll::Ready(result) => result?,
                // What is there need not wait for more.
                Poll::Pending if into.filled().len() > before => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Returns whether all of it has been read.
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended && self.is_given()
    }

    fn is_given(&self) -> bool {
        self.line_read == self.line.len() && self.data.is_empty() && !self.open_chunk
    }

    fn give(&mut self, into: &mut ReadBuf<'_>) {
        let line = &self.line[self.line_read..];
        let count = line.len().min(into.remaining());
        into.put_slice(&line[..count]);
        self.line_read += count;
        let count = self.data.len().min(into.remaining());
        if count > 0 {
            into.put_slice(&self.data.split_to(count));
            // Only now: what nobody takes must not be followed by more. It fails when the stream is gone already.
            let _ = self.stream.flow_control().release_capacity(count);
        }
        if self.open_chunk && self.data.is_empty() && into.remaining() >= 2 {
            into.put_slice(b"\r\n");
            self.open_chunk = false;
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (self.line_read, self.data) = (0, Bytes::new());
        self.line.clear();
        match ready!(self.stream.poll_data(cx)) {
            Some(data) => {
                self.data = data.map_err(super::error)?;
                if self.coding == Coding::Chunks && !self.data.is_empty() {
                    let _ = write!(self.line, "{:x}\r\n", self.data.len());
                    self.open_chunk = true;
                }
            }
            None => self.state = State::Trailers,
        }
        Poll::Ready(Ok(()))
    }

    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let trailers = ready!(self.stream.poll_trailers(cx)).map_err(super::error)?;
        self.state = State::Ended;
        if self.coding == Coding::Chunks {
            self.line_read = 0;
            self.line.clear();
            self.line.extend_from_slice(b"0\r\n");
            if let Some(trailers) = trailers {
                head::trailer_lines(&trailers, &mut self.line);
            }
            self.line.extend_from_slice(b"\r\n");
        }
        Poll::Ready(Ok(()))
    }
}
