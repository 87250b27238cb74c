//! What lies in the state directory when a daemon starts: left behind, damaged, planted.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rpm_tests::{is_alive, until};
use rustix::process::Signal;

use crate::scenario::{May, Scenario, Setup};
use crate::stage::Stage;

const IDLE: Setup = Setup { name: "bystander", script: "idle.sh", options: &[], promised: 1 };
const OUTAGES: &[May] = &[May::Outages];

pub(crate) const TABLE: &[Scenario] = &[
    Scenario::new("stale_socket_and_locks", &[], stale_files),
    Scenario::new("pid_files_that_name_an_innocent", &[], innocent_pids).may(&[May::Outages, May::Forget]),
    Scenario::new("a_state_that_names_an_innocent", &[], innocent_in_state).may(OUTAGES),
    Scenario::new("state_truncated", &[IDLE], state_truncated).may(OUTAGES),
    Scenario::new("state_garbage", &[IDLE], state_garbage).may(OUTAGES),
    Scenario::new("state_and_its_backup_damaged", &[IDLE], state_both).may(OUTAGES),
    Scenario::new("state_of_a_newer_version", &[IDLE], state_newer).may(OUTAGES),
    Scenario::new("state_is_a_directory", &[IDLE], state_directory).may(OUTAGES),
    Scenario::new("state_with_unknown_fields", &[IDLE], state_unknown_fields).may(OUTAGES),
    Scenario::new("every_copy_of_the_state_lost", &[], state_lost).may(&[May::Outages, May::Forget]),
    Scenario::new("every_copy_of_the_state_lost_at_once", &[], state_lost_at_once).may(&[May::Outages, May::Forget]),
    Scenario::new("dump_truncated", &[], dump_truncated),
    Scenario::new("dump_garbage_without_backup", &[], dump_garbage),
    Scenario::new("dump_and_its_backup_damaged", &[IDLE], dump_both),
    Scenario::new("dump_of_a_newer_version", &[], dump_newer),
    Scenario::new("dump_is_a_directory", &[IDLE], dump_directory),
    Scenario::new("links_planted_for_every_file", &[], links).may(OUTAGES),
    Scenario::new("links_planted_for_logs_and_pids", &[], log_links),
    Scenario::new("a_home_that_others_can_write_to", &[], writable_home),
    Scenario::new("a_home_of_another_user", &[], foreign_home).root(),
    Scenario::new("a_home_that_is_a_file", &[], file_home),
    Scenario::new("modes_of_files", &[IDLE], modes).may(OUTAGES),
    Scenario::new("files_deleted_while_it_runs", &[IDLE], deleted_files),
    Scenario::new("socket_deleted_while_it_runs", &[IDLE], deleted_socket).may(OUTAGES),
    Scenario::new("home_deleted_while_it_runs", &[IDLE], deleted_home).may(OUTAGES),
];

fn stale_files(stage: &mut Stage) {
    let home = stage.rpm.home().to_owned();
    drop(std::os::unix::net::UnixListener::bind(home.join("rpm.sock")).expect("a socket"));
    for name in ["launch.lock", "keeper.lock", "rpm.pid", "keeper.pid"] {
        fs::write(home.join(name), "garbage\n").expect("a file");
    }
    stage.start("a", "idle.sh", &[]);
    stage.settle();
    assert_eq!(stage.mains("a").len(), 1);
}

/// What a pid file says is never believed: its number may belong to anybody by now.
fn innocent_pids(stage: &mut Stage) {
    let innocent = stage.innocent();
    let home = stage.rpm.home().to_owned();
    fs::create_dir(home.join("pids")).expect("a directory");
    let plant = || {
        for name in ["rpm.pid", "keeper.pid", "pids/a-0.pid", "pids/a.pid"] {
            fs::write(home.join(name), innocent.to_string()).expect("a file");
        }
    };
    plant();
    stage.run(&["kill"]);
    stage.start("a", "idle.sh", &[]);
    for args in [&["restart", "a"][..], &["stop", "a"], &["delete", "a"]] {
        fs::write(home.join("pids/a-0.pid"), innocent.to_string()).expect("a file");
        stage.ok(args);
    }
    stage.start("a", "idle.sh", &[]);
    let daemon = stage.rpm.daemon_pid();
    let keeper = stage.rpm.keeper_pid();
    plant();
    stage.signal_own(daemon, Signal::KILL);
    stage.ok(&["ping"]);
    plant();
    stage.ok(&["kill"]);
    until("the keeper to leave", || !is_alive(keeper));
    stage.innocents_live();
}

