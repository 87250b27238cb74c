//! What happens to the dashboard, and what it asks for.

use std::path::PathBuf;

use crossterm::event::{KeyEvent, MouseEvent};
use rpm_ipc::{List, Reply};
use rpm_model::WorkerId;
use rpm_records::EventRecord;
use serde::{Deserialize, Serialize};

use crate::Errand;
use crate::traffic::Traffic;

/// Something that happened. A session that is recorded is a row of these.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// A key was pressed.
    Key(KeyEvent),
    /// The mouse was used.
    Mouse(MouseEvent),
    /// Text was pasted.
    Pasted(String),
    /// The terminal has a new size.
    Resized {
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
    /// The source was asked.
    Listed {
        /// When, in milliseconds since the Unix epoch.
        at_ms: u64,
        /// What it said.
        result: Result<Look, String>,
    },
    /// Lines were added to the log files that are followed.
    Logged(Logged),
    /// Something has happened.
    Happened(EventRecord),
    /// The source has not answered for so long.
    Silent {
        /// Since the last list.
        seconds: u64,
    },
    /// How far the deed under way is.
    Progress {
        /// Workers that are done.
        done: u32,
        /// Workers in all.
        total: u32,
    },
    /// A deed has ended.
    Acted(Result<Reply, String>),
    /// A deed has ended, and there is something to read.
    Told(String),
    /// A signal asked us to leave.
    Signalled(i32),
    /// The terminal failed.
    InputFailed(String),
    /// A thread of ours has panicked; its message stands on the terminal.
    ThreadLost,
}

/// One look at everything there is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Look {
    /// Apps and workers.
    pub(crate) list: List,
    /// What the load balancer says of them.
    #[serde(default)]
    pub(crate) traffic: Traffic,
}

/// What the log files had to say.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Logged {
    /// Which [`Action::Follow`] this belongs to: lines of files that were followed before are dropped.
    pub(crate) following: u64,
    /// The lines.
    pub(crate) lines: Vec<LogLine>,
}

/// Which stream a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stream {
    Out,
    Err,
}

/// One line of a log, as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogLine {
    pub(crate) worker: WorkerId,
    pub(crate) stream: Stream,
    pub(crate) text: String,
}

/// Where the lines of one worker are to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogFile {
    pub(crate) worker: WorkerId,
    pub(crate) stream: Stream,
    /// The file; without one [`Source::console`](crate::Source::console) tells what is said from now on.
    pub(crate) path: Option<PathBuf>,
}

/// Something to be done outside the state.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Leave.
    Quit,
    /// Ask the source; the answer comes back as [`Event::Acted`] or [`Event::Told`].
    Ask(Errand),
    /// Follow these log files from near their ends, and no others; the lines come back as [`Event::Logged`].
    Follow {
        /// Comes back with the lines.
        following: u64,
        /// The files.
        files: Vec<LogFile>,
    },
    /// Ask for a new list at once.
    Refresh,
    /// Take the mouse, or leave it to the terminal.
    Mouse(bool),
    /// Draw everything anew: another program may have written on the terminal.
    Redraw,
}
