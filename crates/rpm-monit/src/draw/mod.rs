//! The screen. Drawing only reads.
//!
//! ```text
//!   less than 100 columns        100 columns and more
//!   ┌ title ──────────────┐      ┌ title ─────────────────────┐
//!   │ workers             │      │ workers        │ details   │
//!   │ details, if room    │      │                │           │
//!   │ log                 │      │ log            │           │
//!   │ status line         │      │ status line                │
//!   └ keys ───────────────┘      └ keys ──────────────────────┘
//! ```
//! Every pane works in any size: what does not fit is left out, from the least important on.

mod bottom;
mod canvas;
mod details;
mod help;
mod logs;
mod title;
mod workers;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use rpm_model::Status;

use crate::state::{State, View};
use canvas::Canvas;

/// From this width on the details have a column of their own.
const WIDE: u16 = 100;
/// Its width: a path of ordinary length fits.
const DETAILS_WIDTH: u16 = 42;
/// Rows of the details between the workers and the log.
const DETAILS_ROWS: u16 = 5;

/// How things look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Theme {
    colour: bool,
}

impl Theme {
    /// Colours, unless `NO_COLOR` is set to anything (no-color.org).
    pub(crate) fn from_environment() -> Self {
        Self { colour: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    /// No colours: reverse, bold and dim only.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { colour: false }
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn good(self) -> Style {
        self.coloured(Color::Green)
    }

    fn bad(self) -> Style {
        self.coloured(Color::Red)
    }

    fn passing(self) -> Style {
        self.coloured(Color::Yellow)
    }

    fn chart(self) -> Style {
        self.coloured(Color::Cyan)
    }

    fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    fn status(self, status: Status) -> Style {
        match status {
            Status::Online => self.good(),
            Status::Launching | Status::Stopping | Status::WaitingRestart => self.passing(),
            Status::Errored => self.bad(),
            Status::Stopped => self.dim(),
        }
    }
}

/// Draws everything.
pub(crate) fn screen(state: &State, theme: &Theme, area: Rect, buffer: &mut Buffer) {
    let mut canvas = Canvas::new(buffer, area);
    let (title, rest) = canvas.area().split_top(1);
    let (rest, keys) = rest.split_bottom(1);
    let (body, status) = rest.split_bottom(1);
    title::draw(state, theme, &mut canvas.within(title));
    match state.view {
        View::Main => main(state, theme, &mut canvas, body),
        View::Logs => logs::draw(state, theme, &mut canvas.within(body), state.scroll),
        View::Details => details::draw_all(state, theme, &mut canvas.within(body)),
        View::Help => help::draw(state, theme, &mut canvas.within(body)),
    }
    bottom::status(state, theme, &mut canvas.within(status));
    bottom::keys(state, theme, &mut canvas.within(keys));
}

fn main(state: &State, theme: &Theme, canvas: &mut Canvas<'_>, body: Rect) {
    let shown = u16::try_from(state.rows().count()).unwrap_or(u16::MAX);
    let (left, details) = if body.width >= WIDE { body.split_right(DETAILS_WIDTH) } else { (body, Rect::default()) };
    // The heading and the rows, but at most half of the height, so that there is a log to see.
    let half = if left.height >= 10 { left.height / 2 } else { left.height };
    let (workers, below) = left.split_top(shown.max(1).saturating_add(1).min(half));
    let beneath = details.is_empty() && below.height >= DETAILS_ROWS + 5;
    let (middle, log) = below.split_top(if beneath { DETAILS_ROWS } else { 0 });

    workers::draw(state, theme, &mut canvas.within(workers));
    if beneath {
        details::draw_packed(state, theme, &mut canvas.within(middle));
    }
    details::draw_all(state, theme, &mut canvas.within(details));
    logs::draw(state, theme, &mut canvas.within(log), 0);
}

/// Cuts a piece off an area; a piece larger than the area is all of it.
trait Split: Sized {
    fn split_top(self, rows: u16) -> (Self, Self);
    fn split_bottom(self, rows: u16) -> (Self, Self);
    fn split_right(self, columns: u16) -> (Self, Self);
}

impl Split for Rect {
    fn split_top(self, rows: u16) -> (Rect, Rect) {
        let rows = rows.min(self.height);
        (Rect { height: rows, ..self }, Rect { y: self.y + rows, height: self.height - rows, ..self })
    }

    fn split_bottom(self, rows: u16) -> (Rect, Rect) {
        self.split_top(self.height.saturating_sub(rows))
    }

    fn split_right(self, columns: u16) -> (Rect, Rect) {
        let left = self.width.saturating_sub(columns);
        (Rect { width: left, ..self }, Rect { x: self.x + left, width: self.width - left, ..self })
    }
}

#[cfg(test)]
mod tests;
