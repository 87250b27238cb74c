//! Where values stand in a program, as far as its text tells.
//!
//! A program is run, not read, so its values have no places. But most configurations are one literal, and then the
//! property that a value came from stands in the text, in the order of the values. A name is trusted only when it
//! stands in the text as often as in the value, and no literal beside it says something else; a name that is computed,
//! spread or shared by several apps has no place, which is better than a wrong one.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use super::{Places, Pointer};

/// Returns the places of those values whose property can be told.
pub(super) fn find_places(text: &str, value: &Value) -> Places {
    let mut written: BTreeMap<String, Vec<Property>> = BTreeMap::new();
    for property in Scanner::new(text).properties() {
        written.entry(property.name.clone()).or_default().push(property);
    }
    let mut meant = BTreeMap::new();
    collect(value, &Pointer::default(), &mut meant);
    let mut places = Places::default();
    for (name, values) in meant {
        let properties = written.remove(name).unwrap_or_default();
        let agrees = |(property, (_, value)): (&Property, &(Pointer, &Value))| {
            literal(&text[property.value.clone()]).is_none_or(|literal| literal == **value)
        };
        if properties.len() == values.len() && properties.iter().zip(&values).all(agrees) {
            for (property, (pointer, _)) in properties.into_iter().zip(values) {
                places.insert(pointer, Some(property.key), property.value);
            }
        }
    }
    places
}

/// Collects the values under each name, in their order.
fn collect<'a>(value: &'a Value, at: &Pointer, into: &mut BTreeMap<&'a str, Vec<(Pointer, &'a Value)>>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let at = at.key(name);
                into.entry(name).or_default().push((at.clone(), value));
                collect(value, &at, into);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                collect(value, &at.index(index), into);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Returns the value of a text that is a string, a number, or a word of JSON.
fn literal(text: &str) -> Option<Value> {
    let value: Value = json5::from_str(text).ok()?;
    (!value.is_object() && !value.is_array()).then_some(value)
}

/// `name: value` inside an object literal.
struct Property {
    name: String,
    key: Range<usize>,
    value: Range<usize>,
}

/// Reads just so much of JavaScript: strings, comments, brackets, and a name before a colon.
struct Scanner<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, position: 0 }
    }

    fn properties(mut self) -> Vec<Property> {
        let mut found = Vec::new();
        // A name is a property's only after one of these; after `?` it is the middle of a choice.
        let mut may_be_key = false;
        while let Some(first) = self.next_token() {
            let (start, end) = (first.start, first.end);
            let token = &self.text[first];
            let name = token.trim_matches(['"', '\'']);
            let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '-'));
            if may_be_key && is_name {
                let after = self.position;
                if self.next_token().is_some_and(|colon| &self.text[colon] == ":") {
                    let value = self.value();
                    found.push(Property { name: name.to_owned(), key: start..end, value });
                    may_be_key = false;
                    continue;
                }
                self.position = after;
            }
            may_be_key = matches!(token, "{" | ",");
        }
        found
    }

    /// Returns the span up to the comma or bracket that ends the value; the scanner stays before it.
    fn value(&mut self) -> Range<usize> {
        let before = self.position;
        let mut depth = 0_usize;
        let (mut start, mut end) = (None, before);
        while let Some(token) = self.next_token() {
            match &self.text[token.clone()] {
                "," | ";" if depth == 0 => break,
                "}" | "]" | ")" if depth == 0 => break,
                "}" | "]" | ")" => depth -= 1,
                "{" | "[" | "(" => depth += 1,
                _ => {}
            }
            start.get_or_insert(token.start);
            end = token.end;
        }
        // What is inside the value is read again: it may have properties of its own.
        self.position = before;
        start.unwrap_or(before)..end
    }

    /// Returns the next string, word or sign; nothing at the end.
    fn next_token(&mut self) -> Option<Range<usize>> {
        self.skip_blank();
        let rest = &self.text[self.position..];
        let first = rest.chars().next()?;
        let length = match first {
            '"' | '\'' | '`' => string_length(rest, first),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let start = self.position;
        self.position += length;
        Some(start..self.position)
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = &self.text[self.position..];
            let blank = rest.len() - rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').len();
            self.position += if blank > 0 {
                blank
            } else if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else {
                return;
            };
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '.')
}

/// Returns how long the string is that begins the text, quotes included.
fn string_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (offset, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return offset + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(text: &str, value: &Value, keys: &[&str]) -> Option<(String, String)> {
        let pointer = keys.iter().fold(Pointer::default(), |at, key| match key.parse() {
            Ok(index) => at.index(index),
            Err(_) => at.key(key),
        });
        let places = find_places(text, value);
        let place = places.get(&pointer)?;
        Some((text[place.key.clone()?].to_owned(), text[place.value.clone()].to_owned()))
    }

    #[test]
    fn a_literal_tells_where_its_values_stand() {
        let text = "// name: no\nmodule.exports = { apps: [\n  { name: 'a', env: { 'A-B': x ? y : z } },\n  { name: \"b\" /* , name: 'c' */ },\n] };";
        let value = json!({ "apps": [{ "name": "a", "env": { "A-B": "1" } }, { "name": "b" }] });
        let found = |keys: &[&str]| place(text, &value, keys);
        assert_eq!(found(&["apps", "0", "name"]), Some(("name".into(), "'a'".into())));
        assert_eq!(found(&["apps", "1", "name"]), Some(("name".into(), "\"b\"".into())));
        assert_eq!(found(&["apps", "0", "env", "A-B"]), Some(("'A-B'".into(), "x ? y : z".into())));
        assert_eq!(found(&["apps", "0", "env"]), Some(("env".into(), "{ 'A-B': x ? y : z }".into())));
    }

    #[test]
    fn what_is_shared_computed_or_contradicted_has_no_place() {
        let shared =
            "const base = { cwd: '/x' }; module.exports = { apps: [{ ...base, name: 'a' }, { ...base, name: 'b' }] }";
        let value = json!({ "apps": [{ "cwd": "/x", "name": "a" }, { "cwd": "/x", "name": "b" }] });
        assert_eq!(place(shared, &value, &["apps", "0", "cwd"]), None);
        assert!(place(shared, &value, &["apps", "1", "name"]).is_some());
        let sorted = "export default { apps: [{ name: 'b' }, { name: 'a' }].reverse() }";
        assert_eq!(place(sorted, &json!({ "apps": [{ "name": "a" }, { "name": "b" }] }), &["apps", "0", "name"]), None);
        for broken in ["", "{", "{a:", "{a:'", "/*", "{'", "{a:[(", "\\", "é: {é:é"] {
            let _places = find_places(broken, &json!({ "a": 1, "é": 2 }));
        }
    }
}
