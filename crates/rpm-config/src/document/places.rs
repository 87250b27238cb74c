//! Where in a text each value stands.

use std::collections::BTreeMap;
use std::ops::Range;

/// The way to a value: a JSON pointer (`/apps/0/name`).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pointer(String);

impl Pointer {
    /// The way on to the value under a key.
    pub(crate) fn key(&self, key: &str) -> Self {
        Self(format!("{}/{}", self.0, key.replace('~', "~0").replace('/', "~1")))
    }

    /// The way on to an element of a list.
    pub(crate) fn index(&self, index: usize) -> Self {
        Self(format!("{}/{index}", self.0))
    }
}

/// The byte offsets of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its key, quotes included.
    pub(crate) key: Option<Range<usize>>,
    /// Itself.
    pub(crate) value: Range<usize>,
}

/// All places of a text that are known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(BTreeMap<Pointer, Place>);

impl Places {
    /// Returns where a value stands.
    pub(crate) fn get(&self, pointer: &Pointer) -> Option<&Place> {
        self.0.get(pointer)
    }

    /// Notes where a value stands.
    pub(crate) fn insert(&mut self, pointer: Pointer, key: Option<Range<usize>>, value: Range<usize>) {
        self.0.insert(pointer, Place { key, value });
    }
}

/// Returns the character at a line and a column, both from 0; the end of the text where there is none.
pub(super) fn at_column(text: &str, line: usize, column: usize) -> Range<usize> {
    let line_start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(line_start..).unwrap_or_default();
    let start = rest.char_indices().nth(column).map_or(text.len(), |(offset, _)| line_start + offset);
    let length = text[start..].chars().next().filter(|c| !c.is_control()).map_or(0, char::len_utf8);
    start..start + length
}
