//! The configurations of nginx and HAProxy, in and out.
//!
//! What is read becomes an ecosystem file's text; every line that says something which ours cannot say is named. What is
//! written is accepted by the real programs; what they cannot say is told too.
//!
//! - [`nginx`], [`haproxy`]: one folder each, with a reader and a writer
//! - [`write`]: upstreams and balancers as the text of an ecosystem file
//! - [`apps`]: where the workers of managed apps are reached by somebody else

mod apps;
mod haproxy;
mod nginx;
mod write;

use std::path::Path;
use std::sync::Arc;

use rpm_model::AppSpec;
use rpm_model::balance::{Arrangement, BalancerSpec, UpstreamSpec};

use crate::diagnostic::{ConfigError, Diagnostic, Source};

/// Whose configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
}

/// What was read.
#[derive(Debug, Clone)]
pub struct Imported {
    /// An ecosystem file.
    pub text: String,
    /// What was not taken over, each with its line.
    pub warnings: Vec<Diagnostic>,
}

/// What was written.
#[derive(Debug, Clone, Default)]
pub struct Exported {
    /// The configuration; empty where there are no balancers.
    pub text: String,
    /// What it cannot say, a sentence each.
    pub lost: Vec<String>,
}

/// Reads a configuration; `shown` is what messages call it.
///
/// # Errors
/// When the file cannot be read, or is none of that program's.
pub fn import(program: Program, path: &Path, shown: &Path) -> Result<Imported, ConfigError> {
    let name = shown.display().to_string();
    let bytes = std::fs::read(path)
        .map_err(|error| Diagnostic::mistake(format!("{name} could not be read")).label(error.to_string()))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut draft = Draft::default();
    let source = Arc::new(Source { name: name.clone(), text });
    match program {
        Program::Nginx => nginx::import::read(&source, path, &mut draft)?,
        Program::Haproxy => haproxy::import::read(&source, &mut draft)?,
    }
    if draft.balancers.is_empty() && draft.upstreams.is_empty() {
        let what = match program {
            Program::Nginx => "expected `http` or `stream` with a `server` or an `upstream`",
            Program::Haproxy => "expected a `frontend`, a `backend` or a `listen`",
        };
        let mistake = Diagnostic::mistake(format!("there is nothing to balance in {name}"));
        return Err(mistake.label(what).into());
    }
    Ok(Imported { text: write::file(&draft.balancers, &draft.upstreams), warnings: draft.warnings })
}

/// Writes the balancers among `specs`; the apps among them say where their workers are.
pub fn export(program: Program, specs: &[AppSpec]) -> Exported {
    let arrangements: Vec<&Arrangement> = specs.iter().filter_map(|spec| spec.balancer.as_deref()).collect();
    if arrangements.is_empty() {
        return Exported::default();
    }
    match program {
        Program::Nginx => nginx::export::write(&arrangements, specs),
        Program::Haproxy => haproxy::export::write(&arrangements, specs),
    }
}

/// What was understood so far.
#[derive(Debug, Default)]
struct Draft {
    balancers: Vec<BalancerSpec>,
    upstreams: Vec<UpstreamSpec>,
    warnings: Vec<Diagnostic>,
}

impl Draft {
    /// Returns the name, with a number where another balancer has it.
    fn free_name(&self, wanted: &str) -> String {
        let taken = |name: &str| self.balancers.iter().any(|balancer| balancer.name == name);
        let numbered = (2..).map(|number| format!("{wanted}-{number}"));
        std::iter::once(wanted.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
    }

    /// Notes that a piece of the text is not taken over, and why.
    fn lose(&mut self, source: &Arc<Source>, span: std::ops::Range<usize>, what: &str, why: &str) {
        let title = format!("`{}` was not taken over", what.replace(char::is_control, " "));
        self.warnings.push(Diagnostic::warning(title).at(source, Some(span)).label(why));
    }
}

/// Why a directive that we have never heard of is not taken over.
const UNKNOWN: &str = "not known here";
