//! The keeper may be killed at any time, too: workers, sockets, logs and counters outlive it, and so does the daemon.

use std::process::{Command, Stdio};
use std::time::Duration;

use rpm_tests::{Load, Rpm, app, free_port, http, is_alive, signal, until};

/// Three apps of different kinds, and where two of them answer.
struct Apps {
    rpm: Rpm,
    node: u16,
    python: u16,
}

impl Apps {
    fn start(lines: &str) -> Self {
        let this = Self { rpm: Rpm::new(), node: free_port(), python: free_port() };
        let web = ["start", &app("http.js"), "--name", "web", "-i", "2"];
        let started = this.rpm.command(&web).env("PORT", this.node.to_string()).output().expect("rpm runs");
        assert!(started.status.success(), "{started:?}");
        let listen = format!("127.0.0.1:{}", this.python);
        let python = app("passed.py");
        this.rpm.ok(&["start", &python, "--name", "py", "--exec-mode", "socket", "--listen", &listen, "-i", "2"]);
        // A counter that is not zero.
        signal(this.rpm.pids("py")[0], 9);
        this.rpm.until("a restart", "py", |list| {
            list[0]["pm2_env"]["restart_time"] == 1 && list.iter().all(|one| one["pm2_env"]["status"] == "online")
        });
        let started = this.rpm.command(&["start", &app("lines.sh"), "--name", "lines", "--time"]);
        let started = { started }.env("LINES_WANTED", lines).output().expect("rpm runs");
        assert!(started.status.success(), "{started:?}");
        this
    }

    fn pids(&self) -> Vec<Vec<i32>> {
        ["web", "py", "lines"].map(|name| self.rpm.pids(name)).to_vec()
    }

    fn restarts(&self) -> Vec<Vec<u64>> {
        ["web", "py", "lines"].map(|name| self.rpm.restarts(name)).to_vec()
    }

    fn everything(&self) -> Vec<i32> {
        let mut all: Vec<i32> = self.pids().concat();
        all.extend([self.rpm.keeper_pid(), self.rpm.daemon_pid()]);
        all
    }

    /// Waits for the last line of the log, and looks whether each is there once.
    fn lines_are_whole(&self, wanted: u32) {
        until("the last line", || self.rpm.log("lines-out.log").contains("done"));
        let log = self.rpm.log("lines-out.log");
        let lines: Vec<&str> = log.lines().map(|line| line.split_once(": ").map_or(line, |(_, text)| text)).collect();
        let wanted: Vec<String> = (1..=wanted).map(|number| format!("line {number}")).chain(["done".into()]).collect();
        assert_eq!(lines, wanted, "a line was lost, doubled or damaged");
    }

    fn ends_without_a_trace(&self) {
        let all = self.everything();
        self.rpm.ok(&["kill"]);
        until("everything to be gone", || all.iter().all(|pid| !is_alive(*pid)));
        for port in [self.node, self.python] {
            assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok(), "somebody still has port {port}");
        }
    }
}

/// Kills the keeper and waits until the next one has taken its place.
fn kill_keeper(rpm: &Rpm) {
    let before = rpm.keeper_pid();
    signal(before, 9);
    until("the next keeper", || rpm.keeper_pid() != before);
}

/// Sends SIGKILL to several processes in one go.
fn kill_together(pids: &[i32]) {
    let killed = Command::new("kill").arg("-9").args(pids.iter().map(i32::to_string)).stderr(Stdio::null()).status();
    assert!(killed.expect("kill runs").success());
}

#[test]
fn a_killed_keeper_loses_no_request_no_line_and_no_worker() {
    let apps = Apps::start("4000");
    let rpm = &apps.rpm;
    let (pids, restarts, daemon) = (apps.pids(), apps.restarts(), rpm.daemon_pid());
    let (node, python) = (Load::start(apps.node, "/?slow=5", 3), Load::start(apps.python, "/", 2));
    for _ in 0..5 {
        node.wait_for(20);
        python.wait_for(20);
        kill_keeper(rpm);
    }
    node.wait_for(20);
    python.wait_for(20);
    assert_eq!((node.stop(), python.stop()), (Vec::new(), Vec::new()));
    assert_eq!((apps.pids(), apps.restarts(), rpm.daemon_pid()), (pids.clone(), restarts, daemon));

    // Everything is supervised as before, also what the new keeper did not start.
    let web = pids[0][0];
    signal(web, 9);
    rpm.until("a restart", "web", |list| {
        list[0]["pm2_env"]["restart_time"] == 1 && list[0]["pm2_env"]["status"] == "online"
    });
    assert!(
        rpm.ok(&["describe", "0"]).contains("unknown"),
        "nobody can know how it ended:\n{}",
        rpm.ok(&["describe", "0"])
    );
    let (node, python) = (Load::start(apps.node, "/", 3), Load::start(apps.python, "/", 2));
    for name in ["web", "py"] {
        rpm.ok(&["reload", name]);
        rpm.ok(&["scale", name, "3"]);
        rpm.ok(&["scale", name, "1"]);
    }
    assert_eq!((node.stop(), python.stop()), (Vec::new(), Vec::new()));
    apps.lines_are_whole(4000);
    apps.ends_without_a_trace();
}

