//! The real terminal, the threads, the loop.
//!
//! ```text
//!   keys, mouse ──┐
//!   signals ──────┤
//!   list   ◀──────┼── Refresh      one channel of events; the loop sleeps until one arrives, handles all that
//!       └─────────┤                are there, and draws once, at most ten times a second
//!   act    ◀──────┼── Ask
//!       └─────────┤
//!   logs   ◀──────┼── Follow
//!       └─────────┤
//!   events ───────┘
//! ```

use std::io::{IsTerminal, Write, stdin, stdout};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture};
use crossterm::execute;
use ratatui::DefaultTerminal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::draw;
use crate::event::{Action, Event, LogFile, Logged, Look, Stream};
use crate::keys::{self, Command};
use crate::record::{Recorder, Recording};
use crate::state::{Farewell, State};
use crate::tail::Tail;
use crate::theme::Theme;
use crate::{Answer, Errand, MonitError, Options, Source, Sources};

/// Time between two lists: what people see change, and a load on the daemon that does not show.
const REFRESH: Duration = Duration::from_secs(1);
/// At least this lies between two lists, whatever happens: an app that crashes in a row must not make the daemon busy.
const REFRESH_LEAST: Duration = Duration::from_millis(250);
/// At least this lies between two frames: nobody reads more than ten screens a second.
const FRAME_LEAST: Duration = Duration::from_millis(100);
/// The log files are looked at this often: a line is there before one waits for it, and 64 files cost 0.1 ms.
const LOG_LOOK: Duration = Duration::from_millis(250);
/// Without an answer for so long, what is shown is called old: it comes once a second.
const SILENCE: u64 = 4;
/// A daemon that cannot be heard is tried again after this.
const HEAR_AGAIN: Duration = Duration::from_secs(1);

/// Shows the dashboard until the user leaves it.
pub(crate) fn run(sources: Sources<impl Source + Send + 'static>, options: &Options) -> Result<(), MonitError> {
    let state = State {
        theme: theme(options)?,
        read_only: options.read_only,
        mouse: !options.no_mouse,
        zone: jiff::tz::TimeZone::system().to_offset(jiff::Timestamp::now()).seconds(),
        ..State::default()
    };
    let mut screen = Screen::open(state)?;
    if let Some(path) = &options.record {
        let failed = |error| MonitError::Recording { path: path.clone(), doing: "written", error };
        screen.recorder = Some(Recorder::create(path, &screen.state).map_err(failed)?);
    }
    let Sources { list, act, events, consoles } = sources;
    let (refresh, refreshes) = mpsc::channel();
    let (asks, asked) = mpsc::channel();
    let (follow, follows) = mpsc::channel();
    spawn(&screen.events, move |events| list_always(list, &refreshes, events));
    spawn(&screen.events, move |events| act_always(act, &asked, events));
    spawn(&screen.events, move |events| read_logs(consoles, &follows, events));
    spawn(&screen.events, move |told| hear_always(events, told));
    screen.until_quit(|action| match action {
        // A thread that is gone has said so by `ThreadLost`.
        Action::Refresh => drop(refresh.send(())),
        Action::Ask(errand) => drop(asks.send(errand)),
        Action::Follow { following, files } => drop(follow.send((following, files))),
        Action::Quit | Action::Mouse(_) | Action::Redraw => {}
    })
}

/// Shows a recorded session again. The user's own keys are not part of it: `q` and Ctrl-C leave.
pub(crate) fn replay(path: &Path, options: &Options) -> Result<(), MonitError> {
    let failed = |error| MonitError::Recording { path: path.to_owned(), doing: "read", error };
    let (recording, state) = Recording::open(path).map_err(failed)?;
    let screen = Screen::open(State { theme: theme(options)?, ..state })?;
    let begun = Instant::now();
    let (events, then) = mpsc::channel();
    spawn(&events, move |events| {
        for moment in recording {
            thread::sleep(Duration::from_millis(moment.ms).saturating_sub(begun.elapsed()));
            if events.send(moment.event).is_err() {
                return;
            }
        }
    });
    screen.until_replayed(&then)
}

fn theme(options: &Options) -> Result<Theme, MonitError> {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match &options.theme {
        Some(name) => Theme::named(name).map_err(MonitError::Theme),
        // no-color.org; a dumb terminal has none.
        None if set("NO_COLOR") || std::env::var_os("TERM").is_some_and(|term| term == "dumb") => Ok(Theme::plain()),
        None => Ok(Theme::terminal()),
    }
}

