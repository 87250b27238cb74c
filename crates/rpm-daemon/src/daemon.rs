//! The loop: what happened → the core → what is to be done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rpm_ipc::{Reply, Request};
use rpm_keeper::client::Client as Keeper;
use rpm_logs::{Kind, Pump};
use rpm_model::{Home, Life, Moment, Unknown, WorkerId};
use rpm_share::Ports;
use rpm_supervise::{CommandId, Effect, Event, Supervisor};
use rpm_sys::fail;
use rpm_sys::pidfd::Pidfd;
use rpm_sys::reap::Signals;
use tokio::sync::mpsc;

use crate::actions::Actions;
use crate::autoscale::Autoscale;
use crate::cgroups::Cgroups;
use crate::changes::Changes;
use crate::clients::{Inbound, Line};
use crate::cron::Cron;
use crate::door::Doorman;
use crate::edge::Edges;
use crate::forensics::{Forensics, Owner};
use crate::health::Checks;
use crate::hooks::Hooks;
use crate::leftovers::Leftovers;
use crate::logs::Logs;
use crate::node::Nodes;
use crate::process::{Process, SeatFiles};
use crate::rounds::Rounds;
use crate::saving::Saving;
use crate::secrets::{FromShells, Prepared, Resolved};
use crate::silence::Silence;
use crate::state::Written;
use crate::tasks::Tasks;
use crate::update::Updating;
use crate::view::Clock;
use crate::watch::{Token, Watch};
use crate::webhooks::Webhooks;
use crate::{DaemonError, pm2, state, view};

/// Between two writes of the state: a crash storm costs twenty small writes a second, not thousands.
const PERSIST_EVERY: Duration = Duration::from_millis(50);

/// A state of many apps takes long to write; what nobody waits for is written seldom enough to cost 1 % of the time. Until
/// then the keeper remembers.
const PERSIST_SHARE: u32 = 100;

/// And never later than this.
const PERSIST_WITHIN: Duration = Duration::from_secs(1);

/// After a write, until the second copy is made: what has changed less than this ago may be missing in it.
const BACKUP_AFTER: Duration = Duration::from_secs(1);

/// How long the last replies may take to reach their clients when the daemon leaves.
const FAREWELL: Duration = Duration::from_millis(500);

/// How long the keeper may take to read what is left to say; `kill` waits longer for the keeper's end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Requests taken in one pass before the rest of the world has its turn.
const REQUESTS_PER_PASS: usize = 64;

