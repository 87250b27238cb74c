//! The balancer beside nginx, HAProxy, Caddy and a Node proxy, on the same servers: `make bench-edge`.
//!
//! The proxy has the first core to itself, with one thread; wrk and the servers share the others. Contenders take
//! turns, round by round, and each round gives ratios to nginx in that round: machines have moods.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use rpm_bench::process::{cpu_time, pss_mib};
use rpm_bench::samples::Samples;
use rpm_bench::websocket;
use rpm_model::balance::{
    BalancerSpec, CertificateSpec, ListenSpec, RouteAction, RouteSpec, ServerSpec, TlsSpec, UpstreamSpec,
};
use rpm_model::edge::{Ask, Configuration, ToEdge};

/// Servers behind each proxy.
const SERVERS: usize = 4;

#[derive(Parser)]
struct Args {
    /// Rounds
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds for each measurement
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Only contenders whose names begin so
    #[arg(long)]
    only: Vec<String>,
    /// Only scenarios whose names contain this
    #[arg(long)]
    scenario: Option<String>,
    /// Directory whose node_modules has http-proxy
    #[arg(long)]
    modules: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(clap::Subcommand)]
enum Role {
    /// Runs the balancer
    #[command(hide = true)]
    Edge {
        listen: String,
        servers: Vec<String>,
        #[arg(long)]
        tls: bool,
    },
    /// Echoes WebSocket messages
    #[command(hide = true)]
    Echo { at: String },
    /// Sends WebSocket messages
    #[command(hide = true)]
    Messages { port: u16, connections: u32, seconds: u64 },
}

struct Scenario {
    name: &'static str,
    connections: u32,
    path: &'static str,
    close: bool,
    unix: bool,
    tls: bool,
    messages: bool,
}

const PLAIN: Scenario =
    Scenario { name: "", connections: 64, path: "/", close: false, unix: false, tls: false, messages: false };

const SCENARIOS: [Scenario; 10] = [
    Scenario { name: "keep-alive, 100 B, 64", ..PLAIN },
    Scenario { name: "keep-alive, 100 B, 256", connections: 256, ..PLAIN },
    Scenario { name: "unix sockets, 100 B, 64", unix: true, ..PLAIN },
    Scenario { name: "unix sockets, 100 B, 256", connections: 256, unix: true, ..PLAIN },
    Scenario { name: "keep-alive, 64 KiB, 64", path: "/long", ..PLAIN },
    Scenario { name: "new connections, 64", close: true, ..PLAIN },
    Scenario { name: "TLS, keep-alive, 100 B, 64", tls: true, ..PLAIN },
    Scenario { name: "TLS, new connections, 64", tls: true, close: true, ..PLAIN },
    Scenario { name: "WebSocket messages, 100 B, 64", messages: true, ..PLAIN },
    Scenario { name: "WebSocket messages over unix sockets, 100 B, 64", messages: true, unix: true, ..PLAIN },
];

const CONTENDERS: [&str; 6] = ["nginx", "nginx-tuned", "haproxy", "caddy", "node", "rpm"];

