//! The real terminal, the threads, the loop.
//!
//! ```text
//!   keys ─────┐
//!   signals ──┤
//!   list ◀────┼── Refresh      one channel of events; the loop sleeps until one arrives,
//!      └──────┤                handles all that are there, and draws once
//!   act ◀─────┼── Ask
//!      └──────┘
//! ```

use std::io::{IsTerminal, stdin, stdout};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ratatui::DefaultTerminal;
use rpm_ipc::Request;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::draw::{self, Theme};
use crate::event::{Action, Event, Logged};
use crate::state::{Farewell, State};
use crate::tail::Tail;
use crate::{MonitError, Source};

/// Time between two lists: what people see change, and a load on the daemon that does not show.
const REFRESH: Duration = Duration::from_secs(1);

/// Shows the dashboard until the user leaves it.
pub(crate) fn run(list: impl Source + Send + 'static, act: impl Source + Send + 'static) -> Result<(), MonitError> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return Err(MonitError::NoTerminal);
    }
    // Signals first: from here on none of them ends the program before the terminal is restored.
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT])?;
    let closing = signals.handle();
    // Restores the terminal on a panic, too.
    let mut terminal = ratatui::try_init()?;
    let restored = Restored;

    let (events, arriving) = mpsc::channel();
    let (refresh, refreshes) = mpsc::channel();
    let (asks, asked) = mpsc::channel();
    spawn(&events, read_keys);
    spawn(&events, move |events| forward_signals(signals, events));
    spawn(&events, move |events| list_always(list, &refreshes, events));
    spawn(&events, move |events| act_always(act, &asked, events));

    let farewell = until_quit(&mut terminal, &arriving, &refresh, &asks);
    closing.close();
    drop(restored);
    match farewell? {
        None => Ok(()),
        Some(Farewell::Signal(signal)) => Err(MonitError::Signalled(signal)),
        Some(Farewell::Input(error)) => Err(MonitError::Terminal(error)),
    }
}

/// Restores the terminal when it goes.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        // Nothing can be done, and nobody can be told, when the terminal is gone.
        let _ = ratatui::try_restore();
    }
}

fn until_quit(
    terminal: &mut DefaultTerminal,
    arriving: &Receiver<Event>,
    refresh: &Sender<()>,
    asks: &Sender<Request>,
) -> Result<Option<Farewell>, MonitError> {
    let theme = Theme::from_environment();
    let mut state = State::default();
    let mut tail = Tail::new([]);
    loop {
        terminal.draw(|frame| draw::screen(&state, &theme, frame.area(), frame.buffer_mut()))?;
        let Ok(first) = arriving.recv() else { return Ok(None) };
        for event in std::iter::once(first).chain(arriving.try_iter()) {
            match state.handle(event) {
                None => {}
                Some(Action::Quit) => return Ok(state.farewell),
                // A thread that is gone has said so by `ThreadLost`.
                Some(Action::Refresh) => drop(refresh.send(())),
                Some(Action::Ask(request)) => drop(asks.send(request)),
                Some(Action::ReadLogs) => {
                    let logged = read_logs(&mut tail, &state);
                    state.handle(Event::Logged(logged));
                }
            }
        }
    }
}

fn read_logs(tail: &mut Tail, state: &State) -> Logged {
    let files = state.log_files();
    if tail.follows(&files) {
        return Logged::More(tail.read());
    }
    *tail = Tail::new(files);
    Logged::Anew(tail.read())
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
    loop {
        let event = match crossterm::event::read() {
            Ok(crossterm::event::Event::Key(key)) if !key.is_release() => Event::Key(key),
            Ok(crossterm::event::Event::Resize(..)) => Event::Resized,
            Ok(_) => continue,
            Err(error) => {
                let _ = events.send(Event::InputFailed(error));
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
        let result = source.list();
        if events.send(Event::Listed { at_ms: now_ms(), result }).is_err() {
            return;
        }
        // Sooner when asked; never again when the dashboard is gone.
        if refreshes.recv_timeout(REFRESH) == Err(mpsc::RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

fn act_always(mut source: impl Source, asked: &Receiver<Request>, events: &Sender<Event>) {
    for request in asked {
        if events.send(Event::Acted(source.act(request))).is_err() {
            return;
        }
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
