//! The main thread: it speaks with the daemon, makes snapshots, checks servers, and gives the threads what they need.

mod checks;
mod listeners;
mod threads;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rpm_model::balance::ServerAddress;
use rpm_model::edge::{
    Answer, Ask, Configuration, FromEdge, Member, MemberState, Notice, PROTOCOL, ServerChange, ToEdge,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::{self, Scope, Snapshot, World};
use crate::control::{self, FRAMES_WAITING, Reader};
use crate::edge::checks::Checks;
use crate::edge::listeners::Listeners;
use crate::edge::threads::Threads;
use crate::health::Seen;
use crate::log::Writer;
use crate::pool::Target;
use crate::thread::Connections;
use crate::{Options, Passed};

/// When it is signalled rather than asked: less than the grace of `kill_timeout` would be pointless, more surprising.
const GRACE_BY_SIGNAL: Duration = Duration::from_secs(10);

/// How often names are looked up again; about as long as those who move services let a name live.
const NAMES_EVERY: Duration = Duration::from_secs(15);

type Found = Vec<((String, u16), Vec<SocketAddr>)>;

/// Looks names up, beside everything else. What cannot be found now stays what it was.
fn look_up(names: Vec<(String, u16)>, found: &mpsc::Sender<Found>) {
    // One look-up at a time: a name server that hangs is not asked again meanwhile.
    let Ok(place) = found.clone().try_reserve_owned() else { return };
    if names.is_empty() {
        return;
    }
    tokio::task::spawn_local(async move {
        let mut all = Found::new();
        for (host, port) in names {
            let addresses: Vec<SocketAddr> = match tokio::net::lookup_host((host.as_str(), port)).await {
                Ok(addresses) => addresses.collect(),
                Err(_) => continue,
            };
            if !addresses.is_empty() {
                all.push(((host, port), addresses));
            }
        }
        place.send(all);
    });
}

/// Runs until told to quit.
pub(crate) fn run(passed: Vec<Passed>, control: OwnedFd, options: Options) -> io::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.unwrap_or(cores).max(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(async move {
        let (reader, writer) = control::open(control)?;
        let (frames, waiting) = mpsc::channel(FRAMES_WAITING);
        let writing = tokio::task::spawn_local(control::write(writer, waiting));
        Edge::start(passed, threads, frames)?.run(reader).await?;
        // The last answer is on its way; a daemon that does not read it does not get it.
        let _ = tokio::time::timeout(Duration::from_millis(500), writing).await;
        Ok(())
    })
}

struct Edge {
    began: Instant,
    world: World,
    wanted: Configuration,
    snapshot: Arc<Snapshot>,
    listeners: Listeners,
    threads: Threads,
    checks: Checks,
    logs: Writer,
    connections: Arc<Connections>,
    frames: mpsc::Sender<FromEdge>,
}

impl Edge {
    fn start(passed: Vec<Passed>, threads: usize, frames: mpsc::Sender<FromEdge>) -> io::Result<Self> {
        let tell = {
            let frames = frames.clone();
            move |notice| drop(frames.try_send(FromEdge::Notice(notice)))
        };
        let trouble = tell.clone();
        let logs = Writer::start(move |text| trouble(Notice::Trouble { text }))?;
        let world = World { threads, tell: Arc::new(tell), found: HashMap::new() };
        let snapshot = Arc::new(world.empty());
        let connections = Arc::new(Connections::default());
        let hello =
            FromEdge::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").into(), threads: threads as u32 };
        let _ = frames.try_send(hello);
        Ok(Self {
            began: Instant::now(),
            threads: Threads::start(threads, &snapshot, &logs, &connections)?,
            listeners: Listeners::new(passed),
            world,
            wanted: Configuration::default(),
            snapshot,
            checks: Checks::default(),
            logs,
            connections,
            frames,
        })
    }

    async fn run(mut self, mut reader: Reader) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut connected = true;
        let mut look = tokio::time::interval(NAMES_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (found, mut news) = mpsc::channel(1);
        let grace = loop {
            let frame = tokio::select! {
                _ = look.tick() => {
                    look_up(config::names(&self.wanted), &found);
                    continue;
                }
                Some(found) = news.recv() => {
                    self.found(found).await;
                    continue;
                }
                frame = reader.next(), if connected => frame,
                _ = terminate.recv() => break GRACE_BY_SIGNAL,
                _ = interrupt.recv() => break GRACE_BY_SIGNAL,
            };
            let frame = match frame {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(text))) => {
                    // A daemon of another version; what we understand goes on.
                    (self.world.tell)(Notice::Trouble { text: format!("not understood: {text}") });
                    continue;
                }
                Ok(None) | Err(_) => {
                    // Nobody is left to say anything. What was said last still counts.
                    connected = false;
                    continue;
                }
            };
            let (answer, quit) = match frame.ask {
                Ask::Configure(wanted) => {
                    let fds = reader.take_fds(wanted.listeners.len());
                    (self.configure(wanted, fds).await, None)
                }
                Ask::Quit { grace } => (Answer::Done, Some(grace)),
                ask => (self.answer(ask).await, None),
            };
            let _ = self.frames.send(FromEdge::Answer { id: frame.id, answer }).await;
            if let Some(grace) = quit {
                break grace;
            }
        };
        self.quit(grace, &mut terminate, connected.then_some(reader)).await;
        Ok(())
    }

    /// Takes over what names stand for now.
    async fn found(&mut self, found: Found) {
        // In whatever order: name servers turn them round with each answer.
        let sorted = |addresses: &[SocketAddr]| {
            let mut all = addresses.to_vec();
            all.sort_unstable();
            all
        };
        let stands = |(host, port): &(String, u16), addresses: &[SocketAddr]| {
            let shown = ServerAddress::Tcp { host: host.clone(), port: *port }.to_string();
            let mut servers = self.snapshot.upstreams.iter().flat_map(|upstream| &upstream.servers);
            servers.all(|server| match &server.target {
                Target::Tcp(own) if server.address == shown => sorted(own) == sorted(addresses),
                _ => true,
            })
        };
        let changed: Vec<_> = found.into_iter().filter(|(name, addresses)| !stands(name, addresses)).collect();
        if changed.is_empty() {
            return;
        }
        self.world.found.extend(changed);
        if let Answer::Refused(mistakes) = self.apply(Scope::Members).await {
            (self.world.tell)(Notice::Trouble { text: mistakes.join("; ") });
        }
    }

    async fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Configure(_) | Ask::Quit { .. } => Answer::Done,
            Ask::Member(member) => self.member(member).await,
            Ask::RemoveMember { app, member } => {
                let known = self.snapshot.upstreams.iter().flat_map(|upstream| &upstream.servers);
                for server in known.filter(|server| server.app.as_ref() == Some(&app) && server.name == member) {
                    server.live.see(Seen::Supervisor(MemberState::Unhealthy), "it is gone");
                }
                self.wanted.members.retain(|one| one.app != app || one.name != member);
                self.apply(Scope::Members).await
            }
            Ask::Server { upstream, server, change } => self.server(&upstream, &server, change),
            Ask::Stats => {
                let connections = self.connections.count.load(Relaxed).into();
                let (uptime, lost) = (self.began.elapsed(), self.logs.lost());
                Answer::Stats(crate::stats::stats(&self.snapshot, uptime, self.world.threads, lost, connections))
            }
            Ask::ReloadFiles => self.apply(Scope::All).await,
            Ask::ReopenLogs => {
                self.threads.flush_logs().await;
                let logs = self.snapshot.balancers.iter().filter_map(|balancer| balancer.log.as_ref());
                let mistakes: Vec<_> = logs.filter_map(|log| log.reopen().err()).collect();
                if mistakes.is_empty() { Answer::Done } else { Answer::Refused(mistakes) }
            }
        }
    }

    async fn configure(&mut self, wanted: Configuration, fds: Vec<OwnedFd>) -> Answer {
        if fds.len() < wanted.listeners.len() {
            return Answer::Refused(vec!["a listening socket is missing from the message".into()]);
        }
        let new: Vec<_> = wanted.listeners.iter().cloned().zip(fds).map(|(name, fd)| Passed { name, fd }).collect();
        let before = std::mem::replace(&mut self.wanted, wanted);
        let kept = self.listeners.add(new);
        match self.apply(Scope::All).await {
            Answer::Done => Answer::Done,
            refused => {
                self.wanted = before;
                self.listeners.forget(kept);
                refused
            }
        }
    }

    /// Puts what is wanted into force.
    async fn apply(&mut self, scope: Scope) -> Answer {
        let made = match self.world.snapshot(&self.wanted, &self.snapshot, scope, |name| self.listeners.has(name)) {
            Ok(made) => Arc::new(made),
            Err(mistakes) => return Answer::Refused(mistakes),
        };
        self.snapshot = made;
        self.checks.apply(&self.snapshot);
        let new = self.listeners.hand_out(&self.snapshot, self.world.threads);
        self.threads.apply(&self.snapshot, new).await;
        // Only now: those that wait look at what their threads have.
        self.snapshot.upstreams.iter().for_each(|upstream| upstream.queue.wake_all());
        Answer::Done
    }

    async fn member(&mut self, member: Member) -> Answer {
        let known = self.wanted.members.iter_mut().find(|one| one.app == member.app && one.name == member.name);
        let same_place = match known {
            Some(known) => {
                let same = Member { state: known.state, ..member.clone() } == *known;
                *known = member.clone();
                same
            }
            None => {
                self.wanted.members.push(member.clone());
                false
            }
        };
        if !same_place {
            return self.apply(Scope::Members).await;
        }
        // What changes is how it is, and that is told at once.
        let servers = self.snapshot.upstreams.iter().flat_map(|upstream| &upstream.servers);
        for server in servers.filter(|server| server.app.as_ref() == Some(&member.app) && server.name == member.name) {
            server.live.see(Seen::Supervisor(member.state), "the supervisor said so");
        }
        if member.state != MemberState::Ready {
            self.threads.apply(&self.snapshot, Vec::new()).await;
        }
        Answer::Done
    }

    fn server(&self, upstream: &str, server: &str, change: ServerChange) -> Answer {
        let Some(found) = self.snapshot.upstreams.iter().find(|one| one.name == upstream) else {
            return Answer::Refused(vec![format!("there is no upstream {upstream:?}")]);
        };
        let Some(server) = found.servers.iter().find(|one| one.name == server || one.address == server) else {
            return Answer::Refused(vec![format!("upstream {upstream} has no server {server:?}")]);
        };
        match change {
            ServerChange::Drain => server.live.see(Seen::Drain, "a person said so"),
            ServerChange::Ready => server.live.see(Seen::Ready, "a person said so"),
            ServerChange::Weight(weight) => {
                server.live.weight.store(weight.min(1 << 16), Relaxed);
                found.queue.wake_all();
            }
        }
        Answer::Done
    }

    /// Lets requests end. Those that wait for a server are still told when one becomes ready.
    async fn quit(&mut self, grace: Duration, terminate: &mut tokio::signal::unix::Signal, mut reader: Option<Reader>) {
        self.checks.stop();
        self.threads.quit().await;
        let connections = Arc::clone(&self.connections);
        let all_closed = async {
            loop {
                let closed = connections.none_left.notified();
                if connections.count.load(Relaxed) == 0 {
                    return;
                }
                closed.await;
            }
        };
        let over = tokio::time::sleep(grace);
        tokio::pin!(all_closed, over);
        loop {
            let heard = async {
                match &mut reader {
                    Some(reader) => reader.next().await,
                    None => std::future::pending().await,
                }
            };
            let frame = tokio::select! {
                () = &mut all_closed => break,
                () = &mut over => break,
                _ = terminate.recv() => break,
                frame = heard => frame,
            };
            match frame {
                Ok(Some(Ok(ToEdge { id, ask }))) => {
                    let answer = match ask {
                        Ask::Configure(_) => Answer::Refused(vec!["the balancer is ending".into()]),
                        ask => self.answer(ask).await,
                    };
                    let _ = self.frames.send(FromEdge::Answer { id, answer }).await;
                }
                Ok(Some(Err(_))) => {}
                Ok(None) | Err(_) => reader = None,
            }
        }
        self.threads.flush_logs().await;
        self.logs.drain();
    }
}
