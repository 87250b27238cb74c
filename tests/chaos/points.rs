//! kill -9 of daemon or keeper at every single step of what they do: the points of [`rpm_sys::fail`].
//!
//! An act is a command, or a death, under which points are passed. Each point belongs to one act, which plays it in
//! every run: the process dies there, the next command finds a daemon again, what was asked is done whole or not at
//! all, and can be done again. A long run plays every point that an act passes, and not only its first passing.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Output;
use std::time::{Duration, Instant};

use rpm_sys::fail;
use rpm_tests::{http, is_alive, until};
use rustix::process::Signal;

use crate::scenario::{May, Scenario, Setup};
use crate::stage::{Stage, script};

const ROLLS: &[May] = &[May::Outages, May::Overlap];
const OUTAGES: &[May] = &[May::Outages];
const DELETES: &[May] = &[May::Outages, May::Forget];

pub(crate) const TABLE: &[Scenario] = &[
    Scenario::new("dies_at_each_step_of_a_first_start", &[], |stage| play(stage, &FIRST_START)).may(DELETES),
    Scenario::new("dies_at_each_step_of_a_start", &[], |stage| play(stage, &START)).may(DELETES),
    Scenario::new("dies_at_each_step_of_getting_ready", &[], |stage| play(stage, &READY)).may(DELETES),
    Scenario::new("dies_at_each_step_of_a_reload", &[], |stage| play(stage, &RELOAD)).may(ROLLS),
    Scenario::new("dies_at_each_step_of_a_restart", &[], |stage| play(stage, &RESTART)).may(OUTAGES),
    Scenario::new("dies_at_each_step_of_a_stop", &[], |stage| play(stage, &STOP)).may(OUTAGES),
    Scenario::new("dies_at_each_step_of_scaling", &[], |stage| play(stage, &SCALE)).may(DELETES),
    Scenario::new("dies_at_each_step_of_a_delete", &[], |stage| play(stage, &DELETE)).may(DELETES),
    Scenario::new("dies_at_each_step_of_a_crash", &[], |stage| play(stage, &CRASH)).may(OUTAGES),
    Scenario::new("dies_at_each_step_of_a_save", &[], |stage| play(stage, &SAVE)).may(OUTAGES),
    Scenario::new("dies_at_each_step_of_an_update", &[], |stage| play(stage, &UPDATE)).may(OUTAGES),
    Scenario::new("dies_at_each_step_of_being_back", &[], |stage| play(stage, &DAEMON_KILLED)).may(OUTAGES),
    Scenario::new("keeper_dies_after_an_update", &[], |stage| play(stage, &UPDATE_PLAIN)).may(OUTAGES),
    Scenario::new("keeper_dies_while_there_is_no_daemon", &[], |stage| play(stage, &KILLED_PLAIN)).may(OUTAGES),
    Scenario::new("dies_at_each_step_of_a_succession", &[], |stage| play(stage, &KEEPER_KILLED)).may(OUTAGES),
    Scenario::new("dies_at_each_step_of_taking_orphans_in", &[], |stage| play(stage, &BOTH_KILLED)).may(OUTAGES),
    Scenario::new("dies_at_each_step_of_the_end", &[], |stage| play(stage, &KILL)).may(DELETES),
];

/// What is played.
struct Act {
    /// What is there all the time.
    apps: &'static [Setup],
    /// Whether requests are sent to [`WEB`] all the time; each is answered.
    load: bool,
    /// Brings things to where the act begins.
    prepare: fn(&Stage),
    /// Passes the points. A command's output, if it is one.
    act: fn(&Stage) -> Option<Output>,
    /// Looks at what was done, given whether the command said that it was; then does it again.
    check: fn(&Stage, bool),
    /// The points that are its own: names, or beginnings of several.
    own: &'static [&'static str],
    /// The points that may be played at all, likewise, where not all may: while there is no daemon, nobody goes on with what
    /// a keeper had, and Node's cluster workers end with it.
    only: &'static [&'static str],
}

/// Any point may be played.
const EVERY: &[&str] = &["keeper.", "daemon."];

const IDLE: Setup = Setup { name: "bystander", script: "idle.sh", options: &[], promised: 1 };
const PAIR: Setup = Setup { name: "pair", script: "idle.sh", options: &["-i", "2", "--time"], promised: 0 };
const DEAF: Setup = Setup { name: "deaf", script: "deaf.sh", options: &["--kill-timeout", "150"], promised: 0 };
const WEB: Setup = Setup { name: "web", script: "http.js", options: &["-i", "2"], promised: 2 };

