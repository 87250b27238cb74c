//! The commands that are not answered yet.
//!
//! A seat knows who waits for it ([`Waiter`]); a command knows how many seats it still waits for. It is answered when
//! that number is zero and no roll of it goes on.

use std::collections::BTreeMap;

use rpm_model::WorkerId;

use crate::command::{CommandId, Failure, Outcome};
use crate::effect::Effect;

/// What a command wants of a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Its process is ready.
    Up,
    /// Its process is replaced, by the app's roll.
    Rolled,
    /// Nothing of its processes is left.
    Down,
    /// It is forgotten.
    Gone,
    /// The job's run that is under way has ended well.
    Run,
    /// The job's next run has: from its start on this is [`Goal::Run`].
    NextRun,
}

impl Goal {
    /// Returns whether whoever waits for this may go on waiting when a later command wants `later`.
    pub(crate) fn is_served_by(self, later: Goal) -> bool {
        match self {
            Goal::Down => matches!(later, Goal::Down | Goal::Gone),
            Goal::Gone => later == Goal::Gone,
            Goal::Up => later == Goal::NextRun,
            Goal::Run | Goal::NextRun => later == Goal::NextRun,
            Goal::Rolled => false,
        }
    }
}

/// A command that waits for a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) command: CommandId,
    pub(crate) goal: Goal,
    /// Whether the command has failed already, and waits for the release before.
    pub(crate) is_back: bool,
}

/// A command that is not answered yet.
#[derive(Debug, Default)]
struct Pending {
    workers: Vec<WorkerId>,
    /// Seats it waits for.
    open: u32,
    done: u32,
    /// Rolls of it that go on.
    rolls: u32,
    failures: Vec<Failure>,
    /// Whether a failure changed the service for good.
    lasting: bool,
}

/// All commands that are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    pending: BTreeMap<CommandId, Pending>,
}

impl Commands {
    /// Takes a command up.
    pub(crate) fn open(&mut self, command: CommandId) {
        self.pending.insert(command, Pending::default());
    }

    /// Adds a seat that the command acts on and waits for.
    pub(crate) fn wait_for(&mut self, command: CommandId, worker: WorkerId) {
        if let Some(pending) = self.pending.get_mut(&command) {
            pending.workers.push(worker);
            pending.open += 1;
        }
    }

    /// Tells that the command was taken up, and for how many seats it waits.
    pub(crate) fn begun(&mut self, command: CommandId, effects: &mut Vec<Effect>) {
        let waits = self.pending.get(&command).filter(|pending| pending.open > 0 && pending.done == 0);
        effects.extend(waits.map(|pending| Effect::Progress { command, done: 0, total: pending.open }));
    }

    /// Adds a roll that the command waits for.
    pub(crate) fn wait_for_roll(&mut self, command: CommandId) {
        if let Some(pending) = self.pending.get_mut(&command) {
            pending.rolls += 1;
        }
    }

    /// Records that a roll of the command is over.
    pub(crate) fn roll_over(&mut self, command: CommandId) {
        if let Some(pending) = self.pending.get_mut(&command) {
            pending.rolls = pending.rolls.saturating_sub(1);
        }
    }

    /// Records a failure; a `lasting` one is not made good by undoing.
    pub(crate) fn fail(&mut self, command: CommandId, failure: Failure, lasting: bool) {
        if let Some(pending) = self.pending.get_mut(&command) {
            pending.failures.push(failure);
            pending.lasting |= lasting;
        }
    }

    /// Records that the command need not wait for one of its seats any longer.
    pub(crate) fn release(&mut self, command: CommandId, effects: &mut Vec<Effect>) {
        if let Some(pending) = self.pending.get_mut(&command) {
            pending.open = pending.open.saturating_sub(1);
            pending.done += 1;
            let total = pending.done + pending.open;
            if total > 1 {
                effects.push(Effect::Progress { command, done: pending.done, total });
            }
        }
    }

    /// Answers the command if it waits for nothing. Returns whether it did.
    pub(crate) fn settle(&mut self, command: CommandId, effects: &mut Vec<Effect>) -> bool {
        if self.pending.get(&command).is_none_or(|pending| pending.open > 0 || pending.rolls > 0) {
            return false;
        }
        let Some(mut pending) = self.pending.remove(&command) else { return false };
        let outcome = if pending.failures.is_empty() {
            pending.workers.sort_unstable();
            pending.workers.dedup();
            Outcome::Done { workers: pending.workers }
        } else {
            Outcome::Failed { failures: pending.failures, undone: !pending.lasting }
        };
        effects.push(Effect::Reply { command, outcome });
        true
    }

    /// Returns whether the command is not answered yet.
    pub(crate) fn is_open(&self, command: CommandId) -> bool {
        self.pending.contains_key(&command)
    }
}
