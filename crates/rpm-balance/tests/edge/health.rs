//! How servers are found to be well or ill.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::time::Duration;

use rpm_model::balance::{Check, CheckSpec, OutlierSpec, ServerSpec};
use rpm_model::edge::{Answer, Ask, Notice, ServerChange, ServerState};

use crate::stage::{Edge, Server, nobody, ok, until};

fn every_20_ms(check: Check) -> CheckSpec {
    CheckSpec { check, interval: Duration::from_millis(20), ..CheckSpec::default() }
}

#[test]
fn a_check_takes_a_server_out_and_brings_it_back() {
    let status = Arc::new(AtomicU16::new(200));
    let shown = status.clone();
    let server = Server::answering(move |_| {
        format!("HTTP/1.1 {} X\r\nContent-Length: 7\r\nConnection: close\r\n\r\nhealthy", shown.load(SeqCst))
    });
    let edge = Edge::start(|spec| {
        spec.upstreams[0].servers.push(server.spec());
        spec.upstreams[0].health_check = Some(every_20_ms(Check::Http {
            method: "GET".into(),
            path: "/health".into(),
            host: None,
            status: Vec::new(),
            body: Some("health".into()),
        }));
    });
    let name = server.spec().name;
    until("a check passed", || edge.stats().upstreams[0].servers[0].check.as_ref().is_some_and(|check| check.passed));
    status.store(503, SeqCst);
    until("it is down", || edge.state_of(&name) == ServerState::Down);
    assert_eq!(edge.get("/").status(), 503);
    assert_eq!(edge.stats().upstreams[0].servers[0].state_reason, "status 503");
    status.store(204, SeqCst);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(edge.state_of(&name), ServerState::Down, "the body is not there");
    status.store(200, SeqCst);
    until("it is up", || edge.state_of(&name) == ServerState::Up);
    assert_eq!(edge.get("/").status(), 200);
    let notices = edge.notices.lock().unwrap();
    let to = |state| notices.iter().any(|notice| matches!(notice, Notice::State { to, .. } if *to == state));
    assert!(to(ServerState::Down) && to(ServerState::Up));
}

#[test]
fn a_port_that_opens_is_enough_for_tcp() {
    let server = Server::named("a");
    let dead = nobody();
    let edge = Edge::start(|spec| {
        spec.upstreams[0].servers.extend([server.spec(), dead.clone()]);
        spec.upstreams[0].health_check = Some(every_20_ms(Check::Tcp));
    });
    until("it is down", || edge.state_of(&dead.name) == ServerState::Down);
    assert_eq!(edge.state_of(&server.spec().name), ServerState::Up);
    for _ in 0..4 {
        assert_eq!(edge.get("/").text(), "a");
    }
}

#[test]
fn failures_of_requests_take_a_server_out_for_a_while() {
    let good = Server::named("good");
    let edge = Edge::start(|spec| {
        let bad = ServerSpec { max_fails: 2, fail_timeout: Duration::from_millis(300), ..nobody() };
        spec.upstreams[0].servers.extend([bad, good.spec()]);
    });
    let errors = || edge.stats().upstreams[0].servers[0].connect_errors;
    for _ in 0..10 {
        assert_eq!(edge.get("/").text(), "good");
    }
    assert_eq!(errors(), 2);
    until("it is tried again", || {
        assert_eq!(edge.get("/").text(), "good");
        errors() == 3
    });
}

#[test]
fn a_server_that_answers_badly_is_ejected() {
    let bad = Server::answering(|_| "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".into());
    let good = Server::named("good");
    let edge = Edge::start(|spec| {
        spec.upstreams[0].servers.extend([bad.spec(), good.spec()]);
        spec.upstreams[0].outlier = Some(OutlierSpec { consecutive_5xx: 3, ..OutlierSpec::default() });
    });
    let bad_ones = (0..40).filter(|_| edge.get("/").status() == 500).count();
    // One more for each thread that may have chosen it already.
    assert!((3..=5).contains(&bad_ones), "{bad_ones}");
    assert_eq!(edge.state_of(&bad.spec().name), ServerState::Ejected);
}

#[test]
fn a_person_drains_a_server_and_hears_when_it_is_empty() {
    let (a, b) = (
        Server::raw(|mut client, _| {
            while client.message(false).is_some() {
                std::thread::sleep(Duration::from_millis(200));
                client.send(ok("a"));
            }
        }),
        Server::named("b"),
    );
    let edge = Edge::before(&[&a, &b]);
    let name = a.spec().name;
    let change = |change| edge.ask(Ask::Server { upstream: "u".into(), server: name.clone(), change });
    let mut clients: Vec<_> = (0..4).map(|_| edge.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    until("it is busy", || edge.stats().upstreams[0].servers[0].in_flight > 0);
    assert_eq!(change(ServerChange::Drain), Answer::Done);
    for _ in 0..6 {
        assert_eq!(edge.get("/").text(), "b");
    }
    for client in &mut clients {
        assert_eq!(client.reply().status(), 200);
    }
    until("it is empty", || {
        edge.stats();
        edge.notices.lock().unwrap().contains(&Notice::Drained { upstream: "u".into(), server: name.clone() })
    });
    assert_eq!(change(ServerChange::Ready), Answer::Done);
    assert_eq!(edge.state_of(&name), ServerState::Up);
    assert_eq!(change(ServerChange::Weight(0)), Answer::Done);
    for _ in 0..6 {
        assert_eq!(edge.get("/").text(), "b");
    }
    let wrong = edge.ask(Ask::Server { upstream: "u".into(), server: "x".into(), change: ServerChange::Drain });
    assert!(matches!(wrong, Answer::Refused(_)));
}
