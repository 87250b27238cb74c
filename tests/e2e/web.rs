//! `rpm web`: metrics, the HTTP API and the dashboard, on the real binary.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rpm_tests::{Rpm, app, deps, until};
use serde_json::{Value, json};

/// A web server of a daemon.
pub(crate) struct Web {
    port: u16,
    token: String,
}

impl Web {
    pub(crate) fn start(rpm: &Rpm, more: &[&str]) -> Self {
        // The kernel gives a port that nobody has; it is free again when the server takes it.
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        rpm.ok(&[&["web", "--listen", &format!("127.0.0.1:{port}")], more].concat());
        let web = Self { port, token: rpm.ok(&["web", "token"]).trim().to_owned() };
        until("the web server", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        web
    }

    /// Asks with these headers; returns status, head and body.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
        exchange(stream, &format!("{method} {path} HTTP/1.1\r\n{host}{headers}"), body)
    }

    pub(crate) fn with_token(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, _, body) = self.ask(method, path, &format!("Authorization: Bearer {}\r\n", self.token), body);
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
    }

    fn id(&self, name: &str) -> u64 {
        let (_, all) = self.with_token("GET", "/api/v1/apps", "");
        let apps = all["apps"].as_array().unwrap();
        apps.iter().find(|app| app["name"] == name).unwrap()["id"].as_u64().unwrap()
    }
}

/// Logs in; returns the headers that show it.
fn logged_in(web: &Web) -> String {
    let (_, head, _) = web.ask("POST", "/api/v1/login", "", &format!("{{\"token\":\"{}\"}}", web.token));
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let (_, _, session) = web.ask("GET", "/api/v1/session", &cookie, "");
    let session: Value = serde_json::from_str(&session).unwrap();
    format!("{cookie}X-Csrf-Token: {}\r\n", session["csrf"].as_str().unwrap())
}

fn exchange(mut stream: impl Read + Write, head: &str, body: &str) -> (u16, String, String) {
    let request = format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("cut off: {answer:?}"));
    (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
}

