//! What is written down of everything that happens: exits with their evidence, events, and who asked.
//!
//! This room only puts together what is known at the moment; a thread of its own writes it (`rpm-records`). An exit is
//! acknowledged to the keeper when it is on record, so one that a killed daemon had not recorded is told again.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use rpm_ipc::Request;
use rpm_model::{AppId, AppSpec, Bytes, DEFAULT_NAMESPACE, Exit, Home, Life, Moment, WorkerId};
use rpm_records::{Asked, Ended, EventRecord, ExitRecord, LogPart, Recorder};
use rpm_supervise::{Cause, Command, Effect, Fact, Happening, Saved};
use rpm_sys::oom::{Kills, Log};
use rpm_sys::proc;
use tokio::sync::mpsc;

use crate::cgroups::Cgroups;
use crate::clients::Line;
use crate::daemon::Daemon;
use crate::oom::{self, Suspicion};
use crate::output::LogNames;
use crate::recover::Inventory;
use crate::state::Trace;
use crate::view::{self, Clock, cause_name, user_name};

/// Longer command lines are cut: this is for people.
const COMMAND_LINE_MAX: usize = 120;

/// What the kernel counted of a process that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// CPU time, in its own code and in the kernel.
    pub(crate) cpu_micros: u64,
    /// The largest resident set it ever had.
    pub(crate) memory_max: Bytes,
}

/// Owner something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) app: AppId,
    pub(crate) name: String,
    /// Nothing for the default one.
    pub(crate) namespace: Option<String>,
}

impl Owner {
    pub(crate) fn of(app: AppId, spec: &AppSpec) -> Self {
        let namespace = Some(spec.namespace.clone()).filter(|namespace| namespace != DEFAULT_NAMESPACE);
        Self { app, name: spec.name.clone(), namespace }
    }
}

/// The room.
pub(crate) struct Forensics {
    /// Nothing where no thread could be had, or the daemon is leaving.
    recorder: Option<Recorder>,
    written: mpsc::UnboundedReceiver<Life>,
    /// Who last asked something of each worker.
    actors: BTreeMap<WorkerId, String>,
    /// Workers whose last end was for want of memory, until they are started again.
    starved: BTreeSet<WorkerId>,
    oom: Suspicion,
    /// Events of this pass, where somebody wants to be told of them.
    news: std::cell::RefCell<Option<Vec<EventRecord>>>,
}

impl Forensics {
    pub(crate) fn open(home: &Home) -> Self {
        let (told, written) = mpsc::unbounded_channel();
        let recorder = Recorder::start(home.root(), move |life| {
            // The loop may have left already.
            let _ = told.send(life);
        });
        if let Err(error) = &recorder {
            tracing::error!("what happens is not recorded: {error}");
        }
        Self {
            recorder: recorder.ok(),
            written,
            actors: BTreeMap::new(),
            starved: BTreeSet::new(),
            oom: Suspicion::new(Kills::now()),
            news: std::cell::RefCell::default(),
        }
    }

    /// Waits for the next end that is on record.
    pub(crate) async fn news(&mut self) -> Option<Life> {
        match self.written.recv().await {
            Some(life) => Some(life),
            None => std::future::pending().await,
        }
    }

