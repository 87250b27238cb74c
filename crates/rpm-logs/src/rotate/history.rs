//! All that is left of a log, archives first, line by line, with the time of each.
//!
//! The time of a line is its own where it begins with one (`2026-11-25T19:20:05.123Z`, as many loggers, `--time` and JSON
//! records write it), else the ledger's, which is right to a second ([`ledger`](super::ledger)). Within a log times never go
//! back: a line without a time of its own, such as one of a stack trace, is no older than the one before it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustix::fs::OFlags;

use super::ledger::{Header, Ledger, Times};
use super::{archive, collapse};
use crate::date::Stamp;

/// A longer line comes in pieces, so that memory is bounded.
const LINE_MAX: usize = 1 << 20;

/// A head is taken away in less; after this its taker is dead, and nothing moves.
///
/// A fuzzer has no time, and nobody who moves anything.
pub(crate) const STEADY_WITHIN: Duration = Duration::from_secs(if cfg!(fuzzing) { 0 } else { 2 });

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was written, as well as that is known.
    pub at: Option<Stamp>,
    /// Whether that is the line's own word.
    pub is_own: bool,
    /// Without its end.
    pub bytes: Vec<u8>,
}

/// Reads a log from its oldest archive, or from a moment on.
pub struct History {
    parts: VecDeque<Part>,
    times: Times,
    /// The place of the next byte.
    place: u64,
    last: Option<Stamp>,
    partial: Vec<u8>,
    /// Behind the last line that has an end.
    end: u64,
}

/// One file with a part of the log.
struct Part {
    path: PathBuf,
    gzip: bool,
    skip: u64,
    length: u64,
    reader: Option<Box<dyn BufRead + Send>>,
}

impl History {
    /// Opens what is left of a log. With `since`, what was surely written before is left out; lines shortly before may
    /// still come.
    pub fn open(log: &Path, since: Option<Stamp>) -> io::Result<Self> {
        let ledger = Ledger::read(log)?;
        let file = open(log).ok().filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()));
        let length = file.as_ref().map_or(Ok(0), |file| file.metadata().map(|meta| meta.len()))?;
        let (base, times) = match &ledger {
            Some(ledger) => (steady(ledger)?.base, ledger.records()?),
            None => (0, Times::default()),
        };
        // What is not known to be older is shown.
        let from = since.map_or(0, |since| times.place_at(since));
        let mut parts = VecDeque::new();
        if file.is_some() {
            let skip = from.saturating_sub(base).min(length);
            parts.push_back(Part { path: log.to_owned(), gzip: false, skip, length, reader: None });
        }
        let mut start = base;
        for archive in archive::list(log)?.into_iter().rev() {
            // Its mark has whole seconds.
            if since.is_some_and(|since| archive.mark.stamp().0 + 1000 <= since.0) {
                break;
            }
            let length = uncompressed_length(&archive.path, archive.gzip)?;
            let end = start;
            start = start.saturating_sub(length);
            if ledger.is_some() && end > 0 && from >= end {
                break;
            }
            let skip = from.saturating_sub(start).min(length);
            parts.push_front(Part { path: archive.path, gzip: archive.gzip, skip, length, reader: None });
        }
        let place = match parts.front() {
            Some(first) if first.path == log => base + first.skip,
            Some(first) => start_of(&parts, base) + first.skip,
            None => base,
        };
        Ok(Self { parts, times, place, last: None, partial: Vec::new(), end: place })
    }

    /// Returns the next line, also one at the very end that has no end yet.
    pub fn next_line(&mut self) -> io::Result<Option<Entry>> {
        let begin = self.place - self.partial.len() as u64;
        loop {
            let Some(part) = self.parts.front_mut() else {
                if self.partial.is_empty() {
                    return Ok(None);
                }
                let bytes = std::mem::take(&mut self.partial);
                return Ok(Some(self.entry(begin, bytes)));
            };
            let reader = match &mut part.reader {
                Some(reader) => reader,
                None => part.reader.insert(part_reader(&part.path, part.gzip, part.skip, part.length)?),
            };
            let room = (LINE_MAX - self.partial.len()) as u64;
            let count = reader.take(room).read_until(b'\n', &mut self.partial)?;
            self.place += count as u64;
            if count == 0 {
                // A line may go on in the next file.
                self.parts.pop_front();
                continue;
            }
            let ended = self.partial.last() == Some(&b'\n');
            if ended || self.partial.len() == LINE_MAX {
                let mut bytes = std::mem::take(&mut self.partial);
                if ended {
                    bytes.pop();
                }
                self.end = self.place;
                return Ok(Some(self.entry(begin, bytes)));
            }
        }
    }

    /// Returns the place behind the last line that had an end: where a follower goes on.
    pub fn end(&self) -> u64 {
        self.end
    }

    fn entry(&mut self, begin: u64, bytes: Vec<u8>) -> Entry {
        let own = own_time(&bytes);
        let at = own.or_else(|| self.times.of(begin));
        self.last = self.last.max(at);
        Entry { at: self.last, is_own: own.is_some(), bytes }
    }
}

