//! Measures how many events a second the supervisor takes, with ten thousand workers:
//! `cargo run --release -p rpm-supervise --example throughput`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rpm_model::{AppSpec, Bytes, ExecMode, Exit, Life, Moment, WorkerId};
use rpm_supervise::{Command, CommandId, Effect, Event, Supervisor};

const WORKERS: u32 = 10_000;
const ROUNDS: u64 = 40;

fn main() {
    let mut spec = AppSpec::new("api", "/srv/app.js", "/srv");
    spec.exec_mode = ExecMode::Cluster;
    spec.instances = WORKERS;
    spec.max_memory_restart = Some(Bytes(1 << 30));
    let mut supervisor = Supervisor::new();
    let mut effects = Vec::new();
    let mut now = Moment(1);

    measure("start of all, one command", 1, || {
        let start = Command::Start { specs: vec![Arc::new(spec.clone())] };
        supervisor.handle(now, Event::Command(CommandId(0), start), &mut effects);
    });
    let spawned = effects.iter().filter(|effect| matches!(effect, Effect::Spawn { .. })).count();
    assert_eq!(spawned, WORKERS as usize);

    let lives = |generation| (0..WORKERS).map(move |worker| Life::new(WorkerId(worker), generation));
    measure("spawned, listening", u64::from(WORKERS) * 2, || {
        for life in lives(1) {
            feed(&mut supervisor, now, Event::Spawned { life, pid: 1 }, &mut effects);
            feed(&mut supervisor, now, Event::Listening { life }, &mut effects);
        }
    });
    measure("memory samples", u64::from(WORKERS) * ROUNDS, || {
        for _ in 0..ROUNDS {
            for life in lives(1) {
                feed(&mut supervisor, now, Event::Memory { life, used: Bytes(1 << 20) }, &mut effects);
            }
        }
    });
    // A crash is three events: the exit, the new process, and its word that it listens.
    measure("crash, spawned, listening", u64::from(WORKERS) * ROUNDS * 3, || {
        for generation in 1..=ROUNDS {
            now = now + Duration::from_secs(2);
            for life in lives(generation) {
                let next = Life::new(life.worker, generation + 1);
                let exited = Event::Exited { life, exit: Exit::Code(1), leftovers: false };
                feed(&mut supervisor, now, exited, &mut effects);
                feed(&mut supervisor, now, Event::Spawned { life: next, pid: 1 }, &mut effects);
                feed(&mut supervisor, now, Event::Listening { life: next }, &mut effects);
            }
        }
    });
    measure("what is saved, collected", 1, || {
        let _ = supervisor.saved();
    });
}

fn feed(supervisor: &mut Supervisor, now: Moment, event: Event, effects: &mut Vec<Effect>) {
    effects.clear();
    supervisor.handle(now, event, effects);
}

fn measure(what: &str, events: u64, run: impl FnOnce()) {
    let start = Instant::now();
    run();
    let took = start.elapsed();
    let rate = events as f64 / took.as_secs_f64();
    println!("{what:<28} {events:>9} events in {:>8.1} ms: {rate:>12.0} events/s", took.as_secs_f64() * 1000.0);
}
