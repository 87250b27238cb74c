//! Short commands of an app's own: health checks that are programs.
//!
//! The keeper starts them, as everything: in the app's directory, as its user, with its environment. One that takes too
//! long is killed with all it has started. A daemon that dies forgets them; the next one kills those that still run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use rpm_keeper::client::{Request, SpawnRequest};
use rpm_model::{Environment, Exit, Life, Moment};
use rpm_sys::pidfd::{Pidfd, ProcessRef};
use rpm_sys::{proc, tree};

use crate::daemon::Daemon;
use crate::health::{Answer, wrong};
use crate::launch::{self, Descriptors};
use crate::process::Proxied;
use crate::view;

/// How the names begin by which the keeper knows tasks.
pub(crate) const PREFIX: &str = "task/";

/// All that run.
#[derive(Default)]
pub(crate) struct Tasks {
    running: BTreeMap<String, Task>,
    next: u64,
}

struct Task {
    purpose: Purpose,
    /// Nothing until the keeper says that it runs.
    process: Option<ProcessRef>,
    timeout: Duration,
    until: Moment,
    is_late: bool,
}

/// What a task is for.
#[derive(Debug, Clone)]
pub(crate) enum Purpose {
    /// A health check.
    Check {
        /// Of whom.
        life: Life,
        /// Since when.
        since: Moment,
    },
}

impl Tasks {
    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.running.values().filter(|task| !task.is_late).map(|task| task.until).min()
    }
}

impl Daemon {
    /// Starts a command for a life; its end is told to whom it is for.
    pub(crate) fn run_task(&mut self, life: Life, argv: &[String], timeout: Duration, purpose: Purpose) {
        self.tasks.next += 1;
        let key = format!("{PREFIX}{}.{}", std::process::id(), self.tasks.next);
        match self.start_task(&key, life, argv) {
            Ok(()) => {
                let until = view::now() + timeout;
                self.tasks.running.insert(key, Task { purpose, process: None, timeout, until, is_late: false });
            }
            Err(why) => self.task_over(purpose, Err(why)),
        }
    }

    fn start_task(&mut self, key: &str, life: Life, argv: &[String]) -> Result<(), String> {
        let process = self.processes.get(&life).ok_or("the worker is gone")?;
        let files = self.seats.get(&life.worker).ok_or("the worker is gone")?;
        let spec = process.spec.clone();
        let [program, args @ ..] = argv else { return Err("there is no command".to_owned()) };
        let worker = self.core.worker(life.worker).ok_or("the worker is gone")?;
        let user = view::user_of(&spec);
        let clock = self.clock;
        let seat = launch::Seat {
            app: process.app,
            life,
            user: &user,
            instance: worker.instance,
            restarts: worker.restarts,
            unstable: worker.unstable,
            created_at_ms: clock.wall_ms(worker.created_at),
            now_ms: clock.wall_ms(view::now()),
            home: &self.home,
            logs: &files.logs,
            pid_path: &files.pid,
        };
        let descriptors =
            Descriptors { port: process.proxied.as_ref().map(Proxied::variable), ..Descriptors::default() };
        let mut env = launch::environment(&spec, &Environment::new(), &seat, &descriptors);
        // By this mark a descendant of the worker would be known, and the task is none.
        env.retain(|variable| !variable.starts_with("RPM_LIFE="));
        env.extend(process.pid().map(|pid| format!("RPM_WORKER_PID={pid}")));
        env.extend(self.address_text(life).map(|address| format!("RPM_WORKER_ADDRESS={address}")));
        let env: Vec<OsString> = env.into_iter().map(OsString::from).collect();
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let program = OsString::from(program);
        let mut request = SpawnRequest::new(key, &program);
        request.args = &args;
        request.env = &env;
        request.cwd = &spec.cwd;
        request.user = spec.user;
        self.keeper.send(&Request::Spawn(request)).map_err(|error| format!("it could not be started: {error}"))
    }

    pub(crate) fn task_spawned(&mut self, key: &str, pid: i32, pidfd: Pidfd) {
        let start_time = proc::start_time(pid).unwrap_or_default();
        let process = ProcessRef { pid, start_time, pidfd };
        match self.tasks.running.get_mut(key) {
            Some(task) => task.process = Some(process),
            // Of a daemon that has died.
            None => drop(tree::kill_tree(Some(&process), &[])),
        }
    }

    /// Takes the end of a task.
    pub(crate) fn task_ended(&mut self, key: &str, exit: Result<Exit, String>) {
        let Some(task) = self.tasks.running.remove(key) else { return };
        let found = match exit {
            _ if task.is_late => Err(format!("it took longer than {} ms", task.timeout.as_millis())),
            Ok(Exit::Code(0)) => Ok(Exit::Code(0).to_string()),
            Ok(exit) => Err(exit.to_string()),
            Err(why) => Err(why),
        };
        self.task_over(task.purpose, found);
    }

    /// Kills the tasks whose time is up.
    pub(crate) fn end_late_tasks(&mut self, now: Moment) {
        for task in self.tasks.running.values_mut().filter(|task| !task.is_late && task.until <= now) {
            match &task.process {
                Some(process) => {
                    task.is_late = true;
                    tree::kill_tree(Some(process), &[]);
                }
                // The keeper has not even started it: a moment more.
                None => task.until = now + task.timeout.max(Duration::from_millis(100)),
            }
        }
    }

    fn task_over(&mut self, purpose: Purpose, found: Result<String, String>) {
        match purpose {
            Purpose::Check { life, since } => {
                self.take_answer(Answer { life, found: found.map_err(wrong), took: view::now().since(since) });
            }
        }
    }
}
