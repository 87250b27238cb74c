//! Called `pm2`: apps of one port share it, and all output takes the pipe.

use std::collections::BTreeSet;

use rpm_tests::{Load, Rpm, app, free_port, http, signal, until};

/// Starts the HTTP server as an app in cluster mode.
fn start_http(pm2: &Rpm, name: &str, port: u16) {
    let args = ["start", &app("http.js"), "--name", name, "-i", "1"];
    let output = pm2.command(&args).env("PORT", port.to_string()).output().expect("it runs");
    assert!(output.status.success(), "{output:?}\n{}", pm2.daemon_log());
}

fn pids_of(pm2: &Rpm, apps: &[&str]) -> BTreeSet<i32> {
    apps.iter().flat_map(|app| pm2.pids(app)).collect()
}

/// Asks until every one of `wanted` has answered, and nobody else.
fn all_answer(port: u16, wanted: &BTreeSet<i32>) {
    let mut answered = BTreeSet::new();
    until("answers from every worker", || {
        let body = http::get(port, "/").expect("an answer");
        let pid = body.split("\"pid\":").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
        answered.insert(pid.expect("a pid"));
        answered.is_superset(wanted)
    });
    assert_eq!(&answered, wanted);
}

#[test]
fn two_apps_share_a_port() {
    let (pm2, port) = (Rpm::as_pm2(), free_port());
    start_http(&pm2, "one", port);
    start_http(&pm2, "two", port);
    all_answer(port, &pids_of(&pm2, &["one", "two"]));

    let load = Load::start(port, "/", 4);
    load.wait_for(30);
    pm2.ok(&["reload", "one"]);
    load.wait_for(30);
    assert_eq!(load.stop(), Vec::<String>::new());

    // What a stopped worker had accepted goes with it, at once; what waited for it, the other answers.
    let load = Load::start(port, "/", 4);
    load.wait_for(30);
    pm2.ok(&["delete", "two"]);
    load.wait_for(30);
    let failures = load.stop();
    // Whether it had read the request makes the difference between the two.
    let is_expected = |failure: &String| failure.contains("reset by peer") || failure == "cut off: \"\"";
    assert!(failures.iter().all(is_expected), "{failures:?}");
    all_answer(port, &pids_of(&pm2, &["one"]));
}

#[test]
fn a_shared_port_outlives_the_daemon() {
    let (pm2, port) = (Rpm::as_pm2(), free_port());
    start_http(&pm2, "one", port);
    start_http(&pm2, "two", port);
    let pids = pids_of(&pm2, &["one", "two"]);
    let load = Load::start(port, "/?slow=5", 4);
    for _ in 0..3 {
        load.wait_for(30);
        pm2.kill_daemon();
    }
    load.wait_for(30);
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!(pids_of(&pm2, &["one", "two"]), pids);
    all_answer(port, &pids);

    // The next daemon knows that they share it: one leaves without the other, one more comes, one crashes.
    pm2.ok(&["delete", "one"]);
    all_answer(port, &pids_of(&pm2, &["two"]));
    start_http(&pm2, "three", port);
    signal(pm2.pids("two")[0], 9);
    pm2.until("a restart", "two", |list| {
        list[0]["pm2_env"]["restart_time"] == 1 && list[0]["pm2_env"]["status"] == "online"
    });
    all_answer(port, &pids_of(&pm2, &["two", "three"]));
}

/// Starts the app that writes numbered lines.
fn start_lines(pm2: &Rpm, count: u32, options: &[&str]) {
    let script = app("lines.sh");
    let mut args = vec!["start", &script, "--name", "lines"];
    args.extend(options);
    let started = pm2.command(&args).env("LINES_WANTED", count.to_string()).output().expect("it runs");
    assert!(started.status.success(), "{started:?}");
}

/// Every line from the first to the last, once.
fn assert_whole(log: &str, count: u32, strip: impl Fn(&str) -> &str) {
    let lines: Vec<&str> = log.lines().map(strip).collect();
    let wanted: Vec<String> = (1..=count).map(|number| format!("line {number}")).chain(["done".into()]).collect();
    assert_eq!(lines, wanted, "a line was lost, doubled or damaged");
}

fn lines_survive_the_daemon(options: &[&str], strip: impl Fn(&str) -> &str) {
    let pm2 = Rpm::as_pm2();
    start_lines(&pm2, 2000, options);
    for _ in 0..5 {
        pm2.kill_daemon();
    }
    until("the last line", || pm2.log("lines-out.log").contains("done"));
    assert_whole(&pm2.log("lines-out.log"), 2000, strip);
    assert_eq!(pm2.restarts("lines"), [0]);
}

#[test]
fn no_line_is_lost_or_doubled_when_the_daemon_is_killed() {
    lines_survive_the_daemon(&[], |line| line);
    lines_survive_the_daemon(&["--time"], |line| line.split_once(": ").map_or(line, |(_, text)| text));
}

#[test]
fn a_renamed_log_is_made_anew_and_keeps_what_it_has() {
    let pm2 = Rpm::as_pm2();
    start_lines(&pm2, 2000, &[]);
    let (log, old) = (pm2.home().join("logs/lines-out.log"), pm2.home().join("logs/old.log"));
    until("a line", || pm2.log("lines-out.log").contains("line 100\n"));
    std::fs::rename(&log, &old).expect("it can be renamed");
    pm2.ok(&["reloadLogs"]);
    until("the last line", || pm2.log("lines-out.log").contains("done"));
    assert!(pm2.log("old.log").starts_with("line 1\n"));
    assert_whole(&(pm2.log("old.log") + &pm2.log("lines-out.log")), 2000, |line| line);
    assert_eq!(pm2.restarts("lines"), [0]);
}

