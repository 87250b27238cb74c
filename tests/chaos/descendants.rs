//! Apps that do not want to go, and what they leave behind.

use std::time::{Duration, Instant};

use rpm_tests::until;
use rustix::process::Signal;

use crate::scenario::{May, Scenario, Setup};
use crate::stage::Stage;

const IDLE: Setup = Setup { name: "bystander", script: "idle.sh", options: &[], promised: 1 };

pub(crate) const TABLE: &[Scenario] = &[
    Scenario::new("a_fork_bomb", &[IDLE], fork_bomb),
    Scenario::new("setsid_and_double_forks", &[IDLE], family),
    Scenario::new("a_family_whose_head_is_killed", &[IDLE], headless),
    Scenario::new("a_family_whose_head_is_killed_while_there_is_no_daemon", &[IDLE], headless_unseen)
        .may(&[May::Outages]),
    Scenario::new("deaf_to_every_signal", &[IDLE], deaf),
    Scenario::new("forks_when_it_is_stopped", &[IDLE], forks_at_stop),
    Scenario::new("stops_itself", &[IDLE], stops_itself),
    Scenario::new("becomes_a_daemon", &[IDLE], becomes_daemon),
    Scenario::new("twenty_deaf_apps_at_once", &[IDLE], twenty_deaf),
];