/// The daemon.
pub(crate) struct Daemon {
    pub(crate) home: Home,
    pub(crate) boot: String,
    pub(crate) clock: Clock,
    pub(crate) started_at_ms: u64,
    pub(crate) core: Supervisor,
    pub(crate) keeper: Keeper,
    pub(crate) keeper_pid: i32,
    /// Whether it does not answer.
    pub(crate) silence: Silence,
    /// The keeper itself, to be sure that it is gone before another one is started.
    pub(crate) keeper_process: Option<Pidfd>,
    /// How a keeper is started.
    pub(crate) keeper_command: Vec<OsString>,
    /// Whose children orphans of ours become, besides the keeper's: of processes that a killed keeper has started.
    pub(crate) reapers: BTreeSet<i32>,
    pub(crate) signals: Signals,
    pub(crate) watch: Watch,
    pub(crate) ports: Ports,
    /// Started when the first log needs it: a raw log is written by the worker itself.
    pub(crate) pump: Option<Pump>,
    /// Logs beside the pump: who rotates them.
    pub(crate) logs: Logs,
    /// What the log thread has to tell; bounded by what the streams can do: one end each, one failure each.
    pub(crate) pump_news: (mpsc::UnboundedSender<rpm_logs::Event>, mpsc::UnboundedReceiver<rpm_logs::Event>),
    pub(crate) processes: BTreeMap<Life, Process>,
    /// Channels that had more to say than was read of them in one pass.
    pub(crate) unread: BTreeSet<Life>,
    /// Lists on their way to the disk.
    pub(crate) saving: Saving,
    /// Lives that wait for their secrets.
    pub(crate) resolving: BTreeMap<Life, Prepared>,
    /// What became of the secrets of those.
    pub(crate) resolved: (mpsc::UnboundedSender<Resolved>, mpsc::UnboundedReceiver<Resolved>),
    /// Secrets that shells have brought.
    pub(crate) from_shells: FromShells,
    pub(crate) cgroups: Cgroups,
    pub(crate) seats: BTreeMap<WorkerId, SeatFiles>,
    /// Whose the seats are that may be deleted: the core forgets a seat before its end is told.
    pub(crate) names: BTreeMap<WorkerId, Owner>,
    /// Leftover processes of lives that ended, by life: descendants that still run.
    pub(crate) leftovers: BTreeMap<Life, Leftovers>,
    /// Lives of which nobody could say yet whether they left something: asked again in the next pass.
    pub(crate) unclear: BTreeSet<Life>,
    pub(crate) rounds: Rounds,
    /// The balancers' processes.
    pub(crate) edges: Edges,
    /// Apps that are restarted when their files change.
    pub(crate) changes: Changes,
    /// Apps that are restarted at certain times.
    pub(crate) cron: Cron,
    /// Apps whose number of workers follows their load.
    pub(crate) autoscale: Autoscale,
    /// Questions about the health of workers.
    pub(crate) checks: Checks,
    /// Which versions of Node there are.
    pub(crate) nodes: Nodes,
    /// Commands of the apps' own.
    pub(crate) tasks: Tasks,
    /// What waits for some of those.
    pub(crate) hooks: Hooks,
    /// Messages to those who want to be told.
    pub(crate) webhooks: Webhooks,
    /// What is written down of everything that happens.
    pub(crate) forensics: Forensics,
    /// Whether apps have come, gone or changed since those two were told.
    pub(crate) apps_differ: bool,
    /// When they are told of processes that have come and gone.
    pub(crate) fit_due: Option<Moment>,
    /// News for the core.
    pub(crate) events: VecDeque<Event>,
    pub(crate) commands: BTreeMap<CommandId, Asked>,
    /// Last words that wait until what they promise is written down.
    pub(crate) replies: Vec<(Line, u64, Reply)>,
    pub(crate) next_command: u64,
    /// Who wants to hear what happens.
    pub(crate) listeners: Vec<(Line, u64)>,
    /// Who looks after the clients' socket, and where what they ask goes.
    pub(crate) doorman: Option<Doorman>,
    pub(crate) inbound: mpsc::Sender<Inbound>,
    /// The pipes to it. What was said before it looks is lost with the last descriptor.
    pub(crate) consoles: BTreeMap<(WorkerId, Kind), OwnedFd>,
    /// The process in whose foreground the apps run: its end is theirs.
    pub(crate) foreground: Option<Pidfd>,
    /// Where PM2's clients are served.
    pub(crate) pm2: Option<pm2::Room>,
    /// Actions of apps that somebody waits for.
    pub(crate) actions: Actions,
    /// Exits that the keeper may forget once the state is written.
    pub(crate) to_acknowledge: BTreeSet<String>,
    pub(crate) dirty: bool,
    pub(crate) persisted_at: Moment,
    /// Between two writes of the state that nobody waits for.
    pub(crate) persist_every: Duration,
    /// When the second copy of the state is made, if it is older than the first.
    pub(crate) backup_due: Option<Moment>,
    /// Whether the copies have apps: the first one does not wait.
    pub(crate) apps_are_copied: bool,
    /// The last write of the state failed, and that was said.
    pub(crate) state_fails: bool,
    /// What the keeper holds since the disk did not take it, by the hash of its content.
    pub(crate) unwritten: Option<u64>,
    /// What a newer daemon has written into the state: kept for it.
    pub(crate) unknown: Unknown,
    pub(crate) leaving: bool,
    /// The keeper has become a newer program: the next daemon goes on.
    pub(crate) upgraded: bool,
    /// Who waits for the next daemon, while the keeper becomes a newer program.
    pub(crate) updating: Option<Updating>,
    /// Effects of the turn under way; kept for its capacity.
    pub(crate) effects: Vec<Effect>,
}

