//! A session as a file: every event with its moment, one JSON document a line.
//!
//! ```text
//! {"rpm_monit":1,"zone":3600,"read_only":false}
//! {"ms":0,"event":{"resized":{"width":80,"height":24}}}
//! {"ms":12,"event":{"listed":{"at_ms":1700000000000,"result":{"Ok":{…}}}}}
//! ```
//! The state is made by its events alone, so a session is seen again as it was: for a report of what went wrong, and
//! as a test. A file has lists and lines of logs in it, but no environments, which the dashboard never asks for.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::state::State;

/// A recording ends here: an hour of a large list.
const BYTES_MAX: u64 = 256 << 20;
/// The form of the file.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    rpm_monit: u32,
    zone: i32,
    #[serde(default)]
    read_only: bool,
}

/// An event and its moment, in milliseconds from the beginning.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Moment<E> {
    pub(crate) ms: u64,
    pub(crate) event: E,
}

/// Writes a session down. It is for its owner only: logs may hold secrets.
#[derive(Debug)]
pub(crate) struct Recorder {
    file: BufWriter<File>,
    written: u64,
}

impl Recorder {
    /// Begins a file; one that is there already is not touched.
    pub(crate) fn create(path: &Path, state: &State) -> io::Result<Self> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        let mut recorder = Self { file: BufWriter::new(file), written: 0 };
        recorder.line(&Head { rpm_monit: VERSION, zone: state.zone, read_only: state.read_only })?;
        Ok(recorder)
    }

    /// Adds one event. Beyond the bound it does nothing.
    pub(crate) fn write(&mut self, ms: u64, event: &Event) -> io::Result<()> {
        if self.written > BYTES_MAX {
            return Ok(());
        }
        self.line(&Moment { ms, event })
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.written += line.len() as u64;
        self.file.write_all(&line)?;
        // A program that is killed leaves what happened until then.
        self.file.flush()
    }
}

/// Reads a session.
#[derive(Debug)]
pub(crate) struct Recording {
    lines: io::Lines<BufReader<File>>,
}

impl Recording {
    /// Opens a file; the state is as it was at the beginning.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, State)> {
        let mut lines = BufReader::new(File::open(path)?).lines();
        let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let first = lines.next().transpose()?.unwrap_or_default();
        let head: Head =
            serde_json::from_str(&first).map_err(|_| bad("it is no recording of `rpm monit --record`".into()))?;
        if head.rpm_monit != VERSION {
            return Err(bad(format!("it is of version {}, and this program reads {VERSION}", head.rpm_monit)));
        }
        Ok((Self { lines }, State { zone: head.zone, read_only: head.read_only, ..State::default() }))
    }
}

impl Iterator for Recording {
    type Item = Moment<Event>;

    /// Returns the next event. A line that cannot be read, as the last one of a program that was killed, ends it.
    fn next(&mut self) -> Option<Self::Item> {
        serde_json::from_str(&self.lines.next()?.ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw;
    use crate::event::{LogLine, Logged, Stream};
    use crate::fixture::{happened, key, list, listed, text_of};
    use crossterm::event::KeyCode::{Char, Down, Enter};
    use crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
    use rpm_model::WorkerId;

    fn session() -> Vec<Event> {
        let click = MouseEvent {
            kind: MouseEventKind::Down(MouseButton::Left),
            column: 5,
            row: 4,
            modifiers: KeyModifiers::NONE,
        };
        let line = LogLine { worker: WorkerId(0), stream: Stream::Err, text: "\x1b[31moh\x1b[0m 日本".into() };
        vec![
            Event::Resized { width: 100, height: 30 },
            listed(list()),
            happened("api", "exit", Some("exit code 3")),
            key(Down),
            Event::Logged(Logged { following: 1, lines: vec![line] }),
            Event::Mouse(click),
            key(Char(':')),
            Event::Pasted("sort cpu".into()),
            key(Enter),
            Event::Listed { at_ms: 1, result: Err("gone".into()) },
        ]
    }

    #[test]
    fn a_session_is_seen_again_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session");
        let mut state = State { zone: 3600, ..State::default() };
        let mut recorder = Recorder::create(&path, &state).unwrap();
        let mut frames = Vec::new();
        for (number, event) in session().into_iter().enumerate() {
            recorder.write(number as u64, &event).unwrap();
            state.handle(event);
            frames.push(text_of(state.size, |area, buffer| draw::screen(&state, area, buffer)));
        }
        let (recording, mut again) = Recording::open(&path).unwrap();
        let mut count = 0;
        for (number, moment) in recording.enumerate() {
            assert_eq!(moment.ms, number as u64);
            again.handle(moment.event);
            assert_eq!(text_of(again.size, |area, buffer| draw::screen(&again, area, buffer)), frames[number]);
            count += 1;
        }
        assert_eq!(count, frames.len());
    }

    #[test]
    fn what_is_no_recording_is_named_and_nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session");
        std::fs::write(&path, "hello\n").unwrap();
        assert!(Recording::open(&path).unwrap_err().to_string().contains("no recording"));
        assert!(Recorder::create(&path, &State::default()).is_err());
        std::fs::write(&path, "{\"rpm_monit\":9,\"zone\":0}\n").unwrap();
        assert!(Recording::open(&path).unwrap_err().to_string().contains("version 9"));
    }
}
