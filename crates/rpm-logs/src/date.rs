//! `log_date_format`: dayjs format tokens, compiled once and written many times.
//!
//! Tokens are those of dayjs, as PM2 takes them, and `X`, `x` (its advancedFormat plugin):
//! `YYYY YY M MM MMM MMMM D DD d dd ddd dddd H HH h hh m mm s ss SSS Z ZZ A a X x`; text in `[brackets]` stands for
//! itself, and so does everything else. Oddities are dayjs's own: `Y` and `YYY` write the offset, as `ZZ` does.
//!
//! Asking the time zone costs far more than copying twenty bytes, so the text of the last second is kept and only its
//! milliseconds are written anew.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

/// A moment on the wall clock, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub i64);

impl Stamp {
    /// Returns the time now.
    pub fn now() -> Self {
        Self(Timestamp::now().as_millisecond())
    }
}

/// A compiled format.
#[derive(Debug, Clone)]
pub struct DateFormat {
    pieces: Vec<Piece>,
    zone: TimeZone,
    cached: Option<Cached>,
}

/// The text of one second, with the places of its milliseconds.
#[derive(Debug, Clone)]
struct Cached {
    second: i64,
    text: Vec<u8>,
    millis_at: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Year4,
    Year2,
    Month { digits: usize },
    MonthName { letters: usize },
    Day { digits: usize },
    Weekday,
    WeekdayName { letters: usize },
    Hour24 { digits: usize },
    Hour12 { digits: usize },
    Minute { digits: usize },
    Second { digits: usize },
    Millis,
    Offset { separator: &'static str },
    Noon { capital: bool },
    UnixSeconds,
    UnixMillis,
}

impl DateFormat {
    /// Compiles a format that writes the time of this machine's zone.
    pub fn local(format: &str) -> Self {
        Self::in_zone(format, TimeZone::system())
    }

    /// Compiles a format that writes the time of `zone`.
    pub fn in_zone(format: &str, zone: TimeZone) -> Self {
        Self { pieces: compile(format), zone, cached: None }
    }

    /// The form of JSON records: `2026-11-22T12:43:52.300Z`, always UTC.
    pub fn iso() -> Self {
        Self::in_zone("YYYY-MM-DDTHH:mm:ss.SSS[Z]", TimeZone::UTC)
    }

    /// Appends the text of `at`.
    pub fn write(&mut self, at: Stamp, out: &mut Vec<u8>) {
        let second = at.0.div_euclid(1000);
        if self.cached.as_ref().is_none_or(|cached| cached.second != second) {
            self.cached = Some(self.render(second));
        }
        let cached = self.cached.as_ref().expect("the line above made it");
        let start = out.len();
        out.extend_from_slice(&cached.text);
        let millis = at.0.rem_euclid(1000) as u16;
        let digits = [millis / 100, millis / 10 % 10, millis % 10].map(|digit| b'0' + digit as u8);
        for place in &cached.millis_at {
            out[start + place..start + place + 3].copy_from_slice(&digits);
        }
    }

    /// Returns the text of `at`.
    pub fn text(&mut self, at: Stamp) -> String {
        let mut out = Vec::new();
        self.write(at, &mut out);
        String::from_utf8(out).expect("made of text and digits")
    }

