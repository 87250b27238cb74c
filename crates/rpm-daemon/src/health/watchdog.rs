//! Workers that hang, found without asking them over the network: no sign of life, or nobody accepts.
//!
//! A sign of life is `WATCHDOG=1` on the notification socket (sd_notify(3)), or, of a Node process, the answer to a message
//! on its channel that Node itself gives from its event loop, without the app's help. The clock runs from the first sign
//! on: a program that never gives one is not taken for hung.
//!
//! Nobody accepts: connections wait in the worker's own slot, or in a socket that it listens on, at every look for the
//! whole time, and never become fewer.

use std::time::Duration;

use rpm_model::{Environment, ExecMode, Life, Moment, Runtime, SocketMode, StackDump};
use rpm_supervise::Event;

use crate::daemon::Daemon;
use crate::launch;
use crate::tasks::{Purpose, Whose};

/// What has not told by then is on its way out.
const DUMP_WITHIN: Duration = Duration::from_secs(1);

/// Looks within the time that a worker has.
const LOOKS: u32 = 4;

/// What is known of one process.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// The last sign of life.
    heard: Option<Moment>,
    /// How many connections wait, and since when they have not become fewer.
    queue: (u32, Moment),
    looked: Moment,
    /// Whether the core was told that it hangs.
    hangs: bool,
}

impl Watchdog {
    pub(crate) fn new(now: Moment) -> Self {
        Self { heard: None, queue: (0, now), looked: now, hangs: false }
    }

    pub(crate) fn heard(&mut self, now: Moment) {
        self.heard = Some(now);
    }

    /// Takes a look; returns what is wrong, if something is.
    fn look(&mut self, now: Moment, waiting: u32, allowed: Duration) -> Option<String> {
        // Whoever was not running (a suspended machine, a stopped daemon) has heard nobody.
        if now.since(self.looked) > allowed / LOOKS * 2 {
            self.heard = self.heard.map(|_| now);
            self.queue.1 = now;
        }
        self.looked = now;
        if waiting == 0 || waiting < self.queue.0 {
            self.queue.1 = now;
        }
        self.queue.0 = waiting;
        let silent_for = self.heard.map(|heard| now.since(heard)).filter(|silent| *silent > allowed);
        let stuck_for = now.since(self.queue.1);
        match silent_for {
            Some(silent) => Some(format!("no sign of life for {:.1} s", silent.as_secs_f64())),
            None if stuck_for > allowed => {
                Some(format!("it accepts no connection: {waiting} wait for {:.1} s", stuck_for.as_secs_f64()))
            }
            None => None,
        }
    }
}

impl Daemon {
    /// Begins to watch a process that runs.
    pub(crate) fn begin_watchdog(&mut self, life: Life, now: Moment) {
        let Some(process) = self.processes.get_mut(&life) else { return };
        if process.spec.watchdog.is_some() {
            process.watchdog = Some(Watchdog::new(now));
            self.checks.looks.insert((now, life));
        }
    }

    /// Looks at those whose turn it is.
    pub(crate) fn look_at_watchdogs(&mut self, now: Moment) {
        while let Some(life) = super::pop_due(&mut self.checks.looks, now) {
            let waiting = self.waiting_for_worker(life);
            let Some(process) = self.processes.get_mut(&life) else { continue };
            let (Some(allowed), Some(watchdog), false) =
                (process.spec.watchdog, &mut process.watchdog, process.leaving)
            else {
                continue;
            };
            let found = watchdog.look(now, waiting, allowed);
            let hung = std::mem::replace(&mut watchdog.hangs, found.is_some());
            match found {
                Some(why) => self.events.push_back(Event::Hung { life, why }),
                None if hung => self.events.push_back(Event::Revived { life }),
                None => {}
            }
            if let Some(channel) = process.channel.as_mut().filter(|_| process.spec.is_run_by_node())
                && let Err(error) = channel.ping()
            {
                tracing::debug!("{life} cannot be asked for a sign of life: {error}");
            }
            self.flush_channel(life);
            self.checks.looks.insert((now + (allowed / LOOKS).max(Duration::from_millis(10)), life));
        }
    }

