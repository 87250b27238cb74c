//! Bytes both ways, after an upgrade and in `tcp` mode.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::io::{Buffer, Deadline, Io};

/// Bytes that passed each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tunnelled {
    /// From the client.
    pub up: u64,
    /// To the client.
    pub down: u64,
}

/// Passes bytes both ways until both ends have said all, one breaks off, or nothing passed for `idle`. `up` and `down`
/// are bytes that were read already.
pub async fn tunnel(client: &Io, server: &Io, up: Buffer, down: Buffer, idle: Duration) -> Tunnelled {
    let deadline = Deadline::after(idle);
    let passed = Cell::new(Instant::now());
    let mut to_server = Half::new(client, server, up);
    let mut to_client = Half::new(server, client, down);
    poll_fn(|cx| {
        let mut moved = false;
        for half in [&mut to_server, &mut to_client] {
            match half.poll(cx, &mut moved) {
                Poll::Ready(Ok(())) | Poll::Pending => {}
                // What is broken on one side is broken.
                Poll::Ready(Err(_)) => return Poll::Ready(()),
            }
        }
        if to_server.state == State::Closed && to_client.state == State::Closed {
            return Poll::Ready(());
        }
        if moved {
            passed.set(Instant::now());
            deadline.set(idle);
        }
        deadline.poll(cx)
    })
    .await;
    Tunnelled { up: to_server.count, down: to_client.count }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The source has said all; the sink is still to be told.
    Ending,
    Closed,
}

struct Half<'t> {
    from: &'t Io,
    to: &'t Io,
    /// Lent only while there are bytes that the sink does not take.
    buffer: Buffer,
    state: State,
    flushed: bool,
    count: u64,
}

impl<'t> Half<'t> {
    fn new(from: &'t Io, to: &'t Io, buffer: Buffer) -> Self {
        Self { from, to, buffer, state: State::Open, flushed: true, count: 0 }
    }

    fn poll(&mut self, cx: &mut std::task::Context<'_>, moved: &mut bool) -> Poll<io::Result<()>> {
        // So many turns before the other direction has its own: a fast sender must not keep the thread to itself.
        for _ in 0..16 {
            while !self.buffer.is_empty() {
                let count = std::task::ready!(self.to.poll_write(cx, &[IoSlice::new(self.buffer.filled())]))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.buffer.consume(count);
                self.count += count as u64;
                self.flushed = false;
                *moved = true;
            }
            match self.state {
                State::Open => {
                    let mut buffer = Buffer::large();
                    match self.from.poll_read(cx, buffer.space()) {
                        Poll::Ready(Ok(0)) => self.state = State::Ending,
                        Poll::Ready(Ok(count)) => {
                            buffer.fill(count);
                            self.buffer = buffer;
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => {
                            self.buffer = Buffer::default();
                            if !self.flushed {
                                std::task::ready!(self.to.poll_flush(cx))?;
                                self.flushed = true;
                            }
                            return Poll::Pending;
                        }
                    }
                }
                State::Ending => {
                    // A half-close is passed on: the other end may still have much to say.
                    std::task::ready!(self.to.poll_shutdown(cx))?;
                    self.state = State::Closed;
                    *moved = true;
                }
                State::Closed => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
