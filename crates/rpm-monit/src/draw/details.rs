//! All about the selected worker.

use ratatui::style::Style;
use rpm_ipc::{AppInfo, Contact, WorkerInfo};
use rpm_model::{Bytes, ExecMode};

use super::Theme;
use super::canvas::{Canvas, width_of};
use crate::state::State;
use crate::text::{age, percent, plain, sparkline};

/// Width of a chart in the narrow layout; two stand side by side.
const CHART: u16 = 24;

/// Draws one fact a line, for a pane of its own.
pub(crate) fn draw_all(state: &State, theme: &Theme, canvas: &mut Canvas<'_>) {
    let Some((app, worker)) = state.current() else { return };
    canvas.rule(&heading(app, worker), theme.dim(), theme.heading());
    let room = canvas.width().saturating_sub(20).min(120);
    let mut row = 1;
    for (name, bars, value) in charts(state, worker, room) {
        let column = canvas.put(1, row, name, theme.dim()) + 1;
        let column = canvas.put(column.max(9), row, &bars, theme.chart()) + 1;
        canvas.put(column, row, &value, Style::new());
        row += 1;
    }
    let facts = facts(state, app, worker);
    let scroll = if state.view == crate::state::View::Details { state.scroll } else { 0 };
    let last = facts.len().saturating_sub(1);
    for (name, value) in facts.iter().skip(scroll.min(last)) {
        let column = canvas.put(1, row, name, theme.dim()) + 1;
        canvas.put(column.max(12), row, value, Style::new());
        row += 1;
    }
}

/// Draws as many facts as fit, side by side.
pub(crate) fn draw_packed(state: &State, theme: &Theme, canvas: &mut Canvas<'_>) {
    let Some((app, worker)) = state.current() else { return };
    canvas.rule(&heading(app, worker), theme.dim(), theme.heading());
    let mut column = 1;
    for (name, bars, value) in charts(state, worker, CHART.min(canvas.width().saturating_sub(24) / 2)) {
        column = canvas.put(column, 1, name, theme.dim()) + 1;
        column = canvas.put(column, 1, &bars, theme.chart()) + 1;
        column = canvas.put(column, 1, &value, Style::new()) + 2;
    }
    let (mut column, mut row) = (1, 2);
    for (name, value) in facts(state, app, worker) {
        let needed = width_of(name.as_str()) + 1 + width_of(&value);
        if column > 1 && column + needed > canvas.width() {
            (column, row) = (1, row + 1);
        }
        column = canvas.put(column, row, &name, theme.dim()) + 1;
        column = canvas.put(column, row, &value, Style::new()) + 2;
    }
}

fn heading(app: &AppInfo, worker: &WorkerInfo) -> String {
    format!("{} {}", plain(&app.spec.name), worker.id)
}

/// Returns name, bars and present value of CPU and memory.
fn charts(state: &State, worker: &WorkerInfo, width: u16) -> [(&'static str, String, String); 2] {
    let samples = || state.history.last(worker.id, usize::from(width));
    // A busy single-threaded program fills the chart; with more threads it is scaled to the peak.
    let cpu_full = samples().map(|sample| f64::from(sample.cpu)).fold(100.0, f64::max);
    let memory_full = samples().map(|sample| sample.memory.0 as f64).fold(0.0, f64::max);
    [
        ("cpu", sparkline(samples().map(|sample| f64::from(sample.cpu)), cpu_full), percent(worker.cpu)),
        ("memory", sparkline(samples().map(|sample| sample.memory.0 as f64), memory_full), worker.memory.to_string()),
    ]
}

/// Returns what is known, most telling first.
fn facts(state: &State, app: &AppInfo, worker: &WorkerInfo) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
    let ago = |at_ms: u64| format!("{} ago", age(state.now_ms.saturating_sub(at_ms)));
    if let Some(why) = &worker.why {
        fact("why", plain(why));
    }
    fact("pid", worker.pid.map_or("none".into(), |pid| pid.to_string()));
    fact("mode", mode(app.spec.exec_mode).into());
    fact("namespace", plain(&app.spec.namespace));
    let unstable = if worker.unstable > 0 { format!(" ({} unstable)", worker.unstable) } else { String::new() };
    fact("restarts", format!("{}{unstable}", worker.restarts));
    if let (Some(cause), Some(started)) = (&worker.cause, worker.started_at_ms) {
        fact("started", format!("{}, by {}", ago(started), plain(cause)));
    }
    if let Some(exit) = worker.last_exit {
        let when = worker.last_exit_at_ms.map_or(String::new(), |at_ms| format!(", {}", ago(at_ms)));
        fact("last exit", format!("{exit}{when}"));
    }
    if let Some(backoff) = worker.backoff_ms {
        fact("backoff", format!("{backoff} ms"));
    }
    for (name, value) in metrics(&worker.contact) {
        fact(&name, value);
    }
    if let Some(limit) = app.spec.max_memory_restart {
        fact("max memory", Bytes::to_string(&limit));
    }
    fact("instance", worker.instance.to_string());
    if app.rolling {
        fact("roll", "under way".into());
    }
    fact("user", plain(&worker.user));
    if let Some(version) = &app.spec.version {
        fact("version", plain(version));
    }
    fact("script", plain(&app.spec.script.to_string_lossy()));
    for (name, path) in [("out", &worker.out_log), ("err", &worker.err_log), ("log", &worker.combined_log)] {
        if let Some(path) = path {
            fact(name, plain(&path.to_string_lossy()));
        }
    }
    facts
}

/// Returns the metrics that the app reports of itself: `{"Heap Size": {"value": "12.3", "unit": "MiB"}}`.
fn metrics(contact: &Contact) -> Vec<(String, String)> {
    let Some(monitor) = contact.get("axm_monitor").and_then(|monitor| monitor.as_object()) else { return Vec::new() };
    let shown = |(name, metric): (&String, &_)| {
        let metric: &serde_json::Value = metric;
        let value = metric.get("value")?;
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let unit = metric.get("unit").and_then(|unit| unit.as_str()).unwrap_or_default();
        let text = if unit.is_empty() { value } else { format!("{value} {unit}") };
        Some((plain(name), plain(&text)))
    };
    monitor.iter().filter_map(shown).collect()
}

fn mode(mode: ExecMode) -> &'static str {
    match mode {
        ExecMode::Fork => "fork",
        ExecMode::Cluster => "cluster",
        ExecMode::Socket => "socket",
        ExecMode::Proxy => "proxy",
    }
}
