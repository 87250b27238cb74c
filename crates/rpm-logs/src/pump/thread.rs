//! The pump's thread: waits for pipes, commands and deadlines, and lets streams advance in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::files::Files;
use super::stream::{Flow, Live, Shop};
use super::{Command, Event, SharedCounters, Stream};

/// The event descriptor's name in epoll; streams count from 1.
const COMMANDS: u64 = 0;

/// So many pieces of a stream are carried at a shutdown at most; what a writer adds meanwhile waits for the next pump.
const LAST_PIECES: usize = 64;

/// Descriptors reported by one wait; the others come with the next.
const EVENTS: usize = 64;

struct Room {
    epoll: OwnedFd,
    received: mpsc::Receiver<Command>,
    wake: Arc<OwnedFd>,
    counters: Arc<SharedCounters>,
    on_event: Box<dyn FnMut(Event) + Send>,
    files: Files,
    streams: BTreeMap<u64, Live>,
    /// Streams with a deadline, and streams taken out of epoll after a failure.
    timed: BTreeSet<u64>,
    paused: BTreeSet<u64>,
    last: u64,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// Prepares the thread's work; what can fail fails here.
pub(super) fn prepare(
    received: mpsc::Receiver<Command>,
    wake: Arc<OwnedFd>,
    counters: Arc<SharedCounters>,
    on_event: Box<dyn FnMut(Event) + Send>,
) -> io::Result<impl FnOnce() + Send + 'static> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &*wake, epoll::EventData::new_u64(COMMANDS), epoll::EventFlags::IN)?;
    let mut room = Room {
        epoll,
        received,
        wake,
        counters,
        on_event,
        files: Files::default(),
        streams: BTreeMap::new(),
        timed: BTreeSet::new(),
        paused: BTreeSet::new(),
        last: COMMANDS,
        input: Vec::new(),
        output: Vec::new(),
    };
    Ok(move || room.run())
}

