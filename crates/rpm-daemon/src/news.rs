//! What the keeper and the workers say, turned into events for the core.

use rpm_keeper::client::{ExitStatus, Message, Request};
use rpm_logs::Kind;
use rpm_model::{Bytes, Exit, Hook, Life, Moment, WorkerId};
use rpm_share::{Channel, ChannelError, FromApp, Owner, Refused, Want};
use rpm_supervise::{Event, Taken};
use rpm_sys::pidfd::{Pidfd, ProcessRef};
use rpm_sys::{fail, proc};
use serde_json::Value;

use crate::daemon::Daemon;
use crate::effects::Names;
use crate::forensics::Usage;
use crate::output::LogNames;
use crate::pm2::News;
use crate::process::{Process, Running};
use crate::sampling::Sampler;
use crate::watch::Token;
use crate::{DaemonError, notify, tasks, view};

impl Daemon {
    /// Takes what is there, without waiting; returns whether there may be more.
    pub(crate) fn take_news(&mut self) -> Result<bool, DaemonError> {
        for life in std::mem::take(&mut self.unread) {
            self.take_some_from_channel(life);
        }
        for life in std::mem::take(&mut self.unclear) {
            self.look_at_leftovers(life);
        }
        for _ in 0..ROUNDS_MAX {
            let ready = self.watch.take().map_err(|error| DaemonError::System { what: "read events", error })?;
            if ready.is_empty() {
                return Ok(!self.unread.is_empty() || !self.unclear.is_empty());
            }
            self.take(ready)?;
        }
        Ok(true)
    }

    fn take(&mut self, ready: Vec<Token>) -> Result<(), DaemonError> {
        for token in ready {
            match token {
                Token::Keeper => self.take_from_keeper()?,
                Token::Signals => self.take_signals(),
                Token::Channel(life) => self.take_some_from_channel(life),
                Token::Notify(life) => {
                    let socket = self.processes.get(&life).and_then(|process| process.notify.as_ref());
                    let said = socket.map(notify::receive).unwrap_or_default();
                    if said.ready {
                        self.events.push_back(Event::AppReady { life });
                    }
                    if said.ready || said.alive {
                        self.gave_sign_of_life(life);
                    }
                    if said.gives_up {
                        self.events.push_back(Event::Hung { life, why: "it says so itself".to_owned() });
                    }
                }
                Token::Leftover(life) => self.look_at_leftovers(life),
                Token::Door => self.look_at_door(),
                Token::Cron => self.take_cron_timer(),
                Token::Edge(life) => self.take_from_edge(life),
                Token::Foreground => self.foreground_left(),
                // What is due is done in every pass.
                Token::Clock => {}
            }
        }
        Ok(())
    }

    fn take_from_keeper(&mut self) -> Result<(), DaemonError> {
        loop {
            let message = match self.keeper.recv() {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return self.replace_keeper(),
                Err(error) => return Err(DaemonError::Keeper(error)),
            };
            match message {
                Message::Spawned { key, pid, pidfd, at_micros } => match Life::parse(&key) {
                    Some(life) => self.spawned(life, pid, Pidfd::from_fd(pidfd), Moment(at_micros)),
                    None => self.task_spawned(&key, pid, Pidfd::from_fd(pidfd)),
                },
                Message::SpawnFailed { key, step, errno } => {
                    let error = std::io::Error::from_raw_os_error(errno);
                    let program = Life::parse(&key).and_then(|life| self.processes.get(&life)).map(program);
                    let why = match program.filter(|_| step == "execve") {
                        Some(program) => format!("{program} cannot be run: {error}"),
                        None => format!("{step}: {error}"),
                    };
                    match Life::parse(&key) {
                        Some(life) => {
                            self.let_go(life);
                            self.events.push_back(Event::SpawnFailed { life, why });
                        }
                        None => self.task_ended(&key, Err(why)),
                    }
                }
                Message::Exited { key, exit, at_micros, utime_micros, stime_micros, maxrss_bytes, .. } => {
                    let usage = Usage { cpu_micros: utime_micros + stime_micros, memory_max: Bytes(maxrss_bytes) };
                    let recorded = Life::parse(&key).is_some_and(|life| {
                        let recorded = self.record_exit(life, exit_of(exit), Moment(at_micros), usage);
                        self.ended(life, exit_of(exit));
                        recorded
                    });
                    if Life::parse(&key).is_none() {
                        self.task_ended(&key, Ok(exit_of(exit)));
                    }
                    // One that is being recorded is acknowledged when it is.
                    if !recorded {
                        self.to_acknowledge.insert(key);
                    }
                }
                Message::Error { about, text } if about == "Upgrade" => self.keeper_not_upgraded(text),
                Message::Error { about, text } => self.keeper_refused(&about, text),
                Message::Hello { .. } => self.keeper_upgraded(),
                Message::Child { .. }
                | Message::Held { .. }
                | Message::InventoryEnd
                | Message::Orphans { .. }
                | Message::Fd { .. } => {}
            }
        }
    }

