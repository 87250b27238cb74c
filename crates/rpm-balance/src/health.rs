//! How well one server is: a state machine without clock or sockets.
//!
//! Several know something about a server, and the first of these that has something to say decides:
//!
//! ```text
//! the configuration   down                                         → Disabled
//! a person            drain … ready                                → Draining
//! the supervisor      starting, draining, unhealthy … ready        → Starting, Draining, Down
//! active checks       `fall` failures in a row … `rise` passes     → Down
//! requests            `max_fails` within `fail_timeout`            → Failed, for `fail_timeout`
//! answers             5xx in a row                                 → Ejected, longer each time
//! the clock           came up less than `slow_start` ago           → SlowStart
//! otherwise                                                        → Up
//! ```
//!
//! A server whose time as `Failed` is over is tried with one request; see [`Health::probe`].

use std::time::Duration;

use rpm_model::Moment;
use rpm_model::edge::{MemberState, ServerState};

/// What a server is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// See [`rpm_model::balance::ServerSpec`].
    pub max_fails: u32,
    /// See there.
    pub fail_timeout: Duration,
    /// See there.
    pub slow_start: Duration,
    /// See there.
    pub disabled: bool,
    /// Passes that bring it up, failures that take it down; `None` where nothing checks actively.
    pub checks: Option<(u32, u32)>,
    /// Bad answers in a row that eject it, and for how long at first.
    pub outlier: Option<(u32, Duration)>,
}

/// Something that was seen of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A request failed: no connection, no answer, or one that is no HTTP.
    Failure,
    /// A request was answered; `bad` with a 5xx.
    Answer {
        /// Whether with a 5xx.
        bad: bool,
        /// Whether it may be ejected: not too many others are.
        may_eject: bool,
    },
    /// An active check ended.
    Check {
        /// Whether it passed.
        passed: bool,
    },
    /// The supervisor said so.
    Supervisor(MemberState),
    /// A person said so.
    Drain,
    /// A person said so: all that was held against it is forgotten.
    Ready,
}

/// How well one server is.
#[derive(Debug, Clone)]
pub struct Health {
    terms: Terms,
    drained: bool,
    member: MemberState,
    checks_up: bool,
    check_streak: u32,
    fails: u32,
    fails_since: Moment,
    failed_until: Option<Moment>,
    bad_streak: u32,
    ejected_until: Option<Moment>,
    ejections: u32,
    /// When it last came up; `None` for one that was up from the start of everything.
    up_since: Option<Moment>,
}

/// Ejections grow up to so many times the first one.
const EJECTIONS_MAX: u32 = 10;

impl Health {
    /// Returns the health of a server nobody knows anything about yet: it is up, unless the supervisor says otherwise.
    pub fn new(terms: Terms, member: MemberState) -> Self {
        Self {
            terms,
            drained: false,
            member,
            checks_up: true,
            check_streak: 0,
            fails: 0,
            fails_since: Moment::default(),
            failed_until: None,
            bad_streak: 0,
            ejected_until: None,
            ejections: 0,
            up_since: None,
        }
    }

    /// Measures by other terms from now on.
    pub fn set_terms(&mut self, terms: Terms) {
        if terms.checks.is_none() {
            (self.checks_up, self.check_streak) = (true, 0);
        }
        self.terms = terms;
    }

    /// Returns how it is at this moment.
    pub fn state(&self, now: Moment) -> ServerState {
        if self.terms.disabled {
            return ServerState::Disabled;
        }
        if self.drained {
            return ServerState::Draining;
        }
        match self.member {
            MemberState::Starting => return ServerState::Starting,
            MemberState::Draining => return ServerState::Draining,
            MemberState::Unhealthy => return ServerState::Down,
            MemberState::Ready => {}
        }
        if !self.checks_up {
            return ServerState::Down;
        }
        if self.failed_until.is_some() {
            return ServerState::Failed;
        }
        if self.ejected_until.is_some_and(|until| now < until) {
            return ServerState::Ejected;
        }
        match self.up_since {
            Some(since) if now.since(since) < self.terms.slow_start => ServerState::SlowStart,
            _ => ServerState::Up,
        }
    }

