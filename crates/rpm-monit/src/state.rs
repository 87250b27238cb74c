//! What is known and what is chosen.
//!
//! ```text
//!              /               Enter, Esc
//!   Nothing ───────▶ Find     ────────────▶ Nothing       what is typed filters the table, or searches the log
//!              :               Enter, Esc
//!   Nothing ───────▶ Line     ────────────▶ Nothing       Enter does it; may lead to Confirm
//!           R s - D
//!   Nothing ───────▶ Confirm  ────────────▶ Nothing       y does it, any other key does not
//! ```
//! Beside the prompt there is the view (main, one pane full screen, help); `Esc` leads back to main.
//!
//! [`State::handle`] performs nothing and asks no clock: times come with the events.

use std::collections::VecDeque;
use std::path::PathBuf;

use crossterm::event::{KeyCode, KeyEvent};
use rpm_ipc::{List, WorkerInfo};
use rpm_model::{LogTarget, WorkerId};
use rpm_records::EventRecord;

use crate::commandline;
use crate::event::{Action, Event, LogFile, Look, Stream};
use crate::history::History;
use crate::keys::{self, Command};
use crate::layout::layout;
use crate::request::{self, Deed, Wish};
use crate::text::plain;
use crate::theme::Theme;
use crate::traffic::Traffic;

pub(crate) mod filter;
pub(crate) mod logpane;
mod moving;
mod pointer;
pub(crate) mod rows;
mod typing;

use filter::Filter;
use logpane::LogPane;
use rows::{Folds, Order};
pub(crate) use rows::{Key, Row, Shown};

/// Events kept; at the bound the oldest go. Ten screens.
const EVENTS_KEPT: usize = 500;
/// Log files followed at once: of an app with more workers the first ones are.
const FILES_MAX: usize = 64;

/// Everything the screen shows.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The newest list; kept while the source fails.
    pub(crate) list: Option<List>,
    /// What the load balancer says; empty where there is none.
    pub(crate) traffic: Traffic,
    /// When the list was made, in milliseconds since the Unix epoch.
    pub(crate) now_ms: u64,
    /// Local time is this many seconds ahead of UTC.
    pub(crate) zone: i32,
    /// Why the source could not be asked, while it cannot.
    pub(crate) source_error: Option<String>,
    /// For so many seconds the source has not answered at all.
    pub(crate) silent: Option<u64>,
    /// The table, made from the list whenever that or what is chosen changes.
    pub(crate) rows: Vec<Row>,
    pub(crate) selected: Option<Key>,
    /// The first row of the table that is on the screen.
    pub(crate) top: usize,
    pub(crate) filter: Filter,
    pub(crate) order: Order,
    pub(crate) folds: Folds,
    pub(crate) view: View,
    /// What is shown below the table.
    pub(crate) pane: Pane,
    pub(crate) prompt: Prompt,
    pub(crate) history: History,
    pub(crate) logs: LogPane,
    /// Which files the log comes from.
    pub(crate) following: Vec<LogFile>,
    pub(crate) follow_number: u64,
    pub(crate) events: VecDeque<EventRecord>,
    /// Events below the pane's last one.
    pub(crate) events_back: usize,
    /// What there was to read last, and what it is about.
    pub(crate) told: (String, Vec<String>),
    /// Lines that details, help or what was told are scrolled down.
    pub(crate) scroll: usize,
    /// The deed under way.
    pub(crate) busy: Option<Busy>,
    /// How the last deed ended.
    pub(crate) message: Option<Result<String, String>>,
    /// Lines that were typed after `:`, oldest first.
    pub(crate) typed: Vec<String>,
    pub(crate) theme: Theme,
    /// Whether nothing may be done.
    pub(crate) read_only: bool,
    /// Whether the mouse is ours.
    pub(crate) mouse: bool,
    /// Columns and rows of the terminal.
    pub(crate) size: (u16, u16),
    /// Why we leave, when it is not the user's wish.
    pub(crate) farewell: Option<Farewell>,
}

/// What fills the screen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum View {
    #[default]
    Main,
    /// One pane, full screen.
    Full(Pane),
    Help,
    /// What was told, full screen.
    Told,
}

/// What is shown below the table, or full screen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Pane {
    #[default]
    Log,
    Events,
    Details,
}

impl Pane {
    pub(crate) const ALL: [Pane; 3] = [Pane::Log, Pane::Events, Pane::Details];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Pane::Log => "log",
            Pane::Events => "events",
            Pane::Details => "details",
        }
    }
}

