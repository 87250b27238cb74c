//! Odd requests, and what has to become of each: RFC 9112 §§2–9, RFC 9110 §§5–9, and what smugglers have used.

use crate::stage::{Client, Message, Server, Stage};

/// What has to become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is refused with one of these (0 for no word at all), nothing of it reaches a server, and the connection is closed.
    Refused(&'static [u16]),
    /// It reaches the server as one request with this body, and the next one is the next one.
    Passed(&'static str),
}

use Fate::{Passed, Refused};

const BAD: Fate = Refused(&[400]);
const CODING: Fate = Refused(&[400, 501]);

/// What became of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Became {
    pub(crate) statuses: Vec<u16>,
    pub(crate) seen: Vec<Message>,
}

impl Became {
    /// Returns it in a word: the status of a refusal, what of two requests reached the server otherwise.
    pub(crate) fn shown(&self) -> String {
        let targets: Vec<_> = self.seen.iter().map(Message::target).collect();
        match (targets.as_slice(), self.statuses.as_slice()) {
            ([], [status, ..]) => status.to_string(),
            ([], []) => "closed".into(),
            ([.., "/sentinel"], _) if targets.len() == 2 => "passed".into(),
            ([_], _) => "passed, closed".into(),
            (targets, _) => format!("{} requests: {targets:?}", targets.len()),
        }
    }
}

const SENTINEL: &str = "GET /sentinel HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Sends a request and another one behind it.
pub(crate) fn try_one(port: u16, server: &Server, request: &[u8]) -> Became {
    server.take();
    let mut client = Client::connect(port);
    client.send([request, SENTINEL.as_bytes()].concat());
    let mut statuses = Vec::new();
    while let Some(answer) = client.message() {
        if answer.status() >= 200 {
            statuses.push(answer.status());
        }
    }
    Became { statuses, seen: server.take() }
}