    /// The keeper did not do something: where that was to start a process, whoever waits for it is told.
    fn keeper_refused(&mut self, about: &str, text: String) {
        let waits = |life: &Life| self.processes.get(life).is_some_and(|process| process.running.is_none());
        match Life::parse(about).filter(waits) {
            Some(life) => {
                self.let_go(life);
                self.events.push_back(Event::SpawnFailed { life, why: text });
            }
            None if about.starts_with(tasks::PREFIX) => self.task_ended(about, Err(text)),
            None => tracing::error!("the keeper refused {about}: {text}"),
        }
    }

    pub(crate) fn spawned(&mut self, life: Life, pid: i32, pidfd: Pidfd, at: Moment) {
        let Some(process) = self.processes.get_mut(&life) else {
            tracing::error!("the keeper started {life}, which nobody wants");
            let _ = pidfd.signal(9);
            return;
        };
        // A process that is gone already is still a zombie in the keeper's hands, so its pid is not reused yet.
        let start_time = proc::start_time(pid);
        // One that ended at once may be buried already: there is nothing to sample, and nobody whose pid is to be known.
        let is_there = start_time.is_some();
        let reference = ProcessRef { pid, start_time: start_time.unwrap_or_default(), pidfd };
        let sampler = if is_there { Sampler::open(pid, at) } else { None };
        process.running = Some(Running { process: reference, sampler });
        if is_there
            && let Some(files) = self.seats.get(&life.worker)
            && let Err(error) = write_pid(&files.pid, pid)
        {
            tracing::warn!("{} could not be written: {error}", files.pid.display());
        }
        self.begin_checks(life, view::now());
        self.events.push_back(Event::Spawned { life, pid });
    }

    /// A process ended: closes what it had, finds what it left.
    fn ended(&mut self, life: Life, exit: Exit) {
        // What it said last still counts: "ready" and gone is not the same as gone.
        self.take_from_channel(life);
        self.hook(Hook::OnExit, life, Some(exit));
        let process = self.processes.get(&life).filter(|process| process.spec.stop.treekill);
        let known = process.map(|process| (process.pid(), process.cgroup.clone()));
        let leftovers = known.is_some_and(|(session, cgroup)| self.watch_leftovers(life, session, cgroup));
        self.let_go(life);
        self.events.push_back(Event::Exited { life, exit, leftovers });
    }

