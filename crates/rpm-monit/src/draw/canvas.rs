//! A piece of the screen that nothing can be drawn outside of.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;

/// A piece of the screen, with its own origin.
pub(crate) struct Canvas<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
}

impl<'a> Canvas<'a> {
    pub(crate) fn new(buffer: &'a mut Buffer, area: Rect) -> Self {
        let area = area.intersection(buffer.area);
        Self { buffer, area }
    }

    /// Returns a piece of this piece, named by its place on the screen.
    pub(crate) fn within(&mut self, area: Rect) -> Canvas<'_> {
        let area = area.intersection(self.area);
        Canvas { buffer: self.buffer, area }
    }

    pub(crate) fn area(&self) -> Rect {
        self.area
    }

    pub(crate) fn width(&self) -> u16 {
        self.area.width
    }

    pub(crate) fn height(&self) -> u16 {
        self.area.height
    }

    /// Writes from a column on, at most to the right edge; returns the column after it.
    pub(crate) fn put(&mut self, column: u16, row: u16, text: &str, style: Style) -> u16 {
        self.put_within(column, row, self.area.width.saturating_sub(column), text, style)
    }

    /// Writes into a cell of a given width; text that is longer is cut and ends in `…`.
    pub(crate) fn put_within(&mut self, column: u16, row: u16, width: u16, text: &str, style: Style) -> u16 {
        if column >= self.area.width || row >= self.area.height {
            return column;
        }
        let width = width.min(self.area.width - column);
        let (x, y) = (self.area.x + column, self.area.y + row);
        let (end, _) = self.buffer.set_stringn(x, y, text, usize::from(width), style);
        if width_of(text) > width && width > 0 {
            self.buffer.set_stringn(x + width - 1, y, "…", 1, style);
            return column + width;
        }
        end.saturating_sub(self.area.x)
    }

    /// Writes into a cell, flush right.
    pub(crate) fn put_right(&mut self, column: u16, row: u16, width: u16, text: &str, style: Style) {
        let gap = width.saturating_sub(width_of(text));
        self.put_within(column + gap, row, width - gap, text, style);
    }

    /// Gives a row a style from edge to edge.
    pub(crate) fn paint(&mut self, row: u16, style: Style) {
        if row < self.area.height {
            self.buffer.set_style(Rect { y: self.area.y + row, height: 1, ..self.area }, style);
        }
    }

    /// Moves everything from `top + by` on up by `by` rows, and empties what is left below.
    pub(crate) fn lift(&mut self, top: u16, by: u16, style: Style) {
        let area = self.area;
        for row in top..area.height {
            for x in area.left()..area.right() {
                let from = (row + by < area.height).then(|| self.buffer[(x, area.y + row + by)].clone());
                let cell = &mut self.buffer[(x, area.y + row)];
                match from {
                    Some(from) => *cell = from,
                    None => {
                        cell.reset();
                        cell.set_style(style);
                    }
                }
            }
        }
    }

    /// Empties a piece of the screen.
    pub(crate) fn blank(&mut self, style: Style) {
        for y in self.area.top()..self.area.bottom() {
            for x in self.area.left()..self.area.right() {
                self.buffer[(x, y)].reset();
            }
        }
        self.buffer.set_style(self.area, style);
    }

    /// Draws a line with a heading across the top.
    pub(crate) fn rule(&mut self, heading: &str, line: Style, text: Style) {
        let dashes = "─".repeat(usize::from(self.width()));
        self.put(0, 0, &dashes, line);
        let room = self.width().saturating_sub(4);
        if room > 0 && !heading.is_empty() {
            let end = self.put_within(2, 0, room, &format!(" {heading} "), text);
            debug_assert!(end <= self.width());
        }
    }
}

/// Returns a text cut to a width, and what is left of it.
pub(crate) fn split_at_width(text: &str, width: u16) -> (&str, &str) {
    let mut used = 0;
    for (place, character) in text.char_indices() {
        used += width_of(character.encode_utf8(&mut [0; 4]));
        // One character that is wider than the room is taken all the same: there must be progress.
        if used > width && place > 0 {
            return text.split_at(place);
        }
    }
    (text, "")
}

/// Returns the columns that a text takes.
pub(crate) fn width_of(text: &str) -> u16 {
    u16::try_from(Span::raw(text).width()).unwrap_or(u16::MAX)
}
