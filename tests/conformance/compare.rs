//! What differs between two runs of a scenario, and which of it is known.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::play::Seen;

/// One difference.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    pub(crate) scenario: String,
    /// The step and the place in what it showed: `jlist/0/pm2_env/args`.
    pub(crate) aspect: String,
    pub(crate) pm2: String,
    pub(crate) rpm: String,
    pub(crate) aside: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} | {}", self.scenario, self.aspect)?;
        write!(f, "  pm2: {}\n  rpm: {}", self.pm2, self.rpm)
    }
}

/// One aspect of an entry of `known.toml`; a `*` at the end of scenario or at either end of aspect stands for anything.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) scenario: String,
    pub(crate) aspect: String,
}

impl Known {
    /// Returns whether this entry speaks of that difference.
    pub(crate) fn covers(&self, difference: &Difference) -> bool {
        like(&self.scenario, &difference.scenario) && like(&self.aspect, &difference.aspect)
    }
}

/// Reads the list of known differences.
///
/// # Panics
/// When it cannot be read or understood, or an entry gives no reason, or hides everything that a scenario may show.
pub(crate) fn read_known(path: &Path) -> Vec<Known> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Entry {
        scenario: String,
        aspect: OneOrMore,
        reason: String,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    #[derive(Deserialize)]
    struct File {
        known: Vec<Entry>,
    }
    let text = std::fs::read_to_string(path).expect("the list of known differences");
    let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let aspects = |entry: Entry| {
        let scenario = entry.scenario;
        assert!(!entry.reason.trim().is_empty(), "no reason is given for {scenario}");
        let aspects = match entry.aspect {
            OneOrMore::One(aspect) => vec![aspect],
            OneOrMore::More(aspects) => aspects,
        };
        assert!(aspects.iter().all(|aspect| aspect != "*"), "what differs in {scenario} must be named");
        aspects.into_iter().map(move |aspect| Known { scenario: scenario.clone(), aspect })
    };
    file.known.into_iter().flat_map(aspects).collect()
}

/// Returns what differs.
pub(crate) fn compare(scenario: &str, pm2: &[Seen], rpm: &[Seen]) -> Vec<Difference> {
    let mut found = Found { scenario, aside: String::new(), list: Vec::new() };
    let steps = pm2.iter().chain(rpm.iter().filter(|seen| pm2.iter().all(|other| other.step != seen.step)));
    for step in steps.map(|seen| seen.step.as_str()) {
        let saw = |side: &[Seen]| side.iter().find(|seen| seen.step == step).cloned();
        let (left, right) = (saw(pm2), saw(rpm));
        found.aside = right.as_ref().map(|seen| seen.aside.clone()).unwrap_or_default();
        found.values(step, left.as_ref().map(|seen| &seen.saw), right.as_ref().map(|seen| &seen.saw));
    }
    found.list
}

struct Found<'a> {
    scenario: &'a str,
    aside: String,
    list: Vec<Difference>,
}

impl Found<'_> {
    fn values(&mut self, aspect: &str, pm2: Option<&Value>, rpm: Option<&Value>) {
        match (pm2, rpm) {
            (Some(Value::Object(left)), Some(Value::Object(right))) => {
                let keys = left.keys().chain(right.keys().filter(|key| !left.contains_key(*key)));
                keys.for_each(|key| self.values(&format!("{aspect}/{key}"), left.get(key), right.get(key)));
            }
            (Some(Value::Array(left)), Some(Value::Array(right))) if left.len() == right.len() => {
                let pairs = left.iter().zip(right).enumerate();
                pairs.for_each(|(at, (l, r))| self.values(&format!("{aspect}/{at}"), Some(l), Some(r)));
            }
            (left, right) if left == right => {}
            (left, right) => self.list.push(Difference {
                scenario: self.scenario.to_owned(),
                aspect: aspect.to_owned(),
                pm2: shown(left),
                rpm: shown(right),
                aside: self.aside.clone(),
            }),
        }
    }
}

fn shown(value: Option<&Value>) -> String {
    let text = value.map_or_else(|| "(nothing)".to_owned(), Value::to_string);
    text.chars().take(300).collect()
}

fn like(pattern: &str, text: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(_), Some(_)) => text.contains(pattern.trim_matches('*')),
        (Some(end), None) => text.ends_with(end),
        (None, Some(start)) => text.starts_with(start),
        (None, None) => pattern == text,
    }
}
