//! What an app waits for before it starts, and who is stopped before it.
//!
//! A seat of an app whose dependencies are not there yet is *held*: it waits like one whose restart is delayed, without a
//! time. After every event it is looked whether that is over. A stop goes the other way round: a worker of an app on which
//! others depend that are stopped by the same command is asked only when those are down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rpm_model::depends::circle;
use rpm_model::{AppId, AppSpec, Dependency, Exit, WorkerId};

use crate::command::{FailureCause, Refusal};
use crate::effect::Cause;
use crate::pending::Goal;
use crate::process::Phase;
use crate::seat::{Place, Seat, Then};
use crate::supervisor::{App, Supervisor, Turn};

/// Never, as far as clocks go.
const NEVER: Duration = Duration::from_secs(3600 * 24 * 365);

/// A worker that is to be stopped when those that depend on it are down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deferred {
    worker: WorkerId,
    then: Then,
}

/// Something that an app waits for.
struct Unmet {
    app: String,
    wants: Dependency,
    /// Whether nothing will come of it unless somebody does something.
    is_hopeless: bool,
}

impl Supervisor {
    /// Refuses what new apps, and new specs of apps that are there, would depend on for the first time: apps that are not
    /// there, and circles. What an app depends on already is not asked about again.
    pub(crate) fn may_depend(&self, new: &[Arc<AppSpec>], changed: &[(AppId, Arc<AppSpec>)]) -> Result<(), Refusal> {
        let changed: BTreeMap<AppId, &AppSpec> = changed.iter().map(|(app, spec)| (*app, &**spec)).collect();
        let there = self.apps.values().flat_map(|app| {
            let spec = changed.get(&app.id).copied().unwrap_or(&app.spec);
            // A roll that fails puts it back.
            let before = app.roll.as_ref().and_then(|roll| roll.previous.as_deref());
            [Some(spec), before.filter(|_| !changed.contains_key(&app.id))]
        });
        let mut all: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for spec in there.flatten().chain(new.iter().map(|spec| &**spec)) {
            all.entry(&spec.name).or_default().extend(spec.depends_on.keys().map(String::as_str));
        }
        let of_changed = changed.iter().flat_map(|(app, spec)| {
            let before = self.apps.get(app).map(|app| &app.spec.depends_on);
            let is_new = move |name: &&String| before.is_none_or(|before| !before.contains_key(*name));
            spec.depends_on.keys().filter(is_new).map(|name| (&*spec.name, &**name))
        });
        let of_new = new.iter().flat_map(|spec| spec.depends_on.keys().map(|name| (&*spec.name, &**name)));
        let edges: Vec<(&str, &str)> = of_new.chain(of_changed).collect();
        if let Some((app, missing)) = edges.iter().find(|(_, missing)| !all.contains_key(missing)) {
            return Err(Refusal::UnknownDependency { app: (*app).to_owned(), missing: (*missing).to_owned() });
        }
        let circle = edges.into_iter().find_map(|(app, name)| circle(app, name, &all));
        circle.map_or(Ok(()), |apps| Err(Refusal::DependencyCircle { apps }))
    }

    /// Starts a process in an empty seat, or holds the seat until its app's dependencies are there.
    pub(crate) fn start_when_possible(&mut self, turn: &mut Turn<'_>, worker: WorkerId, cause: Cause) {
        let spec = self.app_of(worker).and_then(|app| self.apps.get(&app)).map(|app| app.spec.clone());
        match spec.and_then(|spec| self.unmet(&spec)) {
            Some(unmet) => self.hold(turn, worker, cause, Some(unmet.to_string())),
            None => self.spawn(turn, worker, cause, false),
        }
    }

    /// Holds an empty seat: at the end of each event it is looked whether it may start.
    pub(crate) fn hold(&mut self, turn: &Turn<'_>, worker: WorkerId, cause: Cause, why: Option<String>) {
        let until = turn.now + NEVER;
        let Some(seat) = self.seat_mut(worker) else { return };
        seat.place = Place::Waiting { until };
        (seat.is_held, seat.held_for) = (true, cause);
        seat.why = why;
        self.held.insert(worker);
    }

