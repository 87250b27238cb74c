//! `depends_on`: what must be there before an app starts.

use std::collections::BTreeMap;

use rpm_model::{AppSpec, Dependency, nearest};
use serde_json::Value;

use super::{Reader, one_of};
use crate::values;

/// The words for what is waited for.
const WORDS: &[(&str, Dependency)] =
    &[("started", Dependency::Started), ("healthy", Dependency::Healthy), ("completed", Dependency::Completed)];

pub(super) fn apply(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    let Some(setting) = reader.app.settings.get("depends_on") else { return };
    match &setting.value {
        Value::Null => spec.depends_on = BTreeMap::new(),
        Value::Object(object) => {
            let mut read = BTreeMap::new();
            for (app, wants) in object {
                let typed = values::text(wants).unwrap_or_default();
                match WORDS.iter().find(|(word, _)| *word == typed) {
                    Some((_, wants)) => drop(read.insert(app.clone(), *wants)),
                    None => {
                        let names = || WORDS.iter().map(|(word, _)| *word);
                        let near = nearest(&typed, names()).map(|near| format!("; did you mean {near:?}?"));
                        let near = near.unwrap_or_default();
                        let reason = format!("{app:?} is to be {typed:?}: expected {}{near}", one_of(names()));
                        reader.refuse("depends_on", &reason);
                    }
                }
            }
            spec.depends_on = read;
        }
        other => match values::texts(other) {
            // As in compose files: the names alone mean that they run.
            Some(apps) => spec.depends_on = apps.into_iter().map(|app| (app, Dependency::Started)).collect(),
            None => {
                let help = "for example { \"db\": \"healthy\" }, or [\"db\"]";
                reader.refuse_with_help("depends_on", "expected an object of apps, or a list of their names", help);
            }
        },
    }
    if spec.depends_on.contains_key(&spec.name) {
        reader.refuse("depends_on", "an app cannot wait for itself");
    }
}
