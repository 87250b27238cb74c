//! The selected worker's log.

use ratatui::style::Style;

use super::Theme;
use super::canvas::Canvas;
use crate::state::State;
use crate::tail::Stream;
use crate::text::plain;

/// Draws the lines that end `scroll` lines before the last one. Lines of standard error begin with `!`.
pub(crate) fn draw(state: &State, theme: &Theme, canvas: &mut Canvas<'_>, scroll: usize) {
    let heading = match state.current() {
        Some((app, worker)) => format!("log of {} {}", plain(&app.spec.name), worker.id),
        None => "log".to_owned(),
    };
    let heading = if scroll > 0 { format!("{heading}, {scroll} lines back") } else { heading };
    canvas.rule(&heading, theme.dim(), theme.heading());
    let visible = usize::from(canvas.height().saturating_sub(1));
    // Scrolled to its beginning, the pane is full.
    let end = state.lines.len().saturating_sub(scroll).max(visible.min(state.lines.len()));
    let first = end.saturating_sub(visible);
    for (row, line) in state.lines.range(first..end).enumerate() {
        let row = row as u16 + 1;
        let (mark, style) = match line.stream {
            Stream::Out => (" ", Style::new()),
            Stream::Err => ("!", theme.bad()),
        };
        canvas.put(0, row, mark, style);
        canvas.put(1, row, &plain(&line.text), style);
    }
    if state.lines.is_empty() && state.current().is_some() {
        canvas.put(1, 1, "nothing has been written yet", theme.dim());
    }
}
