//! The programs of `examples/`: each started by one command, with the real components.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

use rpm_tests::{Load, Rpm, deps, free_port, http, until};
use serde_json::Value;

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name).to_string_lossy().into_owned()
}

/// Returns the first of four ports that are free, below those that the kernel gives to whoever asks for any: it cannot
/// reserve four in a row, and one that it gave would be given to somebody else meanwhile. No two tests have the same.
fn four_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("a range");
    let lowest: u16 = range.split_whitespace().next().and_then(|port| port.parse().ok()).expect("a port");
    let (from, blocks) = (10_000.min(lowest / 2), (lowest - 10_000.min(lowest / 2)) / 4);
    // Another run on the same machine begins elsewhere.
    let begin = std::process::id() as u16 % blocks;
    let is_free = |first: &u16| (0..4).all(|index| TcpListener::bind(("127.0.0.1", first + index)).is_ok());
    let blocks = std::iter::repeat_with(|| from + (begin + NEXT.fetch_add(1, Relaxed)) % blocks * 4);
    blocks.take(1000).find(is_free).expect("four ports")
}

/// Starts an example; returns the port of its balancer.
fn start(rpm: &Rpm, file: &str, env: &[(&str, String)]) -> u16 {
    let web = free_port();
    let started = rpm
        .command(&["start", &example(file)])
        .env("WEB", web.to_string())
        .env("NODE_PATH", deps().join("node_modules"))
        .envs(env.iter().map(|(name, value)| (name, value.as_str())))
        .output()
        .expect("rpm runs");
    assert!(started.status.success(), "{started:?}\n{}", rpm.daemon_log());
    web
}

fn balanced(file: &str) -> (Rpm, u16, u16) {
    let (rpm, base) = (Rpm::new(), four_ports());
    let web = start(&rpm, &format!("load-balancer/{file}.config.js"), &[("BASE", base.to_string())]);
    for index in 0..4 {
        until("the servers listen", || http::get(base + index, "/health").is_ok());
    }
    (rpm, web, base)
}

/// Returns how many of `count` requests each server answered, by its place.
fn answers(web: u16, base: u16, count: usize) -> BTreeMap<u16, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        let answer: Value = serde_json::from_str(&http::get(web, "/").expect("an answer")).expect("JSON");
        let port: u16 = answer["port"].as_str().and_then(|port| port.parse().ok()).expect("a port");
        *seen.entry(port - base).or_default() += 1;
    }
    seen
}

/// Asserts how requests were shared out; a few may be in another turn, since each thread of the balancer takes its own.
fn alike(seen: &BTreeMap<u16, usize>, wanted: &[(u16, usize)]) {
    assert_eq!(seen.len(), wanted.len(), "{seen:?}");
    assert!(wanted.iter().all(|(at, count)| seen.get(at).is_some_and(|seen| seen.abs_diff(*count) <= 2)), "{seen:?}");
}

#[test]
fn nginx_basic_takes_turns_and_passes_websockets() {
    let (_rpm, web, base) = balanced("basic");
    alike(&answers(web, base, 20), &[(0, 5), (1, 5), (2, 5), (3, 5)]);
    let script = format!(
        "const WebSocket = require('ws'); const ws = new WebSocket('ws://127.0.0.1:{web}/');\n\
         ws.on('message', (text) => {{ console.log(String(text)); process.exit(0); }});\n\
         ws.on('error', (error) => {{ console.log(error.message); process.exit(1); }});"
    );
    let told = Command::new("node").args(["-e", &script]).env("NODE_PATH", deps().join("node_modules")).output();
    let told = told.expect("node runs");
    assert!(String::from_utf8_lossy(&told.stdout).starts_with("hello from"), "{told:?}");
}

#[test]
fn nginx_least_conn_ip_hash_and_weighted() {
    let (_rpm, web, base) = balanced("least-conn");
    assert_eq!(answers(web, base, 20).into_keys().collect::<BTreeSet<_>>(), [0, 1].into());
    let (_rpm, web, base) = balanced("ip-hash");
    assert_eq!(answers(web, base, 10).len(), 1, "one client, one server");
    let (_rpm, web, base) = balanced("weighted");
    alike(&answers(web, base, 40), &[(0, 30), (1, 10)]);
}

#[test]
fn nginx_max_fails_and_backup() {
    let (rpm, web, base) = balanced("failover");
    alike(&answers(web, base, 10), &[(0, 5), (1, 5)]);
    rpm.ok(&["stop", &rpm.processes("node")[0]["pm_id"].to_string()]);
    rpm.ok(&["stop", &rpm.processes("node")[1]["pm_id"].to_string()]);
    assert_eq!(answers(web, base, 10), [(2, 10)].into(), "the others are gone");
}

