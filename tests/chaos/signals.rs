//! Signals to the daemon, terminals that close, many commands at the same instant.

use std::process::Command;
use std::time::Duration;

use rpm_tests::{is_alive, until};
use rustix::process::Signal;

use crate::scenario::{May, Scenario, Setup};
use crate::stage::{Stage, texts};

const IDLE: Setup = Setup { name: "bystander", script: "idle.sh", options: &[], promised: 1 };
const WEB: Setup = Setup { name: "web", script: "http.js", options: &["-i", "2"], promised: 2 };

const OUTAGES: &[May] = &[May::Outages];

pub(crate) const TABLE: &[Scenario] = &[
    Scenario::new("daemon_stopped_and_continued_under_load", &[WEB], stopped_and_continued).may(OUTAGES),
    Scenario::new("workers_die_while_the_daemon_is_stopped", &[IDLE], deaths_while_stopped).may(OUTAGES),
    Scenario::new("keeper_stopped_and_continued", &[WEB], keeper_stopped).may(OUTAGES),
    Scenario::new("daemon_killed_while_its_keeper_is_stopped", &[IDLE], daemon_killed_meanwhile)
        .may(&[May::Outages, May::Forget]),
    Scenario::new("sigterm_saves_and_stops_in_order", &[], sigterm).may(OUTAGES),
    Scenario::new("sigint_saves_and_stops", &[], sigint).may(OUTAGES),
    Scenario::new("sighup_changes_nothing", &[IDLE], sighup),
    Scenario::new("a_closed_terminal_changes_nothing", &[IDLE], closed_terminal),
    Scenario::new("a_reader_that_leaves", &[IDLE], broken_pipe),
    Scenario::new("ten_first_commands_at_once", &[], ten_first).may(OUTAGES),
    Scenario::new("ten_kills_at_once", &[], ten_kills).may(OUTAGES),
    Scenario::new("kill_and_start_at_once", &[], kill_and_start).may(OUTAGES),
    Scenario::new("the_same_name_ten_times_at_once", &[], same_name),
];

fn stopped_and_continued(stage: &mut Stage) {
    stage.load(2);
    for _ in 0..stage.times(3, 30) {
        let daemon = stage.rpm.daemon_pid();
        stage.signal_own(daemon, Signal::STOP);
        let list = stage.spawn(&["list"]);
        stage.served(100);
        stage.signal_own(daemon, Signal::CONT);
        assert!(stage.finish_command(list, "list").status.success(), "a list that waited was not answered");
    }
    stage.settle();
    assert_eq!(stage.rpm.restarts("web"), [0, 0]);
}

fn deaths_while_stopped(stage: &mut Stage) {
    stage.start("mortal", "idle.sh", &["-i", "5"]);
    let daemon = stage.rpm.daemon_pid();
    stage.signal_own(daemon, Signal::STOP);
    let workers = stage.mains("mortal");
    for pid in &workers {
        stage.signal_own(*pid, Signal::KILL);
    }
    until("the deaths", || workers.iter().all(|pid| !is_alive(*pid)));
    stage.signal_own(daemon, Signal::CONT);
    stage.rpm.until("one restart each", "mortal", |list| {
        list.iter().all(|one| one["pm2_env"]["restart_time"] == 1 && one["pm2_env"]["status"] == "online")
    });
    stage.settle();
    assert_eq!(stage.mains("mortal").len(), 5);
}

/// Without its keeper the daemon starts nothing, and serving goes on; then all that waited is done.
fn keeper_stopped(stage: &mut Stage) {
    stage.load(2);
    let keeper = stage.rpm.keeper_pid();
    stage.signal_own(keeper, Signal::STOP);
    let script = crate::stage::script("idle.sh");
    let start = stage.spawn(&["start", &script, "--name", "late"]);
    stage.served(100);
    stage.signal_own(keeper, Signal::CONT);
    assert!(stage.finish_command(start, "start").status.success());
    stage.settle();
    assert_eq!(stage.mains("late").len(), 1);
}

/// What was asked of the keeper before is done once, or never, and known in either case.
fn daemon_killed_meanwhile(stage: &mut Stage) {
    for _ in 0..stage.times(4, 40) {
        let (keeper, daemon) = (stage.rpm.keeper_pid(), stage.rpm.daemon_pid());
        stage.signal_own(keeper, Signal::STOP);
        let script = crate::stage::script("idle.sh");
        let start = stage.spawn(&["start", &script, "--name", "late"]);
        std::thread::sleep(stage.random.instant(100));
        stage.signal_own(daemon, Signal::KILL);
        stage.signal_own(keeper, Signal::CONT);
        stage.finish_command(start, "start");
        stage.daemon_answers();
        stage.settle();
        let (listed, there) = (stage.rpm.pids("late"), stage.mains("late"));
        assert_eq!(listed, there, "the list and the processes");
        stage.run(&["delete", "late"]);
        stage.settle();
    }
}

fn ends_in_order(stage: &mut Stage, signal: Signal) {
    stage.start("a", "idle.sh", &[]);
    stage.start("b", "idle.sh", &["-i", "2"]);
    stage.stop_observing();
    let daemon = stage.rpm.daemon_pid();
    stage.signal_own(daemon, signal);
    until("the end of everything", || stage.processes().is_empty());
    let dump = std::fs::read(stage.rpm.home().join("dump.json")).expect("the list was saved");
    let dump: serde_json::Value = serde_json::from_slice(&dump).expect("the list is JSON");
    assert_eq!(dump["apps"].as_array().map(Vec::len), Some(2));
    stage.ok(&["resurrect"]);
    stage.settle();
    assert_eq!((stage.mains("a").len(), stage.mains("b").len()), (1, 2));
}

