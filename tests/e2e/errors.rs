//! Bad input is refused before anything starts, with one clear message.

use rpm_tests::{Rpm, app, free_port};

fn refused(rpm: &Rpm, args: &[&str], wanted: &[&str]) {
    let error = rpm.fails(args);
    for word in wanted {
        assert!(error.contains(word), "{args:?}: {word:?} is not in\n{error}");
    }
    assert!(rpm.jlist().is_empty(), "{args:?} started something");
}

#[test]
fn what_cannot_be_started_is_refused() {
    let rpm = Rpm::new();
    let idle = app("idle.sh");
    refused(&rpm, &["start", "/nowhere/app.js"], &["/nowhere/app.js"]);
    refused(&rpm, &["start", "/tmp"], &["/tmp", "directory"]);
    refused(&rpm, &["start", &idle, "-i", "abc"], &["abc", "max"]);
    refused(&rpm, &["start", &idle, "--max-memory-restart", "1Z"], &["1Z", "512M"]);
    refused(&rpm, &["start", &idle, "--kill-timeout", "soon"], &["soon"]);
    refused(&rpm, &["start", &idle, "--interpreter", "no-such-program"], &["no-such-program"]);
    refused(&rpm, &["start", "missing.config.js"], &["missing.config.js"]);
}

#[test]
fn every_option_with_a_value_says_what_is_wrong_with_it() {
    let rpm = Rpm::new();
    let idle = app("idle.sh");
    for (option, value) in [
        ("-i", "many"),
        ("--instances", "1.5"),
        ("--max-memory-restart", "lots"),
        ("--kill-timeout", "soon"),
        ("--listen-timeout", "soon"),
        ("--restart-delay", "soon"),
        ("--exp-backoff-restart-delay", "soon"),
        ("--min-uptime", "soon"),
        ("--watch-delay", "soon"),
        ("--max-restarts", "often"),
        ("--cron-restart", "noon"),
        ("--stop-exit-codes", "x"),
        ("--log-type", "xml"),
        ("--interpreter", "no-such-program"),
        ("--cwd", "/nowhere/at/all"),
        ("--uid", "nobody-of-this-name"),
        ("--gid", "no-group-of-this-name"),
        ("--parallel", "x"),
    ] {
        let error = rpm.fails(&["start", &idle, &format!("{option}={value}")]);
        let errors = error.lines().filter(|line| line.starts_with("error")).count();
        assert!(error.contains(value) && errors == 1, "{option} {value}:\n{error}");
    }
    assert!(rpm.jlist().is_empty(), "nothing was started");
}

#[test]
fn an_unknown_app_is_refused_with_the_near_name() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "backend"]);
    for command in ["stop", "restart", "reload", "delete", "describe", "reset", "logs", "flush"] {
        let error = rpm.fails(&[command, "backand"]);
        assert!(error.contains("backand") && error.contains("backend"), "{command}: {error}");
    }
    assert!(rpm.fails(&["scale", "backand", "3"]).contains("backend"));
    assert!(rpm.fails(&["scale", "backend", "x"]).contains('x'));
    assert!(rpm.fails(&["strat", "x"]).contains("start"));
    assert_eq!(rpm.statuses("backend"), ["online"]);
}

#[test]
fn several_targets_are_all_known_before_the_first_is_touched() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "a"]);
    rpm.fails(&["stop", "a", "nope"]);
    assert_eq!(rpm.statuses("a"), ["online"]);
}

#[test]
fn a_taken_port_names_who_has_it() {
    let rpm = Rpm::new();
    let holder = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = holder.local_addr().expect("an address").port().to_string();
    let script = app("http.js");
    let output =
        rpm.command(&["start", &script, "--name", "web", "-i", "2"]).env("PORT", &port).output().expect("rpm runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(&port) && error.contains(&format!("pid {}", std::process::id())), "{error}");
    assert!(rpm.jlist().is_empty(), "nothing is left");
}

#[test]
fn a_second_app_on_the_same_port_is_refused_and_the_first_serves_on() {
    let (rpm, port) = (Rpm::new(), free_port());
    let script = app("http.js");
    let start = |name: &str| {
        rpm.command(&["start", &script, "--name", name, "-i", "2"])
            .env("PORT", port.to_string())
            .output()
            .expect("rpm runs")
    };
    assert!(start("first").status.success());
    let second = start("second");
    let error = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{error}");
    assert!(error.contains("app first") && error.contains(&port.to_string()), "{error}");
    assert!(rpm.processes("second").is_empty());
    rpm_tests::http::get(port, "/").expect("an answer");
    assert_eq!(rpm.statuses("first"), ["online", "online"]);
}

#[test]
fn a_home_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let rpm = Rpm::new();
    std::fs::set_permissions(rpm.home(), std::fs::Permissions::from_mode(0o777)).expect("permissions");
    let error = rpm.fails(&["list"]);
    assert!(error.contains(&rpm.home().display().to_string()), "{error}");
    std::fs::set_permissions(rpm.home(), std::fs::Permissions::from_mode(0o700)).expect("permissions");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "a", "-i", "20", "-x"]);
    let binary = rpm.command(&[]).get_program().to_string_lossy().into_owned();
    let script = format!("{binary} list | head -1; echo ${{PIPESTATUS[0]}}");
    let output =
        std::process::Command::new("bash").args(["-c", &script]).env("RPM_HOME", rpm.home()).output().expect("bash");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
}
