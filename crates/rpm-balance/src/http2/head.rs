//! Heads of HTTP/2 as text of HTTP/1.1, and back.

use std::io;

use http::header::{COOKIE, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};

use super::invalid;
use crate::http::refusal::reason;
use crate::http::request::{Field, Role};
use crate::http::{RequestHead, ResponseHead};

/// How the body behind a head is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// There is none.
    None,
    /// As it is: a field tells its length, or it has none.
    Bare,
    /// In chunks.
    Chunks,
}

/// Writes the head of a request; `None` when it says two things at once, so that it is none (RFC 9113 §8.3.1).
///
/// `key` is for a WebSocket (RFC 8441): what a client of HTTP/1.1 would have sent as `Sec-WebSocket-Key`.
pub fn request_text(request: &Request<()>, ends: bool, websocket_key: Option<&str>) -> Option<(Vec<u8>, Coding)> {
    let headers = request.headers();
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let named = headers.get(HOST).map(HeaderValue::as_bytes);
    let host = match (authority, named) {
        (Some(one), Some(other)) if !one.eq_ignore_ascii_case(other) => return None,
        (Some(one), _) | (None, Some(one)) => one,
        (None, None) => return None,
    };
    if headers.get_all(HOST).iter().count() > 1 {
        return None;
    }
    let target = match request.uri().path_and_query() {
        Some(path) if request.method() != Method::CONNECT || websocket_key.is_some() => path.as_str().as_bytes(),
        _ => host,
    };
    let mut text = Vec::with_capacity(256 + headers.len() * 32);
    let method = if websocket_key.is_some() { "GET" } else { request.method().as_str() };
    text.extend_from_slice(method.as_bytes());
    text.push(b' ');
    text.extend_from_slice(target);
    text.extend_from_slice(b" HTTP/1.1\r\n");
    line(&mut text, b"host", host);
    let mut has_length = false;
    for (name, value) in headers {
        if name == HOST || name == COOKIE || is_hop(name) {
            continue;
        }
        has_length |= name == http::header::CONTENT_LENGTH;
        line(&mut text, name.as_str().as_bytes(), value.as_bytes());
    }
    let cookies: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if !cookies.is_empty() {
        // They may come in crumbs, which HTTP/1.1 does not know (RFC 9113 §8.2.3).
        line(&mut text, b"cookie", &cookies.join(&b"; "[..]));
    }
    let coding = if let Some(key) = websocket_key {
        line(&mut text, b"connection", b"upgrade");
        line(&mut text, b"upgrade", b"websocket");
        line(&mut text, b"sec-websocket-key", key.as_bytes());
        Coding::Bare
    } else if ends {
        let usual = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
        if usual && !has_length {
            line(&mut text, b"content-length", b"0");
        }
        Coding::None
    } else if has_length {
        Coding::Bare
    } else {
        line(&mut text, b"transfer-encoding", b"chunked");
        Coding::Chunks
    };
    text.extend_from_slice(b"\r\n");
    Some((text, coding))
}

/// Writes the head of an answer to a request of this method.
pub fn answer_text(answer: &Response<()>, ends: bool, head_only: bool) -> (Vec<u8>, Coding) {
    let mut text = status_line(answer);
    let bodiless = head_only || matches!(answer.status().as_u16(), 204 | 304);
    let coding = if bodiless {
        Coding::None
    } else if answer.headers().contains_key(http::header::CONTENT_LENGTH) {
        Coding::Bare
    } else if ends {
        line(&mut text, b"content-length", b"0");
        Coding::None
    } else {
        line(&mut text, b"transfer-encoding", b"chunked");
        Coding::Chunks
    };
    text.extend_from_slice(b"\r\n");
    (text, coding)
}

/// Writes an interim answer.
pub fn interim_text(answer: &Response<()>) -> Vec<u8> {
    let mut text = status_line(answer);
    text.extend_from_slice(b"\r\n");
    text
}

fn status_line(answer: &Response<()>) -> Vec<u8> {
    let status = answer.status().as_u16();
    let mut text = format!("HTTP/1.1 {status} {}\r\n", reason(status)).into_bytes();
    for (name, value) in answer.headers().iter().filter(|(name, _)| !is_hop(name)) {
        line(&mut text, name.as_str().as_bytes(), value.as_bytes());
    }
    text
}

/// Returns a head of HTTP/1.1, which was read from `bytes`, as that of an answer.
///
/// # Errors
/// When it holds what HTTP/2 cannot say.
pub fn answer(bytes: &[u8], head: &ResponseHead, fields: &[Field]) -> io::Result<Response<()>> {
    let mut answer = Response::new(());
    *answer.version_mut() = Version::HTTP_2;
    *answer.status_mut() = StatusCode::from_u16(head.status).map_err(|_| invalid("a status"))?;
    let headers = answer.headers_mut();
    headers.reserve(fields.len());
    for field in fields.iter().filter(|field| field.role != Role::Hop) {
        let (name, value) = pair(field.name.get(bytes), field.value.get(bytes))?;
        if !is_hop(&name) {
            headers.append(name, value);
        }
    }
    Ok(answer)
}

