//! One process of a seat, from the request to start it until nothing of it is left.
//!
//! ```text
//! Spawning ─▶ Starting ─▶ Online ─▶ Draining ─▶ Stopping ─▶ Killed ─▶ (gone)
//!     │           │          │                   ▲  │         │ └────▶ Stuck    not even SIGKILL helped
//!     └───────────┴──────────┴───────────────────┘  └─────────┴─▶ Sweeping ─▶ (gone)   descendants are left
//! ```
//!
//! - Spawning → Starting: exec succeeded.
//! - Starting → Online: ready, by the first rule that applies (see [`Process::readiness`]).
//! - Online → Draining: it is being replaced, or its seat is taken away, and it shares its sockets.
//! - any → Stopping: it was asked to leave.
//! - Stopping → Killed: its grace has passed.
//! - Killed → Stuck: it is still there after SIGKILL; a late exit is still welcome.
//! - any → Sweeping: it ended, descendants of it have not.

use std::sync::Arc;
use std::time::Duration;

use rpm_model::{AppSpec, ExecMode, Health, Life, Moment, Status};

use crate::effect::Cause;
use crate::health::Checks;

/// How long a worker has at a start to become ready, unless `listen_timeout` says so (PM2's number).
const READY_AT_START: Duration = Duration::from_secs(3);

/// The same in a roll: long, because nothing is lost while the old worker serves, and an app that boots in 5 s must
/// reload well.
const READY_IN_ROLL: Duration = Duration::from_secs(60);

/// The least time between SIGKILL and the verdict that it did not help: a core dump or a slow disk takes its time.
const KILL_PATIENCE: Duration = Duration::from_secs(1);

/// One process.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) life: Life,
    /// The spec it was started with.
    pub(crate) spec: Arc<AppSpec>,
    /// Why it was started.
    pub(crate) cause: Cause,
    pub(crate) pid: Option<i32>,
    /// When it was started; until that is known, when its start was asked for.
    pub(crate) started_at: Moment,
    pub(crate) phase: Phase,
    /// Whether it has to prove itself before it counts.
    pub(crate) trial: Option<Trial>,
    /// It is ready, and on trial until then: it must stay so.
    pub(crate) proven_at: Option<Moment>,
    /// What it has told so far.
    pub(crate) told: Told,
    /// What its health checks have shown.
    pub(crate) checks: Checks,
    /// Whether it was ever ready.
    pub(crate) ready: bool,
    /// Why it was asked to leave, once it was: its end is told by this, and not by what is wanted then.
    pub(crate) leaving: Option<Cause>,
}

/// A process started by a roll: it counts only when it is ready, and failing that fails the roll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trial {
    /// Whether it must listen, because the one that it replaces did.
    pub(crate) must_listen: bool,
}

/// What is known of a process's boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) listened: bool,
    pub(crate) app_ready: bool,
    pub(crate) settled: bool,
}

/// Where a process is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its start was asked for.
    Spawning,
    /// It runs and is not ready.
    Starting,
    /// It serves.
    Online,
    /// It finishes its requests, at most until then.
    Draining { until: Moment },
    /// It was asked to leave, and is killed then.
    Stopping { kill_at: Moment },
    /// SIGKILL was sent; hope ends then.
    Killed { give_up_at: Moment },
    /// It has ended and its descendants have not.
    Sweeping(Sweep),
    /// It is still there after SIGKILL.
    Stuck,
}

/// How far the end of a process's descendants has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// They may end by themselves until then.
    Grace { kill_at: Moment },
    /// They were sent SIGKILL; hope ends then.
    Killed { give_up_at: Moment },
}

/// Whether a starting process is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Now.
    Ready,
    /// Ask again then, or at news.
    Wait(Moment),
    /// Its time is up.
    Late {
        /// The time it had.
        waited: Duration,
    },
}

impl Process {
    pub(crate) fn new(life: Life, spec: Arc<AppSpec>, cause: Cause, trial: Option<Trial>, now: Moment) -> Self {
        Self {
            life,
            spec,
            cause,
            pid: None,
            started_at: now,
            phase: Phase::Spawning,
            trial,
            proven_at: None,
            told: Told::default(),
            checks: Checks::default(),
            ready: false,
            leaving: None,
        }
    }

