//! Choosing which socket of a SO_REUSEPORT group gets a connection.
//!
//! A classic BPF program belongs to the group, not to the socket it was attached through. It returns an index; an
//! index counts the *listening* members in joining order, and when a member leaves, the last one moves into its place.
//! An index out of range makes the kernel choose by its hash over all members.

use std::os::fd::{AsFd, AsRawFd};

use crate::error::{Result, SysError, check};

/// Which members of a group get new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steering<'a> {
    /// Indexes, chosen from at random; one that stands here twice gets twice as much. Never empty.
    pub live: &'a [u32],
    /// Whether a connection from [`probe_source`] goes to the member it names, live or not.
    pub probe: bool,
}

/// The most runs of consecutive indexes a program holds; each is three instructions of the 4096 that the kernel takes.
const RUNS_MAX: usize = 1024;

/// Directs new connections of the group that `socket` is in. Replaces the program before it in one step.
pub fn steer(socket: impl AsFd, steering: &Steering<'_>) -> Result<()> {
    let runs = runs(steering.live);
    if runs.is_empty() || runs.len() > RUNS_MAX {
        return Err(SysError::new("setsockopt(SO_ATTACH_REUSEPORT_CBPF)", libc::EINVAL));
    }
    let mut program = program(&runs, steering.live.len() as u32, steering.probe);
    let attached = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the option takes a sock_fprog whose filter points to `len` instructions; both outlive the call, which
    // copies them.
    let returned = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const attached).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    check("setsockopt(SO_ATTACH_REUSEPORT_CBPF)", returned).map(drop)
}

/// Leaves the choice among the members of the group that `socket` is in to the kernel's hash again.
pub fn unsteer(socket: impl AsFd) -> Result<()> {
    let nothing: libc::c_int = 0;
    // SAFETY: the option takes no value; a readable one of four bytes satisfies the kernel's check of the length.
    let returned = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DETACH_REUSEPORT_BPF,
            (&raw const nothing).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match check("setsockopt(SO_DETACH_REUSEPORT_BPF)", returned) {
        Err(SysError { errno: libc::ENOENT, .. }) => Ok(()),
        result => result.map(drop),
    }
}

/// Returns the loopback address from which a connection reaches the member with this index (below 65,536).
pub fn probe_source(index: u32) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::new(127, 77, (index >> 8) as u8, index as u8)
}

/// Consecutive indexes, which one addition maps.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    first: u32,
    length: u32,
}

fn runs(live: &[u32]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for &index in live {
        match runs.last_mut() {
            Some(run) if run.first + run.length == index => run.length += 1,
            _ => runs.push(Run { first: index, length: 1 }),
        }
    }
    runs
}

/// Where the network header begins, for loads that count from there.
const NETWORK: u32 = libc::SKF_NET_OFF as u32;
/// The load that gives a random number.
const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM) as u32;
/// 127.77.0.0, whose last two bytes name a member.
const PROBE_NETWORK: u32 = 0x7f4d_0000;

