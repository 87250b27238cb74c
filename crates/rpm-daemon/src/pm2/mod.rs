//! The room of PM2's own clients: `require('pm2')` and the modules built on it find their daemon here.
//!
//! ```text
//! rpc.sock ─▶ calls ──requests──▶ the loop         calls: each becomes requests of ours, and their replies an answer
//! pub.sock ◀─ bus ◀──news─────── the loop          bus: what happens, what apps say, what they log
//! ```
//!
//! To the loop this room is one more client; what it has to hear beyond replies it is told by [`Room::tell`]. While
//! nobody listens on the bus, nothing is looked up, copied or read for it.

mod bus;
mod calls;
mod inside;
mod order;
mod output;
mod wire;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rpm_model::{Flavour, Home, WorkerId};
use rpm_supervise::{Cause, Happening};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::clients::Inbound;

/// The names by which the keeper knows the sockets.
pub(crate) const CALLS: &str = "pm2/rpc";
pub(crate) const BUS: &str = "pm2/pub";

/// News that may wait for the bus; what comes beyond is dropped, and said so in the log.
const NEWS: usize = 4096;

/// How long the last news may take to reach the subscribers when the daemon leaves.
const FAREWELL: Duration = Duration::from_millis(500);

/// Returns whether PM2's clients are served: where PM2's names are used, or where it is asked for.
pub(crate) fn is_wanted(home: &Home) -> bool {
    home.flavour() == Flavour::Pm2 || std::env::var_os("RPM_PM2_RPC").is_some_and(|value| value == "1")
}

/// Returns the socket for calls.
pub(crate) fn calls_path(home: &Home) -> PathBuf {
    home.pm2_rpc()
}

/// Returns the socket for subscribers.
pub(crate) fn bus_path(home: &Home) -> PathBuf {
    home.pm2_pub()
}

/// Something for the subscribers.
#[derive(Debug)]
pub(crate) enum News {
    /// Something happened to a worker.
    Happened {
        worker: WorkerId,
        happening: Happening,
        /// Why its present process was started.
        cause: Option<Cause>,
    },
    /// An app said something over its IPC channel.
    Said { worker: WorkerId, message: Value },
    /// A client has an event of its own.
    Custom { topic: &'static str, payload: Value },
    /// A client has an event of its own about a worker.
    Noted { worker: WorkerId, event: String, manually: bool },
    /// The daemon leaves.
    Leaving,
}

/// The loop's side of the room.
pub(crate) struct Room {
    news: mpsc::Sender<News>,
    subscribers: Arc<AtomicUsize>,
    bus: tokio::task::JoinHandle<()>,
}

impl Room {
    /// Opens both sockets. Needs a tokio runtime.
    pub(crate) fn open(calls: OwnedFd, bus: OwnedFd, requests: mpsc::Sender<Inbound>, home: &Home) -> io::Result<Self> {
        let (news, received) = mpsc::channel(NEWS);
        let subscribers = Arc::new(AtomicUsize::new(0));
        let inside = inside::Inside::new(requests);
        let order = order::Order::default();
        calls::serve(calls, inside.clone(), news.clone(), order.clone())?;
        let bus = bus::serve(bus, inside, received, subscribers.clone(), home.daemon_log(), order)?;
        Ok(Self { news, subscribers, bus })
    }

    /// Returns whether anybody listens: what is told is not worth making otherwise.
    pub(crate) fn is_listened_to(&self) -> bool {
        self.subscribers.load(Ordering::Relaxed) > 0
    }

    /// Tells the subscribers something.
    pub(crate) fn tell(&self, news: News) {
        if self.is_listened_to() && self.news.try_send(news).is_err() {
            tracing::warn!("the bus is full: an event was dropped");
        }
    }

    /// Says goodbye to the subscribers.
    pub(crate) async fn close(self) {
        let _ = tokio::time::timeout(FAREWELL, async {
            if self.news.send(News::Leaving).await.is_ok() {
                let _ = self.bus.await;
            }
        })
        .await;
    }
}