/// The terminal as long as it is ours.
struct Screen {
    terminal: DefaultTerminal,
    state: State,
    arriving: Receiver<Event>,
    events: Sender<Event>,
    recorder: Option<Recorder>,
    begun: Instant,
    closing: signal_hook::iterator::Handle,
    _restored: Restored,
}

/// Restores the terminal when it goes.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        // Nothing can be done, and nobody can be told, when the terminal is gone.
        let _ = execute!(stdout(), DisableMouseCapture, DisableBracketedPaste);
        let _ = ratatui::try_restore();
    }
}

impl Screen {
    fn open(state: State) -> Result<Self, MonitError> {
        if !stdin().is_terminal() || !stdout().is_terminal() {
            return Err(MonitError::NoTerminal);
        }
        // Signals first: from here on none of them ends the program before the terminal is restored.
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT])?;
        let closing = signals.handle();
        // Restores the terminal on a panic, too.
        let terminal = ratatui::try_init()?;
        let restored = Restored;
        execute!(stdout(), EnableBracketedPaste)?;
        if state.mouse {
            execute!(stdout(), EnableMouseCapture)?;
        }
        let (events, arriving) = mpsc::channel();
        let size = terminal.size()?;
        // The size is an event like any other, so that a recording has it.
        let _ = events.send(Event::Resized { width: size.width, height: size.height });
        spawn(&events, read_keys);
        spawn(&events, move |events| forward_signals(signals, events));
        let (begun, recorder) = (Instant::now(), None);
        Ok(Self { terminal, state, arriving, events, recorder, begun, closing, _restored: restored })
    }

    /// Handles events and draws, until somebody leaves; `perform` does what is not the terminal's.
    fn until_quit(mut self, mut perform: impl FnMut(Action)) -> Result<(), MonitError> {
        let mut drawn_at: Option<Instant> = None;
        let mut is_stale = true;
        let (mut listed_at, mut silent) = (Instant::now(), 0);
        loop {
            let seconds = listed_at.elapsed().as_secs();
            if seconds >= SILENCE && seconds != silent {
                silent = seconds;
                let _ = self.handle(Event::Silent { seconds });
                is_stale = true;
            }
            // What comes within a frame's time is drawn together.
            let due = drawn_at.map_or(Duration::ZERO, |at| FRAME_LEAST.saturating_sub(at.elapsed()));
            if is_stale && due.is_zero() {
                self.draw()?;
                (drawn_at, is_stale) = (Some(Instant::now()), false);
            }
            let Some(first) = next(&self.arriving, if is_stale { due } else { REFRESH }) else { continue };
            is_stale = true;
            for event in std::iter::once(first).chain(self.arriving.try_iter().collect::<Vec<_>>()) {
                if matches!(event, Event::Listed { .. }) {
                    listed_at = Instant::now();
                }
                for action in self.handle(event) {
                    match action {
                        Action::Quit => return self.leave(),
                        Action::Mouse(true) => execute!(stdout(), EnableMouseCapture)?,
                        Action::Mouse(false) => execute!(stdout(), DisableMouseCapture)?,
                        Action::Redraw => self.terminal.clear()?,
                        other => perform(other),
                    }
                }
            }
        }
    }

    /// Shows what happened then. Of what the user does now only leaving counts.
    fn until_replayed(mut self, then: &Receiver<Event>) -> Result<(), MonitError> {
        loop {
            self.draw()?;
            // Two channels cannot be waited for at once; a replay may look ten times a second.
            thread::sleep(FRAME_LEAST);
            for event in then.try_iter() {
                // What was done then is not done again.
                let _ = self.state.handle(event);
            }
            for event in self.arriving.try_iter() {
                match event {
                    Event::Key(key) if keys::command(key) == Some(Command::Quit) => return self.leave(),
                    Event::Signalled(_) | Event::InputFailed(_) | Event::ThreadLost => {
                        let _ = self.state.handle(event);
                        return self.leave();
                    }
                    _ => {}
                }
            }
        }
    }

    fn handle(&mut self, event: Event) -> Vec<Action> {
        if let Some(recorder) = &mut self.recorder {
            let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            if let Err(error) = recorder.write(ms, &event) {
                self.recorder = None;
                self.state.message = Some(Err(format!("the recording has ended: {error}")));
            }
        }
        self.state.handle(event)
    }

    fn draw(&mut self) -> std::io::Result<()> {
        let state = &self.state;
        // The whole frame at once where the terminal can do that; others pass over it.
        execute!(stdout(), crossterm::terminal::BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| draw::screen(state, frame.area(), frame.buffer_mut()))?;
        execute!(stdout(), crossterm::terminal::EndSynchronizedUpdate)?;
        stdout().flush()
    }

    fn leave(self) -> Result<(), MonitError> {
        self.closing.close();
        match self.state.farewell {
            None => Ok(()),
            Some(Farewell::Signal(signal)) => Err(MonitError::Signalled(signal)),
            Some(Farewell::Input(error)) => Err(MonitError::Terminal(std::io::Error::other(error))),
        }
    }
}

