//! A bounded queue that takes its memory as it fills: the one of the standard library takes all of it at once, which
//! is a megabyte for what nearly always holds nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvError, RecvTimeoutError};
use std::time::Duration;

/// The end that fills it.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    items: mpsc::Sender<T>,
    waiting: Arc<AtomicUsize>,
    most: usize,
}

/// The end that empties it.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    items: mpsc::Receiver<T>,
    waiting: Arc<AtomicUsize>,
}

/// Makes a queue of at most `most` items.
pub(crate) fn bounded<T>(most: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (Sender { items: sender, waiting: Arc::clone(&waiting), most }, Receiver { items: receiver, waiting })
}

impl<T> Sender<T> {
    /// Puts an item in; returns false, and drops it, where there is no room or no one who takes it out.
    pub(crate) fn try_send(&self, item: T) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.most && self.items.send(item).is_ok() {
            return true;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        false
    }
}

impl<T> Receiver<T> {
    /// Waits for an item.
    ///
    /// # Errors
    /// When the queue is empty and its sender is gone.
    pub(crate) fn recv(&self) -> Result<T, RecvError> {
        let item = self.items.recv()?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Ok(item)
    }

    /// Waits for an item, but no longer than this.
    ///
    /// # Errors
    /// When the time is over, or the queue is empty and its sender is gone.
    pub(crate) fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let item = self.items.recv_timeout(timeout)?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Ok(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_until_there_is_room() {
        let (sender, receiver) = bounded(2);
        assert!(sender.try_send(1));
        assert!(sender.try_send(2));
        assert!(!sender.try_send(3));
        assert_eq!(receiver.recv(), Ok(1));
        assert!(sender.try_send(4));
        assert!(!sender.try_send(5));
        assert_eq!(receiver.recv_timeout(Duration::ZERO), Ok(2));
        assert_eq!(receiver.recv(), Ok(4));
        assert_eq!(receiver.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout));
        drop(receiver);
        assert!(!sender.try_send(6));
    }
}
