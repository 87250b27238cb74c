//! The table of apps and workers.

use ratatui::layout::Rect;
use ratatui::style::Style;
use rpm_ipc::{BetweenRuns, WorkerInfo};
use rpm_model::{Health, Status, WorkerId};

use super::canvas::{Canvas, width_of};
use crate::state::rows::{By, Sum, since_ms};
use crate::state::{Key, Shown, State};
use crate::text::{age, end, percent, plain, short, sparkline};
use crate::traffic::{WorkerTraffic, together};

/// What a column shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Name,
    Id,
    Status,
    Since,
    Cpu,
    CpuChart,
    Memory,
    MemoryChart,
    Restarts,
    Rate,
    P99,
    InFlight,
    Queue,
    /// How it ended last, and why it is down. Takes what is left.
    End,
}

/// One column; those that do not fit are left out, the highest `rank` first.
struct Column {
    cell: Cell,
    heading: &'static str,
    by: Option<By>,
    width: u16,
    right: bool,
    rank: u8,
}

#[rustfmt::skip]
const COLUMNS: [Column; 14] = [
    // Grows with the names.
    Column { cell: Cell::Name, heading: "  name", by: Some(By::Name), width: 8, right: false, rank: 0 },
    Column { cell: Cell::Id, heading: "id", by: Some(By::Id), width: 4, right: true, rank: 8 },
    // Grows with the numbers of workers.
    Column { cell: Cell::Status, heading: "status", by: Some(By::Status), width: 11, right: false, rank: 0 },
    Column { cell: Cell::Since, heading: "since", by: Some(By::Since), width: 5, right: true, rank: 3 },
    Column { cell: Cell::Cpu, heading: "cpu", by: Some(By::Cpu), width: 5, right: true, rank: 1 },
    Column { cell: Cell::CpuChart, heading: "", by: Some(By::Cpu), width: 10, right: false, rank: 12 },
    Column { cell: Cell::Memory, heading: "memory", by: Some(By::Memory), width: 8, right: true, rank: 2 },
    Column { cell: Cell::MemoryChart, heading: "", by: Some(By::Memory), width: 10, right: false, rank: 13 },
    Column { cell: Cell::Restarts, heading: "↺", by: Some(By::Restarts), width: 4, right: true, rank: 6 },
    Column { cell: Cell::Rate, heading: "req/s", by: None, width: 6, right: true, rank: 5 },
    Column { cell: Cell::P99, heading: "p99 ms", by: None, width: 6, right: true, rank: 7 },
    Column { cell: Cell::InFlight, heading: "in flight", by: None, width: 9, right: true, rank: 10 },
    Column { cell: Cell::Queue, heading: "queue", by: None, width: 5, right: true, rank: 9 },
    Column { cell: Cell::End, heading: "last exit", by: None, width: END_LEAST, right: false, rank: 4 },
];

/// The last exit takes at least this, or is left out; before there are charts it has a width that most ends fit in.
const END_LEAST: u16 = 11;
const END_GOOD: u16 = 24;
/// Names longer than this are cut.
const NAME_MAX: u16 = 30;

/// A column with its place on the canvas.
struct Placed {
    column: &'static Column,
    start: u16,
    width: u16,
}

