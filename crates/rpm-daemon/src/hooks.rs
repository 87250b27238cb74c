//! Commands of the user's own around the life of a process: before its start, when it is ready, before it is asked to leave,
//! when it has ended.
//!
//! Each is a [task](crate::tasks), so nothing here is waited for in a turn. Two of them hold something up: a process is started
//! when its `pre_start` has ended well, and asked to leave when its `pre_stop` has ended. A daemon that dies forgets the ones
//! that run; the next one begins anew with those two, so a hook may run twice.

use std::collections::BTreeMap;

use rpm_model::{Environment, Exit, Hook, Life, WorkerId};
use rpm_records::EventRecord;
use rpm_supervise::Event;

use crate::daemon::Daemon;
use crate::process::{Proxied, SeatFiles};
use crate::secrets::Prepared;
use crate::tasks::{Purpose, Whose};
use crate::view::cause_name;

/// What waits for hooks.
#[derive(Default)]
pub(crate) struct Hooks {
    /// Processes that are started when their `pre_start` has ended, with their secrets.
    starting: BTreeMap<Life, (Prepared, Environment)>,
    /// Whether the daemon leaves when the last hook has ended.
    pub(crate) is_last: bool,
}

impl Daemon {
    /// Starts a process whose secrets are known, after its `pre_start` if it has one.
    pub(crate) fn begin_start(&mut self, life: Life, prepared: Prepared, secrets: Environment) {
        let Prepared { app, spec, instance, note, .. } = &prepared;
        let Some(argv) = spec.hook(Hook::PreStart).map(<[String]>::to_vec) else {
            return self.start_process(life, *app, &spec.clone(), *instance, *note, &secrets);
        };
        let whose = Whose { life, app: *app, spec: spec.clone(), secrets: secrets.clone(), port: None };
        // What it says is shown where it fails.
        let logs = rpm_logs::paths(spec, life.worker, &self.home);
        let err_from = logs.err.as_deref().and_then(|path| std::fs::metadata(path).ok()).map_or(0, |meta| meta.len());
        let pid = rpm_logs::pid_path(spec, life.worker, &self.home);
        self.keep_files(life.worker, spec, SeatFiles { app: *app, logs, pid, err_from });
        self.hooks.starting.insert(life, (prepared, secrets));
        self.run_hook(Hook::PreStart, whose, &argv, Vec::new());
    }

    /// Gives up a start that waits for its `pre_start`; returns whether there was one.
    pub(crate) fn give_up_hook(&mut self, life: Life) -> bool {
        let waited = self.hooks.starting.remove(&life).is_some();
        if waited {
            self.tasks
                .kill(|purpose| matches!(purpose, Purpose::Hook { hook: Hook::PreStart, life: of } if *of == life));
            let why = "it was stopped before its pre_start hook had ended".to_owned();
            self.events.push_back(Event::SpawnFailed { life, why });
        }
        waited
    }

    /// Runs a hook of a process that is there, if it has that one; returns whether it has.
    pub(crate) fn hook(&mut self, hook: Hook, life: Life, exit: Option<Exit>) -> bool {
        let Some(process) = self.processes.get(&life) else { return false };
        let Some(argv) = process.spec.hook(hook).map(<[String]>::to_vec) else { return false };
        let mut env: Vec<String> = process.pid().map(|pid| format!("RPM_WORKER_PID={pid}")).into_iter().collect();
        env.extend(exit.and_then(told));
        if exit.is_some() {
            let cause = self.core.leaving(life).map_or("exit", cause_name);
            env.push(format!("RPM_EXIT_CAUSE={cause}"));
        }
        let port = process.proxied.as_ref().map(Proxied::variable);
        let whose = Whose { life, app: process.app, spec: process.spec.clone(), secrets: Environment::new(), port };
        env.extend(self.address_text(life).map(|address| format!("RPM_WORKER_ADDRESS={address}")));
        self.run_hook(hook, whose, &argv, env);
        true
    }

    /// Runs the hook for an end that came about while no daemon ran.
    pub(crate) fn hook_missed(&mut self, life: Life, exit: Exit) {
        let Some(worker) = self.core.worker(life.worker) else { return };
        let (app, spec) = (worker.app, worker.spec.clone());
        let Some(argv) = spec.hook(Hook::OnExit).map(<[String]>::to_vec) else { return };
        let whose = Whose { life, app, spec, secrets: Environment::new(), port: None };
        self.run_hook(Hook::OnExit, whose, &argv, told(exit).into_iter().collect());
    }

    fn run_hook(&mut self, hook: Hook, whose: Whose, argv: &[String], mut env: Vec<String>) {
        let timeout = whose.spec.hooks.as_ref().map(|hooks| hooks.timeout).unwrap_or_default();
        let life = whose.life;
        env.extend([
            format!("RPM_HOOK={hook}"),
            format!("RPM_APP={}", whose.spec.name),
            format!("RPM_WORKER={}", life.worker),
        ]);
        self.run_task(&whose, argv, timeout, Purpose::Hook { hook, life }, env);
    }

    /// Takes the end of a hook.
    pub(crate) fn hook_over(&mut self, hook: Hook, life: Life, found: Result<String, String>) {
        match (hook, found) {
            (Hook::PreStart, found) => {
                let Some((prepared, secrets)) = self.hooks.starting.remove(&life) else { return };
                match found {
                    Ok(_) => {
                        self.apps_differ = true;
                        let Prepared { app, spec, instance, note, .. } = prepared;
                        self.start_process(life, app, &spec, instance, note, &secrets);
                    }
                    Err(why) => {
                        self.record_failed_hook(hook, life.worker, &why);
                        let why = format!("its pre_start hook failed: {why}");
                        self.events.push_back(Event::SpawnFailed { life, why });
                    }
                }
            }
            (Hook::PreStop, found) => {
                if let Err(why) = found {
                    self.record_failed_hook(hook, life.worker, &why);
                }
                self.ask_now(life);
                self.events.push_back(Event::Asked { life });
            }
            (Hook::PostStart | Hook::OnExit, Err(why)) => self.record_failed_hook(hook, life.worker, &why),
            (Hook::PostStart | Hook::OnExit, Ok(_)) => {}
        }
        if self.hooks.is_last && !self.tasks.any_hook() {
            self.leaving = true;
        }
    }

    fn record_failed_hook(&self, hook: Hook, worker: WorkerId, why: &str) {
        let owner = self.owner(worker);
        let app = owner.as_ref().map(|owner| owner.name.clone()).unwrap_or_default();
        tracing::warn!("app [{app}:{worker}] its {hook} hook failed: {why}");
        self.forensics.event(EventRecord {
            at_ms: rpm_sys::proc::wall_clock_millis(),
            event: "hook failed".to_owned(),
            app: Some(app),
            app_id: owner.as_ref().map(|owner| owner.app),
            namespace: owner.and_then(|owner| owner.namespace),
            worker: Some(worker),
            detail: Some(format!("{hook}: {why}")),
            ..EventRecord::default()
        });
    }
}

/// Returns the variable that tells how a process ended.
fn told(exit: Exit) -> Option<String> {
    match exit {
        Exit::Code(code) => Some(format!("RPM_EXIT_CODE={code}")),
        Exit::Signal { signal, .. } => {
            let name = rpm_model::worker::signal_name(signal).map_or_else(|| signal.to_string(), str::to_owned);
            Some(format!("RPM_EXIT_SIGNAL={name}"))
        }
        Exit::Unknown => None,
    }
}
