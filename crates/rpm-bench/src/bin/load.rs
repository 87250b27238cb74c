//! An HTTP load client; prints one line of JSON.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use rpm_bench::load::{Load, Plan};

/// Asks a server over and over, and counts what became of the requests.
#[derive(Parser)]
struct Arguments {
    /// What to ask for: http://HOST:PORT/PATH
    #[arg(long)]
    url: String,
    /// Requests at the same time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Seconds
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    duration: f64,
    /// Use connections again; one that the server closed before its answer is replaced once
    #[arg(long)]
    keep_alive: bool,
    /// Requests per second in all
    #[arg(long, value_parser = positive)]
    rate: Option<f64>,
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("load: {error:#}");
        ExitCode::from(2)
    })
}

fn run() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let plan = Plan::new(&arguments.url, arguments.connections as usize, arguments.keep_alive)?;
    let load = Load::start(&Plan { rate: arguments.rate, ..plan });
    thread::sleep(Duration::from_secs_f64(arguments.duration));
    let report = load.stop();
    println!("{}", report.to_json());
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        // A day is beyond any measurement, and Duration takes it.
        Ok(number) if number > 0.0 && number <= 1e6 => Ok(number),
        _ => Err("expected a number above 0".into()),
    }
}
