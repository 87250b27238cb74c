//! What one thread has for itself: its view of the world, its idle connections to servers, its scratch memory.
//!
//! Each thread runs one current-thread runtime, and everything here stays in it. What is shared between threads is the
//! snapshot (immutable), servers' [`Live`] states and counters.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::Waker;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::config::Snapshot;
use crate::http::request::Field;
use crate::io::Io;
use crate::log::{BLOCK, LogFile, Writer};
use crate::pick::{Candidate, Turns, mix};
use crate::pool::{Live, Server};

/// One thread of the edge.
pub struct Thread {
    /// Which.
    pub index: usize,
    local: RefCell<Rc<Local>>,
    /// Scratch for the fields of one head; valid until the next wait.
    pub fields: RefCell<Vec<Field>>,
    /// Scratch for one choice.
    pub candidates: RefCell<Vec<Candidate>>,
    random: Cell<u64>,
    clock: RefCell<Clock>,
    /// No request begins any more.
    pub quitting: Cell<bool>,
    sleepers: RefCell<Vec<Weak<Sleeper>>>,
    writer: Writer,
    lines: RefCell<Vec<(Arc<LogFile>, Vec<u8>)>>,
    /// Open connections of clients, of all threads and balancers.
    pub connections: Arc<Connections>,
}

/// Open connections of clients, of all threads and balancers.
#[derive(Debug, Default)]
pub struct Connections {
    /// How many.
    pub count: AtomicU32,
    /// Told when the last one closes.
    pub none_left: tokio::sync::Notify,
}

/// One snapshot as this thread uses it.
pub struct Local {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// As in the snapshot.
    pub upstreams: Vec<LocalUpstream>,
}

/// What a thread has of an upstream.
pub struct LocalUpstream {
    /// Whose turn it is.
    pub turns: RefCell<Turns>,
    /// By server.
    pub pools: Vec<Rc<Pool>>,
}

/// Connections to one server that wait for the next request.
pub struct Pool {
    live: Arc<Live>,
    idle: RefCell<Vec<Idle>>,
    closed: Cell<bool>,
    thread: usize,
    /// Where the server speaks HTTP/2.
    pub shared: crate::http2::server::Connections,
}

/// A connection that waits.
struct Idle {
    io: Io,
    until: Instant,
}

/// A connection of a client that waits for its next request.
#[derive(Default)]
pub struct Sleeper(RefCell<Option<Waker>>);

#[derive(Default)]
struct Clock {
    second: u64,
    date: String,
    log: String,
}

impl Thread {
    /// Returns a thread that balances nothing.
    pub fn new(index: usize, snapshot: Arc<Snapshot>, writer: Writer, connections: Arc<Connections>) -> Self {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
        Self {
            index,
            local: RefCell::new(Rc::new(Local { snapshot, upstreams: Vec::new() })),
            fields: RefCell::default(),
            candidates: RefCell::default(),
            random: Cell::new(mix(seed ^ (index as u64) << 56)),
            clock: RefCell::default(),
            quitting: Cell::new(false),
            sleepers: RefCell::default(),
            writer,
            lines: RefCell::default(),
            connections,
        }
    }

    /// Returns the world as of now.
    pub fn local(&self) -> Rc<Local> {
        self.local.borrow().clone()
    }

    /// Puts another world in place of this one. Idle connections to servers that stay are kept.
    pub fn replace(&self, snapshot: Arc<Snapshot>) {
        let before = self.local();
        let known = |server: &Server| {
            let pools = before.upstreams.iter().flat_map(|upstream| &upstream.pools);
            let servers = before.snapshot.upstreams.iter().flat_map(|upstream| &upstream.servers);
            let same = servers.zip(pools).find(|(other, _)| Arc::ptr_eq(&other.live, &server.live));
            // A name that stands for another address now has no use for connections to the old one.
            same.filter(|(other, _)| other.target == server.target).map(|(_, pool)| pool.clone())
        };
        let upstreams = snapshot
            .upstreams
            .iter()
            .map(|upstream| {
                let pools: Vec<_> = upstream
                    .servers
                    .iter()
                    .map(|server| known(server).unwrap_or_else(|| Rc::new(Pool::new(&server.live, self.index))))
                    .collect();
                LocalUpstream { turns: RefCell::new(Turns::starting_at(self.index, &vec![FRESH; pools.len()])), pools }
            })
            .collect();
        let local = Rc::new(Local { snapshot, upstreams });
        let stays = |pool: &Rc<Pool>| {
            let pools = local.upstreams.iter().flat_map(|upstream| &upstream.pools);
            pools.into_iter().any(|other| Rc::ptr_eq(pool, other))
        };
        for pool in before.upstreams.iter().flat_map(|upstream| &upstream.pools).filter(|pool| !stays(pool)) {
            pool.close();
        }
        for (upstream, own) in local.snapshot.upstreams.iter().zip(&local.upstreams) {
            for (server, pool) in upstream.servers.iter().zip(&own.pools) {
                if !crate::health::in_use(server.live.state(crate::pool::now())) {
                    // What drains or is down gets no more requests: its idle connections only keep it from leaving.
                    pool.clear();
                }
            }
        }
        *self.local.borrow_mut() = local;
    }