    /// Returns whether a worker that a command starts waits for what its app depends on. One that serves is taken down for
    /// that only where the command starts this again too; and an app that is named alone starts at once.
    pub(crate) fn starts_in_order(&self, worker: WorkerId, apps: &BTreeSet<AppId>) -> bool {
        let Some(seat) = self.seats.get(&worker).filter(|_| apps.len() > 1) else { return false };
        let Some(own) = self.apps.get(&seat.app) else { return false };
        let is_named =
            |name: &String| apps.iter().any(|app| self.apps.get(app).is_some_and(|app| app.spec.name == *name));
        match seat.runs() {
            true => own.spec.depends_on.keys().any(is_named),
            false => !own.spec.depends_on.is_empty(),
        }
    }

    /// Starts what was held and need not wait any more; whoever waits for what will not come is told.
    pub(crate) fn release_held(&mut self, turn: &mut Turn<'_>) {
        for worker in self.held.clone() {
            let seat =
                self.seats.get(&worker).filter(|seat| seat.is_held && matches!(seat.place, Place::Waiting { .. }));
            let Some((app, cause)) = seat.and_then(|seat| Some((self.apps.get(&seat.app)?, seat.held_for))) else {
                self.held.remove(&worker);
                continue;
            };
            match self.unmet(&app.spec.clone()) {
                None => {
                    self.held.remove(&worker);
                    self.spawn(turn, worker, cause, false);
                }
                Some(unmet) => {
                    let why = unmet.to_string();
                    if self.seats.get(&worker).is_some_and(|seat| seat.why.as_ref() != Some(&why))
                        && let Some(seat) = self.seat_mut(worker)
                    {
                        seat.why = Some(why.clone());
                    }
                    if unmet.is_hopeless {
                        let cause = FailureCause::Dependency { why };
                        self.disappoint(turn, worker, &[Goal::Up, Goal::Rolled, Goal::NextRun], cause);
                        // A roll goes on without it.
                        self.trial_passed(turn, worker);
                    }
                }
            }
        }
    }

    /// Returns the first thing that an app waits for.
    fn unmet(&self, spec: &AppSpec) -> Option<Unmet> {
        self.unmet_but(spec, &mut BTreeSet::new())
    }

    /// The same without another look at the apps that led here: a saved list may hold a circle.
    fn unmet_but(&self, spec: &AppSpec, seen: &mut BTreeSet<AppId>) -> Option<Unmet> {
        spec.depends_on.iter().find_map(|(name, wants)| {
            let apps: Vec<&App> = self.apps.values().filter(|app| app.spec.name == *name).collect();
            let seats: Vec<&Seat> =
                apps.iter().flat_map(|app| &app.workers).filter_map(|worker| self.seats.get(worker)).collect();
            let is_met = match wants {
                Dependency::Started => seats.iter().any(|seat| seat.runs()),
                Dependency::Healthy => {
                    let mut up = seats.iter().filter(|seat| !seat.is_down()).peekable();
                    up.peek().is_some() && up.all(|seat| seat.is_online() && !seat.is_ill())
                }
                Dependency::Completed => !seats.is_empty() && seats.iter().all(|seat| seat.is_completed()),
            };
            let is_hopeless = !is_met
                && apps.iter().all(|app| {
                    let mut seats = app.workers.iter().filter_map(|worker| self.seats.get(worker));
                    // One that waits is as hopeless as what it waits for.
                    let held = seats.clone().any(|seat| seat.is_held) && seen.insert(app.id);
                    let in_vain = held && self.unmet_but(&app.spec, seen).is_some_and(|unmet| unmet.is_hopeless);
                    // Who is well already is not what is waited for.
                    let is_well = |seat: &Seat| *wants == Dependency::Healthy && seat.is_online() && !seat.is_ill();
                    seats.all(|seat| seat.is_down() || seat.has_failed() || (seat.is_held && in_vain) || is_well(seat))
                });
            (!is_met).then(|| Unmet { app: name.clone(), wants: *wants, is_hopeless })
        })
    }

