//! Lines in and out of a worker's socket, handles one at a time.
//!
//! **Nothing is lost when the daemon dies.** Lines are looked at in the socket, handled, and only then taken out of it
//! ([`Channel::acknowledge`]), so the next daemon finds what its predecessor did not finish; a message may come twice,
//! never not at all. A question stays there until its answer is written, which may have to wait for a handle. Only lines
//! too long to be seen whole in the socket are gathered in memory.
//!
//! **Nothing is written in pieces.** Node ends a worker that reads half a line, or an empty one ("Unexpected end of
//! JSON input", measured), so there is no way to repair a line that a dying daemon left unfinished. The kernel takes a
//! line of up to 32 KiB whole or not at all, and longer ones are begun only when everything before has been read.
//!
//! **Handles** go one at a time, as Node does it: what comes after a handle waits until the worker has acknowledged it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use memchr::{memchr_iter, memrchr};
use rpm_model::Life;
use rpm_sys::net::queue::{bytes_unread_by_peer, bytes_waiting};
use rpm_sys::poll::{self, Interest};
use rpm_sys::{SysError, fd};
use serde_json::{Value, json};

use crate::node::message::{self, BUN_PREFIX, FromApp, Line};
use crate::want::Kind;

/// The daemon's end of a worker's channel.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    life: Life,
    /// Whether the worker is bun.
    bun: bool,
    /// What the next message is numbered.
    seq: u64,
    /// Bytes seen and handled, still in the socket.
    unacknowledged: usize,
    /// The beginning of a line too long to stay in the socket.
    partial: Vec<u8>,
    /// How much of a line was dropped because it is longer than [`LINE_MAX`]; its end is still to come.
    skipping: Option<usize>,
    out: VecDeque<Outgoing>,
    out_bytes: usize,
    /// How many of those that wait are answers.
    answers: usize,
    /// Whether a sign of life was asked for and is still due.
    pinged: bool,
    /// The handle that the worker has not acknowledged.
    unconfirmed: Option<Outgoing>,
    /// Connections handed over and not yet taken, by the number of their message.
    handed: BTreeMap<u64, OwnedFd>,
}

#[derive(Debug)]
struct Outgoing {
    line: Vec<u8>,
    written: usize,
    handle: Option<OwnedFd>,
    /// How often its handle was sent.
    tries: u32,
    /// Whether it goes out although a handle is unconfirmed: it confirms one of the worker's. Both sides may wait for
    /// each other.
    confirms: bool,
    /// Whether the worker waits for it.
    answers: bool,
}

/// Why a channel cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The worker has closed its end.
    #[error("the worker has closed the channel")]
    Closed,
    /// The worker does not read, and [`OUT_MAX`] bytes wait for it. The message was dropped.
    #[error("the worker does not read its messages")]
    Full,
    /// The system refused.
    #[error(transparent)]
    System(#[from] SysError),
}

/// The longest line taken from a worker: as much as may wait for one. Longer ones are skipped, and the length is told: an app
/// that sends more than this in one message has
/// lost its way.
const LINE_MAX: usize = OUT_MAX;
/// How much is looked at at once; a line that fills it is gathered in memory. Well under the 208 KiB that a socket
/// holds by default, so a worker that writes a long line is never stuck.
const SEEN_MAX: usize = 64 << 10;
/// The most that waits for a worker that does not read.
pub const OUT_MAX: usize = 16 << 20;
/// The longest line that the kernel takes whole or not at all: one buffer of a unix socket.
const WHOLE_MAX: usize = 32 << 10;
/// How often Node sends a handle that did not arrive.
const HANDLE_TRIES: u32 = 3;
/// Where numbering begins after a daemon restart: above anything the daemon before it can have reached.
const SEQ_RESUMED: u64 = 1 << 40;
/// The most connections handed over and unanswered; more are refused with [`ChannelError::Full`].
const HANDED_MAX: usize = 1024;

impl Channel {
    /// Opens the conversation with a new worker.
    pub fn new(socket: OwnedFd, life: Life) -> Result<Self, ChannelError> {
        Self::open(socket, life, 0)
    }

