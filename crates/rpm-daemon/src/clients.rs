//! The room of the clients: accepts, checks who is there, reads requests, writes answers.
//!
//! Each connection is a task that shares nothing with the rest: it sends [`Inbound`] into one bounded channel and is
//! spoken to through a [`Line`]. A slow or hostile client costs a bounded buffer and its own connection.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use interprocess::local_socket::tokio::prelude::*;
use interprocess::os::unix::uds_local_socket::tokio::{Listener, Stream};
use rpm_ipc::{FromClient, FromDaemon, Hello, Notice, PROTOCOL, Reply, Request, frame};
use tokio::sync::mpsc;
use tokio_util::bytes::Bytes;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

/// Requests that may wait for the loop. At the bound the connections wait, and so do their clients.
const INBOUND: usize = 256;

/// Answers that may wait for one client. At the bound events are dropped and counted; a client that does not even
/// take its replies is cut off.
const OUTBOUND: usize = 1024;

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
    outbound: mpsc::Sender<Bytes>,
    lagged: std::sync::Arc<AtomicU64>,
}

impl Line {
    /// Sends the last word on a request.
    pub(crate) fn reply(&self, id: u64, reply: Reply) {
        self.send(&FromDaemon::Reply { id, reply: Box::new(reply) });
    }

    /// Sends a notice; where the client is too slow it is dropped and counted.
    pub(crate) fn notice(&self, id: u64, notice: Notice) {
        let missed = self.lagged.swap(0, Ordering::Relaxed);
        if missed > 0 && !self.send(&FromDaemon::Notice { id, notice: Notice::Lagged(missed) }) {
            self.lagged.fetch_add(missed, Ordering::Relaxed);
        }
        if !self.send(&FromDaemon::Notice { id, notice }) {
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

    fn send(&self, frame: &FromDaemon) -> bool {
        match serde_json::to_vec(frame) {
            Ok(bytes) => self.outbound.try_send(bytes.into()).is_ok(),
            Err(error) => {
                tracing::error!("an answer could not be written as JSON: {error}");
                false
            }
        }
    }
}

/// Accepts connections on `socket` for ever. Needs a tokio runtime.
pub(crate) fn serve(socket: OwnedFd) -> io::Result<mpsc::Receiver<Inbound>> {
    let listener = Listener::try_from(socket)?;
    let (inbound, requests) = mpsc::channel(INBOUND);
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok(stream) if is_allowed(&stream) => {
                    tokio::spawn(converse(stream, inbound.clone()));
                }
                Ok(_) => tracing::warn!("refused a client that runs as another user"),
                Err(error) => {
                    tracing::warn!("could not accept a client: {error}");
                    // Out of descriptors, most likely: trying at once would spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(requests)
}

/// Lets in the daemon's own user, and root.
fn is_allowed(stream: &Stream) -> bool {
    match rpm_sys::fd::peer_uid(stream.as_fd()) {
        Ok(uid) => uid == 0 || uid == rustix::process::geteuid().as_raw(),
        Err(_) => false,
    }
}

async fn converse(stream: Stream, inbound: mpsc::Sender<Inbound>) {
    let codec = LengthDelimitedCodec::builder().max_frame_length(frame::LONGEST).new_codec();
    let mut reader = FramedRead::new(&stream, codec.clone());
    let mut writer = FramedWrite::new(&stream, codec);
    let (outbound, mut answers) = mpsc::channel::<Bytes>(OUTBOUND);
    let line = Line { outbound, lagged: std::sync::Arc::default() };

    let Ok(Some(Ok(first))) = tokio::time::timeout(HELLO, reader.next()).await else { return };
    let Ok(FromClient::Hello(hello)) = serde_json::from_slice(&first) else { return };
    line.send(&FromDaemon::Hello(Hello::ours()));
    if hello.protocol != PROTOCOL {
        tracing::warn!("a client of version {} ({}) was turned away", hello.protocol, hello.program);
    }

    let write = async {
        while let Some(bytes) = answers.recv().await {
            if writer.feed(bytes).await.is_err() {
                return;
            }
            if answers.is_empty() && SinkExt::<Bytes>::flush(&mut writer).await.is_err() {
                return;
            }
        }
    };
    let read = async {
        while let Some(Ok(bytes)) = reader.next().await {
            match serde_json::from_slice::<FromClient>(&bytes) {
                Ok(FromClient::Ask { id, request }) => {
                    if inbound.send(Inbound { id, request, line: line.clone() }).await.is_err() {
                        return;
                    }
                }
                Ok(FromClient::Hello(_)) => {}
                Err(error) => refuse(&line, &bytes, &error),
            }
        }
    };
    // The client's end of the stream ends the conversation; so does one that no longer takes its answers.
    tokio::select! {
        () = write => {}
        () = read => {}
    }
}

/// Answers a request that this daemon does not know.
fn refuse(line: &Line, bytes: &[u8], error: &serde_json::Error) {
    #[derive(serde::Deserialize)]
    struct Id {
        ask: IdOnly,
    }
    #[derive(serde::Deserialize)]
    struct IdOnly {
        id: u64,
    }
    if let Ok(Id { ask }) = serde_json::from_slice(bytes) {
        let message = format!("this daemon (version {}) does not know the request: {error}", env!("CARGO_PKG_VERSION"));
        let hint = Some("the client may be newer than the daemon".to_owned());
        line.reply(ask.id, Reply::Refused { message, hint });
    }
}
