//! When a cron pattern is next due.
//!
//! croner is the Rust sibling of the library that PM2 uses, so patterns mean the same: 5 or 6 fields (seconds first), names
//! of days and months, `L`, `#`, `W`, `@daily`. A time that the clocks skip in spring runs right after the gap.
//!
//! A job's schedule may have a time zone of its own, or be `@every 90m`: counted from 1970, so that it does not depend on
//! when anybody began to count.

use std::cmp::Ordering;
use std::fmt;

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::time::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ZonedDateTime, civil};

/// A schedule that was read.
#[derive(Debug, Clone)]
pub struct Schedule {
    when: When,
    /// Nothing for the zone of this machine.
    zone: Option<TimeZone>,
}

#[derive(Debug, Clone)]
enum When {
    Cron(Box<croner::Cron>),
    /// Whole milliseconds, at least [`EVERY_LEAST`].
    Every(u64),
}

/// A job that ran more often would be a service.
const EVERY_LEAST: u64 = 1000;

/// Longer than any machine runs.
const EVERY_MOST: u64 = 1000 * 3600 * 24 * 366 * 100;

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadCron {
    /// It cannot be read; the fragment says why.
    Unreadable(String),
    /// It can be read, but no day is ever like that.
    Never,
    /// No time zone is called so; perhaps this one is meant.
    NoZone(Option<String>),
}

impl fmt::Display for BadCron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadCron::Unreadable(why) => f.write_str(why),
            BadCron::Never => f.write_str("this time never comes"),
            BadCron::NoZone(_) => f.write_str("no time zone is called so"),
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
        let schedule = Self { when: When::Cron(Box::new(cron)), zone: None };
        // Any start will do: the calendar repeats, and croner looks far enough ahead for a 29th of February.
        let start = civil::date(2024, 1, 1).at(0, 0, 0, 0);
        match TimeZone::UTC.to_zoned_datetime(start).ok().and_then(|start| schedule.next(start)) {
            Some(_) => Ok(schedule),
            None => Err(BadCron::Never),
        }
    }

    /// Reads the schedule of a job: a pattern, or `@every` and a time; and the zone that a pattern is meant in.
    ///
    /// # Errors
    /// When it cannot be read, or never comes due, or there is no such zone.
    pub fn of_job(pattern: &str, zone: Option<&str>) -> Result<Self, BadCron> {
        let zone = zone.map(|name| TimeZone::get(name).map_err(|_| BadCron::NoZone(nearest_zone(name)))).transpose()?;
        let when = match pattern.trim().strip_prefix("@every") {
            Some(period) => When::Every(every(period.trim())?),
            None => Self::parse(pattern)?.when,
        };
        Ok(Self { when, zone })
    }

    /// Returns the first time after `now_ms`, by this machine's clocks unless it has a zone of its own; both are milliseconds
    /// since the Unix epoch.
    pub fn next_after(&self, now_ms: u64) -> Option<u64> {
        match &self.when {
            When::Every(period) => (now_ms / period).checked_add(1)?.checked_mul(*period),
            When::Cron(_) => self.next_in(now_ms, self.zone.clone().unwrap_or_else(TimeZone::system)),
        }
    }

    fn next_in(&self, now_ms: u64, zone: TimeZone) -> Option<u64> {
        let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
        let next = self.next(now.to_zoned_datetime(zone))?;
        u64::try_from(next.timestamp().as_millisecond()).ok()
    }

    fn next(&self, after: ZonedDateTime) -> Option<ZonedDateTime> {
        let When::Cron(cron) = &self.when else { return None };
        cron.find_next_occurrence(&Local(after), false).ok().map(|next| next.0)
    }
}

/// Reads `90s`, `10m`, `1h30m`.
fn every(text: &str) -> Result<u64, BadCron> {
    const EXPECTED: &str = "expected a time after @every, for example @every 10m or @every 1h30m";
    let unreadable = |why: &str| BadCron::Unreadable(why.to_owned());
    let (mut sum, mut number) = (0u64, String::new());
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            number.push(letter);
            continue;
        }
        let unit = match letter {
            's' => 1000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            _ => return Err(unreadable(EXPECTED)),
        };
        let count: u64 = std::mem::take(&mut number).parse().map_err(|_| unreadable(EXPECTED))?;
        sum = count.checked_mul(unit).and_then(|part| sum.checked_add(part)).unwrap_or(u64::MAX);
    }
    match sum {
        _ if !number.is_empty() || text.is_empty() => Err(unreadable(EXPECTED)),
        0..EVERY_LEAST => Err(unreadable("once a second is the most often")),
        EVERY_LEAST..EVERY_MOST => Ok(sum),
        _ => Err(BadCron::Never),
    }
}

fn nearest_zone(name: &str) -> Option<String> {
    let known: Vec<String> = jiff::tz::db().available().map(|zone| zone.as_str().to_owned()).collect();
    // Letters in another case are the most likely mistake of all.
    let same = known.iter().find(|known| known.eq_ignore_ascii_case(name)).map(String::as_str);
    same.or_else(|| rpm_model::nearest(name, known.iter().map(String::as_str))).map(str::to_owned)
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
    fn a_job_has_its_own_zone_or_is_counted_from_1970() {
        let next = |pattern: &str, zone: Option<&str>, after: &str| {
            let after: Timestamp = after.parse().expect("a time");
            let schedule = Schedule::of_job(pattern, zone).expect(pattern);
            let next = schedule.next_after(after.as_millisecond() as u64).expect("a next time");
            Timestamp::from_millisecond(next as i64).expect("in range").to_string()
        };
        assert_eq!(next("0 3 * * *", Some("America/New_York"), "2026-01-05T03:00:00Z"), "2026-01-05T08:00:00Z");
        assert_eq!(next("0 3 * * *", Some("UTC"), "2026-01-05T02:00:00Z"), "2026-01-05T03:00:00Z");
        assert_eq!(next("@every 10m", None, "2026-01-05T03:01:00.5Z"), "2026-01-05T03:10:00Z");
        assert_eq!(next("@every 10m", None, "2026-01-05T03:10:00Z"), "2026-01-05T03:20:00Z");
        assert_eq!(next("@every 1h30m", None, "2026-01-05T00:00:00Z"), "2026-01-05T01:30:00Z");
        for bad in
            ["@every", "@every 10", "@every m", "@every 10 m", "@every 0s", "@every 5ms", "@everyday", "@every -1s"]
        {
            assert!(matches!(Schedule::of_job(bad, None), Err(BadCron::Unreadable(_))), "{bad}");
        }
        assert_eq!(Schedule::of_job("@every 99999999999999999d", None).unwrap_err(), BadCron::Never);
        let near = |zone| Schedule::of_job("@daily", Some(zone)).unwrap_err();
        assert_eq!(near("Europe/Berln"), BadCron::NoZone(Some("Europe/Berlin".to_owned())));
        assert_eq!(near("Mars"), BadCron::NoZone(None));
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
