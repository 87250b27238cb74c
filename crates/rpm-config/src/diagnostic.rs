//! Mistakes and warnings, as people read them.
//!
//! A diagnostic names the file, the app and the key, shows the line where there is one, and says what was found, what is
//! expected and which word was likely meant. Printing decides nothing else; it is done with annotate-snippets.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Patch, Renderer, Snippet};

/// A text that was read, kept to show lines of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What messages call it: a path as the user wrote it, or `stdin`.
    pub name: String,
    /// The text.
    pub text: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nothing is started.
    Mistake,
    /// It is started all the same.
    Warning,
}

/// One thing to tell the user about what was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    severity: Severity,
    title: String,
    source: Option<Arc<Source>>,
    span: Option<Range<usize>>,
    label: Option<String>,
    help: Option<String>,
    replacement: Option<(Range<usize>, String)>,
}

impl Diagnostic {
    /// Something that must be changed before anything is started.
    pub(crate) fn mistake(title: impl Into<String>) -> Self {
        Self::new(Severity::Mistake, title.into())
    }

    /// Something that the user should know.
    pub(crate) fn warning(title: impl Into<String>) -> Self {
        Self::new(Severity::Warning, title.into())
    }

    fn new(severity: Severity, title: String) -> Self {
        Self { severity, title, source: None, span: None, label: None, help: None, replacement: None }
    }

    /// Adds the text it is about and, where known, the place in it (byte offsets).
    pub(crate) fn at(mut self, source: &Arc<Source>, span: Option<Range<usize>>) -> Self {
        self.span = span.filter(|span| span.start <= span.end && source.text.get(span.clone()).is_some());
        self.source = Some(source.clone());
        self
    }

    /// Adds the words under the marked place: what is expected there.
    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds what to do next.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the likely intended word, shown as a change of the source where its place is known.
    pub(crate) fn suggest(mut self, word: Option<&str>, at: Option<Range<usize>>) -> Self {
        if let Some(word) = word {
            self.help = Some(format!("did you mean `{word}`?"));
            self.replacement = at.map(|span| (span, word.to_owned()));
        }
        self
    }

    /// Returns where in the source it is; what has no place comes last.
    pub(crate) fn position(&self) -> usize {
        self.span.as_ref().map_or(usize::MAX, |span| span.start)
    }

    /// Returns whether the words under the mark begin with `words`.
    pub(crate) fn label_begins_with(&self, words: &str) -> bool {
        self.label.as_ref().is_some_and(|label| label.starts_with(words))
    }

    /// Returns the first line: what is wrong, where.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Returns whether it is only a warning.
    pub fn is_warning(&self) -> bool {
        self.severity == Severity::Warning
    }

    /// Returns the text for a terminal, in colour when asked.
    pub fn render(&self, colour: bool) -> String {
        let level = match self.severity {
            Severity::Mistake => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let place = self.source.as_ref().zip(self.span.clone());
        let title = match (&place, &self.label) {
            // Without a line to point at, the label has nowhere to stand but in the title.
            (None, Some(label)) => format!("{}: {label}", self.title),
            _ => self.title.clone(),
        };
        let mut what = Group::with_title(level.primary_title(title));
        match (&self.source, place) {
            (Some(_), Some((source, span))) => {
                let mark = AnnotationKind::Primary.span(span).label(self.label.as_deref());
                what = what.element(Snippet::source(&source.text).path(&source.name).annotation(mark));
            }
            (Some(source), None) => what = what.element(Origin::path(&source.name)),
            (None, _) => {}
        }
        let mut groups = vec![what];
        if let Some(help) = &self.help {
            let mut group = Group::with_title(Level::HELP.secondary_title(help));
            if let (Some(source), Some((span, word))) = (&self.source, &self.replacement)
                && source.text.get(span.clone()).is_some()
            {
                group = group.element(Snippet::source(&source.text).patch(Patch::new(span.clone(), word)));
            }
            groups.push(group);
        }
        renderer.render(&groups)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// Everything that is wrong with what was asked, not only the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    mistakes: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl ConfigError {
    pub(crate) fn new(mistakes: Vec<Diagnostic>, warnings: Vec<Diagnostic>) -> Self {
        debug_assert!(!mistakes.is_empty(), "an error has a mistake");
        Self { mistakes, warnings }
    }

    /// Returns the mistakes, in the order of the file.
    pub fn mistakes(&self) -> &[Diagnostic] {
        &self.mistakes
    }

    /// Returns the warnings found on the way; they often explain a mistake.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Returns the text for a terminal, in colour when asked.
    pub fn render(&self, colour: bool) -> String {
        let all = self.mistakes.iter().chain(&self.warnings);
        all.map(|diagnostic| diagnostic.render(colour)).collect::<Vec<_>>().join("\n\n")
    }
}

impl From<Diagnostic> for ConfigError {
    fn from(mistake: Diagnostic) -> Self {
        Self::new(vec![mistake], Vec::new())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigError {}
