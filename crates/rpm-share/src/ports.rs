//! Who listens where.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rpm_model::{AppId, Life, SocketMode, WorkerId};
use rpm_sys::net::diag::{self, Family};
use rpm_sys::net::listen::{accept_waiting, inode, is_listening};
use rpm_sys::net::steer::probe_source;
use rpm_sys::net::{listener_owner, socket_inodes};
use rpm_sys::{SysError, fd};
use serde_json::Value;

use crate::handle::Handle;
use crate::name::{Name, PREFIX};
use crate::slots::{Slot, Slots, State};
use crate::want::{Kind, Place, Want};

/// Every listening socket of every app, and who has which.
///
/// The life of a slot, by the calls that move it:
///
/// ```text
/// claim ─▶ starting ─admit─▶ admitted ─retire─▶ retired ─ended─▶ vacant ─release─▶ (spare, or closed)
///              └──────────────────┴──────ended──────────────────▶ vacant ─claim of the seat's next life─▶ starting
/// ```
#[derive(Debug, Default)]
pub struct Ports {
    ports: BTreeMap<(AppId, Place), Port>,
    admitted: BTreeSet<Life>,
    changes: VecDeque<Change>,
    between_apps: bool,
}

#[derive(Debug)]
enum Port {
    Slots(Slots),
    Handle(Handle),
}

/// A socket that the keeper held: its name, read and as it stands, and the descriptor.
type Held = (Name, String, OwnedFd);

/// A listening socket for a worker.
#[derive(Debug)]
pub struct Claim {
    /// A duplicate for the worker. Carry out [`Ports::changes`] before it is sent.
    pub fd: OwnedFd,
    /// Whether the socket was not taken over from an earlier life of the seat.
    pub fresh: bool,
    /// What it is bound to: `[::]:8000`, `127.0.0.1:8000`, `/run/x.sock`.
    pub address: String,
    /// The port it is bound to, when it has one.
    pub port: Option<u16>,
    /// The worker's key for it.
    pub key: String,
    /// Which sort of socket.
    pub kind: Kind,
    /// What the first worker sent along, to be given to all.
    pub data: Value,
}

/// A socket that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// The system's number, positive: EADDRINUSE, EACCES …
    pub errno: i32,
    /// What was wanted.
    pub address: String,
    /// Who has it, when that can be known.
    pub owner: Option<Owner>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listen on {}: {}", self.address, std::io::Error::from_raw_os_error(self.errno))?;
        match &self.owner {
            Some(owner) => write!(f, " (held by {owner})"),
            None => Ok(()),
        }
    }
}

/// Who holds an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// One of our apps.
    App(AppId),
    /// A process that is none of ours, or a worker that bound by itself.
    Process {
        /// Its pid.
        pid: i32,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::App(app) => write!(f, "app {app}"),
            Owner::Process { pid, name } => write!(f, "{name} (pid {pid})"),
        }
    }
}

/// What the keeper must do, in order.
#[derive(Debug)]
pub enum Change {
    /// Store this descriptor.
    Keep {
        /// Under this name.
        name: String,
        /// The descriptor.
        fd: OwnedFd,
    },
    /// Close what is stored.
    Forget {
        /// Under this name.
        name: String,
    },
}

/// What a draining worker still has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drain {
    /// Connections that wait in its queues, or whose handshake began before it was retired.
    pub queued: u32,
    /// Accepted connections in the middle of a request.
    pub busy: u32,
}

impl Drain {
    /// Returns whether the worker can be asked to leave without cutting a request.
    pub fn is_done(self) -> bool {
        self.queued == 0 && self.busy == 0
    }
}

/// A connection that waited in the slot of a worker that is gone.
#[derive(Debug)]
pub struct Stranded {
    /// The seat's key for the socket it came in by; the same in the seat's other lives.
    pub key: String,
    /// The connection.
    pub connection: OwnedFd,
}

