//! `logs --since`, `--until`, `--grep`: what was written, of all workers in the order of time.
//!
//! Lines are chosen and merged as they are read, so that memory does not grow with the logs. Within one log the order is
//! the file's, whatever its lines say of their time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use regex_lite::Regex;
use rpm_logs::history::{Entry, History};
use rpm_logs::{Stamp, own_time};
use rpm_model::time::parse_duration;

use crate::args::Logs;
use crate::commands::logs::Source;
use crate::report::Failure;

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) since: Option<Stamp>,
    pub(super) until: Option<Stamp>,
    grep: Option<Regex>,
}

impl Wanted {
    /// Reads the arguments.
    pub(super) fn parse(args: &Logs) -> Result<Self, Failure> {
        let moment = |option: &str, text: &Option<String>| {
            let Some(text) = text else { return Ok(None) };
            parse_moment(text, Stamp::now(), &TimeZone::system()).map(Some).ok_or_else(|| {
                Failure::new(format!("{option} cannot be `{text}`"))
                    .hint("expected a time span (10m, 2h, 1d), a time of today (14:30) or a date (2026-11-25 14:30)")
            })
        };
        let grep = match &args.grep {
            Some(pattern) => Some(
                Regex::new(pattern)
                    .map_err(|error| Failure::new(format!("--grep `{pattern}` is no regular expression: {error}")))?,
            ),
            None => None,
        };
        let (since, until) = (moment("--since", &args.since)?, moment("--until", &args.until)?);
        if let (Some(from), Some(to)) = (since, until)
            && to < from
        {
            let [since, until] = [&args.since, &args.until].map(|text| text.as_deref().unwrap_or_default());
            return Err(Failure::new(format!("--until `{until}` is before --since `{since}`")));
        }
        Ok(Self { since, until, grep })
    }

    /// Returns whether anything is asked for.
    pub(super) fn is_anything(&self) -> bool {
        self.since.is_some() || self.until.is_some() || self.grep.is_some()
    }

    /// Returns whether a line is wanted by what it says.
    pub(super) fn matches(&self, line: &[u8]) -> bool {
        self.grep.as_ref().is_none_or(|grep| grep.is_match(&String::from_utf8_lossy(line)))
    }

    fn wants(&self, entry: &Entry) -> bool {
        // By the ledger a line may be up to a second later than told; better one too many.
        let too_old = self.since.is_some_and(|since| entry.is_own && entry.at.is_some_and(|at| at < since));
        let too_new = self.until.is_some_and(|until| entry.at.is_some_and(|at| at > until));
        !too_old && !too_new && self.matches(&entry.bytes)
    }
}

/// Writes the wanted lines in the order of time, only the last `lines` of them where a number is given. Returns the
/// places behind, for each source, where a follower goes on.
pub(super) fn show(
    sources: &[Source],
    wanted: &Wanted,
    lines: Option<usize>,
    mut write: impl FnMut(&Source, &Entry),
) -> io::Result<Vec<u64>> {
    let mut logs = Vec::new();
    for source in sources {
        logs.push(History::open(&source.path, wanted.since)?);
    }
    let mut nexts: Vec<Option<Entry>> = Vec::new();
    let mut order = BinaryHeap::new();
    for (n, log) in logs.iter_mut().enumerate() {
        let entry = next_wanted(log, wanted)?;
        order.extend(entry.as_ref().map(|entry| Reverse((entry.at, n))));
        nexts.push(entry);
    }
    let mut last: VecDeque<(usize, Entry)> = VecDeque::new();
    while let Some(Reverse((_, n))) = order.pop() {
        let next = next_wanted(&mut logs[n], wanted)?;
        order.extend(next.as_ref().map(|entry| Reverse((entry.at, n))));
        let Some(entry) = std::mem::replace(&mut nexts[n], next) else { continue };
        match lines {
            None => write(&sources[n], &entry),
            Some(count) => {
                last.push_back((n, entry));
                if last.len() > count {
                    last.pop_front();
                }
            }
        }
    }
    for (n, entry) in last {
        write(&sources[n], &entry);
    }
    Ok(logs.iter().map(History::end).collect())
}

