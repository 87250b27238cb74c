//! What was found wrong so far.
//!
//! Nothing stops at the first mistake: whoever reads a setting reports it here and goes on without it.

use std::sync::Arc;

use crate::diagnostic::{ConfigError, Diagnostic, Source};
use crate::document::{Places, Pointer};
use crate::keys;
use crate::raw::{Origin, Setting};
use crate::values::shown;

/// Collects mistakes and warnings about one file or command line.
#[derive(Debug, Default)]
pub(crate) struct Report {
    source: Option<Arc<Source>>,
    places: Places,
    mistakes: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Report {
    /// Collects for a file.
    pub(crate) fn about(source: Arc<Source>, places: Places) -> Self {
        Self { source: Some(source), places, ..Self::default() }
    }

    /// Reports a value that cannot stand where it stands.
    pub(crate) fn mistake(&mut self, app: &str, setting: &Setting, expected: &str, meant: Option<&str>) {
        self.mistake_because(app, setting, &format!("expected {expected}"), meant);
    }

    /// The same, with a reason of its own.
    pub(crate) fn mistake_because(&mut self, app: &str, setting: &Setting, reason: &str, meant: Option<&str>) {
        let diagnostic = self.about_value(app, setting, reason, meant);
        self.mistakes.push(diagnostic);
    }

    /// The same, with advice instead of a word.
    pub(crate) fn mistake_with_help(&mut self, app: &str, setting: &Setting, reason: &str, help: &str) {
        let diagnostic = self.about_value(app, setting, reason, None).help(help);
        self.mistakes.push(diagnostic);
    }

    fn about_value(&self, app: &str, setting: &Setting, reason: &str, meant: Option<&str>) -> Diagnostic {
        let found = shown(&setting.value);
        match &setting.origin {
            Origin::Target => {
                let diagnostic = Diagnostic::mistake(format!("cannot start {found}")).label(reason);
                diagnostic.suggest(meant, None)
            }
            Origin::Option(option) => {
                let diagnostic = Diagnostic::mistake(format!("`{option}` cannot be {found}")).label(reason);
                diagnostic.suggest(meant, None)
            }
            Origin::File { at, written } => {
                let title = format!("{app}: `{written}` cannot be {found}");
                let diagnostic = self.located(Diagnostic::mistake(title), at, Part::Value).label(reason);
                let place = self.places.get(at).map(|place| place.value.clone());
                // Text is replaced inside its quotes, the file says how it quotes; a flag has none.
                let is_flag = matches!(meant, Some("true" | "false"));
                diagnostic.suggest(meant, place.map(|span| if is_flag { span } else { self.without_quotes(span) }))
            }
        }
    }

    /// Reports a mistake in a value that is not repeated: it may be a secret.
    pub(crate) fn mistake_unshown(&mut self, app: &str, key: &str, reason: &str) {
        let diagnostic = Diagnostic::mistake(format!("{app}: `{key}`: {reason}"));
        let diagnostic = match &self.source {
            Some(source) => diagnostic.at(source, None),
            None => diagnostic,
        };
        self.mistakes.push(diagnostic);
    }

    /// Reports something wrong with an app as a whole.
    pub(crate) fn mistake_of_app(&mut self, at: Option<&Pointer>, sentence: String) {
        let diagnostic = Diagnostic::mistake(sentence);
        let diagnostic = match at {
            Some(at) => self.located(diagnostic, at, Part::Value),
            None => diagnostic,
        };
        self.mistakes.push(diagnostic);
    }

    /// Reports something that is wrong with the file as a whole.
    pub(crate) fn mistake_of_file(&mut self, at: &Pointer, reason: &str, expected: &str) {
        let diagnostic = self.located(Diagnostic::mistake(reason), at, Part::Value).label(expected);
        self.mistakes.push(diagnostic);
    }

    /// Reports a mistake that was put together elsewhere.
    pub(crate) fn push(&mut self, mistake: Diagnostic) {
        self.mistakes.push(mistake);
    }

    /// Warns of a name that is no key.
    pub(crate) fn unknown_key(&mut self, app: &str, setting: &Setting, meant: Option<&str>) {
        let Origin::File { at, written } = &setting.origin else { return };
        let title = format!("{app}: `{written}` is unknown and has no effect");
        let key = self.places.get(at).and_then(|place| place.key.clone());
        let inside = key.as_ref().map(|span| self.without_quotes(span.clone()));
        let mut diagnostic = self.located(Diagnostic::warning(title), at, Part::Key).suggest(meant, inside);
        if key.is_some() {
            diagnostic = diagnostic.label("not a key of an app");
        }
        if let Some(object) = keys::home_of(written) {
            diagnostic = diagnostic.help(format!("it stands in `{object}`: {object}: {{ {written}: … }}"));
        }
        self.warnings.push(diagnostic);
    }

    /// Reports a name that is no key, where an unknown one is refused.
    pub(crate) fn refused_key(&mut self, label: &str, at: &Pointer, written: &str, meant: Option<&str>) {
        let title = format!("{label}: `{}` is unknown", written.escape_debug());
        let key = self.places.get(at).and_then(|place| place.key.clone());
        let inside = key.map(|span| self.without_quotes(span));
        let diagnostic = self.located(Diagnostic::mistake(title), at, Part::Key).suggest(meant, inside);
        self.mistakes.push(diagnostic);
    }

    /// Warns of a key beside `apps` that is unknown or has no effect yet.
    pub(crate) fn warn_top_level(&mut self, at: &Pointer, title: &str, meant: Option<&str>) {
        let inside = self.places.get(at).and_then(|place| place.key.clone()).map(|span| self.without_quotes(span));
        let diagnostic = self.located(Diagnostic::warning(title), at, Part::Key).suggest(meant, inside);
        self.warnings.push(diagnostic);
    }

    /// Warns about a setting that is fine in itself.
    pub(crate) fn warn(&mut self, app: &str, setting: &Setting, reason: &str) {
        let diagnostic = match &setting.origin {
            Origin::Target => Diagnostic::warning(format!("{app}: it {reason}")),
            Origin::Option(option) => Diagnostic::warning(format!("`{option}` {reason}")),
            Origin::File { at, written } => {
                self.located(Diagnostic::warning(format!("{app}: `{written}` {reason}")), at, Part::Key)
            }
        };
        self.warnings.push(diagnostic);
    }

    /// Warns about something that has no place.
    pub(crate) fn warn_of_app(&mut self, reason: String) {
        let diagnostic = Diagnostic::warning(reason);
        let diagnostic = match &self.source {
            Some(source) => diagnostic.at(source, None),
            None => diagnostic,
        };
        self.warnings.push(diagnostic);
    }

    /// Reports one setting under two of its names.
    pub(crate) fn written_twice(&mut self, app: &str, first: &Setting, second: &Setting) {
        let (Origin::File { written: one, .. }, Origin::File { at, written: two }) = (&first.origin, &second.origin)
        else {
            return;
        };
        let title = format!("{app}: `{two}` and `{one}` are the same setting with two values");
        let diagnostic = self.located(Diagnostic::mistake(title), at, Part::Key);
        self.mistakes.push(diagnostic.help(format!(
            "keep one of {} and {}",
            shown(&first.value),
            shown(&second.value)
        )));
    }

    /// Ends the collection: the warnings, or everything as an error.
    pub(crate) fn finish(mut self) -> Result<Vec<Diagnostic>, ConfigError> {
        // People mend a file from top to bottom; what has no place stays in the order it was found.
        self.mistakes.sort_by_key(Diagnostic::position);
        self.warnings.sort_by_key(Diagnostic::position);
        // An option of the command line is read once for each app of a file.
        drop_repeated(&mut self.mistakes);
        drop_repeated(&mut self.warnings);
        if self.mistakes.is_empty() { Ok(self.warnings) } else { Err(ConfigError::new(self.mistakes, self.warnings)) }
    }

    fn located(&self, diagnostic: Diagnostic, at: &Pointer, part: Part) -> Diagnostic {
        let Some(source) = &self.source else { return diagnostic };
        let place = self.places.get(at);
        let span = place.and_then(|place| match part {
            Part::Key => place.key.clone(),
            Part::Value => Some(place.value.clone()).or_else(|| place.key.clone()),
        });
        // A whole object is marked by its first line only; the rest would drown the words.
        let span = span.map(|span| first_line(&source.text, span));
        diagnostic.at(source, span)
    }

    fn without_quotes(&self, span: std::ops::Range<usize>) -> std::ops::Range<usize> {
        let text = self.source.as_ref().and_then(|source| source.text.get(span.clone())).unwrap_or_default();
        let quoted = text.len() >= 2 && text.starts_with(['"', '\'']) && text.ends_with(['"', '\'']);
        if quoted { span.start + 1..span.end - 1 } else { span }
    }
}

fn drop_repeated(diagnostics: &mut Vec<Diagnostic>) {
    let mut kept: Vec<Diagnostic> = Vec::with_capacity(diagnostics.len());
    for diagnostic in diagnostics.drain(..) {
        if !kept.contains(&diagnostic) {
            kept.push(diagnostic);
        }
    }
    *diagnostics = kept;
}

/// Which part of a line a message points at.
#[derive(Debug, Clone, Copy)]
enum Part {
    Key,
    Value,
}

fn first_line(text: &str, span: std::ops::Range<usize>) -> std::ops::Range<usize> {
    let marked = text.get(span.clone()).unwrap_or_default();
    let length = marked.find('\n').unwrap_or(marked.len());
    let length = marked[..length].trim_end().len();
    span.start..span.start + length.max(1).min(marked.len())
}