    /// Returns any number (SplitMix64).
    pub fn random(&self) -> u64 {
        let next = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(next);
        mix(next)
    }

    /// Calls `with` with the time for a Date field and for a log.
    pub fn with_time<T>(&self, with: impl FnOnce(&str, &str) -> T) -> T {
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut clock = self.clock.borrow_mut();
        if clock.second != second {
            let shown = jiff::Timestamp::try_from(now).unwrap_or_default();
            *clock = Clock {
                second,
                date: httpdate::fmt_http_date(now),
                log: shown.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            };
        }
        with(&clock.date, &clock.log)
    }

    /// Remembers a connection that is to be woken when no request may begin any more.
    pub fn remember(&self, sleeper: &Rc<Sleeper>) {
        let mut sleepers = self.sleepers.borrow_mut();
        if sleepers.len() == sleepers.capacity() {
            sleepers.retain(|sleeper| sleeper.strong_count() > 0);
            let length = sleepers.len();
            sleepers.reserve(length.max(64));
        }
        sleepers.push(Rc::downgrade(sleeper));
    }

    /// Begins no request any more: connections that wait for one are closed.
    pub fn quit(&self) {
        self.quitting.set(true);
        for sleeper in self.sleepers.take() {
            if let Some(waker) = sleeper.upgrade().and_then(|sleeper| sleeper.0.take()) {
                waker.wake();
            }
        }
    }

    /// Writes a line to a log, some time soon.
    pub fn log(&self, log: &Arc<LogFile>, write: impl FnOnce(&mut Vec<u8>)) {
        let mut lines = self.lines.borrow_mut();
        let index = match lines.iter().position(|(other, _)| Arc::ptr_eq(other, log)) {
            Some(index) => index,
            None => {
                lines.push((log.clone(), Vec::with_capacity(BLOCK + 1024)));
                lines.len() - 1
            }
        };
        let block = &mut lines[index].1;
        write(block);
        if block.len() >= BLOCK {
            let full = std::mem::replace(block, Vec::with_capacity(BLOCK + 1024));
            self.writer.send(log, full);
        }
    }

    /// Sends on what was written to logs.
    pub fn flush_logs(&self) {
        for (log, block) in self.lines.take() {
            if !block.is_empty() {
                self.writer.send(&log, block);
            }
        }
    }

    /// Closes idle connections that are too old, or were closed by their servers.
    pub fn tidy(&self) {
        for pool in self.local().upstreams.iter().flat_map(|upstream| &upstream.pools) {
            pool.tidy();
            pool.shared.tidy(SHARED_IDLE);
        }
    }
}

/// How long a connection to a server that speaks HTTP/2 waits for the next request: it costs one descriptor for all of them.
const SHARED_IDLE: Duration = Duration::from_secs(60);

const FRESH: Candidate = Candidate { weight: 1, in_flight: 0, seat: 0, open: true };

impl Sleeper {
    /// Remembers whom to wake.
    pub fn sleep(&self, waker: &Waker) {
        let mut own = self.0.borrow_mut();
        if !own.as_ref().is_some_and(|own| own.will_wake(waker)) {
            *own = Some(waker.clone());
        }
    }
}

impl Pool {
    fn new(live: &Arc<Live>, thread: usize) -> Self {
        Self {
            live: live.clone(),
            idle: RefCell::default(),
            closed: Cell::new(false),
            thread,
            shared: Default::default(),
        }
    }

    /// Takes a connection that is still of use.
    pub fn take(&self) -> Option<Io> {
        loop {
            // The one used last: it is the least likely to be closed by now, and the others get old and leave.
            let Idle { io, until } = self.idle.borrow_mut().pop()?;
            self.count(-1);
            // The clock is asked only where the answer may be yes: within two seconds nobody closes a connection.
            if !io.is_stale() && Instant::now() < until {
                return Some(io);
            }
        }
    }

    /// Keeps a connection for `wait`, unless there are `most` already.
    pub fn give(&self, io: Io, wait: Duration, most: usize) {
        let mut idle = self.idle.borrow_mut();
        if self.closed.get() || idle.len() >= most || wait.is_zero() {
            return;
        }
        idle.push(Idle { io, until: Instant::now() + wait });
        self.count(1);
    }

    fn tidy(&self) {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|one| one.until > now && !one.io.is_stale());
        self.count(idle.len() as i64 - before as i64);
    }

    fn clear(&self) {
        self.shared.clear();
        let count = self.idle.take().len();
        self.count(-(count as i64));
    }

    fn close(&self) {
        self.closed.set(true);
        self.clear();
    }

    fn count(&self, change: i64) {
        let counter = &self.live.counts[self.thread].idle;
        if change >= 0 { counter.add(change as u64) } else { counter.sub(change.unsigned_abs()) }
    }
}