fn next_wanted(log: &mut History, wanted: &Wanted) -> io::Result<Option<Entry>> {
    while let Some(entry) = log.next_line()? {
        if wanted.wants(&entry) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Reads the moment of a `--since`, in milliseconds since the Unix epoch.
pub(super) fn since(text: Option<&str>) -> Result<Option<u64>, Failure> {
    let args = Logs { since: text.map(str::to_owned), ..Logs::default() };
    Ok(Wanted::parse(&args)?.since.map(|stamp| u64::try_from(stamp.0).unwrap_or_default()))
}

/// Reads `10m` (ago), `14:30`, `2026-11-25`, `2026-11-25 14:30[:05]` or a time with its zone.
fn parse_moment(text: &str, now: Stamp, zone: &TimeZone) -> Option<Stamp> {
    let text = text.trim();
    if text.ends_with(|c: char| c.is_ascii_alphabetic())
        && let Ok(span) = parse_duration(text)
    {
        return Some(Stamp(now.0 - i64::try_from(span.as_millis()).ok()?));
    }
    if let Ok(stamp) = text.parse::<Timestamp>() {
        return Some(Stamp(stamp.as_millisecond()));
    }
    // A line's own form, so that a time can be copied from a log.
    if let Some(stamp) = own_time(text.as_bytes()) {
        return Some(stamp);
    }
    let local = |date: DateTime| Some(Stamp(date.to_zoned_datetime(zone.clone()).ok()?.timestamp().as_millisecond()));
    if let Ok(date) = text.replace(' ', "T").parse::<DateTime>() {
        return local(date);
    }
    let time: Time = text.contains(':').then(|| text.parse().ok())??;
    let today = Timestamp::from_millisecond(now.0).ok()?.to_zoned_datetime(zone.clone()).datetime().date();
    local(today.to_datetime(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn moments_are_spans_times_and_dates() {
        let zone = TimeZone::get("Asia/Kathmandu").expect("a zone");
        let stamp = |text: &str| Stamp(text.parse::<Timestamp>().expect("a time").as_millisecond());
        let now = stamp("2026-11-25T12:00:00Z");
        for (text, expected) in [
            ("10m", Some("2026-11-25T11:50:00Z")),
            ("1.5h", Some("2026-11-25T10:30:00Z")),
            ("1d", Some("2026-11-24T12:00:00Z")),
            ("2026-11-25T10:00:00Z", Some("2026-11-25T10:00:00Z")),
            ("2026-11-25T10:00:00+05:45", Some("2026-11-25T04:15:00Z")),
            ("2026-11-25 10:00", Some("2026-11-25T04:15:00Z")),
            ("2026-11-25", Some("2026-11-24T18:15:00Z")),
            ("10:00", Some("2026-11-25T04:15:00Z")),
            ("10", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(parse_moment(text, now, &zone), expected.map(stamp), "{text}");
        }
        assert_eq!(parse_moment("1d", Stamp(0), &zone), Some(Stamp(-86_400_000)));
    }

    #[test]
    fn lines_of_several_logs_come_in_the_order_of_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let source = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("writes");
            Source { path, worker: None, app: name.into(), is_error: false }
        };
        let sources = [
            source("a", "2026-01-01T00:00:01Z one\n  with more\n2026-01-01T00:00:04Z four\n"),
            source("b", "2026-01-01T00:00:02Z two\n2026-01-01T00:00:03Z three\n"),
        ];
        let shown = |wanted: &Wanted, lines: Option<usize>| {
            let mut out = String::new();
            show(&sources, wanted, lines, |_, entry| {
                let text = String::from_utf8_lossy(&entry.bytes);
                out.push_str(text.rsplit(' ').next().unwrap_or_default());
                out.push(' ');
            })
            .expect("reads");
            out
        };
        assert_eq!(shown(&Wanted::default(), None), "one more two three four ");
        assert_eq!(shown(&Wanted::default(), Some(2)), "three four ");
        let since = own_time(b"2026-01-01T00:00:02Z");
        assert_eq!(shown(&Wanted { since, ..Wanted::default() }, None), "more two three four ");
        assert_eq!(shown(&Wanted { until: since, ..Wanted::default() }, None), "one more two ");
        let grep = Regex::new("t[wh]").ok();
        assert_eq!(shown(&Wanted { grep, ..Wanted::default() }, None), "more two three ");
        assert!(show(&[], &Wanted::default(), None, |_, _| {}).expect("reads").is_empty());
        let missing =
            Source { path: Path::new("/nowhere/a.log").into(), worker: None, app: "x".into(), is_error: false };
        assert_eq!(show(&[missing], &Wanted::default(), None, |_, _| {}).expect("reads"), [0]);
    }
}
