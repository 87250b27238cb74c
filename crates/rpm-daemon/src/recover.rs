//! The first moments of a daemon: what did the one before leave?
//!
//! The keeper is asked for everything it has: children with their ends, and descriptors by name. What was wanted is
//! read from the state file of this boot. The core puts the two together; descriptors find their lives by name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rpm_keeper::client::{Client as Keeper, Message, Request};
use rpm_logs::{Kind, Stream};
use rpm_model::{AppId, Bytes, ExecMode, Exit, Flavour, Home, Life, Moment, Status};
use rpm_share::{Channel, Ports};
use rpm_supervise::{Event, Fact, Supervisor};
use rpm_sys::pidfd::{Pidfd, ProcessRef};
use rpm_sys::{fail, reap};
use tokio::sync::mpsc;

use crate::actions::Actions;
use crate::autoscale::Autoscale;
use crate::cgroups::Cgroups;
use crate::changes::Changes;
use crate::clients::{self, Inbound};
use crate::cron::Cron;
use crate::daemon::Daemon;
use crate::door::Doorman;
use crate::edge::{self, Edges};
use crate::forensics::{self, Forensics, Usage};
use crate::health::Checks;
use crate::hooks::Hooks;
use crate::logs::Logs;
use crate::news::exit_of;
use crate::node::Nodes;
use crate::output::{self, LogNames};
use crate::process::{Process, Running, SeatFiles};
use crate::rounds::Rounds;
use crate::sampling::Sampler;
use crate::saving::Saving;
use crate::secrets::FromShells;
use crate::silence::Silence;
use crate::tasks::{self, Tasks};
use crate::watch::{Token, Watch};
use crate::webhooks::Webhooks;
use crate::{DaemonError, Options, door, files, leftovers, orphans, pm2, secrets, state};

/// The name by which the keeper knows the clients' socket.
const SOCKET: &str = "clients";

/// Everything the keeper has.
#[derive(Default)]
pub(crate) struct Inventory {
    pub(crate) keeper_pid: i32,
    pub(crate) facts: Vec<Fact>,
    pub(crate) pidfds: BTreeMap<Life, Pidfd>,
    pub(crate) held: BTreeMap<String, OwnedFd>,
    pub(crate) exited: BTreeSet<String>,
    pub(crate) usages: BTreeMap<Life, Usage>,
}

