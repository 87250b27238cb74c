//! Waiting for bytes, and writing all of them; each within its time.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::Poll;
use std::time::Duration;

use crate::io::{Buffer, Deadline, Io};

/// Waits for bytes, and only then takes a buffer. An empty buffer is the end.
pub async fn read_fresh(io: &Io, take: fn() -> Buffer, deadline: &Deadline) -> io::Result<Buffer> {
    poll_fn(|cx| {
        let mut buffer = take();
        match io.poll_read(cx, buffer.space()) {
            Poll::Ready(read) => Poll::Ready(read.map(|count| {
                buffer.fill(count);
                buffer
            })),
            Poll::Pending => deadline.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
        }
    })
    .await
}

/// Waits for more bytes behind those in the buffer, which has space. Zero is the end.
pub async fn read_more(io: &Io, buffer: &mut Buffer, deadline: &Deadline) -> io::Result<usize> {
    let count = poll_fn(|cx| match io.poll_read(cx, buffer.space()) {
        Poll::Pending => deadline.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
        ready => ready,
    })
    .await?;
    buffer.fill(count);
    Ok(count)
}

/// Why not everything was written.
#[derive(Debug)]
pub struct Unwritten {
    /// So much was.
    pub written: usize,
    /// Why.
    pub error: io::Error,
}

/// Writes all of it; each piece that is taken within `wait`.
pub async fn write_all(
    io: &Io,
    mut slices: &mut [IoSlice<'_>],
    deadline: &Deadline,
    wait: Duration,
) -> Result<usize, Unwritten> {
    let mut written = 0;
    IoSlice::advance_slices(&mut slices, 0);
    let mut waited = false;
    while !slices.is_empty() {
        let taken = poll_fn(|cx| match io.poll_write(cx, slices) {
            Poll::Pending => {
                if !waited {
                    // The clock is asked only by those who have to wait.
                    deadline.set(wait);
                    waited = true;
                }
                deadline.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
            ready => ready,
        })
        .await;
        match taken {
            Ok(0) => return Err(Unwritten { written, error: io::ErrorKind::WriteZero.into() }),
            Ok(count) => {
                written += count;
                IoSlice::advance_slices(&mut slices, count);
                waited = false;
            }
            Err(error) => return Err(Unwritten { written, error }),
        }
    }
    match poll_fn(|cx| io.poll_flush(cx)).await {
        Ok(()) => Ok(written),
        Err(error) => Err(Unwritten { written, error }),
    }
}

/// Says goodbye where closing alone does not say it: TLS. Does not wait for a client that takes nothing.
pub async fn finish(io: &Io) {
    if io.with_fd(|_| ()).is_none() {
        poll_fn(|cx| {
            let _ = io.poll_shutdown(cx);
            Poll::Ready(())
        })
        .await;
    }
}

/// Says that nothing more is sent, and drops what still comes for a short while: a client that is still sending would
/// otherwise get a reset in place of the answer (RFC 9112 §9.6).
pub async fn linger(io: &Io) {
    /// Longer than a round trip around the world.
    const PATIENCE: Duration = Duration::from_secs(2);
    /// More is no answer's worth.
    const MOST: usize = 1 << 20;
    let deadline = Deadline::after(PATIENCE);
    if poll_fn(|cx| io.poll_shutdown(cx)).await.is_err() {
        return;
    }
    let mut dropped = 0;
    while dropped < MOST {
        match read_fresh(io, Buffer::large, &deadline).await {
            Ok(buffer) if !buffer.is_empty() => dropped += buffer.filled().len(),
            _ => return,
        }
    }
}
