//! `module_conf.json`: values by app or module, which become variables of the app of that name.
//!
//! The file is PM2's: an object by app, in it an object by key. Which modules are installed is kept in it too, under a
//! key of its own.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rpm_model::{AppSpec, Home};
use serde::Serialize as _;
use serde_json::{Map, Value};

use crate::report::Failure;

/// The key under which the installed modules are listed, as in PM2.
const MODULES: &str = "module-db-v2";

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings(Map<String, Value>);

impl Settings {
    /// Reads the file; nothing is set where there is none.
    ///
    /// # Errors
    /// When it cannot be read or is no JSON object: to write over it would lose what is in it.
    pub fn read(home: &Home) -> Result<Self, Failure> {
        let path = path(home);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::new(format!("{} cannot be read: {error}", path.display()))),
        };
        match serde_json::from_str(&text) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            Ok(_) => Err(Failure::new(format!("{} is no JSON object", path.display()))),
            Err(error) => Err(Failure::new(format!("{} is no JSON: {error}", path.display()))),
        }
    }

    /// Writes the file whole or not at all, for its owner alone: values are often passwords.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, home: &Home) -> Result<(), Failure> {
        crate::home::prepare(home)?;
        let path = path(home);
        let next = path.with_extension(format!("json.{}", std::process::id()));
        // As deep as PM2 writes it.
        let mut text = Vec::new();
        let pretty = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut writer = serde_json::Serializer::with_formatter(&mut text, pretty);
        self.0.serialize(&mut writer).expect("text keys and JSON values are JSON");
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&next, &path)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&next);
            Failure::new(format!("{} cannot be written: {error}", path.display()))
        })
    }

    /// Returns the value of a key; the whole object where the key names an app.
    pub fn get(&self, key: &Key) -> Option<&Value> {
        let (first, rest) = key.0.split_first()?;
        rest.iter().try_fold(self.0.get(first)?, |at, word| at.get(word))
    }

    /// Sets a value; objects on the way are made, and replace what is no object.
    pub fn set(&mut self, key: &Key, value: Value) {
        let (last, way) = key.0.split_last().expect("a key has at least one word");
        let mut object = &mut self.0;
        for word in way {
            let place = object.entry(word.clone()).or_insert_with(|| Value::Object(Map::new()));
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            object = place.as_object_mut().expect("it was made one");
        }
        object.insert(last.clone(), value);
    }

    /// Removes a key; returns whether it was there.
    pub fn unset(&mut self, key: &Key) -> bool {
        let (last, way) = key.0.split_last().expect("a key has at least one word");
        let object = way.iter().try_fold(&mut self.0, |object, word| object.get_mut(word)?.as_object_mut());
        object.is_some_and(|object| object.remove(last).is_some())
    }

    /// Removes every value. Which modules are installed stays known.
    pub fn clear(&mut self) {
        self.0.retain(|key, _| key == MODULES);
    }

    /// Returns the values by app or module, the list of modules left out.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().filter(|(key, _)| *key != MODULES).map(|(key, value)| (key.as_str(), value))
    }

    /// Puts the values of an app into its variables: each by its key, and all of them as JSON under the app's name.
    pub fn overlay(&self, spec: &mut AppSpec) {
        let Some(Value::Object(values)) = self.0.get(&spec.name) else { return };
        for (key, value) in values {
            spec.env.insert(key.clone(), text(value));
        }
        spec.env.insert(spec.name.clone(), self.0[&spec.name].to_string());
    }

    /// Returns the installed modules: the name, and the directory where it is not one of ours.
    pub fn modules(&self) -> Vec<(String, Option<PathBuf>)> {
        let Some(Value::Object(modules)) = self.0.get(MODULES) else { return Vec::new() };
        let directory = |entry: &Value| entry.get("directory").and_then(Value::as_str).map(PathBuf::from);
        modules.iter().map(|(name, entry)| (name.clone(), directory(entry))).collect()
    }

    /// Notes that a module is installed.
    pub fn add_module(&mut self, name: &str, directory: Option<&std::path::Path>) {
        let mut entry = Map::new();
        if let Some(directory) = directory {
            entry.insert("directory".into(), directory.to_string_lossy().into());
        }
        self.set(&Key(vec![MODULES.into(), name.into()]), Value::Object(entry));
    }

    /// Notes that a module is gone. Its values stay, for the day it is installed again.
    pub fn remove_module(&mut self, name: &str) {
        self.unset(&Key(vec![MODULES.into(), name.into()]));
    }
}

