//! WebSocket messages: a server that echoes them, and clients that send the next one when the last has come back.
//!
//! Blocking threads would measure the scheduler; both sides are one loop over readiness.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::samples::Samples;

/// What a message carries: as the answers of the other scenarios.
const PAYLOAD: usize = 100;

/// A message of a client: two bytes of head, four of mask.
const SENT: usize = 2 + 4 + PAYLOAD;

/// One of a server: no mask.
const ECHOED: usize = 2 + PAYLOAD;

/// What clients saw.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Messages that came back, each second.
    pub rate: f64,
    /// How many came back.
    pub count: f64,
    /// Half of them were faster, in microseconds.
    pub p50: f64,
    /// 99 % of them were faster.
    pub p99: f64,
}

trait Stream: Read + Write + AsFd {}
impl<S: Read + Write + AsFd> Stream for S {}

/// Returns the next connection that waits.
type Accept = dyn Fn() -> io::Result<Option<Box<dyn Stream>>>;

struct Peer {
    stream: Box<dyn Stream>,
    bytes: Vec<u8>,
    open: bool,
    sent_at: Instant,
}

impl Peer {
    fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, bytes: Vec::with_capacity(4096), open: false, sent_at: Instant::now() }
    }

    /// Reads what is there; returns whether the other end still is.
    fn read(&mut self) -> bool {
        let mut part = [0; 16384];
        match self.stream.read(&mut part) {
            Ok(0) => false,
            Ok(count) => {
                self.bytes.extend_from_slice(&part[..count]);
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Takes the head of a request or answer off; returns whether it was there.
    fn head(&mut self) -> bool {
        let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
        self.bytes.drain(..end + 4);
        self.open = true;
        true
    }
}

/// Sends messages over so many connections for so long.
///
/// # Errors
/// Those of the connections.
pub fn load(to: SocketAddr, connections: u32, wait: Duration) -> io::Result<Seen> {
    let mut peers = Vec::new();
    for _ in 0..connections {
        let mut stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.write_all(
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )?;
        stream.set_nonblocking(true)?;
        peers.push(Peer::new(Box::new(stream)));
    }
    let mut message = vec![0x82, 0x80 | PAYLOAD as u8, 1, 2, 3, 4];
    message.resize(SENT, b'x');
    let (began, mut samples, mut count) = (Instant::now(), Samples::default(), 0u64);
    while began.elapsed() < wait {
        for index in ready(&peers)? {
            let peer = &mut peers[index];
            if !peer.read() {
                return Err(io::Error::other("a connection was closed"));
            }
            if !peer.open {
                if !peer.head() {
                    continue;
                }
            } else if peer.bytes.len() < ECHOED {
                continue;
            } else {
                peer.bytes.drain(..ECHOED);
                count += 1;
                // All of them would fill the memory; every eighth tells as much.
                if count % 8 == 0 {
                    samples.add(peer.sent_at.elapsed().as_secs_f64() * 1e6);
                }
            }
            peer.sent_at = Instant::now();
            peer.stream.write_all(&message)?;
        }
    }
    let quantile = |share: f64| samples.quantile(share).unwrap_or(f64::NAN);
    let rate = count as f64 / began.elapsed().as_secs_f64();
    Ok(Seen { rate, count: count as f64, p50: quantile(0.5), p99: quantile(0.99) })
}

/// Echoes messages at an address, `unix:PATH` or `HOST:PORT`, for ever.
///
/// # Errors
/// When it cannot be listened on.
pub fn echo(at: &str) -> io::Result<()> {
    let accept: Box<Accept>;
    let listener: Box<dyn AsFd>;
    if let Some(path) = at.strip_prefix("unix:") {
        let own = UnixListener::bind(path)?;
        // Contenders that give up being root connect too.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        own.set_nonblocking(true)?;
        listener = Box::new(own.try_clone()?);
        accept = Box::new(move || match own.accept() {
            Ok((stream, _)) => {
                UnixStream::set_nonblocking(&stream, true)?;
                Ok(Some(Box::new(stream)))
            }
            Err(_) => Ok(None),
        });
    } else {
        let own = TcpListener::bind(at)?;
        own.set_nonblocking(true)?;
        listener = Box::new(own.try_clone()?);
        accept = Box::new(move || match own.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok(Some(Box::new(stream)))
            }
            Err(_) => Ok(None),
        });
    }
    let mut peers: Vec<Peer> = Vec::new();
    loop {
        let mut fds: Vec<PollFd<'_>> = vec![PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
        fds.extend(peers.iter().map(|peer| PollFd::from_borrowed_fd(peer.stream.as_fd(), PollFlags::IN)));
        poll(&mut fds, None)?;
        let ready: Vec<usize> = (1..fds.len()).filter(|at| !fds[*at].revents().is_empty()).map(|at| at - 1).collect();
        let comes = !fds[0].revents().is_empty();
        drop(fds);
        let gone: Vec<usize> = ready.into_iter().filter(|index| !answer(&mut peers[*index])).collect();
        for index in gone.into_iter().rev() {
            peers.swap_remove(index);
        }
        while comes && let Some(stream) = accept()? {
            peers.push(Peer::new(stream));
        }
    }
}

/// Answers what has come; returns whether the other end is still there.
fn answer(peer: &mut Peer) -> bool {
    if !peer.read() {
        return false;
    }
    if !peer.open {
        let begun = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        return !peer.head() || peer.stream.write_all(begun).is_ok();
    }
    let whole = peer.bytes.len() / SENT;
    let mut out = Vec::with_capacity(whole * ECHOED);
    for message in peer.bytes.chunks_exact(SENT) {
        out.extend([message[0], message[1] & 0x7f]);
        let (mask, payload) = message[2..].split_at(4);
        out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    }
    peer.bytes.drain(..whole * SENT);
    out.is_empty() || peer.stream.write_all(&out).is_ok()
}

fn ready(peers: &[Peer]) -> io::Result<Vec<usize>> {
    let mut fds: Vec<_> =
        peers.iter().map(|peer| PollFd::from_borrowed_fd(peer.stream.as_fd(), PollFlags::IN)).collect();
    poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 }))?;
    Ok((0..fds.len()).filter(|at| !fds[*at].revents().is_empty()).collect())
}