#[test]
fn a_removed_log_is_made_anew() {
    let pm2 = Rpm::as_pm2();
    start_lines(&pm2, 2000, &[]);
    until("a line", || pm2.log("lines-out.log").contains("line 100\n"));
    std::fs::remove_file(pm2.home().join("logs/lines-out.log")).expect("it can be removed");
    pm2.kill_daemon();
    pm2.ok(&["reloadLogs"]);
    until("the last line", || pm2.log("lines-out.log").ends_with("line 2000\ndone\n"));
    assert_eq!(pm2.restarts("lines"), [0]);
}

#[test]
fn a_cleared_list_is_one_that_pm2_reads() {
    let pm2 = Rpm::as_pm2();
    pm2.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    pm2.ok(&["save"]);
    pm2.ok(&["cleardump"]);
    assert_eq!(std::fs::read(pm2.home().join("dump.pm2")).expect("the list is there"), b"[]");
    pm2.ok(&["delete", "all"]);
    pm2.ok(&["resurrect"]);
    assert!(pm2.jlist().is_empty());
}

/// The daemon was started without the variable: it is the client's that counts, as it is the client that writes in PM2.
#[test]
fn the_list_is_saved_where_the_command_says() {
    let pm2 = Rpm::as_pm2();
    pm2.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let at = |name: &str| elsewhere.path().join(name);
    let run = |command: &str, list: &std::path::Path| {
        let mut command = pm2.command(&[command]);
        command.current_dir(elsewhere.path()).env("PM2_DUMP_FILE_PATH", list);
        command.env("PM2_DUMP_BACKUP_FILE_PATH", at("before")).output().expect("it runs")
    };
    let said = run("save", "list".as_ref());
    assert!(said.status.success(), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stdout).contains(&format!("saved in {}", at("list").display())), "{said:?}");
    assert!(at("list").is_file() && !pm2.home().join("dump.pm2").exists());
    assert!(run("save", "list".as_ref()).status.success());
    assert_eq!(std::fs::read(at("list")).expect("the list"), std::fs::read(at("before")).expect("the one before"));

    // What is no file is not replaced, and what cannot be written is told.
    std::os::unix::fs::symlink("/dev/null", at("null")).expect("a link can be made");
    for bad in [at("null"), elsewhere.path().to_owned(), "/nowhere/list".into(), "/dev/null/list".into()] {
        let said = run("save", &bad);
        let told = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.status.success() && told.contains(&*bad.to_string_lossy()), "{said:?}");
        assert!(!String::from_utf8_lossy(&said.stdout).contains("saved in"), "{said:?}");
    }
    assert!(at("null").is_symlink());

    pm2.ok(&["delete", "all"]);
    assert!(run("resurrect", "list".as_ref()).status.success());
    assert_eq!(pm2.jlist().len(), 1);
    // A list that others can write to says nothing that we would run.
    pm2.ok(&["delete", "all"]);
    std::fs::set_permissions(at("list"), std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("its mode");
    let said = run("resurrect", "list".as_ref());
    assert!(!said.status.success() && String::from_utf8_lossy(&said.stderr).contains("by others"), "{said:?}");
    assert!(pm2.jlist().is_empty());
}

/// PM2 itself would install packages, so the two are not compared.
#[test]
fn the_variable_for_deep_monitoring_is_seen_in_the_list_and_a_silent_set_says_nothing() {
    let pm2 = Rpm::as_pm2();
    let mut start = pm2.command(&["start", &app("idle.sh"), "--name", "idle"]);
    assert!(start.env("PM2_DEEP_MONITORING", "true").output().expect("it runs").status.success());
    assert_eq!(pm2.jlist()[0]["pm2_env"]["deep_monitoring"], true);
    let set = pm2.command(&["set", "idle:key", "1"]).env("PM2_SILENT", "true").output().expect("it runs");
    assert!(set.status.success() && set.stdout.is_empty(), "{set:?}");
}

#[test]
fn apps_know_pm2s_home_and_a_combined_log_that_is_off() {
    let pm2 = Rpm::as_pm2();
    pm2.ok(&["start", &app("idle.sh"), "--name", "idle", "-l", "NULL"]);
    let process = &pm2.jlist()[0]["pm2_env"];
    assert_eq!(process["pm_log_path"], "/dev/null");
    assert_eq!(process["PM2_HOME"], pm2.home().to_string_lossy().as_ref());

    // Without the variable too.
    let home = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink(pm2.home(), home.path().join(".pm2")).expect("a link can be made");
    let mut start = pm2.command(&["start", &app("idle.sh"), "--name", "other"]);
    let started = start.env_remove("PM2_HOME").env("HOME", home.path()).output().expect("it runs");
    assert!(started.status.success(), "{started:?}");
    let told = pm2.processes("other")[0]["pm2_env"]["PM2_HOME"].clone();
    assert_eq!(told, home.path().join(".pm2").to_string_lossy().as_ref());
}
