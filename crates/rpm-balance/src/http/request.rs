//! The head of a request (RFC 9112 §§2–6).

use rpm_model::balance::Limits;

use crate::http::framing::{Body, Framing, Unframed};
use crate::http::refusal::Refusal;
use crate::http::{FIELDS_MAX, Span, for_each_token, lines_end_well, places};

/// The methods that differ for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Options,
    Put,
    Delete,
    Trace,
    Connect,
    /// POST, PATCH and all others: not idempotent as far as we know.
    Other,
}

impl Method {
    /// Returns the method with this name; names are case-sensitive.
    pub fn named(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "OPTIONS" => Self::Options,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "TRACE" => Self::Trace,
            "CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }

    /// Returns whether a request may be sent again when nobody knows whether it was carried out (RFC 9110 §9.2.2).
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Self::Other | Self::Connect)
    }
}

/// What a field is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Passed on.
    Plain,
    /// Meant for us alone, or framing that we write ourselves: not passed on.
    Hop,
    /// `Host`.
    Host,
    /// `Cookie`.
    Cookie,
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// `X-Forwarded-Proto` or `X-Forwarded-Host`.
    ForwardedOther,
    /// `Forwarded`.
    Forwarded,
    /// `Max-Forwards`.
    MaxForwards,
    /// `Expect`.
    Expect,
}

/// One field of a head.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The whole line with its end.
    pub line: Span,
    /// The name.
    pub name: Span,
    /// The value, without spaces around it.
    pub value: Span,
    /// What it is to us.
    pub role: Role,
}

/// What a request's head says. Positions are within the bytes that were parsed.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// Bytes of the head, with the empty line.
    pub length: usize,
    /// The method.
    pub method: Method,
    /// Its name.
    pub method_name: Span,
    /// Path and query; for OPTIONS also `*`.
    pub target: Span,
    /// The path alone.
    pub path: Span,
    /// The host, from the target or the field; empty where there is none.
    pub host: Span,
    /// Whether the target was of absolute form, and `host` stands there.
    pub absolute: bool,
    /// HTTP/1.1 rather than 1.0.
    pub version_1_1: bool,
    /// Whether the client keeps the connection open.
    pub keep_alive: bool,
    /// Where the body ends.
    pub body: Body,
    /// The client waits for `100 Continue`.
    pub expects_continue: bool,
    /// What the client wants to upgrade to; never `h2c`.
    pub upgrade: Option<Span>,
    /// Of OPTIONS and TRACE.
    pub max_forwards: Option<u32>,
    /// `Accept-Encoding` names gzip.
    pub accepts_gzip: bool,
    /// For the log.
    pub user_agent: Span,
    /// For the log.
    pub referer: Span,
}

/// What became of an attempt to read a head.
#[derive(Debug)]
pub enum Parsed {
    /// It is whole.
    Whole(RequestHead),
    /// More bytes are needed.
    Partial,
}

/// Reads the head at the beginning of `bytes`; its fields are left in `fields`.
///
/// # Errors
/// What the client is to be told.
pub fn parse(bytes: &[u8], limits: &Limits, fields: &mut Vec<Field>) -> Result<Parsed, Refusal> {
    fields.clear();
    let mut places = places();
    let mut request = httparse::Request::new(&mut []);
    let header_max = usize::try_from(limits.header.0).unwrap_or(usize::MAX);
    let length = match request.parse_with_uninit_headers(bytes, &mut places) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return partial(bytes, header_max),
        Err(error) => return Err(refusal(error, bytes)),
    };
    if length > header_max {
        return Err(too_long(&bytes[..length]));
    }
    if request.headers.len() > (limits.header_count as usize).min(FIELDS_MAX) {
        return Err(Refusal::HeaderTooLarge);
    }
    if !lines_end_well(&bytes[..length]) {
        return Err(Refusal::BadRequest("a line without its CR"));
    }
    if bytes.first() == Some(&b'\r') && bytes.starts_with(b"\r\n\r\n") {
        return Err(Refusal::BadRequest("more than one empty line"));
    }
    let (name, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let mut head = RequestHead {
        length,
        method: Method::named(name),
        method_name: Span::of(bytes, name.as_bytes()),
        target: Span::of(bytes, target.as_bytes()),
        path: Span::default(),
        host: Span::default(),
        absolute: false,
        version_1_1: request.version == Some(1),
        keep_alive: request.version == Some(1),
        body: Body::None,
        expects_continue: false,
        upgrade: None,
        max_forwards: None,
        accepts_gzip: false,
        user_agent: Span::default(),
        referer: Span::default(),
    };
    read_fields(bytes, request.headers, &mut head, fields)?;
    read_target(bytes, &mut head)?;
    match head.method {
        // TRACE would show a script its own HttpOnly cookies; CONNECT is for forward proxies.
        Method::Connect | Method::Trace => Err(Refusal::MethodNotAllowed),
        _ => Ok(Parsed::Whole(head)),
    }
}

