//! The question before something that hurts.

use ratatui::layout::Rect;

use super::canvas::{Canvas, split_at_width, width_of};
use crate::request::Wish;
use crate::state::State;

/// The box is no wider than can be read at a glance.
const WIDTH_MAX: u16 = 60;

pub(crate) fn draw(wish: &Wish, state: &State, canvas: &mut Canvas<'_>) {
    let theme = &state.theme;
    let area = canvas.area();
    let question = format!("{}?", wish.deed);
    let cost = wish.cost.clone().unwrap_or_default();
    let widest = width_of(&question).max(width_of(&cost)).max(26).saturating_add(4);
    let width = widest.min(WIDTH_MAX).min(area.width);
    let inner = width.saturating_sub(4).max(1);
    let mut lines = Vec::new();
    for (text, style) in [(question.as_str(), theme.heading), (cost.as_str(), theme.text)] {
        let mut rest = text;
        while !rest.is_empty() {
            let (line, more) = wrap_words(rest, inner);
            lines.push((line.to_owned(), style));
            rest = more;
        }
    }
    lines.push((String::new(), theme.text));
    lines.push(("y yes   any other key: no".to_owned(), theme.key));
    let height = (lines.len() as u16 + 2).min(area.height);
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let mut canvas = canvas.within(place);
    canvas.blank(theme.text);
    let edge = "─".repeat(usize::from(width.saturating_sub(2)));
    canvas.put(0, 0, &format!("┌{edge}┐"), theme.passing);
    for row in 1..height.saturating_sub(1) {
        canvas.put(0, row, "│", theme.passing);
        canvas.put(width - 1, row, "│", theme.passing);
    }
    canvas.put(0, height - 1, &format!("└{edge}┘"), theme.passing);
    for (row, (line, style)) in (1..height.saturating_sub(1)).zip(&lines) {
        canvas.put_within(2, row, inner, line, *style);
    }
}

/// Cuts a line at a space where there is one.
fn wrap_words(text: &str, width: u16) -> (&str, &str) {
    let (line, rest) = split_at_width(text, width);
    if rest.is_empty() {
        return (line, rest);
    }
    match line.rfind(' ') {
        Some(place) if place > 0 => (&text[..place], text[place..].trim_start()),
        _ => (line, rest),
    }
}
