//! Health checks: each worker is asked by itself, gets requests when it is well, and is replaced when it is not.

use std::path::PathBuf;

use rpm_tests::{Load, Rpm, app, free_port, http, signal, until};
use serde_json::{Value, json};

/// Writes an ecosystem file with one app.
fn ecosystem(rpm: &Rpm, app: &Value) -> String {
    let path = rpm.home().join("eco.json");
    std::fs::write(&path, json!({ "apps": [app] }).to_string()).expect("a file");
    path.to_string_lossy().into_owned()
}

/// A directory whose files decide how workers are.
fn control(rpm: &Rpm) -> PathBuf {
    let control = rpm.home().join("control");
    std::fs::create_dir_all(&control).expect("a directory");
    control
}

fn make(control: &std::path::Path, what: &str) {
    std::fs::write(control.join(what), "").expect("a file");
}

/// A Node app with checks in quick succession.
fn web(rpm: &Rpm, port: u16, version: &str) -> Value {
    json!({
        "name": "web", "script": app("health.js"), "instances": 3, "exec_mode": "cluster",
        "env": { "PORT": port, "CONTROL": control(rpm), "VERSION": version },
        "health_check": { "path": "/health", "body": "healthy", "interval": "200ms", "timeout": "1s", "fall": 2, "start_period": "2s" },
    })
}

fn health(rpm: &Rpm, name: &str) -> Vec<String> {
    let health = |process: &Value| process["pm2_env"]["health"].as_str().unwrap_or_default().to_owned();
    rpm.processes(name).iter().map(health).collect()
}

fn events(rpm: &Rpm, name: &str) -> String {
    rpm.ok(&["events", "--app", name])
}

#[test]
fn one_ill_worker_of_three_on_a_port_is_replaced_and_nobody_notices() {
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &ecosystem(&rpm, &web(&rpm, port, "one"))]);
    assert_eq!(health(&rpm, "web"), ["ready", "ready", "ready"]);
    let before = rpm.pids("web");
    let load = Load::start(port, "/", 4);
    load.wait_for(20);
    make(&control(&rpm), &format!("ill.{}", before[1]));
    until("the ill worker is replaced", || rpm.pids("web").get(1).is_some_and(|pid| *pid != before[1] && *pid > 0));
    load.wait_for(50);
    assert_eq!(load.stop(), Vec::<String>::new());
    let after = rpm.pids("web");
    assert_eq!((after[0], after[2]), (before[0], before[2]), "the others are left alone");
    assert_eq!(rpm.restarts("web"), [0, 1, 0]);
    let events = events(&rpm, "web");
    assert!(events.contains("unhealthy") && events.contains("status 500"), "{events}");
    assert!(rpm.ok(&["why", "web"]).contains("a failed health check"), "{}", rpm.ok(&["why", "web"]));
}

#[test]
fn a_release_that_is_ill_never_replaces_one_that_is_well() {
    let (rpm, port) = (Rpm::new(), free_port());
    let file = ecosystem(&rpm, &web(&rpm, port, "one"));
    rpm.ok(&["start", &file]);
    let before = rpm.pids("web");
    let load = Load::start(port, "/", 4);
    ecosystem(&rpm, &web(&rpm, port, "two"));
    make(&control(&rpm), "ill.two");
    let error = rpm.fails(&["reload", &file]);
    assert!(error.contains("did not pass its health check: status 500"), "{error}");
    assert!(error.contains("old workers keep serving"), "{error}");
    load.wait_for(20);
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!(rpm.pids("web"), before);
    assert!(http::get(port, "/").expect("an answer").contains("one"));
    std::fs::remove_file(control(&rpm).join("ill.two")).expect("it was there");
    rpm.ok(&["reload", &file]);
    assert!(http::get(port, "/").expect("an answer").contains("two"));
}