    /// Returns the ends that have come on record since.
    pub(crate) fn take_written(&mut self) -> impl Iterator<Item = Life> + '_ {
        std::iter::from_fn(|| self.written.try_recv().ok())
    }

    /// Looks at the kernel's count from time to time, so that it has not risen long before a death that is judged by it.
    pub(crate) fn look_at_oom(&mut self) {
        self.oom.look(Kills::now());
    }

    pub(crate) fn stream_ended(&self, key: &str) {
        if let Some(recorder) = &self.recorder {
            recorder.stream_ended(key.to_owned());
        }
    }

    /// Takes over who had asked something of a worker.
    pub(crate) fn remember(&mut self, worker: WorkerId, trace: &Trace) {
        self.actors.extend(trace.asked_by.clone().map(|by| (worker, by)));
    }

    pub(crate) fn forget(&mut self, worker: WorkerId) {
        self.actors.remove(&worker);
        self.starved.remove(&worker);
    }

    /// Returns whether the last end of a worker was for want of memory, once.
    pub(crate) fn has_starved(&mut self, worker: WorkerId) -> bool {
        self.starved.remove(&worker)
    }

    /// Says whether somebody wants to be told of events.
    pub(crate) fn keeps_news(&self, wanted: bool) {
        match (&mut *self.news.borrow_mut(), wanted) {
            (news @ None, true) => *news = Some(Vec::new()),
            (news @ Some(_), false) => *news = None,
            (None, false) | (Some(_), true) => {}
        }
    }

    /// Takes the events since the last time.
    pub(crate) fn take_news(&self) -> Vec<EventRecord> {
        self.news.borrow_mut().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Tells of something that is on record in another way.
    pub(crate) fn tell(&self, event: &EventRecord) {
        if let Some(news) = &mut *self.news.borrow_mut() {
            news.push(event.clone());
        }
    }

    pub(crate) fn event(&self, event: EventRecord) {
        self.tell(&event);
        if let Some(recorder) = &self.recorder {
            recorder.event(event);
        }
    }

    /// Records an end; returns whether it will be told when it is on record.
    pub(crate) fn ended(&self, ended: Ended) -> bool {
        self.recorder.as_ref().is_some_and(|recorder| recorder.ended(ended))
    }

    /// Writes what waits, and records nothing more.
    pub(crate) fn close(&mut self) {
        self.recorder = None;
    }

    fn by(&self, worker: WorkerId, cause: Cause) -> Option<String> {
        asked_by_people(cause).then(|| self.actors.get(&worker).cloned()).flatten()
    }
}

impl Daemon {
    /// Records the end of a process; returns whether it will be told when it is on record. To be called while its resources
    /// are there.
    pub(crate) fn record_exit(&mut self, life: Life, exit: Exit, at: Moment, usage: Usage) -> bool {
        let Some(process) = self.processes.get(&life) else { return false };
        let leaving = self.core.leaving(life);
        let sampler = process.running.as_ref().and_then(|running| running.sampler.as_ref());
        let started_at = self.core.started_at(life).unwrap_or(at);
        let instance = self.core.worker(life.worker).map_or(0, |worker| worker.instance);
        let mut ended = new_record(life, &process.spec, instance, process.pid().unwrap_or_default(), &self.home);
        let (clock, record) = (self.clock, &mut ended.record);
        tell_times(record, clock, started_at, at);
        record.exit = exit;
        let sampler = sampler.filter(|sampler| sampler.seen().is_some());
        record.memory = sampler.map(|sampler| sampler.memory());
        record.cpu = sampler.map(|sampler| sampler.percent());
        tell_usage(record, usage);
        record.asked = leaving.map(|cause| Asked {
            cause: cause_name(cause).to_owned(),
            by: self.forensics.by(life.worker, cause),
            detail: if cause == Cause::Watch { self.changes.why(process.app) } else { None },
        });
        record.oom = match &process.cgroup {
            // Its own group knows for certain, whoever asked for what.
            Some(group) if group.ran_out_of_memory() => Some(true),
            Some(_) | None if leaving.is_none() => self.forensics.oom.judge(exit, record.pid, Kills::now(), Log::read),
            Some(_) | None => None,
        };
        begin_logs(&mut ended, process.log_from);
        if self.pump.is_some() {
            ended.waits_for = streams(life);
        }
        match ended.record.oom {
            Some(true) => self.forensics.starved.insert(life.worker),
            Some(false) | None => self.forensics.starved.remove(&life.worker),
        };
        if ended.record.is_crash() {
            let record = &ended.record;
            let app = Some(record.app.clone());
            let at_ms = record.at_ms;
            let detail = match &record.asked {
                Some(asked) => format!("{}: {}", record.exit, asked.cause),
                None if record.oom == Some(true) => format!("{}: out of memory", record.exit),
                None => record.exit.to_string(),
            };
            let (event, worker, detail) = ("crash".to_owned(), Some(record.worker), Some(detail));
            self.forensics.tell(&EventRecord { at_ms, event, app, worker, detail, ..EventRecord::default() });
        }
        self.forensics.ended(ended)
    }

