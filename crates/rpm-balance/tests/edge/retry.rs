//! Servers that fail, and what is tried again.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use rpm_model::balance::ServerSpec;
use rpm_model::edge::{Answer, Ask, Member, MemberState};

use crate::stage::{Edge, Server, nobody, ok, until};

/// A server that leaves without an answer.
fn deaf() -> Server {
    Server::raw(|mut client, _| {
        client.message(false);
    })
}

#[test]
fn a_request_that_may_be_repeated_goes_to_another_server() {
    let (bad, good) = (deaf(), Server::named("good"));
    let edge = Edge::start(|spec| {
        for server in [&bad, &good] {
            spec.upstreams[0].servers.push(ServerSpec { max_fails: 0, ..server.spec() });
        }
    });
    for _ in 0..6 {
        assert_eq!(edge.get("/").text(), "good");
    }
    assert!(bad.connections.load(SeqCst) >= 2);
    let stats = edge.stats();
    assert_eq!(stats.upstreams[0].servers[0].retries, stats.upstreams[0].servers[0].requests);
}

#[test]
fn a_request_that_may_not_be_repeated_is_not() {
    let (bad, good) = (deaf(), Server::named("good"));
    let edge = Edge::start(|spec| {
        for server in [&bad, &good] {
            spec.upstreams[0].servers.push(ServerSpec { max_fails: 0, ..server.spec() });
        }
    });
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let mut client = edge.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        statuses.push(client.reply().status());
    }
    statuses.sort_unstable();
    assert!(statuses.contains(&502) && statuses.contains(&200), "{statuses:?}");
    assert_eq!(good.requests.lock().unwrap().len() + bad.connections.load(SeqCst), 4);
}

#[test]
fn a_server_that_cannot_be_reached_costs_nothing_but_a_try() {
    let good = Server::named("good");
    let edge = Edge::start(|spec| spec.upstreams[0].servers.extend([nobody(), good.spec()]));
    for _ in 0..6 {
        let mut client = edge.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(client.reply().text(), "good");
    }
    assert_eq!(edge.stats().upstreams[0].servers[0].connect_errors, 1, "then it is left out");
}

#[test]
fn without_another_server_the_client_is_told() {
    let edge = Edge::start(|spec| spec.upstreams[0].servers.push(nobody()));
    assert_eq!(edge.get("/").status(), 502);
    let edge = Edge::start(|_| {});
    assert_eq!(edge.get("/").status(), 503);
}

#[test]
fn a_kept_connection_that_was_closed_is_no_failure() {
    let server = Server::raw(|mut client, _| {
        client.message(false);
        client.send(ok("once"));
    });
    let edge = Edge::before(&[&server]);
    for _ in 0..10 {
        assert_eq!(edge.get("/").text(), "once");
    }
    let stats = edge.stats();
    assert_eq!(stats.upstreams[0].servers[0].answer_errors, 0);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let server = Server::raw(|mut client, _| {
        client.message(false);
        client.rest();
    });
    let edge = Edge::start(|spec| {
        spec.upstreams[0].servers.push(server.spec());
        spec.balancers[0].timeouts.server = Duration::from_millis(200);
    });
    assert_eq!(edge.get("/").status(), 504);
}

#[test]
fn requests_wait_for_a_place_and_for_a_worker() {
    let server = Server::raw(|mut client, _| {
        while client.message(false).is_some() {
            std::thread::sleep(Duration::from_millis(30));
            client.send(ok("done"));
        }
    });
    let edge = Edge::start(|spec| {
        spec.upstreams[0].servers.push(ServerSpec { maxconn: Some(1), ..server.spec() });
        spec.upstreams[0].timeout_queue = Duration::from_secs(10);
    });
    std::thread::scope(|scope| {
        let edge = &edge;
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(move || client(edge))).collect();
        for client in clients {
            assert_eq!(client.join().unwrap(), "done");
        }
    });
    assert!(server.connections.load(SeqCst) <= 2);
    let stats = edge.stats();
    assert!(stats.upstreams[0].queue_max >= 2 && stats.upstreams[0].queue == 0, "{stats:?}");
}

fn client(edge: &Edge) -> String {
    let mut client = edge.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.reply().text()
}

#[test]
fn the_restart_of_a_single_worker_costs_no_request() {
    let app = ServerSpec::at(rpm_model::balance::ServerAddress::App("api".into()));
    let edge = Edge::start(|spec| spec.upstreams[0].servers.push(app));
    let member = |number: u32, server: &Server, state| Member {
        app: "api".into(),
        name: format!("api:0.{number}"),
        seat: "api:0".into(),
        address: server.address.to_string().parse().unwrap(),
        state,
        weight: None,
        source: None,
    };
    let first = Server::named("first");
    let mut early = edge.connect();
    early.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it waits", || edge.stats().upstreams[0].queue == 1);
    assert_eq!(edge.ask(Ask::Member(member(1, &first, MemberState::Starting))), Answer::Done);
    assert_eq!(edge.stats().upstreams[0].queue, 1);
    assert_eq!(edge.ask(Ask::Member(member(1, &first, MemberState::Ready))), Answer::Done);
    assert_eq!(early.reply().text(), "first");
    assert_eq!(edge.ask(Ask::RemoveMember { app: "api".into(), member: "api:0.1".into() }), Answer::Done);
    let mut late = edge.connect();
    late.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it waits", || edge.stats().upstreams[0].queue == 1);
    let second = Server::named("second");
    assert_eq!(edge.ask(Ask::Member(member(2, &second, MemberState::Ready))), Answer::Done);
    assert_eq!(late.reply().text(), "second");
}
