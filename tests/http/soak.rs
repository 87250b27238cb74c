//! A long mixed load, low enough to leave the machine to others: memory stays flat, and no descriptor is left behind.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::stage::{Server, Stage};

/// What the allocator and the buffers that are kept may add, once everything has been in use.
const GROWTH_MAX: u64 = 6 << 10;

#[test]
#[ignore = "takes SOAK_SECONDS: make soak"]
fn a_long_mixed_load_leaves_nothing_behind() {
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let server = Server::raw(|mut client, _| {
        while let Some(request) = client.message() {
            match request.target() {
                "/long" => {
                    client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1 << 20));
                    client.send(vec![b'x'; 1 << 20]);
                }
                "/chunks" => client.send("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
                "/dies" => return,
                "/silent" => std::thread::sleep(Duration::from_millis(50)),
                "/upgrade" => {
                    client.send("HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
                    while let Some(byte) = client.exactly(1) {
                        client.send(byte);
                    }
                    return;
                }
                _ => client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            }
        }
    });
    let stage = Stage::start(server, &json!({ "gzip": { "min_length": 1 }, "timeout_server": "2s" }));
    let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", stage.edge())).expect("it runs").count();
    let before = descriptors();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (stage, over, answered) = (&stage, &over, &answered);
            scope.spawn(move || {
                let mut turn = worker;
                while !over.load(Relaxed) {
                    turn += 1;
                    mixed(stage, turn, answered);
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
        }
        // Everything has been in use after a while; what is there then has to be enough.
        let (began, mut base, mut shown) = (Instant::now(), None, Instant::now());
        let mut most = 0;
        while began.elapsed() < Duration::from_secs(seconds) {
            std::thread::sleep(Duration::from_millis(500));
            let (memory, open) = (stage.memory(), descriptors());
            if began.elapsed() > Duration::from_secs(seconds) / 4 {
                base.get_or_insert(memory);
                most = most.max(memory);
            }
            if shown.elapsed() > Duration::from_secs(60) {
                shown = Instant::now();
                let (minutes, count) = (began.elapsed().as_secs() / 60, answered.load(Relaxed));
                println!("{minutes} min: {count} answered, {memory} KiB, {open} descriptors");
            }
        }
        over.store(true, Relaxed);
        let base = base.unwrap_or(most);
        println!("{} answered; {base} KiB after a quarter, {most} KiB at most", answered.load(Relaxed));
        assert!(most < base + GROWTH_MAX, "it grew from {base} to {most} KiB");
    });
    // The idle connections to the server go last, after a minute; then there are as many as in the beginning.
    let patience = Instant::now() + Duration::from_secs(120);
    while descriptors() > before {
        assert!(Instant::now() < patience, "{} descriptors, {before} before the load", descriptors());
        std::thread::sleep(Duration::from_millis(500));
    }
    stage.still_serves();
}

/// One of many things that clients do.
fn mixed(stage: &Stage, turn: u64, answered: &AtomicU64) {
    let mut client = stage.connect();
    match turn % 12 {
        0..4 => {
            for _ in 0..10 {
                client.send("GET /chunks HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
                assert_eq!(client.message().expect("an answer").status(), 200);
                answered.fetch_add(1, Relaxed);
            }
        }
        4 => {
            client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
            assert_eq!(client.message().expect("an answer").status(), 200);
        }
        5 => {
            client.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.message().expect("an answer").body.len(), 1 << 20);
        }
        // Leaves in the middle, before the end, and without a word.
        6 => {
            client.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n");
            client.more();
        }
        7 => client.send("GET /silent HTTP/1.1\r\nHost: a\r\n\r\n"),
        8 => client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc"),
        9 => {
            client.send("POST /dies HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(client.message().expect("an answer").status(), 502);
        }
        10 => {
            client.send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
            assert_eq!(client.message().expect("an answer").status(), 101);
            client.send("hello");
            assert_eq!(client.exactly(5).expect("an echo"), b"hello");
        }
        _ => {
            let url = format!("http://127.0.0.1:{}/chunks", stage.port);
            let mut h2load = Command::new("h2load");
            let status = h2load.args(["-n", "50", "-c", "2", "-m", "5", &url]).stdout(Stdio::null()).status();
            assert!(status.is_ok_and(|status| status.success()));
            answered.fetch_add(50, Relaxed);
        }
    }
}
