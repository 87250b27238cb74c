//! What the core asks for, carried out.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rpm_ipc::{Failed, Happened, Notice, Reply};
use rpm_keeper::client::{Request, SpawnRequest};
use rpm_model::{AppId, AppSpec, Environment, ExecMode, Hook, Life, Moment, ProxySocket, WorkerId};
use rpm_share::{Change, Channel, Want};
use rpm_supervise::{Cause, CommandId, Effect, Event, Failure, Happening, Note, Outcome, Warning};
use rpm_sys::fail;

use crate::daemon::Daemon;
use crate::edge;
use crate::forensics::Owner;
use crate::launch::{self, Descriptors, Seat};
use crate::notify;
use crate::output::LogNames;
use crate::own_log;
use crate::pm2::News;
use crate::process::{Draining, Process, Proxied, SeatFiles};
use crate::releases;
use crate::secrets::Prepared;
use crate::settle::Settling;
use crate::view;
use crate::watch::Token;

/// Node takes any number; three is PM2's, and the first that is free.
pub(crate) const CHANNEL: i32 = 3;

/// systemd's rule: passed listening sockets start here.
pub(crate) const LISTEN_START: i32 = 3;

/// The same number on every Linux.
const SIGKILL: i32 = 9;

/// Who looks at all apps after each end of a process, and there are many of both, does nothing else.
const FIT_WITHIN: Duration = Duration::from_millis(250);

impl Daemon {
    pub(crate) fn carry_out(&mut self, effect: Effect) {
        match effect {
            // The next process of a worker is as the one before; where it is not, a command said so, and is answered.
            Effect::Spawn { restarts: 1.., .. } => self.fit_soon(),
            Effect::Spawn { .. } | Effect::Reply { .. } | Effect::Close { .. } | Effect::Forget { .. } => {
                self.apps_differ = true;
            }
            _ => {}
        }
        let point = point_after(&effect);
        self.edges.differ |= effect.life().is_some() || matches!(effect, Effect::Close { .. } | Effect::Forget { .. });
        match effect {
            Effect::Spawn { life, app, spec, instance, restarts, unstable, created_at } => {
                let note = Note { restarts, unstable, created_at };
                let needs_no_secrets = spec.secrets.is_empty();
                let prepared = Prepared::new(app, spec, instance, note);
                if needs_no_secrets {
                    self.begin_start(life, prepared, Environment::new());
                } else {
                    self.resolve(life, prepared);
                }
            }
            Effect::WatchSettling { life } => {
                if let Some(process) = self.processes.get_mut(&life) {
                    process.settling = Some(Settling::default());
                    self.rounds.settling_begins(view::now());
                }
            }
            Effect::Admit { life } => {
                if let Some(process) = self.processes.get_mut(&life) {
                    let is_first = !process.admitted;
                    (process.admitted, process.withheld) = (true, false);
                    self.ports.admit(life);
                    if is_first {
                        self.hook(Hook::PostStart, life, None);
                    }
                }
            }
            Effect::Withhold { life } => {
                // From a socket that all workers have, nobody can be kept away without closing it.
                if let Some(process) = self.processes.get_mut(&life) {
                    process.withheld = true;
                    self.ports.withhold(life);
                }
            }
            Effect::Dump { life } => self.dump_stack(life),
            Effect::Drain { life, until } => self.drain(life, until),
            Effect::Ask { life } => self.ask(life),
            Effect::Kill { life } => self.kill(life),
            Effect::Close { worker } => {
                let of_balancer = self.core.worker(worker).filter(|worker| worker.spec.is_balancer());
                if let Some(app) = of_balancer.map(|worker| worker.app) {
                    self.close_listeners(app, worker);
                }
                self.hand_on(worker);
                self.ports.close(worker);
                if let Some(files) = self.seats.get(&worker) {
                    crate::news::remove_pid(&files.pid);
                }
            }
            Effect::Forget { worker } => {
                self.names.remove(&worker);
                self.forensics.forget(worker);
                if let Some(files) = self.seats.remove(&worker)
                    && self.core.app(files.app).is_none()
                {
                    self.close_listeners(files.app, worker);
                    self.ports.close_app(files.app);
                }
            }
            Effect::Reply { command, outcome } => self.reply(command, outcome),
            Effect::Progress { command, done, total } => {
                if let Some((line, id)) = self.commands.get(&command).and_then(|asked| asked.line.as_ref()) {
                    line.notice(*id, Notice::Progress { done, total });
                }
            }
            Effect::Warn { command, warning } => self.warn(command, &warning),
            // Seen to by the turn, before anything else is carried out.
            Effect::Persist => {}
            Effect::Publish { worker, happening } => {
                if let Some(pm2) = &self.pm2
                    && pm2.is_listened_to()
                {
                    let cause = self.core.worker(worker).and_then(|worker| worker.cause);
                    pm2.tell(News::Happened { worker, happening, cause });
                }
                let why = self.why(worker, happening);
                let happened = view::happened(self.app_name(worker), worker, happening, why);
                let mode = self.core.worker(worker).map(|worker| worker.spec.exec_mode);
                tracing::info!("{}", own_log::line(self.home.flavour(), &happened, happening, mode));
                self.record_happening(&happened, happening);
                self.tell_listeners(&happened);
            }
            // What is run when the last process has ended is not cut off.
            Effect::Leave if self.tasks.any_hook() => self.hooks.is_last = true,
            Effect::PublishApp { app, event, detail } => {
                // A canary is watched from now on, or is not any more.
                self.apps_differ = true;
                self.publish_of_app(app, event, detail);
            }
            Effect::Leave => self.leaving = true,
        }
        if let Some(step) = point {
            fail::pass("effect", step);
        }
    }