#[test]
fn metrics_are_what_promtool_takes() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "we\"ird\\name", "-i", "3"]);
    let web = Web::start(&rpm, &["--compat", "pm2"]);
    let token = rpm.ok(&["web", "token", "--metrics"]);
    let bearer = format!("Authorization: Bearer {}\r\n", token.trim());
    let metrics = |web: &Web| web.ask("GET", "/metrics", &bearer, "").2;
    // What happens is counted from the moment on at which the web server hears of it.
    until("an end is counted", || {
        rpm_tests::signal(rpm.pids("we\"ird\\name")[0], 9);
        metrics(&web).contains("signal=\"SIGKILL\"")
    });
    until("a restart is counted", || metrics(&web).contains("reason=\"crash\""));
    let started = rpm.command(&["start", &app("http.js"), "--name", "rolled", "-i", "1"]).env("PORT", "0").output();
    assert!(started.unwrap().status.success());
    rpm.ok(&["reload", "rolled"]);
    until("a reload is counted", || metrics(&web).contains("result=\"success\"} 1\n"));
    let path = rpm.home().join("scaled.json");
    let scaled = json!({ "name": "scaled", "script": app("idle.sh"), "autoscale": { "max": 4, "cpu": 70 } });
    std::fs::write(&path, json!({ "apps": [scaled] }).to_string()).unwrap();
    rpm.ok(&["start", &path.to_string_lossy()]);
    until("the load is seen", || metrics(&web).contains("kind=\"cpu\""));
    rpm.until("all run", "we\"ird\\name", |all| all.iter().all(|one| one["pm2_env"]["status"] == "online"));
    let (status, head, text) = web.ask("GET", "/metrics", &bearer, "");
    assert_eq!(status, 200, "{text}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(
        text.contains("rpm_worker_up{app=\"we\\\"ird\\\\name\",instance=\"2\",namespace=\"default\"} 1\n"),
        "{text}"
    );
    for name in [
        "rpm_app_restarts_total",
        "rpm_app_exits_total",
        "rpm_app_reload_duration_seconds",
        "rpm_app_unstable",
        "rpm_app_autoscale_load_ratio",
        "rpm_worker_cpu_seconds_total",
        "rpm_worker_open_fds",
        "rpm_host_cpus",
        "rpm_log_bytes_total",
        "rpm_log_dropped_lines_total",
        "rpm_daemon_start_time_seconds",
        "pm2_up",
        "pm2_cpu",
        "pm2_memory",
        "pm2_uptime",
        "pm2_instances",
        "pm2_restarts",
    ] {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}: {text}");
    }
    assert!(text.contains("pm2_instances{id=\"5\",name=\"scaled\",instance=\"0\"} 1\n"), "{text}");
    let mut promtool = Command::new("promtool");
    let mut check = promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    // The scraper's token opens nothing else, and nothing opens without one.
    assert_eq!(web.ask("GET", "/api/v1/apps", &bearer, "").0, 401);
    assert_eq!(web.ask("GET", "/metrics", "", "").0, 401);

    let dashboard: Value = serde_json::from_str(&rpm.ok(&["export", "grafana"])).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let rules: String = queries
        .enumerate()
        .map(|(at, query)| {
            let query = query["expr"].as_str().unwrap().replace("$app", ".*");
            format!("  - record: rule:{at}\n    expr: '{query}'\n")
        })
        .collect();
    let file = rpm.home().join("rules.yml");
    std::fs::write(&file, format!("groups:\n- name: rpm\n  rules:\n{rules}")).unwrap();
    let output = Command::new("promtool").args(["check", "rules"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Returns the value of a series by its name and labels.
pub(crate) fn series(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(line.parse().unwrap_or_else(|error| panic!("{name} {line}: {error}")))
}

#[test]
fn what_is_written_to_logs_is_counted_past_rotations() {
    let rpm = Rpm::new();
    let web = Web::start(&rpm, &[]);
    let bearer = format!("Authorization: Bearer {}\r\n", rpm.ok(&["web", "token", "--metrics"]).trim());
    let metrics = || web.ask("GET", "/metrics", &bearer, "").2;
    let said =
        "import os, time; os.write(2, b'e'); [os.write(1, b'0123456789' * 100) for _ in range(2000)]; time.sleep(999)";
    let script = rpm.home().join("loud.py");
    std::fs::write(&script, said).unwrap();
    // One writes its log itself, the other's is written for it; both are rotated many times.
    for (name, more) in [("direct", json!({})), ("framed", json!({ "time": true }))] {
        let mut loud = json!({ "name": name, "script": script, "interpreter": "python3", "max_log_size": "100K" });
        loud.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let file = rpm.home().join(format!("{name}.json"));
        std::fs::write(&file, json!({ "apps": [loud] }).to_string()).unwrap();
        rpm.ok(&["start", &file.to_string_lossy()]);
    }
    let of = |app: &str, stream: &str| {
        let labels = format!("{{app=\"{app}\",namespace=\"default\",instance=\"0\",stream=\"{stream}\"}}");
        series(&metrics(), &format!("rpm_log_bytes_total{labels}"))
    };
    until("all bytes are counted", || of("direct", "out") == Some(2_000_000) && of("direct", "err") == Some(1));
    until("those with times, too", || of("framed", "out") > Some(2_000_000));
    rpm.ok(&["restart", "all"]);
    until("those of the next life are added", || of("direct", "out") == Some(4_000_000));
    // Of several workers with one log nobody knows whose a byte is.
    let log = rpm.home().join("one.log");
    rpm.ok(&[
        "start",
        &app("idle.sh"),
        "--name",
        "many",
        "-i",
        "2",
        "--merge-logs",
        "--output",
        &log.to_string_lossy(),
    ]);
    let shared = "rpm_log_bytes_total{app=\"many\",namespace=\"default\",stream=\"out\"}";
    until("a log of two is counted once", || series(&metrics(), shared).is_some());
    let lost = "rpm_log_dropped_lines_total{app=\"direct\",instance=\"0\",namespace=\"default\"}";
    assert_eq!(series(&metrics(), lost), Some(0));
}

#[test]
fn the_api_shows_and_acts_and_refuses_strangers() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "web", "-i", "2"]);
    let web = Web::start(&rpm, &[]);
    let id = web.id("web");
    let before = rpm.pids("web");
    assert_eq!(web.with_token("POST", &format!("/api/v1/apps/{id}/restart"), "").0, 200);
    assert!(rpm.pids("web").iter().all(|pid| !before.contains(pid)));
    assert_eq!(web.with_token("POST", &format!("/api/v1/apps/{id}/scale"), "{\"instances\":3}").0, 200);
    assert_eq!(rpm.pids("web").len(), 3);
    assert_eq!(web.with_token("POST", &format!("/api/v1/apps/{id}/stop"), "").0, 200);
    assert!(rpm.pids("web").is_empty());
    let (_, events) = web.with_token("GET", "/api/v1/events?app=web&last=500", "");
    assert!(events["events"].as_array().unwrap().iter().any(|event| event["event"] == "exit"), "{events}");

    for (method, path, body, status) in [
        ("POST", "/api/v1/apps/99/stop", "", 404),
        ("POST", "/api/v1/apps/0/scale", "{\"instances\":0}", 400),
        ("POST", "/api/v1/apps/0/scale", "nonsense", 400),
        ("GET", "/api/v1/events?last=0", "", 400),
        ("GET", "/api/v1/apps/0/stop", "", 405),
        ("DELETE", "/api/v1/apps/0", "", 405),
        ("GET", "/api/v1/nothing", "", 404),
    ] {
        let (found, answer) = web.with_token(method, path, body);
        assert_eq!(found, status, "{method} {path}: {answer}");
        assert!(answer["error"].is_string(), "{method} {path}: {answer}");
    }

    // Another's name for us, another's page, a cookie without the proof.
    assert_eq!(web.ask("GET", "/", "Host: evil.example\r\n", "").0, 403);
    let stop = format!("/api/v1/apps/{id}/stop");
    let bearer = format!("Authorization: Bearer {}\r\n", web.token);
    assert_eq!(web.ask("POST", &stop, &format!("{bearer}Origin: http://evil.example\r\n"), "").0, 403);
    let (status, head, _) = web.ask("POST", "/api/v1/login", "", &format!("{{\"token\":\"{}\"}}", web.token));
    assert_eq!(status, 200);
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("httponly") && cookie.contains("samesite=strict"), "{cookie}");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(web.ask("POST", &stop, &cookie, "").0, 403);
    let (_, _, session) = web.ask("GET", "/api/v1/session", &cookie, "");
    let session: Value = serde_json::from_str(&session).unwrap();
    let proof = format!("{cookie}X-Csrf-Token: {}\r\n", session["csrf"].as_str().unwrap());
    assert_eq!(web.ask("POST", &stop, &proof, "").0, 200);
    let (_, head, page) = web.ask("GET", "/", "", "");
    assert!(head.contains("content-security-policy: default-src 'none'") && !page.contains("http://"), "{head}");

    // Whoever asks it to stop itself would not hear the answer.
    let own = web.id("rpm-web");
    for verb in ["stop", "restart", "reload"] {
        assert_eq!(web.with_token("POST", &format!("/api/v1/apps/{own}/{verb}"), "").0, 409);
    }
    assert_eq!(web.with_token("POST", &format!("/api/v1/apps/{id}/scale"), "{\"instances\":101}").0, 400);

    // It outlives the daemon, and answers again when the next one is there.
    rpm.kill_daemon();
    until("the api", || web.ask("GET", "/api/v1/apps", &bearer, "").0 == 200);
    rpm.ok(&["web", "stop"]);
    assert!(rpm.fails(&["web", "stop"]).contains("does not run"));
}

