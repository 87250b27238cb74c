//! What clients ask for.

use std::sync::Arc;

use rpm_ipc::{AppFigures, DaemonInfo, Figures, List, Notice, Release, Reply, Request};
use rpm_model::{AppId, AppSpec, WorkerId};
use rpm_supervise::{AppView, Cause, Command, CommandId, Event, Refusal, Resurrected};
use rpm_sys::pidfd::Pidfd;

use crate::clients::Inbound;
use crate::daemon::{Asked, Daemon, shared};
use crate::view;
use crate::watch::Token;

impl Daemon {
    pub(crate) fn on_request(&mut self, inbound: Inbound) {
        let Inbound { id, mut request, line } = inbound;
        match &mut request {
            Request::Start { specs } => self.take_secrets(specs.iter_mut()),
            Request::Resurrect { apps } => {
                self.name_keeper();
                self.take_secrets(apps.iter_mut().map(|app| &mut app.spec));
            }
            Request::Restart { specs, .. } | Request::Reload { specs, .. } => {
                self.take_secrets(specs.iter_mut().map(|respec| &mut respec.spec));
            }
            _ => {}
        }
        for warning in self.limits_that_cannot_be_kept(&request) {
            line.notice(id, Notice::Warning(warning));
        }
        let command = match &request {
            Request::Ping => return line.reply(id, Reply::Pong(self.info())),
            Request::List { environment } => {
                let list = self.list(*environment);
                return line.reply(id, Reply::List(list));
            }
            Request::Figures => {
                let figures = self.figures();
                return line.reply(id, Reply::Figures(figures));
            }
            Request::Signal { workers, signal } => {
                let reply = self.signal_workers(workers, *signal);
                return line.reply(id, reply);
            }
            Request::Save { force, files } => {
                return self.save(*force, files.as_ref(), Some((line, id)));
            }
            Request::ReopenLogs => {
                return self.reopen_logs(Some((line, id)));
            }
            Request::Trigger { workers, action, params } => {
                return self.trigger(workers, action.clone(), params.clone(), (line, id));
            }
            Request::Send { workers, message } => {
                let reply = match self.send(workers, message) {
                    Ok(_) => Reply::Done { workers: workers.clone() },
                    Err(message) => Reply::Refused { message, hint: None },
                };
                return line.reply(id, reply);
            }
            Request::Write { worker, text } => {
                let reply = self.write_input(*worker, text);
                return line.reply(id, reply);
            }
            Request::Balancers => return self.balancers((line, id)),
            Request::History { app } => {
                let reply = self.history(*app);
                return line.reply(id, reply);
            }
            Request::Server { upstream, server, change } => {
                return self.change_server(upstream, server, *change, (line, id));
            }
            Request::Update { binary } => return self.update(binary, (line, id)),
            Request::Events => {
                self.listeners.push((line, id));
                return;
            }
            Request::Foreground => {
                self.stay_with(line.peer());
                self.listeners.push((line, id));
                return;
            }
            Request::Start { .. }
            | Request::Resurrect { .. }
            | Request::Stop { .. }
            | Request::Restart { .. }
            | Request::Reload { .. }
            | Request::Run { .. }
            | Request::Delete { .. }
            | Request::Scale { .. }
            | Request::Autoscale { .. }
            | Request::Promote { .. }
            | Request::Abort { .. }
            | Request::Reset { .. }
            | Request::Kill => {
                if self.change_balancers(&request, (&line, id)) {
                    return;
                }
                let (beside, meant) = self.for_balancers(&request);
                if let Some(beside) = beside
                    && let Ok(command) = command(&beside)
                {
                    self.command(command, Asked { line: None, request: beside });
                }
                match command(&meant) {
                    Ok(command) => command,
                    Err(message) => return line.reply(id, Reply::Refused { message, hint: None }),
                }
            }
        };
        self.command(command, Asked { line: Some((line, id)), request });
    }

