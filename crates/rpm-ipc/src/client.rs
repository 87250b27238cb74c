//! The asking side, blocking: enough for a command line.

use std::io::{self, Read, Write};

use crate::frame;
use crate::hello::{Hello, PROTOCOL};
use crate::reply::{FromDaemon, Notice, Reply};
use crate::request::{FromClient, Request};

/// A conversation with the daemon over any stream.
#[derive(Debug)]
pub struct Client<S> {
    stream: S,
    daemon: Hello,
    next_id: u64,
}

/// Why a request got no reply.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The stream failed.
    #[error("the connection to the daemon failed: {0}")]
    Io(#[from] io::Error),
    /// The daemon closed the connection first.
    #[error("the daemon closed the connection before it answered")]
    Closed,
    /// The daemon speaks another version.
    #[error("this client speaks version {ours} of the protocol, the daemon {theirs} ({program}): the {older} is older")]
    Version {
        /// Our version.
        ours: u32,
        /// The daemon's version.
        theirs: u32,
        /// The daemon's program version.
        program: String,
        /// Which side is older.
        older: &'static str,
    },
}

impl<S: Read + Write> Client<S> {
    /// Greets the daemon.
    ///
    /// # Errors
    /// When the stream fails, or the daemon speaks another version.
    pub fn greet(mut stream: S) -> Result<Self, CallError> {
        frame::write(&mut stream, &FromClient::Hello(Hello::ours()))?;
        let Some(FromDaemon::Hello(daemon)) = frame::read(&mut stream)? else {
            return Err(CallError::Closed);
        };
        if daemon.protocol != PROTOCOL {
            let older = if daemon.protocol < PROTOCOL { "daemon" } else { "client" };
            let (theirs, program) = (daemon.protocol, daemon.program);
            return Err(CallError::Version { ours: PROTOCOL, theirs, program, older });
        }
        Ok(Self { stream, daemon, next_id: 1 })
    }

    /// Returns the daemon's greeting.
    pub fn daemon(&self) -> &Hello {
        &self.daemon
    }

    /// Asks, and waits for the reply; `on_notice` sees what arrives before it.
    ///
    /// # Errors
    /// When the stream fails or ends.
    pub fn call(&mut self, request: Request, mut on_notice: impl FnMut(Notice)) -> Result<Reply, CallError> {
        let id = self.next_id;
        self.next_id += 1;
        frame::write(&mut self.stream, &FromClient::Ask { id, request })?;
        loop {
            match frame::read(&mut self.stream)? {
                None => return Err(CallError::Closed),
                Some(FromDaemon::Reply { id: of, reply }) if of == id => return Ok(*reply),
                Some(FromDaemon::Notice { id: of, notice }) if of == id => on_notice(notice),
                Some(FromDaemon::Hello(_) | FromDaemon::Reply { .. } | FromDaemon::Notice { .. }) => {}
            }
        }
    }

    /// Returns the stream, for a caller that sets its time limits.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Returns the stream, for a caller that waits on it with other things.
    pub fn into_stream(self) -> S {
        self.stream
    }
}
