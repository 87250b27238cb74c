//! One listening socket for each worker of an app, in one SO_REUSEPORT group, steered by a program.
//!
//! ```text
//! index      0         1         2         3          the kernel's places: joining order
//! socket   slot      slot      slot      slot         ours, a duplicate each in the keeper and in the worker
//! holder   1.4       2.1         -       3.2          a life, or nobody (a spare)
//! state    admitted  retired             starting     → the program sends new connections to 0 only
//! ```
//!
//! **An index never changes.** When a member leaves a group, the kernel moves the last one into its place. Following
//! that would mean renaming sockets in the keeper while connections arrive, with a window in which the program and the
//! group disagree; a connection would then reach a slot that nobody serves. So only the *last* member ever leaves. A
//! slot in the middle whose worker is gone stays as a *spare*: outside the program, so that nothing new arrives; the
//! next life that needs a fresh slot takes the lowest spare. Spares at the end are closed at once, so an app that is
//! down has none. There are never more spares than the app once had slots at the same time, each a kilobyte or two.
//!
//! **Leaving is immediate.** A listening socket leaves its group when it stops listening, not when the last duplicate
//! is closed: `shutdown` does that at once, whoever still has a duplicate (the keeper, a stray descendant). After a
//! restart of the daemon a socket that listens no more is recognised as one that has left.
//!
//! **Strangers.** Other users cannot join a group, and the first slot is opened only when nobody has the address. But
//! another program of the same user may join later, or workers may hold slots that the keeper has lost. Either shifts
//! the indexes. A stranger found when a slot is added makes that fail (EADDRINUSE), with the old workers serving on;
//! one found at a restart of the daemon makes the group *uncertain*: no program, no spares, the kernel's own choice.
//!
//! **Who gets connections**: the admitted; without any, those that were and are ill; without any, those that are starting (the first start of an app: reachable
//! at once); without any, the vacant, whose connections wait for a replacement; without any, the retired.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rpm_model::{Life, WorkerId};
use rpm_sys::net::diag::listeners;
use rpm_sys::net::listen::{Listen, Sharing, inode, listen, local_address, stop_listening};
use rpm_sys::net::steer::{Steering, steer, unsteer};
use rpm_sys::net::{Address, queue_length};
use rpm_sys::{Result, SysError, fd};
use serde_json::Value;

use crate::want::Want;

/// The slots of one address.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    address: Address,
    /// What all of them are bound to; a health check asks for it each time.
    bound: Option<SocketAddr>,
    /// What the first worker sent along; all get it.
    pub(crate) data: Value,
    /// What the program in the kernel says; `None` when unknown.
    steered: Option<Vec<u32>>,
    /// Whether our indexes are the kernel's. After the loss of a descriptor they may not be; the kernel's own choice
    /// is left alone then.
    certain: bool,
}

/// One member of the group.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) fd: OwnedFd,
    pub(crate) holder: Option<(Life, State)>,
    /// Known from the keeper only: the life may ask for it again, because the answer may not have reached it.
    restored: bool,
    /// What the keeper calls it at present.
    pub(crate) kept_as: Option<String>,
}

/// How a life fares in its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not yet admitted.
    Starting,
    /// Gets new connections.
    Admitted,
    /// Was admitted and is ill: gets none as long as another one is admitted.
    Withheld,
    /// Gets none any more, and finishes what it has.
    Retired {
        /// Since then.
        since: Instant,
    },
    /// Its process is gone, or has closed its server; the next life of the seat takes over.
    Vacant,
}

/// What came of a claim.
pub(crate) struct Seated {
    pub(crate) index: usize,
    /// Whether nothing of another life was taken over.
    pub(crate) fresh: bool,
}

impl Slots {
    /// Opens the group; [`Slots::seat`] finds its first slot.
    pub(crate) fn open(address: Address, want: &Want) -> Result<Self> {
        let fd = listen(&address, Listen { backlog: want.backlog_or_default(), sharing: Sharing::First })?;
        let (bound, address) = (local_address(&fd), as_bound(address, &fd));
        let slots = vec![Slot { fd, holder: None, restored: false, kept_as: None }];
        Ok(Self { slots, address, bound, data: want.data.clone(), steered: None, certain: true })
    }

