//! What is known and what is chosen.
//!
//! ```text
//!              /            Enter, Esc
//!   Nothing ───────▶ Filter ──────────▶ Nothing       what is typed goes to the filter
//!   Nothing ───────▶ Confirm ─────────▶ Nothing       y does it, any other key does not
//!           R s -
//! ```
//! Beside the prompt there is the view (main, logs, details, help); `Esc` leads back to main.
//!
//! [`State::handle`] performs nothing and asks no clock: times come with the events.

use std::collections::VecDeque;
use std::path::PathBuf;

use crossterm::event::{KeyCode, KeyEvent};
use rpm_ipc::{AppInfo, List, WorkerInfo};
use rpm_model::WorkerId;

use crate::event::{Action, Event, Logged};
use crate::history::History;
use crate::keys::{self, Command, Typing};
use crate::request::{self, Wish};
use crate::tail::{LogLine, Stream};

/// The lines of log kept; at the bound the oldest go. Twenty screens.
const LINES_KEPT: usize = 1000;
/// The longest filter: what is typed beyond it is dropped.
const FILTER_MAX: usize = 64;
/// Lines that Page Up and Page Down move.
const PAGE: usize = 10;

/// Everything the screen shows.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The newest list; kept while the source fails.
    pub(crate) list: Option<List>,
    /// When it was made, in milliseconds since the Unix epoch.
    pub(crate) now_ms: u64,
    /// Why the source could not be asked, while it cannot.
    pub(crate) source_error: Option<String>,
    pub(crate) selected: Option<WorkerId>,
    /// Whether reload, restart and stop act on the whole app.
    pub(crate) whole: bool,
    pub(crate) filter: String,
    pub(crate) view: View,
    pub(crate) prompt: Prompt,
    pub(crate) history: History,
    pub(crate) lines: VecDeque<LogLine>,
    /// Lines that the log, the details or the help are scrolled: the log up from its end, the others down.
    pub(crate) scroll: usize,
    /// The deed under way.
    pub(crate) busy: Option<String>,
    /// How the last deed ended.
    pub(crate) message: Option<Result<String, String>>,
    /// Why we leave, when it is not the user's wish.
    pub(crate) farewell: Option<Farewell>,
}

/// What fills the screen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum View {
    #[default]
    Main,
    Logs,
    Details,
    Help,
}

/// What the bottom line waits for.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum Prompt {
    #[default]
    Nothing,
    /// The filter is being typed.
    Filter,
    /// Yes or no.
    Confirm(Wish),
}

/// Why we leave other than by the user's wish.
#[derive(Debug)]
pub(crate) enum Farewell {
    Signal(i32),
    Input(std::io::Error),
}

