//! HTTP/2, frame by frame: what RFC 9113 calls an error is one, and hurts nobody else.

use serde_json::json;

use crate::stage::{Client, Server, Stage};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame as it comes.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field, without the table and without Huffman.
pub(crate) fn field(name: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name.as_bytes(), value] {
        // HPACK's integers: seven bits, then seven at a time.
        if text.len() < 127 {
            bytes.push(text.len() as u8);
        } else {
            bytes.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                bytes.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            bytes.push(rest as u8);
        }
        bytes.extend(text);
    }
    bytes
}

/// `GET / http a`, from the static table but for the authority.
pub(crate) fn get() -> Vec<u8> {
    [&[0x82, 0x84, 0x86][..], &field(":authority", b"a")].concat()
}

/// Begins a conversation.
pub(crate) fn open(port: u16) -> Client {
    let mut client = Client::connect(port);
    client.send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
    client
}

impl Client {
    /// Reads a frame; `None` at the end.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        let head = self.exactly(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        Some(Frame { kind: head[3], flags: head[4], payload: self.exactly(length)? })
    }
}

/// What has to become of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The connection ends, with GOAWAY where that can still be said.
    Ends,
    /// A stream is reset, or refused with an error; the connection goes on.
    Reset,
    /// It is answered.
    Answered,
}

use Fate::{Answered, Ends, Reset};

#[test]
fn every_odd_frame_meets_its_fate() {
    let stage = Stage::start(Server::recording(), &json!({}));
    let mut wrong = Vec::new();
    for (name, bytes, fate) in all() {
        let mut client = open(stage.port);
        client.send(bytes);
        // Answered only by a connection that is well.
        client.send(frame(PING, 0, 0, b"are you?"));
        let (mut reset, mut answered, mut ponged) = (false, false, false);
        while let Some(frame) = client.frame() {
            reset |= frame.kind == RST_STREAM;
            answered |= frame.kind == DATA && frame.flags & END_STREAM != 0;
            // Status 4xx: literal in the static table (0x48 + "4.."), or by index.
            reset |= frame.kind == HEADERS && is_refusal(&frame.payload);
            ponged |= frame.kind == PING && frame.flags & ACK != 0 && frame.payload == b"are you?";
            if frame.kind == GOAWAY {
                break;
            }
            if ponged && (reset || answered) {
                break;
            }
        }
        let became = match (ponged, reset, answered) {
            (false, ..) => Ends,
            (true, true, _) => Reset,
            (true, false, _) => Answered,
        };
        if became != fate {
            wrong.push(format!("{name}: {fate:?} is due, but it {became:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // No smuggled request came through.
    let seen = stage.server.take();
    let strange: Vec<_> = seen.iter().filter(|message| message.head.contains("smuggled")).collect();
    assert!(strange.is_empty(), "{strange:?}");
    stage.still_serves();
}

fn is_refusal(block: &[u8]) -> bool {
    // :status 400 and 404 are in the static table; others are literals behind the index of `:status`.
    matches!(block.first(), Some(0x8c | 0x8d)) || (matches!(block.first(), Some(0x48 | 0x08)) && block.len() > 4)
}

fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value.as_bytes())).collect()
}

fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &[get(), headers(fields)].concat())
}