#[test]
fn what_the_command_line_does_the_api_does() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "web", "-i", "2"]);
    let web = Web::start(&rpm, &[]);
    let id = web.id("web");
    let post = |path: &str, body: &str| web.with_token("POST", &format!("/api/v1/{path}"), body);
    let (_, shown) = web.with_token("GET", &format!("/api/v1/apps/{id}"), "");
    let worker = shown["workers"][1]["id"].as_u64().unwrap();
    assert_eq!(shown["canaries"], json!([]));

    assert_eq!(post(&format!("apps/{id}/start"), "").0, 409);
    assert_eq!(post(&format!("workers/{worker}/stop"), "").0, 200);
    assert_eq!(rpm.statuses("web"), ["online", "stopped"]);
    assert_eq!(post(&format!("apps/{id}/start"), "").1["workers"], json!([worker]));
    assert_eq!(rpm.statuses("web"), ["online", "online"]);
    assert_eq!(post(&format!("workers/{worker}/signal"), "{\"signal\":\"KILL\"}").0, 200);
    until("the end is told", || {
        let shown = web.with_token("GET", &format!("/api/v1/apps/{id}"), "").1;
        shown["workers"][1]["last_exit"].as_str().is_some_and(|exit| exit.contains("SIGKILL"))
    });
    until("the crash is on record", || {
        let crashes = web.with_token("GET", &format!("/api/v1/apps/{id}/crashes"), "").1;
        crashes["crashes"][0]["text"].as_str().is_some_and(|text| text.contains("SIGKILL"))
    });
    let why = web.with_token("GET", &format!("/api/v1/apps/{id}/why"), "").1;
    assert!(why["workers"][1]["sentence"].as_str().unwrap().contains("SIGKILL"), "{why}");
    rpm.until("it runs again", "web", |all| all.iter().all(|one| one["pm2_env"]["status"] == "online"));
    assert_eq!(post(&format!("apps/{id}/reset"), "").0, 200);
    assert_eq!(post("save", "").0, 200);
    assert!(rpm.home().join("dump.json").exists() || rpm.home().join("dump.pm2").exists());

    let log = rpm.processes("web")[0]["pm2_env"]["pm_out_log_path"].as_str().unwrap().to_owned();
    std::fs::write(&log, "said\n").unwrap();
    assert_eq!(post(&format!("apps/{id}/flush"), "").0, 200);
    assert_eq!(std::fs::read(&log).unwrap(), b"");

    // Nobody waits, nothing scales, nothing was before: the daemon says so.
    for (verb, body) in [("promote", ""), ("abort", ""), ("rollback", ""), ("autoscale", "{\"on\":true}")] {
        let (status, answer) = post(&format!("apps/{id}/{verb}"), body);
        assert_eq!(status, 409, "{verb}: {answer}");
    }
    assert_eq!(post(&format!("apps/{id}/signal"), "{\"signal\":\"NONE\"}").0, 400);
    assert_eq!(post(&format!("apps/{id}/delete"), "").0, 200);
    assert_eq!(post(&format!("apps/{id}/delete"), "").0, 404);
}