/// The pid of a worker in the state may have been given to somebody else since.
fn innocent_in_state(stage: &mut Stage) {
    let innocent = stage.innocent();
    stage.start("a", "idle.sh", &[]);
    let worker = stage.mains("a")[0];
    std::thread::sleep(std::time::Duration::from_millis(120));
    let state = fs::read_to_string(stage.rpm.home().join("state.json")).expect("a state");
    // A stopped daemon starts no other keeper.
    let daemon = stage.rpm.daemon_pid();
    stage.signal_own(daemon, Signal::STOP);
    for pid in [stage.rpm.keeper_pid(), daemon, worker] {
        stage.signal_own(pid, Signal::KILL);
    }
    until("the end of everything", || stage.processes().is_empty());
    assert!(state.contains(&worker.to_string()), "the state names its processes");
    fs::write(stage.rpm.home().join("state.json"), state.replace(&worker.to_string(), &innocent.to_string()))
        .expect("a file");
    stage.ok(&["ping"]);
    stage.settle();
    stage.run(&["restart", "all"]);
    stage.run(&["delete", "all"]);
    stage.innocents_live();
}

/// Lets the daemon die, and its successor find what `change` makes of a file. The keeper is stopped meanwhile.
fn found(stage: &mut Stage, change: impl FnOnce(&Path)) {
    let (keeper, daemon) = (stage.rpm.keeper_pid(), stage.rpm.daemon_pid());
    stage.signal_own(keeper, Signal::STOP);
    stage.signal_own(daemon, Signal::KILL);
    until("the death", || !is_alive(daemon));
    change(stage.rpm.home());
    stage.signal_own(keeper, Signal::CONT);
    until("the next daemon", || stage.pid_in("rpm.pid").is_some_and(|pid| pid != daemon && is_alive(pid)));
    stage.daemon_answers();
    stage.settle();
}

/// What runs goes on, is listed under its name, and can be commanded.
fn goes_on(stage: &Stage, worker: i32) {
    assert_eq!(stage.mains("bystander"), [worker], "the worker was disturbed");
    assert_eq!(stage.rpm.pids("bystander"), [worker], "the worker is not known any more");
}

/// Waits until the second copy knows the app, too.
fn second_copy(stage: &Stage) {
    until("the second copy of the state", || {
        let copy = fs::read_to_string(stage.rpm.home().join("state.json.bak")).unwrap_or_default();
        copy.contains("bystander")
    });
}

fn kept_aside(stage: &Stage, content: &[u8]) {
    let entries: Vec<_> = fs::read_dir(stage.rpm.home()).expect("the home").flatten().collect();
    let kept = entries.iter().find(|entry| fs::read(entry.path()).is_ok_and(|bytes| bytes == content));
    let kept = kept.unwrap_or_else(|| panic!("the file is gone; there are {entries:?}"));
    let name = kept.file_name().to_string_lossy().into_owned();
    assert!(name.starts_with("state.json"), "kept as {name}");
    assert!(stage.rpm.daemon_log().contains(&name), "the log does not name {name}");
}

fn broken_state(stage: &mut Stage, content: &[u8]) {
    let worker = stage.mains("bystander")[0];
    found(stage, |home| fs::write(home.join("state.json"), content).expect("a file"));
    goes_on(stage, worker);
    kept_aside(stage, content);
}

fn state_truncated(stage: &mut Stage) {
    second_copy(stage);
    let whole = fs::read(stage.rpm.home().join("state.json")).expect("a state");
    let times = stage.times(6, whole.len());
    for turn in 0..times {
        let length = if times == whole.len() { turn } else { stage.random.below(whole.len() as u64) as usize };
        broken_state(stage, &whole[..length]);
    }
}

fn state_garbage(stage: &mut Stage) {
    second_copy(stage);
    broken_state(stage, b"\xff\xfe\0garbage");
    broken_state(stage, &b"[".repeat(100_000));
    broken_state(stage, b"{}");
}

