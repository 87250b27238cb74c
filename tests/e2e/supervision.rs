//! Crashes, limits, stops: what the supervisor does when a worker misbehaves.

use std::time::{Duration, Instant};

use rpm_tests::{Load, Rpm, app, free_port, http, is_alive, signal, until};
use serde_json::Value;

fn env(process: &Value) -> &Value {
    &process["pm2_env"]
}

#[test]
fn a_crash_is_followed_by_a_new_start() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    let before = rpm.pids("idle")[0];
    signal(before, 9);
    let list = rpm
        .until("a restart", "idle", |list| env(&list[0])["restart_time"] == 1 && env(&list[0])["status"] == "online");
    assert_ne!(list[0]["pid"], before);
    assert!(rpm.ok(&["describe", "idle"]).contains("SIGKILL"), "the true signal is shown");
}

#[test]
fn a_worker_that_keeps_failing_at_once_ends_as_errored_with_its_exit_code() {
    let rpm = Rpm::new();
    // However long a busy machine takes to run so far.
    let at_once = ["--min-uptime", "60s", "--listen-timeout", "60s"];
    let error =
        rpm.fails(&[&["start", &app("crash.js"), "--name", "crash", "--max-restarts", "3"], &at_once[..]].concat());
    assert!(error.contains("exit code 3") && error.contains("about to fail: no database"), "{error}");
    rpm.until("errored", "crash", |list| env(&list[0])["status"] == "errored");
    let text = rpm.ok(&["describe", "crash"]);
    assert!(text.contains("exit code 3") && text.contains("about to fail"), "{text}");
}

#[test]
fn an_exit_code_in_stop_exit_codes_is_an_end_not_a_crash() {
    let rpm = Rpm::new();
    let script = app("crash.js");
    let args = ["start", &script, "--name", "job", "--stop-exit-codes", "3", "-x"];
    let _ = rpm.run(&args);
    rpm.until("stopped", "job", |list| env(&list[0])["status"] == "stopped");
    assert_eq!(rpm.restarts("job"), [0]);
}

#[test]
fn without_autorestart_an_exit_is_the_end() {
    let rpm = Rpm::new();
    rpm.ok(&["start", "/bin/true", "--name", "once", "--no-autorestart"]);
    rpm.until("stopped", "once", |list| env(&list[0])["status"] == "stopped");
    assert_eq!(rpm.restarts("once"), [0]);
}

#[test]
fn a_restart_delay_is_kept() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle", "--restart-delay", "1500"]);
    let killed = Instant::now();
    signal(rpm.pids("idle")[0], 9);
    rpm.until("waiting", "idle", |list| env(&list[0])["status"] == "waiting restart");
    rpm.until("online again", "idle", |list| env(&list[0])["status"] == "online");
    assert!(killed.elapsed() >= Duration::from_millis(1500));
}

#[test]
fn a_backoff_grows() {
    let rpm = Rpm::new();
    let _ = rpm.run(&["start", &app("crash.js"), "--name", "crash", "--exp-backoff-restart-delay", "100"]);
    rpm.until("three restarts", "crash", |list| env(&list[0])["restart_time"].as_u64() >= Some(3));
    let list: Value = serde_json::from_str(&rpm.ok(&["list", "--json"])).expect("JSON");
    let backoff = list["apps"][0]["workers"][0]["backoff_ms"].as_u64().expect("a backoff");
    assert!(backoff >= 225, "100 ms, 150 ms, 225 ms, …: {backoff}");
}

#[test]
fn a_worker_above_its_memory_limit_is_replaced_within_seconds_and_without_a_gap() {
    let (rpm, port) = (Rpm::new(), free_port());
    let script = app("memory.js");
    let args = ["start", &script, "--name", "fat", "-i", "2", "--max-memory-restart", "120M"];
    assert!(rpm.command(&args).env("PORT", port.to_string()).output().expect("rpm runs").status.success());
    let load = Load::start(port, "/", 2);
    let grown: i32 =
        http::get(port, "/grow").expect("an answer").lines().find_map(|line| line.parse().ok()).expect("a pid");
    let noticed = Instant::now();
    rpm.until("a replacement", "fat", |list| {
        list.iter().all(|process| process["pid"] != grown)
            && list.iter().any(|process| env(process)["restart_time"] == 1)
    });
    assert!(noticed.elapsed() < Duration::from_secs(5), "it took {:?}", noticed.elapsed());
    assert_eq!(load.stop(), Vec::<String>::new());
}

