//! Heads on their way, edited: lines are copied as they are, but for those that are ours.

use std::io::Write;

use rpm_model::balance::{SameSite, Sticky};

use crate::config::{Balancer, Route, Values};
use crate::http::request::{Field, Role};
use crate::http::{Body, RequestHead, ResponseHead, Span};
use crate::pool::{Server, Upstream};
use crate::serve::client::Client;

/// What a request's head is edited by.
pub struct Work<'w> {
    /// The balancer it came to.
    pub balancer: &'w Balancer,
    /// Its route.
    pub route: &'w Route,
    /// Where it goes.
    pub upstream: &'w Upstream,
    /// Who sent it.
    pub client: &'w Client,
    /// What stands for variables.
    pub values: &'w Values<'w>,
    /// Whether the client is a proxy that is believed.
    pub trusted: bool,
}

/// Writes the head of a request as a server gets it.
pub fn request(work: &Work<'_>, bytes: &[u8], head: &RequestHead, fields: &[Field], out: &mut Vec<u8>) {
    let Work { balancer, route, upstream, client, values, trusted } = work;
    out.reserve(head.length + 256);
    out.extend_from_slice(head.method_name.get(bytes));
    out.push(b' ');
    target(route, bytes, head, out);
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    // Host first, as RFC 9110 §7.2 would have it; and ours where the client named it in the target.
    out.extend_from_slice(upstream.host.as_ref().map_or(head.host.get(bytes), |host| host.as_bytes()));
    out.extend_from_slice(b"\r\n");
    let edits = &route.request;
    let id_name = balancer.request_id.as_deref();
    let mut run = Run::default();
    for field in fields {
        let passed = match field.role {
            Role::Plain | Role::Cookie => true,
            Role::Hop | Role::Host | Role::MaxForwards | Role::Expect => false,
            Role::ForwardedFor => !balancer.forwarded.x_forwarded && *trusted,
            Role::ForwardedOther | Role::Forwarded => *trusted,
        };
        let name = || field.name.get(bytes);
        let dropped = (!edits.is_empty() && edits.drops(name()))
            || id_name.is_some_and(|id| name().eq_ignore_ascii_case(id.as_bytes()));
        if passed && !dropped {
            run.add(field.line, bytes, out);
        }
    }
    run.flush(bytes, out);
    if balancer.forwarded.x_forwarded && !edits.drops(b"x-forwarded-for") {
        forwarded_for(bytes, fields, client, *trusted, out);
        let kept =
            |name: &[u8]| *trusted && fields.iter().any(|field| field.name.get(bytes).eq_ignore_ascii_case(name));
        if !kept(b"x-forwarded-proto") && !edits.drops(b"x-forwarded-proto") {
            line(out, &[b"X-Forwarded-Proto: ", client.scheme().as_bytes()]);
        }
        if !kept(b"x-forwarded-host") && !edits.drops(b"x-forwarded-host") && !head.host.is_empty() {
            line(out, &[b"X-Forwarded-Host: ", head.host.get(bytes)]);
        }
    }
    if balancer.forwarded.forwarded {
        let ip = client.address.ip();
        let by = if ip.is_ipv6() { format!("\"[{ip}]\"") } else { ip.to_string() };
        line(
            out,
            &[
                b"Forwarded: for=",
                by.as_bytes(),
                b";proto=",
                client.scheme().as_bytes(),
                b";host=\"",
                head.host.get(bytes),
                b"\"",
            ],
        );
    }
    if let Some(name) = id_name {
        line(out, &[name.as_bytes(), b": ", values.request_id]);
    }
    if let Some(count) = head.max_forwards {
        line(out, &[b"Max-Forwards: ", count.saturating_sub(1).to_string().as_bytes()]);
    }
    for (name, value) in edits.added() {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        value.write(values, out);
        out.extend_from_slice(b"\r\n");
    }
    if head.expects_continue && head.body != Body::None {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    match head.upgrade {
        Some(protocol) => line(out, &[b"Connection: upgrade\r\nUpgrade: ", protocol.get(bytes)]),
        None if upstream.keepalive == 0 => out.extend_from_slice(b"Connection: close\r\n"),
        None => {}
    }
    out.extend_from_slice(b"\r\n");
}

fn target(route: &Route, bytes: &[u8], head: &RequestHead, out: &mut Vec<u8>) {
    let target = head.target.get(bytes);
    if route.strip_prefix {
        let prefix = route.path.strip_suffix(b"/").unwrap_or(&route.path);
        if let Some(rest) = target.strip_prefix(prefix) {
            if !rest.starts_with(b"/") {
                out.push(b'/');
            }
            out.extend_from_slice(rest);
            return;
        }
    }
    if head.absolute && !target.starts_with(b"/") {
        // "http://host" and "http://host?query" have the path "/"; OPTIONS without any means the server (RFC 9112 §3.2.4).
        out.push(if target.is_empty() && head.method == crate::http::Method::Options { b'*' } else { b'/' });
    }
    out.extend_from_slice(target);
}

fn forwarded_for(bytes: &[u8], fields: &[Field], client: &Client, trusted: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"X-Forwarded-For: ");
    if trusted {
        for field in fields.iter().filter(|field| field.role == Role::ForwardedFor) {
            out.extend_from_slice(field.value.get(bytes));
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(client.text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// What an answer's head is edited by.
pub struct Back<'w> {
    /// Its route.
    pub route: &'w Route,
    /// Where it came from.
    pub upstream: &'w Upstream,
    /// Which server.
    pub server: &'w Server,
    /// What stands for variables.
    pub values: &'w Values<'w>,
    /// The seat that the client stuck to already.
    pub seat: Option<u64>,
    /// Field and value of the request's id.
    pub request_id: Option<(&'w str, &'w str)>,
    /// The time, for answers without one.
    pub date: &'w str,
    /// How its body is passed on.
    pub framing: Framing,
    /// What the client is told about its connection: nothing, where it knows.
    pub connection: Option<&'static str>,
    /// Whether it is compressed on the way.
    pub gzip: bool,
    /// Whether it would be another one for a client that takes another coding.
    pub varies: bool,
}

/// How the body of an answer is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// As it came.
    Same,
    /// In chunks, which it was not.
    Chunks,
    /// Without the chunks it came in, or without the length it had.
    Bare,
}

/// Writes the head of an answer as a client gets it.
pub fn response(back: &Back<'_>, bytes: &[u8], head: &ResponseHead, fields: &[Field], out: &mut Vec<u8>) {
    out.reserve(head.length + 128);
    // The version is ours (RFC 9110 §2.5), status and reason are the server's.
    out.extend_from_slice(b"HTTP/1.1");
    out.extend_from_slice(&bytes[8..head.line]);
    let edits = &back.route.response;
    let mut run = Run::default();
    for field in fields {
        let name = || field.name.get(bytes);
        let is = |lower: &[u8]| name().eq_ignore_ascii_case(lower);
        let framing = match back.framing {
            Framing::Same => false,
            Framing::Chunks | Framing::Bare => match field.name.end - field.name.start {
                14 => is(b"content-length"),
                17 => is(b"transfer-encoding"),
                _ => false,
            },
        };
        let changed = back.gzip && (is(b"etag") || is(b"accept-ranges"));
        let own_id = back.request_id.is_some_and(|(id, _)| is(id.as_bytes()));
        let dropped = !edits.is_empty() && edits.drops(name());
        if field.role != Role::Hop && !framing && !changed && !own_id && !dropped {
            run.add(field.line, bytes, out);
        }
    }
    run.flush(bytes, out);
    if let Some(tag) = fields.iter().find(|field| back.gzip && field.name.get(bytes).eq_ignore_ascii_case(b"etag")) {
        // The same thing in other bytes (RFC 9110 §8.8.1).
        let tag = tag.value.get(bytes);
        let weak: &[u8] = if tag.starts_with(b"W/") { b"" } else { b"W/" };
        line(out, &[b"ETag: ", weak, tag]);
    }
    if !head.has_date {
        line(out, &[b"Date: ", back.date.as_bytes()]);
    }
    if back.framing == Framing::Chunks {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if back.gzip {
        out.extend_from_slice(b"Content-Encoding: gzip\r\n");
    }
    if back.varies {
        out.extend_from_slice(b"Vary: Accept-Encoding\r\n");
    }
    if let Some((name, id)) = back.request_id {
        line(out, &[name.as_bytes(), b": ", id.as_bytes()]);
    }
    if let Some(sticky @ Sticky::Cookie { .. }) = &back.upstream.sticky
        && back.seat != Some(back.server.seat)
    {
        cookie(sticky, back.server.seat, out);
    }
    for (name, value) in edits.added() {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        value.write(back.values, out);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(protocol) = head.upgrade.filter(|_| head.status == 101) {
        line(out, &[b"Connection: upgrade\r\nUpgrade: ", protocol.get(bytes)]);
    } else if let Some(connection) = back.connection {
        line(out, &[b"Connection: ", connection.as_bytes()]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes an interim answer (100 to 199, but 101) as a client gets it.
pub fn interim(bytes: &[u8], head: &ResponseHead, fields: &[Field], out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1");
    out.extend_from_slice(&bytes[8..head.line]);
    for field in fields.iter().filter(|field| field.role != Role::Hop) {
        out.extend_from_slice(field.line.get(bytes));
    }
    out.extend_from_slice(b"\r\n");
}

fn cookie(sticky: &Sticky, seat: u64, out: &mut Vec<u8>) {
    let Sticky::Cookie { name, ttl, secure, http_only, same_site, path, domain } = sticky else { return };
    let mut attributes = format!("Set-Cookie: {name}={seat:016x}; Path={path}");
    let mut add = |text: String| attributes.push_str(&text);
    if let Some(ttl) = ttl {
        add(format!("; Max-Age={}", ttl.as_secs()));
    }
    if let Some(domain) = domain {
        add(format!("; Domain={domain}"));
    }
    if *http_only {
        add("; HttpOnly".into());
    }
    if *secure {
        add("; Secure".into());
    }
    match same_site {
        Some(SameSite::Strict) => add("; SameSite=Strict".into()),
        Some(SameSite::Lax) => add("; SameSite=Lax".into()),
        Some(SameSite::None) => add("; SameSite=None".into()),
        None => {}
    }
    let _ = write!(out, "{attributes}\r\n");
}

fn line(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

/// Lines that follow one another are copied at once.
#[derive(Default)]
struct Run(Option<Span>);

impl Run {
    fn add(&mut self, line: Span, bytes: &[u8], out: &mut Vec<u8>) {
        match &mut self.0 {
            Some(run) if run.end == line.start => run.end = line.end,
            Some(run) => {
                out.extend_from_slice(run.get(bytes));
                *run = line;
            }
            None => self.0 = Some(line),
        }
    }

    fn flush(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if let Some(run) = self.0.take() {
            out.extend_from_slice(run.get(bytes));
        }
    }
}
