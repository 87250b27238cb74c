//! The log as it is looked at: followed or held, searched, narrowed to errors.

use std::collections::VecDeque;

use crate::event::{LogLine, Stream};
use crate::text::plain;

/// The lines kept; at the bound the oldest go. Forty screens, 8 MB when every line is as long as can be.
const LINES_KEPT: usize = 2000;
/// Lines below a match that was found: some of what came of it is seen.
const BELOW_MATCH: usize = 3;

/// The newest lines, and which of them are looked at.
#[derive(Debug, Default)]
pub(crate) struct LogPane {
    lines: VecDeque<LogLine>,
    /// Lines that are gone from the front: the number of the first that is here.
    gone: u64,
    /// Shown lines below the pane's last one.
    pub(crate) back: usize,
    /// Whether the pane stays where it is when lines come.
    pub(crate) held: bool,
    pub(crate) wrap: bool,
    pub(crate) errors_only: bool,
    /// What is searched for, in lower case.
    pub(crate) search: String,
    /// The number of the line that was found last.
    found: Option<u64>,
}

impl LogPane {
    /// Forgets the lines: others are followed.
    pub(crate) fn clear(&mut self) {
        self.gone += self.lines.len() as u64;
        self.lines.clear();
        (self.back, self.held, self.found) = (0, false, None);
    }

    /// Adds lines at the end. Whoever has scrolled up keeps looking at the same ones.
    pub(crate) fn add(&mut self, lines: Vec<LogLine>) {
        if self.held {
            self.back += lines.iter().filter(|line| self.is_shown(line)).count();
        }
        self.lines.extend(lines);
        let excess = self.lines.len().saturating_sub(LINES_KEPT);
        self.lines.drain(..excess);
        self.gone += excess as u64;
        self.back = self.back.min(self.shown().count());
    }

    /// Returns the lines to show with their numbers, oldest first.
    pub(crate) fn shown(&self) -> impl DoubleEndedIterator<Item = (u64, &LogLine)> {
        let numbered = self.lines.iter().enumerate().map(|(index, line)| (self.gone + index as u64, line));
        numbered.filter(|(_, line)| self.is_shown(line))
    }

    /// Returns whether a line is the one found last.
    pub(crate) fn is_found(&self, number: u64) -> bool {
        self.found == Some(number)
    }

    /// Returns the number of lines that match.
    pub(crate) fn matches(&self) -> usize {
        if self.search.is_empty() { 0 } else { self.shown().filter(|(_, line)| self.is_match(line)).count() }
    }

    /// Moves by lines: up is back in time.
    pub(crate) fn scroll(&mut self, by: isize) {
        let most = self.shown().count();
        let back = if by == isize::MIN { most } else { self.back.saturating_add_signed(-by).min(most) };
        self.back = back;
        self.held = back > 0;
    }

    /// Follows the end, or holds still.
    pub(crate) fn follow(&mut self, follow: bool) {
        self.held = !follow;
        if follow {
            self.back = 0;
        }
    }

    /// Shows only lines of standard error, or all.
    pub(crate) fn set_errors_only(&mut self, errors_only: bool) {
        self.errors_only = errors_only;
        self.follow(true);
    }

    /// Searches for something else, from the end up.
    pub(crate) fn set_search(&mut self, text: &str) {
        self.search = text.to_lowercase();
        self.found = None;
        self.find(true);
    }

    /// Goes to the next match up or down; returns whether there is one.
    pub(crate) fn find(&mut self, older: bool) -> bool {
        if self.search.is_empty() {
            return false;
        }
        let from = self.found;
        let matching = |(number, line): (u64, &LogLine)| self.is_match(line).then_some(number);
        let found = if older {
            self.shown().rev().filter_map(matching).find(|number| from.is_none_or(|from| *number < from))
        } else {
            self.shown().filter_map(matching).find(|number| from.is_some_and(|from| *number > from))
        };
        let Some(found) = found else { return false };
        self.found = Some(found);
        self.back = self.shown().filter(|(number, _)| *number > found).count().saturating_sub(BELOW_MATCH);
        self.held = true;
        true
    }

    fn is_shown(&self, line: &LogLine) -> bool {
        !self.errors_only || line.stream == Stream::Err
    }

    fn is_match(&self, line: &LogLine) -> bool {
        plain(&line.text).to_lowercase().contains(&self.search)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpm_model::WorkerId;

    fn line(stream: Stream, text: &str) -> LogLine {
        LogLine { worker: WorkerId(0), stream, text: text.into() }
    }

    fn pane(count: usize) -> LogPane {
        let mut pane = LogPane::default();
        pane.add((0..count).map(|number| line(Stream::Out, &format!("line {number}"))).collect());
        pane
    }

    fn last_shown(pane: &LogPane) -> String {
        pane.shown().rev().nth(pane.back).unwrap().1.text.clone()
    }

    #[test]
    fn a_held_log_shows_the_same_lines_while_others_come() {
        let mut pane = pane(50);
        pane.scroll(-10);
        assert_eq!(last_shown(&pane), "line 39");
        pane.add(vec![line(Stream::Out, "new"), line(Stream::Err, "bad")]);
        assert_eq!(last_shown(&pane), "line 39");
        pane.scroll(isize::MAX);
        assert!(!pane.held);
        pane.add(vec![line(Stream::Out, "newest")]);
        assert_eq!(last_shown(&pane), "newest");
    }

    #[test]
    fn a_search_goes_up_from_the_end_and_down_again() {
        let mut pane = pane(100);
        pane.set_search("LINE 1");
        let found = |pane: &LogPane| pane.shown().find(|(number, _)| pane.is_found(*number)).unwrap().1.text.clone();
        assert_eq!(found(&pane), "line 19");
        assert_eq!(last_shown(&pane), "line 22");
        assert!(pane.find(true));
        assert_eq!(found(&pane), "line 18");
        assert!(pane.find(false));
        assert!(!pane.find(false));
        assert_eq!(found(&pane), "line 19");
        assert_eq!(pane.matches(), 11);
        pane.set_search("nowhere");
        assert!(!pane.find(true));
    }

    #[test]
    fn only_errors_and_only_the_newest_lines_are_kept() {
        let mut pane = pane(3 * LINES_KEPT);
        assert_eq!(pane.shown().count(), LINES_KEPT);
        pane.add(vec![line(Stream::Err, "bad")]);
        pane.set_errors_only(true);
        assert_eq!(pane.shown().map(|(_, line)| line.text.as_str()).collect::<Vec<_>>(), ["bad"]);
    }
}
