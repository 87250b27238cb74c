//! Much of everything: crashes, workers, clients.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rpm_tests::until;
use rustix::process::Signal;

use crate::processes;
use crate::random::Random;
use crate::scenario::{May, Scenario, Setup};
use crate::stage::{Stage, script};

const IDLE: Setup = Setup { name: "bystander", script: "idle.sh", options: &[], promised: 1 };
const PAIR: Setup = Setup { name: "pair", script: "idle.sh", options: &["-i", "2"], promised: 0 };
const WEB: Setup = Setup { name: "web", script: "http.js", options: &["-i", "2"], promised: 2 };

pub(crate) const TABLE: &[Scenario] = &[
    Scenario::new("crashes_by_the_thousand", &[IDLE], crashes).alone(),
    Scenario::new("fifty_apps_that_exit_at_once", &[IDLE], fifty_exits).alone(),
    Scenario::new("a_thousand_workers", &[IDLE], thousand).alone(),
    Scenario::new("hundred_workers_killed_at_once", &[IDLE], hundred_killed),
    Scenario::new("eight_clients_at_random", &[IDLE], random_clients).may(&[May::Overlap, May::Forget]),
    Scenario::new("eight_clients_and_kill_9", &[IDLE], random_clients_and_kills).may(&[
        May::Overlap,
        May::Forget,
        May::Outages,
    ]),
    Scenario::new("reload_upon_reload", &[WEB], reloads).may(&[May::Overlap]),
    Scenario::new("commands_while_a_restart_waits", &[IDLE], during_delay),
    Scenario::new("workers_killed_during_reload", &[IDLE, PAIR], killed_in_reload).may(&[May::Overlap]),
];

/// What may not grow with time.
#[derive(Debug)]
struct Size {
    descriptors: usize,
    files: usize,
    rss_kib: u64,
}

fn sizes(stage: &Stage) -> [Size; 2] {
    let files = || walk(stage.rpm.home());
    [stage.rpm.daemon_pid(), stage.rpm.keeper_pid()].map(|pid| Size {
        descriptors: processes::descriptors(pid).len(),
        files: files(),
        rss_kib: processes::rss_kib(pid).unwrap_or(0),
    })
}

fn walk(directory: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { 1 + walk(&entry.path()) } else { 1 }).sum()
}

