//! Answers come before what they lead to.
//!
//! PM2's client learns from the answer to `msgProcess` how many apps are to reply on the bus. A reply that it sees before that
//! answer is counted by nobody, and `pm2.trigger` waits without an end. Both come by sockets of their own, of which a client that
//! was busy finds news at the same time: so the bus waits until the answer was not only written, but read.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, RwLock};
use tokio::time::{sleep, timeout};

/// A client that does not read its answer holds up what apps say for so long at most.
const READ_WITHIN: Duration = Duration::from_millis(200);

/// Nothing tells when it is read.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// Shared by the calls and the bus.
#[derive(Debug, Clone, Default)]
pub(super) struct Order(Arc<RwLock<()>>);

/// A call that lets apps say something, until its answer is read.
pub(super) type UnderWay = OwnedRwLockReadGuard<()>;

impl Order {
    /// Begins a call.
    pub(super) async fn begin(&self) -> UnderWay {
        self.0.clone().read_owned().await
    }

    /// Waits until the answers to all calls that have begun are read.
    pub(super) async fn answered(&self) {
        let _not_for_ever = timeout(READ_WITHIN, self.0.write()).await;
    }
}

/// Waits until the other side has read everything that was written.
pub(super) async fn read(stream: impl AsFd) {
    let all = async {
        while rpm_sys::net::queue::bytes_unread_by_peer(&stream).is_ok_and(|bytes| bytes > 0) {
            sleep(BETWEEN_LOOKS).await;
        }
    };
    let _not_for_ever = timeout(READ_WITHIN, all).await;
}
