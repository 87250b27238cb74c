//! Commands around the life of a process: what they see, what they hold up, and what becomes of it when they fail.

use rpm_tests::{Load, Rpm, app, free_port, until};
use serde_json::{Value, json};

/// Writes an ecosystem file of one app with hooks.
fn file(rpm: &Rpm, hooks: &Value, more: &Value) -> String {
    rpm.file_of(json!({ "name": "api", "script": app("idle.sh"), "hooks": hooks }), more)
}

fn sh(line: &str) -> Value {
    json!(["sh", "-c", line])
}

/// Waits for a file, without end.
const GATE: &str = "while [ ! -e gate ]; do sleep 0.02; done";

fn open_gate(rpm: &Rpm) {
    std::fs::write(rpm.home().join("gate"), "").expect("a file");
}

#[test]
fn hooks_run_around_the_life_of_a_process_in_its_place_and_its_log() {
    let rpm = Rpm::new();
    let says = |name: &str| {
        sh(&format!(
            "echo $RPM_HOOK $RPM_APP $RPM_WORKER $MINE $PWD $RPM_EXIT_CODE$RPM_EXIT_SIGNAL >> {name}; echo $RPM_HOOK"
        ))
    };
    let hooks = json!({ "pre_start": says("said"), "post_start": says("said"), "pre_stop": says("said"),
        "on_exit": sh("echo $RPM_HOOK $RPM_EXIT_CODE$RPM_EXIT_SIGNAL $RPM_EXIT_CAUSE $SECRET. >> said; echo $RPM_HOOK") });
    let more = json!({ "env": { "MINE": "mine", "RPM_HOOK": "not this" }, "hooks": hooks });
    rpm.ok(&["start", &file(&rpm, &json!({}), &more)]);
    let said = || std::fs::read_to_string(rpm.home().join("said")).unwrap_or_default();
    until("the start", || said().lines().count() == 2);
    rpm.ok(&["stop", "api"]);
    until("the end", || said().lines().count() == 4);
    let home = rpm.home().display();
    let expected = format!(
        "pre_start api 0 mine {home}\npost_start api 0 mine {home}\npre_stop api 0 mine {home}\non_exit SIGINT stop .\n"
    );
    assert_eq!(said().replace(" \n", "\n"), expected);
    until("their output", || rpm.log("api-out.log").ends_with("on_exit\n"));
    for hook in ["pre_start", "post_start", "pre_stop"] {
        assert!(rpm.log("api-out.log").contains(&format!("{hook}\n")), "{}", rpm.log("api-out.log"));
    }
    // What the last end is followed by is not cut off by the daemon's own.
    std::fs::remove_file(rpm.home().join("said")).expect("it is there");
    rpm.ok(&["start", "api"]);
    rpm.ok(&["kill"]);
    assert!(said().contains("on_exit"), "{}", said());
}

#[test]
fn a_start_whose_hook_fails_or_takes_too_long_fails_and_says_so() {
    let rpm = Rpm::new();
    for (hook, timeout, why) in [
        (sh("echo no database >&2; exit 3"), "30s", "its pre_start hook failed: exit code 3"),
        (sh("sleep 1000"), "300ms", "its pre_start hook failed: it took longer than 300 ms"),
        (json!(["./nothing-here"]), "30s", "its pre_start hook failed: "),
    ] {
        let hooks = json!({ "pre_start": hook, "timeout": timeout });
        let error = rpm.fails(&["start", &file(&rpm, &hooks, &json!({}))]);
        assert!(error.contains(why), "{error}");
        assert_eq!(rpm.statuses("api"), ["errored"]);
        assert!(rpm.pids("api").is_empty());
        rpm.ok(&["delete", "api"]);
    }
    assert!(rpm.log("api-error.log").contains("no database"));
    let events = rpm.ok(&["events", "--app", "api"]);
    assert!(events.contains("hook failed") && events.contains("pre_start: exit code 3"), "{events}");
}

