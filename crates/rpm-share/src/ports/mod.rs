//! Who listens where.
//!
//! Here is what changes it. `look` answers questions about it, `restore` makes it again after a daemon that died, and
//! `answers` are the words for all this.

mod answers;
mod look;
mod restore;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use rpm_model::{AppId, Life, SocketMode, WorkerId};
use rpm_sys::net::listen::accept_waiting;
use rpm_sys::{SysError, fd};

pub use answers::{Change, Claim, Drain, Owner, ProbePath, Refused, Stranded};

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

    /// Returns what the keeper must do since the last call, in order.
    pub fn changes(&mut self) -> impl Iterator<Item = Change> + use<'_> {
        self.changes.drain(..)
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

/// No such descriptor: what Node's primary answers too.
const EBADF: i32 = 9;
/// Not an address.
const EINVAL: i32 = 22;
/// Somebody has it.
const EADDRINUSE: i32 = 98;
