//! The room of health checks: who is asked when, and what was answered. What follows from it the core decides.
//!
//! Every worker is asked by itself, even where all share a port: a connection from the address that names its slot
//! reaches it and no other. One question to a worker is under way at a time.
//!
//! - [`ask`]: one question over TCP or HTTP; one that is a command is a [task](crate::tasks)
//! - [`asked`]: the questions under way
//! - [`watchdog`]: who hangs, seen without asking
//! - [`inspector`]: where a Node process hangs; in a process of its own

pub(crate) mod ask;
mod asked;
pub(crate) mod inspector;
pub(crate) mod watchdog;

use std::collections::BTreeSet;
use std::time::Duration;

use rpm_model::balance::ServerAddress;
use rpm_model::edge::CheckResult;
use rpm_model::{ExecMode, Health, HealthSpec, Life, Moment, Probe};
use rpm_supervise::{Event, Trouble};
use tokio::sync::mpsc;

use crate::daemon::Daemon;
use crate::{edge, view};
use ask::Place;
use asked::Asked;

/// Between two questions to a worker that is not ready yet: what a start waits for in vain is half of this on average.
const EAGER: Duration = Duration::from_millis(100);

/// The same for a command, which costs a process each time.
const EAGER_COMMAND: Duration = Duration::from_millis(500);

/// The questions of all workers.
pub(crate) struct Checks {
    due: BTreeSet<(Moment, Life)>,
    asked: Asked,
    /// When it is looked at whom, for signs of life.
    looks: BTreeSet<(Moment, Life)>,
    /// One answer for each question, of which each worker has one at most.
    answers: (mpsc::UnboundedSender<Answer>, mpsc::UnboundedReceiver<Answer>),
}

/// What became of one question.
pub(crate) struct Answer {
    pub(crate) life: Life,
    pub(crate) found: Result<String, Trouble>,
    pub(crate) took: Duration,
}

/// What is known of the checks of one process.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// The last result, and when.
    last: Option<(CheckResult, Moment)>,
    /// Where a worker that opens its port by itself was found to listen.
    found_at: Option<u16>,
    /// Whether it has been asked since it became ready: from then on workers are asked at different times.
    spread: bool,
}

impl Checked {
    /// Returns the last result as it is now.
    pub(crate) fn last(&self, now: Moment) -> Option<CheckResult> {
        let (result, at) = self.last.as_ref()?;
        Some(CheckResult { age: now.since(*at), ..result.clone() })
    }

    /// Returns what was wrong at the last check.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.last.as_ref().filter(|(result, _)| !result.passed).map(|(result, _)| result.text.as_str())
    }
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            due: BTreeSet::new(),
            asked: Asked::default(),
            looks: BTreeSet::new(),
            answers: mpsc::unbounded_channel(),
        }
    }
}

impl Checks {
    pub(crate) fn next_due(&self) -> Option<Moment> {
        let due = [&self.due, &self.looks].into_iter().filter_map(|due| due.first()).map(|(at, _)| *at);
        due.chain(self.asked.next_due()).min()
    }

    /// Hangs up on a process that is gone.
    pub(crate) fn forget(&mut self, life: Life) {
        self.asked.forget(life);
    }

    /// Waits for the next answer.
    pub(crate) async fn news(&mut self) -> Option<Answer> {
        self.answers.1.recv().await
    }
}

/// Takes out the first whose time has come.
fn pop_due(due: &mut BTreeSet<(Moment, Life)>, now: Moment) -> Option<Life> {
    due.first().filter(|(at, _)| *at <= now)?;
    due.pop_first().map(|(_, life)| life)
}

impl Daemon {
    /// Begins to ask a process that runs.
    pub(crate) fn begin_checks(&mut self, life: Life, now: Moment) {
        self.begin_watchdog(life, now);
        if let Some(process) = self.processes.get_mut(&life)
            && process.spec.health.is_some()
        {
            process.checked = Some(Checked::default());
            self.checks.due.insert((now, life));
        }
    }

    /// Asks everybody who is to be asked now.
    pub(crate) fn make_checks(&mut self, now: Moment) {
        self.look_at_watchdogs(now);
        while let Some(life) = self.checks.asked.pop_late(now) {
            let health = self.processes.get(&life).and_then(|process| process.spec.health.as_ref());
            let Some(timeout) = health.map(|health| health.timeout) else { continue };
            let why = format!("no answer within {} ms", timeout.as_millis());
            self.take_answer(Answer { life, found: Err(Trouble { why, is_silent: true }), took: timeout });
        }
        while let Some(life) = pop_due(&mut self.checks.due, now) {
            let Some(process) = self.processes.get(&life) else { continue };
            let (Some(pid), false) = (process.pid(), process.leaving) else { continue };
            let spec = process.spec.clone();
            let Some(health) = &spec.health else { continue };
            if let Probe::Exec { argv } = &health.probe {
                self.run_check(life, argv, health.timeout, now);
                continue;
            }
            match self.place_of(life, pid, &health.probe) {
                Some(place) => {
                    let (answers, probe) = (self.checks.answers.0.clone(), health.probe.clone());
                    let task = tokio::spawn(async move {
                        let began = std::time::Instant::now();
                        let tell = |found| {
                            // The loop may have left already.
                            let _ = answers.send(Answer { life, found, took: began.elapsed() });
                        };
                        ask::ask(&place, &probe, tell).await;
                    });
                    self.checks.asked.begin(life, now + health.timeout, task.abort_handle());
                }
                None => {
                    let found = Err(wrong("it does not listen"));
                    self.take_answer(Answer { life, found, took: Duration::ZERO });
                }
            }
        }
    }

