//! The background program: every decision carried out.
//!
//! The core (`rpm-supervise`) decides; this crate brings it the news and does what it asks. It is driven by one loop
//! ([`daemon`](mod@crate)): take what happened, let the core handle it, carry out the effects, sleep until the next
//! thing is due. Nothing is awaited inside a turn.
//!
//! It is nobody's parent: processes, listening sockets, IPC channels and log pipes belong to the keeper, so this
//! program may be killed at any instant. The next one reads what was wanted, asks the keeper what is true, and goes on.
//! So may the keeper: this program then starts another one, and hands it all it had.
//!
//! Rooms, which do not call one another:
//!
//! - `daemon`: the loop; `effects`: what the core asks for; `requests`: what clients ask for
//! - `news`: what keeper and workers say; `rounds`: what is looked at from time to time
//! - `recover`: the first moments of a daemon that finds workers; `update`: making room for a newer program
//! - `succession`: another keeper in the place of one that was killed; `orphans`: workers that have lost both
//! - `clients`: the local socket; `pm2`: the sockets of PM2's clients; `door`: who may come in to either
//! - `logs`: which way the output goes, and who rotates it
//! - `edge`: the processes of the balancers, what they are told of workers
//! - `actions`: what is sent to apps, and their answers; `watch`: one epoll set for everything else
//! - `changes`: changed files restart apps; `cron`: so do certain times, at which jobs run; `stamps`: when those were kept
//! - `autoscale`: what the workers of apps that scale themselves carry
//! - `health`: every worker is asked how it is; `tasks`: commands of the apps' own
//! - `hooks`: those around the life of a process; `webhooks`: messages about what happens
//! - `forensics`: what is written down of everything that happens, and who asked
//! - pure: `launch` (what a worker sees), `settle`, `drains`, `view` (core to wire)
//! - `state` and [`dump`]: what is on disk
#![forbid(unsafe_code)]

mod actions;
mod autoscale;
mod cgroups;
mod changes;
mod clients;
mod cron;
mod daemon;
mod door;
mod drains;
pub mod dump;
mod edge;
mod effects;
mod files;
mod forensics;
#[doc(hidden)]
pub mod fuzz;
mod guests;
mod health;
mod hooks;
mod launch;
mod leftovers;
mod logs;
mod news;
mod node;
mod notify;
mod oom;
mod orphans;
mod output;
mod own_log;
mod pm2;
mod process;
mod recover;
mod releases;
mod requests;
mod rounds;
mod sampling;
mod saving;
mod secrets;
mod settle;
mod silence;
mod stamps;
mod state;
mod succession;
mod tasks;
mod update;
mod view;
mod watch;
mod webhooks;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rpm_model::Home;

pub use health::inspector::node_stack;
pub use releases::release_of;

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The state directory; it exists.
    pub home: Home,
    /// The keeper's program and arguments, to replace one that was killed.
    pub keeper_command: Vec<OsString>,
}

/// Why the daemon could not start, or had to leave.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// It was not started by a keeper.
    #[error("no keeper: the daemon is started by `rpm keeper`, never by hand")]
    NoKeeper,
    /// The keeper is gone, or does not answer.
    #[error("the keeper cannot be talked to: {0}")]
    Keeper(io::Error),
    /// The keeper was killed, and there is no other.
    #[error("no keeper could be put in the place of one that was killed: {0}")]
    Handover(rpm_keeper::HandoverError),
    /// The socket for clients cannot be had.
    #[error("cannot listen on {path}: {error}")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The system refused something basic.
    #[error("cannot {what}: {error}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
}

/// Takes the edge's end of its control socket, in a process that a daemon has started as an edge.
///
/// # Errors
/// When there is none.
pub fn edge_control() -> io::Result<OwnedFd> {
    rpm_sys::fd::take_inherited(effects::CHANNEL).map_err(|error| io::Error::from_raw_os_error(error.errno))
}

/// Runs the daemon until it is told to leave, or its keeper is gone.
///
/// # Errors
/// When it cannot start; the reason was also told to whoever waits for it to be ready.
pub fn run(options: &Options) -> Result<(), DaemonError> {
    rpm_sys::fail::play("daemon");
    own_log::begin(options.home.flavour());
    let ready =
        rpm_keeper::ready::inherited().map_err(|error| DaemonError::System { what: "find its pipes", error })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| DaemonError::System { what: "start the runtime", error })?;
    runtime.block_on(async {
        let (mut daemon, requests) = match recover::start(options) {
            Ok(started) => started,
            Err(error) => {
                if let Some(ready) = ready {
                    rpm_keeper::ready::tell_failure(ready, &error.to_string());
                }
                return Err(error);
            }
        };
        if let Some(ready) = ready {
            rpm_keeper::ready::tell_ready(ready);
        }
        daemon.run(requests).await
    })
}
