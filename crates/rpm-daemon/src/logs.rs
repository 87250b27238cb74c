//! Which way the output goes, and who rotates it.
//!
//! A worker writes its log itself where that can be rotated under its hands, else through the pump
//! ([`rpm_logs::rotate::collapse`] says why). The rotator is told of every log there is, whenever apps change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rpm_ipc::{Happened, LogFigures, LogStream, Notice, Reply};
use rpm_logs::rotate::collapse;
use rpm_logs::rotator::{self, Log, Rotator, Writer, Written};
use rpm_logs::{Claim, LogPaths, Stream};
use rpm_model::{AppId, AppSpec, Bytes, Life};
use rpm_supervise::AppView;
use tokio::sync::mpsc;

use crate::clients::Line;
use crate::daemon::Daemon;

/// A smaller limit is soon less than a few blocks of the file system, which is what can be taken away.
const DIRECT_MIN: u64 = 64 << 10;

/// What is known of logs beside the pump.
pub(crate) struct Logs {
    /// Whether no worker writes its logs itself. As in PM2, a log that was removed or renamed is then there again after
    /// `reloadLogs`, whatever became of the old file.
    always_piped: bool,
    rotator: Option<Rotator>,
    told: Vec<Log>,
    /// Whose those are: found when it is first asked, and again when they have changed.
    of_apps: Option<BTreeMap<AppId, Vec<OfApp>>>,
    /// Logs that a worker which runs writes itself: the pump renames none of them.
    claims: BTreeMap<PathBuf, Claim>,
    /// Which logs cannot be written, and why.
    pub(crate) trouble: BTreeMap<PathBuf, String>,
    /// Whether the head of a file can be taken away, by directory.
    can_collapse: BTreeMap<PathBuf, bool>,
    /// Paths of logs, and whether something other than a file was found there last. Thousands of workers that cannot start
    /// would otherwise have all of theirs looked at again and again.
    no_files: BTreeMap<PathBuf, bool>,
    /// Bounded by what is asked, and by one failure for each log.
    news: (mpsc::UnboundedSender<News>, mpsc::UnboundedReceiver<News>),
}

/// A log that an app's workers write.
struct OfApp {
    stream: LogStream,
    instance: Option<u32>,
    written: Written,
}

/// What the rotator's threads have to tell.
pub(crate) enum News {
    Rotator(rotator::Event),
    /// Logs were put back; the pump opens its files anew next.
    PutBack {
        failed: Vec<String>,
        asked: Option<(Line, u64)>,
    },
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            always_piped: false,
            rotator: None,
            told: Vec::new(),
            of_apps: None,
            claims: BTreeMap::new(),
            trouble: BTreeMap::new(),
            can_collapse: BTreeMap::new(),
            no_files: BTreeMap::new(),
            news: mpsc::unbounded_channel(),
        }
    }
}

impl Logs {
    /// Returns the logs of a daemon; `always_piped` as PM2 has them.
    pub(crate) fn new(always_piped: bool) -> Self {
        Self { always_piped, ..Self::default() }
    }

    /// Waits for news; there is always somebody who could send some.
    pub(crate) async fn news(&mut self) -> Option<News> {
        self.news.1.recv().await
    }

    /// Returns whether a worker that is about to be started writes its logs itself.
    pub(crate) fn is_direct(&mut self, spec: &AppSpec, paths: &LogPaths) -> bool {
        for path in [&paths.out, &paths.err].into_iter().flatten() {
            self.no_files.remove(path);
        }
        self.is_known_direct(spec, paths)
    }

    /// The same of one whose logs were looked at before.
    fn is_known_direct(&mut self, spec: &AppSpec, paths: &LogPaths) -> bool {
        if self.always_piped || !spec.logs.is_direct() {
            return false;
        }
        let rotation = &spec.logs.rotation;
        let by_size_only = rotation.every.is_none() && rotation.max_size.is_some_and(|size| size.0 >= DIRECT_MIN);
        !rotation.is_on()
            || [&paths.out, &paths.err].into_iter().flatten().all(|path| {
                self.is_no_file(path) || (by_size_only && path.parent().is_some_and(|dir| self.can_collapse(dir)))
            })
    }