    /// Returns how many connections wait for a worker: in its slots, or where it listens by itself. In a socket that all workers
    /// have, nothing becomes fewer only if none of them accepts.
    fn waiting_for_worker(&self, life: Life) -> u32 {
        let Some(process) = self.processes.get(&life).filter(|process| process.spec.watchdog.is_some()) else {
            return 0;
        };
        let has_slots = match process.spec.exec_mode {
            ExecMode::Cluster => true,
            ExecMode::Socket => process.spec.socket_mode == SocketMode::Reuseport,
            ExecMode::Fork | ExecMode::Proxy => false,
        };
        match process.pid() {
            Some(pid) if !has_slots => rpm_sys::net::waiting_at(pid),
            _ => self.ports.waiting(life),
        }
    }

    /// Makes a process that hangs tell where, in its log.
    pub(crate) fn dump_stack(&mut self, life: Life) {
        let Some(process) = self.processes.get(&life) else { return };
        let (Some(how), Some(running)) = (process.spec.stack_dump, &process.running) else { return };
        let asked = match how {
            StackDump::Signal(signal) => running.process.signal(signal).map_err(|error| error.to_string()),
            StackDump::Of(Runtime::Inspector) => self.ask_node_for_its_stack(life),
        };
        if let Err(why) = asked {
            self.stack_told(life, Err(why));
        }
    }

    /// Starts what talks to Node's inspector; what it is told goes to the worker's log.
    fn ask_node_for_its_stack(&mut self, life: Life) -> Result<(), String> {
        let Some((process, pid)) = self.processes.get(&life).and_then(|process| Some((process, process.pid()?))) else {
            return Err("it is gone".to_owned());
        };
        let whose =
            Whose { life, app: process.app, spec: process.spec.clone(), secrets: Environment::new(), port: None };
        let program = launch::own_program();
        let argv = [program.to_string_lossy().into_owned(), "node-stack".to_owned(), pid.to_string()];
        self.run_task(&whose, &argv, DUMP_WITHIN, Purpose::Dump { life }, Vec::new());
        Ok(())
    }

    /// Takes the end of that.
    pub(crate) fn stack_told(&self, life: Life, found: Result<String, String>) {
        if let Err(why) = found {
            tracing::warn!("{life} could not be made to tell where it hangs: {why}");
        }
    }

    /// Takes a sign of life.
    pub(crate) fn gave_sign_of_life(&mut self, life: Life) {
        if let Some(watchdog) = self.processes.get_mut(&life).and_then(|process| process.watchdog.as_mut()) {
            watchdog.heard(crate::view::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Duration = Duration::from_secs(4);

    fn at(seconds: u64) -> Moment {
        Moment(seconds * 1_000_000)
    }

    /// Looks every second; returns at which look something was wrong first.
    fn first_trouble(waiting: &[u32], heard: &[u64]) -> Option<(u64, String)> {
        let mut watchdog = Watchdog::new(at(0));
        (0..).zip(waiting).find_map(|(second, waiting)| {
            if heard.contains(&second) {
                watchdog.heard(at(second));
            }
            Some((second, watchdog.look(at(second), *waiting, ALLOWED)?))
        })
    }

    #[test]
    fn silence_counts_from_the_first_sign_of_life() {
        assert_eq!(first_trouble(&[0; 20], &[]), None);
        assert_eq!(first_trouble(&[0; 20], &[2]), Some((7, "no sign of life for 5.0 s".into())));
        assert_eq!(first_trouble(&[0; 20], &[2, 5, 8, 11, 14, 17]), None);
    }

    #[test]
    fn a_queue_that_never_becomes_shorter_is_a_hang() {
        assert_eq!(first_trouble(&[1, 1, 2, 2, 3, 3], &[]).map(|found| found.0), Some(5));
        assert_eq!(first_trouble(&[9, 8, 9, 9, 8, 9, 9, 8, 9], &[]), None);
        assert_eq!(first_trouble(&[3, 3, 0, 3, 3, 3, 0], &[]), None);
    }

    #[test]
    fn time_in_which_nobody_looked_does_not_count() {
        let mut watchdog = Watchdog::new(at(0));
        watchdog.heard(at(0));
        assert_eq!(watchdog.look(at(1), 1, ALLOWED), None);
        assert_eq!(watchdog.look(at(1000), 1, ALLOWED), None);
        assert_eq!(watchdog.look(at(1001), 1, ALLOWED), None);
    }
}
