//! The listening sockets of the balancers: opened here, kept by the keeper, and the same for every process of a balancer,
//! so that whoever comes next accepts what waits in them.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};

use rpm_keeper::client::{Client as Keeper, Request};
use rpm_model::AppId;
use rpm_model::balance::ListenAddress;
use rpm_model::edge::listener_name;
use rpm_share::{Owner, Refused};
use rpm_sys::net::listen::{BACKLOG, Listen, Sharing, is_listening, listen, stop_listening, unlink};
use rpm_sys::net::{Address, listener_owner};
use rpm_sys::{SysError, fd};

/// What all names of the keeper's begin with: `edge-listen/APP/INDEX/ADDRESS`.
pub(crate) const PREFIX: &str = "edge-listen/";

/// Sockets for one address, so that all of them fit into one message for a handful of addresses.
const THREADS_MAX: usize = 32;

/// The listening sockets by app and address, in the order in which they joined their groups.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    sockets: BTreeMap<(AppId, String), Vec<OwnedFd>>,
}

impl Listeners {
    /// Takes back what the keeper held.
    pub(crate) fn restore(held: &mut BTreeMap<String, OwnedFd>) -> Self {
        let mut found: BTreeMap<(AppId, String), BTreeMap<usize, OwnedFd>> = BTreeMap::new();
        let names: Vec<String> = held.keys().filter(|name| name.starts_with(PREFIX)).cloned().collect();
        for name in names {
            let Some(fd) = held.remove(&name) else { continue };
            let mut parts = name[PREFIX.len()..].splitn(3, '/');
            let parsed = (|| {
                let app = AppId(parts.next()?.parse().ok()?);
                let index = parts.next()?.parse().ok()?;
                Some((app, index, parts.next()?.to_owned()))
            })();
            if let Some((app, index, address)) = parsed
                && is_listening(&fd)
            {
                found.entry((app, address)).or_default().insert(index, fd);
            }
        }
        let sockets = found.into_iter().map(|(key, sockets)| (key, sockets.into_values().collect())).collect();
        Self { sockets }
    }

    /// Opens the sockets of an address that are not there yet; the keeper holds them from now on.
    pub(crate) fn open(&mut self, app: AppId, address: &ListenAddress, keeper: &mut Keeper) -> Result<(), Refused> {
        let name = listener_name(address);
        let key = (app, name.clone());
        if self.sockets.contains_key(&key) {
            return Ok(());
        }
        let place = place(address);
        let refuse = |error: SysError| {
            let owner = port_of(address).and_then(listener_owner);
            let owner = owner.map(|owner| Owner::Process { pid: owner.pid, name: owner.name });
            Refused { errno: error.errno, address: name.clone(), owner }
        };
        // A group can only be joined by those that share from the beginning.
        let count = if matches!(address, ListenAddress::Unix(_)) { 1 } else { threads() };
        let first = if count == 1 { Sharing::Alone } else { Sharing::First };
        let mut sockets = Vec::new();
        for index in 0..count {
            let sharing = if index == 0 { first } else { Sharing::Join };
            let socket = listen(&place, Listen { backlog: BACKLOG.max(4096), sharing }).map_err(refuse)?;
            // Whoever accepts does not wait in it: another thread or process may be faster.
            fd::set_nonblocking(&socket, true).map_err(refuse)?;
            sockets.push(socket);
        }
        for (index, socket) in sockets.iter().enumerate() {
            let held = stored(app, index, &name);
            if let Err(error) = keeper.send(&Request::Store { name: &held, fd: socket.as_fd() }) {
                tracing::error!("the keeper did not take a listening socket: {error}");
            }
        }
        self.sockets.insert(key, sockets);
        Ok(())
    }

    /// Returns duplicates of the sockets of these addresses, and the name of each.
    pub(crate) fn duplicates<'a>(
        &self,
        app: AppId,
        addresses: impl Iterator<Item = &'a ListenAddress>,
    ) -> (Vec<String>, Vec<OwnedFd>) {
        let (mut names, mut fds) = (Vec::new(), Vec::new());
        for address in addresses {
            let name = listener_name(address);
            for socket in self.sockets.get(&(app, name.clone())).into_iter().flatten() {
                if let Ok(socket) = fd::dup(socket) {
                    names.push(name.clone());
                    fds.push(socket);
                }
            }
        }
        (names, fds)
    }

    /// Returns the apps that have sockets.
    pub(crate) fn apps(&self) -> BTreeSet<AppId> {
        self.sockets.keys().map(|(app, _)| *app).collect()
    }

    /// Closes the sockets of an app whose addresses are not among `wanted`.
    pub(crate) fn close_others(&mut self, app: AppId, wanted: &[String], keeper: &mut Keeper) {
        let gone: Vec<_> =
            self.sockets.extract_if(.., |(owner, name), _| *owner == app && !wanted.contains(name)).collect();
        for ((_, name), sockets) in gone {
            for (index, socket) in sockets.iter().enumerate() {
                let _already_gone = stop_listening(socket);
                let held = stored(app, index, &name);
                if let Err(error) = keeper.send(&Request::Drop { name: &held }) {
                    tracing::error!("the keeper did not let go of a listening socket: {error}");
                }
            }
            if let Some(path) = name.strip_prefix("unix:") {
                let _already_gone = unlink(path.as_ref());
            }
        }
    }
}

fn stored(app: AppId, index: usize, address: &str) -> String {
    format!("{PREFIX}{app}/{index}/{address}")
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
}

fn port_of(address: &ListenAddress) -> Option<u16> {
    match address {
        ListenAddress::Tcp(at) => Some(at.port()),
        ListenAddress::Any(port) => Some(*port),
        ListenAddress::Unix(_) => None,
    }
}

fn place(address: &ListenAddress) -> Address {
    match address {
        // `0.0.0.0:80` and `[::]:80` may stand side by side.
        ListenAddress::Tcp(at) => Address::Tcp { at: *at, v6only: at.is_ipv6() },
        ListenAddress::Any(port) => Address::TcpAny { port: *port },
        ListenAddress::Unix(path) => Address::Unix { path: path.clone(), mode: None },
    }
}
