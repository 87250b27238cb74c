//! The screen. Drawing only reads.

mod bottom;
pub(crate) mod canvas;
mod chart;
mod confirm;
mod details;
mod events;
mod help;
mod logs;
pub(crate) mod table;
mod title;
mod told;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::layout::{SMALLEST, layout};
use crate::state::{Pane, Prompt, State, View};
use canvas::Canvas;

/// Draws everything.
pub(crate) fn screen(state: &State, area: Rect, buffer: &mut Buffer) {
    let mut canvas = Canvas::new(buffer, area);
    let area = canvas.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        too_small(&mut canvas);
        return;
    }
    buffer_style(state, &mut canvas);
    let layout = layout(state, area);
    title::draw(state, &mut canvas.within(layout.title));
    match state.view {
        View::Main => {
            table::draw(state, &mut canvas.within(layout.table));
            details::draw_packed(state, &mut canvas.within(layout.facts));
            details::draw_all(state, &mut canvas.within(layout.side));
            events::draw(state, &mut canvas.within(layout.side_events), 0, None);
            pane(state, &mut canvas.within(layout.lower), state.pane);
        }
        View::Full(shown) => pane(state, &mut canvas.within(layout.body), shown),
        View::Told => told::draw(state, &mut canvas.within(layout.body)),
        View::Help => help::draw(state, &mut canvas.within(layout.body)),
    }
    bottom::status(state, &mut canvas.within(layout.status));
    bottom::keys(state, &mut canvas.within(layout.keys));
    if let Prompt::Confirm(wish) = &state.prompt {
        confirm::draw(wish, state, &mut canvas);
    }
}

fn buffer_style(state: &State, canvas: &mut Canvas<'_>) {
    for row in 0..canvas.height() {
        canvas.paint(row, state.theme.text);
    }
}

fn pane(state: &State, canvas: &mut Canvas<'_>, pane: Pane) {
    match pane {
        Pane::Log => logs::draw(state, canvas),
        Pane::Events => events::draw(state, canvas, state.events_back, Some(pane)),
        Pane::Details => details::draw_pane(state, canvas),
    }
}

/// Draws the heading of a pane that can be another: the names of all, and what there is to say of this one.
fn tabs(state: &State, canvas: &mut Canvas<'_>, shown: Pane, about: &str) {
    let theme = &state.theme;
    canvas.rule("", theme.dim, theme.dim);
    let mut column = 0;
    for (pane, start, end) in tab_places() {
        let style = if pane == shown { theme.key.patch(theme.heading) } else { theme.dim };
        let text = if pane == shown { format!("[{}]", pane.name()) } else { format!(" {} ", pane.name()) };
        column = canvas.put_within(start, 0, end - start, &text, style);
    }
    if !about.is_empty() {
        canvas.put(column + 1, 0, &format!(" {about} "), theme.text);
    }
}

/// Returns the columns of each name in the heading of a pane.
fn tab_places() -> impl Iterator<Item = (Pane, u16, u16)> {
    let mut start = 1;
    Pane::ALL.into_iter().map(move |pane| {
        let end = start + pane.name().len() as u16 + 2;
        let place = (pane, start, end);
        start = end;
        place
    })
}

/// Returns the pane whose name stands at a column of the screen.
pub(crate) fn tab_at(area: Rect, column: u16) -> Option<Pane> {
    let column = column.checked_sub(area.x)?;
    tab_places().find(|(_, start, end)| (*start..*end).contains(&column)).map(|(pane, ..)| pane)
}

fn too_small(canvas: &mut Canvas<'_>) {
    let (width, height) = SMALLEST;
    let lines = ["too small".to_owned(), format!("{width}×{height} will do")];
    for (row, line) in lines.iter().enumerate() {
        canvas.put(0, row as u16, line, ratatui::style::Style::new());
    }
}

#[cfg(test)]
mod tests;