    /// Puts together what the keeper held: sockets in the order of their indexes, with their names and holders.
    ///
    /// Lives that run are taken to be starting until they are admitted again; the program in the kernel stays until then.
    pub(crate) fn restore(
        address: Address,
        held: Vec<(u32, OwnedFd, Option<Life>, String)>,
        alive: impl Fn(Life) -> bool,
    ) -> Self {
        let in_order = held.iter().enumerate().all(|(position, (index, ..))| position == *index as usize);
        let certain = in_order && !has_strangers(held.iter().map(|(_, fd, ..)| fd));
        let newest = |worker: WorkerId| {
            held.iter().filter_map(|(.., life, _)| *life).filter(|life| life.worker == worker && alive(*life)).max()
        };
        let holders: Vec<_> = held
            .iter()
            .map(|(.., life, _)| {
                life.and_then(|life| match newest(life.worker) {
                    _ if alive(life) => Some((life, State::Starting)),
                    // The seat has moved on: what is left of its past is nobody's.
                    Some(newer) if newer > life => None,
                    _ => Some((life, State::Vacant)),
                })
            })
            .collect();
        let bound = held.first().and_then(|(_, fd, ..)| local_address(fd));
        let address = match held.first() {
            Some((_, fd, ..)) => as_bound(address, fd),
            None => address,
        };
        let slots: Vec<Slot> = held
            .into_iter()
            .zip(holders)
            .map(|((_, fd, _, name), holder)| Slot { fd, holder, restored: true, kept_as: Some(name) })
            .collect();
        if !certain && let Some(slot) = slots.first() {
            let _kept_as_it_was = unsteer(&slot.fd);
        }
        Self { slots, address, bound, data: Value::Null, steered: None, certain }
    }

    /// Finds a slot for `life`: its own by inheritance, a spare, or a new one. `None` when it already has one.
    pub(crate) fn seat(&mut self, life: Life, state: State, want: &Want) -> Result<Option<Seated>> {
        if let Some(index) = self.position(|holder, _| holder == life) {
            let slot = &mut self.slots[index];
            let vacant = matches!(slot.holder, Some((_, State::Vacant)));
            if !vacant && !std::mem::take(&mut slot.restored) {
                return Ok(None);
            }
            slot.take(life, state, want);
            self.steer();
            return Ok(Some(Seated { index, fresh: false }));
        }
        let inherited = (0..self.slots.len())
            .filter(|index| self.slots[*index].is_vacant_of(life.worker))
            .max_by_key(|index| self.slots[*index].holder.map(|(life, _)| life));
        let spare = self.slots.iter().position(|slot| slot.holder.is_none());
        let seated = match (inherited, spare) {
            (Some(index), _) => Seated { index, fresh: false },
            (None, Some(index)) => Seated { index, fresh: true },
            (None, None) => {
                let fd = listen(&self.address, Listen { backlog: want.backlog_or_default(), sharing: Sharing::Join })?;
                if self.certain && has_strangers(self.slots.iter().map(|slot| &slot.fd).chain([&fd])) {
                    stop_listening(&fd)?;
                    return Err(SysError::new("listen", EADDRINUSE));
                }
                self.slots.push(Slot { fd, holder: None, restored: false, kept_as: None });
                Seated { index: self.slots.len() - 1, fresh: true }
            }
        };
        self.slots[seated.index].take(life, state, want);
        self.steer();
        Ok(Some(seated))
    }

    /// Changes the state of the slot of a life.
    pub(crate) fn set(&mut self, life: Life, next: impl Fn(State) -> State) {
        let mut touched = false;
        for slot in &mut self.slots {
            if let Some((holder, state)) = &mut slot.holder
                && *holder == life
            {
                *state = next(*state);
                slot.restored &= *state != State::Vacant;
                touched = true;
            }
        }
        // Not at every call: after a restart of the daemon the kernel's program is better than what is known here.
        if touched {
            self.steer();
        }
    }

    /// Takes slots away from the lives that `gone` names, and closes what can be closed.
    pub(crate) fn free(&mut self, gone: impl Fn(Life) -> bool) -> Vec<Slot> {
        let mut touched = false;
        for slot in &mut self.slots {
            if slot.holder.take_if(|(life, _)| gone(*life)).is_some() {
                touched = true;
            }
        }
        if touched {
            self.steer();
        }
        self.close_spares()
    }

    /// Closes the spares at the end, and returns them so that the keeper is told.
    fn close_spares(&mut self) -> Vec<Slot> {
        let closed: Vec<Slot> = if self.certain {
            std::iter::from_fn(|| self.slots.pop_if(|slot| slot.holder.is_none())).collect()
        } else {
            self.slots.extract_if(.., |slot| slot.holder.is_none()).collect()
        };
        for slot in &closed {
            let _already_gone = stop_listening(&slot.fd);
        }
        closed
    }

    /// Returns whether our indexes are the kernel's, so that new connections go where we say.
    pub(crate) fn is_certain(&self) -> bool {
        self.certain
    }

    /// Returns a duplicate of a slot for a worker.
    pub(crate) fn duplicate(&self, index: usize) -> Result<OwnedFd> {
        fd::dup(&self.slots[index].fd)
    }