#[test]
fn a_killed_keeper_does_not_disturb_a_reload() {
    let apps = Apps::start("10");
    let rpm = &apps.rpm;
    let load = Load::start(apps.node, "/", 3);
    for _ in 0..3 {
        let pids = rpm.pids("web");
        let mut reload = rpm.command(&["reload", "web"]).stdout(Stdio::null()).spawn().expect("rpm runs");
        for _ in 0..3 {
            load.wait_for(10);
            kill_keeper(rpm);
        }
        assert!(reload.wait().expect("it ends").success());
        let now = rpm.pids("web");
        assert!(now.len() == 2 && now.iter().all(|pid| !pids.contains(pid)), "{pids:?} -> {now:?}");
        assert!(pids.iter().all(|pid| !is_alive(*pid)));
    }
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!(rpm.restarts("web"), [3, 3]);
    apps.ends_without_a_trace();
}

#[test]
fn commands_in_the_moment_of_death_are_carried_out() {
    let apps = Apps::start("10");
    let rpm = &apps.rpm;
    for _ in 0..3 {
        signal(rpm.keeper_pid(), 9);
        let commands: Vec<_> = [["restart", "lines"], ["restart", "py"]]
            .iter()
            .map(|args| rpm.command(args).stdout(Stdio::null()).spawn().expect("rpm runs"))
            .collect();
        for mut command in commands {
            assert!(command.wait().expect("it ends").success());
        }
    }
    assert_eq!(rpm.statuses("py"), ["online", "online"]);
    assert_eq!(rpm.restarts("lines"), [3]);
    apps.ends_without_a_trace();
}

#[test]
fn a_daemon_that_is_killed_after_its_keeper_loses_nothing_either() {
    let apps = Apps::start("4000");
    let rpm = &apps.rpm;
    let (pids, restarts) = (apps.pids(), apps.restarts());
    let (node, python) = (Load::start(apps.node, "/?slow=5", 3), Load::start(apps.python, "/", 2));
    for _ in 0..3 {
        kill_keeper(rpm);
        rpm.kill_daemon();
    }
    node.wait_for(20);
    python.wait_for(20);
    assert_eq!((node.stop(), python.stop()), (Vec::new(), Vec::new()));
    assert_eq!((apps.pids(), apps.restarts()), (pids, restarts));
    apps.lines_are_whole(4000);
    apps.ends_without_a_trace();
}

