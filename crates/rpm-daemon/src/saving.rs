//! `save`: the list is taken down in the turn that is asked for it, and forced to the disk by a thread, which may take as
//! long as the disk likes.
//!
//! One is written at a time, in order. What comes meanwhile waits, and only the newest of it is written: it answers for
//! those before it.

use std::io;

use rpm_ipc::Reply;
use rpm_model::{AppSpec, Status, Unknown};
use rpm_supervise::Standing;
use tokio::sync::mpsc;

use crate::clients::Line;
use crate::daemon::Daemon;
use crate::dump::{self, Aside, DumpedApp};

/// What became of a list that was to be written.
pub(crate) type Written = io::Result<Option<Aside>>;

/// A list on its way to the disk, and who waits for it.
struct List {
    apps: Vec<DumpedApp>,
    waiting: Vec<(Line, u64)>,
}

/// What is being saved.
pub(crate) struct Saving {
    /// Who waits for the list that is being written.
    under_way: Option<Vec<(Line, u64)>>,
    next: Option<List>,
    done: (mpsc::UnboundedSender<Written>, mpsc::UnboundedReceiver<Written>),
}

impl Default for Saving {
    fn default() -> Self {
        Self { under_way: None, next: None, done: mpsc::unbounded_channel() }
    }
}

impl Saving {
    /// Waits until a list is written, or could not be.
    pub(crate) async fn news(&mut self) -> Written {
        match self.done.1.recv().await {
            Some(done) => done,
            // This side holds a sender.
            None => std::future::pending().await,
        }
    }
}

impl Daemon {
    /// Takes the list down; whoever asked is told when it is safe.
    pub(crate) fn save(&mut self, force: bool, asked: Option<(Line, u64)>) {
        let path = self.home.dump();
        let apps: Vec<DumpedApp> = self
            .core
            .apps()
            .filter(|app| !app.spec.is_module())
            .map(|app| DumpedApp {
                spec: saved_spec(app.spec, app.workers.len()),
                // A job that waits for its time is stopped and wanted.
                stopped: match &app.spec.job {
                    Some(_) => app.workers.iter().all(|worker| worker.is_parked),
                    None => app.workers.iter().all(|worker| worker.status == Status::Stopped),
                },
                autoscale_off: app.scaling.is_some_and(|scaling| scaling.standing == Standing::Paused),
                unknown: Unknown::default(),
            })
            .collect();
        if apps.is_empty() && !force && dump::has_apps(&path) {
            let message = format!("there are no apps, and {} has some", path.display());
            let hint = Some("`save --force` replaces it all the same".into());
            return match asked {
                Some((line, id)) => line.reply(id, Reply::Refused { message, hint }),
                None => tracing::warn!("not saved: {message}"),
            };
        }
        let waiting = asked.into_iter();
        match &mut self.saving.next {
            Some(next) => {
                next.apps = apps;
                next.waiting.extend(waiting);
            }
            none => *none = Some(List { apps, waiting: waiting.collect() }),
        }
        self.save_next();
    }

    fn save_next(&mut self) {
        if self.saving.under_way.is_some() {
            return;
        }
        let Some(List { apps, waiting }) = self.saving.next.take() else { return };
        self.saving.under_way = Some(waiting);
        let (path, backup, done) = (self.home.dump(), self.home.dump_backup(), self.saving.done.0.clone());
        let write = move || {
            // The loop may have left already.
            let _ = done.send(dump::write(&path, &backup, apps));
        };
        if let Err(error) = std::thread::Builder::new().name("save".into()).spawn(write) {
            let _own_end_is_open = self.saving.done.0.send(Err(error));
        }
    }

    /// A list is written, or could not be.
    pub(crate) fn saved(&mut self, done: &Written) {
        rpm_sys::fail::pass("list", "written");
        let waiting = self.saving.under_way.take().unwrap_or_default();
        if let Err(error) = done
            && waiting.is_empty()
        {
            tracing::warn!("not saved: {} cannot be written: {error}", self.home.dump().display());
        }
        let aside = done.as_ref().ok().and_then(Option::as_ref).map(Aside::to_string);
        if let Some(note) = &aside {
            tracing::warn!("{note}");
        }
        for (line, id) in waiting {
            let reply = match done {
                Ok(_) => match &aside {
                    Some(note) => Reply::Noted { note: note.clone() },
                    None => Reply::Done { workers: Vec::new() },
                },
                Err(error) => {
                    let message = format!("{} cannot be written: {error}", self.home.dump().display());
                    Reply::Refused { message, hint: None }
                }
            };
            line.reply(id, reply);
        }
        self.save_next();
    }

    /// Waits for what is on its way to the disk: the daemon leaves.
    pub(crate) async fn all_saved(&mut self) {
        while self.saving.under_way.is_some() {
            let done = self.saving.news().await;
            self.saved(&done);
        }
    }
}

/// Returns the spec as it is to be started again: with as many workers as there are, and without the shell's
/// variables, which the shell that resurrects brings along.
fn saved_spec(spec: &AppSpec, workers: usize) -> AppSpec {
    let mut spec = spec.clone();
    spec.instances = u32::try_from(workers).unwrap_or(u32::MAX).max(1);
    spec.env_shell.clear();
    spec.logs.leave_console();
    spec
}
