//! The rest of a request's body, on its way to the server while the answer may come already.

use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::task::Poll;

use crate::http::{Body, Chunked};
use crate::io::transfer::{read_fresh, read_more, write_all};
use crate::io::{Buffer, Deadline, Io};
use crate::serve::http1::Connection;

/// What is left of a body.
pub enum Rest {
    /// So many bytes.
    Length(u64),
    /// Chunks, and bytes that were read but are not a whole piece yet. At most so many bytes of data may come.
    Chunked(Chunked, Buffer, u64),
}

/// How an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All is sent.
    Done,
    /// The client left, was too slow, or sent what is no body.
    ClientFault,
    /// The body is longer than allowed.
    TooLarge,
    /// The server takes no more; it may have answered.
    ServerFault,
}

/// An upload that goes on beside something else.
pub struct Upload<'u> {
    running: Option<Pin<Box<dyn Future<Output = Ended> + 'u>>>,
    ended: Ended,
}

impl<'u> Upload<'u> {
    /// Returns one that has nothing to do.
    pub fn none() -> Self {
        Self { running: None, ended: Ended::Done }
    }

    /// Begins.
    pub fn begin(connection: &'u Connection, server: &'u Io, rest: Rest) -> Self {
        Self { running: Some(Box::pin(upload(connection, server, rest))), ended: Ended::Done }
    }

    /// Returns whether all is sent.
    pub fn is_done(&self) -> bool {
        self.running.is_none() && self.ended == Ended::Done
    }

    /// Returns whether it goes on.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Does `main` while the upload goes on; ends early, with the reason, when the client spoils it. `then` is called
    /// when the upload has ended.
    pub async fn beside<T>(&mut self, main: impl Future<Output = T>, then: impl Fn()) -> Result<T, Ended> {
        let mut main = pin!(main);
        poll_fn(|cx| {
            if let Poll::Ready(done) = main.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            if let Some(running) = &mut self.running
                && let Poll::Ready(ended) = running.as_mut().poll(cx)
            {
                (self.running, self.ended) = (None, ended);
                if matches!(ended, Ended::ClientFault | Ended::TooLarge) {
                    return Poll::Ready(Err(ended));
                }
                then();
                // The deadline is another one now: it has to be looked at.
                return main.as_mut().poll(cx).map(Ok);
            }
            Poll::Pending
        })
        .await
    }
}

async fn upload(connection: &Connection, server: &Io, rest: Rest) -> Ended {
    let timeouts = connection.balancer().timeouts;
    let deadline = Deadline::after(timeouts.client);
    match rest {
        Rest::Length(mut left) => {
            while left > 0 {
                deadline.set(timeouts.client);
                let Ok(buffer) = read_limited(&connection.io, left, &deadline).await else { return Ended::ClientFault };
                let bytes = buffer.filled();
                if bytes.is_empty() {
                    return Ended::ClientFault;
                }
                connection.count().bytes_in.add(bytes.len() as u64);
                left -= bytes.len() as u64;
                if write_all(server, &mut [IoSlice::new(bytes)], &deadline, timeouts.server).await.is_err() {
                    return Ended::ServerFault;
                }
            }
            Ended::Done
        }
        Rest::Chunked(mut chunked, mut buffer, mut allowed) => loop {
            let Ok(passed) = chunked.pass(buffer.filled_mut(), false) else { return Ended::ClientFault };
            let Some(less) = allowed.checked_sub(passed.data) else { return Ended::TooLarge };
            allowed = less;
            let kept = &buffer.filled()[..passed.kept];
            if !kept.is_empty()
                && write_all(server, &mut [IoSlice::new(kept)], &deadline, timeouts.server).await.is_err()
            {
                return Ended::ServerFault;
            }
            buffer.consume(passed.consumed);
            if chunked.is_done() {
                connection.put_back(buffer.filled());
                return Ended::Done;
            }
            deadline.set(timeouts.client);
            let count = if buffer.is_empty() {
                match read_fresh(&connection.io, Buffer::large, &deadline).await {
                    Ok(fresh) => {
                        buffer = fresh;
                        buffer.filled().len()
                    }
                    Err(_) => return Ended::ClientFault,
                }
            } else {
                // A whole line always fits: lines are shorter than buffers.
                buffer.make_space(crate::io::buffer::LARGE);
                match read_more(&connection.io, &mut buffer, &deadline).await {
                    Ok(count) => count,
                    Err(_) => return Ended::ClientFault,
                }
            };
            if count == 0 {
                return Ended::ClientFault;
            }
            connection.count().bytes_in.add(count as u64);
        },
    }
}

/// Reads no more than `most`: what follows belongs to the next request.
async fn read_limited(io: &Io, most: u64, deadline: &Deadline) -> std::io::Result<Buffer> {
    poll_fn(|cx| {
        let mut buffer = Buffer::large();
        let space = buffer.space();
        let length = (space.len() as u64).min(most) as usize;
        match io.poll_read(cx, &mut space[..length]) {
            Poll::Ready(read) => Poll::Ready(read.map(|count| {
                buffer.fill(count);
                buffer
            })),
            Poll::Pending => deadline.poll(cx).map(|()| Err(std::io::ErrorKind::TimedOut.into())),
        }
    })
    .await
}

/// What of a body came together with the head.
pub struct Begun {
    /// So many bytes behind the head belong to it, as they came.
    pub taken: usize,
    /// What is passed on of them: in place of them in chunks, else `None` for as they are.
    pub chunks: Option<Vec<u8>>,
    /// What is still to come.
    pub rest: Option<Rest>,
}

/// Looks at what came of a body together with its head, and refuses what is none before anything is passed on.
///
/// # Errors
/// `ClientFault` or `TooLarge`.
pub fn begin(body: Body, behind: &[u8], limit: Option<u64>) -> Result<Begun, Ended> {
    match body {
        Body::None | Body::UntilClose => Ok(Begun { taken: 0, chunks: None, rest: None }),
        Body::Length(length) if limit.is_some_and(|limit| length > limit) => Err(Ended::TooLarge),
        Body::Length(length) => {
            let taken = (behind.len() as u64).min(length) as usize;
            let left = length - taken as u64;
            Ok(Begun { taken, chunks: None, rest: (left > 0).then_some(Rest::Length(left)) })
        }
        Body::Chunked => {
            let mut chunked = Chunked::default();
            let mut bytes = behind.to_vec();
            let passed = chunked.pass(&mut bytes, false).map_err(|_| Ended::ClientFault)?;
            let allowed = limit.unwrap_or(u64::MAX).checked_sub(passed.data).ok_or(Ended::TooLarge)?;
            bytes.truncate(passed.kept);
            if chunked.is_done() {
                return Ok(Begun { taken: passed.consumed, chunks: Some(bytes), rest: None });
            }
            let mut waiting = Buffer::large();
            waiting.append(&behind[passed.consumed..]);
            let rest = Rest::Chunked(chunked, waiting, allowed);
            Ok(Begun { taken: behind.len(), chunks: Some(bytes), rest: Some(rest) })
        }
    }
}