    /// Gives up the resources of a life that is over.
    fn let_go(&mut self, life: Life) {
        let Some(process) = self.processes.remove(&life) else { return };
        self.fit_soon();
        self.checks.forget(life);
        self.edges.differ = true;
        self.end_edge(life);
        let names = Names::of(life);
        if let Some(channel) = &process.channel {
            self.watch.remove(channel);
            self.ask_keeper(&Request::Drop { name: &names.channel });
        }
        if process.input.is_some() {
            self.ask_keeper(&Request::Drop { name: &names.input });
        }
        self.actions.ended(life);
        if let Some(crate::process::Proxied::File(path)) = &process.proxied {
            // A program that was killed leaves it behind.
            let _ = std::fs::remove_file(path);
        }
        if let Some(group) = &process.cgroup {
            if group.ran_out_of_memory() {
                tracing::warn!("{life} needed more memory than its memory_max, and was killed by the kernel");
            }
            group.remove();
        }
        if let Some(socket) = &process.notify {
            self.watch.remove(socket);
            self.ask_keeper(&Request::Drop { name: &names.notify });
            notify::close(&self.home, life);
        }
        if let Some(pump) = &self.pump {
            for kind in [Kind::Out, Kind::Err] {
                pump.finish(&LogNames::of(life, kind).stream);
            }
        }
        if let Some(running) = &process.running {
            self.watch.remove(&running.process.pidfd);
            // A replacement has the same file.
            let is_replaced = self.lives_of(life.worker).any(|(_, process)| process.running.is_some());
            if let Some(files) = self.seats.get(&life.worker).filter(|_| !is_replaced) {
                remove_pid(&files.pid);
            }
        }
        // A slot whose life was replaced, or never made it, is closed. One whose seat has nobody else keeps its
        // queue for the next life; so does one whose replacement does not let connections in yet.
        let others: Vec<&crate::process::Process> = self.lives_of(life.worker).map(|(_, process)| process).collect();
        if others.iter().any(|other| other.admitted) || (!others.is_empty() && !process.admitted) {
            self.save_stranded(life);
            self.ports.release(life);
        } else {
            self.ports.ended(life);
        }
    }

    /// Hands connections that still wait for a life that is gone to the one in its seat.
    fn save_stranded(&mut self, life: Life) {
        let heir =
            self.lives_of(life.worker).filter(|(_, process)| process.channel.is_some()).map(|(life, _)| *life).last();
        let Some(heir) = heir else { return };
        for stranded in self.ports.stranded(life) {
            let Some(channel) = self.channel(heir) else { return };
            if let Err(error) = channel.hand_over(&stranded.key, stranded.connection) {
                tracing::warn!("a connection that waited for {life} is lost: {error}");
            }
        }
        self.flush_channel(heir);
    }

    /// Hands connections that still wait for a seat that goes down to those who share its address.
    pub(crate) fn hand_on(&mut self, worker: WorkerId) {
        for (heir, stranded) in self.ports.stranded_of_seat(worker) {
            // Without a channel it is closed here: the client sees that at once, and can try again.
            let Some(channel) = self.channel(heir) else { continue };
            if let Err(error) = channel.hand_over(&stranded.key, stranded.connection) {
                tracing::warn!("a connection that waited for {worker} is lost: {error}");
            }
            self.flush_channel(heir);
        }
    }

