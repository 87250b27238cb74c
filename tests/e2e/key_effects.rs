//! Keys of an app whose effect no other test shows.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use rpm_tests::{Rpm, app, free_port, http, until};
use serde_json::{Value, json};

use crate::pull::{commit, origin_and_clone};

/// Writes an ecosystem file of one app, and starts it.
fn start(rpm: &Rpm, app: &Value) -> std::process::Output {
    let file = rpm.home().join("ecosystem.json");
    std::fs::write(&file, json!({ "apps": [app] }).to_string()).expect("written");
    let output = rpm.run(&["start", &file.to_string_lossy()]);
    assert!(output.status.success(), "{output:?}\n{}", rpm.daemon_log());
    output
}

/// Writes a script into the home of a test.
fn script(rpm: &Rpm, name: &str, source: &str) -> String {
    let path = rpm.home().join(name);
    std::fs::write(&path, source).expect("a script");
    path.to_string_lossy().into_owned()
}

/// What people write into such files for Node means the same here.
#[test]
fn an_env_file_means_what_node_reads_in_it() {
    let rpm = Rpm::new();
    let text = "# for all\nPLAIN=a b  c\nexport EXPORTED=1\nEMPTY=\nQUOTED=\"x # y\" # z\nSINGLE='$HOME \\n'\n\
                LINES=\"one\ntwo\\nthree\"\nTICKS=`it's \"so\"`\nHASH=a#b\nURL=http://u:p=w@h/?a=b\nJSON={\"a\": [1]}\n\
                TWICE=1\nTWICE=2\nOVER=file\n";
    let file = rpm.home().join("app.env");
    std::fs::write(&file, text).expect("written");
    let names = "PLAIN EXPORTED EMPTY QUOTED SINGLE LINES TICKS HASH URL JSON TWICE";
    let source = format!(
        "console.log(JSON.stringify('{names}'.split(' ').map((name) => [name, process.env[name]]))); setInterval(() => {{}}, 1e6)"
    );
    let node = std::process::Command::new("node")
        .arg(format!("--env-file={}", file.display()))
        .args(["-e", &source.replace("setInterval", "void")])
        .output()
        .expect("node runs");
    let by_node = String::from_utf8_lossy(&node.stdout).into_owned();
    assert!(by_node.contains("two\\nthree"), "{node:?}");

    let source = format!("{source}; console.error(process.env.OVER, process.env.EXPORTED)");
    let app = json!({ "name": "app", "script": script(&rpm, "app.js", &source), "env_file": "app.env",
        "cwd": rpm.home(), "env": { "OVER": "env" } });
    start(&rpm, &app);
    until("its variables", || rpm.log("app-error.log").contains("env 1"));
    assert_eq!(rpm.log("app-out.log"), by_node);

    // What the command names wins over what runs; what is not there is refused before anything is touched.
    let more = rpm.home().join("more.env");
    std::fs::write(&more, "OVER=more\n").expect("written");
    rpm.ok(&["restart", "app", "--env-file", &more.to_string_lossy()]);
    until("the new variable", || rpm.log("app-error.log").contains("more 1"));
    let pids = rpm.pids("app");
    let error = rpm.fails(&["restart", "app", "--env-file", "nowhere.env"]);
    assert!(error.contains("nowhere.env does not exist"), "{error}");
    assert_eq!(rpm.pids("app"), pids);
}

#[test]
fn filter_env_keeps_the_shell_out() {
    let rpm = Rpm::new();
    let source = "#!/bin/sh\necho \"[$SHELLS][$DECLARED]\"\nexec sleep 100000\n";
    let file = rpm.home().join("ecosystem.json");
    let app = json!({ "name": "app", "script": script(&rpm, "app.sh", source), "filter_env": true,
        "env": { "DECLARED": "1", "PATH": std::env::var("PATH").expect("a PATH") } });
    std::fs::write(&file, json!([app]).to_string()).expect("written");
    let output = rpm.command(&["start", &file.to_string_lossy()]).env("SHELLS", "1").output().expect("rpm runs");
    assert!(output.status.success(), "{output:?}");
    until("its variables", || rpm.log("app-out.log").contains("[][1]"));
}

#[test]
fn secrets_are_variables_of_the_process_and_read_at_each_start() {
    let rpm = Rpm::new();
    let file = rpm.home().join("token");
    std::fs::write(&file, "first\n").expect("written");
    let source = "#!/bin/sh\necho \"token $TOKEN\"\nexec sleep 100000\n";
    let secrets = json!({ "TOKEN": format!("file:{}", file.display()) });
    start(&rpm, &json!({ "name": "app", "script": script(&rpm, "app.sh", source), "secrets": secrets }));
    until("the secret", || rpm.log("app-out.log").contains("token first"));
    std::fs::write(&file, "second\n").expect("written");
    rpm.ok(&["restart", "app"]);
    until("the new secret", || rpm.log("app-out.log").contains("token second"));
    assert!(!rpm.ok(&["env", "app"]).contains("second"), "it is shown to nobody");
}

