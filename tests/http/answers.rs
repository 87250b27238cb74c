//! Odd answers, and what has to become of each.

use serde_json::json;

use crate::stage::{Server, Stage};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The client is told 502, or what else the status is, and hears nothing of the answer.
    Told(u16),
    /// It gets this body.
    Passed(&'static str),
    /// It gets a part, and can tell that it is one.
    Broken,
}

use Fate::{Broken, Passed, Told};

/// Name, answer, whether the server closes behind it, fate.
const ALL: &[(&str, &str, bool, Fate)] = &[
    ("plain", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", false, Passed("hi")),
    ("HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", true, Passed("hi")),
    ("until the end", "HTTP/1.1 200 OK\r\n\r\nhi", true, Passed("hi")),
    ("no reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nhi", false, Passed("hi")),
    ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", false, Passed("hi")),
    (
        "trailers",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: 1\r\n\r\n",
        false,
        Passed("hi"),
    ),
    (
        "an interim one before",
        "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        false,
        Passed("hi"),
    ),
    (
        "many interim ones",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        false,
        Passed("hi"),
    ),
    ("a status nobody knows", "HTTP/1.1 299 Hm\r\nContent-Length: 2\r\n\r\nhi", false, Passed("hi")),
    (
        "longer than it says",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        false,
        Passed("hi"),
    ),
    (
        "a body behind 204",
        "HTTP/1.1 204 None\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        false,
        Passed(""),
    ),
    (
        "a length and a coding",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        false,
        Told(502),
    ),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi", false, Told(502)),
    ("a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nhi", false, Told(502)),
    ("a length below nothing", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi", false, Told(502)),
    ("2^64", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nhi", false, Told(502)),
    ("another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi", true, Told(502)),
    ("chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", false, Told(502)),
    ("chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, Told(502)),
    (
        "an upgrade nobody asked for",
        "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        false,
        Told(502),
    ),
    ("a bare LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", false, Told(502)),
    ("a folded field", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nhi", false, Told(502)),
    ("a space before the colon", "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nhi", false, Told(502)),
    ("a NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0\r\nContent-Length: 2\r\n\r\nhi", false, Told(502)),
    ("a bare CR in a value", "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nhi", false, Told(502)),
    ("no HTTP", "hello\r\n\r\n", true, Told(502)),
    ("HTTP/2", "HTTP/2 200\r\n\r\n", true, Told(502)),
    ("four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nhi", false, Told(502)),
    ("no status", "HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nhi", true, Told(502)),
    ("a status of 99", "HTTP/1.1 99 Low\r\nContent-Length: 2\r\n\r\nhi", false, Told(502)),
    ("half a head", "HTTP/1.1 200 OK\r\nContent-Le", true, Told(502)),
    ("nothing", "", true, Told(502)),
    (
        "chunks that are none",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n",
        false,
        Broken,
    ),
    ("a chunk too long", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhiX\r\n0\r\n\r\n", false, Broken),
    (
        "a chunk with a bare LF",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n",
        false,
        Broken,
    ),
    ("shorter than it says", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", true, Broken),
    ("chunks without an end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", true, Broken),
    ("half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi", true, Broken),
];

#[test]
fn every_odd_answer_meets_its_fate() {
    let server = Server::raw(|mut client, seen| {
        while let Some(request) = client.message() {
            let number = request.target().strip_prefix('/').and_then(|number| number.parse::<usize>().ok());
            seen.lock().expect("a record").push(request);
            let Some(number) = number else {
                client.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell");
                continue;
            };
            client.send(ALL[number].1);
            if ALL[number].2 {
                return;
            }
        }
    });
    // What a server does wrong must not take it out of use here: the next entry needs it.
    let stage = Stage::start(server, &json!({}));
    let mut wrong = Vec::new();
    for (number, (name, answer, _, fate)) in ALL.iter().enumerate() {
        let mut client = stage.connect();
        // Not idempotent: it is asked once only.
        client.send(format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
        let mut got = client.message();
        while got.as_ref().is_some_and(|got| got.status() < 200 && got.status() != 101) {
            got = client.message();
        }
        let good = match (fate, &got) {
            (Told(status), Some(got)) => got.status() == *status && !got.body.ends_with(b"hi"),
            (Passed(body), Some(got)) => got.body == body.as_bytes() && got.status() / 100 == 2,
            // The connection ends before the answer does.
            (Broken, None) => true,
            (Broken, Some(_)) | (Told(_) | Passed(_), None) => false,
        };
        if !good {
            wrong.push(format!("{name}: {fate:?} is due for {answer:?}, but: {got:?}"));
        }
        // Whatever was left over reaches nobody else.
        if *fate != Broken {
            client.send("GET /well HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            if let Some(next) = client.message()
                && next.body != b"well"
            {
                wrong.push(format!("{name}: the next one got {next:?}"));
            }
        }
        let mut other = stage.connect();
        other.send("GET /well HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let other = other.message();
        if other.as_ref().is_none_or(|other| other.body != b"well") {
            wrong.push(format!("{name}: somebody else got {other:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let asked = stage.server.take();
    for (number, (name, ..)) in ALL.iter().enumerate() {
        let target = format!("/{number}");
        assert_eq!(asked.iter().filter(|message| message.target() == target).count(), 1, "{name}");
    }
}