/// An answer that does not end: its lines come one by one.
fn stream(web: &Web, path: &str, headers: &str) -> impl Iterator<Item = String> + use<> {
    let mut stream = TcpStream::connect(("127.0.0.1", web.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
    BufReader::new(stream).lines().map_while(Result::ok)
}

#[test]
fn a_stream_tells_who_did_it_and_ends_with_the_session() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "web"]);
    let web = Web::start(&rpm, &[]);
    let (_, head, _) = web.ask("POST", "/api/v1/login", "", &format!("{{\"token\":\"{}\"}}", web.token));
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let (_, _, session) = web.ask("GET", "/api/v1/session", &cookie, "");
    let session: Value = serde_json::from_str(&session).unwrap();
    let mut lines = stream(&web, "/api/v1/stream", &cookie);
    assert!(lines.any(|line| line == "event: apps"));
    rpm.ok(&["restart", "web"]);
    let told = lines.find(|line| line.contains("\"command\"")).unwrap();
    assert!(told.contains("rpm restart web"), "{told}");
    assert!(lines.any(|line| line.contains("\"stopping\"") && line.contains("rpm restart web")));
    let proof = format!("{cookie}X-Csrf-Token: {}\r\n", session["csrf"].as_str().unwrap());
    assert_eq!(web.ask("POST", "/api/v1/logout", &proof, "").0, 200);
    // It ends: else this would wait for more, in vain.
    lines.for_each(drop);
    assert_eq!(web.ask("GET", "/api/v1/session", &cookie, "").0, 401);
}