/// How to reach one worker through the port it shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbePath {
    /// The address to connect from; without one the probe reaches any worker.
    pub source: Option<Ipv4Addr>,
    /// The address to connect to.
    pub to: SocketAddr,
}

impl Ports {
    /// How the names of all sockets begin.
    pub const NAMES: &str = PREFIX;

    /// Returns an empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whether apps share an address among each other, as under PM2, whose cluster workers all have one parent.
    ///
    /// Otherwise an address belongs to the app that had it first, and other apps are refused.
    pub fn share_between_apps(&mut self, shared: bool) {
        self.between_apps = shared;
    }

    /// Gets a listening socket for a worker.
    ///
    /// A seat takes over what an earlier life of it left vacant; else a slot outside the program is found or opened. A
    /// life that asks for what it has already is refused with EADDRINUSE, as Node does. An address that the app has
    /// already keeps its mode.
    pub fn claim(&mut self, life: Life, app: AppId, want: &Want, mode: SocketMode) -> Result<Claim, Refused> {
        let refuse = |errno, owner| Refused { errno, address: want.to_string(), owner };
        let place = want.place().ok_or_else(|| refuse(EBADF, None))?;
        let address = place.to_bind(want).ok_or_else(|| refuse(EINVAL, None))?;
        let state = if self.admitted.contains(&life) { State::Admitted } else { State::Starting };
        let key = self.key_of(app, place);
        let opened = match self.ports.remove(&key) {
            Some(port) => Ok((port, false)),
            None if mode == SocketMode::Reuseport && want.kind.is_tcp() => {
                Slots::open(address, want).map(|slots| (Port::Slots(slots), true))
            }
            None => Handle::open(address, want).map(|handle| (Port::Handle(handle), true)),
        };
        let (mut port, opened) = opened.map_err(|error| self.refused(error, want))?;
        let seated = match &mut port {
            Port::Slots(slots) => slots.seat(life, state, want).map(|seated| seated.map(|it| (it.index, it.fresh))),
            Port::Handle(handle) => Ok(handle.seat(life).then_some((0, opened))),
        };
        let port = self.ports.entry(key.clone()).or_insert(port);
        let (index, fresh) = match seated {
            Ok(Some(seated)) => seated,
            Ok(None) => return Err(refuse(EADDRINUSE, Some(Owner::App(app)))),
            // A stranger in the group; which of the listeners it is, nobody can say.
            Err(error) => return Err(refuse(error.errno, None)),
        };
        let bound = port.bound();
        let (fd, data) = match port {
            Port::Slots(slots) => (slots.duplicate(index), &mut slots.data),
            Port::Handle(handle) => (handle.duplicate(), &mut handle.data),
        };
        if data.is_null() {
            *data = want.data.clone();
        }
        let data = data.clone();
        self.keep(&key);
        Ok(Claim {
            fd: fd.map_err(|error| refuse(error.errno, None))?,
            fresh,
            address: bound.map_or_else(|| want.to_string(), |bound| bound.to_string()),
            port: bound.map(|bound| bound.port()),
            key: want.key(),
            kind: want.kind,
            data,
        })
    }

    /// Returns under which app an address is: its own, unless it is shared with one that has it already. A free port
    /// (port 0) is another one for each app.
    fn key_of(&self, app: AppId, place: Place) -> (AppId, Place) {
        let own = (app, place);
        let any_port = own.1.kind != Kind::Unix && own.1.port == 0;
        if !self.between_apps || any_port || self.ports.contains_key(&own) {
            return own;
        }
        let other = self.ports.keys().find(|(_, other)| *other == own.1).map(|(app, _)| *app);
        (other.unwrap_or(app), own.1)
    }

    /// Sends new connections to a life.
    pub fn admit(&mut self, life: Life) {
        self.admitted.insert(life);
        self.set(life, |state| match state {
            // It has closed that server: nobody would accept.
            State::Vacant => State::Vacant,
            State::Starting | State::Admitted | State::Withheld | State::Retired { .. } => State::Admitted,
        });
    }

