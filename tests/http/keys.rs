//! Keys of upstreams and balancers, each by what it does to requests.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rpm_tests::{Rpm, free_port, until};
use serde_json::{Value, json};

use crate::stage::{Client, Message, Server, Stage};

/// A balancer in front of several servers.
struct Group {
    rpm: Rpm,
    port: u16,
    _servers: Vec<Server>,
}

impl Group {
    /// Starts it. `servers` come with keys of their own, `upstream` are the other keys of the upstream.
    fn start(servers: Vec<(Server, Value)>, upstream: &Value) -> Self {
        let (rpm, port) = (Rpm::new(), free_port());
        let entries: Vec<Value> = servers
            .iter()
            .map(|(server, keys)| with(json!({ "address": format!("127.0.0.1:{}", server.port) }), keys))
            .collect();
        let file = json!({
            "upstreams": [with(json!({ "name": "backend", "servers": entries }), upstream)],
            "balancers": [{ "name": "web", "listen": format!("127.0.0.1:{port}"), "upstream": "backend" }],
        });
        let path = rpm.home().join("ecosystem.json");
        std::fs::write(&path, file.to_string()).expect("written");
        rpm.ok(&["start", &path.to_string_lossy()]);
        Self { rpm, port, _servers: servers.into_iter().map(|(server, _)| server).collect() }
    }

    /// Returns which server answers, over a connection of its own, which chooses the thread.
    fn ask(&self, target: &str, fields: &str) -> String {
        ask(&mut Client::connect(self.port), target, fields)
    }

    /// Counts who answers so many requests of one connection.
    fn share(&self, requests: usize) -> BTreeMap<String, usize> {
        let mut client = Client::connect(self.port);
        let mut shares = BTreeMap::new();
        for _ in 0..requests {
            *shares.entry(ask(&mut client, "/", "")).or_default() += 1;
        }
        shares
    }
}

fn with(mut object: Value, more: &Value) -> Value {
    let keys = object.as_object_mut().expect("an object");
    keys.extend(more.as_object().cloned().unwrap_or_default());
    object
}

fn ask(client: &mut Client, target: &str, fields: &str) -> String {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    let answer = client.message().expect("an answer");
    assert_eq!(answer.status(), 200, "{answer:?}");
    String::from_utf8(answer.body).expect("a name")
}

/// Returns a server that answers with its name.
fn named(name: &'static str) -> Server {
    answering(move |_| name.to_owned())
}

fn answering(answer: impl Fn(&Message) -> String + Send + Sync + 'static) -> Server {
    Server::raw(move |mut client, _| {
        while let Some(request) = client.message() {
            let body = answer(&request);
            client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    })
}

fn three() -> Vec<(Server, Value)> {
    ["a", "b", "c"].into_iter().map(|name| (named(name), json!({ "name": name }))).collect()
}

#[test]
fn what_is_hashed_stays_with_its_server_and_few_move_when_one_leaves() {
    for (hash_on, target, field) in [
        ("path", "/KEY?any=1", ""),
        ("header:X-User", "/", "X-User: KEY\r\n"),
        ("cookie:user", "/", "Cookie: theme=dark; user=KEY\r\n"),
    ] {
        let group = Group::start(three(), &json!({ "balance": "hash", "hash_on": hash_on }));
        let ask_all = || -> Vec<String> {
            let of = |text: &str, key: usize| text.replace("KEY", &format!("key-{key}"));
            (0..60).map(|key| group.ask(&of(target, key), &of(field, key))).collect()
        };
        let before = ask_all();
        assert_eq!(ask_all(), before, "{hash_on}");
        assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 3, "{hash_on}: {before:?}");
        group.rpm.ok(&["drain", "backend", "b"]);
        for (was, is) in before.iter().zip(ask_all()) {
            match was.as_str() {
                "b" => assert_ne!(is, "b", "{hash_on}"),
                _ => assert_eq!(*was, is, "{hash_on}: one moved that had no reason to"),
            }
        }
    }
}

#[test]
fn weights_are_kept_exactly_and_nobody_gets_a_burst() {
    let servers = vec![(named("a"), json!({ "weight": 3 })), (named("b"), json!({ "weight": 1 }))];
    let group = Group::start(servers, &json!({}));
    let mut client = Client::connect(group.port);
    let order: String = (0..40).map(|_| ask(&mut client, "/", "")).collect();
    assert_eq!(order.matches('b').count(), 10, "{order}");
    assert!(!order.contains("aaaa") && !order.contains("bb"), "{order}");
}

#[test]
fn two_are_drawn_and_everybody_gets_a_share() {
    let group = Group::start(three(), &json!({ "balance": "random_two" }));
    let shares = group.share(300);
    assert_eq!(shares.len(), 3, "{shares:?}");
    assert!(shares.values().all(|share| *share > 40), "{shares:?}");
}

