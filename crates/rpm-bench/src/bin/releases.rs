//! What users see of a bad release, through `rpm` and through PM2: the same app, the same load, one after the other.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use rpm_bench::http;
use rpm_bench::load::{Load, Plan, Report};
use rpm_bench::manager::{Kind, Manager, clean_up_when_interrupted, free_port, repository, rpm_binary};
use serde_json::{Value, json};

/// Reloads an app under load to releases that are good, broken, slow, hanging or failing, and tells what users saw.
#[derive(Parser)]
struct Arguments {
    /// The same through this PM2, for comparison
    #[arg(long)]
    pm2: Option<PathBuf>,
    /// Requests at the same time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Requests per second in all
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Only this release: good, broken, slow, hangs, fails
    #[arg(long)]
    only: Option<String>,
}

/// The releases, and how they are described.
const RELEASES: [(&str, &str); 5] = [
    ("good", "a good one"),
    ("broken", "crashes at boot"),
    ("slow", "takes 6 s to listen"),
    ("hangs", "listens, and answers nothing"),
    ("fails", "is healthy, and fails a tenth"),
];

/// A request that takes longer has failed: nobody waits longer for a page.
const PATIENCE: Duration = Duration::from_secs(5);
/// Load before the reload, and after the command has ended: what comes of it may come later.
const AROUND: Duration = Duration::from_secs(8);
const SOON: Duration = Duration::from_secs(20);
const WORKERS: usize = 4;
/// How often it is asked who serves now.
const ASKED: u32 = 40;

/// What came of one release.
struct Outcome {
    code: Option<i32>,
    took: Duration,
    report: Report,
    serves: String,
    told: String,
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("releases: {error:#}");
        ExitCode::from(2)
    })
}

fn run() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    clean_up_when_interrupted()?;
    let mut managers = vec![(Kind::Rpm, rpm_binary()?)];
    if let Some(pm2) = &arguments.pm2 {
        managers.push((Kind::Pm2, pm2.canonicalize().with_context(|| format!("there is no {}", pm2.display()))?));
    }
    let releases = RELEASES.iter().filter(|(name, _)| arguments.only.as_ref().is_none_or(|only| only == name));
    println!("| the new release | | `reload` ends with | after | failed requests | serves afterwards |");
    println!("|---|---|---|---|---|---|");
    let mut words = Vec::new();
    let mut hurt = 0;
    for (name, about) in releases {
        for (kind, binary) in &managers {
            let outcome = Stage::new(*kind, binary, &arguments)?.release(name)?;
            let errors: Vec<String> =
                outcome.report.errors.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            let Outcome { code, took, report, serves, told } = outcome;
            println!(
                "| {about} | {} | {} | {:.1} s | {} of {}{} | {serves} |",
                kind.name(),
                code.map_or("a signal".to_owned(), |code| code.to_string()),
                took.as_secs_f64(),
                report.failed,
                report.requests,
                if errors.is_empty() { String::new() } else { format!(": {}", errors.join(", ")) },
            );
            words.push(format!("{} ({about}): {told}", kind.name()));
            let allowed = if *name == "fails" { report.requests / 10 / WORKERS as u64 } else { 0 };
            hurt += u32::from(*kind == Kind::Rpm && report.failed > allowed);
        }
    }
    println!();
    words.iter().for_each(|line| println!("{line}"));
    Ok(if hurt == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One manager with one app.
struct Stage {
    manager: Manager,
    port: u16,
    connections: usize,
    rate: f64,
}

impl Stage {
    fn new(kind: Kind, binary: &std::path::Path, arguments: &Arguments) -> Result<Self> {
        let manager = Manager::new(kind, binary)?;
        let (connections, rate) = (arguments.connections as usize, arguments.rate);
        Ok(Self { manager, port: free_port()?, connections, rate })
    }

    fn release(&self, release: &str) -> Result<Outcome> {
        let is_judged = release == "fails";
        self.manager.run(&["start", &self.file("good", "old", is_judged)?])?;
        self.manager.wait_online(WORKERS, SOON)?;
        let url = format!("http://127.0.0.1:{}/", self.port);
        let plan = Plan { rate: Some(self.rate), patience: PATIENCE, ..Plan::new(&url, self.connections, false)? };
        let load = Load::start(&plan);
        thread::sleep(AROUND / 4);
        if load.report().failed > 0 {
            bail!("requests failed before anything was done: {}", load.stop().to_json());
        }
        let file = self.file(release, "new", is_judged)?;
        let began = Instant::now();
        let ended = self.manager.attempt(&["reload", &file])?;
        let took = began.elapsed();
        thread::sleep(AROUND);
        let report = load.stop();
        let serves = self.serves(&plan);
        let mut lines = ended.told.lines().map(str::trim).filter(|line| line.to_lowercase().contains("could not"));
        let told = lines.next().or(ended.told.lines().find(|line| line.contains("rror"))).unwrap_or("done").to_owned();
        Ok(Outcome { code: ended.code, took, report, serves, told })
    }

    /// Writes the file of a release, with what each manager has to offer.
    fn file(&self, release: &str, version: &str, is_judged: bool) -> Result<String> {
        let script = repository()?.join("crates/rpm-bench/fixtures/release.js");
        let mut app = json!({
            "name": "web", "script": script, "exec_mode": "cluster", "instances": WORKERS,
            "env": { "PORT": self.port, "RELEASE": release, "VERSION": version },
        });
        let mut file = json!({});
        if self.manager.kind() == Kind::Rpm {
            app["health_check"] = json!({ "path": "/health", "interval": "1s", "timeout": "1s", "start_period": "8s" });
            if is_judged {
                self.balance(&mut app, &mut file);
            }
        }
        file["apps"] = json!([app]);
        let path = self.manager.home().join("app.json");
        std::fs::write(&path, file.to_string())?;
        Ok(path.to_str().context("the temporary directory is not UTF-8")?.to_owned())
    }

    /// Puts a balancer before the app, which counts what a canary answers.
    fn balance(&self, app: &mut Value, file: &mut Value) {
        app["exec_mode"] = json!("proxy");
        if let Some(env) = app["env"].as_object_mut() {
            env.remove("PORT");
        }
        app["canary"] = json!({ "instances": 1, "duration": "20s", "max_error_rate": 1 });
        file["upstreams"] = json!([{ "name": "web", "servers": [{ "app": "web" }] }]);
        let listen = format!("127.0.0.1:{}", self.port);
        file["balancers"] = json!([{ "name": "front", "listen": listen, "upstream": "web" }]);
    }

    /// Returns who answers now.
    fn serves(&self, plan: &Plan) -> String {
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..ASKED {
            let answer = http::Connection::open(plan.address, Duration::from_secs(1))
                .and_then(|mut connection| connection.ask(&http::request(&plan.host, &plan.path, false)));
            let who = match answer {
                Ok(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
                Err(_) => "nobody".to_owned(),
            };
            let is_nobody = who == "nobody";
            *seen.entry(who).or_default() += 1;
            if is_nobody && seen["nobody"] >= 3 {
                break;
            }
        }
        let names: Vec<&str> = seen.keys().map(String::as_str).collect();
        match names.as_slice() {
            ["nobody"] => "nobody".to_owned(),
            [one] => format!("the {one} one"),
            several => several.join(" and "),
        }
    }
}