/// Every act.
const ACTS: [&Act; 17] = [
    &FIRST_START,
    &START,
    &READY,
    &RELOAD,
    &RESTART,
    &STOP,
    &SCALE,
    &DELETE,
    &CRASH,
    &SAVE,
    &UPDATE,
    &DAEMON_KILLED,
    &UPDATE_PLAIN,
    &KILLED_PLAIN,
    &KEEPER_KILLED,
    &BOTH_KILLED,
    &KILL,
];

const FIRST_START: Act = Act {
    apps: &[],
    load: false,
    prepare: end_everything,
    act: |stage| Some(start(stage, "a", "idle.sh", &["-i", "2"])),
    check: |stage, done| {
        whole_or_nothing(stage, "a", 2, done);
        if stage.mains("a").is_empty() {
            stage.start("a", "idle.sh", &["-i", "2"]);
        }
        stage.ok(&["restart", "a"]);
        assert_eq!(stage.mains("a").len(), 2);
    },
    own: &[
        "keeper.start.",
        "keeper.got.hello",
        "keeper.did.hello",
        "daemon.asked.hello",
        "daemon.heard.hello",
        "daemon.effect.watch_settling",
    ],
    only: EVERY,
};

const START: Act = Act {
    apps: &[IDLE],
    load: false,
    prepare: |stage| delete(stage, "web"),
    act: |stage| Some(start(stage, "web", "http.js", &["-i", "2"])),
    check: |stage, done| {
        whole_or_nothing(stage, "web", 2, done);
        if stage.mains("web").is_empty() {
            delete(stage, "web");
            stage.start("web", "http.js", &["-i", "2"]);
        }
        assert_eq!(stage.mains("web").len(), 2);
        until("an answer", || http::get(stage.port, "/").is_ok());
    },
    own: &[
        "keeper.spawn.",
        "keeper.got.spawn",
        "keeper.did.spawn",
        "keeper.got.store",
        "keeper.did.store",
        "daemon.asked.spawn",
        "daemon.asked.store",
        "daemon.heard.spawned",
        "daemon.spawn.opened",
        "daemon.query.",
        "daemon.effect.spawn",
        "daemon.effect.admit",
    ],
    only: EVERY,
};

const READY: Act = Act {
    apps: &[IDLE],
    load: false,
    prepare: |stage| delete(stage, "ready"),
    act: |stage| Some(start(stage, "ready", "ready.js", &["--wait-ready", "-i", "2"])),
    check: |stage, done| {
        whole_or_nothing(stage, "ready", 2, done);
        if stage.mains("ready").is_empty() {
            delete(stage, "ready");
            stage.start("ready", "ready.js", &["--wait-ready", "-i", "2"]);
        }
        assert_eq!(stage.rpm.statuses("ready"), ["online", "online"]);
    },
    own: &["daemon.worker.ready"],
    only: EVERY,
};

const RELOAD: Act = Act {
    apps: &[IDLE, WEB],
    load: true,
    prepare: |_| {},
    act: |stage| Some(stage.run(&["reload", "web"])),
    check: |stage, _| {
        assert_eq!(stage.mains("web").len(), 2);
        let before = stage.mains("web");
        stage.ok(&["reload", "web"]);
        stage.settle();
        let after = stage.mains("web");
        assert!(after.len() == 2 && after.iter().all(|pid| !before.contains(pid)), "{before:?}, then {after:?}");
        stage.served(5);
    },
    own: &[
        "daemon.worker.listens",
        "daemon.effect.drain",
        "daemon.effect.ask",
        "daemon.effect.reply",
        "daemon.signal.",
        "daemon.turn.",
    ],
    only: EVERY,
};

const RESTART: Act = Act {
    apps: &[IDLE, PAIR],
    load: false,
    prepare: |_| {},
    act: |stage| Some(stage.run(&["restart", "pair"])),
    check: |stage, _| {
        assert_eq!(stage.mains("pair").len(), 2);
        stage.ok(&["restart", "pair"]);
        stage.settle();
        assert_eq!(stage.mains("pair").len(), 2);
    },
    own: &[
        "daemon.state.",
        "daemon.state_copy.",
        "daemon.effect.publish",
        "keeper.got.drop_prefix",
        "keeper.did.drop_prefix",
        "daemon.asked.drop_prefix",
    ],
    only: EVERY,
};

