//! One row of the table.

use crate::stage::Stage;

/// An app that is there before anything happens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    /// One of `tests/apps` or `tests/chaos/apps`.
    pub(crate) script: &'static str,
    pub(crate) options: &'static [&'static str],
    /// How many of its main processes are there all the time.
    pub(crate) promised: usize,
}

/// What may differ from the ordinary: one copy of each worker, a daemon that answers, counters that go up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum May {
    /// Two lives of a worker: a reload.
    Overlap,
    /// The daemon does not answer, or late.
    Outages,
    /// Counters begin again: a deletion.
    Forget,
}

/// Needs that not every machine has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Needs {
    Nothing,
    Root,
}

/// One scenario: the apps, what is done to them, what may be seen meanwhile. Everything else is the observer's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) apps: &'static [Setup],
    pub(crate) act: fn(&mut Stage),
    pub(crate) may: &'static [May],
    pub(crate) needs: Needs,
    /// It measures: nothing else of ours runs meanwhile.
    pub(crate) alone: bool,
}

impl Scenario {
    pub(crate) const fn new(name: &'static str, apps: &'static [Setup], act: fn(&mut Stage)) -> Self {
        Self { name, apps, act, may: &[], needs: Needs::Nothing, alone: false }
    }

    pub(crate) const fn may(mut self, may: &'static [May]) -> Self {
        self.may = may;
        self
    }

    pub(crate) const fn root(mut self) -> Self {
        self.needs = Needs::Root;
        self
    }

    pub(crate) const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }
}
