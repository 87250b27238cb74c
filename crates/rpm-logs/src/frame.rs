//! Bytes in, framed lines out. Pure: time comes with the bytes, and the same input gives the same output.
//!
//! | style | a line becomes |
//! |---|---|
//! | raw | itself |
//! | dated | `DATE: line`, bytes untouched |
//! | JSON | `{"message":"line\n","timestamp":"…","type":"out","process_id":0,"app_name":"api"}`, invalid UTF-8 as U+FFFD |
//!
//! Writes of an app are not lines. A line whose end is missing is *held*: not consumed, so the caller keeps it and
//! presents it again with what follows. It carries the time of its first byte. Holding has a bound: a line of more than
//! [`HOLD_MAX`] goes out in pieces (behind one date), in JSON a line of more than [`JSON_LINE_MAX`] is split into several
//! records (never inside a character). The end of the stream ends the last line, but for raw bytes, which stay the app's.
//!
//! What must survive between calls is in [`State`], two plain values that the pump keeps beside the bytes.

use memchr::{memchr, memrchr};
use rpm_model::{LogFormat, WorkerId};

use crate::date::{DateFormat, Stamp};
use crate::target::Kind;

/// An unfinished line longer than this goes out in pieces, but for JSON: more than a terminal ever shows.
pub const HOLD_MAX: usize = 64 << 10;

/// A line longer than this becomes several JSON records: the usual bound of collectors is 256 KiB to 1 MiB.
pub const JSON_LINE_MAX: usize = 1 << 20;

/// Framing pauses after the line that makes the output this long, so that memory is bounded however short the lines.
const OUTPUT_PAUSE: usize = 512 << 10;

/// How the lines of one stream are written.
#[derive(Debug, Clone)]
pub enum Style {
    /// As the app wrote them.
    Raw,
    /// With a date before each.
    Dated(DateFormat),
    /// One JSON object each.
    Json(JsonStyle),
}

/// The parts of a JSON record that are the same for a whole stream.
#[derive(Debug, Clone)]
pub struct JsonStyle {
    date: DateFormat,
    /// The last timestamp, quoted: most records of one input share it.
    stamp: Option<Stamp>,
    quoted: Vec<u8>,
    /// From the comma after the timestamp to the line's end.
    tail: Vec<u8>,
}

impl JsonStyle {
    /// Prepares records of one stream; `date` defaults to ISO 8601 in UTC.
    pub fn new(date: Option<DateFormat>, kind: Kind, worker: WorkerId, app_name: &str) -> Self {
        let mut tail = format!(r#","type":"{}","process_id":{worker},"app_name":"#, kind.as_str()).into_bytes();
        write_json(&mut tail, app_name);
        tail.extend_from_slice(b"}\n");
        Self { date: date.unwrap_or_else(DateFormat::iso), stamp: None, quoted: Vec::new(), tail }
    }

    fn record(&mut self, line: &[u8], at: Stamp, out: &mut Vec<u8>) {
        if self.stamp != Some(at) {
            self.quoted.clear();
            write_json(&mut self.quoted, &self.date.text(at));
            self.stamp = Some(at);
        }
        out.extend_from_slice(br#"{"message":"#);
        write_json(out, &String::from_utf8_lossy(line));
        out.extend_from_slice(br#","timestamp":"#);
        out.extend_from_slice(&self.quoted);
        out.extend_from_slice(&self.tail);
    }
}

impl Style {
    /// Returns the style that a log's options ask for.
    pub fn new(format: LogFormat, date: Option<&str>, kind: Kind, worker: WorkerId, app_name: &str) -> Self {
        let date = date.map(DateFormat::local);
        match (format, date) {
            (LogFormat::Json, date) => Style::Json(JsonStyle::new(date, kind, worker, app_name)),
            (LogFormat::Raw, Some(date)) => Style::Dated(date),
            (LogFormat::Raw, None) => Style::Raw,
        }
    }

    /// Returns the most input that may have to be presented at once: a held line never grows beyond this.
    pub fn hold_max(&self) -> usize {
        match self {
            Style::Raw | Style::Dated(_) => HOLD_MAX,
            Style::Json(_) => JSON_LINE_MAX,
        }
    }
}

/// What framing remembers from one call to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State {
    /// The output ends within a line whose date is already written.
    pub mid_line: bool,
    /// When the first byte of the held line came.
    pub held_since: Option<Stamp>,
}

/// What is to become of an unfinished line at the end of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// It is held: more will come.
    Hold,
    /// It goes out as it is; what comes next continues it (in JSON: becomes a record of its own).
    Flush,
    /// The stream has ended: it goes out and is ended.
    End,
}

/// What one call of [`Framer::frame`] did with its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framed {
    /// This much is done with.
    pub consumed: usize,
    /// All the rest is a line without its end; otherwise framing only paused.
    pub holds: bool,
}

