//! Modules: npm packages that are run beside the apps and work on them, as `pm2-logrotate` does.
//!
//! A module lies in `modules/NAME/node_modules/NAME` of the state directory. It is started like an app, marked with
//! PM2's `pmx_module`; `all` does not mean it, `save` does not save it, and whoever starts the daemon starts it too.

use std::fs;
use std::path::{Path, PathBuf};

use rpm_config::AppOptions;
use rpm_ipc::{List, Reply, Request};
use rpm_model::{AppSpec, Home};
use serde_json::Value;

use crate::report::{Failure, Served};
use crate::say::Voice;
use crate::session::{self, Session};
use crate::settings::Settings;
use crate::specs;

/// Returns the directory that a module is installed in, its dependencies beside it.
pub fn prefix(home: &Home, name: &str) -> PathBuf {
    home.modules().join(name)
}

/// Returns the directory of the module's own files.
pub fn directory(home: &Home, name: &str) -> PathBuf {
    prefix(home, name).join("node_modules").join(name)
}

/// Returns whether a word can be the name of an npm package, so that it is no path to somewhere else.
pub fn is_package_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
        !part.is_empty() && !part.starts_with('.') && part.chars().all(is_plain)
    };
    match name.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').is_some_and(|(scope, name)| is_part(scope) && is_part(name)),
        None => is_part(name),
    }
}

/// A module's package.json.
#[derive(Debug)]
pub struct Package(Value);

impl Package {
    /// Reads the package.json of a directory.
    ///
    /// # Errors
    /// When there is none that can be read.
    pub fn read(directory: &Path) -> Result<Self, Failure> {
        let path = directory.join("package.json");
        let text =
            fs::read(&path).map_err(|error| Failure::new(format!("{} cannot be read: {error}", path.display())))?;
        let value = serde_json::from_slice(&text);
        value.map(Self).map_err(|error| Failure::new(format!("{} is no JSON: {error}", path.display())))
    }

    /// Returns the package's name.
    pub fn name(&self) -> Option<&str> {
        self.0.get("name")?.as_str().filter(|name| is_package_name(name))
    }

    /// Returns the names of what it needs.
    pub fn dependencies(&self) -> impl Iterator<Item = &str> {
        self.0.get("dependencies").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str())
    }

    /// Returns the values that the module's author suggests.
    pub fn config(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.get("config").and_then(Value::as_object).into_iter().flatten()
    }

    fn has_apps(&self) -> bool {
        ["apps", "pm2"].iter().any(|key| self.0.get(key).is_some_and(|apps| apps.is_array() || apps.is_object()))
    }

    /// Returns the file to run.
    fn main(&self) -> String {
        let bin = match self.0.get("bin") {
            Some(Value::Object(programs)) => programs.values().next(),
            other => other,
        };
        let main = self.0.get("main").and_then(Value::as_str);
        main.or_else(|| bin.and_then(Value::as_str)).unwrap_or("index.js").to_owned()
    }
}

/// Returns what is to be run for a module.
///
/// # Errors
/// When its package.json has mistakes, or its script is not there.
pub fn spec(name: &str, directory: &Path, home: &Home, voice: &Voice) -> Result<AppSpec, Failure> {
    let package = Package::read(directory)?;
    let mut context = specs::context(home)?;
    context.cwd = directory.to_owned();
    let options = AppOptions { name: Some(name.to_owned()), ..AppOptions::default() };
    let mut loaded = if package.has_apps() {
        rpm_config::load(&directory.join("package.json"), &options, &context)?
    } else {
        rpm_config::from_script(&package.main(), &options, &context)?
    };
    for warning in &loaded.warnings {
        voice.warn(format_args!("module {name}: {}", warning.render(false).trim_end()));
    }
    let mut spec = loaded.specs.pop().ok_or_else(|| Failure::new(format!("module {name} has nothing to run")))?;
    spec.other.insert("pmx_module".into(), true.into());
    Settings::read(home)?.overlay(&mut spec);
    Ok(spec)
}

/// Starts the installed modules that are not there. One that fails keeps no other from starting.
pub fn start_all(session: &mut Session, home: &Home, voice: &Voice) -> Result<(), Failure> {
    let installed = Settings::read(home)?.modules();
    if installed.is_empty() {
        return Ok(());
    }
    let list = session.list(false)?;
    for (name, own) in installed {
        if list.apps.iter().any(|app| app.spec.name == name) {
            continue;
        }
        let directory = own.unwrap_or_else(|| directory(home, &name));
        let started = spec(&name, &directory, home, voice).and_then(|spec| start(session, spec));
        match started {
            Ok(()) => voice.note(format_args!("module {name} started")),
            Err(failure) => voice.warn(format_args!("module {name} was not started: {}", failure.text())),
        }
    }
    Ok(())
}

/// Starts one module.
///
/// # Errors
/// When it does not come up.
pub fn start(session: &mut Session, spec: AppSpec) -> Result<(), Failure> {
    match session.act(Request::Start { specs: vec![spec] }, |_| {})? {
        Reply::Done { .. } => Ok(()),
        Reply::Failed(failed) => Err(Failure::of_action("start", failed, Served::No, "rpm")),
        other => Err(session::unexpected(other)),
    }
}

/// Takes the modules out of a list.
pub fn split(list: &List) -> (List, List) {
    let (modules, apps) = list.apps.iter().cloned().partition(|app| app.spec.is_module());
    (List { apps, daemon: list.daemon.clone() }, List { apps: modules, daemon: list.daemon.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_packages_are_no_paths() {
        for name in ["pm2-logrotate", "@me/module", "a.b_c"] {
            assert!(is_package_name(name), "{name}");
        }
        for name in ["", ".", "..", "../x", "a/b", "/a", "@me", "@/x", "@me/../x", "@me/a/b", ".hidden", "a b"] {
            assert!(!is_package_name(name), "{name}");
        }
    }

    #[test]
    fn what_is_run_is_named_by_the_package() {
        let package = |value| Package(value);
        assert_eq!(package(serde_json::json!({"main": "lib/a.js", "bin": {"a": "cli.js"}})).main(), "lib/a.js");
        assert_eq!(package(serde_json::json!({"bin": {"a": "cli.js"}})).main(), "cli.js");
        assert_eq!(package(serde_json::json!({})).main(), "index.js");
        assert!(package(serde_json::json!({"apps": [{"script": "a.js"}]})).has_apps());
    }
}