    /// Decides whether a starting process is ready. The first rule that applies counts:
    ///
    /// 1. A health check: it is passed; with `wait_ready`, the app says so too.
    /// 2. `wait_ready`: the app says so.
    /// 3. A cluster worker: it listens; or, unless it must, it has settled and lived for `min_uptime`.
    /// 4. One behind the balancer: its port is listened on.
    /// 5. Otherwise: it has settled, or lived for `min_uptime`.
    ///
    /// When the time is up, one who should have spoken, or passed, is late, and the others count as ready.
    pub(crate) fn readiness(&self, now: Moment) -> Readiness {
        let alive = self.started_at + self.spec.restart.min_uptime;
        let allowed = self.allowed();
        let limit = self.started_at + allowed;
        let must_listen = self.trial.is_some_and(|trial| trial.must_listen);
        let proxied = self.spec.exec_mode == ExecMode::Proxy;
        let is_checked = self.spec.health.is_some();
        let must_speak = is_checked || self.spec.wait_ready || must_listen || proxied;
        let ready_at = match (self.spec.wait_ready, self.spec.exec_mode) {
            _ if is_checked => (self.checks.is_well() && (self.told.app_ready || !self.spec.wait_ready)).then_some(now),
            (true, _) => self.told.app_ready.then_some(now),
            (false, ExecMode::Cluster) if self.told.listened => Some(now),
            (false, ExecMode::Cluster) => (self.told.settled && !must_listen).then_some(alive),
            // Settled is what the daemon calls it once its port is listened on.
            (false, ExecMode::Proxy) => self.told.settled.then_some(now),
            (false, ExecMode::Fork | ExecMode::Socket) => Some(if self.told.settled { now } else { alive }),
        };
        match ready_at {
            Some(at) if at <= now => Readiness::Ready,
            _ if limit <= now && must_speak => Readiness::Late { waited: allowed },
            _ if limit <= now => Readiness::Ready,
            Some(at) => Readiness::Wait(at.min(limit)),
            None => Readiness::Wait(limit),
        }
    }

    /// Returns until when it has to stay ready, once it is, where it is on trial. Of one in fork mode nothing may be known but
    /// that it runs: it lives for `min_uptime` at least.
    pub(crate) fn proven_from(&self, now: Moment) -> Moment {
        let is_seen = self.spec.exec_mode != ExecMode::Fork || self.spec.wait_ready || self.spec.health.is_some();
        let alive = if is_seen { now } else { self.started_at + self.spec.restart.min_uptime };
        alive.max(now + self.spec.min_ready)
    }

    /// Returns the time that it has to become ready. One with a health check has at least what that allows it.
    fn allowed(&self) -> Duration {
        if let (Some(_), Some(deadline)) = (self.trial, self.spec.progress_deadline) {
            return deadline;
        }
        let usual = if self.trial.is_some() { READY_IN_ROLL } else { READY_AT_START };
        let allowed = self.spec.listen_timeout.unwrap_or(usual);
        self.spec.health.as_ref().map_or(allowed, |health| allowed.max(health.patience()))
    }

    /// Returns when something is due although nothing happens.
    pub(crate) fn deadline(&self, now: Moment) -> Option<Moment> {
        match self.phase {
            Phase::Spawning | Phase::Stuck => None,
            Phase::Online => self.proven_at,
            Phase::Starting => match self.readiness(now) {
                Readiness::Wait(at) => Some(at),
                Readiness::Ready | Readiness::Late { .. } => Some(now),
            },
            Phase::Draining { until } => Some(until),
            Phase::Stopping { kill_at } => Some(kill_at),
            Phase::Killed { give_up_at } => Some(give_up_at),
            Phase::Sweeping(Sweep::Grace { kill_at }) => Some(kill_at),
            Phase::Sweeping(Sweep::Killed { give_up_at }) => Some(give_up_at),
        }
    }

    /// Returns when hope ends for a SIGKILL sent now.
    pub(crate) fn give_up_at(&self, now: Moment) -> Moment {
        now + self.spec.stop.kill_timeout.max(KILL_PATIENCE)
    }

    /// Returns when a crashed process's descendants, killed now, are no longer waited for: the service is down.
    pub(crate) fn sweep_until(now: Moment) -> Moment {
        now + KILL_PATIENCE
    }

    /// Returns PM2's word for the phase.
    pub(crate) fn status(&self) -> Status {
        match self.phase {
            Phase::Spawning | Phase::Starting => Status::Launching,
            Phase::Online => Status::Online,
            Phase::Draining { .. } | Phase::Stopping { .. } | Phase::Killed { .. } | Phase::Sweeping(_) => {
                Status::Stopping
            }
            Phase::Stuck => Status::Errored,
        }
    }

    /// Returns how it fares as to requests.
    pub(crate) fn health(&self) -> Health {
        match self.phase {
            Phase::Spawning | Phase::Starting => Health::Starting,
            Phase::Online if self.checks.is_ill() => Health::Unhealthy,
            Phase::Online => Health::Ready,
            Phase::Draining { .. }
            | Phase::Stopping { .. }
            | Phase::Killed { .. }
            | Phase::Sweeping(_)
            | Phase::Stuck => Health::Draining,
        }
    }

    /// Returns whether the process itself, not only descendants of it, may still run.
    pub(crate) fn runs(&self) -> bool {
        !matches!(self.phase, Phase::Sweeping(_))
    }
}