    /// Says which limits the host does not offer; the apps start without them.
    fn limits_that_cannot_be_kept(&mut self, request: &Request) -> Vec<String> {
        let specs: Vec<&AppSpec> = match request {
            Request::Start { specs } => specs.iter().collect(),
            Request::Resurrect { apps } => apps.iter().map(|app| &app.spec).collect(),
            Request::Restart { specs, .. } | Request::Reload { specs, .. } => {
                specs.iter().map(|respec| &respec.spec).collect()
            }
            _ => return Vec::new(),
        };
        let cgroups = &mut self.cgroups;
        let refused = specs.into_iter().filter_map(|spec| Some((spec, cgroups.refusal(&spec.limits)?)));
        refused.map(|(spec, why)| format!("{} runs without its limits: {why}", spec.name)).collect()
    }

    pub(crate) fn command(&mut self, command: Command, asked: Asked) -> CommandId {
        let command = self.with_releases(command);
        self.record_command(&command, &asked.request, asked.line.as_ref().map(|(line, _)| line));
        let id = CommandId(self.next_command);
        self.next_command += 1;
        self.commands.insert(id, asked);
        self.events.push_back(Event::Command(id, command));
        id
    }

    /// Takes a signal sent to the daemon itself.
    pub(crate) fn on_signal(&mut self, signal: i32) {
        const SIGHUP: i32 = 1;
        const SIGUSR2: i32 = 12;
        if signal == SIGHUP {
            // A terminal has closed; we have none.
            return;
        }
        if signal == SIGUSR2 {
            return self.reopen_logs(None);
        }
        // PM2's order: the list is saved, then the apps are stopped.
        self.save(false, None, None);
        self.command(Command::Shutdown, Asked { line: None, request: Request::Kill });
    }

    /// Watches the process in whose foreground the apps run.
    fn stay_with(&mut self, pid: Option<i32>) {
        let Some(process) = pid.and_then(|pid| Pidfd::open(pid).ok()) else { return };
        match self.watch.add(&process, Token::Foreground) {
            Ok(()) => self.foreground = Some(process),
            Err(error) => tracing::error!("the process in the foreground cannot be watched: {error}"),
        }
    }

    /// Leaves as it did: nobody reads what the apps say any more, and nobody waits for them.
    pub(crate) fn foreground_left(&mut self) {
        // Closing it takes it out of what is watched.
        if self.foreground.take().is_some() {
            tracing::info!("the process in whose foreground the apps ran is gone: everything stops");
            self.command(Command::Shutdown, Asked { line: None, request: Request::Kill });
        }
    }

    fn history(&self, app: AppId) -> Reply {
        let Some(view) = self.core.app(app) else {
            return Reply::Refused { message: Refusal::UnknownApp(app).to_string(), hint: None };
        };
        let release = |past: &rpm_supervise::Past| Release {
            spec: (*past.spec).clone(),
            until_ms: self.clock.wall_ms(past.until),
            rolled_back: past.fate == rpm_supervise::Fate::RolledBack,
        };
        Reply::History(view.history.iter().map(release).collect())
    }

    fn info(&self) -> DaemonInfo {
        DaemonInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id() as i32,
            keeper_pid: self.keeper_pid,
            started_at_ms: self.started_at_ms,
        }
    }

    fn list(&mut self, environment: bool) -> List {
        self.sample_for_list(view::now());
        let clock = self.clock;
        let view = |app| view::app(&app, &self.processes, &self.home, clock, environment);
        let mut apps: Vec<_> = self.core.apps().map(view).collect();
        for app in &mut apps {
            app.next_run_ms = self.next_run(app.id);
        }
        for worker in apps.iter_mut().flat_map(|app| &mut app.workers) {
            let logs = [&worker.out_log, &worker.err_log, &worker.combined_log].into_iter().flatten();
            worker.log_trouble = logs.filter_map(|log| self.logs.trouble.get(log)).next().cloned();
        }
        self.tell_node_versions(&mut apps);
        List { apps, daemon: self.info() }
    }

    fn figures(&mut self) -> Figures {
        self.sample_for_list(view::now());
        self.find_logs();
        let of = |app: AppView<'_>| AppFigures {
            next_run_ms: self.next_run(app.id),
            logs: self.logs.figures(app.id),
            ..view::figures(&app, &self.processes, self.clock)
        };
        Figures { apps: self.core.apps().map(of).collect(), daemon: self.info() }
    }

    /// Returns when an app next runs by its times; nothing where they pass.
    fn next_run(&self, app: AppId) -> Option<u64> {
        let next = self.cron.next_of(app)?;
        let is_over = self.core.app(app)?.workers.iter().all(|worker| worker.is_parked);
        (!is_over).then_some(next)
    }

    /// Sends a signal to main processes, by pidfd.
    fn signal_workers(&self, workers: &[WorkerId], signal: i32) -> Reply {
        for worker in workers {
            let Some(view) = self.core.worker(*worker) else {
                return Reply::Refused { message: Refusal::UnknownWorker(*worker).to_string(), hint: None };
            };
            let running = view.life.and_then(|life| self.processes.get(&life)?.running.as_ref());
            let Some(running) = running else {
                let message = format!("worker {worker} is {} and has no process to signal", view.status);
                return Reply::Refused { message, hint: None };
            };
            if let Err(error) = running.process.signal(signal) {
                return Reply::Refused { message: format!("worker {worker}: {error}"), hint: None };
            }
        }
        Reply::Done { workers: workers.to_vec() }
    }
}

