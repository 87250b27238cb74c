//! How a new daemon takes up the work of one that died.
//!
//! [`Supervisor::restore`] believes the newest of two witnesses. The saved state is as old as the last `Persist`; the
//! keeper's facts are true now, but know neither apps nor intentions. So: a life in both goes on; a life that the keeper
//! does not know has ended in a way that nobody knows; a life newer than the saved state is adopted with the counters of
//! its [`Note`] if its seat has no other, and killed otherwise; anything else that the keeper knows is killed.

use std::collections::{BTreeMap, BTreeSet};

use rpm_model::{Exit, Generation, Hook, Life, Moment, WorkerId};
use serde::{Deserialize, Serialize};

use crate::command::FailureCause;
use crate::effect::{Cause, Effect, Happening};
use crate::process::{Phase, Process, Trial};
use crate::saved::Saved;
use crate::seat::{Place, Seat, Second};
use crate::supervisor::{Supervisor, Turn};

/// Generations left out after a daemon died: more than a seat can use up between two writes of the state, since sixteen
/// starts in a row without a wait are the end.
const GENERATION_GAP: u64 = 100;

/// What the keeper knows of one process.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// Which process.
    pub life: Life,
    /// Its pid.
    pub pid: i32,
    /// When it was started.
    pub started_at: Moment,
    /// How and when it ended, if it has.
    pub exit: Option<(Exit, Moment)>,
    /// Whether descendants of it still run.
    pub leftovers: bool,
    /// What was noted at its start.
    pub note: Option<Note>,
}

/// Counters of a seat, stored by the keeper with each process (from [`Effect::Spawn`]): they survive even if the daemon
/// dies before it has written them down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// How often the seat was started again.
    pub restarts: u32,
    /// Unstable runs in a row.
    pub unstable: u32,
    /// When the seat was created.
    pub created_at: Moment,
}

impl Supervisor {
    /// Takes up the work of a daemon that died: `facts` is what the keeper knows now.
    ///
    /// A roll goes on where it was. Readiness that was not written down is found out again: whoever knows that a worker
    /// listens says so once more.
    pub fn restore(now: Moment, saved: Saved, facts: &[Fact], effects: &mut Vec<Effect>) -> Self {
        let mut this = Self::default();
        (this.next_app, this.next_worker) = (saved.next_app, saved.next_worker);
        (this.generation_floor, this.generation_seen) = (saved.generation_floor, saved.generation_seen);
        this.unknown = saved.unknown;
        let turn = &mut Turn { now, effects };
        let mut wanted = Vec::new();
        for app in saved.apps {
            this.load_app(app, now, &mut wanted);
        }
        let facts: BTreeMap<Life, &Fact> = facts.iter().map(|fact| (fact.life, fact)).collect();
        let workers: Vec<WorkerId> = this.seats.keys().copied().collect();
        // First everything that lives is known, then what happened meanwhile is made up for: a roll may start lives.
        for worker in &workers {
            this.adopt_newer(turn, *worker, &facts);
        }
        this.skip_generations(&facts);
        let lives: Vec<Life> = this.seats.values().flat_map(Seat::lives).collect();
        for fact in facts.values() {
            let remains = fact.exit.is_none() || fact.leftovers;
            if remains && !this.is_current(fact.life) {
                turn.ask_for(Effect::Kill { life: fact.life });
            }
        }
        for life in &lives {
            this.catch_up(turn, *life, facts.get(life).copied());
        }
        // A replacement that is alone in its seat serves for all we know: what it said may have been lost. From here on it
        // is judged as at a start, and not taken away for its silence.
        for worker in &workers {
            if let Some(Place::Serving(process)) = this.seat_mut(*worker).map(|seat| &mut seat.place) {
                process.trial = None;
            }
        }
        // One whose turn came later may have been asked to leave by a roll before it was known to be dead.
        let dead = |life: &Life| facts.get(life).is_none_or(|fact| fact.exit.is_some() && !fact.leftovers);
        let dead: BTreeSet<Life> = lives.into_iter().filter(dead).collect();
        turn.effects.retain(|effect| effect.life().is_none_or(|life| !dead.contains(&life)));
        for worker in wanted {
            this.start_when_possible(turn, worker, Cause::Start);
        }
        this.release_held(turn);
        for app in this.apps.keys().copied().collect::<Vec<_>>() {
            this.advance_roll(turn, app);
        }
        for worker in this.seats.keys().copied().collect::<Vec<_>>() {
            this.seat_mut(worker);
        }
        this.dirty = true;
        this.end_turn(turn);
        this
    }

    /// Finds the lives of a seat that were started after the state was last written.
    fn adopt_newer(&mut self, turn: &mut Turn<'_>, worker: WorkerId, facts: &BTreeMap<Life, &Fact>) {
        let now = turn.now;
        let Some(seat) = self.seat_mut(worker) else { return };
        let after = Life { worker, generation: Generation(seat.generation.saturating_add(1)) };
        let last = Life { worker, generation: Generation(u64::MAX) };
        let Some((newest, _)) = facts.range(after..=last).next_back() else { return };
        seat.generation = newest.generation.0;
        let lives = |life: &Life| facts.get(life).is_some_and(|fact| fact.exit.is_none());
        let mut alive = facts.range(after..=last).map(|(life, _)| *life).filter(lives);
        // The oldest that lives is the one that serves. A younger one beside it was a replacement, of a roll that nobody
        // knows any more: it is killed, and known until it is gone, so that no third process comes in.
        let serves = seat.life().filter(lives);
        let adopted = if serves.is_some() || seat.is_doomed() { None } else { alive.next().or(Some(*newest)) };
        let mut unfinished = false;
        if let Some(surplus) = alive.next_back() {
            let mut process = Process::new(surplus, seat.spec.clone(), Cause::Rollback, None, now);
            process.phase = Phase::Killed { give_up_at: process.give_up_at(now) };
            process.leaving = Some(Cause::Rollback);
            unfinished = matches!(seat.second.replace(Second::Outgoing(process)), Some(Second::Incoming(_)));
            turn.ask_for(Effect::Kill { life: surplus });
        }
        if let Some(life) = adopted {
            self.adopt(now, life, facts);
        } else if unfinished {
            self.roll_failed(turn, worker, FailureCause::Superseded);
        }
    }