#[test]
fn a_live_log_says_whose_a_line_is_and_has_the_workers_that_come_later() {
    let rpm = Rpm::new();
    let talker = rpm.home().join("talker.sh");
    std::fs::write(&talker, "while :; do echo said; sleep 0.1; done\n").unwrap();
    rpm.ok(&["start", &talker.to_string_lossy(), "--name", "talker", "-i", "2"]);
    let web = Web::start(&rpm, &[]);
    let bearer = format!("Authorization: Bearer {}\r\n", web.token);
    let id = web.id("talker");
    let mut lines = stream(&web, &format!("/api/v1/apps/{id}/logs/stream"), &bearer);
    let workers = || {
        let shown = web.with_token("GET", &format!("/api/v1/apps/{id}"), "").1;
        shown["workers"].as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let own = |line: &String, worker: &u64| {
        let line: Value =
            line.strip_prefix("data: ").map(|data| serde_json::from_str(data).unwrap()).unwrap_or_default();
        line["worker"] == *worker && line["text"] == "said" && line["stream"] == "out"
    };
    for worker in &workers() {
        assert!(lines.any(|line| own(&line, worker)), "{worker}");
    }
    rpm.ok(&["scale", "talker", "3"]);
    until("the third is shown", || workers().len() == 3);
    let third = workers()[2];
    assert!(lines.any(|line| own(&line, &third)));
    let last = web.with_token("GET", &format!("/api/v1/apps/{id}/logs?last=1&stream=out"), "").1;
    assert!(last["lines"].as_array().unwrap().iter().any(|line| line["worker"] == third), "{last}");
}

#[test]
fn connections_that_say_nothing_keep_nobody_away() {
    let rpm = Rpm::new();
    let web = Web::start(&rpm, &[]);
    let bearer = format!("Authorization: Bearer {}\r\n", web.token);
    // Who has shown the token stays, the others go to make place.
    let mut lines = stream(&web, "/api/v1/stream", &bearer);
    assert!(lines.any(|line| line == "event: apps"));
    let silent: Vec<_> = (0..400).map(|_| TcpStream::connect(("127.0.0.1", web.port)).unwrap()).collect();
    let began = Instant::now();
    assert_eq!(web.ask("GET", "/metrics", &bearer, "").0, 200);
    // A head that does not come is waited for ten seconds.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(lines.any(|line| line == "event: apps"));
    rpm.ok(&["web", "stop"]);
    drop(silent);
    let ends: Value = serde_json::from_str(&rpm.ok(&["crashes", "rpm-web", "--all", "--json"])).unwrap();
    assert_eq!(ends[0]["exit"], json!({ "code": 0 }), "{ends}");
}

#[test]
fn a_server_that_could_not_listen_takes_the_place_of_none() {
    let rpm = Rpm::new();
    let bad = rpm.fails(&["web", "--socket", "/nonexistent/x.sock"]);
    assert!(bad.contains("/nonexistent/x.sock"), "{bad}");
    assert!(rpm.fails(&["web", "url"]).contains("does not run"));
    let web = Web::start(&rpm, &[]);
    let before = rpm.pids("rpm-web");
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for wrong in [["--socket", "/nonexistent/x.sock"], ["--listen", ":19616"], ["--listen", &taken]] {
        rpm.fails(&[["web"].as_slice(), &wrong].concat());
        assert_eq!((rpm.pids("rpm-web"), rpm.statuses("rpm-web")), (before.clone(), vec!["online".to_owned()]));
    }
    assert!(rpm.ok(&["web", "url"]).contains(&web.port.to_string()));
    // At its own address it is replaced.
    rpm.ok(&["web", "--listen", &format!("127.0.0.1:{}", web.port), "--read-only"]);
    assert_ne!(rpm.pids("rpm-web"), before);
    until("the web server", || TcpStream::connect(("127.0.0.1", web.port)).is_ok());
}

#[test]
fn it_is_there_again_with_the_next_daemon_until_it_is_stopped() {
    let rpm = Rpm::new();
    let web = Web::start(&rpm, &["--read-only"]);
    rpm.ok(&["kill"]);
    assert!(TcpStream::connect(("127.0.0.1", web.port)).is_err());
    rpm.ok(&["start", &app("idle.sh"), "--name", "web"]);
    until("the web server", || TcpStream::connect(("127.0.0.1", web.port)).is_ok());
    let refused = || web.with_token("POST", "/api/v1/apps/1/stop", "").1["error"].to_string();
    until("it is read-only still", || refused().contains("--read-only"));
    rpm.ok(&["web", "stop"]);
    rpm.ok(&["kill"]);
    rpm.ok(&["start", &app("idle.sh"), "--name", "web"]);
    assert!(rpm.fails(&["web", "url"]).contains("does not run"));
}

/// It was root, with a command line that nobody had typed.
#[test]
fn what_is_done_from_the_web_is_told_as_such_and_without_a_secret() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    let web = Web::start(&rpm, &[]);
    let id = web.id("idle");
    assert_eq!(web.with_token("POST", &format!("/api/v1/apps/{id}/stop"), "").0, 200);
    let by = "web (127.0.0.1, token)";
    until("who asked", || rpm.ok(&["events", "idle"]).contains(by));
    let told = ["events", "why"].map(|command| rpm.ok(&[command, "idle"]));
    assert!(told.iter().all(|told| told.contains(by) && !told.contains(&web.token)), "{told:?}");
    let session = logged_in(&web);
    assert_eq!(web.ask("POST", &format!("/api/v1/apps/{id}/start"), &session, "").0, 200);
    until("who asked", || rpm.ok(&["events", "idle"]).contains("web (127.0.0.1, session)"));
}