    fn lives_of(&self, worker: WorkerId) -> impl Iterator<Item = (&Life, &crate::process::Process)> {
        self.processes.range(Life::new(worker, 0)..=Life::new(worker, u64::MAX))
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            tracing::info!("got {}", rpm_model::worker::signal_name(signal).unwrap_or("a signal"));
            self.on_signal(signal);
        }
    }

    pub(crate) fn take_from_pump(&mut self, news: rpm_logs::Event) {
        use rpm_logs::Event::{Dropping, Ended, RotateFailed, Rotated, StreamFailed, WriteFailed, WriteResumed};
        let name = |path: Option<std::path::PathBuf>| path.unwrap_or_default().display().to_string();
        match news {
            Ended { key } => {
                self.forensics.stream_ended(&key);
                let prefix = format!("log/{key}/");
                self.ask_keeper(&Request::DropPrefix { prefix: &prefix });
            }
            WriteFailed { path: Some(path), error, .. } => self.log_failed(&path, error.to_string()),
            WriteFailed { key, path: None, error } => {
                tracing::error!("{key}: {} cannot be written: {error}", name(None))
            }
            WriteResumed { key, path } => self.output_resumed(&key, path.as_deref()),
            Dropping { key, path, lost, lines, is_first } => {
                self.output_lost(&key, path.as_deref(), (lost, lines), is_first);
            }
            Rotated { log, archive } => self.pump_rotated(&log, &archive),
            RotateFailed { log, error } => tracing::error!("{} cannot be rotated: {error}", log.display()),
            StreamFailed { key, error } => tracing::error!("the output of {key} cannot be read: {error}"),
        }
    }

    fn take_from_channel(&mut self, life: Life) {
        while self.receive(life) {}
        self.flush_channel(life);
    }

    /// Takes one buffer full from a channel; the rest in the next pass. An app that talks without end would keep
    /// everybody else waiting.
    fn take_some_from_channel(&mut self, life: Life) {
        if self.receive(life) {
            self.unread.insert(life);
        }
        self.flush_channel(life);
    }

    /// Takes one buffer full from a channel; returns whether there may be more.
    fn receive(&mut self, life: Life) -> bool {
        let Some(channel) = self.channel(life) else { return false };
        match channel.receive() {
            Ok(messages) if messages.is_empty() => return false,
            Ok(messages) => {
                for message in messages {
                    self.on_message(life, message);
                }
                return true;
            }
            Err(ChannelError::Closed) => {}
            Err(error) => tracing::warn!("{life}: {error}"),
        }
        self.close_channel(life);
        false
    }

    /// Gives up a channel that the app has closed. The app may live on, or be about to end.
    fn close_channel(&mut self, life: Life) {
        let channel = self.processes.get_mut(&life).and_then(|process| process.channel.take());
        if let Some(channel) = channel {
            self.watch.remove(&channel);
            self.ask_keeper(&Request::Drop { name: &Names::of(life).channel });
        }
    }

    fn on_message(&mut self, life: Life, message: FromApp) {
        let answered = match message {
            FromApp::QueryServer { seq, want } => self.answer_query(life, seq, &want),
            FromApp::ExitedAfterDisconnect { seq } => {
                self.channel(life).map_or(Ok(()), |channel| channel.answer_ack(seq))
            }
            FromApp::Listening { .. } => {
                fail::pass("worker", "listens");
                self.events.push_back(Event::Listening { life });
                Ok(())
            }
            FromApp::Close { key } => {
                self.ports.closed(life, &key);
                Ok(())
            }
            FromApp::Pong => {
                self.gave_sign_of_life(life);
                Ok(())
            }
            FromApp::Message(value) => {
                self.on_app_message(life, value);
                Ok(())
            }
            FromApp::Unreadable { length } => {
                tracing::warn!("{life} sent {length} bytes that are no message");
                Ok(())
            }
            // A connection that nobody takes is closed: its worker was leaving.
            FromApp::Online | FromApp::Declined { .. } => Ok(()),
        };
        if let Err(error) = answered {
            tracing::warn!("{life} got no answer: {error}");
        }
    }

    fn channel(&mut self, life: Life) -> Option<&mut Channel> {
        self.processes.get_mut(&life)?.channel.as_mut()
    }

    /// Answers a Node worker that wants a listening socket.
    fn answer_query(&mut self, life: Life, seq: u64, want: &Want) -> Result<(), ChannelError> {
        let Some(process) = self.processes.get(&life) else { return Ok(()) };
        fail::pass("query", "asked");
        let (app, mode) = (process.app, process.spec.socket_mode);
        self.edges.differ = true;
        match self.ports.claim(life, app, want, mode) {
            Ok(claim) => {
                fail::pass("query", "claimed");
                // The keeper must hold the socket before anybody can connect to it.
                self.keep_port_changes();
                fail::pass("query", "kept");
                let Some(channel) = self.channel(life) else { return Ok(()) };
                let answered = channel.answer_bound(seq, &claim.key, &claim.data, claim.fd, claim.kind);
                fail::pass("query", "answered");
                answered
            }
            Err(refused) => {
                let taken = self.taken(want.to_string(), &refused);
                self.events.push_back(Event::BindFailed { life, taken });
                let Some(channel) = self.channel(life) else { return Ok(()) };
                channel.answer_refused(seq, &refused.address, refused.errno)
            }
        }
    }

    /// Describes an address that could not be had.
    pub(crate) fn taken(&self, address: String, refused: &Refused) -> Taken {
        let owner = match &refused.owner {
            Some(Owner::App(app)) => self.core.app(*app).map(|app| format!("app {}", app.spec.name)),
            Some(Owner::Process { pid, name }) => {
                let ours = self.processes.iter().find(|(_, process)| process.pid() == Some(*pid));
                Some(match ours {
                    Some((_, process)) => format!("app {} (pid {pid})", process.spec.name),
                    None => format!("{name} (pid {pid})"),
                })
            }
            None => None,
        };
        Taken { address, owner, error: std::io::Error::from_raw_os_error(refused.errno.abs()).to_string() }
    }

    /// Takes a message of the app's own (PM2's conventions on the IPC channel).
    fn on_app_message(&mut self, life: Life, message: Value) {
        if message == "ready" {
            fail::pass("worker", "ready");
            self.events.push_back(Event::AppReady { life });
            return;
        }
        let kind = message.get("type").and_then(Value::as_str).unwrap_or_default();
        if kind == "axm:reply"
            && let Some(data) = message.get("data")
        {
            self.actions.answered(life, data);
        }
        // What is kept of an app is shown by the list; everything else is for whoever listens.
        let is_kept = KEPT.contains(&kind) || message.get("node_version").is_some();
        if let Some(pm2) = self.pm2.as_ref().filter(|pm2| !is_kept && pm2.is_listened_to()) {
            pm2.tell(News::Said { worker: life.worker, message });
            return;
        }
        let Some(process) = self.processes.get_mut(&life) else { return };
        if let Some(version) = message.get("node_version") {
            process.contact.insert("node_version".into(), version.clone());
        }
        let Some(data) = message.get("data") else { return };
        match message.get("type").and_then(Value::as_str) {
            Some("axm:monitor") => merge(&mut process.contact, "axm_monitor", data),
            Some("axm:option:configuration") => merge(&mut process.contact, "axm_options", data),
            Some("axm:action") => {
                let actions = process.contact.entry("axm_actions").or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(actions) = actions {
                    let name = data.get("action_name");
                    actions.retain(|action| action.get("action_name") != name);
                    if actions.len() < ACTIONS_MAX {
                        actions.push(data.clone());
                    }
                }
            }
            _ => {}
        }
    }

    /// Writes what waits for a channel; what does not fit goes when there is room, which the watch tells.
    pub(crate) fn flush_channel(&mut self, life: Life) {
        let Some(channel) = self.channel(life) else { return };
        if let Err(error) = channel.flush() {
            tracing::debug!("the channel of {life} took nothing: {error}");
        }
        // In the next pass: what the messages led to is done by then.
        if channel.is_unacknowledged() {
            self.unread.insert(life);
        }
    }
}