fn crashes(stage: &mut Stage) {
    let wanted = stage.times(600, 10_000) as u64;
    let app = script("exits.sh");
    stage.run(&["start", &app, "--name", "crash", "--max-restarts", "1000000", "-i", "4"]);
    let count = |stage: &Stage| stage.rpm.restarts("crash").iter().sum::<u64>();
    let waited = |stage: &Stage, more: u64| {
        let (goal, begun) = (count(stage) + more, Instant::now());
        while count(stage) < goal {
            assert!(begun.elapsed() < Duration::from_secs(1200), "only {} of {goal} restarts", count(stage));
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    // Buffers take their sizes in the first ones.
    waited(stage, wanted / 6);
    let before = sizes(stage);
    waited(stage, wanted);
    stage.ok(&["stop", "crash"]);
    let after = sizes(stage);
    for (before, after) in before.iter().zip(&after) {
        assert!(after.descriptors <= before.descriptors + 8, "descriptors: {before:?}, {after:?}");
        assert!(after.files <= before.files + 4, "files: {before:?}, {after:?}");
        assert!(after.rss_kib <= before.rss_kib + 4096, "memory: {before:?}, {after:?}");
    }
}

/// Restarts of a hopeless app come later and later; nobody else notices.
fn fifty_exits(stage: &mut Stage) {
    stage.watch.list_ms.store(50, Relaxed);
    let app = script("exits.sh");
    stage.run(&["start", &app, "--name", "exits", "-i", "50", "--exp-backoff-restart-delay", "100"]);
    let seconds = stage.times(8, 20) as u64;
    let (daemon, keeper) = (stage.rpm.daemon_pid(), stage.rpm.keeper_pid());
    let ticks = || processes::cpu_ticks(daemon) + processes::cpu_ticks(keeper);
    std::thread::sleep(Duration::from_secs(2));
    let (before, begun) = (ticks(), Instant::now());
    std::thread::sleep(Duration::from_secs(seconds));
    let share = (ticks() - before) as f64 / (begun.elapsed().as_secs_f64() * 100.0);
    println!("        daemon and keeper used {:.1} % of a core", share * 100.0);
    // The observer's twenty lists a second are in it, and a build without optimisation is several times slower.
    let most = if cfg!(debug_assertions) { 0.30 } else { 0.05 };
    assert!(share < most, "{:.1} % of a core", share * 100.0);
    assert_eq!(stage.rpm.restarts("bystander"), [0]);
    stage.ok(&["delete", "exits"]);
}

fn thousand(stage: &mut Stage) {
    let workers = stage.times(200, 1000);
    // A list of a thousand takes its time, above all without optimisation.
    stage.watch.list_ms.store(2000, Relaxed);
    stage.watch.rss_kib.store(256 * 1024, Relaxed);
    stage.start("many", "idle.sh", &["-i", &workers.to_string()]);
    stage.settle();
    assert_eq!(stage.mains("many").len(), workers);
    let begun = Instant::now();
    let list = stage.ok(&["jlist"]);
    println!("        a list of {workers}: {:.0} ms", begun.elapsed().as_secs_f64() * 1000.0);
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).expect("JSON");
    assert_eq!(list.len(), workers + 1);
    stage.ok(&["stop", "many"]);
    stage.settle();
    assert_eq!(stage.mains("many").len(), 0);
    stage.ok(&["delete", "many"]);
}

fn hundred_killed(stage: &mut Stage) {
    // Without optimisation a list of a hundred takes a tenth of a second by itself.
    stage.watch.list_ms.store(500, Relaxed);
    // Lives of less than a second are too short for them to be started again more than fifteen times.
    stage.start("many", "idle.sh", &["-i", "100", "--max-restarts", "1000"]);
    for turn in 1..=stage.times(2, 20) {
        for pid in stage.mains("many") {
            stage.signal_own(pid, Signal::KILL);
        }
        stage.rpm.until("all restarts", "many", |list| {
            list.iter().all(|one| one["pm2_env"]["restart_time"] == turn && one["pm2_env"]["status"] == "online")
        });
    }
    stage.settle();
    assert_eq!(stage.mains("many").len(), 100);
}

/// One client: whatever comes to its mind. Every command ends, with success or a reason.
fn client(stage: &Stage, mut random: Random, commands: usize) {
    let idle = script("idle.sh");
    let app = script("exits.sh");
    for _ in 0..commands {
        let name = *random.pick(&["a", "b", "c"]);
        let number = (1 + random.below(4)).to_string();
        let args: Vec<&str> = match random.below(12) {
            0..=2 => vec!["start", &idle, "--name", name],
            3 => vec!["start", &app, "--name", name, "--max-restarts", "3"],
            4 => vec!["stop", name],
            5 | 6 => vec!["restart", name],
            7 => vec!["reload", name],
            8 => vec!["delete", name],
            9 => vec!["scale", name, &number],
            10 => vec!["save", "--force"],
            _ => vec!["jlist"],
        };
        let output = stage.run(&args);
        let err = crate::stage::texts(&output).1;
        let code = output.status.code();
        assert!(code.is_some(), "{args:?} was ended by a signal: {}", output.status);
        assert!(code == Some(0) || !err.trim().is_empty(), "{args:?} failed without a word");
    }
}

fn storm(stage: &mut Stage, commands: usize, kills: bool) {
    let seeds: Vec<u64> = (0..8).map(|_| stage.random.next()).collect();
    let mut pauses = Random::new(stage.random.next());
    let done = std::sync::atomic::AtomicUsize::new(0);
    let stage = &*stage;
    std::thread::scope(|scope| {
        let clients: Vec<_> = seeds
            .iter()
            .map(|seed| {
                let done = &done;
                scope.spawn(move || {
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        client(stage, Random::new(*seed), commands);
                    }));
                    done.fetch_add(1, Relaxed);
                    outcome
                })
            })
            .collect();
        while kills && done.load(Relaxed) < seeds.len() {
            std::thread::sleep(Duration::from_millis(100) + pauses.instant(700));
            stage.kill_daemon_now();
        }
        for client in clients {
            if let Err(payload) = client.join().expect("it caught its panic") {
                std::panic::resume_unwind(payload);
            }
        }
    });
    stage.ok(&["ping"]);
    stage.settle();
    stage.run(&["delete", "a", "b", "c"]);
}

fn random_clients(stage: &mut Stage) {
    let commands = stage.times(8, 100);
    storm(stage, commands, false);
}

fn random_clients_and_kills(stage: &mut Stage) {
    let commands = stage.times(8, 100);
    storm(stage, commands, true);
}

fn reloads(stage: &mut Stage) {
    stage.load(2);
    for _ in 0..stage.times(1, 10) {
        let commands: Vec<_> = (0..4)
            .map(|_| {
                let child = stage.spawn(&["reload", "web", "--force"]);
                std::thread::sleep(stage.random.instant(300));
                child
            })
            .collect();
        for child in commands {
            stage.finish_command(child, "reload");
        }
        stage.settle();
    }
    assert_eq!(stage.mains("web").len(), 2);
}

fn during_delay(stage: &mut Stage) {
    let app = script("exits.sh");
    for _ in 0..stage.times(3, 50) {
        stage.run(&["start", &app, "--name", "wait", "--restart-delay", "100000"]);
        stage.rpm.until("that it waits", "wait", |list| list[0]["pm2_env"]["status"] != "online");
        let command = *stage.random.pick(&["stop", "restart", "delete", "reload"]);
        let begun = Instant::now();
        stage.run(&[command, "wait"]);
        assert!(begun.elapsed() < Duration::from_secs(10), "{command} waited for the delay");
        stage.run(&["delete", "wait"]);
        assert_eq!(stage.mains("wait").len(), 0);
    }
}

fn killed_in_reload(stage: &mut Stage) {
    for _ in 0..stage.times(6, 80) {
        let reload = stage.spawn(&["reload", "pair"]);
        std::thread::sleep(stage.random.instant(200));
        for pid in stage.mains("pair") {
            stage.signal_own(pid, Signal::KILL);
        }
        stage.finish_command(reload, "reload");
        until("both", || stage.mains("pair").len() == 2);
        stage.settle();
        assert_eq!(stage.mains("pair").len(), 2);
    }
}
