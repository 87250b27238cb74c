//! Many connections at once, and what became of the requests.
//!
//! One thread per connection, blocking sockets: on a machine with two cores a runtime would not be faster, and each
//! thread's story reads from top to bottom. A request fails when it gets no complete answer, or one that is not 200;
//! nothing is repeated but what HTTP lets every client repeat.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::histogram::Histogram;
use crate::http::{self, Answer, Connection, Lost};

/// A request that takes longer has failed, unless a plan says otherwise. Longer than any drain or start-up in the scenarios.
const PATIENCE: Duration = Duration::from_secs(30);
/// After a failure: a refused connection must not become a busy loop.
const PAUSE: Duration = Duration::from_millis(5);

/// What to ask, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to connect.
    pub address: SocketAddr,
    /// The Host header.
    pub host: String,
    /// The path.
    pub path: String,
    /// Requests at the same time.
    pub connections: usize,
    /// Whether connections are used again.
    pub keep_alive: bool,
    /// Requests per second in all; nothing means as fast as answers come.
    pub rate: Option<f64>,
    /// A request that takes longer has failed.
    pub patience: Duration,
}

impl Plan {
    /// Reads `http://HOST:PORT/PATH`.
    ///
    /// # Errors
    /// When it is not such an address, or the name is not known.
    pub fn new(url: &str, connections: usize, keep_alive: bool) -> Result<Self> {
        let Some(rest) = url.strip_prefix("http://") else { bail!("`{url}` does not begin with http://") };
        let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let address = with_port.to_socket_addrs().with_context(|| format!("`{host}` is no address"))?.next();
        let address = address.with_context(|| format!("`{host}` has no address"))?;
        let (host, path) = (host.to_owned(), path.to_owned());
        Ok(Self { address, host, path, connections, keep_alive, rate: None, patience: PATIENCE })
    }
}

/// What became of the requests.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Requests that ended, well or badly.
    pub requests: u64,
    /// Those that ended badly.
    pub failed: u64,
    /// Requests repeated on a new connection because a reused one was closed before the answer; not failures.
    pub reconnected: u64,
    /// Failures by kind.
    pub errors: BTreeMap<String, u64>,
    /// Answers by the pid in their body.
    pub by_pid: BTreeMap<u32, u64>,
    /// Latencies of good answers; with a rate, counted from the moment the request was due.
    pub latencies: Histogram,
    /// How long it took.
    pub elapsed: Duration,
}

impl Report {
    /// Returns good answers per second.
    pub fn rps(&self) -> f64 {
        (self.requests - self.failed) as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Returns the report as one JSON object.
    pub fn to_json(&self) -> serde_json::Value {
        let by_pid: BTreeMap<_, _> = self.by_pid.iter().map(|(pid, count)| (pid.to_string(), count)).collect();
        json!({
            "requests": self.requests,
            "failed": self.failed,
            "reconnected": self.reconnected,
            "errors": self.errors,
            "rps": (self.rps() * 10.0).round() / 10.0,
            "p50_ms": (self.latencies.quantile_ms(0.5) * 1e3).round() / 1e3,
            "p99_ms": (self.latencies.quantile_ms(0.99) * 1e3).round() / 1e3,
            "by_pid": by_pid,
        })
    }

    fn merge(&mut self, other: &Report) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.reconnected += other.reconnected;
        other.errors.iter().for_each(|(kind, count)| *self.errors.entry(kind.clone()).or_default() += count);
        other.by_pid.iter().for_each(|(pid, count)| *self.by_pid.entry(*pid).or_default() += count);
        self.latencies.merge(&other.latencies);
    }

    fn count(&mut self, outcome: Result<Answer, Lost>, latency: Duration) {
        self.requests += 1;
        let failure = match outcome {
            Ok(answer) if answer.status == 200 => {
                self.latencies.add(latency);
                if let Some(pid) = pid_in(&answer.body) {
                    *self.by_pid.entry(pid).or_default() += 1;
                }
                return;
            }
            Ok(answer) => format!("status {}", answer.status),
            Err(lost) => lost.kind(),
        };
        self.failed += 1;
        *self.errors.entry(failure).or_default() += 1;
    }
}

/// A load under way.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    reports: Vec<Arc<Mutex<Report>>>,
    started: Instant,
}