/// Messages of PM2's metrics library that are kept.
const KEPT: [&str; 3] = ["axm:monitor", "axm:option:configuration", "axm:action"];

/// Times the set is asked in one pass: news that never end must not keep the rest from its turn.
const ROUNDS_MAX: usize = 16;

/// Actions that one app may register. Far more than any has.
const ACTIONS_MAX: usize = 256;

/// Metrics and options that one app may set.
const FIELDS_MAX: usize = 1024;

fn merge(contact: &mut rpm_ipc::Contact, key: &str, data: &Value) {
    let Value::Object(data) = data else { return };
    let known = contact.entry(key).or_insert_with(|| Value::Object(serde_json::Map::new()));
    if let Value::Object(known) = known {
        for (name, value) in data {
            if known.len() < FIELDS_MAX || known.contains_key(name) {
                known.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Returns what a process was to run, as it was written.
fn program(process: &Process) -> String {
    process.spec.interpreter.clone().unwrap_or_else(|| process.spec.script.display().to_string())
}

pub(crate) fn exit_of(exit: ExitStatus) -> Exit {
    match exit {
        ExitStatus::Code(code) => Exit::Code(code),
        ExitStatus::Signal { signal, core } => Exit::Signal { signal, core },
        ExitStatus::Unknown => Exit::Unknown,
    }
}

pub(crate) fn write_pid(path: &std::path::Path, pid: i32) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let _acting = rpm_logs::hand::act_for(path)?;
    // Never through a symlink that somebody put there.
    let open = || {
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
            .open(path)
    };
    let mut file = match open() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let private = |directory| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            path.parent().map_or(Ok(()), private)?;
            open()?
        }
        other => other?,
    };
    file.write_all(pid.to_string().as_bytes())
}

pub(crate) fn remove_pid(path: &std::path::Path) {
    // One that stays is of a process that is gone, as every reader of such a file has to expect.
    let _ = rpm_logs::hand::act_for(path).and_then(|_acting| std::fs::remove_file(path));
}