pub(crate) fn draw(state: &State, canvas: &mut Canvas<'_>) {
    let theme = &state.theme;
    let placed = place(state, canvas.width());
    let visible = usize::from(canvas.height().saturating_sub(1));
    // In the heading, so that no row is covered.
    let more = more(state, visible);
    let free = canvas.width().saturating_sub(width_of(&more));
    for place in &placed {
        let is_sorted = place.column.by == Some(state.order.by) && !place.column.heading.is_empty();
        let arrow = if state.order.is_descending() { "▼" } else { "▲" };
        // The order of the list needs no mark.
        let mark = if is_sorted && state.order != Default::default() { arrow } else { "" };
        let heading = format!("{}{mark}", place.column.heading);
        let end = if place.column.right { place.width } else { width_of(&heading).min(place.width) };
        // Half a word says nothing.
        if place.start + end <= free {
            put(canvas, place, 0, &heading, theme.heading);
        }
    }
    canvas.put_right(free, 0, width_of(&more), &more, theme.dim);
    let Some(list) = state.list.as_ref().filter(|_| !state.rows.is_empty()) else {
        canvas.put(2, 1, nothing(state), theme.dim);
        return;
    };
    let on_screen = state.rows.iter().skip(state.top).take(visible);
    for (line, row) in (1..).zip(on_screen) {
        let Some(shown) = row.of(list) else { continue };
        let is_selected = Some(row.key) == state.selected;
        if is_selected {
            canvas.paint(line, theme.selected);
        }
        let sum = Sum::of(shown.workers);
        let traffic = together(&state.traffic, ids(&shown));
        for place in &placed {
            let (text, style) = cell(state, &shown, &sum, traffic.as_ref(), place);
            let style = if is_selected { style.patch(theme.selected) } else { style };
            put(canvas, place, line, &text, style);
        }
    }
}

/// Returns which rows are seen, where that is not all of them.
fn more(state: &State, visible: usize) -> String {
    let (first, all) = (state.top, state.rows.len());
    let last = (first + visible).min(all);
    if first == 0 && last == all { String::new() } else { format!(" {}–{last} of {all} ", first + 1) }
}

/// Returns what a click on a column of the heading sorts by.
pub(crate) fn column_at(state: &State, area: Rect, x: u16) -> Option<By> {
    let x = x.checked_sub(area.x)?;
    place(state, area.width).iter().find(|place| (place.start..=place.start + place.width).contains(&x))?.column.by
}

fn put(canvas: &mut Canvas<'_>, place: &Placed, row: u16, text: &str, style: Style) {
    if place.column.right {
        canvas.put_right(place.start, row, place.width, text, style);
    } else {
        canvas.put_within(place.start, row, place.width, text, style);
    }
}

fn ids(shown: &Shown<'_>) -> impl Iterator<Item = WorkerId> {
    shown.workers.iter().map(|worker| worker.id)
}

fn cell(
    state: &State,
    shown: &Shown<'_>,
    sum: &Sum,
    traffic: Option<&WorkerTraffic>,
    place: &Placed,
) -> (String, Style) {
    let theme = &state.theme;
    let figure = |figure: Option<String>| (figure.unwrap_or_default(), theme.text);
    match place.column.cell {
        Cell::Name => {
            let style = if matches!(shown.row.key, Key::App(_)) { theme.text } else { theme.dim };
            (name(shown), style)
        }
        Cell::Id => match shown.single() {
            Some(worker) => (worker.id.to_string(), theme.text),
            None => (format!("×{}", sum.workers), theme.dim),
        },
        Cell::Status => status(state, shown, sum),
        Cell::Since => {
            // Of several the youngest: what has just happened is what one looks for.
            let since = shown.workers.iter().filter_map(since_ms).max();
            figure(since.map(|since| age(state.now_ms.saturating_sub(since))))
        }
        Cell::Cpu => (percent(sum.cpu), if sum.cpu >= 0.05 { theme.text } else { theme.dim }),
        Cell::Memory => (sum.memory.to_string(), if sum.memory.0 > 0 { theme.text } else { theme.dim }),
        Cell::CpuChart => {
            let values: Vec<f64> =
                state.history.last(ids(shown), usize::from(place.width)).iter().map(|one| f64::from(one.cpu)).collect();
            // A busy single-threaded program fills it; with more it is scaled to the peak.
            let full = values.iter().copied().fold(100.0, f64::max);
            let last = values.last().copied().unwrap_or(0.0);
            (right(sparkline(values.iter().copied(), full), place.width), theme.level(last / full))
        }
        Cell::MemoryChart => {
            let samples = state.history.last(ids(shown), usize::from(place.width));
            let values = || samples.iter().map(|one| one.memory.0 as f64);
            let limit = shown.app.spec.max_memory_restart.map_or(0.0, |limit| limit.0 as f64 * sum.workers as f64);
            let full = values().fold(limit, f64::max);
            let share = if limit > 0.0 { sum.memory.0 as f64 / limit } else { 0.0 };
            (right(sparkline(values(), full), place.width), theme.level(share))
        }
        Cell::Restarts => (sum.restarts.to_string(), if sum.restarts > 0 { theme.passing } else { theme.dim }),
        Cell::Rate => figure(traffic.map(|traffic| short(traffic.requests_per_second))),
        Cell::P99 => figure(traffic.and_then(|traffic| traffic.p99_ms).map(short)),
        Cell::InFlight => figure(traffic.map(|traffic| traffic.in_flight.to_string())),
        Cell::Queue => match traffic {
            Some(traffic) if traffic.queue > 0 => (traffic.queue.to_string(), theme.passing),
            traffic => figure(traffic.map(|traffic| traffic.queue.to_string())),
        },
        Cell::End => last_end(state, shown),
    }
}