fn partial(bytes: &[u8], header_max: usize) -> Result<Parsed, Refusal> {
    if bytes.len() >= header_max {
        return Err(too_long(bytes));
    }
    // What can never become a head is refused now, not when the client's time is up.
    if !lines_end_well(bytes) {
        return Err(Refusal::BadRequest("a line without its CR"));
    }
    Ok(Parsed::Partial)
}

fn too_long(bytes: &[u8]) -> Refusal {
    let first_line = memchr::memchr(b'\n', bytes);
    if first_line.is_none_or(|end| end > bytes.len() / 2) { Refusal::TargetTooLong } else { Refusal::HeaderTooLarge }
}

fn refusal(error: httparse::Error, bytes: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::HeaderTooLarge,
        httparse::Error::Version => {
            // A version that looks like one gets its own status, as RFC 9110 §15.6.6 has it.
            let line = &bytes[..memchr::memchr(b'\r', bytes).unwrap_or(bytes.len())];
            let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
            match version {
                [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                    if (b'2'..=b'9').contains(major) && minor.is_ascii_digit() =>
                {
                    Refusal::UnknownVersion
                }
                _ => Refusal::BadRequest("a version that is none"),
            }
        }
        httparse::Error::HeaderName => Refusal::BadRequest("a field name that is none"),
        httparse::Error::HeaderValue => Refusal::BadRequest("a field value that is none"),
        httparse::Error::NewLine => Refusal::BadRequest("a line that ends badly"),
        httparse::Error::Token | httparse::Error::Status => Refusal::BadRequest("no request line"),
    }
}