/// A command under way, and who waits for it.
pub(crate) struct Asked {
    pub(crate) line: Option<(Line, u64)>,
    pub(crate) request: Request,
}

impl Daemon {
    /// Runs until told to leave.
    pub(crate) async fn run(&mut self, mut requests: mpsc::Receiver<Inbound>) -> Result<(), DaemonError> {
        self.turn();
        let mut more = true;
        while !self.leaving && !self.upgraded {
            let due = self.next_due();
            let is_due = more || due.is_some_and(|due| due <= view::now());
            if !is_due {
                self.watch.wake_at(due).map_err(|error| DaemonError::System { what: "set a timer", error })?;
            }
            tokio::select! {
                ready = self.watch.wait() => {
                    ready.map_err(|error| DaemonError::System { what: "wait for events", error })?;
                }
                inbound = requests.recv() => {
                    if let Some(inbound) = inbound {
                        self.on_request(inbound);
                    }
                }
                news = self.logs.news() => {
                    if let Some(news) = news {
                        self.take_from_logs(news);
                    }
                }
                news = self.pump_news.1.recv() => {
                    if let Some(news) = news {
                        self.take_from_pump(news);
                    }
                }
                news = self.resolved.1.recv() => {
                    if let Some(news) = news {
                        self.take_resolved(news);
                    }
                }
                done = self.saving.news() => self.saved(&done),
                recorded = self.forensics.news() => self.take_recorded(recorded),
                answer = self.checks.news() => self.take_answers(answer),
                () = self.changes.news() => {}
                () = tokio::task::yield_now(), if is_due => {}
            }
            for _ in 0..REQUESTS_PER_PASS {
                let Ok(inbound) = requests.try_recv() else { break };
                self.on_request(inbound);
            }
            more = self.take_news()?;
            self.make_rounds(view::now());
            self.make_checks(view::now());
            self.look_at_loads(view::now());
            self.end_late_tasks(view::now());
            self.take_changes(view::now());
            self.restart_changed(view::now());
            self.actions.expire(view::now());
            self.answer_clients(view::now());
            self.look_at_silence(view::now());
            self.take_recorded(None);
            self.turn();
            self.flush()?;
        }
        // Whoever still asks is told so at once.
        drop(requests);
        match self.updating.take() {
            Some(asked) if !self.leaving => self.hand_over(asked).await,
            Some(_) | None => self.farewell().await,
        }
        Ok(())
    }