#[test]
fn kill_signal_is_the_signal() {
    let rpm = Rpm::new();
    let source = "#!/bin/bash\nfor name in INT TERM USR1; do trap \"echo got $name; exit\" $name; done\necho armed\n\
                  while :; do read -rt 0.05 <> <(:) || :; done\n";
    start(&rpm, &json!({ "name": "app", "script": script(&rpm, "app.sh", source), "kill_signal": "SIGUSR1" }));
    until("the traps", || rpm.log("app-out.log").contains("armed"));
    rpm.ok(&["stop", "app"]);
    assert_eq!(rpm.log("app-out.log"), "armed\ngot USR1\n");
}

/// Counts the sockets that listen on a port.
fn listening(port: u16) -> usize {
    let listens = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let local = words.next().is_some_and(|address| address.ends_with(&format!(":{port:04X}")));
        local && words.nth(1) == Some("0A")
    };
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines()).filter(|line| listens(line)).count()
}

#[test]
fn socket_mode_says_how_many_sockets_there_are() {
    for (mode, count) in [("reuseport", 3), ("shared", 1)] {
        let (rpm, port) = (Rpm::new(), free_port());
        start(
            &rpm,
            &json!({ "name": "web", "script": app("http.js"), "instances": 3, "exec_mode": "cluster",
                "socket_mode": mode, "env": { "PORT": port } }),
        );
        http::get(port, "/").expect("an answer");
        assert_eq!(listening(port), count, "{mode}");
    }
}

#[test]
fn drain_timeout_bounds_the_wait_for_requests() {
    let (rpm, port) = (Rpm::new(), free_port());
    start(
        &rpm,
        &json!({ "name": "web", "script": app("http.js"), "instances": 1, "exec_mode": "cluster",
            "drain_timeout": "300ms", "env": { "PORT": port } }),
    );
    let before = rpm.pids("web");
    let endless = std::thread::spawn(move || http::get(port, "/?slow=120000"));
    // The request is in the worker's hands when the worker has the connection and nothing waits in the queue.
    let connected = || {
        let table = std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
        table
            .lines()
            .any(|line| line.contains(&format!(":{port:04X} ")) && line.split_whitespace().nth(3) == Some("01"))
    };
    until("the request", connected);
    http::get(port, "/").expect("the worker answers others meanwhile");
    let asked = Instant::now();
    rpm.ok(&["reload", "web"]);
    assert!(asked.elapsed() < Duration::from_secs(9), "the default is 10 s: {:?}", asked.elapsed());
    assert!(endless.join().expect("no panic").is_err(), "it was cut off");
    assert_ne!(rpm.pids("web"), before);
}

#[test]
fn reload_parallel_replaces_several_at_a_time() {
    let rpm = Rpm::new();
    let source = "const fs = require('fs'); fs.appendFileSync('boots', 'x'); const timer = setInterval(() => {\
                  if (fs.existsSync('gate')) { clearInterval(timer); process.send('ready'); setInterval(() => {}, 1e6); } }, 10)";
    let boots = || std::fs::read_to_string(rpm.home().join("boots")).unwrap_or_default().len();
    let gate = rpm.home().join("gate");
    std::fs::write(&gate, "").expect("written");
    start(
        &rpm,
        &json!({ "name": "app", "script": script(&rpm, "app.js", source), "cwd": rpm.home(), "instances": 4,
            "wait_ready": true, "listen_timeout": "60s", "reload_parallel": 3 }),
    );
    assert_eq!(boots(), 4);
    std::fs::remove_file(&gate).expect("it is there");
    let mut reload = rpm.command(&["reload", "app"]).spawn().expect("rpm runs");
    until("three new ones that are not ready", || boots() == 7);
    std::fs::write(&gate, "").expect("written");
    assert!(reload.wait().expect("an end").success());
    assert_eq!((boots(), rpm.restarts("app")), (8, vec![1; 4]));
}

/// Where the host delegates no control group, the command says so; that is all there is to see then.
#[test]
fn cpu_max_is_kept_by_the_kernel_or_said_not_to_be() {
    let rpm = Rpm::new();
    let output = start(&rpm, &json!({ "name": "app", "script": app("idle.sh"), "cpu_max": "50%" }));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let described = rpm.ok(&["describe", "app"]);
    if said.contains("without its limits") {
        assert!(described.contains("not limited"), "{described}");
        return;
    }
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", rpm.pids("app")[0])).expect("it runs");
    let group = groups.lines().find_map(|line| line.strip_prefix("0::")).expect("a group of version 2");
    let limit = std::fs::read_to_string(format!("/sys/fs/cgroup{group}/cpu.max")).expect("a limit");
    let [quota, period] = [0, 1].map(|n| limit.split_whitespace().nth(n).and_then(|n| n.parse::<u64>().ok()));
    assert_eq!(quota.map(|quota| quota * 2), period, "{limit}");
}

fn archives(directory: &Path) -> BTreeSet<String> {
    let entries = directory.read_dir().expect("a directory").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("__")).collect()
}