/// Returns a head of HTTP/1.1, which was read from `bytes`, as that of a request to a server that speaks HTTP/2.
///
/// # Errors
/// When it holds what HTTP/2 cannot say.
pub fn request(bytes: &[u8], head: &RequestHead, fields: &[Field]) -> io::Result<Request<()>> {
    let mut request = Request::new(());
    *request.version_mut() = Version::HTTP_2;
    *request.method_mut() = Method::from_bytes(head.method_name.get(bytes)).map_err(|_| invalid("a method"))?;
    let host = if head.host.is_empty() { &b"localhost"[..] } else { head.host.get(bytes) };
    let uri = Uri::builder().scheme("http").authority(host).path_and_query(head.target.get(bytes));
    *request.uri_mut() = uri.build().map_err(|_| invalid("a target"))?;
    let headers = request.headers_mut();
    for field in fields.iter().filter(|field| !matches!(field.role, Role::Hop | Role::Host)) {
        let (name, value) = pair(field.name.get(bytes), field.value.get(bytes))?;
        if !is_hop(&name) {
            headers.append(name, value);
        }
    }
    // gRPC asks for it; and trailers are passed on.
    headers.insert(http::header::TE, HeaderValue::from_static("trailers"));
    Ok(request)
}

/// Returns lines of trailers as fields.
///
/// # Errors
/// When they hold what HTTP/2 cannot say.
pub fn trailers(lines: &[u8]) -> io::Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for text in lines.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
        let colon = memchr::memchr(b':', text).ok_or_else(|| invalid("a trailer"))?;
        let (name, value) = pair(&text[..colon], text[colon + 1..].trim_ascii())?;
        if !is_hop(&name) {
            map.append(name, value);
        }
    }
    Ok(map)
}

/// Writes trailers as lines.
pub fn trailer_lines(trailers: &HeaderMap, text: &mut Vec<u8>) {
    for (name, value) in trailers.iter().filter(|(name, _)| !is_hop(name)) {
        line(text, name.as_str().as_bytes(), value.as_bytes());
    }
}

fn pair(name: &[u8], value: &[u8]) -> io::Result<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name).map_err(|_| invalid("a field name"))?;
    let value = HeaderValue::from_bytes(value).map_err(|_| invalid("a field value"))?;
    Ok((name, value))
}

/// What belongs to one connection of HTTP/1.1 and has no place in HTTP/2 (RFC 9113 §8.2.2).
fn is_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" | "te" | "http2-settings"
    )
}

fn line(text: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    text.extend_from_slice(name);
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: &Request<()>, ends: bool) -> Option<String> {
        request_text(request, ends, None).map(|(text, _)| String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_request_is_written_as_one_of_http_1() {
        let request = Request::get("https://a.example/x?y=1").header("cookie", "a=1").header("cookie", "b=2");
        let request = request.header("x-one", "1").header("te", "trailers").body(()).unwrap();
        let expected = "GET /x?y=1 HTTP/1.1\r\nhost: a.example\r\nx-one: 1\r\ncookie: a=1; b=2\r\n\r\n";
        assert_eq!(text(&request, true).unwrap(), expected);
        let post = Request::post("http://a/").body(()).unwrap();
        assert!(text(&post, true).unwrap().contains("content-length: 0\r\n"));
        assert!(text(&post, false).unwrap().contains("transfer-encoding: chunked\r\n"));
        let sized = Request::post("http://a/").header("content-length", "3").body(()).unwrap();
        assert!(!text(&sized, false).unwrap().contains("transfer-encoding"));
    }

    #[test]
    fn two_hosts_are_none() {
        let differ = Request::get("http://a/").header("host", "b").body(()).unwrap();
        assert_eq!(text(&differ, true), None);
        let same = Request::get("http://a/").header("host", "A").body(()).unwrap();
        assert!(text(&same, true).is_some());
        let none = Request::get("/").body(()).unwrap();
        assert_eq!(text(&none, true), None);
    }

    #[test]
    fn trailers_are_read_as_they_are_written() {
        let map = trailers(b"Grpc-Status: 0\r\nGrpc-Message:\r\nConnection: close\r\n").unwrap();
        let mut lines = Vec::new();
        trailer_lines(&map, &mut lines);
        assert_eq!(lines, b"grpc-status: 0\r\ngrpc-message: \r\n");
        assert!(trailers(b"no colon\r\n").is_err());
    }
}
