//! The room of apps that scale themselves, and of canaries that are judged: what their workers carry and answer is looked at
//! again and again, and told to the core, which decides. There is no timer while no app wants it.
//!
//! ```text
//!  due ─▶ the balancers are asked ─▶ all have answered, or 300 ms are over ─▶ `Event::Load`, `Event::Canary` for each app
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use rpm_model::{AppId, Load, Moment};
use rpm_supervise::judge::Tally;
use rpm_supervise::{Event, Watched};

use crate::daemon::Daemon;
use crate::edge::Who;

/// Between two looks: three agree within 2.3 s, whenever a load begins.
const LOOK_EVERY: Duration = Duration::from_millis(750);

/// What is looked at.
#[derive(Debug, Default)]
pub(crate) struct Autoscale {
    /// The apps that scale themselves.
    apps: Vec<AppId>,
    /// The canaries that are judged.
    canaries: Vec<Watched>,
    due: Option<Moment>,
    /// Whether balancers were asked, and the look is not over.
    is_open: bool,
}

impl Daemon {
    /// Takes up the apps that there are.
    pub(crate) fn fit_autoscale(&mut self, now: Moment) {
        self.autoscale.apps = self.core.autoscaled().collect();
        self.autoscale.canaries = self.core.watched_canaries().collect();
        let watched = self.autoscale.canaries.iter().map(|watched| watched.app).collect();
        self.edges.traffic.keep_canaries(&watched);
        let is_idle = self.autoscale.apps.is_empty() && self.autoscale.canaries.is_empty();
        match (is_idle, self.autoscale.due) {
            (true, _) => self.autoscale = Autoscale::default(),
            (false, None) => self.autoscale.due = Some(now + LOOK_EVERY),
            (false, Some(_)) => {}
        }
    }

    /// Returns when there is something to be done.
    pub(crate) fn autoscale_due(&self) -> Option<Moment> {
        let answers = self.edges.traffic.due().filter(|_| self.autoscale.is_open);
        self.autoscale.due.into_iter().chain(answers).min()
    }

    /// Looks at apps that scale themselves, and at canaries, where that is due.
    pub(crate) fn look_at_loads(&mut self, now: Moment) {
        if self.autoscale.due.is_some_and(|due| due <= now) {
            // From now on, not from when it was due: after a sleep of the machine there are not a thousand looks to make.
            self.autoscale.due = Some(now + LOOK_EVERY);
            self.autoscale.is_open = true;
            let names: BTreeSet<String> = self.names_that_balancers_tell_of();
            self.ask_for_traffic(&names, now);
        }
        if self.autoscale.is_open && !self.edges.traffic.is_awaited(now) {
            self.autoscale.is_open = false;
            for watched in self.autoscale.canaries.clone() {
                let (app, seen) = (watched.app, self.answers_of(&watched));
                let is_balanced = self.core.spec(app).is_some_and(|spec| self.is_balanced(&spec.name));
                // Who has not told yet, or could not be compared with before, will at the next look.
                if seen.is_some() || !is_balanced {
                    self.events.push_back(Event::Canary { app, seen });
                }
            }
            self.note_births(now);
            for app in self.autoscale.apps.clone() {
                if let Some(load) = self.load_of(app, now) {
                    self.events.push_back(Event::Load { app, load });
                }
            }
        }
    }

    /// Returns the names of those that go by what balancers know.
    fn names_that_balancers_tell_of(&self) -> BTreeSet<String> {
        let specs = self.autoscale.apps.iter().filter_map(|app| self.core.spec(*app));
        let asks = specs.filter(|spec| {
            let targets = spec.autoscale.as_ref().map(|policy| policy.targets).unwrap_or_default();
            targets.in_flight.is_some() || targets.rate.is_some()
        });
        let canaries = self.autoscale.canaries.iter().filter_map(|watched| self.core.spec(watched.app));
        asks.chain(canaries).map(|spec| spec.name.clone()).collect()
    }

    /// Returns what a canary and the others have answered.
    fn answers_of(&mut self, watched: &Watched) -> Option<(Tally, Tally)> {
        let name = self.core.spec(watched.app)?.name.clone();
        let workers = watched.workers.iter().filter_map(|worker| self.core.worker(*worker));
        let answers_within = self.is_asked_by_http(&name).then_some(watched.duration);
        let mut who = Who { answers_within, ..Who::default() };
        for worker in workers {
            let seat = format!("{name}:{}", worker.instance);
            who.ours.extend(worker.life.map(|life| format!("{seat}.{}", life.generation.0)));
            who.seats.insert(seat);
        }
        self.edges.traffic.of_canary((watched.app, &name), watched.since, &who)
    }

    /// Returns what the workers of an app carry, as far as it goes by that.
    fn load_of(&mut self, app: AppId, now: Moment) -> Option<Load> {
        let spec = self.core.spec(app)?;
        let targets = spec.autoscale.as_ref()?.targets;
        let carried = self.edges.traffic.of(&spec.name);
        let mut load = Load {
            in_flight: targets.in_flight.and(carried).map(|carried| carried.in_flight),
            rate: targets.rate.and(carried).and_then(|carried| carried.rate),
            queue: targets.queue.and_then(|_| self.ports.waiting_for(app)).map(f64::from),
            ..Load::default()
        };
        let samplers = self.processes.values_mut().filter(|process| process.app == app && !process.leaving);
        for sampler in samplers.filter_map(|process| process.running.as_mut()?.sampler.as_mut()) {
            sampler.look(now);
            if targets.cpu.is_some() {
                *load.cpu.get_or_insert(0.0) += f64::from(sampler.percent());
            }
            if targets.memory.is_some() {
                *load.memory.get_or_insert(0.0) += sampler.memory().0 as f64;
            }
        }
        Some(load)
    }
}
