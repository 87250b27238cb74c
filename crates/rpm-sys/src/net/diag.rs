//! What the kernel says about connections (sock_diag), and which of them are busy.
//!
//! A worker may be ended when none of its connections is in the middle of a request. The kernel does not know requests,
//! but it knows when data last went each way: bytes that came in after the last bytes that went out are a request
//! without its answer. See [`Connection::is_busy`] for the cases where the two times are the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use crate::error::{Result, SysError, named};

/// The family of a listening socket. What an IPv6 socket accepts is IPv6, even when the client speaks IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6, and IPv4 through a dual-stack socket.
    V6,
}

impl Family {
    /// Returns the family of a socket bound to this address.
    pub fn of(address: SocketAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// One TCP connection as the kernel sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its number in `/proc/PID/fd`; 0 while it waits to be accepted, and after it was closed.
    pub inode: u64,
    /// This end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// How far it is.
    pub state: State,
    /// Bytes that wait to be read.
    pub unread: u32,
    /// Bytes written and not yet acknowledged by the other end.
    pub unsent: u32,
    /// Bytes received since it was opened.
    pub bytes_received: u64,
    /// Segments with data sent since it was opened.
    pub data_segments_sent: u32,
    /// How long ago data was sent.
    pub last_data_sent: Duration,
    /// How long ago data came in; counts from the opening while none has.
    pub last_data_received: Duration,
    /// How long ago anything came in.
    pub last_ack_received: Duration,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The handshake is not complete; for how long already.
    Handshake {
        /// Time since the first packet; at least a second when it had to be answered again.
        age: Duration,
    },
    /// Open both ways.
    Established,
    /// The other end sends no more.
    CloseWait,
    /// This end sends no more, or all is over.
    Closing,
}

/// How long a connection counts as busy when the kernel's times cannot tell.
///
/// A second: a client whose connection was accepted, but whose request is still on the way, sends it within a round
/// trip; and a drain that takes a second longer than it had to hurts nobody.
const DOUBT: Duration = Duration::from_secs(1);

impl Connection {
    /// Returns whether ending the process now would cut a request.
    ///
    /// The kernel's clock ticks every 1 to 4 ms. When the last data came and went within one tick, either the answer
    /// followed the request (idle), or the next request followed the answer (busy). An acknowledgement that came
    /// later, without data, can only be one for the answer: idle. Else the connection counts as busy for a second.
    pub fn is_busy(&self) -> bool {
        if !matches!(self.state, State::Established | State::CloseWait) {
            return self.unsent > 0;
        }
        if self.unread > 0 || self.unsent > 0 {
            return true;
        }
        if self.bytes_received == 0 {
            return self.state == State::Established && self.last_data_received < DOUBT;
        }
        if self.data_segments_sent == 0 {
            return true;
        }
        match self.last_data_received.cmp(&self.last_data_sent) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Greater => false,
            std::cmp::Ordering::Equal => {
                self.last_ack_received >= self.last_data_received && self.last_data_received < DOUBT
            }
        }
    }
}

/// Returns every connection of this machine that has this local port, accepted or not, listening sockets excepted.
pub fn connections(port: u16, family: Family) -> Result<Vec<Connection>> {
    sockets(port, family, STATES_ALL & !(1 << TCP_LISTEN) & !(1 << TCP_TIME_WAIT) & !(1 << TCP_CLOSE))
}

/// Returns the inode of every socket that listens on exactly this address.
pub fn listeners(at: SocketAddr) -> Result<Vec<u64>> {
    let all = sockets(at.port(), Family::of(at), 1 << TCP_LISTEN)?;
    Ok(all.into_iter().filter(|socket| socket.local.ip() == at.ip()).map(|socket| socket.inode).collect())
}

/// Returns the inode of every socket that listens, of TCP and of socket files, and how many connections wait in it.
pub(crate) fn queues() -> Result<Vec<(u64, u32)>> {
    let mut all = sockets(0, Family::V4, 1 << TCP_LISTEN)?;
    all.extend(sockets(0, Family::V6, 1 << TCP_LISTEN)?);
    // The kernel tells it where other sockets have their unread bytes.
    let mut queues: Vec<_> = all.into_iter().map(|socket| (socket.inode, socket.unread)).collect();
    // A kernel may be without this (CONFIG_UNIX_DIAG): then nothing is known of socket files.
    let told = ask(&unix_request(1 << TCP_LISTEN, None), libc::NLM_F_DUMP as u16, |payload| {
        queues.push((u64::from(u32_at(payload, 4)), unix_waiting(payload)));
    });
    told.or_else(|error| if error.errno == libc::ENOENT { Ok(()) } else { Err(error) })?;
    Ok(queues)
}

