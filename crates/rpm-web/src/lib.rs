//! What `rpm web` serves: `/metrics`, the HTTP API and the dashboard.
//!
//! A process of its own, managed like a module: while nobody asks for it, not a page of it is in the daemon's memory, and
//! a fault in it touches nobody. It speaks to the daemon over the local socket as the command line does, and reads logs
//! and records from their files. It decides nothing and keeps nothing but the history of the last hour.
//!
//! ```text
//! daemon ──Figures, Balancers──▶ watch (a thread) ──▶ Snapshot ──▶ metrics, api
//! events.jsonl ──────────────▶ watch, happenings (a thread each) ──▶ counts, streams
//! ```
//!
//! - [`metrics`]: a snapshot as Prometheus text; `exposition`: its lines
//! - [`grafana`]: a dashboard for these metrics
//! - `watch`: asks the daemon; `look`: what it sees; `history`: the last hour
//! - `guard`: who may ask what; `secret`: the tokens
//! - `api`: the routes; `deeds`: what they do; `answer`: what they answer; `view`: what they show; `logs`: log files; `happenings`: what happens; `stream`: server-sent events
//! - `server`: sockets and connections; `strangers`: who goes first when there is no place left
#![forbid(unsafe_code)]

pub mod grafana;
pub mod metrics;

mod answer;
mod api;
mod deeds;
mod exposition;
mod guard;
mod happenings;
mod history;
mod logs;
mod look;
mod secret;
mod server;
mod strangers;
mod stream;
mod tally;
mod view;
mod watch;

use std::io;
use std::path::PathBuf;

use rpm_ipc::AppInfo;
use rpm_model::Home;
use rpm_records::{EventRecord, ExitRecord};

pub use secret::{metrics_token, token};

/// Says why an app is as it is, from its ends and what happened last: the words are those of the command line.
pub type Why = fn(&AppInfo, &[ExitRecord], &[EventRecord]) -> serde_json::Value;

/// How it serves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose daemon.
    pub home: Home,
    /// Where it listens.
    pub listen: Listen,
    /// Nothing can be done, only looked at.
    pub read_only: bool,
    /// An app is scaled to so many workers at most: a slip of the finger in a browser should not cost the machine.
    pub instances_max: u32,
    /// Names by which browsers may call it, besides those of the loopback and the address it listens on.
    pub hosts: Vec<String>,
    /// Whether metrics have the names of exporters for PM2, too.
    pub as_pm2: bool,
    /// Says why an app is as it is.
    pub why: Why,
}

/// Where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `HOST:PORT`.
    Tcp(String),
    /// A unix socket, for its owner only.
    Unix(PathBuf),
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "http://{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why it could not serve.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// A token cannot be read or made.
    #[error("{path} cannot be read or made: {error}")]
    Token {
        /// Its file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The system refused something basic.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Finds out whether a server could listen there now.
///
/// # Errors
/// When it could not.
pub fn probe(listen: &Listen) -> Result<(), WebError> {
    server::probe(listen)
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// When it cannot start.
pub fn run(options: Options) -> Result<(), WebError> {
    if let Err(error) = rpm_sys::reap::raise_nofile() {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(server::serve(options));
    // Threads that wait for the daemon are not waited for.
    runtime.shutdown_background();
    done
}
