//! The room of the balancers' processes, the edges: what they are told, and what they tell.
//!
//! An edge is a worker like any other, of an app whose spec has a balancer. The keeper holds its listening sockets and
//! the daemon's end of its control socket, so it outlives the daemon; a new daemon tells it everything again.
//!
//! - [`members`]: which workers an edge should know of (pure); compared after each turn with what it was told
//! - [`control`]: frames; [`listeners`]: listening sockets; [`address`]: where a worker is reached
//! - [`traffic`]: what they send to apps, for whoever goes by it; [`canary`]: what a canary answers beside the others
//! - [`asked`]: what clients ask of balancers; [`changed`]: a changed configuration, applied where it runs

mod address;
mod asked;
mod canary;
mod changed;
mod commands;
mod control;
mod listeners;
mod members;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rpm_keeper::client::Request;
use rpm_model::balance::Arrangement;
use rpm_model::edge::{Answer, Ask, Configuration, FromEdge, Notice, ServerChange, ToEdge};
use rpm_model::{AppId, AppSpec, Life, Moment, WorkerId};
use rpm_supervise::Event;
use serde::{Deserialize, Serialize};

use crate::daemon::Daemon;
use crate::process::Proxied;
use crate::recover;
use crate::watch::Token;
use asked::{Asking, Waiting};
use control::Control;
use listeners::Listeners;
use members::{Awaited, Members, Seen};
use traffic::Traffic;

pub(crate) use address::{free_file, free_port, listens, of as address_of};
pub(crate) use canary::Who;

/// Every edge, and what clients wait for from them.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    edges: BTreeMap<Life, Edge>,
    listeners: Listeners,
    /// What people have asked of servers, by balancer: told again to the next process of it.
    wishes: BTreeMap<AppId, BTreeMap<(String, String), Wish>>,
    asking: Vec<Asking>,
    changes: Vec<changed::Change>,
    pub(crate) traffic: Traffic,
    /// Whether workers may have changed since the edges were told.
    pub(crate) differ: bool,
    next_id: u64,
}

/// What people have asked of one server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Wish {
    drained: bool,
    weight: Option<u32>,
}

/// A wish as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedWish {
    app: AppId,
    upstream: String,
    server: String,
    #[serde(flatten)]
    wish: Wish,
}

/// One edge.
#[derive(Debug)]
struct Edge {
    app: AppId,
    arrangement: Arc<AppSpec>,
    control: Control,
    /// What it was told of workers.
    told: Members,
    /// Workers whose last request it still waits for, by app and member; and in how many upstreams.
    draining: BTreeMap<(String, String), usize>,
    /// Answers that are due.
    waiting: BTreeMap<u64, Waiting>,
    quitting: bool,
}

impl Edge {
    fn arrangement(&self) -> Option<&Arrangement> {
        self.arrangement.balancer.as_deref()
    }
}

/// Returns where a worker is reached that was given a port by a daemon that has died.
pub(crate) fn given_port(pid: i32) -> Option<Proxied> {
    let given = rpm_sys::proc::environ_get(pid, "PORT")?;
    if given.starts_with('/') {
        return Some(Proxied::File(given.into()));
    }
    let at = Proxied::Port { port: given.parse().ok()?, only_v6: false };
    Some(listens(&at, pid).unwrap_or(at))
}

/// Returns the name by which the keeper knows the daemon's end of a control socket.
pub(crate) fn control_name(life: Life) -> String {
    format!("edge/{life}")
}

impl Edges {
    /// Returns whether any edge waits for the last request of a worker.
    pub(crate) fn waits_for(&self, app: &str, instance: u32, life: Life) -> bool {
        let key = (app.to_owned(), format!("{app}:{instance}.{}", life.generation.0));
        self.edges.values().any(|edge| edge.draining.contains_key(&key))
    }

    /// Returns what people have asked of servers, for the next daemon.
    pub(crate) fn saved_wishes(&self) -> Vec<SavedWish> {
        let of_app = |(app, wishes): (&AppId, &BTreeMap<(String, String), Wish>)| {
            let app = *app;
            let saved = wishes.iter().map(move |((upstream, server), wish)| SavedWish {
                app,
                upstream: upstream.clone(),
                server: server.clone(),
                wish: *wish,
            });
            saved.collect::<Vec<_>>()
        };
        self.wishes.iter().flat_map(of_app).collect()
    }

