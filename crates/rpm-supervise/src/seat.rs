//! One seat of an app, and who sits in it.
//!
//! ```text
//!             ┌────────── start ─────────┐
//!  Stopped ◀──┤ Errored ◀── Waiting ◀────│──── crash
//!             └──▶ Serving ──▶ Leaving ──┴──▶ Stopped, Errored, Serving, Waiting or Deleted
//! ```
//!
//! A seat has room for two processes: the *first* sits in its [`Place`]; the *second* is a replacement on trial
//! ([`Second::Incoming`]), or one whose time is over ([`Second::Outgoing`]). In a roll the replacement becomes the first,
//! and the first the outgoing one, in the turn in which the replacement is ready.

use std::sync::Arc;
use std::time::Duration;

use rpm_model::{AppId, AppSpec, Exit, Generation, Life, Moment, Status, Unknown, WorkerId};

use crate::effect::Cause;
use crate::pending::Waiter;
use crate::process::{Phase, Process};
use crate::restart::{BACKOFF_RESET, Streak};

/// One seat.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) id: WorkerId,
    pub(crate) app: AppId,
    pub(crate) instance: u32,
    /// What its next process is started with.
    pub(crate) spec: Arc<AppSpec>,
    /// The last generation given out.
    pub(crate) generation: u64,
    pub(crate) created_at: Moment,
    pub(crate) restarts: u32,
    pub(crate) streak: Streak,
    pub(crate) place: Place,
    pub(crate) second: Option<Second>,
    /// The spec that a roll tries out in this seat, until that is decided.
    pub(crate) trial: Option<Arc<AppSpec>>,
    /// No replacement for a reason of our own (memory, health) before then: the last one failed.
    pub(crate) renew_after: Moment,
    /// Whether it waits for other apps, and not for a time.
    pub(crate) is_held: bool,
    /// Why it is started when they are there.
    pub(crate) held_for: Cause,
    /// Whether this job was stopped, so that its times pass until somebody runs it.
    pub(crate) is_parked: bool,
    /// Whether this job runs again when its run has ended, and why.
    pub(crate) queued: Option<Cause>,
    pub(crate) last_exit: Option<(Exit, Moment)>,
    /// Whether it is empty because its process has ended by itself, and nobody has stopped it since.
    pub(crate) has_ended: bool,
    /// Why it is down or waiting.
    pub(crate) why: Option<String>,
    /// The commands that wait for this seat.
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) unknown: Unknown,
}

/// Who sits in a seat.
#[derive(Debug)]
pub(crate) enum Place {
    /// Nobody: wanted so.
    Stopped,
    /// Nobody: it failed too often.
    Errored,
    /// Nobody until then.
    Waiting { until: Moment },
    /// A process that is wanted.
    Serving(Process),
    /// A process that is on its way out, and what follows.
    Leaving(Process, Then),
    /// Nobody: the seat is forgotten as soon as the second process is gone.
    Deleted,
}

/// What follows when a process is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The seat stays empty.
    Stop,
    /// The seat stays empty, because something failed.
    Fail,
    /// The seat is forgotten.
    Delete,
    /// The next process starts.
    Start {
        /// Not before then.
        at: Moment,
        /// Why.
        cause: Cause,
        /// Whether it counts as a restart.
        again: bool,
    },
    /// The next process starts as soon as what the app depends on is there.
    StartInOrder {
        /// Why.
        cause: Cause,
        /// Whether it counts as a restart.
        again: bool,
    },
}

/// The second process of a seat.
#[derive(Debug)]
pub(crate) enum Second {
    /// A replacement that has to prove itself.
    Incoming(Process),
    /// A process whose time is over: replaced, or a replacement given up.
    Outgoing(Process),
}

impl Second {
    pub(crate) fn process(&self) -> &Process {
        match self {
            Second::Incoming(process) | Second::Outgoing(process) => process,
        }
    }

    pub(crate) fn process_mut(&mut self) -> &mut Process {
        match self {
            Second::Incoming(process) | Second::Outgoing(process) => process,
        }
    }
}

impl Seat {
    pub(crate) fn new(
        id: WorkerId,
        app: AppId,
        instance: u32,
        spec: Arc<AppSpec>,
        generation: u64,
        now: Moment,
    ) -> Self {
        Self {
            id,
            app,
            instance,
            spec,
            generation,
            created_at: now,
            restarts: 0,
            streak: Streak::default(),
            place: Place::Stopped,
            second: None,
            trial: None,
            renew_after: Moment(0),
            is_held: false,
            held_for: Cause::Start,
            is_parked: false,
            queued: None,
            last_exit: None,
            has_ended: false,
            why: None,
            waiters: Vec::new(),
            unknown: Unknown::default(),
        }
    }