    fn render(&self, second: i64) -> Cached {
        use std::fmt::Write;
        // Out of jiff's range (years -9999 to 9999) only when a clock is absurd; the epoch then stands for it.
        let time = Timestamp::from_second(second).unwrap_or_default().to_zoned_datetime(self.zone.clone());
        let mut text = String::with_capacity(32);
        let mut millis_at = Vec::new();
        for piece in &self.pieces {
            let written = match piece {
                Piece::Text(plain) => {
                    text.push_str(plain);
                    Ok(())
                }
                Piece::Year4 => write!(text, "{:04}", time.year()),
                Piece::Year2 => write!(text, "{:02}", time.year().rem_euclid(100)),
                Piece::Month { digits } => write!(text, "{:0digits$}", time.month()),
                Piece::MonthName { letters } => write!(text, "{:.letters$}", MONTHS[time.month() as usize - 1]),
                Piece::Day { digits } => write!(text, "{:0digits$}", time.day()),
                Piece::Weekday => write!(text, "{}", time.weekday().to_sunday_zero_offset()),
                Piece::WeekdayName { letters } => write!(text, "{:.letters$}", weekday_name(time.weekday())),
                Piece::Hour24 { digits } => write!(text, "{:0digits$}", time.hour()),
                Piece::Hour12 { digits } => write!(text, "{:0digits$}", (time.hour() + 11) % 12 + 1),
                Piece::Minute { digits } => write!(text, "{:0digits$}", time.minute()),
                Piece::Second { digits } => write!(text, "{:0digits$}", time.second()),
                Piece::Millis => {
                    millis_at.push(text.len());
                    text.push_str("000");
                    Ok(())
                }
                Piece::Offset { separator } => {
                    let minutes = time.offset().seconds() / 60;
                    let sign = if minutes < 0 { '-' } else { '+' };
                    write!(text, "{sign}{:02}{separator}{:02}", minutes.abs() / 60, minutes.abs() % 60)
                }
                Piece::Noon { capital } => {
                    text.push_str(match (time.hour() < 12, capital) {
                        (true, true) => "AM",
                        (true, false) => "am",
                        (false, true) => "PM",
                        (false, false) => "pm",
                    });
                    Ok(())
                }
                Piece::UnixSeconds => write!(text, "{second}"),
                Piece::UnixMillis => {
                    // Before the epoch this is off by the fraction; nobody logs there.
                    let written = write!(text, "{second}");
                    millis_at.push(text.len());
                    text.push_str("000");
                    written
                }
            };
            written.expect("a String takes everything");
        }
        Cached { second, text: text.into_bytes(), millis_at }
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn weekday_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Sunday => "Sunday",
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
    }
}

fn compile(format: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut rest = format;
    while let Some(first) = rest.chars().next() {
        let (piece, length) = escaped(rest).or_else(|| token(rest)).unwrap_or_else(|| {
            let length = first.len_utf8();
            (Piece::Text(rest[..length].to_owned()), length)
        });
        rest = &rest[length..];
        match (pieces.last_mut(), piece) {
            (Some(Piece::Text(before)), Piece::Text(more)) => before.push_str(&more),
            (_, piece) => pieces.push(piece),
        }
    }
    pieces
}

/// Reads `[text]`; empty brackets stand for themselves.
fn escaped(rest: &str) -> Option<(Piece, usize)> {
    let (inside, _) = rest.strip_prefix('[')?.split_once(']')?;
    (!inside.is_empty()).then(|| (Piece::Text(inside.to_owned()), inside.len() + 2))
}

/// Reads the longest token at the start: up to as many equal letters as the token has forms.
fn token(rest: &str) -> Option<(Piece, usize)> {
    let letter = rest.bytes().next()?;
    let run = rest.bytes().take_while(|byte| *byte == letter).count();
    let run = match letter {
        b'Y' | b'M' | b'd' => run.min(4),
        b'D' | b'H' | b'h' | b'm' | b's' | b'Z' => run.min(2),
        b'S' if run >= 3 => 3,
        b'A' | b'a' | b'X' | b'x' => 1,
        _ => return None,
    };
    // Longer than any name; the precision of `write!` ends at 65,535.
    let whole = 64;
    let piece = match (letter, run) {
        (b'Y', 4) => Piece::Year4,
        (b'Y', 2) => Piece::Year2,
        (b'Y', _) | (b'Z', 2) => Piece::Offset { separator: "" },
        (b'Z', _) => Piece::Offset { separator: ":" },
        (b'M', 4) => Piece::MonthName { letters: whole },
        (b'M', 3) => Piece::MonthName { letters: 3 },
        (b'M', digits) => Piece::Month { digits },
        (b'D', digits) => Piece::Day { digits },
        (b'd', 4) => Piece::WeekdayName { letters: whole },
        (b'd', 1) => Piece::Weekday,
        (b'd', letters) => Piece::WeekdayName { letters },
        (b'H', digits) => Piece::Hour24 { digits },
        (b'h', digits) => Piece::Hour12 { digits },
        (b'm', digits) => Piece::Minute { digits },
        (b's', digits) => Piece::Second { digits },
        (b'S', _) => Piece::Millis,
        (b'X', _) => Piece::UnixSeconds,
        (b'x', _) => Piece::UnixMillis,
        (letter, _) => Piece::Noon { capital: letter == b'A' },
    };
    Some((piece, run))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-05T04:07:09.042Z
    const MOMENT: Stamp = Stamp(1_772_683_629_042);

    fn text(format: &str, zone: &str) -> String {
        DateFormat::in_zone(format, TimeZone::get(zone).expect("a zone")).text(MOMENT)
    }

    #[test]
    fn tokens_mean_what_they_mean_to_dayjs() {
        // Each row was printed by dayjs 1.11: format, UTC, New York, Kathmandu.
        for (format, utc, new_york, kathmandu) in [
            ("YYYY YYY YY Y", "2026 +0000 26 +0000", "2026 -0500 26 -0500", "2026 +0545 26 +0545"),
            ("MMMM MMM MM M", "March Mar 03 3", "March Mar 03 3", "March Mar 03 3"),
            ("DD D", "05 5", "04 4", "05 5"),
            ("dddd ddd dd d", "Thursday Thu Th 4", "Wednesday Wed We 3", "Thursday Thu Th 4"),
            ("HH H hh h A a", "04 4 04 4 AM am", "23 23 11 11 PM pm", "09 9 09 9 AM am"),
            ("mm m ss s", "07 7 09 9", "07 7 09 9", "52 52 09 9"),
            ("SSS SS S", "042 SS S", "042 SS S", "042 SS S"),
            ("Z ZZ", "+00:00 +0000", "-05:00 -0500", "+05:45 +0545"),
            ("[esc YYYY] ok", "esc YYYY ok", "esc YYYY ok", "esc YYYY ok"),
            ("[unclosed", "[unclo9e4", "[unclo9e3", "[unclo9e4"),
            ("YYYYY DDD", "2026+0000 055", "2026-0500 044", "2026+0545 055"),
            ("mmm sss AA SSSS", "077 099 AMAM 042S", "077 099 PMPM 042S", "5252 099 AMAM 042S"),
            ("[]x|", "[]1772683629042|", "[]1772683629042|", "[]1772683629042|"),
            ("A[a]a", "AMaam", "PMapm", "AMaam"),
            ("[a]b]", "ab]", "ab]", "ab]"),
        ] {
            assert_eq!(text(format, "UTC"), utc, "{format}");
            assert_eq!(text(format, "America/New_York"), new_york, "{format}");
            assert_eq!(text(format, "Asia/Kathmandu"), kathmandu, "{format}");
        }
    }

    #[test]
    fn noon_and_midnight_are_twelve() {
        let mut format = DateFormat::in_zone("h A", TimeZone::UTC);
        assert_eq!(format.text(Stamp(0)), "12 AM");
        assert_eq!(format.text(Stamp(12 * 3_600_000)), "12 PM");
        assert_eq!(format.text(Stamp(13 * 3_600_000)), "1 PM");
    }

    #[test]
    fn the_kept_second_changes_its_milliseconds_only() {
        let mut format = DateFormat::in_zone("ss.SSS x X é", TimeZone::UTC);
        assert_eq!(format.text(Stamp(1_001)), "01.001 1001 1 é");
        assert_eq!(format.text(Stamp(1_999)), "01.999 1999 1 é");
        assert_eq!(format.text(Stamp(2_000)), "02.000 2000 2 é");
        assert_eq!(format.text(Stamp(1_001)), "01.001 1001 1 é");
    }

    #[test]
    fn records_carry_utc() {
        assert_eq!(DateFormat::iso().text(MOMENT), "2026-03-05T04:07:09.042Z");
    }
}
