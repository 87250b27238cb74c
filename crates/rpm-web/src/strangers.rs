//! Connections that have shown neither token nor session: the first to go when there is no place left, so that whoever
//! holds connections open keeps nobody away who may come in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

/// Those who are here, by the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    count: AtomicU64,
    here: Mutex<BTreeMap<u64, AbortHandle>>,
}

impl Strangers {
    /// Returns a number for who comes next.
    pub(crate) fn next(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes a connection that has shown nothing yet.
    pub(crate) fn came(&self, number: u64, task: AbortHandle) {
        if !task.is_finished() {
            self.here().insert(number, task);
        }
    }

    /// Forgets one that has left, or has shown who it is.
    pub(crate) fn forget(&self, number: u64) {
        self.here().remove(&number);
    }

    /// Sends away who has been here for longest.
    pub(crate) fn send_away(&self) {
        if let Some((_, task)) = self.here().pop_first() {
            task.abort();
        }
    }

    fn here(&self) -> MutexGuard<'_, BTreeMap<u64, AbortHandle>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_stranger_goes_and_who_is_known_stays() {
        let strangers = Strangers::default();
        let mut tasks: Vec<_> = (0..3).map(|_| tokio::spawn(std::future::pending::<()>())).collect();
        for task in &tasks {
            strangers.came(strangers.next(), task.abort_handle());
        }
        strangers.forget(0);
        strangers.send_away();
        strangers.send_away();
        strangers.send_away();
        let known = tasks.remove(0);
        for task in tasks {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        assert!(!known.is_finished());
        known.abort();
    }
}