    /// Returns whether a log is a terminal, a pipe or something else that is there and not rotated.
    fn is_no_file(&mut self, path: &Path) -> bool {
        if let Some(known) = self.no_files.get(path) {
            return *known;
        }
        let is_none = is_no_file(path);
        self.no_files.insert(path.to_owned(), is_none);
        is_none
    }

    /// Has a log keep its name, before a worker that writes it itself is started.
    pub(crate) fn claim(&mut self, log: &Path) {
        self.claims.entry(log.to_owned()).or_insert_with(|| Claim::new(log));
    }

    fn can_collapse(&mut self, directory: &Path) -> bool {
        if let Some(known) = self.can_collapse.get(directory) {
            return *known;
        }
        // What is not there yet will be made on the file system of what is.
        let existing = directory.ancestors().find(|directory| directory.is_dir());
        let possible = existing.is_some_and(collapse::is_possible);
        self.can_collapse.insert(directory.to_owned(), possible);
        possible
    }

    fn rotator(&mut self) -> Option<&mut Rotator> {
        if self.rotator.is_none() {
            let news = self.news.0.clone();
            let started = Rotator::start(move |event| {
                // The loop may have left already.
                let _ = news.send(News::Rotator(event));
            });
            match started {
                Ok(rotator) => self.rotator = Some(rotator),
                Err(error) => tracing::error!("logs are not rotated, the thread could not be started: {error}"),
            }
        }
        self.rotator.as_mut()
    }

    fn set(&mut self, logs: Vec<Log>) {
        if logs == self.told {
            return;
        }
        if let Some(rotator) = self.rotator() {
            rotator.set(logs.clone());
            self.told = logs;
        }
    }

    /// Returns how much was written to the logs of an app, once they are [found](Daemon::find_logs).
    pub(crate) fn figures(&self, app: AppId) -> Vec<LogFigures> {
        let logs = self.of_apps.iter().filter_map(|all| all.get(&app)).flatten();
        logs.map(|log| LogFigures { stream: log.stream, instance: log.instance, bytes: log.written.bytes() }).collect()
    }

    /// Ends the threads; what they were at is finished by the next daemon.
    pub(crate) fn stop(&mut self) {
        self.rotator = None;
    }
}

/// Returns whether something other than a file is there.
fn is_no_file(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file())
}

impl Daemon {
    /// Tells the rotator which logs there are.
    pub(crate) fn fit_logs(&mut self) {
        let mut logs: BTreeMap<PathBuf, Log> = BTreeMap::new();
        let mut writers = BTreeSet::new();
        // A worker that is being replaced writes as it was told when it was started.
        let running = self.processes.iter().map(|(life, process)| (process.spec.clone(), life.worker, true));
        let wanted = self.core.apps().flat_map(|app| {
            let workers = app.workers.iter().map(|worker| (app.spec.clone(), worker.id, false));
            workers.collect::<Vec<_>>()
        });
        for (spec, worker, runs) in wanted.chain(running).collect::<Vec<_>>() {
            let paths = rpm_logs::paths(&spec, worker, &self.home);
            let is_pumped = !self.logs.is_known_direct(&spec, &paths);
            for path in [&paths.out, &paths.err, &paths.combined].into_iter().flatten() {
                if runs && !is_pumped {
                    writers.insert(path.clone());
                }
                let log = Log { path: path.clone(), rotation: spec.logs.rotation.clone(), is_pumped };
                // A file of two apps is never renamed where one of them writes it itself.
                logs.entry(path.clone()).and_modify(|log| log.is_pumped &= is_pumped).or_insert(log);
            }
        }
        writers.iter().for_each(|log| self.logs.claim(log));
        self.logs.claims.retain(|log, _| writers.contains(log));
        self.logs.no_files.retain(|log, _| logs.contains_key(log));
        let core = &self.core;
        self.consoles.retain(|(worker, _), _| core.worker(*worker).is_some());
        self.logs.set(logs.into_values().collect());
        self.logs.of_apps = None;
    }