impl Load {
    /// Starts asking.
    pub fn start(plan: &Plan) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let reports: Vec<_> = (0..plan.connections).map(|_| Arc::default()).collect();
        let threads = reports.iter().enumerate().map(|(index, report)| {
            let (plan, stop, report) = (plan.clone(), Arc::clone(&stop), Arc::clone(report));
            thread::spawn(move || Asker::new(&plan, index).run(&stop, &report))
        });
        Self { threads: threads.collect(), stop, reports, started: Instant::now() }
    }

    /// Returns the report so far.
    pub fn report(&self) -> Report {
        let mut sum = Report { elapsed: self.started.elapsed(), ..Report::default() };
        for report in &self.reports {
            sum.merge(&report.lock().expect("no thread panics while it counts"));
        }
        sum
    }

    /// Waits until this many more requests have ended; returns whether they did in time.
    pub fn wait_for(&self, more: u64, deadline: Duration) -> bool {
        let (wanted, until) = (self.report().requests + more, Instant::now() + deadline);
        while self.report().requests < wanted {
            if Instant::now() >= until {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Stops asking, waits for the answers that are due, and returns the report.
    pub fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let elapsed = self.started.elapsed();
        for thread in self.threads.drain(..) {
            thread.join().expect("a thread that asks does not panic");
        }
        Report { elapsed, ..self.report() }
    }
}

/// One connection's worth of requests.
struct Asker {
    plan: Plan,
    request: Vec<u8>,
    connection: Option<Connection>,
    /// When the next request is due, and how far apart they are.
    pace: Option<(Instant, Duration)>,
}

impl Asker {
    fn new(plan: &Plan, index: usize) -> Self {
        let request = http::request(&plan.host, &plan.path, plan.keep_alive);
        let pace = plan.rate.map(|rate| {
            let step = Duration::from_secs_f64(plan.connections as f64 / rate);
            // Connections take turns instead of asking all at once.
            (Instant::now() + step.mul_f64(index as f64 / plan.connections as f64), step)
        });
        Self { plan: plan.clone(), request, connection: None, pace }
    }

    fn run(mut self, stop: &AtomicBool, report: &Mutex<Report>) {
        while !stop.load(Ordering::Relaxed) {
            let due = self.wait_until_due();
            let (outcome, reconnected) = self.ask();
            let failed = !matches!(&outcome, Ok(answer) if answer.status == 200);
            let mut report = report.lock().expect("whoever reads the report does not panic");
            report.reconnected += u64::from(reconnected);
            report.count(outcome, due.elapsed());
            drop(report);
            if failed {
                thread::sleep(PAUSE);
            }
        }
    }

    /// Returns the moment from which the latency counts.
    fn wait_until_due(&mut self) -> Instant {
        let Some((due, step)) = &mut self.pace else { return Instant::now() };
        let this = *due;
        *due += *step;
        thread::sleep(this.saturating_duration_since(Instant::now()));
        this
    }

    /// Returns the outcome, and whether the request was sent again on a new connection.
    fn ask(&mut self) -> (Result<Answer, Lost>, bool) {
        let (mut outcome, reused) = self.ask_once();
        let repeat = reused && matches!(&outcome, Err(lost) if lost.is_closed_before_answer());
        if repeat {
            outcome = self.ask_once().0;
        }
        (outcome, repeat)
    }

    /// Returns the outcome, and whether the connection had been used before.
    fn ask_once(&mut self) -> (Result<Answer, Lost>, bool) {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match Connection::open(self.plan.address, self.plan.patience) {
                Ok(connection) => connection,
                Err(lost) => return (Err(lost), false),
            },
        };
        let reused = connection.used;
        let outcome = connection.ask(&self.request);
        if self.plan.keep_alive && matches!(&outcome, Ok(answer) if answer.reusable) {
            self.connection = Some(connection);
        }
        (outcome, reused)
    }
}

/// Returns the pid that an answer names, as `{"pid":123}` or `worker 123`.
fn pid_in(body: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(body).ok()?;
    let after = |mark: &str| text.find(mark).map(|at| &text[at + mark.len()..]);
    let rest = after("\"pid\":").or_else(|| after("worker "))?.trim_start();
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nworker 7\n";

    /// Serves each connection with these answers, one per request, and closes it.
    fn server(answers: &'static [&'static [u8]]) -> Plan {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    for answer in answers {
                        let mut buffer = [0; 1024];
                        if !matches!(stream.read(&mut buffer), Ok(1..)) || stream.write_all(answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Plan::new(&url, 4, true).unwrap()
    }

    fn report(plan: &Plan) -> Report {
        let load = Load::start(plan);
        assert!(load.wait_for(40, Duration::from_secs(20)));
        load.stop()
    }

    #[test]
    fn a_reused_connection_that_was_closed_is_a_reconnect_and_no_failure() {
        let report = report(&server(&[OK, OK]));
        assert_eq!((report.failed, &report.errors), (0, &BTreeMap::new()));
        assert!(report.reconnected >= 10, "{report:?}");
        assert_eq!(report.by_pid.keys().collect::<Vec<_>>(), [&7]);
    }

    #[test]
    fn a_new_connection_that_is_closed_without_an_answer_is_a_failure() {
        let report = report(&Plan { keep_alive: false, ..server(&[]) });
        assert_eq!((report.failed, report.reconnected), (report.requests, 0));
    }

    #[test]
    fn an_answer_cut_short_is_a_failure_even_on_a_reused_connection() {
        let report = report(&server(&[OK, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal"]));
        assert!(report.failed > 0 && report.reconnected == 0, "{report:?}");
        assert_eq!(report.errors.keys().collect::<Vec<_>>(), ["within the answer: unexpected end of file"]);
    }

    #[test]
    fn another_status_is_a_failure() {
        let report = report(&server(&[b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"]));
        assert_eq!(report.errors.get("status 503"), Some(&report.failed));
        assert_eq!(report.failed, report.requests);
    }

    #[test]
    fn nobody_there_is_a_failure() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let report = report(&Plan::new(&format!("http://{port}/"), 2, true).unwrap());
        assert_eq!(report.errors.get("connect: connection refused"), Some(&report.failed));
    }

    #[test]
    fn a_rate_is_kept() {
        let plan = Plan { rate: Some(100.0), ..server(&[OK; 100]) };
        let started = Instant::now();
        let load = Load::start(&plan);
        assert!(load.wait_for(50, Duration::from_secs(20)));
        assert!(started.elapsed() >= Duration::from_millis(450));
        assert_eq!(load.stop().failed, 0);
    }
}