fn sockets(port: u16, family: Family, states: u32) -> Result<Vec<Connection>> {
    let mut request = Vec::with_capacity(INET_REQUEST);
    let number = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    request.extend([number as u8, libc::IPPROTO_TCP as u8, 1 << (INET_DIAG_INFO - 1), 0]);
    request.extend(states.to_ne_bytes());
    request.extend(port.to_be_bytes());
    request.resize(INET_REQUEST, 0);
    let mut found = Vec::new();
    ask(&request, libc::NLM_F_DUMP as u16, |payload| found.extend(connection(payload)))?;
    Ok(found)
}

/// Returns how many connections wait in a listening socket file.
pub(crate) fn unix_queue_length(inode: u64) -> Result<u32> {
    let mut length = 0;
    ask(&unix_request(STATES_ALL, Some(inode)), 0, |payload| length = unix_waiting(payload))?;
    Ok(length)
}

/// Asks for the queues of socket files: of one, or of all in these states.
fn unix_request(states: u32, inode: Option<u64>) -> Vec<u8> {
    let mut request = Vec::with_capacity(24);
    request.extend([libc::AF_UNIX as u8, 0, 0, 0]);
    request.extend(states.to_ne_bytes());
    request.extend((inode.unwrap_or_default() as u32).to_ne_bytes());
    request.extend(UDIAG_SHOW_RQLEN.to_ne_bytes());
    request.extend([0xff; 8]); // no cookie: the inode names the socket
    request
}

/// Reads how many connections wait from a `unix_diag_msg`.
fn unix_waiting(message: &[u8]) -> u32 {
    let value = message.get(16..).and_then(|rest| attribute(rest, UNIX_DIAG_RQLEN));
    value.map_or(0, |value| u32_at(value, 0))
}

const INET_REQUEST: usize = 56;
const INET_DIAG_INFO: u16 = 2;
const UNIX_DIAG_RQLEN: u16 = 4;
const UDIAG_SHOW_RQLEN: u32 = 0x10;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const STATES_ALL: u32 = 0xfff;
const TCP_ESTABLISHED: u8 = 1;
const TCP_SYN_RECV: u8 = 3;
const TCP_TIME_WAIT: u8 = 6;
const TCP_CLOSE: u8 = 7;
const TCP_CLOSE_WAIT: u8 = 8;
const TCP_LISTEN: u8 = 10;

/// What the first SYN-ACK waits before it is sent again; the kernel's TCP_TIMEOUT_INIT.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads an `inet_diag_msg` and the `tcp_info` behind it.
fn connection(message: &[u8]) -> Option<Connection> {
    if message.len() < 72 {
        return None;
    }
    let v6 = message[0] == libc::AF_INET6 as u8;
    let inode = u64::from(u32_at(message, 68));
    let info = attribute(&message[72..], INET_DIAG_INFO).unwrap_or(&[]);
    let ago = |offset| Duration::from_millis(u64::from(u32_at(info, offset)));
    let state = match message[1] {
        TCP_ESTABLISHED => State::Established,
        TCP_CLOSE_WAIT => State::CloseWait,
        TCP_SYN_RECV => {
            let again = Duration::from_millis(u64::from(u32_at(message, 52)));
            let resent = message[3] > 0;
            State::Handshake { age: if resent { HANDSHAKE_TIMEOUT } else { HANDSHAKE_TIMEOUT.saturating_sub(again) } }
        }
        _ => State::Closing,
    };
    Some(Connection {
        inode,
        local: socket_address(message, 4, 8, v6),
        remote: socket_address(message, 6, 24, v6),
        state,
        unread: u32_at(message, 56),
        unsent: u32_at(message, 60),
        last_data_sent: ago(44),
        last_data_received: ago(52),
        last_ack_received: ago(56),
        bytes_received: u64::from(u32_at(info, 128)) | u64::from(u32_at(info, 132)) << 32,
        data_segments_sent: u32_at(info, 156),
    })
}

fn socket_address(message: &[u8], port: usize, address: usize, v6: bool) -> SocketAddr {
    let port = u16::from_be_bytes([message[port], message[port + 1]]);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&message[address..address + 16]);
    let ip = match v6 {
        true => IpAddr::from(Ipv6Addr::from(bytes)).to_canonical(),
        false => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
    };
    SocketAddr::new(ip, port)
}

/// Reads a number of the machine's byte order; zero beyond the end, where an older kernel says less.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..offset + 4).map_or(0, |four| u32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    bytes.get(offset..offset + 2).map_or(0, |two| u16::from_ne_bytes([two[0], two[1]]))
}

