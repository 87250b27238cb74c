//! What is looked at from time to time, and only while there is a reason to.

use std::time::Duration;

use rpm_model::{ExecMode, Life, Moment};
use rpm_supervise::Event;
use rpm_sys::proc::has_busy_thread;

use crate::daemon::Daemon;
use crate::process::Process;
use crate::sampling::{Births, Parents};
use crate::{drains, edge, sampling, settle};

/// So many new processes are looked at however few workers there are: 1 ms.
const BIRTHS_LEAST: usize = 100;

/// When each round is next due.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    settling: Option<Moment>,
    draining: Option<Moment>,
    limited: Option<Moment>,
    all: Option<Moment>,
    /// Looks at all workers so far.
    looks: u32,
    births: Births,
    /// When it was last unclear who has started processes, and everybody was taken for it.
    unclear: Option<Moment>,
}

impl Rounds {
    pub(crate) fn next_due(&self) -> Option<Moment> {
        [self.settling, self.draining, self.limited, self.all].into_iter().flatten().min()
    }

    pub(crate) fn settling_begins(&mut self, now: Moment) {
        self.settling.get_or_insert(now);
    }

    pub(crate) fn draining_begins(&mut self, now: Moment) {
        self.draining.get_or_insert(now + drains::LOOK_EVERY);
    }
}

impl Daemon {
    /// Makes every round that is due.
    pub(crate) fn make_rounds(&mut self, now: Moment) {
        if is_due(self.rounds.settling, now) {
            self.rounds.settling = self.look_at_settling().then(|| now + settle::LOOK_EVERY);
        }
        if is_due(self.rounds.draining, now) {
            self.rounds.draining = self.look_at_drains(now).then(|| now + drains::LOOK_EVERY);
        }
        let limited = self.processes.values().any(|process| process.spec.max_memory_restart.is_some());
        if is_due(self.rounds.limited, now) {
            self.look_at_limits(now);
            self.rounds.limited = None;
        }
        if is_due(self.rounds.all, now) {
            self.sample(now);
            self.look_for_room();
            self.forensics.look_at_oom();
            self.rounds.all = None;
        }
        arm(&mut self.rounds.limited, limited, now, sampling::LIMITED_EVERY);
        arm(&mut self.rounds.all, !self.processes.is_empty(), now, sampling::ALL_EVERY);
    }

    /// Looks at processes that boot; returns whether any is left.
    fn look_at_settling(&mut self) -> bool {
        let mut any = false;
        for (life, process) in &mut self.processes {
            let Some(settling) = &mut process.settling else { continue };
            if process.spec.exec_mode == ExecMode::Proxy {
                // Ready is who accepts; how busy it is does not matter.
                let given = process.proxied.as_ref().zip(process.pid());
                match given.and_then(|(at, pid)| edge::listens(at, pid)) {
                    Some(at) => {
                        process.proxied = Some(at);
                        process.settling = None;
                        self.events.push_back(Event::Settled { life: *life });
                    }
                    None => any = true,
                }
                continue;
            }
            let activity = process.running.as_ref().and_then(|running| running.sampler.as_ref()?.activity());
            match activity {
                // On a busy machine its first thread may wait for others that have not had their turn.
                Some((ran, asleep))
                    if settling.look(ran, asleep)
                        && !process.running.as_ref().is_some_and(|one| has_busy_thread(one.process.pid)) =>
                {
                    process.settling = None;
                    self.events.push_back(Event::Settled { life: *life });
                }
                // Not spawned yet, still busy, or gone, which the keeper tells.
                Some(_) | None => any = true,
            }
        }
        any
    }

    /// Looks at workers that drain; returns whether any is left.
    fn look_at_drains(&mut self, now: Moment) -> bool {
        let draining: Vec<Life> =
            self.processes.iter().filter(|(_, process)| process.drain.is_some()).map(|(life, _)| *life).collect();
        let mut any = false;
        for life in draining {
            let Some(process) = self.processes.get(&life) else { continue };
            let pids: Vec<i32> = process.pid().into_iter().collect();
            let state = self.ports.drain_state(life, &pids);
            let is_edge = process.spec.is_balancer();
            let name = process.spec.name.clone();
            let instance = self.core.worker(life.worker).map_or(0, |worker| worker.instance);
            // Requests that a balancer has sent, and connections of a balancer itself, which ends when they do.
            let behind = u32::from(is_edge || self.edges.waits_for(&name, instance, life));
            let Some(process) = self.processes.get_mut(&life) else { continue };
            let Some(drain) = &mut process.drain else { continue };
            if drains::look(drain, now, state.queued + state.busy + behind) {
                process.drain = None;
                self.events.push_back(Event::Drained { life });
            } else {
                any = true;
            }
        }
        any
    }

    fn look_at_limits(&mut self, now: Moment) {
        self.note_births(now);
        for (life, process) in &mut self.processes {
            if process.spec.max_memory_restart.is_none() {
                continue;
            }
            if let Some(sampler) = process.running.as_mut().and_then(|running| running.sampler.as_mut()) {
                sampler.look(now);
                self.events.push_back(Event::Memory { life: *life, used: sampler.memory() });
            }
        }
    }

    /// Looks who has started processes.
    pub(crate) fn note_births(&mut self, now: Moment) {
        let is_limited = |process: &Process| process.spec.max_memory_restart.is_some();
        let limited = self.processes.values().filter(|process| is_limited(process)).count();
        let Some(parents) = self.rounds.births.parents_by(now, limited.max(BIRTHS_LEAST)) else { return };
        // Where so much is started that nobody can tell by whom, only what has a limit is gone through each time.
        let is_unclear = parents == Parents::Anybody;
        let is_due = self.rounds.unclear.is_none_or(|unclear| now.since(unclear) >= sampling::ALL_EVERY);
        if is_unclear && is_due {
            self.rounds.unclear = Some(now);
        }
        for process in self.processes.values_mut().filter(|one| !is_unclear || is_due || is_limited(one)) {
            if let Some(sampler) = process.running.as_mut().and_then(|running| running.sampler.as_mut()) {
                sampler.note_births(&parents);
            }
        }
    }

    fn sample(&mut self, now: Moment) {
        self.note_births(now);
        self.rounds.looks = self.rounds.looks.wrapping_add(1);
        let trees = self.rounds.looks.is_multiple_of(sampling::TREES_EACH);
        for process in self.processes.values_mut() {
            match process.running.as_mut().and_then(|running| running.sampler.as_mut()) {
                Some(sampler) if trees => sampler.look_at_tree(now),
                Some(sampler) => sampler.look(now),
                None => {}
            }
        }
    }

    /// Looks at every worker, for somebody who asks now.
    pub(crate) fn sample_for_list(&mut self, now: Moment) {
        self.note_births(now);
        for process in self.processes.values_mut() {
            if let Some(sampler) = process.running.as_mut().and_then(|running| running.sampler.as_mut()) {
                sampler.look(now);
            }
        }
    }
}

fn is_due(at: Option<Moment>, now: Moment) -> bool {
    at.is_some_and(|at| at <= now)
}

fn arm(round: &mut Option<Moment>, wanted: bool, now: Moment, every: Duration) {
    match (wanted, *round) {
        (true, None) => *round = Some(now + every),
        (false, _) => *round = None,
        (true, Some(_)) => {}
    }
}