impl Room {
    fn run(&mut self) {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        loop {
            let timeout = self.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
            // A millisecond more: epoll rounds down, and would wake too early, and again.
            let timeout = timeout.map(|left| timespec(left + Duration::from_millis(1)));
            events.clear();
            // The only failure of a wait on a good descriptor is EINTR, and then there are no events.
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref());
            self.counters.wakeups.fetch_add(1, Ordering::Relaxed);
            let mut told = false;
            for event in &events {
                match event.data.u64() {
                    COMMANDS => told = true,
                    id => self.advance(id),
                }
            }
            self.wake_due();
            if told && self.obey() {
                return;
            }
        }
    }

    /// Carries out what was asked, and returns whether that was to stop.
    fn obey(&mut self) -> bool {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.wake, &mut count);
        while let Ok(command) = self.received.try_recv() {
            match command {
                Command::Add(streams) => self.add(streams),
                Command::Finish(key) => {
                    // One that is still there tells when it ends.
                    if !self.streams.values().any(|live| live.key == key) {
                        (self.on_event)(Event::Ended { key });
                    }
                }
                Command::Reopen(done) => {
                    self.files.reopen();
                    done();
                }
                Command::Rotate(log) => {
                    if let Some(rotated) = self.files.rotate_path(&log) {
                        (self.on_event)(Event::of_rotation(rotated));
                    }
                }
                Command::Shutdown => {
                    self.stop();
                    return true;
                }
            }
        }
        false
    }

    fn add(&mut self, streams: Vec<Stream>) {
        let mut added = Vec::new();
        for stream in streams {
            let key = stream.key.clone();
            match Live::adopt(stream, &mut self.shop().1) {
                Ok(live) => {
                    self.last += 1;
                    self.streams.insert(self.last, live);
                    added.push(self.last);
                }
                Err(error) => (self.on_event)(Event::StreamFailed { key, error }),
            }
        }
        // Those first whose last write may be half done: what others write to the same file comes behind it.
        added.sort_by_key(|id| !self.streams[id].is_pending());
        for id in added {
            self.with(id, |live, shop| live.carry_backlog(shop));
            self.watch(id);
        }
        self.counters.streams.store(self.streams.len() as u64, Ordering::Relaxed);
    }

    /// Puts a stream's pipe into epoll.
    fn watch(&mut self, id: u64) {
        let Some(live) = self.streams.get_mut(&id) else { return };
        self.paused.remove(&id);
        let added = epoll::add(&self.epoll, &live.pipe, epoll::EventData::new_u64(id), epoll::EventFlags::IN);
        if let Err(error) = added {
            if live.rest() {
                (self.on_event)(Event::StreamFailed { key: live.key.clone(), error: error.into() });
            }
            self.paused.insert(id);
            self.timed.insert(id);
        }
    }

    /// Takes a stream's pipe out of epoll. Closing it would not do: the keeper's duplicate keeps it there.
    fn unwatch(&mut self, id: u64) {
        if let Some(live) = self.streams.get(&id) {
            let _ = epoll::delete(&self.epoll, &live.pipe);
        }
    }

    /// Lets a stream take and carry one piece.
    fn advance(&mut self, id: u64) {
        let flow = self.with(id, |live, shop| live.advance(shop));
        if flow == Some(Flow::Ended) {
            self.unwatch(id);
            self.forget_if_done(id);
        }
    }

    /// Lets the streams act whose deadline has come.
    fn wake_due(&mut self) {
        if self.timed.is_empty() {
            return;
        }
        let now = Instant::now();
        let due = |live: &Live| live.wake_at().is_some_and(|at| at <= now);
        let ids: Vec<u64> = self.timed.iter().copied().filter(|id| self.streams.get(id).is_some_and(due)).collect();
        for id in ids {
            if self.with(id, |live, shop| live.wake(now, shop)).is_some() && self.paused.contains(&id) {
                self.watch(id);
            }
            self.forget_if_done(id);
        }
    }

    fn forget_if_done(&mut self, id: u64) {
        if self.streams.get(&id).is_some_and(Live::is_done) {
            let live = self.streams.remove(&id).expect("it is there");
            self.timed.remove(&id);
            self.paused.remove(&id);
            (self.on_event)(Event::Ended { key: live.key.clone() });
            live.release(&mut self.files);
            self.counters.streams.store(self.streams.len() as u64, Ordering::Relaxed);
        }
    }

    /// Does something with a stream; a failure is told, and puts the stream aside for a while.
    fn with<T>(&mut self, id: u64, action: impl FnOnce(&mut Live, &mut Shop<'_>) -> io::Result<T>) -> Option<T> {
        let (streams, mut shop) = self.shop();
        let live = streams.get_mut(&id)?;
        let result = action(live, &mut shop);
        let result = match result {
            Ok(value) => Some(value),
            Err(error) => {
                if live.rest() {
                    (shop.on_event)(Event::StreamFailed { key: live.key.clone(), error });
                }
                None
            }
        };
        let timed = live.wake_at().is_some();
        if result.is_none() && self.paused.insert(id) {
            self.unwatch(id);
        }
        if timed {
            self.timed.insert(id)
        } else {
            self.timed.remove(&id)
        };
        result
    }

    fn shop(&mut self) -> (&mut BTreeMap<u64, Live>, Shop<'_>) {
        let Self { streams, files, input, output, counters, on_event, .. } = self;
        (streams, Shop { files, input, output, counters, on_event: &mut **on_event })
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.timed.iter().filter_map(|id| self.streams.get(id)?.wake_at()).min()
    }

    fn stop(&mut self) {
        let ids: Vec<u64> = self.streams.keys().copied().collect();
        for id in ids {
            for _ in 0..LAST_PIECES {
                match self.with(id, |live, shop| live.advance(shop)) {
                    Some(Flow::More) => {}
                    Some(Flow::Ended) => {
                        self.forget_if_done(id);
                        break;
                    }
                    Some(Flow::Empty) | None => break,
                }
            }
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}
