//! One request to a server that speaks HTTP/2 without TLS (h2c, by prior knowledge), as a connection of HTTP/1.1.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use rpm_model::balance::Limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::head;
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::{error, invalid};
use crate::http::request::{Parsed, parse};
use crate::http::{Body, Method};
use crate::io::Io;

/// What h2 keeps for one stream's answer, and for all of one connection's.
const WINDOW_STREAM: u32 = 256 << 10;
const WINDOW_CONNECTION: u32 = 1 << 20;

/// A connection to a server, which carries many requests at a time.
pub struct Shared {
    send: SendRequest<Bytes>,
    open: Rc<Cell<usize>>,
    alive: Rc<Cell<bool>>,
    used: Cell<Instant>,
}

impl Shared {
    /// Speaks first.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn new(io: Io, wait: Duration) -> io::Result<Self> {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(WINDOW_STREAM).initial_connection_window_size(WINDOW_CONNECTION);
        builder.enable_push(false).max_send_buffer_size(64 << 10).max_header_list_size(64 << 10);
        let shaken = tokio::time::timeout(wait, builder.handshake(io.into_stream())).await;
        let (send, connection) = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(error)?;
        let alive = Rc::new(Cell::new(true));
        let told = alive.clone();
        tokio::task::spawn_local(async move {
            // Each request hears of it itself.
            let _ = connection.await;
            told.set(false);
        });
        Ok(Self { send, open: Rc::default(), alive, used: Cell::new(Instant::now()) })
    }

    /// Returns whether another request can go this way now.
    pub fn has_room(&self) -> bool {
        self.alive.get() && self.open.get() < self.send.current_max_send_streams()
    }

    /// Returns whether it is of no more use.
    pub fn is_over(&self, idle: Duration) -> bool {
        !self.alive.get() || (self.open.get() == 0 && self.used.get().elapsed() >= idle)
    }

    /// Returns a connection for one request.
    ///
    /// # Errors
    /// When the server takes none any more.
    pub async fn stream(&self) -> io::Result<Io> {
        let mut send = self.send.clone();
        poll_fn(|cx| send.poll_ready(cx)).await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        self.used.set(Instant::now());
        self.open.set(self.open.get() + 1);
        let open = self.open.clone();
        Ok(Io::through(Stream {
            send,
            open,
            outgoing: None,
            text: Bytes::new(),
            answer: Answer::Unasked,
            method: Method::Get,
        }))
    }
}

/// The connections of one thread to one server.
#[derive(Default)]
pub struct Connections(RefCell<Vec<Rc<Shared>>>);

impl Connections {
    /// Returns one with room.
    pub fn with_room(&self) -> Option<Rc<Shared>> {
        self.0.borrow().iter().find(|shared| shared.has_room()).cloned()
    }

    /// Keeps one more.
    pub fn keep(&self, shared: Rc<Shared>) {
        self.0.borrow_mut().push(shared);
    }

    /// Lets go of what is over, or idles for so long.
    pub fn tidy(&self, idle: Duration) {
        self.0.borrow_mut().retain(|shared| !shared.is_over(idle));
    }

    /// Lets go of all; requests under way go on.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

enum Answer {
    Unasked,
    Awaited(ResponseFuture),
    Here(Incoming),
}

struct Stream {
    send: SendRequest<Bytes>,
    open: Rc<Cell<usize>>,
    outgoing: Option<Outgoing>,
    /// Heads that were not read yet.
    text: Bytes,
    answer: Answer,
    method: Method,
}

impl Stream {
    fn begin(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // It was within the limits when it came; now it is ours.
        let limits = Limits { header: rpm_model::Bytes(u64::MAX), header_count: u32::MAX, body: None };
        let mut fields = Vec::new();
        let parsed = parse(bytes, &limits, &mut fields).map_err(|_| invalid("a head"))?;
        let Parsed::Whole(head) = parsed else { return Err(invalid("a part of a head")) };
        let request = head::request(bytes, &head, &fields)?;
        let (answer, stream) = self.send.send_request(request, head.body == Body::None).map_err(error)?;
        self.method = head.method;
        self.outgoing = Some(Outgoing::new(stream, head.body));
        self.answer = Answer::Awaited(answer);
        Ok(head.length)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Answer::Awaited(answer) = &mut self.answer else { return Poll::Pending };
        if let Poll::Ready(Some(interim)) = answer.poll_informational(cx) {
            self.text = head::interim_text(&interim.map_err(error)?).into();
            return Poll::Ready(Ok(()));
        }
        let answer = ready!(Pin::new(answer).poll(cx)).map_err(error)?;
        let (parts, body) = answer.into_parts();
        let answer = http::Response::from_parts(parts, ());
        let (text, coding) = head::answer_text(&answer, body.is_end_stream(), self.method == Method::Head);
        self.text = text.into();
        self.answer = Answer::Here(Incoming::new(body, coding));
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.text.is_empty() && !matches!(self.answer, Answer::Here(_)) {
            ready!(self.poll_head(cx))?;
        }
        if !self.text.is_empty() {
            let count = self.text.len().min(into.remaining());
            into.put_slice(&self.text.split_to(count));
            return Poll::Ready(Ok(()));
        }
        match &mut self.answer {
            Answer::Here(incoming) => incoming.poll_read(cx, into),
            Answer::Unasked | Answer::Awaited(_) => Poll::Pending,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.outgoing {
            Some(outgoing) => outgoing.poll_write(cx, bytes),
            None => Poll::Ready(self.begin(bytes)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
        if let Some(outgoing) = self.outgoing.as_mut().filter(|outgoing| !outgoing.has_ended()) {
            outgoing.reset(Reason::CANCEL);
        }
    }
}
