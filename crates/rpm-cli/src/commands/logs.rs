//! `logs`: the last lines of the logs, then new ones as they come.
//!
//! The files are read, never the writers asked: a log can be followed while the daemon is down. The daemon is only
//! asked which workers there are, and told to say when there are more.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anstyle::Style;
use rpm_ipc::{AppInfo, List, Notice};
use rpm_logs::follow::Begin;
use rpm_logs::{DateFormat, Follower, FollowerHandle, Kind, Stamp, escape_control, history};
use rpm_model::{Flavour, LogTarget, WorkerId};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::args::{Logs, TIMESTAMP_FORMAT};
use crate::commands::past::{self, Wanted};
use crate::commands::process_events::ProcessEvents;
use crate::commands::{Invocation, cwd};
use crate::report::Failure;
use crate::say::{self, GREEN, RED, Voice};
use crate::screens::format;
use crate::session::Session;
use crate::target;

/// Names line up to here at least, as in PM2.
const LABEL_WIDTH: usize = 11;

/// What `--highlight` makes of a word.
const HIGHLIGHT: Style = Style::new().invert();

/// Lines to begin with where no number is given, as in PM2.
const LINES: usize = 15;

/// A daemon that was killed is back within a fraction of this.
const DAEMON_BACK_WITHIN: Duration = Duration::from_millis(500);

/// One log file, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// The worker; the daemon's own log has none.
    pub(super) worker: Option<u32>,
    pub(super) app: String,
    pub(super) is_error: bool,
}

pub(super) fn run(args: &Logs, invocation: &Invocation) -> Result<(), Failure> {
    let wanted = Wanted::parse(args)?;
    let list = invocation.session()?.list(false)?;
    let args = &timestamp_gives_back(args, &list);
    if args.nostream && args.timestamp.is_some() && args.since.is_none() && args.until.is_none() && args.grep.is_none()
    {
        let voice = &invocation.voice;
        voice.warn("--timestamp has no effect with --nostream: lines in a file have no time of their own");
        voice
            .warn(format_args!("`{} restart NAME --time` makes an app's new lines begin with theirs", voice.program()));
    }
    let sources = sources(args, &list, invocation)?;
    warn_of_consoles(args, &list, &invocation.voice);
    let mut writer = Writer::new(args, &sources);
    let mut begins = Vec::new();
    if wanted.is_anything() {
        let shown = past::show(&sources, &wanted, args.lines, |source, entry| {
            writer.line(source, &entry.bytes, entry.at);
        });
        let ends = shown.map_err(|error| Failure::new(format!("the logs cannot be read: {error}")))?;
        begins.extend(sources.into_iter().zip(ends.into_iter().map(Begin::Place)));
    } else {
        writer.header(args);
        let count = args.lines.unwrap_or(LINES);
        for source in sources {
            // Where nobody follows, a line that has no end yet is shown as it is.
            let (lines, end) = match args.nostream {
                true => rpm_logs::last_lines_to_end(&source.path, count),
                false => rpm_logs::last_lines_until(&source.path, count),
            }
            .unwrap_or_default();
            writer.file(&source, &lines, end, count);
            begins.push((source, Begin::Offset(end)));
        }
    }
    if args.nostream || wanted.until.is_some() {
        return Ok(());
    }
    let failed = |error: io::Error| Failure::new(format!("the logs cannot be followed: {error}"));
    let mut follower = Follower::new().map_err(failed)?;
    let handle = follower.handle();
    let mut known = BTreeSet::new();
    for (source, begin) in begins {
        known.insert(source.path.clone());
        handle.add(Arc::new(source.clone()), source.path, begin);
    }
    add_consoles(args, &list, invocation, &handle, &mut known);
    watch_for_workers(args.clone(), invocation.clone(), handle, known);
    while let Some(line) = follower.next_said().map_err(failed)? {
        if wanted.matches(&line.bytes) {
            writer.line(&line.label, &line.bytes, Some(Stamp::now()));
        }
    }
    Ok(())
}

/// Returns the last lines of a file as text that does nothing to a terminal; none when it cannot be read.
pub fn last_lines(path: &Path, count: usize) -> Vec<String> {
    let lines = rpm_logs::last_lines(path, count).unwrap_or_default();
    lines.iter().map(|line| escape_control(line).into_owned()).collect()
}

