//! Figures, side by side with PM2 and with a loop of fork and exec; prints a Markdown table.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use rpm_bench::figures::{Bench, FIGURES, Figure};
use rpm_bench::manager::{Kind, clean_up_when_interrupted, repository, rpm_binary};
use rpm_bench::table;

/// Measures rpm beside PM2 and prints a Markdown table: medians, 95th percentiles, ratios, targets.
#[derive(Parser)]
#[command(after_help = figures_help())]
struct Arguments {
    /// What to measure; everything unless named
    #[arg(value_name = "FIGURE", value_parser = figure)]
    figures: Vec<&'static Figure>,
    /// The pm2 to compare with
    #[arg(long)]
    pm2: Option<PathBuf>,
    /// Fewer samples: minutes instead of a quarter of an hour
    #[arg(long)]
    quick: bool,
    /// Measure PM2 only
    #[arg(long, requires = "pm2")]
    without_rpm: bool,
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::from(2)
    })
}

fn run() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    clean_up_when_interrupted()?;
    let mut managers = Vec::new();
    if !arguments.without_rpm {
        managers.push((Kind::Rpm, rpm_binary()?));
    }
    match &arguments.pm2 {
        Some(path) => match path.canonicalize() {
            Ok(path) => managers.push((Kind::Pm2, path)),
            Err(error) => println!("PM2 is skipped: {}: {error}", path.display()),
        },
        None => println!("PM2 is skipped: name one with --pm2 PATH (npm install pm2)"),
    }
    if managers.is_empty() {
        bail!("there is nothing to measure");
    }
    let bench = Bench::new(managers, repository()?, arguments.quick)?;
    let figures = if arguments.figures.is_empty() { FIGURES.iter().collect() } else { arguments.figures };

    let contenders = ["rpm", "PM2", "Node", "fork+exec"];
    println!("{}", table::heading(&contenders));
    let mut missed = 0;
    for figure in figures {
        match (figure.measure)(&bench) {
            Ok(rows) => {
                for row in rows {
                    println!("{}", table::line(&row, &contenders));
                    missed += row.verdicts().iter().filter(|verdict| verdict.met == Some(false)).count();
                }
            }
            Err(error) => {
                eprintln!("{}: {error:#}", figure.name);
                missed += 1;
            }
        }
    }
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn figure(name: &str) -> Result<&'static Figure, String> {
    FIGURES.iter().find(|figure| figure.name == name).ok_or_else(|| {
        let names: Vec<&str> = FIGURES.iter().map(|figure| figure.name).collect();
        format!("expected one of {}", names.join(", "))
    })
}

fn figures_help() -> String {
    let lines: Vec<String> = FIGURES.iter().map(|figure| format!("  {:<10} {}", figure.name, figure.about)).collect();
    format!("Figures:\n{}", lines.join("\n"))
}
