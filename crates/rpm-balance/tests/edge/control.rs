//! What the daemon asks: configurations, and the end.

use std::net::TcpListener;
use std::time::Duration;

use rpm_model::balance::{ListenSpec, RouteAction, RouteSpec};
use rpm_model::edge::{Answer, Ask};

use crate::stage::{Client, Edge, Server, ok, until};

#[test]
fn a_configuration_is_applied_whole_or_refused_whole() {
    let (a, b) = (Server::named("a"), Server::named("b"));
    let edge = Edge::before(&[&a]);
    let mut client = edge.connect();
    let mut get = || {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.reply().text()
    };
    assert_eq!(get(), "a");
    let mut wrong = edge.spec.clone();
    wrong.upstreams[0].servers = vec![b.spec()];
    wrong.balancers[0].routes.push(RouteSpec::to(RouteAction::Upstream("missing".into())));
    wrong.balancers[0].listen.push(ListenSpec { address: ":1".parse().unwrap(), proxy_protocol: false });
    let Answer::Refused(mistakes) = edge.configure(wrong) else { panic!("it was taken") };
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes[0].contains("balancer web: there is no upstream \"missing\""), "{mistakes:?}");
    assert_eq!(get(), "a");
    let mut right = edge.spec.clone();
    right.version = 2;
    right.upstreams[0].servers = vec![b.spec()];
    assert_eq!(edge.configure(right), Answer::Done);
    assert_eq!(get(), "b", "on the same connection");
    assert_eq!(edge.stats().version, 2);
}

#[test]
fn counters_stay_when_the_configuration_changes() {
    let (a, b) = (Server::named("a"), Server::named("b"));
    let edge = Edge::before(&[&a]);
    assert_eq!(edge.get("/").text(), "a");
    let mut more = edge.spec.clone();
    more.upstreams[0].servers.push(b.spec());
    assert_eq!(edge.configure(more), Answer::Done);
    let stats = edge.stats();
    assert_eq!(stats.upstreams[0].servers[0].requests, 1);
    assert_eq!(stats.upstreams[0].servers[0].answers.success, 1);
    assert_eq!(stats.balancers[0].answers.success, 1);
    assert!(stats.balancers[0].latency.p99_us > 0 && stats.balancers[0].bytes_out > 0);
}

#[test]
fn listening_sockets_come_and_go() {
    let server = Server::named("a");
    let edge = Edge::before(&[&server]);
    let more = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = more.local_addr().unwrap();
    let mut spec = edge.spec.clone();
    spec.balancers[0].listen =
        vec![ListenSpec { address: address.to_string().parse().unwrap(), proxy_protocol: false }];
    spec.listeners = vec![address.to_string()];
    assert_eq!(edge.ask_with(Ask::Configure(spec), &[more.into()]), Answer::Done);
    let mut client = Client::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.reply().text(), "a");
    // The test still has the other socket: nobody accepts from it any more.
    let mut waiting = edge.connect();
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    edge.listener.set_nonblocking(true).unwrap();
    until("it is ours to accept", || edge.listener.accept().is_ok());
}

#[test]
fn quitting_lets_requests_end_and_closes_what_idles() {
    let server = Server::raw(|mut client, _| {
        while client.message(false).is_some() {
            std::thread::sleep(Duration::from_millis(200));
            client.send(ok("slow"));
        }
    });
    let edge = Edge::before(&[&server]);
    let (mut busy, mut idle) = (edge.connect(), edge.connect());
    idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(idle.reply().text(), "slow");
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it is busy", || edge.stats().balancers[0].in_flight == 1);
    // A connection without a request yet: it was closed when the edge quitted, with the request on its way.
    let mut late = edge.connect();
    until("it is accepted", || edge.stats().balancers[0].connections == 3);
    let quitting = std::thread::spawn(move || edge.quit());
    assert!(idle.is_closed());
    late.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(late.reply().text(), "slow");
    let reply = busy.reply();
    assert_eq!(reply.text(), "slow");
    assert_eq!(quitting.join().unwrap(), 0);
}

#[test]
fn more_clients_than_allowed_wait_in_the_kernel() {
    let server = Server::named("a");
    let edge = Edge::start(|spec| {
        spec.upstreams[0].servers.push(server.spec());
        spec.balancers[0].maxconn = 2;
    });
    let mut first: Vec<_> = (0..2).map(|_| edge.connect()).collect();
    for client in &mut first {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.reply().text(), "a");
    }
    let mut third = edge.connect();
    third.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    // Each thread may hold one that it accepted while it looked.
    assert!(edge.stats().connections <= 4);
    drop(first);
    assert_eq!(third.reply().text(), "a");
}