/// No file can be read any more. The keeper has a copy that is no file.
fn state_both(stage: &mut Stage) {
    let worker = stage.mains("bystander")[0];
    for (first, second) in [("garbage", "rubbish"), (" ", "{\"version\":1"), ("\0\0\0\0", "{\"version\":99}")] {
        // What follows a daemon's start is in all the copies.
        second_copy(stage);
        found(stage, |home| {
            fs::write(home.join("state.json"), first).expect("a file");
            fs::write(home.join("state.json.bak"), second).expect("a file");
        });
        goes_on(stage, worker);
        kept_aside(stage, first.as_bytes());
        kept_aside(stage, second.as_bytes());
        assert!(stage.rpm.daemon_log().contains("what the keeper remembers of"), "it is not told what was used");
    }
    stage.release("bystander");
    stage.ok(&["restart", "bystander"]);
    stage.ok(&["delete", "bystander"]);
    assert_eq!(stage.mains("bystander"), Vec::<i32>::new());
}

fn state_newer(stage: &mut Stage) {
    let text = fs::read_to_string(stage.rpm.home().join("state.json")).expect("a state");
    let newer = text.replacen("\"version\":1", "\"version\":99", 1);
    assert_ne!(newer, text);
    second_copy(stage);
    let worker = stage.mains("bystander")[0];
    found(stage, |home| fs::write(home.join("state.json"), &newer).expect("a file"));
    goes_on(stage, worker);
    kept_aside(stage, newer.as_bytes());
    assert!(stage.rpm.daemon_log().contains("version 99"), "the log does not tell of the version");
}

/// Nothing can be read from it or renamed over it.
fn state_directory(stage: &mut Stage) {
    second_copy(stage);
    let worker = stage.mains("bystander")[0];
    found(stage, |home| {
        fs::remove_file(home.join("state.json")).expect("a state");
        fs::create_dir_all(home.join("state.json/inside")).expect("a directory");
    });
    goes_on(stage, worker);
    stage.release("bystander");
    let size = |stage: &Stage| fs::metadata(stage.rpm.home().join("rpm.log")).map_or(0, |metadata| metadata.len());
    let before = size(stage);
    stage.ok(&["restart", "bystander"]);
    assert!(size(stage) - before < 100_000, "the log is flooded");
    assert!(stage.rpm.home().join("state.json").is_file(), "the state is not written any more");
}

/// What a newer daemon has written is kept for it: it may come back.
fn state_unknown_fields(stage: &mut Stage) {
    const PLACES: [&str; 6] = [
        "",
        "/saved",
        "/saved/apps/0",
        "/saved/apps/0/specs/0",
        "/saved/apps/0/specs/0/restart",
        "/saved/apps/0/seats/0",
    ];
    let worker = stage.mains("bystander")[0];
    let read = |home: &Path| -> serde_json::Value {
        let text = fs::read_to_string(home.join("state.json")).expect("a state");
        serde_json::from_str(&text).expect("JSON")
    };
    found(stage, |home| {
        let mut state = read(home);
        for place in PLACES {
            let object = state.pointer_mut(place).expect("it is there");
            object["from_the_future"] = serde_json::json!({"a": [1, place]});
        }
        fs::write(home.join("state.json"), state.to_string()).expect("a file");
    });
    goes_on(stage, worker);
    assert!(!stage.rpm.home().join("state.json.broken").exists(), "an unknown field is no damage");
    stage.start("another", "idle.sh", &[]);
    let kept = || {
        let state = read(stage.rpm.home());
        let is_kept = |place: &&str| state.pointer(place).is_some_and(|at| at["from_the_future"]["a"][1] == **place);
        PLACES.iter().all(is_kept) && state.to_string().contains("another")
    };
    assert!(kept(), "the fields are lost: {}", read(stage.rpm.home()));
    stage.rpm.kill_daemon();
    stage.ok(&["restart", "another"]);
    assert!(kept(), "the fields are lost: {}", read(stage.rpm.home()));
    stage.ok(&["save"]);
    let list = fs::read_to_string(stage.rpm.home().join("dump.json")).expect("a list");
    assert!(list.contains("from_the_future"), "{list}");
}

fn remove_state(home: &Path) {
    for name in ["state.json", "state.json.bak"] {
        let _there_or_not = fs::remove_file(home.join(name));
    }
}

/// Nobody can say any more what runs. It is not left behind, where it could be neither listed nor stopped, and would be
/// doubled by the next start: it is ended, and that is told.
fn ended_and_told(stage: &mut Stage, workers: &[i32]) {
    until("the end of those whom nobody knows", || !workers.iter().any(|pid| is_alive(*pid)));
    stage.settle();
    let log = stage.rpm.daemon_log();
    assert!(log.contains("(a) is of an app that nobody knows any more"), "{log}");
    assert!(stage.ok(&["events"]).contains("nobody knows any more"));
    stage.ok(&["resurrect"]);
    stage.settle();
    assert_eq!(stage.mains("a").len(), 2);
}

