//! Requests per second through two Node workers, beside Node's own cluster module: the same program everywhere.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Bench;
use crate::manager::{Manager, free_port};
use crate::samples::Samples;
use crate::table::{Row, Target};

/// The name of Node's own cluster module in the table.
const NODE: &str = "Node";
/// Requests at the same time: more than two workers can answer at once, so neither ever waits for the client.
const CONNECTIONS: &str = "64";
/// Node compiles what is hot within the first thousands of requests.
const WARM_UP: Duration = Duration::from_secs(2);

/// Short, so that contenders are compared within the same few seconds of a machine whose speed wanders.
const TURN: Duration = Duration::from_secs(1);

/// Two workers behind a port.
struct Server {
    name: &'static str,
    port: u16,
    _running: Running,
}

enum Running {
    Managed { _manager: Manager },
    Bare(Child),
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Running::Bare(child) = self {
            // The workers leave when the channel to their primary is closed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let script = bench.repository.join("examples/api/server.js");
    let mut servers = Vec::new();
    for (kind, binary) in &bench.managers {
        let port = free_port()?;
        let manager = Manager::new(*kind, binary)?.environment("PORT", port);
        let path = script.to_str().context("the repository's path is not UTF-8")?;
        manager.run(&["start", path, "--name", "api", "-i", "2"])?;
        servers.push(Server { name: kind.name(), port, _running: Running::Managed { _manager: manager } });
    }
    let directory = tempfile::tempdir()?;
    servers.push(node_cluster(directory.path(), &script)?);
    for server in &servers {
        wait_listening(server)?;
    }
    let row = |keep_alive| -> Result<Row> {
        let measured = run(bench, &servers, keep_alive)?;
        let kind = if keep_alive { "keep-alive" } else { "new connections" };
        Ok(Row {
            figure: format!("HTTP through two Node workers, {kind}"),
            unit: "requests/s",
            measured,
            targets: vec![Target::AtLeastTimes(1.0, NODE), Target::AtLeastTimes(1.3, "PM2")],
        })
    };
    Ok(vec![row(false)?, row(true)?])
}

fn run(bench: &Bench, servers: &[Server], keep_alive: bool) -> Result<Vec<(&'static str, Samples)>> {
    let mut measured: Vec<_> = servers.iter().map(|server| (server.name, Samples::default())).collect();
    for server in servers {
        load(server, keep_alive, WARM_UP)?;
    }
    for _ in 0..bench.samples(30, 6) {
        for (server, (_, samples)) in servers.iter().zip(&mut measured) {
            samples.add(load(server, keep_alive, TURN)?);
        }
    }
    Ok(measured)
}

/// Returns requests per second as wrk counts them: one thread for all connections, so that the client's own switching
/// between threads is not what is measured (with a thread for each, the same server differs threefold between turns).
fn load(server: &Server, keep_alive: bool, duration: Duration) -> Result<f64> {
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", "-c", CONNECTIONS, "-d", &format!("{}s", duration.as_secs())]);
    if !keep_alive {
        wrk.args(["-H", "Connection: close"]);
    }
    let output = wrk.arg(format!("http://127.0.0.1:{}/", server.port)).output();
    let output = output.context("could not run wrk (Debian: apt-get install wrk)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let after = |words: &str| text.lines().find_map(|line| line.trim().strip_prefix(words)).map(str::trim);
    if let Some(failures) = after("Socket errors:").or_else(|| after("Non-2xx or 3xx responses:")) {
        eprintln!("{}: requests failed: {failures}", server.name);
    }
    let rate = after("Requests/sec:").and_then(|rate| rate.parse().ok());
    rate.with_context(|| format!("wrk gave no rate:\n{text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn node_cluster(directory: &Path, script: &Path) -> Result<Server> {
    let (port, primary) = (free_port()?, directory.join("cluster.js"));
    std::fs::write(&primary, include_str!("../../fixtures/cluster.js"))?;
    // In a session of its own, as everything is that a manager starts: Linux shares out the CPU by session first
    // (sched_autogroup), so workers in the session of the client would get another share of it.
    let mut command = Command::new("setsid");
    command
        .arg("node")
        .arg(primary)
        .arg(script)
        .env("PORT", port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let child = command.spawn().context("could not run setsid")?;
    Ok(Server { name: NODE, port, _running: Running::Bare(child) })
}

fn wait_listening(server: &Server) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", server.port)).is_err() {
        if Instant::now() > until {
            bail!("{} does not listen on port {}", server.name, server.port);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