    /// Lets the core handle everything that happened, and carries out what it asks for.
    ///
    /// What cannot be taken back is written down before it is done: a daemon killed right after it is not known to have
    /// wanted it otherwise.
    pub(crate) fn turn(&mut self) {
        let now = view::now();
        if self.core.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.tell_owed();
            self.events.push_back(Event::Deadline);
        }
        let mut effects = std::mem::take(&mut self.effects);
        while !self.events.is_empty() {
            let mut urgent = false;
            while let Some(event) = self.events.pop_front() {
                if matches!(event, Event::Command(..)) {
                    urgent = true;
                    self.remember_names();
                }
                self.core.handle(now, event, &mut effects);
            }
            fail::pass("turn", "handled");
            self.dirty |= effects.contains(&Effect::Persist);
            if self.dirty && (urgent || effects.iter().any(|effect| self.must_be_known(effect))) {
                self.write_state();
                fail::pass("turn", "written");
            }
            for effect in effects.drain(..) {
                self.carry_out(effect);
            }
            fail::pass("turn", "carried_out");
        }
        self.effects = effects;
        self.send_webhooks();
        if std::mem::take(&mut self.apps_differ) || self.fit_due.is_some_and(|due| due <= now) {
            self.fit_due = None;
            self.fit_changes();
            self.fit_cron();
            self.fit_webhooks();
            self.fit_autoscale(now);
            self.fit_logs();
            self.forget_secrets();
        }
        self.keep_port_changes();
        self.fit_edges();
        self.persist();
        for (line, id, reply) in self.replies.drain(..) {
            line.reply(id, reply);
        }
    }

    /// Notes whose each seat is: commands are what deletes seats.
    fn remember_names(&mut self) {
        for app in self.core.apps() {
            for worker in app.workers {
                self.names.insert(worker.id, Owner::of(app.id, app.spec));
            }
        }
    }

    /// Returns the moment anything is next due.
    fn next_due(&self) -> Option<Moment> {
        let persist = (self.dirty || !self.to_acknowledge.is_empty()).then(|| self.persisted_at + self.persist_every);
        let rooms = [self.rounds.next_due(), self.changes.next_due(), self.actions.next_due(), self.edges_due()];
        let own = [
            self.core.next_deadline(),
            persist,
            self.backup_due,
            self.checks.next_due(),
            self.autoscale_due(),
            self.tasks.next_due(),
            self.fit_due,
            self.silence_due(),
        ];
        rooms.into_iter().chain(own).flatten().min()
    }

    /// Returns whether the state must be written before an effect is carried out.
    fn must_be_known(&self, effect: &Effect) -> bool {
        match effect {
            // Readiness that nobody tells twice. A plain process is seen to be ready again by looking.
            Effect::Admit { life } => {
                let spec = self.processes.get(life).map(|process| &process.spec);
                spec.is_some_and(|spec| spec.wait_ready || spec.shares_sockets())
            }
            other => other.is_irrevocable(),
        }
    }

    /// Writes the state if it changed and the last write is a while ago; then the keeper may forget the exits in it.
    fn persist(&mut self) {
        if self.backup_due.take_if(|due| *due <= view::now()).is_some() {
            self.copy_state();
            // Something has happened, and a second has gone by.
            rpm_sys::memory::give_back();
        }
        if !self.dirty && self.to_acknowledge.is_empty() {
            return;
        }
        if self.dirty && (view::now() < self.persisted_at + self.persist_every || !self.write_state()) {
            return;
        }
        for key in std::mem::take(&mut self.to_acknowledge) {
            self.ask_keeper(&rpm_keeper::client::Request::Ack { key: &key });
        }
    }

    /// Makes the second and the third copy of the state.
    fn copy_state(&mut self) {
        let path = self.home.state();
        if let Err(error) = state::back_up(&path) {
            tracing::warn!("there is no second copy of the state: {error}");
        }
        match state::copy(&path) {
            Ok(copy) => {
                self.apps_are_copied = self.core.apps().next().is_some();
                fail::pass("state", "copied");
                self.ask_keeper(&rpm_keeper::client::Request::Store { name: state::HELD, fd: copy.as_fd() });
                fail::pass("state", "held");
            }
            Err(error) => tracing::warn!("the keeper gets no copy of the state: {error}"),
        }
    }

    /// Writes the state; returns whether it is written. Where it is not, the keeper goes on remembering the exits.
    pub(crate) fn write_state(&mut self) -> bool {
        self.persisted_at = view::now();
        let processes = self.processes.iter().filter_map(|(life, process)| {
            let running = process.running.as_ref()?;
            Some((*life, (running.process.pid, running.process.start_time)))
        });
        let ports = self.keeper.held(Ports::NAMES).collect();
        let (saved, wishes) = (self.core.saved(), self.edges.saved_wishes());
        let written = Written::new(self.persisted_at, &self.boot, &saved, processes, ports, wishes, &self.unknown);
        let mut written =
            written.with_traces(self.processes.keys().filter_map(|life| Some((*life, self.trace(*life)?))));
        let done = state::write(&self.home.state(), &written);
        let held = if done.is_err() { state::in_memory(&mut written, self.unwritten) } else { Ok(None) };
        match done {
            Ok(()) => {
                (self.dirty, self.state_fails) = (false, false);
                let after = if self.apps_are_copied || saved.is_empty() { BACKUP_AFTER } else { Duration::ZERO };
                let due = self.persisted_at + after;
                self.backup_due = Some(self.backup_due.map_or(due, |before| before.min(due)));
                if self.unwritten.take().is_some() {
                    self.ask_keeper(&rpm_keeper::client::Request::Drop { name: state::UNWRITTEN });
                }
            }
            // Once, not twenty times a second: it is tried again until there is room.
            Err(error) if !std::mem::replace(&mut self.state_fails, true) => {
                tracing::error!("the state could not be written: {error}; the keeper holds it meanwhile");
            }
            Err(_) => {}
        }
        match held {
            Ok(Some((file, hash))) => {
                self.unwritten = Some(hash);
                let fd = file.as_fd();
                self.ask_keeper(&rpm_keeper::client::Request::Store { name: state::UNWRITTEN, fd });
            }
            Ok(None) => {}
            Err(error) => tracing::error!("nor can the keeper hold it: {error}"),
        }
        let took = view::now().since(self.persisted_at);
        self.persist_every = (took * PERSIST_SHARE).clamp(PERSIST_EVERY, PERSIST_WITHIN);
        !self.dirty
    }

    /// Sends a request to the keeper. A keeper that is gone shows at the next read.
    pub(crate) fn ask_keeper(&mut self, request: &rpm_keeper::client::Request<'_>) {
        if let Err(error) = self.keeper.send(request) {
            tracing::error!("the keeper did not take a request: {error}");
        }
    }

    fn flush(&mut self) -> Result<(), DaemonError> {
        let all_sent = self.keeper.flush().map_err(DaemonError::Keeper)?;
        self.watch
            .also_writable(&self.keeper, Token::Keeper, !all_sent)
            .map_err(|error| DaemonError::System { what: "watch the keeper", error })
    }

    /// Leaves for good: nothing runs any more.
    async fn farewell(&mut self) {
        fail::pass("farewell", "begun");
        // Nobody is left to whom a sender of messages could tell anything.
        self.tasks.kill(|_| true);
        self.all_saved().await;
        if let Some(pump) = self.pump.take() {
            pump.shutdown();
        }
        self.logs.stop();
        self.cgroups.remove();
        // Whoever waits for the end may look at the records next.
        self.record_own("has stopped");
        self.forensics.close();
        state::remove(&self.home.state());
        fail::pass("farewell", "forgotten");
        if let Some(pm2) = self.pm2.take() {
            pm2.close().await;
            for path in [pm2::calls_path(&self.home), pm2::bus_path(&self.home)] {
                let _ = std::fs::remove_file(path);
            }
        }
        for path in [self.home.socket(), self.home.daemon_pid()] {
            let _ = std::fs::remove_file(path);
        }
        fail::pass("farewell", "closed");
        self.ask_keeper(&rpm_keeper::client::Request::Shutdown);
        if tokio::time::timeout(LAST_WORDS, self.all_told()).await.is_err() {
            tracing::warn!("the keeper does not read: it may start a daemon again");
        }
        let waiting: Vec<Line> = self.listeners.drain(..).map(|(line, _)| line).collect();
        let _ = tokio::time::timeout(FAREWELL, async {
            for line in waiting {
                line.closed().await;
            }
        })
        .await;
    }

    /// Waits until the keeper has every request, the last above all. A socket that is full of what hundreds of workers
    /// leave behind takes it when the keeper has read on; and the keeper reads while its own words are read.
    async fn all_told(&mut self) {
        while let Ok(false) = self.keeper.flush() {
            let watched = self.watch.also_writable(&self.keeper, Token::Keeper, true).is_ok();
            if !watched || self.watch.wait().await.is_err() || self.take_news().is_err() {
                return;
            }
        }
    }
}

/// What is shared with the core is behind an `Arc`; this is the one place that makes one from a request.
pub(crate) fn shared(specs: Vec<rpm_model::AppSpec>) -> Vec<Arc<rpm_model::AppSpec>> {
    specs.into_iter().map(Arc::new).collect()
}
