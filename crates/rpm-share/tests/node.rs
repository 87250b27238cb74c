//! Real Node workers: what they ask is answered, and no connection is lost.

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{APP, Daemon, Load, SIGSTOP, answer, free_port, get, life};
use rpm_model::SocketMode;
use rpm_share::{Owner, Ports, Want};

/// Answers with its pid, after as many milliseconds as DELAY says.
const HTTP: &str = r#"
require('http').createServer((request, response) => {
  setTimeout(() => response.end(String(process.pid)), Number(process.env.DELAY || 0));
}).listen(process.env.ADDRESS || Number(process.env.PORT));
"#;

fn pids(daemon: &Daemon) -> BTreeSet<String> {
    daemon.workers.values().map(|worker| worker.pid().to_string()).collect()
}

fn answers(port: u16, count: usize) -> BTreeSet<String> {
    (0..count).map(|_| get(port).unwrap()).collect()
}

#[test]
fn two_workers_share_a_port() {
    for mode in [SocketMode::Reuseport, SocketMode::Shared] {
        let port = free_port();
        let mut daemon = Daemon::new(HTTP).env("PORT", port);
        daemon.mode = mode;
        daemon.start(life(0, 1));
        daemon.start(life(1, 1));
        assert!(daemon.workers[&life(0, 1)].online);
        if mode == SocketMode::Reuseport {
            assert_eq!(answers(port, 60), pids(&daemon));
        } else {
            assert!(answers(port, 60).is_subset(&pids(&daemon)));
        }
        assert_eq!(daemon.ports.addresses(APP), [format!("[::]:{port}")]);
        daemon.kill(life(0, 1));
        assert_eq!(answers(port, 5), pids(&daemon), "{mode:?}");
        for worker in [0, 1] {
            daemon.ports.close(rpm_model::WorkerId(worker));
            daemon.keep();
        }
        assert!(daemon.keeper.0.is_empty());
        assert!(get(port).is_err());
    }
}

#[test]
fn a_random_port_is_the_same_for_all_and_another_for_each_server() {
    let mut daemon = Daemon::new(
        "const http = require('http');
         for (const _ of [1, 2]) http.createServer((q, r) => r.end(String(process.pid))).listen(0);",
    );
    for worker in [0, 1] {
        daemon.spawn(life(worker, 1));
        daemon.until("both servers listen", |daemon| daemon.workers[&life(worker, 1)].listening == 2);
        daemon.ports.admit(life(worker, 1));
    }
    let ports = daemon.workers[&life(0, 1)].ports.clone();
    assert_eq!(ports, daemon.workers[&life(1, 1)].ports);
    assert_ne!(ports[0], ports[1]);
    for port in ports {
        assert_eq!(answers(port.unwrap(), 40), pids(&daemon));
    }
}

#[test]
fn a_socket_file_is_shared_and_removed_in_the_end() {
    let mut daemon = Daemon::new(HTTP);
    let path = daemon.home().join("app.sock");
    daemon = daemon.env("ADDRESS", path.display());
    daemon.start(life(0, 1));
    daemon.start(life(1, 1));
    let ask = || {
        let mut stream = UnixStream::connect(&path)?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        answer(stream)
    };
    assert!(pids(&daemon).contains(&ask().unwrap()));
    daemon.kill(life(0, 1));
    assert!(pids(&daemon).contains(&ask().unwrap()));
    daemon.ports.close(rpm_model::WorkerId(0));
    assert!(ask().is_ok());
    daemon.ports.close(rpm_model::WorkerId(1));
    daemon.keep();
    assert!(!path.exists() && daemon.keeper.0.is_empty());
}

#[test]
fn a_udp_port_is_shared() {
    let mut daemon = Daemon::new(
        "const socket = require('dgram').createSocket('udp4');
         socket.on('message', (m, from) => socket.send(String(process.pid), from.port, from.address));
         socket.bind(0, '127.0.0.1');",
    );
    daemon.start(life(0, 1));
    daemon.start(life(1, 1));
    let port = daemon.workers[&life(0, 1)].ports[0].unwrap();
    assert_eq!(daemon.workers[&life(1, 1)].ports[0], Some(port));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client.send_to(b"who", ("127.0.0.1", port)).unwrap();
    let mut buffer = [0; 32];
    let (length, _) = client.recv_from(&mut buffer).unwrap();
    assert!(pids(&daemon).contains(std::str::from_utf8(&buffer[..length]).unwrap()));
}