    /// Takes in what was seen.
    pub fn see(&mut self, now: Moment, seen: Seen) {
        let was = self.state(now);
        match seen {
            Seen::Failure => self.failure(now),
            Seen::Answer { bad, may_eject } => self.answer(now, bad, may_eject),
            Seen::Check { passed } => self.check(passed),
            Seen::Supervisor(state) => {
                if state == MemberState::Ready && self.member != MemberState::Ready {
                    // A new life, or one that recovered: what its past did is not held against it.
                    self.forgive();
                }
                self.member = state;
            }
            Seen::Drain => self.drained = true,
            Seen::Ready => {
                self.drained = false;
                self.checks_up = true;
                self.check_streak = 0;
                self.forgive();
            }
        }
        let is = self.state(now);
        if !in_use(was) && in_use(is) {
            self.up_since = Some(now);
        }
    }

    /// Returns whether one request may try a server whose time as `Failed` is over. Then it is that request's alone:
    /// the next may try after another `fail_timeout`, unless the answer brings the server back before.
    pub fn probe(&mut self, now: Moment) -> bool {
        match self.failed_until {
            Some(until) if now >= until && self.state(now) == ServerState::Failed => {
                self.failed_until = Some(now + self.terms.fail_timeout);
                true
            }
            _ => false,
        }
    }

    /// Returns when the next request may try a failed server.
    pub fn probe_at(&self) -> Option<Moment> {
        self.failed_until
    }

    /// Returns the moment at which the state changes by the clock alone.
    pub fn next_change(&self, now: Moment) -> Option<Moment> {
        match self.state(now) {
            ServerState::Ejected => self.ejected_until,
            ServerState::SlowStart => self.up_since.map(|since| since + self.terms.slow_start),
            _ => None,
        }
    }

    /// Returns what part of its weight it has, in percent: less than 100 only while that grows.
    pub fn share(&self, now: Moment) -> u32 {
        if self.state(now) != ServerState::SlowStart {
            return 100;
        }
        let age = self.up_since.map_or(Duration::MAX, |since| now.since(since));
        let percent = age.as_micros().saturating_mul(100) / self.terms.slow_start.as_micros().max(1);
        // One percent at least, or nothing would ever be sent to it.
        u32::try_from(percent).unwrap_or(100).clamp(1, 100)
    }

    /// Returns whether the state is about to change by active checks: they come faster then.
    pub fn wavering(&self) -> bool {
        self.check_streak > 0
    }

    /// Returns whether an answer changes anything: nothing is held against it, and there is nothing to count.
    pub fn is_spotless(&self) -> bool {
        self.fails == 0 && self.bad_streak == 0 && self.failed_until.is_none()
    }

    fn forgive(&mut self) {
        (self.fails, self.failed_until) = (0, None);
        (self.bad_streak, self.ejected_until, self.ejections) = (0, None, 0);
    }

    fn failure(&mut self, now: Moment) {
        if self.terms.max_fails == 0 {
            return;
        }
        if now.since(self.fails_since) >= self.terms.fail_timeout && self.failed_until.is_none() {
            (self.fails, self.fails_since) = (0, now);
        }
        self.fails = self.fails.saturating_add(1);
        if self.fails >= self.terms.max_fails {
            self.failed_until = Some(now + self.terms.fail_timeout);
        }
    }

    fn answer(&mut self, now: Moment, bad: bool, may_eject: bool) {
        (self.fails, self.failed_until) = (0, None);
        let Some((limit, ejection)) = self.terms.outlier else { return };
        if !bad {
            self.bad_streak = 0;
            return;
        }
        self.bad_streak = self.bad_streak.saturating_add(1);
        if self.bad_streak >= limit && may_eject && self.ejected_until.is_none_or(|until| now >= until) {
            self.bad_streak = 0;
            self.ejections = (self.ejections + 1).min(EJECTIONS_MAX);
            self.ejected_until = Some(now + ejection * self.ejections);
        }
    }

    fn check(&mut self, passed: bool) {
        let Some((rise, fall)) = self.terms.checks else { return };
        if passed == self.checks_up {
            self.check_streak = 0;
            if passed {
                // What an active check found well need not be tried by a client's request.
                (self.fails, self.failed_until) = (0, None);
            }
            return;
        }
        self.check_streak += 1;
        if self.check_streak >= if passed { rise } else { fall } {
            (self.checks_up, self.check_streak) = (passed, 0);
            if passed {
                self.forgive();
            }
        }
    }
}

/// Returns whether requests are sent to a server in this state.
pub fn in_use(state: ServerState) -> bool {
    match state {
        ServerState::Up | ServerState::SlowStart => true,
        ServerState::Starting
        | ServerState::Failed
        | ServerState::Ejected
        | ServerState::Down
        | ServerState::Draining
        | ServerState::Disabled => false,
    }
}

#[cfg(test)]
mod tests;