    /// Sends no new connections to a life that is ill, as long as another one is admitted. [`Ports::admit`] takes it back.
    ///
    /// Works for slots, as [`Ports::retire`] does.
    pub fn withhold(&mut self, life: Life) {
        self.set(life, |state| match state {
            State::Admitted => State::Withheld,
            State::Starting | State::Withheld | State::Vacant | State::Retired { .. } => state,
        });
    }

    /// Sends no new connections to a life any more, unless nobody else could take them. Its drain begins.
    ///
    /// Works for slots. A socket that all workers have cannot be kept from one of them: see [`Ports::is_steered`].
    pub fn retire(&mut self, life: Life) {
        let since = Instant::now();
        self.admitted.remove(&life);
        self.set(life, |state| match state {
            State::Vacant => State::Vacant,
            State::Retired { since } => State::Retired { since },
            State::Starting | State::Admitted | State::Withheld => State::Retired { since },
        });
    }

    /// Returns whether [`Ports::retire`] keeps new connections away from a life.
    ///
    /// `false` when it accepts from a socket that all workers have (a socket file, or the shared mode), and when
    /// descriptors were lost so that the kernel's places are not known. Such a worker must be told to stop accepting: [`Channel::disconnect`](crate::Channel::disconnect), or the app's own signal.
    pub fn is_steered(&self, life: Life) -> bool {
        !self.ports.iter().any(|((_, place), port)| match port {
            Port::Slots(slots) => slots.index_of(life).is_some() && !slots.is_certain(),
            Port::Handle(handle) => !place.kind.is_udp() && handle.has(life),
        })
    }

    /// Notes that a process is gone. What waits in its slots, waits for the seat's next life.
    pub fn ended(&mut self, life: Life) {
        self.admitted.remove(&life);
        self.set(life, |_| State::Vacant);
        for port in self.ports.values_mut() {
            if let Port::Handle(handle) = port {
                handle.vacate(life);
            }
        }
    }

    /// Notes that a worker has closed one of its servers (Node's `close`) while it runs on.
    ///
    /// The slot waits as if the process had ended: usually it is about to, and its successor takes over.
    pub fn closed(&mut self, life: Life, key: &str) {
        let Some(place) = Want::from_key(key).and_then(|want| want.place()) else { return };
        for ((_, own), port) in &mut self.ports {
            if *own == place {
                match port {
                    Port::Slots(slots) => slots.set(life, |_| State::Vacant),
                    Port::Handle(handle) => handle.vacate(life),
                }
            }
        }
    }

    /// Gives up the slots of a life that was replaced and is gone.
    ///
    /// Connections that wait there still are lost with them; [`Ports::stranded`] saves them first.
    pub fn release(&mut self, life: Life) {
        self.admitted.remove(&life);
        self.free(|held| held == life);
    }

    /// Takes out the connections that wait in the slots of a life that is gone and was replaced: the caller hands them
    /// to another worker ([`Channel::hand_over`](crate::Channel::hand_over)). For apps that speak Node's protocol.
    pub fn stranded(&mut self, life: Life) -> Vec<Stranded> {
        // Away first, or more would come in behind our back.
        self.ended(life);
        let mut found = Vec::new();
        for ((_, place), port) in &self.ports {
            let Port::Slots(slots) = port else { continue };
            for slot in slots.of(life) {
                while let Ok(Some(connection)) = accept_waiting(&slot.fd) {
                    found.push(Stranded { key: place.want().key(), connection });
                }
            }
        }
        found
    }