/// Keeper and daemon are killed, and what is on the disk is gone.
fn state_lost(stage: &mut Stage) {
    stage.start("a", "idle.sh", &["-i", "2"]);
    stage.watch.list_ms.store(2000, std::sync::atomic::Ordering::Relaxed);
    stage.ok(&["save"]);
    let workers = stage.mains("a");
    // A stopped daemon starts no other keeper.
    let daemon = stage.rpm.daemon_pid();
    stage.signal_own(daemon, Signal::STOP);
    for pid in [stage.rpm.keeper_pid(), daemon] {
        stage.signal_own(pid, Signal::KILL);
    }
    until("the death of both", || !is_alive(daemon));
    remove_state(stage.rpm.home());
    stage.ok(&["ping"]);
    ended_and_told(stage, &workers);
}

/// The daemon dies before the keeper has its copy, and what is on the disk is gone.
fn state_lost_at_once(stage: &mut Stage) {
    stage.let_die();
    stage.start("a", "idle.sh", &["-i", "2"]);
    stage.ok(&["save"]);
    stage.ok(&["kill"]);
    until("the end of everything", || stage.processes().is_empty());
    stage.ok(&["ping"]);
    let (keeper, daemon) = (stage.rpm.keeper_pid(), stage.rpm.daemon_pid());
    fs::write(stage.points().join(rpm_sys::fail::ARMED), "daemon.state.copied 1").expect("a file");
    stage.signal_own(keeper, Signal::STOP);
    let script = crate::stage::script("idle.sh");
    let start = stage.spawn(&["start", &script, "--name", "a", "-i", "2"]);
    let died = || !is_alive(daemon);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !died() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    if !died() {
        stage.signal_own(keeper, Signal::CONT);
        stage.finish_command(start, "start");
        return stage.skip("a release build has no points");
    }
    remove_state(stage.rpm.home());
    stage.signal_own(keeper, Signal::CONT);
    stage.finish_command(start, "start");
    ended_and_told(stage, &[]);
}

/// Saves two lists, so that there is a backup; returns the newer one.
fn two_saves(stage: &mut Stage) -> String {
    stage.start("a", "idle.sh", &[]);
    // The list is forced to the disk while others wait.
    stage.watch.list_ms.store(2000, std::sync::atomic::Ordering::Relaxed);
    stage.ok(&["save"]);
    stage.ok(&["save"]);
    stage.ok(&["delete", "a"]);
    fs::read_to_string(stage.rpm.home().join("dump.json")).expect("a list")
}

fn resurrected_from_backup(stage: &mut Stage, content: &str) {
    let path = stage.rpm.home().join("dump.json");
    fs::write(&path, content).expect("a file");
    let output = stage.run(&["resurrect"]);
    let (out, err) = crate::stage::texts(&output);
    assert!(output.status.success(), "{content:?}: {out}{err}");
    assert!(err.contains("dump.json") && err.contains(".bak"), "it is not told which list was used: {out}{err}");
    stage.settle();
    assert_eq!(stage.mains("a").len(), 1);
    stage.ok(&["delete", "a"]);
}

fn dump_truncated(stage: &mut Stage) {
    stage.watch.counters.store(false, std::sync::atomic::Ordering::Relaxed);
    let whole = two_saves(stage);
    let times = stage.times(6, whole.len() - 2);
    for turn in 0..times {
        let length = if times > 6 { turn } else { stage.random.below(whole.len() as u64 - 2) as usize };
        resurrected_from_backup(stage, &whole[..length]);
    }
}

fn dump_newer(stage: &mut Stage) {
    stage.watch.counters.store(false, std::sync::atomic::Ordering::Relaxed);
    let whole = two_saves(stage);
    let newer = whole.replacen("\"version\": 1", "\"version\": 99", 1);
    assert_ne!(whole, newer);
    resurrected_from_backup(stage, &newer);
}

fn dump_garbage(stage: &mut Stage) {
    stage.ok(&["ping"]);
    for content in ["", "garbage", "{\"version\":1}", "[1,2]", "null"] {
        fs::write(stage.rpm.home().join("dump.json"), content).expect("a file");
        let why = stage.fails(&["resurrect"]);
        assert!(why.contains("dump.json"), "the file is not named: {why}");
        assert_eq!(fs::read_to_string(stage.rpm.home().join("dump.json")).expect("kept"), content);
    }
}

