//! How many workers: `instances` and `scale`.

use rpm_model::{AppSpec, nearest};

use crate::diagnostic::{ConfigError, Diagnostic};

/// What is accepted as a number of instances; part of messages.
pub(crate) const INSTANCES_EXPECTED: &str = "expected a number, max or -N";

/// Reads a number of instances: `max` or `0` (one for each CPU), `N`, or `-N` (all CPUs but N; at least 1).
pub fn parse_instances(text: &str, cpus: u32) -> Result<u32, ConfigError> {
    instances(text, cpus).ok_or_else(|| {
        let mistake = Diagnostic::mistake(format!("{text:?} is not a number of instances"));
        mistake.label(INSTANCES_EXPECTED).suggest(nearest(text, ["max"]), None).into()
    })
}

/// Reads the number of a `scale`: `N`, `+N` (that many more), `-N` (that many fewer; not below 0) or `max`.
pub fn parse_scale(text: &str, current: u32, cpus: u32) -> Result<u32, ConfigError> {
    let text = text.trim();
    let wanted = match text.as_bytes().first() {
        _ if text.eq_ignore_ascii_case("max") => Some(cpus.max(1)),
        Some(b'+') => digits(&text[1..]).and_then(|more| current.checked_add(more)),
        Some(b'-') => digits(&text[1..]).map(|fewer| current.saturating_sub(fewer)),
        _ => digits(text),
    };
    wanted.filter(|wanted| *wanted <= AppSpec::INSTANCES_MAX).ok_or_else(|| {
        let mistake = Diagnostic::mistake(format!("{text:?} is not a number to scale to"));
        mistake.label("expected N, +N, -N or max").suggest(nearest(text, ["max"]), None).into()
    })
}

/// The rule of [`parse_instances`] without its message.
pub(crate) fn instances(text: &str, cpus: u32) -> Option<u32> {
    let text = text.trim();
    let cpus = cpus.max(1);
    let wanted = match text.strip_prefix('-') {
        _ if text.eq_ignore_ascii_case("max") => cpus,
        Some(fewer) => cpus.saturating_sub(digits(fewer)?).max(1),
        None => match digits(text)? {
            0 => cpus,
            wanted => wanted,
        },
    };
    Some(wanted).filter(|wanted| *wanted <= AppSpec::INSTANCES_MAX)
}

/// Reads a number that is digits and nothing else.
fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_counted_from_the_cpus() {
        for (text, wanted) in [("max", 8), ("MAX", 8), ("0", 8), ("4", 4), ("-1", 7), ("-8", 1), ("-20", 1), (" 3 ", 3)]
        {
            assert_eq!(parse_instances(text, 8), Ok(wanted), "{text}");
        }
        for bad in ["", "-", "lots", "1.5", "4x", "+2", "--1", "99999999999", "20000"] {
            assert!(parse_instances(bad, 8).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_scale_is_absolute_or_relative() {
        for (text, wanted) in [("max", 8), ("0", 0), ("4", 4), ("+2", 5), ("-1", 2), ("-9", 0)] {
            assert_eq!(parse_scale(text, 3, 8), Ok(wanted), "{text}");
        }
        for bad in ["", "+", "x", "1.5", "+-1", "+4294967295"] {
            assert!(parse_scale(bad, 3, 8).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_message_says_what_is_expected() {
        let error = parse_instances("lots", 8).unwrap_err().to_string();
        assert_eq!(error, "error: \"lots\" is not a number of instances: expected a number, max or -N");
        assert!(parse_instances("mx", 8).unwrap_err().to_string().contains("did you mean `max`?"));
    }
}
