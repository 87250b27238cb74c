//! Configurations of nginx and HAProxy: what is written for them does there what the balancer does here, and what is read
//! from them does here what it does there.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rpm_tests::{Rpm, app, free_port, two_free_ports, until};
use serde_json::{Value, json};

/// A program that is ended with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // nginx's workers end with their master only when it is asked.
        rpm_tests::signal(self.0.id() as i32, 15);
        let _ = self.0.wait();
    }
}

fn program(name: &str) -> String {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = places.iter().map(|place| format!("{place}/{name}")).find(|path| Path::new(path).exists());
    found.unwrap_or_else(|| panic!("{name} is missing: `make setup` installs it"))
}

fn run(kind: &str, directory: &Path, text: &str) -> Running {
    let file = directory.join(format!("{kind}.conf"));
    let mut command = Command::new(program(kind));
    if kind == "nginx" {
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let paths: String =
            temporary.iter().map(|name| format!("    {name}_temp_path {}/{name};\n", directory.display())).collect();
        std::fs::write(&file, text.replacen("http {\n", &format!("http {{\n{paths}"), 1)).expect("written");
        let global = format!("pid {}/nginx.pid; daemon off; error_log stderr;", directory.display());
        command.arg("-p").arg(directory).arg("-c").arg(&file).arg("-g").arg(global);
    } else {
        std::fs::write(&file, text).expect("written");
        command.arg("-db").arg("-f").arg(&file);
    }
    Running(command.stdin(Stdio::null()).spawn().expect("it runs"))
}

/// Asks; returns the status, the place of a redirect, and the body.
fn ask(port: u16, host: &str, path: &str) -> (String, String, String) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return Default::default() };
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let location = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
    });
    // Pages of the programs' own differ, and so may the way in which a body is sent.
    let body = body.lines().find(|line| line.contains("\"pid\"") || *line == "short and stout").unwrap_or_default();
    (status, location.unwrap_or_default(), body.to_owned())
}

fn pid(answer: &(String, String, String)) -> Option<i64> {
    serde_json::from_str::<Value>(&answer.2).ok()?["pid"].as_i64()
}

/// Returns how many of 40 requests went to each place among the workers.
fn shares(port: u16, pids: &[i32]) -> BTreeMap<usize, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..40 {
        let pid = pid(&ask(port, "example.com", "/")).expect("an answer of an app");
        *shares.entry(pids.iter().position(|known| i64::from(*known) == pid).expect("one of ours")).or_default() += 1;
    }
    shares
}

/// Returns whether two are shared out alike; a few requests may be in another turn, since each thread takes its own.
fn alike(one: &BTreeMap<usize, usize>, other: &BTreeMap<usize, usize>) -> bool {
    one.len() == other.len()
        && one.iter().all(|(at, count)| other.get(at).is_some_and(|other| count.abs_diff(*other) <= 3))
}

#[test]
fn what_is_exported_behaves_as_the_balancer_does() {
    let rpm = Rpm::new();
    let (web, base) = (free_port(), two_free_ports());
    let servers = json!([{ "address": format!("127.0.0.1:{base}"), "weight": 3 }, { "address": format!("127.0.0.1:{}", base + 1) }]);
    let file = json!({
        "apps": [{ "name": "node", "script": app("http.js"), "instances": 2, "exec_mode": "fork",
            "env": { "PORT": base }, "increment_var": "PORT" }],
        "upstreams": [{ "name": "backend", "servers": servers, "health_check": { "path": "/health", "interval": "200ms", "rise": 1 } }],
        "balancers": [{ "name": "web", "listen": format!("127.0.0.1:{web}"), "http2": false, "routes": [
            { "upstream": "backend" },
            { "path": "/teapot", "exact": true, "respond": { "status": 418, "body": "short and stout" } },
            { "path": "/old", "redirect": { "to": "http://new.example.com$path$query", "status": 301 } },
            { "host": "gone.example.com", "respond": 410 },
            { "host": "*.moved.org", "path": "/x", "redirect": { "to": "https://$host$path$query", "status": 308 } },
        ] }],
    });
    let path = rpm.home().join("ecosystem.json");
    std::fs::write(&path, file.to_string()).expect("written");
    let path = path.to_string_lossy().into_owned();
    rpm.ok(&["start", &path]);
    let pids = rpm.pids("node");
    until("the servers listen", || pid(&ask(base, "a", "/")).is_some() && pid(&ask(base + 1, "a", "/")).is_some());
    until("the balancer has found them", || pid(&ask(web, "a", "/")).is_some());
    let wanted = shares(web, &pids);
    assert!(alike(&wanted, &[(0, 30), (1, 10)].into()), "{wanted:?}");
    let cases = [
        ("example.com", "/a?b=c"),
        ("example.com", "/teapot"),
        ("example.com", "/teapots"),
        ("example.com", "/old/page?x=1"),
        ("example.com", "/older"),
        ("gone.example.com", "/any"),
        ("gone.example.com", "/old"),
        ("a.moved.org", "/x/y?z"),
        ("a.moved.org", "/teapot"),
    ];
    // Which server answered is a matter of turns: what is compared is that one did.
    let kind = |port, (host, path): (&str, &str)| {
        let answer = ask(port, host, path);
        let by_app = pid(&answer).is_some();
        (answer.0, answer.1, by_app || answer.2.is_empty(), by_app)
    };
    for program in ["nginx", "haproxy"] {
        let port = free_port();
        let text =
            rpm.ok(&["export", program, &path]).replace(&format!("127.0.0.1:{web}"), &format!("127.0.0.1:{port}"));
        let directory = tempfile::tempdir().expect("a directory");
        let _running = run(program, directory.path(), &text);
        until("it answers", || pid(&ask(port, "example.com", "/")).is_some());
        until("it has found both", || shares(port, &pids).len() == 2);
        let shares = shares(port, &pids);
        assert!(alike(&shares, &wanted), "{program}: {shares:?}, {wanted:?}");
        for case in cases {
            assert_eq!(kind(port, case), kind(web, case), "{program} {case:?}\n{text}");
        }
    }
}