/// Refused, and what runs is not touched.
fn dump_both(stage: &mut Stage) {
    let worker = stage.mains("bystander")[0];
    let home = stage.rpm.home().to_owned();
    for (first, second) in [("garbage", "rubbish"), ("", "\0\0"), ("{\"version\":99}", "{\"version\":1,\"apps\":[")] {
        fs::write(home.join("dump.json"), first).expect("a file");
        fs::write(home.join("dump.json.bak"), second).expect("a file");
        let why = stage.fails(&["resurrect"]);
        assert!(
            why.contains("dump.json cannot") && why.contains("dump.json.bak cannot"),
            "both are to be named: {why}"
        );
        assert_eq!(fs::read_to_string(home.join("dump.json")).expect("kept"), first);
        assert_eq!(fs::read_to_string(home.join("dump.json.bak")).expect("kept"), second);
        goes_on(stage, worker);
    }
    stage.watch.list_ms.store(2000, std::sync::atomic::Ordering::Relaxed);
    let (out, err) = crate::stage::texts(&stage.run(&["save"]));
    let kept = fs::read_to_string(home.join("dump.json.broken")).expect("the broken list is kept");
    assert_eq!(kept, "{\"version\":99}");
    assert!(format!("{out}{err}").contains("dump.json.broken"), "it is not named: {out}{err}");
    stage.ok(&["resurrect"]);
    goes_on(stage, worker);
}

fn dump_directory(stage: &mut Stage) {
    fs::create_dir_all(stage.rpm.home().join("dump.json/inside")).expect("a directory");
    let why = stage.fails(&["save"]);
    assert!(why.contains("dump.json"), "the file is not named: {why}");
    let why = stage.fails(&["resurrect"]);
    assert!(why.contains("dump.json"), "the file is not named: {why}");
}

/// Nothing is written through a link, wherever it is planted.
fn links(stage: &mut Stage) {
    let home = stage.rpm.home().to_owned();
    let victim = stage.scratch.path().join("victim");
    for name in [
        "rpm.log",
        "launch.lock",
        "keeper.lock",
        "rpm.pid",
        "keeper.pid",
        "state.json",
        "dump.json",
        "dump.json.bak",
        "rpm.sock",
        "settings.json",
        "state.json.broken",
        "state.json.bak",
    ] {
        fs::write(&victim, "untouched").expect("a file");
        symlink(&victim, home.join(name)).expect("a link");
        let script = crate::stage::script("idle.sh");
        // Refused or done; what counts is the victim.
        stage.run(&["start", &script, "--name", "a"]);
        stage.run(&["save"]);
        stage.run(&["save"]);
        stage.run(&["kill"]);
        until("the end of everything", || stage.processes().is_empty());
        assert_eq!(fs::read_to_string(&victim).expect("it is there"), "untouched", "written through {name}");
        let mode = fs::metadata(&victim).expect("it is there").mode();
        assert_eq!(mode & 0o777, 0o644, "the mode was changed through {name}");
        for entry in fs::read_dir(&home).expect("the home").flatten() {
            let _file_or_directory = fs::remove_file(entry.path()).or_else(|_| fs::remove_dir_all(entry.path()));
        }
    }
}

fn log_links(stage: &mut Stage) {
    let home = stage.rpm.home().to_owned();
    let victim = stage.scratch.path().join("victim");
    fs::write(&victim, "untouched").expect("a file");
    for directory in ["logs", "pids"] {
        fs::create_dir(home.join(directory)).expect("a directory");
    }
    for name in ["logs/a-out.log", "logs/a-error.log", "logs/a.log", "pids/a-0.pid", "pids/a.pid"] {
        symlink(&victim, home.join(name)).expect("a link");
    }
    let script = crate::stage::script("idle.sh");
    stage.run(&["start", &script, "--name", "a"]);
    stage.run(&["flush"]);
    stage.run(&["restart", "a"]);
    stage.run(&["start", &script, "--name", "b", "--time"]);
    stage.run(&["delete", "all"]);
    assert_eq!(fs::read_to_string(&victim).expect("it is there"), "untouched");
}