    /// Takes out the connections that wait for a seat that goes down while others are there for them: other workers of
    /// its app, or of an app that shares the address. Each with one that can have it ([`Channel::hand_over`](crate::Channel::hand_over)).
    ///
    /// A slot among others cannot be closed without moving those behind it, so what waits there would wait for ever.
    pub fn stranded_of_seat(&mut self, worker: WorkerId) -> Vec<(Life, Stranded)> {
        let mut found = Vec::new();
        for ((_, place), port) in &mut self.ports {
            let Port::Slots(slots) = port else { continue };
            let Some(heir) = slots.admitted_beside(worker) else { continue };
            // Away first, or more would come in behind our back.
            let lives: Vec<Life> = slots.lives_of(worker).collect();
            for life in lives {
                slots.set(life, |_| State::Vacant);
                for slot in slots.of(life) {
                    while let Ok(Some(connection)) = accept_waiting(&slot.fd) {
                        found.push((heir, Stranded { key: place.want().key(), connection }));
                    }
                }
            }
        }
        found
    }

    /// Returns whether a process has received the socket of its life's own slot: then nothing keeps it from listening.
    pub fn has_received(&self, life: Life, pid: i32) -> bool {
        let own = self.ports.values().filter_map(|port| match port {
            Port::Slots(slots) => Some(slots),
            Port::Handle(_) => None,
        });
        let own: Vec<u64> = own.flat_map(|slots| slots.of(life)).filter_map(|slot| inode(&slot.fd).ok()).collect();
        !own.is_empty() && {
            let has = socket_inodes(pid);
            own.iter().any(|inode| has.contains(inode))
        }
    }

    /// Returns the seats that have a socket of their own.
    pub fn holders(&self) -> BTreeSet<WorkerId> {
        let slots = self.ports.values().filter_map(|port| match port {
            Port::Slots(slots) => Some(slots),
            Port::Handle(_) => None,
        });
        slots.flat_map(Slots::all).filter_map(|slot| slot.holder).map(|(life, _)| life.worker).collect()
    }

    /// Returns the apps that have sockets.
    pub fn apps(&self) -> BTreeSet<AppId> {
        self.ports.keys().map(|(app, _)| *app).collect()
    }

    /// Closes everything of a seat that is down for good.
    pub fn close(&mut self, worker: WorkerId) {
        self.admitted.retain(|life| life.worker != worker);
        self.free(|held| held.worker == worker);
    }

    /// Closes everything of an app that has no seat left, unless another app's workers have it too.
    pub fn close_app(&mut self, app: AppId) {
        let is_unused = |port: &Port| match port {
            Port::Slots(slots) => !slots.is_held(),
            Port::Handle(handle) => !handle.is_used(),
        };
        let shared = self.between_apps;
        let gone = self.ports.iter().filter(|((owner, _), port)| *owner == app && (!shared || is_unused(port)));
        let gone: Vec<_> = gone.map(|(key, _)| key.clone()).collect();
        for key in gone {
            match self.ports.remove(&key) {
                Some(Port::Slots(mut slots)) => self.forget_all(slots.free(|_| true)),
                Some(Port::Handle(handle)) => self.forget_handle(&handle),
                None => {}
            }
        }
    }

