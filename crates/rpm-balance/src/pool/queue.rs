//! Requests that wait for a server, first come first served.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

/// Requests that wait for a server of one upstream, of all threads.
#[derive(Debug, Default)]
pub struct Queue {
    /// Beside the lock, so that a request that ends while nobody waits takes none.
    waiting: AtomicUsize,
    most: AtomicUsize,
    failed: AtomicU64,
    line: Mutex<VecDeque<oneshot::Sender<()>>>,
}

/// A place in the line. Dropped before its turn was used, the turn goes to the next.
#[derive(Debug)]
pub struct Place<'q> {
    queue: &'q Queue,
    turn: oneshot::Receiver<()>,
}

impl Queue {
    /// Joins the line; `None` when it is `longest` already.
    pub fn join(&self, longest: u32) -> Option<Place<'_>> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = self.waiting.load(Ordering::SeqCst);
        if waiting >= longest as usize {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let (sender, turn) = oneshot::channel();
        line.push_back(sender);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.most.fetch_max(waiting + 1, Ordering::Relaxed);
        Some(Place { queue: self, turn })
    }

    /// Returns how many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Returns the most that waited at once.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Returns how many found it full, or gave up.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Counts one that gave up.
    pub fn gave_up(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Lets the first one try.
    pub fn wake_one(&self) {
        if self.waiting() == 0 {
            return;
        }
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(first) = line.pop_front() {
            if first.send(()).is_ok() {
                return;
            }
        }
    }

    /// Lets all of them try.
    pub fn wake_all(&self) {
        if self.waiting() == 0 {
            return;
        }
        let line = std::mem::take(&mut *self.line.lock().unwrap_or_else(PoisonError::into_inner));
        for one in line {
            let _ = one.send(());
        }
    }
}

impl Place<'_> {
    /// Waits for the turn.
    pub async fn turn(&mut self) {
        // The sender is dropped only together with the whole queue, which `self` borrows.
        let _ = (&mut self.turn).await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(1, Ordering::SeqCst);
        if self.turn.try_recv().is_ok() {
            self.queue.wake_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_go_in_order_and_are_passed_on_by_those_who_leave() {
        let queue = Queue::default();
        let (mut first, second, mut third) = (queue.join(3).unwrap(), queue.join(3).unwrap(), queue.join(3).unwrap());
        assert!(queue.join(3).is_none());
        queue.wake_one();
        first.turn().await;
        queue.wake_one();
        drop(second); // it was its turn
        third.turn().await;
        drop((first, third));
        assert_eq!((queue.waiting(), queue.most(), queue.failed()), (0, 3, 1));
    }
}
