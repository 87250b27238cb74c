//! What the daemon holds of one life: descriptors, samples, what is being watched for.
//!
//! Resources only. What the life is allowed to do and what comes next, the core knows.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rpm_ipc::Contact;
use rpm_logs::LogPaths;
use rpm_model::{AppId, AppSpec, Moment};
use rpm_share::Channel;
use rpm_sys::pidfd::ProcessRef;

use crate::cgroups::Group;
use crate::health::Checked;
use crate::health::watchdog::Watchdog;
use crate::sampling::Sampler;
use crate::settle::Settling;

/// One life.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) app: AppId,
    pub(crate) spec: Arc<AppSpec>,
    /// Nothing until the keeper says that it runs.
    pub(crate) running: Option<Running>,
    /// The IPC channel, for fork and cluster mode.
    pub(crate) channel: Option<Channel>,
    /// Where the standard input of an app in fork mode is written.
    pub(crate) input: Option<OwnedFd>,
    /// Where the app may send `READY=1`.
    pub(crate) notify: Option<OwnedFd>,
    /// Where it is reached, in proxy mode.
    pub(crate) proxied: Option<Proxied>,
    /// Whether new connections are let in.
    pub(crate) admitted: bool,
    /// Whether they are kept away again, because it is ill.
    pub(crate) withheld: bool,
    /// Whether it was told to finish, or to leave.
    pub(crate) leaving: bool,
    pub(crate) settling: Option<Settling>,
    pub(crate) drain: Option<Draining>,
    /// What its health checks have found, where it has some.
    pub(crate) checked: Option<Checked>,
    /// Its signs of life, where it is to give some.
    pub(crate) watchdog: Option<Watchdog>,
    /// What the app said of itself.
    pub(crate) contact: Contact,
    /// Bytes of output that no file took.
    pub(crate) output_lost: u64,
    /// Lines of output that no file took.
    pub(crate) lines_lost: u64,
    /// Its control group, where it has limits.
    pub(crate) cgroup: Option<Group>,
    /// Why it has none, though it has limits.
    pub(crate) not_limited: Option<String>,
    /// Where its part of the logs begins: of standard output, of standard error.
    pub(crate) log_from: [u64; 2],
}

impl Process {
    pub(crate) fn new(app: AppId, spec: Arc<AppSpec>) -> Self {
        Self {
            app,
            spec,
            running: None,
            channel: None,
            input: None,
            notify: None,
            proxied: None,
            admitted: false,
            withheld: false,
            leaving: false,
            settling: None,
            drain: None,
            checked: None,
            watchdog: None,
            contact: Contact::new(),
            output_lost: 0,
            lines_lost: 0,
            cgroup: None,
            not_limited: None,
            log_from: [0; 2],
        }
    }

    pub(crate) fn pid(&self) -> Option<i32> {
        self.running.as_ref().map(|running| running.process.pid)
    }
}

/// Where a worker behind a balancer is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proxied {
    /// At a port of its own.
    Port {
        /// The port it was given.
        port: u16,
        /// Whether it listens on ::1 alone.
        only_v6: bool,
    },
    /// At a socket file of its own.
    File(PathBuf),
}

impl Proxied {
    /// Returns what the worker finds in its `PORT`.
    pub(crate) fn variable(&self) -> String {
        match self {
            Self::Port { port, .. } => port.to_string(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// A process that runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// Names this process and no later one of the same pid.
    pub(crate) process: ProcessRef,
    /// Nothing when the process had ended before it could be looked at.
    pub(crate) sampler: Option<Sampler>,
}

/// A drain under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draining {
    pub(crate) since: Moment,
    pub(crate) until: Moment,
    /// Looks in a row without anything in flight.
    pub(crate) quiet: u32,
}

/// The files of one seat, whichever life is in it.
#[derive(Debug, Clone)]
pub(crate) struct SeatFiles {
    pub(crate) app: AppId,
    pub(crate) logs: LogPaths,
    pub(crate) pid: PathBuf,
    /// Where the present life's part of the error log begins.
    pub(crate) err_from: u64,
}
