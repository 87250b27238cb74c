//! The same scenarios for PM2 and for `rpm` under the name of `pm2`; what differs must be listed.
//!
//! `cargo test` plays them with `rpm` alone, against what PM2 did when it was recorded (`expected/`).
//! `--live` plays both sides now, `--record` writes `expected/` anew, `--listed` shows what the list covers too, but for
//! its entries for every scenario; other words choose scenarios by name.
//! A difference that `known.toml` does not list is a failure. So is an entry of it that has nothing to say any more.

mod compare;
mod normal;
mod play;
mod scenario;
mod side;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use compare::{Difference, compare, read_known};
use play::{Seen, play};
use scenario::Scenario;
use side::{Player, Side};

/// Scenarios mostly wait: for Node to start, for timeouts to pass.
const LANES: usize = 4;

/// Where PM2's side comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Replay,
    Live,
    Record,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let given = |flag: &str| args.iter().any(|arg| arg == flag);
    let mode = if given("--record") {
        Mode::Record
    } else if given("--live") {
        Mode::Live
    } else {
        Mode::Replay
    };
    let words: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let house = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let mut scenarios = scenario::read_all(&house.join("scenarios"));
    let all = scenarios.len();
    scenarios.retain(|scenario| words.is_empty() || words.iter().any(|word| scenario.name.contains(word.as_str())));
    let root = rustix::process::geteuid().is_root();
    scenarios.retain(|scenario| root || !scenario.root);
    if given("--list") {
        scenarios.iter().for_each(|scenario| println!("{}: test", scenario.name));
        return ExitCode::SUCCESS;
    }

    let differences = Suite { house: &house, mode }.play_all(&scenarios);
    if mode == Mode::Record {
        println!("recorded {} scenarios", scenarios.len());
        return ExitCode::SUCCESS;
    }
    let known = read_known(&house.join("known.toml"));
    if given("--listed") {
        let listed = |difference: &&Difference| {
            let mut entries = known.iter().filter(|entry| entry.covers(difference)).peekable();
            entries.peek().is_some() && entries.all(|entry| entry.scenario != "*")
        };
        differences.iter().filter(listed).for_each(|difference| println!("{difference}"));
    }
    judge(&known, &scenarios, &differences, scenarios.len() == all)
}

struct Suite<'a> {
    house: &'a Path,
    mode: Mode,
}

impl Suite<'_> {
    fn play_all(&self, scenarios: &[Scenario]) -> Vec<Difference> {
        let next = AtomicUsize::new(0);
        let differences = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..LANES {
                scope.spawn(|| {
                    let mut shared = None;
                    while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let found = self.one(scenario, &mut shared);
                        differences.lock().expect("no lane panics with the lock").extend(found);
                    }
                });
            }
        });
        differences.into_inner().expect("no lane panics with the lock")
    }

    fn one(&self, scenario: &Scenario, shared: &mut Option<Side>) -> Vec<Difference> {
        let apps = self.house.join("apps");
        let expected = self.house.join("expected").join(format!("{}.json", scenario.name));
        let play_rpm = || {
            let side = Side::new(Player::Rpm, &rpm());
            start_daemon(scenario, &side);
            play(scenario, &side, &apps)
        };
        match self.mode {
            Mode::Record => {
                let seen = play_pm2(scenario, shared, &apps);
                let text = serde_json::to_string_pretty(&seen).expect("it is JSON");
                std::fs::write(expected, text + "\n").expect("what PM2 did is written");
                Vec::new()
            }
            Mode::Live => std::thread::scope(|scope| {
                let ours = scope.spawn(play_rpm);
                let theirs = play_pm2(scenario, shared, &apps);
                compare(&scenario.name, &theirs, &ours.join().expect("our side was played"))
            }),
            Mode::Replay => {
                let text = std::fs::read_to_string(&expected)
                    .unwrap_or_else(|error| panic!("{}: {error}: run `make conformance-record`", expected.display()));
                let theirs: Vec<Seen> = serde_json::from_str(&text).expect("what PM2 did is JSON");
                compare(&scenario.name, &theirs, &play_rpm())
            }
        }
    }
}

/// PM2 takes seconds to start its daemon, so the scenarios of a lane share one, unless they would notice.
fn play_pm2(scenario: &Scenario, shared: &mut Option<Side>, apps: &Path) -> Vec<Seen> {
    let new = || {
        let side = Side::new(Player::Pm2, &rpm_tests::deps().join("node_modules/.bin/pm2"));
        start_daemon(scenario, &side);
        side
    };
    if scenario.fresh {
        return play(scenario, &new(), apps);
    }
    let side = shared.get_or_insert_with(new);
    side.clear();
    play(scenario, side, apps)
}

/// Which command starts the daemon is seen in the environment of what it starts.
fn start_daemon(scenario: &Scenario, side: &Side) {
    if !scenario.fresh {
        side.run("pm2 ping", &Default::default());
    }
}

fn judge(known: &[compare::Known], scenarios: &[Scenario], differences: &[Difference], whole: bool) -> ExitCode {
    let unlisted = |difference: &&Difference| !known.iter().any(|entry| entry.covers(difference));
    let news: Vec<&Difference> = differences.iter().filter(unlisted).collect();
    for difference in &news {
        println!("{difference}");
        difference.aside.lines().take(12).for_each(|line| println!("  | {line}"));
    }
    // An entry for every scenario may have nothing to say about the chosen few.
    let idle = |entry: &&compare::Known| {
        let chosen = scenarios.iter().any(|scenario| scenario.name == entry.scenario);
        (whole || chosen) && !differences.iter().any(|difference| entry.covers(difference))
    };
    let passed: Vec<_> = known.iter().filter(idle).collect();
    for entry in &passed {
        println!("{} | {}: no longer differs; take it out of known.toml", entry.scenario, entry.aspect);
    }
    // What PM2 notes down for itself in every app is no difference of this scenario.
    let speaks =
        |difference: &&Difference| !known.iter().any(|entry| entry.scenario == "*" && entry.covers(difference));
    let own: Vec<&Difference> = differences.iter().filter(speaks).collect();
    let differs = |scenario: &&Scenario| own.iter().any(|difference| difference.scenario == scenario.name);
    let fails = |scenario: &&Scenario| news.iter().any(|difference| difference.scenario == scenario.name);
    println!(
        "conformance: {} scenarios, {} as PM2 does, {} with listed differences, {} with others; {} entries to remove",
        scenarios.len(),
        scenarios.iter().filter(|scenario| !differs(scenario)).count(),
        scenarios.iter().filter(|scenario| differs(scenario) && !fails(scenario)).count(),
        scenarios.iter().filter(fails).count(),
        passed.len(),
    );
    if news.is_empty() && passed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the binary under test: RPM_BIN, or the one beside this test.
fn rpm() -> PathBuf {
    if let Some(path) = std::env::var_os("RPM_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps").join("rpm")
}
