//! kill -9 of the daemon, and of the keeper, at any instant of any command.

use std::sync::atomic::Ordering::Relaxed;

use rustix::process::Signal;

use crate::scenario::{May, Scenario, Setup};
use crate::stage::Stage;

const IDLE: Setup = Setup { name: "bystander", script: "idle.sh", options: &[], promised: 1 };
const PAIR: Setup = Setup { name: "pair", script: "idle.sh", options: &["-i", "2"], promised: 0 };

/// The same, for a scenario that kills them more often within a second than an app is started again.
const MORTAL: Setup =
    Setup { name: "pair", script: "idle.sh", options: &["-i", "2", "--max-restarts", "1000"], promised: 0 };
const WEB: Setup = Setup { name: "web", script: "http.js", options: &["-i", "2"], promised: 2 };

const OUTAGES: &[May] = &[May::Outages];
const ROLLS: &[May] = &[May::Outages, May::Overlap];
const DELETES: &[May] = &[May::Outages, May::Forget];

pub(crate) const TABLE: &[Scenario] = &[
    Scenario::new("killed_during_start", &[IDLE], during_start).may(DELETES),
    Scenario::new("killed_during_stop", &[IDLE, PAIR], during_stop).may(OUTAGES),
    Scenario::new("killed_during_restart", &[IDLE, PAIR], during_restart).may(OUTAGES),
    Scenario::new("killed_during_reload", &[IDLE, WEB], during_reload).may(ROLLS),
    Scenario::new("killed_during_scale", &[IDLE, PAIR], during_scale).may(DELETES),
    Scenario::new("killed_during_delete", &[IDLE], during_delete).may(DELETES),
    Scenario::new("killed_during_save", &[IDLE, PAIR], during_save).may(OUTAGES),
    Scenario::new("killed_during_crashes", &[IDLE, MORTAL], during_crashes).may(OUTAGES),
    Scenario::new("killed_again_and_again_under_load", &[IDLE, WEB], under_load).may(OUTAGES),
    Scenario::new("killed_as_soon_as_it_is_back", &[IDLE], back_to_back).may(OUTAGES),
    Scenario::new("killed_with_its_keeper_at_once", &[IDLE, PAIR], with_keeper).may(OUTAGES),
    Scenario::new("keeper_killed_under_load", &[IDLE, WEB], keeper_under_load).may(OUTAGES),
    Scenario::new("keeper_killed_during_commands", &[PAIR], keeper_during_commands).may(DELETES),
];

/// Lets a command run, kills the daemon at some instant of it, and waits until all is quiet.
fn killed_in(stage: &mut Stage, args: &[&str], within_ms: u64) {
    let child = stage.spawn(args);
    std::thread::sleep(stage.random.instant(within_ms));
    stage.kill_daemon_now();
    stage.finish_command(child, &format!("{args:?}"));
    stage.daemon_answers();
    stage.settle();
}

fn during_start(stage: &mut Stage) {
    let script = crate::stage::script("idle.sh");
    for _ in 0..stage.times(12, 120) {
        killed_in(stage, &["start", &script, "--name", "new", "-i", "3"], 120);
        let there = stage.mains("new").len();
        assert!(there == 0 || there == 3, "{there} of 3 were started");
        if there == 3 {
            stage.ok(&["delete", "new"]);
        }
    }
}

fn during_stop(stage: &mut Stage) {
    for _ in 0..stage.times(12, 120) {
        killed_in(stage, &["stop", "pair"], 80);
        stage.ok(&["restart", "pair"]);
        stage.settle();
        assert_eq!(stage.mains("pair").len(), 2);
    }
}

fn during_restart(stage: &mut Stage) {
    for _ in 0..stage.times(12, 120) {
        killed_in(stage, &["restart", "pair"], 80);
        assert_eq!(stage.mains("pair").len(), 2);
    }
}

fn during_reload(stage: &mut Stage) {
    stage.load(2);
    for _ in 0..stage.times(5, 50) {
        killed_in(stage, &["reload", "web"], 700);
        assert_eq!(stage.mains("web").len(), 2);
    }
    stage.all_answered();
}

fn during_scale(stage: &mut Stage) {
    for _ in 0..stage.times(12, 120) {
        let wanted = 1 + stage.random.below(5);
        killed_in(stage, &["scale", "pair", &wanted.to_string()], 80);
        stage.run(&["scale", "pair", "2"]);
        stage.settle();
        assert_eq!(stage.mains("pair").len(), 2);
    }
}

