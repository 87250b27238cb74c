//! The head of an answer (RFC 9112 §§4–6).

use crate::http::framing::{Body, Framing};
use crate::http::request::{Field, Method, Role, line_of};
use crate::http::{FIELDS_MAX, Span, for_each_token, lines_end_well, places};

/// What an answer's head says. Positions are within the bytes that were parsed.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// Bytes of the head, with the empty line.
    pub length: usize,
    /// Bytes of the first line with its end.
    pub line: usize,
    /// The status.
    pub status: u16,
    /// HTTP/1.1 rather than 1.0.
    pub version_1_1: bool,
    /// Whether the server keeps the connection open.
    pub keep_alive: bool,
    /// After so many seconds the server closes an idle connection, where it says so.
    pub keep_alive_seconds: Option<u32>,
    /// Where the body ends.
    pub body: Body,
    /// Whether the server told the time.
    pub has_date: bool,
    /// What is spoken after a 101.
    pub upgrade: Option<Span>,
    /// The media type.
    pub content_type: Span,
    /// Whether it is compressed already, or must not be changed.
    pub encoded: bool,
    /// The length that was told, also where there is no body (HEAD, 304).
    pub content_length: Option<u64>,
}

/// It is no answer of HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAnswer(pub &'static str);

/// Reads the head at the beginning of `bytes`, the answer to a request of this method; its fields are left in `fields`.
/// `None` when more bytes are needed.
///
/// # Errors
/// When it is no answer that could be passed on.
pub fn parse(bytes: &[u8], method: Method, fields: &mut Vec<Field>) -> Result<Option<ResponseHead>, BadAnswer> {
    fields.clear();
    let mut places = places();
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut response, bytes, &mut places) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(BadAnswer("no head of HTTP")),
    };
    if !lines_end_well(&bytes[..length]) || !bytes.starts_with(b"HTTP/") {
        return Err(BadAnswer("a line that ends badly"));
    }
    let status = response.code.unwrap_or_default();
    if !(100..=599).contains(&status) || response.headers.len() > FIELDS_MAX {
        return Err(BadAnswer("an odd status"));
    }
    let version_1_1 = response.version == Some(1);
    let mut head = ResponseHead {
        length,
        line: memchr::memchr(b'\n', bytes).map_or(length, |at| at + 1),
        status,
        version_1_1,
        keep_alive: version_1_1,
        keep_alive_seconds: None,
        body: Body::None,
        has_date: false,
        upgrade: None,
        content_type: Span::default(),
        encoded: false,
        content_length: None,
    };
    read_fields(bytes, response.headers, &mut head, method, fields)?;
    Ok(Some(head))
}

fn read_fields(
    bytes: &[u8],
    headers: &[httparse::Header<'_>],
    head: &mut ResponseHead,
    method: Method,
    fields: &mut Vec<Field>,
) -> Result<(), BadAnswer> {
    const UNFRAMED: BadAnswer = BadAnswer("no certain length");
    let is = |name: &[u8], lower: &[u8]| name.eq_ignore_ascii_case(lower);
    let mut framing = Framing::default();
    for header in headers {
        let (name, value) = (header.name.as_bytes(), header.value.trim_ascii());
        let mut role = Role::Plain;
        match name.len() {
            4 if is(name, b"date") => head.has_date = true,
            7 if is(name, b"upgrade") => {
                head.upgrade = Some(Span::of(bytes, value));
                role = Role::Hop;
            }
            10 if is(name, b"connection") => {
                for_each_token(value, |token| {
                    if is(token, b"close") {
                        head.keep_alive = false;
                    }
                });
                role = Role::Hop;
            }
            10 if is(name, b"keep-alive") => {
                for_each_token(value, |token| {
                    let seconds = token.strip_prefix(b"timeout=").and_then(|text| std::str::from_utf8(text).ok());
                    head.keep_alive_seconds = seconds.and_then(|text| text.parse().ok()).or(head.keep_alive_seconds);
                });
                role = Role::Hop;
            }
            12 if is(name, b"content-type") => head.content_type = Span::of(bytes, value),
            13 if is(name, b"cache-control") => {
                for_each_token(value, |token| head.encoded |= is(token, b"no-transform"));
            }
            14 if is(name, b"content-length") => framing.content_length(value).map_err(|_| UNFRAMED)?,
            16 if is(name, b"content-encoding") => head.encoded = true,
            16 if is(name, b"proxy-connection") => role = Role::Hop,
            17 if is(name, b"transfer-encoding") => framing.transfer_encoding(value).map_err(|_| UNFRAMED)?,
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
    head.content_length = framing.length();
    let framed = framing.body(head.version_1_1).map_err(|_| UNFRAMED)?;
    // RFC 9112 §6.3: some answers never have a body, whatever their fields say.
    head.body = match head.status {
        100..=199 | 204 | 304 => Body::None,
        _ if method == Method::Head => Body::None,
        _ => framed.unwrap_or(Body::UntilClose),
    };
    if head.body == Body::UntilClose {
        head.keep_alive = false;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, method: Method) -> Result<ResponseHead, BadAnswer> {
        parse(text.as_bytes(), method, &mut Vec::new()).map(|head| head.expect("it is whole"))
    }

    #[test]
    fn bodies_end_where_the_rules_say() {
        let body = |text: &str, method| read(text, method).unwrap().body;
        let get = |text: &str| body(text, Method::Get);
        assert_eq!(get("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), Body::Length(5));
        assert_eq!(get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Body::Chunked);
        assert_eq!(get("HTTP/1.1 200 OK\r\n\r\n"), Body::UntilClose);
        assert_eq!(get("HTTP/1.1 204 No Content\r\n\r\n"), Body::None);
        assert_eq!(get("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"), Body::None);
        assert_eq!(get("HTTP/1.1 100 Continue\r\n\r\n"), Body::None);
        assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::Head), Body::None);
        assert!(!read("HTTP/1.1 200 OK\r\n\r\n", Method::Get).unwrap().keep_alive);
        let head = read("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n", Method::Get).unwrap();
        assert_eq!((head.keep_alive, head.keep_alive_seconds), (true, Some(5)));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
            "HTTP/1.1 200 OK\nX: a\n\n",
            "HTTP/1.1 99 No\r\n\r\n",
            "HTTP/1.1 600 No\r\n\r\n",
            "HTTP/1.1 2000 No\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "hello\r\n\r\n",
        ] {
            assert!(parse(text.as_bytes(), Method::Get, &mut Vec::new()).is_err(), "{text:?}");
        }
    }
}
