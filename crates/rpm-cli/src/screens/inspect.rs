//! `util.inspect(value, false, null, false)` of Node.js, for the values that JSON knows: scripts grep what
//! `prettylist` prints, so line breaks, quotes and spaces are Node's.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

/// Longer lines are broken.
const BREAK_LENGTH: usize = 80;
/// So many inner levels may stand on one line.
const COMPACT: usize = 3;
/// Shorter strings are never split at their newlines.
const LINE_MIN: usize = 16;
/// Longer arrays are cut.
const ARRAY_MAX: usize = 100;
/// Longer strings are cut, in UTF-16 units.
const STRING_MAX: usize = 10_000;

/// Returns the value as Node prints it.
pub fn inspect(value: &Value) -> String {
    Inspector { indentation: 0, deepest: 0 }.value(value, 0, false)
}

struct Inspector {
    /// Columns before the present value.
    indentation: usize,
    /// Depth of the object that was entered last.
    deepest: usize,
}

impl Inspector {
    fn value(&mut self, value: &Value, depth: usize, typed: bool) -> String {
        match value {
            Value::Null => "null".into(),
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => number(value),
            Value::String(value) => self.string(value),
            Value::Array(values) => self.array(values, depth + 1),
            Value::Object(map) => self.object(map, depth + 1, typed),
        }
    }

    fn array(&mut self, values: &[Value], depth: usize) -> String {
        if values.is_empty() {
            return "[]".into();
        }
        self.deepest = depth;
        let mut output: Vec<String> =
            values.iter().take(ARRAY_MAX).map(|value| self.indented(|this| this.value(value, depth, true))).collect();
        if values.len() > ARRAY_MAX {
            let more = values.len() - ARRAY_MAX;
            output.push(format!("... {more} more item{}", if more > 1 { "s" } else { "" }));
        }
        let entries = output.len();
        if entries > 6 {
            output = self.group(output, values);
        }
        let grouped = output.len() != entries;
        self.enclose(output, ['[', ']'], depth, grouped)
    }

    fn object(&mut self, map: &Map<String, Value>, depth: usize, _typed: bool) -> String {
        if map.is_empty() {
            return "{}".into();
        }
        self.deepest = depth;
        let mut output = Vec::with_capacity(map.len());
        for (key, value) in in_order_of_javascript(map) {
            let text = self.indented(|this| this.value(value, depth, false));
            output.push(format!("{}: {text}", self::key(key)));
        }
        self.enclose(output, ['{', '}'], depth, false)
    }

    fn indented(&mut self, inner: impl FnOnce(&mut Self) -> String) -> String {
        self.indentation += 2;
        let text = inner(self);
        self.indentation -= 2;
        text
    }

    /// Puts the entries on one line where they fit, else on a line each.
    fn enclose(&self, output: Vec<String>, [open, close]: [char; 2], depth: usize, grouped: bool) -> String {
        if self.deepest - depth < COMPACT && !grouped {
            // Node's own sum: the entries with their separators, and ten for whatever stands before.
            let start = output.len() + self.indentation + 1 + 10;
            let total = output.len() + start + output.iter().map(|entry| units(entry)).sum::<usize>();
            let one_line = output.iter().all(|entry| !entry.contains('\n'));
            if total <= BREAK_LENGTH && one_line {
                return format!("{open} {} {close}", output.join(", "));
            }
        }
        let indentation = format!("\n{}", " ".repeat(self.indentation));
        format!("{open}{indentation}  {}{indentation}{close}", output.join(&format!(",{indentation}  ")))
    }

