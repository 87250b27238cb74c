//! JSON as PM2 takes it: comments, trailing commas, single quotes, unquoted keys; and, since PM2 evaluates the text as
//! JavaScript, any expression.

use std::ops::Range;

use serde_json::Value;

use super::{Places, Pointer, script};
use crate::context::Context;
use crate::diagnostic::{ConfigError, Diagnostic, Source};

/// Reads a text as JSON5; what that cannot read is evaluated by Node as an expression.
pub(super) fn read(source: &std::sync::Arc<Source>, context: &Context) -> Result<(Value, Places), ConfigError> {
    let text = &source.text;
    let error = match json5::from_str::<Value>(text.trim_start_matches('\u{feff}')) {
        Ok(value) => return Ok((value, find_places(text))),
        Err(error) => error,
    };
    let is_no_script = |error: &ConfigError| {
        // What is no JavaScript either was meant as JSON, and a word that nothing is called lacks its quotes.
        error.mistakes().iter().any(|mistake| mistake.label_begins_with("SyntaxError")) || !looks_like_code(text)
    };
    match script::evaluate_text(source, context) {
        Ok(value) => return Ok(super::with_places(value, source)),
        Err(error) if is_no_script(&error) => {}
        Err(error) => return Err(error),
    }
    let place = error.position().map(|position| super::places::at_column(text, position.line, position.column));
    let reason = error.code().map_or_else(|| error.to_string(), |code| code.to_string());
    let mistake = Diagnostic::mistake(format!("{} is not valid JSON", source.name)).label(reason);
    Err(mistake.at(source, Some(place.unwrap_or(0..0))).into())
}

/// Returns whether an expression seems to stand in the text that only JavaScript can read.
fn looks_like_code(text: &str) -> bool {
    ["(", "`", "process.", "require", "...", "=>"].iter().any(|sign| text.contains(sign))
}

/// Finds the place of each value in a text that was read before, so its form needs no checking.
fn find_places(text: &str) -> Places {
    let mut scanner = Scanner { text, position: 0, places: Places::default() };
    scanner.value(&Pointer::default(), None);
    scanner.places
}

struct Scanner<'a> {
    text: &'a str,
    position: usize,
    places: Places,
}

impl Scanner<'_> {
    fn value(&mut self, pointer: &Pointer, key: Option<Range<usize>>) {
        self.skip_blank();
        let start = self.position;
        match self.peek() {
            Some('{') => self.object(pointer),
            Some('[') => self.array(pointer),
            _ => self.scalar(),
        }
        self.places.insert(pointer.clone(), key, start..self.position);
    }

    fn object(&mut self, pointer: &Pointer) {
        self.advance();
        loop {
            self.skip_blank();
            match self.peek() {
                None | Some('}') => break,
                Some(',') => {
                    self.advance();
                    continue;
                }
                Some(_) => {}
            }
            let start = self.position;
            self.scalar();
            let key = start..self.position;
            let written = self.text[key.clone()].to_owned();
            let name = json5::from_str::<String>(&written).unwrap_or(written);
            self.skip_blank();
            if self.peek() == Some(':') {
                self.advance();
            }
            self.value(&pointer.key(&name), Some(key));
        }
        self.advance();
    }

    fn array(&mut self, pointer: &Pointer) {
        self.advance();
        let mut index = 0;
        loop {
            self.skip_blank();
            match self.peek() {
                None | Some(']') => break,
                Some(',') => self.advance(),
                Some(_) => {
                    self.value(&pointer.index(index), None);
                    index += 1;
                }
            }
        }
        self.advance();
    }

    /// Passes a string, or anything up to the next sign of structure. Passes something even where nothing fits.
    fn scalar(&mut self) {
        match self.peek() {
            Some(quote @ ('"' | '\'')) => {
                self.advance();
                while let Some(c) = self.peek() {
                    self.advance();
                    match c {
                        '\\' => self.advance(),
                        c if c == quote => break,
                        _ => {}
                    }
                }
            }
            _ => {
                self.advance();
                while self.peek().is_some_and(|c| !c.is_whitespace() && !"{}[]:,/\"'".contains(c)) {
                    self.advance();
                }
            }
        }
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = &self.text[self.position..];
            let comment = match rest.get(..2) {
                Some("//") => rest.find('\n').unwrap_or(rest.len()),
                Some("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
                _ => match rest.chars().next() {
                    Some(c) if c.is_whitespace() || c == '\u{feff}' => c.len_utf8(),
                    _ => return,
                },
            };
            self.position += comment;
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn advance(&mut self) {
        self.position += self.peek().map_or(0, char::len_utf8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_place() {
        let text = "// one\n{ apps: [ { 'name': \"a, b\", /* {x */ n: 1, 'it\\'s': [true,], }, ] }";
        let places = find_places(text);
        let app = Pointer::default().key("apps").index(0);
        let shown = |pointer: &Pointer| {
            let place = places.get(pointer).unwrap();
            (place.key.clone().map(|key| &text[key]), &text[place.value.clone()])
        };
        assert_eq!(shown(&app.key("name")), (Some("'name'"), "\"a, b\""));
        assert_eq!(shown(&app.key("n")), (Some("n"), "1"));
        assert_eq!(shown(&app.key("it's").index(0)), (None, "true"));
    }

    #[test]
    fn a_broken_text_ends_the_search() {
        for text in ["", "{", "[", "{a", "{:", "[,", "\"", "/*", "{a:{b", "}", "]:"] {
            find_places(text);
        }
    }
}
