//! Disks that are full or may not be written to; output that no log expects.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rpm_tests::{is_alive, until};
use rustix::process::Signal;

use crate::processes::Process;
use crate::scenario::{May, Scenario, Setup};
use crate::stage::{Stage, script, texts};

const IDLE: Setup = Setup { name: "bystander", script: "idle.sh", options: &[], promised: 1 };

pub(crate) const TABLE: &[Scenario] = &[
    Scenario::new("home_on_a_full_disk", &[], full_disk).may(&[May::Outages]).root(),
    Scenario::new("first_start_on_a_full_disk", &[], full_from_the_start).may(&[May::Outages]).root(),
    Scenario::new("home_becomes_read_only", &[], read_only).may(&[May::Outages]).root(),
    Scenario::new("first_start_in_a_read_only_home", &[], read_only_from_the_start).root(),
    Scenario::new("logs_directory_is_removed", &[IDLE], logs_removed),
    Scenario::new("an_endless_line_of_output", &[IDLE], endless_line),
    Scenario::new("bytes_that_are_no_text", &[IDLE], odd_bytes),
    Scenario::new("a_flood_of_output", &[IDLE], flood),
];

fn fill(directory: &std::path::Path) {
    let mut file = fs::File::create(directory.join("filler")).expect("a file");
    let chunk = [0; 4096];
    while std::io::Write::write_all(&mut file, &chunk).is_ok() {}
    let mut rest = fs::File::create(directory.join("filler2")).ok();
    while rest.as_mut().is_some_and(|rest| std::io::Write::write_all(rest, &[0]).is_ok()) {}
}

/// What runs goes on, what is refused is refused with a reason, and once there is room everything is as before.
fn full_disk(stage: &mut Stage) {
    let home = stage.rpm.home().to_owned();
    if !stage.mount_small(&home, "1m") {
        return;
    }
    stage.start("a", "idle.sh", &[]);
    let worker = stage.mains("a");
    fill(&home);
    stage.ok(&["list"]);
    let why = stage.fails(&["save"]);
    assert!(why.contains("dump.json") && why.contains("space"), "{why}");
    let output = stage.run(&["start", &script("idle.sh"), "--name", "b"]);
    let (_, err) = texts(&output);
    assert!(output.status.success() || !err.is_empty(), "refused without a word");
    stage.run(&["restart", "a"]);
    stage.settle();
    assert_eq!(stage.mains("a").len(), worker.len());
    let worker = stage.mains("a");
    // What the disk does not take the keeper has.
    let others = stage.mains("b");
    assert_eq!(others.len(), usize::from(output.status.success()), "started or refused: {err}");
    kill_daemon_without_file(stage);
    stage.settle();
    assert_eq!((stage.mains("a"), stage.mains("b")), (worker.clone(), others.clone()));
    stage.run(&["start", &script("idle.sh"), "--name", "c"]);
    stage.run(&["delete", "c"]);
    kill_daemon_without_file(stage);
    stage.settle();
    assert_eq!((stage.mains("a"), stage.mains("b"), stage.mains("c")), (worker.clone(), others.clone(), vec![]));
    for file in ["filler", "filler2"] {
        let _made_or_not = fs::remove_file(home.join(file));
    }
    stage.ok(&["save"]);
    until("the state to be written", || {
        let state = fs::read_to_string(home.join("state.json")).unwrap_or_default();
        state.contains(&worker[0].to_string())
    });
    kill_daemon_without_file(stage);
    stage.settle();
    assert_eq!((stage.mains("a"), stage.mains("b")), (worker, others));
}

/// Kills the daemon, whose file may name one before it: the disk did not take its own.
fn kill_daemon_without_file(stage: &Stage) {
    let keeper = stage.rpm.keeper_pid();
    let is_daemon = |process: &&Process| process.life.is_none() && process.parent == keeper;
    let daemon = stage.processes().iter().find(is_daemon).expect("a daemon runs").pid;
    stage.signal_own(daemon, Signal::KILL);
    until("the death of the daemon", || !is_alive(daemon));
    stage.daemon_answers();
}

fn full_from_the_start(stage: &mut Stage) {
    let home = stage.rpm.home().to_owned();
    if !stage.mount_small(&home, "256k") {
        return;
    }
    fill(&home);
    let output = stage.run(&["start", &script("idle.sh"), "--name", "a"]);
    let (_, err) = texts(&output);
    assert!(output.status.success() || err.contains("space"), "{err}");
    for file in ["filler", "filler2"] {
        let _made_or_not = fs::remove_file(home.join(file));
    }
    stage.run(&["delete", "a"]);
    stage.start("a", "idle.sh", &[]);
}

/// Runs rpm as a user without rights. The home belongs to that user.
pub(crate) fn as_nobody(stage: &Stage, args: &[&str]) -> Command {
    let rpm = stage.command(args);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
    command.arg(rpm.get_program()).args(rpm.get_args());
    for (name, value) in rpm.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir("/").stdin(Stdio::null());
    command
}

pub(crate) fn give_to_nobody(stage: &Stage) {
    std::os::unix::fs::chown(stage.rpm.home(), Some(65534), Some(65534)).expect("root may");
}

