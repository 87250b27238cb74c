//! The room of the clients: accepts, checks who is there, reads requests, writes answers.
//!
//! Each connection is a task that shares nothing with the rest: it sends [`Inbound`] into one bounded channel and is
//! spoken to through a [`Line`]. A slow or hostile client costs a bounded buffer and its own connection.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use interprocess::os::unix::uds_local_socket::tokio::Stream;
use rpm_ipc::{FromClient, FromDaemon, Hello, Notice, PROTOCOL, Reply, Request, frame};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::bytes::Bytes;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::door;
use crate::guests::{Guests, Visit};

/// Requests that may wait for the loop. At the bound the connections wait, and so do their clients.
const INBOUND: usize = 256;

/// Answers that may wait for one client. At the bound events are dropped and counted; a client that does not even
/// take its replies is cut off.
const OUTBOUND: usize = 1024;

/// Requests of one client that may wait for their answers, in the loop or unread by the client. At the bound no more of
/// its requests are read: answers can be long, and one that asks and never reads would fill the memory with them.
const UNANSWERED: usize = 32;

/// Letters of what a client says about for whom it asks: an address and some words.
const ASKS_FOR_MAX: usize = 100;

/// A connection that has not said hello by then is not one of ours.
const HELLO: Duration = Duration::from_secs(5);

/// A request, and where its answers go.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) id: u64,
    pub(crate) request: Request,
    pub(crate) line: Line,
}

/// The way back to one client.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    outbound: mpsc::Sender<FromDaemon>,
    lagged: std::sync::Arc<AtomicU64>,
    /// The pid of the client.
    peer: Option<i32>,
    /// For whom it asks, where it says so and is believed.
    asks_for: Option<String>,
}

impl Line {
    /// Makes a line, and the end where what is said on it arrives.
    pub(crate) fn new() -> (Self, mpsc::Receiver<FromDaemon>) {
        let (outbound, answers) = mpsc::channel(OUTBOUND);
        (Self { outbound, lagged: std::sync::Arc::default(), peer: None, asks_for: None }, answers)
    }

    /// Returns the pid of the client; nothing for one that came by way of PM2's protocol.
    pub(crate) fn peer(&self) -> Option<i32> {
        self.peer
    }

    /// Returns for whom the client asks, where that is somebody else.
    pub(crate) fn asks_for(&self) -> Option<&str> {
        self.asks_for.as_deref()
    }

    /// Sends the last word on a request.
    pub(crate) fn reply(&self, id: u64, reply: Reply) {
        self.send(FromDaemon::Reply { id, reply: Box::new(reply) });
    }

    /// Sends a notice; where the client is too slow it is dropped and counted.
    pub(crate) fn notice(&self, id: u64, notice: Notice) {
        let missed = self.lagged.swap(0, Ordering::Relaxed);
        if missed > 0 && !self.send(FromDaemon::Notice { id, notice: Notice::Lagged(missed) }) {
            self.lagged.fetch_add(missed, Ordering::Relaxed);
        }
        if !self.send(FromDaemon::Notice { id, notice }) {
            self.lagged.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns whether the client has left.
    pub(crate) fn is_closed(&self) -> bool {
        self.outbound.is_closed()
    }

    /// Waits until the client has left.
    pub(crate) async fn closed(&self) {
        self.outbound.closed().await;
    }

    fn send(&self, frame: FromDaemon) -> bool {
        self.outbound.try_send(frame).is_ok()
    }
}

/// Lets clients in on `socket`; what they ask goes to `inbound`. Needs a tokio runtime.
pub(crate) fn serve(socket: OwnedFd, inbound: mpsc::Sender<Inbound>) -> io::Result<()> {
    let guests = Guests::new();
    door::open(socket, move |stream| {
        if let Some(visit) = guests.welcome() {
            tokio::spawn(converse(stream, inbound.clone(), visit));
        }
    })
}

/// Makes the way of requests to the loop.
pub(crate) fn requests() -> (mpsc::Sender<Inbound>, mpsc::Receiver<Inbound>) {
    mpsc::channel(INBOUND)
}

async fn converse(stream: Stream, inbound: mpsc::Sender<Inbound>, visit: Visit) {
    let codec = LengthDelimitedCodec::builder().max_frame_length(frame::LONGEST).new_codec();
    let mut reader = FramedRead::new(&stream, codec.clone());
    let mut writer = FramedWrite::new(&stream, codec);
    let (mut line, mut answers) = Line::new();
    line.peer = rpm_sys::fd::peer_pid(stream.as_fd()).ok();

    let first = tokio::select! {
        first = tokio::time::timeout(HELLO, reader.next()) => first,
        () = visit.over() => return,
    };
    let Ok(Some(Ok(first))) = first else { return };
    let Ok(FromClient::Hello(hello)) = serde_json::from_slice(&first) else { return };
    visit.greeted();
    let is_our_user = rpm_sys::fd::peer_uid(stream.as_fd()) == Ok(rustix::process::geteuid().as_raw());
    line.asks_for = hello.asks_for.as_deref().filter(|_| is_our_user).map(for_people);
    line.send(FromDaemon::Hello(Hello::ours()));
    if hello.protocol != PROTOCOL {
        tracing::warn!("a client of version {} ({}) was turned away", hello.protocol, hello.program);
    }

    let free = Semaphore::new(UNANSWERED);
    let write = async {
        while let Some(frame) = answers.recv().await {
            let is_reply = matches!(frame, FromDaemon::Reply { .. });
            let bytes = match serde_json::to_vec(&frame) {
                Ok(bytes) => Bytes::from(bytes),
                Err(error) => {
                    tracing::error!("an answer could not be written as JSON: {error}");
                    continue;
                }
            };
            if writer.feed(bytes).await.is_err() {
                return;
            }
            if answers.is_empty() && SinkExt::<Bytes>::flush(&mut writer).await.is_err() {
                return;
            }
            if is_reply {
                visit.answered();
                free.add_permits(1);
            }
        }
    };
    let read = async {
        while let Some(Ok(bytes)) = reader.next().await {
            // Given back with the answer.
            if let Ok(place) = free.acquire().await {
                place.forget();
            }
            match serde_json::from_slice::<FromClient>(&bytes) {
                Ok(FromClient::Ask { id, request }) => {
                    visit.asked();
                    if inbound.send(Inbound { id, request, line: line.clone() }).await.is_err() {
                        return;
                    }
                }
                Ok(FromClient::Hello(_)) => free.add_permits(1),
                Err(error) if refuse(&line, &bytes, &error) => {}
                Err(_) => free.add_permits(1),
            }
        }
    };
    // The client's end of the stream ends the conversation; so does one that no longer takes its answers.
    tokio::select! {
        () = write => {}
        () = read => {}
        () = visit.over() => {}
    }
}

/// Returns what a client says of itself as it may be shown: in one line, and not too long.
fn for_people(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(ASKS_FOR_MAX).collect()
}

/// Answers a request that this daemon does not know; returns whether there was somebody to answer.
fn refuse(line: &Line, bytes: &[u8], error: &serde_json::Error) -> bool {
    #[derive(serde::Deserialize)]
    struct Id {
        ask: IdOnly,
    }
    #[derive(serde::Deserialize)]
    struct IdOnly {
        id: u64,
    }
    let Ok(Id { ask }) = serde_json::from_slice(bytes) else { return false };
    let message = format!("this daemon (version {}) does not know the request: {error}", env!("CARGO_PKG_VERSION"));
    let hint = Some("the client may be newer than the daemon".to_owned());
    line.reply(ask.id, Reply::Refused { message, hint });
    true
}
