//! All about what is selected: charts, and facts.

use rpm_ipc::{Contact, WorkerInfo};
use rpm_model::{Bytes, ExecMode};

use super::canvas::{Canvas, width_of};
use super::chart;
use crate::layout::Split;
use crate::state::rows::Sum;
use crate::state::{Pane, Shown, State};
use crate::text::{age, count, end, percent, plain, short, sparkline};
use crate::traffic::together;

/// Width of a chart in the narrow layout; two stand side by side.
const CHART: u16 = 24;
/// From this width on two charts stand side by side.
const ABREAST: u16 = 90;
/// Charts are no wider than there is history.
const CHART_MAX: u16 = 300;

/// Draws it in a pane that could be another one.
pub(crate) fn draw_pane(state: &State, canvas: &mut Canvas<'_>) {
    let about = state.current().map(|shown| heading(&shown)).unwrap_or_default();
    super::tabs(state, canvas, Pane::Details, &about);
    body(state, canvas);
}

/// Draws it in a pane of its own.
pub(crate) fn draw_all(state: &State, canvas: &mut Canvas<'_>) {
    let Some(shown) = state.current() else { return };
    canvas.rule(&heading(&shown), state.theme.dim, state.theme.heading);
    body(state, canvas);
}

fn body(state: &State, canvas: &mut Canvas<'_>) {
    let Some(shown) = state.current() else { return };
    let theme = &state.theme;
    let area = canvas.area();
    let (_, area) = area.split_top(1);
    let facts = facts(state, &shown);
    let abreast = area.width >= ABREAST;
    // Facts first, but a chart takes what they leave, and a third in any case.
    let spare = area.height.saturating_sub(facts.len() as u16).max(area.height / 3);
    let each = if abreast { spare } else { spare / 2 }.clamp(2, 9);
    let charts = charts(state, &shown, area.width.min(CHART_MAX));
    let total = if abreast { each } else { 2 * each };
    let (top, rest) = area.split_top(total.min(area.height));
    let halves = if abreast {
        let (left, right) = top.split_right(top.width / 2);
        [left, right]
    } else {
        let (upper, lower) = top.split_top(each);
        [upper, lower]
    };
    for (chart, half) in charts.iter().zip(halves) {
        let mut canvas = canvas.within(half);
        let column = canvas.put(1, 0, chart.name, theme.dim) + 1;
        let column = canvas.put(column, 0, &chart.now, theme.heading) + 2;
        canvas.put(column, 0, &chart.about, theme.dim);
        let (_, plot) = half.split_top(1);
        let plot = ratatui::layout::Rect { x: plot.x + 1, width: plot.width.saturating_sub(2), ..plot };
        chart::draw(&chart.values, chart.full, chart.levels, theme, &mut canvas.within(plot));
    }
    let mut canvas = canvas.within(rest);
    let visible = usize::from(canvas.height());
    let first = state.scroll.min(facts.len().saturating_sub(visible));
    for (row, (name, value)) in (0..).zip(facts.iter().skip(first)) {
        let column = canvas.put(1, row, name, theme.dim) + 1;
        let style = if *name == "why" { theme.bad } else { theme.text };
        canvas.put(column.max(13), row, value, style);
    }
}

/// Draws as many facts as fit, side by side.
pub(crate) fn draw_packed(state: &State, canvas: &mut Canvas<'_>) {
    let Some(shown) = state.current() else { return };
    let theme = &state.theme;
    canvas.rule(&heading(&shown), theme.dim, theme.heading);
    let width = CHART.min(canvas.width().saturating_sub(24) / 2);
    let mut column = 1;
    for chart in charts(state, &shown, width) {
        column = canvas.put(column, 1, chart.name, theme.dim) + 1;
        let share = chart.values.last().copied().unwrap_or(0.0) / chart.full.max(1.0);
        let style = if chart.levels { theme.level(share) } else { theme.chart[0] };
        column = canvas.put(column, 1, &sparkline(chart.values.iter().copied(), chart.full), style) + 1;
        column = canvas.put(column, 1, &chart.now, theme.text) + 2;
    }
    let (mut column, mut row) = (1, 2);
    for (name, value) in facts(state, &shown) {
        let needed = width_of(&name) + 1 + width_of(&value);
        if column > 1 && column + needed > canvas.width() {
            (column, row) = (1, row + 1);
        }
        column = canvas.put(column, row, &name, theme.dim) + 1;
        let style = if name == "why" { theme.bad } else { theme.text };
        column = canvas.put(column, row, &value, style) + 2;
    }
}

fn heading(shown: &Shown<'_>) -> String {
    let name = plain(&shown.app.spec.name);
    match shown.single() {
        Some(worker) => format!("{name} {}", worker.id),
        None => format!("{name}, {}", count(shown.workers.len(), "worker")),
    }
}

/// One figure over time.
struct Chart {
    name: &'static str,
    /// Its present value.
    now: String,
    about: String,
    values: Vec<f64>,
    /// The value that fills the chart.
    full: f64,
    /// Whether much is bad.
    levels: bool,
}