/// Returns when the last lines of a log were written, as [`History`] has it: lines that end at the offset `end`, the last of
/// them perhaps without its own end.
pub fn times_of(log: &Path, lines: &[Vec<u8>], end: u64) -> Vec<Option<Stamp>> {
    let ledger = Ledger::read(log).ok().flatten();
    let known = ledger.and_then(|ledger| Some((steady(&ledger).ok()?.base, ledger.records().ok()?)));
    let length: u64 = lines.iter().map(|line| line.len() as u64 + 1).sum();
    // One line more or less moves a time by what lies between two lines.
    let mut offset = end.saturating_sub(length);
    let mut last = None;
    let time = |line: &Vec<u8>| {
        let noted = known.as_ref().and_then(|(base, times)| times.of(base + offset).or(times.first()));
        offset += line.len() as u64 + 1;
        last = last.max(own_time(line).or(noted));
        last
    };
    lines.iter().map(time).collect()
}

/// Returns the readers of everything from `place` to `base`, which went to archives while somebody read.
pub(crate) fn behind(log: &Path, place: u64, base: u64) -> io::Result<Vec<Box<dyn BufRead + Send>>> {
    let mut readers: Vec<Box<dyn BufRead + Send>> = Vec::new();
    let mut start = base;
    // Opened before the archives are listed, so that it is found here or there, and known by its number if in both.
    let mut newest = None;
    if let Some(mut copy) = collapse::unpublished(log, base)? {
        let meta = copy.metadata()?;
        newest = Some(meta.ino());
        start = start.saturating_sub(meta.len());
        copy.seek(SeekFrom::Start(place.saturating_sub(start).min(meta.len())))?;
        readers.push(Box::new(BufReader::with_capacity(64 << 10, copy)));
    }
    for archive in archive::list(log)?.into_iter().rev() {
        if start <= place {
            break;
        }
        if newest.is_some() && std::fs::metadata(&archive.path).map(|meta| meta.ino()).ok() == newest {
            continue;
        }
        let length = uncompressed_length(&archive.path, archive.gzip)?;
        start = start.saturating_sub(length);
        readers.push(part_reader(&archive.path, archive.gzip, place.saturating_sub(start).min(length), length)?);
    }
    readers.reverse();
    Ok(readers)
}

/// Waits until nothing is being moved.
pub(crate) fn steady(ledger: &Ledger) -> io::Result<Header> {
    let deadline = Instant::now() + STEADY_WITHIN;
    loop {
        let header = ledger.header()?;
        if header.is_steady() || Instant::now() >= deadline {
            return Ok(header);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn start_of(parts: &VecDeque<Part>, base: u64) -> u64 {
    let log = parts.back().map(|part| part.path.clone());
    let archived: u64 = parts.iter().filter(|part| Some(&part.path) != log.as_ref()).map(|part| part.length).sum();
    base.saturating_sub(archived)
}

fn part_reader(path: &Path, gzip: bool, skip: u64, length: u64) -> io::Result<Box<dyn BufRead + Send>> {
    let (mut file, gzip) = match open(path) {
        Ok(file) => (file, gzip),
        // Compressed meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !gzip => {
            let mut name = path.as_os_str().to_owned();
            name.push(".gz");
            (open(Path::new(&name))?, true)
        }
        Err(error) => return Err(error),
    };
    if gzip {
        let mut reader = BufReader::new(MultiGzDecoder::new(file));
        io::copy(&mut (&mut reader).take(skip), &mut io::sink())?;
        return Ok(Box::new(reader));
    }
    file.seek(SeekFrom::Start(skip))?;
    Ok(Box::new(BufReader::with_capacity(64 << 10, file.take(length - skip))))
}

/// The length before compression stands in gzip's last four bytes, but for multiples of 4 GiB, which no archive has that
/// was cut by size.
fn uncompressed_length(path: &Path, gzip: bool) -> io::Result<u64> {
    let file = open(path)?;
    let length = file.metadata()?.size();
    if !gzip {
        return Ok(length);
    }
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, length.saturating_sub(4))?;
    Ok(u64::from(u32::from_le_bytes(bytes)))
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags((OFlags::NONBLOCK).bits() as i32).open(path)
}

/// Returns the time that a line begins with: `2026-11-25T19:20:05`, with a blank for the `T`, brackets around it, a fraction
/// and a zone or none, which is this machine's; or that of a JSON record.
pub fn own_time(line: &[u8]) -> Option<Stamp> {
    let start = &line[..line.len().min(64)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&start[..error.valid_up_to()]).ok()?,
    };
    if text.starts_with('{') {
        return record_time(line);
    }
    iso(text.strip_prefix('[').unwrap_or(text))
}

