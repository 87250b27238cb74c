//! Unmodified Node apps share a port through Node's own cluster protocol.

use std::collections::BTreeSet;

use rpm_tests::{Load, Rpm, app, deps, free_port, http, until};
use serde_json::Value;

fn answer(port: u16) -> Value {
    let body = http::get(port, "/").expect("an answer");
    let json = &body[body.find('{').expect("JSON")..=body.rfind('}').expect("JSON")];
    serde_json::from_str(json).expect("JSON")
}

/// Asks until `count` different workers have answered.
fn workers_that_answer(port: u16, count: usize) -> BTreeSet<i64> {
    let mut pids = BTreeSet::new();
    until("answers from every worker", || {
        pids.insert(answer(port)["pid"].as_i64().expect("a pid"));
        pids.len() == count
    });
    pids
}

fn start_http(rpm: &Rpm, port: u16, instances: &str) {
    let output = rpm
        .command(&["start", &app("http.js"), "--name", "web", "-i", instances])
        .env("PORT", port.to_string())
        .output();
    let output = output.expect("rpm runs");
    assert!(output.status.success(), "{output:?}\n{}", rpm.daemon_log());
}

#[test]
fn several_workers_answer_on_one_port() {
    let (rpm, port) = (Rpm::new(), free_port());
    start_http(&rpm, port, "3");
    let pids: BTreeSet<i64> = rpm.pids("web").into_iter().map(i64::from).collect();
    assert_eq!(workers_that_answer(port, 3), pids);
    assert_eq!(answer(port)["worker"], true, "cluster.isWorker");
    let instances: BTreeSet<String> =
        rpm.processes("web").iter().map(|process| process["pm2_env"]["NODE_APP_INSTANCE"].to_string()).collect();
    assert_eq!(instances, BTreeSet::from(["0".into(), "1".into(), "2".into()]));
}

#[test]
fn scaling_up_and_down_loses_no_request() {
    let (rpm, port) = (Rpm::new(), free_port());
    start_http(&rpm, port, "2");
    let load = Load::start(port, "/?slow=20", 8);
    for (step, count) in [("4", 4), ("-3", 1), ("+2", 3), ("2", 2)] {
        rpm.ok(&["scale", "web", step]);
        assert_eq!(rpm.pids("web").len(), count, "after scale {step}");
        load.wait_for(50);
    }
    assert_eq!(load.stop(), Vec::<String>::new());
}

#[test]
fn a_worker_that_is_stopped_alone_leaves_no_request_unanswered() {
    let (rpm, port) = (Rpm::new(), free_port());
    start_http(&rpm, port, "3");
    // Often enough that connections wait in its queue when it goes, and its place is one in the middle.
    let load = Load::start(port, "/", 8);
    for _ in 0..5 {
        load.wait_for(50);
        rpm.ok(&["stop", "1"]);
        load.wait_for(50);
        rpm.ok(&["restart", "1"]);
    }
    let failures = load.stop();
    // What it had accepted goes with it, at once; nobody is left to wait.
    assert!(failures.iter().all(|failure| !failure.contains("temporarily unavailable")), "{failures:?}");
}

#[test]
fn a_worker_that_is_killed_loses_only_what_it_had_accepted() {
    let (rpm, port) = (Rpm::new(), free_port());
    start_http(&rpm, port, "2");
    // One client: at most one request is in a worker's hands when it is killed.
    let load = Load::start(port, "/", 1);
    for round in 1..=5 {
        load.wait_for(20);
        rpm_tests::signal(rpm.pids("web")[0], 9);
        rpm.until("the replacement", "web", |list| {
            let restarts: u64 = list.iter().filter_map(|process| process["pm2_env"]["restart_time"].as_u64()).sum();
            restarts == round && list.iter().all(|process| process["pm2_env"]["status"] == "online")
        });
    }
    load.wait_for(20);
    let failures = load.stop();
    assert!(failures.len() <= 5, "{failures:?}");
    assert!(failures.iter().all(|failure| !failure.contains("refused")), "{failures:?}");
}

#[test]
fn port_zero_is_one_port_for_all_workers() {
    let rpm = Rpm::new();
    let script = rpm.home().join("zero.js");
    let source = "const s = require('http').createServer((q, r) => r.end(String(process.pid)));\n\
                  s.listen(0, () => console.log('port ' + s.address().port));";
    std::fs::write(&script, source).expect("a script");
    rpm.ok(&["start", &script.to_string_lossy(), "--name", "zero", "-i", "2", "--merge-logs"]);
    let mut ports = Vec::new();
    until("both ports", || {
        let log = rpm.log("zero-out.log");
        ports = log.lines().filter_map(|line| line.strip_prefix("port ")?.parse::<u16>().ok()).collect();
        ports.len() == 2
    });
    assert_eq!(ports[0], ports[1]);
    let pids: BTreeSet<i32> = rpm.pids("zero").into_iter().collect();
    let mut seen = BTreeSet::new();
    until("answers from both", || {
        let body = http::get(ports[0], "/").expect("an answer");
        seen.extend(body.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| pids.contains(pid)));
        seen == pids
    });
}

#[test]
fn a_unix_path_is_shared() {
    use std::io::{Read, Write};
    let rpm = Rpm::new();
    let (script, path) = (rpm.home().join("unix.js"), rpm.home().join("app.sock"));
    let source = "require('http').createServer((q, r) => r.end(String(process.pid))).listen(process.env.SOCKET);";
    std::fs::write(&script, source).expect("a script");
    let started =
        rpm.command(&["start", &script.to_string_lossy(), "--name", "unix", "-i", "2"]).env("SOCKET", &path).output();
    assert!(started.expect("rpm runs").status.success());
    let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("the path accepts");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let pids = rpm.pids("unix");
    assert!(pids.iter().any(|pid| answer.contains(&pid.to_string())), "{answer} is from none of {pids:?}");
}

#[test]
fn an_es_module_and_express_are_clustered_too() {
    let (rpm, port) = (Rpm::new(), free_port());
    let script = rpm.home().join("app.mjs");
    let source = format!(
        "import cluster from 'node:cluster';\nimport {{ createRequire }} from 'node:module';\n\
         const express = createRequire('{}/')('express');\nconst app = express();\n\
         app.get('/', (req, res) => res.json({{ pid: process.pid, worker: cluster.isWorker }}));\napp.listen({port});",
        deps().display()
    );
    std::fs::write(&script, source).expect("a script");
    rpm.ok(&["start", &script.to_string_lossy(), "--name", "express", "-i", "2"]);
    workers_that_answer(port, 2);
    assert_eq!(answer(port)["worker"], true);
}

#[test]
fn the_cluster_modules_own_program_runs_as_workers() {
    let rpm = Rpm::new();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/cluster-module");
    assert!(script.is_dir(), "the example is there");
    // Under the supervisor the program is a worker, so it must not fork a second level of workers.
    let source = std::fs::read_dir(&script).expect("files").flatten().map(|entry| entry.path());
    let program = source.into_iter().find(|path| path.extension().is_some_and(|end| end == "js")).expect("a program");
    let port = free_port();
    let started = rpm
        .command(&["start", &program.to_string_lossy(), "--name", "own", "-i", "2"])
        .env("PORT", port.to_string())
        .output();
    assert!(started.expect("rpm runs").status.success(), "{}", rpm.daemon_log());
    let body = http::get(port, "/").expect("an answer");
    assert!(rpm.pids("own").iter().any(|pid| body.contains(&pid.to_string())), "{body}");
}
