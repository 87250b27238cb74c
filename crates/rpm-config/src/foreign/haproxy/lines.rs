//! The syntax of HAProxy's files: one statement a line, in sections.

use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::Source;

/// One line: its words, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) words: Vec<String>,
    pub(super) span: Range<usize>,
}

impl Line {
    pub(super) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    pub(super) fn shown(&self) -> String {
        self.words.join(" ")
    }
}

/// One section.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) head: Line,
    pub(super) lines: Vec<Line>,
}

/// The words that begin a section.
const KINDS: &[&str] = &[
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "peers",
    "resolvers",
    "userlist",
    "cache",
    "mailers",
    "program",
    "ring",
    "log-forward",
    "http-errors",
    "fcgi-app",
];

/// Reads a text; lines before the first section come back apart.
pub(super) fn sections(source: &Arc<Source>) -> (Vec<Line>, Vec<Section>) {
    let (mut stray, mut sections): (Vec<Line>, Vec<Section>) = (Vec::new(), Vec::new());
    let mut start = 0;
    for text in source.text.split_inclusive('\n') {
        let words = words(text);
        let blank = text.len() - text.trim_start().len();
        let line = Line { span: start + blank..start + text.trim_end().len().max(blank), words };
        start += text.len();
        let Some(first) = line.words.first() else { continue };
        if KINDS.contains(&first.as_str()) {
            sections.push(Section {
                kind: first.clone(),
                name: line.word(1).to_owned(),
                head: line,
                lines: Vec::new(),
            });
        } else {
            match sections.last_mut() {
                Some(section) => section.lines.push(line),
                None => stray.push(line),
            }
        }
    }
    (stray, sections)
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '#') => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
