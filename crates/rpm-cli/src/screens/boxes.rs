//! Drawing a grid: PM2's box, cell by cell.

use std::fmt::Write as _;

use crate::say::GREY;
use crate::screens::format::{columns, truncate};
use anstyle::Style;

/// One cell: its words, and how they look.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The words, without colours.
    pub text: String,
    /// How they look.
    pub style: Style,
}

impl Cell {
    /// A cell without colours.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: Style::new() }
    }

    /// A cell with them.
    pub fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }

    /// Returns how many columns the words take.
    pub fn width(&self) -> usize {
        columns(&self.text)
    }
}

/// Draws a grid whose columns have the given widths, the blank on both sides included; `head` may be absent.
pub fn draw(head: Option<&[Cell]>, rows: &[Vec<Cell>], widths: &[usize]) -> String {
    // What a cell takes beside its words: its line, and the colours.
    const DRESS: usize = 32;
    let of_line: usize = widths.iter().map(|width| width + DRESS).sum();
    let mut out = String::with_capacity(of_line.saturating_mul(rows.len() + 4));
    rule(&mut out, widths, ['┌', '┬', '┐']);
    if let Some(head) = head {
        line(&mut out, head, widths);
        rule(&mut out, widths, ['├', '┼', '┤']);
    }
    for row in rows {
        line(&mut out, row, widths);
    }
    rule(&mut out, widths, ['└', '┴', '┘']);
    out
}

fn rule(out: &mut String, widths: &[usize], [left, middle, right]: [char; 3]) {
    let _ = write!(out, "{GREY}");
    for (index, width) in widths.iter().enumerate() {
        out.push(if index == 0 { left } else { middle });
        out.extend(std::iter::repeat_n('─', *width));
    }
    out.push(right);
    let _ = writeln!(out, "{GREY:#}");
}

fn line(out: &mut String, cells: &[Cell], widths: &[usize]) {
    for (cell, width) in cells.iter().zip(widths) {
        let inner = width.saturating_sub(2);
        let text = truncate(&cell.text, inner);
        let blank = inner.saturating_sub(columns(&text));
        let style = cell.style;
        let _ = write!(out, "{GREY}│{GREY:#} {style}{text}{style:#}");
        out.extend(std::iter::repeat_n(' ', blank + 1));
    }
    let _ = writeln!(out, "{GREY}│{GREY:#}");
}