/// The way to a value: the app or module, then keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(pub Vec<String>);

impl Key {
    /// Reads `app:key` or `app.key`. What has a colon is split at colons only: names of modules have dots in them.
    ///
    /// # Errors
    /// When a word of it is empty, or it is the list of modules.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let separator = if text.contains(':') { ':' } else { '.' };
        let words: Vec<String> = text.split(separator).map(str::to_owned).collect();
        if words.iter().any(String::is_empty) {
            return Err(Failure::new(format!("{text:?} is no key")).hint("write it as app:key"));
        }
        if words[0] == MODULES {
            return Err(Failure::new(format!("{MODULES} lists the installed modules"))
                .hint("`install` and `uninstall` change it"));
        }
        Ok(Self(words))
    }

    /// Returns the app or module it belongs to, where it has a key too.
    pub fn app(&self) -> Option<&str> {
        (self.0.len() > 1).then(|| self.0[0].as_str())
    }
}

/// Returns a value as people and environments have it.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Returns where the file is.
pub fn path(home: &Home) -> PathBuf {
    home.module_conf()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use rpm_model::Flavour;
    use serde_json::json;

    use super::*;

    fn key(text: &str) -> Key {
        Key::parse(text).unwrap()
    }

    fn settings(value: Value) -> Settings {
        let Value::Object(object) = value else { panic!("no object") };
        Settings(object)
    }

    #[test]
    fn both_forms_of_a_key_are_the_same() {
        assert_eq!(key("probe:config1"), key("probe.config1"));
        assert_eq!(key("my.module:key").app(), Some("my.module"));
        assert_eq!(key("flag").app(), None);
        for wrong in ["", ":", "app:", ".x", "module-db-v2:pm2-logrotate"] {
            assert!(Key::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn values_are_set_found_and_removed() {
        let mut settings = Settings::default();
        settings.set(&key("probe:k1"), "v1".into());
        settings.set(&key("a.b.c"), "4".into());
        settings.set(&key("flag"), "true".into());
        assert_eq!(settings, self::settings(json!({"probe": {"k1": "v1"}, "a": {"b": {"c": "4"}}, "flag": "true"})));
        assert_eq!(settings.get(&key("a.b.c")), Some(&json!("4")));
        assert_eq!(settings.get(&key("probe")), Some(&json!({"k1": "v1"})));
        assert_eq!(settings.get(&key("probe:k2")), None);
        settings.set(&key("flag:deep"), "1".into());
        assert_eq!(settings.get(&key("flag:deep")), Some(&json!("1")));
        assert!(
            settings.unset(&key("probe:k1")) && !settings.unset(&key("probe:k1")) && !settings.unset(&key("no:no"))
        );
    }

    #[test]
    fn an_app_sees_its_values_each_and_all() {
        let settings = settings(json!({"probe": {"k1": "v1", "on": false}, "other": {"x": "1"}}));
        let mut spec = AppSpec::new("probe", "/a", "/");
        spec.env.insert("k1".into(), "file".into());
        settings.overlay(&mut spec);
        assert_eq!((spec.env["k1"].as_str(), spec.env["on"].as_str()), ("v1", "false"));
        assert_eq!(spec.env["probe"], r#"{"k1":"v1","on":false}"#);
        assert!(!spec.env.contains_key("x"));
    }

    #[test]
    fn modules_outlive_a_clearing() {
        let mut settings = settings(json!({"probe": {"k1": "v1"}}));
        settings.add_module("m", None);
        settings.add_module("@me/n", Some(std::path::Path::new("/src/n")));
        settings.clear();
        assert_eq!(settings.values().count(), 0);
        assert_eq!(settings.modules(), [("m".into(), None), ("@me/n".into(), Some("/src/n".into()))]);
        settings.remove_module("m");
        assert_eq!(settings.modules().len(), 1);
    }

    #[test]
    fn the_file_is_private_and_a_broken_one_is_not_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().to_owned(), Flavour::Rpm);
        let mut settings = Settings::read(&home).unwrap();
        settings.set(&key("a:b"), "c".into());
        settings.write(&home).unwrap();
        assert_eq!(Settings::read(&home).unwrap(), settings);
        assert_eq!(path(&home).metadata().unwrap().mode() & 0o777, 0o600);
        fs::write(path(&home), "{").unwrap();
        assert!(Settings::read(&home).unwrap_err().text().contains("is no JSON"));
    }
}