    /// Goes on with a conversation that a daemon before this one had.
    ///
    /// Messages that it may have seen come again. A line of which it had taken a part is skipped.
    pub fn resume(socket: OwnedFd, life: Life) -> Result<Self, ChannelError> {
        Self::open(socket, life, SEQ_RESUMED)
    }

    fn open(socket: OwnedFd, life: Life, seq: u64) -> Result<Self, ChannelError> {
        fd::set_nonblocking(&socket, true)?;
        Ok(Self {
            socket,
            life,
            bun: false,
            seq,
            unacknowledged: 0,
            partial: Vec::new(),
            skipping: None,
            out: VecDeque::new(),
            out_bytes: 0,
            answers: 0,
            unconfirmed: None,
            pinged: false,
            handed: BTreeMap::new(),
        })
    }

    /// Returns whose channel this is.
    pub fn life(&self) -> Life {
        self.life
    }

    /// Returns whether something waits to be written: poll for writing then.
    pub fn wants_write(&self) -> bool {
        // A handle that arrives in one piece with a ping would be taken for the ping's.
        let may_go = |next: &Outgoing| !self.pinged || next.handle.is_none() || next.written > 0;
        self.out.front().is_some_and(|next| next.confirms || (self.unconfirmed.is_none() && may_go(next)))
    }

    /// Returns what has come in; empty when there is nothing more for now.
    ///
    /// Call until empty when the descriptor is readable. Handle a batch, carry out what it asks for, then call
    /// [`Channel::acknowledge`] (or this again, which does). Poll for *edges*: an unfinished line stays in the socket.
    pub fn receive(&mut self) -> Result<Vec<FromApp>, ChannelError> {
        self.acknowledge()?;
        // Not kept: a hundred idle channels would hold six megabytes.
        let mut seen = vec![0; SEEN_MAX];
        self.receive_into(&mut seen)
    }

    /// Takes what [`Channel::receive`] returned out of the socket, for good, unless an answer to it waits to be written.
    pub fn acknowledge(&mut self) -> Result<(), ChannelError> {
        // Room for what else the worker says, such as that it has the handle for which the answer waits.
        if self.answers > 0 && self.unacknowledged < SEEN_MAX / 2 {
            return Ok(());
        }
        self.consume_handled()
    }

    /// Returns whether [`Channel::acknowledge`] is due: what was handled is still in the socket, and needs not be.
    pub fn is_unacknowledged(&self) -> bool {
        self.unacknowledged > 0 && self.answers == 0
    }

    fn consume_handled(&mut self) -> Result<(), ChannelError> {
        let done = std::mem::take(&mut self.unacknowledged);
        if done > 0 {
            fd::consume(&self.socket, done)?;
        }
        Ok(())
    }

    fn receive_into(&mut self, seen: &mut [u8]) -> Result<Vec<FromApp>, ChannelError> {
        loop {
            let length = match fd::peek(&self.socket, seen) {
                Ok(0) => return Err(ChannelError::Closed),
                Ok(length) => length,
                Err(error) if error.would_block() => return Ok(Vec::new()),
                Err(SysError { errno: ECONNRESET, .. }) => return Err(ChannelError::Closed),
                Err(error) => return Err(error.into()),
            };
            let bytes = &seen[self.unacknowledged.min(length)..length];
            if bytes.is_empty() {
                // A descriptor that came along ends the view, and so does the worker's end of the channel.
                if bytes_waiting(&self.socket)? > length as u64 || self.is_closed()? {
                    self.consume_handled()?;
                    continue;
                }
                return Ok(Vec::new());
            }
            if let Some(end) = memrchr(b'\n', bytes) {
                let said = self.read_lines(&bytes[..=end])?;
                self.unacknowledged += end + 1;
                if !said.is_empty() {
                    return Ok(said);
                }
                self.acknowledge()?;
                continue;
            }
            // No end of a line in sight. What cannot be seen whole (it is too long, or a descriptor that came with it
            // ends the view) is gathered in memory.
            let more_behind = bytes_waiting(&self.socket)? > length as u64;
            if length < SEEN_MAX && !more_behind && self.partial.is_empty() && self.skipping.is_none() {
                return Ok(Vec::new());
            }
            if self.unacknowledged > 0 {
                self.consume_handled()?;
                continue;
            }
            match &mut self.skipping {
                Some(skipped) => *skipped += length,
                None if self.partial.len() + length > LINE_MAX => {
                    self.skipping = Some(self.partial.len() + length);
                    self.partial = Vec::new();
                }
                None => self.partial.extend_from_slice(bytes),
            }
            fd::consume(&self.socket, length)?;
        }
    }

