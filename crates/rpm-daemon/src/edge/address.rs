//! Where one worker is reached, and no other.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rpm_model::balance::ServerAddress;
use rpm_model::{ExecMode, Home, Life};
use rpm_share::Ports;
use rpm_sys::net::diag::listeners;
use rpm_sys::net::socket_inodes;

use crate::process::{Process, Proxied};

/// Where ports are looked for that workers get: above those that the kernel gives to outgoing connections.
const PORTS: std::ops::RangeInclusive<u16> = 61_000..=65_000;

/// Returns where a worker is reached and from which address, as far as that is known.
///
/// Workers that share a port are told apart by the source address: a connection from 127.77.hi.lo goes to the slot of
/// that number, whoever else is admitted.
pub(crate) fn of(
    process: &Process,
    life: Life,
    instance: u32,
    ports: &Ports,
) -> (Option<ServerAddress>, Option<Ipv4Addr>) {
    let tcp = |host: String, port: u16| ServerAddress::Tcp { host, port };
    match process.spec.exec_mode {
        ExecMode::Proxy => {
            let host = |only_v6| if only_v6 { "::1".to_owned() } else { "127.0.0.1".to_owned() };
            let at = process.proxied.as_ref().map(|at| match at {
                Proxied::Port { port, only_v6 } => tcp(host(*only_v6), *port),
                Proxied::File(path) => ServerAddress::Unix(path.clone()),
            });
            (at, None)
        }
        ExecMode::Fork => {
            let first = process.spec.env.get("PORT").and_then(|port| port.parse::<u32>().ok());
            let counted = process.spec.increment_var.as_deref() == Some("PORT");
            let port = first.map(|first| first + if counted { instance } else { 0 });
            (port.and_then(|port| u16::try_from(port).ok()).map(|port| tcp("127.0.0.1".into(), port)), None)
        }
        ExecMode::Cluster | ExecMode::Socket => {
            let wanted = process.spec.env.get("PORT").and_then(|port| port.parse::<u16>().ok());
            let paths = ports.probe_paths(life);
            let path = paths.iter().find(|path| Some(path.to.port()) == wanted).or(paths.first());
            match path {
                Some(path) => (Some(tcp(path.to.ip().to_string(), path.to.port())), path.source),
                None => {
                    let file = ports.addresses(process.app).into_iter().find(|address| address.starts_with('/'));
                    (file.map(|path| ServerAddress::Unix(path.into())), None)
                }
            }
        }
    }
}

/// Returns a port that nobody has: for a worker that binds it by itself.
///
/// It may be taken until the worker binds it; then the worker fails to start, and the next one gets another.
pub(crate) fn free_port(life: Life) -> std::io::Result<u16> {
    let count = u64::from(PORTS.end() - PORTS.start()) + 1;
    // Far from those of the lives before, of the workers beside, and of other daemons that look at the same time.
    let own = u64::from(std::process::id()) * 7919;
    let start = (own + u64::from(life.worker.0) * 131 + life.generation.0 * 17) % count;
    let candidates = (0..count).map(|step| PORTS.start() + ((start + step) % count) as u16);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok();
    match candidates.into_iter().find(is_free) {
        Some(port) => Ok(port),
        None => TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?.local_addr().map(|at| at.port()),
    }
}

/// Returns a path that nobody has: for a worker that makes a socket file by itself.
///
/// # Errors
/// With a sentence, where no such file can be.
pub(crate) fn free_file(home: &Home, life: Life) -> Result<PathBuf, String> {
    /// What a socket's address has room for.
    const PATH_MAX: usize = 107;
    let directory = home.root().join("sockets");
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    made.map_err(|error| format!("{}: {error}", directory.display()))?;
    let path = directory.join(format!("{life}.sock"));
    if path.as_os_str().len() > PATH_MAX {
        return Err(format!("{} is too long for a socket; `proxy_socket: \"tcp\"` needs none", path.display()));
    }
    // Of a life before the machine started again.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
        Ok(()) | Err(_) => Ok(path),
    }
}

/// Returns where a process or a descendant of it listens, if it does where it was told to.
pub(crate) fn listens(given: &Proxied, pid: i32) -> Option<Proxied> {
    match given {
        Proxied::Port { port, .. } => listened_on(*port, pid),
        Proxied::File(path) => file_listened_on(path, pid).then(|| given.clone()),
    }
}

fn file_listened_on(path: &Path, pid: i32) -> bool {
    let inodes = rpm_sys::net::unix_listeners(path);
    let own = || std::iter::once(pid).chain(rpm_sys::proc::descendants(pid)).flat_map(socket_inodes);
    !inodes.is_empty() && own().any(|inode| inodes.contains(&inode))
}

/// Returns where a process or a descendant of it listens on a port, if it does on a loopback address.
///
/// Somebody else may have been faster to take the port: who listens there is not our worker then.
fn listened_on(port: u16, pid: i32) -> Option<Proxied> {
    let any = |hosts: &[&str]| hosts.iter().flat_map(|host| listening(host, port)).collect::<Vec<u64>>();
    let (v4, v6) = (any(&["127.0.0.1", "0.0.0.0", "::"]), any(&["::1"]));
    if v4.is_empty() && v6.is_empty() {
        return None;
    }
    let mut own = socket_inodes(pid);
    own.extend(rpm_sys::proc::descendants(pid).into_iter().flat_map(socket_inodes));
    let is_own = |inodes: &[u64]| inodes.iter().any(|inode| own.contains(inode));
    if is_own(&v4) {
        return Some(Proxied::Port { port, only_v6: false });
    }
    is_own(&v6).then_some(Proxied::Port { port, only_v6: true })
}

/// Returns the sockets that listen on an address.
fn listening(host: &str, port: u16) -> Vec<u64> {
    let ip = host.parse::<std::net::IpAddr>();
    ip.ok().and_then(|ip| listeners((ip, port).into()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rpm_model::WorkerId;

    use super::*;

    #[test]
    fn a_port_is_free_until_somebody_listens() {
        let life = Life::new(WorkerId(900), 3);
        let port = free_port(life).unwrap();
        let pid = std::process::id() as i32;
        assert!(listened_on(port, pid).is_none());
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert!(
            listened_on(port, pid) == Some(Proxied::Port { port, only_v6: false }) && free_port(life).unwrap() != port
        );
        assert!(listened_on(port, i32::MAX).is_none(), "somebody else's");
        drop(listener);
        if let Ok(_listener) = TcpListener::bind(("::1", port)) {
            assert_eq!(listened_on(port, pid), Some(Proxied::Port { port, only_v6: true }));
        }
    }
}