/// Frames one stream.
#[derive(Debug, Clone)]
pub struct Framer {
    style: Style,
    state: State,
}

impl Framer {
    /// Begins where `state` left off.
    pub fn new(style: Style, state: State) -> Self {
        Self { style, state }
    }

    /// Returns what must be kept to go on later.
    pub fn state(&self) -> State {
        self.state
    }

    /// Goes back to an earlier state, to frame the same input again.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }

    /// Returns the style.
    pub fn style(&self) -> &Style {
        &self.style
    }

    /// Frames `input`, which came at `now`, onto `out`.
    ///
    /// What is not consumed is to be presented again, with what follows it: it is a held line, or `out` has become so long that it
    /// should be written first. Whoever presents exactly the consumed bytes again, from the same state and with
    /// [`Tail::Flush`] unless the stream's end was written, gets the same output.
    pub fn frame(&mut self, input: &[u8], now: Stamp, tail: Tail, out: &mut Vec<u8>) -> Framed {
        let Self { style, state } = self;
        match style {
            Style::Raw => raw(input, tail, out),
            Style::Dated(date) => dated(date, state, input, now, tail, out),
            Style::Json(json) => records(json, state, input, now, tail, out),
        }
    }
}

fn raw(input: &[u8], tail: Tail, out: &mut Vec<u8>) -> Framed {
    let ended = memrchr(b'\n', input).map_or(0, |end| end + 1);
    let holds = tail == Tail::Hold && (1..HOLD_MAX).contains(&(input.len() - ended));
    let consumed = if holds { ended } else { input.len() };
    out.extend_from_slice(&input[..consumed]);
    Framed { consumed, holds }
}

fn dated(date: &mut DateFormat, state: &mut State, input: &[u8], now: Stamp, tail: Tail, out: &mut Vec<u8>) -> Framed {
    let mut stamp = state.held_since.take().unwrap_or(now);
    let mut start = 0;
    while out.len() < OUTPUT_PAUSE {
        let rest = &input[start..];
        let (line, ended) = match memchr(b'\n', rest) {
            Some(end) => (&rest[..=end], true),
            None if rest.is_empty() => break,
            None if tail == Tail::Hold && rest.len() < HOLD_MAX => {
                state.held_since = Some(stamp);
                return Framed { consumed: start, holds: true };
            }
            None => (rest, false),
        };
        if !state.mid_line {
            date.write(stamp, out);
            out.extend_from_slice(b": ");
        }
        out.extend_from_slice(line);
        start += line.len();
        state.mid_line = !ended;
        stamp = now;
    }
    if tail == Tail::End && start == input.len() && state.mid_line {
        out.push(b'\n');
        state.mid_line = false;
    }
    Framed { consumed: start, holds: false }
}