#[test]
fn a_start_that_is_never_well_fails_and_says_why() {
    let (rpm, port) = (Rpm::new(), free_port());
    make(&control(&rpm), "ill.one");
    let mut web = web(&rpm, port, "one");
    web["instances"] = json!(1);
    let error = rpm.fails(&["start", &ecosystem(&rpm, &web)]);
    assert!(error.contains("did not pass its health check: status 500"), "{error}");
    // It is tried again, and comes up when its trouble is over.
    std::fs::remove_file(control(&rpm).join("ill.one")).expect("it was there");
    until("it is ready", || health(&rpm, "web") == ["ready"]);
}

#[test]
fn python_workers_on_a_passed_socket_are_asked_one_by_one() {
    let (rpm, port) = (Rpm::new(), free_port());
    let py = json!({
        "name": "py", "script": app("health.py"), "instances": 2, "exec_mode": "socket",
        "listen": format!("127.0.0.1:{port}"), "env": { "CONTROL": control(&rpm) },
        "health_check": { "path": "/health", "interval": "200ms", "fall": 2 },
    });
    rpm.ok(&["start", &ecosystem(&rpm, &py)]);
    let before = rpm.pids("py");
    let load = Load::start(port, "/", 2);
    make(&control(&rpm), &format!("ill.{}", before[0]));
    until("the ill worker is replaced", || rpm.pids("py").first().is_some_and(|pid| *pid != before[0] && *pid > 0));
    load.wait_for(50);
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!(rpm.pids("py")[1], before[1]);
}

#[test]
fn a_program_that_binds_by_itself_is_asked_where_it_listens() {
    let (rpm, port) = (Rpm::new(), free_port());
    let mut web = web(&rpm, port, "one");
    (web["instances"], web["exec_mode"]) = (json!(1), json!("fork"));
    rpm.ok(&["start", &ecosystem(&rpm, &web)]);
    let pid = rpm.pids("web")[0];
    make(&control(&rpm), &format!("ill.{pid}"));
    rpm.until("it is restarted", "web", |list| list[0]["pid"] != pid && list[0]["pm2_env"]["health"] == "ready");
    let described = rpm.ok(&["describe", "web"]);
    assert!(described.contains("ready (status 200 in "), "{described}");
}

#[test]
fn a_compiled_worker_is_asked_by_a_command_in_its_environment() {
    let (rpm, port) = (Rpm::new(), free_port());
    let program = rpm.home().join("server");
    let built = std::process::Command::new("cc").args(["-O1", "-o"]).arg(&program).arg(app("passed.c")).status();
    assert!(built.expect("cc runs").success());
    let control = control(&rpm);
    let check = rpm.home().join("check.sh");
    let script = "#!/bin/sh\necho \"$RPM_WORKER_PID $RPM_WORKER_ADDRESS\" >> \"$CONTROL/asked\"\n[ ! -e \"$CONTROL/ill.$RPM_WORKER_PID\" ]\n";
    std::fs::write(&check, script).expect("a file");
    let c = json!({
        "name": "c", "script": program, "instances": 2, "exec_mode": "socket",
        "listen": format!("127.0.0.1:{port}"), "env": { "CONTROL": control },
        "health_check": { "exec": ["sh", check], "interval": "200ms", "fall": 2 },
    });
    rpm.ok(&["start", &ecosystem(&rpm, &c)]);
    let before = rpm.pids("c");
    let asked = std::fs::read_to_string(control.join("asked")).expect("it was asked");
    assert!(asked.contains(&format!("{} 127.0.0.1:{port}", before[1])), "{asked}");
    make(&control, &format!("ill.{}", before[1]));
    until("the ill worker is replaced", || rpm.pids("c").get(1).is_some_and(|pid| *pid != before[1] && *pid > 0));
    assert_eq!(rpm.pids("c")[0], before[0]);
}

