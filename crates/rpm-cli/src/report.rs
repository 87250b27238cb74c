//! The one place where a failure becomes words: what happened, why, and what to do next.

use std::fmt::Write as _;

use rpm_config::ConfigError;
use rpm_ipc::{CallError, Failed, FailureInfo};

use crate::say::{self, Voice};

/// A command that did not succeed. Every one ends the program with code 1, as in PM2.
#[derive(Debug)]
pub struct Failure(Box<Parts>);

/// Behind a box: success is the rule, and should not carry the room that a failure needs.
#[derive(Debug, Default)]
struct Parts {
    /// What happened, and why: a sentence without a full stop.
    what: String,
    /// More about it, a line each.
    details: Vec<String>,
    /// Last lines of standard error.
    excerpt: Vec<String>,
    /// What to do next: commands or sentences.
    hints: Vec<String>,
    /// A text that is complete already (mistakes in a file, with their lines).
    rendered: Option<String>,
    /// Other failures of the same command.
    others: Vec<Failure>,
}

/// How a command that failed has left those who served before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// Nobody did.
    No,
    /// They still do.
    On,
    /// They could not beside the new ones, and were started again.
    Before,
}

impl Failure {
    /// Starts a report.
    pub fn new(what: impl Into<String>) -> Self {
        Self(Box::new(Parts { what: what.into(), ..Parts::default() }))
    }

    /// Adds a line about it.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.details.push(detail.into());
        self
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// Adds what to do next, where there is something.
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.0.hints.extend(hint);
        self
    }

    /// Puts the action into words: `verb` completes "could not …" (`reload`).
    pub fn of_action(verb: &str, failed: Failed, served: Served, program: &str) -> Self {
        let undone = failed.undone;
        let mut reports = group(failed.failures).into_iter().map(|(first, alike)| {
            let FailureInfo { worker, app, message, stderr } = first;
            let mut report = Failure::new(format!("could not {verb} {app}: worker {worker} {message}"));
            if alike > 0 {
                let s = if alike == 1 { "" } else { "s" };
                report = report.detail(format!("so did {alike} other worker{s}"));
            }
            if !stderr.is_empty() {
                report.0.hints.push(format!("{program} logs {app} --err"));
            }
            report.0.excerpt = stderr;
            report
        });
        let mut report = reports.next().unwrap_or_else(|| Failure::new(format!("could not {verb}")));
        report.0.others = reports.collect();
        if undone {
            let as_before = match verb {
                "reload" if served == Served::On => "the old workers keep serving",
                "reload" if served == Served::Before => "what ran before is up again",
                "reload" => "none of its workers was up before; they are tried again as the app's settings say",
                _ => "everything is as it was before",
            };
            report.0.details.push(as_before.into());
        }
        report
    }

    /// Adds another failure of the same command.
    pub fn and(mut self, other: Failure) -> Self {
        self.0.others.push(other);
        self
    }

    /// Returns the first sentence.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// Writes it to standard error.
    pub fn print(&self, voice: &Voice) {
        if let Some(rendered) = &self.0.rendered {
            voice.raw_error(&format!("{}\n", rendered.trim_end()));
        } else {
            voice.error(self.text());
        }
        for other in &self.0.others {
            other.print(voice);
        }
    }

    /// Returns the text without the name of the program before it.
    pub fn text(&self) -> String {
        let mut text = self.0.what.clone();
        for detail in &self.0.details {
            let _ = write!(text, "\n  {detail}");
        }
        for line in &self.0.excerpt {
            let _ = write!(text, "\n  {}|{:#} {}", say::GREY, say::GREY, visible(line));
        }
        for hint in &self.0.hints {
            let _ = write!(text, "\n  {}hint:{:#} {hint}", say::GREEN, say::GREEN);
        }
        text
    }
}

/// Returns an error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // A transparent error repeats the text of its cause.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Puts failures of the same app that read the same together: the first, and how many more.
fn group(failures: Vec<FailureInfo>) -> Vec<(FailureInfo, usize)> {
    let mut groups: Vec<(FailureInfo, usize)> = Vec::new();
    for failure in failures {
        let alike = |other: &FailureInfo| other.app == failure.app && cause(&other.message) == cause(&failure.message);
        match groups.iter_mut().find(|(first, _)| alike(first)) {
            Some((_, count)) => *count += 1,
            None => groups.push((failure, 0)),
        }
    }
    groups
}

/// Returns a message without its numbers: `ended with exit code 1 after 41 ms` is the same cause as after 43 ms.
fn cause(message: &str) -> String {
    let after = message.find(" after ").unwrap_or(message.len());
    message[..after].to_owned()
}

/// Takes out what would act on the terminal: an app's words are shown, not obeyed.
fn visible(line: &str) -> String {
    line.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Version { .. } => {
                Failure::new(error.to_string()).hint("stop the daemon with the program that started it")
            }
            CallError::Io(_) | CallError::Closed => Failure::new(error.to_string()),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let mut failure = Failure::new("the configuration has mistakes");
        failure.0.rendered = Some(error.render(say::stderr_takes_colour()));
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpm_model::WorkerId;

    fn info(worker: u32, message: &str) -> FailureInfo {
        FailureInfo { worker: WorkerId(worker), app: "api".into(), message: message.into(), stderr: Vec::new() }
    }

    #[test]
    fn a_failed_reload_says_what_why_and_what_next() {
        let mut failure = info(2, "was not ready within 3000 ms");
        failure.stderr = vec!["Error: \u{1b}[31mno database".into()];
        let report = Failure::of_action("reload", Failed { failures: vec![failure], undone: true }, Served::On, "rpm");
        let text = anstream::adapter::strip_str(&report.text()).to_string();
        let expected = "could not reload api: worker 2 was not ready within 3000 ms\n  the old workers keep serving\n  \
                        | Error: [31mno database\n  hint: rpm logs api --err";
        assert_eq!(text, expected);
    }

    #[test]
    fn nobody_keeps_serving_who_did_not_serve() {
        let failed = Failed { failures: vec![info(2, "ended with exit code 1 after 40 ms")], undone: true };
        let text = Failure::of_action("reload", failed, Served::No, "rpm").text();
        assert!(text.contains("none of its workers was up before") && !text.contains("serving"), "{text}");
    }

    #[test]
    fn a_hundred_equal_failures_are_one_report() {
        let failures = (0..100).map(|id| info(id, &format!("ended with exit code 1 after {id} ms"))).collect();
        let report = Failure::of_action("start", Failed { failures, undone: false }, Served::No, "rpm");
        assert!(report.0.others.is_empty());
        assert!(report.text().ends_with("so did 99 other workers"), "{}", report.text());
    }
}
