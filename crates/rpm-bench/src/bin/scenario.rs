//! Reloads, scaling and kill -9 of the daemon under load: the number of failed requests is the result.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use rpm_bench::load::{Load, Plan};
use rpm_bench::manager::{Kind, Manager, clean_up_when_interrupted, free_port, repository, rpm_binary};
use rpm_bench::process;
use serde_json::json;

/// Reloads, scales and kills the daemon while requests are made, and counts those that fail.
#[derive(Parser)]
struct Arguments {
    /// Run the same through this PM2 instead, for comparison
    #[arg(long)]
    pm2: Option<PathBuf>,
    /// Requests at the same time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// The app's drain_timeout (PM2 has none)
    #[arg(long, default_value = "1s")]
    drain_timeout: String,
    /// Requests per second in all with keep-alive; 0 is as fast as answers come
    #[arg(long, default_value_t = 500)]
    keep_alive_rate: u32,
    /// Reloads in each phase
    #[arg(long, default_value_t = 20)]
    reloads: u32,
    /// Kills of the daemon in each phase
    #[arg(long, default_value_t = 5)]
    kills: u32,
}

/// The longest wait for anything that should happen at once.
const SOON: Duration = Duration::from_secs(20);
/// Requests that must end between two deeds, so that each of them meets traffic.
const BETWEEN: u64 = 200;
const APP: &str = "api";

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("scenario: {error:#}");
        ExitCode::from(2)
    })
}

fn run() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    clean_up_when_interrupted()?;
    let (kind, binary) = match &arguments.pm2 {
        Some(pm2) => (Kind::Pm2, pm2.canonicalize().with_context(|| format!("there is no {}", pm2.display()))?),
        None => (Kind::Rpm, rpm_binary()?),
    };
    let port = free_port()?;
    let manager = Manager::new(kind, &binary)?.environment("PORT", port);
    let scenario = Scenario { manager, port, arguments };
    scenario.start()?;
    let mut failed = 0;
    for keep_alive in [false, true] {
        println!("{}, {}:", kind.name(), if keep_alive { "keep-alive" } else { "new connections" });
        failed += scenario.phase("reload", keep_alive, scenario.arguments.reloads, Scenario::reload)?;
        failed += scenario.phase("scale 2 -> 4 -> 1 -> 4 -> 2", keep_alive, 1, Scenario::scale)?;
        failed +=
            scenario.phase("kill -9 of the daemon", keep_alive, scenario.arguments.kills, Scenario::kill_daemon)?;
    }
    println!("{failed} failed in all");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Scenario {
    manager: Manager,
    port: u16,
    arguments: Arguments,
}

impl Scenario {
    fn start(&self) -> Result<()> {
        let app = json!({
            "name": APP, "script": repository()?.join("examples/api/server.js"), "exec_mode": "cluster", "instances": 2,
            // Clients that never pause leave no moment without a request in flight, so every replacement takes this long.
            "drain_timeout": self.arguments.drain_timeout,
        });
        let file = self.manager.home().join("api.json");
        std::fs::write(&file, json!({ "apps": [app] }).to_string())?;
        self.manager.run(&["start", file.to_str().context("the temporary directory is not UTF-8")?])?;
        self.manager.wait_online(2, SOON)?;
        Ok(())
    }

    /// Does `deed` some times under load; returns how many requests failed.
    fn phase(&self, name: &str, keep_alive: bool, times: u32, deed: fn(&Self, &Load) -> Result<()>) -> Result<u64> {
        let url = format!("http://127.0.0.1:{}/", self.port);
        let plan = Plan::new(&url, self.arguments.connections as usize, keep_alive)?;
        let rate = Some(self.arguments.keep_alive_rate).filter(|rate| keep_alive && *rate > 0).map(f64::from);
        let load = Load::start(&Plan { rate, ..plan });
        let started = Instant::now();
        for _ in 0..times {
            traffic(&load)?;
            deed(self, &load).with_context(|| name.to_owned())?;
        }
        traffic(&load)?;
        let took = started.elapsed();
        let report = load.stop();
        let errors: Vec<String> = report.errors.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        println!(
            "  {name}, {times} times in {:.1} s: {} requests, {} failed, {} reconnected{}{}",
            took.as_secs_f64(),
            report.requests,
            report.failed,
            report.reconnected,
            if errors.is_empty() { "" } else { ": " },
            errors.join(", ")
        );
        // The next phase begins with two workers that serve, whatever this one has left behind.
        if self.manager.wait_online(2, Duration::from_secs(3)).is_err() {
            println!("  (not two workers online: started again)");
            let _ = self.manager.run(&["delete", "all"]);
            self.start()?;
        }
        Ok(report.failed)
    }

    fn reload(&self, _: &Load) -> Result<()> {
        self.manager.run(&["reload", APP])?;
        Ok(())
    }

    fn scale(&self, load: &Load) -> Result<()> {
        for count in [4, 1, 4, 2] {
            self.manager.run(&["scale", APP, &count.to_string()])?;
            self.manager.wait_online(count, SOON)?;
            traffic(load)?;
        }
        Ok(())
    }

    /// Kills the daemon and waits until a new one answers with the same workers.
    fn kill_daemon(&self, _: &Load) -> Result<()> {
        let before = self.manager.online()?;
        let daemon = self.manager.daemon_pid().context("no daemon runs")?;
        process::kill(daemon);
        process::wait_gone(daemon, SOON);
        match self.manager.kind() {
            Kind::Rpm => {
                let until = Instant::now() + SOON;
                while self.manager.daemon_pid().is_none_or(|pid| pid == daemon) {
                    if Instant::now() > until {
                        bail!("no new daemon within {} s", SOON.as_secs());
                    }
                    thread::sleep(Duration::from_millis(5));
                }
                let mut after = self.manager.wait_online(before.len(), SOON)?;
                let mut before = before;
                before.sort_unstable();
                after.sort_unstable();
                if before != after {
                    bail!("the workers were {before:?} before and are {after:?} now");
                }
                Ok(())
            }
            // Nothing restarts PM2; its user would, after the same pause.
            Kind::Pm2 => {
                thread::sleep(Duration::from_secs(1));
                let orphans = before.iter().filter(|pid| process::is_alive(**pid)).count();
                println!("  (of {} workers, {orphans} live on)", before.len());
                before.iter().for_each(|pid| process::kill(*pid));
                self.start()
            }
        }
    }
}

/// Waits until requests have been answered, so that a deed meets traffic.
fn traffic(load: &Load) -> Result<()> {
    if !load.wait_for(BETWEEN, SOON) {
        bail!("no {BETWEEN} requests ended within {} s", SOON.as_secs());
    }
    Ok(())
}
