//! The static file server of `rpm serve`: a directory over HTTP.
//!
//! It runs as a managed app, so that it is listed, logged, restarted and reloaded like any other. The listening socket
//! is passed to it (`LISTEN_FDS`); started by hand it binds one. Files, ranges, dates, media types and precompressed
//! forms (`app.js.gz`, `app.js.br`) are tower-http's; what PM2 adds to that is here:
//!
//! - [`options`]: PM2's variables, `PM2_SERVE_PORT` and its kin
//! - `answer`: which file answers a request: index, single-page applications, `404.html`
//! - `auth`: basic authentication
//! - `listing`: the list of a directory's files (`--ftp`)
#![forbid(unsafe_code)]

mod answer;
mod auth;
mod listing;
pub mod options;

use std::convert::Infallible;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::signal::unix::{SignalKind, signal};

pub use crate::answer::{Body, Site};
pub use crate::options::Options;

/// systemd's rule: passed sockets start here.
const LISTEN_FD: i32 = 3;

/// A client that has not sent the head of its request after this is not going to.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// Answers under way have this long when the server is to leave; less than the grace of `kill_timeout`.
const FINISH_WITHIN: Duration = Duration::from_millis(1000);

/// Why the server could not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// What is to be served is no directory.
    #[error("{0} is not a directory that can be read")]
    NoDirectory(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The system refused something basic.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// When it cannot start.
pub fn run(options: Options) -> Result<(), ServeError> {
    if !options.path.is_dir() {
        return Err(ServeError::NoDirectory(options.path.display().to_string()));
    }
    let listener = listener(&options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(listener, options))
}

/// Returns the socket that was passed, or a new one.
fn listener(options: &Options) -> Result<TcpListener, ServeError> {
    let address = options.address();
    let failed = |error| ServeError::Listen { address: address.clone(), error };
    let passed = std::env::var("LISTEN_FDS").is_ok_and(|count| count == "1");
    let for_us = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    if passed && for_us {
        let taken = rpm_sys::fd::take_inherited(LISTEN_FD);
        return taken.map(TcpListener::from).map_err(|error| failed(io::Error::from_raw_os_error(error.errno)));
    }
    let addresses: Vec<_> = address.to_socket_addrs().map_err(failed)?.collect();
    TcpListener::bind(addresses.as_slice()).map_err(failed)
}

async fn serve(listener: TcpListener, options: Options) -> Result<(), ServeError> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    println!("serving {} on http://{}", options.path.display(), listener.local_addr()?);
    let site = Arc::new(Site::new(options));
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let graceful = GracefulShutdown::new();
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of descriptors: those that are busy will be free again, and the next one is tried then.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        let site = site.clone();
        let service = service_fn(move |request| {
            let site = site.clone();
            async move { Ok::<_, Infallible>(site.answer(request).await) }
        });
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that leaves early is its own business.
            let _ = connection.await;
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(FINISH_WITHIN, graceful.shutdown()).await;
    Ok(())
}