/// Starts the daemon: nothing runs twice, and nothing that runs is disturbed.
pub(crate) fn start(options: &Options) -> Result<(Daemon, mpsc::Receiver<Inbound>), DaemonError> {
    let home = options.home.clone();
    let system = |what| move |error: io::Error| DaemonError::System { what, error };
    let mut keeper = Keeper::inherited().map_err(DaemonError::Keeper)?.ok_or(DaemonError::NoKeeper)?;
    fail::pass("restore", "begun");
    let mut inventory = take_inventory(&mut keeper).map_err(DaemonError::Keeper)?;
    fail::pass("restore", "inventoried");

    let boot = rpm_sys::proc::boot_id().map_err(|error| DaemonError::System {
        what: "read the boot id",
        error: io::Error::from_raw_os_error(error.errno),
    })?;
    files::sweep(home.root());
    let mut kept = state::Kept::default();
    let (third, unwritten) = (inventory.held.remove(state::HELD), inventory.held.remove(state::UNWRITTEN));
    let unwritten_before = unwritten.is_some().then_some(0);
    if !inventory.facts.is_empty() {
        (kept.third, kept.unwritten) = (third, unwritten);
    }
    let state = state::read(&home.state(), &boot, &kept);
    fail::pass("restore", "read");
    orphans::take_in(&home, &state, &mut keeper, &mut inventory).map_err(DaemonError::Keeper)?;
    fail::pass("restore", "taken_in");
    let (wishes, unknown) = (state.wishes, state.unknown);
    let saved = state.saved.unwrap_or_else(|| Supervisor::new().saved());
    let (clock, now) = forensics::clock_and_now();
    let cgroups = Cgroups::of(&home);
    let before = forensics::Before { saved: &saved, traces: &state.traces, cgroups: &cgroups, home: &home };
    let missed = forensics::missed(&before, &mut inventory, clock, now);
    let mut effects = Vec::new();
    let left = leftovers::of_ended(&home, &saved, &mut inventory);
    let core = Supervisor::restore(now, saved, &inventory.facts, &mut effects);
    forensics::drop_told(&mut effects, &inventory.facts, home.root(), clock);
    fail::pass("restore", "decided");
    let strangers = orphans::end_strangers(&home, &core, &mut inventory);

    let watch = Watch::new().map_err(system("make an epoll set"))?;
    watch.add(&keeper, Token::Keeper).map_err(system("watch the keeper"))?;
    let signals = reap::signalfd(&[1, 2, 3, 12, 15]).map_err(|error| DaemonError::System {
        what: "receive signals",
        error: io::Error::from_raw_os_error(error.errno),
    })?;
    watch.add(&signals, Token::Signals).map_err(system("watch for signals"))?;

    let (inbound, requests) = clients::requests();
    let failed = |path: PathBuf| move |error| DaemonError::Socket { path, error };
    let socket = held_or_new(SOCKET, &home.socket(), &mut inventory, &mut keeper)?;
    clients::serve(socket, inbound.clone()).map_err(failed(home.socket()))?;
    let doorman = doorman(&home, &watch);
    let kept_inbound = inbound.clone();
    let pm2 = if pm2::is_wanted(&home) {
        let calls = held_or_new(pm2::CALLS, &pm2::calls_path(&home), &mut inventory, &mut keeper)?;
        let bus = held_or_new(pm2::BUS, &pm2::bus_path(&home), &mut inventory, &mut keeper)?;
        Some(pm2::Room::open(calls, bus, inbound, &home).map_err(failed(pm2::calls_path(&home)))?)
    } else {
        None
    };

    fail::pass("restore", "listening");
    let mut ports = restore_ports(&mut inventory, &core);
    let is_pm2 = home.flavour() == Flavour::Pm2;
    ports.share_between_apps(is_pm2);
    close_unwanted(&mut ports, &core);
    let mut daemon = Daemon {
        boot,
        clock,
        started_at_ms: rpm_sys::proc::wall_clock_millis(),
        core,
        keeper,
        keeper_pid: inventory.keeper_pid,
        silence: Silence::default(),
        keeper_process: Pidfd::open(inventory.keeper_pid).ok(),
        keeper_command: options.keeper_command.clone(),
        reapers: BTreeSet::new(),
        signals,
        watch,
        ports,
        pump: None,
        logs: Logs::new(is_pm2),
        pump_news: mpsc::unbounded_channel(),
        processes: BTreeMap::new(),
        unread: BTreeSet::new(),
        cgroups,
        saving: Saving::default(),
        resolving: BTreeMap::new(),
        resolved: mpsc::unbounded_channel(),
        from_shells: inventory.held.remove(secrets::HELD).map(|file| FromShells::read(&file)).unwrap_or_default(),
        seats: BTreeMap::new(),
        names: BTreeMap::new(),
        leftovers: BTreeMap::new(),
        unclear: BTreeSet::new(),
        rounds: Rounds::default(),
        edges: Edges::default(),
        events: VecDeque::new(),
        commands: BTreeMap::new(),
        replies: Vec::new(),
        next_command: 1,
        listeners: Vec::new(),
        doorman,
        inbound: kept_inbound,
        consoles: BTreeMap::new(),
        foreground: None,
        nodes: Nodes::default(),
        pm2,
        actions: Actions::default(),
        autoscale: Autoscale::default(),
        to_acknowledge: std::mem::take(&mut inventory.exited),
        dirty: true,
        persisted_at: Moment::default(),
        persist_every: std::time::Duration::ZERO,
        backup_due: None,
        apps_are_copied: false,
        state_fails: false,
        unwritten: unwritten_before,
        unknown,
        leaving: false,
        upgraded: false,
        updating: None,
        effects: Vec::new(),
        changes: Changes::default(),
        cron: Cron::new(&home),
        checks: Checks::default(),
        tasks: Tasks::default(),
        hooks: Hooks::default(),
        webhooks: Webhooks::default(),
        forensics: Forensics::open(&home),
        apps_differ: true,
        fit_due: None,
        home,
    };
    daemon.record_own("has started");
    for stranger in strangers {
        tracing::error!("{stranger}");
        daemon.record_own(&stranger);
    }
    let ends: Vec<(Life, Exit)> = missed.iter().map(|ended| (ended.record.life, ended.record.exit)).collect();
    daemon.record_missed(missed);
    daemon.edges.restore_wishes(wishes);
    daemon.adopt(inventory, &state.traces);
    fail::pass("restore", "adopted");
    for (life, left) in left {
        daemon.watch_found(life, left);
    }
    for effect in effects {
        daemon.carry_out(effect);
    }
    fail::pass("restore", "carried_out");
    for (life, exit) in ends {
        daemon.hook_missed(life, exit);
    }
    daemon.write_own_pid();
    fail::pass("restore", "done");
    Ok((daemon, requests))
}

