//! `update`: keeper and daemon become another program; no request is lost, no worker replaced.

use std::time::Instant;

use rpm_tests::{Load, Rpm, app, free_port, until};

#[test]
fn an_update_loses_no_request_and_touches_no_worker() {
    let (rpm, port) = (Rpm::new(), free_port());
    let script = app("http.js");
    let started = rpm.command(&["start", &script, "--name", "web", "-i", "2"]).env("PORT", port.to_string()).output();
    assert!(started.expect("rpm runs").status.success());
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    let (pids, keeper) = (rpm.pids("web"), rpm.keeper_pid());

    let load = Load::start(port, "/?slow=5", 4);
    for _ in 0..2 {
        load.wait_for(30);
        let daemon = rpm.daemon_pid();
        let told = rpm.ok(&["update"]);
        assert!(told.contains("no app was touched"), "{told}");
        assert_ne!(rpm.daemon_pid(), daemon, "a new daemon");
        assert_eq!(rpm.keeper_pid(), keeper, "the keeper becomes the new program in place");
    }
    load.wait_for(30);
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!((rpm.pids("web"), rpm.restarts("web")), (pids.clone(), vec![0, 0]));

    // The new ones supervise for real, by PM2's name for the command too.
    rpm_tests::signal(pids[0], 9);
    rpm.until("a restart", "web", |list| {
        list[0]["pm2_env"]["restart_time"] == 1 && list[0]["pm2_env"]["status"] == "online"
    });
    rpm.ok(&["updatePM2"]);
    let load = Load::start(port, "/", 4);
    rpm.ok(&["reload", "web"]);
    assert_eq!(load.stop(), Vec::<String>::new());
    rpm.ok(&["stop", "idle"]);
}

/// It waited without a word, and was carried out whenever the keeper went on.
#[test]
fn an_update_by_a_keeper_that_is_stopped_is_refused_and_nothing_is_half_done() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    let (pids, keeper, daemon) = (rpm.pids("idle"), rpm.keeper_pid(), rpm.daemon_pid());
    rpm_tests::signal(keeper, 19);
    let told = rpm.fails(&["update"]);
    assert!(told.contains("is stopped (SIGSTOP)") && told.contains(&format!("kill -CONT {keeper}")), "{told}");
    assert!(told.contains("daemon and apps are as before"), "{told}");
    rpm_tests::signal(keeper, 18);
    rpm.ok(&["restart", "idle"]);
    assert_eq!((rpm.daemon_pid(), rpm.keeper_pid()), (daemon, keeper));
    assert_ne!(rpm.pids("idle"), pids);
    rpm.ok(&["update"]);
    assert_ne!(rpm.daemon_pid(), daemon);
}

