//! Sockets and connections.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::ToSocketAddrs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use crate::api::Api;
use crate::guard::Guard;
use crate::strangers::Strangers;
use crate::watch::Watch;
use crate::{Listen, Options, WebError, secret};

/// A client that has not sent the head of its request after this is not going to.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Connections at once: each is a few kilobytes. The last place is made free by sending away who has shown no token for
/// longest; where all have shown one, the next ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;

/// After this the kernel had no descriptor left; it is tried again.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

pub(crate) async fn serve(options: Options) -> Result<(), WebError> {
    let (listener, hosts) = listen(&options)?;
    let (token, metrics) = (secret::token(&options.home)?, secret::metrics_token(&options.home)?);
    let guard = Guard::new(token, metrics, hosts);
    let watch = Watch::start(options.home.clone());
    let api = Arc::new(Api::new(&options, watch, guard));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let strangers = Arc::new(Strangers::default());
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        let next = async {
            // The semaphore is never closed.
            let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((place, accept(&listener).await?))
        };
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            accepted = next => match accepted {
                Ok((place, (connection, from))) => {
                    let (api, number) = (api.clone(), strangers.next());
                    let known = strangers.clone();
                    let task = tokio::spawn(async move {
                        converse(connection, &from, api, &known, number).await;
                        known.forget(number);
                        drop(place);
                    });
                    strangers.came(number, task.abort_handle());
                    if places.available_permits() == 0 {
                        strangers.send_away();
                    }
                }
                Err(error) => {
                    tracing::warn!("a connection could not be taken: {error}");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            },
        }
    }
    if let Listen::Unix(path) = &options.listen {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// Says where it serves, unless that cannot be written: `println!` would panic when the disk of the log is full.
fn told(place: &str) {
    let _ = writeln!(io::stdout(), "serving on {place}");
}

/// Finds out whether it could be listened there, and lets go of it.
pub(crate) fn probe(listen: &Listen) -> Result<(), WebError> {
    match bind(listen)? {
        Bound::Tcp(_) => Ok(()),
        Bound::Unix(_, path) => std::fs::remove_file(path).map_err(WebError::System),
    }
}

/// A socket that nobody accepts on yet.
enum Bound<'a> {
    Tcp(std::net::TcpListener),
    Unix(net::UnixListener, &'a Path),
}

fn bind(listen: &Listen) -> Result<Bound<'_>, WebError> {
    let failed = |error: io::Error| WebError::Listen { address: listen.to_string(), error };
    match listen {
        Listen::Tcp(address) => {
            let addresses: Vec<_> = address.to_socket_addrs().map_err(failed)?.collect();
            Ok(Bound::Tcp(std::net::TcpListener::bind(addresses.as_slice()).map_err(failed)?))
        }
        Listen::Unix(path) => {
            // One that nobody answers on was left by a process that was killed.
            if net::UnixStream::connect(path).is_err() {
                let is_socket = path.symlink_metadata().is_ok_and(|meta| {
                    use std::os::unix::fs::FileTypeExt;
                    meta.file_type().is_socket()
                });
                if is_socket {
                    std::fs::remove_file(path).map_err(failed)?;
                }
            }
            let listener = net::UnixListener::bind(path).map_err(failed)?;
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).map_err(failed)?;
            Ok(Bound::Unix(listener, path))
        }
    }
}

/// Listens; returns the names that may stand in `Host` too, or nothing for a socket that no browser reaches.
fn listen(options: &Options) -> Result<(Listener, Option<Vec<String>>), WebError> {
    match bind(&options.listen)? {
        Bound::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let local = listener.local_addr()?;
            told(&format!("http://{local}"));
            let mut hosts = vec!["localhost".to_owned(), local.ip().to_string()];
            if let Listen::Tcp(address) = &options.listen {
                hosts.extend(address.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']).to_owned()));
            }
            hosts.extend(options.hosts.iter().cloned());
            Ok((Listener::Tcp(listener), Some(hosts)))
        }
        Bound::Unix(listener, path) => {
            listener.set_nonblocking(true)?;
            told(&path.display().to_string());
            Ok((Listener::Unix(UnixListener::from_std(listener)?), None))
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Returns a connection, and who is at its other end.
async fn accept(listener: &Listener) -> io::Result<(Box<dyn Stream>, String)> {
    Ok(match listener {
        Listener::Tcp(listener) => {
            let (stream, peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            (Box::new(stream), peer.ip().to_canonical().to_string())
        }
        Listener::Unix(listener) => (Box::new(listener.accept().await?.0), "unix socket".to_owned()),
    })
}

async fn converse(stream: Box<dyn Stream>, from: &str, api: Arc<Api>, strangers: &Arc<Strangers>, number: u64) {
    let service = service_fn(|request| {
        let (api, strangers) = (api.clone(), strangers.clone());
        async move { Ok::<_, Infallible>(api.answer(request, from, || strangers.forget(number)).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("a connection ended: {error}");
    }
}
