//! Sockets and connections.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::ToSocketAddrs;
use std::os::unix::fs::PermissionsExt;
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
use crate::watch::Watch;
use crate::{Listen, Options, WebError, secret};

/// A client that has not sent the head of its request after this is not going to.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Connections at once: each is a few kilobytes. The next ones wait in the kernel's queue.
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
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            accepted = accept(&listener) => match accepted {
                Ok(connection) => {
                    let api = api.clone();
                    tokio::spawn(async move {
                        converse(connection, api).await;
                        drop(place);
                    });
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

/// Listens; returns the names that may stand in `Host` too, or nothing for a socket that no browser reaches.
fn listen(options: &Options) -> Result<(Listener, Option<Vec<String>>), WebError> {
    let failed = |error: io::Error| WebError::Listen { address: options.listen.to_string(), error };
    match &options.listen {
        Listen::Tcp(address) => {
            let addresses: Vec<_> = address.to_socket_addrs().map_err(failed)?.collect();
            let listener = std::net::TcpListener::bind(addresses.as_slice()).map_err(failed)?;
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let local = listener.local_addr()?;
            told(&format!("http://{local}"));
            let mut hosts = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
            hosts.extend(address.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']).to_owned()));
            hosts.push(local.ip().to_string());
            hosts.extend(options.hosts.iter().cloned());
            Ok((Listener::Tcp(listener), Some(hosts)))
        }
        Listen::Unix(path) => {
            // One that nobody answers on was left by a process that was killed.
            if std::os::unix::net::UnixStream::connect(path).is_err() {
                let is_socket = path.symlink_metadata().is_ok_and(|meta| {
                    use std::os::unix::fs::FileTypeExt;
                    meta.file_type().is_socket()
                });
                if is_socket {
                    std::fs::remove_file(path).map_err(failed)?;
                }
            }
            let listener = UnixListener::bind(path).map_err(failed)?;
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).map_err(failed)?;
            told(&path.display().to_string());
            Ok((Listener::Unix(listener), None))
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn accept(listener: &Listener) -> io::Result<Box<dyn Stream>> {
    Ok(match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
        Listener::Unix(listener) => Box::new(listener.accept().await?.0),
    })
}

async fn converse(stream: Box<dyn Stream>, api: Arc<Api>) {
    let service = service_fn(|request| {
        let api = api.clone();
        async move { Ok::<_, Infallible>(api.answer(request).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("a connection ended: {error}");
    }
}
