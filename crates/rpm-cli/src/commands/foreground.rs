//! Apps in the foreground: their logs on our standard output, and all of it over when we are told to leave.
//!
//! Daemon and keeper run as ever, below us; they stop everything should we be killed. Three threads besides the one that
//! writes what the apps say:
//!
//! ```text
//!   start    ── starts the apps; what cannot be started at all ends everything, code 1
//!   signals  ── SIGINT, SIGTERM, SIGHUP: ends everything, code 0; as process 1 also buries orphans
//!   look     ── no app up for a while: ends everything, code 2
//! ```
//!
//! Whoever is first stops the apps and the daemon; what they say meanwhile is still written.
//!
//! Log files are followed; what `runtime` keeps out of files comes through pipes, one for each stream of each worker,
//! and a copy of it goes to whoever looks on with `logs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use rpm_ipc::{Happened, List, Notice};
use rpm_logs::follow::Begin;
use rpm_logs::frame::{Framer, State, Style, Tail};
use rpm_logs::{Follower, FollowerHandle, Kind, Line, Stamp, Taps};
use rpm_model::{Flavour, Home, LogTarget, Status};
use rustix::process::{Pid, WaitOptions, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::Logs;
use crate::commands::life_lines::LifeLines;
use crate::commands::logs::{self, Source, Writer};
use crate::commands::process_events::ProcessEvents;
use crate::commands::{Invocation, kill};
use crate::report::Failure;
use crate::say::{self, Voice};
use crate::screens::format;
use crate::session::Session;

/// PM2's rhythm: a look every two seconds, and the fourth in a row that finds nobody is the last.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
const LOOKS: u32 = 4;

/// Nothing tells when a daemon begins to listen, so it is tried: its first events are not to be missed.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// How long the start waits until somebody listens to what happens.
const LISTENS_WITHIN: Duration = Duration::from_secs(2);

/// No app is up: PM2's code.
const NOBODY_UP: u8 = 2;

/// How the foreground behaves.
pub(super) struct Foreground {
    /// How lines are shown.
    pub view: Logs,
    /// Leave when no app is up.
    pub auto_exit: bool,
    /// Called after each start of a worker.
    pub after_start: Option<Box<dyn Fn() + Send>>,
}

/// The one who ends it all.
struct Ending {
    invocation: Invocation,
    code: OnceLock<u8>,
    /// Held while everything is stopped: whoever comes second waits, so that the logs are read until the last word.
    stopping: Mutex<()>,
    handle: FollowerHandle<Arc<Heard>>,
}

impl Ending {
    /// Stops everything, then lets the logs run out. Only the first call does.
    fn end(&self, code: u8) {
        if self.code.set(code).is_err() {
            return;
        }
        self.stop_all();
        self.handle.close();
    }

    fn stop_all(&self) {
        let _stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = Invocation { voice: Voice { silent: true, ..self.invocation.voice }, ..self.invocation.clone() };
        if let Err(failure) = kill::run(&quiet) {
            failure.print(&self.invocation.voice);
        }
    }

    fn has_begun(&self) -> bool {
        self.code.get().is_some()
    }
}

/// Runs `start` and stays until a signal comes, or nobody is up any more.
///
/// # Errors
/// When apps are there already, or the logs cannot be followed. Ends the process with another code itself.
pub(super) fn run(
    invocation: &Invocation,
    foreground: Foreground,
    start: impl FnOnce(&Invocation) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    refuse_company(invocation)?;
    let failed = |error: std::io::Error| Failure::new(format!("cannot run in the foreground: {error}"));
    let mut follower = Follower::new().map_err(failed)?;
    let handle = follower.handle();
    let ending = Arc::new(Ending {
        invocation: invocation.clone(),
        code: OnceLock::new(),
        stopping: Mutex::default(),
        handle: handle.clone(),
    });
    let started = Arc::new(AtomicBool::new(false));
    obey_signals(&ending, &started).map_err(failed)?;
    let reader_left = ending.clone();
    say::when_nobody_reads(move || reader_left.stop_all());
    let lengths = lengths(&invocation.home.logs());
    // Of somebody who was killed; nobody writes there any more.
    let _nothing_left = std::fs::remove_dir_all(invocation.home.console());

    let Foreground { view, auto_exit, after_start } = foreground;
    let files = Arc::new(Files {
        view: view.clone(),
        invocation: invocation.clone(),
        handle,
        lengths,
        known: Mutex::default(),
    });
    let watched = files.clone();
    let (listens, listening) = mpsc::channel();
    std::thread::spawn(move || watch_for_workers(&watched, after_start, &listens));
    let starter = (ending.clone(), started.clone(), invocation.clone());
    let starter = std::thread::spawn(move || {
        let (ending, started, invocation) = starter;
        let quiet = Invocation { voice: Voice { silent: true, ..invocation.voice }, ..invocation.clone() };
        // The daemon comes first, so that we listen when the first app starts. Why it does not come, `start` will tell.
        if Session::open(&quiet.home, &quiet.voice).is_ok() {
            let _not_for_ever = listening.recv_timeout(LISTENS_WITHIN);
        }
        if let Err(failure) = start(&quiet)
            && !ending.has_begun()
        {
            failure.print(&invocation.voice);
            // A worker that failed is tried again; where there is none, nothing will ever come.
            if !is_anybody_there(&invocation) {
                return ending.end(1);
            }
        }
        // What started and ended before the events were listened to is in the list.
        files.add_new();
        if ending.has_begun() {
            // The end came while the daemon was about to start, and found none.
            return ending.stop_all();
        }
        started.store(true, Ordering::Relaxed);
        if auto_exit {
            leave_when_nobody_is_up(&ending);
        }
    });

    let mut writer = Writer::new(&view, &[]).with_errors_apart();
    let mut taps = Taps::new(&invocation.home);
    while let Some(Line { label, bytes }) = follower.next().map_err(failed)? {
        let now = Stamp::now();
        let mut show = |line: &[u8]| {
            writer.line(&label.source, line, Some(now));
            if label.is_console {
                taps.copy(&label.source.path, line);
            }
        };
        match label.framed(&bytes, now) {
            None => show(&bytes),
            Some(framed) => framed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(show),
        }
    }
    if !started.load(Ordering::Relaxed) {
        // A panic there was printed already; nothing is left to do about it.
        let _ = starter.join();
    }
    let _nothing_left = std::fs::remove_dir_all(invocation.home.console());
    match ending.code.get() {
        None | Some(0) => Ok(()),
        Some(code) => std::process::exit((*code).into()),
    }
}

/// At the end everything stops: that must not be somebody else's.
fn refuse_company(invocation: &Invocation) -> Result<(), Failure> {
    let Some(mut session) = Session::open_existing(&invocation.home)? else { return Ok(()) };
    let apps = session.list(false)?.apps.len();
    if apps == 0 {
        return Ok(());
    }
    let home = invocation.home.root().display();
    Err(Failure::new(format!("a daemon with {apps} apps is running already in {home}"))
        .detail("what runs in the foreground is stopped at the end, and the daemon with it")
        .hint("stop it with `kill`, or set RPM_HOME (PM2_HOME) to another directory"))
}

fn is_anybody_there(invocation: &Invocation) -> bool {
    let session = Session::open_existing(&invocation.home).ok().flatten();
    session.and_then(|mut session| session.list(false).ok()).is_some_and(|list| !list.apps.is_empty())
}

fn obey_signals(ending: &Arc<Ending>, started: &Arc<AtomicBool>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCHLD])?;
    let (ending, started) = (ending.clone(), started.clone());
    let is_init = std::process::id() == 1;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            match signal {
                // Before, we wait for children of our own (Node reads a configuration file).
                SIGCHLD if is_init && started.load(Ordering::Relaxed) => bury_orphans(),
                SIGCHLD => {}
                _ => {
                    let ending = ending.clone();
                    std::thread::spawn(move || ending.end(0));
                }
            }
        }
    });
    Ok(())
}

