//! `require('pm2')`, unmodified from npm, finds its daemon in us.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rpm_tests::{Rpm, app, deps, is_alive, signal};
use serde_json::Value;

/// Returns a command that is about to run a Node program against the daemon of `pm2`.
fn command(pm2: &Rpm, script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(app(script)).env("PM2_HOME", pm2.home()).env("RPM_TEST_DEPS", deps());
    command.env("PM2_DISABLE_VERSION_CHECK", "1");
    command
}

/// Runs a Node program against the daemon of `pm2`; it must succeed.
fn node(pm2: &Rpm, script: &str, args: &[String]) {
    let output = command(pm2, script).args(args).output().expect("node runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{script}\n{}\n{}", text(&output.stdout), text(&output.stderr));
}

/// Connects to the socket for calls.
fn connect(pm2: &Rpm) -> UnixStream {
    let stream = UnixStream::connect(pm2.home().join("rpc.sock")).expect("the socket is there");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a stream takes a limit");
    stream
}

/// Calls a method without its library; returns the answer's first argument.
fn call(stream: &mut UnixStream, method: &str, argument: &str) -> Value {
    send(stream, method, argument);
    answer(stream)
}

fn send(stream: &mut UnixStream, method: &str, argument: &str) {
    let call = format!("j:{{\"type\":\"call\",\"method\":\"{method}\",\"args\":[{argument}]}}");
    let mut bytes = vec![0x12];
    for part in [call.as_bytes(), b"s:1:0"] {
        bytes.extend((part.len() as u32).to_be_bytes());
        bytes.extend(part);
    }
    stream.write_all(&bytes).expect("the call is sent");
}

fn answer(stream: &mut UnixStream) -> Value {
    let mut head = [0; 5];
    stream.read_exact(&mut head).expect("an answer");
    assert_eq!(head[0], 0x12);
    let mut answer = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize];
    stream.read_exact(&mut answer).expect("all of the answer");
    let mut id = [0; 9];
    stream.read_exact(&mut id).expect("its id");
    assert_eq!(&id, b"\0\0\0\x05s:1:0");
    serde_json::from_slice(&answer[2..]).expect("JSON")
}

#[test]
fn an_app_lives_through_the_node_api() {
    let pm2 = Rpm::as_pm2();
    pm2.ok(&["ping"]);
    let daemon = pm2.daemon_pid();
    node(&pm2, "pm2/life.js", &[app("pm2/talks.js")]);
    assert!(is_alive(daemon));
    assert_eq!(pm2.daemon_pid(), daemon, "the client took the daemon that was there");
}

#[test]
fn the_bus_tells_what_happens_and_apps_are_spoken_to() {
    let pm2 = Rpm::as_pm2();
    pm2.ok(&["ping"]);
    node(&pm2, "pm2/bus.js", &[app("pm2/talks.js"), app("crash.js"), app("throws.js")]);
}

