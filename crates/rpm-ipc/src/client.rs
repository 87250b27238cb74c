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
    pub fn greet(stream: S) -> Result<Self, CallError> {
        Self::greet_for(stream, None)
    }

    /// Greets the daemon, and says for whom everything in this conversation is asked.
    ///
    /// # Errors
    /// Those of [`Client::greet`].
    pub fn greet_for(mut stream: S, asks_for: Option<String>) -> Result<Self, CallError> {
        frame::write(&mut stream, &FromClient::Hello(Hello { asks_for, ..Hello::ours() }))?;
        Self::greeted(stream, 1)
    }

    /// Greets the daemon and asks at once, which spares the time of a greeting. Only for what changes nothing: a daemon
    /// of another version has the question before that is known.
    ///
    /// # Errors
    /// Those of [`Client::greet`] and [`Client::call`].
    pub fn greet_and_ask(mut stream: S, request: Request) -> Result<(Self, Reply), CallError> {
        const FIRST: u64 = 1;
        let mut bytes = frame::encode(&FromClient::Hello(Hello::ours()))?;
        bytes.extend(frame::encode(&FromClient::Ask { id: FIRST, request })?);
        stream.write_all(&bytes)?;
        stream.flush()?;
        let mut client = Self::greeted(stream, FIRST + 1)?;
        let reply = client.answer(FIRST, |_| {})?;
        Ok((client, reply))
    }

    /// Reads the daemon's greeting.
    fn greeted(mut stream: S, next_id: u64) -> Result<Self, CallError> {
        let Some(FromDaemon::Hello(daemon)) = frame::read(&mut stream)? else {
            return Err(CallError::Closed);
        };
        if daemon.protocol != PROTOCOL {
            let older = if daemon.protocol < PROTOCOL { "daemon" } else { "client" };
            let (theirs, program) = (daemon.protocol, daemon.program);
            return Err(CallError::Version { ours: PROTOCOL, theirs, program, older });
        }
        Ok(Self { stream, daemon, next_id })
    }

    /// Returns the daemon's greeting.
    pub fn daemon(&self) -> &Hello {
        &self.daemon
    }

    /// Asks, and waits for the reply; `on_notice` sees what arrives before it.
    ///
    /// # Errors
    /// When the stream fails or ends.
    pub fn call(&mut self, request: Request, on_notice: impl FnMut(Notice)) -> Result<Reply, CallError> {
        let id = self.ask(request)?;
        self.answer(id, on_notice)
    }

    /// Asks, and returns the number of the question for [`Client::answer`].
    ///
    /// # Errors
    /// When the stream fails.
    pub fn ask(&mut self, request: Request) -> Result<u64, CallError> {
        let id = self.next_id;
        self.next_id += 1;
        frame::write(&mut self.stream, &FromClient::Ask { id, request })?;
        Ok(id)
    }

    /// Waits for the reply to a question; `on_notice` sees what arrives before it.
    ///
    /// # Errors
    /// When the stream fails or ends.
    pub fn answer(&mut self, id: u64, mut on_notice: impl FnMut(Notice)) -> Result<Reply, CallError> {
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
