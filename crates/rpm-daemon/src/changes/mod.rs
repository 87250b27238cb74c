//! Changed files restart apps.
//!
//! `thread` and `tree` tell that a file of an app has changed; `rpm_trigger::Quiet` says when a restart follows. A restart
//! is a command of the core like any other, given by nobody; its end is the end of the command.

mod thread;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpm_ipc::{Notice, Request};
use rpm_model::{AppId, AppSpec, Home, Moment, Status, WatchSpec, WorkerId};
use rpm_supervise::{AppView, Cause, Command, CommandId, WorkerView};
use rpm_trigger::{Quiet, Rules, Verdict};

use self::thread::{News, Order, Thread};
use crate::daemon::{Asked, Daemon};

/// The apps whose files are watched.
#[derive(Default)]
pub(crate) struct Changes {
    apps: BTreeMap<AppId, Watching>,
    /// Started when the first app wants it.
    thread: Option<Thread>,
    news: Arc<News>,
}

/// One app whose files are watched.
struct Watching {
    wanted: Wanted,
    quiet: Quiet,
    /// The restart under way.
    restart: Option<CommandId>,
    /// What the last restart was for.
    why: PathBuf,
}

/// What decides which files matter; when it changes, the app is watched anew.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    spec: WatchSpec,
    cwd: PathBuf,
    own: Vec<PathBuf>,
}

impl Changes {
    /// Returns what waits for news from the thread.
    pub(crate) fn news(&self) -> impl Future<Output = ()> + use<> {
        let news = self.news.clone();
        async move { news.wait().await }
    }

    /// Returns when the next restart is due.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.apps.values().filter_map(|watching| watching.quiet.due()).min()
    }

    /// Returns which file the present restart of an app is for, from its working directory.
    pub(crate) fn why(&self, app: AppId) -> Option<String> {
        let watching = self.apps.get(&app)?;
        let why = watching.why.strip_prefix(&watching.wanted.cwd).unwrap_or(&watching.why);
        Some(why.display().to_string()).filter(|why| !why.is_empty())
    }

    /// Begins and ends watching so that it fits the apps that there are.
    fn fit(&mut self, wanted: BTreeMap<AppId, Wanted>) -> Result<(), (AppId, String)> {
        let gone: Vec<AppId> = self.apps.keys().filter(|app| !wanted.contains_key(app)).copied().collect();
        for app in gone {
            self.apps.remove(&app);
            self.tell(Order::Forget(app));
        }
        if self.apps.is_empty() && wanted.is_empty() {
            self.thread = None;
            return Ok(());
        }
        for (app, wanted) in wanted {
            if self.apps.get(&app).is_some_and(|watching| watching.wanted == wanted) {
                continue;
            }
            let failed = |why: String| (app, why);
            let rules = Rules::new(&wanted.spec, &wanted.cwd, wanted.own.clone());
            let rules = rules.map_err(|error| failed(format!("files are not watched: {error}")))?;
            if self.thread.is_none() {
                let thread = Thread::start(self.news.clone());
                self.thread = Some(thread.map_err(|error| failed(tree::no_watching(&error)))?);
            }
            self.tell(Order::Watch { app, rules, follow_symlinks: wanted.spec.follow_symlinks });
            let delay = wanted.spec.delay;
            match self.apps.get_mut(&app) {
                Some(watching) => {
                    watching.quiet.set_delay(delay);
                    watching.wanted = wanted;
                }
                None => {
                    let watching = Watching { wanted, quiet: Quiet::new(delay), restart: None, why: PathBuf::new() };
                    self.apps.insert(app, watching);
                }
            }
        }
        Ok(())
    }

    fn tell(&self, order: Order) {
        if let Some(thread) = &self.thread {
            thread.tell(order);
        }
    }
}

impl Daemon {
    /// Begins and ends watching where apps have come, gone or changed.
    pub(crate) fn fit_changes(&mut self) {
        let home = &self.home;
        let watched = self.core.apps().filter(|app| app.spec.watch.enabled && app.workers.iter().any(was_started));
        let wanted =
            watched.map(|app| (app.id, wanted(&app, home, |worker| self.own_files(app.spec, worker)))).collect();
        if let Err((app, problem)) = self.changes.fit(wanted) {
            self.tell_problem(app, &problem);
        }
    }