    /// Starts a process whose secrets are known.
    pub(crate) fn start_process(
        &mut self,
        life: Life,
        app: AppId,
        spec: &Arc<AppSpec>,
        instance: u32,
        note: Note,
        secrets: &Environment,
    ) {
        if let Err(event) = self.spawn(life, app, spec, instance, note, secrets) {
            self.processes.remove(&life);
            self.events.extend(event);
        }
    }

    /// Tells everybody who wants to know.
    pub(crate) fn tell_listeners(&mut self, happened: &Happened) {
        self.listeners.retain(|(line, _)| !line.is_closed());
        for (line, id) in &self.listeners {
            line.notice(*id, Notice::Happened(happened.clone()));
        }
    }

    /// Asks the keeper for a process. What goes wrong before that is returned as news.
    fn spawn(
        &mut self,
        life: Life,
        app: AppId,
        spec: &Arc<AppSpec>,
        instance: u32,
        note: Note,
        secrets: &Environment,
    ) -> Result<(), Vec<Event>> {
        let failed = |why: String| vec![Event::SpawnFailed { life, why }];
        let mut process = Process::new(app, spec.clone());
        let logs = rpm_logs::paths(spec, life.worker, &self.home);
        let pid_path = rpm_logs::pid_path(spec, life.worker, &self.home);

        let output = self.open_output(life, spec, &logs, |kind| LogNames::of(life, kind)).map_err(&failed)?;
        let length = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
        let err_from = logs.err.as_deref().map_or(0, length);
        process.log_from = [logs.out.as_deref().or(logs.combined.as_deref()).map_or(0, length), err_from];

        let mut descriptors = Descriptors::default();
        let mut child_channel: Option<OwnedFd> = None;
        let mut listen: Vec<OwnedFd> = Vec::new();
        let mut control = None;
        match spec.exec_mode {
            ExecMode::Socket if spec.is_balancer() => {
                self.open_listeners(app, spec).map_err(|refused| {
                    let taken = self.taken(refused.address.clone(), &refused);
                    let why = format!("{} is not free", taken.address);
                    vec![Event::BindFailed { life, taken }, Event::SpawnFailed { life, why }]
                })?;
                let (ours, theirs) = rpm_sys::fd::socketpair_stream().map_err(|error| failed(error.to_string()))?;
                child_channel = Some(theirs);
                control = Some(ours);
            }
            ExecMode::Fork | ExecMode::Cluster => {
                let (ours, theirs) = rpm_sys::fd::socketpair_stream().map_err(|error| failed(error.to_string()))?;
                process.channel = Some(Channel::new(ours, life).map_err(|error| failed(error.to_string()))?);
                child_channel = Some(theirs);
                descriptors.channel = Some(CHANNEL);
            }
            ExecMode::Socket => {
                for address in &spec.listen {
                    let want = Want::parse(address).map_err(|error| failed(error.to_string()))?;
                    let claim = self.ports.claim(life, app, &want, spec.socket_mode).map_err(|refused| {
                        let taken = self.taken(address.clone(), &refused);
                        let why = format!("{} is not free", taken.address);
                        vec![Event::BindFailed { life, taken }, Event::SpawnFailed { life, why }]
                    })?;
                    listen.push(claim.fd);
                    descriptors.listen.push(address.replace(':', "_"));
                }
            }
            ExecMode::Proxy => {
                let given = match spec.proxy_socket {
                    ProxySocket::Tcp => {
                        let port = edge::free_port(life).map_err(|error| failed(error.to_string()))?;
                        Proxied::Port { port, only_v6: false }
                    }
                    ProxySocket::Unix => Proxied::File(edge::free_file(&self.home, life).map_err(failed)?),
                };
                descriptors.port = Some(given.variable());
                process.proxied = Some(given);
            }
        }
        let mut child_input: Option<OwnedFd> = None;
        if spec.exec_mode == ExecMode::Fork {
            let (write, read) = rpm_sys::fd::pipe_outlived(None, true).map_err(|error| failed(error.to_string()))?;
            rpm_sys::fd::set_nonblocking(&write, true).map_err(|error| failed(error.to_string()))?;
            child_input = Some(read);
            process.input = Some(write);
        }
        descriptors.watchdog = spec.watchdog;
        if (spec.wait_ready || spec.watchdog.is_some()) && !spec.is_balancer() {
            let (socket, address) = notify::open(&self.home, life).map_err(|error| failed(error.to_string()))?;
            process.notify = Some(socket);
            descriptors.notify = Some(address);
        }

        let procs = self.enter_cgroup(&mut process, life);
        let clock = self.clock;
        let user = view::user_of(spec);
        let seat = Seat {
            app,
            life,
            user: &user,
            instance,
            restarts: note.restarts,
            unstable: note.unstable,
            created_at_ms: clock.wall_ms(note.created_at),
            now_ms: clock.wall_ms(view::now()),
            home: &self.home,
            logs: &logs,
            pid_path: &pid_path,
        };
        let (program, args) = launch::arguments(spec);
        let args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
        let env: Vec<OsString> =
            launch::environment(spec, secrets, &seat, &descriptors).into_iter().map(OsString::from).collect();

        let key = life.to_string();
        let program = OsString::from(program);
        let names = Names::of(life);
        let note = serde_json::to_vec(&note).unwrap_or_default();
        let mut request = SpawnRequest::new(&key, &program);
        request.note = &note;
        request.args = &args;
        request.env = &env;
        request.cwd = releases::directory(spec);
        request.listen_pid = !listen.is_empty();
        request.user = spec.user;
        request.mark = Some(launch::mark(&self.home, life));
        request.cgroup = procs.as_ref().map(|procs| procs.as_fd());
        request.inherit.extend(output.descriptors());
        request.keep.extend(output.held());
        if let Some(theirs) = &child_channel {
            request.inherit.push((theirs.as_fd(), CHANNEL));
        }
        if let Some(read) = &child_input {
            request.inherit.push((read.as_fd(), 0));
        }
        if let Some(input) = &process.input {
            request.keep.push((&names.input, input.as_fd()));
        }
        if let Some(channel) = &process.channel {
            request.keep.push((&names.channel, channel.as_fd()));
        }
        if let Some(notify) = &process.notify {
            request.keep.push((&names.notify, notify.as_fd()));
        }
        for (number, socket) in listen.iter().enumerate() {
            request.inherit.push((socket.as_fd(), LISTEN_START + number as i32));
        }
        fail::pass("spawn", "opened");
        let sent = self.keeper.send(&Request::Spawn(request));
        sent.map_err(|error| failed(format!("the keeper did not take the request: {error}")))?;

        // The keeper starts it in any case now, so what fails here is only told.
        let channel = process.channel.as_ref().map(|channel| self.watch.add_edges(channel, Token::Channel(life)));
        let notify = process.notify.as_ref().map(|socket| self.watch.add(socket, Token::Notify(life)));
        for watched in [channel, notify].into_iter().flatten() {
            if let Err(error) = watched {
                tracing::error!("{life} cannot be heard: {error}");
            }
        }
        self.keep_files(life.worker, spec, SeatFiles { app, logs, pid: pid_path, err_from });
        self.processes.insert(life, process);
        if let Some(socket) = control {
            self.begin_edge(life, app, spec, socket);
            self.keep_control(life);
            self.configure_edge(life);
        }
        Ok(())
    }

