//! Where everything is. Drawing and the mouse ask the same question.
//!
//! ```text
//!   less than 100 columns        100 columns and more
//!   ┌ title ──────────────┐      ┌ title ─────────────────────┐
//!   │ table               │      │ table          │ details   │
//!   │ facts, if room      │      │                │ (charts)  │
//!   │ log│events│details  │      │ log│events│…   │ events    │
//!   │ status line         │      │ status line                │
//!   └ keys ───────────────┘      └ keys ──────────────────────┘
//! ```
//! Every pane works in any size: what does not fit is left out, from the least important on.

use ratatui::layout::Rect;

use crate::state::{Pane, State, View};

/// Smaller than this nothing can be read: a sentence says so.
pub(crate) const SMALLEST: (u16, u16) = (24, 6);
/// From this width on the details have a column of their own.
const WIDE: u16 = 100;
/// Its width: a path of ordinary length fits; from `BROAD` columns on there is more.
const SIDE: u16 = 42;
const SIDE_BROAD: u16 = 60;
const BROAD: u16 = 150;
/// From this height on that column ends in what has happened.
const TALL: u16 = 28;
/// Rows of the facts between table and log.
const FACTS: u16 = 5;

/// The panes; one that is not shown is empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) title: Rect,
    /// All between title and status line, for a view that fills it.
    pub(crate) body: Rect,
    /// The table, its heading included.
    pub(crate) table: Rect,
    pub(crate) facts: Rect,
    /// The pane below the table.
    pub(crate) lower: Rect,
    pub(crate) side: Rect,
    pub(crate) side_events: Rect,
    pub(crate) status: Rect,
    pub(crate) keys: Rect,
}

/// Returns where everything is.
pub(crate) fn layout(state: &State, area: Rect) -> Layout {
    let (title, rest) = area.split_top(1);
    let (rest, keys) = rest.split_bottom(1);
    let (body, status) = rest.split_bottom(1);
    let layout = Layout { title, body, status, keys, ..Layout::default() };
    if state.view != View::Main {
        return layout;
    }
    let side_width = match body.width {
        0..WIDE => 0,
        WIDE..BROAD => SIDE,
        _ => SIDE_BROAD,
    };
    let (left, side) = body.split_right(side_width);
    // A column of air.
    let left = if side.is_empty() { left } else { Rect { width: left.width - 1, ..left } };
    let (side, side_events) = side.split_bottom(if side.height >= TALL { side.height / 3 } else { 0 });
    let rows = u16::try_from(state.rows.len()).unwrap_or(u16::MAX).max(1);
    // The heading and the rows, but at most half of the height, so that there is a log to see.
    let most = if left.height >= 10 { left.height / 2 } else { left.height };
    let (table, below) = left.split_top(rows.saturating_add(1).min(most));
    let has_facts = side.is_empty() && state.pane != Pane::Details && below.height >= FACTS + 5;
    let (facts, lower) = below.split_top(if has_facts { FACTS } else { 0 });
    Layout { table, facts, lower, side, side_events, ..layout }
}

/// Cuts a piece off an area; a piece larger than the area is all of it.
pub(crate) trait Split: Sized {
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