/// Moves a chart that is not full yet to the right: all end now.
fn right(chart: String, width: u16) -> String {
    let gap = usize::from(width.saturating_sub(width_of(&chart)));
    " ".repeat(gap) + &chart
}

fn name(shown: &Shown<'_>) -> String {
    let name = plain(&shown.app.spec.name);
    match (shown.row.key, shown.row.unfolded, shown.workers) {
        (Key::App(_), Some(true), _) => format!("▾ {name}"),
        (Key::App(_), Some(false), _) => format!("▸ {name}"),
        (Key::App(_), None, _) => format!("  {name}"),
        (Key::Worker(..), _, [worker, ..]) => {
            let branch = if shown.row.is_last { "└" } else { "├" };
            format!("  {branch} {name}:{}", worker.instance)
        }
        (Key::Worker(..), _, []) => name,
    }
}

/// Returns the word for a status, short enough for a column.
pub(super) fn word(status: Status) -> &'static str {
    match status {
        Status::WaitingRestart => "waiting",
        Status::Online => "online",
        Status::Launching => "launching",
        Status::Stopping => "stopping",
        Status::Stopped => "stopped",
        Status::Errored => "errored",
    }
}

/// Returns a sign that tells a status without colour.
fn sign(status: Status) -> &'static str {
    match status {
        Status::Online => "●",
        Status::Launching | Status::Stopping | Status::WaitingRestart => "◌",
        Status::Stopped => "○",
        Status::Errored => "✗",
    }
}

fn status(state: &State, shown: &Shown<'_>, sum: &Sum) -> (String, Style) {
    let theme = &state.theme;
    if let Some(worker) = shown.single() {
        if worker.health == Some(Health::Unhealthy) {
            return (format!("{} {}", sign(Status::Errored), Health::Unhealthy), theme.bad);
        }
        match shown.app.between_runs(worker) {
            Some(between @ BetweenRuns::Failed) => {
                return (format!("{} {}", sign(Status::Errored), between.word()), theme.bad);
            }
            Some(between @ BetweenRuns::Scheduled) => {
                return (format!("{} {}", sign(Status::Stopped), between.word()), theme.good);
            }
            None => {}
        }
        return (format!("{} {}", sign(worker.status), word(worker.status)), theme.status(worker.status));
    }
    let first = shown.workers.first().map(|worker| worker.status);
    let same = first.filter(|first| shown.workers.iter().all(|worker| worker.status == *first));
    match same {
        Some(Status::Online) | None => {
            let ill = shown.workers.iter().any(|worker| worker.health == Some(Health::Unhealthy));
            let (sign, style) = match (sum.online == sum.workers && !ill, sum.errored > 0 || ill) {
                (true, _) => (sign(Status::Online), theme.good),
                (false, true) => (sign(Status::Errored), theme.bad),
                (false, false) => (sign(Status::Launching), theme.passing),
            };
            (format!("{sign} {}/{} up", sum.online, sum.workers), style)
        }
        Some(status) => (format!("{} {}", sign(status), word(status)), theme.status(status)),
    }
}

