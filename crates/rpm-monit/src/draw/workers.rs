//! The table of workers.

use rpm_ipc::{AppInfo, WorkerInfo};
use rpm_model::Status;

use super::Theme;
use super::canvas::{Canvas, width_of};
use crate::state::State;
use crate::text::{age, percent, plain};

/// One column; those that do not fit are left out, the highest `rank` first.
struct Column {
    heading: &'static str,
    width: u16,
    right: bool,
    rank: u8,
}

const COLUMNS: [Column; 7] = [
    Column { heading: "id", width: 4, right: true, rank: 1 },
    // Grows with the names.
    Column { heading: "name", width: 8, right: false, rank: 0 },
    Column { heading: "status", width: 9, right: false, rank: 0 },
    Column { heading: "cpu", width: 5, right: true, rank: 2 },
    Column { heading: "memory", width: 8, right: true, rank: 3 },
    Column { heading: "↺", width: 4, right: true, rank: 5 },
    // Takes what is left: the reason may be long.
    Column { heading: "uptime", width: 7, right: false, rank: 4 },
];
const NAME: usize = 1;
const STATUS: usize = 2;
const LAST: usize = 6;
/// Names longer than this are cut.
const NAME_MAX: u16 = 24;

pub(crate) fn draw(state: &State, theme: &Theme, canvas: &mut Canvas<'_>) {
    let rows: Vec<(&AppInfo, &WorkerInfo)> = state.rows().collect();
    let widths = widths(&rows, canvas.width());
    let place = |canvas: &mut Canvas<'_>, row: u16, cells: [&str; 7], styles: [ratatui::style::Style; 7]| {
        let mut column = 1;
        for (index, width) in widths.iter().enumerate() {
            let Some(width) = *width else { continue };
            if COLUMNS[index].right {
                canvas.put_right(column, row, width, cells[index], styles[index]);
            } else {
                canvas.put_within(column, row, width, cells[index], styles[index]);
            }
            column += width + 1;
        }
    };

    place(canvas, 0, COLUMNS.map(|column| column.heading), [theme.heading(); 7]);
    if rows.is_empty() {
        canvas.put(1, 1, nothing(state), theme.dim());
        return;
    }
    let selected = rows.iter().position(|(_, worker)| Some(worker.id) == state.selected).unwrap_or(0);
    let visible = usize::from(canvas.height().saturating_sub(1));
    // The selected row is in the middle where the list is longer than the pane.
    let first = selected.saturating_sub(visible / 2).min(rows.len().saturating_sub(visible));
    for (row, (index, (app, worker))) in rows.iter().enumerate().skip(first).take(visible).enumerate() {
        let row = row as u16 + 1;
        let last = last_cell(state.now_ms, worker);
        let cells = [
            &worker.id.to_string(),
            &*plain(&app.spec.name),
            worker.status.as_str(),
            &percent(worker.cpu),
            &worker.memory.to_string(),
            &worker.restarts.to_string(),
            &last,
        ];
        let mut styles = [ratatui::style::Style::new(); 7];
        styles[STATUS] = theme.status(worker.status);
        if worker.status == Status::Errored {
            styles[LAST] = theme.bad();
        }
        if state.whole && app.id == rows[selected].0.id {
            // What a deed on the whole app would touch.
            styles[NAME] = theme.heading();
        }
        if index == selected {
            canvas.paint(row, theme.selected());
            styles = [theme.selected(); 7];
        }
        place(canvas, row, cells, styles);
    }
}

/// Returns how long it is up, or why it is not.
fn last_cell(now_ms: u64, worker: &WorkerInfo) -> String {
    match worker.status {
        Status::Online | Status::Launching | Status::Stopping => {
            worker.started_at_ms.map_or(String::new(), |started| age(now_ms.saturating_sub(started)))
        }
        Status::Stopped | Status::Errored | Status::WaitingRestart => {
            let why = worker.why.as_deref().map(plain);
            // The reason mostly begins with the end itself.
            let exit = worker.last_exit.map(|exit| exit.to_string());
            let exit = exit.filter(|exit| why.as_ref().is_none_or(|why| !why.contains(exit)));
            [exit, why].into_iter().flatten().collect::<Vec<_>>().join(", ")
        }
    }
}

fn nothing(state: &State) -> &'static str {
    match (&state.list, state.filter.is_empty()) {
        (None, _) => "asking the daemon …",
        (Some(_), true) => "nothing is running; `rpm start app.js` starts something",
        (Some(_), false) => "nothing matches the filter",
    }
}

/// Returns the width of each column that is shown.
fn widths(rows: &[(&AppInfo, &WorkerInfo)], total: u16) -> [Option<u16>; 7] {
    let mut widths: [Option<u16>; 7] = std::array::from_fn(|index| Some(COLUMNS[index].width));
    let longest = |cell: fn(&(&AppInfo, &WorkerInfo)) -> u16| rows.iter().map(cell).max().unwrap_or(0);
    let name = longest(|(app, _)| width_of(&plain(&app.spec.name))).clamp(COLUMNS[NAME].width, NAME_MAX);
    let status = longest(|(_, worker)| width_of(worker.status.as_str())).max(COLUMNS[STATUS].width);
    widths[NAME] = Some(name);
    widths[STATUS] = Some(status);
    let used = |widths: &[Option<u16>; 7]| 1 + widths.iter().flatten().map(|width| width + 1).sum::<u16>();
    // The last column needs no gap behind it.
    while used(&widths) > total + 1 {
        let least = (0..widths.len()).filter(|index| widths[*index].is_some() && COLUMNS[*index].rank > 0);
        let Some(index) = least.max_by_key(|index| COLUMNS[*index].rank) else { break };
        widths[index] = None;
    }
    let left = (total + 1).saturating_sub(used(&widths));
    if let Some(last) = &mut widths[LAST] {
        *last += left;
    }
    widths
}