/// Process 1 of a container inherits every orphan, and nobody else takes their exit.
fn bury_orphans() {
    while let Ok(Some((_, _))) = wait(WaitOptions::NOHANG) as rustix::io::Result<Option<(Pid, _)>> {}
}

fn leave_when_nobody_is_up(ending: &Ending) {
    let mut looks = 0;
    // PM2 gives the apps two looks' time before the first that counts.
    std::thread::sleep(BETWEEN_LOOKS);
    loop {
        std::thread::sleep(BETWEEN_LOOKS);
        if ending.has_begun() {
            return;
        }
        let session = Session::open_existing(&ending.invocation.home).ok().flatten();
        let Some(list) = session.and_then(|mut session| session.list(false).ok()) else { continue };
        let mut workers = list.apps.iter().flat_map(|app| &app.workers);
        let is_up =
            |status| matches!(status, Status::Online | Status::Launching | Status::Stopping | Status::WaitingRestart);
        if workers.any(|worker| is_up(worker.status)) {
            looks = 0;
            continue;
        }
        looks += 1;
        let left = LOOKS - looks;
        ending.invocation.voice.note(format_args!("0 application online, retry = {left}"));
        if left == 0 {
            return ending.end(NOBODY_UP);
        }
    }
}

/// Returns how long the logs are that are there already: what was said before is not said again.
fn lengths(directory: &std::path::Path) -> BTreeMap<PathBuf, u64> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.len()))).collect()
}

/// The files that are followed.
struct Files {
    view: Logs,
    invocation: Invocation,
    handle: FollowerHandle<Arc<Heard>>,
    lengths: BTreeMap<PathBuf, u64>,
    known: Mutex<BTreeSet<PathBuf>>,
}

