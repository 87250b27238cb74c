//! What has happened, the newest below.

use super::canvas::Canvas;
use crate::state::{Pane, State};
use crate::text::{clock, count, plain};
use ratatui::style::Style;

/// The longest name shown whole.
const NAME_MAX: u16 = 20;

/// Draws the events that end `back` before the newest. `pane` is given where the pane could be another one.
pub(crate) fn draw(state: &State, canvas: &mut Canvas<'_>, back: usize, pane: Option<Pane>) {
    let theme = &state.theme;
    match pane {
        Some(pane) => {
            let about = if back > 0 { format!("{} below", count(back, "event")) } else { String::new() };
            super::tabs(state, canvas, pane, &about);
        }
        None => canvas.rule("events", theme.dim, theme.heading),
    }
    let visible = usize::from(canvas.height().saturating_sub(1));
    if state.events.is_empty() {
        canvas.put(1, 1, "nothing has happened since this began", theme.dim);
        return;
    }
    let end = state.events.len().saturating_sub(back).max(visible.min(state.events.len()));
    let first = end.saturating_sub(visible);
    for (row, event) in (1..).zip(state.events.range(first..end)) {
        let column = canvas.put(1, row, &clock(event.at_ms, state.zone), theme.dim) + 1;
        let width = NAME_MAX.min(canvas.width() / 3);
        let mut column = column;
        if let Some(app) = &event.app {
            column = canvas.put_within(column, row, width, &plain(app), theme.text) + 1;
        }
        if let Some(worker) = event.worker {
            column = canvas.put(column, row, &worker.to_string(), theme.worker(worker.0)) + 1;
        }
        let column =
            canvas.put(column, row, &plain(&event.event), style(state, &event.event, event.detail.as_deref())) + 1;
        let by = event.by.as_deref().map(|by| format!("by {by}"));
        let rest: Vec<&str> = [event.detail.as_deref(), by.as_deref()].into_iter().flatten().collect();
        canvas.put(column, row, &plain(&rest.join(" ")), theme.dim);
    }
}

fn style(state: &State, event: &str, detail: Option<&str>) -> Style {
    let theme = &state.theme;
    match event {
        "online" => theme.good,
        "exit" if detail == Some("exit code 0") => theme.text,
        "exit" | "restart overlimit" => theme.bad,
        "restart" | "stopping" | "start" => theme.passing,
        _ => theme.text,
    }
}