fn during_delete(stage: &mut Stage) {
    for _ in 0..stage.times(10, 120) {
        stage.start("doomed", "idle.sh", &["-i", "2"]);
        killed_in(stage, &["delete", "doomed"], 80);
        let there = stage.mains("doomed").len();
        if there > 0 {
            stage.ok(&["delete", "doomed"]);
        }
        assert_eq!(stage.mains("doomed"), Vec::<i32>::new());
    }
}

/// Whenever it is killed, there is a list that can be read, and never a torn one.
fn during_save(stage: &mut Stage) {
    stage.ok(&["save"]);
    for _ in 0..stage.times(40, 500) {
        killed_in(stage, &["save"], 30);
        let dump = std::fs::read(stage.rpm.home().join("dump.json")).expect("there is a list");
        let dump: serde_json::Value = serde_json::from_slice(&dump).expect("the list is whole");
        assert_eq!(dump["apps"].as_array().map(Vec::len), Some(2));
    }
}

fn during_crashes(stage: &mut Stage) {
    for _ in 0..stage.times(12, 120) {
        for pid in stage.mains("pair") {
            stage.signal_own(pid, Signal::KILL);
        }
        std::thread::sleep(stage.random.instant(40));
        stage.kill_daemon_now();
        stage.daemon_answers();
        stage.settle();
        assert_eq!(stage.mains("pair").len(), 2);
    }
}

fn under_load(stage: &mut Stage) {
    stage.load(3);
    let before = stage.mains("web");
    for _ in 0..stage.times(12, 300) {
        stage.kill_daemon_now();
        stage.served(10);
        std::thread::sleep(stage.random.instant(300));
    }
    stage.daemon_answers();
    stage.all_answered();
    assert_eq!(stage.mains("web"), before);
    assert_eq!(stage.rpm.restarts("web"), [0, 0]);
}

/// A daemon that dies young is started again later and later; it is started.
fn back_to_back(stage: &mut Stage) {
    let before = stage.mains("bystander");
    for _ in 0..stage.times(15, 60) {
        let pid = stage.pid_in("rpm.pid");
        stage.kill_daemon_now();
        rpm_tests::until("the next daemon", || stage.pid_in("rpm.pid") != pid);
    }
    stage.daemon_answers();
    assert_eq!(stage.mains("bystander"), before);
}

/// Nobody is left who knows; the next command finds the workers all the same.
fn with_keeper(stage: &mut Stage) {
    for _ in 0..stage.times(4, 40) {
        let (bystander, mut pair) = (stage.mains("bystander"), stage.mains("pair"));
        let (keeper, daemon) = (stage.pid_in("keeper.pid"), stage.pid_in("rpm.pid"));
        for pid in [keeper, daemon].into_iter().flatten() {
            stage.signal_own(pid, Signal::KILL);
        }
        stage.ok(&["ping"]);
        stage.settle();
        let mut after = stage.mains("pair");
        pair.sort_unstable();
        after.sort_unstable();
        assert_eq!((stage.mains("bystander"), after), (bystander, pair), "other processes than before");
    }
}

fn keeper_under_load(stage: &mut Stage) {
    stage.load(2);
    let before = stage.mains("web");
    for _ in 0..stage.times(4, 60) {
        let keeper = stage.pid_in("keeper.pid");
        stage.signal_own(keeper.expect("a keeper runs"), Signal::KILL);
        rpm_tests::until("the next keeper", || {
            stage.pid_in("keeper.pid").is_some_and(|pid| Some(pid) != keeper && rpm_tests::is_alive(pid))
        });
        stage.served(10);
        stage.settle();
    }
    stage.all_answered();
    assert_eq!(stage.mains("web"), before);
}

fn keeper_during_commands(stage: &mut Stage) {
    const COMMANDS: &[&[&str]] =
        &[&["restart", "pair"], &["stop", "pair"], &["scale", "pair", "4"], &["reload", "pair"]];
    stage.watch.overlap.store(true, Relaxed);
    for _ in 0..stage.times(8, 100) {
        let args = *stage.random.pick(COMMANDS);
        let child = stage.spawn(args);
        std::thread::sleep(stage.random.instant(100));
        if let Some(keeper) = stage.pid_in("keeper.pid") {
            stage.signal_own(keeper, Signal::KILL);
        }
        stage.finish_command(child, &format!("{args:?}"));
        stage.ok(&["ping"]);
        stage.settle();
        stage.ok(&["restart", "pair"]);
        stage.run(&["scale", "pair", "2"]);
        stage.settle();
        assert_eq!(stage.mains("pair").len(), 2, "after {args:?}");
    }
}