#[test]
fn checks_go_on_under_the_next_daemon() {
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &ecosystem(&rpm, &web(&rpm, port, "one"))]);
    let before = rpm.pids("web");
    rpm.kill_daemon();
    make(&control(&rpm), &format!("ill.{}", before[0]));
    until("the ill worker is replaced", || rpm.pids("web").first().is_some_and(|pid| *pid != before[0] && *pid > 0));
    assert_eq!(rpm.pids("web")[1..], before[1..]);
}

#[test]
fn a_node_worker_that_hangs_is_found_by_its_watchdog() {
    let (rpm, port) = (Rpm::new(), free_port());
    let mut web = web(&rpm, port, "one");
    // By itself, so that no queue tells of it.
    (web["exec_mode"], web["instances"], web["health_check"]) = (json!("fork"), json!(1), json!(null));
    web["watchdog"] = json!("600ms");
    rpm.ok(&["start", &ecosystem(&rpm, &web)]);
    let before = rpm.pids("web");
    make(&control(&rpm), &format!("hang.{}", before[0]));
    let _asked = std::thread::spawn(move || http::get(port, "/"));
    until("it is replaced", || rpm.pids("web").first().is_some_and(|pid| *pid != before[0] && *pid > 0));
    assert!(events(&rpm, "web").contains("no sign of life for"), "{}", events(&rpm, "web"));
    assert!(rpm.ok(&["why", "web"]).contains("a hang"), "{}", rpm.ok(&["why", "web"]));
    assert_eq!(rpm.restarts("web"), [1]);
}

#[test]
fn a_node_worker_that_hangs_tells_where() {
    let (rpm, port) = (Rpm::new(), free_port());
    let mut web = web(&rpm, port, "one");
    (web["watchdog"], web["stack_dump"], web["health_check"]) = (json!("600ms"), json!("inspector"), json!(null));
    rpm.ok(&["start", &ecosystem(&rpm, &web)]);
    let before = rpm.pids("web");
    let hung = hang(&rpm, port, &before);
    until("it is replaced", || rpm.pids("web").iter().all(|pid| *pid != hung && *pid > 0));
    let log = || {
        std::fs::read_dir(rpm.home().join("logs"))
            .expect("logs")
            .flatten()
            .fold(String::new(), |all, file| all + &std::fs::read_to_string(file.path()).unwrap_or_default())
    };
    until("the line is named", || log().contains("health.js:11:"));
    assert!(log().contains("It hangs; Node's inspector tells where:\n    at "), "{}", log());
}

/// Makes one of the workers hang, and returns which; the requests of others go on.
fn hang(rpm: &Rpm, port: u16, pids: &[i32]) -> i32 {
    make(&control(rpm), &format!("hang.{}", pids[0]));
    // Somebody has to be the first whom it does not answer.
    let asked: Vec<_> = (0..12).map(|_| std::thread::spawn(move || http::get(port, "/"))).collect();
    drop(asked);
    pids[0]
}

#[test]
fn a_python_worker_that_stops_petting_its_watchdog_is_replaced() {
    let rpm = Rpm::new();
    let control = control(&rpm);
    let py = json!({
        "name": "py", "script": app("watchdog.py"), "env": { "CONTROL": control }, "watchdog": "500ms",
        "stack_dump": "SIGUSR1", "wait_ready": true,
    });
    rpm.ok(&["start", &ecosystem(&rpm, &py)]);
    let pid = rpm.pids("py")[0];
    make(&control, &format!("hang.{pid}"));
    rpm.until("it is restarted", "py", |list| list[0]["pid"] != pid && list[0]["pm2_env"]["status"] == "online");
    assert!(rpm.log("py-error.log").contains("in hang_here"), "{}", rpm.log("py-error.log"));
    assert!(events(&rpm, "py").contains("hang"), "{}", events(&rpm, "py"));
}

