//! One request of a client that speaks HTTP/2, as a connection of HTTP/1.1 that carries nothing else.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head;
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::{error, invalid};
use crate::http::{Body, Method, response};

/// What the streams of one connection have in common.
#[derive(Debug, Default)]
pub struct Meter {
    /// How many are open.
    pub open: Cell<usize>,
    /// How many were opened.
    pub total: Cell<u64>,
    /// How many the client gave up before their answers.
    pub given_up: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

impl Meter {
    /// A client that has given up so many requests, and most of what it asked, is not after answers (CVE-2023-44487).
    const GIVEN_UP_MAX: u64 = 100;

    /// Returns whether the client only keeps us busy.
    pub fn is_abused(&self) -> bool {
        self.given_up.get() >= Self::GIVEN_UP_MAX && self.given_up.get() * 2 > self.total.get()
    }

    /// Remembers whom to wake when a stream ends.
    pub fn watch(&self, waker: &Waker) {
        let mut own = self.waker.borrow_mut();
        if !own.as_ref().is_some_and(|own| own.will_wake(waker)) {
            *own = Some(waker.clone());
        }
    }
}

/// One request of a client.
pub struct Stream {
    head: Bytes,
    incoming: Incoming,
    answer: SendResponse<Bytes>,
    /// Once the head of the answer has been sent.
    outgoing: Option<Outgoing>,
    method: Method,
    websocket: bool,
    /// The client has given it up.
    given_up: bool,
    meter: Rc<Meter>,
}

impl Stream {
    /// Returns a request as a connection; `None` when it is none, and has been refused.
    pub fn new(
        request: http::Request<RecvStream>,
        mut answer: SendResponse<Bytes>,
        meter: &Rc<Meter>,
        random: impl FnOnce() -> [u8; 16],
    ) -> Option<Self> {
        let (parts, body) = request.into_parts();
        let protocol = parts.extensions.get::<h2::ext::Protocol>().map(|protocol| protocol.as_str().to_owned());
        let websocket = protocol.as_deref() == Some("websocket");
        let key = websocket.then(|| BASE64.encode(random()));
        let request = http::Request::from_parts(parts, ());
        let known = protocol.is_none() || websocket;
        let text = head::request_text(&request, body.is_end_stream(), key.as_deref()).filter(|_| known);
        let Some((head, coding)) = text else {
            answer.send_reset(Reason::PROTOCOL_ERROR);
            return None;
        };
        meter.open.set(meter.open.get() + 1);
        meter.total.set(meter.total.get() + 1);
        Some(Self {
            head: head.into(),
            incoming: Incoming::new(body, coding),
            answer,
            outgoing: None,
            method: Method::named(if websocket { "GET" } else { request.method().as_str() }),
            websocket,
            given_up: false,
            meter: meter.clone(),
        })
    }

    fn is_finished(&self) -> bool {
        self.outgoing.as_ref().is_some_and(Outgoing::has_ended)
    }

    fn give_up(&mut self) {
        if !self.given_up {
            self.given_up = true;
            self.meter.given_up.set(self.meter.given_up.get() + 1);
        }
    }

    /// Sends a head; returns its length.
    fn begin(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut fields = Vec::new();
        let parsed = response::parse(bytes, self.method, &mut fields).map_err(|bad| invalid(bad.0))?;
        let head = parsed.ok_or_else(|| invalid("a part of a head"))?;
        let mut answer = head::answer(bytes, &head, &fields)?;
        let length = head.length;
        match head.status {
            101 if self.websocket => {
                // RFC 8441: the upgrade is a plain success there, and the key has no meaning.
                *answer.status_mut() = http::StatusCode::OK;
                answer.headers_mut().remove("sec-websocket-accept");
                let stream = self.answer.send_response(answer, false).map_err(error)?;
                self.outgoing = Some(Outgoing::new(stream, Body::UntilClose));
            }
            100..=199 => self.answer.send_informational(answer).map_err(error)?,
            _ => {
                let is_grpc = head.content_type.get(bytes).starts_with(b"application/grpc");
                if is_grpc && head.content_length == Some(0) {
                    // Our own: an answer without a body has no length in gRPC.
                    answer.headers_mut().remove(http::header::CONTENT_LENGTH);
                }
                let ends = head.body == Body::None;
                let stream = self.answer.send_response(answer, ends).map_err(error)?;
                self.outgoing = Some(Outgoing::new(stream, head.body));
            }
        }
        Ok(length)
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let own = &mut *self;
        if !own.head.is_empty() {
            let count = own.head.len().min(into.remaining());
            into.put_slice(&own.head.split_to(count));
            return Poll::Ready(Ok(()));
        }
        if !own.incoming.has_ended() {
            let before = into.filled().len();
            let read = ready!(own.incoming.poll_read(cx, into));
            if read.is_err() {
                own.give_up();
            }
            if read.is_err() || into.filled().len() > before {
                return Poll::Ready(read);
            }
        }
        // The request is over, but as long as there is no answer that is no end: a client of HTTP/1.1 would be waiting.
        let is_tunnel = own.websocket && own.outgoing.is_some();
        if own.is_finished() || is_tunnel {
            return Poll::Ready(Ok(()));
        }
        let gone = match &mut own.outgoing {
            Some(outgoing) => ready!(outgoing.poll_reset(cx)),
            None => ready!(own.answer.poll_reset(cx).map(|_| io::ErrorKind::ConnectionReset.into())),
        };
        own.give_up();
        Poll::Ready(Err(gone))
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

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.finish();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.is_finished() && !self.given_up {
            // An answer that broke off must not look like a whole one.
            match &mut self.outgoing {
                Some(outgoing) => outgoing.reset(Reason::INTERNAL_ERROR),
                None => self.answer.send_reset(Reason::INTERNAL_ERROR),
            }
        }
        self.meter.open.set(self.meter.open.get() - 1);
        if let Some(waker) = self.meter.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sixteen_bytes_in_base64() {
        assert_eq!(BASE64.encode(*b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
    }

    #[test]
    fn who_gives_up_most_of_what_it_asks_is_sent_away() {
        let meter = Meter::default();
        meter.given_up.set(150);
        meter.total.set(150);
        assert!(meter.is_abused());
        meter.total.set(1000);
        assert!(!meter.is_abused(), "a browser that turns pages");
    }
}