    /// Takes over what people have asked of servers before.
    pub(crate) fn restore_wishes(&mut self, saved: Vec<SavedWish>) {
        for SavedWish { app, upstream, server, wish } in saved {
            self.wishes.entry(app).or_default().insert((upstream, server), wish);
        }
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl Daemon {
    /// Opens the listening sockets that a balancer needs.
    pub(crate) fn open_listeners(&mut self, app: AppId, spec: &AppSpec) -> Result<(), rpm_share::Refused> {
        let Some(arrangement) = &spec.balancer else { return Ok(()) };
        for address in arrangement.addresses() {
            self.edges.listeners.open(app, address, &mut self.keeper)?;
        }
        Ok(())
    }

    /// Begins the conversation with an edge that is being started, or was found running.
    pub(crate) fn begin_edge(&mut self, life: Life, app: AppId, spec: &Arc<AppSpec>, socket: OwnedFd) {
        let begun = Control::new(socket).and_then(|control| {
            self.watch.add_edges(&control, Token::Edge(life))?;
            Ok(control)
        });
        let control = match begun {
            Ok(control) => control,
            Err(error) => return tracing::error!("{life} cannot be told what to balance: {error}"),
        };
        let edge = Edge {
            app,
            arrangement: spec.clone(),
            control,
            told: Members::new(),
            draining: BTreeMap::new(),
            waiting: BTreeMap::new(),
            quitting: false,
        };
        self.edges.edges.insert(life, edge);
    }

    /// Tells an edge everything that is wanted of it.
    pub(crate) fn configure_edge(&mut self, life: Life) {
        self.configure_edge_for(life, Waiting::Configured);
    }

    fn configure_edge_for(&mut self, life: Life, waiting: Waiting) {
        let wanted = self.members_of(life);
        let id = self.edges.next_id();
        let Some(edge) = self.edges.edges.get_mut(&life) else { return };
        let Some(arrangement) = edge.arrangement.balancer.clone() else { return };
        let (listeners, fds) = self.edges.listeners.duplicates(edge.app, arrangement.addresses());
        let configuration = Configuration {
            version: id,
            upstreams: arrangement.upstreams.clone(),
            balancers: vec![arrangement.balancer.clone()],
            members: wanted.values().cloned().collect(),
            maxconn: None,
            listeners,
        };
        edge.told = wanted;
        edge.waiting.insert(id, waiting);
        let sent = edge.control.send(&ToEdge { id, ask: Ask::Configure(configuration) }, fds);
        let wishes = self.edges.wishes.get(&edge.app).cloned().unwrap_or_default();
        if let Err(error) = sent {
            tracing::error!("{life} cannot be told what to balance: {error}");
        }
        for ((upstream, server), wish) in wishes {
            let weight = wish.weight.map(ServerChange::Weight);
            for change in weight.into_iter().chain(wish.drained.then_some(ServerChange::Drain)) {
                let (upstream, server) = (upstream.clone(), server.clone());
                self.ask_edge(life, Ask::Server { upstream, server, change }, Waiting::Nobody);
            }
        }
    }

    /// Asks an edge for something.
    fn ask_edge(&mut self, life: Life, ask: Ask, waiting: Waiting) -> u64 {
        let id = self.edges.next_id();
        if let Some(edge) = self.edges.edges.get_mut(&life) {
            edge.waiting.insert(id, waiting);
            if let Err(error) = edge.control.send(&ToEdge { id, ask }, Vec::new()) {
                tracing::warn!("{life} cannot be told anything: {error}");
            }
        }
        id
    }

    /// Tells every edge what has changed of the workers that it knows. After each turn. One that ends, too: it may hold
    /// requests that wait for a worker.
    pub(crate) fn fit_edges(&mut self) {
        if !std::mem::take(&mut self.edges.differ) {
            return;
        }
        let lives: Vec<Life> = self.edges.edges.keys().copied().collect();
        for life in lives {
            let wanted = self.members_of(life);
            let Some(edge) = self.edges.edges.get_mut(&life) else { continue };
            if edge.told == wanted {
                continue;
            }
            let asks = members::changes(&edge.told, &wanted);
            edge.told = wanted;
            for ask in asks {
                self.note_drain(life, &ask);
                self.ask_edge(life, ask, Waiting::Nobody);
            }
        }
    }

    /// Notes that a worker's last request is waited for, or is not any more.
    fn note_drain(&mut self, life: Life, ask: &Ask) {
        let Some(edge) = self.edges.edges.get_mut(&life) else { return };
        match ask {
            Ask::Member(member) if member.state == rpm_model::edge::MemberState::Draining => {
                let names = |upstream: &&rpm_model::balance::UpstreamSpec| {
                    upstream
                        .servers
                        .iter()
                        .any(|server| server.address == rpm_model::balance::ServerAddress::App(member.app.clone()))
                };
                let upstreams = edge.arrangement().map_or(0, |all| all.upstreams.iter().filter(names).count());
                edge.draining.insert((member.app.clone(), member.name.clone()), upstreams);
            }
            Ask::Member(member) => {
                edge.draining.remove(&(member.app.clone(), member.name.clone()));
            }
            Ask::RemoveMember { app, member } => {
                edge.draining.remove(&(app.clone(), member.clone()));
            }
            _ => {}
        }
    }

    /// Returns the workers that an edge should know of.
    fn members_of(&self, life: Life) -> Members {
        let Some(arrangement) = self.edges.edges.get(&life).and_then(Edge::arrangement) else { return Members::new() };
        let wanted: BTreeSet<&str> = arrangement.apps();
        let mut all = Vec::new();
        for app in self.core.apps().filter(|app| wanted.contains(app.spec.name.as_str()) && !app.spec.is_balancer()) {
            let (mut seen, mut awaited) = (Vec::new(), Vec::new());
            for worker in &app.workers {
                let lives = self.processes.range(Life::new(worker.id, 0)..=Life::new(worker.id, u64::MAX));
                let mut is_seated = false;
                for (life, process) in lives {
                    let (address, source) = address::of(process, *life, worker.instance, &self.ports);
                    is_seated |= !process.leaving;
                    seen.push(Seen {
                        life: *life,
                        instance: worker.instance,
                        address,
                        source,
                        admitted: process.admitted,
                        withheld: process.withheld,
                        leaving: process.leaving,
                    });
                }
                if worker.returns && !is_seated {
                    awaited.push(Awaited { instance: worker.instance });
                }
            }
            all.extend(members::of_app(&app.spec.name, &seen, &awaited));
        }
        members::by_name(all)
    }

    /// Takes what an edge says.
    pub(crate) fn take_from_edge(&mut self, life: Life) {
        loop {
            let Some(edge) = self.edges.edges.get_mut(&life) else { return };
            let frame = match edge.control.receive() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    // Its end is told by the keeper.
                    tracing::debug!("{life} is not heard any more: {error}");
                    return;
                }
            };
            match frame {
                FromEdge::Hello { .. } => {}
                FromEdge::Answer { id, answer } => self.edge_answered(life, id, answer),
                FromEdge::Notice(notice) => self.edge_noticed(life, notice),
            }
        }
        if let Some(edge) = self.edges.edges.get_mut(&life)
            && let Err(error) = edge.control.flush()
        {
            tracing::debug!("{life} is not told anything any more: {error}");
        }
    }

