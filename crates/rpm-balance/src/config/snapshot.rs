//! Everything that was asked, made ready; and what is kept from the snapshot before.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rpm_model::balance::{
    Balance, BalancerSpec, Cidr, ForwardedSpec, Gzip, HashKey, Limits, ListenSpec, Mode, ServerAddress, ServerSpec,
    Sticky, Timeouts, UpstreamSpec,
};
use rpm_model::edge::{Configuration, Member, MemberState, listener_name};

use crate::config::pages::Pages;
use crate::config::route::Router;
use crate::count::BalancerCount;
use crate::health::{Seen, Terms};
use crate::log::LogFile;
use crate::pick::hash_bytes;
use crate::pool::live::Tell;
use crate::pool::{Live, Server, Target, Upstream};
use crate::rate::Rate;
use crate::tls::Tls;

/// One consistent world.
pub struct Snapshot {
    /// Of the configuration.
    pub version: u64,
    /// In the order of the configuration.
    pub balancers: Vec<Arc<Balancer>>,
    /// In the order of the configuration.
    pub upstreams: Vec<Arc<Upstream>>,
    /// What each listening socket is for.
    pub entries: HashMap<String, Entry>,
    /// At most so many connections of clients.
    pub maxconn: u32,
}

/// What a listening socket is for.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// By index.
    pub balancer: usize,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Whether connections begin with a PROXY protocol header.
    pub proxy_protocol: bool,
}

/// A balancer, ready. See [`BalancerSpec`].
#[allow(missing_docs)]
pub struct Balancer {
    pub name: String,
    pub mode: Mode,
    pub maxconn: u32,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub rate: Option<Arc<Rate>>,
    pub router: Router,
    pub trusted: Vec<Cidr>,
    pub forwarded: ForwardedSpec,
    pub request_id: Option<String>,
    pub gzip: Option<Gzip>,
    pub pages: Pages,
    pub log: Option<Arc<LogFile>>,
    pub http2: bool,
    pub tls: Option<Arc<Tls>>,
    /// Plain requests are redirected to this port.
    pub tls_redirect: Option<u16>,
    pub live: Arc<BalancerLive>,
}

/// What changes about a balancer.
#[derive(Debug)]
pub struct BalancerLive {
    /// Open connections of clients, of all threads.
    pub connections: AtomicU32,
    /// Told when one closes.
    pub closed: tokio::sync::Notify,
    /// By thread.
    pub counts: Box<[BalancerCount]>,
}

/// What may differ from the snapshot before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything; files are read again.
    All,
    /// Which workers there are.
    Members,
}

/// What snapshots are made with.
pub struct World {
    /// How many threads there are.
    pub threads: usize,
    /// Where notices go.
    pub tell: Tell,
    /// What names were found to stand for since they were first resolved.
    pub found: HashMap<(String, u16), Vec<SocketAddr>>,
}

/// Returns the names that a configuration's servers have.
pub fn names(wanted: &Configuration) -> Vec<(String, u16)> {
    let servers = wanted.upstreams.iter().flat_map(|upstream| &upstream.servers);
    let names = servers.filter_map(|server| match &server.address {
        ServerAddress::Tcp { host, port } if host.parse::<std::net::IpAddr>().is_err() => Some((host.clone(), *port)),
        ServerAddress::Tcp { .. } | ServerAddress::Unix(_) | ServerAddress::App(_) => None,
    });
    names.collect()
}

impl World {
    /// Returns the snapshot of nothing.
    pub fn empty(&self) -> Snapshot {
        Snapshot {
            version: 0,
            balancers: Vec::new(),
            upstreams: Vec::new(),
            entries: HashMap::new(),
            maxconn: u32::MAX,
        }
    }