const STOP: Act = Act {
    apps: &[IDLE, DEAF],
    load: false,
    prepare: |stage| {
        if stage.mains("deaf").is_empty() {
            stage.ok(&["restart", "deaf"]);
        }
    },
    act: |stage| Some(stage.run(&["stop", "deaf"])),
    check: |stage, done| {
        assert!(!done || stage.mains("deaf").is_empty(), "it was stopped");
        stage.ok(&["stop", "deaf"]);
        stage.settle();
        assert_eq!(stage.mains("deaf"), Vec::<i32>::new());
        assert_eq!(stage.rpm.statuses("deaf"), ["stopped"]);
    },
    own: &["daemon.effect.kill"],
    only: EVERY,
};

const SCALE: Act = Act {
    apps: &[IDLE, PAIR],
    load: false,
    prepare: |stage| {
        let _refused_where_it_is_so = stage.run(&["scale", "pair", "2"]);
    },
    act: |stage| Some(stage.run(&["scale", "pair", "4"])),
    check: |stage, done| {
        whole_or_nothing(stage, "pair", 4, done);
        for wanted in ["4", "1"] {
            let _refused_where_it_is_so = stage.run(&["scale", "pair", wanted]);
            stage.settle();
            assert_eq!(stage.mains("pair").len().to_string(), wanted);
        }
    },
    own: &[],
    only: EVERY,
};

const DELETE: Act = Act {
    apps: &[IDLE],
    load: false,
    prepare: |stage| {
        if stage.rpm.pids("doomed").is_empty() {
            stage.start("doomed", "http.js", &["-i", "2"]);
        }
    },
    act: |stage| Some(stage.run(&["delete", "doomed"])),
    check: |stage, done| {
        assert!(!done || stage.rpm.processes("doomed").is_empty(), "it was deleted");
        delete(stage, "doomed");
        stage.settle();
        assert_eq!(stage.mains("doomed"), Vec::<i32>::new());
        assert!(http::get(stage.port, "/").is_err(), "somebody still listens");
    },
    own: &["daemon.effect.close", "daemon.effect.forget", "keeper.got.drop", "keeper.did.drop", "daemon.asked.drop"],
    only: EVERY,
};

const CRASH: Act = Act {
    apps: &[IDLE, PAIR],
    load: false,
    // How those end that an earlier keeper has started no keeper hears.
    prepare: |stage| {
        stage.ok(&["restart", "pair"]);
    },
    act: |stage| {
        let before = stage.mains("pair");
        before.iter().for_each(|pid| stage.signal_own(*pid, Signal::KILL));
        until("the end of the workers", || !before.iter().any(|pid| is_alive(*pid)));
        None
    },
    check: |stage, _| assert_eq!(stage.mains("pair").len(), 2),
    own: &[
        "keeper.exit.",
        "keeper.got.ack",
        "keeper.did.ack",
        "daemon.asked.ack",
        "daemon.heard.exited",
        "daemon.exit.",
    ],
    only: EVERY,
};

const SAVE: Act = Act {
    apps: &[IDLE, PAIR],
    load: false,
    prepare: |stage| {
        stage.ok(&["save"]);
    },
    act: |stage| Some(stage.run(&["save"])),
    check: |stage, _| {
        for name in ["dump.json", "dump.json.bak"] {
            let list = fs::read(stage.rpm.home().join(name)).expect("there is a list");
            let list: serde_json::Value = serde_json::from_slice(&list).expect("the list is whole");
            assert_eq!(list["apps"].as_array().map(Vec::len), Some(2), "{name}");
        }
        stage.ok(&["save"]);
    },
    own: &["daemon.list.", "daemon.list_copy."],
    only: EVERY,
};

const UPDATE: Act = Act {
    apps: &[IDLE, WEB],
    load: true,
    prepare: |_| {},
    act: |stage| Some(stage.run(&["update"])),
    check: |stage, _| updated(stage, "web"),
    own: &[
        "keeper.upgrade.begun",
        "keeper.upgrade.written",
        "keeper.upgrade.marked",
        "keeper.upgrade.resumed",
        "keeper.got.upgrade",
        "keeper.did.upgrade",
        "daemon.asked.upgrade",
        "daemon.update.",
    ],
    only: &[
        "keeper.upgrade.begun",
        "keeper.upgrade.written",
        "keeper.upgrade.marked",
        "keeper.upgrade.resumed",
        "keeper.got.upgrade",
        "keeper.did.upgrade",
        "daemon.",
    ],
};

