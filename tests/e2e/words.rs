//! What is typed means what it says, and what went wrong is told in one way.

use rpm_tests::{Rpm, app};

#[test]
fn only_with_a_name_is_refused_instead_of_ignored() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "a"]);
    for command in [["stop", "all"], ["delete", "a"], ["restart", "all"], ["reload", "a"], ["start", "a"]] {
        let error = rpm.fails(&[command[0], command[1], "--only", "x"]);
        assert!(error.contains("`--only x` chooses apps of an ecosystem file"), "{error}");
    }
    assert_eq!((rpm.statuses("a"), rpm.restarts("a")), (vec!["online".to_owned()], vec![0]));
}

#[test]
fn a_target_after_exit_codes_is_the_target() {
    let rpm = Rpm::new();
    // A file of apps in the directory must not be started instead.
    let other = app("idle.sh");
    let text = format!("module.exports = {{ apps: [{{ name: 'wrong', script: '{other}' }}] }}");
    std::fs::write(rpm.home().join("ecosystem.config.js"), text).expect("a file");
    for (index, option) in [&["--stop-exit-codes", "0", "3"][..], &["--filter-env"], &["--watch"]].iter().enumerate() {
        let name = format!("n{index}");
        let mut args = vec!["start", "--name", &name, "-f"];
        args.extend(*option);
        args.push(&other);
        let output = rpm.command(&args).current_dir(rpm.home()).output().expect("rpm runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(rpm.statuses(&name), ["online"], "{args:?}");
    }
    assert!(rpm.processes("wrong").is_empty());
    let output = rpm.command(&["start", "ecosystem.config.js", "--exec-mode", "foo"]).current_dir(rpm.home()).output();
    let error = String::from_utf8_lossy(&output.expect("rpm runs").stderr).into_owned();
    assert_eq!(error.matches("--exec-mode").count(), 1, "{error}");
}

#[test]
fn a_script_is_no_ecosystem_file() {
    let rpm = Rpm::new();
    for command in ["startOrRestart", "startOrReload"] {
        let error = rpm.fails(&[command, &app("http.js")]);
        assert!(error.contains("is not an ecosystem file"), "{error}");
    }
}

#[test]
fn every_error_begins_alike() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "a"]);
    for args in [&["stop", "nope"][..], &["list", "--nope"], &["start", "nope.js"], &["nope"], &["scale", "all", "3"]] {
        let error = rpm.fails(args);
        assert!(error.starts_with("error: "), "{args:?}: {error}");
    }
    assert!(rpm.fails(&["scale", "all", "3"]).contains("`rpm scale a 3`"));
    let output = rpm.run(&["logs", "--nostream", "--timestamp", "a"]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("for [a] process"), "the target is not taken for a format: {out}");
    assert!(err.starts_with("warning: --timestamp has no effect"), "{err}");
}

#[test]
fn what_resurrects_gives_the_apps_its_environment() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "a"]);
    rpm.ok(&["save"]);
    rpm.ok(&["kill"]);
    let output = rpm.command(&["resurrect"]).env("LANG", "xx_YY").env("NODE_ENV", "there").output().expect("rpm runs");
    assert!(output.status.success());
    let env = rpm.ok(&["env", "0"]);
    for line in ["LANG: xx_YY", "PATH: ", "HOME: "] {
        assert!(env.lines().any(|found| found.starts_with(line)), "{line} in\n{env}");
    }
    assert!(rpm.ok(&["describe", "a"]).contains("│ there "), "describe shows NODE_ENV");
}

#[test]
fn as_pm2_the_files_are_pm2s() {
    let rpm = Rpm::as_pm2();
    rpm.ok(&["start", &app("idle.sh"), "--name", "gone"]);
    rpm.ok(&["delete", "gone"]);
    assert!(!rpm.home().join("rpm.log").exists());
    let log = std::fs::read_to_string(rpm.home().join("pm2.log")).expect("PM2's log");
    assert!(log.contains("[gone:0] delete"), "a deleted app keeps its name: {log}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &rpm.home().join("pids").metadata().expect("it is there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(rpm.ok(&["-v"]), concat!(env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_forced_reload_does_not_wait_for_the_one_before() {
    let rpm = Rpm::new();
    let script = rpm.home().join("slow.js");
    let source = "setTimeout(() => require('http').createServer((q, a) => a.end('x')).listen(process.env.SOCKET), Number(process.env.BOOT))";
    std::fs::write(&script, source).expect("a script");
    let socket = rpm.home().join("s.sock");
    let command = |args: &[&str], boot: &str| {
        let mut command = rpm.command(args);
        command.env("SOCKET", &socket).env("BOOT", boot);
        command
    };
    let started =
        command(&["start", &script.to_string_lossy(), "--name", "web", "-i", "1", "--listen-timeout", "20s"], "0")
            .output();
    assert!(started.expect("rpm runs").status.success());
    let mut first = command(&["reload", "web", "--update-env"], "60000").spawn().expect("rpm runs");
    rpm_tests::until("the first reload", || {
        let list: serde_json::Value = serde_json::from_str(&rpm.ok(&["list", "--json"])).expect("JSON");
        list["apps"][0]["rolling"] == true
    });
    assert!(rpm.fails(&["reload", "web"]).contains("already in progress"));
    let second = command(&["reload", "web", "-f", "--update-env"], "0").output().expect("rpm runs");
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(first.wait().expect("an end").code(), Some(1), "it was overtaken");
}

/// Reads all files below a directory.
fn texts_below(directory: &std::path::Path, texts: &mut String) {
    for entry in std::fs::read_dir(directory).expect("the tests are there").flatten() {
        if entry.path().is_dir() {
            texts_below(&entry.path(), texts);
        } else {
            texts.push_str(&String::from_utf8_lossy(&std::fs::read(entry.path()).expect("a test can be read")));
        }
    }
}

#[test]
fn every_command_is_run_by_a_test() {
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = String::new();
    for suite in ["e2e", "conformance/scenarios", "chaos"] {
        texts_below(&tests.join(suite), &mut texts);
    }
    let commands = Rpm::new().ok(&["completion", "--", "rpm", ""]);
    // In Rust a word of its own, in a scenario the one after the program.
    let is_run = |command: &str| texts.contains(&format!("\"{command}\"")) || texts.contains(&format!("pm2 {command}"));
    let untested: Vec<&str> = commands.lines().filter(|command| !is_run(command)).collect();
    assert!(commands.lines().count() > 50 && untested.is_empty(), "no test runs {untested:?}\n{commands}");
}

#[test]
fn other_names_of_a_command_mean_it() {
    let rpm = Rpm::new();
    let help = |command: &str| rpm.ok(&[command, "--help"]);
    for (other, command) in [
        ("dash", "monit"),
        ("dashboard", "monit"),
        ("docker", "runtime"),
        ("expose", "serve"),
        ("module:install", "install"),
        ("module:uninstall", "uninstall"),
    ] {
        assert_eq!(help(other).lines().next(), help(command).lines().next(), "{other} is {command}");
    }
}
