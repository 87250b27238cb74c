//! What we answer ourselves: refusals, redirects, texts.

use std::io::IoSlice;

use crate::http::Refusal;
use crate::http::refusal::reason;
use crate::io::Text;
use crate::io::transfer::write_all;
use crate::serve::http1::Connection;

/// An answer of our own.
pub struct Own<'a> {
    /// The status.
    pub status: u16,
    /// The media type; empty where there is no body.
    pub kind: &'a str,
    /// Lines with their ends.
    pub fields: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

/// Writes an answer of our own; returns the bytes of its body that were sent, or `None` when the client is gone.
pub async fn own(connection: &Connection, own: Own<'_>, head_only: bool, keep: bool) -> Option<u64> {
    let mut head = Text::new();
    let Own { status, kind, fields, body } = own;
    head.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason(status)).as_bytes());
    connection.thread.with_time(|date, _| head.extend_from_slice(format!("Date: {date}\r\n").as_bytes()));
    if !kind.is_empty() {
        head.extend_from_slice(format!("Content-Type: {kind}\r\n").as_bytes());
    }
    if status != 204 && status != 304 {
        head.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    head.extend_from_slice(fields);
    if !keep {
        head.extend_from_slice(b"Connection: close\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let bodiless = head_only || status == 204 || status == 304;
    let body = if bodiless { &[][..] } else { body };
    let wait = connection.balancer().timeouts.client;
    let mut slices = [IoSlice::new(&head), IoSlice::new(body)];
    match write_all(&connection.io, &mut slices, &connection.deadline, wait).await {
        Ok(written) => {
            connection.count().bytes_out.add(written as u64);
            Some(body.len() as u64)
        }
        Err(_) => None,
    }
}

/// Writes a refusal; returns as [`own`] does.
pub async fn refuse(connection: &Connection, refusal: Refusal, head_only: bool, keep: bool) -> Option<u64> {
    let balancer = connection.balancer();
    let status = refusal.status();
    let (kind, body) = balancer.pages.get(status);
    let fields: &[u8] = match refusal {
        Refusal::MethodNotAllowed => b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n",
        Refusal::TooMany | Refusal::Unavailable => b"Retry-After: 1\r\n",
        _ => b"",
    };
    own(connection, Own { status, kind, fields, body: &body }, head_only, keep).await
}