fn main() -> Result<()> {
    let args = Args::parse();
    match args.role {
        Some(Role::Edge { listen, servers, tls }) => return edge(&listen, &servers, tls),
        Some(Role::Echo { at }) => return Ok(websocket::echo(&at)?),
        Some(Role::Messages { port, connections, seconds }) => {
            let to = (std::net::Ipv4Addr::LOCALHOST, port).into();
            let seen = websocket::load(to, connections, Duration::from_secs(seconds))?;
            println!("{} {} {} {}", seen.rate, seen.p50, seen.p99, seen.count);
            return Ok(());
        }
        None => {}
    }
    let home = tempfile::tempdir()?;
    let backend = Backend::start(home.path())?;
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| name == only);
    for scenario in SCENARIOS {
        if args.scenario.as_ref().is_some_and(|part| !scenario.name.contains(part.as_str())) {
            continue;
        }
        println!("\n{}", scenario.name);
        println!(
            "{:14} {:>10} {:>8} {:>9} {:>9} {:>10} {:>8} {:>9}",
            "", "req/s", "ratio", "p50 µs", "p99 µs", "µs CPU/req", "ratio", "PSS MiB"
        );
        let mut results: BTreeMap<&str, Vec<Measured>> = BTreeMap::new();
        for round in 0..args.rounds {
            for at in 0..CONTENDERS.len() {
                // Another one begins each round.
                let name = CONTENDERS[(at + round) % CONTENDERS.len()];
                let no_node = name == "node" && args.modules.is_none();
                if !wanted(name) || no_node {
                    continue;
                }
                let result = measure(name, &scenario, &backend, home.path(), &args)
                    .with_context(|| format!("{name}: {}", scenario.name))?;
                results.entry(name).or_default().push(result);
            }
        }
        for name in CONTENDERS {
            let Some(own) = results.get(name) else { continue };
            show(name, own, results.get("nginx"));
        }
    }
    Ok(())
}

struct Measured {
    rate: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
    pss: f64,
    errors: u64,
}

fn show(name: &str, own: &[Measured], base: Option<&Vec<Measured>>) {
    let median = |of: fn(&Measured) -> f64| own.iter().map(of).collect::<Samples>().median().unwrap_or(f64::NAN);
    let ratio = |of: fn(&Measured) -> f64| {
        let pairs = base.into_iter().flatten().zip(own);
        pairs.map(|(base, own)| of(own) / of(base)).collect::<Samples>().median().unwrap_or(f64::NAN)
    };
    let errors: u64 = own.iter().map(|one| one.errors).sum();
    println!(
        "{name:14} {:10.0} {:8.2} {:9.0} {:9.0} {:10.1} {:8.2} {:9.1}{}",
        median(|one| one.rate),
        ratio(|one| one.rate),
        median(|one| one.p50),
        median(|one| one.p99),
        median(|one| one.cpu),
        ratio(|one| one.cpu),
        median(|one| one.pss),
        if errors > 0 { format!("  {errors} errors") } else { String::new() },
    );
}

fn measure(name: &str, scenario: &Scenario, backend: &Backend, home: &Path, args: &Args) -> Result<Measured> {
    let port = free_port()?;
    let servers = match (scenario.messages, scenario.unix) {
        (false, false) => &backend.tcp,
        (false, true) => &backend.unix,
        (true, false) => &backend.echo_tcp,
        (true, true) => &backend.echo_unix,
    };
    let proxy = start(name, port, servers, home, (args, scenario.tls))?;
    let scheme = if scenario.tls { "https" } else { "http" };
    let url = format!("{scheme}://127.0.0.1:{port}{}", scenario.path);
    let load =
        |seconds| if scenario.messages { messages(port, scenario, seconds) } else { wrk(&url, scenario, seconds) };
    load(1)?;
    let pids = proxy.pids();
    let before = cpu_time(&pids)?;
    let (rate, p50, p99, count, errors) = load(args.seconds)?;
    let spent = cpu_time(&pids)?.saturating_sub(before);
    let cpu = spent.as_secs_f64() * 1e6 / count.max(1.0);
    Ok(Measured { rate, p50, p99, cpu, pss: pss_mib(&pids)?, errors })
}

