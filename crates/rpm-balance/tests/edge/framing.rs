//! Messages that are none, and those that lie about their length.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use rpm_model::Bytes;

use crate::stage::{Edge, Server, ok};

#[test]
fn what_is_no_request_never_reaches_a_server() {
    let server = Server::named("a");
    let edge = Edge::before(&[&server]);
    for (status, request) in [
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
        (400, "GET / HTTP/1.1\nHost: a\n\n"),
        (405, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"),
        (505, "GET / HTTP/3.0\r\nHost: a\r\n\r\n"),
    ] {
        let mut client = edge.connect();
        client.send(format!("{request}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
        let reply = client.reply();
        assert_eq!(reply.status(), status, "{request:?}");
        client.finish();
        assert!(client.is_closed(), "{request:?}");
    }
    assert_eq!(server.connections.load(SeqCst), 0);
    assert_eq!(edge.stats().balancers[0].refused, 8);
}

#[test]
fn a_body_that_goes_wrong_later_takes_both_connections_with_it() {
    let server = Server::named("a");
    let edge = Edge::before(&[&server]);
    let mut client = edge.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    std::thread::sleep(Duration::from_millis(50));
    client.send("x\r\nGET / HTTP/1.1\r\n\r\n");
    assert!(client.is_closed());
    assert_eq!(edge.get("/").text(), "a");
    assert_eq!(server.requests.lock().unwrap().len(), 1);
}

#[test]
fn answers_that_are_none_are_bad_gateways() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 2",
        "nonsense\r\n\r\n",
    ] {
        let server = Server::raw(move |mut client, _| {
            client.head();
            client.send(answer);
        });
        let edge = Edge::before(&[&server]);
        let mut client = edge.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.reply().status(), 502, "{answer:?}");
        assert_eq!(server.connections.load(SeqCst), 1, "{answer:?}: it is not asked again");
    }
}

#[test]
fn an_answer_that_is_too_long_never_reaches_the_next_one() {
    let server = Server::raw(|mut client, number| {
        while client.message(false).is_some() {
            client.send(format!("{}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", ok(&number.to_string())));
        }
    });
    let edge = Edge::before(&[&server]);
    let mut client = edge.connect();
    for number in 1..4 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.reply().text(), number.to_string());
    }
}

#[test]
fn an_answer_that_breaks_off_is_never_ended_cleanly() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    ] {
        let server = Server::raw(move |mut client, _| {
            client.head();
            client.send(answer);
        });
        let edge = Edge::before(&[&server]);
        let mut client = edge.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let text = String::from_utf8(client.rest()).unwrap();
        assert!(!text.ends_with("0\r\n\r\n"), "{text:?}");
        assert!(text.matches("HTTP/1.1").count() <= 1, "{text:?}");
    }
}

#[test]
fn limits_are_kept() {
    let server = Server::named("a");
    let edge = Edge::start(|spec| {
        spec.upstreams[0].servers.push(server.spec());
        spec.balancers[0].limits.body = Some(Bytes(10));
        spec.balancers[0].limits.header = Bytes(1000);
    });
    let status = |text: String| {
        let mut client = edge.connect();
        client.send(text);
        client.reply().status()
    };
    let long = "x".repeat(2000);
    assert_eq!(status(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")), 431);
    assert_eq!(status(format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")), 414);
    assert_eq!(status(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n{long}")), 413);
    let chunk = "b\r\n01234567890\r\n0\r\n\r\n";
    assert_eq!(status(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}")), 413);
    assert_eq!(server.connections.load(SeqCst), 0);
    assert_eq!(status("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789".into()), 200);
}

#[test]
fn slow_clients_are_told_and_silent_ones_left() {
    let server = Server::named("a");
    let edge = Edge::start(|spec| {
        spec.upstreams[0].servers.push(server.spec());
        spec.balancers[0].timeouts.header = Duration::from_millis(200);
        spec.balancers[0].timeouts.keep_alive = Duration::from_millis(200);
        spec.balancers[0].timeouts.client = Duration::from_millis(200);
    });
    let mut slow = edge.connect();
    slow.send("GET / HT");
    assert_eq!(slow.reply().status(), 408);
    let mut silent = edge.connect();
    assert!(silent.is_closed());
    let mut idle = edge.connect();
    idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(idle.reply().status(), 200);
    assert!(idle.is_closed());
    let mut body = edge.connect();
    body.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    assert!(body.is_closed());
}