fn iso(text: &str) -> Option<Stamp> {
    // Quickly, since most lines have none.
    let shape = text.as_bytes().get(..19)?;
    let fits = |(n, byte): (usize, &u8)| match n {
        4 | 7 => *byte == b'-',
        10 => matches!(byte, b'T' | b' '),
        13 | 16 => *byte == b':',
        _ => byte.is_ascii_digit(),
    };
    if !shape.iter().enumerate().all(fits) {
        return None;
    }
    let rest = &text[19..];
    let fraction = match rest.strip_prefix(['.', ',']) {
        Some(digits) => 1 + digits.bytes().take_while(u8::is_ascii_digit).count(),
        None => 0,
    };
    let zone = &rest[fraction..];
    let zone_length = match zone.as_bytes() {
        [b'Z', ..] => 1,
        [b'+' | b'-', a, b, b':', c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_digit()) => 6,
        [b'+' | b'-', a, b, c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_digit()) => 5,
        _ => 0,
    };
    let plain = format!("{}T{}{}", &text[..10], &text[11..19], rest[..fraction].replace(',', "."));
    if zone_length > 0 {
        let stamp: jiff::Timestamp = format!("{plain}{}", &zone[..zone_length]).parse().ok()?;
        return Some(Stamp(stamp.as_millisecond()));
    }
    let date: DateTime = plain.parse().ok()?;
    Some(Stamp(date.to_zoned_datetime(TimeZone::system()).ok()?.timestamp().as_millisecond()))
}

fn record_time(line: &[u8]) -> Option<Stamp> {
    let record: serde_json::Value = serde_json::from_slice(line).ok()?;
    ["timestamp", "time", "@timestamp"].iter().find_map(|key| match &record[*key] {
        serde_json::Value::String(text) => iso(text),
        // Milliseconds since the epoch, as pino writes them; seconds would be in 1970.
        serde_json::Value::Number(number) => number.as_i64().filter(|ms| *ms > 100_000_000_000).map(Stamp),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_may_say_its_time() {
        let at = |text: &str| text.parse::<jiff::Timestamp>().ok().map(|time| Stamp(time.as_millisecond()));
        for (line, time) in [
            ("2026-11-25T19:20:05.123Z hello", at("2026-11-25T19:20:05.123Z")),
            ("[2026-11-25 19:20:05,5+01:00] hello", at("2026-11-25T18:20:05.5Z")),
            ("2026-11-25T19:20:05+0100: hello", at("2026-11-25T18:20:05Z")),
            (r#"{"level":30,"time":1772683629042,"msg":"pino"}"#, at("2026-03-05T04:07:09.042Z")),
            (r#"{"message":"x","timestamp":"2026-11-25T19:20:05.123Z"}"#, at("2026-11-25T19:20:05.123Z")),
            ("2026-11-25", None),
            ("hello 2026-11-25T19:20:05.123Z", None),
            ("2026-13-45T99:99:99Z", None),
            ("{broken", None),
            ("", None),
        ] {
            assert_eq!(own_time(line.as_bytes()), time, "{line}");
        }
        let local = iso("2026-11-25T19:20:05: hello").expect("a time");
        assert!((local.0 - at("2026-11-25T19:20:05Z").expect("a time").0).abs() <= 15 * 3_600_000);
        assert_eq!(own_time(b"2026-11-25T19:20:05Z \xff\xfe"), at("2026-11-25T19:20:05Z"));
    }

    #[test]
    fn a_line_that_was_cut_is_read_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("a.log");
        std::fs::write(archive::next(&log).expect("a name"), "one\ntw").expect("writes");
        std::fs::write(archive::next(&log).expect("a name"), "o\nthree\n").expect("writes");
        std::fs::write(&log, "four\nfi").expect("writes");
        let mut history = History::open(&log, None).expect("opens");
        let mut lines = Vec::new();
        while let Some(entry) = history.next_line().expect("reads") {
            lines.push(String::from_utf8(entry.bytes).expect("text"));
        }
        assert_eq!(lines, ["one", "two", "three", "four", "fi"]);
    }

    #[test]
    fn the_ledger_knows_when() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("a.log");
        std::fs::write(&log, "one\ntwo\nthree\n").expect("writes");
        let ledger = Ledger::write(&log).expect("opens");
        ledger.header_for(&open(&log).expect("opens")).expect("begins");
        // Silence before the second line, and the third came 5 s later.
        ledger.note(0, Stamp(1_000)).expect("notes");
        ledger.note(4, Stamp(2_000)).expect("notes");
        ledger.note(4, Stamp(9_000)).expect("notes");
        ledger.note(8, Stamp(14_000)).expect("notes");
        let read = |since: Option<Stamp>| {
            let mut history = History::open(&log, since).expect("opens");
            let mut lines = Vec::new();
            while let Some(entry) = history.next_line().expect("reads") {
                lines.push((entry.at.map(|at| at.0), String::from_utf8(entry.bytes).expect("text")));
            }
            (lines, history.end())
        };
        let line = |at: i64, text: &str| (Some(at), text.to_owned());
        assert_eq!(read(None), (vec![line(1_000, "one"), line(9_000, "two"), line(14_000, "three")], 14));
        assert_eq!(read(Some(Stamp(8_500))).0, [line(9_000, "two"), line(14_000, "three")]);
        assert_eq!(read(Some(Stamp(9_500))).0, [line(9_000, "two"), line(14_000, "three")]);
        assert_eq!(read(Some(Stamp(20_000))).0, [line(14_000, "three")]);
    }
}