#[test]
fn haproxy_checks_and_limits() {
    let (rpm, web, base) = balanced("haproxy");
    until("all are up", || answers(web, base, 8).len() == 4);
    rpm.ok(&["stop", &rpm.processes("node")[3]["pm_id"].to_string()]);
    until("the check has found it", || answers(web, base, 8).keys().all(|index| *index < 3));
    let list: Value = serde_json::from_str(&rpm.ok(&["list", "--json"])).expect("JSON");
    let servers = &list["balancers"][0]["stats"]["upstreams"][0]["servers"];
    until("it is called down", || {
        let list: Value = serde_json::from_str(&rpm.ok(&["list", "--json"])).expect("JSON");
        list["balancers"][0]["stats"]["upstreams"][0]["servers"][3]["state"] == "down"
    });
    assert_eq!(servers[0]["name"], "node1");
}

#[test]
fn application_level_round_robin() {
    let (rpm, base) = (Rpm::new(), four_ports());
    let web = start(&rpm, "round-robin/ecosystem.config.js", &[("BASE", base.to_string())]);
    for index in 0..3 {
        until("the servers listen", || http::get(base + index, "/health").is_ok());
    }
    until("the proxy listens", || http::get(web, "/health").is_ok());
    assert_eq!(answers(web, base, 9), [(0, 3), (1, 3), (2, 3)].into());
}

/// Asks with a cookie jar of one cookie; returns the body and the cookies that were set.
fn ask(web: u16, cookies: &str) -> (Value, Vec<String>) {
    let mut stream = TcpStream::connect(("127.0.0.1", web)).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    write!(stream, "GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let cookie = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("set-cookie").then(|| value.trim().split(';').next().unwrap_or_default().to_owned())
    };
    (serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")), head.lines().filter_map(cookie).collect())
}

#[test]
fn four_workers_share_a_session_in_redis() {
    for sticky in [false, true] {
        let rpm = Rpm::new();
        let mut env = vec![("REDIS_PORT", free_port().to_string()), ("PORT", free_port().to_string())];
        if sticky {
            env.push(("STICKY", "1".into()));
        }
        let web = start(&rpm, "sessions/ecosystem.config.js", &env);
        let (first, cookies) = ask(web, "");
        assert_eq!(first["views"], 1);
        assert_eq!(cookies.len(), if sticky { 2 } else { 1 }, "{cookies:?}");
        let jar = cookies.join("; ");
        let workers: BTreeSet<String> = (2..14)
            .map(|views| {
                let (answer, _) = ask(web, &jar);
                assert_eq!(answer["views"], views, "one session for all workers");
                answer["worker"].to_string()
            })
            .collect();
        assert_eq!(workers.len(), if sticky { 1 } else { 4 });
        if sticky {
            rpm.ok(&["reload", "shop"]);
            let (answer, _) = ask(web, &jar);
            assert_eq!(answer["worker"], first["worker"], "back to the place of before, after a reload");
        }
    }
}

#[test]
fn the_health_endpoint_decides_who_is_asked() {
    let rpm = Rpm::new();
    let web = start(&rpm, "health/ecosystem.config.js", &[("REDIS_PORT", free_port().to_string())]);
    until("it is healthy", || http::get(web, "/").is_ok());
    let health: Value = serde_json::from_str(&http::get(web, "/health").expect("an answer")).expect("JSON");
    assert_eq!(health["status"], "healthy");
    rpm.ok(&["stop", "redis"]);
    until("nobody is asked", || http::get(web, "/").is_err_and(|error| error.to_string().contains("503")));
    rpm.ok(&["start", "redis"]);
    until("it is healthy again", || http::get(web, "/").is_ok());
}

#[test]
fn a_graceful_shutdown_answers_what_is_in_flight() {
    let rpm = Rpm::new();
    let web = start(&rpm, "graceful/ecosystem.config.js", &[]);
    let slow = std::thread::spawn(move || http::get(web, "/?slow=1500"));
    let load = Load::start(web, "/?slow=5", 4);
    load.wait_for(20);
    rpm.ok(&["reload", "api"]);
    load.wait_for(20);
    slow.join().expect("no panic").expect("an answer");
    assert_eq!(load.stop(), Vec::<String>::new());
    until("the clean-up ran", || {
        rpm.log("api-out.log").contains("database closed") || rpm.log("api-out-0.log").contains("database closed")
    });
}
