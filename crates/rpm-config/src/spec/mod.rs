//! A spec as meant: defaults filled in, numbers read, paths absolute.
//!
//! One path for everything: a new app starts from PM2's defaults and its settings are applied; a change of a running
//! app starts from what it is. `null` takes a setting back to its default.

mod autoscale;
mod canary;
mod depends;
mod health;
mod hooks;
mod interpreter;
mod jobs;
mod limits;
mod logs;
mod policy;
pub(crate) mod program;
mod secrets;
pub(crate) mod serve;
mod triggers;
pub(crate) mod user;
mod webhooks;
mod workers;

use std::path::Path;

use rpm_model::AppSpec;
use serde_json::Value;

use crate::balance::section::{Section, place};
use crate::context::Context;
use crate::keys::{self, Key, Kind, Use};
use crate::raw::{RawApp, Setting};
use crate::report::Report;
use crate::values;

/// The settings of one app and the place for what is wrong with them.
pub(crate) struct Reader<'a> {
    pub(crate) app: &'a RawApp,
    pub(crate) context: &'a Context,
    pub(crate) report: &'a mut Report,
}

/// What was said about one setting.
pub(crate) enum Given<T> {
    /// Nothing.
    Absent,
    /// Back to the default.
    Default,
    /// This.
    Value(T),
}

impl<T> Given<T> {
    /// Applies what was said.
    pub(crate) fn put(self, field: &mut T, default: T) {
        match self {
            Given::Absent => {}
            Given::Default => *field = default,
            Given::Value(value) => *field = value,
        }
    }

    /// The same where the default is nothing.
    pub(crate) fn put_option(self, field: &mut Option<T>) {
        match self {
            Given::Absent => {}
            Given::Default => *field = None,
            Given::Value(value) => *field = Some(value),
        }
    }

    /// Changes the value, if there is one.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Given<U> {
        match self {
            Given::Absent => Given::Absent,
            Given::Default => Given::Default,
            Given::Value(value) => Given::Value(change(value)),
        }
    }

    /// Returns the value, if there is one.
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Given::Value(value) => Some(value),
            Given::Absent | Given::Default => None,
        }
    }
}

