//! Balancers: what stands in front of the apps, and that nothing is lost behind it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rpm_tests::{Load, Rpm, app, free_port, http, signal, until};
use serde_json::{Value, json};

/// Writes an ecosystem file into the home of a test.
fn write(rpm: &Rpm, file: &Value) -> String {
    let path: PathBuf = rpm.home().join("ecosystem.json");
    std::fs::write(&path, file.to_string()).expect("written");
    path.to_string_lossy().into_owned()
}

/// One app behind one balancer.
fn file(app: &Value, port: u16) -> Value {
    json!({
        "apps": [app],
        "upstreams": [{ "name": "backend", "servers": [{ "app": app["name"] }] }],
        "balancers": [{ "name": "web", "listen": format!("127.0.0.1:{port}"), "upstream": "backend" }],
    })
}

/// Node's cluster, and a port of their own for each: both are reached worker by worker.
fn apps(instances: u32) -> Vec<Value> {
    let cluster = json!({ "name": "api", "script": app("http.js"), "instances": instances, "exec_mode": "cluster",
        "env": { "PORT": free_port() } });
    let proxy = json!({ "name": "api", "script": app("http.js"), "instances": instances, "exec_mode": "proxy" });
    vec![cluster, proxy]
}

fn pid(port: u16) -> i64 {
    let answer: Value = serde_json::from_str(&http::get(port, "/").expect("an answer")).expect("JSON");
    answer["pid"].as_i64().expect("a pid")
}

fn json(rpm: &Rpm) -> Value {
    serde_json::from_str(&rpm.ok(&["list", "--json"])).expect("JSON")
}

/// Returns the pid of the balancer's process.
fn edge(rpm: &Rpm) -> i32 {
    let list = json(rpm);
    let apps = list["apps"].as_array().expect("apps");
    let web = apps.iter().find(|app| app["spec"]["name"] == "web").expect("the balancer");
    web["workers"][0]["pid"].as_i64().expect("it runs") as i32
}

#[test]
fn every_worker_of_an_app_is_reached_and_shown() {
    for app in apps(3) {
        let (rpm, port) = (Rpm::new(), free_port());
        rpm.ok(&["start", &write(&rpm, &file(&app, port))]);
        let pids: BTreeSet<i64> = (0..30).map(|_| pid(port)).collect();
        let workers: BTreeSet<i64> = rpm.pids("api").into_iter().map(i64::from).collect();
        assert_eq!(pids, workers, "{}", app["exec_mode"]);
        let list = rpm.ok(&["list"]);
        assert!(list.contains("backend") && list.contains("api:0.1") && list.contains(&port.to_string()), "{list}");
        let servers = &json(&rpm)["balancers"][0]["stats"]["upstreams"][0]["servers"];
        assert_eq!(servers.as_array().map(Vec::len), Some(3), "{servers}");
        let requests: i64 = servers.as_array().expect("a list").iter().filter_map(|one| one["requests"].as_i64()).sum();
        assert_eq!(requests, 30);
        assert!(rpm.ok(&["describe", "web"]).contains("upstream backend"));
        // PM2's clients know no balancers.
        assert_eq!(rpm.jlist().len(), 3);
    }
}

#[test]
fn twenty_reloads_lose_no_request() {
    for app in apps(2) {
        let (rpm, port) = (Rpm::new(), free_port());
        rpm.ok(&["start", &write(&rpm, &file(&app, port))]);
        let load = Load::start(port, "/?slow=5", 8);
        for _ in 0..20 {
            let before = rpm.pids("api");
            rpm.ok(&["reload", "api"]);
            assert!(rpm.pids("api").iter().all(|pid| !before.contains(pid)));
        }
        assert_eq!(load.stop(), Vec::<String>::new(), "{}", app["exec_mode"]);
    }
}

#[test]
fn scaling_up_and_down_loses_no_request() {
    for app in apps(1) {
        let (rpm, port) = (Rpm::new(), free_port());
        rpm.ok(&["start", &write(&rpm, &file(&app, port))]);
        let load = Load::start(port, "/?slow=5", 8);
        load.wait_for(20);
        rpm.ok(&["scale", "api", "8"]);
        load.wait_for(50);
        rpm.ok(&["scale", "api", "1"]);
        load.wait_for(20);
        assert_eq!(load.stop(), Vec::<String>::new(), "{}", app["exec_mode"]);
    }
}