#[test]
fn a_job_is_run_from_the_web_as_by_the_command() {
    let rpm = Rpm::new();
    let gate = "while [ ! -e gate ]; do sleep 0.02; done; echo ran";
    let job = json!({ "name": "job", "script": "/bin/sh", "args": ["-c", gate], "schedule": "@yearly" });
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    rpm.ok(&["start", &rpm.file_of(job, &json!({}))]);
    let web = Web::start(&rpm, &[]);
    let run = |name: &str| web.with_token("POST", &format!("/api/v1/apps/{}/run", web.id(name)), "");
    let (status, begun) = run("job");
    assert_eq!((status, begun["note"].as_str()), (202, Some("it runs; its end will be among the events")));
    let (status, refused) = run("job");
    assert!(status == 409 && refused["error"].as_str().unwrap().contains("under way"), "{refused}");
    assert_eq!(run("idle").0, 409);
    std::fs::write(rpm.home().join("gate"), "").unwrap();
    until("its end", || rpm.log("job-out.log") == "ran\n");
    rpm.until("its end", "job", |list| list[0]["pm2_env"]["status"] == "stopped");
    assert_eq!(run("job").0, 200);
    assert_eq!(rpm.log("job-out.log"), "ran\nran\n");
}

#[test]
fn the_api_is_what_its_description_says() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "web", "-i", "2"]);
    let web = Web::start(&rpm, &["--max-instances", "3"]);
    // An app and a worker that there are: with ids that it makes up nearly all that it asks for is not found.
    let config = rpm.home().join("schemathesis.toml");
    std::fs::write(&config, "[parameters]\nid = 0\n").unwrap();
    let tested = |more: &[&str]| {
        let output = Command::new(deps().join("schemathesis/bin/st"))
            .args(more)
            .args(["--no-color", "-H", &format!("Authorization: Bearer {}", web.token)])
            .current_dir(rpm.home())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    let place = format!("http://127.0.0.1:{}/openapi.json", web.port);
    let config = config.to_string_lossy();
    // All but the streams, which do not end; what changes something too, within the bounds that the description names.
    let most = ["--max-examples", "5", "--exclude-path-regex", "(stream|delete)$"];
    tested(&[&["--config-file", &config, "run", &place], &most[..]].concat());
    assert!(rpm.pids("web").len() <= 3);
    // What ends the app comes last, and finds ids that there are not.
    tested(&["run", &place, "--phases", "coverage,fuzzing", "--max-examples", "5", "--include-path-regex", "delete$"]);
    assert_eq!(rpm.statuses("rpm-web"), ["online"]);
}