#[test]
fn log_rotate_rotates_at_its_times_and_log_retain_age_lets_old_archives_go() {
    let rpm = Rpm::new();
    let logs = rpm.home().join("logs");
    // One minute is the shortest; the next one is at most that far away.
    start(
        &rpm,
        &json!({ "name": "app", "script": app("says.sh"), "log_rotate": "1m", "log_retain_age": "1d",
            "log_compress": false }),
    );
    let old = logs.join("app-out__2001-01-01_00-00-00.log");
    std::fs::write(&old, "old\n").expect("written");
    let times = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    std::fs::File::options().write(true).open(&old).and_then(|file| file.set_times(times)).expect("its time");
    rpm.ok(&["sendSignal", "SIGUSR2", "app"]);
    until("a line", || rpm.log("app-out.log").contains("said 1"));
    let deadline = Instant::now() + Duration::from_secs(75);
    while archives(&logs).iter().all(|name| name.starts_with("app-out__2001")) {
        assert!(Instant::now() < deadline, "nothing was rotated: {:?}", archives(&logs));
        std::thread::park_timeout(Duration::from_millis(100));
    }
    until("the old one to be gone", || !old.exists());
    let kept = archives(&logs);
    let texts = kept.iter().map(|name| std::fs::read_to_string(logs.join(name)).expect("an archive"));
    assert_eq!(texts.collect::<Vec<_>>(), ["said 1\n"], "{kept:?}");
}

#[test]
fn hash_on_chooses_the_worker() {
    let (rpm, port) = (Rpm::new(), free_port());
    start(
        &rpm,
        &json!({ "name": "own", "script": app("http.js"), "instances": 4, "exec_mode": "proxy",
            "listen": format!("127.0.0.1:{port}"), "balance": "hash", "hash_on": "path" }),
    );
    let pid = |path: &str| {
        let answer: Value = serde_json::from_str(&http::get(port, path).expect("an answer")).expect("JSON");
        answer["pid"].as_i64().expect("a pid")
    };
    let same: BTreeSet<i64> = (0..20).map(|n| pid(&format!("/one?n={n}"))).collect();
    assert_eq!(same.len(), 1, "the query does not count");
    let all: BTreeSet<i64> = (0..40).map(|n| pid(&format!("/{n}"))).collect();
    assert_eq!(all.len(), 4, "other paths go elsewhere");
}

#[test]
fn source_maps_name_the_source_unless_disabled() {
    let rpm = Rpm::new();
    // One mapping: the first place of the compiled file is the first of `original.ts`.
    let map = r#"{"version":3,"sources":["original.ts"],"names":[],"mappings":"AAAA"}"#;
    script(&rpm, "compiled.js.map", map);
    let source =
        "console.log(new Error('here').stack); setInterval(() => {}, 1e6)\n//# sourceMappingURL=compiled.js.map\n";
    let path = script(&rpm, "compiled.js", source);
    for (name, keys, is_named) in [
        ("usual", json!({}), true),
        ("on", json!({ "source_map_support": true }), true),
        ("off", json!({ "disable_source_map_support": true }), false),
    ] {
        let mut app = json!({ "name": name, "script": path });
        app.as_object_mut().expect("an object").extend(keys.as_object().expect("an object").clone());
        start(&rpm, &app);
        let log = format!("{name}-out.log");
        until("the stack", || rpm.log(&log).contains("Error: here"));
        assert_eq!(rpm.log(&log).contains("original.ts"), is_named, "{name}: {}", rpm.log(&log));
    }
}

/// PM2 installs packages into itself for these; here they are noted, and nothing else happens.
#[test]
fn what_is_for_pm2s_service_is_noted_and_no_more() {
    let rpm = Rpm::new();
    let output = start(
        &rpm,
        &json!({ "name": "a", "script": app("http.js"), "trace": true, "deep_monitoring": true,
        "env": { "PORT": "0" } }),
    );
    assert!(!String::from_utf8_lossy(&output.stderr).contains("warning"), "{output:?}");
    let env = &rpm.jlist()[0]["pm2_env"];
    assert_eq!((&env["trace"], &env["deep_monitoring"]), (&json!(true), &json!(true)));
    assert_eq!(rpm.ok(&["prettylist"]).matches("deep_monitoring").count(), 1, "as scripts count it");
    // By the option it is the same, with a word about it.
    let output = rpm.run(&["start", &app("idle.sh"), "--name", "b", "--deep-monitoring"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--deep-monitoring has no effect"), "{output:?}");
    assert_eq!(rpm.processes("b")[0]["pm2_env"]["deep_monitoring"], true);
}

#[test]
fn post_update_runs_after_a_pull_and_before_the_reload() {
    let (rpm, place) = (Rpm::new(), tempfile::tempdir().expect("a directory"));
    let (origin, clone) = origin_and_clone(place.path());
    let source = "#!/bin/sh\necho \"built: $(cat built)\"\nexec sleep 100000\n";
    start(
        &rpm,
        &json!({ "name": "app", "script": script(&rpm, "app.sh", source), "cwd": clone,
            "post_update": ["cp version built"] }),
    );
    commit(&origin, "version", "2");
    rpm.ok(&["pull", "app"]);
    until("the app with what was built", || rpm.log("app-out.log").contains("built: 2"));
}