    /// Sets a long array of short entries in columns.
    fn group(&self, output: Vec<String>, values: &[Value]) -> Vec<String> {
        const SEPARATOR: usize = 2;
        let has_more = values.len() > ARRAY_MAX;
        let count = output.len() - usize::from(has_more);
        let lengths: Vec<usize> = output[..count].iter().map(|entry| units(entry)).collect();
        let total: usize = lengths.iter().map(|length| length + SEPARATOR).sum();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let widest = longest + SEPARATOR;
        let even = total as f64 / widest as f64 > 5.0 || longest <= 6;
        if widest * 3 + self.indentation >= BREAK_LENGTH || !even {
            return output;
        }
        let bias = (widest as f64 - total as f64 / output.len() as f64).sqrt();
        let biased = (widest as f64 - 3.0 - bias).max(1.0);
        let square = ((2.5 * biased * count as f64).sqrt() / biased).round() as usize;
        let columns = square.min((BREAK_LENGTH - self.indentation) / widest).min(COMPACT * 4).min(15);
        if columns <= 1 {
            return output;
        }
        let widths: Vec<usize> = (0..columns)
            .map(|column| lengths.iter().skip(column).step_by(columns).max().copied().unwrap_or(0) + SEPARATOR)
            .collect();
        let right = values.iter().take(output.len()).all(Value::is_number);
        let mut lines: Vec<String> = Vec::new();
        for row in output[..count].chunks(columns) {
            let mut line = String::new();
            for (index, entry) in row.iter().enumerate() {
                let last = index + 1 == row.len();
                let entry = if last { Cow::Borrowed(entry.as_str()) } else { format!("{entry}, ").into() };
                let width = if last { widths[index] - SEPARATOR } else { widths[index] };
                let blank = " ".repeat(width.saturating_sub(units(&entry)));
                match (right, last) {
                    (true, _) => line.extend([blank.as_str(), &entry]),
                    (false, false) => line.extend([&entry, blank.as_str()]),
                    (false, true) => line.push_str(&entry),
                }
            }
            lines.push(line);
        }
        if has_more {
            lines.extend(output.last().cloned());
        }
        lines
    }

    fn string(&self, text: &str) -> String {
        let length = units(text);
        let (kept, trailer) = if length > STRING_MAX {
            let more = length - STRING_MAX;
            let units: Vec<u16> = text.encode_utf16().take(STRING_MAX).collect();
            let s = if more > 1 { "s" } else { "" };
            (Cow::Owned(String::from_utf16_lossy(&units)), format!("... {more} more character{s}"))
        } else {
            (Cow::Borrowed(text), String::new())
        };
        let length = units(&kept);
        if length > LINE_MIN && length as isize > BREAK_LENGTH as isize - self.indentation as isize - 4 {
            let separator = format!(" +\n{}", " ".repeat(self.indentation + 2));
            let lines: Vec<String> = kept.split_inclusive('\n').map(quote).collect();
            return lines.join(&separator) + &trailer;
        }
        quote(&kept) + &trailer
    }
}

/// Returns the length as JavaScript counts it.
fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// JavaScript puts keys that are array indexes first, by number.
fn in_order_of_javascript(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let index = |key: &str| key.parse::<u32>().ok().filter(|index| *index != u32::MAX && index.to_string() == key);
    let mut entries: Vec<_> = map.iter().collect();
    // The sort is stable: the other keys stay in the order they were set.
    entries.sort_by_key(|(key, _)| index(key).map_or(u64::MAX, u64::from));
    entries
}

fn key(key: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let plain = key.chars().all(is_word) && !key.is_empty() && !key.starts_with(|c: char| c.is_ascii_digit());
    match key {
        "__proto__" => "['__proto__']".into(),
        _ if plain => key.to_owned(),
        _ => quote(key),
    }
}