    /// Returns what a draining worker still has to do; `pids` are the worker and its descendants.
    ///
    /// What happens on socket files is not known to the kernel in such detail: only their queues count.
    pub fn drain_state(&self, life: Life, pids: &[i32]) -> Drain {
        let mut drain = Drain::default();
        let mut tcp: BTreeMap<(u16, bool), Option<Duration>> = BTreeMap::new();
        for ((_, place), port) in &self.ports {
            let retired_for = match port {
                Port::Slots(slots) => {
                    let mut own = slots.of(life).peekable();
                    if own.peek().is_none() {
                        continue;
                    }
                    let mut retired_for = None;
                    for slot in own {
                        drain.queued += slot.waiting();
                        if let Some((_, State::Retired { since })) = slot.holder {
                            retired_for = Some(since.elapsed());
                        }
                    }
                    retired_for
                }
                Port::Handle(handle) if handle.has(life) => {
                    if !handle.is_used_beside(life.worker) {
                        drain.queued += handle.waiting();
                    }
                    None
                }
                Port::Handle(_) => continue,
            };
            if let (true, Some(bound)) = (place.kind.is_tcp(), port.bound()) {
                tcp.insert((bound.port(), bound.is_ipv4()), retired_for);
            }
        }
        let mut inodes = None;
        for ((port, v4), retired_for) in tcp {
            let family = if v4 { Family::V4 } else { Family::V6 };
            for connection in diag::connections(port, family).unwrap_or_default() {
                match connection.state {
                    diag::State::Handshake { age } => {
                        // It may be for another slot, and then costs a moment. One that had to be answered again has
                        // lost its client, as far as one can know.
                        let before = retired_for.is_some_and(|retired_for| age + TICK > retired_for);
                        drain.queued += u32::from(before && age < Duration::from_secs(1));
                    }
                    _ if connection.inode != 0 && connection.is_busy() => {
                        let own = inodes.get_or_insert_with(|| {
                            pids.iter().flat_map(|pid| socket_inodes(*pid)).collect::<BTreeSet<u64>>()
                        });
                        drain.busy += u32::from(own.contains(&connection.inode));
                    }
                    _ => {}
                }
            }
        }
        drain
    }

    /// Returns how many connections wait in the slots of a life. A socket that all workers have is nobody's own.
    pub fn waiting(&self, life: Life) -> u32 {
        let slots = self.ports.values().filter_map(|port| match port {
            Port::Slots(slots) => Some(slots),
            Port::Handle(_) => None,
        });
        slots.flat_map(|slots| slots.of(life)).map(Slot::waiting).sum()
    }

    /// Returns how many connections wait for any worker of an app.
    pub fn waiting_for(&self, app: AppId) -> u32 {
        let ports = self.ports.iter().filter(|((owner, _), _)| *owner == app);
        let waiting = ports.map(|(_, port)| match port {
            Port::Slots(slots) => slots.all().map(Slot::waiting).sum(),
            Port::Handle(handle) => handle.waiting(),
        });
        waiting.sum()
    }

