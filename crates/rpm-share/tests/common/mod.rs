//! A daemon and a keeper small enough for tests: real Node workers, real sockets.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use rpm_model::{AppId, Life, SocketMode, WorkerId};
use rpm_share::{Change, Channel, FromApp, Ports, Refused};
use rpm_sys::pidfd::Pidfd;
use serde_json::Value;

pub(crate) const APP: AppId = AppId(7);
pub(crate) const SIGKILL: i32 = 9;
pub(crate) const SIGSTOP: i32 = 19;

pub(crate) fn life(worker: u32, generation: u64) -> Life {
    Life::new(WorkerId(worker), generation)
}

/// Finds a port that is free on every address.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap().local_addr().unwrap().port()
}

/// What the keeper stores.
#[derive(Default)]
pub(crate) struct Keeper(pub(crate) BTreeMap<String, OwnedFd>);

impl Keeper {
    pub(crate) fn carry_out(&mut self, change: Change) {
        match change {
            Change::Keep { name, fd } => {
                self.0.insert(name, fd);
            }
            Change::Forget { name } => {
                self.0.remove(&name).unwrap_or_else(|| panic!("{name} is not kept"));
            }
        }
    }

    pub(crate) fn hand_back(&self) -> Vec<(String, OwnedFd)> {
        self.0.iter().map(|(name, fd)| (name.clone(), rpm_sys::fd::dup(fd).unwrap())).collect()
    }
}

pub(crate) struct Worker {
    pub(crate) child: Child,
    pub(crate) channel: Channel,
    pub(crate) online: bool,
    pub(crate) listening: usize,
    pub(crate) said: Vec<Value>,
    pub(crate) refused: Vec<Refused>,
    pub(crate) ports: Vec<Option<u16>>,
}

impl Worker {
    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub(crate) fn signal(&self, signal: i32) {
        Pidfd::open(self.pid()).unwrap().signal(signal).unwrap();
    }
}

pub(crate) struct Daemon {
    pub(crate) ports: Ports,
    pub(crate) keeper: Keeper,
    pub(crate) workers: BTreeMap<Life, Worker>,
    pub(crate) mode: SocketMode,
    script: PathBuf,
    env: Vec<(String, String)>,
    _home: tempfile::TempDir,
}

impl Daemon {
    pub(crate) fn new(app: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let script = home.path().join("app.js");
        std::fs::write(&script, app).unwrap();
        Self {
            ports: Ports::new(),
            keeper: Keeper::default(),
            workers: BTreeMap::new(),
            mode: SocketMode::Reuseport,
            script,
            env: Vec::new(),
            _home: home,
        }
    }

