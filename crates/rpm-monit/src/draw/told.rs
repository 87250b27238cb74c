//! Lines to be read: why something is as it is, what has crashed.

use super::canvas::Canvas;
use crate::state::State;

pub(crate) fn draw(state: &State, canvas: &mut Canvas<'_>) {
    let theme = &state.theme;
    let (about, lines) = &state.told;
    canvas.rule(about, theme.dim, theme.heading);
    let visible = usize::from(canvas.height().saturating_sub(1));
    // Scrolled to its end, the page is full.
    let first = state.scroll.min(lines.len().saturating_sub(visible));
    for (row, line) in (1..).zip(lines.iter().skip(first).take(visible)) {
        canvas.put(1, row, line, theme.text);
    }
}