    fn drain(&mut self, life: Life, until: Moment) {
        let now = view::now();
        self.ports.retire(life);
        let steered = self.ports.is_steered(life);
        if let Some(process) = self.processes.get_mut(&life) {
            process.admitted = false;
            process.leaving = true;
            // From a socket that all workers have, new connections cannot be kept away: the worker must let go of it.
            if !steered
                && let Some(channel) = &mut process.channel
                && let Err(error) = channel.disconnect()
            {
                tracing::warn!("{life} could not be told to close its servers: {error}");
            }
            process.drain = Some(Draining { since: now, until, quiet: 0 });
            self.rounds.draining_begins(now);
        }
        self.quit_edge(life, Some(until));
        self.flush_channel(life);
    }

    fn ask(&mut self, life: Life) {
        if self.give_up_start(life) {
            return;
        }
        let Some(process) = self.processes.get_mut(&life) else { return };
        if process.running.is_some() && process.spec.hook(Hook::PreStop).is_some() {
            process.drain = None;
            process.leaving = true;
            self.ports.retire(life);
            self.hook(Hook::PreStop, life, None);
            return;
        }
        self.ask_now(life);
    }

    /// Asks a process to leave, which has nothing left to do before.
    pub(crate) fn ask_now(&mut self, life: Life) {
        let Some(process) = self.processes.get_mut(&life) else { return };
        process.drain = None;
        process.leaving = true;
        if self.quit_edge(life, None) {
            return;
        }
        // Others who share its address get the new connections from now on; where there are none, it does.
        self.ports.retire(life);
        let Some(process) = self.processes.get_mut(&life) else { return };
        if process.spec.stop.shutdown_with_message
            && let Some(channel) = &mut process.channel
        {
            if let Err(error) = channel.send_app(&serde_json::Value::String("shutdown".into())) {
                tracing::warn!("{life} could not be told to shut down: {error}");
            }
            self.flush_channel(life);
            return;
        }
        let signal = process.spec.stop.signal;
        self.signal(life, signal);
    }