    pub(crate) fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.push((name.into(), value.to_string()));
        self
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.script.parent().unwrap().to_owned()
    }

    pub(crate) fn spawn(&mut self, life: Life) {
        let (ours, theirs) = rpm_sys::fd::socketpair_stream().unwrap();
        let child = Command::new("sh")
            .args(["-c", "exec node \"$1\" 3<&0 </dev/null", "sh"])
            .arg(&self.script)
            .env("NODE_CHANNEL_FD", "3")
            .env("NODE_CHANNEL_SERIALIZATION_MODE", "json")
            .env("NODE_UNIQUE_ID", (life.worker.0 + 1).to_string())
            .envs(self.env.iter().cloned())
            .stdin(Stdio::from(theirs))
            .spawn()
            .unwrap();
        let channel = Channel::new(ours, life).unwrap();
        self.workers.insert(
            life,
            Worker { child, channel, online: false, listening: 0, said: vec![], refused: vec![], ports: vec![] },
        );
    }

    /// Handles everything that has come in.
    pub(crate) fn turn(&mut self) {
        let lives: Vec<Life> = self.workers.keys().copied().collect();
        for life in lives {
            loop {
                let said = self.workers.get_mut(&life).unwrap().channel.receive().unwrap_or_default();
                if said.is_empty() {
                    break;
                }
                for message in said {
                    self.handle(life, message);
                }
            }
            let _the_worker_may_be_gone = self.workers.get_mut(&life).unwrap().channel.flush();
        }
        self.keep();
    }

    fn handle(&mut self, life: Life, message: FromApp) {
        let worker = self.workers.get_mut(&life).unwrap();
        match message {
            FromApp::Pong => {}
            FromApp::Online => worker.online = true,
            FromApp::QueryServer { seq, want } => match self.ports.claim(life, APP, &want, self.mode) {
                Ok(claim) => {
                    worker.ports.push(claim.port);
                    worker.channel.answer_bound(seq, &claim.key, &claim.data, claim.fd, claim.kind).unwrap();
                    self.keep();
                }
                Err(refused) => {
                    worker.channel.answer_refused(seq, &want.key(), refused.errno).unwrap();
                    worker.refused.push(refused);
                }
            },
            FromApp::Listening { .. } => worker.listening += 1,
            FromApp::Close { key } => self.ports.closed(life, &key),
            FromApp::ExitedAfterDisconnect { seq } => worker.channel.answer_ack(seq).unwrap(),
            FromApp::Message(message) => worker.said.push(message),
            FromApp::Declined { .. } => panic!("declined"),
            FromApp::Unreadable { length } => panic!("{length} unreadable bytes"),
        }
    }

    /// Has the keeper carry out what has changed.
    pub(crate) fn keep(&mut self) {
        for change in self.ports.changes() {
            self.keeper.carry_out(change);
        }
    }

    /// Takes turns until a condition holds.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            self.turn();
            if holds(self) {
                return;
            }
            assert!(Instant::now() < deadline, "waited too long for: {what}");
            sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn until_listening(&mut self, life: Life) {
        self.until("the worker listens", |daemon| daemon.workers[&life].listening > 0);
    }

    /// Starts a worker and admits it when it listens.
    pub(crate) fn start(&mut self, life: Life) {
        self.spawn(life);
        self.until_listening(life);
        self.ports.admit(life);
    }

    /// Kills a worker and notes its end.
    pub(crate) fn kill(&mut self, life: Life) {
        let mut worker = self.workers.remove(&life).unwrap();
        worker.signal(SIGKILL);
        worker.child.wait().unwrap();
        self.ports.ended(life);
        self.keep();
    }

    /// Replaces a worker as a roll does.
    pub(crate) fn roll(&mut self, old: Life) -> Life {
        let new = life(old.worker.0, old.generation.0 + 1);
        self.start(new);
        self.ports.retire(old);
        if !self.ports.is_steered(old) {
            self.workers.get_mut(&old).unwrap().channel.disconnect().unwrap();
            self.until("it leaves", |daemon| daemon.workers.get_mut(&old).unwrap().child.try_wait().unwrap().is_some());
            self.workers.remove(&old);
            self.ports.ended(old);
            self.ports.release(old);
            self.keep();
            return new;
        }
        let pids = [self.workers[&old].pid()];
        self.until("the drain", |daemon| daemon.ports.drain_state(old, &pids).is_done());
        self.kill(old);
        self.ports.release(old);
        self.keep();
        new
    }

    /// Dies, and comes back with what the keeper holds. Workers and their channels live on.
    pub(crate) fn die_and_come_back(&mut self, admitted: &[Life]) {
        self.ports = Ports::new();
        let lives: Vec<_> = self.workers.keys().map(|life| (*life, APP)).collect();
        self.ports = Ports::restore(self.keeper.hand_back(), &lives);
        for life in admitted {
            self.ports.admit(*life);
        }
        self.keep();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        for worker in self.workers.values_mut() {
            let _may_be_gone = worker.child.kill();
            let _reaped = worker.child.wait();
        }
    }
}

/// One HTTP request on a connection of its own; the body of the answer.
pub(crate) fn get(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    answer(stream)
}

/// Reads an HTTP answer to its end; the body.
pub(crate) fn answer(mut stream: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    match text.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(std::io::Error::other(format!("no answer: {text:?}"))),
    }
}

/// The most failures that one client keeps: where nobody listens there are thousands a second.
const KEPT_FAILURES: usize = 100;

/// Clients that ask without a pause, each request on a new connection, until told to stop or dropped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    pub(crate) answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    pub(crate) fn start(port: u16, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let clients = (0..clients)
            .map(|_| {
                let (stop, answered) = (stop.clone(), answered.clone());
                spawn(move || {
                    let mut failures = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        match get(port) {
                            Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                            Err(error) if failures.len() < KEPT_FAILURES => failures.push(error.to_string()),
                            Err(_) => {}
                        }
                    }
                    failures
                })
            })
            .collect();
        Self { stop, answered, clients }
    }

    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Stops, and returns how many were answered and what failed.
    pub(crate) fn finish(mut self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.clients.drain(..).flat_map(|client| client.join().unwrap()).collect();
        (self.answered.load(Ordering::Relaxed), failures)
    }
}

/// A test that fails does not stop its clients; without this they would ask until all other tests are through.
impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
