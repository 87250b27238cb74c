//! One object of the file, read key by key; what is never asked for is unknown, and refused.

use std::time::Duration;

use rpm_model::{Bytes, nearest};
use serde_json::{Map, Value};

use crate::document::Pointer;
use crate::keys::{Kind, SILENT, camel_case};
use crate::raw::{Origin, Setting};
use crate::report::Report;
use crate::values;

/// An object being read.
pub(crate) struct Section<'a, 'r> {
    pub(crate) report: &'r mut Report,
    /// What messages call it: upstream `api`.
    pub(crate) label: String,
    pub(crate) at: Pointer,
    object: &'a Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'a, 'r> Section<'a, 'r> {
    pub(crate) fn new(object: &'a Map<String, Value>, at: Pointer, label: String, report: &'r mut Report) -> Self {
        Self { report, label, at, object, known: Vec::new() }
    }

    /// Returns a value that is there and not `null`, with where it stands; camelCase is the same name.
    pub(crate) fn find(&mut self, key: &'static str) -> Option<(&'a Value, Setting)> {
        self.known.push(key);
        let camel = camel_case(key);
        let (written, value) = self.object.iter().find(|(written, _)| *written == key || **written == camel)?;
        if value.is_null() {
            return None;
        }
        let origin = Origin::File { at: self.at.key(written), written: written.clone() };
        Some((value, Setting { value: value.clone(), origin }))
    }

    /// Returns whether a key was given.
    pub(crate) fn has(&self, key: &str) -> bool {
        let camel = camel_case(key);
        self.object.iter().any(|(written, value)| (written == key || *written == camel) && !value.is_null())
    }

