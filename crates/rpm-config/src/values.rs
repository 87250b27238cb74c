//! Values as people write them: one reading for each kind of setting.
//!
//! A file may hold a number where the command line can only hold its text; both are read alike.

use std::time::Duration;

use rpm_model::Bytes;
use rpm_model::time::parse_duration;
use serde_json::Value;

use crate::keys::Kind;
use crate::numbers;

/// Returns whether a value can be read as its kind.
pub(crate) fn fits(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::Text => value.is_string(),
        Kind::TextOrNumber => text(value).is_some(),
        Kind::Flag => value.is_boolean(),
        Kind::FlagOrText => value.is_boolean() || value.is_string(),
        Kind::Number => number(value).is_some(),
        Kind::Duration => duration(value).is_some(),
        Kind::Memory => memory(value).is_some(),
        Kind::Instances => instances(value, 1).is_some(),
        Kind::Words => words(value).is_some(),
        Kind::Texts => texts(value).is_some(),
        Kind::ExitCodes => exit_codes(value).is_some(),
        Kind::FlagOrTexts => value.is_boolean() || texts(value).is_some(),
        Kind::Environment | Kind::Object => value.is_object(),
        Kind::Any => true,
    }
}

/// Reads text; a bare number is its digits.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Reads a whole number that is not negative.
pub(crate) fn number(value: &Value) -> Option<u32> {
    match value {
        // YAML and JavaScript know `16.0`.
        Value::Number(number) => {
            let float = number.as_f64()?;
            (float >= 0.0 && float <= f64::from(u32::MAX) && float.fract() == 0.0).then_some(float as u32)
        }
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Reads a number, whole or not, that is not negative.
pub(crate) fn amount(value: &Value) -> Option<f64> {
    let amount = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (amount.is_finite() && amount >= 0.0).then_some(amount)
}

/// Reads milliseconds, or a number with a unit.
pub(crate) fn duration(value: &Value) -> Option<Duration> {
    parse_duration(&text(value)?).ok()
}

/// Reads bytes, or a number with a unit.
pub(crate) fn memory(value: &Value) -> Option<Bytes> {
    Bytes::parse(&text(value)?).ok()
}

/// Reads a number of instances.
pub(crate) fn instances(value: &Value, cpus: u32) -> Option<u32> {
    numbers::instances(&text(value)?, cpus)
}

/// Reads a list of text, or one text.
pub(crate) fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(list) => list.iter().map(text).collect(),
        one => text(one).map(|one| vec![one]),
    }
}

/// Reads a list of words; one text is split into words, with quotes respected.
pub(crate) fn words(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(list) => list.iter().map(word).collect(),
        one => word(one).map(|line| split_words(&line)),
    }
}

/// One word of a list: a flag stands for its text, as in JavaScript.
fn word(value: &Value) -> Option<String> {
    value.as_bool().map(|flag| flag.to_string()).or_else(|| text(value))
}

/// Reads exit codes: a list of numbers, or one; text may hold several, separated by commas.
pub(crate) fn exit_codes(value: &Value) -> Option<Vec<i32>> {
    let code = |text: &str| text.trim().parse().ok().filter(|code| (0..=255).contains(code));
    let texts = texts(value)?;
    texts.iter().flat_map(|text| text.split(',')).map(code).collect()
}

/// Splits a line into words. Quotes group and vanish; a backslash takes the meaning from a quote, a space or a
/// backslash, and is itself elsewhere (`\d+` is a pattern in many command lines). A quote without its partner is itself.
pub(crate) fn split_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        match first {
            ' ' | '\t' | '\n' | '\r' => {
                words.extend(word.take());
                rest = after;
            }
            '"' | '\'' if after.contains(first) => {
                let (inside, beyond) = after.split_once(first).expect("the partner was just found");
                word.get_or_insert_default().push_str(inside);
                rest = beyond;
            }
            '\\' if after.starts_with(['"', '\'', ' ', '\\']) => {
                word.get_or_insert_default().push_str(&after[..1]);
                rest = &after[1..];
            }
            other => {
                word.get_or_insert_default().push(other);
                rest = after;
            }
        }
    }
    words.extend(word);
    words
}

/// Shows a value in a message, shortened.
pub(crate) fn shown(value: &Value) -> String {
    // Longer values say nothing more to the reader of one line.
    const SHOWN_MAX: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= SHOWN_MAX {
        return text;
    }
    text.chars().take(SHOWN_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_split_into_words() {
        for (line, expected) in [
            ("a  b", vec!["a", "b"]),
            ("'b c' \"d e\"", vec!["b c", "d e"]),
            ("--x=\"a b\"", vec!["--x=a b"]),
            (r"a\ b \d+ \\", vec!["a b", r"\d+", r"\"]),
            ("it's", vec!["it's"]),
            ("'' x", vec!["", "x"]),
            ("", vec![]),
        ] {
            assert_eq!(split_words(line), expected, "{line}");
        }
    }

    #[test]
    fn numbers_may_be_text() {
        assert_eq!(number(&json!("10")), Some(10));
        assert_eq!(number(&json!(10.0)), Some(10));
        assert_eq!(number(&json!(-1)), None);
        assert_eq!(number(&json!(1.5)), None);
        assert_eq!(duration(&json!(1600)), Some(Duration::from_millis(1600)));
        assert_eq!(duration(&json!("3s")), Some(Duration::from_secs(3)));
        assert_eq!(duration(&json!(-5)), None);
        assert_eq!(memory(&json!("1K")), Some(Bytes(1024)));
    }

    #[test]
    fn exit_codes_come_alone_or_in_lists() {
        assert_eq!(exit_codes(&json!(3)), Some(vec![3]));
        assert_eq!(exit_codes(&json!([0, "1"])), Some(vec![0, 1]));
        assert_eq!(exit_codes(&json!(["0,1", "2"])), Some(vec![0, 1, 2]));
        assert_eq!(exit_codes(&json!([300])), None);
        assert_eq!(exit_codes(&json!(true)), None);
    }

    #[test]
    fn words_of_a_list_are_not_split() {
        assert_eq!(words(&json!(["a b", 1, true])), Some(vec!["a b".into(), "1".into(), "true".into()]));
        assert_eq!(words(&json!({})), None);
    }
}