    /// Returns what the keeper must do since the last call, in order.
    pub fn changes(&mut self) -> impl Iterator<Item = Change> + use<'_> {
        self.changes.drain(..)
    }

    /// Takes back what the keeper held for a daemon that died. `lives` are the processes that run.
    ///
    /// Nothing is admitted: [`Ports::admit`] each life that is. Names that are not ours are left alone.
    pub fn restore(held: Vec<(String, OwnedFd)>, lives: &[(Life, AppId)]) -> Self {
        let mut restored = Self::new();
        let alive = |life: Life| lives.iter().any(|(running, _)| *running == life);
        let mut groups: BTreeMap<(AppId, Place), Vec<Held>> = BTreeMap::new();
        for (text, fd) in held {
            match Name::parse(&text) {
                Some(name) => groups.entry((name.app, name.place.clone())).or_default().push((name, text, fd)),
                None if text.starts_with(PREFIX) => restored.changes.push_back(Change::Forget { name: text }),
                None => {}
            }
        }
        for ((app, place), mut members) in groups {
            let Some(address) = place.to_bind(&place.want()) else { continue };
            // The best name of each index first: a life that runs, the newest; then a spare; then the newest that ended.
            members.sort_by_key(|(name, ..)| {
                let rank = (name.holder.is_some_and(alive), name.holder.is_none(), name.holder);
                (name.index, std::cmp::Reverse(rank))
            });
            members.dedup_by(|(later, text, fd), (earlier, _, kept)| {
                let superseded = later.index == earlier.index && inode(&*fd).ok() == inode(&*kept).ok();
                if superseded {
                    restored.changes.push_back(Change::Forget { name: std::mem::take(text) });
                }
                superseded
            });
            let mut slots = Vec::new();
            let mut handle = None;
            for (name, text, fd) in members {
                match name.index {
                    Some(index) if is_listening(&fd) => slots.push((index, fd, name.holder, text)),
                    None if handle.is_none() && (place.kind.is_udp() || is_listening(&fd)) => {
                        let users = lives.iter().filter(|(_, owner)| *owner == app).map(|(life, _)| *life);
                        handle = Some(Handle::restore(address.clone(), fd, text, users));
                    }
                    // It has left its group, and the daemon died before the keeper was told.
                    _ => restored.changes.push_back(Change::Forget { name: text }),
                }
            }
            let port = match handle {
                Some(handle) => Port::Handle(handle),
                None => Port::Slots(Slots::restore(address, slots, alive)),
            };
            restored.ports.insert((app, place), port);
        }
        restored.free(|_| false);
        restored
    }

    /// Returns the name under which [`Ports::restore`] finds a socket that was had back from a worker, when the keeper that
    /// held it is gone.
    ///
    /// `names` are those that the keeper knew last. For one that is not among them, `ordinal` counts such sockets of this app
    /// at this address, of which there are `count`: its place in the kernel's group is not known, unless it is the only one.
    pub fn regained_name(
        life: Life,
        app: AppId,
        want: &Want,
        mode: SocketMode,
        names: &[String],
        (ordinal, count): (u32, u32),
    ) -> Option<String> {
        let place = want.place()?;
        let own = mode == SocketMode::Reuseport && want.kind.is_tcp();
        let is_it = |name: &Name| name.app == app && name.holder == own.then_some(life) && name.place == place;
        if let Some(name) = names.iter().find(|text| Name::parse(text).is_some_and(|name| is_it(&name))) {
            return Some(name.clone());
        }
        // Beginning at one, they are seen to be out of order, so that nothing is steered by their indexes.
        let index = own.then_some(if count == 1 { 0 } else { ordinal + 1 });
        Some(Name { app, index, holder: own.then_some(life), place }.to_string())
    }

    /// Returns what an app listens on, as it is bound.
    pub fn addresses(&self, app: AppId) -> Vec<String> {
        self.ports.iter().filter(|((owner, _), _)| *owner == app).map(|((_, place), port)| port.shown(place)).collect()
    }

    /// Finds out who holds an address: an app of ours, else a process. Looks at every process: for messages only.
    pub fn owner_of(&self, want: &Want) -> Option<Owner> {
        let wanted = want.place()?;
        let app = self.ports.iter().find(|((_, place), port)| match wanted.kind {
            Kind::Unix => *place == wanted,
            Kind::Descriptor => false,
            kind => {
                place.kind.is_udp() == kind.is_udp() && port.bound().is_some_and(|bound| bound.port() == wanted.port)
            }
        });
        if let Some(((app, _), _)) = app {
            return Some(Owner::App(*app));
        }
        if !wanted.kind.is_tcp() {
            return None;
        }
        listener_owner(wanted.port).map(|owner| Owner::Process { pid: owner.pid, name: owner.name })
    }

    /// Returns how to reach this life, and no other, through each TCP port it shares.
    pub fn probe_paths(&self, life: Life) -> Vec<ProbePath> {
        let mut paths = Vec::new();
        for ((_, place), port) in &self.ports {
            let index = match port {
                Port::Slots(slots) => match slots.index_of(life) {
                    Some(index) => Some(index),
                    None => continue,
                },
                Port::Handle(handle) if handle.has(life) => None,
                Port::Handle(_) => continue,
            };
            let Some(bound) = port.bound().filter(|_| place.kind.is_tcp()) else { continue };
            let takes_v4 = bound.is_ipv4() || (bound.ip().is_unspecified() && !place.v6only);
            let to = match bound.ip() {
                ip if !ip.is_unspecified() => bound,
                _ if takes_v4 => SocketAddr::from((Ipv4Addr::LOCALHOST, bound.port())),
                _ => SocketAddr::from((Ipv6Addr::LOCALHOST, bound.port())),
            };
            paths.push(ProbePath { source: index.filter(|_| takes_v4).map(probe_source), to });
        }
        paths
    }

    /// Says why a socket could not be had, and by whose fault.
    fn refused(&self, error: SysError, want: &Want) -> Refused {
        let owner = if error.errno == EADDRINUSE { self.owner_of(want) } else { None };
        Refused { errno: error.errno, address: want.to_string(), owner }
    }

    /// Changes the state of a life's slots.
    fn set(&mut self, life: Life, next: impl Fn(State) -> State) {
        for port in self.ports.values_mut() {
            if let Port::Slots(slots) = port {
                slots.set(life, &next);
            }
        }
    }

    /// Takes sockets away from the lives that `gone` names, closes what nobody needs, and has the keeper told.
    fn free(&mut self, gone: impl Fn(Life) -> bool) {
        let keys: Vec<_> = self.ports.keys().cloned().collect();
        for key in keys {
            let empty = match self.ports.get_mut(&key).expect("a key of the map") {
                Port::Slots(slots) => {
                    let closed = slots.free(&gone);
                    let empty = slots.is_empty();
                    self.forget_all(closed);
                    empty
                }
                Port::Handle(handle) => handle.free(&gone),
            };
            if !empty {
                self.keep(&key);
            } else if let Some(Port::Handle(handle)) = self.ports.remove(&key) {
                self.forget_handle(&handle);
            }
        }
    }

    /// Has the keeper store each socket under its present name.
    fn keep(&mut self, key: &(AppId, Place)) {
        let (app, place) = key;
        let changes = &mut self.changes;
        let mut renamed = |index, holder, kept_as: &mut Option<String>, socket: BorrowedFd<'_>| {
            let name = Name { app: *app, index, holder, place: place.clone() }.to_string();
            if kept_as.as_ref() == Some(&name) {
                return;
            }
            // Out of descriptors: the old name stays, and the next change tries again.
            let Ok(fd) = fd::dup(socket) else { return };
            changes.push_back(Change::Keep { name: name.clone(), fd });
            if let Some(old) = kept_as.replace(name) {
                changes.push_back(Change::Forget { name: old });
            }
        };
        match self.ports.get_mut(key) {
            Some(Port::Slots(slots)) => {
                for (index, slot) in slots.iter_mut() {
                    let holder = slot.holder.map(|(life, _)| life);
                    renamed(Some(index), holder, &mut slot.kept_as, slot.fd.as_fd());
                }
            }
            Some(Port::Handle(handle)) => {
                let (kept_as, socket) = handle.kept();
                renamed(None, None, kept_as, socket);
            }
            None => {}
        }
    }

    fn forget_all(&mut self, closed: Vec<Slot>) {
        let names = closed.into_iter().filter_map(|slot| slot.kept_as);
        self.changes.extend(names.map(|name| Change::Forget { name }));
    }

    fn forget_handle(&mut self, handle: &Handle) {
        handle.close();
        self.changes.extend(handle.kept_as.clone().map(|name| Change::Forget { name }));
    }
}

impl Port {
    fn bound(&self) -> Option<SocketAddr> {
        match self {
            Port::Slots(slots) => slots.bound(),
            Port::Handle(handle) => handle.bound(),
        }
    }

    fn shown(&self, place: &Place) -> String {
        match self.bound() {
            Some(bound) => bound.to_string(),
            None => place.address.clone().unwrap_or_default(),
        }
    }
}

/// The slowest clock of the kernel: a handshake may be this much older than it says.
const TICK: Duration = Duration::from_millis(10);
/// No such descriptor: what Node's primary answers too.
const EBADF: i32 = 9;
/// Not an address.
const EINVAL: i32 = 22;
/// Somebody has it.
const EADDRINUSE: i32 = 98;
