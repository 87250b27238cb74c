//! Taking connections, within limits.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rpm_model::balance::Mode;
use tokio::net::{TcpListener, UnixListener};

use crate::config::{Balancer, Entry};
use crate::io::prefixed::Prefixed;
use crate::io::{Buffer, Deadline, Io};
use crate::proxy;
use crate::serve::client::Client;
use crate::serve::http1::Connection;
use crate::serve::{http2, tcp};
use crate::thread::Thread;

/// A listening socket of one thread.
pub enum Listener {
    /// TCP, and what it is bound to.
    Tcp(TcpListener, SocketAddr),
    /// A socket file.
    Unix(UnixListener),
}

impl Listener {
    /// Returns the next connection: itself, whom it is from, where it went to.
    async fn accept(&self) -> io::Result<(Io, SocketAddr, SocketAddr)> {
        match self {
            Self::Tcp(listener, bound) => {
                let (stream, peer) = listener.accept().await?;
                // A connection of a socket for every address came to one of them.
                let local = if bound.ip().is_unspecified() { stream.local_addr()? } else { *bound };
                Ok((stream.into(), peer, local))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((stream.into(), Client::nowhere(), Client::nowhere()))
            }
        }
    }
}

/// Counts a connection as open until dropped.
struct Open {
    balancer: Arc<Balancer>,
    thread: Rc<Thread>,
}

impl Open {
    fn count(balancer: &Arc<Balancer>, thread: &Rc<Thread>) -> Self {
        balancer.live.connections.fetch_add(1, Relaxed);
        thread.connections.count.fetch_add(1, Relaxed);
        balancer.live.counts[thread.index].connections_total.add(1);
        Self { balancer: balancer.clone(), thread: thread.clone() }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.balancer.live.connections.fetch_sub(1, Relaxed);
        if self.thread.connections.count.fetch_sub(1, Relaxed) == 1 {
            self.thread.connections.none_left.notify_waiters();
        }
        self.balancer.live.closed.notify_one();
    }
}

/// Accepts for ever. What the socket is for is looked up for each connection, so that a new configuration counts.
pub async fn accept(thread: Rc<Thread>, name: String, listener: Listener) {
    loop {
        let local = thread.local();
        let Some(entry) = local.snapshot.entries.get(&name).copied() else { return };
        let balancer = local.snapshot.balancers[entry.balancer].clone();
        let most = local.snapshot.maxconn;
        drop(local);
        if balancer.live.connections.load(Relaxed) >= balancer.maxconn || thread.connections.count.load(Relaxed) >= most
        {
            // The rest waits in the kernel's queue. The pause is for a limit that another balancer's connections reach.
            let _ = tokio::time::timeout(Duration::from_millis(20), balancer.live.closed.notified()).await;
            continue;
        }
        match listener.accept().await {
            Ok((io, peer, to)) => {
                // It may have been another configuration that the wait began with.
                let local = thread.local();
                let Some(entry) = local.snapshot.entries.get(&name).copied() else { return };
                let balancer = local.snapshot.balancers[entry.balancer].clone();
                let open = Open::count(&balancer, &thread);
                let client = Client::new(peer, to, entry.tls);
                tokio::task::spawn_local(async move {
                    serve(io, client, entry, &open).await;
                    drop(open);
                });
            }
            // Out of descriptors or memory: those that are busy will be free again, and the next one is tried then.
            Err(error) if is_shortage(&error) => tokio::time::sleep(Duration::from_millis(20)).await,
            // This one went away before it was taken.
            Err(_) => {}
        }
    }
}

fn is_shortage(error: &io::Error) -> bool {
    const SHORTAGES: [i32; 4] = [12, 23, 24, 105]; // ENOMEM, ENFILE, EMFILE, ENOBUFS
    error.raw_os_error().is_some_and(|errno| SHORTAGES.contains(&errno))
}

async fn serve(io: Io, mut client: Client, entry: Entry, open: &Open) {
    let Open { balancer, thread } = open;
    let mut first = Buffer::default();
    if entry.proxy_protocol {
        match proxied(&io, balancer.timeouts.header).await {
            Some((addresses, rest)) => {
                if let Some((from, to)) = addresses {
                    client = Client::new(from, to, client.tls);
                }
                first = rest;
            }
            None => return balancer.live.counts[thread.index].refused.add(1),
        }
    }
    if first.is_empty() && balancer.mode == Mode::Http {
        // Who connects speaks at once, most of the time: what is there need not be waited for.
        let mut early = Buffer::small();
        match io.with_fd(|fd| rpm_sys::net::receive_now(fd, early.space())) {
            Some(Ok(Some(0)) | Err(_)) => return,
            Some(Ok(Some(count))) => {
                early.fill(count);
                first = early;
            }
            Some(Ok(None)) | None => {}
        }
    }
    let (io, http2) = match (&balancer.tls, entry.tls) {
        (Some(tls), true) => {
            let plain = Box::new(Prefixed::new(std::mem::take(&mut first), io.into_stream()));
            // As long as a head may take: the handshake is a part of what a slow client can make us wait for.
            match tokio::time::timeout(balancer.timeouts.header, tls.accept(plain)).await {
                Ok(Ok(shaken)) => shaken,
                Ok(Err(_)) | Err(_) => return balancer.live.counts[thread.index].refused.add(1),
            }
        }
        _ => (io, false),
    };
    match balancer.mode {
        Mode::Http if http2 => http2::serve(io, first, thread, &client, balancer).await,
        Mode::Http => {
            let connection = Connection::new(io, thread.clone(), client.clone(), balancer.clone());
            // By prior knowledge: only the first bytes tell.
            if let Some((io, first)) = connection.serve(first).await {
                http2::serve(io, first, thread, &client, balancer).await;
            }
        }
        Mode::Tcp => tcp::serve(io, thread, &client, balancer, first).await,
    }
}

type Addresses = Option<(SocketAddr, SocketAddr)>;

/// Reads the header that says who the client is; `None` when it is none.
async fn proxied(io: &Io, wait: Duration) -> Option<(Addresses, Buffer)> {
    let deadline = Deadline::after(wait);
    let mut buffer = Buffer::small();
    loop {
        match proxy::parse(buffer.filled()) {
            Ok(Some(header)) => {
                buffer.consume(header.length);
                return Some((header.addresses, buffer));
            }
            Ok(None) if buffer.filled().len() < proxy::HEADER_MAX => {}
            Ok(None) | Err(_) => return None,
        }
        if crate::io::transfer::read_more(io, &mut buffer, &deadline).await.ok()? == 0 {
            return None;
        }
    }
}