fn records(json: &mut JsonStyle, state: &mut State, input: &[u8], now: Stamp, tail: Tail, out: &mut Vec<u8>) -> Framed {
    let mut stamp = state.held_since.take().unwrap_or(now);
    let mut start = 0;
    let mut within = false;
    while out.len() < OUTPUT_PAUSE && start < input.len() {
        let rest = &input[start..];
        let window = &rest[..rest.len().min(JSON_LINE_MAX)];
        let line = match memchr(b'\n', window) {
            Some(end) => &window[..=end],
            None if window.len() == JSON_LINE_MAX => &window[..whole_characters(window)],
            None if tail == Tail::Hold => {
                state.held_since = Some(stamp);
                return Framed { consumed: start, holds: true };
            }
            None => window,
        };
        json.record(line, stamp, out);
        start += line.len();
        if line.ends_with(b"\n") {
            stamp = now;
        } else if start < input.len() {
            // Every piece of a split line carries the line's time, also when the next call writes it.
            within = true;
            continue;
        }
        within = false;
    }
    if within && start < input.len() {
        state.held_since = Some(stamp);
    }
    Framed { consumed: start, holds: false }
}

fn write_json(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a Vec takes everything, and text is always JSON");
}

/// Returns the length of `bytes` without a character cut off at its end.
fn whole_characters(bytes: &[u8]) -> usize {
    let is_start = |byte: u8| byte & 0xC0 != 0x80;
    match bytes.iter().rev().take(4).position(|byte| is_start(*byte)) {
        Some(back) => {
            let start = bytes.len() - back - 1;
            let needed = match bytes[start] {
                0xF0..=0xF7 => 4,
                0xE0..=0xEF => 3,
                0xC0..=0xDF => 2,
                _ => 1,
            };
            if needed > back + 1 { start } else { bytes.len() }
        }
        None => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    fn raw_framer() -> Framer {
        Framer::new(Style::Raw, State::default())
    }

    fn dated_framer() -> Framer {
        Framer::new(Style::Dated(DateFormat::in_zone("x", TimeZone::UTC)), State::default())
    }

    fn json_framer() -> Framer {
        Framer::new(Style::Json(JsonStyle::new(None, Kind::Out, WorkerId(0), "m")), State::default())
    }

    /// Presents pieces as the pump does: what is not consumed comes again with the next.
    fn run(framer: &mut Framer, pieces: &[&[u8]]) -> Vec<u8> {
        let mut all = Vec::new();
        let mut held = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            held.extend_from_slice(piece);
            let tail = if index + 1 == pieces.len() { Tail::End } else { Tail::Hold };
            loop {
                let mut out = Vec::new();
                let framed = framer.frame(&held, Stamp(1000 + index as i64), tail, &mut out);
                all.extend_from_slice(&out);
                held.drain(..framed.consumed);
                if framed.holds || held.is_empty() {
                    break;
                }
            }
        }
        assert!(held.is_empty());
        all
    }

    fn shown(framer: &mut Framer, pieces: &[&[u8]]) -> String {
        String::from_utf8(run(framer, pieces)).expect("text")
    }

    #[test]
    fn a_line_carries_the_time_of_its_first_byte() {
        assert_eq!(
            shown(&mut dated_framer(), &[b"one\ntw", b"o\nthree", b"", b"\n"]),
            "1000: one\n1000: two\n1001: three\n"
        );
        let json = shown(&mut json_framer(), &[b"o", b"ne\n"]);
        assert!(json.contains(r#""timestamp":"1970-01-01T00:00:01.000Z""#), "{json}");
    }

    #[test]
    fn the_end_of_the_stream_ends_the_line() {
        assert_eq!(shown(&mut dated_framer(), &[b"a\nb"]), "1000: a\n1000: b\n");
        assert_eq!(shown(&mut dated_framer(), &[b"a\n", b""]), "1000: a\n");
        assert_eq!(
            shown(&mut json_framer(), &[b"a\n\xff\"b"]),
            concat!(
                r#"{"message":"a\n","timestamp":"1970-01-01T00:00:01.000Z","type":"out","process_id":0,"app_name":"m"}"#,
                "\n",
                r#"{"message":"�\"b","timestamp":"1970-01-01T00:00:01.000Z","type":"out","process_id":0,"app_name":"m"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn an_endless_line_goes_out_in_pieces_behind_one_date() {
        let piece = vec![b'x'; HOLD_MAX];
        let out = shown(&mut dated_framer(), &[&piece, &piece, b"y\nz\n"]);
        assert_eq!(out, format!("1000: {}{}y\n1002: z\n", "x".repeat(HOLD_MAX), "x".repeat(HOLD_MAX)));
    }

    #[test]
    fn an_endless_line_becomes_records_of_whole_characters() {
        let line = "€".repeat(JSON_LINE_MAX / 2);
        let out = shown(&mut json_framer(), &[line.as_bytes(), b"\nnext\n"]);
        let records: Vec<serde_json::Value> =
            out.lines().map(|line| serde_json::from_str(line).expect("a record")).collect();
        let messages: Vec<&str> = records.iter().map(|record| record["message"].as_str().expect("text")).collect();
        assert_eq!(messages.concat(), format!("{line}\nnext\n"));
        assert_eq!(messages.len(), 3, "two pieces and the next line");
        assert_eq!(records[1]["timestamp"], "1970-01-01T00:00:01.000Z", "the second piece has the line's time");
        assert_eq!(records[2]["timestamp"], "1970-01-01T00:00:01.001Z");
    }

    #[test]
    fn a_flushed_line_goes_on_without_a_second_date() {
        let mut framer = dated_framer();
        let mut out = Vec::new();
        assert_eq!(framer.frame(b"Name: ", Stamp(1001), Tail::Flush, &mut out).consumed, 6);
        assert_eq!(framer.frame(b"Bob\nx\n", Stamp(1002), Tail::Hold, &mut out).consumed, 6);
        assert_eq!(out, b"1001: Name: Bob\n1002: x\n");
    }

    #[test]
    fn dates_that_need_quoting_are_quoted() {
        let date = DateFormat::in_zone("[\"\\]", TimeZone::UTC);
        let style = Style::Json(JsonStyle::new(Some(date), Kind::Err, WorkerId(2), "a\"b"));
        let out = shown(&mut Framer::new(style, State::default()), &[b"x\n"]);
        assert_eq!(
            out,
            r#"{"message":"x\n","timestamp":"\"\\","type":"err","process_id":2,"app_name":"a\"b"}"#.to_owned() + "\n"
        );
    }

    #[test]
    fn bytes_stay_as_they_are_but_in_json() {
        let bytes = b"\xff\x00\xc3\x28\r\n";
        assert_eq!(run(&mut dated_framer(), &[bytes]), [b"1000: ", &bytes[..]].concat());
        assert_eq!(run(&mut raw_framer(), &[bytes, b"x"]), [&bytes[..], b"x"].concat());
    }

    proptest! {
        #[test]
        fn however_writes_are_cut_no_byte_changes(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(0xC3u8), Just(0xA9u8)], 0..300),
            cuts in proptest::collection::vec(0usize..300, 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let mut whole = text.clone();
            if !whole.is_empty() && !whole.ends_with(b"\n") {
                whole.push(b'\n');
            }
            prop_assert_eq!(&run(&mut raw_framer(), &pieces), &text);
            let dated = run(&mut dated_framer(), &pieces);
            let stripped: Vec<u8> = dated
                .split_inclusive(|byte| *byte == b'\n')
                .flat_map(|line| line[6..].to_vec())
                .collect();
            prop_assert_eq!(stripped, whole);
            let json = run(&mut json_framer(), &pieces);
            let messages: String = String::from_utf8(json).expect("text").lines().map(|line| {
                serde_json::from_str::<serde_json::Value>(line).expect("a record")["message"].as_str().expect("text").to_owned()
            }).collect();
            let expected: String = text.split_inclusive(|byte| *byte == b'\n').map(String::from_utf8_lossy).collect();
            prop_assert_eq!(messages, expected);
        }

        #[test]
        fn the_same_input_from_the_same_state_gives_the_same_output(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a')], 0..200),
        ) {
            for fresh in [raw_framer, dated_framer, json_framer] {
                let mut framer = fresh();
                let mut first = Vec::new();
                let framed = framer.frame(&text, Stamp(5), Tail::Hold, &mut first);
                let mut again = Vec::new();
                let mut framer = fresh();
                framer.frame(&text[..framed.consumed], Stamp(5), Tail::Flush, &mut again);
                prop_assert_eq!(first, again);
            }
        }
    }
}