fn charts(state: &State, shown: &Shown<'_>, width: u16) -> [Chart; 2] {
    let samples = state.history.last(shown.workers.iter().map(|worker| worker.id), usize::from(width));
    let sum = Sum::of(shown.workers);
    let cpu: Vec<f64> = samples.iter().map(|sample| f64::from(sample.cpu)).collect();
    let memory: Vec<f64> = samples.iter().map(|sample| sample.memory.0 as f64).collect();
    let peak = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    // A busy single-threaded program fills the chart; with more threads it is scaled to the peak.
    let cpu_full = peak(&cpu).max(100.0);
    let limit = shown.app.spec.max_memory_restart.map(|limit| limit.0 as f64 * sum.workers as f64);
    let memory_peak = peak(&memory);
    let of_limit = limit.map_or(String::new(), |limit| format!(", limit {}", Bytes(limit as u64)));
    [
        Chart {
            name: "cpu",
            now: percent(sum.cpu),
            about: format!("peak {}", percent(peak(&cpu) as f32)),
            values: cpu,
            full: cpu_full,
            levels: true,
        },
        Chart {
            name: "memory",
            now: sum.memory.to_string(),
            about: format!("peak {}{of_limit}", Bytes(memory_peak as u64)),
            values: memory,
            full: memory_peak.max(limit.unwrap_or(0.0)),
            levels: limit.is_some(),
        },
    ]
}

/// Returns what is known, most telling first.
fn facts(state: &State, shown: &Shown<'_>) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
    let (app, sum) = (shown.app, Sum::of(shown.workers));
    match shown.single() {
        Some(worker) => of_worker(state, worker, &mut fact),
        None => {
            fact("online", format!("{} of {}", sum.online, sum.workers));
            if sum.errored > 0 {
                fact("errored", sum.errored.to_string());
            }
            fact("restarts", sum.restarts.to_string());
            let down = shown.workers.iter().find_map(|worker| Some((worker, worker.why.as_deref()?)));
            if let Some((worker, why)) = down {
                fact("why", format!("worker {}: {}", worker.id, plain(why)));
            }
        }
    }
    if let Some(traffic) = together(&state.traffic, shown.workers.iter().map(|worker| worker.id)) {
        fact("requests", format!("{} a second", short(traffic.requests_per_second)));
        if let Some(p99_ms) = traffic.p99_ms {
            fact("p99", format!("{} ms", short(p99_ms)));
        }
        fact("in flight", format!("{}, {} in the queue", traffic.in_flight, traffic.queue));
    }
    if let Some(waiting) = super::bottom::waiting(app) {
        fact("canary", waiting);
    } else if app.rolling {
        fact("roll", "under way".into());
    }
    if let (Some(now), Some(policy)) = (&app.autoscale, &app.spec.autoscale) {
        let state = if now.is_on { plain(&now.standing) } else { "off: people decide".to_owned() };
        fact("autoscale", format!("{} to {}: {state}", policy.min, policy.max));
    }
    if let Some(at_ms) = app.next_run_ms {
        let name = if app.spec.job.is_some() { "next run" } else { "restart" };
        fact(name, format!("in {}", age(at_ms.saturating_sub(state.now_ms))));
    }
    fact("mode", mode(app.spec.exec_mode).into());
    fact("namespace", plain(&app.spec.namespace));
    if let Some(limit) = app.spec.max_memory_restart {
        fact("max memory", Bytes::to_string(&limit));
    }
    if let Some(worker) = shown.workers.first() {
        fact("user", plain(&worker.user));
    }
    if let Some(version) = &app.spec.version {
        fact("version", plain(version));
    }
    fact("script", plain(&app.spec.script.to_string_lossy()));
    if let Some(worker) = shown.single() {
        for (name, path) in [("out", &worker.out_log), ("err", &worker.err_log), ("log", &worker.combined_log)] {
            if let Some(path) = path {
                fact(name, plain(&path.to_string_lossy()));
            }
        }
    }
    facts
}

fn of_worker(state: &State, worker: &WorkerInfo, fact: &mut impl FnMut(&str, String)) {
    let ago = |at_ms: u64| format!("{} ago", age(state.now_ms.saturating_sub(at_ms)));
    let exit = worker.last_exit.map(|exit| exit.to_string());
    if worker.why.is_some() {
        fact("why", end(exit.clone(), worker.why.as_deref()));
    }
    if let Some(health) = worker.health {
        let found = worker.check.as_ref().map(|check| format!(", {}", plain(&check.text))).unwrap_or_default();
        fact("health", format!("{health}{found}"));
    }
    fact("pid", worker.pid.map_or("none".into(), |pid| pid.to_string()));
    let unstable = if worker.unstable > 0 { format!(" ({} unstable)", worker.unstable) } else { String::new() };
    fact("restarts", format!("{}{unstable}", worker.restarts));
    if let (Some(cause), Some(started)) = (&worker.cause, worker.started_at_ms) {
        fact("started", format!("{}, by {}", ago(started), plain(cause)));
    }
    if let Some(exit) = exit {
        let when = worker.last_exit_at_ms.map_or(String::new(), |at_ms| format!(", {}", ago(at_ms)));
        fact("last exit", format!("{exit}{when}"));
    }
    if let Some(backoff) = worker.backoff_ms {
        fact("backoff", format!("{backoff} ms"));
    }
    for (name, value) in metrics(&worker.contact) {
        fact(&name, value);
    }
    fact("instance", worker.instance.to_string());
    if worker.output_lost > 0 {
        fact("output lost", Bytes(worker.output_lost).to_string());
    }
    if let Some(trouble) = &worker.log_trouble {
        fact("log trouble", plain(trouble));
    }
    if let Some(why) = &worker.not_limited {
        fact("no limits", plain(why));
    }
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