/// What the bottom line waits for.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum Prompt {
    #[default]
    Nothing,
    /// The filter of the table is being typed.
    Filter,
    /// What to search for in the log is being typed.
    Search(String),
    /// A command is being typed.
    Line {
        text: String,
        /// Which of the lines typed before it is, counted from the newest; 0 for none.
        older: usize,
        /// What the last word may become.
        choices: Vec<String>,
    },
    /// Yes or no.
    Confirm(Wish),
}

/// A deed under way.
#[derive(Debug)]
pub(crate) struct Busy {
    pub(crate) deed: String,
    /// Workers done, and all.
    pub(crate) progress: Option<(u32, u32)>,
}

/// Why we leave other than by the user's wish.
#[derive(Debug)]
pub(crate) enum Farewell {
    Signal(i32),
    Input(String),
}

impl State {
    /// Takes one event and says what is to be done.
    pub(crate) fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Key(key) => actions.extend(keys::pressed(key).filter_map(|key| self.key(key))),
            Event::Mouse(mouse) => actions.extend(self.pointer(mouse)),
            Event::Pasted(text) => self.pasted(&text),
            Event::Resized { width, height } => self.size = (width, height),
            Event::Silent { seconds } => self.silent = Some(seconds),
            Event::Listed { at_ms, result } => {
                self.now_ms = at_ms;
                self.silent = None;
                self.listed(result);
            }
            Event::Logged(logged) => {
                if logged.following == self.follow_number {
                    self.logs.add(logged.lines);
                }
            }
            Event::Happened(happened) => {
                self.happened(happened);
                // What it did to the list is seen at once.
                actions.push(Action::Refresh);
            }
            Event::Progress { done, total } => {
                if let Some(busy) = &mut self.busy {
                    busy.progress = Some((done, total));
                }
            }
            Event::Acted(result) => {
                let deed = self.busy.take().map(|busy| busy.deed).unwrap_or_default();
                self.message = Some(request::outcome(&deed, result));
                actions.push(Action::Refresh);
            }
            Event::Told(text) => {
                let about = self.busy.take().map(|busy| busy.deed).unwrap_or_default();
                self.told = (about, text.lines().map(plain).collect());
                self.show(View::Told);
            }
            Event::Signalled(signal) => {
                self.farewell = Some(Farewell::Signal(signal));
                actions.push(Action::Quit);
            }
            Event::InputFailed(error) => {
                self.farewell = Some(Farewell::Input(error));
                actions.push(Action::Quit);
            }
            Event::ThreadLost => {
                self.farewell = Some(Farewell::Input("a part of the dashboard has failed".into()));
                actions.push(Action::Quit);
            }
        }
        self.keep_in_sight();
        actions.extend(self.follow_files());
        actions
    }

    /// Returns the selected row with what it stands for.
    pub(crate) fn current(&self) -> Option<Shown<'_>> {
        let selected = self.selected?;
        self.rows.iter().find(|row| row.key == selected)?.of(self.list.as_ref()?)
    }

    /// Returns the workers of the log: their number is shown where there are several.
    pub(crate) fn followed_workers(&self) -> impl Iterator<Item = WorkerId> {
        let mut last = None;
        self.following.iter().map(|file| file.worker).filter(move |worker| last.replace(*worker) != Some(*worker))
    }

    /// Returns whether the log has the lines of a worker: it may share its file with another.
    pub(crate) fn is_followed(&self, worker: &WorkerInfo) -> bool {
        let own = [&worker.out_log, &worker.err_log, &worker.combined_log];
        self.following.iter().any(|file| file.worker == worker.id || (file.path.is_some() && own.contains(&&file.path)))
    }

    fn listed(&mut self, result: Result<Look, String>) {
        match result {
            Ok(look) => {
                self.history.record(&look.list);
                self.folds.retain(&look.list);
                self.list = Some(look.list);
                self.traffic = look.traffic;
                self.source_error = None;
                self.remake();
            }
            Err(error) => self.source_error = Some(error),
        }
    }

    /// Makes the rows anew and keeps the selection, or what stands in its place.
    fn remake(&mut self) {
        let place = self.place().unwrap_or(0);
        if let Some(list) = &self.list {
            self.rows = rows::rows(list, &self.filter, self.order, &self.folds);
        }
        if self.place().is_some() {
            return;
        }
        // A worker that is folded away, or whose neighbours have gone, is its app's.
        let app = self.selected.map(|key| Key::App(key.app()));
        let app = app.filter(|app| self.rows.iter().any(|row| row.key == *app));
        let neighbour = self.rows.get(place).or(self.rows.last()).map(|row| row.key);
        self.selected = app.or(neighbour);
    }

    /// Returns the place of the selection in the table.
    pub(crate) fn place(&self) -> Option<usize> {
        self.rows.iter().position(|row| Some(row.key) == self.selected)
    }

    fn happened(&mut self, happened: EventRecord) {
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back(happened);
        // Whoever has scrolled up keeps looking at the same events.
        if self.events_back > 0 {
            self.events_back = (self.events_back + 1).min(self.events.len());
        }
    }

    /// Follows the files of what is selected, when they are others than before.
    fn follow_files(&mut self) -> Option<Action> {
        let files = self.log_files();
        if files == self.following {
            return None;
        }
        self.following = files.clone();
        self.follow_number += 1;
        self.logs.clear();
        Some(Action::Follow { following: self.follow_number, files })
    }

    fn log_files(&self) -> Vec<LogFile> {
        let mut files: Vec<LogFile> = Vec::new();
        let Some(shown) = self.current() else { return files };
        for worker in shown.workers {
            let own = [(Stream::Out, &worker.out_log), (Stream::Err, &worker.err_log)];
            let of = |(stream, path): (Stream, &Option<PathBuf>)| {
                let is_console = *shown.app.spec.logs.target(stream == Stream::Err) == LogTarget::Console;
                (path.is_some() || is_console).then(|| LogFile { worker: worker.id, stream, path: path.clone() })
            };
            let mut own: Vec<LogFile> = own.into_iter().filter_map(of).collect();
            if own.is_empty() {
                own.extend(of((Stream::Out, &worker.combined_log)));
            }
            for file in own {
                // One file for both streams, or for several workers: its lines are shown once.
                let is_new = file.path.is_none() || files.iter().all(|other| other.path != file.path);
                if files.len() < FILES_MAX && is_new {
                    files.push(file);
                }
            }
        }
        files
    }

    fn key(&mut self, key: KeyEvent) -> Option<Action> {
        match std::mem::take(&mut self.prompt) {
            Prompt::Nothing => keys::command(key).and_then(|command| self.command(command)),
            Prompt::Confirm(_) if keys::is_interrupt(key) => Some(Action::Quit),
            Prompt::Confirm(wish) if matches!(key.code, KeyCode::Char('y' | 'Y')) => self.ask(wish),
            Prompt::Confirm(_) => {
                self.message = Some(Ok("nothing was done".into()));
                None
            }
            prompt => {
                self.prompt = prompt;
                keys::typing(key).and_then(|typing| self.typing(typing))
            }
        }
    }

    fn command(&mut self, command: Command) -> Option<Action> {
        self.message = None;
        match command {
            Command::Up => self.step(-1),
            Command::Down => self.step(1),
            Command::PageUp => self.step(-self.page()),
            Command::PageDown => self.step(self.page()),
            Command::First => self.step(isize::MIN),
            Command::Last => self.step(isize::MAX),
            Command::FoldOrUnfold => self.fold(None),
            Command::Fold => self.fold(Some(false)),
            Command::Unfold => self.fold(Some(true)),
            Command::FoldAll => self.fold_all(),
            Command::Find if self.view == View::Full(Pane::Log) => self.prompt = Prompt::Search(String::new()),
            Command::Find => {
                self.show(View::Main);
                self.prompt = Prompt::Filter;
            }
            Command::FindOlder => self.find(true),
            Command::FindNewer => self.find(false),
            Command::Line => self.prompt = Prompt::Line { text: String::new(), older: 0, choices: Vec::new() },
            Command::Pane => self.next_pane(),
            Command::Logs => self.toggle(View::Full(Pane::Log)),
            Command::Events => self.toggle(View::Full(Pane::Events)),
            Command::Details => self.toggle(View::Full(Pane::Details)),
            Command::Help => self.toggle(View::Help),
            Command::Follow => self.logs.follow(self.logs.held),
            Command::Wrap => self.logs.wrap = !self.logs.wrap,
            Command::ErrorsOnly => self.logs.set_errors_only(!self.logs.errors_only),
            Command::Order => self.sort(Order { by: self.order.by.next(), reversed: false }),
            Command::OrderReversed => self.sort(Order { reversed: !self.order.reversed, ..self.order }),
            Command::Theme => self.set_theme(self.theme.next()),
            Command::Mouse => {
                self.mouse = !self.mouse;
                let words = if self.mouse { "the mouse is the dashboard's" } else { "the mouse is the terminal's" };
                self.message = Some(Ok(words.into()));
                return Some(Action::Mouse(self.mouse));
            }
            Command::Redraw => return Some(Action::Redraw),
            Command::Back if self.view != View::Main => self.show(View::Main),
            Command::Back if !self.filter.is_empty() => self.set_filter(String::new()),
            Command::Back | Command::Quit => return Some(Action::Quit),
            Command::Reload => return self.deed(Deed::Reload),
            Command::Restart => return self.deed(Deed::Restart),
            Command::Delete => return self.deed(Deed::Delete),
            Command::StopOrStart => {
                let is_down = |shown: Shown<'_>| shown.workers.iter().all(|worker| request::is_down(worker.status));
                let deed = if self.current().is_some_and(is_down) { Deed::Start } else { Deed::Stop };
                return self.deed(deed);
            }
            Command::ScaleUp => return self.scale(1),
            Command::ScaleDown => return self.scale(-1),
        }
        None
    }

    fn deed(&mut self, deed: Deed) -> Option<Action> {
        let wish = match &self.list {
            Some(list) => commandline::of_row(list, self.selected).and_then(|target| request::wish(deed, &target)),
            None => Err("nothing is selected".to_owned()),
        };
        self.wanted(wish)
    }

    fn scale(&mut self, by: isize) -> Option<Action> {
        let wish = match self.current() {
            Some(shown) => request::scale(shown.app, shown.app.workers.len().saturating_add_signed(by)),
            None => Err("nothing is selected".to_owned()),
        };
        self.wanted(wish)
    }

    /// Asks for what is wished, or first whether it is meant.
    fn wanted(&mut self, wish: Result<Wish, String>) -> Option<Action> {
        match wish {
            Err(refusal) => self.message = Some(Err(refusal)),
            Ok(wish) if self.read_only && wish.errand.changes() => {
                self.message = Some(Err("this dashboard is read-only".into()))
            }
            Ok(wish) if self.busy.is_some() || wish.cost.is_none() => return self.ask(wish),
            Ok(wish) => self.prompt = Prompt::Confirm(wish),
        }
        None
    }

    fn ask(&mut self, wish: Wish) -> Option<Action> {
        if let Some(busy) = &self.busy {
            self.message = Some(Err(format!("one thing at a time: still at `{}`", busy.deed)));
            return None;
        }
        self.message = None;
        self.busy = Some(Busy { deed: wish.deed, progress: None });
        Some(Action::Ask(wish.errand))
    }

    fn find(&mut self, older: bool) {
        if self.logs.search.is_empty() {
            self.message = Some(Err("search first: / in the log".into()));
        } else if !self.logs.find(older) {
            let (search, way) = (plain(&self.logs.search), if older { "further up" } else { "further down" });
            self.message = Some(Err(format!("{search} is not {way}")));
        }
    }

    fn set_filter(&mut self, text: String) {
        self.filter = Filter::new(text);
        self.remake();
    }

    fn sort(&mut self, order: Order) {
        self.order = order;
        let way = if order.is_descending() { "largest first" } else { "smallest first" };
        self.message = Some(Ok(format!("sorted by {}, {way}", order.by.name())));
        self.remake();
    }

    fn set_theme(&mut self, theme: Theme) {
        self.theme = theme;
        self.message = Some(Ok(format!("theme {}", theme.name)));
    }

    fn toggle(&mut self, view: View) {
        self.show(if self.view == view { View::Main } else { view });
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.scroll = 0;
    }

    fn next_pane(&mut self) {
        let next = |pane: Pane| {
            let place = Pane::ALL.iter().position(|one| *one == pane).unwrap_or_default();
            Pane::ALL[(place + 1) % Pane::ALL.len()]
        };
        match self.view {
            View::Main => self.pane = next(self.pane),
            View::Full(pane) => self.show(View::Full(next(pane))),
            View::Help | View::Told => {}
        }
    }

    /// Keeps the selected row on the screen, and moves the others no more than needed.
    fn keep_in_sight(&mut self) {
        let visible = usize::from(layout(self, self.area()).table.height.saturating_sub(1)).max(1);
        let place = self.place().unwrap_or(0);
        self.top = self.top.min(place).max((place + 1).saturating_sub(visible));
        self.top = self.top.min(self.rows.len().saturating_sub(visible));
    }

    pub(crate) fn area(&self) -> ratatui::layout::Rect {
        ratatui::layout::Rect::new(0, 0, self.size.0, self.size.1)
    }
}

#[cfg(test)]
mod tests;