fn writable_home(stage: &mut Stage) {
    for mode in [0o777, 0o770, 0o707] {
        fs::set_permissions(stage.rpm.home(), fs::Permissions::from_mode(mode)).expect("it is ours");
        let why = stage.fails(&["list"]);
        assert!(why.contains("can be written by others"), "{why}");
    }
    fs::set_permissions(stage.rpm.home(), fs::Permissions::from_mode(0o700)).expect("it is ours");
}

fn foreign_home(stage: &mut Stage) {
    std::os::unix::fs::chown(stage.rpm.home(), Some(12345), Some(12345)).expect("root may");
    let why = stage.fails(&["list"]);
    assert!(why.contains("belongs to another user"), "{why}");
    std::os::unix::fs::chown(stage.rpm.home(), Some(0), Some(0)).expect("root may");
}

fn file_home(stage: &mut Stage) {
    let file = stage.scratch.path().join("file");
    fs::write(&file, "").expect("a file");
    for home in [file.clone(), file.join("below")] {
        let output = stage.command(&["list"]).env("RPM_HOME", &home).output().expect("rpm runs");
        let (_, err) = crate::stage::texts(&output);
        assert!(!output.status.success() && err.contains("file"), "{err}");
    }
}

/// Directories 0700, files 0600: they hold environments.
fn modes(stage: &mut Stage) {
    stage.start("timed", "idle.sh", &["--time"]);
    // The list is forced to the disk while others wait.
    stage.watch.list_ms.store(2000, std::sync::atomic::Ordering::Relaxed);
    stage.ok(&["save"]);
    stage.ok(&["save"]);
    stage.rpm.kill_daemon();
    let mut directories = vec![stage.rpm.home().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory").flatten() {
            let metadata = entry.metadata().expect("it is there");
            let (mode, path) = (metadata.mode() & 0o777, entry.path());
            if metadata.is_dir() {
                assert_eq!(mode, 0o700, "{}", path.display());
                directories.push(path);
            } else {
                assert_eq!(mode & 0o177, 0, "{} has mode {mode:o}", path.display());
            }
        }
    }
}

/// Somebody tidies up too much. What runs goes on; what is needed is made again.
fn deleted_files(stage: &mut Stage) {
    let worker = stage.mains("bystander")[0];
    for name in ["state.json", "rpm.log", "logs", "pids"] {
        let path = stage.rpm.home().join(name);
        let _file_or_directory = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
    stage.start("another", "idle.sh", &[]);
    stage.settle();
    assert_eq!(stage.mains("bystander"), [worker]);
    until("the state", || stage.rpm.home().join("state.json").exists());
    stage.watch.outages.store(true, std::sync::atomic::Ordering::Relaxed);
    stage.rpm.kill_daemon();
    stage.settle();
    assert_eq!(stage.mains("bystander"), [worker]);
}

/// Without its socket the daemon can be told nothing, and there cannot be another one beside it.
fn deleted_socket(stage: &mut Stage) {
    let (worker, daemon) = (stage.mains("bystander")[0], stage.rpm.daemon_pid());
    let socket = stage.rpm.home().join("rpm.sock");
    for _ in 0..3 {
        fs::remove_file(&socket).expect("it is there");
        until("the socket", || socket.exists());
        goes_on(stage, worker);
    }
    fs::rename(&socket, stage.rpm.home().join("elsewhere")).expect("it is there");
    until("the socket", || socket.exists());
    fs::remove_file(stage.rpm.home().join("elsewhere")).expect("it is there");
    goes_on(stage, worker);
    assert_eq!(stage.rpm.daemon_pid(), daemon);
    stage.rpm.kill_daemon();
    fs::remove_file(&socket).expect("it is there");
    until("the socket", || socket.exists());
    goes_on(stage, worker);
}

/// `rm -r` of everything, which is how people clean up: what runs can still be listed, and stopped.
fn deleted_home(stage: &mut Stage) {
    let (worker, home) = (stage.mains("bystander")[0], stage.rpm.home().to_owned());
    let keeper = stage.rpm.keeper_pid();
    // The socket may be there again before the directory is gone.
    let _gone_or_in_use = fs::remove_dir_all(&home);
    until("the socket", || home.join("rpm.sock").exists());
    goes_on(stage, worker);
    until("the state", || home.join("state.json").exists());
    stage.release("bystander");
    stage.ok(&["restart", "bystander"]);
    stage.settle();
    stage.ok(&["kill"]);
    until("the end of everything", || stage.processes().is_empty() && !is_alive(keeper));
}
