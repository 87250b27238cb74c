//! What the table is filtered by.
//!
//! Words that all must match: `api`, `!mailer`, `errored`, `cpu>50`, `memory>100M`, `restarts>3`, `cpu<1`.

use rpm_ipc::{AppInfo, WorkerInfo};
use rpm_model::Bytes;

/// A filter as typed, and as understood.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    text: String,
    terms: Vec<Term>,
}

#[derive(Debug, PartialEq)]
enum Term {
    /// Part of the name, namespace, status or user, or the whole id.
    Has(String),
    /// None of these.
    HasNot(String),
    /// A figure above a limit, or below it.
    Than { figure: Figure, above: bool, limit: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Figure {
    Cpu,
    Memory,
    Restarts,
}

impl Filter {
    pub(crate) fn new(text: String) -> Self {
        let terms = text.split_whitespace().filter_map(term).collect();
        Self { text, terms }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(crate) fn lets_through(&self, app: &AppInfo, worker: &WorkerInfo) -> bool {
        self.terms.iter().all(|term| match term {
            Term::Has(word) => has(app, worker, word),
            Term::HasNot(word) => !has(app, worker, word),
            Term::Than { figure, above, limit } => {
                let value = match figure {
                    Figure::Cpu => f64::from(worker.cpu),
                    Figure::Memory => worker.memory.0 as f64,
                    Figure::Restarts => f64::from(worker.restarts),
                };
                if *above { value > *limit } else { value < *limit }
            }
        })
    }
}

fn term(word: &str) -> Option<Term> {
    let word = word.to_lowercase();
    if let Some(rest) = word.strip_prefix('!') {
        // While it is being typed it says nothing yet.
        return (!rest.is_empty()).then(|| Term::HasNot(rest.to_owned()));
    }
    comparison(&word).or(Some(Term::Has(word)))
}

fn comparison(word: &str) -> Option<Term> {
    let place = word.find(['<', '>'])?;
    let (name, rest) = word.split_at(place);
    let (above, limit) = (rest.starts_with('>'), rest[1..].trim_end_matches('%'));
    let figure = match name {
        "cpu" => Figure::Cpu,
        "memory" | "mem" => Figure::Memory,
        "restarts" => Figure::Restarts,
        _ => return None,
    };
    let limit = match figure {
        Figure::Memory => Bytes::parse(limit).ok()?.0 as f64,
        Figure::Cpu | Figure::Restarts => limit.parse().ok()?,
    };
    Some(Term::Than { figure, above, limit })
}

fn has(app: &AppInfo, worker: &WorkerInfo, word: &str) -> bool {
    app.spec.name.to_lowercase().contains(word)
        || app.spec.namespace.to_lowercase().contains(word)
        || worker.status.as_str().contains(word)
        || worker.user.to_lowercase() == word
        || worker.id.to_string() == word
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::list;

    fn ids(text: &str) -> Vec<u32> {
        let (list, filter) = (list(), Filter::new(text.into()));
        let all = list.apps.iter().flat_map(|app| app.workers.iter().map(move |worker| (app, worker)));
        all.filter(|(app, worker)| filter.lets_through(app, worker)).map(|(_, worker)| worker.id.0).collect()
    }

    #[test]
    fn all_words_must_match() {
        assert_eq!(ids(""), [0, 1, 2, 3]);
        assert_eq!(ids("API"), [0, 1]);
        assert_eq!(ids("default errored"), [2]);
        assert_eq!(ids("!api !errored"), [3]);
        assert_eq!(ids("!"), [0, 1, 2, 3]);
        assert_eq!(ids("日本"), [3]);
        assert_eq!(ids("1"), [1]);
    }

    #[test]
    fn figures_are_compared() {
        assert_eq!(ids("cpu>50%"), [1]);
        assert_eq!(ids("cpu<50 api"), [0]);
        assert_eq!(ids("memory>100M"), [1]);
        assert_eq!(ids("mem<1k restarts>3"), [2]);
        assert_eq!(ids("cpu>much"), [0; 0]);
    }
}