#[test]
fn what_lost_keeper_and_daemon_at_once_is_taken_over_or_replaced_but_never_doubled() {
    let apps = Apps::start("10");
    let rpm = &apps.rpm;
    rpm.ok(&["start", &app("says.sh"), "--name", "says", "--time"]);
    apps.lines_are_whole(10);
    let (pids, restarts, says) = (apps.pids(), apps.restarts(), rpm.pids("says")[0]);
    signal(says, 12);
    until("a word", || rpm.log("says-out.log").contains("said 1"));
    let python = Load::start(apps.python, "/", 2);
    python.wait_for(20);
    // Stopped first, or it may have handed over in the moment between the two.
    signal(rpm.daemon_pid(), 19);
    kill_together(&[rpm.keeper_pid(), rpm.daemon_pid()]);
    // Two commands at once start one keeper.
    let both: Vec<_> =
        (0..2).map(|_| rpm.command(&["list"]).stdout(Stdio::null()).spawn().expect("rpm runs")).collect();
    for mut command in both {
        assert!(command.wait().expect("it ends").success());
    }
    rpm.until("the web app", "web", |list| {
        list.len() == 2 && list.iter().all(|one| one["pm2_env"]["status"] == "online")
    });
    python.wait_for(20);
    assert_eq!(python.stop(), Vec::<String>::new());
    let now = apps.pids();
    // Those in other languages went on, with their sockets and pipes; Node's workers end when their channel does.
    assert_eq!((&now[1], &now[2]), (&pids[1], &pids[2]));
    assert!(pids[0].iter().all(|pid| !is_alive(*pid)));
    assert_eq!(apps.restarts()[1..], restarts[1..]);
    assert!(http::get(apps.node, "/").is_ok());
    assert_eq!((rpm.pids("says"), rpm.restarts("says")), (vec![says], vec![0]));
    signal(says, 12);
    until("another word", || rpm.log("says-out.log").contains("said 2"));
    assert_eq!(rpm.log("says-out.log").lines().count(), 2);

    // They are supervised again.
    let load = Load::start(apps.python, "/", 2);
    rpm.ok(&["scale", "py", "3"]);
    rpm.ok(&["reload", "py"]);
    assert_eq!(load.stop(), Vec::<String>::new());
    signal(now[2][0], 9);
    rpm.until("a restart", "lines", |list| {
        list[0]["pm2_env"]["restart_time"] == 1 && list[0]["pm2_env"]["status"] == "online"
    });
    apps.ends_without_a_trace();
}

/// The pipes of a worker had their other ends in the two that died: its next line was EPIPE and its input at an end.
#[test]
fn a_worker_that_writes_and_reads_while_nobody_is_there_goes_on() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("says.sh"), "--name", "says", "--time"]);
    let repeats = ["start", "/bin/cat", "--name", "repeats", "--time", "--interpreter", "none"];
    rpm.ok(&repeats);
    let pids = [rpm.pids("says"), rpm.pids("repeats")].concat();
    let wrote = |pid: i32| {
        let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse::<u64>().ok())
    };
    for round in 1..=3 {
        let (keeper, daemon, before) = (rpm.keeper_pid(), rpm.daemon_pid(), wrote(pids[0]));
        // Stopped first, or it may have handed over in the moment between the two.
        signal(daemon, 19);
        kill_together(&[keeper, daemon]);
        until("the death of both", || !is_alive(keeper) && !is_alive(daemon));
        signal(pids[0], 12);
        until("a word that nobody hears", || wrote(pids[0]) > before);
        rpm.ok(&["ping"]);
        let said = format!("said {round}\n");
        until("the word", || rpm.log("says-out.log").ends_with(&said));
        rpm.ok(&["send", "repeats", &format!("word {round}")]);
        until("its answer", || rpm.log("repeats-out.log").ends_with(&format!("word {round}\n")));
        assert_eq!([rpm.pids("says"), rpm.pids("repeats")].concat(), pids);
        assert_eq!([rpm.restarts("says"), rpm.restarts("repeats")].concat(), [0, 0]);
    }
    assert_eq!(rpm.log("says-out.log").lines().count(), 3);
    assert_eq!(rpm.log("repeats-out.log").lines().count(), 3);
    // The end of a worker is still the end of its pipe: a next life writes, and the last word of the first is there.
    rpm.ok(&["restart", "all"]);
    rpm.ok(&["delete", "all"]);
    until("everything to be gone", || pids.iter().all(|pid| !is_alive(*pid)));
    rpm.ok(&["kill"]);
}