#[test]
fn a_taken_port_is_an_error_in_the_app_and_names_its_owner() {
    let app = "const server = require('http').createServer(() => {});
               server.on('error', error => process.send({ code: error.code }));
               server.listen(Number(process.env.PORT));";
    let stranger = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = stranger.local_addr().unwrap().port();
    let mut daemon = Daemon::new(app).env("PORT", port);
    daemon.spawn(life(0, 1));
    daemon.until("the app sees the error", |daemon| !daemon.workers[&life(0, 1)].said.is_empty());
    let worker = &daemon.workers[&life(0, 1)];
    assert_eq!(worker.said[0]["code"], "EADDRINUSE");
    let refused = &worker.refused[0];
    assert!(matches!(refused.owner, Some(Owner::Process { pid, .. }) if pid == std::process::id() as i32));
    assert!(refused.to_string().starts_with(&format!("listen on [::]:{port}: Address already in use")), "{refused}");
    assert!(daemon.keeper.0.is_empty());
    let mut ports = Ports::new();
    let want = Want::parse("0").unwrap();
    let port = ports.claim(life(5, 1), APP, &want, SocketMode::Reuseport).unwrap().port.unwrap();
    let other = Want::parse(&format!("127.0.0.1:{port}")).unwrap();
    let refused = ports.claim(life(6, 1), rpm_model::AppId(8), &other, SocketMode::Reuseport).unwrap_err();
    assert_eq!(refused.owner, Some(Owner::App(APP)));
}

#[test]
fn the_same_port_twice_in_one_worker_is_an_error_unless_the_first_was_closed() {
    let port = free_port();
    let mut daemon = Daemon::new(
        "const http = require('http'), port = Number(process.env.PORT);
         const first = http.createServer((q, r) => r.end('first')).listen(port, () => {
           http.createServer(() => {}).on('error', error => {
             process.send(error.code);
             first.close(() => http.createServer((q, r) => r.end('third')).listen(port));
           }).listen(port);
         });",
    )
    .env("PORT", port);
    daemon.spawn(life(0, 1));
    daemon.until("the third server listens", |daemon| daemon.workers[&life(0, 1)].listening == 2);
    assert_eq!(daemon.workers[&life(0, 1)].said, ["EADDRINUSE"]);
    assert_eq!(get(port).unwrap(), "third");
}

#[test]
fn messages_go_both_ways_and_large_ones_arrive_whole() {
    let mut daemon = Daemon::new(
        "process.on('message', message => process.send({ length: message.text.length, text: message.text }));
         process.send('ready');",
    );
    daemon.spawn(life(0, 1));
    daemon.until("ready", |daemon| daemon.workers[&life(0, 1)].said == ["ready"]);
    for length in [3, 50_000, 1_000_000] {
        let text = "x".repeat(length);
        let worker = daemon.workers.get_mut(&life(0, 1)).unwrap();
        worker.said.clear();
        worker.channel.send_app(&serde_json::json!({ "text": text })).unwrap();
        daemon.until("the echo", |daemon| !daemon.workers[&life(0, 1)].said.is_empty());
        let echo = &daemon.workers[&life(0, 1)].said[0];
        assert_eq!((echo["length"].as_u64(), echo["text"].as_str()), (Some(length as u64), Some(text.as_str())));
    }
}

#[test]
fn an_app_that_sends_a_handle_is_not_stuck() {
    let mut daemon = Daemon::new(
        "const server = require('net').createServer().listen({ port: 0, exclusive: true }, () => {
           process.send('take this', server, () => {}); process.send('after');
         });",
    );
    daemon.spawn(life(0, 1));
    daemon.until("both messages", |daemon| daemon.workers[&life(0, 1)].said == ["take this", "after"]);
}

#[test]
fn a_worker_asked_to_disconnect_closes_and_leaves() {
    let port = free_port();
    let mut daemon = Daemon::new(HTTP).env("PORT", port);
    daemon.start(life(0, 1));
    daemon.workers.get_mut(&life(0, 1)).unwrap().channel.disconnect().unwrap();
    daemon.until("it leaves", |daemon| {
        daemon.workers.get_mut(&life(0, 1)).unwrap().child.try_wait().unwrap().is_some_and(|status| status.success())
    });
}

/// The worker is stopped first, so that it cannot have accepted what waits for it: whatever fails is a loss.
#[test]
fn a_killed_worker_loses_nothing_that_it_had_not_accepted() {
    let port = free_port();
    let mut daemon = Daemon::new(HTTP).env("PORT", port);
    daemon.start(life(0, 1));
    daemon.start(life(1, 1));
    daemon.workers[&life(0, 1)].signal(SIGSTOP);
    let load = Load::start(port, 32);
    daemon.until("connections wait for the stopped worker", |daemon| {
        daemon.ports.drain_state(life(0, 1), &[]).queued >= 20
    });
    daemon.kill(life(0, 1));
    // The clients may all wait by now; new ones are served by the other worker.
    assert_eq!(answers(port, 20), pids(&daemon));
    daemon.start(life(0, 2));
    let before = load.answered();
    daemon.until("all is well again", |_| load.answered() > before + 500);
    let (answered, failures) = load.finish();
    assert_eq!(failures, Vec::<String>::new(), "of {answered}");
}

