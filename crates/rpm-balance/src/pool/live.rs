//! What changes about a server: shared by all threads, kept across configurations.
//!
//! Health is a machine behind a lock; what requests need of it lies beside it in atomics, rewritten whenever it
//! changes. A request that goes well takes no lock.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rpm_model::Moment;
use rpm_model::edge::{CheckResult, MemberState, Notice, ServerState};

use crate::count::ServerCount;
use crate::health::{Health, Seen, Terms, in_use};
use crate::pool::Queue;

/// Where notices go; called with nothing locked.
pub type Tell = Arc<dyn Fn(Notice) + Send + Sync>;

/// What changes about a server.
pub struct Live {
    upstream: String,
    name: String,
    /// Requests in flight, of all threads.
    pub in_flight: AtomicU32,
    /// [`ServerState`] by number, as of the last change.
    state: AtomicU8,
    /// When the state changes by the clock, or a failed server may be tried, in microseconds; `u64::MAX` for never.
    change_at: AtomicU64,
    /// Nothing is held against it: a good answer need not be told.
    spotless: AtomicBool,
    /// A person's weight, until the next configuration; `u32::MAX` for none.
    pub weight: AtomicU32,
    /// Somebody waits to hear that nothing is in flight any more.
    drain_watched: AtomicBool,
    held: Mutex<Held>,
    /// By thread.
    pub counts: Box<[ServerCount]>,
    queue: Arc<Queue>,
    tell: Tell,
}

struct Held {
    health: Health,
    since: Moment,
    reason: String,
    check: Option<(CheckResult, Moment)>,
}

/// What there is to say about a server at one moment.
pub struct Report {
    /// How it is.
    pub state: ServerState,
    /// Since when.
    pub since: Moment,
    /// Why.
    pub reason: String,
    /// The last check.
    pub check: Option<CheckResult>,
    /// Its part of its weight, in percent.
    pub share: u32,
}

impl Live {
    /// Returns a server that nothing is known about yet.
    pub fn new(
        (upstream, name): (&str, &str),
        terms: Terms,
        member: MemberState,
        (threads, queue, tell): (usize, Arc<Queue>, Tell),
    ) -> Self {
        let live = Self {
            upstream: upstream.into(),
            name: name.into(),
            in_flight: AtomicU32::new(0),
            state: AtomicU8::new(0),
            change_at: AtomicU64::new(u64::MAX),
            spotless: AtomicBool::new(true),
            weight: AtomicU32::new(u32::MAX),
            drain_watched: AtomicBool::new(false),
            held: Mutex::new(Held {
                health: Health::new(terms, member),
                since: super::now(),
                reason: String::new(),
                check: None,
            }),
            counts: (0..threads).map(|_| ServerCount::default()).collect(),
            queue,
            tell,
        };
        live.publish(&live.lock(), super::now());
        live
    }

    /// Measures by other terms from now on.
    pub fn set_terms(&self, terms: Terms) {
        let now = super::now();
        self.change(now, "the configuration", |health| health.set_terms(terms));
    }

    /// Takes in what was seen. `why` is for people.
    pub fn see(&self, seen: Seen, why: &str) {
        if matches!(seen, Seen::Answer { bad: false, .. }) && self.spotless.load(Relaxed) {
            return;
        }
        self.change(super::now(), why, |health| health.see(super::now(), seen));
        if matches!(seen, Seen::Drain | Seen::Supervisor(MemberState::Draining)) {
            self.drain_watched.store(true, Relaxed);
            self.tell_if_drained();
        }
    }

    /// Keeps what an active check found.
    pub fn checked(&self, result: CheckResult) {
        let why = result.text.clone();
        let passed = result.passed;
        self.lock().check = Some((result, super::now()));
        self.see(Seen::Check { passed }, &why);
    }

    /// Returns whether checks should come faster; and whether it is down.
    pub fn check_pace(&self) -> (bool, bool) {
        let held = self.lock();
        (held.health.wavering(), held.health.state(super::now()) == ServerState::Down)
    }

    /// Returns how it is, as requests see it.
    pub fn state(&self, now: Moment) -> ServerState {
        let state = state_of(self.state.load(Relaxed));
        let by_clock = matches!(state, ServerState::Ejected | ServerState::SlowStart);
        if by_clock && now.0 >= self.change_at.load(Relaxed) {
            self.change(now, "its time was over", |_| {});
            return state_of(self.state.load(Relaxed));
        }
        state
    }

    /// Returns when the state changes by the clock, or a failed server may be tried.
    pub fn change_at(&self) -> Moment {
        Moment(self.change_at.load(Relaxed))
    }

    /// Returns its part of its weight, in percent.
    pub fn share(&self, now: Moment) -> u32 {
        match self.state(now) {
            ServerState::SlowStart => self.lock().health.share(now),
            _ => 100,
        }
    }

    /// Takes the one trial of a failed server whose time is over.
    pub fn probe(&self, now: Moment) -> bool {
        let mut held = self.lock();
        let taken = held.health.probe(now);
        self.publish(&held, now);
        taken
    }

    /// Returns what there is to say.
    pub fn report(&self) -> Report {
        let now = super::now();
        let held = self.lock();
        let check = held.check.as_ref().map(|(result, at)| CheckResult { age: now.since(*at), ..result.clone() });
        Report {
            state: held.health.state(now),
            since: held.since,
            reason: held.reason.clone(),
            check,
            share: held.health.share(now),
        }
    }

    /// A request is over.
    pub(super) fn release(&self) {
        let before = self.in_flight.fetch_sub(1, Relaxed);
        self.queue.wake_one();
        if before == 1 && self.drain_watched.load(Relaxed) {
            self.tell_if_drained();
        }
    }

    fn tell_if_drained(&self) {
        if state_of(self.state.load(Relaxed)) != ServerState::Draining || self.in_flight.load(Relaxed) > 0 {
            return;
        }
        if self.drain_watched.swap(false, Relaxed) {
            (self.tell)(Notice::Drained { upstream: self.upstream.clone(), server: self.name.clone() });
        }
    }

    fn change(&self, now: Moment, why: &str, with: impl FnOnce(&mut Health)) {
        let was = state_of(self.state.load(Relaxed));
        let is = {
            let mut held = self.lock();
            with(&mut held.health);
            let is = held.health.state(now);
            if is != was {
                held.since = now;
                held.reason = why.into();
            }
            self.publish(&held, now);
            is
        };
        if is == was {
            return;
        }
        (self.tell)(Notice::State {
            upstream: self.upstream.clone(),
            server: self.name.clone(),
            from: was,
            to: is,
            reason: why.into(),
        });
        if in_use(is) {
            self.queue.wake_all();
        }
    }

    fn publish(&self, held: &Held, now: Moment) {
        let health = &held.health;
        let change = health.next_change(now).or(health.probe_at());
        self.change_at.store(change.map_or(u64::MAX, |at| at.0), Relaxed);
        self.spotless.store(health.is_spotless(), Relaxed);
        self.state.store(health.state(now) as u8, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn state_of(number: u8) -> ServerState {
    const ALL: [ServerState; 8] = [
        ServerState::Up,
        ServerState::SlowStart,
        ServerState::Starting,
        ServerState::Failed,
        ServerState::Ejected,
        ServerState::Down,
        ServerState::Draining,
        ServerState::Disabled,
    ];
    *ALL.iter().find(|state| **state as u8 == number).unwrap_or(&ServerState::Down)
}