#[test]
fn every_odd_request_meets_its_fate() {
    let stage = Stage::recording();
    let mut wrong = Vec::new();
    for (name, request, fate) in all() {
        let became = try_one(stage.port, &stage.server, &request);
        let targets: Vec<_> = became.seen.iter().map(Message::target).collect();
        let good = match fate {
            Refused(statuses) => {
                targets.is_empty()
                    && became.statuses.len() <= 1
                    && statuses.contains(became.statuses.first().unwrap_or(&0))
            }
            Passed(body) => {
                targets.len() == 2
                    && targets[1] == "/sentinel"
                    && became.statuses == [200, 200]
                    && became.seen[0].body == body.as_bytes()
            }
        };
        if !good {
            wrong.push(format!("{name}: {fate:?} is due, but: {became:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    stage.still_serves();
}

/// The same, byte by byte: what is split differently must not be read differently.
#[test]
fn in_pieces_they_meet_the_same_fate() {
    let stage = Stage::recording();
    let mut wrong = Vec::new();
    // Those that are long would take long, and say no more.
    for (name, request, fate) in all().into_iter().filter(|(_, request, _)| request.len() < 300) {
        stage.server.take();
        let mut client = stage.connect();
        for byte in [&request[..], SENTINEL.as_bytes()].concat() {
            client.send([byte]);
        }
        let mut statuses = Vec::new();
        while let Some(answer) = client.message() {
            statuses.push(answer.status());
        }
        let seen = stage.server.take();
        let smuggled = seen.iter().any(|message| !matches!(message.target(), "/sentinel" | "/"));
        let good = match fate {
            // A body that goes wrong later may have reached the server, but never whole, and nothing behind it.
            Refused(_) => !smuggled && seen.iter().all(|message| message.target() != "/sentinel"),
            Passed(body) => seen.len() == 2 && seen[0].body == body.as_bytes(),
        };
        if !good {
            wrong.push(format!("{name}: {fate:?} is due, but: {statuses:?} {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_meant_for_one_hop_stays_there_and_nothing_else_does() {
    let stage = Stage::recording();
    let passed = |fields: &str| {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{fields}\r\nhi");
        let became = try_one(stage.port, &stage.server, request.as_bytes());
        assert_eq!(became.statuses, [200, 200], "{fields:?}: {became:?}");
        became.seen[0].clone()
    };
    let seen = passed("Connection: X-Own, keep-alive\r\nX-Own: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nX-Two: 2\r\n");
    assert!(["x-own", "keep-alive", "te", "connection"].iter().all(|name| seen.fields(name).is_empty()), "{seen:?}");
    assert_eq!(seen.fields("x-two"), ["2"]);
    // Nobody can have removed what frames or addresses a message, or what we say about the client.
    for name in ["Content-Length", "Host", "Transfer-Encoding", "X-Forwarded-For", "Cookie"] {
        let seen = passed(&format!("Connection: {name}\r\nCookie: a=b\r\n"));
        assert_eq!((seen.fields("content-length"), seen.fields("host")), (vec!["2"], vec!["a"]), "{name}");
        assert_eq!((seen.fields("x-forwarded-for"), seen.body.as_slice()), (vec!["127.0.0.1"], &b"hi"[..]), "{name}");
    }
    let seen = passed("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\n");
    assert_eq!(seen.fields("x-forwarded-for"), ["127.0.0.1"], "nobody is believed unasked");
    assert!(seen.fields("x-forwarded-proto") == ["http"] && seen.fields("forwarded").is_empty());
}

/// Returns the corpus.
pub(crate) fn all() -> Vec<(String, Vec<u8>, Fate)> {
    let mut all = Vec::new();
    let mut add = |name: String, request: Vec<u8>, fate| all.push((name, request, fate));
    for (name, line, fate) in lines() {
        add(format!("line: {name}"), format!("{line}\r\nHost: a\r\n\r\n").into_bytes(), fate);
    }
    for (name, fields, fate) in fields() {
        add(format!("field: {name}"), [b"GET / HTTP/1.1\r\n", fields, b"\r\n"].concat(), fate);
    }
    for (name, fields, body, fate) in framings() {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}");
        add(format!("framing: {name}"), head.into_bytes(), fate);
    }
    for (name, body, fate) in chunks() {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        add(format!("chunks: {name}"), head.into_bytes(), fate);
    }
    for (name, request, fate) in wholes() {
        add(format!("whole: {name}"), request.into_bytes(), fate);
    }
    all
}

fn lines() -> Vec<(&'static str, String, Fate)> {
    let entries = [
        ("plain", "GET / HTTP/1.1", Passed("")),
        ("unknown method", "BREW / HTTP/1.1", Passed("")),
        ("a method in small letters is another one", "get / HTTP/1.1", Passed("")),
        ("query", "GET /?a=b&c=%00 HTTP/1.1", Passed("")),
        ("the target of a proxy", "GET http://a/ HTTP/1.1", Passed("")),
        ("no method", " / HTTP/1.1", BAD),
        ("no target", "GET  HTTP/1.1", BAD),
        ("no version", "GET /", BAD),
        ("HTTP/0.9", "GET / ", BAD),
        ("two spaces", "GET  / HTTP/1.1", BAD),
        ("two spaces behind the target", "GET /  HTTP/1.1", BAD),
        ("a tab", "GET\t/ HTTP/1.1", BAD),
        ("a space at the end", "GET / HTTP/1.1 ", BAD),
        ("a word at the end", "GET / HTTP/1.1 x", BAD),
        ("a space in the target", "GET /a b HTTP/1.1", BAD),
        ("a bare CR", "GET /\r HTTP/1.1", BAD),
        ("a NUL in the target", "GET /\0 HTTP/1.1", BAD),
        ("a DEL in the target", "GET /\x7f HTTP/1.1", BAD),
        ("a method that is none", "GE(T / HTTP/1.1", BAD),
        ("HTTP/1.10", "GET / HTTP/1.10", BAD),
        ("HTTP/1.2", "GET / HTTP/1.2", Refused(&[400, 505])),
        ("HTTP/2.0", "GET / HTTP/2.0", Refused(&[400, 505])),
        ("HTTP/01.1", "GET / HTTP/01.1", BAD),
        ("http in small letters", "GET / http/1.1", BAD),
        ("HTTPS", "GET / HTTPS/1.1", BAD),
        ("a comma", "GET / HTTP/1,1", BAD),
        ("a target without a slash", "GET a HTTP/1.1", BAD),
        ("a star for GET", "GET * HTTP/1.1", BAD),
        ("an authority for GET", "GET a:80 HTTP/1.1", BAD),
        ("another scheme", "GET ftp://a/ HTTP/1.1", BAD),
        ("a target of another host", "GET http://b/ HTTP/1.1", BAD),
        ("a target with a user", "GET http://u@a/ HTTP/1.1", BAD),
        ("a target without a host", "GET http:/// HTTP/1.1", BAD),
        ("CONNECT", "CONNECT a:80 HTTP/1.1", Refused(&[400, 405])),
        ("TRACE", "TRACE / HTTP/1.1", Refused(&[405])),
    ];
    let mut all: Vec<_> = entries.into_iter().map(|(name, line, fate)| (name, line.to_owned(), fate)).collect();
    all.push(("too long", format!("GET /{} HTTP/1.1", "x".repeat(40_000)), Refused(&[414])));
    all.push(("a method without end", "G".repeat(40_000), Refused(&[400, 414, 431])));
    all
}

fn fields() -> Vec<(&'static str, &'static [u8], Fate)> {
    vec![
        ("no host", b"", BAD),
        ("two hosts", b"Host: a\r\nHost: b\r\n", BAD),
        ("the same host twice", b"Host: a\r\nHost: a\r\n", BAD),
        ("an empty host", b"Host:\r\n", Passed("")),
        ("a host with a port", b"Host: a:8080\r\n", Passed("")),
        ("a host of IPv6", b"Host: [::1]:80\r\n", Passed("")),
        ("a host with a space", b"Host: a b\r\n", BAD),
        ("a host with a comma", b"Host: a,b\r\n", BAD),
        ("a host with a slash", b"Host: a/b\r\n", BAD),
        ("a host with a user", b"Host: u@a\r\n", BAD),
        ("a host with two ports", b"Host: a:80:80\r\n", BAD),
        ("a host with a word for a port", b"Host: a:http\r\n", BAD),
        ("half an IPv6", b"Host: [::1\r\n", BAD),
        ("a host with a NUL", b"Host: a\0\r\n", BAD),
        ("a host with quotes", b"Host: \"a\"\r\n", BAD),
        ("a space before the colon", b"Host: a\r\nX : y\r\n", BAD),
        ("a tab before the colon", b"Host: a\r\nX\t: y\r\n", BAD),
        ("no name", b"Host: a\r\n: y\r\n", BAD),
        ("no colon", b"Host: a\r\nX\r\n", BAD),
        ("a space in the name", b"Host: a\r\nX Y: z\r\n", BAD),
        ("a NUL in the name", b"Host: a\r\nX\0: z\r\n", BAD),
        ("a bracket in the name", b"Host: a\r\nX(: z\r\n", BAD),
        ("a high byte in the name", b"Host: a\r\nX\xff: z\r\n", BAD),
        ("an underscore in the name", b"Host: a\r\nX_Y: z\r\n", Passed("")),
        ("no value", b"Host: a\r\nX:\r\n", Passed("")),
        ("spaces around the value", b"Host: a\r\nX: \t y \t\r\n", Passed("")),
        ("high bytes in the value", b"Host: a\r\nX: \xe4\xff\r\n", Passed("")),
        ("a NUL in the value", b"Host: a\r\nX: a\0b\r\n", BAD),
        ("a bare CR in the value", b"Host: a\r\nX: a\rb\r\n", BAD),
        ("a control in the value", b"Host: a\r\nX: a\x01b\r\n", BAD),
        ("a DEL in the value", b"Host: a\r\nX: a\x7fb\r\n", BAD),
        ("a folded value", b"Host: a\r\nX: a\r\n b\r\n", BAD),
        ("a value folded by a tab", b"Host: a\r\nX: a\r\n\tb\r\n", BAD),
        ("a first line that is folded", b" X: y\r\nHost: a\r\n", BAD),
        ("a bare LF", b"Host: a\nX: y\r\n", BAD),
        ("a bare LF before a field", b"Host: a\r\nX: y\nContent-Length: 5\r\n", BAD),
        ("CR CR LF", b"Host: a\r\r\n", BAD),
        ("an expectation nobody knows", b"Host: a\r\nExpect: tea\r\n", Refused(&[417])),
        (
            "h2c is not asked for by upgrading",
            b"Host: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            Passed(""),
        ),
    ]
}

fn framings() -> Vec<(&'static str, &'static str, &'static str, Fate)> {
    vec![
        ("a length", "Content-Length: 2", "hi", Passed("hi")),
        ("a length with zeros before", "Content-Length: 0002", "hi", Passed("hi")),
        ("spaces around the length", "Content-Length: \t2 ", "hi", Passed("hi")),
        (
            "a body that looks like a request",
            "Content-Length: 35",
            "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
            Passed("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
        ),
        ("chunks", "Transfer-Encoding: chunked", "2\r\nhi\r\n0\r\n\r\n", Passed("hi")),
        ("chunked in other letters", "tRANSFER-eNCODING: cHUNKED", "2\r\nhi\r\n0\r\n\r\n", Passed("hi")),
        ("chunked behind a tab", "Transfer-Encoding:\tchunked", "2\r\nhi\r\n0\r\n\r\n", Passed("hi")),
        ("CL.TE", "Content-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\nG", BAD),
        ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 3", "1\r\nG\r\n0\r\n\r\n", BAD),
        ("TE.TE", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n", CODING),
        ("TE.TE the other way", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "0\r\n\r\n", CODING),
        ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n", CODING),
        ("chunked, chunked", "Transfer-Encoding: chunked, chunked", "0\r\n\r\n", CODING),
        ("chunked, identity", "Transfer-Encoding: chunked, identity", "0\r\n\r\n", CODING),
        ("identity", "Transfer-Encoding: identity", "", CODING),
        ("gzip, chunked", "Transfer-Encoding: gzip, chunked", "0\r\n\r\n", CODING),
        ("chunked, gzip", "Transfer-Encoding: chunked, gzip", "0\r\n\r\n", CODING),
        ("xchunked", "Transfer-Encoding: xchunked", "0\r\n\r\n", CODING),
        ("chunkedx", "Transfer-Encoding: chunkedx", "0\r\n\r\n", CODING),
        ("quoted", "Transfer-Encoding: \"chunked\"", "0\r\n\r\n", CODING),
        ("with a parameter", "Transfer-Encoding: chunked;q=1", "0\r\n\r\n", CODING),
        ("no coding", "Transfer-Encoding:", "0\r\n\r\n", CODING),
        ("a comma alone", "Transfer-Encoding: ,", "0\r\n\r\n", CODING),
        ("a comma before", "Transfer-Encoding: , chunked", "0\r\n\r\n", CODING),
        ("behind a vertical tab", "Transfer-Encoding: \x0bchunked", "0\r\n\r\n", CODING),
        ("before a vertical tab", "Transfer-Encoding: chunked\x0b", "0\r\n\r\n", CODING),
        ("behind a NUL", "Transfer-Encoding: \0chunked", "0\r\n\r\n", CODING),
        ("a space before the colon", "Transfer-Encoding : chunked", "0\r\n\r\n", BAD),
        ("folded", "Transfer-Encoding:\r\n chunked", "0\r\n\r\n", BAD),
        ("folded behind", "Transfer-Encoding: chunked\r\n , identity", "0\r\n\r\n", BAD),
        ("hidden behind a bare LF", "X: y\nTransfer-Encoding: chunked", "0\r\n\r\n", BAD),
        ("hidden behind a bare CR", "X: y\rTransfer-Encoding: chunked", "0\r\n\r\n", BAD),
        ("another name", "Transfer_Encoding: chunked\r\nContent-Length: 2", "hi", Passed("hi")),
        ("two lengths", "Content-Length: 2\r\nContent-Length: 3", "hi", BAD),
        ("the same length twice", "Content-Length: 2\r\nContent-Length: 2", "hi", BAD),
        ("a list of lengths", "Content-Length: 2, 2", "hi", BAD),
        ("a list of other lengths", "Content-Length: 2,3", "hi", BAD),
        ("no length", "Content-Length:", "hi", BAD),
        ("a plus", "Content-Length: +2", "hi", BAD),
        ("a minus", "Content-Length: -2", "hi", BAD),
        ("hexadecimal", "Content-Length: 0x2", "hi", BAD),
        ("two numbers", "Content-Length: 2 2", "hi", BAD),
        ("a fraction", "Content-Length: 2.0", "hi", BAD),
        ("an exponent", "Content-Length: 2e0", "hi", BAD),
        ("quoted", "Content-Length: \"2\"", "hi", BAD),
        ("digits of another script", "Content-Length: ٢", "hi", BAD),
        ("a NUL behind", "Content-Length: 2\0", "hi", BAD),
        ("2^63", "Content-Length: 9223372036854775808", "hi", BAD),
        ("2^64", "Content-Length: 18446744073709551616", "hi", BAD),
        ("2^64 and 2", "Content-Length: 18446744073709551618", "hi", BAD),
        ("a space before the colon", "Content-Length : 2", "hi", BAD),
        ("folded", "Content-Length:\r\n 2", "hi", BAD),
    ]
}

fn chunks() -> Vec<(&'static str, String, Fate)> {
    let entries = [
        ("plain", "2\r\nhi\r\n0\r\n\r\n", Passed("hi")),
        ("zeros before", "0002\r\nhi\r\n000\r\n\r\n", Passed("hi")),
        ("large letters", "A\r\n0123456789\r\n0\r\n\r\n", Passed("0123456789")),
        ("an extension", "2;a=b\r\nhi\r\n0;c\r\n\r\n", Passed("hi")),
        ("a quoted extension", "2;a=\"b;c\"\r\nhi\r\n0\r\n\r\n", Passed("hi")),
        ("a trailer", "2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n", Passed("hi")),
        ("0x", "0x2\r\nhi\r\n0\r\n\r\n", BAD),
        ("a plus", "+2\r\nhi\r\n0\r\n\r\n", BAD),
        ("a minus", "-2\r\nhi\r\n0\r\n\r\n", BAD),
        ("a space before", " 2\r\nhi\r\n0\r\n\r\n", BAD),
        ("a space behind", "2 \r\nhi\r\n0\r\n\r\n", BAD),
        ("a word behind", "2 x\r\nhi\r\n0\r\n\r\n", BAD),
        ("no size", "\r\nhi\r\n0\r\n\r\n", BAD),
        ("an extension alone", ";a\r\nhi\r\n0\r\n\r\n", BAD),
        ("no digit", "g\r\nhi\r\n0\r\n\r\n", BAD),
        ("an underscore", "1_0\r\n0123456789abcdef\r\n0\r\n\r\n", BAD),
        ("2^63", "8000000000000000\r\nhi\r\n0\r\n\r\n", BAD),
        ("2^64 and 2", "10000000000000002\r\nhi\r\n0\r\n\r\n", BAD),
        ("a bare LF behind the size", "2\nhi\r\n0\r\n\r\n", BAD),
        ("a bare LF behind the data", "2\r\nhi\n0\r\n\r\n", BAD),
        ("a bare CR behind the size", "2\rhi\r\n0\r\n\r\n", BAD),
        ("longer than it says", "2\r\nhiX\r\n0\r\n\r\n", BAD),
        ("shorter than it says", "3\r\nhi\r\n0\r\n\r\n", BAD),
        ("a bare LF in an extension", "2;a\nb\r\nhi\r\n0\r\n\r\n", BAD),
        ("a bare CR in an extension", "2;a\rb\r\nhi\r\n0\r\n\r\n", BAD),
        ("a NUL in an extension", "2;a\0\r\nhi\r\n0\r\n\r\n", BAD),
        ("a bare LF at the end", "2\r\nhi\r\n0\r\n\n", BAD),
        ("a trailer without a colon", "2\r\nhi\r\n0\r\nX\r\n\r\n", BAD),
        ("a trailer that is folded", "2\r\nhi\r\n0\r\nX: a\r\n b\r\n\r\n", BAD),
        ("a trailer with a space before the colon", "2\r\nhi\r\n0\r\nX : a\r\n\r\n", BAD),
        ("a length as a trailer", "2\r\nhi\r\n0\r\nContent-Length: 5\r\n\r\n", BAD),
        ("a coding as a trailer", "2\r\nhi\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", BAD),
        ("a host as a trailer", "2\r\nhi\r\n0\r\nHost: b\r\n\r\n", BAD),
    ];
    let mut all: Vec<_> = entries.into_iter().map(|(name, body, fate)| (name, body.to_owned(), fate)).collect();
    all.push(("an endless extension", format!("2;{}\r\nhi\r\n0\r\n\r\n", "a".repeat(1000)), BAD));
    all.push(("a size of many zeros", format!("{}2\r\nhi\r\n0\r\n\r\n", "0".repeat(100)), BAD));
    all.push((
        "a trailer without end",
        format!("2\r\nhi\r\n0\r\nX: {}\r\n\r\n", "a".repeat(10_000)),
        Refused(&[0, 400]),
    ));
    all
}

fn wholes() -> Vec<(&'static str, String, Fate)> {
    let many: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    let deep = "Y: z\r\n".repeat(10_000);
    vec![
        ("an empty line before", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Passed("")),
        ("nothing but empty lines", "\r\n\r\n\r\n".into(), BAD),
        ("LF alone everywhere", "GET / HTTP/1.1\nHost: a\n\n".into(), BAD),
        ("CR alone everywhere", "GET / HTTP/1.1\rHost: a\r\r".into(), BAD),
        ("no HTTP", "hello\r\n\r\n".into(), BAD),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n".into(), BAD),
        ("too many fields", format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), Refused(&[431])),
        ("far too many fields", format!("GET / HTTP/1.1\r\nHost: a\r\n{deep}\r\n"), Refused(&[431])),
        ("a long field", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(40_000)), Refused(&[431])),
        (
            "a long name",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}: y\r\n\r\n", "X".repeat(40_000)),
            Refused(&[400, 431]),
        ),
        (
            "HTTP/1.0 with chunks",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            BAD,
        ),
        ("HTTP/1.0 kept open", "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n".into(), Passed("")),
        ("GET with a body", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".into(), Passed("hi")),
        ("the server of all", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".into(), Passed("")),
        ("a preface that is none", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".into(), Refused(&[400, 505])),
    ]
}
