//! Every command runs, with PM2's names, targets and exit codes.

use rpm_tests::{Rpm, app, is_alive, until};
use serde_json::Value;

fn two_idle(rpm: &Rpm) {
    rpm.ok(&["start", &app("idle.sh"), "--name", "a", "--namespace", "ns"]);
    rpm.ok(&["start", &app("idle.sh"), "--name", "b", "-i", "2", "-x", "--namespace", "ns"]);
}

#[test]
fn targets_are_names_ids_namespaces_patterns_and_all() {
    let rpm = Rpm::new();
    two_idle(&rpm);
    rpm.ok(&["stop", "a"]);
    assert_eq!(rpm.statuses("a"), ["stopped"]);
    rpm.ok(&["restart", "0"]);
    assert_eq!(rpm.statuses("a"), ["online"]);
    rpm.ok(&["stop", "ns"]);
    assert_eq!((rpm.statuses("a"), rpm.statuses("b")), (vec!["stopped".to_owned()], vec!["stopped".to_owned(); 2]));
    rpm.ok(&["restart", "/^b$/"]);
    assert_eq!((rpm.statuses("a"), rpm.statuses("b")), (vec!["stopped".to_owned()], vec!["online".to_owned(); 2]));
    rpm.ok(&["restart", "a", "1"]);
    assert_eq!(rpm.restarts("b"), [1, 0]);
    rpm.ok(&["delete", "all"]);
    assert_eq!(rpm.jlist(), Vec::<Value>::new());
}

#[test]
fn the_aliases_of_list_show_the_same_table() {
    let rpm = Rpm::new();
    two_idle(&rpm);
    for alias in ["list", "ls", "l", "ps", "status"] {
        let table = rpm.ok(&[alias]);
        assert!(table.contains('┌') && table.contains("online") && table.contains("│ b"), "{alias}: {table}");
    }
    let list: Value = serde_json::from_str(&rpm.ok(&["list", "--json"])).expect("one JSON document");
    assert_eq!(list["apps"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_narrow_terminal_gets_fewer_columns_and_no_broken_word() {
    let rpm = Rpm::new();
    two_idle(&rpm);
    for width in ["60", "80", "100", "120"] {
        let output = rpm.command(&["list"]).env("COLUMNS", width).output().expect("rpm runs");
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        let limit: usize = width.parse().expect("a number");
        assert!(table.lines().all(|line| line.chars().count() <= limit), "{width}:\n{table}");
        assert!(table.contains("online"), "{width}:\n{table}");
    }
}

#[test]
fn jlist_and_prettylist_have_pm2s_shape() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "shape"]);
    let process = &rpm.jlist()[0];
    for key in ["pid", "name", "pm2_env", "pm_id", "monit"] {
        assert!(!process[key].is_null(), "{key} is missing");
    }
    assert_eq!(process["pm2_env"]["status"], "online");
    assert_eq!(process["pm2_env"]["exec_mode"], "fork_mode");
    let pretty = rpm.ok(&["prettylist"]);
    assert_eq!(pretty.matches("online").count(), 1, "{pretty}");
    assert_eq!(pretty.matches("restart_time: 0").count(), 1, "{pretty}");
    assert_eq!(pretty.matches("pm_id: 0").count(), 2, "{pretty}");
}

#[test]
fn questions_about_one_app_are_answered() {
    let rpm = Rpm::new();
    let started = rpm.command(&["start", &app("idle.sh"), "--name", "one"]).env("FROM_SHELL", "yes").output();
    assert!(started.expect("rpm runs").status.success());
    let pid = rpm.pids("one")[0].to_string();
    assert_eq!(rpm.ok(&["pid", "one"]).trim(), pid);
    assert_eq!(rpm.ok(&["id", "one"]).trim(), "[ 0 ]");
    assert_eq!(rpm.ok(&["id", "none"]).trim(), "[]");
    let shown = rpm.ok(&["env", "0"]);
    assert!(shown.lines().any(|line| line == "FROM_SHELL: yes"), "{shown}");
    assert!(!shown.contains("pm_exec_path") && !shown.contains("restart_time"), "{shown}");
    for alias in ["describe", "show", "info", "desc"] {
        assert!(rpm.ok(&[alias, "one"]).contains("script path"), "{alias}");
    }
}

#[test]
fn counters_are_reset() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "a"]);
    rpm.ok(&["restart", "a"]);
    assert_eq!(rpm.restarts("a"), [1]);
    rpm.ok(&["reset", "a"]);
    assert_eq!(rpm.restarts("a"), [0]);
}

#[test]
fn a_signal_reaches_the_worker() {
    let rpm = Rpm::new();
    let script = rpm.home().join("usr2.sh");
    let source = "#!/bin/bash\ntrap 'echo got it' USR2\necho armed\nwhile :; do read -rt 1 <> <(:) || :; done\n";
    std::fs::write(&script, source).expect("a script");
    rpm.ok(&["start", &script.to_string_lossy(), "--name", "usr2"]);
    until("the trap", || rpm.log("usr2-out.log").contains("armed"));
    rpm.ok(&["sendSignal", "SIGUSR2", "usr2"]);
    until("the signal", || rpm.log("usr2-out.log").contains("got it"));
    assert!(rpm.fails(&["sendSignal", "SIGNOPE", "usr2"]).contains("SIGNOPE"));
}

#[test]
fn what_was_saved_comes_back() {
    let rpm = Rpm::new();
    two_idle(&rpm);
    rpm.ok(&["stop", "a"]);
    rpm.ok(&["save"]);
    rpm.ok(&["kill"]);
    assert_eq!(rpm.jlist(), Vec::<Value>::new());
    rpm.ok(&["resurrect"]);
    assert_eq!(rpm.statuses("a"), ["stopped"]);
    assert_eq!(rpm.statuses("b"), ["online", "online"]);
    // Nothing is doubled.
    rpm.ok(&["resurrect"]);
    assert_eq!(rpm.jlist().len(), 3);
}

#[test]
fn kill_leaves_nothing_behind() {
    let rpm = Rpm::new();
    two_idle(&rpm);
    let (keeper, daemon, workers) = (rpm.keeper_pid(), rpm.daemon_pid(), rpm.pids("b"));
    rpm.ok(&["kill"]);
    until("keeper and daemon to be gone", || !is_alive(keeper) && !is_alive(daemon));
    assert!(workers.iter().all(|pid| !is_alive(*pid)));
    assert!(!rpm.home().join("rpm.sock").exists());
}

#[test]
fn ping_starts_the_daemon_and_says_pong() {
    let rpm = Rpm::new();
    assert!(rpm.ok(&["ping"]).contains("pong"));
    assert!(is_alive(rpm.daemon_pid()));
}

#[test]
fn two_first_commands_at_once_start_one_daemon() {
    let rpm = Rpm::new();
    let commands: Vec<_> = (0..6)
        .map(|_| rpm.command(&["jlist"]).stdout(std::process::Stdio::piped()).spawn().expect("rpm runs"))
        .collect();
    for command in commands {
        let output = command.wait_with_output().expect("an end");
        assert!(output.status.success(), "{output:?}\n{}", rpm.daemon_log());
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "[]");
    }
}

#[test]
fn an_existing_app_is_not_started_twice_unless_forced() {
    let rpm = Rpm::new();
    let script = app("idle.sh");
    rpm.ok(&["start", &script, "--name", "a"]);
    let error = rpm.fails(&["start", &script, "--name", "a"]);
    assert!(error.contains("already launched"), "{error}");
    rpm.ok(&["start", &script, "--name", "a", "-f"]);
    assert_eq!(rpm.pids("a").len(), 2);
}
