//! What can go wrong, done on purpose: a table of scenarios, each with an observer outside the daemon that looks
//! every 50 ms. See `observer` for what must hold always, and the rooms for what is done.
//!
//! Plays every scenario once, short; [`Asked`] says what else. `make test` plays the quick ones.
//! A seed that failed is kept in `seeds.txt`, and played from then on.
//!
//! A scenario in `known.toml` shows a fault that is not mended yet: it must fail, and its entry goes when it does not.

mod channel;
mod descendants;
mod disk;
mod home;
mod hostile;
mod kills;
mod limits;
mod observer;
mod points;
mod processes;
mod random;
mod reboot;
mod scenario;
mod secrets;
mod signals;
mod stage;
mod storms;

use std::any::Any;
use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use random::Random;
use scenario::{Needs, Scenario};
use stage::Stage;

/// Scenarios mostly wait.
const LANES: usize = 4;

/// The seed of a short run, so that it is the same everywhere.
const SEED: u64 = 1;

/// Does on purpose what can go wrong.
#[derive(Parser)]
struct Asked {
    /// Only scenarios with one of these words in their names
    names: Vec<String>,
    /// Tell the names only
    #[arg(long)]
    list: bool,
    /// Leave out those that measure, and need the machine for themselves
    #[arg(long)]
    quick: bool,
    /// Do more in each
    #[arg(long)]
    long: bool,
    /// Begin with a new seed, go on with others, and begin no scenario after so many minutes
    #[arg(long)]
    minutes: Option<u64>,
    /// Play one seed again
    #[arg(long)]
    seed: Option<u64>,
}

/// How one playing ended.
struct Played {
    scenario: &'static Scenario,
    seed: u64,
    took: Duration,
    outcome: Result<(Option<String>, String), String>,
}

fn table() -> Vec<&'static Scenario> {
    let rooms: [&[Scenario]; 12] = [
        kills::TABLE,
        points::TABLE,
        signals::TABLE,
        home::TABLE,
        reboot::TABLE,
        disk::TABLE,
        descendants::TABLE,
        storms::TABLE,
        limits::TABLE,
        hostile::TABLE,
        channel::TABLE,
        secrets::TABLE,
    ];
    rooms.into_iter().flatten().collect()
}

fn main() -> ExitCode {
    let asked = Asked::parse();
    let is_chosen = |one: &Scenario| {
        let is_named = asked.names.is_empty() || asked.names.iter().any(|name| one.name.contains(name.as_str()));
        is_named && !(asked.quick && one.alone)
    };
    let chosen: Vec<_> = table().into_iter().filter(|one| is_chosen(one)).collect();
    if asked.list {
        chosen.iter().for_each(|scenario| println!("{}: test", scenario.name));
        return ExitCode::SUCCESS;
    }

    let house = Path::new(env!("CARGO_MANIFEST_DIR")).join("chaos");
    let until = asked.minutes.map(|minutes| Instant::now() + Duration::from_secs(minutes * 60));
    // A panic is how a scenario fails; it is told once, at the end of it.
    std::panic::set_hook(Box::new(|_| {}));
    let mut played = Vec::new();
    let mut seed = asked.seed.unwrap_or_else(|| if until.is_some() { Random::fresh_seed() } else { SEED });
    loop {
        println!("chaos: {} scenarios, seed {seed}", chosen.len());
        let mut work: Vec<(&'static Scenario, u64)> = chosen.iter().map(|scenario| (*scenario, seed)).collect();
        work.extend(
            kept(&house)
                .into_iter()
                .filter_map(|(name, seed)| Some((*chosen.iter().find(|one| one.name == name)?, seed))),
        );
        let (alone, together): (Vec<_>, Vec<_>) = work.into_iter().partition(|(scenario, _)| scenario.alone);
        for (mut work, lanes) in [(together, LANES), (alone, 1)] {
            if until.is_some() {
                // Not always the same ones when the time is up.
                work.sort_by_cached_key(|(scenario, seed)| Random::new(seed ^ scenario.name.len() as u64).next());
            }
            played.extend(play_all(&work, lanes, asked.long, until));
        }
        if until.is_none_or(|until| Instant::now() > until) {
            break;
        }
        seed = Random::fresh_seed();
    }
    judge(&house, &played, until.is_some())
}

fn play_all(work: &[(&'static Scenario, u64)], lanes: usize, long: bool, until: Option<Instant>) -> Vec<Played> {
    let is_late = || until.is_some_and(|until| Instant::now() > until);
    let (next, played) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..lanes.min(work.len()) {
            scope.spawn(|| {
                while let Some((scenario, seed)) = work.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| !is_late())
                {
                    let one = play(scenario, *seed, long);
                    tell(&one);
                    played.lock().expect("no lane panics with the lock").push(one);
                }
            });
        }
    });
    played.into_inner().expect("no lane panics with the lock")
}

