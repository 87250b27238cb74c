//! The daemon may die at any time: workers, sockets, logs and counters outlive it.

use rpm_tests::{Load, Rpm, app, free_port, is_alive, signal, until};

#[test]
fn a_killed_daemon_loses_no_request_and_restarts_no_worker() {
    let (rpm, port) = (Rpm::new(), free_port());
    let script = app("http.js");
    let started = rpm.command(&["start", &script, "--name", "web", "-i", "2"]).env("PORT", port.to_string()).output();
    assert!(started.expect("rpm runs").status.success());
    signal(rpm.pids("web")[0], 9);
    rpm.until("one restart", "web", |list| {
        list[0]["pm2_env"]["restart_time"] == 1 && list[0]["pm2_env"]["status"] == "online"
    });
    let (pids, restarts) = (rpm.pids("web"), rpm.restarts("web"));

    let load = Load::start(port, "/?slow=5", 4);
    for _ in 0..5 {
        load.wait_for(30);
        rpm.kill_daemon();
    }
    load.wait_for(30);
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!(rpm.pids("web"), pids);
    assert_eq!(rpm.restarts("web"), restarts);
    assert_eq!(rpm.statuses("web"), ["online", "online"]);

    // The new daemon supervises for real: it restarts, reloads and scales what it took over.
    signal(pids[0], 9);
    rpm.until("a restart", "web", |list| {
        list[0]["pm2_env"]["restart_time"] == 2 && list[0]["pm2_env"]["status"] == "online"
    });
    let load = Load::start(port, "/", 4);
    rpm.ok(&["reload", "web"]);
    rpm.ok(&["scale", "web", "3"]);
    rpm.ok(&["scale", "web", "1"]);
    assert_eq!(load.stop(), Vec::<String>::new());
}

#[test]
fn an_exit_while_no_daemon_was_there_is_known_with_its_code() {
    let (rpm, port) = (Rpm::new(), free_port());
    let script = app("http.js");
    let args = ["start", &script, "--name", "web", "--no-autorestart"];
    assert!(rpm.command(&args).env("PORT", port.to_string()).output().expect("rpm runs").status.success());
    until("the server", || rpm_tests::http::get(port, "/").is_ok());
    // A stopped daemon stands for a dead one that has no successor yet.
    let daemon = rpm.daemon_pid();
    signal(daemon, 19);
    let pid = rpm_tests::http::get(port, "/exit?code=7").expect("an answer");
    let worker: i32 =
        pid.split("\"pid\":").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok()).expect("a pid");
    until("the exit", || !rpm_tests::is_alive(worker));
    signal(daemon, 9);
    rpm.until("the exit to be known", "web", |list| list[0]["pm2_env"]["status"] == "stopped");
    assert_eq!(rpm.processes("web")[0]["pm2_env"]["exit_code"], 7);
}

#[test]
fn a_crash_while_no_daemon_was_there_is_followed_by_a_restart() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    let pid = rpm.pids("idle")[0];
    let daemon = rpm.daemon_pid();
    signal(daemon, 19);
    signal(pid, 9);
    until("the exit", || !rpm_tests::is_alive(pid));
    signal(daemon, 9);
    rpm.until("a restart", "idle", |list| {
        list[0]["pm2_env"]["restart_time"] == 1 && list[0]["pm2_env"]["status"] == "online"
    });
}

fn lines_survive(options: &[&str], strip: impl Fn(&str) -> String) {
    let rpm = Rpm::new();
    let script = app("lines.sh");
    let mut args = vec!["start", &script, "--name", "lines"];
    args.extend(options);
    let started = rpm.command(&args).env("LINES_WANTED", "2000").output().expect("rpm runs");
    assert!(started.status.success(), "{started:?}");
    for _ in 0..5 {
        rpm.kill_daemon();
    }
    until("the last line", || rpm.log("lines-out.log").contains("done"));
    let log = rpm.log("lines-out.log");
    let lines: Vec<String> = log.lines().map(strip).collect();
    let wanted: Vec<String> = (1..=2000).map(|number| format!("line {number}")).chain(["done".into()]).collect();
    assert_eq!(lines, wanted, "a line was lost, doubled or damaged");
    assert_eq!(rpm.restarts("lines"), [0]);
}

#[test]
fn no_raw_log_line_is_lost() {
    lines_survive(&[], str::to_owned);
}

#[test]
fn no_log_line_with_a_time_is_lost_or_doubled() {
    lines_survive(&["--time"], |line| line.split_once(": ").map_or(line, |(_, text)| text).to_owned());
}

#[test]
fn stopped_apps_and_counters_are_remembered() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "a"]);
    rpm.ok(&["start", &app("idle.sh"), "--name", "b"]);
    rpm.ok(&["restart", "a"]);
    rpm.ok(&["stop", "b"]);
    rpm.kill_daemon();
    assert_eq!(rpm.restarts("a"), [1]);
    assert_eq!(rpm.statuses("b"), ["stopped"]);
    rpm.ok(&["restart", "b"]);
    assert_eq!(rpm.statuses("b"), ["online"]);
}

#[test]
fn a_daemon_whose_state_is_damaged_twice_asks_the_keeper() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "a", "-i", "2"]);
    let pids = rpm.pids("a");
    let (state, copy) = (rpm.home().join("state.json"), rpm.home().join("state.json.bak"));
    // With the second copy comes the keeper's.
    until("the second copy", || std::fs::read(&state).ok() == std::fs::read(&copy).ok() && copy.exists());
    let keeper = rpm.keeper_pid();
    signal(keeper, 19);
    signal(rpm.daemon_pid(), 9);
    for path in [&state, &copy] {
        std::fs::write(path, "garbage").expect("the file is ours");
    }
    signal(keeper, 18);
    rpm.until("the same workers", "a", |list| list.len() == 2);
    assert_eq!(rpm.pids("a"), pids);
    assert_eq!(rpm.statuses("a"), ["online", "online"]);
    let log = std::fs::read_to_string(rpm.home().join("rpm.log")).expect("the daemon's log");
    for name in ["state.json.broken", "state.json.bak.broken"] {
        assert!(log.contains(name) && rpm.home().join(name).exists(), "{log}");
    }
    rpm.ok(&["kill"]);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
}
