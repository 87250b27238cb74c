//! What may differ between two runs of the same program is replaced by its kind: pids, times, paths, ids.

use std::path::Path;
use std::sync::OnceLock;

use regex_lite::Regex;
use serde_json::{Map, Value};

/// Whose value says nothing about the program.
const KINDS: &[(&str, &str)] = &[
    ("pm_uptime", "<time>"),
    ("created_at", "<time>"),
    ("unique_id", "<uuid>"),
    ("memory", "<number>"),
    ("cpu", "<number>"),
    ("version", "<version>"),
    ("_pm2_version", "<version>"),
    ("username", "<user>"),
    ("USER", "<user>"),
    ("PATH", "<path>"),
];

/// What is particular to one side of one run.
#[derive(Debug)]
pub(crate) struct Normal {
    replaced: Vec<(String, &'static str)>,
    ports: Vec<String>,
}

impl Normal {
    /// Knows the places and the ports of a run.
    pub(crate) fn new(root: &Path, ports: &[u16]) -> Self {
        let root = root.to_string_lossy().into_owned();
        let replaced = vec![(format!("{root}/home"), "<home>"), (format!("{root}/work"), "<work>"), (root, "<root>")];
        Self { replaced, ports: ports.iter().map(u16::to_string).collect() }
    }

    /// Normalises a text.
    pub(crate) fn text(&self, text: &str) -> String {
        static PATTERNS: OnceLock<Vec<(Regex, &str)>> = OnceLock::new();
        let patterns = PATTERNS.get_or_init(|| {
            let all = [
                ("\u{1b}\\[[0-9;]*m", ""),
                (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
                (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{3})?(Z|[+-]\d\d:\d\d)?", "<date>"),
                (r"\b\d{4}-\d\d-\d\d\b", "<day>"),
            ];
            all.map(|(pattern, kind)| (Regex::new(pattern).expect("a pattern"), kind)).into()
        });
        let mut text = text.to_owned();
        for (from, to) in &self.replaced {
            text = text.replace(from.as_str(), to);
        }
        for (pattern, kind) in patterns {
            text = pattern.replace_all(&text, *kind).into_owned();
        }
        for port in &self.ports {
            text = text.replace(port.as_str(), "<port>");
        }
        text
    }

    /// Normalises a JSON document; objects are sorted, because the order of keys means nothing.
    pub(crate) fn json(&self, value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut pairs: Vec<(String, Value)> = Vec::new();
                for (key, value) in map {
                    pairs.push((self.text(key), self.member(key, value)));
                }
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
                Value::Object(Map::from_iter(pairs))
            }
            Value::Array(list) => list.iter().map(|value| self.json(value)).collect(),
            Value::String(text) => Value::String(self.text(text)),
            Value::Number(number) if self.ports.contains(&number.to_string()) => Value::String("<port>".into()),
            other => other.clone(),
        }
    }

    fn member(&self, key: &str, value: &Value) -> Value {
        if value.is_object() || value.is_null() {
            return self.json(value);
        }
        if key == "pid" && value.as_i64().is_some_and(|pid| pid > 0) {
            return Value::String("<pid>".into());
        }
        // Applications without a package.json have none: that is a fact.
        if key == "version" && value == "N/A" {
            return value.clone();
        }
        match KINDS.iter().find(|(kind, _)| *kind == key) {
            Some((_, name)) => Value::String((*name).into()),
            None => self.json(value),
        }
    }
}