fn read_fields(
    bytes: &[u8],
    headers: &[httparse::Header<'_>],
    head: &mut RequestHead,
    fields: &mut Vec<Field>,
) -> Result<(), Refusal> {
    let mut framing = Framing::default();
    let mut upgrade = None;
    let mut wants_upgrade = false;
    let mut named_hop = false;
    let mut hosts = 0;
    for header in headers {
        let value = header.value.trim_ascii();
        let name = header.name.as_bytes();
        let mut role = Role::Plain;
        match name.len() {
            2 if is(name, b"te") => role = Role::Hop,
            4 if is(name, b"host") => {
                hosts += 1;
                check_host(value)?;
                head.host = Span::of(bytes, value);
                role = Role::Host;
            }
            6 if is(name, b"expect") => {
                if !is(value, b"100-continue") {
                    return Err(Refusal::ExpectationFailed);
                }
                head.expects_continue = head.version_1_1;
                role = Role::Expect;
            }
            6 if is(name, b"cookie") => role = Role::Cookie,
            7 if is(name, b"upgrade") => {
                if !is(value, b"h2c") && !value.is_empty() {
                    upgrade = Some(Span::of(bytes, value));
                }
                role = Role::Hop;
            }
            7 if is(name, b"referer") => head.referer = Span::of(bytes, value),
            9 if is(name, b"forwarded") => role = Role::Forwarded,
            10 if is(name, b"connection") => {
                for_each_token(value, |token| {
                    if is(token, b"close") {
                        head.keep_alive = false;
                    } else if is(token, b"keep-alive") {
                        head.keep_alive |= !head.version_1_1;
                    } else if is(token, b"upgrade") {
                        wants_upgrade = true;
                    } else {
                        named_hop = true;
                    }
                });
                role = Role::Hop;
            }
            10 if is(name, b"keep-alive") => role = Role::Hop,
            10 if is(name, b"user-agent") => head.user_agent = Span::of(bytes, value),
            12 if is(name, b"max-forwards") => {
                head.max_forwards = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                role = Role::MaxForwards;
            }
            14 if is(name, b"content-length") => framing.content_length(value).map_err(unframed)?,
            14 if is(name, b"http2-settings") => role = Role::Hop,
            15 if is(name, b"accept-encoding") => {
                for_each_token(value, |token| head.accepts_gzip |= accepts(token, b"gzip"));
            }
            15 if is(name, b"x-forwarded-for") => role = Role::ForwardedFor,
            16 if is(name, b"x-forwarded-host") => role = Role::ForwardedOther,
            16 if is(name, b"proxy-connection") => role = Role::Hop,
            17 if is(name, b"x-forwarded-proto") => role = Role::ForwardedOther,
            17 if is(name, b"transfer-encoding") => framing.transfer_encoding(value).map_err(unframed)?,
            _ => {}
        }
        let name = Span::of(bytes, name);
        fields.push(Field {
            line: line_of(bytes, name, Span::of(bytes, header.value)),
            name,
            value: Span::of(bytes, value),
            role,
        });
    }
    if hosts > 1 {
        return Err(Refusal::BadRequest("two hosts"));
    }
    if hosts == 0 && head.version_1_1 {
        return Err(Refusal::BadRequest("no host"));
    }
    if named_hop {
        mark_named(bytes, fields);
    }
    head.body = framing.body(head.version_1_1).map_err(unframed)?.unwrap_or(Body::None);
    if wants_upgrade && head.version_1_1 && head.body == Body::None {
        head.upgrade = upgrade;
    }
    Ok(())
}

/// Marks the fields that `Connection` names as ours alone. Those that frame or address the message stay: a client must
/// not be able to have them removed.
fn mark_named(bytes: &[u8], fields: &mut [Field]) {
    for at in 0..fields.len() {
        if !is(fields[at].name.get(bytes), b"connection") {
            continue;
        }
        let value = fields[at].value;
        for_each_token(value.get(bytes), |token| {
            for field in fields.iter_mut().filter(|field| is(field.name.get(bytes), token)) {
                let framing = is(token, b"content-length") || is(token, b"transfer-encoding");
                if field.role == Role::Plain && !framing {
                    field.role = Role::Hop;
                }
            }
        });
    }
}

/// Returns the line that a field stands in, up to behind its line end.
pub(super) fn line_of(bytes: &[u8], name: Span, value: Span) -> Span {
    // Behind the value there is nothing but spaces and the line end.
    let end = value.end.max(name.end) as usize;
    let end = memchr::memchr(b'\n', &bytes[end..]).map_or(bytes.len(), |at| end + at + 1);
    Span { start: name.start, end: end as u32 }
}

fn read_target(bytes: &[u8], head: &mut RequestHead) -> Result<(), Refusal> {
    let target = head.target.get(bytes);
    if target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return Err(Refusal::BadRequest("a target with spaces"));
    }
    match target {
        [b'/', ..] => {}
        b"*" if head.method == Method::Options => {}
        _ if head.method == Method::Connect => {}
        _ => {
            let scheme = [&b"http://"[..], b"https://"]
                .into_iter()
                .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
            let Some(scheme) = scheme else { return Err(Refusal::BadRequest("a target that is no path")) };
            let rest = &target[scheme.len()..];
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
            let authority = &rest[..end];
            check_host(authority)?;
            if authority.is_empty() {
                return Err(Refusal::BadRequest("a target without a host"));
            }
            if head.version_1_1 && !head.host.get(bytes).eq_ignore_ascii_case(authority) {
                return Err(Refusal::BadRequest("a target and a host that differ"));
            }
            head.host = Span::of(bytes, authority);
            head.absolute = true;
            head.target = Span::of(bytes, &rest[end..]);
        }
    }
    let target = head.target.get(bytes);
    let end = memchr::memchr3(b'?', b'#', b'?', target).unwrap_or(target.len());
    head.path = Span { start: head.target.start, end: head.target.start + end as u32 };
    Ok(())
}

/// Checks what may stand in a Host: a name or address, and a port.
fn check_host(value: &[u8]) -> Result<(), Refusal> {
    const BAD: Refusal = Refusal::BadRequest("a host that is none");
    let (name, port) = match value.iter().rposition(|byte| *byte == b':') {
        Some(colon) if value.last() != Some(&b']') => (&value[..colon], &value[colon + 1..]),
        _ => (value, &b""[..]),
    };
    if !port.iter().all(u8::is_ascii_digit) || port.len() > 5 {
        return Err(BAD);
    }
    let good = match name {
        [b'[', inner @ .., b']'] => inner.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')),
        name => name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(byte)),
    };
    let named = !name.is_empty() || value.is_empty();
    if good && named { Ok(()) } else { Err(BAD) }
}

fn accepts(token: &[u8], coding: &[u8]) -> bool {
    let mut parts = token.split(|byte| *byte == b';');
    let named = parts.next().is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(coding));
    let refused = parts.any(|part| {
        let part = part.trim_ascii();
        part.strip_prefix(b"q=")
            .or(part.strip_prefix(b"Q="))
            .is_some_and(|q| q.iter().all(|b| matches!(b, b'0' | b'.')))
    });
    named && !refused
}

fn unframed(why: Unframed) -> Refusal {
    match why {
        Unframed::Bad(why) => Refusal::BadRequest(why),
        Unframed::UnknownCoding => Refusal::UnknownCoding,
    }
}

fn is(name: &[u8], lower: &[u8]) -> bool {
    name.eq_ignore_ascii_case(lower)
}

#[cfg(test)]
mod tests;
