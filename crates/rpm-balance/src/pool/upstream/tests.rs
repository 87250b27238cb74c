use rpm_model::edge::MemberState;

use super::*;
use crate::health::{Seen, Terms};

fn terms() -> Terms {
    Terms {
        max_fails: 1,
        fail_timeout: Duration::from_secs(10),
        slow_start: Duration::ZERO,
        disabled: false,
        checks: Some((1, 1)),
        outlier: None,
    }
}

fn upstream(names: &[&str]) -> Upstream {
    let queue = Arc::new(Queue::default());
    let server = |name: &&str| Server {
        name: (*name).into(),
        app: None,
        seat: crate::pick::hash_bytes(name.as_bytes()),
        address: String::new(),
        target: Target::Tcp(Vec::new()),
        weight: 1,
        maxconn: 1,
        backup: name.starts_with("backup"),
        send_proxy: None,
        live: Arc::new(Live::new(("u", name), terms(), MemberState::Ready, (1, queue.clone(), Arc::new(|_| {})))),
    };
    Upstream {
        name: "u".into(),
        balance: Balance::RoundRobin,
        sticky: None,
        stick: None,
        retries: 1,
        keepalive: 1,
        keepalive_timeout: Duration::from_secs(1),
        queue_longest: 1,
        timeout_queue: Duration::from_secs(1),
        protocol: Protocol::Http1,
        host: None,
        check: None,
        ejected_most: 1,
        has_app: false,
        servers: names.iter().map(server).collect(),
        queue: queue.clone(),
    }
}

fn choose_from(upstream: &Upstream, asked: &Asked) -> Choice {
    upstream.choose(&mut Turns::default(), &mut Vec::new(), asked, crate::pool::now())
}

fn down(upstream: &Upstream, index: usize) {
    upstream.servers[index].live.see(Seen::Check { passed: false }, "test");
}

#[test]
fn backups_are_for_when_the_others_are_down_not_busy() {
    let upstream = upstream(&["a", "backup"]);
    let asked = Asked::default();
    assert_eq!(choose_from(&upstream, &asked), Choice::Server(0));
    let lease = crate::pool::Lease::take(&upstream.servers[0].live, 1, 0).unwrap();
    assert!(crate::pool::Lease::take(&upstream.servers[0].live, 1, 0).is_none());
    assert_eq!(choose_from(&upstream, &asked), Choice::Wait);
    drop(lease);
    down(&upstream, 0);
    assert_eq!(choose_from(&upstream, &asked), Choice::Server(1));
    down(&upstream, 1);
    assert_eq!(choose_from(&upstream, &asked), Choice::Nobody);
}

#[test]
fn clients_stick_until_their_server_drains_and_come_back() {
    let upstream = upstream(&["a", "b", "c"]);
    let asked = Asked { seat: Some(upstream.servers[2].seat), ..Asked::default() };
    assert_eq!(choose_from(&upstream, &asked), Choice::Server(2));
    upstream.servers[2].live.see(Seen::Drain, "test");
    assert_eq!(choose_from(&upstream, &asked), Choice::Server(0));
    upstream.servers[2].live.see(Seen::Ready, "test");
    assert_eq!(choose_from(&upstream, &asked), Choice::Server(2));
    upstream.servers[2].live.weight.store(0, Relaxed);
    assert_eq!(choose_from(&upstream, &asked), Choice::Server(2), "a weight of zero keeps those that stick");
}

#[test]
fn nobody_is_tried_twice_while_there_are_others() {
    let upstream = upstream(&["a", "b"]);
    let mut asked = Asked { tried: vec![upstream.servers[0].live.clone()], ..Asked::default() };
    assert_eq!(choose_from(&upstream, &asked), Choice::Server(1));
    asked.tried.push(upstream.servers[1].live.clone());
    assert_eq!(choose_from(&upstream, &asked), Choice::TriedAll);
}

#[test]
fn failed_servers_are_used_when_nobody_else_is_there() {
    let upstream = upstream(&["a", "b"]);
    for server in &upstream.servers {
        server.live.see(Seen::Failure, "test");
    }
    assert_eq!(choose_from(&upstream, &Asked::default()), Choice::Server(0));
}

#[test]
fn a_server_that_starts_is_waited_for() {
    let upstream = upstream(&["a"]);
    upstream.servers[0].live.see(Seen::Supervisor(MemberState::Starting), "test");
    assert_eq!(choose_from(&upstream, &Asked::default()), Choice::Wait);
    upstream.servers[0].live.see(Seen::Supervisor(MemberState::Ready), "test");
    assert_eq!(choose_from(&upstream, &Asked::default()), Choice::Server(0));
}