#[test]
fn killed_workers_cost_no_request() {
    for mut app in apps(4) {
        let (rpm, port) = (Rpm::new(), free_port());
        // Killed far more often than any app may crash.
        app["max_restarts"] = json!(10_000);
        rpm.ok(&["start", &write(&rpm, &file(&app, port))]);
        let load = Load::start(port, "/?slow=5", 8);
        for round in 0..15 {
            // One of four every 200 ms.
            std::thread::sleep(std::time::Duration::from_millis(200));
            let pids = rpm.pids("api");
            if let Some(pid) = pids.get(round % pids.len().max(1)).filter(|pid| **pid > 0) {
                signal(*pid, 9);
            }
        }
        load.wait_for(50);
        assert_eq!(load.stop(), Vec::<String>::new(), "{}", app["exec_mode"]);
    }
}

#[test]
fn the_restart_of_a_single_instance_costs_no_request() {
    for app in apps(1) {
        let (rpm, port) = (Rpm::new(), free_port());
        rpm.ok(&["start", &write(&rpm, &file(&app, port))]);
        let load = Load::start(port, "/?slow=5", 4);
        for _ in 0..3 {
            load.wait_for(20);
            rpm.ok(&["restart", "api"]);
        }
        load.wait_for(20);
        assert_eq!(load.stop(), Vec::<String>::new(), "{}", app["exec_mode"]);
    }
}

#[test]
fn the_balancer_is_replaced_and_the_daemon_killed_without_a_drop() {
    let (rpm, port) = (Rpm::new(), free_port());
    let app = &apps(2)[0];
    rpm.ok(&["start", &write(&rpm, &file(app, port))]);
    let load = Load::start(port, "/?slow=5", 8);
    let first = edge(&rpm);
    for command in ["reload", "restart"] {
        load.wait_for(30);
        let before = edge(&rpm);
        rpm.ok(&[command, "web"]);
        assert_ne!(edge(&rpm), before, "{command}");
    }
    load.wait_for(30);
    let before = edge(&rpm);
    rpm.kill_daemon();
    assert_eq!(edge(&rpm), before, "the balancer does not notice");
    // The new daemon is heard.
    rpm.ok(&["reload", "api"]);
    load.wait_for(30);
    rpm.ok(&["update"]);
    assert_ne!(edge(&rpm), before, "it is our own program, so it becomes the new one");
    load.wait_for(30);
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_ne!(first, edge(&rpm));
}

#[test]
fn a_killed_keeper_costs_no_request() {
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &write(&rpm, &file(&apps(2)[1], port))]);
    let load = Load::start(port, "/?slow=5", 4);
    load.wait_for(20);
    let (keeper, before) = (rpm.keeper_pid(), edge(&rpm));
    signal(keeper, 9);
    until("another keeper", || {
        let pid = std::fs::read_to_string(rpm.home().join("keeper.pid")).unwrap_or_default();
        pid.trim().parse().is_ok_and(|pid: i32| pid != keeper) && rpm.run(&["ping"]).status.success()
    });
    load.wait_for(20);
    assert_eq!(edge(&rpm), before, "the balancer goes on");
    rpm.ok(&["reload", "all"]);
    load.wait_for(20);
    assert_eq!(load.stop(), Vec::<String>::new());
}

#[test]
fn a_changed_configuration_is_applied_without_a_drop_and_a_broken_one_refused() {
    let (rpm, port, other) = (Rpm::new(), free_port(), free_port());
    let mut file = file(&apps(1)[0], port);
    rpm.ok(&["start", &write(&rpm, &file)]);
    let load = Load::start(port, "/", 4);
    load.wait_for(20);
    file["balancers"][0]["listen"] = json!([format!("127.0.0.1:{port}"), format!("127.0.0.1:{other}")]);
    rpm.ok(&["reload", &write(&rpm, &file), "--only", "web"]);
    http::get(other, "/").expect("the new address");
    file["balancers"][0]["listen"] = json!(format!("127.0.0.1:{port}"));
    rpm.ok(&["reload", &write(&rpm, &file), "--only", "web"]);
    until("the address is closed", || http::get(other, "/").is_err());
    file["balancers"][0]["upstream"] = json!("backnd");
    let told = rpm.fails(&["reload", &write(&rpm, &file), "--only", "web"]);
    assert!(told.contains("did you mean `backend`?"), "{told}");
    let taken = std::net::TcpListener::bind(("127.0.0.1", other)).expect("a port");
    file["balancers"][0]["upstream"] = json!("backend");
    file["balancers"][0]["listen"] = json!([format!("127.0.0.1:{port}"), format!("127.0.0.1:{other}")]);
    let told = rpm.fails(&["reload", &write(&rpm, &file), "--only", "web"]);
    assert!(told.contains(&other.to_string()) && told.contains("keep serving"), "{told}");
    drop(taken);
    load.wait_for(20);
    assert_eq!(load.stop(), Vec::<String>::new());
}