    fn edge_answered(&mut self, life: Life, id: u64, answer: Answer) {
        let Some(waiting) = self.edges.edges.get_mut(&life).and_then(|edge| edge.waiting.remove(&id)) else { return };
        match (waiting, answer) {
            (Waiting::Configured, Answer::Done) => self.events.push_back(Event::AppReady { life }),
            (Waiting::Configured, Answer::Refused(mistakes)) => self.edge_refused(life, &mistakes),
            (Waiting::Nobody, Answer::Refused(mistakes)) => {
                tracing::warn!("{life} did not do something: {}", mistakes.join("; "));
            }
            (Waiting::Traffic, Answer::Stats(stats)) => self.traffic_told(life, Some(stats)),
            (Waiting::Traffic, Answer::Done | Answer::Refused(_)) => self.traffic_told(life, None),
            (Waiting::Configured, Answer::Stats(_)) | (Waiting::Nobody, Answer::Done | Answer::Stats(_)) => {}
            (Waiting::Client(number), answer) => self.client_hears(life, number, answer),
            (Waiting::Changed(number), answer) => self.change_answered(life, number, answer),
        }
    }

    /// A configuration that cannot be carried out ends its process: in a roll the old one goes on.
    fn edge_refused(&mut self, life: Life, mistakes: &[String]) {
        use std::io::Write;
        tracing::error!("{life} cannot balance what was asked: {}", mistakes.join("; "));
        let log = self.seats.get(&life.worker).and_then(|files| files.logs.err.clone());
        if let Some(mut log) = log.and_then(|path| std::fs::File::options().append(true).create(true).open(path).ok()) {
            for mistake in mistakes {
                // Where even this cannot be written, our own log has it.
                let _ = writeln!(log, "{mistake}");
            }
        }
        self.signal(life, 9);
    }

