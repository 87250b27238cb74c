//! After a daemon that died: what the keeper holds becomes what it was.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use rpm_model::{AppId, Life, SocketMode};
use rpm_sys::net::listen::{inode, is_listening};

use super::{Change, Port, Ports};
use crate::handle::Handle;
use crate::name::{Name, PREFIX};
use crate::slots::Slots;
use crate::want::{Place, Want};

/// A socket that the keeper held: its name, read and as it stands, and the descriptor.
type Held = (Name, String, OwnedFd);

impl Ports {
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
}
