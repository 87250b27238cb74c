//! The terminal dashboard.
//!
//! Event → State → Action. Events (a key, a new list, an action's answer) go into one channel; [`state::State::handle`]
//! takes each and says what is to be done; drawing only reads the state. Nothing here knows the daemon: what is shown
//! and what is asked goes through a [`Source`], each on its own thread, so that a reload of ten seconds or a daemon
//! that hangs never freezes the screen.
//!
//! - [`terminal`]: the real terminal, the threads, the loop; the only room that performs anything
//! - [`state`]: what is known and what is chosen
//! - [`keys`]: keys become commands, in one table
//! - [`request`]: commands become requests, answers become sentences
//! - [`history`]: the last minutes of CPU and memory
//! - [`tail`]: the end of the log files
//! - [`text`]: foreign text made safe to show, ages, sparklines
//! - [`draw`]: the screen
#![forbid(unsafe_code)]

use std::io;

use rpm_ipc::{List, Reply, Request};

mod draw;
mod event;
#[cfg(test)]
mod fixture;
mod history;
mod keys;
mod request;
mod state;
mod tail;
mod terminal;
mod text;

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

    /// Asks, and waits for the last word on it.
    ///
    /// # Errors
    /// When the daemon cannot be asked.
    fn act(&mut self, request: Request) -> Result<Reply, String>;
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
}

/// Shows the dashboard until the user leaves it.
///
/// `list` is asked once a second on one thread, `act` carries out the user's commands on another; usually both are
/// connections of the same kind. One action is carried out at a time. The two threads, and the one that reads the
/// keys, end with the program: this is the last thing a program does before it exits.
///
/// # Errors
/// When there is no terminal, when it fails, or when a signal ended the program. The terminal is restored in every
/// case, a panic included.
pub fn run(list: impl Source + Send + 'static, act: impl Source + Send + 'static) -> Result<(), MonitError> {
    terminal::run(list, act)
}