#[test]
fn a_single_killed_worker_makes_clients_wait_and_not_fail() {
    let port = free_port();
    let mut daemon = Daemon::new(HTTP).env("PORT", port);
    daemon.start(life(0, 1));
    daemon.workers[&life(0, 1)].signal(SIGSTOP);
    let load = Load::start(port, 8);
    daemon.until("all wait", |daemon| daemon.ports.drain_state(life(0, 1), &[]).queued == 8);
    daemon.kill(life(0, 1));
    daemon.start(life(0, 2));
    daemon.until("served", |_| load.answered() > 100);
    assert_eq!(load.finish().1, Vec::<String>::new());
    assert_eq!(daemon.keeper.0.len(), 1);
}

/// What waited for a worker that hung and was replaced is handed to the one that replaced it.
#[test]
fn connections_stranded_by_a_hung_worker_are_handed_over() {
    let port = free_port();
    let mut daemon = Daemon::new(HTTP).env("PORT", port);
    daemon.start(life(0, 1));
    daemon.workers[&life(0, 1)].signal(SIGSTOP);
    let load = Load::start(port, 16);
    daemon.until("all wait", |daemon| daemon.ports.drain_state(life(0, 1), &[]).queued == 16);
    daemon.start(life(0, 2));
    daemon.ports.retire(life(0, 1));
    daemon.kill(life(0, 1));
    let stranded = daemon.ports.stranded(life(0, 1));
    assert_eq!(stranded.len(), 16);
    let heir = daemon.workers.get_mut(&life(0, 2)).unwrap();
    for lost in stranded {
        heir.channel.hand_over(&lost.key, lost.connection).unwrap();
    }
    daemon.ports.release(life(0, 1));
    daemon.until("served", |_| load.answered() > 100);
    assert_eq!(load.finish().1, Vec::<String>::new());
}

#[test]
fn four_rolls_of_two_workers_lose_nothing() {
    for mode in [SocketMode::Reuseport, SocketMode::Shared] {
        let port = free_port();
        // Long enough that there are always requests in flight.
        let mut daemon = Daemon::new(HTTP).env("PORT", port).env("DELAY", 20);
        daemon.mode = mode;
        let mut lives = [life(0, 1), life(1, 1)];
        for life in lives {
            daemon.start(life);
        }
        let load = Load::start(port, 16);
        for _ in 0..4 {
            for life in &mut lives {
                *life = daemon.roll(*life);
            }
        }
        let (answered, failures) = load.finish();
        assert_eq!(failures, Vec::<String>::new(), "{mode:?}: of {answered}");
        assert!(answered > 200, "{answered}");
        if mode == SocketMode::Reuseport {
            assert!(daemon.keeper.0.len() <= 3, "two slots and at most one spare: {:?}", daemon.keeper.0.keys());
        }
    }
}

/// Node sets no mode on what comes through its channel. With a blocking socket a worker hung in `accept` when another
/// was faster, about once in fifty rolls of the shared mode.
#[test]
fn node_gets_sockets_that_do_not_wait_and_other_programs_those_that_do() {
    let waits = |fd: &std::os::fd::OwnedFd| {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        i32::from_str_radix(flags.trim(), 8).unwrap() & 0o4000 == 0
    };
    let plain = Want::parse("127.0.0.1:0").unwrap();
    let node = Want { nonblocking: true, ..plain.clone() };
    for mode in [SocketMode::Reuseport, SocketMode::Shared] {
        for want in [&plain, &node] {
            let mut ports = Ports::new();
            let claim = ports.claim(life(0, 1), APP, want, mode).unwrap();
            assert_eq!(waits(&claim.fd), !want.nonblocking);
        }
    }
    let mut ports = Ports::new();
    let claim = ports.claim(life(0, 1), APP, &plain, SocketMode::Reuseport).unwrap();
    rpm_sys::fd::set_nonblocking(&claim.fd, true).unwrap();
    ports.ended(life(0, 1));
    let claim = ports.claim(life(0, 2), APP, &plain, SocketMode::Reuseport).unwrap();
    assert!(!claim.fresh && waits(&claim.fd), "an inherited socket is as a new one");
}