    fn own_files(&self, spec: &AppSpec, worker: WorkerId) -> Vec<PathBuf> {
        let logs = rpm_logs::paths(spec, worker, &self.home);
        let pid = rpm_logs::pid_path(spec, worker, &self.home);
        [logs.out, logs.err, logs.combined, Some(pid)].into_iter().flatten().collect()
    }

    /// Takes what the thread has told.
    pub(crate) fn take_changes(&mut self, now: Moment) {
        for (app, told) in self.changes.news.take() {
            if let Some(problem) = told.problem {
                self.tell_problem(app, &problem);
            }
            if let (Some(path), Some(watching)) = (told.changed, self.changes.apps.get_mut(&app)) {
                watching.quiet.changed(now, path);
            }
        }
    }

    /// Restarts the apps whose files have been quiet for long enough: as in PM2 all of their workers, also one that was
    /// stopped alone.
    pub(crate) fn restart_changed(&mut self, now: Moment) {
        let due: Vec<AppId> = self.changes.apps.keys().copied().collect();
        for app in due {
            let Some(watching) = self.changes.apps.get_mut(&app) else { continue };
            let Some(path) = watching.quiet.begin(now) else { continue };
            watching.why = path;
            let workers = self.core.app(app).map(|app| app.workers.iter().map(|worker| worker.id).collect());
            let workers: Vec<WorkerId> = workers.unwrap_or_default();
            let request = Request::Restart { workers: workers.clone(), specs: Vec::new() };
            let renewal = Command::Renew { workers, cause: Cause::Watch, roll: false };
            let command = self.command(renewal, Asked { line: None, request });
            if let Some(watching) = self.changes.apps.get_mut(&app) {
                watching.restart = Some(command);
            }
        }
    }

    /// Takes the end of a command, which may be a restart for a changed file.
    pub(crate) fn changes_hear_of_end(&mut self, command: CommandId, now: Moment) {
        let mut apps = self.changes.apps.iter_mut();
        let Some((app, watching)) = apps.find(|(_, watching)| watching.restart == Some(command)) else { return };
        watching.restart = None;
        if let Verdict::Dropped(path) = watching.quiet.over(now) {
            let name = self.core.app(*app).map(|app| app.spec.name.clone()).unwrap_or_default();
            tracing::warn!(
                "{name} was restarted again and again because {} changes while it starts, so that is no longer heeded; if \
                 the app writes it, name it in `ignore_watch`",
                path.display()
            );
        }
    }

    /// Tells whoever waits for the app, and the log, that its files cannot be watched.
    fn tell_problem(&self, app: AppId, problem: &str) {
        let Some(view) = self.core.app(app) else { return };
        let name = &view.spec.name;
        tracing::error!("{name}: {problem}");
        let is_about = |request: &Request| match request {
            Request::Start { specs } => specs.iter().any(|spec| spec.name == *name),
            Request::Resurrect { apps } => apps.iter().any(|app| app.spec.name == *name),
            Request::Restart { workers, .. } | Request::Reload { workers, .. } => {
                view.workers.iter().any(|worker| workers.contains(&worker.id))
            }
            _ => false,
        };
        for asked in self.commands.values().filter(|asked| is_about(&asked.request)) {
            if let Some((line, id)) = &asked.line {
                line.notice(*id, Notice::Warning(format!("{name}: {problem}")));
            }
        }
    }
}

/// Returns what is to be watched for an app.
fn wanted(app: &AppView<'_>, home: &Home, own_files: impl Fn(WorkerId) -> Vec<PathBuf>) -> Wanted {
    let mut own: Vec<PathBuf> = app.workers.iter().flat_map(|worker| own_files(worker.id)).collect();
    own.extend(supervisors_files(home, &app.spec.cwd));
    own.sort();
    own.dedup();
    Wanted { spec: app.spec.watch.clone(), cwd: app.spec.cwd.clone(), own }
}

/// Returns what the supervisor itself writes: the state directory, or where the app lies in that, the files by name.
fn supervisors_files(home: &Home, cwd: &Path) -> Vec<PathBuf> {
    if !cwd.starts_with(home.root()) {
        return vec![home.root().to_owned()];
    }
    let named = [home.socket(), home.daemon_pid(), home.keeper_pid(), home.daemon_log(), home.dump(), home.state()];
    let more = [home.logs(), home.pids(), home.root().join(crate::files::NEW)];
    named.into_iter().chain(more).collect()
}

/// Returns whether a worker was ever started: an app that is only registered is not watched.
fn was_started(worker: &WorkerView) -> bool {
    worker.status != Status::Stopped || worker.last_exit.is_some()
}