fn program(runs: &[Run], count: u32, probe: bool) -> Vec<libc::sock_filter> {
    use libc::{
        BPF_A, BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_B, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_MISC, BPF_MOD,
        BPF_RET, BPF_TAX, BPF_TXA, BPF_W,
    };
    let mut program = Vec::with_capacity(12 + runs.len() * 3);
    let mut add = |code: u32, k: u32, jt: u8, jf: u8| program.push(libc::sock_filter { code: code as u16, jt, jf, k });
    if probe {
        // The version first: in a real IPv6 packet these bytes are a part of the source that anyone may choose.
        add(BPF_LD | BPF_B | BPF_ABS, NETWORK, 0, 0);
        add(BPF_ALU | BPF_AND | BPF_K, 0xf0, 0, 0);
        add(BPF_JMP | BPF_JEQ | BPF_K, 0x40, 0, 7);
        add(BPF_LD | BPF_W | BPF_ABS, NETWORK.wrapping_add(12), 0, 0);
        add(BPF_MISC | BPF_TAX, 0, 0, 0);
        add(BPF_ALU | BPF_AND | BPF_K, 0xffff_0000, 0, 0);
        add(BPF_JMP | BPF_JEQ | BPF_K, PROBE_NETWORK, 0, 3);
        add(BPF_MISC | BPF_TXA, 0, 0, 0);
        add(BPF_ALU | BPF_AND | BPF_K, 0xffff, 0, 0);
        add(BPF_RET | BPF_A, 0, 0, 0);
    }
    add(BPF_LD | BPF_W | BPF_ABS, RANDOM, 0, 0);
    add(BPF_ALU | BPF_MOD | BPF_K, count, 0, 0);
    let mut mapped = 0u32;
    for run in runs {
        let end = mapped + run.length;
        if end < count {
            add(BPF_JMP | BPF_JGE | BPF_K, end, 2, 0);
        }
        add(BPF_ALU | BPF_ADD | BPF_K, run.first.wrapping_sub(mapped), 0, 0);
        add(BPF_RET | BPF_A, 0, 0, 0);
        mapped = end;
    }
    program
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::net::address::Address;
    use crate::net::listen::{Listen, Sharing, listen, local_address, stop_listening};
    use crate::net::queue::queue_length;

    /// Opens `count` members of one group.
    fn group(address: &Address, count: usize) -> (Vec<OwnedFd>, u16) {
        let first = listen(address, Listen { sharing: Sharing::First, ..Listen::default() }).unwrap();
        let port = local_address(&first).unwrap().port();
        let mut members = vec![first];
        for _ in 1..count {
            members.push(join(address, port));
        }
        (members, port)
    }

    fn join(address: &Address, port: u16) -> OwnedFd {
        listen(&address.with_port(port), Listen { sharing: Sharing::Join, ..Listen::default() }).unwrap()
    }

    /// Connects from `source`; the connection must outlive the look at the queues. On loopback it is open at once.
    fn connect_from(source: std::net::Ipv4Addr, port: u16) -> OwnedFd {
        crate::net::begin_connection(Some(source), SocketAddr::from(([127, 0, 0, 1], port))).unwrap()
    }

    fn queues(members: &[OwnedFd]) -> Vec<u32> {
        members.iter().map(|member| queue_length(member).unwrap()).collect()
    }

    fn steer_to(member: &OwnedFd, live: &[u32]) {
        steer(member, &Steering { live, probe: true }).unwrap();
    }

    #[test]
    fn consecutive_indexes_are_one_run() {
        assert_eq!(
            runs(&[0, 1, 2, 7, 7]),
            [Run { first: 0, length: 3 }, Run { first: 7, length: 1 }, Run { first: 7, length: 1 }]
        );
        let (members, _) = group(&Address::TcpAny { port: 0 }, 1);
        assert_eq!(steer(&members[0], &Steering { live: &[], probe: true }).unwrap_err().errno, libc::EINVAL);
    }

    #[test]
    fn only_live_members_get_connections_by_their_weight() {
        for address in [Address::TcpAny { port: 0 }, Address::tcp("127.0.0.1:0".parse().unwrap())] {
            let (members, port) = group(&address, 5);
            steer_to(&members[0], &[1, 3, 3, 3, 4]);
            let _open: Vec<_> = (0..300).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
            let queues = queues(&members);
            assert_eq!((queues[0], queues[2]), (0, 0));
            assert_eq!(queues.iter().sum::<u32>(), 300);
            assert!(queues[1] > 25 && queues[4] > 25 && queues[3] > 120, "{queues:?}");
        }
    }

    #[test]
    fn without_a_program_every_member_gets_connections() {
        let (members, port) = group(&Address::TcpAny { port: 0 }, 2);
        unsteer(&members[0]).unwrap();
        steer_to(&members[0], &[0]);
        unsteer(&members[1]).unwrap();
        let _open: Vec<_> = (0..100).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
        assert!(queues(&members).iter().all(|length| *length > 10));
    }

    #[test]
    fn a_probe_reaches_the_member_it_names_and_others_follow_the_rule() {
        for address in [Address::TcpAny { port: 0 }, Address::tcp("0.0.0.0:0".parse().unwrap())] {
            let (members, port) = group(&address, 4);
            steer_to(&members[0], &[0]);
            let _open: Vec<_> = (0..4).map(|index| connect_from(probe_source(index), port)).collect();
            assert_eq!(queues(&members), [1, 1, 1, 1]);
        }
        let (members, port) = group(&Address::TcpAny { port: 0 }, 2);
        steer_to(&members[0], &[1]);
        let _open = TcpStream::connect(("::1", port)).unwrap();
        assert_eq!(queues(&members), [0, 1]);
    }

    #[test]
    fn the_last_member_moves_into_the_place_of_one_that_leaves() {
        let (mut members, port) = group(&Address::TcpAny { port: 0 }, 4);
        steer_to(&members[0], &[0]);
        let expect = |members: &[OwnedFd], index: u32, position: usize| {
            let before = queue_length(&members[position]).unwrap();
            let open = connect_from(probe_source(index), port);
            assert_eq!(queue_length(&members[position]).unwrap(), before + 1);
            drop(open);
        };
        // A B C D: B leaves while a duplicate of it stays open, D moves.
        let _duplicate = crate::fd::dup(&members[1]).unwrap();
        stop_listening(&members[1]).unwrap();
        for (index, position) in [(0, 0), (1, 3), (2, 2)] {
            expect(&members, index, position);
        }
        members.push(join(&Address::TcpAny { port: 0 }, port));
        expect(&members, 3, 4);
        // The last leaves: nothing moves.
        stop_listening(&members[4]).unwrap();
        for (index, position) in [(0, 0), (1, 3), (2, 2)] {
            expect(&members, index, position);
        }
    }

    #[test]
    fn a_vacated_socket_keeps_its_connections_for_the_one_who_inherits_it() {
        let (members, port) = group(&Address::TcpAny { port: 0 }, 2);
        let worker = TcpListener::from(crate::fd::dup(&members[0]).unwrap());
        steer_to(&members[0], &[0, 1]);
        let open: Vec<_> = (0..100).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
        let waiting = queue_length(&members[0]).unwrap();
        assert!(waiting > 10);
        drop(worker);
        steer_to(&members[0], &[1]);
        let heir = TcpListener::from(crate::fd::dup(&members[0]).unwrap());
        heir.set_nonblocking(true).unwrap();
        let served: Vec<_> = std::iter::from_fn(|| heir.accept().ok()).collect();
        assert_eq!(served.len() as u32, waiting);
        for stream in &open {
            stream.set_nonblocking(true).unwrap();
            let mut byte = [0];
            assert_eq!(stream.peek(&mut byte).unwrap_err().kind(), ErrorKind::WouldBlock, "nobody was reset");
        }
    }
}