/// Finds one attribute in a netlink message.
fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    while rest.len() >= 4 {
        let length = usize::from(u16_at(rest, 0));
        let value = rest.get(4..length)?;
        if u16_at(rest, 2) == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Asks sock_diag, and hands each answer's payload to `each`.
fn ask(request: &[u8], flags: u16, mut each: impl FnMut(&[u8])) -> Result<()> {
    const HEADER: usize = 16;
    let socket = open()?;
    let mut message = Vec::with_capacity(HEADER + request.len());
    message.extend(((HEADER + request.len()) as u32).to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16 | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(request);
    named("send(sock_diag)", rustix::net::send(&socket, &message, SendFlags::empty()))?;
    // The kernel fills packets of at most 32 KiB.
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        let received = rustix::io::retry_on_intr(|| rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty()));
        let (length, _) = named("recv(sock_diag)", received)?;
        let mut rest = &buffer[..length];
        while rest.len() >= HEADER {
            let length = u32_at(rest, 0) as usize;
            let Some(payload) = rest.get(HEADER..length) else { return Ok(()) };
            match i32::from(u16_at(rest, 4)) {
                libc::NLMSG_DONE => return Ok(()),
                libc::NLMSG_ERROR => {
                    let errno = -(u32_at(payload, 0) as i32);
                    return if errno == 0 { Ok(()) } else { Err(SysError::new("sock_diag", errno)) };
                }
                _ => each(payload),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        }
        if flags == 0 {
            return Ok(());
        }
    }
}

fn open() -> Result<OwnedFd> {
    named(
        "socket(NETLINK_SOCK_DIAG)",
        rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread::sleep;

    use super::*;
    use crate::net::listen::inode;

    /// More than a tick of the slowest kernel clock (100 Hz), so that two times differ.
    const TICK: Duration = Duration::from_millis(25);

    fn pair(on: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(on).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn seen(server: &TcpStream) -> Connection {
        let at = server.local_addr().unwrap();
        let own = inode(server).unwrap();
        let family = Family::of(at);
        connections(at.port(), family).unwrap().into_iter().find(|connection| connection.inode == own).unwrap()
    }

    #[test]
    fn a_connection_is_described() {
        for on in ["127.0.0.1:0", "[::1]:0"] {
            let (mut client, server) = pair(on);
            client.write_all(b"hello").unwrap();
            let seen = seen(&server);
            assert_eq!(seen.local, server.local_addr().unwrap());
            assert_eq!(seen.remote, client.local_addr().unwrap());
            assert_eq!((seen.state, seen.unread, seen.bytes_received), (State::Established, 5, 5));
        }
    }

    #[test]
    fn a_request_without_its_answer_is_busy() {
        let (mut client, mut server) = pair("127.0.0.1:0");
        let mut buffer = [0; 8];
        assert!(seen(&server).is_busy(), "just accepted: its request may be on the way");
        client.write_all(b"request").unwrap();
        assert!(seen(&server).is_busy(), "unread");
        server.read_exact(&mut buffer[..7]).unwrap();
        assert!(seen(&server).is_busy(), "never answered");
        sleep(TICK);
        server.write_all(b"answer").unwrap();
        client.read_exact(&mut buffer[..6]).unwrap();
        assert!(!seen(&server).is_busy(), "answered later than asked");
        sleep(TICK);
        client.write_all(b"request").unwrap();
        server.read_exact(&mut buffer[..7]).unwrap();
        assert!(seen(&server).is_busy(), "asked again");
    }

    #[test]
    fn an_answer_within_the_same_tick_is_idle_in_the_end() {
        let (mut client, mut server) = pair("127.0.0.1:0");
        let mut buffer = [0; 8];
        client.write_all(b"request").unwrap();
        server.read_exact(&mut buffer[..7]).unwrap();
        server.write_all(b"answer").unwrap();
        client.read_exact(&mut buffer[..6]).unwrap();
        let started = std::time::Instant::now();
        while seen(&server).is_busy() {
            assert!(started.elapsed() < DOUBT + Duration::from_secs(1));
            sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn an_answer_that_is_not_taken_yet_is_busy() {
        let (_client, server) = pair("127.0.0.1:0");
        server.set_nonblocking(true).unwrap();
        let piece = vec![0; 1 << 20];
        while (&server).write(&piece).is_ok() {}
        assert!(seen(&server).is_busy());
    }

    #[test]
    fn listeners_are_told_apart_by_address() {
        let one = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = one.local_addr().unwrap().port();
        let other = TcpListener::bind(("127.0.0.2", port)).unwrap();
        for listener in [&one, &other] {
            assert_eq!(listeners(listener.local_addr().unwrap()).unwrap(), [inode(listener).unwrap()]);
        }
        let six = TcpListener::bind("[::]:0").unwrap();
        assert_eq!(listeners(six.local_addr().unwrap()).unwrap(), [inode(&six).unwrap()]);
    }

    #[test]
    fn waiting_connections_have_no_inode() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let _client = TcpStream::connect(at).unwrap();
        let found = connections(at.port(), Family::V4).unwrap();
        assert_eq!(found.iter().map(|connection| connection.inode).collect::<Vec<_>>(), [0]);
    }
}