fn quote(text: &str) -> String {
    let quote = match (text.contains('\''), text.contains('"'), text.contains('`') || text.contains("${")) {
        (true, false, _) => '"',
        (true, true, false) => '`',
        (false, _, _) | (true, true, true) => '\'',
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\\' => out.push_str("\\\\"),
            '\'' if quote == '\'' => out.push_str("\\'"),
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => {
                let _ = write!(out, "\\x{:02X}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// Writes a number as JavaScript does.
fn number(number: &Number) -> String {
    let Some(value) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.into();
    }
    let size = value.abs();
    if (1e-6..1e21).contains(&size) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use serde_json::json;

    use super::*;

    /// Prints the values with Node itself, one after another; `None` where there is no Node.
    fn by_node(values: &[Value]) -> Option<Vec<String>> {
        let script = "const values = JSON.parse(require('fs').readFileSync(0, 'utf8'));\
                      process.stdout.write(JSON.stringify(values.map(v => require('util').inspect(v, false, null, false))))";
        let mut node =
            Command::new("node").args(["-e", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        node.stdin.take().unwrap().write_all(serde_json::to_string(values).unwrap().as_bytes()).unwrap();
        let output = node.wait_with_output().unwrap();
        assert!(output.status.success());
        Some(serde_json::from_slice(&output.stdout).unwrap())
    }

    fn assert_as_node(values: &[Value]) {
        let Some(expected) = by_node(values) else {
            eprintln!("node is not here: nothing to compare with");
            return;
        };
        for (value, expected) in values.iter().zip(expected) {
            assert_eq!(inspect(value), expected, "of {value}");
        }
    }

    #[test]
    fn values_look_as_node_prints_them() {
        assert_as_node(&[
            json!({}),
            json!([]),
            json!([1, 2, 3]),
            json!(["a", "b"]),
            json!({ "a": 1, "b-c": "x", "1": true, "0": null, "_x9": 1.5, "ä": 0.0, "__proto_": {} }),
            json!({ "quotes": ["it's", "say \"hi\"", "it's \"both\"", "all ' \" `", "tab\tnew\nline\\ \u{1b}[0m \u{7f}\u{85}"] }),
            json!({ "a": { "b": { "c": { "d": { "e": 1 } } } } }),
            json!({ "a": { "b": { "c": 1 } }, "x": [] }),
            json!([{ "action_name": "km:heapdump", "action_type": "internal", "arity": 2 }]),
            json!({ "deep": { "deep": { "deep": [{ "action_name": "km:heapdump", "action_type": "internal", "arity": 2 }] } } }),
            json!((0..30).collect::<Vec<u32>>()),
            json!((0..130).collect::<Vec<u32>>()),
            json!((0..101).map(|n| format!("word{n}")).collect::<Vec<_>>()),
            json!(["server", "client", "a", "bb", "ccc", "dddd", "eeeee"]),
            json!([1.5, -2, 300, 4, 5, 6, 7, 8, 9, 10.25]),
            json!([1, "two", 3, "four", 5, "six", 7, 8]),
            json!([1, 2, 3, 4, 5, 6, 7, { "a": [1, 2, 3] }]),
            json!({ "long": "x".repeat(200), "lines": format!("{}\n{}\n{}", "a".repeat(40), "b".repeat(40), "c") }),
            json!({ "cut": "y".repeat(10_003) }),
            json!([1e21, 1e-7, 123456789012345680000.0, 0.1, 1.0e300, -5e-9]),
            json!({ "pid": 8902, "monit": { "memory": 55009280, "cpu": 0 }, "emoji": "👍👍", "watch": ["server", "client"] }),
        ]);
    }

    #[test]
    fn values_of_every_shape_look_as_node_prints_them() {
        // A small generator with a fixed seed: the same values in every run.
        struct Seed(u64);
        impl Seed {
            fn next(&mut self, below: u64) -> u64 {
                self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (self.0 >> 33) % below
            }
            fn text(&mut self) -> String {
                let length = self.next(24);
                (0..length).map(|_| char::from(b" az'\"`\n\\-_09AZ$"[self.next(15) as usize])).collect()
            }
            fn value(&mut self, depth: u64) -> Value {
                match self.next(if depth > 4 { 5 } else { 9 }) {
                    0 => Value::Null,
                    1 => (self.next(2) == 0).into(),
                    2 => (self.next(100_000) as i64 - 50_000).into(),
                    3 => (self.next(1000) as f64 / 8.0 + 0.125).into(),
                    4 => self.text().into(),
                    5 | 6 => (0..self.next(14)).map(|_| self.value(depth + 1)).collect(),
                    _ => (0..self.next(9)).map(|_| (self.text(), self.value(depth + 1))).collect::<Map<_, _>>().into(),
                }
            }
        }
        let mut seed = Seed(7);
        let mut values: Vec<Value> = (0..400).map(|_| seed.value(0)).collect();
        values.extend((7..60).map(|count| (0..count).map(|_| Value::from(seed.next(1 << (count % 20)))).collect()));
        values.extend((7..60).map(|count| (0..count).map(|_| Value::from(seed.text())).collect()));
        // JSON.parse makes a prototype of this key, and nothing of ours is called so.
        assert_as_node(&values);
    }
}