/// Returns a listening socket: the keeper's, or a new one that the keeper holds from now on, so that clients wait while
/// a daemon is replaced.
fn held_or_new(
    name: &str,
    path: &Path,
    inventory: &mut Inventory,
    keeper: &mut Keeper,
) -> Result<OwnedFd, DaemonError> {
    // A daemon that was killed while it said farewell had removed the file: nobody finds the socket any more.
    let socket = match inventory.held.remove(name).filter(|_| door::is_there(path)) {
        Some(socket) => socket,
        None => door::listen(path).map_err(|error| DaemonError::Socket { path: path.to_owned(), error })?,
    };
    keeper.send(&Request::Store { name, fd: socket.as_fd() }).map_err(DaemonError::Keeper)?;
    Ok(socket)
}

/// Has somebody look after the clients' socket. Without him it is only not missed when it is gone.
fn doorman(home: &Home, watch: &Watch) -> Option<Doorman> {
    let made = Doorman::new().and_then(|doorman| {
        doorman.watch(&home.socket())?;
        watch.add(&doorman, Token::Door)?;
        Ok(doorman)
    });
    made.inspect_err(|error| tracing::warn!("nobody looks after the clients' socket: {error}")).ok()
}

/// Asks the keeper for everything, and waits for it: nothing can be decided before.
fn take_inventory(keeper: &mut Keeper) -> io::Result<Inventory> {
    keeper.send(&Request::Hello { version: rpm_keeper::client::VERSION })?;
    keeper.send(&Request::Inventory)?;
    let mut inventory = Inventory::default();
    loop {
        keeper.flush()?;
        let Some(message) = keeper.recv()? else {
            let mut poll = [rustix::event::PollFd::new(keeper, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut poll, None)?;
            continue;
        };
        match message {
            Message::Hello { pid, .. } => inventory.keeper_pid = pid,
            Message::Child { key, note, pid, pidfd, started_at_micros, exit } => {
                if exit.is_some() {
                    inventory.exited.insert(key.clone());
                }
                let Some(life) = Life::parse(&key) else {
                    // Whoever waited for it is gone.
                    if let Some(pidfd) = pidfd.filter(|_| exit.is_none() && key.starts_with(tasks::PREFIX)) {
                        let _ = Pidfd::from_fd(pidfd).signal(9);
                    }
                    continue;
                };
                if let Some(exit) = &exit {
                    let cpu_micros = exit.utime_micros + exit.stime_micros;
                    let usage = Usage { cpu_micros, memory_max: Bytes(exit.maxrss_bytes) };
                    inventory.usages.insert(life, usage);
                }
                inventory.facts.push(Fact {
                    life,
                    pid,
                    started_at: Moment(started_at_micros),
                    exit: exit.map(|exit| (exit_of(exit.exit), Moment(exit.at_micros))),
                    leftovers: false,
                    note: serde_json::from_slice(&note).ok(),
                });
                if let Some(pidfd) = pidfd {
                    inventory.pidfds.insert(life, Pidfd::from_fd(pidfd));
                }
            }
            Message::Held { name, fd } => {
                inventory.held.insert(name, fd);
            }
            Message::InventoryEnd => return Ok(inventory),
            // Told again by the inventory.
            Message::Exited { .. } | Message::Spawned { .. } | Message::SpawnFailed { .. } => {}
            Message::Orphans { .. } | Message::Fd { .. } => {}
            Message::Error { about, text } => tracing::error!("the keeper refused {about}: {text}"),
        }
    }
}

fn restore_ports(inventory: &mut Inventory, core: &Supervisor) -> Ports {
    let lives: Vec<(Life, AppId)> = inventory
        .facts
        .iter()
        .filter(|fact| fact.exit.is_none())
        .filter_map(|fact| Some((fact.life, core.app_of(fact.life.worker)?)))
        .collect();
    let names: Vec<String> = inventory.held.keys().filter(|name| name.starts_with("port/")).cloned().collect();
    let held = names.into_iter().filter_map(|name| inventory.held.remove_entry(&name)).collect();
    Ports::restore(held, &lives)
}

/// Closes what belongs to apps and seats that are down for good: the daemon before was killed when that was decided, and
/// before the keeper was told. Connections to it would wait for nobody, and the address would never be free again.
fn close_unwanted(ports: &mut Ports, core: &Supervisor) {
    for worker in ports.holders() {
        if is_down(core.worker(worker).map(|worker| worker.status)) {
            ports.close(worker);
        }
    }
    for app in ports.apps() {
        if core.app(app).is_none_or(|app| app.workers.iter().all(|worker| is_down(Some(worker.status)))) {
            ports.close_app(app);
        }
    }
}

/// Returns whether a worker of that status, if it is known at all, is down for good.
pub(crate) fn is_down(status: Option<Status>) -> bool {
    status.is_none_or(|status| matches!(status, Status::Stopped | Status::Errored))
}

impl Daemon {
    /// Something has become of the clients' socket. Where it is gone, or the whole directory is, there is another one: no
    /// command could start a second daemon beside this one.
    pub(crate) fn look_at_door(&mut self) {
        let Some(doorman) = self.doorman.take() else { return };
        doorman.hear();
        let path = self.home.socket();
        let again = || -> io::Result<OwnedFd> {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.home.root())?;
            let socket = door::listen(&path)?;
            clients::serve(
                rpm_sys::fd::dup(&socket).map_err(|error| io::Error::from_raw_os_error(error.errno))?,
                self.inbound.clone(),
            )?;
            Ok(socket)
        };
        if !door::is_there(&path) {
            match again() {
                Ok(socket) => {
                    tracing::warn!("{} was gone, and is there again", path.display());
                    self.ask_keeper(&Request::Store { name: SOCKET, fd: socket.as_fd() });
                    self.write_own_pid();
                    // The state may be gone as well.
                    self.dirty = true;
                    self.apps_are_copied = false;
                }
                Err(error) => tracing::error!("{} is gone, and cannot be made: {error}", path.display()),
            }
        }
        match doorman.watch(&path) {
            Ok(()) => self.doorman = Some(doorman),
            Err(error) => tracing::warn!("nobody looks after {} any more: {error}", path.display()),
        }
    }

    fn write_own_pid(&self) {
        let pid = std::process::id().to_string();
        if let Err(error) = files::replace(&self.home.daemon_pid(), pid.as_bytes(), files::Durability::Process) {
            tracing::warn!("{} could not be written: {error}", self.home.daemon_pid().display());
        }
    }

    /// Takes over the processes that run.
    fn adopt(&mut self, mut inventory: Inventory, traces: &BTreeMap<Life, state::Trace>) {
        let facts = std::mem::take(&mut inventory.facts);
        let mut streams = Vec::new();
        let mut edges = Vec::new();
        self.restore_listeners(&mut inventory.held);
        for fact in facts.iter().filter(|fact| fact.exit.is_none()) {
            let life = fact.life;
            let Some(app) = self.core.app_of(life.worker) else { continue };
            let Some(view) = self.core.app(app) else { continue };
            let mut process = Process::new(app, view.spec.clone());
            let worker = self.core.worker(life.worker);
            let ready = worker.as_ref().is_some_and(|worker| worker.life == Some(life) && worker.ready);
            if let Some(pidfd) = inventory.pidfds.remove(&life) {
                let sampler = Sampler::open(fact.pid, fact.started_at);
                let stat = rpm_sys::proc::stat(fact.pid);
                let start_time = stat.as_ref().map_or(0, |stat| stat.start_time);
                // A killed keeper had started it: whoever is its parent now takes in its orphans, too.
                self.reapers.extend(stat.map(|stat| stat.ppid).filter(|parent| *parent != self.keeper_pid));
                let reference = ProcessRef { pid: fact.pid, start_time, pidfd };
                process.running = Some(Running { process: reference, sampler });
            }
            if let Some(fd) = inventory.held.remove(&format!("ipc/{life}")) {
                let channel = Channel::resume(fd, life).map_err(|error| error.to_string()).and_then(|channel| {
                    let watched = self.watch.add_edges(&channel, Token::Channel(life));
                    watched.map(|()| channel).map_err(|error| error.to_string())
                });
                match channel {
                    Ok(channel) => process.channel = Some(channel),
                    Err(error) => tracing::error!("{life} cannot be heard: {error}"),
                }
            }
            process.input = inventory.held.remove(&format!("input/{life}"));
            if process.spec.exec_mode == ExecMode::Proxy {
                process.proxied = edge::given_port(fact.pid);
            }
            if let Some(socket) = inventory.held.remove(&edge::control_name(life)) {
                self.begin_edge(life, app, &process.spec, socket);
                edges.push(life);
            }
            if let Some(fd) = inventory.held.remove(&format!("notify/{life}")) {
                if let Err(error) = self.watch.add(&fd, Token::Notify(life)) {
                    tracing::error!("the notification socket of {life} cannot be watched: {error}");
                }
                process.notify = Some(fd);
            }
            if ready {
                process.admitted = true;
                self.ports.admit(life);
            } else if process.spec.exec_mode == ExecMode::Cluster && self.ports.has_received(life, fact.pid) {
                // It may have said so to the daemon that was killed, and nobody says it twice. A roll would wait for it in vain.
                self.events.push_back(Event::Listening { life });
            }
            let spec = process.spec.clone();
            if !spec.limits.is_empty() {
                process.cgroup = self.cgroups.of_life(life);
            }
            let logs = rpm_logs::paths(&spec, life.worker, &self.home);
            let pid = rpm_logs::pid_path(&spec, life.worker, &self.home);
            if let Some(trace) = traces.get(&life) {
                process.log_from = trace.log_from;
                self.forensics.remember(life.worker, trace);
            }
            let err_from = process.log_from[1];
            self.keep_files(life.worker, &spec, SeatFiles { app, logs, pid, err_from });
            self.processes.insert(life, process);
            self.begin_checks(life, crate::view::now());
            self.resume_logs(life, &spec, &mut inventory.held, &mut streams);
        }
        for life in edges {
            self.configure_edge(life);
        }
        // Logs of lives that ended meanwhile still have to be read to their ends.
        let mut ended: BTreeSet<Life> = BTreeSet::new();
        for name in inventory.held.keys() {
            let life = name.strip_prefix("log/").and_then(|rest| Life::parse(rest.split('/').next()?));
            ended.extend(life);
        }
        for life in &ended {
            let spec = self.core.app_of(life.worker).and_then(|app| Some(self.core.app(app)?.spec.clone()));
            if let Some(spec) = spec {
                self.resume_logs(*life, &spec, &mut inventory.held, &mut streams);
            }
        }
        // First, which logs keep their names; then those that write may.
        self.fit_logs();
        self.resume_streams(streams);
        if let Some(pump) = &self.pump {
            for (life, kind) in ended.iter().flat_map(|life| [(*life, Kind::Out), (*life, Kind::Err)]) {
                pump.finish(&LogNames::of(life, kind).stream);
            }
        }
        for name in inventory.held.keys() {
            tracing::debug!("the keeper held {name}, which nobody needs");
        }
        let unneeded: Vec<String> = inventory.held.into_keys().collect();
        for name in unneeded {
            self.ask_keeper(&Request::Drop { name: &name });
        }
    }

    /// Finds what is to be carried on of a life's output.
    fn resume_logs(
        &self,
        life: Life,
        spec: &rpm_model::AppSpec,
        held: &mut BTreeMap<String, OwnedFd>,
        streams: &mut Vec<Stream>,
    ) {
        let logs = rpm_logs::paths(spec, life.worker, &self.home);
        for kind in [Kind::Out, Kind::Err] {
            let names = LogNames::of(life, kind);
            let (Some(pipe), Some(staging)) = (held.remove(&names.pipe), held.remove(&names.staging)) else {
                continue;
            };
            let stream = output::stream(life, spec, &logs, kind, names.stream, (pipe, staging));
            streams.push(Stream { resume: true, ..stream });
        }
    }
}