/// `pm2.trigger` waited for ever when its client, busy for a moment, found both at once.
#[test]
fn what_an_app_replies_is_told_when_the_answer_to_the_call_was_read() {
    let pm2 = Rpm::as_pm2();
    pm2.ok(&["start", &app("pm2/talks.js"), "--name", "talks"]);
    let mut bus = UnixStream::connect(pm2.home().join("pub.sock")).expect("the socket is there");
    let mut heard = String::new();
    let mut hear = |patience: Duration, words: &str| {
        bus.set_read_timeout(Some(patience)).expect("a stream takes a limit");
        let mut bytes = [0; 4096];
        while !heard.contains(words) {
            let Ok(length @ 1..) = bus.read(&mut bytes) else { return false };
            heard.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        true
    };
    let mut calls = connect(&pm2);
    send(&mut calls, "msgProcess", r#"{ "name": "talks", "msg": "double", "opts": "21" }"#);
    assert!(!hear(Duration::from_millis(50), "axm:reply"));
    assert_eq!(answer(&mut calls)["args"][0]["process_count"], 1);
    assert!(hear(Duration::from_secs(20), "axm:reply"));
}

#[test]
fn the_sockets_are_for_the_user_alone_and_go_with_the_daemon() {
    let pm2 = Rpm::as_pm2();
    pm2.ok(&["ping"]);
    for name in ["rpc.sock", "pub.sock"] {
        let mode = pm2.home().join(name).metadata().expect("the socket is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    pm2.ok(&["kill"]);
    assert!(!pm2.home().join("rpc.sock").exists());
}

#[test]
fn the_bus_tells_that_the_daemon_leaves() {
    let pm2 = Rpm::as_pm2();
    pm2.ok(&["start", &app("idle.sh"), "--name", "sleeper"]);
    let mut listener = command(&pm2, "pm2/farewell.js").stdout(Stdio::piped()).spawn().expect("node runs");
    let mut said = [0; 9];
    listener.stdout.take().expect("it is piped").read_exact(&mut said).expect("it says that it listens");
    assert_eq!(&said, b"listening");
    let began = Instant::now();
    pm2.ok(&["kill"]);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(listener.wait().expect("it ends").success());
}

#[test]
fn outside_of_pm2_s_home_nobody_is_served_unless_asked() {
    let rpm = Rpm::new();
    rpm.ok(&["ping"]);
    assert!(!rpm.home().join("rpc.sock").exists());
    rpm.ok(&["kill"]);
    let output = rpm.command(&["ping"]).env("RPM_PM2_RPC", "1").output().expect("rpm runs");
    assert!(output.status.success());
    assert!(rpm.home().join("rpc.sock").exists());
}

#[test]
fn a_call_waits_while_the_daemon_is_replaced() {
    let pm2 = Rpm::as_pm2();
    pm2.ok(&["start", &app("idle.sh"), "--name", "sleeper"]);
    signal(pm2.daemon_pid(), 9);
    let list = call(&mut connect(&pm2), "getMonitorData", "{}");
    assert_eq!(list["args"][0][0]["name"], "sleeper");
    assert_eq!(list["args"][0][0]["pm2_env"]["status"], "online");
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let pm2 = Rpm::as_pm2();
    pm2.ok(&["ping"]);
    let mut good = connect(&pm2);
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x12\xff\xff\xff\xff", b"\x11\0\0\0\x04j:{]", b"\x10", &[0x1f; 64]]
    {
        let mut bad = connect(&pm2);
        bad.write_all(garbage).expect("it is sent");
        bad.shutdown(std::net::Shutdown::Write).expect("its end too");
        assert!(bad.read_to_end(&mut Vec::new()).is_ok_and(|count| count == 0));
    }
    assert_eq!(call(&mut good, "ping", "{}")["args"][0]["msg"], "pong");
}

#[test]
fn what_there_is_not_is_said_so() {
    let pm2 = Rpm::as_pm2();
    pm2.ok(&["ping"]);
    let mut stream = connect(&pm2);
    assert_eq!(call(&mut stream, "getSystemData", "{}")["args"][0], serde_json::json!({}));
    let error = |answer: Value| answer["error"].as_str().unwrap_or_default().to_owned();
    assert_eq!(error(call(&mut stream, "noSuchThing", "1")), "method \"noSuchThing\" does not exist");
    assert!(error(call(&mut stream, "profileCPU", "{}")).contains("does not have"));
    assert_eq!(error(call(&mut stream, "restartProcessId", "{\"id\":9}")), "God db process id unknown");
    assert_eq!(error(call(&mut stream, "prepare", "{\"name\":\"x\"}")), "pm_exec_path is missing or no text");
    assert_eq!(error(call(&mut stream, "prepare", "7")), "prepare takes the description of an app");
}

#[test]
fn actions_and_input_from_the_command_line() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("pm2/talks.js"), "--name", "talks"]);
    rpm.until("its actions are known", "talks", |list| {
        list[0]["pm2_env"]["axm_actions"].as_array().is_some_and(|actions| actions.len() == 2)
    });
    let answer = rpm.ok(&["trigger", "talks", "double", "4"]);
    assert!(answer.contains("[talks:0:default]={\"doubled\":8}"), "{answer}");
    let error = rpm.fails(&["trigger", "talks", "duoble"]);
    assert!(error.contains("no action duoble") && error.contains("did you mean `double`?"), "{error}");

    // An action that is never answered is over when the app is.
    let mut silent = rpm.command(&["trigger", "talks", "mute"]).spawn().expect("rpm runs");
    rpm.ok(&["restart", "talks"]);
    // Asked of the life before or of the one after: a second end makes sure.
    rpm.ok(&["stop", "talks"]);
    assert_eq!(silent.wait().expect("it ends").code(), Some(1));
    rpm.ok(&["restart", "talks"]);

    rpm.ok(&["send", "0", "typed"]);
    rpm_tests::until("the line", || rpm.log("talks-out.log").contains("read typed"));
    rpm.kill_daemon();
    rpm.ok(&["send", "talks", "after the daemon died"]);
    rpm_tests::until("the line", || rpm.log("talks-out.log").contains("read after the daemon died"));
    assert!(rpm.fails(&["send", "7", "x"]).contains('7'));

    rpm.ok(&["start", &app("pm2/talks.js"), "--name", "shared", "-i", "1"]);
    assert!(rpm.fails(&["send", "shared", "x"]).contains("only apps in fork mode"));
}

#[test]
fn a_terminal_is_attached_to_a_worker_and_leaves_it_running() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("pm2/talks.js"), "--name", "talks"]);
    let (pid, daemon_error) = (rpm.pids("talks"), rpm.fails(&["attach", "99"]));
    assert!(daemon_error.contains("99"), "{daemon_error}");
    let mut attach = rpm.command(&["attach", "0"]);
    let mut attached = attach.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("rpm runs");
    let mut input = attached.stdin.take().expect("it is piped");
    let mut output = BufReader::new(attached.stdout.take().expect("it is piped")).lines();
    let mut next_with = |word: &str| output.by_ref().map_while(Result::ok).any(|line| line.contains(word));
    input.write_all(b"first\n").expect("it is typed");
    assert!(next_with("read first"), "{}", rpm.daemon_log());
    rpm.kill_daemon();
    rpm.ok(&["send", "0", "from elsewhere"]);
    assert!(next_with("read from elsewhere"), "{}", rpm.daemon_log());
    // The end of our input is not the end of the worker's.
    drop(input);
    assert!(attached.wait().expect("it ends").success());
    rpm.ok(&["send", "0", "afterwards"]);
    rpm_tests::until("the line", || rpm.log("talks-out.log").contains("read afterwards"));
    assert_eq!(rpm.pids("talks"), pid);
}

#[test]
fn watching_and_marks_are_turned_on_and_off_by_calls() {
    let pm2 = Rpm::as_pm2();
    pm2.ok(&["start", &app("idle.sh"), "--name", "a", "-f"]);
    pm2.ok(&["start", &app("idle.sh"), "--name", "b", "-f"]);
    let mut stream = connect(&pm2);
    let count = |word: &str| pm2.ok(&["prettylist"]).matches(word).count();
    call(&mut stream, "startWatch", r#""restartProcessId",{"id":0}"#);
    assert_eq!(count("watch: true"), 1);
    call(&mut stream, "toggleWatch", r#""restartProcessId",{"id":0}"#);
    assert_eq!(count("watch: true"), 0);
    call(&mut stream, "startWatch", r#""restartAll",{}"#);
    assert_eq!(count("watch: true"), 2);
    call(&mut stream, "monitor", "0");
    assert_eq!((count("_km_monitored: true"), count("_km_monitored: false")), (1, 0));
    call(&mut stream, "unmonitor", "0");
    assert_eq!((count("_km_monitored: true"), count("_km_monitored: false")), (0, 1));
    assert_eq!((pm2.restarts("a"), pm2.restarts("b")), (vec![0], vec![0]), "nothing was restarted");
}