    /// Makes a snapshot; what stays the same is taken from the one `before`. Reads files and resolves names, so it may
    /// take a while. Nothing takes effect before it has succeeded.
    ///
    /// # Errors
    /// With a sentence for each mistake.
    pub fn snapshot(
        &self,
        wanted: &Configuration,
        before: &Snapshot,
        scope: Scope,
        has_listener: impl Fn(&str) -> bool,
    ) -> Result<Snapshot, Vec<String>> {
        let mut mistakes = Vec::new();
        let mut keep = |result: Result<(), Vec<String>>, of: &str| {
            if let Err(list) = result {
                mistakes.extend(list.into_iter().map(|mistake| format!("{of}: {mistake}")));
            }
        };
        let mut snapshot =
            Snapshot { version: wanted.version, maxconn: wanted.maxconn.unwrap_or(u32::MAX), ..self.empty() };
        for spec in &wanted.upstreams {
            let old = before.upstreams.iter().find(|old| old.name == spec.name);
            let made = self.upstream(spec, &wanted.members, old);
            keep(made.map(|made| snapshot.upstreams.push(Arc::new(made))), &format!("upstream {}", spec.name));
        }
        let indexes: HashMap<_, _> =
            wanted.upstreams.iter().enumerate().map(|(index, spec)| (spec.name.as_str(), index)).collect();
        if scope == Scope::Members {
            // A certificate that went bad on the disk must not stop a worker from being replaced.
            snapshot.balancers = before.balancers.clone();
            snapshot.entries = before.entries.clone();
        }
        let balancers = if scope == Scope::Members { &[][..] } else { &wanted.balancers };
        for (index, spec) in balancers.iter().enumerate() {
            let old = before.balancers.iter().find(|old| old.name == spec.name);
            let made = self.balancer(spec, |name| indexes.get(name).copied(), old.map(Arc::as_ref));
            keep(made.map(|made| snapshot.balancers.push(Arc::new(made))), &format!("balancer {}", spec.name));
            let plain = spec.listen.iter().map(|listen| (listen, false));
            let tls = spec.tls.iter().flat_map(|tls| &tls.listen).map(|listen| (listen, true));
            for (ListenSpec { address, proxy_protocol }, tls) in plain.chain(tls) {
                let entry = Entry { balancer: index, tls, proxy_protocol: *proxy_protocol };
                if !has_listener(&listener_name(address)) {
                    keep(Err(vec![format!("no socket was passed for {address}")]), &format!("balancer {}", spec.name));
                }
                if snapshot.entries.insert(listener_name(address), entry).is_some() {
                    keep(Err(vec![format!("{address} is listened on twice")]), &format!("balancer {}", spec.name));
                }
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        // Only now, when nothing can fail any more: what others share is changed.
        for upstream in &snapshot.upstreams {
            let spec = wanted.upstreams.iter().find(|spec| spec.name == upstream.name);
            for server in &upstream.servers {
                let entry = spec.and_then(|spec| entry_of(spec, server));
                if let (Some(spec), Some(entry)) = (spec, entry) {
                    server.live.set_terms(terms(spec, entry));
                    if scope == Scope::All {
                        server.live.weight.store(u32::MAX, Relaxed);
                    }
                }
                let member = wanted
                    .members
                    .iter()
                    .find(|member| server.app.as_deref() == Some(&member.app) && server.name == member.name);
                if let Some(member) = member {
                    server.live.see(Seen::Supervisor(member.state), "the supervisor said so");
                }
            }
        }
        Ok(snapshot)
    }

    fn upstream(
        &self,
        spec: &UpstreamSpec,
        members: &[Member],
        old: Option<&Arc<Upstream>>,
    ) -> Result<Upstream, Vec<String>> {
        let queue = old.map_or_else(Arc::default, |old| old.queue.clone());
        let mut servers = Vec::new();
        let mut mistakes = Vec::new();
        let mut add = |entry: &ServerSpec, member: Option<&Member>| {
            let address = member.map_or(&entry.address, |member| &member.address);
            let name = member.map_or(&entry.name, |member| &member.name);
            let shown = address.to_string();
            let known =
                old.and_then(|old| old.servers.iter().find(|server| server.name == *name && server.address == shown));
            // What is known is not resolved again: a name server that is down must not stop a reload.
            let again = match address {
                ServerAddress::Tcp { host, port } => self.found.get(&(host.clone(), *port)),
                ServerAddress::Unix(_) | ServerAddress::App(_) => None,
            };
            let target = match known {
                Some(_) if again.is_some() => Target::Tcp(again.cloned().unwrap_or_default()),
                Some(known) => known.target.clone(),
                None => match resolve(address) {
                    Ok(target) => steered(target, member),
                    Err(mistake) => return mistakes.push(mistake),
                },
            };
            let live = known.map_or_else(
                || {
                    let state = member.map_or(MemberState::Ready, |member| member.state);
                    let terms = terms(spec, entry);
                    let shared = (self.threads, queue.clone(), self.tell.clone());
                    Arc::new(Live::new((&spec.name, name), terms, state, shared))
                },
                |known| known.live.clone(),
            );
            servers.push(Server {
                name: name.clone(),
                app: member.map(|member| member.app.clone()),
                seat: hash_bytes(member.map_or(&entry.name, |member| &member.seat).as_bytes()),
                address: shown,
                target,
                weight: member.and_then(|member| member.weight).unwrap_or(entry.weight),
                maxconn: entry.maxconn.unwrap_or(u32::MAX),
                backup: entry.backup,
                send_proxy: entry.send_proxy,
                live,
            });
        };
        for entry in &spec.servers {
            match &entry.address {
                ServerAddress::App(app) => {
                    members.iter().filter(|member| member.app == *app).for_each(|member| add(entry, Some(member)));
                }
                ServerAddress::Tcp { .. } | ServerAddress::Unix(_) => add(entry, None),
            }
        }
        for (index, server) in servers.iter().enumerate() {
            if servers[..index].iter().any(|other: &Server| other.name == server.name) {
                mistakes.push(format!("two servers are named {}", server.name));
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let ejected_most =
            spec.outlier.map_or(0, |outlier| (servers.len() * usize::from(outlier.max_percent) / 100).max(1));
        Ok(Upstream {
            name: spec.name.clone(),
            balance: match (&spec.sticky, &spec.balance) {
                // By address in turns is by address: every process of ours, and the next one, agrees about it.
                (Some(Sticky::Address), Balance::RoundRobin) => Balance::Hash(HashKey::Address),
                (_, balance) => balance.clone(),
            },
            stick: match (&spec.sticky, &spec.balance) {
                (
                    Some(Sticky::Address),
                    Balance::LeastConn | Balance::RandomTwo | Balance::First | Balance::Hash(_),
                ) => Some(old.and_then(|old| old.stick.clone()).unwrap_or_default()),
                (Some(Sticky::Address), Balance::RoundRobin | Balance::IpHash)
                | (Some(Sticky::Cookie { .. }) | None, _) => None,
            },
            sticky: spec.sticky.clone(),
            retries: spec.retries,
            keepalive: spec.keepalive as usize,
            keepalive_timeout: spec.keepalive_timeout,
            queue_longest: spec.queue,
            timeout_queue: spec.timeout_queue,
            protocol: spec.protocol,
            host: spec.host.clone(),
            check: spec.health_check.clone(),
            // The last one is never ejected.
            ejected_most: ejected_most.min(servers.len().saturating_sub(1)),
            has_app: spec.servers.iter().any(|entry| matches!(entry.address, ServerAddress::App(_))),
            servers,
            queue,
        })
    }

    fn balancer(
        &self,
        spec: &BalancerSpec,
        upstream: impl Fn(&str) -> Option<usize>,
        old: Option<&Balancer>,
    ) -> Result<Balancer, Vec<String>> {
        let router = Router::new(&spec.routes, upstream)?;
        let pages = Pages::read(&spec.error_pages)?;
        let log = match &spec.access_log {
            None => None,
            Some(wanted) => {
                let same = old.and_then(|old| old.log.clone()).filter(|log| log.is_for(wanted));
                Some(match same {
                    Some(log) => log,
                    None => Arc::new(LogFile::open(wanted).map_err(|mistake| vec![mistake])?),
                })
            }
        };
        let tls = match &spec.tls {
            None => None,
            Some(wanted) => Some(Arc::new(Tls::read(wanted, spec.http2 && spec.mode == Mode::Http)?)),
        };
        let redirect = spec.tls.as_ref().filter(|tls| tls.redirect).and_then(|tls| tls.listen.first());
        let same_rate = old.and_then(|old| old.rate.clone());
        let rate = spec.rate_limit.map(|wanted| match same_rate {
            Some(rate) if rate.is_for(wanted) => rate,
            _ => Arc::new(Rate::new(wanted)),
        });
        Ok(Balancer {
            name: spec.name.clone(),
            mode: spec.mode,
            maxconn: spec.maxconn,
            timeouts: spec.timeouts,
            limits: spec.limits,
            rate,
            router,
            trusted: spec.trusted_proxies.clone(),
            forwarded: spec.forwarded,
            request_id: spec.request_id.clone(),
            gzip: spec.gzip.clone(),
            pages,
            log,
            http2: spec.http2,
            tls,
            tls_redirect: redirect.and_then(|listen| match &listen.address {
                rpm_model::balance::ListenAddress::Tcp(at) => Some(at.port()),
                rpm_model::balance::ListenAddress::Any(port) => Some(*port),
                rpm_model::balance::ListenAddress::Unix(_) => None,
            }),
            live: old.map_or_else(|| self.balancer_live(), |old| old.live.clone()),
        })
    }

    fn balancer_live(&self) -> Arc<BalancerLive> {
        Arc::new(BalancerLive {
            connections: AtomicU32::new(0),
            closed: tokio::sync::Notify::new(),
            counts: (0..self.threads).map(|_| BalancerCount::default()).collect(),
        })
    }
}

/// Returns the entry of the configuration that a server comes from.
fn entry_of<'s>(spec: &'s UpstreamSpec, server: &Server) -> Option<&'s ServerSpec> {
    spec.servers.iter().find(|entry| match (&entry.address, &server.app) {
        (ServerAddress::App(app), Some(own)) => app == own,
        (ServerAddress::App(_), None) | (_, Some(_)) => false,
        (_, None) => entry.name == server.name,
    })
}

fn terms(spec: &UpstreamSpec, entry: &ServerSpec) -> Terms {
    // nginx: "if there is only a single server in a group, max_fails, fail_timeout and slow_start are ignored".
    let alone = spec.servers.len() == 1 && !matches!(entry.address, ServerAddress::App(_));
    Terms {
        max_fails: if alone { 0 } else { entry.max_fails },
        fail_timeout: entry.fail_timeout,
        slow_start: if alone { std::time::Duration::ZERO } else { entry.slow_start },
        disabled: entry.down,
        checks: spec.health_check.as_ref().map(|check| (check.rise.max(1), check.fall.max(1))),
        outlier: spec.outlier.map(|outlier| (outlier.consecutive_5xx.max(1), outlier.ejection)),
    }
}

/// Returns where a worker is reached that shares its port with others.
fn steered(target: Target, member: Option<&Member>) -> Target {
    match (&target, member.and_then(|member| member.source)) {
        (Target::Tcp(addresses), Some(source)) => match addresses.iter().find(|address| address.is_ipv4()) {
            Some(to) => Target::Steered { source, to: *to },
            None => target,
        },
        _ => target,
    }
}

fn resolve(address: &ServerAddress) -> Result<Target, String> {
    match address {
        ServerAddress::Unix(path) => Ok(Target::Unix(path.clone())),
        ServerAddress::Tcp { host, port } => match (host.as_str(), *port).to_socket_addrs() {
            Ok(found) => Ok(Target::Tcp(found.collect())).and_then(|target| match &target {
                Target::Tcp(list) if list.is_empty() => Err(format!("{host} has no address")),
                _ => Ok(target),
            }),
            Err(error) => Err(format!("the address of {host} cannot be found: {error}")),
        },
        ServerAddress::App(app) => Err(format!("the app {app} is no address of a worker")),
    }
}