/// Waits for an event, at most `limit`.
fn next(arriving: &Receiver<Event>, limit: Duration) -> Option<Event> {
    // We hold a sender ourselves: the channel does not end.
    arriving.recv_timeout(limit).ok()
}

/// Runs `work` on a thread; its panic ends the dashboard.
fn spawn(events: &Sender<Event>, work: impl FnOnce(&Sender<Event>) + Send + 'static) {
    let lost = Lost(events.clone());
    thread::spawn(move || {
        let lost = lost;
        work(&lost.0);
    });
}

/// Tells of a panic on its thread.
struct Lost(Sender<Event>);

impl Drop for Lost {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(Event::ThreadLost);
        }
    }
}

fn read_keys(events: &Sender<Event>) {
    use crossterm::event::Event as Input;
    use crossterm::event::MouseEventKind::{Down, ScrollDown, ScrollUp};
    loop {
        let event = match crossterm::event::read() {
            Ok(Input::Key(key)) if !key.is_release() => Event::Key(key),
            // Of a mouse that is only moved there is nothing to draw.
            Ok(Input::Mouse(mouse)) if matches!(mouse.kind, Down(_) | ScrollDown | ScrollUp) => Event::Mouse(mouse),
            Ok(Input::Paste(text)) => Event::Pasted(text),
            Ok(Input::Resize(width, height)) => Event::Resized { width, height },
            Ok(_) => continue,
            Err(error) => {
                let _ = events.send(Event::InputFailed(error.to_string()));
                return;
            }
        };
        if events.send(event).is_err() {
            return;
        }
    }
}

fn forward_signals(mut signals: Signals, events: &Sender<Event>) {
    for signal in signals.forever() {
        if events.send(Event::Signalled(signal)).is_err() {
            return;
        }
    }
}

fn list_always(mut source: impl Source, refreshes: &Receiver<()>, events: &Sender<Event>) {
    loop {
        let asked_at = Instant::now();
        let look = source.list().and_then(|list| Ok(Look { traffic: source.traffic()?, list }));
        if events.send(Event::Listed { at_ms: now_ms(), result: look }).is_err() {
            return;
        }
        // Sooner when asked; never again when the dashboard is gone.
        if refreshes.recv_timeout(REFRESH) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        thread::sleep(REFRESH_LEAST.saturating_sub(asked_at.elapsed()));
        // What was asked for meanwhile is answered by the next look, too.
        while refreshes.try_recv().is_ok() {}
    }
}

fn act_always(mut source: impl Source, asked: &Receiver<Errand>, events: &Sender<Event>) {
    for errand in asked {
        let answer = source.act(errand, &mut |done, total| drop(events.send(Event::Progress { done, total })));
        let event = match answer {
            Ok(Answer::Reply(reply)) => Event::Acted(Ok(reply)),
            Ok(Answer::Text(text)) => Event::Told(text),
            Err(error) => Event::Acted(Err(error)),
        };
        if events.send(event).is_err() {
            return;
        }
    }
}

fn hear_always(mut source: impl Source, events: &Sender<Event>) {
    for happened in source.past() {
        if events.send(Event::Happened(happened)).is_err() {
            return;
        }
    }
    loop {
        let mut is_gone = false;
        // That the daemon is gone is told by the thread that asks for the list.
        let _ = source.events(&mut |happened| is_gone |= events.send(Event::Happened(happened)).is_err());
        if is_gone {
            return;
        }
        thread::sleep(HEAR_AGAIN);
    }
}

fn read_logs(mut consoles: impl Source, follows: &Receiver<(u64, Vec<LogFile>)>, events: &Sender<Event>) {
    let mut open = move |file: &LogFile| consoles.console(file.worker, file.stream == Stream::Err);
    let (mut following, mut tail) = (0, Tail::new(Vec::new(), &mut open));
    loop {
        match follows.recv_timeout(LOG_LOOK) {
            Ok(next) => {
                // Whoever runs through a list is shown the log of where they stop.
                let (number, files) = follows.try_iter().last().unwrap_or(next);
                (following, tail) = (number, Tail::new(files, &mut open));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let lines = tail.read();
        if !lines.is_empty() && events.send(Event::Logged(Logged { following, lines })).is_err() {
            return;
        }
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
