//! The list as a table: one row a worker.

use rpm_ipc::{AppInfo, List, WorkerInfo};

use crate::say::GREY;
use crate::screens::boxes::{self, Cell};
use crate::screens::columns::{self, Column};
use crate::screens::format::{self, BOLD, HEAD};
use crate::screens::sort::{self, Order};

/// Draws the table for a screen of `width` columns.
pub fn table(list: &List, order: Order, width: usize, now_ms: u64) -> String {
    let rows = sort::rows(list, order, now_ms);
    let cells: Vec<[Cell; columns::ALL.len()]> =
        rows.iter().map(|(app, worker)| columns::ALL.map(|column| cell(column, app, worker, now_ms))).collect();
    let mut longest = [0; columns::ALL.len()];
    for row in &cells {
        for (longest, cell) in longest.iter_mut().zip(row) {
            *longest = cell.width().max(*longest);
        }
    }
    let longest = |column: Column| {
        let index = columns::ALL.iter().position(|other| *other == column);
        longest[index.expect("every column is in ALL")]
    };
    let fitted = columns::fit(width, longest);
    let shown: Vec<Column> = fitted.iter().map(|(column, _)| *column).collect();
    let widths: Vec<usize> = fitted.iter().map(|(_, width)| *width).collect();
    let head: Vec<Cell> = fitted.iter().map(|(column, _)| Cell::styled(column.head(), HEAD)).collect();
    let rows: Vec<Vec<Cell>> = cells
        .into_iter()
        .map(|row| row.into_iter().zip(columns::ALL).filter(|(_, column)| shown.contains(column)))
        .map(|row| row.map(|(cell, _)| cell).collect())
        .collect();
    boxes::draw(Some(&head), &rows, &widths)
}

fn cell(column: Column, app: &AppInfo, worker: &WorkerInfo, now_ms: u64) -> Cell {
    let spec = &app.spec;
    match column {
        Column::Id => Cell::styled(worker.id.to_string(), HEAD),
        Column::Name => Cell::plain(format::one_line(&spec.name)),
        Column::Namespace => Cell::plain(format::one_line(&spec.namespace)),
        Column::Version => Cell::plain(format::one_line(spec.version.as_deref().unwrap_or("N/A"))),
        Column::Mode => Cell::styled(format::mode(spec.exec_mode), format::mode_style(spec.exec_mode)),
        Column::Pid => Cell::plain(worker.pid.unwrap_or(0).to_string()),
        Column::Uptime => Cell::plain(uptime(worker, now_ms)),
        Column::Restarts => Cell::plain(worker.restarts.to_string()),
        Column::Status => {
            let (word, style) = format::status(app, worker);
            Cell::styled(word, style)
        }
        Column::Health => health(app, worker),
        Column::Cpu => Cell::plain(format::cpu(worker.cpu)),
        Column::Memory => Cell::plain(worker.memory.to_string()),
        Column::User => Cell::styled(format::one_line(&worker.user), BOLD),
        Column::Watching => match watches(app) {
            true => Cell::styled("enabled", crate::say::GREEN.bold()),
            false => Cell::styled("disabled", GREY),
        },
    }
}

/// Returns how a worker fares whose health is checked; nothing of others.
fn health(app: &AppInfo, worker: &WorkerInfo) -> Cell {
    match worker.health.filter(|_| app.spec.health.is_some()) {
        Some(health) => Cell::styled(health.as_str(), format::health_style(health)),
        None => Cell::plain(""),
    }
}

/// Returns how long the process runs; `0` where there is none, as in PM2.
pub fn uptime(worker: &WorkerInfo, now_ms: u64) -> String {
    match (worker.pid, worker.started_at_ms) {
        (Some(_), Some(since_ms)) => format::uptime(since_ms, now_ms),
        (None, _) | (_, None) => "0".into(),
    }
}

/// Returns whether a change of files restarts the app.
pub fn watches(app: &AppInfo) -> bool {
    app.spec.watch.enabled
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rpm_model::{Bytes, ExecMode, Status};

    use super::*;
    use crate::screens::samples::{NOW_MS, app, list};

    fn sample() -> List {
        let mut api = app(1, "api", "default", &[0, 1]);
        api.spec.exec_mode = ExecMode::Cluster;
        let mut job = app(2, "a-job-with-quite-a-long-name-for-a-table", "nightly", &[3]);
        job.workers[0].status = Status::Stopped;
        job.workers[0].pid = None;
        job.workers[0].memory = Bytes(0);
        job.spec.watch.enabled = true;
        let mut slow = app(3, "slow", "default", &[12]);
        slow.workers[0].status = Status::WaitingRestart;
        slow.workers[0].restarts = 1234;
        list(vec![api, job, slow])
    }

    /// Compares with a file in `tests/tables`; RPM_BLESS=1 writes it.
    fn assert_looks_like(name: &str, drawn: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables").join(name);
        if std::env::var_os("RPM_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, drawn).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        assert_eq!(drawn, expected, "{} differs", path.display());
    }

    fn drawn(list: &List, width: usize) -> String {
        anstream::adapter::strip_str(&table(list, Order::default(), width, NOW_MS)).to_string()
    }

    #[test]
    fn the_table_fits_every_screen() {
        for width in [60, 80, 100, 120, 133, 134, 160, 200] {
            let drawn = drawn(&sample(), width);
            for line in drawn.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            assert_looks_like(&format!("{width}.txt"), &drawn);
        }
    }

    #[test]
    fn with_room_it_is_pm2s_table() {
        let mut api = app(1, "api", "default", &[0]);
        api.spec.exec_mode = ExecMode::Cluster;
        let mut job = app(2, "job", "n", &[3]);
        job.workers[0].status = Status::Stopped;
        job.workers[0].pid = None;
        job.workers[0].memory = Bytes(0);
        assert_looks_like("pm2.txt", &drawn(&list(vec![api, job]), 150));
    }

    #[test]
    fn a_name_cannot_act_on_the_terminal() {
        let odd = app(1, "a\u{1b}[2Jb\nc", "default", &[0]);
        assert!(!table(&list(vec![odd]), Order::default(), 80, NOW_MS).contains("\u{1b}[2J"));
    }
}