fn sigterm(stage: &mut Stage) {
    ends_in_order(stage, Signal::TERM);
}

fn sigint(stage: &mut Stage) {
    ends_in_order(stage, Signal::INT);
}

fn sighup(stage: &mut Stage) {
    let (daemon, keeper) = (stage.rpm.daemon_pid(), stage.rpm.keeper_pid());
    for _ in 0..20 {
        stage.signal_own(daemon, Signal::HUP);
        stage.signal_own(keeper, Signal::HUP);
    }
    stage.settle();
    assert_eq!((stage.rpm.daemon_pid(), stage.rpm.keeper_pid()), (daemon, keeper));
}

/// Keeper and daemon are started from a terminal that goes away with everything that belongs to it.
fn closed_terminal(stage: &mut Stage) {
    stage.release("bystander");
    stage.watch.outages.store(true, std::sync::atomic::Ordering::Relaxed);
    stage.ok(&["kill"]);
    let program = stage.command(&[]).get_program().to_owned();
    let python = "import os, pty, sys\n\
        pid, terminal = pty.fork()\n\
        if pid == 0:\n    os.execv(sys.argv[1], sys.argv[1:])\n\
        try:\n    \
            while os.read(terminal, 4096): pass\n\
        except OSError: pass\n\
        os.close(terminal)\n\
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n";
    let mut command = Command::new("python3");
    command.args(["-c", python]).arg(program);
    command.args(["start", &crate::stage::script("idle.sh"), "--name", "on-terminal"]);
    let output = command.env("RPM_HOME", stage.rpm.home()).output().expect("python runs");
    assert!(output.status.success(), "{:?}", texts(&output));
    stage.settle();
    let pids = (stage.rpm.daemon_pid(), stage.rpm.keeper_pid());
    assert_eq!(stage.mains("on-terminal").len(), 1);
    for pid in [pids.0, pids.1] {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let terminal = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(4)).map(str::to_owned);
        assert_eq!(terminal.as_deref(), Some("0"), "process {pid} still has the terminal");
    }
}

/// `rpm logs | head`: the reader leaves, the command ends without a panic.
fn broken_pipe(stage: &mut Stage) {
    for args in [&["logs", "--lines", "1000"][..], &["jlist"], &["list"], &["describe", "bystander"], &["--help"]] {
        let mut child = stage.spawn(args);
        drop(child.stdout.take());
        // Something to say, for the one that follows logs.
        for _ in 0..200 {
            if child.try_wait().expect("a child can be waited for").is_some() {
                break;
            }
            let line = b"another line\n";
            let log = stage.rpm.home().join("logs/bystander-out.log");
            let log = std::fs::OpenOptions::new().append(true).open(log);
            std::io::Write::write_all(&mut log.expect("there is a log"), line).expect("it can be written");
            std::thread::sleep(Duration::from_millis(10));
        }
        stage.finish_command(child, &format!("{args:?}"));
    }
}

fn ten_first(stage: &mut Stage) {
    for _ in 0..stage.times(2, 30) {
        let script = crate::stage::script("idle.sh");
        let names: Vec<String> = (0..10).map(|number| format!("app{number}")).collect();
        let children: Vec<_> =
            names.iter().map(|name| stage.spawn(&["start", script.as_str(), "--name", name])).collect();
        for child in children {
            let output = stage.finish_command(child, "start");
            assert!(output.status.success(), "{:?}", texts(&output));
        }
        stage.settle();
        let ours = stage.processes();
        let helpers = ours.iter().filter(|process| process.life.is_none()).count();
        assert_eq!((ours.len() - helpers, helpers), (10, 2), "ten apps, one keeper, one daemon: {ours:?}");
        stage.ok(&["kill"]);
        until("the end of everything", || stage.processes().is_empty());
    }
}

fn ten_kills(stage: &mut Stage) {
    stage.start("a", "idle.sh", &["-i", "3"]);
    stage.stop_observing();
    let children: Vec<_> = (0..10).map(|_| stage.spawn(&["kill"])).collect();
    for child in children {
        stage.finish_command(child, "kill");
    }
    until("the end of everything", || stage.processes().is_empty());
}

/// One of the two comes first; whichever, nothing is doubled and nothing is left half.
fn kill_and_start(stage: &mut Stage) {
    let script = crate::stage::script("idle.sh");
    for _ in 0..stage.times(8, 100) {
        stage.ok(&["ping"]);
        let kill = stage.spawn(&["kill"]);
        std::thread::sleep(stage.random.instant(60));
        let start = stage.spawn(&["start", &script, "--name", "new"]);
        stage.finish_command(kill, "kill");
        let started = stage.finish_command(start, "start").status.success();
        stage.ok(&["ping"]);
        stage.settle();
        let there = stage.mains("new").len();
        assert!(there <= 1, "{there} processes");
        assert!(!started || there == 1 || stage.rpm.processes("new").is_empty(), "started, listed and not there");
        stage.run(&["delete", "new"]);
    }
}

fn same_name(stage: &mut Stage) {
    let script = crate::stage::script("idle.sh");
    let children: Vec<_> = (0..10).map(|_| stage.spawn(&["start", &script, "--name", "one"])).collect();
    let done = children.into_iter().map(|child| stage.finish_command(child, "start"));
    let done = done.filter(|output| output.status.success()).count();
    assert!(done >= 1, "nobody could start it");
    stage.settle();
}