    /// Gives a life that the saved state does not know its seat.
    fn adopt(&mut self, now: Moment, life: Life, facts: &BTreeMap<Life, &Fact>) {
        let (Some(seat), Some(fact)) = (self.seat_mut(life.worker), facts.get(&life)) else { return };
        let note = fact.note.unwrap_or(Note {
            restarts: seat.restarts.saturating_add(1),
            unstable: seat.streak.unstable,
            created_at: seat.created_at,
        });
        seat.restarts = note.restarts;
        seat.created_at = note.created_at;
        seat.streak.unstable = note.unstable;
        seat.streak.since = seat.streak.since.or((note.unstable > 0).then_some(fact.started_at));
        if let Some(first) = seat.first() {
            seat.last_exit = facts.get(&first.life).and_then(|fact| fact.exit).or(seat.last_exit);
        }
        // A replacement that waits beside a dead process is not needed any more.
        if let Some(Second::Incoming(process)) = seat.second.take_if(|second| matches!(second, Second::Incoming(_))) {
            seat.second = Some(Second::Outgoing(process));
        }
        let trial = seat.trial.is_some().then_some(Trial { must_listen: false });
        let spec = seat.trial.as_ref().unwrap_or(&seat.spec).clone();
        seat.place = Place::Serving(Process::new(life, spec, Cause::Crash, trial, now));
        seat.why = None;
    }

    /// Leaves a gap in the count of generations: a life started after the last write may have ended without a trace, and
    /// no life is given out twice.
    fn skip_generations(&mut self, facts: &BTreeMap<Life, &Fact>) {
        for seat in self.seats.values_mut() {
            seat.generation += GENERATION_GAP;
        }
        let strangers = facts.keys().filter(|life| !self.seats.contains_key(&life.worker));
        let highest = strangers.map(|life| life.generation.0).max().unwrap_or_default();
        self.generation_floor = self.generation_floor.max(highest) + GENERATION_GAP;
        self.generation_seen = self.generation_seen.max(self.generation_floor);
    }

    /// Makes up for what happened to a process while nobody looked, and asks again for what the dead daemon waited for.
    fn catch_up(&mut self, turn: &mut Turn<'_>, life: Life, fact: Option<&Fact>) {
        let Some(fact) = fact else {
            // It has ended, and nobody can say how.
            self.exited_at(turn, life, Exit::Unknown, false, turn.now);
            return self.tree_gone(turn, life);
        };
        let Some(process) = self.process(life) else { return };
        let (phase, known, is_ill) = (process.phase, process.pid.is_some(), process.checks.is_ill());
        // One that has ended is not asked whether it is ready: it lived long enough for that, perhaps, and is dead.
        if let Some((exit, at)) = fact.exit {
            if !known && let Some(process) = self.process_mut(life) {
                (process.pid, process.started_at) = (Some(fact.pid), fact.started_at);
                let cause = process.cause;
                turn.publish(life.worker, Happening::Started { cause });
            }
            self.exited_at(turn, life, exit, fact.leftovers, at.min(turn.now));
            if !fact.leftovers {
                self.tree_gone(turn, life);
            }
            return;
        }
        match phase {
            Phase::Spawning => self.spawned(turn, life, fact.pid, fact.started_at),
            _ if !known => self.spawned(turn, life, fact.pid, fact.started_at),
            Phase::Starting => turn.ask_for(Effect::WatchSettling { life }),
            Phase::Online if is_ill => turn.ask_for(Effect::Withhold { life }),
            Phase::Online => turn.ask_for(Effect::Admit { life }),
            Phase::Draining { until } => turn.ask_for(Effect::Drain { life, until }),
            // Whether it was asked nobody knows: what was run before that ended with the dead daemon.
            Phase::Stopping { .. } if self.process(life).is_some_and(|one| one.spec.hook(Hook::PreStop).is_some()) => {
                turn.ask_for(Effect::Ask { life });
            }
            Phase::Stopping { .. } | Phase::Killed { .. } | Phase::Sweeping(_) | Phase::Stuck => {}
        }
        if self.is_replacement_given_up(life) {
            self.ask(turn, life, Cause::Rollback);
        }
    }

    /// Returns whether a process is an outgoing one that nobody has asked to leave yet.
    fn is_replacement_given_up(&self, life: Life) -> bool {
        let second = self.seats.get(&life.worker).and_then(|seat| seat.second.as_ref());
        let waits = |process: &Process| matches!(process.phase, Phase::Starting | Phase::Online);
        matches!(second, Some(Second::Outgoing(process)) if process.life == life && waits(process))
    }
}