    fn kill(&mut self, life: Life) {
        if self.give_up_start(life) {
            return;
        }
        if let Some(process) = self.processes.get_mut(&life) {
            process.leaving = true;
        }
        if let Some(leftovers) = self.leftovers.get(&life) {
            leftovers.kill();
        }
        self.signal(life, SIGKILL);
    }

    /// Signals a life's process tree, or its main process where the app wants only that.
    pub(crate) fn signal(&mut self, life: Life, signal: i32) {
        let Some(process) = self.processes.get(&life) else { return };
        let Some(running) = &process.running else { return };
        if process.spec.stop.treekill {
            let strays = self.strays(life);
            if signal == SIGKILL {
                if let Some(group) = &process.cgroup {
                    group.kill();
                }
                rpm_sys::tree::kill_tree(Some(&running.process), &strays);
            } else {
                rpm_sys::tree::signal_tree(Some(&running.process), &strays, signal);
            }
        } else {
            // Gone already is what we want.
            let _ = running.process.signal(signal);
        }
        fail::pass("signal", "sent");
    }

    /// Makes the control group of a life that has limits; returns where its process enrols itself.
    fn enter_cgroup(&mut self, process: &mut Process, life: Life) -> Option<std::fs::File> {
        if process.spec.limits.is_empty() {
            return None;
        }
        match self.cgroups.create(life, &process.spec.limits) {
            Ok((group, procs)) => {
                process.cgroup = Some(group);
                Some(procs)
            }
            Err(why) => {
                tracing::warn!("{life} runs without its limits: {why}");
                process.not_limited = Some(why.to_string());
                None
            }
        }
    }

    fn warn(&mut self, command: CommandId, warning: &Warning) {
        let notice = match warning {
            Warning::NotReadyInTime { worker, waited_ms } => {
                let name = self.app_name(*worker);
                Notice::Warning(format!(
                    "{name}, worker {worker} did not say that it is ready within {waited_ms} ms; it counts as online"
                ))
            }
            Warning::Canary { app, text } => {
                let name = self.core.spec(*app).map_or("", |spec| spec.name.as_str());
                Notice::Told(format!("{name}: the canary {}", text))
            }
        };
        if let Some((line, id)) = self.commands.get(&command).and_then(|asked| asked.line.as_ref()) {
            line.notice(*id, notice);
        }
    }