/// Returns the arguments with the target that `--timestamp api` took for a format.
fn timestamp_gives_back(args: &Logs, list: &List) -> Logs {
    let mut args = args.clone();
    if args.targets.is_empty()
        && let Some(word) = &args.timestamp
        && target::workers_by_name(word, list).is_ok_and(|workers| !workers.is_empty())
    {
        args.targets.extend(args.timestamp.replace(TIMESTAMP_FORMAT.to_owned()));
    }
    args
}

/// Returns the workers that the arguments name, and whether the daemon's own log is meant too.
fn chosen(args: &Logs, list: &List, invocation: &Invocation) -> Result<(Vec<WorkerId>, bool), Failure> {
    if args.targets.is_empty() {
        return Ok((target::ids(list, |_| true), true));
    }
    let (mut workers, mut with_own) = (Vec::new(), false);
    for word in &args.targets {
        match target::resolve_workers(word, list, &cwd()) {
            Ok(found) => workers.extend(found),
            // No app has the name.
            Err(_) if word == own_name(invocation) => with_own = true,
            Err(failure) => return Err(failure),
        }
    }
    Ok((workers, with_own))
}

/// Returns what the daemon is called among the apps.
fn own_name(invocation: &Invocation) -> &'static str {
    match invocation.home.flavour() {
        Flavour::Rpm => "rpm",
        Flavour::Pm2 => "PM2",
    }
}

/// Returns the files of the workers that the arguments name, each file once.
pub(super) fn sources(args: &Logs, list: &List, invocation: &Invocation) -> Result<Vec<Source>, Failure> {
    let (workers, with_own) = chosen(args, list, invocation)?;
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    if with_own {
        sources.push(Source {
            path: invocation.home.daemon_log(),
            worker: None,
            app: own_name(invocation).into(),
            is_error: false,
        });
    }
    for (app, worker) in workers.iter().filter_map(|id| target::find(list, *id)) {
        let of = |path: &PathBuf, is_error| Source {
            path: path.clone(),
            worker: Some(worker.id.0),
            app: format::one_line(&app.spec.name),
            is_error,
        };
        if !args.out {
            sources.extend(worker.err_log.as_ref().map(|path| of(path, true)));
        }
        if !args.err {
            sources.extend(worker.out_log.as_ref().map(|path| of(path, false)));
        }
    }
    sources.retain(|source| seen.insert(source.path.clone()));
    Ok(sources)
}

/// Says of apps without files what of their output is to be had.
fn warn_of_consoles(args: &Logs, list: &List, voice: &Voice) {
    let is_read = |app: &&AppInfo| [false, true].iter().any(|err| *app.spec.logs.target(*err) == LogTarget::Console);
    let names: Vec<String> = list.apps.iter().filter(is_read).map(|app| format::one_line(&app.spec.name)).collect();
    if !names.is_empty() {
        let names = names.join(", ");
        let what = if args.nostream { "nothing of it can be shown" } else { "it is shown from now on" };
        voice
            .warn(format_args!("{names}: `runtime` keeps no files of what is said (`--output`, `--error`), so {what}"));
    }
}

/// Looks on at what `runtime` reads of the workers that the arguments name, and keeps in no file.
fn add_consoles(
    args: &Logs,
    list: &List,
    invocation: &Invocation,
    handle: &FollowerHandle<Arc<Source>>,
    known: &mut BTreeSet<PathBuf>,
) {
    let Ok((workers, _)) = chosen(args, list, invocation) else { return };
    for (app, worker) in workers.iter().filter_map(|id| target::find(list, *id)) {
        for (kind, is_left_out) in [(Kind::Err, args.out), (Kind::Out, args.err)] {
            let is_error = kind == Kind::Err;
            let path = rpm_logs::console_path(worker.id, kind, &invocation.home);
            if is_left_out || *app.spec.logs.target(is_error) != LogTarget::Console || known.contains(&path) {
                continue;
            }
            match rpm_logs::tap(worker.id, kind, &invocation.home) {
                Ok((_, pipe)) => {
                    let name = format::one_line(&app.spec.name);
                    let source = Source { path: path.clone(), worker: Some(worker.id.0), app: name, is_error };
                    handle.add_pipe(Arc::new(source), pipe);
                    known.insert(path);
                }
                Err(error) => invocation.voice.warn(format_args!("{} cannot be looked at: {error}", path.display())),
            }
        }
    }
}

