//! Connections to servers.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use rpm_model::balance::ProxyVersion;
use tokio::net::{TcpStream, UnixStream};

use crate::http2::server::Shared;
use crate::io::transfer::write_all;
use crate::io::{Deadline, Io};
use crate::pool::{Server, Target};
use crate::proxy;
use crate::serve::acquire::Taken;
use crate::serve::client::Client;

/// Opens a connection to a server, within `wait`.
///
/// # Errors
/// Those of the system; `TimedOut` when the time is up.
pub async fn connect(server: &Server, client: &Client, wait: Duration) -> io::Result<Io> {
    let opened = tokio::time::timeout(wait, open(&server.target)).await;
    let io = opened.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if let Some(version) = server.send_proxy {
        let header = match version {
            ProxyVersion::V1 => proxy::write_v1(client.address, client.local),
            ProxyVersion::V2 => proxy::write_v2(client.address, client.local),
        };
        let deadline = Deadline::after(wait);
        let written = write_all(&io, &mut [IoSlice::new(&header)], &deadline, wait).await;
        written.map_err(|unwritten| unwritten.error)?;
    }
    Ok(io)
}

/// Returns a connection for one request to a server that speaks HTTP/2, within `wait`.
///
/// # Errors
/// As those of [`connect`].
pub async fn stream(taken: &Taken, client: &Client, wait: Duration) -> io::Result<Io> {
    let shared = &taken.pool().shared;
    // What others are told about a client by the PROXY protocol holds for a whole connection.
    let alone = taken.server().send_proxy.is_some();
    if let Some(found) = shared.with_room().filter(|_| !alone)
        && let Ok(io) = found.stream().await
    {
        return Ok(io);
    }
    taken.lease.count().connections.add(1);
    let opened = Rc::new(Shared::new(connect(taken.server(), client, wait).await?, wait).await?);
    if !alone {
        shared.keep(opened.clone());
    }
    opened.stream().await
}

async fn open(target: &Target) -> io::Result<Io> {
    match target {
        Target::Unix(path) => Ok(UnixStream::connect(path).await?.into()),
        Target::Tcp(addresses) => {
            let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
            for address in addresses {
                match tcp(*address).await {
                    Ok(io) => return Ok(io),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
        Target::Steered { source, to } => {
            let stream = steered(*source, *to).await?;
            stream.set_nodelay(true)?;
            Ok(stream.into())
        }
    }
}

/// Opens a connection from an address of this machine.
///
/// # Errors
/// Those of the system.
pub async fn steered(source: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket =
        rpm_sys::net::begin_connection(Some(source), to).map_err(|error| io::Error::from_raw_os_error(error.errno))?;
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

async fn tcp(address: SocketAddr) -> io::Result<Io> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream.into())
}
