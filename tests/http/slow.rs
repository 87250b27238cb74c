//! Clients and servers that are slow, silent, or leave.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use rpm_tests::until;
use serde_json::json;

use crate::stage::{Server, Stage};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn slow_clients_do_not_hold_us_up() {
    let limits = json!({ "timeout_header": "300ms", "timeout_client": "300ms", "timeout_keep_alive": "300ms" });
    let stage = Stage::start(Server::recording(), &limits);
    let began = Instant::now();
    // One byte at a time, each in time, and never done (slowloris).
    let mut slow = stage.connect();
    let mut dribbling = stage.connect();
    dribbling.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let writer = dribbling.stream.try_clone().expect("a clone");
    let dribble = std::thread::spawn(move || {
        let mut client = crate::stage::Client::new(writer);
        for _ in 0..30 {
            client.send("X: y\r\n");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    slow.send("GET / HT");
    assert_eq!(slow.message().expect("an answer").status(), 408);
    assert_eq!(dribbling.message().expect("an answer").status(), 408);
    let mut silent = stage.connect();
    assert!(silent.rest().is_empty());
    let mut body = stage.connect();
    body.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    assert!(body.message().is_none_or(|answer| answer.status() == 408));
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(stage.server.take().iter().all(|message| message.body.len() == 10), "no half body is a whole one");
    dribble.join().expect("it ends");
    stage.still_serves();
}

#[test]
fn a_client_that_takes_nothing_costs_a_while_and_no_more() {
    let server = Server::raw(|mut client, _| {
        while client.message().is_some() {
            client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 << 20));
            client.send(vec![b'x'; 64 << 20]);
        }
    });
    let stage = Stage::start(server, &json!({ "timeout_client": "500ms" }));
    let before = stage.memory();
    let deaf: Vec<_> = (0..20)
        .map(|_| {
            let mut client = stage.connect();
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client
        })
        .collect();
    until("they are given up", || stage.counters()["in_flight"] == 0);
    let grown = stage.memory().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB more for 20 clients");
    drop(deaf);
}

#[test]
fn silent_and_dying_servers_are_told_of() {
    let server = Server::raw(|mut client, _| {
        while let Some(request) = client.message() {
            match request.target() {
                "/silent" => {
                    client.rest();
                }
                "/half" => {
                    client.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
                    client.rest();
                }
                "/dies" => return,
                _ => client.send(OK),
            }
        }
    });
    let stage = Stage::start(server, &json!({ "timeout_server": "300ms" }));
    let status = |target: &str| {
        let mut client = stage.connect();
        client.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
        client.message().map(|answer| answer.status())
    };
    assert_eq!(status("/silent"), Some(504));
    assert_eq!(status("/dies"), Some(502));
    assert_eq!(status("/half"), None, "half an answer is no answer");
    stage.still_serves();
}

#[test]
fn half_closed_clients_are_answered_and_gone_ones_forgotten() {
    let server = Server::raw(|mut client, _| {
        while let Some(request) = client.message() {
            if request.target() == "/silent" {
                client.rest();
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
            client.send(OK);
        }
    });
    let stage = Stage::start(server, &json!({}));
    let mut half = stage.connect();
    half.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    half.stream.shutdown(Shutdown::Write).expect("half a close");
    assert_eq!(half.message().expect("an answer").body, b"ok");
    assert!(half.rest().is_empty());
    let mut gone = stage.connect();
    gone.send("GET /silent HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it is under way", || stage.counters()["in_flight"] == 1);
    drop(gone);
    until("its place is free", || stage.counters()["in_flight"] == 0);
}

#[test]
fn a_body_that_nobody_wants_does_not_spoil_the_answer() {
    let server = Server::raw(|mut client, _| {
        // The head alone is read; then it answers, and goes.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Some(byte) = client.exactly(1) else { return };
            head.extend(byte);
        }
        client.send("HTTP/1.1 401 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    });
    let stage = Stage::start(server, &json!({}));
    let mut client = stage.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nabc");
    assert_eq!(client.message().expect("an answer").status(), 401);
    let mut limited = stage.connect();
    limited.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 100000000\r\n\r\n");
    assert_eq!(limited.message().expect("an answer").status(), 401);
}