    /// Returns what the core does not say of a cause: which file has changed, what was wrong with a worker.
    fn why(&mut self, worker: WorkerId, happening: Happening) -> Option<String> {
        match happening {
            Happening::Unhealthy | Happening::Stopping { cause: Cause::Health | Cause::Hang } => {
                let lives = self.processes.range(Life::new(worker, 0)..=Life::new(worker, u64::MAX));
                let trouble = lives.filter_map(|(_, process)| process.checked.as_ref()?.trouble()).next();
                let known =
                    || self.core.worker(worker)?.why.map(|why| why.trim_start_matches("unhealthy: ").to_owned());
                trouble.map(str::to_owned).or_else(known)
            }
            Happening::Started { cause: Cause::Watch } | Happening::Stopping { cause: Cause::Watch } => {
                self.changes.why(self.core.app_of(worker)?)
            }
            // What is never restarted has met no limit of restarts.
            Happening::Errored => {
                let worker = self.core.worker(worker).filter(|worker| !worker.spec.restart.autorestart)?;
                worker.why
            }
            Happening::Started { cause: Cause::Crash } => {
                self.forensics.has_starved(worker).then(|| "out of memory".to_owned())
            }
            _ => None,
        }
    }

    fn reply(&mut self, command: CommandId, outcome: Outcome) {
        self.changes_hear_of_end(command, view::now());
        self.cron_hears_of_end(command);
        let Some(asked) = self.commands.remove(&command) else { return };
        let Some((line, id)) = asked.line else { return };
        let reply = match outcome {
            Outcome::Done { workers } => Reply::Done { workers },
            Outcome::Refused(refusal) => Reply::Refused { message: refusal.to_string(), hint: None },
            Outcome::Failed { failures, undone } => {
                let describe = |failure: &Failure| {
                    let files = self.seats.get(&failure.worker);
                    let err_log = files.and_then(|files| Some((files.logs.err.as_deref()?, files.err_from)));
                    view::failure(failure, err_log)
                };
                Reply::Failed(Failed { failures: failures.iter().map(describe).collect(), undone })
            }
        };
        // Whoever asked for the end should hear of it before we leave.
        if matches!(asked.request, rpm_ipc::Request::Kill) {
            self.listeners.push((line.clone(), id));
        }
        self.replies.push((line, id, reply));
    }

    /// Notes that processes have come or gone, which the rooms that look at all apps need not know at once.
    pub(crate) fn fit_soon(&mut self) {
        self.fit_due.get_or_insert_with(|| view::now() + FIT_WITHIN);
    }

    pub(crate) fn app_name(&self, worker: WorkerId) -> String {
        self.owner(worker).map(|owner| owner.name).unwrap_or_default()
    }

    /// Returns whose a seat is, or was.
    pub(crate) fn owner(&self, worker: WorkerId) -> Option<Owner> {
        let now = self.core.app_of(worker).and_then(|app| Some(Owner::of(app, self.core.spec(app)?)));
        now.or_else(|| self.names.get(&worker).cloned())
    }

    /// Tells the keeper which listening sockets to hold.
    pub(crate) fn keep_port_changes(&mut self) {
        for change in self.ports.changes().collect::<Vec<_>>() {
            match change {
                Change::Keep { name, fd } => self.ask_keeper(&Request::Store { name: &name, fd: fd.as_fd() }),
                Change::Forget { name } => self.ask_keeper(&Request::Drop { name: &name }),
            }
        }
    }
}

/// Returns what the point after an effect is called; what only tells people something has none.
fn point_after(effect: &Effect) -> Option<&'static str> {
    Some(match effect {
        Effect::Spawn { .. } => "spawn",
        Effect::WatchSettling { .. } => "watch_settling",
        Effect::Admit { .. } => "admit",
        Effect::Drain { .. } => "drain",
        Effect::Ask { .. } => "ask",
        Effect::Kill { .. } => "kill",
        Effect::Close { .. } => "close",
        Effect::Forget { .. } => "forget",
        Effect::Reply { .. } => "reply",
        Effect::Publish { .. } => "publish",
        Effect::Leave => "leave",
        Effect::Withhold { .. }
        | Effect::Dump { .. }
        | Effect::Progress { .. }
        | Effect::Warn { .. }
        | Effect::Persist
        | Effect::PublishApp { .. } => return None,
    })
}

/// The names by which the keeper knows a life's descriptors.
pub(crate) struct Names {
    pub(crate) channel: String,
    pub(crate) input: String,
    pub(crate) notify: String,
}

impl Names {
    pub(crate) fn of(life: Life) -> Self {
        Self { channel: format!("ipc/{life}"), input: format!("input/{life}"), notify: format!("notify/{life}") }
    }
}