    /// Returns the process in the seat's place.
    pub(crate) fn first(&self) -> Option<&Process> {
        match &self.place {
            Place::Serving(process) | Place::Leaving(process, _) => Some(process),
            Place::Stopped | Place::Errored | Place::Waiting { .. } | Place::Deleted => None,
        }
    }

    /// Returns the process in the seat's place.
    pub(crate) fn first_mut(&mut self) -> Option<&mut Process> {
        match &mut self.place {
            Place::Serving(process) | Place::Leaving(process, _) => Some(process),
            Place::Stopped | Place::Errored | Place::Waiting { .. } | Place::Deleted => None,
        }
    }

    /// Returns the lives of both processes.
    pub(crate) fn lives(&self) -> impl Iterator<Item = Life> + use<> {
        let second = self.second.as_ref().map(|second| second.process().life);
        self.life().into_iter().chain(second)
    }

    /// Returns the process of that generation, if it is one of this seat's.
    pub(crate) fn process(&self, generation: Generation) -> Option<&Process> {
        let second = self.second.as_ref().map(Second::process);
        self.first().into_iter().chain(second).find(|process| process.life.generation == generation)
    }

    /// Returns the process of that generation, if it is one of this seat's.
    pub(crate) fn process_mut(&mut self, generation: Generation) -> Option<&mut Process> {
        if self.first().is_some_and(|process| process.life.generation == generation) {
            return self.first_mut();
        }
        self.second.as_mut().map(Second::process_mut).filter(|process| process.life.generation == generation)
    }

    /// Returns the replacement on trial.
    pub(crate) fn incoming(&self) -> Option<&Process> {
        match &self.second {
            Some(Second::Incoming(process)) => Some(process),
            Some(Second::Outgoing(_)) | None => None,
        }
    }

    /// Returns the life of the process in the seat's place.
    pub(crate) fn life(&self) -> Option<Life> {
        self.first().map(|process| process.life)
    }

    /// Returns whether a ready process sits here and is wanted.
    pub(crate) fn is_online(&self) -> bool {
        matches!(&self.place, Place::Serving(process) if process.phase == Phase::Online)
    }

    /// Returns whether the seat is about to be forgotten.
    pub(crate) fn is_doomed(&self) -> bool {
        matches!(self.place, Place::Deleted | Place::Leaving(_, Then::Delete))
    }

    /// Returns whether a replacement is under way.
    pub(crate) fn is_rolling(&self) -> bool {
        self.trial.is_some() || self.second.is_some()
    }

    /// Returns whether it is its turn, in a roll, that counts: a process serves, and a replacement can serve beside it.
    pub(crate) fn is_rolled_to(&self, spec: &AppSpec) -> bool {
        self.is_rolling() || (self.is_online() && spec.shares_sockets() && self.spec.shares_sockets())
    }

    /// Returns whether a process is left here that cannot be killed, so that there is no room for a replacement.
    pub(crate) fn has_stuck_second(&self) -> bool {
        self.second.as_ref().is_some_and(|second| second.process().phase == Phase::Stuck)
    }

    /// Returns when something is due although nothing happens.
    pub(crate) fn deadline(&self, now: Moment) -> Option<Moment> {
        let place = match &self.place {
            Place::Stopped | Place::Errored | Place::Deleted => None,
            Place::Waiting { until } => Some(*until),
            Place::Serving(process) if process.phase == Phase::Online => {
                self.backoff_ends(process).into_iter().chain(process.proven_at).min()
            }
            Place::Serving(process) | Place::Leaving(process, _) => process.deadline(now),
        };
        let second = self.second.as_ref().and_then(|second| second.process().deadline(now));
        place.into_iter().chain(second).min()
    }

    /// Returns when the running process has made its seat's backoff forgotten.
    pub(crate) fn backoff_ends(&self, process: &Process) -> Option<Moment> {
        self.streak.backoff.map(|_: Duration| process.started_at + BACKOFF_RESET)
    }

    /// Returns what we show.
    pub(crate) fn status(&self) -> Status {
        match &self.place {
            Place::Stopped => Status::Stopped,
            Place::Errored => Status::Errored,
            Place::Waiting { .. } => Status::WaitingRestart,
            Place::Serving(process) => process.status(),
            // What the crash of a worker left behind is swept before it waits or starts again.
            Place::Leaving(process, Then::Start { cause: Cause::Crash, .. }) if !process.runs() => {
                Status::WaitingRestart
            }
            Place::Leaving(process, _) => process.status(),
            Place::Deleted => Status::Stopping,
        }
    }
}