#[test]
fn a_hook_that_hangs_holds_up_nobody_else_and_is_gone_with_its_app() {
    let rpm = Rpm::new();
    let hooks = json!({ "pre_start": sh("echo $$ > pid; exec sleep 1000") });
    let mut start = rpm.command(&["start", &file(&rpm, &hooks, &json!({}))]).spawn().expect("rpm runs");
    let pid = || std::fs::read_to_string(rpm.home().join("pid")).ok()?.trim().parse::<i32>().ok();
    until("the hook", || pid().is_some());
    rpm.ok(&["start", &app("idle.sh"), "--name", "other"]);
    assert_eq!((rpm.statuses("other"), rpm.statuses("api")), (vec!["online".into()], vec!["launching".into()]));
    rpm.ok(&["delete", "api"]);
    assert!(!start.wait().expect("it ends").success());
    until("the hook is gone", || pid().is_some_and(|pid| !rpm_tests::is_alive(pid)));
}

#[test]
fn a_process_is_asked_to_leave_when_pre_stop_has_ended() {
    let rpm = Rpm::new();
    let hooks = json!({ "pre_stop": sh(&format!("touch begun; {GATE}")) });
    rpm.ok(&["start", &file(&rpm, &hooks, &json!({ "kill_timeout": 300 }))]);
    let process = rpm.pids("api")[0];
    let mut stop = rpm.command(&["stop", "api"]).spawn().expect("rpm runs");
    until("the hook", || rpm.home().join("begun").exists());
    assert_eq!(rpm.statuses("api"), ["stopping"]);
    // The next daemon asks anew.
    rpm.kill_daemon();
    let _ = stop.wait();
    assert!(rpm_tests::is_alive(process));
    open_gate(&rpm);
    rpm.until("it has left", "api", |list| list[0]["pm2_env"]["status"] == "stopped");
    assert!(rpm.ok(&["crashes", "api", "--all"]).contains("SIGINT"), "it was asked, not killed");
}

#[test]
fn a_reload_whose_hook_fails_keeps_the_old_workers() {
    let (rpm, port) = (Rpm::new(), free_port());
    std::fs::write(rpm.home().join("migrated"), "").expect("a file");
    let hooks = json!({ "pre_start": ["test", "-e", "migrated"] });
    let more = json!({ "script": app("http.js"), "exec_mode": "cluster", "instances": 2, "env": { "PORT": port } });
    rpm.ok(&["start", &file(&rpm, &hooks, &more)]);
    let before = rpm.pids("api");
    rpm.ok(&["reload", "api"]);
    let after = rpm.pids("api");
    assert_ne!(before, after);
    std::fs::remove_file(rpm.home().join("migrated")).expect("it is there");
    let load = Load::start(port, "/", 2);
    let error = rpm.fails(&["reload", "api"]);
    assert!(error.contains("its pre_start hook failed: exit code 1") && error.contains("keep serving"), "{error}");
    assert_eq!((rpm.pids("api"), load.stop()), (after, Vec::new()));
}

#[test]
fn the_others_fail_without_consequences_and_what_they_say_is_written_as_the_app_writes() {
    let rpm = Rpm::new();
    let hooks = json!({ "post_start": sh("echo up; exit 4"), "on_exit": "false" });
    rpm.ok(&["start", &file(&rpm, &hooks, &json!({ "log_type": "json" }))]);
    until("its words", || rpm.log("api-out.log").contains("\"message\":\"up"));
    until("the event", || rpm.ok(&["events", "--app", "api"]).contains("post_start: exit code 4"));
    assert_eq!(rpm.statuses("api"), ["online"]);
    rpm_tests::signal(rpm.pids("api")[0], 9);
    until("the event", || rpm.ok(&["events", "--app", "api"]).contains("on_exit: exit code 1"));
    rpm.until("started again", "api", |list| list[0]["pm2_env"]["status"] == "online");
}