    /// Returns what the next daemon needs to tell of a life's end.
    pub(crate) fn trace(&self, life: Life) -> Option<Trace> {
        let log_from = self.processes.get(&life)?.log_from;
        let asked_by = self.core.leaving(life).and_then(|cause| self.forensics.by(life.worker, cause));
        Some(Trace { log_from, asked_by })
    }

    /// Takes the ends that are on record: the keeper may forget them.
    pub(crate) fn take_recorded(&mut self, first: Option<Life>) {
        let rest: Vec<Life> = self.forensics.take_written().collect();
        for life in first.into_iter().chain(rest) {
            self.to_acknowledge.insert(life.to_string());
            rpm_sys::fail::pass("exit", "recorded");
        }
    }

    /// Records what happened to a worker.
    pub(crate) fn record_happening(&self, happened: &rpm_ipc::Happened, happening: Happening) {
        let by = match happening {
            Happening::Started { cause } | Happening::Stopping { cause } => self.forensics.by(happened.worker, cause),
            Happening::Online
            | Happening::Unhealthy
            | Happening::Healthy
            | Happening::Skipped
            | Happening::Queued
            | Happening::Exited { .. }
            | Happening::Stopped
            | Happening::Errored
            | Happening::Deleted => None,
        };
        let owner = self.owner(happened.worker);
        self.forensics.event(EventRecord {
            at_ms: happened.at_ms,
            event: happened.event.clone(),
            app: Some(happened.app.clone()),
            app_id: owner.as_ref().map(|owner| owner.app),
            namespace: owner.and_then(|owner| owner.namespace),
            worker: Some(happened.worker),
            detail: happened.detail.clone(),
            by,
        });
    }

    /// Tells everybody what was decided of an app as a whole.
    pub(crate) fn publish_of_app(&mut self, app: AppId, event: &str, detail: String) {
        let Some(view) = self.core.app(app) else { return };
        let (owner, first) = (Owner::of(app, view.spec), view.workers.first().map(|worker| worker.id));
        let name = owner.name.clone();
        tracing::info!("app [{name}] {event} ({detail})");
        let at_ms = proc::wall_clock_millis();
        if let Some(worker) = first {
            let (app, event, detail) = (name.clone(), event.to_owned(), Some(detail.clone()));
            self.tell_listeners(&rpm_ipc::Happened { at_ms, worker, app, event, detail });
        }
        self.forensics.event(EventRecord {
            at_ms,
            event: event.to_owned(),
            app: Some(name),
            app_id: Some(app),
            namespace: owner.namespace,
            detail: Some(detail),
            ..EventRecord::default()
        });
    }

    /// Records something about the daemon itself.
    pub(crate) fn record_own(&self, detail: &str) {
        self.forensics.event(EventRecord {
            at_ms: proc::wall_clock_millis(),
            event: "daemon".to_owned(),
            detail: Some(detail.to_owned()),
            ..EventRecord::default()
        });
    }