    /// Stops workers in an order in which nobody loses what it depends on: those on whose apps others depend, of those that are
    /// stopped too, when these are down.
    pub(crate) fn stop_in_order(
        &mut self,
        turn: &mut Turn<'_>,
        worker: WorkerId,
        then: Then,
        with: &BTreeSet<WorkerId>,
    ) {
        if self.is_needed(worker, with) {
            self.deferred.push((Deferred { worker, then }, with.clone()));
            // The roll has let go of its replacement, and it would only come up to be stopped.
            self.see_replacement_out(turn, worker, Cause::Stop);
        } else {
            self.leave(turn, worker, then, Cause::Stop, false);
        }
    }

    /// Goes on with stops for which nobody has to be waited any more.
    pub(crate) fn stop_deferred(&mut self, turn: &mut Turn<'_>) {
        loop {
            let free = self.deferred.iter().position(|(one, with)| !self.is_needed(one.worker, with));
            let Some(index) = free else { return };
            let (one, _) = self.deferred.remove(index);
            // It may have been on its way to be replaced meanwhile: ill, or with too much memory.
            self.put_off_roll(one.worker);
            self.leave(turn, one.worker, one.then, Cause::Stop, false);
        }
    }

    /// Returns whether a worker is to be stopped after others.
    pub(crate) fn is_deferred(&self, worker: WorkerId) -> bool {
        self.deferred.iter().any(|(one, _)| one.worker == worker)
    }

    /// Forgets the stop of a worker of which a later command wants something else, and waits for it no longer.
    pub(crate) fn forget_deferred(&mut self, worker: WorkerId) {
        self.deferred.retain(|(one, _)| one.worker != worker);
        for (_, with) in &mut self.deferred {
            with.remove(&worker);
        }
    }

    /// Returns whether one of these still runs whose app depends on a worker's.
    fn is_needed(&self, worker: WorkerId, with: &BTreeSet<WorkerId>) -> bool {
        let Some(own) = self.app_of(worker).and_then(|app| self.apps.get(&app)) else { return false };
        let mut seats = with.iter().filter_map(|worker| self.seats.get(worker)).filter(|seat| !seat.is_down());
        seats.any(|seat| {
            let app = self.apps.get(&seat.app);
            app.is_some_and(|app| app.id != own.id && app.spec.depends_on.contains_key(&own.spec.name))
        })
    }
}

impl Seat {
    /// Returns whether a process of it runs and is wanted.
    fn runs(&self) -> bool {
        matches!(&self.place, Place::Serving(process) if matches!(process.phase, Phase::Starting | Phase::Online))
    }

    /// Returns whether it waits for the next start after a failure: it may go on so for ever.
    fn has_failed(&self) -> bool {
        matches!(self.place, Place::Waiting { .. }) && !self.is_held
    }

    /// Returns whether nothing of it runs, or can be ended, and nothing will.
    fn is_down(&self) -> bool {
        let is_stuck = self.first().is_some_and(|process| process.phase == Phase::Stuck);
        let is_empty = matches!(self.place, Place::Stopped | Place::Errored | Place::Deleted);
        is_stuck || (is_empty && self.second.is_none())
    }

    fn is_ill(&self) -> bool {
        self.first().is_some_and(|process| process.checks.is_ill())
    }

    /// Returns whether its last process has done its work and ended well.
    fn is_completed(&self) -> bool {
        let agreed = &self.spec.restart.stop_exit_codes;
        matches!(self.place, Place::Stopped)
            && matches!(self.last_exit, Some((Exit::Code(code), _)) if code == 0 || agreed.contains(&code))
    }
}

impl std::fmt::Display for Unmet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Unmet { app, wants, is_hopeless } = self;
        let wants = match wants {
            Dependency::Started => "to be started",
            Dependency::Healthy => "to be healthy",
            Dependency::Completed => "to be completed",
        };
        let state = if *is_hopeless { ", which is down" } else { "" };
        write!(f, "waits for {app} {wants}{state}")
    }
}
