//! A time that is set often and runs out seldom.
//!
//! Setting a timer of tokio's costs a lock and a walk through its wheel, several times for each request. Here the timer
//! stays where it was as long as it goes off no later than wanted; when it goes off early, it is set anew.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// One deadline at a time.
#[derive(Debug)]
pub struct Deadline {
    at: Cell<Instant>,
    timer: RefCell<Option<Pin<Box<Sleep>>>>,
}

impl Deadline {
    /// Returns a deadline so far from now.
    pub fn after(wait: Duration) -> Self {
        Self { at: Cell::new(far(Instant::now(), wait)), timer: RefCell::new(None) }
    }

    /// Sets it so far from now.
    pub fn set(&self, wait: Duration) {
        self.at.set(far(Instant::now(), wait));
    }

    /// Sets it.
    pub fn set_at(&self, at: Instant) {
        self.at.set(at);
    }

    /// Returns ready once it has passed.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.at.get();
        let mut timer = self.timer.borrow_mut();
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
        Poll::Pending
    }
}

/// A wait that nobody will see the end of must not overflow the clock.
fn far(now: Instant, wait: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    now + wait.min(YEAR)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_passes_when_it_was_last_set_to() {
        let begin = Instant::now();
        let deadline = Deadline::after(Duration::from_secs(10));
        let _ = tokio::time::timeout(Duration::from_secs(1), poll_fn(|cx| deadline.poll(cx))).await.unwrap_err();
        deadline.set(Duration::from_secs(20));
        poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(begin.elapsed().as_secs(), 21);
        deadline.set(Duration::from_secs(1));
        poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(begin.elapsed().as_secs(), 22);
    }
}