impl State {
    /// Takes one event and says what is to be done.
    pub(crate) fn handle(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Key(key) => self.key(key),
            Event::Resized => None,
            Event::Listed { at_ms, result } => {
                self.now_ms = at_ms;
                self.listed(result)
            }
            Event::Logged(logged) => {
                self.logged(logged);
                None
            }
            Event::Acted(result) => {
                let deed = self.busy.take().unwrap_or_default();
                self.message = Some(request::outcome(&deed, result));
                Some(Action::Refresh)
            }
            Event::Signalled(signal) => {
                self.farewell = Some(Farewell::Signal(signal));
                Some(Action::Quit)
            }
            Event::InputFailed(error) => {
                self.farewell = Some(Farewell::Input(error));
                Some(Action::Quit)
            }
            Event::ThreadLost => {
                self.farewell = Some(Farewell::Input(std::io::Error::other("a part of the dashboard has failed")));
                Some(Action::Quit)
            }
        }
    }

    /// Returns the workers that the filter lets through, in the order of the list.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&AppInfo, &WorkerInfo)> {
        let needle = self.filter.to_lowercase();
        let workers = |app| move |worker| (app, worker);
        let all = self.list.iter().flat_map(|list| &list.apps);
        all.flat_map(move |app: &AppInfo| app.workers.iter().map(workers(app)))
            .filter(move |(app, worker)| needle.is_empty() || matches(app, worker, &needle))
    }

    /// Returns the selected worker and its app.
    pub(crate) fn current(&self) -> Option<(&AppInfo, &WorkerInfo)> {
        let selected = self.selected?;
        self.rows().find(|(_, worker)| worker.id == selected)
    }

    /// Returns the selected worker's log files.
    pub(crate) fn log_files(&self) -> Vec<(Stream, PathBuf)> {
        let Some((_, worker)) = self.current() else { return Vec::new() };
        let own = [(Stream::Out, &worker.out_log), (Stream::Err, &worker.err_log)];
        let mut files: Vec<(Stream, PathBuf)> =
            own.into_iter().filter_map(|(stream, path)| Some((stream, path.clone()?))).collect();
        if files.is_empty() {
            files.extend(worker.combined_log.clone().map(|path| (Stream::Out, path)));
        }
        // One file for both streams: its lines are shown once.
        files.dedup_by(|later, earlier| later.1 == earlier.1);
        files
    }

    fn listed(&mut self, result: Result<List, String>) -> Option<Action> {
        match result {
            Ok(list) => {
                // The row that was selected, in case its worker is gone.
                let row = self.rows().position(|(_, worker)| Some(worker.id) == self.selected);
                self.history.record(&list);
                self.list = Some(list);
                self.source_error = None;
                self.keep_selection(row.unwrap_or(0));
            }
            Err(error) => self.source_error = Some(error),
        }
        Some(Action::ReadLogs)
    }

    fn logged(&mut self, logged: Logged) {
        let lines = match logged {
            Logged::Anew(lines) => {
                self.lines.clear();
                if self.view == View::Logs {
                    self.scroll = 0;
                }
                lines
            }
            Logged::More(lines) => lines,
        };
        // Whoever has scrolled up keeps looking at the same lines.
        if self.view == View::Logs && self.scroll > 0 {
            self.scroll += lines.len();
        }
        self.lines.extend(lines);
        let excess = self.lines.len().saturating_sub(LINES_KEPT);
        self.lines.drain(..excess);
        if self.view == View::Logs {
            self.scroll = self.scroll.min(self.lines.len());
        }
    }

    fn key(&mut self, key: KeyEvent) -> Option<Action> {
        match std::mem::take(&mut self.prompt) {
            Prompt::Nothing => keys::command(key).and_then(|command| self.command(command)),
            Prompt::Filter => self.typed(key),
            Prompt::Confirm(_) if keys::is_interrupt(key) => Some(Action::Quit),
            Prompt::Confirm(wish) if matches!(key.code, KeyCode::Char('y' | 'Y')) => self.ask(wish),
            Prompt::Confirm(_) => {
                self.message = Some(Ok("nothing was done".into()));
                None
            }
        }
    }

    fn command(&mut self, command: Command) -> Option<Action> {
        self.message = None;
        match command {
            Command::Up => self.step(-1),
            Command::Down => self.step(1),
            Command::PageUp => self.step(-(PAGE as isize)),
            Command::PageDown => self.step(PAGE as isize),
            Command::First => self.step(isize::MIN),
            Command::Last => self.step(isize::MAX),
            Command::Scope => {
                self.whole = !self.whole;
                None
            }
            Command::Filter => {
                self.show(View::Main);
                self.prompt = Prompt::Filter;
                None
            }
            Command::Logs => self.toggle(View::Logs),
            Command::Details => self.toggle(View::Details),
            Command::Help => self.toggle(View::Help),
            Command::Back if self.view != View::Main => self.toggle(self.view),
            Command::Back if !self.filter.is_empty() => self.set_filter(String::new()),
            Command::Back | Command::Quit => Some(Action::Quit),
            Command::Reload | Command::Restart | Command::StopOrStart | Command::ScaleUp | Command::ScaleDown => {
                self.wanted(command)
            }
        }
    }

    fn wanted(&mut self, command: Command) -> Option<Action> {
        let Some((app, worker)) = self.current() else {
            self.message = Some(Err("no worker is selected".into()));
            return None;
        };
        match request::wish(command, app, worker, self.whole)? {
            Err(refusal) => self.message = Some(Err(refusal)),
            Ok(wish) if self.busy.is_some() || !wish.confirm => return self.ask(wish),
            Ok(wish) => self.prompt = Prompt::Confirm(wish),
        }
        None
    }

    fn ask(&mut self, wish: Wish) -> Option<Action> {
        if let Some(deed) = &self.busy {
            self.message = Some(Err(format!("one thing at a time: still at `{deed}`")));
            return None;
        }
        self.message = None;
        self.busy = Some(wish.deed);
        Some(Action::Ask(wish.request))
    }

    fn typed(&mut self, key: KeyEvent) -> Option<Action> {
        self.prompt = Prompt::Filter;
        let mut filter = self.filter.clone();
        match keys::typing(key)? {
            Typing::Add(character) if filter.chars().count() < FILTER_MAX => filter.push(character),
            Typing::Add(_) => {}
            Typing::Erase => {
                filter.pop();
            }
            Typing::Keep => self.prompt = Prompt::Nothing,
            Typing::Clear => {
                self.prompt = Prompt::Nothing;
                filter.clear();
            }
            Typing::Quit => return Some(Action::Quit),
        }
        self.set_filter(filter)
    }

    fn set_filter(&mut self, filter: String) -> Option<Action> {
        self.filter = filter;
        self.keep_selection(0);
        Some(Action::ReadLogs)
    }

    /// Keeps the selected worker if it is still shown, else selects what stands in `row` now.
    fn keep_selection(&mut self, row: usize) {
        if self.current().is_none() {
            let shown: Vec<WorkerId> = self.rows().map(|(_, worker)| worker.id).collect();
            self.selected = shown.get(row).or(shown.last()).copied();
        }
    }

    /// Selects or scrolls, depending on the view.
    fn step(&mut self, by: isize) -> Option<Action> {
        match self.view {
            View::Main => {
                let shown: Vec<WorkerId> = self.rows().map(|(_, worker)| worker.id).collect();
                let row = shown.iter().position(|id| Some(*id) == self.selected).unwrap_or(0);
                let row = row.saturating_add_signed(by).min(shown.len().saturating_sub(1));
                self.selected = shown.get(row).copied();
                Some(Action::ReadLogs)
            }
            View::Logs => {
                // Up the screen is back in time: further from the end.
                let by = if by == isize::MIN { isize::MAX } else { -by };
                self.scroll = self.scroll.saturating_add_signed(by).min(self.lines.len());
                None
            }
            View::Details | View::Help => {
                // Neither is longer than this; drawing stops at the last line.
                self.scroll = self.scroll.saturating_add_signed(by).min(200);
                None
            }
        }
    }

    fn toggle(&mut self, view: View) -> Option<Action> {
        self.show(if self.view == view { View::Main } else { view });
        None
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.scroll = 0;
    }
}

/// Returns whether a worker is what the filter looks for: by name, namespace, status or id.
fn matches(app: &AppInfo, worker: &WorkerInfo, needle: &str) -> bool {
    app.spec.name.to_lowercase().contains(needle)
        || app.spec.namespace.to_lowercase().contains(needle)
        || worker.status.as_str().contains(needle)
        || worker.id.to_string() == needle
}

#[cfg(test)]
mod tests;