#[test]
fn read_only_means_that_nothing_can_be_done_and_a_unix_socket_serves_too() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "web"]);
    let web = Web::start(&rpm, &["--read-only"]);
    let id = web.id("web");
    assert_eq!(web.with_token("POST", &format!("/api/v1/apps/{id}/stop"), "").0, 403);
    assert_eq!(rpm.statuses("web"), ["online"]);
    let path = rpm.home().join("web.sock");
    rpm.ok(&["web", "--socket", &path.to_string_lossy()]);
    until("the socket", || UnixStream::connect(&path).is_ok());
    let head = format!("GET /api/v1/apps HTTP/1.1\r\nHost: any\r\nAuthorization: Bearer {}\r\n", web.token);
    let (status, _, body) = exchange(UnixStream::connect(&path).unwrap(), &head, "");
    assert_eq!(status, 200, "{body}");
    assert!(rpm.ok(&["web", "url"]).contains("web.sock"));
    let bad = rpm.fails(&["web", "--listen", "nowhere"]);
    assert!(bad.contains("127.0.0.1:9615"), "{bad}");
}

#[test]
fn the_dashboard_works_in_a_browser() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "web", "-i", "2"]);
    let talker = rpm.home().join("talker.sh");
    std::fs::write(&talker, "while :; do echo \"<b>line</b> $((n += 1))\"; sleep 0.2; done\n").unwrap();
    rpm.ok(&["start", &talker.to_string_lossy(), "--name", "talker"]);
    let job = json!({ "name": "once", "script": "/bin/sh", "args": ["-c", "echo ran"], "schedule": "0 0 1 1 *" });
    rpm.ok(&["start", &rpm.file_of(job, &json!({}))]);
    let web = Web::start(&rpm, &[]);
    let pictures = std::env::var_os("RPM_TEST_PICTURES").map_or_else(|| rpm.home().to_owned(), Into::into);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/browser/dashboard.js");
    let output = Command::new("node")
        .arg(script)
        .args([format!("http://localhost:{}/", web.port), web.token.clone()])
        .arg(pictures)
        .arg(rpm.command(&[]).get_program())
        .env("RPM_HOME", rpm.home())
        .env("NODE_PATH", deps().join("browser/node_modules"))
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("ok"), "{out}{err}");
}