fn play(scenario: &'static Scenario, seed: u64, long: bool) -> Played {
    let begun = Instant::now();
    let outcome = if scenario.needs == Needs::Root && !rustix::process::geteuid().is_root() {
        Ok((Some("needs root".to_owned()), String::new()))
    } else {
        let whole = || {
            let mut stage = Stage::set(scenario, seed, long);
            (scenario.act)(&mut stage);
            stage.clear()
        };
        catch_unwind(AssertUnwindSafe(whole)).map_err(|payload| text_of(&*payload))
    };
    Played { scenario, seed, took: begun.elapsed(), outcome }
}

/// Returns what a panic said.
fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

fn tell(played: &Played) {
    let (name, seed, took) = (played.scenario.name, played.seed, played.took.as_secs_f32());
    match &played.outcome {
        Ok((None, figures)) => println!("ok      {name} ({took:.1} s; {figures})"),
        Ok((Some(why), _)) => println!("skipped {name}: {why}"),
        Err(why) => println!("FAILED  {name} ({took:.1} s), seed {seed}\n  {}", why.replace('\n', "\n  ")),
    }
    let _told = std::io::stdout().flush();
}

fn judge(house: &Path, played: &[Played], random: bool) -> ExitCode {
    let known = known(house);
    let failed = |one: &&Played| one.outcome.is_err();
    let unlisted: Vec<&Played> =
        played.iter().filter(failed).filter(|one| !known.contains_key(one.scenario.name)).collect();
    let mended: Vec<&str> = known
        .keys()
        .map(String::as_str)
        .filter(|name| {
            let mut of_it = played.iter().filter(|one| one.scenario.name == *name).peekable();
            of_it.peek().is_some() && of_it.all(|one| matches!(one.outcome, Ok((None, _))))
        })
        .collect();
    for name in &mended {
        println!("{name} no longer fails; take it out of known.toml");
    }
    for one in &unlisted {
        println!("to play it again: make chaos SCENARIOS=\"{} --seed {}\"", one.scenario.name, one.seed);
    }
    if random {
        keep(house, &unlisted);
    }
    let skipped = played.iter().filter(|one| matches!(one.outcome, Ok((Some(_), _)))).count();
    println!(
        "chaos: {} played, {} failed, {} of them as listed, {skipped} skipped; {} entries to remove",
        played.len(),
        played.iter().filter(failed).count(),
        played.iter().filter(failed).count() - unlisted.len(),
        mended.len(),
    );
    if unlisted.is_empty() && mended.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the scenarios with a fault that is not mended, and why.
fn known(house: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(house.join("known.toml")).unwrap_or_default();
    let entries: BTreeMap<String, String> = toml::from_str(&text).expect("known.toml is TOML: scenario = \"reason\"");
    for (name, reason) in &entries {
        assert!(table().iter().any(|scenario| scenario.name == name), "known.toml: there is no scenario {name}");
        assert!(!reason.is_empty(), "known.toml: {name} has no reason");
    }
    entries
}

fn seeds(house: &Path) -> PathBuf {
    house.join("seeds.txt")
}

/// Returns the seeds that failed once: `scenario seed`.
fn kept(house: &Path) -> Vec<(String, u64)> {
    let text = std::fs::read_to_string(seeds(house)).unwrap_or_default();
    let entry = |line: &str| {
        let (name, seed) = line.split_once(' ')?;
        Some((name.to_owned(), seed.trim().parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

fn keep(house: &Path, failed: &[&Played]) {
    let before = kept(house);
    let mut text = std::fs::read_to_string(seeds(house)).unwrap_or_default();
    for one in failed.iter().filter(|one| !before.contains(&(one.scenario.name.to_owned(), one.seed))) {
        text.push_str(&format!("{} {}\n", one.scenario.name, one.seed));
    }
    if let Err(error) = std::fs::write(seeds(house), text) {
        println!("the seeds could not be kept: {error}");
    }
}
