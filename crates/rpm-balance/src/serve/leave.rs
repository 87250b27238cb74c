//! Clients that leave before they are answered.
//!
//! While a server is silent nothing is written to the client, so nobody would notice: the request would keep its place
//! at the server, or in the queue, for somebody who is gone.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::serve::http1::Connection;

/// A client that says that it sends nothing more may have left, or only have said that. Who asks for something that
/// takes longer than this should not say so; nginx takes it for leaving at once.
const HALF_CLOSED: Duration = Duration::from_secs(1);

/// As many bytes of the next requests are read while one waits for its answer; then we no longer look.
const AHEAD_MAX: usize = 16 << 10;

/// The client has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left;

/// What is known of a client that waits.
#[derive(Debug, Default)]
pub struct Presence(RefCell<Option<Pin<Box<Sleep>>>>);

impl Connection {
    /// Does `main`, unless the client leaves before. Nobody else may read from the client meanwhile.
    ///
    /// # Errors
    /// When it has left.
    pub async fn unless_left<T>(&self, watch: bool, main: impl Future<Output = T>) -> Result<T, Left> {
        let mut main = pin!(main);
        poll_fn(|cx| match main.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending if watch => self.poll_left(cx).map(Err),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Returns ready when the client has left. What it sends meanwhile is kept for the next request.
    pub fn poll_left(&self, cx: &mut Context<'_>) -> Poll<Left> {
        let mut ended = self.presence.0.borrow_mut();
        if let Some(patience) = &mut *ended {
            return patience.as_mut().poll(cx).map(|()| Left);
        }
        let mut bytes = [0; 1024];
        while self.ahead_length() < AHEAD_MAX {
            match self.io.poll_read(cx, &mut bytes) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Left),
                Poll::Ready(Ok(0)) => {
                    return ended.insert(Box::pin(sleep(HALF_CLOSED))).as_mut().poll(cx).map(|()| Left);
                }
                Poll::Ready(Ok(count)) => self.put_back(&bytes[..count]),
            }
        }
        Poll::Pending
    }
}
