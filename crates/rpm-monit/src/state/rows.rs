//! The rows of the table: apps, and under each that is unfolded its workers.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rpm_ipc::{AppInfo, List, WorkerInfo};
use rpm_model::{AppId, Bytes, Status, WorkerId};
use serde::{Deserialize, Serialize};

use super::filter::Filter;

/// Apps with more workers than this begin folded.
const UNFOLDED_MAX: usize = 8;

/// What a row stands for; a selection survives everything but the end of its app or worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Key {
    /// An app with all its workers.
    App(AppId),
    /// One of several workers of an app.
    Worker(AppId, WorkerId),
}

impl Key {
    pub(crate) fn app(self) -> AppId {
        match self {
            Key::App(app) | Key::Worker(app, _) => app,
        }
    }
}

/// One row, by its places in the list that it was made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) key: Key,
    app: usize,
    worker: Option<usize>,
    /// Of an app with several workers: whether they are shown below.
    pub(crate) unfolded: Option<bool>,
    /// Whether it is the last worker of its app.
    pub(crate) is_last: bool,
}

/// A row with what it stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) row: Row,
    pub(crate) app: &'a AppInfo,
    /// All workers of the app, or the one of this row; never empty.
    pub(crate) workers: &'a [WorkerInfo],
}

impl<'a> Shown<'a> {
    /// Returns the worker that this row is about, where it is about a single one.
    pub(crate) fn single(&self) -> Option<&'a WorkerInfo> {
        match self.workers {
            [one] => Some(one),
            _ => None,
        }
    }
}

impl Row {
    /// Returns the row with what it stands for; nothing for an app without workers, which has no row.
    pub(crate) fn of(self, list: &List) -> Option<Shown<'_>> {
        let app = list.apps.get(self.app)?;
        let workers = match self.worker {
            Some(worker) => app.workers.get(worker..=worker)?,
            None => &app.workers,
        };
        Some(Shown { row: self, app, workers })
    }
}

/// What the table is sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum By {
    /// The order in which the apps were started.
    #[default]
    Id,
    Name,
    Status,
    Since,
    Cpu,
    Memory,
    Restarts,
}

impl By {
    pub(crate) const ALL: [By; 7] = [By::Id, By::Name, By::Status, By::Since, By::Cpu, By::Memory, By::Restarts];

    pub(crate) fn name(self) -> &'static str {
        match self {
            By::Id => "id",
            By::Name => "name",
            By::Status => "status",
            By::Since => "since",
            By::Cpu => "cpu",
            By::Memory => "memory",
            By::Restarts => "restarts",
        }
    }

    pub(crate) fn next(self) -> By {
        let place = By::ALL.iter().position(|by| *by == self).unwrap_or_default();
        By::ALL[(place + 1) % By::ALL.len()]
    }

    /// Returns whether the largest comes first: it is what one looks for.
    fn is_descending(self) -> bool {
        match self {
            By::Cpu | By::Memory | By::Restarts => true,
            By::Id | By::Name | By::Status | By::Since => false,
        }
    }
}

/// By what, and which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) by: By,
    pub(crate) reversed: bool,
}

impl Order {
    /// Returns whether the largest comes first.
    pub(crate) fn is_descending(self) -> bool {
        self.by.is_descending() != self.reversed
    }

    fn compare(self, one: Figures<'_>, other: Figures<'_>) -> Ordering {
        let ordering = match self.by {
            By::Id => one.id.cmp(&other.id),
            By::Name => one.name.cmp(other.name),
            By::Status => one.status.cmp(&other.status),
            // The youngest first: the moment is the largest.
            By::Since => other.since_ms.cmp(&one.since_ms),
            By::Cpu => one.cpu.total_cmp(&other.cpu),
            By::Memory => one.memory.cmp(&other.memory),
            By::Restarts => one.restarts.cmp(&other.restarts),
        };
        let ordering = if self.is_descending() { ordering.reverse() } else { ordering };
        ordering.then(one.id.cmp(&other.id))
    }
}

/// What a table can be sorted by, of one worker or of several together.
#[derive(Debug, Clone, Copy)]
struct Figures<'a> {
    id: WorkerId,
    name: &'a str,
    /// What needs attention comes first.
    status: u8,
    since_ms: Option<u64>,
    cpu: f32,
    memory: Bytes,
    restarts: u32,
}