#[test]
fn whoever_is_killed_first_nothing_runs_twice() {
    let apps = Apps::start("10");
    let rpm = &apps.rpm;
    let mut ever = apps.pids().concat();
    for round in 0..6 {
        let mut both = [rpm.keeper_pid(), rpm.daemon_pid()];
        if round % 2 == 1 {
            both.reverse();
        }
        kill_together(&both);
        rpm.until("both workers", "web", |list| {
            list.len() == 2 && list.iter().all(|one| one["pm2_env"]["status"] == "online")
        });
        let now = apps.pids();
        assert_eq!((now[0].len(), now[1].len(), now[2].len()), (2, 2, 1));
        ever.extend(now.concat());
        until("no second copy", || ever.iter().filter(|pid| is_alive(**pid)).all(|pid| now.concat().contains(pid)));
    }
    assert!(http::get(apps.node, "/").is_ok() && http::get(apps.python, "/").is_ok());
    apps.ends_without_a_trace();
    assert!(ever.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn an_update_after_a_keeper_death_touches_no_worker() {
    let apps = Apps::start("10");
    let rpm = &apps.rpm;
    let (pids, restarts) = (apps.pids(), apps.restarts());
    let load = Load::start(apps.node, "/?slow=5", 3);
    for _ in 0..2 {
        load.wait_for(20);
        kill_keeper(rpm);
        let (keeper, daemon) = (rpm.keeper_pid(), rpm.daemon_pid());
        rpm.ok(&["update"]);
        assert_eq!(rpm.keeper_pid(), keeper);
        assert_ne!(rpm.daemon_pid(), daemon);
    }
    load.wait_for(20);
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!((apps.pids(), apps.restarts()), (pids, restarts));
    apps.ends_without_a_trace();
}

#[test]
fn a_hundred_workers_are_handed_over_and_end_with_kill() {
    let rpm = Rpm::new();
    rpm.ok(&["start", "/bin/sleep", "--name", "many", "-i", "100", "--time", "--", "100000"]);
    let pids = rpm.pids("many");
    for _ in 0..2 {
        kill_keeper(&rpm);
    }
    assert_eq!((rpm.pids("many"), rpm.restarts("many")), (pids.clone(), vec![0; 100]));
    signal(pids[50], 9);
    rpm.until("a restart", "many", |list| list[50]["pm2_env"]["restart_time"] == 1);
    let now = rpm.pids("many");
    rpm.ok(&["kill"]);
    until("everything to be gone", || pids.iter().chain(&now).all(|pid| !is_alive(*pid)));
}

#[test]
fn descendants_that_forked_away_from_an_adopted_worker_end_with_it() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("family.py"), "--name", "family", "--kill-timeout", "300"]);
    let mut family: Vec<i32> = Vec::new();
    until("the family", || {
        let log = rpm.log("family-out.log");
        family = log.lines().next().unwrap_or_default().split(' ').filter_map(|pid| pid.parse().ok()).collect();
        family.len() == 3
    });
    kill_keeper(&rpm);
    assert!(family.iter().all(|pid| is_alive(*pid)));
    // The worker's own death, and then a stop: both find those that are children of somebody else by now.
    signal(rpm.pids("family")[0], 9);
    until("the descendants to be gone", || family.iter().all(|pid| !is_alive(*pid)));
    rpm.until("a restart", "family", |list| list[0]["pm2_env"]["restart_time"] == 1);
    rpm.ok(&["stop", "family"]);
}

/// The mark in its environment is gone; such daemons outlived `restart` and `delete`, and gathered.
#[test]
fn a_daemon_that_has_lost_its_environment_ends_with_its_worker() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("daemonizes.sh"), "--name", "front", "--kill-timeout", "300"]);
    let daemon_of = |life: usize| {
        let mut pid = 0;
        until("the number of the daemon", || {
            pid = rpm.log("front-out.log").lines().nth(life).and_then(|line| line.parse().ok()).unwrap_or_default();
            pid > 0
        });
        assert!(is_alive(pid));
        pid
    };
    let first = daemon_of(0);
    rpm.ok(&["restart", "front"]);
    assert!(!is_alive(first), "it outlived a restart");
    // A crash while there is no daemon, and a life that a new keeper has adopted.
    let second = daemon_of(1);
    let worker = rpm.pids("front")[0];
    signal(rpm.daemon_pid(), 19);
    signal(worker, 9);
    signal(rpm.daemon_pid(), 9);
    until("its end", || !is_alive(second));
    let third = daemon_of(2);
    kill_keeper(&rpm);
    rpm.ok(&["stop", "front"]);
    assert!(!is_alive(third), "it outlived a stop");
    rpm.ok(&["restart", "front"]);
    let fourth = daemon_of(3);
    rpm.ok(&["delete", "front"]);
    assert!(!is_alive(fourth), "it outlived a delete");
    rpm.ok(&["kill"]);
}

#[test]
fn a_stopped_keeper_makes_commands_wait_and_nothing_else() {
    let apps = Apps::start("500");
    let rpm = &apps.rpm;
    let pids = apps.pids();
    let load = Load::start(apps.node, "/", 3);
    signal(rpm.keeper_pid(), 19);
    assert_eq!(apps.pids(), pids, "a list needs no keeper");
    let mut restart = rpm.command(&["restart", "lines"]).stdout(Stdio::null()).spawn().expect("rpm runs");
    until("the old process to end", || !is_alive(pids[2][0]));
    load.wait_for(50);
    std::thread::park_timeout(Duration::from_millis(200));
    assert!(restart.try_wait().expect("it can be asked").is_none(), "nobody could have started it");
    signal(rpm.keeper_pid(), 18);
    assert!(restart.wait().expect("it ends").success());
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!((rpm.restarts("lines"), rpm.pids("web")), (vec![1], pids[0].clone()));
    apps.ends_without_a_trace();
}