/// Adds the files of workers that come later, as long as the program runs.
fn watch_for_workers(
    args: Logs,
    invocation: Invocation,
    handle: FollowerHandle<Arc<Source>>,
    mut known: BTreeSet<PathBuf>,
) {
    std::thread::spawn(move || {
        let mut process_events = args.json.then(ProcessEvents::new);
        let mut apps = BTreeSet::new();
        loop {
            let sessions = (Session::open_existing(&invocation.home), Session::open_existing(&invocation.home));
            if let (Ok(Some(events)), Ok(Some(mut lists))) = sessions {
                let mut add_new = |apps: &mut BTreeSet<String>| {
                    let Ok(list) = lists.list(false) else { return };
                    for source in sources(&args, &list, &invocation).unwrap_or_default() {
                        apps.insert(source.app.clone());
                        if known.insert(source.path.clone()) {
                            let path = source.path.clone();
                            handle.add(Arc::new(source), path, Begin::Start);
                        }
                    }
                    add_consoles(&args, &list, &invocation, &handle, &mut known);
                };
                add_new(&mut apps);
                let _ended = events.events(|notice| match notice {
                    Notice::Happened(happened) => {
                        if matches!(happened.event.as_str(), "start" | "online" | "restart") {
                            add_new(&mut apps);
                        }
                        let is_wanted = args.targets.is_empty() || apps.contains(&format::one_line(&happened.app));
                        if let Some(process_events) = process_events.as_mut().filter(|_| is_wanted) {
                            process_events.write(&happened);
                        }
                    }
                    Notice::Lagged(_) => add_new(&mut apps),
                    Notice::Progress { .. } | Notice::Warning(_) | Notice::Told(_) => {}
                });
            }
            std::thread::sleep(DAEMON_BACK_WITHIN);
        }
    });
}

/// Writes lines in the form that was asked for.
pub(super) struct Writer {
    form: Form,
    date: Option<DateFormat>,
    iso: DateFormat,
    /// PM2's time in `key=value` lines.
    zoned: DateFormat,
    highlight: Option<String>,
    label_width: usize,
    /// Raw lines of standard error go to ours.
    errors_apart: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `0|api | text`.
    Labelled,
    /// The app's bytes.
    Raw,
    /// One object a line.
    Json,
    /// `timestamp=… app=api id=0 type=out message=text`.
    Pairs,
}

impl Writer {
    pub(super) fn new(args: &Logs, sources: &[Source]) -> Self {
        let form = match (args.json, args.format, args.raw) {
            (true, _, _) => Form::Json,
            (false, true, _) => Form::Pairs,
            (false, false, true) => Form::Raw,
            (false, false, false) => Form::Labelled,
        };
        let longest = sources.iter().map(|source| label(source).width() + 1).max().unwrap_or(0);
        let date = args.timestamp.as_deref().map(DateFormat::local);
        let zoned = DateFormat::local("YYYY-MM-DD-HH:mm:ssZZ");
        let highlight = args.highlight.clone().filter(|word| !word.is_empty());
        let label_width = longest.max(LABEL_WIDTH);
        Self { form, date, iso: DateFormat::iso(), zoned, highlight, label_width, errors_apart: false }
    }

    /// Writes raw lines of standard error to ours, as the apps themselves would.
    pub(super) fn with_errors_apart(self) -> Self {
        Self { errors_apart: true, ..self }
    }

    fn header(&self, args: &Logs) {
        let lines = args.lines.unwrap_or(LINES);
        if self.form == Form::Labelled && lines > 0 {
            let who = if args.targets.is_empty() { "all".to_owned() } else { args.targets.join(", ") };
            let processes = if args.targets.len() == 1 { "process" } else { "processes" };
            let change = "(change the value with --lines option)";
            say::out(&format!("[TAILING] Tailing last {lines} lines for [{who}] {processes} {change}\n"));
        }
    }

    /// Writes the last lines of a file, which end at the offset `end`.
    fn file(&mut self, source: &Source, lines: &[Vec<u8>], end: u64, count: usize) {
        if lines.is_empty() {
            return;
        }
        if self.form == Form::Labelled {
            let grey = say::GREY;
            say::out(&format!("{grey}{} last {count} lines:{grey:#}\n", source.path.display()));
        }
        let times = match self.form {
            Form::Json | Form::Pairs => history::times_of(&source.path, lines, end),
            // As in PM2 without a time, which `--since` shows.
            Form::Labelled | Form::Raw => vec![None; lines.len()],
        };
        for (line, at) in lines.iter().zip(times) {
            self.line(source, line, at);
        }
        if self.form == Form::Labelled {
            say::out("\n");
        }
    }

