//! What can happen.

use rpm_model::{AppId, Bytes, Exit, Life, Load};

use crate::command::{Command, CommandId};
use crate::judge::Tally;

/// Something that happened. News of a life that is over is ignored.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A client asks for something; answered once, by [`Effect::Reply`](crate::Effect::Reply) with the same id.
    Command(CommandId, Command),
    /// The process runs: exec succeeded.
    Spawned {
        /// Which process.
        life: Life,
        /// Its pid, for display only.
        pid: i32,
    },
    /// The process could not be started; nothing of it is left.
    SpawnFailed {
        /// Which process.
        life: Life,
        /// A fragment that completes "failed to start": `no such file: /x/y`.
        why: String,
    },
    /// A listening socket that the life needs could not be had. The process may still run.
    BindFailed {
        /// Which process.
        life: Life,
        /// What was wanted, and who has it.
        taken: Taken,
    },
    /// The process ended.
    Exited {
        /// Which process.
        life: Life,
        /// How it ended.
        exit: Exit,
        /// Whether descendants of it still run; [`Event::TreeGone`] follows when they have ended.
        leftovers: bool,
    },
    /// News of the process is overdue: its start was asked for and nobody has said whether it runs, or it is gone and nobody
    /// has said how it ended. Signals cannot hurry that.
    Owed {
        /// Which process.
        life: Life,
    },
    /// The last descendant of an ended process is gone.
    TreeGone {
        /// Which process.
        life: Life,
    },
    /// The process accepts on a listening socket (Node's cluster protocol).
    Listening {
        /// Which process.
        life: Life,
    },
    /// The app says that it is ready (IPC `ready`, or `READY=1`).
    AppReady {
        /// Which process.
        life: Life,
    },
    /// The process has finished booting as far as can be seen from outside: it sleeps and uses no CPU.
    Settled {
        /// Which process.
        life: Life,
    },
    /// The process has been asked to leave, where something was to be run before that.
    Asked {
        /// Which process.
        life: Life,
    },
    /// The drain asked for has come to its end: queue empty and no request in flight, or its time was up.
    Drained {
        /// Which process.
        life: Life,
    },
    /// A question about the process's health was answered, or was not.
    Probed {
        /// Which process.
        life: Life,
        /// What was wrong, if something was.
        found: Result<(), Trouble>,
    },
    /// The process gives no sign of life, or does not take what waits for it. Told again while that is so.
    Hung {
        /// Which process.
        life: Life,
        /// As a fragment: `no sign of life for 30 s`.
        why: String,
    },
    /// A process that was said to hang gives signs of life again.
    Revived {
        /// Which process.
        life: Life,
    },
    /// The process tree used this much memory.
    Memory {
        /// Which process.
        life: Life,
        /// Resident memory of the tree.
        used: Bytes,
    },
    /// What the workers of an app carry together; wanted of each app of [`Supervisor::autoscaled`], about once a second.
    ///
    /// [`Supervisor::autoscaled`]: crate::Supervisor::autoscaled
    Load {
        /// Which app.
        app: AppId,
        /// What they carry, as far as it can be seen.
        load: Load,
    },
    /// What a canary and the other workers of its app have answered since it was let in; wanted of each of
    /// [`Supervisor::watched_canaries`](crate::Supervisor::watched_canaries), about once a second.
    Canary {
        /// Which app.
        app: AppId,
        /// The canary's, and the others'; nothing where no balancer sends them requests.
        seen: Option<(Tally, Tally)>,
    },
    /// The moment that [`Supervisor::next_deadline`](crate::Supervisor::next_deadline) named has come.
    Deadline,
}

/// What was wrong with a process that was asked how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// As a fragment: `status 500`, `no answer within 2000 ms`.
    pub why: String,
    /// Whether it did not answer at all: it hangs, and should tell where.
    pub is_silent: bool,
}

/// An address that somebody else holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The address as the app asked for it: `0.0.0.0:8000`, `:::8000` or a path.
    pub address: String,
    /// Who holds it, when that can be known: `app api`, `node (pid 123)`.
    pub owner: Option<String>,
    /// The system's word: `address already in use`, `permission denied`.
    pub error: String,
}