impl<'a> Reader<'a> {
    /// Returns a setting that is not `null`.
    pub(crate) fn setting(&self, key: &'static str) -> Option<&'a Setting> {
        debug_assert_eq!(keys::key_named(key).name, key);
        self.app.settings.get(key).filter(|setting| !setting.value.is_null())
    }

    /// Returns a setting that is an object, to be read key by key; nothing when it is something else.
    pub(crate) fn section(&mut self, key: &'static str) -> Option<Section<'a, '_>> {
        let setting = self.setting(key)?;
        let object = setting.value.as_object()?;
        Some(Section::new(object, place(setting), format!("{}, `{key}`", self.app.label), self.report))
    }

    /// Reads a setting. Its kind was checked before, so a value that cannot be read was reported already.
    pub(crate) fn read<T>(&self, key: &'static str, read: impl FnOnce(&Value) -> Option<T>) -> Given<T> {
        match self.app.settings.get(key) {
            None => Given::Absent,
            Some(setting) if setting.value.is_null() => Given::Default,
            Some(setting) => read(&setting.value).map_or(Given::Absent, Given::Value),
        }
    }

    /// Reads one of a few words.
    pub(crate) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Given<T> {
        let Given::Value(typed) = self.read(key, |value| value.as_str().map(str::to_owned)) else {
            return self.read(key, |_| None);
        };
        if let Some((_, meant)) = words.iter().find(|(word, _)| *word == typed) {
            return Given::Value(*meant);
        }
        let names = || words.iter().map(|(word, _)| *word);
        let nearest = rpm_model::nearest(&typed, names());
        let expected = one_of(names());
        if let Some(setting) = self.setting(key) {
            self.report.mistake(&self.app.label, setting, &expected, nearest);
        }
        Given::Absent
    }

    /// Reports a setting that cannot stand.
    pub(crate) fn refuse(&mut self, key: &'static str, reason: &str) {
        if let Some(setting) = self.setting(key) {
            self.report.mistake_because(&self.app.label, setting, reason, None);
        }
    }

    /// Refuses the path of a file that is to be written where there cannot be one: a running app would be stopped for it
    /// and not come up again.
    pub(crate) fn refuse_no_file(&mut self, key: &'static str, path: Option<&Path>) {
        let Some(path) = path else { return };
        let above = path.ancestors().skip(1).find(|above| above.exists());
        if path.is_dir() {
            self.refuse(key, &format!("{} is a directory", path.display()));
        } else if let Some(above) = above.filter(|above| !above.is_dir()) {
            self.refuse(key, &format!("{} is not a directory", above.display()));
        }
    }

    /// The same with advice.
    pub(crate) fn refuse_with_help(&mut self, key: &'static str, reason: &str, help: &str) {
        if let Some(setting) = self.setting(key) {
            self.report.mistake_with_help(&self.app.label, setting, reason, help);
        }
    }
}

/// Returns "a, b or c".
pub(crate) fn one_of<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let words: Vec<_> = words.collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// Makes the spec of a new app; `None` when there is not even a program. The environment is applied elsewhere.
pub(crate) fn create(reader: &mut Reader<'_>, program: program::Program) -> AppSpec {
    let name = name(reader);
    let mut spec = AppSpec::new(name.unwrap_or(program.default_name), program.script, program.cwd);
    spec.interpreter = program.interpreter;
    spec.interpreter_args = program.interpreter_args;
    spec.args = program.args;
    spec.version = program.version;
    spec.stop = policy::usual_stop(&reader.context.shell_env);
    spec.listen_timeout = policy::usual_listen_timeout(&reader.context.shell_env);
    apply(reader, &mut spec);
    spec
}

/// Reads the settings of an app whose program was not found.
pub(crate) fn check(reader: &mut Reader<'_>) -> AppSpec {
    let mut spec = AppSpec::new("", "", &reader.context.cwd);
    // What would run it is not known; nothing is refused on that account.
    spec.interpreter = Some("node".into());
    apply(reader, &mut spec);
    spec
}

/// Applies settings to an app that exists.
pub(crate) fn change(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    if let Some(name) = name(reader) {
        spec.name = name;
    }
    program::change(reader, spec);
    apply(reader, spec);
}

/// Returns the name that was given, if it can be one.
fn name(reader: &mut Reader<'_>) -> Option<String> {
    let name = reader.read("name", values::text).value().filter(|name| !name.trim().is_empty())?;
    if name.contains(|c: char| c.is_control()) {
        reader.refuse("name", "expected a name without control characters");
    }
    Some(name)
}

fn apply(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    reader.read("namespace", values::text).put(&mut spec.namespace, "default".into());
    reader.read("version", values::text).put_option(&mut spec.version);
    workers::apply(reader, spec);
    autoscale::apply(reader, spec);
    policy::apply(reader, spec);
    canary::apply(reader, spec);
    health::apply(reader, spec);
    depends::apply(reader, spec);
    logs::apply(reader, spec);
    user::apply(reader, spec);
    triggers::apply(reader, spec);
    jobs::apply(reader, spec);
    hooks::apply(reader, spec);
    webhooks::apply(reader, spec);
    secrets::apply(reader, spec);
    limits::apply(reader, spec);
    keep_the_rest(reader, spec);
}

/// Keys that are carried out and seen in PM2's list all the same.
const SHOWN: [&str; 4] = ["filter_env", "append_env_to_name", "disable_logs", "time"];

/// Keeps the keys that have no field of their own, as written.
fn keep_the_rest(reader: &Reader<'_>, spec: &mut AppSpec) {
    for (name, setting) in &reader.app.settings {
        let key = keys::key_named(name);
        if key.use_ == Use::Spec && !SHOWN.contains(name) {
            continue;
        }
        match kept(key, &setting.value) {
            Some(value) => spec.other.insert((*name).to_owned(), value),
            None => spec.other.shift_remove(*name),
        };
    }
    // PM2's variable for the key, which scripts look for in its list.
    let is_set = |value: &String| !value.is_empty() && value != "false";
    if reader.context.shell_env.get("PM2_DEEP_MONITORING").is_some_and(is_set) {
        spec.other.entry("deep_monitoring".to_owned()).or_insert(Value::Bool(true));
    }
    for (name, setting) in &reader.app.environments {
        spec.other.insert(format!("env_{name}"), setting.value.clone());
    }
}

/// Returns the form in which a value is kept; `None` when it says that there is none.
fn kept(key: &Key, value: &Value) -> Option<Value> {
    match key.kind {
        _ if value.is_null() => None,
        // One unit for whoever reads it.
        Kind::Duration => values::duration(value).map(|time| Value::from(time.as_millis() as u64)),
        _ => Some(value.clone()),
    }
}
