//! The log of what is selected.

use ratatui::style::Style;

use super::canvas::{Canvas, split_at_width, width_of};
use crate::event::{LogLine, Stream};
use crate::state::{Pane, Prompt, State};
use crate::text::{count, plain};

/// A line that is wrapped takes at most this many rows.
const WRAPPED_MAX: usize = 20;

/// Draws the lines that end where the pane is scrolled to. Lines of standard error begin with `!`, those of several
/// workers with the worker's id.
pub(crate) fn draw(state: &State, canvas: &mut Canvas<'_>) {
    let (theme, logs) = (&state.theme, &state.logs);
    super::tabs(state, canvas, Pane::Log, &about(state));
    let several = state.followed_workers().nth(1).is_some();
    let id_width = match state.followed_workers().map(|worker| width_of(&worker.to_string())).max() {
        Some(width) if several => width + 1,
        _ => 0,
    };
    let left = 1 + id_width;
    let room = canvas.width().saturating_sub(left).max(1);
    let visible = usize::from(canvas.height().saturating_sub(1));
    let total = logs.shown().count();
    if visible == 0 {
        return;
    }
    if total == 0 && state.current().is_some() {
        let nothing = if logs.errors_only { "no errors have been written yet" } else { "nothing has been written yet" };
        canvas.put(1, 1, nothing, theme.dim);
        return;
    }
    // Scrolled to its beginning, the pane is full.
    let most = total.saturating_sub(if logs.wrap { 1 } else { visible });
    let back = logs.back.min(most);
    let mut row = canvas.height();
    for (number, line) in logs.shown().rev().skip(back) {
        let text = plain(&line.text);
        let pieces = pieces(&text, room, logs.wrap);
        for (index, piece) in pieces.iter().enumerate().rev() {
            row -= 1;
            if row == 0 {
                break;
            }
            if index == 0 {
                mark(state, canvas, row, line, number, id_width);
            }
            let style = if line.stream == Stream::Err { theme.bad } else { theme.text };
            found(state, canvas, row, left, piece, style);
        }
        if row <= 1 {
            break;
        }
    }
    // A log shorter than the pane begins at its top.
    if row > 1 {
        canvas.lift(1, row - 1, state.theme.text);
    }
}

fn about(state: &State) -> String {
    let logs = &state.logs;
    let mut about = match state.current() {
        Some(shown) => {
            let name = plain(&shown.app.spec.name);
            let followed = shown.workers.iter().filter(|worker| state.is_followed(worker)).count();
            match (shown.single(), followed) {
                (Some(worker), _) => format!("{name} {}", worker.id),
                (None, followed) if followed < shown.workers.len() => {
                    format!("{name}, the first {followed} of {}", count(shown.workers.len(), "worker"))
                }
                (None, followed) => format!("{name}, {}", count(followed, "worker")),
            }
        }
        None => return String::new(),
    };
    if logs.errors_only {
        about.push_str(", errors only");
    }
    if logs.back > 0 {
        about.push_str(&format!(", {} below", count(logs.back, "line")));
    } else if logs.held {
        about.push_str(", held");
    }
    if !logs.search.is_empty() && !matches!(state.prompt, Prompt::Search(_)) {
        let matches = logs.matches();
        about.push_str(&format!(", {matches}× {}", plain(&logs.search)));
    }
    about
}

/// Cuts a text into the rows it takes.
fn pieces(text: &str, room: u16, wrap: bool) -> Vec<&str> {
    if !wrap {
        return vec![text];
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    loop {
        let (piece, more) = split_at_width(rest, room);
        // What is longer goes on in the last row, which is cut.
        if pieces.len() + 1 == WRAPPED_MAX {
            pieces.push(rest);
            return pieces;
        }
        pieces.push(piece);
        if more.is_empty() {
            return pieces;
        }
        rest = more;
    }
}

fn mark(state: &State, canvas: &mut Canvas<'_>, row: u16, line: &LogLine, number: u64, id_width: u16) {
    let theme = &state.theme;
    let (mark, style) = match line.stream {
        _ if state.logs.is_found(number) => ("▶", theme.key),
        Stream::Out => (" ", theme.text),
        Stream::Err => ("!", theme.bad),
    };
    canvas.put(0, row, mark, style);
    if id_width > 0 {
        canvas.put_right(1, row, id_width - 1, &line.worker.to_string(), theme.worker(line.worker.0));
    }
}

/// Writes a text with what is searched for set off.
fn found(state: &State, canvas: &mut Canvas<'_>, row: u16, left: u16, text: &str, style: Style) {
    canvas.put(left, row, text, style);
    let search = &state.logs.search;
    if search.is_empty() {
        return;
    }
    let lower = text.to_lowercase();
    // Some characters change their length with their case: then places in one are none in the other.
    if lower.len() != text.len() {
        return;
    }
    for (place, part) in lower.match_indices(search.as_str()) {
        let (Some(before), Some(part)) = (text.get(..place), text.get(place..place + part.len())) else { continue };
        canvas.put(left + width_of(before), row, part, state.theme.found);
    }
}
