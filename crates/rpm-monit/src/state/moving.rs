//! Selecting, folding and scrolling.

use super::{Key, Pane, State, View};
use crate::layout::layout;

/// Nothing that is scrolled by lines is longer than this; drawing stops at the last line.
const SCROLL_MAX: usize = 4000;

impl State {
    /// Selects or scrolls by lines, depending on the view.
    pub(super) fn step(&mut self, by: isize) {
        match self.view {
            View::Main => self.move_selection(by),
            View::Full(pane) => self.scroll_pane(pane, by),
            View::Help | View::Told => self.scroll = self.scroll.saturating_add_signed(by).min(SCROLL_MAX),
        }
    }

    pub(super) fn move_selection(&mut self, by: isize) {
        let place = self.place().unwrap_or(0).saturating_add_signed(by).min(self.rows.len().saturating_sub(1));
        self.selected = self.rows.get(place).map(|row| row.key);
    }

    /// Scrolls one pane, wherever it is shown.
    pub(super) fn scroll_pane(&mut self, pane: Pane, by: isize) {
        match pane {
            Pane::Log => self.logs.scroll(by),
            // Up the screen is back in time: further from the end.
            Pane::Events => {
                let by = if by == isize::MIN { isize::MAX } else { -by };
                self.events_back = self.events_back.saturating_add_signed(by).min(self.events.len());
            }
            Pane::Details => self.scroll = self.scroll.saturating_add_signed(by).min(SCROLL_MAX),
        }
    }

    /// Returns the lines of a page: a pane full, less one that is seen in both.
    pub(super) fn page(&self) -> isize {
        let layout = layout(self, self.area());
        let rows = if self.view == View::Main { layout.table.height } else { layout.body.height };
        isize::try_from(rows.saturating_sub(2).max(1)).unwrap_or(1)
    }

    /// Selects a row; its app is unfolded when it is one of several workers.
    pub(super) fn select(&mut self, key: Key) {
        if !self.rows.iter().any(|row| row.key == key) {
            // The filter may hide it, and what was named is wanted.
            self.set_filter(String::new());
        }
        if matches!(key, Key::Worker(..)) {
            self.folds.set(key.app(), true);
        }
        self.selected = Some(key);
        self.remake();
    }

    /// Folds or unfolds the selected app; `None` does the other.
    pub(super) fn fold(&mut self, unfold: Option<bool>) {
        let Some(place) = self.place() else { return };
        let app = Key::App(self.rows[place].key.app());
        let Some(unfolded) = self.rows.iter().find(|row| row.key == app).and_then(|row| row.unfolded) else { return };
        let is_worker = self.rows[place].key != app;
        // From a worker the way left is its app first.
        if unfold == Some(false) && is_worker {
            self.selected = Some(app);
            return;
        }
        if is_worker {
            self.selected = Some(app);
        }
        self.folds.set(app.app(), unfold.unwrap_or(!unfolded));
        self.remake();
    }

    /// Folds all apps; unfolds all when all are folded.
    pub(super) fn fold_all(&mut self) {
        let Some(list) = &self.list else { return };
        let apps = || list.apps.iter().filter(|app| app.workers.len() > 1);
        let unfold = !apps().any(|app| self.folds.is_unfolded(app));
        let ids: Vec<_> = apps().map(|app| app.id).collect();
        for id in ids {
            self.folds.set(id, unfold);
        }
        self.remake();
    }
}