#[test]
fn the_least_busy_one_is_chosen_and_the_first_one_with_room() {
    for (balance, keys) in [("least_conn", json!({})), ("first", json!({ "maxconn": 1 }))] {
        let held = Arc::new(AtomicBool::new(true));
        let (waits, arrived) = (held.clone(), Arc::new(AtomicBool::new(false)));
        let arrival = arrived.clone();
        let slow = answering(move |request| {
            if request.target() == "/slow" {
                arrival.store(true, Relaxed);
                until("it may end", || !waits.load(Relaxed));
            }
            "slow".to_owned()
        });
        let group = Group::start(vec![(slow, keys), (named("other"), json!({}))], &json!({ "balance": balance }));
        // Whose turn it is first is left open by least_conn: until one has reached the slow server.
        let mut clients = Vec::new();
        while !arrived.load(Relaxed) {
            let mut client = Client::connect(group.port);
            client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
            clients.push(client);
            let asked = std::time::Instant::now();
            while !arrived.load(Relaxed) && asked.elapsed().as_millis() < 300 {
                std::thread::yield_now();
            }
        }
        assert_eq!(group.share(20), [("other".to_owned(), 20)].into(), "{balance}");
        held.store(false, Relaxed);
        for client in &mut clients {
            assert_eq!(client.message().expect("an answer").status(), 200);
        }
        if balance == "first" {
            assert_eq!(group.share(20), [("slow".to_owned(), 20)].into(), "the first one has room again");
        }
    }
}

#[test]
fn a_server_that_comes_back_starts_slowly() {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    let back = Server::raw(move |mut client, _| {
        while let Some(request) = client.message() {
            let status = if request.target() == "/health" && !is_well.load(Relaxed) { 503 } else { 200 };
            client.send(format!("HTTP/1.1 {status} Any\r\nContent-Length: 4\r\n\r\nback"));
        }
    });
    let check = json!({ "path": "/health", "interval": "50ms", "down_interval": "20ms", "rise": 1, "fall": 1 });
    let group = Group::start(
        vec![(named("other"), json!({})), (back, json!({ "slow_start": "10m" }))],
        &json!({ "health_check": check }),
    );
    until("it is out", || group.share(4) == [("other".to_owned(), 4)].into());
    well.store(true, Relaxed);
    until("it is back", || group.share(200).contains_key("back"));
    let shares = group.share(200);
    assert!(shares.get("back").is_none_or(|share| *share < 20), "half of them would be its share: {shares:?}");
}

#[test]
fn an_answer_without_the_wanted_text_is_no_health() {
    let text = |name: &'static str, health: &'static str| {
        answering(move |request| if request.target() == "/health" { health } else { name }.to_owned())
    };
    let check = json!({ "path": "/health", "body": "all is well", "interval": "50ms", "rise": 1, "fall": 1 });
    let group = Group::start(
        vec![(text("well", "yes, all is well here"), json!({})), (text("ill", "the database is gone"), json!({}))],
        &json!({ "health_check": check }),
    );
    until("it is out", || group.share(4) == [("well".to_owned(), 4)].into());
}

#[test]
fn an_error_has_the_page_of_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let page = directory.path().join("busy.html");
    std::fs::write(&page, "<h1>Back in a minute</h1>").expect("written");
    // It leaves without a word.
    let stage = Stage::start(Server::raw(|_, _| {}), &json!({ "error_pages": { "502": page } }));
    let mut client = stage.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    let answer = client.message().expect("an answer");
    assert_eq!((answer.status(), answer.body.as_slice()), (502, b"<h1>Back in a minute</h1>".as_slice()));
    assert!(answer.fields("content-type")[0].starts_with("text/html"), "{answer:?}");
}

#[test]
fn what_traces_a_request_passes_untouched() {
    let stage = Stage::recording();
    let fields = [
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"),
        ("baggage", "userId=alice,serverNode=DF%2028"),
    ];
    let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut client = stage.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    assert_eq!(client.message().expect("an answer").status(), 200);
    let [request] = stage.server.take().try_into().expect("one request");
    for (name, value) in fields {
        assert_eq!(request.fields(name), [value]);
    }
}

#[test]
fn addresses_of_the_sixth_version_and_socket_files_serve_on_both_sides() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        return eprintln!("not tested: this machine has no IPv6");
    };
    let server = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The balancer keeps a connection in each of its threads.
            std::thread::spawn(move || {
                let mut client = Client::new(stream);
                client.stream.set_read_timeout(None).expect("no timeout");
                while client.message().is_some() {
                    client.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nsix");
                }
            });
        }
    });
    let (rpm, port) = (Rpm::new(), free_port());
    let socket = rpm.home().join("web.sock");
    let file = json!({
        "upstreams": [{ "name": "backend", "servers": [server.to_string()] }],
        "balancers": [{
            "name": "web", "upstream": "backend",
            "listen": [format!("[::1]:{port}"), format!("unix:{}", socket.display())],
        }],
    });
    let path = rpm.home().join("ecosystem.json");
    std::fs::write(&path, file.to_string()).expect("written");
    rpm.ok(&["start", &path.to_string_lossy()]);
    let stream = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("it listens");
    assert_eq!(ask(&mut Client::new(stream), "/", ""), "six");
    let mut stream = UnixStream::connect(&socket).expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("six"), "{answer}");
}