#[test]
fn a_changed_configuration_is_applied_where_it_runs() {
    use std::io::{Read, Write};
    let (rpm, port, other) = (Rpm::new(), free_port(), free_port());
    // What opens a tunnel, and echoes.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let tunnel = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut stream, mut bytes) = (stream, [0; 4096]);
                let _ = stream.read(&mut bytes);
                let _ = stream.write_all(b"HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
                while let Ok(count @ 1..) = stream.read(&mut bytes) {
                    let _ = stream.write_all(&bytes[..count]);
                }
            });
        }
    });
    let mut file = file(&apps(1)[0], port);
    file["upstreams"].as_array_mut().expect("a list").push(json!({ "name": "echo", "servers": [tunnel.to_string()] }));
    let route = |path: &str, upstream: &str| json!({ "path": path, "upstream": upstream });
    file["balancers"][0] = json!({ "name": "web", "listen": format!("127.0.0.1:{port}"),
        "routes": [route("/", "backend"), route("/echo", "echo")] });
    rpm.ok(&["start", &write(&rpm, &file)]);
    http::get(port, "/").expect("an answer");
    let mut open = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    open.write_all(b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").expect("sent");
    let mut echo = |text: &str| {
        let mut bytes = [0; 4096];
        open.write_all(text.as_bytes()).expect("sent");
        let mut got = String::new();
        while !got.ends_with(text) {
            let count = open.read(&mut bytes).expect("open");
            assert!(count > 0, "the tunnel was cut: {got}");
            got.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    };
    echo("one");
    let before = edge(&rpm);
    file["balancers"][0]["routes"] = json!([route("/", "backend"), route("/echo", "echo"),
        { "path": "/new", "respond": { "status": 200, "body": "new" } }]);
    file["balancers"][0]["listen"] = json!([format!("127.0.0.1:{port}"), format!("127.0.0.1:{other}")]);
    file["balancers"][0]["max_body"] = json!("1M");
    rpm.ok(&["reload", &write(&rpm, &file), "--only", "web"]);
    assert_eq!(edge(&rpm), before, "the same process");
    assert_eq!(http::get(other, "/new").expect("the new address and route"), "new");
    echo("two");
    let stats = &json(&rpm)["balancers"][0]["stats"]["balancers"][0];
    assert!(stats["connections_total"].as_u64() >= Some(3), "counters stay: {stats}");
    // What cannot be applied changes nothing.
    file["balancers"][0]["access_log"] = json!("/proc/nowhere/access.log");
    let told = rpm.fails(&["reload", &write(&rpm, &file), "--only", "web"]);
    assert!(told.contains("/proc/nowhere") && told.contains("keep serving"), "{told}");
    echo("three");
    assert_eq!((edge(&rpm), http::get(other, "/new").expect("as before").as_str()), (before, "new"));
    // The next daemon knows the new one.
    rpm.kill_daemon();
    until("the daemon is back", || rpm.run(&["ping"]).status.success());
    assert_eq!(http::get(other, "/new").expect("as before"), "new");
    echo("four");
    assert_eq!(edge(&rpm), before);
    // The next process would wait for it.
    drop(open);
    rpm.ok(&["reload", "web"]);
    assert_ne!(edge(&rpm), before, "asked for by name it is a new process");
    assert_eq!(http::get(other, "/new").expect("as before"), "new");
}

#[test]
fn balancers_stop_start_and_come_back_like_apps() {
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &write(&rpm, &file(&apps(1)[1], port))]);
    http::get(port, "/").expect("an answer");
    rpm.ok(&["save"]);
    rpm.ok(&["stop", "web"]);
    assert!(http::get(port, "/").is_err(), "nobody listens");
    rpm.ok(&["start", "web"]);
    http::get(port, "/").expect("an answer");
    rpm.ok(&["kill"]);
    rpm.ok(&["resurrect"]);
    http::get(port, "/").expect("an answer after resurrect");
    rpm.ok(&["delete", "web"]);
    assert!(http::get(port, "/").is_err());
    std::net::TcpListener::bind(("127.0.0.1", port)).expect("the address is free");
}

#[test]
fn a_balancer_is_scaled_like_an_app() {
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &write(&rpm, &file(&apps(1)[1], port))]);
    let load = Load::start(port, "/", 4);
    load.wait_for(20);
    rpm.ok(&["scale", "web", "2"]);
    load.wait_for(20);
    rpm.ok(&["scale", "web", "1"]);
    load.wait_for(20);
    assert_eq!(load.stop(), Vec::<String>::new());
}

