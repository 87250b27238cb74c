//! Answers from a directory: which file, ranges, dates and media types are rpm-static's.

use std::future::poll_fn;
use std::io::{IoSlice, Write};
use std::pin::Pin;

use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Body as _;

use crate::config::{Balancer, Route, Values};
use crate::http::refusal::reason;
use crate::http::request::{Field, Role};
use crate::http::{Body, Method, RequestHead};
use crate::io::Text;
use crate::io::transfer::write_all;
use crate::serve::gzip::{Squeeze, Subject};
use crate::serve::http1::Connection;

/// What a client is sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// The status.
    pub status: u16,
    /// Bytes of the body.
    pub bytes: u64,
    /// Whether the client has got all of it, and knows where it ends.
    pub whole: bool,
}

/// Returns the request for a file; `None` for a path that is none. The route's path is not part of the directory.
pub fn request(route: &Route, bytes: &[u8], head: &RequestHead, fields: &[Field]) -> Option<Request<()>> {
    let prefix = route.path.strip_suffix(b"/").unwrap_or(&route.path);
    let target = head.target.get(bytes);
    let rest = target.strip_prefix(prefix).unwrap_or(target);
    let slash: &[u8] = if rest.starts_with(b"/") { b"" } else { b"/" };
    let mut request = Request::new(());
    *request.method_mut() = http::Method::from_bytes(head.method_name.get(bytes)).ok()?;
    *request.uri_mut() = http::Uri::try_from([slash, rest].concat()).ok()?;
    for field in fields.iter().filter(|field| field.role == Role::Plain) {
        let name = HeaderName::from_bytes(field.name.get(bytes)).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(field.value.get(bytes)).ok()?);
    }
    Some(request)
}

/// Sends a file, or what there is to say in its place.
pub async fn send(
    connection: &Connection,
    balancer: &Balancer,
    (route, values): (&Route, &Values<'_>),
    head: &RequestHead,
    mut answer: Response<rpm_static::Body>,
    keep: bool,
) -> Sent {
    let status = answer.status().as_u16();
    let exact = answer.body().size_hint().exact();
    let bodiless = head.method == Method::Head || matches!(status, 204 | 304);
    let subject = Subject {
        status,
        kind: answer.headers().get(CONTENT_TYPE).map_or(&[], HeaderValue::as_bytes),
        fixed: answer.headers().contains_key(http::header::CONTENT_ENCODING)
            || answer.headers().contains_key(CONTENT_RANGE),
        length: length(answer.headers()).or(exact),
    };
    let gzip = balancer.gzip.as_ref().filter(|gzip| subject.varies(gzip));
    // HTTP/1.0 has no chunks, and so short a thing is not worth a closed connection.
    let mut squeeze = gzip.filter(|_| head.accepts_gzip && head.version_1_1 && !bodiless).map(Squeeze::new);
    let known = if bodiless { length(answer.headers()) } else { exact.or(length(answer.headers())) };
    let body = match (&squeeze, known) {
        _ if bodiless => Body::None,
        (Some(_), _) => Body::Chunked,
        (None, Some(0)) => Body::None,
        (None, Some(length)) => Body::Length(length),
        (None, None) => Body::Chunked,
    };
    let mut out = Text::new();
    let _ = write!(*out, "HTTP/1.1 {status} {}\r\n", reason(status));
    connection.thread.with_time(|date, _| {
        let _ = write!(*out, "Date: {date}\r\n");
    });
    if squeeze.is_some() {
        weaken(answer.headers_mut());
        out.extend_from_slice(b"Content-Encoding: gzip\r\n");
    }
    if gzip.is_some() {
        out.extend_from_slice(b"Vary: Accept-Encoding\r\n");
    }
    match body {
        Body::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        _ if status == 304 || status == 204 => {}
        _ => {
            let _ = write!(*out, "Content-Length: {}\r\n", known.unwrap_or(0));
        }
    }
    for (name, value) in answer.headers() {
        if name == CONTENT_LENGTH || route.response.drops(name.as_str().as_bytes()) {
            continue;
        }
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        if name == LOCATION && value.as_bytes().starts_with(b"/") {
            // What the directory takes for its root is below the route's path.
            out.extend_from_slice(route.path.strip_suffix(b"/").unwrap_or(&route.path));
        }
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    for (name, value) in route.response.added() {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        value.write(values, &mut out);
        out.extend_from_slice(b"\r\n");
    }
    if !keep {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    let mut sending = Sending { connection, head: Some(out), chunks: body == Body::Chunked, sent: 0, left: known };
    let whole =
        if body == Body::None { sending.send(&[]).await } else { sending.body(answer.body_mut(), &mut squeeze).await };
    Sent { status, bytes: sending.sent, whole: whole.is_some() }
}

struct Sending<'s> {
    connection: &'s Connection,
    /// Sent together with the first bytes of the body.
    head: Option<Text>,
    chunks: bool,
    sent: u64,
    left: Option<u64>,
}

impl Sending<'_> {
    async fn body(&mut self, body: &mut rpm_static::Body, squeeze: &mut Option<Squeeze>) -> Option<()> {
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            // A file that became shorter, or cannot be read on, breaks off.
            let Ok(data) = frame.ok()?.into_data() else { continue };
            match squeeze {
                Some(squeeze) => {
                    squeeze.put(&data);
                    if squeeze.is_worth() {
                        let out = squeeze.take();
                        self.send(&out).await?;
                    }
                }
                None => {
                    let most = self.left.unwrap_or(u64::MAX).min(data.len() as u64) as usize;
                    self.left = self.left.map(|left| left - most as u64);
                    self.send(&data[..most]).await?;
                }
            }
        }
        if let Some(squeeze) = squeeze.take() {
            self.send(&squeeze.finish()).await?;
            self.left = None;
        }
        if self.chunks {
            return self.write(&[b"0\r\n\r\n"]).await;
        }
        self.left.is_none_or(|left| left == 0).then_some(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.sent += bytes.len() as u64;
        if self.chunks && !bytes.is_empty() {
            let size = format!("{:x}\r\n", bytes.len());
            self.write(&[size.as_bytes(), bytes, b"\r\n"]).await
        } else {
            self.write(&[bytes]).await
        }
    }

    async fn write(&mut self, parts: &[&[u8]]) -> Option<()> {
        let head = self.head.take();
        let head = head.as_ref().map_or(&[][..], |head| head.as_slice());
        let mut slices: Vec<_> = [head].iter().chain(parts).map(|part| IoSlice::new(part)).collect();
        let wait = self.connection.balancer().timeouts.client;
        let written = write_all(&self.connection.io, &mut slices, &self.connection.deadline, wait).await.ok()?;
        self.connection.count().bytes_out.add(written as u64);
        Some(())
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The same thing in other bytes, of which no part can be asked for.
fn weaken(headers: &mut HeaderMap) {
    headers.remove(ACCEPT_RANGES);
    let weak =
        headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")).map(|tag| [b"W/", tag.as_bytes()].concat());
    if let Some(weak) = weak.and_then(|weak| HeaderValue::from_bytes(&weak).ok()) {
        headers.insert(ETAG, weak);
    }
}
