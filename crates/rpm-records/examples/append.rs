//! Measures what a record costs the daemon, and the thread that writes it: `cargo run --release --example append`.

use std::time::{Duration, Instant};

use rpm_model::{Exit, Life, WorkerId};
use rpm_records::{Ended, EventRecord, ExitRecord, LogPart, Recorder};

const ROUNDS: u32 = 2000;

fn main() -> std::io::Result<()> {
    let home = std::env::temp_dir().join(format!("rpm-records-{}", std::process::id()));
    std::fs::create_dir_all(&home)?;
    let log = home.join("app.log");
    std::fs::write(
        &log,
        "a line of some eighty letters, as they are written by an app that has its troubles\n".repeat(400),
    )?;
    let part = || Some(LogPart { path: log.clone(), from: 0 });
    let record = |generation| ExitRecord {
        at_ms: 0,
        app: "api".into(),
        worker: WorkerId(0),
        instance: 0,
        life: Life::new(WorkerId(0), generation),
        pid: 1,
        started_at_ms: 0,
        uptime_ms: 0,
        exit: Exit::Code(1),
        oom: None,
        core: None,
        memory: None,
        memory_max: None,
        cpu: None,
        cpu_ms: None,
        asked: None,
        out: Vec::new(),
        err: Vec::new(),
    };
    let (told, written) = std::sync::mpsc::channel();
    let recorder = Recorder::start(&home, move |life| told.send(life).unwrap_or_default())?;
    let (mut handing, mut whole) = (Duration::ZERO, Duration::ZERO);
    for generation in 0..u64::from(ROUNDS) {
        let begin = Instant::now();
        let ended = Ended {
            record: record(generation),
            cwd: home.clone(),
            out: part(),
            err: part(),
            waits_for: vec![],
            maybe_known: false,
        };
        recorder.ended(ended);
        handing += begin.elapsed();
        written.recv().map_err(std::io::Error::other)?;
        whole += begin.elapsed();
    }
    println!("an exit with all its lines: {:?} in the turn, {:?} until written", handing / ROUNDS, whole / ROUNDS);
    let begin = Instant::now();
    for at_ms in 1..=u64::from(ROUNDS) {
        recorder.event(EventRecord {
            at_ms,
            event: "exit".into(),
            detail: Some("exit code 1".into()),
            ..Default::default()
        });
    }
    let handed = begin.elapsed();
    drop(recorder);
    println!("an event: {:?} in the turn, {:?} until written", handed / ROUNDS, begin.elapsed() / ROUNDS);
    let size: u64 =
        std::fs::read_dir(home.join("crashes"))?.flatten().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    println!("{} exits take {} KiB on disk", ROUNDS, size >> 10);
    std::fs::remove_dir_all(home)
}