fn wrk(url: &str, scenario: &Scenario, seconds: u64) -> Result<(f64, f64, f64, f64, u64)> {
    let mut wrk = pinned(1);
    wrk.args(["wrk", "-t1", "--latency", "-c", &scenario.connections.to_string(), "-d", &format!("{seconds}s")]);
    if scenario.close {
        wrk.args(["-H", "Connection: close"]);
    }
    let output = wrk.arg(url).output().context("wrk could not be run")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let word = |line: &str, at: usize| {
        let line = text.lines().find(|other| other.trim_start().starts_with(line))?;
        line.split_whitespace().nth(at).map(str::to_owned)
    };
    let rate = word("Requests/sec:", 1).and_then(|rate| rate.parse().ok());
    let Some(rate) = rate else { bail!("wrk said {text}") };
    let micros = |text: Option<String>| {
        let text = text.unwrap_or_default();
        let (number, scale) = match (text.strip_suffix("us"), text.strip_suffix("ms"), text.strip_suffix('s')) {
            (Some(number), _, _) => (number, 1.0),
            (_, Some(number), _) => (number, 1e3),
            (_, _, Some(number)) => (number, 1e6),
            _ => ("", 0.0),
        };
        number.parse::<f64>().unwrap_or(f64::NAN) * scale
    };
    let count = text
        .lines()
        .find(|line| line.contains(" requests in "))
        .and_then(|line| line.split_whitespace().next()?.parse().ok());
    let bad = word("Non-2xx", 4).and_then(|count| count.parse().ok()).unwrap_or(0);
    Ok((rate, micros(word("50%", 1)), micros(word("99%", 1)), count.unwrap_or(0.0), bad))
}

