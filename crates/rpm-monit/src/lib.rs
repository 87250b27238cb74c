//! The terminal dashboard.
//!
//! Event → State → Action. Events (a key, a new list, an action's answer) go into one channel; [`state::State::handle`]
//! takes each and says what is to be done; drawing only reads the state. Nothing here knows the daemon: what is shown
//! and what is asked goes through a [`Source`], each on its own thread, so that a reload of ten seconds or a daemon
//! that hangs never freezes the screen.
//!
//! - [`terminal`]: the real terminal, the threads, the loop; the only room that performs anything
//! - [`state`]: what is known and what is chosen; rows, filter, log pane, mouse
//! - [`layout`]: where everything is
//! - [`keys`]: keys become commands, in one table
//! - [`commandline`]: what is typed after `:`
//! - [`request`]: deeds become requests, answers become sentences; [`target`]: what they are done to
//! - [`history`]: the last minutes of CPU and memory
//! - [`traffic`]: what a load balancer says of the workers
//! - [`tail`]: the end of the log files
//! - [`record`]: a session as a file
//! - [`text`]: foreign text made safe to show, ages, sparklines; [`theme`]: how things look
//! - [`draw`]: the screen
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rpm_ipc::{List, Reply, Request};
use rpm_model::{AppId, WorkerId};
use rpm_records::EventRecord;

mod commandline;
mod draw;
mod event;
#[cfg(test)]
mod fixture;
mod history;
mod keys;
mod layout;
mod record;
mod request;
mod state;
mod tail;
mod target;
mod terminal;
mod text;
mod theme;
mod traffic;

pub use traffic::{Traffic, WorkerTraffic};

/// Where the dashboard learns and asks. May block: it is called on a thread of its own.
///
/// An `Err` is a sentence without a full stop. It is shown and the call is made again at the next refresh, so an
/// implementation connects anew after its connection has failed.
pub trait Source {
    /// Returns everything there is.
    ///
    /// # Errors
    /// When the daemon cannot be asked.
    fn list(&mut self) -> Result<List, String>;

    /// Returns what the load balancer says of the workers, where there is one.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn traffic(&mut self) -> Result<Traffic, String> {
        Ok(Traffic::new())
    }

    /// Returns what happened before the dashboard was opened, oldest first; [`Source::events`] goes on from there.
    fn past(&mut self) -> Vec<EventRecord> {
        Vec::new()
    }

    /// Sees to something, and waits for the last word on it; `progress` hears how many workers of how many are done.
    ///
    /// # Errors
    /// When the daemon cannot be asked.
    fn act(&mut self, errand: Errand, progress: &mut dyn FnMut(u32, u32)) -> Result<Answer, String>;

    /// Returns a pipe of what a worker says from now on, where that goes to no file; it is not to block.
    ///
    /// # Errors
    /// When there is none.
    fn console(&mut self, worker: WorkerId, is_error: bool) -> io::Result<OwnedFd> {
        let _nothing_is_known_of = (worker, is_error);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Tells what happens, until that can no longer be heard.
    ///
    /// # Errors
    /// When it cannot be heard.
    fn events(&mut self, told: &mut dyn FnMut(EventRecord)) -> Result<(), String>;
}

/// Something to be seen to for the user.
#[derive(Debug, Clone, PartialEq)]
pub enum Errand {
    /// The daemon is asked.
    Ask(Request),
    /// An app becomes what it was so many releases before.
    RollBack(AppId, usize),
    /// The logs of these workers are emptied.
    Flush(Vec<WorkerId>),
    /// It is told why these workers are as they are.
    Why(Vec<WorkerId>),
    /// The crashes on record of the apps of these workers are told.
    Crashes(Vec<WorkerId>),
}

impl Errand {
    /// Returns whether anything is another afterwards.
    fn changes(&self) -> bool {
        match self {
            Errand::Ask(_) | Errand::RollBack(..) | Errand::Flush(_) => true,
            Errand::Why(_) | Errand::Crashes(_) => false,
        }
    }
}

impl From<Request> for Errand {
    fn from(request: Request) -> Self {
        Errand::Ask(request)
    }
}

/// The last word on an errand.
#[derive(Debug)]
pub enum Answer {
    /// The daemon's.
    Reply(Reply),
    /// Lines to be read.
    Text(String),
}

/// The ways to speak to the daemon, one for each thread; usually connections of the same kind.
#[derive(Debug)]
pub struct Sources<S> {
    /// Asked for the list once a second, and after everything that happened.
    pub list: S,
    /// Carries out the user's commands, one at a time.
    pub act: S,
    /// Tells what happens.
    pub events: S,
    /// Looks on at what goes to no file.
    pub consoles: S,
}

/// How the dashboard begins.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A theme by name; without one the terminal's colours, or none where `NO_COLOR` is set or the terminal is dumb.
    pub theme: Option<String>,
    /// Nothing can be done, only looked at.
    pub read_only: bool,
    /// The mouse is left to the terminal.
    pub no_mouse: bool,
    /// Writes the session down.
    pub record: Option<PathBuf>,
}

/// Why the dashboard could not be shown, or ended other than by the user's wish.
#[derive(Debug, thiserror::Error)]
pub enum MonitError {
    /// Standard input or output is not a terminal.
    #[error("the dashboard needs a terminal on standard input and output; `rpm list` and `rpm logs` do not")]
    NoTerminal,
    /// The terminal failed.
    #[error("the terminal failed: {0}")]
    Terminal(#[from] io::Error),
    /// A signal asked the program to end. The terminal has been restored.
    #[error("ended by {}", rpm_model::worker::signal_name(*.0).unwrap_or("a signal"))]
    Signalled(i32),
    /// There is no theme of that name; a sentence that tells which there are.
    #[error("{0}")]
    Theme(String),
    /// A recording cannot be written or read.
    #[error("{} cannot be {doing}: {error}", path.display())]
    Recording {
        /// The file.
        path: PathBuf,
        /// `written` or `read`.
        doing: &'static str,
        /// Why.
        error: io::Error,
    },
}

/// Shows the dashboard until the user leaves it.
///
/// The threads end with the program: this is the last thing a program does before it exits.
///
/// # Errors
/// When there is no terminal, when it fails, when an option cannot be met, or when a signal ended the program. The
/// terminal is restored in every case, a panic included.
pub fn run(sources: Sources<impl Source + Send + 'static>, options: &Options) -> Result<(), MonitError> {
    terminal::run(sources, options)
}

/// Shows a recorded session again, at the speed at which it happened, until it ends or the user leaves (`q`).
///
/// # Errors
/// Those of [`run`], and when the file is no recording.
pub fn replay(path: &std::path::Path, options: &Options) -> Result<(), MonitError> {
    terminal::replay(path, options)
}