/// Back to us, who clean up.
pub(crate) fn take_back(stage: &Stage) {
    let _gone_is_as_good = as_nobody(stage, &["kill"]).output();
    until("the end of everything", || stage.processes().is_empty());
    std::os::unix::fs::chown(stage.rpm.home(), Some(0), Some(0)).expect("root may");
}

/// The binary may lie where only root can come.
pub(crate) fn nobody_can_run(stage: &mut Stage) -> bool {
    if !stage.may_change_user() {
        return false;
    }
    let can = as_nobody(stage, &["--version"]).output().is_ok_and(|output| output.status.success());
    if !can {
        stage.skip("another user cannot run the program where it lies");
    }
    can
}

fn set_mode(stage: &Stage, mode: u32) {
    fs::set_permissions(stage.rpm.home(), fs::Permissions::from_mode(mode)).expect("root may");
}

fn read_only(stage: &mut Stage) {
    if !nobody_can_run(stage) {
        return;
    }
    give_to_nobody(stage);
    stage.stop_observing();
    let run = |stage: &Stage, args: &[&str]| texts(&as_nobody(stage, args).output().expect("rpm runs"));
    let script = format!("{}/idle.sh", stage.scratch.path().display());
    fs::copy(crate::stage::script("idle.sh"), &script).expect("a copy");
    fs::set_permissions(stage.scratch.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let said = run(stage, &["start", &script, "--name", "a"]);
    let worker = stage.mains("a");
    assert_eq!(worker.len(), 1, "{said:?}");
    set_mode(stage, 0o500);
    let (_, err) = run(stage, &["save"]);
    assert!(err.contains("dump.json") && err.to_lowercase().contains("permission"), "{err}");
    let (_, err) = run(stage, &["restart", "a"]);
    assert!(!err.contains("panicked"), "{err}");
    until("the app", || stage.mains("a").len() == 1);
    set_mode(stage, 0o700);
    let (_, err) = run(stage, &["save"]);
    assert!(stage.rpm.home().join("dump.json").exists(), "{err}");
    take_back(stage);
}

fn read_only_from_the_start(stage: &mut Stage) {
    if !nobody_can_run(stage) {
        return;
    }
    give_to_nobody(stage);
    set_mode(stage, 0o500);
    stage.stop_observing();
    let output = as_nobody(stage, &["ping"]).output().expect("rpm runs");
    let (_, err) = texts(&output);
    assert!(!output.status.success(), "it cannot work");
    assert!(err.to_lowercase().contains("permission"), "{err}");
    assert!(err.contains(&*stage.rpm.home().to_string_lossy()), "the directory is not named: {err}");
    set_mode(stage, 0o700);
    take_back(stage);
}

fn logs_removed(stage: &mut Stage) {
    fs::remove_dir_all(stage.rpm.home().join("logs")).expect("it is there");
    stage.ok(&["ping"]);
    stage.start("new", "idle.sh", &[]);
    assert!(stage.rpm.home().join("logs").is_dir());
    // Something else has the name.
    stage.ok(&["delete", "new"]);
    fs::remove_dir_all(stage.rpm.home().join("logs")).expect("it is there");
    fs::write(stage.rpm.home().join("logs"), "in the way").expect("a file");
    let why = stage.fails(&["start", &script("idle.sh"), "--name", "new"]);
    assert!(why.contains("logs"), "what is in the way is not named: {why}");
    fs::remove_file(stage.rpm.home().join("logs")).expect("it is there");
    stage.run(&["delete", "new"]);
    stage.start("new", "idle.sh", &[]);
}

/// Through the log thread: memory does not grow with the line.
fn endless_line(stage: &mut Stage) {
    let megabytes = stage.times(60, 500).to_string();
    stage.start("endless", "output.py", &["--time", "--", "endless", &megabytes]);
    until("its end", || stage.rpm.log("endless-error.log").contains("done"));
    stage.settle();
    stage.ok(&["delete", "endless"]);
}

fn odd_bytes(stage: &mut Stage) {
    for (name, options) in [("raw", &[][..]), ("timed", &["--time"]), ("json", &["--log-type", "json"])] {
        let mut args = options.to_vec();
        args.extend(["--", "bytes"]);
        stage.start(name, "output.py", &args);
        until("its end", || stage.rpm.log(&format!("{name}-error.log")).contains("done"));
    }
    until("the bytes", || {
        let log = fs::read(stage.rpm.home().join("logs/raw-out.log")).unwrap_or_default();
        log.len() == 25_601
    });
    let json = stage.rpm.log("json-out.log");
    for line in json.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    stage.ok(&["logs", "--nostream"]);
}

fn flood(stage: &mut Stage) {
    let seconds = stage.times(2, 20).to_string();
    stage.start("flood", "output.py", &["--time", "--", "flood", &seconds]);
    std::thread::sleep(Duration::from_secs(1));
    stage.ok(&["list"]);
    until("its end", || stage.rpm.log("flood-error.log").contains("done"));
    stage.ok(&["delete", "flood"]);
    let _big = fs::remove_file(stage.rpm.home().join("logs/flood-out.log"));
}
