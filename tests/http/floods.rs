//! HTTP/2 as a weapon: each flood costs the connection that it comes on, and nobody else anything to speak of.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, field,
    frame, get, open,
};
use crate::stage::{Server, Stage};

/// A balancer must not grow by more than this under any of them. Its buffers are kept for the next ones.
const GROWTH_MAX: u64 = 24 << 10;

/// For so long at most; the connection is often cut before.
const FLOOD: Duration = Duration::from_millis(700);

/// Sends frames as fast as they are taken, without reading anything, while others are served; returns how many pieces
/// were sent and whether the connection was cut.
fn flood(stage: &Stage, name: &str, mut piece: impl FnMut(u32) -> Vec<u8> + Send) -> (u32, bool) {
    let before = stage.memory();
    let served = AtomicBool::new(false);
    let told = std::thread::scope(|scope| {
        let attack = scope.spawn(|| {
            use std::io::Write;
            let client = open(stage.port);
            client.stream.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
            let (began, mut number, mut cut) = (Instant::now(), 0, false);
            while began.elapsed() < FLOOD && !cut {
                match (&client.stream).write_all(&piece(number)) {
                    Ok(()) => number += 1,
                    // It takes no more: what we do not read is its limit.
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                    Err(_) => cut = true,
                }
            }
            served.store(true, Relaxed);
            (number, cut)
        });
        let mut slowest = Duration::ZERO;
        while !served.load(Relaxed) {
            let asked = Instant::now();
            stage.still_serves();
            slowest = slowest.max(asked.elapsed());
        }
        assert!(slowest < Duration::from_secs(5), "{name}: somebody else waited for {slowest:?}");
        attack.join().expect("it ends")
    });
    eprintln!("{name}: {} pieces, cut: {}", told.0, told.1);
    let grown = stage.memory().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{name}: {grown} KiB more after {} pieces", told.0);
    stage.still_serves();
    told
}

#[test]
fn floods_are_bounded() {
    let stage = Stage::start(Server::recording(), &json!({}));
    let many = |one: Vec<u8>, count: usize| one.repeat(count);
    let settings = many(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]), 500);
    let empty_settings = many(frame(SETTINGS, 0, 0, &[]), 500);
    let pings = many(frame(PING, 0, 0, &[7; 8]), 500);
    let priorities = many(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 7]), 500);
    let windows = many(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), 500);
    let unknown = many(frame(0x42, 0, 0, b"?"), 500);
    for (name, bytes) in [
        ("settings", settings),
        ("empty settings", empty_settings),
        ("pings", pings),
        ("priorities", priorities),
        ("window updates", windows),
        ("unknown frames", unknown),
    ] {
        flood(&stage, name, |_| bytes.clone());
    }
}

#[test]
fn endless_heads_are_cut() {
    let stage = Stage::start(Server::recording(), &json!({}));
    let (_, cut) = flood(&stage, "continuations", |number| {
        let fields = field("x", &[b'y'; 1000]).repeat(10);
        match number {
            0 => frame(HEADERS, END_STREAM, 1, &get()),
            _ => frame(CONTINUATION, 0, 1, &fields),
        }
    });
    assert!(cut, "CVE-2024-27316 and its kin");
    let (_, cut) = flood(&stage, "empty continuations", |number| match number {
        0 => frame(HEADERS, END_STREAM, 1, &get()),
        _ => frame(CONTINUATION, 0, 1, &[]).repeat(100),
    });
    assert!(cut);
    // One field in the table, named a thousand times: a few bytes each, 4 KiB each when it is unpacked.
    let bomb = {
        let mut block = get();
        block.push(0x40);
        block.extend(&field("x", &[b'y'; 3900])[1..]);
        block.extend([0xbe; 1000]);
        block
    };
    flood(&stage, "an HPACK bomb", |number| frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &bomb));
    assert!(stage.server.take().iter().all(|message| message.target() == "/well"));
}

#[test]
fn rapid_resets_are_sent_away() {
    // A server that never answers: each request would keep a place for good.
    let server = Server::raw(|mut client, _| {
        while let Some(request) = client.message() {
            if request.target() == "/well" {
                client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        }
    });
    let stage = Stage::start(server, &json!({}));
    let pair = |number: u32| {
        let stream = number * 2 + 1;
        [frame(HEADERS, END_HEADERS | END_STREAM, stream, &get()), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    let (_, cut) = flood(&stage, "rapid reset", pair);
    assert!(cut, "CVE-2023-44487");
    rpm_tests::until("nothing of it is left", || stage.counters()["in_flight"] == 0);
    // A hundred may be given up before it shows; the rest was on its way meanwhile.
    let requests = stage.counters()["requests"].as_u64().expect("a count");
    assert!(requests < 2000, "{requests} requests reached the server");
    // The other way round (CVE-2025-8671): the client makes us reset.
    let (_, cut) = flood(&stage, "made you reset", |number| {
        let stream = number * 2 + 1;
        let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get());
        [head, frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 0])].concat()
    });
    assert!(cut);
    rpm_tests::until("nothing of it is left", || stage.counters()["in_flight"] == 0);
}

#[test]
fn data_that_says_nothing_is_cut() {
    let stage = Stage::start(Server::recording(), &json!({}));
    let post = || {
        let fields = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "a")];
        let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value.as_bytes())).collect();
        frame(HEADERS, END_HEADERS, 1, &block)
    };
    let (_, cut) = flood(&stage, "empty data", |number| match number {
        0 => post(),
        _ => frame(DATA, 0, 1, &[]).repeat(500),
    });
    assert!(cut, "CVE-2019-9518");
    // More than the window allows.
    flood(&stage, "data without a window", |number| match number {
        0 => post(),
        _ => frame(DATA, 0, 1, &[0; 16_000]).repeat(20),
    });
}

#[test]
fn answers_that_nobody_takes_wait_in_bounds() {
    let server = Server::raw(|mut client, _| {
        while let Some(request) = client.message() {
            let length = if request.target() == "/well" { 2 } else { 8 << 20 };
            client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
            client.send(vec![b'x'; length]);
        }
    });
    let stage = Stage::start(server, &json!({ "timeout_client": "1s" }));
    // Windows as large as they may be, and nothing read (CVE-2019-9517).
    flood(&stage, "internal data buffering", |number| match number {
        0 => [frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]), frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0, 0])]
            .concat(),
        number if number <= 100 => frame(HEADERS, END_HEADERS | END_STREAM, number * 2 - 1, &get()),
        _ => {
            std::thread::sleep(Duration::from_millis(50));
            frame(PING, 0, 0, &[1; 8])
        }
    });
}
