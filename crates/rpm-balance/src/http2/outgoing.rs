//! A body of HTTP/1.1, sent as one of HTTP/2.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};

use super::{head, invalid};
use crate::http::chunked::Piece;
use crate::http::{Body, Chunked};

/// A body of HTTP/1.1, sent as one of HTTP/2.
pub struct Outgoing {
    stream: SendStream<Bytes>,
    left: Left,
}

enum Left {
    /// So many bytes.
    Length(u64),
    /// Chunks; the trailer lines so far.
    Chunks(Chunked, Vec<u8>),
    /// Whatever comes, until it is said that nothing more does.
    Anything,
    Nothing,
}

impl Outgoing {
    /// Returns what sends such a body.
    pub fn new(stream: SendStream<Bytes>, body: Body) -> Self {
        let left = match body {
            Body::None => Left::Nothing,
            Body::Length(length) => Left::Length(length),
            Body::Chunked => Left::Chunks(Chunked::default(), Vec::new()),
            Body::UntilClose => Left::Anything,
        };
        Self { stream, left }
    }

    /// Returns whether all of it was sent.
    pub fn has_ended(&self) -> bool {
        matches!(self.left, Left::Nothing)
    }

    /// Sends as much of `bytes` as the other end takes. Lines of framing come whole, as our own writers have them.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.left {
            Left::Nothing => Poll::Ready(Err(invalid("more than the body"))),
            Left::Anything => {
                ready!(poll_room(&mut self.stream, cx, bytes.len()))?;
                send(&mut self.stream, bytes, false)?;
                Poll::Ready(Ok(bytes.len()))
            }
            Left::Length(left) => {
                ready!(poll_room(&mut self.stream, cx, bytes.len()))?;
                let count = (bytes.len() as u64).min(*left) as usize;
                *left -= count as u64;
                let ends = *left == 0;
                send(&mut self.stream, &bytes[..count], ends)?;
                if ends {
                    self.left = Left::Nothing;
                }
                Poll::Ready(Ok(count))
            }
            Left::Chunks(..) => self.poll_chunks(cx, bytes),
        }
    }

    /// Says that nothing more comes, where that was not said by a length or a last chunk.
    pub fn finish(&mut self) {
        if matches!(self.left, Left::Anything) {
            // A stream that is gone already needs no end.
            let _ = self.stream.send_data(Bytes::new(), true);
            self.left = Left::Nothing;
        }
    }

    /// Ends it in the middle.
    pub fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// Returns ready when the other end wants no more of it.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.stream.poll_reset(cx).map(|_| io::ErrorKind::ConnectionReset.into())
    }

    fn poll_chunks(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Left::Chunks(chunked, trailers) = &mut self.left else { return Poll::Ready(Ok(0)) };
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            if rest.is_empty() {
                return Poll::Ready(Ok(used));
            }
            if chunked.is_in_data() {
                match poll_room(&mut self.stream, cx, rest.len()) {
                    Poll::Ready(room) => room?,
                    Poll::Pending if used > 0 => return Poll::Ready(Ok(used)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            let piece = chunked.next(rest).map_err(|_| invalid("chunks"))?;
            match piece {
                None => return Poll::Ready(if used > 0 { Ok(used) } else { Err(invalid("a part of a line")) }),
                Some(Piece::Size { line, .. }) => used += line,
                Some(Piece::Data(count)) => {
                    send(&mut self.stream, &rest[..count], false)?;
                    used += count;
                }
                Some(Piece::Line(count)) => {
                    if count > 2 {
                        trailers.extend_from_slice(&rest[..count - 2]);
                        trailers.push(b'\n');
                    }
                    used += count;
                }
                Some(Piece::End) => {
                    let sent = if trailers.is_empty() {
                        self.stream.send_data(Bytes::new(), true)
                    } else {
                        self.stream.send_trailers(head::trailers(trailers)?)
                    };
                    sent.map_err(super::error)?;
                    self.left = Left::Nothing;
                    return Poll::Ready(Ok(used + 2));
                }
            }
        }
    }
}

/// Waits until the other end takes something. A little more than it takes is sent then, and waits in h2: at most one
/// write of ours for each stream.
fn poll_room(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<()>> {
    stream.reserve_capacity(wanted);
    while stream.capacity() == 0 {
        match ready!(stream.poll_capacity(cx)) {
            Some(more) => drop(more.map_err(super::error)?),
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
    Poll::Ready(Ok(()))
}

fn send(stream: &mut SendStream<Bytes>, bytes: &[u8], ends: bool) -> io::Result<()> {
    stream.send_data(Bytes::copy_from_slice(bytes), ends).map_err(super::error)
}