const UPDATE_PLAIN: Act = Act {
    apps: &[IDLE, PAIR],
    load: false,
    check: |stage, _| updated(stage, "pair"),
    own: &["keeper.upgrade.restored"],
    only: &["keeper."],
    ..UPDATE
};

const DAEMON_KILLED: Act = Act {
    apps: &[IDLE, WEB],
    load: true,
    prepare: |_| {},
    act: |stage| {
        stage.kill_daemon_now();
        None
    },
    check: |stage, _| {
        assert_eq!(stage.rpm.restarts("web"), [0, 0]);
        stage.served(5);
    },
    own: &[
        "daemon.asked.inventory",
        "daemon.heard.child",
        "daemon.heard.held",
        "daemon.heard.inventory_end",
        "daemon.restore.",
    ],
    only: &["daemon."],
};

const KILLED_PLAIN: Act = Act {
    apps: &[IDLE, PAIR],
    load: false,
    check: |stage, _| assert_eq!(stage.rpm.restarts("pair"), [0, 0]),
    own: &["keeper.daemon.", "keeper.got.inventory", "keeper.did.inventory", "keeper.inventory."],
    only: &["keeper."],
    ..DAEMON_KILLED
};

const KEEPER_KILLED: Act = Act {
    apps: &[IDLE, PAIR],
    load: false,
    prepare: |_| {},
    act: |stage| {
        let keeper = stage.pid_in("keeper.pid");
        stage.signal_own(keeper.expect("a keeper runs"), Signal::KILL);
        None
    },
    check: |stage, _| {
        until("the next keeper", || stage.pid_in("keeper.pid").is_some_and(is_alive));
        assert_eq!(stage.rpm.restarts("pair"), [0, 0]);
    },
    own: &[
        "keeper.succeed.",
        "daemon.spawn.prepared",
        "daemon.spawn.executing",
        "daemon.spawn.executed",
        "daemon.succession.",
    ],
    only: EVERY,
};

const BOTH_KILLED: Act = Act {
    apps: &[IDLE, PAIR],
    load: false,
    prepare: |_| {},
    act: |stage| {
        let (keeper, daemon) = (stage.rpm.keeper_pid(), stage.rpm.daemon_pid());
        // A stopped daemon starts no other keeper.
        stage.signal_own(daemon, Signal::STOP);
        for pid in [keeper, daemon] {
            stage.signal_own(pid, Signal::KILL);
        }
        until("the death of both", || !is_alive(keeper) && !is_alive(daemon));
        Some(stage.run(&["ping"]))
    },
    check: |stage, _| assert_eq!(stage.rpm.restarts("pair"), [0, 0]),
    own: &["keeper.got.adopt", "keeper.did.adopt", "daemon.asked.adopt", "daemon.orphans."],
    only: EVERY,
};

const KILL: Act = Act {
    apps: &[],
    load: false,
    prepare: |stage| {
        stage.ok(&["ping"]);
        if stage.mains("pair").is_empty() {
            delete(stage, "pair");
            stage.start("pair", "idle.sh", &["-i", "2"]);
        }
    },
    act: |stage| Some(stage.run(&["kill"])),
    check: |stage, _| {
        let there = stage.mains("pair").len();
        assert!(there == 0 || there == 2, "{there} of 2 are there");
        end_everything(stage);
    },
    own: &[
        "keeper.got.shutdown",
        "keeper.did.shutdown",
        "daemon.asked.shutdown",
        "daemon.effect.leave",
        "daemon.farewell.",
    ],
    only: EVERY,
};

fn start(stage: &Stage, name: &str, app: &str, options: &[&str]) -> Output {
    let script = script(app);
    let mut args = vec!["start", script.as_str(), "--name", name];
    args.extend(options);
    stage.run(&args)
}

fn delete(stage: &Stage, name: &str) {
    if !stage.rpm.processes(name).is_empty() {
        stage.ok(&["delete", name]);
    }
}

fn end_everything(stage: &Stage) {
    stage.run(&["kill"]);
    until("the end of everything", || stage.processes().is_empty());
}

/// What was asked of an app's number of processes is done whole or not at all; and done, if that was said.
fn whole_or_nothing(stage: &Stage, app: &str, wanted: usize, done: bool) {
    let there = stage.mains(app).len();
    let before = if app == "pair" { 2 } else { 0 };
    assert!(there == wanted || (there == before && !done), "{there} of {wanted} are there (said to be done: {done})");
}