    /// Writes one line; when it came is known for those that come while we look.
    pub(super) fn line(&mut self, source: &Source, bytes: &[u8], at: Option<Stamp>) {
        match self.form {
            Form::Raw => {
                let mut line = bytes.to_vec();
                line.push(b'\n');
                if self.errors_apart && source.is_error { say::err_bytes(&line) } else { say::out_bytes(&line) }
            }
            Form::Pairs => say::out(&self.pairs(source, bytes, at)),
            Form::Json => say::out(&format!("{}\n", self.record(source, bytes, at))),
            Form::Labelled => {
                let date = match (&mut self.date, at) {
                    (Some(date), Some(at)) => format!("{} ", date.text(at)),
                    (Some(_), None) | (None, _) => String::new(),
                };
                let style = match source {
                    Source { worker: None, .. } => anstyle::AnsiColor::Blue.on_default(),
                    Source { is_error: true, .. } => RED,
                    Source { .. } => GREEN,
                };
                say::out(&self.labelled(source, bytes, &date, style));
            }
        }
    }

    fn labelled(&self, source: &Source, bytes: &[u8], date: &str, style: Style) -> String {
        let label = label(source);
        let blank = self.label_width.saturating_sub(label.width());
        let mut text = format!("{date}{style}{label}{:blank$}|{style:#} ", "");
        let line = escape_control(bytes);
        let line = match &self.highlight {
            Some(word) => line.replace(word.as_str(), &format!("{HIGHLIGHT}{word}{HIGHLIGHT:#}")).into(),
            None => line,
        };
        let _ = writeln!(text, "{line}");
        text
    }

    fn pairs(&mut self, source: &Source, bytes: &[u8], at: Option<Stamp>) -> String {
        let at = at.map(|at| format!("timestamp={} ", self.zoned.text(at))).unwrap_or_default();
        let id = source.worker.map(|id| format!(" id={id}")).unwrap_or_default();
        let kind = if source.is_error { "error" } else { "out" };
        format!("{at}app={}{id} type={kind} message={}\n", source.app, escape_control(bytes))
    }

    fn record(&mut self, source: &Source, bytes: &[u8], at: Option<Stamp>) -> Value {
        // An app with `log_type: json` has records already.
        if let Ok(record @ Value::Object(_)) = serde_json::from_slice::<Value>(bytes)
            && record.get("message").is_some()
            && record.get("app_name").is_some()
        {
            return record;
        }
        let kind = match source {
            Source { worker: None, .. } => "PM2",
            Source { is_error: true, .. } => "err",
            Source { .. } => "out",
        };
        let mut record = json!({ "message": String::from_utf8_lossy(bytes) });
        if let Some(at) = at {
            record["timestamp"] = self.iso.text(at).into();
        }
        record["type"] = kind.into();
        if let Some(id) = source.worker {
            record["process_id"] = id.into();
        }
        record["app_name"] = source.app.as_str().into();
        record
    }
}

fn label(source: &Source) -> String {
    match source.worker {
        Some(id) => format!("{id}|{}", source.app),
        None => source.app.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(worker: Option<u32>, is_error: bool) -> Source {
        Source { path: "/l/api-out.log".into(), worker, app: "api".into(), is_error }
    }

    fn writer(sources: &[Source]) -> Writer {
        let args = Logs { json: true, ..Logs::default() };
        Writer::new(&args, sources)
    }

    #[test]
    fn a_line_has_its_worker_before_it() {
        let source = source(Some(3), false);
        let text = writer(std::slice::from_ref(&source)).labelled(&source, b"hello\x1b[2J", "", Style::new());
        assert_eq!(text, "3|api      | hello\\x1b[2J\n");
        let args = Logs { highlight: Some("ell".into()), ..Logs::default() };
        let text = Writer::new(&args, &[]).labelled(&source, b"hello", "12:00 ", Style::new());
        assert_eq!(text, "12:00 3|api      | h\x1b[7mell\x1b[0mo\n");
    }

    #[test]
    fn json_is_one_record_a_line_and_keeps_records() {
        let mut writer = writer(&[]);
        let record = writer.record(&source(Some(3), true), b"a \"word\"", Some(Stamp(0)));
        assert_eq!(record["message"], "a \"word\"");
        assert_eq!(record["type"], "err");
        assert_eq!(record["process_id"], 3);
        assert_eq!(record["timestamp"], "1970-01-01T00:00:00.000Z");
        let written = br#"{"message":"a\n","timestamp":"t","type":"out","process_id":0,"app_name":"m"}"#;
        assert_eq!(writer.record(&source(Some(3), true), written, None)["app_name"], "m");
    }
}