    fn edge_noticed(&mut self, life: Life, notice: Notice) {
        match notice {
            Notice::State { upstream, server, from, to, reason } => {
                tracing::info!("{upstream}/{server}: {from:?} → {to:?} ({reason})");
            }
            Notice::Drained { server, .. } => {
                let Some(edge) = self.edges.edges.get_mut(&life) else { return };
                edge.draining.retain(|(_, member), left| {
                    *left -= usize::from(*member == server && *left > 0);
                    *left > 0
                });
            }
            Notice::Trouble { text } => tracing::warn!("{life}: {text}"),
        }
    }

    /// Asks an edge to finish its connections and end; returns whether it is one.
    pub(crate) fn quit_edge(&mut self, life: Life, until: Option<Moment>) -> bool {
        let Some(edge) = self.edges.edges.get_mut(&life) else { return false };
        if std::mem::replace(&mut edge.quitting, true) {
            return true;
        }
        let kill_timeout = edge.arrangement.stop.kill_timeout;
        // Before the signal that cannot be refused.
        let left = until.map_or(kill_timeout, |until| until.since(crate::view::now()));
        let grace = left.saturating_sub(Duration::from_millis(200));
        let (app, worker) = (edge.app, life.worker);
        self.ask_edge(life, Ask::Quit { grace }, Waiting::Nobody);
        let stays = self.core.worker(worker).is_some_and(|view| view.returns || view.life != Some(life));
        if !stays && !self.others_listen(app, worker) {
            // Nobody comes after it: new connections are refused at once.
            self.edges.listeners.close_others(app, &[], &mut self.keeper);
        }
        true
    }

    /// An edge is gone: whoever waited for its answer is told.
    pub(crate) fn end_edge(&mut self, life: Life) {
        let Some(edge) = self.edges.edges.remove(&life) else { return };
        self.watch.remove(&edge.control);
        self.ask_keeper(&Request::Drop { name: &control_name(life) });
        for waiting in edge.waiting.into_values() {
            let ended = || Answer::Refused(vec!["the balancer has ended".into()]);
            match waiting {
                Waiting::Client(number) => self.client_hears(life, number, ended()),
                Waiting::Changed(number) => self.change_answered(life, number, ended()),
                Waiting::Traffic => self.traffic_told(life, None),
                Waiting::Configured | Waiting::Nobody => {}
            }
        }
        // Addresses that only the configuration before had.
        if let Some(app) = self.core.app(edge.app) {
            let ours = self.edges.edges.values().filter(|other| other.app == edge.app);
            let specs = ours.map(|other| &other.arrangement).chain([app.spec]);
            let wanted: Vec<String> = specs
                .filter_map(|spec| spec.balancer.as_deref())
                .flat_map(|arrangement| arrangement.addresses().map(rpm_model::edge::listener_name))
                .collect();
            self.edges.listeners.close_others(edge.app, &wanted, &mut self.keeper);
        }
    }

    /// Returns whether other workers of a balancer accept from its sockets, now or soon.
    fn others_listen(&self, app: AppId, worker: WorkerId) -> bool {
        let up = |other: &rpm_supervise::WorkerView<'_>| {
            other.returns || matches!(other.status, rpm_model::Status::Online | rpm_model::Status::Launching)
        };
        self.core.app(app).is_some_and(|app| app.workers.iter().any(|other| other.id != worker && up(other)))
    }

    /// A worker of a balancer is down for good: where it was the last, the addresses are free.
    pub(crate) fn close_listeners(&mut self, app: AppId, worker: WorkerId) {
        if self.others_listen(app, worker) {
            return;
        }
        self.edges.listeners.close_others(app, &[], &mut self.keeper);
        if self.core.app(app).is_none() {
            self.edges.wishes.remove(&app);
        }
    }

    /// Takes back the edges that run, after the daemon before has died; closes what was open for those that are down for good.
    pub(crate) fn restore_listeners(&mut self, held: &mut BTreeMap<String, OwnedFd>) {
        self.edges.listeners = Listeners::restore(held);
        for app in self.edges.listeners.apps() {
            let view = self.core.app(app);
            if view.is_none_or(|app| app.workers.iter().all(|worker| recover::is_down(Some(worker.status)))) {
                self.edges.listeners.close_others(app, &[], &mut self.keeper);
            }
        }
    }

    /// Stores the daemon's end of an edge's control socket.
    pub(crate) fn keep_control(&mut self, life: Life) {
        let Some(edge) = self.edges.edges.get(&life) else { return };
        let name = control_name(life);
        let sent = self.keeper.send(&Request::Store { name: &name, fd: edge.control.as_fd() });
        if let Err(error) = sent {
            tracing::error!("the keeper did not take the control socket of {life}: {error}");
        }
    }
}