    /// Records who asks for a command, and of whom.
    pub(crate) fn record_command(&mut self, command: &Command, request: &Request, line: Option<&Line>) {
        // Commands of the daemon's own (watch, cron) are told by their causes.
        let Some(line) = line else {
            if matches!(command, Command::Shutdown) {
                let workers: Vec<WorkerId> = self.core.apps().flat_map(|app| ids(&app)).collect();
                self.forensics.actors.extend(workers.into_iter().map(|id| (id, "a signal to the daemon".to_owned())));
                self.record_own("stops: it was sent a signal");
            }
            return;
        };
        let whoever = || line.peer().map_or_else(|| "a client of PM2's protocol".to_owned(), who);
        let by = line.asks_for().map_or_else(whoever, str::to_owned);
        let (verb, workers): (&str, Vec<WorkerId>) = match command {
            Command::Start { .. } => ("start", Vec::new()),
            Command::Resurrect { .. } => ("resurrect", Vec::new()),
            Command::Stop { workers } => ("stop", workers.clone()),
            Command::Restart { workers, .. } => ("restart", workers.clone()),
            Command::Reload { workers, .. } => ("reload", workers.clone()),
            Command::Adopt { specs } => {
                let apps = specs.iter().filter_map(|(app, _)| self.core.app(*app));
                ("reload", apps.flat_map(|app| ids(&app)).collect())
            }
            Command::Renew { workers, cause, .. } => (cause_name(*cause), workers.clone()),
            Command::Run { workers, .. } => ("run", workers.clone()),
            Command::Delete { workers } => ("delete", workers.clone()),
            Command::Scale { app, .. } => ("scale", self.core.app(*app).iter().flat_map(ids).collect()),
            Command::Autoscale { app, on } => {
                let verb = if *on { "autoscale on" } else { "autoscale off" };
                (verb, self.core.app(*app).iter().flat_map(ids).collect())
            }
            Command::Promote { app } => ("promote", self.core.app(*app).iter().flat_map(ids).collect()),
            Command::Abort { app } => ("abort", self.core.app(*app).iter().flat_map(ids).collect()),
            Command::Reset { workers } => ("reset", workers.clone()),
            Command::Shutdown => ("kill", self.core.apps().flat_map(|app| ids(&app)).collect()),
        };
        let mut names: BTreeSet<String> = workers.iter().map(|worker| self.app_name(*worker)).collect();
        if let Request::Start { specs } = request {
            names.extend(specs.iter().map(|spec| spec.name.clone()));
        }
        let detail = match request {
            Request::Scale { instances, .. } => format!("{verb} to {instances}"),
            _ => verb.to_owned(),
        };
        // Reset moves nothing: it is no reason for what comes after it.
        if !matches!(command, Command::Reset { .. } | Command::Autoscale { .. }) {
            self.forensics.actors.extend(workers.into_iter().map(|worker| (worker, by.clone())));
        }
        let at_ms = proc::wall_clock_millis();
        let event = |app: Option<String>| EventRecord {
            at_ms,
            event: "command".to_owned(),
            app,
            detail: Some(detail.clone()),
            by: Some(by.clone()),
            ..EventRecord::default()
        };
        if names.is_empty() {
            return self.forensics.event(event(None));
        }
        for name in names {
            self.forensics.event(event(Some(name)));
        }
    }

    /// Records the ends that came about while no daemon ran: what [`missed`] has found.
    pub(crate) fn record_missed(&mut self, missed: Vec<Ended>) {
        for ended in missed {
            let life = ended.record.life;
            if ended.record.oom == Some(true) {
                self.forensics.starved.insert(life.worker);
            }
            if !self.forensics.ended(ended) {
                self.to_acknowledge.insert(life.to_string());
            }
        }
    }
}

/// What the daemon before has left.
pub(crate) struct Before<'a> {
    pub(crate) saved: &'a Saved,
    pub(crate) traces: &'a BTreeMap<Life, Trace>,
    pub(crate) cgroups: &'a Cgroups,
    pub(crate) home: &'a Home,
}

/// Finds the ends that came about while no daemon ran: the keeper's, and of processes that the state names and nobody
/// knows any more. They are taken out of what may be acknowledged: that is done when they are on record.
pub(crate) fn missed(before: &Before<'_>, inventory: &mut Inventory, clock: Clock, now: Moment) -> Vec<Ended> {
    let saved = before.saved;
    let known: BTreeMap<Life, _> = saved.lives().map(|known| (known.life, known)).collect();
    let mut missed = Vec::new();
    for fact in &inventory.facts {
        let (Some((exit, at)), Some((_, spec, _))) = (fact.exit, saved.seat(fact.life.worker)) else { continue };
        let known = known.get(&fact.life);
        let spec = known.map_or(spec, |known| known.spec);
        let instance = saved.instance(fact.life.worker).unwrap_or_default();
        let mut ended = new_record(fact.life, spec, instance, fact.pid, before.home);
        tell_times(&mut ended.record, clock, fact.started_at, at);
        ended.record.exit = exit;
        if let Some(usage) = inventory.usages.get(&fact.life) {
            tell_usage(&mut ended.record, *usage);
        }
        inventory.exited.remove(&fact.life.to_string());
        missed.push((ended, known.and_then(|known| known.leaving), now.since(at)));
    }
    let there: BTreeSet<Life> = inventory.facts.iter().map(|fact| fact.life).collect();
    for known in known.values().filter(|known| !there.contains(&known.life)) {
        let mut ended = new_record(known.life, known.spec, known.instance, known.pid, before.home);
        tell_times(&mut ended.record, clock, known.started_at, now);
        missed.push((ended, known.leaving, Duration::MAX));
    }
    let log = LazyCell::new(Log::read);
    let tell = |(mut ended, leaving, ago): (Ended, Option<Cause>, Duration)| {
        let life = ended.record.life;
        let trace = before.traces.get(&life);
        begin_logs(&mut ended, trace.map_or([0; 2], |trace| trace.log_from));
        let by = trace.and_then(|trace| trace.asked_by.clone());
        ended.record.asked = leaving.map(|cause| Asked { cause: cause_name(cause).to_owned(), by, detail: None });
        ended.record.oom = match before.cgroups.of_life(life).filter(|_| has_limits(saved, life)) {
            Some(group) if group.ran_out_of_memory() => Some(true),
            Some(_) | None if leaving.is_some() => None,
            Some(_) | None if !oom::may_be(ended.record.exit) => Some(false),
            Some(_) | None => log.as_ref().and_then(|log| oom::by_log(log, ended.record.pid, ago)),
        };
        ended.maybe_known = true;
        ended.waits_for = streams(life);
        ended
    };
    missed.into_iter().map(tell).collect()
}

