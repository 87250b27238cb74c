//! Foreign text made safe to show, ages, sparklines.

/// Returns `text` without anything that could move the cursor, ring, or turn the line around.
///
/// Colours (`ESC [ … m`) are dropped, since most log lines have them; every other control character is written as
/// `\x1b`, and the characters that reverse the direction of text as `\u{202e}`. A tab becomes two spaces.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if let Some(after) = skip_colour(rest) {
            rest = after;
            continue;
        }
        match character {
            '\t' => shown.push_str("  "),
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                shown.extend(character.escape_unicode());
            }
            _ if character.is_control() => shown.push_str(&format!("\\x{:02x}", u32::from(character))),
            _ => shown.push(character),
        }
        rest = &rest[character.len_utf8()..];
    }
    shown
}

/// Returns what follows the colour sequence that `text` begins with, if it begins with one.
fn skip_colour(text: &str) -> Option<&str> {
    let body = text.strip_prefix("\x1b[")?;
    let end = body.find(|c: char| !(c.is_ascii_digit() || c == ';' || c == ':'))?;
    body[end..].strip_prefix('m')
}

/// Returns a span of time in PM2's form: `12s`, `5m`, `3h`, `2D`.
pub(crate) fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}D", seconds / 86_400),
    }
}

/// Returns the time of day, `14:03:59`, where local time is `zone` seconds ahead of UTC.
pub(crate) fn clock(at_ms: u64, zone: i32) -> String {
    let day = 86_400;
    let second = (i64::try_from(at_ms / 1000).unwrap_or(0) + i64::from(zone)).rem_euclid(day);
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// Returns how a worker ended and why it is down; the reason mostly begins with the end itself.
pub(crate) fn end(exit: Option<String>, why: Option<&str>) -> String {
    match (exit, why.map(plain)) {
        (Some(exit), Some(why)) if why.contains(&exit) => why,
        (exit, why) => [exit, why].into_iter().flatten().collect::<Vec<_>>().join(", "),
    }
}

/// Returns a rate or a time with as many places as can be read at a glance: `0.4`, `12`, `3.4k`.
pub(crate) fn short(value: f64) -> String {
    match value {
        _ if value < 9.95 => format!("{value:.1}"),
        _ if value < 9_999.5 => format!("{value:.0}"),
        _ if value < 999_950.0 => format!("{:.1}k", value / 1e3),
        _ => format!("{:.1}M", value / 1e6),
    }
}

/// Returns a CPU load in percent.
pub(crate) fn percent(cpu: f32) -> String {
    if cpu < 9.95 { format!("{cpu:.1}%") } else { format!("{cpu:.0}%") }
}

/// Returns one bar for each value, from the lowest `▁` for zero to `█` for `full`.
pub(crate) fn sparkline(values: impl Iterator<Item = f64>, full: f64) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    values
        .map(|value| {
            let share = if full > 0.0 { (value / full).clamp(0.0, 1.0) } else { 0.0 };
            BARS[(share * 7.0).round() as usize]
        })
        .collect()
}

/// Returns `1 worker`, `2 workers`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_dropped_and_other_control_characters_show() {
        assert_eq!(plain("\x1b[1;32mok\x1b[0m done"), "ok done");
        assert_eq!(plain("a\x1b[2Jb\x07"), "a\\x1b[2Jb\\x07");
        assert_eq!(plain("\x1b["), "\\x1b[");
        assert_eq!(plain("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(plain("a\tb\r"), "a  b\\x0d");
    }

    #[test]
    fn ages_are_written_as_pm2_does() {
        assert_eq!([0, 59_999, 60_000, 3_600_000, 172_800_000].map(age), ["0s", "59s", "1m", "1h", "2D"]);
    }

    #[test]
    fn the_time_of_day_is_local() {
        assert_eq!(clock(1_700_000_000_000, 0), "22:13:20");
        assert_eq!(clock(1_700_000_000_000, 2 * 3600), "00:13:20");
        assert_eq!(clock(0, -1), "23:59:59");
    }

    #[test]
    fn an_end_is_not_told_twice() {
        let exit = || Some("exit code 3".to_owned());
        assert_eq!(
            end(exit(), Some("exit code 3 after 78 ms; restarts after 1 s")),
            "exit code 3 after 78 ms; restarts after 1 s"
        );
        assert_eq!(end(exit(), Some("memory")), "exit code 3, memory");
        assert_eq!(end(exit(), None), "exit code 3");
        assert_eq!(end(None, None), "");
    }

    #[test]
    fn figures_are_short() {
        assert_eq!([0.0, 9.94, 9.96, 1234.0, 12_345.0, 2e6].map(short), ["0.0", "9.9", "10", "1234", "12.3k", "2.0M"]);
    }

    #[test]
    fn a_sparkline_of_nothing_is_flat() {
        assert_eq!(sparkline([0.0, 0.0].into_iter(), 0.0), "▁▁");
        assert_eq!(sparkline([0.0, 50.0, 100.0, 200.0].into_iter(), 100.0), "▁▅██");
    }
}