#[test]
fn an_update_whose_keeper_falls_silent_is_told_after_ten_seconds_and_done_when_it_goes_on() {
    let rpm = Rpm::new();
    let points = tempfile::tempdir().expect("a directory");
    let mut start = rpm.command(&["start", &app("idle.sh"), "--name", "idle"]);
    let started = start.env(rpm_sys::fail::VAR, points.path()).output().expect("rpm runs");
    assert!(started.status.success(), "{started:?}");
    let (pids, keeper, daemon) = (rpm.pids("idle"), rpm.keeper_pid(), rpm.daemon_pid());
    std::fs::write(points.path().join(rpm_sys::fail::ARMED), "keeper.got.upgrade stop").expect("a file");
    let began = Instant::now();
    let told = rpm.fails(&["update"]);
    assert!((10..20).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert!(told.contains("does not answer: it is stopped (SIGSTOP)"), "{told}");
    assert!(told.contains(&format!("what was asked is done when it goes on: kill -CONT {keeper}")), "{told}");
    rpm_tests::signal(keeper, 18);
    until("the next daemon", || rpm.daemon_pid() != daemon);
    assert_eq!((rpm.pids("idle"), rpm.keeper_pid()), (pids, keeper));
}

#[test]
fn an_update_starts_a_daemon_where_there_is_none() {
    let rpm = Rpm::new();
    rpm.ok(&["update"]);
    assert!(rpm_tests::is_alive(rpm.daemon_pid()));
}

#[test]
fn they_become_the_program_that_asks() {
    let (rpm, place) = (Rpm::new(), tempfile::tempdir().expect("a directory"));
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    let pids = rpm.pids("idle");
    let program = |pid: i32| std::fs::read_link(format!("/proc/{pid}/exe")).expect("a process has a program");
    let newer = place.path().join("rpm");
    std::fs::copy(program(rpm.keeper_pid()), &newer).expect("a copy");
    let output = std::process::Command::new(&newer).arg("update").env("RPM_HOME", rpm.home()).output();
    assert!(output.expect("the copy runs").status.success());
    assert_eq!((program(rpm.keeper_pid()), program(rpm.daemon_pid())), (newer.clone(), newer));
    assert_eq!(rpm.pids("idle"), pids);
}

/// The keeper started the file of that name again and again, and every command waited for ten seconds in vain.
#[test]
fn a_program_that_breaks_afterwards_takes_nothing_with_it() {
    let (rpm, place) = (Rpm::new(), tempfile::tempdir().expect("a directory"));
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    let pids = rpm.pids("idle");
    let (newer, good) = (place.path().join("rpm"), place.path().join("good"));
    let exe = |pid: i32| std::fs::read_link(format!("/proc/{pid}/exe")).expect("a process has a program");
    for file in [&newer, &good] {
        std::fs::copy(exe(rpm.keeper_pid()), file).expect("a copy");
    }
    let update = || std::process::Command::new(&newer).arg("update").env("RPM_HOME", rpm.home()).output();
    assert!(update().expect("the copy runs").status.success());
    for (bytes, mode) in [("garbage", 0o755), ("garbage", 0o644)] {
        let broken = place.path().join("broken");
        std::fs::write(&broken, bytes).expect("a file");
        std::fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("its mode");
        std::fs::rename(&broken, &newer).expect("it takes the place");
        let (keeper, daemon) = (rpm.keeper_pid(), rpm.daemon_pid());
        rpm.kill_daemon();
        rpm_tests::signal(keeper, 9);
        until("another keeper", || rpm.keeper_pid() != keeper);
        rpm.ok(&["restart", "idle"]);
        assert_ne!(rpm.daemon_pid(), daemon);
        assert!(pids.iter().all(|pid| !rpm_tests::is_alive(*pid)));
    }
    assert_eq!(rpm.restarts("idle"), [2]);
    std::fs::rename(&good, &newer).expect("it is whole again");
    assert!(update().expect("the copy runs").status.success());
    assert_eq!((exe(rpm.keeper_pid()), exe(rpm.daemon_pid())), (newer.clone(), newer.clone()));
    rpm.ok(&["kill"]);
}

#[test]
fn no_log_line_is_lost_or_doubled() {
    let rpm = Rpm::new();
    let started = rpm
        .command(&["start", &app("lines.sh"), "--name", "lines", "--time"])
        .env("LINES_WANTED", "2000")
        .output()
        .expect("rpm runs");
    assert!(started.status.success(), "{started:?}");
    for _ in 0..3 {
        rpm.ok(&["update"]);
    }
    until("the last line", || rpm.log("lines-out.log").contains("done"));
    let log = rpm.log("lines-out.log");
    let lines: Vec<&str> = log.lines().map(|line| line.split_once(": ").map_or(line, |(_, text)| text)).collect();
    let wanted: Vec<String> = (1..=2000).map(|number| format!("line {number}")).chain(["done".into()]).collect();
    assert_eq!(lines, wanted);
    assert_eq!(rpm.restarts("lines"), [0]);
}

#[test]
fn a_command_under_way_is_not_cut_off() {
    let rpm = Rpm::new();
    rpm.ok(&["ping"]);
    let mut start = rpm
        .command(&["start", &app("idle.sh"), "--name", "idle", "--wait-ready", "--listen-timeout", "600s"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("rpm runs");
    rpm.until("to be launching", "idle", |list| list.len() == 1);
    let daemon = rpm.daemon_pid();
    let told = rpm.fails(&["update"]);
    assert!(told.contains("a command is under way") && told.contains("as before"), "{told}");
    assert_eq!(rpm.daemon_pid(), daemon);
    rpm.ok(&["delete", "idle"]);
    let _ = start.wait();
    rpm.ok(&["update"]);
}
