//! Questions about sockets; nothing changes by them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rpm_model::{AppId, Life, WorkerId};
use rpm_sys::net::diag::{self, Family};
use rpm_sys::net::listen::inode;
use rpm_sys::net::steer::probe_source;
use rpm_sys::net::{listener_owner, socket_inodes};

use super::{Drain, Owner, Port, Ports, ProbePath};
use crate::slots::{Slot, Slots, State};
use crate::want::{Kind, Want};

impl Ports {
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

    /// Returns how many connections wait for any worker of an app; nothing where its workers share no port.
    pub fn waiting_for(&self, app: AppId) -> Option<u32> {
        let mut ports = self.ports.iter().filter(|((owner, _), _)| *owner == app).peekable();
        ports.peek()?;
        let waiting = ports.map(|(_, port)| match port {
            Port::Slots(slots) => slots.all().map(Slot::waiting).sum(),
            Port::Handle(handle) => handle.waiting(),
        });
        Some(waiting.sum())
    }
}

/// The slowest clock of the kernel: a handshake may be this much older than it says.
const TICK: Duration = Duration::from_millis(10);
