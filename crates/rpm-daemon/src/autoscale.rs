//! The room of apps that scale themselves: what their workers carry is looked at again and again, and told to the core, which
//! decides. There is no timer while no app wants it.
//!
//! ```text
//!  due ─▶ the balancers are asked ─▶ all have answered, or 300 ms are over ─▶ `Event::Load` for each app
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use rpm_model::{AppId, Load, Moment};
use rpm_supervise::Event;

use crate::daemon::Daemon;

/// Between two looks: three agree within 2.3 s, whenever a load begins.
const LOOK_EVERY: Duration = Duration::from_millis(750);

/// What is looked at.
#[derive(Debug, Default)]
pub(crate) struct Autoscale {
    /// The apps that scale themselves.
    apps: Vec<AppId>,
    due: Option<Moment>,
    /// Whether balancers were asked, and the look is not over.
    is_open: bool,
}

impl Daemon {
    /// Takes up the apps that there are.
    pub(crate) fn fit_autoscale(&mut self, now: Moment) {
        self.autoscale.apps = self.core.autoscaled().collect();
        match (self.autoscale.apps.is_empty(), self.autoscale.due) {
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

    /// Looks at apps that scale themselves, where that is due.
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
        asks.map(|spec| spec.name.clone()).collect()
    }

    /// Returns what the workers of an app carry, as far as it goes by that.
    fn load_of(&mut self, app: AppId, now: Moment) -> Option<Load> {
        let spec = self.core.spec(app)?;
        let targets = spec.autoscale.as_ref()?.targets;
        let carried = self.edges.traffic.of(&spec.name);
        let mut load = Load {
            in_flight: targets.in_flight.and(carried).map(|carried| carried.in_flight),
            rate: targets.rate.and(carried).and_then(|carried| carried.rate),
            queue: targets.queue.map(|_| f64::from(self.ports.waiting_for(app))),
            ..Load::default()
        };
        let samplers = self.processes.values_mut().filter(|process| process.app == app && !process.leaving);
        for sampler in samplers.filter_map(|process| process.running.as_mut()?.sampler.as_mut()) {
            match targets.memory {
                Some(_) => sampler.look_at_tree(now),
                None => sampler.look(now),
            }
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