    fn is_closed(&self) -> Result<bool, ChannelError> {
        let end = Interest { fd: self.socket.as_fd(), read: false, write: false };
        let [found] = poll::wait([end], Some(Duration::ZERO))?;
        Ok(found.hung_up)
    }

    /// Reads whole lines; the first may have begun in `partial`.
    fn read_lines(&mut self, bytes: &[u8]) -> Result<Vec<FromApp>, ChannelError> {
        let mut said = Vec::new();
        let mut start = 0;
        for end in memchr_iter(b'\n', bytes) {
            let line = &bytes[start..end];
            start = end + 1;
            if let Some(skipped) = self.skipping.take() {
                said.push(FromApp::Unreadable { length: skipped + line.len() });
                continue;
            }
            let gathered;
            let line = if self.partial.is_empty() {
                line
            } else {
                self.partial.extend_from_slice(line);
                gathered = std::mem::take(&mut self.partial);
                &gathered
            };
            self.bun |= line.first() == Some(&BUN_PREFIX);
            match message::read(line) {
                Line::App(message) => said.push(message),
                Line::HandleAck => self.unconfirmed = None,
                // Answers come in the order of the questions, and nothing else was asked while a ping is out.
                Line::HandleNack if std::mem::take(&mut self.pinged) => said.push(FromApp::Pong),
                Line::HandleNack => self.send_handle_again(),
                Line::HandleSent(message) => {
                    self.confirm_handle();
                    said.push(message);
                }
                Line::Answer { ack, accepted } => {
                    if let (Some(connection), false) = (self.handed.remove(&ack), accepted) {
                        said.push(FromApp::Declined { connection });
                    }
                }
                Line::Ignored => {}
            }
        }
        Ok(said)
    }

    /// Gives the worker the socket it asked for.
    pub fn answer_bound(
        &mut self,
        seq: u64,
        key: &str,
        data: &Value,
        socket: OwnedFd,
        kind: Kind,
    ) -> Result<(), ChannelError> {
        let answer = json!({
            "cmd": "NODE_CLUSTER", "errno": 0, "key": key, "ack": seq, "data": data, "seq": self.next_seq(),
        });
        self.send_handle(answer, socket, if kind.is_udp() { "dgram.Native" } else { "net.Native" })?;
        self.last_is_answer();
        Ok(())
    }

    /// Tells the worker that it cannot have the socket; `errno` is positive.
    pub fn answer_refused(&mut self, seq: u64, key: &str, errno: i32) -> Result<(), ChannelError> {
        let errno = -errno.abs();
        let answer = json!({"cmd": "NODE_CLUSTER", "errno": errno, "key": key, "ack": seq, "data": null, "seq": self.next_seq()});
        self.send(&answer, None, false)?;
        self.last_is_answer();
        Ok(())
    }

    /// Lets a worker leave that said `exitedAfterDisconnect`.
    pub fn answer_ack(&mut self, seq: u64) -> Result<(), ChannelError> {
        let answer = json!({"cmd": "NODE_CLUSTER", "ack": seq, "seq": self.next_seq()});
        self.send(&answer, None, false)?;
        self.last_is_answer();
        Ok(())
    }

    fn last_is_answer(&mut self) {
        if let Some(last) = self.out.back_mut() {
            last.answers = true;
            self.answers += 1;
        }
    }

    /// Asks the worker to close its servers, finish its connections and leave.
    pub fn disconnect(&mut self) -> Result<(), ChannelError> {
        let message = json!({"cmd": "NODE_CLUSTER", "act": "disconnect", "seq": self.next_seq()});
        self.send(&message, None, false)
    }