    /// Returns the slots in the order of their indexes.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Slot)> {
        (0..).zip(&mut self.slots)
    }

    /// Returns the slots that a life has.
    pub(crate) fn of(&self, life: Life) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(move |slot| slot.holder.is_some_and(|(holder, _)| holder == life))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// Returns the lives of a seat that have a slot.
    pub(crate) fn lives_of(&self, worker: WorkerId) -> impl Iterator<Item = Life> {
        self.slots.iter().filter_map(|slot| slot.holder).map(|(life, _)| life).filter(move |life| life.worker == worker)
    }

    /// Returns a life that gets new connections and is none of this seat.
    pub(crate) fn admitted_beside(&self, worker: WorkerId) -> Option<Life> {
        let mut holders = self.slots.iter().filter_map(|slot| slot.holder);
        holders.find(|(life, state)| life.worker != worker && *state == State::Admitted).map(|(life, _)| life)
    }

    /// Returns the index of the slot that a life has.
    pub(crate) fn index_of(&self, life: Life) -> Option<u32> {
        self.position(|holder, _| holder == life).map(|index| index as u32)
    }

    /// Returns what the group is bound to.
    pub(crate) fn bound(&self) -> Option<SocketAddr> {
        self.bound.filter(|_| !self.slots.is_empty())
    }

    /// Returns whether somebody has a slot, or will take one over.
    pub(crate) fn is_held(&self) -> bool {
        self.slots.iter().any(|slot| slot.holder.is_some())
    }

    /// Returns whether no slot is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn position(&self, matches: impl Fn(Life, State) -> bool) -> Option<usize> {
        self.slots.iter().position(|slot| slot.holder.is_some_and(|(life, state)| matches(life, state)))
    }

    /// Brings the program up to date.
    ///
    /// A failure (no memory) leaves the old program, which is retried at the next change: nothing better can be done.
    fn steer(&mut self) {
        if !self.certain {
            return;
        }
        let live = self.targets();
        if live.is_empty() || self.steered.as_ref() == Some(&live) {
            return;
        }
        let attached = steer(self.slots[0].fd.as_fd(), &Steering { live: &live, probe: true });
        self.steered = attached.is_ok().then_some(live);
    }

    /// Returns the indexes that get new connections.
    fn targets(&self) -> Vec<u32> {
        let rank = |state: State| match state {
            State::Admitted => 0,
            // Ill, and still better than one that may not even listen.
            State::Withheld => 1,
            State::Starting => 2,
            State::Vacant => 3,
            State::Retired { .. } => 4,
        };
        let states = (0..).zip(&self.slots).filter_map(|(index, slot)| Some((index, rank(slot.holder?.1))));
        let Some(best) = states.clone().map(|(_, rank)| rank).min() else { return Vec::new() };
        states.filter(|(_, rank)| *rank == best).map(|(index, _)| index).collect()
    }
}

/// Returns where the next member of the group binds: what the kernel chose counts from now on, the port, and IPv4
/// where there is no IPv6.
fn as_bound(address: Address, fd: &OwnedFd) -> Address {
    let v6only = matches!(address, Address::Tcp { v6only: true, .. });
    match local_address(fd) {
        Some(bound) if matches!(address, Address::TcpAny { .. }) && bound.is_ipv6() => {
            Address::TcpAny { port: bound.port() }
        }
        Some(bound) => Address::Tcp { at: bound, v6only },
        None => address,
    }
}

/// Returns whether anybody else listens on the address that these sockets share.
fn has_strangers<'a>(ours: impl Iterator<Item = &'a OwnedFd> + Clone) -> bool {
    let Some(bound) = ours.clone().next().and_then(local_address) else { return false };
    // Without sock_diag nobody can be found, and all is as it usually is.
    let listening = listeners(bound).unwrap_or_default();
    let ours: Vec<u64> = ours.filter_map(|own| inode(own).ok()).collect();
    listening.iter().any(|inode| !ours.contains(inode))
}

impl Slot {
    fn take(&mut self, life: Life, state: State, want: &Want) {
        // A life that has it already may be waiting in it: it is never made blocking under a running worker's feet.
        if want.nonblocking || self.holder.is_none_or(|(before, _)| before != life) {
            let _cannot_fail_on_a_socket = fd::set_nonblocking(&self.fd, want.nonblocking);
        }
        self.holder = Some((life, state));
        self.restored = false;
    }

    fn is_vacant_of(&self, worker: WorkerId) -> bool {
        matches!(self.holder, Some((life, State::Vacant)) if life.worker == worker)
    }

    /// Returns how many connections wait here.
    pub(crate) fn waiting(&self) -> u32 {
        queue_length(&self.fd).unwrap_or(0)
    }
}

/// What a stranger in the group is answered with.
const EADDRINUSE: i32 = 98;
