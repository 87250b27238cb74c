//! HTTP/2 through the balancer, with the clients that people have.

use std::path::Path;
use std::process::{Command, Stdio};

use rpm_tests::{Rpm, app, deps, free_port, until};
use serde_json::{Value, json};

const CERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/rpm-balance/tests/edge/certs");

fn start(rpm: &Rpm, file: &Value) {
    let path = rpm.home().join("ecosystem.json");
    std::fs::write(&path, file.to_string()).expect("written");
    rpm.ok(&["start", &path.to_string_lossy()]);
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn curl_nghttp_and_h2load_are_answered() {
    let (rpm, plain, tls) = (Rpm::new(), free_port(), free_port());
    let log = rpm.home().join("access.log");
    start(
        &rpm,
        &json!({
            "apps": [{ "name": "api", "script": app("http.js"), "instances": 2, "exec_mode": "cluster",
                "env": { "PORT": free_port() } }],
            "upstreams": [{ "name": "backend", "servers": [{ "app": "api" }] }],
            "balancers": [{ "name": "web", "listen": format!("127.0.0.1:{plain}"), "upstream": "backend",
                "access_log": log, "gzip": { "min_length": 1 },
                "tls": { "listen": format!("127.0.0.1:{tls}"), "cert": format!("{CERTS}/one.crt"),
                    "key": format!("{CERTS}/one.key") } }],
        }),
    );
    let (plain, tls) = (format!("http://127.0.0.1:{plain}/"), format!("https://127.0.0.1:{tls}/"));
    let version = ["-sk", "-o", "/dev/null", "-w", "%{http_version} %{response_code}"];
    for (url, flag, seen) in [
        (&tls, "--http2", "2 200"),
        (&tls, "--http1.1", "1.1 200"),
        (&plain, "--http2-prior-knowledge", "2 200"),
        // Asked to upgrade, as curl does it, the answer is one of HTTP/1.1.
        (&plain, "--http2", "1.1 200"),
    ] {
        assert_eq!(output("curl", &[&version[..], &[flag, url]].concat()), seen, "{flag} {url}");
    }
    let long = "x".repeat(100_000);
    let posted = output("curl", &["-sk", "--http2", "--data", &long, &tls]);
    assert!(posted.contains("\"pid\""), "{posted}");
    assert!(output("nghttp", &["-v", &plain]).contains(":status: 200"));
    for url in [&plain, &tls] {
        let told = output("h2load", &["-n", "2000", "-c", "4", "-m", "20", url]);
        assert!(told.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{told}");
        assert!(told.contains("status codes: 2000 2xx"), "{told}");
    }
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    until("every request is in the log", || lines().lines().count() == 4 + 2 + 4000);
    assert!(lines().contains("\"GET / HTTP/2.0\" 200") && lines().contains("\"GET / HTTP/1.1\" 200"));
}

fn client(port: u16, what: &str) -> Command {
    let mut command = Command::new("node");
    let script = Path::new(&app("http.js")).with_file_name("grpc/client.js");
    command.arg(script).arg(format!("127.0.0.1:{port}")).arg(what).env("RPM_TEST_DEPS", deps());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn answer(output: std::process::Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn grpc_passes_and_a_reload_costs_no_call() {
    let (rpm, port) = (Rpm::new(), free_port());
    let script = Path::new(&app("http.js")).with_file_name("grpc/server.js");
    start(
        &rpm,
        &json!({
            "apps": [{ "name": "echo", "script": script, "instances": 2, "exec_mode": "proxy",
                "env": { "RPM_TEST_DEPS": deps() } }],
            "upstreams": [{ "name": "backend", "protocol": "h2c", "servers": [{ "app": "echo" }] }],
            "balancers": [{ "name": "web", "listen": format!("127.0.0.1:{port}"), "upstream": "backend" }],
        }),
    );
    let came = answer(client(port, "all").output().expect("node runs"));
    assert_eq!((&came["say"]["code"], &came["say"]["said"]), (&json!(0), &json!("hello")), "{came}");
    assert_eq!(came["count"], 1000, "{came}");
    assert_eq!(came["chat"].as_array().map(Vec::len), Some(5), "{came}");
    assert_eq!(came["fail"], json!([5, "not here"]), "{came}");
    assert_eq!(came["wait"], 4, "a deadline: {came}");
    // What the client gives up, the server hears of.
    until("the call is cancelled", || rpm.ok(&["logs", "echo", "--nostream", "--lines", "20"]).contains("cancelled"));
    let mut looping = client(port, "loop").spawn().expect("node runs");
    for _ in 0..3 {
        rpm.ok(&["reload", "echo"]);
    }
    drop(looping.stdin.take());
    let came = answer(looping.wait_with_output().expect("it ends"));
    assert!(came["answered"].as_u64() > Some(10) && came["failed"] == json!([]), "{came}");
    assert!(came["pids"].as_u64() > Some(2), "{came}");
}
