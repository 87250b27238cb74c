//! An app's output on its way into a log, and what lies beside a log.

use std::path::Path;

use jiff::tz::TimeZone;
use rpm_logs::frame::{Framer, JsonStyle, State, Style, Tail};
use rpm_logs::{Begin, DateFormat, Follower, History, Kind, Stamp, escape_control, own_time};
use rpm_model::WorkerId;

/// Frames output in every style, whole and in pieces. The first byte is a size of pieces, the first line a date format.
pub fn lines(bytes: &[u8]) {
    let Some((size, rest)) = bytes.split_first() else { return };
    let format = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let format = String::from_utf8_lossy(&format[..format.len().min(64)]).into_owned();
    let utc = || DateFormat::in_zone(&format, TimeZone::UTC);
    let date = utc().text(Stamp(0)).into_bytes();
    let piece = usize::from(*size) + 1;

    assert_eq!(framed(Style::Raw, rest, piece), rest, "raw output is the app's");
    let whole = framed(Style::Dated(utc()), rest, rest.len().max(1));
    assert_eq!(framed(Style::Dated(utc()), rest, piece), whole, "dates depend on how the app wrote");
    if rest.len() < rpm_logs::frame::HOLD_MAX {
        let expected = rest.split_inclusive(|byte| *byte == b'\n');
        let mut expected: Vec<u8> = expected.flat_map(|line| [&*date, b": ", line].concat()).collect();
        if !rest.is_empty() && rest.last() != Some(&b'\n') {
            expected.push(b'\n');
        }
        assert_eq!(whole, expected);
    }
    let json = || Style::Json(JsonStyle::new(Some(utc()), Kind::Out, WorkerId(0), &format));
    let whole = framed(json(), rest, rest.len().max(1));
    assert_eq!(framed(json(), rest, piece), whole, "records depend on how the app wrote");
    let mut said = String::new();
    for record in whole.split(|byte| *byte == b'\n').filter(|record| !record.is_empty()) {
        let record: serde_json::Value = serde_json::from_slice(record).expect("a record is JSON");
        said.push_str(record["message"].as_str().expect("a message"));
    }
    if let Ok(text) = std::str::from_utf8(rest) {
        assert_eq!(said, text, "a record says what the app said");
    }

    for line in rest.split(|byte| *byte == b'\n') {
        own_time(line);
        let shown = escape_control(line);
        // Colours may pass.
        let mut parts = shown.split('\x1b');
        let plain =
            parts.next().into_iter().chain(parts.filter_map(|part| Some(part.strip_prefix('[')?.split_once('m')?.1)));
        let plain: String = plain.collect();
        assert!(!plain.chars().any(|c| c.is_control() && c != '\t'), "a terminal is moved by {shown:?}");
        assert_eq!(shown.matches('\x1b').count(), shown.matches("\x1b[").count(), "a terminal is moved by {shown:?}");
    }
}

fn framed(style: Style, bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut framer = Framer::new(style, State::default());
    let (mut all, mut held) = (Vec::new(), Vec::new());
    let mut pieces = bytes.chunks(piece).peekable();
    while let Some(next) = pieces.next() {
        held.extend_from_slice(next);
        let tail = if pieces.peek().is_some() { Tail::Hold } else { Tail::End };
        loop {
            let mut out = Vec::new();
            let framed = framer.frame(&held, Stamp(0), tail, &mut out);
            all.append(&mut out);
            held.drain(..framed.consumed);
            if framed.holds || held.is_empty() {
                break;
            }
        }
    }
    assert!(held.is_empty(), "something was left");
    all
}

/// What the log says that lies beside the ledger.
const LOG: &str = "one\n2026-11-25T19:20:05Z two\nthree\n";

/// Reads, follows and takes up a log whose ledger is garbage: times may be wrong, no line may be missing. What is behind
/// the first byte's many bytes is an unfinished copy of the log's head.
pub fn ledger(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let (ledger, copied) = rest.split_at(usize::from(*length).min(rest.len()));
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("a.log");
    std::fs::write(&log, LOG).expect("a log");
    let path = rpm_logs::fuzz::ledger_path(&log);
    std::fs::write(&path, claim_file(ledger, &log)).expect("a ledger");
    read(&log);
    if let Some((base, head)) = copied.split_at_checked(1) {
        let base = u64::from(base[0]);
        let name = format!(".a.log.copied-{base}-0f0e1c9a-0000-4000-8000-000000000000");
        std::fs::write(directory.path().join(name), head).expect("a copy");
    }
    let _ = rpm_logs::fuzz::take_up(&log);
    assert!(std::fs::read(&log).expect("the log").ends_with(b"three\n"), "the log is damaged");
    read(&log);
}

/// Half of the ledgers are of this file, which the fuzzer cannot guess: those with an inode of ones.
fn claim_file(ledger: &[u8], log: &Path) -> Vec<u8> {
    use std::os::unix::fs::MetadataExt;
    let mut ledger = ledger.to_vec();
    if let Some(identity) = ledger.get_mut(8..24).filter(|identity| identity.iter().all(|byte| *byte == b'1')) {
        let meta = log.metadata().expect("the log");
        identity[..8].copy_from_slice(&meta.dev().to_le_bytes());
        identity[8..].copy_from_slice(&meta.ino().to_le_bytes());
    }
    ledger
}

fn read(log: &Path) {
    let mut history = History::open(log, None).expect("a log can be read");
    let mut text = Vec::new();
    while let Some(entry) = history.next_line().expect("a log can be read") {
        text.extend(entry.bytes);
        text.push(b'\n');
    }
    assert!(text.ends_with(LOG.as_bytes()), "lines are missing: {:?}", String::from_utf8_lossy(&text));
    if let Ok(mut history) = History::open(log, Some(Stamp(1_700_000_000_000))) {
        while let Ok(Some(_)) = history.next_line() {}
    }
    let mut follower = Follower::new().expect("a follower");
    follower.add((), log, Begin::Start);
    follower.add((), log, Begin::Place(7));
    let mut lines = 0;
    while let Ok(Some(_)) = follower.ready() {
        lines += 1;
    }
    assert!(lines >= 3, "only {lines} lines are seen");
}
