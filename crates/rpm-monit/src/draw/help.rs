//! The keys, from their table.

use ratatui::style::Style;

use super::Theme;
use super::canvas::Canvas;
use crate::keys::BINDINGS;
use crate::state::State;

pub(crate) fn draw(state: &State, theme: &Theme, canvas: &mut Canvas<'_>) {
    canvas.rule("keys", theme.dim(), theme.heading());
    let first = state.scroll.min(BINDINGS.len() - 1);
    for (row, binding) in BINDINGS.iter().skip(first).enumerate() {
        let row = row as u16 + 1;
        canvas.put(2, row, binding.name, theme.heading());
        canvas.put(13, row, binding.help, Style::new());
    }
}