fn figures<'a>(app: &'a AppInfo, workers: &[WorkerInfo]) -> Figures<'a> {
    let urgency = |worker: &WorkerInfo| match worker.status {
        Status::Errored => 0,
        Status::WaitingRestart => 1,
        Status::Launching => 2,
        Status::Stopping => 3,
        Status::Online => 4,
        Status::Stopped => 5,
    };
    let sum = Sum::of(workers);
    Figures {
        id: workers.iter().map(|worker| worker.id).min().unwrap_or(WorkerId(u32::MAX)),
        name: &app.spec.name,
        status: workers.iter().map(urgency).min().unwrap_or(u8::MAX),
        since_ms: workers.iter().filter_map(since_ms).max(),
        cpu: sum.cpu,
        memory: sum.memory,
        restarts: sum.restarts,
    }
}

/// Several workers together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) workers: usize,
    pub(crate) online: usize,
    pub(crate) errored: usize,
    pub(crate) cpu: f32,
    pub(crate) memory: Bytes,
    pub(crate) restarts: u32,
}

impl Sum {
    pub(crate) fn of<'a>(workers: impl IntoIterator<Item = &'a WorkerInfo>) -> Self {
        let mut sum = Self::default();
        for worker in workers {
            sum.workers += 1;
            sum.online += usize::from(worker.status == Status::Online);
            sum.errored += usize::from(worker.status == Status::Errored);
            sum.cpu += worker.cpu;
            sum.memory.0 += worker.memory.0;
            sum.restarts = sum.restarts.saturating_add(worker.restarts);
        }
        sum
    }
}

/// Returns the moment since which a worker is what it is: started, or ended.
pub(crate) fn since_ms(worker: &WorkerInfo) -> Option<u64> {
    match worker.status {
        Status::Online | Status::Launching | Status::Stopping => worker.started_at_ms,
        Status::Stopped | Status::Errored | Status::WaitingRestart => worker.last_exit_at_ms,
    }
}

/// Which apps the user has folded or unfolded; the others do as their size says.
#[derive(Debug, Default)]
pub(crate) struct Folds(BTreeMap<AppId, bool>);

impl Folds {
    pub(crate) fn is_unfolded(&self, app: &AppInfo) -> bool {
        self.0.get(&app.id).copied().unwrap_or(app.workers.len() <= UNFOLDED_MAX)
    }

    pub(crate) fn set(&mut self, app: AppId, unfolded: bool) {
        self.0.insert(app, unfolded);
    }

    /// Forgets the apps that are gone.
    pub(crate) fn retain(&mut self, list: &List) {
        self.0.retain(|id, _| list.apps.iter().any(|app| app.id == *id));
    }
}

/// Makes the rows.
pub(crate) fn rows(list: &List, filter: &Filter, order: Order, folds: &Folds) -> Vec<Row> {
    let mut apps: Vec<usize> = (0..list.apps.len()).filter(|app| !list.apps[*app].workers.is_empty()).collect();
    apps.sort_by(|one, other| {
        let of = |app: usize| figures(&list.apps[app], &list.apps[app].workers);
        order.compare(of(*one), of(*other))
    });
    let mut rows = Vec::new();
    for place in apps {
        let app = &list.apps[place];
        let mut workers: Vec<usize> =
            (0..app.workers.len()).filter(|worker| filter.lets_through(app, &app.workers[*worker])).collect();
        if workers.is_empty() {
            continue;
        }
        let key = Key::App(app.id);
        if app.workers.len() == 1 {
            rows.push(Row { key, app: place, worker: None, unfolded: None, is_last: false });
            continue;
        }
        // A filter that picks some of the workers shows which.
        let unfolded = folds.is_unfolded(app) || workers.len() < app.workers.len();
        rows.push(Row { key, app: place, worker: None, unfolded: Some(unfolded), is_last: false });
        if !unfolded {
            continue;
        }
        workers.sort_by(|one, other| {
            let of = |worker: usize| figures(app, std::slice::from_ref(&app.workers[worker]));
            order.compare(of(*one), of(*other))
        });
        let last = workers.len() - 1;
        rows.extend(workers.iter().enumerate().map(|(index, worker)| Row {
            key: Key::Worker(app.id, app.workers[*worker].id),
            app: place,
            worker: Some(*worker),
            unfolded: None,
            is_last: index == last,
        }));
    }
    rows
}
