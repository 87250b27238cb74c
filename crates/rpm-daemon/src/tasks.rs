//! Short commands of an app's own: health checks that are programs, and hooks.
//!
//! The keeper starts them, as everything: in the app's directory, as its user, with its environment. One that takes too
//! long is killed with all it has started. A daemon that dies forgets them; the next one kills those that still run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use rpm_keeper::client::{Request, SpawnRequest};
use rpm_model::{AppId, AppSpec, Environment, Exit, Hook, Life, Moment};
use rpm_sys::pidfd::{Pidfd, ProcessRef};
use rpm_sys::{proc, tree};

use crate::daemon::Daemon;
use crate::health::{Answer, wrong};
use crate::launch::{self, Descriptors};
use crate::node::Program;
use crate::output::{LogNames, Output};
use crate::process::Proxied;
use crate::{releases, view};

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
    /// A command around the life of a process.
    Hook {
        /// Which.
        hook: Hook,
        /// Of whom.
        life: Life,
    },
    /// What asks a process where it hangs.
    Dump {
        /// Which.
        life: Life,
    },
    /// The version of a Node.
    NodeVersion {
        /// Which.
        program: Program,
    },
    /// Messages to one address.
    Webhook {
        /// Which.
        key: String,
    },
}

/// On whose behalf a task runs: as whom, where, and with what environment.
pub(crate) struct Whose {
    pub(crate) life: Life,
    pub(crate) app: AppId,
    pub(crate) spec: Arc<AppSpec>,
    /// Those that it is to know.
    pub(crate) secrets: Environment,
    /// What the worker finds in its `PORT`, in proxy mode.
    pub(crate) port: Option<String>,
}

impl Tasks {
    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.running.values().filter(|task| !task.is_late).map(|task| task.until).min()
    }

    /// Returns a name that no other task has.
    pub(crate) fn new_key(&mut self) -> String {
        self.next += 1;
        format!("{PREFIX}{}.{}", std::process::id(), self.next)
    }

    /// Knows a task that the keeper was asked for.
    pub(crate) fn track(&mut self, key: String, purpose: Purpose, timeout: Duration) {
        let until = view::now() + timeout;
        self.running.insert(key, Task { purpose, process: None, timeout, until, is_late: false });
    }

    /// Returns whether a hook runs.
    pub(crate) fn any_hook(&self) -> bool {
        self.running.values().any(|task| matches!(task.purpose, Purpose::Hook { .. }))
    }

    /// Kills tasks that nobody waits for any more.
    pub(crate) fn kill(&mut self, unwanted: impl Fn(&Purpose) -> bool) {
        for task in self.running.values_mut().filter(|task| unwanted(&task.purpose)) {
            // One that the keeper has not started yet is killed when it has.
            task.is_late = true;
            if let Some(process) = &task.process {
                tree::kill_tree(Some(process), &[]);
            }
        }
    }
}

impl Daemon {
    /// Starts a command for a life; its end is told to whom it is for.
    pub(crate) fn run_task(
        &mut self,
        whose: &Whose,
        argv: &[String],
        timeout: Duration,
        purpose: Purpose,
        env: Vec<String>,
    ) {
        let key = self.tasks.new_key();
        let is_heard = matches!(purpose, Purpose::Hook { .. } | Purpose::Dump { .. });
        match self.start_task(&key, whose, argv, env, is_heard) {
            Ok(()) => self.tasks.track(key, purpose, timeout),
            Err(why) => self.task_over(purpose, Err(why)),
        }
    }

    /// Starts a health check of a process that is there.
    pub(crate) fn run_check(&mut self, life: Life, argv: &[String], timeout: Duration, since: Moment) {
        let purpose = Purpose::Check { life, since };
        let Some(process) = self.processes.get(&life) else {
            return self.task_over(purpose, Err("the worker is gone".to_owned()));
        };
        let port = process.proxied.as_ref().map(Proxied::variable);
        let whose = Whose { life, app: process.app, spec: process.spec.clone(), secrets: Environment::new(), port };
        let mut env: Vec<String> = process.pid().map(|pid| format!("RPM_WORKER_PID={pid}")).into_iter().collect();
        env.extend(self.address_text(life).map(|address| format!("RPM_WORKER_ADDRESS={address}")));
        self.run_task(&whose, argv, timeout, purpose, env);
    }

    /// `is_heard` puts what it says into the app's logs.
    fn start_task(
        &mut self,
        key: &str,
        whose: &Whose,
        argv: &[String],
        more: Vec<String>,
        is_heard: bool,
    ) -> Result<(), String> {
        let Whose { life, app, spec, secrets, port } = whose;
        let [program, args @ ..] = argv else { return Err("there is no command".to_owned()) };
        let worker = self.core.worker(life.worker).ok_or("the worker is gone")?;
        let (instance, restarts, unstable) = (worker.instance, worker.restarts, worker.unstable);
        let created_at_ms = self.clock.wall_ms(worker.created_at);
        let logs = rpm_logs::paths(spec, life.worker, &self.home);
        let output = match is_heard {
            true => self.open_output(*life, spec, &logs, |kind| LogNames::of_task(key, kind))?,
            false => Output::default(),
        };
        let user = view::user_of(spec);
        let pid_path = rpm_logs::pid_path(spec, life.worker, &self.home);
        let seat = launch::Seat {
            app: *app,
            life: *life,
            user: &user,
            instance,
            restarts,
            unstable,
            created_at_ms,
            now_ms: self.clock.wall_ms(view::now()),
            home: &self.home,
            logs: &logs,
            pid_path: &pid_path,
        };
        let descriptors = Descriptors { port: port.clone(), ..Descriptors::default() };
        let mut env = launch::environment(spec, secrets, &seat, &descriptors);
        // By this mark a descendant of the worker would be known, and the task is none.
        env.retain(|variable| !variable.starts_with("RPM_LIFE="));
        let named = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
        env.retain(|variable| !more.iter().any(|ours| named(ours) == named(variable)));
        env.extend(more);
        let env: Vec<OsString> = env.into_iter().map(OsString::from).collect();
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let program = OsString::from(program);
        let mut request = SpawnRequest::new(key, &program);
        request.args = &args;
        request.env = &env;
        request.cwd = releases::directory(spec);
        request.user = spec.user;
        request.mark = Some(launch::mark(&self.home, whose.life));
        request.inherit.extend(output.descriptors());
        self.keeper.send(&Request::Spawn(request)).map_err(|error| format!("it could not be started: {error}"))
    }

    pub(crate) fn task_spawned(&mut self, key: &str, pid: i32, pidfd: Pidfd) {
        let start_time = proc::start_time(pid).unwrap_or_default();
        let process = ProcessRef { pid, start_time, pidfd };
        match self.tasks.running.get_mut(key) {
            Some(task) if task.is_late => drop(tree::kill_tree(Some(&process), &[])),
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
            Purpose::Webhook { key } => self.webhook_over(&key, found),
            Purpose::NodeVersion { program } => self.node_answered(program, found),
            Purpose::Hook { hook, life } => self.hook_over(hook, life, found),
            Purpose::Dump { life } => self.stack_told(life, found),
            Purpose::Check { life, since } => {
                self.take_answer(Answer { life, found: found.map_err(wrong), took: view::now().since(since) });
            }
        }
    }
}