/// Nothing of this app is there any more.
fn all_gone(stage: &Stage, app: &str) {
    let left =
        || -> Vec<_> { stage.processes().into_iter().filter(|process| process.app.as_deref() == Some(app)).collect() };
    let deadline = Instant::now() + Duration::from_secs(3);
    while !left().is_empty() {
        assert!(Instant::now() < deadline, "left behind: {:?}", left());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn started_with(stage: &Stage, app: &str, processes: usize) {
    until("its processes", || {
        stage.processes().iter().filter(|process| process.app.as_deref() == Some(app)).count() >= processes
    });
}

/// Its processes look like copies to the observer: orphans of a life have another parent.
fn with_orphans(stage: &Stage) {
    stage.watch.overlap.store(true, std::sync::atomic::Ordering::Relaxed);
}

fn fork_bomb(stage: &mut Stage) {
    with_orphans(stage);
    let processes = stage.times(60, 300);
    for _ in 0..stage.times(1, 5) {
        stage.start("bomb", "bomb.py", &["--kill-timeout", "500", "--", &processes.to_string()]);
        started_with(stage, "bomb", processes / 2);
        stage.ok(&["delete", "bomb"]);
        all_gone(stage, "bomb");
    }
}

fn family(stage: &mut Stage) {
    with_orphans(stage);
    for command in ["stop", "restart", "delete"] {
        stage.start("family", "family.py", &["--kill-timeout", "300"]);
        started_with(stage, "family", 4);
        let before = stage.processes();
        stage.ok(&[command, "family"]);
        let is_old = |pid: i32| before.iter().any(|old| old.app.as_deref() == Some("family") && old.pid == pid);
        until("the end of the old ones", || !stage.processes().iter().any(|process| is_old(process.pid)));
        stage.run(&["delete", "family"]);
        all_gone(stage, "family");
    }
}

/// The main process is killed; its children ignore signals. They do not gather with each restart.
fn headless(stage: &mut Stage) {
    with_orphans(stage);
    stage.start("family", "family.py", &["--kill-timeout", "300"]);
    for turn in 1..=stage.times(4, 50) {
        started_with(stage, "family", 4);
        let head = stage.rpm.pids("family")[0];
        stage.signal_own(head, Signal::KILL);
        stage.rpm.until("a restart", "family", |list| {
            list[0]["pm2_env"]["restart_time"] == turn && list[0]["pm2_env"]["status"] == "online"
        });
    }
    until("no more than one family", || {
        stage.processes().iter().filter(|process| process.app.as_deref() == Some("family")).count() <= 4
    });
    stage.ok(&["delete", "family"]);
    all_gone(stage, "family");
}

/// The same while the daemon is stopped, and then killed: the next one has not seen the end, and sweeps all the same.
fn headless_unseen(stage: &mut Stage) {
    with_orphans(stage);
    stage.start("family", "family.py", &["--kill-timeout", "300"]);
    for turn in 1..=stage.times(3, 20) {
        started_with(stage, "family", 4);
        let before = stage.processes();
        let head = stage.rpm.pids("family")[0];
        let daemon = stage.rpm.daemon_pid();
        stage.signal_own(daemon, Signal::STOP);
        stage.signal_own(head, Signal::KILL);
        stage.signal_own(daemon, Signal::KILL);
        stage.daemon_answers();
        stage.rpm.until("a restart", "family", |list| {
            list[0]["pm2_env"]["restart_time"] == turn && list[0]["pm2_env"]["status"] == "online"
        });
        let is_old = |pid: i32| before.iter().any(|old| old.app.as_deref() == Some("family") && old.pid == pid);
        until("the end of the old ones", || !stage.processes().iter().any(|process| is_old(process.pid)));
    }
    stage.ok(&["delete", "family"]);
    all_gone(stage, "family");
}

fn deaf(stage: &mut Stage) {
    stage.start("deaf", "deaf.py", &["--kill-timeout", "1000"]);
    until("its first line", || stage.rpm.log("deaf-out.log").contains("deaf"));
    let stop = stage.spawn(&["stop", "deaf"]);
    let begun = Instant::now();
    // Meanwhile others are served.
    for _ in 0..5 {
        stage.ok(&["ping"]);
    }
    assert!(stage.finish_command(stop, "stop").status.success());
    assert!(begun.elapsed() < Duration::from_secs(5), "killed only after {:?}", begun.elapsed());
    all_gone(stage, "deaf");
}

fn forks_at_stop(stage: &mut Stage) {
    with_orphans(stage);
    for _ in 0..stage.times(3, 40) {
        stage.start("late", "late_forks.py", &["--kill-timeout", "400"]);
        until("its first line", || stage.rpm.log("late-out.log").contains("ready"));
        stage.ok(&["delete", "late"]);
        all_gone(stage, "late");
        stage.run(&["flush"]);
    }
}

/// A stopped process takes no signal but the last one.
fn stops_itself(stage: &mut Stage) {
    stage.start("still", "idle.sh", &["--kill-timeout", "300"]);
    let pid = stage.mains("still")[0];
    stage.signal_own(pid, Signal::STOP);
    stage.ok(&["restart", "still"]);
    assert_ne!(stage.mains("still"), [pid]);
    let pid = stage.mains("still")[0];
    stage.signal_own(pid, Signal::STOP);
    stage.ok(&["delete", "still"]);
    all_gone(stage, "still");
}

/// The process that was started ends at once, its grandchild goes on: restarts must not gather grandchildren.
fn becomes_daemon(stage: &mut Stage) {
    with_orphans(stage);
    let app = crate::stage::script("daemonize.py");
    // It is told that it ends at once; what is left of it counts.
    stage.run(&["start", &app, "--name", "daemon", "--max-restarts", "5", "--kill-timeout", "300"]);
    stage.rpm.until("that it is given up", "daemon", |list| {
        list[0]["pm2_env"]["status"] == "errored" || list[0]["pm2_env"]["status"] == "stopped"
    });
    stage.ok(&["delete", "daemon"]);
    all_gone(stage, "daemon");
}

/// They are waited for together, not one after another.
fn twenty_deaf(stage: &mut Stage) {
    stage.start("deaf", "deaf.sh", &["-i", "20", "--kill-timeout", "1000"]);
    until("their first lines", || {
        let logs = std::fs::read_dir(stage.rpm.home().join("logs")).expect("logs").flatten();
        let logs = logs.filter(|log| log.file_name().to_string_lossy().starts_with("deaf-out"));
        let lines = |log: std::fs::DirEntry| std::fs::read_to_string(log.path()).unwrap_or_default().lines().count();
        logs.map(lines).sum::<usize>() == 20
    });
    let begun = Instant::now();
    stage.ok(&["delete", "deaf"]);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(6), "twenty took {took:?}");
    all_gone(stage, "deaf");
}
