//! `save`: the list is taken down in the turn that is asked for it, and forced to the disk by a thread, which may take as
//! long as the disk likes.
//!
//! One is written at a time, in order. What comes meanwhile waits, and only the newest of it for the same file is written:
//! it answers for those before it.

use std::collections::VecDeque;
use std::io;

use rpm_ipc::{ListFiles, Reply};
use rpm_model::{AppSpec, Status, Unknown};
use rpm_supervise::Standing;
use tokio::sync::mpsc;

use crate::clients::Line;
use crate::daemon::Daemon;
use crate::dump::{self, Aside, DumpedApp};

/// What became of a list that was to be written.
pub(crate) type Written = io::Result<Option<Aside>>;

/// Lists for so many files may wait. A person has one or two; at the bound the next is refused.
const WAITING_MAX: usize = 16;

/// Who waits for a list to be written, and where.
struct Errand {
    files: ListFiles,
    /// Whether a client has named the files; then the reply names them too.
    is_named: bool,
    waiting: Vec<(Line, u64)>,
}

/// What is being saved.
pub(crate) struct Saving {
    under_way: Option<Errand>,
    next: VecDeque<(Errand, Vec<DumpedApp>)>,
    done: (mpsc::UnboundedSender<Written>, mpsc::UnboundedReceiver<Written>),
}

impl Default for Saving {
    fn default() -> Self {
        Self { under_way: None, next: VecDeque::new(), done: mpsc::unbounded_channel() }
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
    /// Takes the list down, for these files or our own; whoever asked is told when it is safe.
    pub(crate) fn save(&mut self, force: bool, files: Option<&ListFiles>, asked: Option<(Line, u64)>) {
        let own = || ListFiles { list: self.home.dump(), backup: self.home.dump_backup() };
        let is_named = files.is_some();
        let files = files.cloned().unwrap_or_else(own);
        let refuse = |message: String, hint: Option<&str>| match &asked {
            Some((line, id)) => line.reply(*id, Reply::Refused { message, hint: hint.map(str::to_owned) }),
            None => tracing::warn!("not saved: {message}"),
        };
        if let Some(path) = [&files.list, &files.backup].into_iter().find(|path| !path.is_absolute()) {
            return refuse(format!("{} is no absolute path, and the daemon runs elsewhere", path.display()), None);
        }
        let apps: Vec<DumpedApp> = self
            .core
            .apps()
            .filter(|app| !app.spec.is_module())
            .map(|app| DumpedApp {
                spec: saved_spec(app.proven, app.workers.len()),
                // A job that waits for its time is stopped and wanted, and so is what has ended by itself: others may depend
                // on its work being done, and after a boot nobody knows that it was.
                stopped: match &app.spec.job {
                    Some(_) => app.workers.iter().all(|worker| worker.is_parked),
                    None => app.workers.iter().all(|worker| worker.status == Status::Stopped && !worker.has_ended),
                },
                autoscale_off: app.scaling.is_some_and(|scaling| scaling.standing == Standing::Paused),
                unknown: Unknown::default(),
            })
            .collect();
        if apps.is_empty() && !force && dump::has_apps(&files.list) {
            let message = format!("there are no apps, and {} has some", files.list.display());
            return refuse(message, Some("`save --force` replaces it all the same"));
        }
        let same = |(errand, _): &&mut (Errand, _)| errand.files == files && errand.is_named == is_named;
        let is_full = self.saving.next.len() >= WAITING_MAX;
        match self.saving.next.iter_mut().find(same) {
            Some((errand, newest)) => {
                *newest = apps;
                errand.waiting.extend(asked);
            }
            None if is_full => {
                return refuse(format!("{WAITING_MAX} other lists wait to be written"), Some("try again later"));
            }
            None => {
                let errand = Errand { files, is_named, waiting: asked.into_iter().collect() };
                self.saving.next.push_back((errand, apps));
            }
        }
        self.save_next();
    }

    fn save_next(&mut self) {
        if self.saving.under_way.is_some() {
            return;
        }
        let Some((errand, apps)) = self.saving.next.pop_front() else { return };
        let (files, done) = (errand.files.clone(), self.saving.done.0.clone());
        self.saving.under_way = Some(errand);
        let write = move || {
            // The loop may have left already.
            let _ = done.send(dump::write(&files.list, &files.backup, apps));
        };
        if let Err(error) = std::thread::Builder::new().name("save".into()).spawn(write) {
            let _own_end_is_open = self.saving.done.0.send(Err(error));
        }
    }

    /// A list is written, or could not be.
    pub(crate) fn saved(&mut self, done: &Written) {
        rpm_sys::fail::pass("list", "written");
        let errand = self.saving.under_way.take().expect("a list is written by an errand");
        let list = errand.files.list;
        if let Err(error) = done
            && errand.waiting.is_empty()
        {
            tracing::warn!("not saved: {} cannot be written: {error}", list.display());
        }
        let note = done.as_ref().ok().and_then(Option::as_ref).map(Aside::to_string);
        if let Some(note) = &note {
            tracing::warn!("{note}");
        }
        for (line, id) in errand.waiting {
            let reply = match (done, note.clone()) {
                (Ok(_), note) if errand.is_named => Reply::Saved { list: list.clone(), note },
                (Ok(_), Some(note)) => Reply::Noted { note },
                (Ok(_), None) => Reply::Done { workers: Vec::new() },
                (Err(error), _) => {
                    let message = format!("{} cannot be written: {error}", list.display());
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