#[test]
fn a_compiled_worker_that_accepts_nothing_is_replaced() {
    let (rpm, port) = (Rpm::new(), free_port());
    let program = rpm.home().join("server");
    let built = std::process::Command::new("cc").args(["-O1", "-o"]).arg(&program).arg(app("passed.c")).status();
    assert!(built.expect("cc runs").success());
    let c = json!({
        "name": "c", "script": program, "instances": 2, "exec_mode": "socket", "watchdog": "600ms",
        "listen": format!("127.0.0.1:{port}"),
    });
    rpm.ok(&["start", &ecosystem(&rpm, &c)]);
    let before = rpm.pids("c");
    // Idle is not hung.
    signal(before[0], SIGSTOP);
    let _waiting: Vec<_> = (0..12).map(|_| std::thread::spawn(move || http::get(port, "/"))).collect();
    until("it is replaced", || rpm.pids("c").first().is_some_and(|pid| *pid != before[0] && *pid > 0));
    assert_eq!(rpm.pids("c")[1], before[1]);
    assert!(events(&rpm, "c").contains("it accepts no connection"), "{}", events(&rpm, "c"));
}

/// Only a worker's own slot was looked at.
#[test]
fn who_accepts_nothing_is_found_where_it_listens_by_itself_and_where_all_share_a_socket() {
    let server = "import os, socket\n\
                  if os.environ.get('LISTEN_FDS'): s = socket.socket(fileno=3)\n\
                  elif '/' in os.environ['PORT']: s = socket.socket(socket.AF_UNIX); s.bind(os.environ['PORT']); s.listen()\n\
                  else: s = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))\n\
                  while True:\n    c, _ = s.accept(); c.recv(99); c.sendall(b'HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok'); c.close()\n";
    for more in [
        json!({ "exec_mode": "fork" }),
        json!({ "exec_mode": "socket", "socket_mode": "shared" }),
        json!({ "exec_mode": "proxy", "proxy_socket": "unix" }),
    ] {
        let (rpm, port) = (Rpm::new(), free_port());
        let script = rpm.home().join("server.py");
        std::fs::write(&script, server).expect("a script");
        let mut py = json!({ "name": "py", "script": script, "watchdog": "600ms", "kill_timeout": 100 });
        for (key, value) in more.as_object().expect("an object") {
            py[key] = value.clone();
        }
        match py["exec_mode"] == "fork" {
            true => py["env"] = json!({ "PORT": port }),
            false => py["listen"] = json!(format!("127.0.0.1:{port}")),
        }
        rpm.ok(&["start", &ecosystem(&rpm, &py)]);
        until("it answers", || http::get(port, "/").is_ok());
        let before = rpm.pids("py");
        signal(before[0], SIGSTOP);
        let _waiting: Vec<_> = (0..3).map(|_| std::thread::spawn(move || http::get(port, "/"))).collect();
        until("it is replaced", || rpm.pids("py").first().is_some_and(|pid| *pid != before[0] && *pid > 0));
        assert!(events(&rpm, "py").contains("it accepts no connection"), "{}", events(&rpm, "py"));
    }
}

const SIGSTOP: i32 = 19;

#[test]
fn behind_a_balancer_a_worker_that_hangs_costs_no_request() {
    let (rpm, port, front) = (Rpm::new(), free_port(), free_port());
    let mut api = web(&rpm, port, "one");
    api["health_check"]["timeout"] = json!("300ms");
    let file = json!({
        "apps": [api],
        "upstreams": [{ "name": "backend", "servers": [{ "app": "web" }], "retries": 2 }],
        "balancers": [{ "name": "front", "listen": format!("127.0.0.1:{front}"), "upstream": "backend" }],
    });
    let path = rpm.home().join("eco.json");
    std::fs::write(&path, file.to_string()).expect("a file");
    rpm.ok(&["start", &path.to_string_lossy()]);
    let before = rpm.pids("web");
    let load = Load::start(front, "/", 4);
    load.wait_for(20);
    make(&control(&rpm), &format!("hang.{}", before[2]));
    until("the hung worker is replaced", || rpm.pids("web").get(2).is_some_and(|pid| *pid != before[2] && *pid > 0));
    load.wait_for(50);
    assert_eq!(load.stop(), Vec::<String>::new());
}