impl Files {
    /// Follows the files of workers that came since the last time; returns what there is.
    fn add_new(&self) -> Option<List> {
        let session = Session::open_existing(&self.invocation.home).ok().flatten();
        let list = session.and_then(|mut session| session.list(false).ok())?;
        let sources = logs::sources(&self.view, &list, &self.invocation).unwrap_or_default();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for source in sources.into_iter().filter(|source| source.worker.is_some()) {
            if known.insert(source.path.clone()) {
                let path = source.path.clone();
                let begin = self.lengths.get(&path).map_or(Begin::Start, |length| Begin::Offset(*length));
                self.handle.add(Arc::new(Heard::of_file(source)), path, begin);
            }
        }
        for heard in consoles(&list, &self.invocation.home) {
            let path = heard.source.path.clone();
            if known.contains(&path) {
                continue;
            }
            match rpm_logs::console_reader(&path) {
                Ok(pipe) => {
                    known.insert(path);
                    self.handle.add_pipe(Arc::new(heard), pipe);
                }
                Err(error) => {
                    self.invocation.voice.warn(format_args!("{} cannot be read: {error}", path.display()));
                }
            }
        }
        Some(list)
    }
}

/// Somebody who is heard: a stream of a worker.
struct Heard {
    source: Source,
    /// Whether nobody but us can read it.
    is_console: bool,
    /// How a log would have its lines, where there is no log and that is not as they come.
    framer: Option<Mutex<Framer>>,
}

impl PartialEq for Heard {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Heard {
    fn of_file(source: Source) -> Self {
        Self { source, is_console: false, framer: None }
    }

    /// Returns a line as a log would have it; nothing where that is the line.
    fn framed(&self, line: &[u8], now: Stamp) -> Option<Vec<u8>> {
        let mut framer = self.framer.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let mut framed = Vec::new();
        framer.frame(&[line, b"\n"].concat(), now, Tail::Hold, &mut framed);
        Some(framed)
    }
}

/// Returns the pipes of the workers whose output is kept out of files.
fn consoles(list: &List, home: &Home) -> Vec<Heard> {
    let mut heard = Vec::new();
    for (app, worker) in list.apps.iter().flat_map(|app| app.workers.iter().map(move |worker| (app, worker))) {
        let (logs, name) = (&app.spec.logs, format::one_line(&app.spec.name));
        for kind in [Kind::Out, Kind::Err] {
            let is_error = kind == Kind::Err;
            if *logs.target(is_error) == LogTarget::Console {
                let style = Style::new(logs.format, logs.date_format.as_deref(), kind, worker.id, &app.spec.name);
                let framer = (!matches!(style, Style::Raw)).then(|| Mutex::new(Framer::new(style, State::default())));
                let path = rpm_logs::console_path(worker.id, kind, home);
                let source = Source { path, worker: Some(worker.id.0), app: name.clone(), is_error };
                heard.push(Heard { source, is_console: true, framer });
            }
        }
    }
    heard
}

/// Tells between the apps' lines what happens to them.
enum Teller {
    Records(ProcessEvents),
    Lines(LifeLines),
    Nobody,
}

impl Teller {
    fn new(files: &Files) -> Self {
        match files.invocation.home.flavour() {
            _ if files.view.json => Self::Records(ProcessEvents::new()),
            Flavour::Pm2 => Self::Lines(LifeLines::new()),
            Flavour::Rpm => Self::Nobody,
        }
    }

    fn tell(&mut self, happened: &Happened, list: Option<&List>) {
        match self {
            Self::Records(records) => records.write(happened),
            Self::Lines(lines) => {
                if let Some(list) = list {
                    lines.learn(list);
                }
                lines.write(happened);
            }
            Self::Nobody => {}
        }
    }
}

/// Follows the files of workers as they come.
fn watch_for_workers(files: &Files, after_start: Option<Box<dyn Fn() + Send>>, listens: &mpsc::Sender<()>) {
    let mut teller = Teller::new(files);
    if let Teller::Lines(lines) = &mut teller {
        lines.say("Launching in no daemon mode", Stamp::now());
    }
    loop {
        if let Ok(Some(events)) = Session::open_existing(&files.invocation.home) {
            files.add_new();
            let asked = || {
                let _once_is_enough = listens.send(());
            };
            let _ended = events.foreground(asked, |notice| match notice {
                Notice::Happened(happened) => {
                    let list = match happened.event.as_str() {
                        "start" | "restart" | "online" => files.add_new(),
                        _ => None,
                    };
                    teller.tell(&happened, list.as_ref());
                    if let ("online", Some(after_start)) = (happened.event.as_str(), &after_start) {
                        after_start();
                    }
                }
                Notice::Lagged(_) => {
                    files.add_new();
                }
                Notice::Progress { .. } | Notice::Warning(_) | Notice::Told(_) => {}
            });
        }
        std::thread::sleep(BETWEEN_TRIES);
    }
}
