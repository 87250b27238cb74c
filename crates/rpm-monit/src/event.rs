//! What happens to the dashboard, and what it asks for.

use crossterm::event::KeyEvent;
use rpm_ipc::{List, Reply, Request};

use crate::tail::LogLine;

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A key was pressed.
    Key(KeyEvent),
    /// The terminal has a new size.
    Resized,
    /// The source was asked.
    Listed {
        /// When, in milliseconds since the Unix epoch.
        at_ms: u64,
        /// What it said.
        result: Result<List, String>,
    },
    /// The log files of the selected worker were read.
    Logged(Logged),
    /// An action has ended.
    Acted(Result<Reply, String>),
    /// A signal asked us to leave.
    Signalled(i32),
    /// The terminal failed.
    InputFailed(std::io::Error),
    /// A thread of ours has panicked; its message stands on the terminal.
    ThreadLost,
}

/// What the log files had to say.
#[derive(Debug)]
pub(crate) enum Logged {
    /// Another worker's: what was shown before is void.
    Anew(Vec<LogLine>),
    /// More of the same.
    More(Vec<LogLine>),
}

/// Something to be done outside the state.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Leave.
    Quit,
    /// Ask the source; the answer comes back as [`Event::Acted`].
    Ask(Request),
    /// Read the selected worker's log files; the lines come back as [`Event::Logged`].
    ReadLogs,
    /// Ask for a new list at once.
    Refresh,
}
