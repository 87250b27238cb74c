//! A file as it was read: a tree of values, and where in the text each one stands.
//!
//! Each format has a reader of its own; whatever it was, a [`Document`] comes out. Files that are programs are run by
//! Node, never here; their values have a place where the text leaves no doubt.

mod depth;
mod json;
mod named;
mod places;
mod script;
mod toml;
mod yaml;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::context::Context;
use crate::diagnostic::{ConfigError, Diagnostic, Source};

pub(crate) use places::{Places, Pointer};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON as PM2 takes it: a JavaScript object literal.
    Json,
    /// YAML.
    Yaml,
    /// TOML.
    Toml,
    /// A program that exports the configuration (`.js`, `.cjs`, `.mjs`, `.ts`).
    Script,
}

impl Format {
    /// Returns the format that a file name stands for.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "json" | "json5" | "jsonc" => Some(Format::Json),
            "yaml" | "yml" => Some(Format::Yaml),
            "toml" => Some(Format::Toml),
            "js" | "cjs" | "mjs" | "ts" | "cts" | "mts" => Some(Format::Script),
            _ => None,
        }
    }
}

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) value: Value,
    pub(crate) places: Places,
    pub(crate) source: Arc<Source>,
    pub(crate) format: Format,
}

impl Document {
    /// Reads a text that was not a program's file, or is evaluated as an expression (JSON with code in it).
    pub(crate) fn from_text(source: Source, format: Format, context: &Context) -> Result<Self, ConfigError> {
        let source = Arc::new(source);
        // JSON may be indented by hundreds of blanks; only YAML opens blocks with them.
        if let Some(place) = depth::too_deep(&source.text, format == Format::Yaml) {
            let mistake = Diagnostic::mistake(format!("{} is nested too deeply", source.name));
            return Err(mistake.at(&source, Some(place)).into());
        }
        let (value, places) = match format {
            Format::Json => json::read(&source, context)?,
            Format::Yaml => yaml::read(&source)?,
            Format::Toml => toml::read(&source)?,
            Format::Script => with_places(script::evaluate_text(&source, context)?, &source),
        };
        Ok(Self { value, places, source, format })
    }

    /// Runs a program's file and takes what it exports.
    pub(crate) fn from_script(path: &Path, source: Source, context: &Context) -> Result<Self, ConfigError> {
        let source = Arc::new(source);
        let value = script::evaluate_file(path, &source, context)?;
        let (value, places) = with_places(value, &source);
        Ok(Self { value, places, source, format: Format::Script })
    }
}

fn with_places(value: Value, source: &Source) -> (Value, Places) {
    let places = named::find_places(&source.text, &value);
    (value, places)
}