    /// Hands an accepted connection to the worker, as if its server with this key had accepted it.
    ///
    /// Comes back as [`FromApp::Declined`] when the worker does not take it.
    pub fn hand_over(&mut self, key: &str, connection: OwnedFd) -> Result<(), ChannelError> {
        if self.handed.len() >= HANDED_MAX {
            return Err(ChannelError::Full);
        }
        let ours = fd::dup(&connection)?;
        let seq = self.next_seq();
        let message = json!({"cmd": "NODE_CLUSTER", "act": "newconn", "key": key, "seq": seq});
        self.send_handle(message, connection, "net.Native")?;
        self.handed.insert(seq, ours);
        Ok(())
    }

    /// Asks a Node process for a sign of life, unless the one before is still due; [`FromApp::Pong`] follows.
    ///
    /// It is told that a handle comes, and gets none: Node says so from its event loop, and the app never sees it.
    pub fn ping(&mut self) -> Result<(), ChannelError> {
        // What waits to be confirmed would be taken for the answer.
        if self.pinged || self.unconfirmed.is_some() || !self.out.is_empty() {
            return Ok(());
        }
        self.pinged = true;
        self.send(&json!({"cmd": "NODE_HANDLE"}), None, false)
    }

    /// Sends a message to the app: `process.on("message")` gets it.
    pub fn send_app(&mut self, message: &Value) -> Result<(), ChannelError> {
        self.send(message, None, true)
    }

    /// Writes what can be written now; returns whether nothing is left that could be.
    ///
    /// What waits for the acknowledgement of a handle is not counted as left.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.wants_write() {
            let Some(next) = self.out.front_mut() else { break };
            if next.written == 0 && next.line.len() > WHOLE_MAX && bytes_unread_by_peer(&self.socket)? > 0 {
                return Ok(false);
            }
            let handles: Vec<BorrowedFd<'_>> =
                next.handle.iter().filter(|_| next.written == 0).map(|handle| handle.as_fd()).collect();
            match fd::send_with_fds(&self.socket, &next.line[next.written..], &handles) {
                Ok(written) => next.written += written,
                Err(error) if error.would_block() => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            if next.written == next.line.len()
                && let Some(sent) = self.out.pop_front()
            {
                self.out_bytes -= sent.line.len();
                self.answers -= usize::from(sent.answers);
                if sent.handle.is_some() {
                    self.unconfirmed = Some(Outgoing { tries: sent.tries + 1, ..sent });
                }
            }
        }
        Ok(true)
    }

    fn next_seq(&mut self) -> u64 {
        let seq = self.seq;
        self.seq += 1;
        seq
    }

    fn send_handle(&mut self, mut message: Value, handle: OwnedFd, kind: &str) -> Result<(), ChannelError> {
        if self.bun {
            message["$hasHandle"] = Value::Bool(true);
        } else {
            message = json!({"cmd": "NODE_HANDLE", "type": kind, "msg": message});
        }
        self.send(&message, Some(handle), false)
    }

    /// Queues a line; `plain` lines have no prefix from bun's point of view.
    fn send(&mut self, message: &Value, handle: Option<OwnedFd>, plain: bool) -> Result<(), ChannelError> {
        let mut line = Vec::new();
        if self.bun && !plain {
            line.push(BUN_PREFIX);
        }
        line.extend(message.to_string().into_bytes());
        line.push(b'\n');
        if self.out_bytes + line.len() > OUT_MAX {
            return Err(ChannelError::Full);
        }
        self.out_bytes += line.len();
        self.out.push_back(Outgoing { line, written: 0, handle, tries: 0, confirms: false, answers: false });
        Ok(())
    }

    fn confirm_handle(&mut self) {
        let line = b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n".to_vec();
        self.send_first(Outgoing { line, written: 0, handle: None, tries: 0, confirms: true, answers: false });
    }

    fn send_handle_again(&mut self) {
        if let Some(lost) = self.unconfirmed.take_if(|lost| lost.tries < HANDLE_TRIES) {
            self.answers += usize::from(lost.answers);
            self.send_first(Outgoing { written: 0, ..lost });
        }
        self.unconfirmed = None;
    }

    /// Puts a line before all that wait, but not into the middle of one.
    fn send_first(&mut self, line: Outgoing) {
        self.out_bytes += line.line.len();
        let begun = self.out.front().is_some_and(|front| front.written > 0);
        self.out.insert(usize::from(begun), line);
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The worker ended with messages of ours unread.
const ECONNRESET: i32 = 104;