/// No cluster, no channel: a program that is given its socket as descriptor 3, and never closes anything by itself.
#[test]
fn programs_that_are_given_their_socket_are_rolled_without_loss_too() {
    let home = tempfile::tempdir().unwrap();
    let script = home.path().join("app.js");
    let app = "require('http').createServer((q, r) => setTimeout(() => r.end('x'), 10)).listen({ fd: 3 })";
    std::fs::write(&script, app).unwrap();
    let mut ports = Ports::new();
    let want = Want::parse("127.0.0.1:0").unwrap();
    let start = |ports: &mut Ports, life| {
        let claim = ports.claim(life, APP, &want, SocketMode::Reuseport).unwrap();
        let child = Command::new("sh")
            .args(["-c", "exec node \"$1\" 3<&0 </dev/null", "sh"])
            .arg(&script)
            .stdin(Stdio::from(claim.fd))
            .spawn()
            .unwrap();
        let path = ports.probe_paths(life)[0];
        let mut probe = TcpStream::from(rpm_sys::net::begin_connection(path.source, path.to).unwrap());
        probe.set_nonblocking(false).unwrap();
        probe.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        assert_eq!(answer(probe).unwrap(), "x", "{life} answers its own probe");
        ports.admit(life);
        child
    };
    let mut child = start(&mut ports, life(0, 1));
    let load = Load::start(ports.probe_paths(life(0, 1))[0].to.port(), 8);
    for generation in 1..4 {
        let (old, new) = (life(0, generation), life(0, generation + 1));
        let next = start(&mut ports, new);
        ports.retire(old);
        let pids = [child.id() as i32];
        while !ports.drain_state(old, &pids).is_done() {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        ports.ended(old);
        ports.release(old);
        child = next;
    }
    let (answered, failures) = load.finish();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(failures, Vec::<String>::new(), "of {answered}");
}

#[test]
fn a_drain_waits_for_a_request_and_not_for_an_idle_connection() {
    let port = free_port();
    let mut daemon = Daemon::new(HTTP).env("PORT", port).env("DELAY", 300);
    daemon.start(life(0, 1));
    let pids = [daemon.workers[&life(0, 1)].pid()];
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        daemon.until("the request is seen", |daemon| daemon.ports.drain_state(life(0, 1), &pids).busy == 1);
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        daemon.until("idle again", |daemon| daemon.ports.drain_state(life(0, 1), &pids).is_done());
    }
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    daemon.until("busy again", |daemon| daemon.ports.drain_state(life(0, 1), &pids).busy == 1);
    assert_eq!(daemon.ports.drain_state(life(0, 1), &[std::process::id() as i32]).busy, 0, "not ours");
}

#[test]
fn a_roll_with_a_daemon_that_dies_in_between_loses_nothing() {
    let port = free_port();
    let mut daemon = Daemon::new(HTTP).env("PORT", port).env("DELAY", 20);
    let (old, new, other) = (life(0, 1), life(0, 2), life(1, 1));
    daemon.start(old);
    daemon.start(other);
    let load = Load::start(port, 8);
    daemon.die_and_come_back(&[old, other]);
    daemon.spawn(new);
    daemon.die_and_come_back(&[old, other]);
    daemon.until_listening(new);
    daemon.die_and_come_back(&[old, other]);
    daemon.ports.admit(new);
    daemon.die_and_come_back(&[old, new, other]);
    daemon.ports.retire(old);
    let pids = [daemon.workers[&old].pid()];
    daemon.until("the drain", |daemon| daemon.ports.drain_state(old, &pids).is_done());
    daemon.die_and_come_back(&[new, other]);
    daemon.kill(old);
    daemon.die_and_come_back(&[new, other]);
    daemon.ports.release(old);
    daemon.keep();
    let before = load.answered();
    daemon.until("served", |_| load.answered() > before + 100);
    assert_eq!(load.finish().1, Vec::<String>::new());
    assert_eq!(answers(port, 40), pids_of(&daemon, &[new, other]));
}

fn pids_of(daemon: &Daemon, lives: &[rpm_model::Life]) -> BTreeSet<String> {
    lives.iter().map(|life| daemon.workers[life].pid().to_string()).collect()
}

#[test]
fn a_probe_reaches_one_worker_before_it_is_admitted() {
    let port = free_port();
    let mut daemon = Daemon::new(HTTP).env("PORT", port);
    daemon.start(life(0, 1));
    daemon.spawn(life(0, 2));
    daemon.until_listening(life(0, 2));
    for life in [life(0, 1), life(0, 2)] {
        let path = daemon.ports.probe_paths(life)[0];
        let index = daemon.ports.probe_paths(life)[0].source.unwrap().octets()[3];
        assert_eq!((u64::from(index), path.to.port()), (life.generation.0 - 1, port));
    }
    assert_eq!(answers(port, 20), pids_of(&daemon, &[life(0, 1)]));
}