/// Returns the names of all points.
fn points() -> impl Iterator<Item = String> {
    fail::POINTS.iter().flat_map(|(role, what, steps)| steps.iter().map(move |step| format!("{role}.{what}.{step}")))
}

/// Returns what an update has left: the same workers. Then there is another one.
fn updated(stage: &Stage, app: &str) {
    let before = stage.mains(app);
    stage.ok(&["update"]);
    stage.settle();
    assert_eq!(stage.mains(app), before);
    assert_eq!(stage.rpm.restarts(app), [0, 0]);
    if app == "web" {
        stage.served(5);
    }
}

fn is_own(act: &Act, point: &str) -> bool {
    is_among(act.own, point)
}

/// Returns whether a point is named: in full, or by the beginning of several names.
fn is_among(names: &[&str], point: &str) -> bool {
    names.iter().any(|name| if name.ends_with('.') { point.starts_with(name) } else { point == *name })
}

/// Nothing is forgotten: every point has its act, and only one.
fn all_are_played() {
    for point in points() {
        let acts = ACTS.iter().filter(|act| is_own(act, &point)).count();
        assert_eq!(acts, 1, "{point} belongs to {acts} acts");
    }
    for own in ACTS.iter().flat_map(|act| act.own) {
        assert!(points().any(|point| point.starts_with(own)), "there is no point {own}");
    }
}

fn play(stage: &mut Stage, act: &Act) {
    all_are_played();
    stage.let_die();
    for app in act.apps {
        stage.set_up(app);
    }
    if act.load {
        stage.load(2);
    }
    let Some(passed) = rehearse(stage, act) else { return stage.skip("a release build has no points") };
    let most = stage.times(1, 6);
    let mut last = (String::new(), None);
    for (point, passings) in &passed {
        let is_played = is_own(act, point) || (stage.times(0, 1) == 1 && is_among(act.only, point));
        if !is_played {
            continue;
        }
        for count in 1..=most.min(*passings) {
            let must = count == 1 && is_own(act, point);
            let died = catch_unwind(AssertUnwindSafe(|| die_at(stage, act, point, count, must)));
            if let Err(payload) = died {
                let why = crate::text_of(&*payload);
                resume_unwind(Box::new(format!("death at {point} {count} (the one before was at {last:?}): {why}")));
            }
            last = (point.clone(), Some(count));
        }
    }
    stage.all_answered();
}

fn begin(stage: &Stage, act: &Act) {
    (act.prepare)(stage);
    if !stage.processes().is_empty() {
        stage.settle();
    }
}

/// Plays the act without a death; returns how often each point was passed, or nothing where there are no points.
fn rehearse(stage: &Stage, act: &Act) -> Option<BTreeMap<String, usize>> {
    begin(stage, act);
    let path = stage.points().join(fail::PASSED);
    fs::write(&path, "").expect("a file");
    let count = || {
        let text = fs::read_to_string(&path).expect("the file");
        let mut passed = BTreeMap::new();
        text.lines().for_each(|point| *passed.entry(point.to_owned()).or_insert(0) += 1);
        passed
    };
    let output = (act.act)(stage);
    stage.ok(&["ping"]);
    if count().is_empty() {
        return None;
    }
    let missing = || points().find(|point| is_own(act, point) && !count().contains_key(point));
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Some(point) = missing() {
        assert!(Instant::now() < deadline, "the act does not pass {point}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let passed = count();
    fs::remove_file(&path).expect("it is there");
    stage.settle();
    (act.check)(stage, output.is_some_and(|output| output.status.success()));
    Some(passed)
}

/// Plays the act, in which a process dies when it has passed the point so often; then looks at what is left. How often some
/// are passed differs from time to time: only one that `must` be passed is waited for.
fn die_at(stage: &Stage, act: &Act, point: &str, count: usize, must: bool) {
    begin(stage, act);
    let armed = stage.points().join(fail::ARMED);
    let about_to_be = armed.with_extension("new");
    fs::write(&about_to_be, format!("{point} {count}")).expect("a file");
    fs::rename(&about_to_be, &armed).expect("the same directory");
    let output = (act.act)(stage);
    if must {
        until("the death", || !armed.exists());
    } else {
        let deadline = Instant::now() + Duration::from_secs(2);
        while armed.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _where_it_was_not_passed = fs::remove_file(&armed);
    }
    stage.ok(&["ping"]);
    stage.settle();
    (act.check)(stage, output.is_some_and(|output| output.status.success()));
}