fn messages(port: u16, scenario: &Scenario, seconds: u64) -> Result<(f64, f64, f64, f64, u64)> {
    let mut command = pinned(1);
    command.arg(std::env::current_exe()?).args(["messages", &port.to_string()]);
    let output = command.args([&scenario.connections.to_string(), &seconds.to_string()]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    match numbers.as_slice() {
        [rate, p50, p99, count] => Ok((*rate, *p50, *p99, *count, 0)),
        _ => bail!("the messages ended: {text}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn pinned(core: usize) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]);
    command
}

/// A process that is ended with this.
struct Running(Child);

impl Running {
    /// Returns the process and its children: nginx has workers.
    fn pids(&self) -> Vec<i32> {
        let own = self.0.id() as i32;
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([own]).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for pid in self.pids() {
            rpm_bench::process::kill(pid);
        }
        let _ = self.0.wait();
    }
}

fn spawn(mut command: Command, port: u16) -> Result<Running> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut running = Running(child);
    let until = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = running.0.try_wait()? {
            bail!("it ended with {status}");
        }
        if Instant::now() > until {
            bail!("nobody listens");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(running)
}

/// Four servers, as fast as they come: nginx answering from its configuration. And one that echoes messages.
struct Backend {
    _running: [Running; 3],
    tcp: Vec<String>,
    unix: Vec<String>,
    echo_tcp: Vec<String>,
    echo_unix: Vec<String>,
}

impl Backend {
    fn start(home: &Path) -> Result<Self> {
        let body = "x".repeat(99);
        std::fs::write(home.join("long"), vec![b'x'; 64 << 10])?;
        let ports: Vec<_> = (0..SERVERS).map(|_| free_port()).collect::<Result<_>>()?;
        let sockets: Vec<_> = (0..SERVERS).map(|number| home.join(format!("server{number}.sock"))).collect();
        let listens: String = ports
            .iter()
            .map(|port| format!("listen 127.0.0.1:{port};"))
            .chain(sockets.iter().map(|path| format!("listen unix:{};", path.display())))
            .collect();
        let file = home.join("backend.conf");
        let text = format!(
            "worker_processes 1; daemon off; pid {home}/backend.pid; error_log /dev/null;
             events {{ worker_connections 8192; }}
             http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 300; open_file_cache max=10; sendfile on;
               server {{ {listens} root {home}; location = / {{ return 200 \"{body}\\n\"; }} location = /long {{ }} }} }}",
            home = home.display()
        );
        std::fs::write(&file, text)?;
        let mut command = pinned(1);
        command.arg("nginx").arg("-c").arg(&file);
        let echo = |at: &str| -> Result<Command> {
            let mut command = pinned(1);
            command.arg(std::env::current_exe()?).args(["echo", at]);
            Ok(command)
        };
        let port = free_port()?;
        let (echo_tcp, echo_unix) = (format!("127.0.0.1:{port}"), format!("unix:{}", home.join("echo.sock").display()));
        Ok(Self {
            _running: [
                spawn(command, ports[0])?,
                spawn(echo(&echo_tcp)?, port)?,
                // Nobody connects to it before the scenarios of TCP are done.
                spawn(echo(&echo_unix)?, port)?,
            ],
            echo_tcp: vec![echo_tcp],
            echo_unix: vec![echo_unix],
            tcp: ports.iter().map(|port| format!("127.0.0.1:{port}")).collect(),
            unix: sockets.iter().map(|path| format!("unix:{}", path.display())).collect(),
        })
    }
}

/// The certificate of the balancer's own tests.
const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rpm-balance/tests/edge/certs/one.crt");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rpm-balance/tests/edge/certs/one.key");

fn start(name: &str, port: u16, servers: &[String], home: &Path, (args, tls): (&Args, bool)) -> Result<Running> {
    let mut command = pinned(0);
    let both = home.join("both.pem");
    std::fs::write(&both, [std::fs::read(CERTIFICATE)?, std::fs::read(KEY)?].concat())?;
    let file = home.join(format!("{name}.conf"));
    match name {
        "nginx" | "nginx-tuned" => {
            let tuned = name == "nginx-tuned";
            let list: String = servers.iter().map(|server| format!("server {server};")).collect();
            let ssl = if tls {
                // Debian's nginx offers no more than TLS 1.2 of itself, which is another handshake.
                format!("ssl; ssl_certificate {CERTIFICATE}; ssl_certificate_key {KEY}; ssl_protocols TLSv1.2 TLSv1.3")
            } else {
                String::new()
            };
            let (keep, fields) = if tuned {
                (
                    "keepalive 64;",
                    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgrading;",
                )
            } else {
                ("", "")
            };
            // Messages cannot pass through it as it comes.
            let fields = match servers.first().is_some_and(|server| server.contains("echo") || servers.len() == 1) {
                true => {
                    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"
                }
                false => fields,
            };
            std::fs::write(
                &file,
                format!(
                    "worker_processes 1; daemon off; pid {home}/{name}.pid; error_log /dev/null;
                     events {{ worker_connections 8192; }}
                     http {{ access_log off; keepalive_requests 1000000000;
                       upstream u {{ {list} {keep} }}
                       map $http_upgrade $upgrading {{ default upgrade; '' ''; }}
                       server {{ listen 127.0.0.1:{port} reuseport {ssl}; location / {{ proxy_pass http://u; {fields}
                         proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                         proxy_set_header X-Forwarded-Proto $scheme; }} }} }}",
                    home = home.display()
                ),
            )?;
            command.arg("nginx").arg("-c").arg(&file);
        }
        "haproxy" => {
            let list: String = servers
                .iter()
                .enumerate()
                .map(|(number, server)| format!("  server s{number} {}\n", server.replace("unix:", "unix@")))
                .collect();
            let ssl = if tls { format!("ssl crt {}", both.display()) } else { String::new() };
            std::fs::write(
                &file,
                format!(
                    "global\n  maxconn 8192\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 50s\n  timeout server 50s\n  http-reuse always\n  option forwardfor\n\
                     frontend f\n  bind 127.0.0.1:{port} {ssl}\n  default_backend b\nbackend b\n  balance roundrobin\n{list}"
                ),
            )?;
            command.args(["haproxy", "-q", "-f"]).arg(&file);
        }
        "caddy" => {
            let list: Vec<_> = servers.iter().map(|server| server.replace("unix:", "unix/")).collect();
            let (scheme, tls) = match tls {
                true => ("https", format!("  tls {CERTIFICATE} {KEY}\n")),
                false => ("http", String::new()),
            };
            std::fs::write(
                &file,
                format!(
                    "{{\n  admin off\n  auto_https off\n}}\n{scheme}://127.0.0.1:{port} {{\n{tls}  reverse_proxy {} {{\n    lb_policy round_robin\n  }}\n}}\n",
                    list.join(" ")
                ),
            )?;
            command.args(["caddy", "run", "--adapter", "caddyfile", "--config"]).arg(&file);
            command.env("GOMAXPROCS", "1").env("HOME", home);
        }
        "node" => {
            let list: Vec<_> = servers
                .iter()
                .map(|server| match server.strip_prefix("unix:") {
                    Some(path) => format!("{{socketPath:'{path}'}}"),
                    None => format!("'http://{server}'"),
                })
                .collect();
            let server = match tls {
                true => format!(
                    "require('https').createServer({{cert: require('fs').readFileSync('{CERTIFICATE}'), key: require('fs').readFileSync('{KEY}')}}, "
                ),
                false => "http.createServer(".into(),
            };
            std::fs::write(
                &file,
                format!(
                    "const http = require('http'), proxy = require('http-proxy').createProxyServer({{agent: new http.Agent({{keepAlive: true}}), xfwd: true}});
                     const servers = [{}]; let turn = 0;
                     {server}(req, res) => proxy.web(req, res, {{target: servers[turn++ % servers.length]}}, () => res.destroy()))
                       .on('upgrade', (req, socket, head) => proxy.ws(req, socket, head, {{target: servers[turn++ % servers.length]}}))
                       .listen({port}, '127.0.0.1');",
                    list.join(",")
                ),
            )?;
            command.arg("node").arg(&file);
            command.env("NODE_PATH", args.modules.as_deref().unwrap_or(Path::new(".")).join("node_modules"));
        }
        _ => {
            command.arg(std::env::current_exe()?).args(["edge", &format!("127.0.0.1:{port}")]).args(servers);
            command.args(tls.then_some("--tls"));
        }
    }
    spawn(command, port)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Runs the balancer with one thread, as its daemon would.
fn edge(listen: &str, servers: &[String], tls: bool) -> Result<()> {
    let listener = TcpListener::bind(listen)?;
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut wanted = Configuration { version: 1, ..Configuration::default() };
    let at = vec![ListenSpec { address: listen.parse().map_err(anyhow::Error::msg)?, proxy_protocol: false }];
    let certificate = CertificateSpec { cert: CERTIFICATE.into(), key: KEY.into(), names: Vec::new() };
    let encrypted = tls.then(|| TlsSpec { listen: at.clone(), certificates: vec![certificate], ..TlsSpec::default() });
    wanted.balancers.push(BalancerSpec {
        name: "bench".into(),
        maxconn: 100_000,
        listen: if tls { Vec::new() } else { at },
        tls: encrypted,
        routes: vec![RouteSpec::to(RouteAction::Upstream("servers".into()))],
        ..BalancerSpec::default()
    });
    let mut upstream = UpstreamSpec { name: "servers".into(), ..UpstreamSpec::default() };
    for server in servers {
        upstream.servers.push(ServerSpec::at(server.parse().map_err(anyhow::Error::msg)?));
    }
    wanted.upstreams.push(upstream);
    let body = serde_json::to_vec(&ToEdge { id: 1, ask: Ask::Configure(wanted) })?;
    ours.write_all(&(body.len() as u32).to_be_bytes())?;
    ours.write_all(&body)?;
    std::thread::spawn(move || {
        // What it says is read, so that it never waits for us.
        let _ = std::io::copy(&mut ours, &mut std::io::sink());
    });
    let passed = vec![rpm_balance::Passed { name: listen.into(), fd: listener.into() }];
    let code = rpm_balance::run(passed, OwnedFd::from(theirs), rpm_balance::Options { threads: Some(1) });
    std::process::exit(code.into());
}