#[test]
fn an_app_that_binds_its_own_port_needs_no_more_than_proxy_mode() {
    let (rpm, port) = (Rpm::new(), free_port());
    let file = json!({ "apps": [{ "name": "own", "script": app("http.js"), "instances": 2, "exec_mode": "proxy",
        "listen": format!("127.0.0.1:{port}"), "balance": "least_conn", "sticky": "cookie" }] });
    rpm.ok(&["start", &write(&rpm, &file)]);
    let workers: BTreeSet<i64> = rpm.pids("own").into_iter().map(i64::from).collect();
    assert!(workers.contains(&pid(port)));
    rpm.ok(&["delete", "own"]);
    assert!(http::get(port, "/").is_err());
    assert_eq!(json(&rpm)["apps"], json!([]), "the balancer that was made for it goes with it");
}

/// The balancer that was made for an app was once replaced at each restart of it, and what waited in it was given up.
#[test]
fn socket_files_serve_as_ports_do() {
    let (rpm, port) = (Rpm::new(), free_port());
    let py = json!({ "name": "api", "script": app("http.js"), "instances": 2, "exec_mode": "proxy",
        "proxy_socket": "unix" });
    rpm.ok(&["start", &write(&rpm, &file(&py, port))]);
    let pids: BTreeSet<i64> = (0..10).map(|_| pid(port)).collect();
    assert_eq!(pids.len(), 2);
    let files = || std::fs::read_dir(rpm.home().join("sockets")).expect("the directory").count();
    assert_eq!(files(), 2);
    let load = Load::start(port, "/", 4);
    load.wait_for(20);
    rpm.ok(&["reload", "api"]);
    rpm.kill_daemon();
    until("the daemon is back", || rpm.run(&["ping"]).status.success());
    for pid in rpm.pids("api") {
        signal(pid, 9);
    }
    load.wait_for(50);
    rpm.ok(&["reload", "api"]);
    assert_eq!(load.stop(), Vec::<String>::new());
    until("what is over is removed", || files() == 2);
    rpm.ok(&["delete", "api"]);
    until("all is removed", || files() == 0);
}

#[test]
fn a_restart_of_an_app_costs_no_request_and_leaves_the_balancer_that_was_made_for_it() {
    let (rpm, port) = (Rpm::new(), free_port());
    let file = json!({ "apps": [{ "name": "own", "script": app("http.js"), "instances": 2, "exec_mode": "proxy",
        "listen": format!("127.0.0.1:{port}") }] });
    rpm.ok(&["start", &write(&rpm, &file)]);
    let made = rpm.pids("own-edge");
    let load = Load::start(port, "/?slow=5", 8);
    for _ in 0..2 {
        load.wait_for(30);
        rpm.ok(&["restart", "own"]);
    }
    assert_eq!(rpm.pids("own-edge"), made);
    // Nor is what waits given up when the balancer itself is replaced meanwhile.
    load.wait_for(30);
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| rpm.ok(&["restart", "own"]));
        rpm.ok(&["reload", "own-edge"]);
        restart.join().expect("the restart ends");
    });
    load.wait_for(30);
    assert_eq!(load.stop(), Vec::<String>::new());
    rpm.ok(&["stop", "own"]);
    rpm.ok(&["restart", "own"]);
    assert!(http::get(port, "/").is_ok(), "the balancer comes back with its app");
}

#[test]
fn servers_are_drained_and_used_again_by_name() {
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &write(&rpm, &file(&apps(2)[1], port))]);
    rpm.ok(&["drain", "backend", "api:0"]);
    let left = pid(port);
    assert!((0..10).all(|_| pid(port) == left), "one is drained");
    rpm.ok(&["ready", "backend", "api:0"]);
    until("both are used", || (0..10).map(|_| pid(port)).collect::<BTreeSet<_>>().len() == 2);
    rpm.ok(&["weight", "backend", "api:0", "0"]);
    assert!((0..10).all(|_| pid(port) == left), "one has no share");
    rpm.ok(&["drain", "backend", "api:0"]);
    // Whoever is replaced, it stays so.
    rpm.kill_daemon();
    until("the daemon is back", || rpm.run(&["ping"]).status.success());
    rpm.ok(&["reload", "web"]);
    assert!((0..10).all(|_| pid(port) == left), "it is still drained");
    let servers = &json(&rpm)["balancers"][0]["stats"]["upstreams"][0]["servers"];
    assert_eq!((&servers[0]["state"], &servers[0]["weight"]), (&json!("draining"), &json!(0)), "{servers}");
    rpm.ok(&["weight", "backend", "api:0", "1"]);
    rpm.ok(&["ready", "backend", "api:0"]);
    until("both are used", || (0..10).map(|_| pid(port)).collect::<BTreeSet<_>>().len() == 2);
    let told = rpm.fails(&["drain", "backnd", "api:0"]);
    assert!(told.contains("did you mean `backend`?"), "{told}");
    let told = rpm.fails(&["drain", "backend", "apo:0"]);
    assert!(told.contains("did you mean"), "{told}");
}