/// Returns how a worker ended last and, when it is down, why; of several the one that is worst off.
fn last_end(state: &State, shown: &Shown<'_>) -> (String, Style) {
    let theme = &state.theme;
    let is_app = matches!(shown.row.key, Key::App(_));
    if is_app && shown.app.rolling {
        return ("being replaced".to_owned(), theme.passing);
    }
    let trouble = |worker: &&WorkerInfo| matches!(worker.status, Status::Errored | Status::WaitingRestart);
    let latest = || shown.workers.iter().max_by_key(|worker| worker.last_exit_at_ms);
    let Some(worker) = shown.workers.iter().find(trouble).or_else(latest) else { return Default::default() };
    let exit = worker.last_exit.map(|exit| exit.to_string());
    match worker.status {
        Status::Errored => (end(exit, worker.why.as_deref()), theme.bad),
        Status::WaitingRestart => (end(exit, worker.why.as_deref()), theme.passing),
        Status::Stopped => (end(exit, worker.why.as_deref()), theme.dim),
        Status::Online | Status::Launching | Status::Stopping => {
            let ago = worker.last_exit_at_ms.map(|at_ms| age(state.now_ms.saturating_sub(at_ms)));
            let text = match (exit, ago) {
                (Some(exit), Some(ago)) => format!("{exit}, {ago} ago"),
                (exit, _) => exit.unwrap_or_default(),
            };
            (text, theme.dim)
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

/// Returns the columns that fit, with their places.
fn place(state: &State, total: u16) -> Vec<Placed> {
    let has_traffic = !state.traffic.is_empty();
    let is_there = |column: &&Column| match column.cell {
        Cell::Rate | Cell::P99 | Cell::InFlight | Cell::Queue => has_traffic,
        Cell::Name | Cell::Id | Cell::Status | Cell::Since | Cell::Cpu | Cell::CpuChart | Cell::Memory => true,
        Cell::MemoryChart | Cell::Restarts | Cell::End => true,
    };
    let mut columns: Vec<(&'static Column, u16)> =
        COLUMNS.iter().filter(is_there).map(|column| (column, column.width)).collect();
    let (name, status) = widest(state);
    for (column, width) in &mut columns {
        match column.cell {
            Cell::Name => *width = name.clamp(column.width, NAME_MAX).min((total / 3).max(column.width)),
            Cell::Status => *width = status.max(column.width),
            _ => {}
        }
    }
    // One column of air on the left, one between two; the last needs none behind it.
    let used = |columns: &[(&Column, u16)]| columns.iter().map(|(_, width)| width + 1).sum::<u16>();
    while used(&columns) > total {
        let worst = (0..columns.len()).filter(|index| columns[*index].0.rank > 0);
        let Some(worst) = worst.max_by_key(|index| columns[*index].0.rank) else { break };
        columns.remove(worst);
    }
    // Why something is down says more than a chart: it is read, not guessed.
    let is_chart = |column: &Column| matches!(column.cell, Cell::CpuChart | Cell::MemoryChart);
    let end_width = |columns: &[(&Column, u16)]| END_LEAST + total.saturating_sub(used(columns));
    while end_width(&columns) < END_GOOD
        && let Some(chart) = columns.iter().rposition(|(column, _)| is_chart(column))
    {
        columns.remove(chart);
    }
    let left = total.saturating_sub(used(&columns));
    let mut start = 0;
    let place = |(column, width): (&'static Column, u16)| {
        let width = if column.cell == Cell::End { width + left } else { width };
        let placed = Placed { column, start: start + 1, width };
        start += width + 1;
        placed
    };
    columns.into_iter().map(place).collect()
}

/// Returns the columns that the longest name and the longest status take.
fn widest(state: &State) -> (u16, u16) {
    let Some(list) = &state.list else { return (0, 0) };
    let (mut name, mut most) = (0, 0);
    for app in &list.apps {
        let worker = match app.workers.iter().map(|worker| worker.instance).max() {
            Some(instance) if app.workers.len() > 1 => 3 + width_of(&instance.to_string()),
            _ => 0,
        };
        name = name.max(2 + width_of(&plain(&app.spec.name)) + worker);
        most = most.max(app.workers.len());
    }
    // "● 12/12 up"
    (name, 2 * width_of(&most.to_string()) + 6)
}
