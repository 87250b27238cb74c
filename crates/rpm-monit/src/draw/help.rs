//! The keys and the commands, from their tables.

use ratatui::style::Style;

use super::canvas::Canvas;
use crate::commandline::WORDS;
use crate::keys::{BINDINGS, Section};
use crate::state::State;

/// From this width on the commands stand beside the keys.
const WIDE: u16 = 120;

/// A line of the help: what is typed, and what it does; a heading has nothing typed.
type Line = (String, String);

pub(crate) fn draw(state: &State, canvas: &mut Canvas<'_>) {
    let theme = &state.theme;
    canvas.rule("keys and commands", theme.dim, theme.heading);
    let (left, right) = if canvas.width() >= WIDE {
        (keys(), commands())
    } else {
        (keys().into_iter().chain([Line::default()]).chain(commands()).collect(), Vec::new())
    };
    let half = if right.is_empty() { canvas.width() } else { canvas.width() / 2 };
    for (lines, start, typed_width) in [(left, 2, 12), (right, half + 1, 25)] {
        let visible = usize::from(canvas.height().saturating_sub(1));
        // Scrolled to its end, the page is full.
        let first = state.scroll.min(lines.len().saturating_sub(visible));
        for (row, (typed, help)) in (1..).zip(lines.iter().skip(first)) {
            let room = (start + half).saturating_sub(start + 2);
            if typed.is_empty() {
                canvas.put_within(start, row, room, help, theme.heading);
                continue;
            }
            let end = canvas.put_within(start, row, room, typed, theme.key);
            let column = (start + typed_width).max(end + 1);
            canvas.put_within(column, row, (start + half).saturating_sub(column + 1), help, Style::new());
        }
    }
}

fn keys() -> Vec<Line> {
    let mut lines = Vec::new();
    let sections = [
        (Section::Acting, "On what is selected: an app, or one of its workers"),
        (Section::Looking, "Looking"),
        (Section::Logs, "In the log"),
        (Section::Moving, "Moving"),
    ];
    for (section, heading) in sections {
        lines.push((String::new(), heading.to_owned()));
        let of_section = BINDINGS.iter().filter(|binding| binding.section == section);
        lines.extend(of_section.map(|binding| (binding.name.to_owned(), binding.help.to_owned())));
    }
    lines.push((String::new(), "Mouse".to_owned()));
    lines.push(("click".into(), "select; again: workers or details; a heading sorts".into()));
    lines.push(("wheel".into(), "select or scroll".into()));
    lines
}

fn commands() -> Vec<Line> {
    let heading = (String::new(), "Commands; TARGET is an app, an id, a namespace or all".to_owned());
    let line = |word: &crate::commandline::Word| (format!(":{} {}", word.word, word.takes), word.help.to_owned());
    std::iter::once(heading).chain(WORDS.iter().map(line)).collect()
}