#[test]
fn a_deaf_worker_is_killed_after_its_grace_and_delays_nobody() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("deaf.py"), "--name", "deaf", "--kill-timeout", "3000"]);
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    until("the app to be deaf", || rpm.log("deaf-out.log").contains("deaf"));
    let pid = rpm.pids("deaf")[0];
    let asked = Instant::now();
    let stopping = rpm.command(&["stop", "deaf"]).spawn().expect("rpm runs");
    rpm.until("stopping", "deaf", |list| env(&list[0])["status"] == "stopping");
    signal(rpm.pids("idle")[0], 9);
    rpm.until("a restart meanwhile", "idle", |list| {
        env(&list[0])["restart_time"] == 1 && env(&list[0])["status"] == "online"
    });
    assert!(asked.elapsed() < Duration::from_secs(2), "another app waited for the deaf one");
    assert!(stopping.wait_with_output().expect("an end").status.success());
    assert!(asked.elapsed() >= Duration::from_secs(3), "the grace was not kept");
    assert!(!is_alive(pid));
    assert_eq!(rpm.statuses("deaf"), ["stopped"]);
}

fn family(rpm: &Rpm, args: &[&str]) -> Vec<i32> {
    let script = app("family.py");
    let mut all = vec!["start", &script, "--name", "family"];
    all.extend(args);
    let _ = rpm.run(&all);
    let mut pids = Vec::new();
    until("the family", || {
        let log = rpm.log("family-out.log");
        pids = log.lines().next().unwrap_or_default().split(' ').filter_map(|pid| pid.parse().ok()).collect();
        pids.len() == 3
    });
    pids
}

#[test]
fn a_stop_leaves_no_descendant_not_even_a_double_forked_one() {
    let rpm = Rpm::new();
    let pids = family(&rpm, &["--kill-timeout", "300"]);
    assert!(pids.iter().all(|pid| is_alive(*pid)), "{pids:?}");
    rpm.ok(&["stop", "family"]);
    assert!(
        pids.iter().all(|pid| !is_alive(*pid)),
        "left: {:?}",
        pids.iter().filter(|pid| is_alive(**pid)).collect::<Vec<_>>()
    );
}

#[test]
fn a_crash_leaves_no_descendant_either() {
    let rpm = Rpm::new();
    let pids = family(&rpm, &["--no-autorestart", "--", "crash"]);
    until("the descendants to be gone", || pids.iter().all(|pid| !is_alive(*pid)));
    rpm.until("stopped", "family", |list| env(&list[0])["status"] == "stopped");
    assert_eq!(env(&rpm.processes("family")[0])["exit_code"], 5);
}

#[test]
fn wait_ready_waits_for_the_app() {
    let (rpm, port) = (Rpm::new(), free_port());
    let script = app("ready.js");
    let args = ["start", &script, "--name", "web", "--wait-ready", "-i", "2"];
    let begun = Instant::now();
    let output =
        rpm.command(&args).envs([("PORT", port.to_string().as_str()), ("AFTER", "700")]).output().expect("rpm runs");
    assert!(output.status.success(), "{output:?}");
    assert!(begun.elapsed() >= Duration::from_millis(700));
    assert_eq!(rpm.statuses("web"), ["online", "online"]);
}

#[test]
fn a_hundred_workers_start_stop_and_leave_nothing() {
    let rpm = Rpm::new();
    rpm.ok(&["start", "/bin/sleep", "--name", "many", "-i", "100", "--", "100000"]);
    let pids = rpm.pids("many");
    assert_eq!(pids.len(), 100);
    for pid in &pids {
        signal(*pid, 9);
    }
    rpm.until("all back", "many", |list| {
        list.iter().all(|process| env(process)["restart_time"] == 1 && env(process)["status"] == "online")
    });
    let pids = rpm.pids("many");
    rpm.ok(&["stop", "many"]);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    rpm.ok(&["delete", "many"]);
    assert_eq!(rpm.jlist(), Vec::<Value>::new());
}

#[test]
fn hundreds_of_workers_end_with_the_daemon_and_the_keeper() {
    // What they leave behind to say fills the keeper's socket more than once.
    let rpm = Rpm::new();
    rpm.ok(&["start", "/bin/sleep", "--name", "many", "-i", "600", "--", "100000"]);
    let pids = rpm.pids("many");
    rpm.ok(&["kill"]);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    let log = std::fs::read_to_string(rpm.home().join("rpm.log")).expect("the daemon's log");
    assert!(!log.contains("started again"), "the keeper has not heard that it was on purpose:\n{log}");
}
