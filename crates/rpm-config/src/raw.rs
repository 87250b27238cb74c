//! An app as written: every name it was written under, every value of the right kind, nothing filled in.

use std::collections::BTreeMap;

use rpm_model::nearest;
use serde_json::{Map, Value};

use crate::document::Pointer;
use crate::keys::{self, Key, Kind, Meaning, Use};
use crate::report::Report;
use crate::values;

/// Settings by the name of the table.
pub(crate) type Settings = BTreeMap<&'static str, Setting>;

/// One value and where it was written. `null` stands for the default.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// Where a value was written.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// At this place of the file, under this name.
    File { at: Pointer, written: String },
    /// As this option of the command line.
    Option(&'static str),
    /// As what `start` is to start.
    Target,
}

/// One app of a file, or of the command line.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawApp {
    /// What messages call it: app `api`, or app number 2.
    pub(crate) label: String,
    /// Where it stands.
    pub(crate) at: Option<Pointer>,
    /// Its settings.
    pub(crate) settings: Settings,
    /// Whether it changes an app that exists, rather than describing a new one.
    pub(crate) is_change: bool,
    /// Whether `--watch` turns watching over, rather than on.
    pub(crate) is_toggled: bool,
    /// `env_<name>` by name.
    pub(crate) environments: BTreeMap<String, Setting>,
    /// Settings that were reported and left out.
    pub(crate) bad: Vec<&'static str>,
}

impl RawApp {
    /// Reads the app that stands at `at`, the `number`th of its file.
    pub(crate) fn read(object: &Map<String, Value>, at: &Pointer, number: usize, report: &mut Report) -> Self {
        let name = object.get("name").and_then(values::text).or_else(|| script_stem(object));
        let label = name.map_or_else(|| format!("app number {number}"), |name| app_label(&name));
        let mut app = Self { label, at: Some(at.clone()), ..Self::default() };
        for (written, value) in object {
            app.take(written, value, at.key(written), report);
        }
        app
    }

    /// Takes what the file says for all apps, where this one does not say it itself.
    pub(crate) fn inherit<'a>(
        &mut self,
        common: impl Iterator<Item = (&'static str, &'a Value, Pointer)>,
        report: &mut Report,
    ) {
        for (key, value, at) in common {
            if !self.settings.contains_key(key) && !self.bad.contains(&key) {
                self.take(key, value, at, report);
            }
        }
    }

    fn take(&mut self, written: &str, value: &Value, at: Pointer, report: &mut Report) {
        let origin = Origin::File { at, written: written.to_owned() };
        let setting = Setting { value: value.clone(), origin };
        match keys::meaning(written) {
            Meaning::Key(key) => {
                if key.use_ == Use::Idle && !value.is_null() {
                    report.warn(&self.label, &setting, "has no effect, as in PM2");
                }
                if !self.fits(key, &setting, report) {
                    return;
                }
                if let Some(other) = self.settings.get(key.name)
                    && other.value != setting.value
                {
                    report.written_twice(&self.label, other, &setting);
                    return;
                }
                self.settings.insert(key.name, setting);
            }
            Meaning::NamedEnvironment => {
                if value.is_object() || value.is_null() {
                    let name = written.strip_prefix("env_").unwrap_or(written).to_owned();
                    self.environments.insert(name, setting);
                } else {
                    report.mistake(&self.label, &setting, Kind::Environment.expected(), None);
                }
            }
            Meaning::Silent => {}
            Meaning::Unknown => report.unknown_key(&self.label, &setting, nearest(written, keys::all_names())),
        }
    }

    /// Puts the settings of the command line over those of the file.
    pub(crate) fn overlay(&mut self, options: &Settings, report: &mut Report) {
        for (name, setting) in options {
            if self.fits(keys::key_named(name), setting, report) {
                self.settings.insert(name, setting.clone());
            }
        }
    }

    /// Returns whether a setting was given in a form that was reported.
    pub(crate) fn has_bad(&self, key: &str) -> bool {
        self.bad.contains(&key)
    }

    fn fits(&mut self, key: &Key, setting: &Setting, report: &mut Report) -> bool {
        if setting.value.is_null() || values::fits(key.kind, &setting.value) {
            return true;
        }
        self.bad.push(key.name);
        report.mistake(&self.label, setting, key.kind.expected(), likely_meant(key.kind, &setting.value));
        false
    }
}

/// Returns the word that a wrong value was likely meant to be.
fn likely_meant(kind: Kind, value: &Value) -> Option<&'static str> {
    let typed = value.as_str()?;
    match kind {
        Kind::Flag => match typed.to_ascii_lowercase().as_str() {
            "yes" | "on" | "1" => Some("true"),
            "no" | "off" | "0" => Some("false"),
            other => nearest(other, ["true", "false"]),
        },
        Kind::Instances => nearest(typed, ["max"]),
        _ => None,
    }
}

/// Returns what messages call an app.
pub(crate) fn app_label(name: &str) -> String {
    // A name is the user's text; it must not speak to the terminal.
    format!("app `{}`", name.escape_debug())
}

/// Returns what the app will be called when it is given no name.
fn script_stem(object: &Map<String, Value>) -> Option<String> {
    let is_script = |written: &&String| matches!(keys::meaning(written), Meaning::Key(key) if key.name == "script");
    let script = object.get(object.keys().find(is_script)?)?.as_str()?;
    Some(default_name(script))
}

/// Returns the base name without extension, which is the name of an app that is given none.
pub(crate) fn default_name(script: &str) -> String {
    let stem = std::path::Path::new(script).file_stem();
    stem.map_or_else(|| script.to_owned(), |stem| stem.to_string_lossy().into_owned())
}
