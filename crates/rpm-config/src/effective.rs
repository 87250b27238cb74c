//! The environment applied: which variables the app gets, and what they change in its name.
//!
//! Under one another, the lower wins: the shell's variables (kept apart, in `env_shell`), `env_file`, `env`,
//! `deploy.<name>.env`, `env_<name>`, `port`.

use std::path::Path;

use rpm_model::{AppSpec, Environment, nearest};
use serde_json::{Map, Value};

use crate::spec::{Given, Reader, user};
use crate::{Context, dotenv, values};

/// Applies the environment to a new app. `file_directory` is where the ecosystem file is, `name` is what `--env` asked for, `deploy` the variables of that deployment.
pub(crate) fn create(
    reader: &mut Reader<'_>,
    spec: &mut AppSpec,
    file_directory: Option<&Path>,
    name: Option<&str>,
    deploy: Option<&Map<String, Value>>,
) {
    spec.env = from_files(reader, spec, file_directory);
    let env = reader.setting("env").and_then(|setting| setting.value.as_object());
    spec.env.extend(env.map(variables).unwrap_or_default());
    if let Some(env) = env.filter(|env| env.values().any(|value| value.is_number() || value.is_boolean())) {
        // As it was written, so that a number is one in PM2's list too.
        spec.other.insert("env".into(), Value::Object(env.clone()));
    }
    spec.env.extend(deploy.map(variables).unwrap_or_default());
    if let Some(name) = name {
        apply_named(reader, spec, name, deploy.is_some());
    }
    if let Given::Value(port) = reader.read("port", values::number) {
        if port > u32::from(u16::MAX) {
            reader.refuse("port", "expected a port, 0 to 65535");
        }
        spec.env.insert("PORT".into(), port.to_string());
        spec.other.insert("port".into(), port.into());
    }
    let instance_var = reader.read("instance_var", values::text);
    let usual = reader.context.shell_env.get("PM2_PROCESS_INSTANCE_VAR").filter(|name| !name.is_empty());
    spec.instance_var = instance_var.value().or_else(|| usual.cloned()).unwrap_or_else(|| "NODE_APP_INSTANCE".into());
    reader.read("increment_var", values::text).put_option(&mut spec.increment_var);
    inherit(reader, spec);
}

/// Returns the variables of the files that the app names; those of a later one win.
///
/// A relative path hangs on the directory of the app; where nothing is there, on that of the ecosystem file.
fn from_files(reader: &mut Reader<'_>, spec: &AppSpec, file_directory: Option<&Path>) -> Environment {
    let mut env = Environment::new();
    for written in reader.read("env_file", values::texts).value().unwrap_or_default() {
        let path = reader.context.resolve(&spec.cwd, &written);
        let beside = file_directory.map(|directory| reader.context.resolve(directory, &written));
        let path = if path.exists() { path } else { beside.filter(|path| path.exists()).unwrap_or(path) };
        match dotenv::read(&path) {
            Ok(variables) => env.extend(variables),
            Err(why) => reader.refuse("env_file", &format!("{} {why}", path.display())),
        }
    }
    env
}

/// Applies the environment to a running app: `--update-env` takes this shell's, `--env` one that the file declared.
pub(crate) fn change(reader: &mut Reader<'_>, spec: &mut AppSpec, update: bool, name: Option<&str>) {
    if update {
        inherit(reader, spec);
        // As in PM2: what is exported now wins over what the app declared, and stays.
        for (name, value) in &mut spec.env {
            if let Some(exported) = spec.env_shell.get(name) {
                value.clone_from(exported);
            }
        }
    }
    spec.env.extend(from_files(reader, spec, None));
    let Some(name) = name else { return };
    match spec.other.get(&format!("env_{name}")).and_then(Value::as_object) {
        Some(env) => spec.env.extend(variables(env)),
        None => {
            let declared = spec.other.keys().filter_map(|key| key.strip_prefix("env_"));
            let advice = advice(name, declared);
            let sentence = format!("`--env {name}`: {} declares no `env_{name}`{advice}", reader.app.label);
            reader.report.mistake_of_app(None, sentence);
        }
    }
}

/// Applies the variables that the app has for `name`. Where a deployment of that name has some, the app needs none.
fn apply_named(reader: &mut Reader<'_>, spec: &mut AppSpec, name: &str, is_deployed: bool) {
    // As in PM2, whether or not the app has variables of its own for it.
    if reader.read("append_env_to_name", Value::as_bool).value() == Some(true) {
        spec.name = format!("{}-{name}", spec.name);
    }
    let Some(setting) = reader.app.environments.get(name) else {
        if is_deployed {
            return;
        }
        let advice = advice(name, reader.app.environments.keys().map(String::as_str));
        reader.report.warn_of_app(format!("{}: `env_{name}` is not defined in the file{advice}", reader.app.label));
        return;
    };
    if let Some(env) = setting.value.as_object() {
        spec.env.extend(variables(env));
    }
}

fn advice<'n>(name: &str, declared: impl Iterator<Item = &'n str>) -> String {
    nearest(name, declared).map_or_else(String::new, |near| format!("; did you mean `--env {near}`?"))
}

/// Gives the app the shell's variables; somebody else's workers have that user's home.
fn inherit(reader: &Reader<'_>, spec: &mut AppSpec) {
    spec.env_shell = shell_variables(reader.context, reader.setting("filter_env").map(|setting| &setting.value));
    if let Some(home) = user::other_home(spec) {
        spec.env_shell.insert("HOME".into(), home);
    }
}

/// Returns the shell's variables that an app with this `filter_env` inherits.
pub fn shell_variables(context: &Context, filter: Option<&Value>) -> Environment {
    if filter.is_some_and(|filter| *filter == Value::Bool(true)) {
        return Environment::new();
    }
    let parts = filter.and_then(values::texts).unwrap_or_default();
    let is_filtered = |name: &str| parts.iter().any(|part| !part.is_empty() && name.contains(part.as_str()));
    let all = context.inheritable();
    all.filter(|(name, _)| !is_filtered(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Returns declared variables as the app sees them: text as written, everything else as JSON.
fn variables(object: &Map<String, Value>) -> Environment {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    object.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}
