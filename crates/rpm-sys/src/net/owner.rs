//! Which process holds a socket.

use std::collections::{BTreeSet, HashSet};
use std::fs;

use crate::net::diag;
use crate::proc;

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its pid.
    pub pid: i32,
    /// Its name, as `ps` shows it.
    pub name: String,
}

/// Finds who listens on a TCP port of this machine.
///
/// Processes of other users are seen by root only. Takes a look at every descriptor of every process: for messages,
/// not for loops.
pub fn listener_owner(port: u16) -> Option<Owner> {
    let inodes: HashSet<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().skip(1).filter_map(|line| listening_inode(line, port)).collect::<Vec<_>>())
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let mut pids: Vec<i32> =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    let pid = pids.into_iter().find(|pid| !socket_inodes(*pid).is_disjoint(&inodes))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned();
    Some(Owner { pid, name })
}

/// Returns the TCP ports on which these processes listen, lowest first.
pub fn listening_ports(pids: &[i32]) -> Vec<u16> {
    let own: HashSet<u64> = pids.iter().flat_map(|pid| socket_inodes(*pid)).collect();
    if own.is_empty() {
        return Vec::new();
    }
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].iter().filter_map(|table| fs::read_to_string(table).ok());
    let ports = tables.flat_map(|table| table.lines().filter_map(listener).collect::<Vec<_>>());
    let ports: BTreeSet<u16> = ports.filter(|(_, inode)| own.contains(inode)).map(|(port, _)| port).collect();
    ports.into_iter().collect()
}

/// Returns how many connections wait in the sockets, of TCP and of files, on which a process or a descendant of it listens.
pub fn waiting_at(pid: i32) -> u32 {
    let mut queues = diag::queues().unwrap_or_default();
    queues.retain(|(_, waiting)| *waiting > 0);
    // Mostly nothing waits anywhere, and nobody's descriptors are looked at.
    if queues.is_empty() {
        return 0;
    }
    let pids = std::iter::once(pid).chain(proc::descendants(pid));
    let own: HashSet<u64> = pids.flat_map(socket_inodes).collect();
    queues.iter().filter(|(inode, _)| own.contains(inode)).map(|(_, waiting)| waiting).sum()
}

/// Returns the inodes of the sockets that listen at a path.
pub fn unix_listeners(path: &std::path::Path) -> HashSet<u64> {
    let Ok(table) = fs::read_to_string("/proc/net/unix") else { return HashSet::new() };
    table.lines().skip(1).filter_map(|line| unix_listener(line, path)).collect()
}

/// Reads a line of `/proc/net/unix`: the inode, when the socket listens at the path.
fn unix_listener(line: &str, path: &std::path::Path) -> Option<u64> {
    /// `__SO_ACCEPTCON` of the kernel's `net.h`.
    const ACCEPTS: u32 = 1 << 16;
    let fields: Vec<&str> = line.splitn(8, ' ').collect();
    let [_, _, _, flags, _, _, rest @ ..] = fields.as_slice() else { return None };
    // The inode is padded with spaces, and a path may hold some.
    let rest = rest.join(" ");
    let (inode, own) = rest.trim_start().split_once(' ')?;
    let accepts = u32::from_str_radix(flags, 16).ok()? & ACCEPTS != 0;
    (accepts && std::path::Path::new(own) == path).then(|| inode.parse().ok())?
}

/// Returns the inodes of every socket a process has open; none when it is gone or not ours to see.
pub fn socket_inodes(pid: i32) -> HashSet<u64> {
    let Ok(listing) = fs::read_dir(format!("/proc/{pid}/fd")) else { return HashSet::new() };
    listing
        .flatten()
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

/// Reads a line of `/proc/net/tcp`: the inode, when the socket listens on the port.
fn listening_inode(line: &str, port: u16) -> Option<u64> {
    listener(line).filter(|(own, _)| *own == port).map(|(_, inode)| inode)
}

/// Reads a line of `/proc/net/tcp`: port and inode of a socket that listens.
fn listener(line: &str) -> Option<(u16, u64)> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    let (_, own_port) = fields.nth(1)?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    Some((u16::from_str_radix(own_port, 16).ok()?, inode)).filter(|_| state == LISTEN)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn the_listener_of_a_port_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let owner = listener_owner(listener.local_addr().unwrap().port()).unwrap();
        assert_eq!(owner.pid, std::process::id() as i32);
        assert!(!owner.name.is_empty());
        assert!(socket_inodes(owner.pid).contains(&crate::net::listen::inode(&listener).unwrap()));
        assert!(socket_inodes(-1).is_empty());
        assert!(listening_ports(&[owner.pid]).contains(&listener.local_addr().unwrap().port()));
        assert!(listening_ports(&[-1]).is_empty());
    }

    #[test]
    fn what_waits_for_a_process_is_counted() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let _waits = [TcpStream::connect(at).unwrap(), TcpStream::connect(at).unwrap()];
        // Other tests of this process may listen, too.
        assert!(waiting_at(std::process::id() as i32) >= 2);
        assert_eq!(waiting_at(child.id() as i32), 0, "somebody else's");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_waits_in_a_socket_file_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let _waits = [UnixStream::connect(&path).unwrap(), UnixStream::connect(&path).unwrap()];
        let own = crate::net::listen::inode(&listener).unwrap();
        let waiting = || diag::queues().unwrap().into_iter().find(|(inode, _)| *inode == own);
        assert_eq!(waiting(), Some((own, 2)));
        listener.accept().unwrap();
        assert_eq!(waiting(), Some((own, 1)));
        assert!(waiting_at(std::process::id() as i32) >= 1);
    }

    #[test]
    fn a_line_of_the_table_is_read() {
        let line =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 f";
        assert_eq!(listening_inode(line, 8080), Some(4711));
        assert_eq!(listening_inode(line, 8081), None);
        assert_eq!(listening_inode("garbage", 8080), None);
    }
}