    /// Finds out whose each log is, unless that is known.
    pub(crate) fn find_logs(&mut self) {
        let (None, Some(rotator)) = (&self.logs.of_apps, &self.logs.rotator) else { return };
        let of = |app: AppView<'_>| {
            let mut found: BTreeMap<PathBuf, (LogStream, Option<u32>)> = BTreeMap::new();
            for worker in &app.workers {
                let LogPaths { out, err, combined } = rpm_logs::paths(app.spec, worker.id, &self.home);
                let named = [(out, LogStream::Out), (err, LogStream::Err), (combined, LogStream::Combined)];
                for (path, stream) in named.into_iter().filter_map(|(path, stream)| Some((path?, stream))) {
                    let (of, by) = found.entry(path).or_insert((stream, Some(worker.instance)));
                    *of = if *of == stream { stream } else { LogStream::Combined };
                    *by = by.filter(|instance| *instance == worker.instance);
                }
            }
            let written = |path: PathBuf| rotator.written(&path).filter(|_| !is_no_file(&path)).cloned();
            let mut logs: Vec<OfApp> = found
                .into_iter()
                .filter_map(|(path, (stream, instance))| Some(OfApp { stream, instance, written: written(path)? }))
                .collect();
            logs.sort_by_key(|log| (log.instance, log.stream));
            (app.id, logs)
        };
        self.logs.of_apps = Some(self.core.apps().map(of).collect());
    }

    pub(crate) fn take_from_logs(&mut self, news: News) {
        match news {
            News::Rotator(rotator::Event::Rotated { log, archive }) => {
                tracing::info!("{} was rotated to {}", log.display(), archive.display());
            }
            News::Rotator(rotator::Event::Due { log }) => {
                if let Some(pump) = &self.pump {
                    pump.rotate(log);
                }
            }
            // Its first process has not been started yet.
            News::Rotator(rotator::Event::Failed { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {}
            News::Rotator(rotator::Event::Full { log }) => {
                let why = "the disk is full; what is said now is lost, how much only the app knows";
                self.log_failed(&log, why.to_owned());
            }
            News::Rotator(rotator::Event::Room { log }) => self.log_resumed(&log),
            News::Rotator(rotator::Event::Failed { log, error }) => {
                tracing::warn!("{} cannot be rotated: {error}", log.display());
            }
            News::PutBack { failed, asked } => {
                for text in &failed {
                    tracing::warn!("{text}");
                    if let Some((line, id)) = &asked {
                        line.notice(*id, Notice::Warning(text.clone()));
                    }
                }
                let done = move || {
                    if let Some((line, id)) = asked {
                        line.reply(id, Reply::Done { workers: Vec::new() });
                    }
                };
                match &self.pump {
                    Some(pump) => pump.reopen_then(done),
                    None => done(),
                }
            }
        }
    }

    /// Takes in that a log cannot be written.
    pub(crate) fn log_failed(&mut self, log: &Path, why: String) {
        tracing::error!("{} cannot be written: {why}", log.display());
        self.tell_of_log(log, "log failed", Some(format!("{}: {why}", log.display())));
        self.logs.trouble.insert(log.to_owned(), why);
    }

    /// Takes in that a log can be written again.
    pub(crate) fn log_resumed(&mut self, log: &Path) {
        tracing::info!("{} can be written again", log.display());
        self.tell_of_log(log, "log resumed", Some(log.display().to_string()));
        self.logs.trouble.remove(log);
    }

    fn tell_of_log(&mut self, log: &Path, event: &str, detail: Option<String>) {
        let workers: Vec<_> = self
            .core
            .apps()
            .flat_map(|app| app.workers.iter().map(|w| (app.spec.clone(), w.id)).collect::<Vec<_>>())
            .collect();
        for (spec, worker) in workers {
            let paths = rpm_logs::paths(&spec, worker, &self.home);
            if [&paths.out, &paths.err, &paths.combined].into_iter().flatten().any(|path| path == log) {
                let at_ms = rpm_sys::proc::wall_clock_millis();
                let (app, event) = (spec.name.clone(), event.to_owned());
                self.tell_listeners(&Happened { at_ms, worker, app, event, detail: detail.clone() });
            }
        }
    }

    /// Has somebody look whether disks are full.
    pub(crate) fn look_for_room(&self) {
        if let Some(rotator) = &self.logs.rotator {
            rotator.look_for_room();
        }
    }

    /// Takes in that the pump had to drop output: so many bytes, and lines.
    pub(crate) fn output_lost(&mut self, key: &str, log: Option<&Path>, (bytes, lines): (u64, u64), is_first: bool) {
        if is_first {
            tracing::error!("{key}: output for {} is being dropped", log.unwrap_or(Path::new("?")).display());
        }
        if let Some(process) =
            key.split('/').next().and_then(Life::parse).and_then(|life| self.processes.get_mut(&life))
        {
            process.output_lost += bytes;
            process.lines_lost += lines;
        }
    }

    /// Takes in that a file that failed is written again.
    pub(crate) fn output_resumed(&mut self, key: &str, log: Option<&Path>) {
        let life = key.split('/').next().and_then(Life::parse);
        let lost = life.and_then(|life| self.processes.get(&life)).map_or(0, |process| process.output_lost);
        let name = log.unwrap_or(Path::new("?")).display();
        tracing::info!("{key}: {name} is written again; {} of this worker's output are lost so far", Bytes(lost));
        if let Some(log) = log {
            self.log_resumed(log);
        }
    }

    /// Takes in that the pump rotated a file.
    pub(crate) fn pump_rotated(&mut self, log: &Path, archive: &Path) {
        tracing::info!("{} was rotated to {}", log.display(), archive.display());
        if let Some(rotator) = &self.logs.rotator {
            rotator.tidy(log);
        }
    }

    /// Has every log in its place again after somebody renamed it; whoever asked hears when that is done, so that what
    /// was renamed can be compressed then.
    pub(crate) fn reopen_logs(&mut self, asked: Option<(Line, u64)>) {
        let mut writers = Vec::new();
        let lives: Vec<_> =
            self.processes.iter().map(|(life, process)| (*life, process.spec.clone(), process.pid())).collect();
        for (life, spec, pid) in lives {
            let paths = rpm_logs::paths(&spec, life.worker, &self.home);
            if !self.logs.is_known_direct(&spec, &paths) {
                continue;
            }
            let files = [(1, paths.out), (2, paths.err)];
            let writer = |(descriptor, log): (i32, Option<PathBuf>)| Some(Writer { log: log?, pid: pid?, descriptor });
            writers.extend(files.into_iter().filter_map(writer));
        }
        let news = self.logs.news.0.clone();
        match self.logs.rotator() {
            Some(rotator) if !writers.is_empty() => rotator.put_back(writers, move |failed| {
                let _ = news.send(News::PutBack { failed, asked });
            }),
            Some(_) | None => self.take_from_logs(News::PutBack { failed: Vec::new(), asked }),
        }
    }

    /// Hands streams of lives that go on to the pump, all at once: see [`rpm_logs::Pump::add_all`].
    pub(crate) fn resume_streams(&mut self, streams: Vec<Stream>) {
        if streams.is_empty() {
            return;
        }
        match self.pump() {
            Ok(pump) => pump.add_all(streams),
            Err(error) => tracing::error!("the logs cannot be taken up again: {error}"),
        }
    }
}
