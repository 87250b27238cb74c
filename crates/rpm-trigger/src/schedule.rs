//! When a cron pattern is next due.
//!
//! croner is the Rust sibling of the library that PM2 uses, so patterns mean the same: 5 or 6 fields (seconds first), names
//! of days and months, `L`, `#`, `W`, `@daily`. A time that the clocks skip in spring runs right after the gap.

use std::cmp::Ordering;
use std::fmt;

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::time::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ZonedDateTime, civil};

/// A cron pattern that was read.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: croner::Cron,
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadCron {
    /// It cannot be read; the fragment says why.
    Unreadable(String),
    /// It can be read, but no day is ever like that.
    Never,
}

impl fmt::Display for BadCron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadCron::Unreadable(why) => f.write_str(why),
            BadCron::Never => f.write_str("this time never comes"),
        }
    }
}

impl std::error::Error for BadCron {}

impl Schedule {
    /// Reads a pattern, and makes sure that it comes due at some time.
    ///
    /// # Errors
    /// When it cannot be read, or never comes due.
    pub fn parse(pattern: &str) -> Result<Self, BadCron> {
        // croner takes an empty list for one, and then looks for seconds through thousands of years.
        if pattern.split_whitespace().any(|field| field.split(',').any(str::is_empty)) {
            return Err(BadCron::Unreadable("there is nothing before or behind a comma".to_owned()));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(pattern).map_err(|error| BadCron::Unreadable(why(&error)))?;
        let schedule = Self { cron };
        // Any start will do: the calendar repeats, and croner looks far enough ahead for a 29th of February.
        let start = civil::date(2024, 1, 1).at(0, 0, 0, 0);
        match TimeZone::UTC.to_zoned_datetime(start).ok().and_then(|start| schedule.next(start)) {
            Some(_) => Ok(schedule),
            None => Err(BadCron::Never),
        }
    }

    /// Returns the first time after `now_ms` by this machine's clocks; both are milliseconds since the Unix epoch.
    pub fn next_after(&self, now_ms: u64) -> Option<u64> {
        self.next_in(now_ms, TimeZone::system())
    }

    fn next_in(&self, now_ms: u64, zone: TimeZone) -> Option<u64> {
        let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
        let next = self.next(now.to_zoned_datetime(zone))?;
        u64::try_from(next.timestamp().as_millisecond()).ok()
    }

    fn next(&self, after: ZonedDateTime) -> Option<ZonedDateTime> {
        self.cron.find_next_occurrence(&Local(after), false).ok().map(|next| next.0)
    }
}

/// Returns croner's words without its capitals and headings, to complete "cannot be ...: ".
fn why(error: &CronError) -> String {
    match error {
        CronError::EmptyPattern => "it is empty".to_owned(),
        CronError::InvalidPattern(why) | CronError::IllegalCharacters(why) | CronError::ComponentError(why) => {
            let mut letters = why.trim_end_matches('.').chars();
            letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
        }
        CronError::InvalidDate | CronError::InvalidTime | CronError::TimeSearchLimitExceeded => error.to_string(),
    }
}

/// A moment in a time zone, as croner sees it. (croner brings such a view for an older jiff: two of them in one program
/// would each carry a time zone database.)
#[derive(Clone)]
struct Local(ZonedDateTime);

impl CronDateTime for Local {
    fn to_civil(&self) -> CivilDateTime {
        let at = self.0.datetime();
        CivilDateTime::new(
            CivilDate::from_parts_unchecked(at.year().into(), at.month() as u32, at.day() as u32),
            CivilTime::from_parts_unchecked(at.hour() as u32, at.minute() as u32, at.second() as u32),
        )
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(self.0.weekday().to_sunday_zero_offset() as u32)
    }

    fn resolve_civil(&self, at: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let year = i16::try_from(at.year()).map_err(|_| CronError::InvalidDate)?;
        let (month, day) = (at.month() as i8, at.day() as i8);
        let (hour, minute, second) = (at.hour() as i8, at.minute() as i8, at.second() as i8);
        let at = civil::DateTime::new(year, month, day, hour, minute, second, 0).map_err(|_| CronError::InvalidDate)?;
        let ambiguous = self.0.time_zone().to_ambiguous_zoned_datetime(at);
        let local = |zoned: Result<ZonedDateTime, jiff::Error>| zoned.map(Local).map_err(|_| CronError::InvalidTime);
        Ok(match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => Resolution::Single(local(ambiguous.unambiguous())?),
            AmbiguousOffset::Fold { .. } => {
                Resolution::Ambiguous(local(ambiguous.clone().earlier())?, local(ambiguous.later())?)
            }
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Local)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.timestamp().cmp(&other.0.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(pattern: &str, after: &str, zone: &str) -> String {
        let zone = if zone == "UTC" { TimeZone::UTC } else { TimeZone::get(zone).expect("a zone") };
        let after: Timestamp = after.parse().expect("a time");
        let next = Schedule::parse(pattern).expect(pattern).next_in(after.as_millisecond() as u64, zone);
        Timestamp::from_millisecond(next.expect("a next time") as i64).expect("in range").to_string()
    }

    #[test]
    fn a_list_with_nothing_in_it_is_refused_at_once() {
        for pattern in [", 3 * * *", "1, 3 * * *", "0 3 * * 1,,2", "0 3 , * *"] {
            assert!(matches!(Schedule::parse(pattern), Err(BadCron::Unreadable(_))), "{pattern}");
        }
    }

    #[test]
    fn the_next_time_lies_after_now() {
        assert_eq!(next("0 3 * * *", "2026-01-05T03:00:00Z", "UTC"), "2026-01-06T03:00:00Z");
        assert_eq!(next("0 3 * * *", "2026-01-05T02:59:59.999Z", "UTC"), "2026-01-05T03:00:00Z");
        assert_eq!(next("*/1 * * * * *", "2026-01-05T03:00:00.250Z", "UTC"), "2026-01-05T03:00:01Z");
        assert_eq!(next("@daily", "2026-01-05T03:00:00Z", "UTC"), "2026-01-06T00:00:00Z");
        assert_eq!(next("0 0 29 2 *", "2026-01-05T03:00:00Z", "UTC"), "2028-02-29T00:00:00Z");
        assert_eq!(next("0 9 * * MON-FRI", "2026-01-02T10:00:00Z", "UTC"), "2026-01-05T09:00:00Z");
    }

    #[test]
    fn the_hour_that_spring_skips_runs_after_the_gap() {
        assert_eq!(next("30 2 * * *", "2026-03-28T12:00:00Z", "Europe/Berlin"), "2026-03-29T01:00:00Z");
    }

    #[test]
    fn what_cannot_be_a_schedule_is_told() {
        for bad in ["never", "", "* * * *", "61 * * * *", "a b c d !", "0 0 1 1 * * 2030"] {
            assert!(matches!(Schedule::parse(bad), Err(BadCron::Unreadable(_))), "{bad}: {:?}", Schedule::parse(bad));
        }
        for never in ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
            assert_eq!(Schedule::parse(never).unwrap_err(), BadCron::Never, "{never}");
        }
    }
}