/// A start waited for ever, a stop said that the process outlived SIGKILL, and after `kill` the start was carried out all the
/// same, of which no later daemon knew.
#[test]
fn who_waits_for_a_stopped_keeper_is_told_and_what_was_asked_is_done_when_it_goes_on() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "stays"]);
    rpm.ok(&["start", &app("idle.sh"), "--name", "again"]);
    let (keeper, daemon) = (rpm.keeper_pid(), rpm.daemon_pid());
    let before = [rpm.pids("stays"), rpm.pids("again")].concat();
    let late = app("idle.sh");
    let commands: [&[&str]; 3] = [&["start", &late, "--name", "late"], &["stop", "stays"], &["restart", "again"]];
    let all_told = |commands: &[&[&str]]| {
        let piped = |args: &&[&str]| {
            let mut command = rpm.command(args);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("rpm runs")
        };
        let waiting: Vec<_> = commands.iter().map(piped).collect();
        for (command, args) in waiting.into_iter().zip(commands) {
            let output = command.wait_with_output().expect("it ends");
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
            assert!(told.contains(&format!("the keeper (process {keeper}) does not answer: it is stopped")), "{told}");
            assert!(told.contains(&format!("kill -CONT {keeper}")), "{told}");
        }
    };
    signal(keeper, 19);
    all_told(&commands);
    signal(keeper, 18);
    rpm.until("the start", "late", |list| list.len() == 1 && list[0]["pm2_env"]["status"] == "online");
    rpm.until("the stop", "stays", |list| list[0]["pm2_env"]["status"] == "stopped");
    rpm.until("the restart", "again", |list| list[0]["pm2_env"]["status"] == "online");
    assert_eq!(rpm.restarts("again"), [1]);
    assert!(before.iter().all(|pid| !is_alive(*pid)));

    // The same, with an end of everything: nothing that was asked before runs on.
    let running = [rpm.pids("late"), rpm.pids("again")].concat();
    signal(keeper, 19);
    let mut overtaken = rpm.command(&["start", &late, "--name", "latest"]);
    let overtaken = overtaken.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("rpm runs");
    until("the request", || !rpm.processes("latest").is_empty());
    all_told(&[&["kill"]]);
    let overtaken = overtaken.wait_with_output().expect("it ends");
    assert!(String::from_utf8_lossy(&overtaken.stderr).contains("overtaken by a later command"), "{overtaken:?}");
    assert!(is_alive(daemon));
    signal(keeper, 18);
    until("the end of all", || ![keeper, daemon].iter().chain(&running).any(|pid| is_alive(*pid)));
    assert!(rpm.jlist().is_empty());
    let marks = format!("RPM_HOME={}", rpm.home().display());
    let of_latest = |pid: &std::path::Path| {
        let environment = std::fs::read(pid.join("environ")).unwrap_or_default();
        let variables: Vec<&[u8]> = environment.split(|byte| *byte == 0).collect();
        variables.contains(&marks.as_bytes()) && variables.contains(&b"name=latest".as_slice())
    };
    let processes = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    assert_eq!(processes.filter(|entry| of_latest(&entry.path())).count(), 0);
    rpm.ok(&["kill"]);
}

#[test]
fn a_stopped_daemon_makes_commands_wait_and_nothing_else() {
    let apps = Apps::start("500");
    let rpm = &apps.rpm;
    let pids = apps.pids();
    let load = Load::start(apps.node, "/", 3);
    let daemon = rpm.daemon_pid();
    signal(daemon, 19);
    let mut list = rpm.command(&["list"]).stdout(Stdio::null()).spawn().expect("rpm runs");
    load.wait_for(50);
    assert!(list.try_wait().expect("it can be asked").is_none(), "nobody could have answered");
    signal(daemon, 18);
    assert!(list.wait().expect("it ends").success());
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!((apps.pids(), rpm.daemon_pid()), (pids, daemon));
    apps.lines_are_whole(500);
    apps.ends_without_a_trace();
}