    /// Takes an answer, and those that are there beside it.
    pub(crate) fn take_answers(&mut self, first: Option<Answer>) {
        let mut next = first;
        while let Some(answer) = next {
            // One that came too late was told to be so.
            if self.checks.asked.answered(answer.life) {
                self.take_answer(answer);
            }
            next = self.checks.answers.1.try_recv().ok();
        }
    }

    pub(crate) fn take_answer(&mut self, answer: Answer) {
        let Answer { life, found, took } = answer;
        let now = view::now();
        let health = self.core.health(life);
        let Some(process) = self.processes.get_mut(&life) else { return };
        let (Some(spec), Some(checked)) = (&process.spec.health, &mut process.checked) else { return };
        let (passed, text) = match &found {
            Ok(text) => (true, text.clone()),
            Err(trouble) => (false, trouble.why.clone()),
        };
        if !passed {
            // It may listen elsewhere by now.
            checked.found_at = None;
        }
        checked.last = Some((CheckResult { passed, text, took, age: Duration::ZERO }, now));
        let wait = match health {
            Some(Health::Starting) | None => eagerness(spec),
            Some(Health::Ready | Health::Unhealthy | Health::Draining)
                if !std::mem::replace(&mut checked.spread, true) =>
            {
                // A fraction that differs from worker to worker.
                let share = f64::from(life.worker.0.wrapping_mul(2_654_435_769) >> 16) / 65_536.0;
                spec.interval.mul_f64(0.1 + 0.9 * share)
            }
            Some(Health::Ready | Health::Unhealthy | Health::Draining) => spec.interval.saturating_sub(took),
        };
        let is_ready = health.is_some_and(|health| health != Health::Starting);
        let at = if is_ready { together(now + wait, spec.interval) } else { now + wait };
        self.checks.due.insert((at, life));
        self.events.push_back(Event::Probed { life, found: found.map(drop) });
    }

    /// Returns where a worker is asked.
    fn place_of(&mut self, life: Life, pid: i32, probe: &Probe) -> Option<Place> {
        let port = match probe {
            Probe::Tcp { port } | Probe::Http { port, .. } => *port,
            Probe::Exec { .. } => None,
        };
        if let Some(port) = port {
            return Some(Place::local(port));
        }
        let process = self.processes.get_mut(&life)?;
        if process.spec.exec_mode == ExecMode::Fork {
            let checked = process.checked.as_mut()?;
            if checked.found_at.is_none() {
                checked.found_at = own_port(pid, process.spec.env.get("PORT").and_then(|port| port.parse().ok()));
            }
            return checked.found_at.map(Place::local);
        }
        let instance = self.core.worker(life.worker).map_or(0, |worker| worker.instance);
        let (address, source) = edge::address_of(self.processes.get(&life)?, life, instance, &self.ports);
        match address? {
            ServerAddress::Tcp { host, port } => {
                Some(Place::Tcp { to: (host.parse::<std::net::IpAddr>().ok()?, port).into(), source })
            }
            ServerAddress::Unix(path) => Some(Place::Unix(path)),
            ServerAddress::App(_) => None,
        }
    }

    /// Returns where a worker is reached, for a command that is to ask it.
    pub(crate) fn address_text(&self, life: Life) -> Option<String> {
        let process = self.processes.get(&life)?;
        let instance = self.core.worker(life.worker).map_or(0, |worker| worker.instance);
        edge::address_of(process, life, instance, &self.ports).0.map(|address| address.to_string())
    }
}

/// Returns the nearest of the moments at which workers with this interval are asked: a twentieth of it apart, so that the
/// daemon wakes for several of a hundred workers at a time, and for a few workers as often as before.
fn together(at: Moment, interval: Duration) -> Moment {
    let step = (interval / 20).as_micros().max(1) as u64;
    Moment((at.0 + step / 2) / step * step)
}

/// Returns a trouble of which the worker itself tells.
pub(crate) fn wrong(why: impl Into<String>) -> Trouble {
    Trouble { why: why.into(), is_silent: false }
}

/// Returns how long to wait before a worker that boots is asked again.
fn eagerness(spec: &HealthSpec) -> Duration {
    let eager = match spec.probe {
        Probe::Exec { .. } => EAGER_COMMAND,
        Probe::Tcp { .. } | Probe::Http { .. } => EAGER,
    };
    eager.min(spec.interval)
}

/// Finds the port on which a process or a descendant of it listens: the one that it was told, else the lowest.
fn own_port(pid: i32, told: Option<u16>) -> Option<u16> {
    let mut pids = rpm_sys::proc::descendants(pid);
    pids.push(pid);
    let ports = rpm_sys::net::listening_ports(&pids);
    told.filter(|port| ports.contains(port)).or(ports.first().copied())
}