/// Returns what the core is asked by a request that is for the core; refuses what no machine can carry.
pub(crate) fn command(request: &Request) -> Result<Command, String> {
    let wanted = |specs: &mut dyn Iterator<Item = &AppSpec>| {
        let sum: u64 = specs.map(|spec| u64::from(spec.instances)).sum();
        bounded(sum)
    };
    Ok(match request {
        Request::Start { specs } => {
            wanted(&mut specs.iter())?;
            Command::Start { specs: shared(specs.clone()) }
        }
        Request::Resurrect { apps } => {
            wanted(&mut apps.iter().map(|app| &app.spec))?;
            Command::Resurrect { apps: apps.iter().map(resurrected).collect() }
        }
        Request::Stop { workers } => Command::Stop { workers: workers.clone() },
        Request::Restart { workers, specs } => {
            wanted(&mut specs.iter().map(|respec| &respec.spec))?;
            Command::Restart { workers: workers.clone(), specs: respecs(specs) }
        }
        Request::Reload { workers, specs, force } => {
            wanted(&mut specs.iter().map(|respec| &respec.spec))?;
            Command::Reload { workers: workers.clone(), specs: respecs(specs), force: *force }
        }
        Request::Run { workers } => Command::Run { workers: workers.clone(), cause: Cause::Run },
        Request::Delete { workers } => Command::Delete { workers: workers.clone() },
        Request::Scale { app, instances } => {
            bounded(u64::from(*instances))?;
            Command::Scale { app: *app, instances: *instances }
        }
        Request::Autoscale { app, on } => Command::Autoscale { app: *app, on: *on },
        Request::Promote { app } => Command::Promote { app: *app },
        Request::Abort { app } => Command::Abort { app: *app },
        Request::Reset { workers } => Command::Reset { workers: workers.clone() },
        Request::Kill => Command::Shutdown,
        Request::Ping
        | Request::Balancers
        | Request::History { .. }
        | Request::Server { .. }
        | Request::List { .. }
        | Request::Figures
        | Request::Signal { .. }
        | Request::Save { .. }
        | Request::ReopenLogs
        | Request::Trigger { .. }
        | Request::Send { .. }
        | Request::Write { .. }
        | Request::Update { .. }
        | Request::Events
        | Request::Foreground => return Err("this is not for the core".into()),
    })
}

fn resurrected(app: &rpm_ipc::SavedApp) -> Resurrected {
    Resurrected { spec: Arc::new(app.spec.clone()), is_stopped: app.stopped, is_scaled_by_hand: app.autoscale_off }
}

/// A client that has lost its way would fill the memory.
fn bounded(instances: u64) -> Result<(), String> {
    const MAX: u32 = AppSpec::INSTANCES_MAX;
    if instances > u64::from(MAX) {
        return Err(format!("{instances} instances were asked for, at most {MAX} at once are taken"));
    }
    Ok(())
}

fn respecs(specs: &[rpm_ipc::Respec]) -> Vec<(AppId, Arc<AppSpec>)> {
    specs.iter().map(|respec| (respec.app, Arc::new(respec.spec.clone()))).collect()
}