fn all() -> Vec<(&'static str, Vec<u8>, Fate)> {
    let ask = || frame(HEADERS, END_HEADERS | END_STREAM, 1, &get());
    let whole = |fields: &[(&str, &str)]| frame(HEADERS, END_HEADERS | END_STREAM, 1, &headers(fields));
    let posting = |fields: &[(&str, &str)]| {
        let first = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "a")];
        frame(HEADERS, END_HEADERS, 1, &headers(&[&first[..], fields].concat()))
    };
    vec![
        ("a request", ask(), Answered),
        ("a frame nobody knows", [frame(0x42, 0xff, 0, b"?"), ask()].concat(), Answered),
        ("a setting nobody knows", [frame(SETTINGS, 0, 0, &[0x42, 0x42, 0, 0, 0, 1]), ask()].concat(), Answered),
        (
            "a head in pieces",
            [frame(HEADERS, END_STREAM, 1, &get()[..3]), frame(CONTINUATION, END_HEADERS, 1, &get()[3..])].concat(),
            Answered,
        ),
        ("a body", [posting(&[]), frame(DATA, END_STREAM, 1, b"hi")].concat(), Answered),
        (
            "a body with its length",
            [posting(&[("content-length", "2")]), frame(DATA, END_STREAM, 1, b"hi")].concat(),
            Answered,
        ),
        (
            "trailers",
            [
                posting(&[]),
                frame(DATA, 0, 1, b"hi"),
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &headers(&[("x-sum", "1")])),
            ]
            .concat(),
            Answered,
        ),
        ("te: trailers", request(&[("te", "trailers")]), Answered),
        // RFC 9113 §4, §5: frames where they have no business.
        ("DATA on no stream", frame(DATA, 0, 0, b"x"), Ends),
        ("HEADERS on no stream", frame(HEADERS, END_HEADERS, 0, &get()), Ends),
        ("HEADERS on an even stream", frame(HEADERS, END_HEADERS | END_STREAM, 2, &get()), Ends),
        ("DATA on an idle stream", frame(DATA, 0, 1, b"x"), Ends),
        ("WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), Ends),
        ("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), Ends),
        ("CONTINUATION on its own", frame(CONTINUATION, END_HEADERS, 1, &get()), Ends),
        (
            "something between the pieces of a head",
            [frame(HEADERS, END_STREAM, 1, &get()[..3]), frame(PING, 0, 0, &[0; 8])].concat(),
            Ends,
        ),
        (
            "pieces of another head",
            [frame(HEADERS, END_STREAM, 1, &get()[..3]), frame(CONTINUATION, END_HEADERS, 3, &get()[3..])].concat(),
            Ends,
        ),
        ("PUSH_PROMISE of a client", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), Ends),
        (
            "an older stream",
            [frame(HEADERS, END_HEADERS | END_STREAM, 3, &get()), frame(HEADERS, END_HEADERS | END_STREAM, 1, &get())]
                .concat(),
            Ends,
        ),
        // §6: frames of a wrong size or content.
        ("a frame too long", frame(DATA, 0, 1, &vec![0; 20_000]), Ends),
        ("PING of seven bytes", frame(PING, 0, 0, &[0; 7]), Ends),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8]), Ends),
        ("SETTINGS of five bytes", frame(SETTINGS, 0, 0, &[0; 5]), Ends),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), Ends),
        ("an acknowledgement with content", frame(SETTINGS, ACK, 0, &[0; 6]), Ends),
        ("a push setting of two", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), Ends),
        ("a window beyond 2^31", frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]), Ends),
        ("a frame size below the least", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), Ends),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), Ends),
        ("RST_STREAM of three bytes", [ask(), frame(RST_STREAM, 0, 1, &[0; 3])].concat(), Ends),
        ("WINDOW_UPDATE by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), Ends),
        ("WINDOW_UPDATE beyond 2^31", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), Ends),
        ("padding longer than the frame", frame(HEADERS, END_HEADERS | END_STREAM | 8, 1, &[200, 0x82]), Ends),
        (
            "HPACK that is none",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Ends,
        ),
        ("an index beyond the table", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xfe]), Ends),
        ("no preface", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Ends),
        // §8: requests that are none. What no field may hold ends the connection, which §5.4 allows: h2 finds it while it
        // unpacks.
        ("no method", whole(&[(":path", "/"), (":scheme", "http"), (":authority", "a")]), Reset),
        ("no path", whole(&[(":method", "GET"), (":scheme", "http"), (":authority", "a")]), Reset),
        ("no scheme", whole(&[(":method", "GET"), (":path", "/"), (":authority", "a")]), Reset),
        ("an empty path", whole(&[(":method", "GET"), (":path", ""), (":scheme", "http"), (":authority", "a")]), Reset),
        ("no host at all", whole(&[(":method", "GET"), (":path", "/"), (":scheme", "http")]), Reset),
        ("two methods", request(&[(":method", "POST")]), Reset),
        ("two paths", request(&[(":path", "/smuggled")]), Reset),
        ("an unknown pseudo field", request(&[(":smuggled", "x")]), Ends),
        ("a pseudo field of answers", request(&[(":status", "200")]), Reset),
        (
            "a pseudo field behind others",
            whole(&[(":method", "GET"), ("x", "y"), (":path", "/"), (":scheme", "http")]),
            Reset,
        ),
        ("a name in large letters", request(&[("X-Large", "y")]), Ends),
        ("connection", request(&[("connection", "close")]), Reset),
        ("transfer-encoding", request(&[("transfer-encoding", "chunked")]), Reset),
        ("upgrade", request(&[("upgrade", "smuggled")]), Reset),
        ("keep-alive", request(&[("keep-alive", "1")]), Reset),
        ("te of another kind", request(&[("te", "gzip")]), Reset),
        ("another host", request(&[("host", "smuggled")]), Reset),
        ("two lengths", posting(&[("content-length", "2"), ("content-length", "3")]), Reset),
        (
            "a body longer than its length",
            [posting(&[("content-length", "2")]), frame(DATA, END_STREAM, 1, b"hi GET /smuggled")].concat(),
            Reset,
        ),
        (
            "a body shorter than its length",
            [posting(&[("content-length", "9")]), frame(DATA, END_STREAM, 1, b"hi")].concat(),
            Reset,
        ),
        ("a CR LF in a value", request(&[("x", "y\r\nx-smuggled: 1")]), Ends),
        ("a LF in a value", request(&[("x", "y\nx-smuggled: 1")]), Ends),
        ("a NUL in a value", request(&[("x", "y\0")]), Ends),
        ("a CR LF in a name", request(&[("x: y\r\nx-smuggled", "1")]), Ends),
        ("a colon in a name", request(&[("x:y", "1")]), Ends),
        (
            "a space in the path",
            whole(&[
                (":method", "GET"),
                (":path", "/ HTTP/1.1\r\nX-Smuggled: 1\r\n"),
                (":scheme", "http"),
                (":authority", "a"),
            ]),
            Reset,
        ),
        (
            "a CR LF in the method",
            whole(&[
                (":method", "GET / HTTP/1.1\r\nX-Smuggled: 1\r\n"),
                (":path", "/"),
                (":scheme", "http"),
                (":authority", "a"),
            ]),
            Ends,
        ),
        (
            "a CR LF in the host",
            whole(&[(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a\r\nx-smuggled: 1")]),
            Reset,
        ),
        (
            "a user in the host",
            whole(&[(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "u@a")]),
            Reset,
        ),
        (
            "a path without a slash",
            whole(&[(":method", "GET"), (":path", "smuggled"), (":scheme", "http"), (":authority", "a")]),
            Reset,
        ),
        ("CONNECT", whole(&[(":method", "CONNECT"), (":authority", "a:80")]), Reset),
        ("too many fields", request(&[("x", "y"); 150]), Reset),
        (
            "a window of a stream beyond 2^31",
            [posting(&[]), frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff])].concat(),
            Reset,
        ),
        ("a priority of itself", [posting(&[]), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0])].concat(), Reset),
    ]
}
