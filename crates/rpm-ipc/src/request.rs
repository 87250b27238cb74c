//! What a client may ask.

use std::path::PathBuf;

use rpm_model::edge::ServerChange;
use rpm_model::{AppId, AppSpec, WorkerId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::hello::Hello;

/// A frame from the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromClient {
    /// The first frame.
    Hello(Hello),
    /// A request; its reply and its notices carry the same `id`.
    Ask {
        /// Chosen by the client, unique within the connection.
        id: u64,
        /// What is asked.
        request: Request,
    },
}

/// What a client may ask. Targets are resolved by the client: requests name workers by id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Answered by [`Reply::Pong`](crate::Reply::Pong).
    Ping,
    /// Answered by [`Reply::List`](crate::Reply::List).
    List {
        /// Whether the environments are wanted too (they may hold secrets, and they are long).
        #[serde(default)]
        environment: bool,
    },
    /// What changes all the time, and nothing else: for who looks often. Answered by
    /// [`Reply::Figures`](crate::Reply::Figures).
    Figures,
    /// Registers new apps and starts them.
    Start {
        /// The new apps.
        specs: Vec<AppSpec>,
    },
    /// Registers apps as they were saved, and starts those that ran.
    Resurrect {
        /// The apps.
        apps: Vec<SavedApp>,
    },
    /// Stops workers.
    Stop {
        /// Which.
        workers: Vec<WorkerId>,
    },
    /// Restarts workers; starts those that are down.
    Restart {
        /// Which.
        workers: Vec<WorkerId>,
        /// Specs that take effect first.
        #[serde(default)]
        specs: Vec<Respec>,
    },
    /// Replaces workers without losing a request.
    Reload {
        /// Which.
        workers: Vec<WorkerId>,
        /// Specs that take effect first.
        #[serde(default)]
        specs: Vec<Respec>,
        /// Whether it takes the place of a reload that is under way, instead of being refused.
        #[serde(default)]
        force: bool,
    },
    /// Runs jobs now; answered when the runs have ended.
    Run {
        /// Which.
        workers: Vec<WorkerId>,
    },
    /// Stops workers and forgets them.
    Delete {
        /// Which.
        workers: Vec<WorkerId>,
    },
    /// Changes the number of workers.
    Scale {
        /// Which app.
        app: AppId,
        /// How many workers are wanted.
        instances: u32,
    },
    /// Says who decides on the number of an app's workers: its load (`autoscale`), or people. `Scale` says people.
    Autoscale {
        /// Which app.
        app: AppId,
        /// Whether the load does.
        on: bool,
    },
    /// Lets a reload that waits after its first workers (`canary`) go on.
    Promote {
        /// Which app.
        app: AppId,
    },
    /// Puts the old release back where a reload waits after its first workers.
    Abort {
        /// Which app.
        app: AppId,
    },
    /// What an app was before; answered by [`Reply::History`](crate::Reply::History).
    History {
        /// Which app.
        app: AppId,
    },
    /// Sets the restart counters to zero.
    Reset {
        /// Which.
        workers: Vec<WorkerId>,
    },
    /// Sends a signal to the workers' main processes.
    Signal {
        /// Which.
        workers: Vec<WorkerId>,
        /// The signal's number.
        signal: i32,
    },
    /// Writes the list of apps for `resurrect`.
    Save {
        /// Whether an empty list may replace one that is not.
        force: bool,
        /// Where, if not where the daemon does it by itself; answered by [`Reply::Saved`](crate::Reply::Saved).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        files: Option<ListFiles>,
    },
    /// Opens the log files anew, after somebody has renamed them.
    ReopenLogs,
    /// Streams [`Notice::Happened`](crate::Notice::Happened) until the connection is closed.
    Events,
    /// The same; and when the client's process ends, everything stops: the apps run in its foreground.
    Foreground,
    /// Calls an action that the app has registered, as `rpm trigger` does; answered by
    /// [`Reply::Answers`](crate::Reply::Answers).
    Trigger {
        /// Which.
        workers: Vec<WorkerId>,
        /// The action's name.
        action: String,
        /// What the action gets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        params: Option<Value>,
    },
    /// Sends a message over the IPC channel: `process.on("message")` gets it.
    Send {
        /// Which.
        workers: Vec<WorkerId>,
        /// The message.
        message: Value,
    },
    /// Writes to a worker's standard input (fork mode).
    Write {
        /// Which.
        worker: WorkerId,
        /// What, its line end included.
        text: String,
    },
    /// The counters of the balancers; answered by [`Reply::Balancers`](crate::Reply::Balancers).
    Balancers,
    /// Changes a server in every balancer that reaches its upstream.
    Server {
        /// The upstream.
        upstream: String,
        /// The server, or the worker.
        server: String,
        /// What.
        change: ServerChange,
    },
    /// Replaces keeper and daemon by this program; no worker notices. The connection ends with it.
    Update {
        /// The program, an absolute path.
        binary: PathBuf,
    },
    /// Stops every app, then daemon and keeper.
    Kill,
}

/// The files of a saved list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListFiles {
    /// The list: an absolute path.
    pub list: PathBuf,
    /// What the list replaces is kept there: an absolute path.
    pub backup: PathBuf,
}

/// An app as it was saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedApp {
    /// What is wanted.
    pub spec: AppSpec,
    /// Whether it was stopped, and stays so.
    pub stopped: bool,
    /// Whether people decide on its number of workers, although it has `autoscale`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub autoscale_off: bool,
}

/// A new spec for an app that is already there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Respec {
    /// Which app.
    pub app: AppId,
    /// What is wanted from now on.
    pub spec: AppSpec,
}