/// Takes out of what is to be told the starts and ends that are among the events already: the daemon before had told them, and
/// not written down in its state that they had come about.
pub(crate) fn drop_told(effects: &mut Vec<Effect>, facts: &[Fact], root: &Path, clock: Clock) {
    let looked_for = |effect: &Effect| match effect {
        Effect::Publish { worker, happening: Happening::Started { .. } } => Some((*worker, "start")),
        Effect::Publish { worker, happening: Happening::Exited { .. } } => Some((*worker, "exit")),
        _ => None,
    };
    if !effects.iter().any(|effect| looked_for(effect).is_some()) {
        return;
    }
    let told = rpm_records::events(root, |event| event.worker.is_some()).unwrap_or_default();
    effects.retain(|effect| {
        let Some((worker, name)) = looked_for(effect) else { return true };
        // Generations rise with time: what is told here is about the newest.
        let fact = facts.iter().filter(|fact| fact.life.worker == worker).max_by_key(|fact| fact.life);
        let Some(since) = fact.map(|fact| clock.wall_ms(fact.started_at)) else { return true };
        !told.iter().any(|event| event.worker == Some(worker) && event.event == name && event.at_ms >= since)
    });
}

fn has_limits(saved: &Saved, life: Life) -> bool {
    saved.seat(life.worker).is_some_and(|(_, spec, _)| !spec.limits.is_empty())
}

/// Tells where in the logs a life begins.
fn begin_logs(ended: &mut Ended, from: [u64; 2]) {
    for (part, from) in [&mut ended.out, &mut ended.err].into_iter().zip(from) {
        if let Some(part) = part {
            part.from = from;
        }
    }
}

/// Returns the apps' workers.
fn ids<'a>(app: &rpm_supervise::AppView<'a>) -> Vec<WorkerId> {
    app.workers.iter().map(|worker| worker.id).collect()
}

fn streams(life: Life) -> Vec<String> {
    [rpm_logs::Kind::Out, rpm_logs::Kind::Err].map(|kind| LogNames::of(life, kind).stream).into()
}

/// Makes a record of an end of which nothing is known yet but whose it is.
fn new_record(life: Life, spec: &AppSpec, instance: u32, pid: i32, home: &Home) -> Ended {
    let logs = rpm_logs::paths(spec, life.worker, home);
    let part = |path: Option<&Path>| path.map(|path| LogPart { path: path.to_owned(), from: 0 });
    let record = ExitRecord {
        at_ms: 0,
        app: spec.name.clone(),
        worker: life.worker,
        instance,
        life,
        pid,
        started_at_ms: 0,
        uptime_ms: 0,
        exit: Exit::Unknown,
        oom: None,
        core: None,
        memory: None,
        memory_max: None,
        cpu: None,
        cpu_ms: None,
        asked: None,
        out: Vec::new(),
        err: Vec::new(),
    };
    Ended {
        record,
        cwd: spec.cwd.clone(),
        out: part(logs.out.as_deref().or(logs.combined.as_deref())),
        err: part(logs.err.as_deref()),
        waits_for: Vec::new(),
        maybe_known: false,
    }
}

