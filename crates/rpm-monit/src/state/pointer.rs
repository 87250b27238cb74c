//! The mouse.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use super::{Pane, Prompt, State, View, rows::Order};
use crate::draw;
use crate::event::Action;
use crate::layout::layout;

/// Lines that the wheel turns at a time, as most programs do.
const WHEEL: isize = 3;

impl State {
    pub(super) fn pointer(&mut self, mouse: MouseEvent) -> Option<Action> {
        // A question waits for a key: a click beside it must not answer it.
        if matches!(self.prompt, Prompt::Confirm(_)) {
            return None;
        }
        let at = Position::new(mouse.column, mouse.row);
        match mouse.kind {
            MouseEventKind::Down(MouseButton::Left) => self.click(at),
            MouseEventKind::ScrollUp => self.wheel(at, -1),
            MouseEventKind::ScrollDown => self.wheel(at, 1),
            _ => {}
        }
        None
    }

    fn click(&mut self, at: Position) {
        let layout = layout(self, self.area());
        if layout.table.contains(at) {
            if at.y == layout.table.y {
                if let Some(by) = draw::table::column_at(self, layout.table, at.x) {
                    let reversed = by == self.order.by && !self.order.reversed;
                    self.sort(Order { by, reversed });
                }
                return;
            }
            let Some(row) = self.rows.get(self.top + usize::from(at.y - layout.table.y - 1)) else { return };
            self.message = None;
            if Some(row.key) != self.selected {
                self.selected = Some(row.key);
            } else if row.unfolded.is_some() {
                self.fold(None);
            } else {
                self.show(View::Full(Pane::Details));
            }
            return;
        }
        let tabs = if self.view == View::Main { layout.lower } else { layout.body };
        if at.y == tabs.y
            && let Some(pane) = draw::tab_at(tabs, at.x)
        {
            match self.view {
                View::Main => self.pane = pane,
                View::Full(_) => self.show(View::Full(pane)),
                View::Help | View::Told => {}
            }
        }
    }

    fn wheel(&mut self, at: Position, by: isize) {
        let layout = layout(self, self.area());
        let over = |area: Rect| area.contains(at);
        match self.view {
            View::Main if over(layout.lower) => self.scroll_pane(self.pane, by * WHEEL),
            View::Main if over(layout.side) => self.scroll_pane(Pane::Details, by * WHEEL),
            View::Main => self.move_selection(by),
            View::Full(_) | View::Help | View::Told => self.step(by * WHEEL),
        }
    }
}