#[test]
fn what_is_imported_behaves_as_the_program_did() {
    let rpm = Rpm::new();
    let base = two_free_ports();
    let app = app("http.js");
    let apps = json!({ "apps": [{ "name": "node", "script": app, "instances": 2, "exec_mode": "fork",
        "env": { "PORT": base }, "increment_var": "PORT" }] });
    let path = rpm.home().join("apps.json");
    std::fs::write(&path, apps.to_string()).expect("written");
    rpm.ok(&["start", &path.to_string_lossy()]);
    let pids = rpm.pids("node");
    until("the servers listen", || pid(&ask(base, "a", "/")).is_some() && pid(&ask(base + 1, "a", "/")).is_some());
    let (a, b) = (format!("127.0.0.1:{base}"), format!("127.0.0.1:{}", base + 1));
    let nginx = |port: u16| {
        format!(
            "events {{}}\nhttp {{\n access_log off;\n upstream backend {{ server {a} weight=3; server {b}; }}\n server {{\n  \
             listen 127.0.0.1:{port};\n  server_name example.com;\n  location / {{ proxy_pass http://backend; proxy_http_version 1.1; \
             proxy_set_header Host $host; }}\n  location = /teapot {{ return 418 \"short and stout\"; }}\n  \
             location /old {{ return 301 http://new.example.com$request_uri; }}\n }}\n}}\n"
        )
    };
    let haproxy = |port: u16| {
        format!(
            "global\n maxconn 100\ndefaults\n mode http\n timeout connect 1s\n timeout client 5s\n timeout server 5s\n\
             frontend in\n bind 127.0.0.1:{port}\n default_backend both\nbackend both\n balance roundrobin\n \
             server one {a} weight 3\n server two {b} weight 1\n"
        )
    };
    for (program, text) in [("nginx", &nginx as &dyn Fn(u16) -> String), ("haproxy", &haproxy)] {
        let (theirs, ours) = (free_port(), free_port());
        let directory = tempfile::tempdir().expect("a directory");
        let _running = run(program, directory.path(), &text(theirs));
        until("it answers", || pid(&ask(theirs, "example.com", "/")).is_some());
        let from = directory.path().join("original.conf");
        std::fs::write(&from, text(ours)).expect("written");
        let to = directory.path().join("ecosystem.json").to_string_lossy().into_owned();
        rpm.ok(&["import", program, &from.to_string_lossy(), "-o", &to]);
        rpm.ok(&["start", &to]);
        let (own, other) = (shares(ours, &pids), shares(theirs, &pids));
        assert!(alike(&own, &other), "{program}: {own:?}, {other:?}");
        for path in ["/old/x?y", "/teapot"].into_iter().filter(|_| program == "nginx") {
            let (ours, theirs) = (ask(ours, "example.com", path), ask(theirs, "example.com", path));
            assert_eq!(ours, theirs, "{path}");
        }
    }
}

#[test]
fn lines_that_are_not_taken_over_are_named() {
    let rpm = Rpm::new();
    let file = rpm.home().join("nginx.conf");
    std::fs::write(
        &file,
        "upstream u {\n  server a:1;\n  frobnicate on;\n}\nserver { location / { proxy_pass http://u; } }\n",
    )
    .expect("written");
    let output = rpm.run(&["import", "nginx", &file.to_string_lossy()]);
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("`frobnicate on` was not taken over") && told.contains(":3:"), "{told}");
    assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok());
    let told = rpm.fails(&["import", "ngin", "x"]);
    assert!(told.contains("did you mean `nginx`?"), "{told}");
    let told = rpm.fails(&["export", "haprox"]);
    assert!(told.contains("did you mean `haproxy`?"), "{told}");
}