fn tell_times(record: &mut ExitRecord, clock: Clock, started_at: Moment, at: Moment) {
    record.at_ms = clock.wall_ms(at);
    record.started_at_ms = clock.wall_ms(started_at);
    record.uptime_ms = u64::try_from(at.since(started_at).as_millis()).unwrap_or(u64::MAX);
}

fn tell_usage(record: &mut ExitRecord, usage: Usage) {
    record.cpu_ms = Some(usage.cpu_micros / 1000);
    record.memory_max = Some(usage.memory_max).filter(|max| max.0 > 0);
}

/// Returns whether a cause is a command of somebody's.
fn asked_by_people(cause: Cause) -> bool {
    match cause {
        Cause::Start | Cause::Stop | Cause::Restart | Cause::Reload | Cause::Rollback | Cause::Scale | Cause::Run => {
            true
        }
        Cause::Autoscale
        | Cause::Crash
        | Cause::Memory
        | Cause::Health
        | Cause::Hang
        | Cause::Watch
        | Cause::Cron
        | Cause::Schedule => false,
    }
}

/// Returns who is at the other end: `root on pts/3 (rpm restart api)`.
fn who(pid: i32) -> String {
    let Some(stat) = proc::stat(pid) else { return format!("pid {pid}, gone since") };
    let uid = std::fs::metadata(format!("/proc/{pid}")).ok().map(|meta| std::os::unix::fs::MetadataExt::uid(&meta));
    let mut text = uid.map_or_else(|| "somebody".to_owned(), user_name);
    // Who became root by sudo has said so in the environment.
    if let Some(name) = proc::environ_get(pid, "SUDO_USER").filter(|name| *name != text) {
        text = format!("{name} as {text}");
    }
    if let Some(terminal) = stat.terminal {
        text = format!("{text} on {terminal}");
    }
    let words = command_words(&proc::command_line(pid));
    if words.is_empty() { text } else { format!("{text} ({words})") }
}

/// Commands whose first word says what is meant; the others are values, and may be secret.
const WITH_VALUES: [&str; 7] = ["set", "multiset", "conf", "config", "send", "sendline", "trigger"];

/// Returns a command line without the program's directory and without what is for the app itself, which may be secret.
fn command_words(line: &str) -> String {
    let line = line.split(" -- ").next().unwrap_or_default();
    let mut words: Vec<&str> = line.split(' ').collect();
    words[0] = words[0].rsplit('/').next().unwrap_or_default();
    let command = words.iter().skip(1).position(|word| !word.starts_with('-')).map(|before| before + 1);
    if let Some(command) = command.filter(|at| WITH_VALUES.contains(&words[*at].to_lowercase().as_str()))
        && words.len() > command + 2
    {
        words.truncate(command + 2);
        // Several settings are one word of a shell: `a 1 b 2`.
        words.push("…");
    }
    let text = words.join(" ").trim().to_owned();
    let end = text.floor_char_boundary(COMMAND_LINE_MAX);
    if end < text.len() { format!("{}…", &text[..end]) } else { text }
}

/// Returns the present moment's clock and time; both are needed together.
pub(crate) fn clock_and_now() -> (Clock, Moment) {
    (Clock::read(), view::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_short_and_tells_no_secret() {
        assert_eq!(command_words("/usr/bin/rpm restart api"), "rpm restart api");
        assert_eq!(command_words("rpm start x.js -- --password=1"), "rpm start x.js");
        assert_eq!(command_words(&format!("rpm {}", "x".repeat(300))).chars().count(), COMMAND_LINE_MAX + 1);
        assert_eq!(command_words("/bin/rpm set api:token s3cret"), "rpm set api:token …");
        assert_eq!(command_words("rpm --silent multiset api:a s3cret api:b 2"), "rpm --silent multiset api:a …");
        assert_eq!(command_words("rpm set"), "rpm set");
        assert_eq!(command_words(""), "");
    }
}