    /// Reads a value, or reports what was expected.
    pub(crate) fn read<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let (value, setting) = self.find(key)?;
        let read = read(value);
        if read.is_none() {
            self.report.mistake(&self.label, &setting, expected, None);
        }
        read
    }

    /// Reads a value of one of the usual kinds.
    fn kind<T>(&mut self, key: &'static str, kind: Kind, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        self.read(key, kind.expected(), read)
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        self.kind(key, Kind::Text, |value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned))
    }

    pub(crate) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.kind(key, Kind::Texts, values::texts)
    }

    pub(crate) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.kind(key, Kind::Flag, Value::as_bool)
    }

    pub(crate) fn number(&mut self, key: &'static str) -> Option<u32> {
        self.kind(key, Kind::Number, values::number)
    }

    /// Reads a number that is at least one.
    pub(crate) fn count(&mut self, key: &'static str) -> Option<u32> {
        self.read(key, "a whole number, at least 1", |value| values::number(value).filter(|number| *number > 0))
    }

    /// Reads an amount that is more than nothing.
    pub(crate) fn amount(&mut self, key: &'static str) -> Option<f64> {
        self.read(key, "a number above 0", |value| values::amount(value).filter(|amount| *amount > 0.0))
    }

    pub(crate) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.kind(key, Kind::Duration, values::duration)
    }

    pub(crate) fn memory(&mut self, key: &'static str) -> Option<Bytes> {
        self.kind(key, Kind::Memory, values::memory)
    }

    /// Reads one of a few words.
    pub(crate) fn word<T: Clone>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let (value, setting) = self.find(key)?;
        let typed = value.as_str().unwrap_or_default();
        let found = words.iter().find(|(word, _)| *word == typed);
        if found.is_none() {
            let names = || words.iter().map(|(word, _)| *word);
            let expected = crate::spec::one_of(names());
            self.report.mistake(&self.label, &setting, &expected, nearest(typed, names()));
        }
        found.map(|(_, meant)| meant.clone())
    }

    /// Reads something that says itself what is wrong with it.
    pub(crate) fn parse<T: std::str::FromStr>(&mut self, key: &'static str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let (value, setting) = self.find(key)?;
        self.parsed(&value.clone(), &setting)
    }

    /// Reads a list, or one, of things that say themselves what is wrong with them.
    pub(crate) fn parse_all<T: std::str::FromStr>(&mut self, key: &'static str) -> Option<Vec<T>>
    where
        T::Err: std::fmt::Display,
    {
        let (value, setting) = self.find(key)?;
        let each: Vec<(Value, Setting)> = each(value, &setting);
        Some(each.iter().filter_map(|(value, setting)| self.parsed(value, setting)).collect())
    }

    /// Reads one text as what it stands for.
    pub(crate) fn parsed<T: std::str::FromStr>(&mut self, value: &Value, setting: &Setting) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let read = values::text(value).unwrap_or_default().parse();
        read.map_err(|error: T::Err| self.refuse(setting, &error.to_string())).ok()
    }

    /// Reads an object; `true` is an empty one, where that is allowed.
    pub(crate) fn object(
        &mut self,
        key: &'static str,
        expected: &str,
        or_true: bool,
    ) -> Option<(Option<&'a Map<String, Value>>, Pointer)> {
        let (value, setting) = self.find(key)?;
        let at = place(&setting);
        match value {
            Value::Object(object) => Some((Some(object), at)),
            Value::Bool(true) if or_true => Some((None, at)),
            Value::Bool(false) if or_true => None,
            _ => {
                self.report.mistake(&self.label, &setting, expected, None);
                None
            }
        }
    }

    /// Reads the object inside a key with a reader of its own.
    pub(crate) fn inside<T>(
        &mut self,
        object: &'a Map<String, Value>,
        at: Pointer,
        label: String,
        read: impl FnOnce(&mut Section<'a, '_>) -> T,
    ) -> T {
        let mut inner = Section::new(object, at, label, self.report);
        let read = read(&mut inner);
        inner.finish();
        read
    }

    /// Reports a value that cannot stand.
    pub(crate) fn refuse(&mut self, setting: &Setting, reason: &str) {
        self.report.mistake_because(&self.label, setting, reason, None);
    }

    /// Reports a value that names something that is not there.
    pub(crate) fn refuse_name(&mut self, setting: &Setting, reason: &str, meant: Option<&str>) {
        self.report.mistake_because(&self.label, setting, reason, meant);
    }

    /// Reports something wrong with the object as a whole.
    pub(crate) fn refuse_whole(&mut self, reason: &str, expected: &str) {
        let title = format!("{}: {reason}", self.label);
        self.report.mistake_of_file(&self.at, &title, expected);
    }

    /// Refuses every key that nobody has asked for: a mistyped limit would be no limit.
    pub(crate) fn finish(self) {
        for written in self.object.keys() {
            let is_known = |known: &&'static str| *known == written || camel_case(known) == *written;
            if SILENT.contains(&written.as_str()) || self.known.iter().any(is_known) {
                continue;
            }
            let meant = nearest(written, self.known.iter().copied());
            self.report.refused_key(&self.label, &self.at.key(written), written, meant);
        }
    }
}

/// Returns where a setting stands.
pub(crate) fn place(setting: &Setting) -> Pointer {
    match &setting.origin {
        Origin::File { at, .. } => at.clone(),
        Origin::Option(_) | Origin::Target => Pointer::default(),
    }
}

/// Returns the elements of a list with their places, or the one that is no list.
pub(crate) fn each(value: &Value, setting: &Setting) -> Vec<(Value, Setting)> {
    let Value::Array(list) = value else { return vec![(value.clone(), setting.clone())] };
    let written = match &setting.origin {
        Origin::File { written, .. } => written.clone(),
        Origin::Option(_) | Origin::Target => String::new(),
    };
    let at = place(setting);
    let element = |(index, value): (usize, &Value)| {
        let origin = Origin::File { at: at.index(index), written: written.clone() };
        (value.clone(), Setting { value: value.clone(), origin })
    };
    list.iter().enumerate().map(element).collect()
}
