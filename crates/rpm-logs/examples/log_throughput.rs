//! Megabytes a second from a writing process to a log file, for short, middling and long writes.
//!
//! `cargo run --release -p rpm-logs --example log_throughput [directory]`

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rpm_logs::{Event, Kind, Pump, Stream, Target, direct, new_staging};
use rpm_model::{LogFormat, WorkerId};

/// How long each combination is measured.
const TIME: Duration = Duration::from_secs(1);

/// The keeper's pipes are this large.
const PIPE: usize = 1 << 20;

fn main() -> std::io::Result<()> {
    let dir = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let log = dir.join(format!("rpm-throughput-{}.log", std::process::id()));
    println!("{:<14}{:>12}{:>12}{:>12}   MB/s of what the app wrote", "", "100 B", "4 KiB", "64 KiB");
    for (name, format, date) in [
        ("direct", None, None),
        ("pump raw", Some(LogFormat::Raw), None),
        ("pump dated", Some(LogFormat::Raw), Some("YYYY-MM-DDTHH:mm:ss")),
        ("pump JSON", Some(LogFormat::Json), None),
    ] {
        print!("{name:<14}");
        for size in [100, 4 << 10, 64 << 10] {
            let speed = match format {
                None => write_for(std::fs::File::from(direct(&log)?), size),
                Some(format) => through_pump(&log, format, date, size)?,
            };
            print!("{:>12.0}", speed);
            std::io::stdout().flush()?;
            std::fs::remove_file(&log)?;
        }
        println!();
    }
    Ok(())
}

fn through_pump(log: &std::path::Path, format: LogFormat, date: Option<&str>, size: usize) -> std::io::Result<f64> {
    let (sender, events) = std::sync::mpsc::channel();
    let pump = Pump::start(move |event| drop(sender.send(event)))?;
    let (pipe, writer) = rpm_sys::fd::pipe(Some(PIPE))?;
    pump.add(Stream {
        key: "measured".into(),
        pipe,
        staging: new_staging("measured")?,
        resume: false,
        targets: vec![Target::Path(log.to_owned())],
        format,
        date_format: date.map(ToOwned::to_owned),
        kind: Kind::Out,
        worker: WorkerId(0),
        app_name: "app".into(),
        max_size: None,
    });
    let speed = write_for(std::fs::File::from(writer), size);
    match events.recv() {
        Ok(Event::Ended { .. }) => Ok(speed),
        other => Err(std::io::Error::other(format!("{other:?}"))),
    }
}

/// Writes lines of 100 bytes in pieces of `size`, and returns megabytes a second.
fn write_for(mut file: std::fs::File, size: usize) -> f64 {
    let line = [vec![b'x'; 99], vec![b'\n']].concat();
    let piece: Vec<u8> = line.iter().copied().cycle().take(size).collect();
    let begin = Instant::now();
    let mut written = 0;
    while begin.elapsed() < TIME {
        for _ in 0..16 {
            file.write_all(&piece).expect("writes");
        }
        written += 16 * size;
    }
    written as f64 / begin.elapsed().as_secs_f64() / 1e6
}
