//! The outermost level of a file: which shape it has, and where its apps are.

use rpm_model::nearest;
use serde_json::{Map, Value};

use crate::balance;
use crate::document::{Document, Format, Pointer};
use crate::keys::{COMMON, Meaning, TOP_LEVEL, meaning};
use crate::report::Report;
use crate::spec::serve;

/// One app of a file, not yet read.
pub(crate) struct Found<'a> {
    pub(crate) at: Pointer,
    /// Its place among the apps, from 1.
    pub(crate) number: usize,
    pub(crate) object: &'a Map<String, Value>,
}

/// Returns the directories that a document wants served (`static: […]`), as apps.
pub(crate) fn served(document: &Document, report: &mut Report) -> Vec<(Pointer, Map<String, Value>)> {
    let at = Pointer::default().key("static");
    let entries = match document.value.get("static") {
        Some(Value::Array(entries)) => entries,
        Some(_) => {
            report.mistake_of_file(&at, "`static` holds no directories to serve", "expected a list of objects");
            return Vec::new();
        }
        None => return Vec::new(),
    };
    let mut apps = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        match entry {
            Value::Object(entry) => apps.push((at.index(index), serve::app(entry))),
            _ => report.mistake_of_file(&at.index(index), "this is nothing to serve", "expected an object with `path`"),
        }
    }
    apps
}

/// Finds the apps of a document: `{apps: [...]}`, `{pm2: [...]}`, a list, one app, or package.json with such a key.
/// An empty list is a mistake unless one `may_name_none`; a file that has no list always is.
pub(crate) fn apps<'a>(document: &'a Document, may_name_none: bool, report: &mut Report) -> Vec<Found<'a>> {
    let root = Pointer::default();
    let found = match &document.value {
        Value::Object(object) => in_object(object, &root, document, report),
        Value::Array(list) => in_list(list, &root, report),
        _ => {
            report.mistake_of_file(
                &root,
                "this is no configuration",
                "expected an object with `apps`, or a list of apps",
            );
            return Vec::new();
        }
    };
    if let Some(found) = &found
        && found.is_empty()
        // A file may well do nothing but serve directories, or balance.
        && document.value.get("static").is_none()
        && !balance::is_wanted(document)
        && !(may_name_none && has_list(&document.value))
    {
        report.mistake_of_file(&root, "there are no apps in the file", "expected at least one app in `apps`");
    }
    found.unwrap_or_default()
}

fn has_list(value: &Value) -> bool {
    value.is_array() || value.get("apps").is_some_and(Value::is_array)
}

/// Returns what a file says for all of its apps, beside `apps`.
pub(crate) fn common(document: &Document) -> impl Iterator<Item = (&'static str, &Value, Pointer)> {
    let object = document.value.as_object().filter(|object| object.contains_key("apps"));
    let of = move |key: &'static str| Some((key, object?.get(key)?, Pointer::default().key(key)));
    COMMON.iter().copied().filter_map(of)
}

/// Returns the variables of one deployment: `deploy.<name>.env`.
pub(crate) fn deploy_env<'a>(document: &'a Document, name: &str) -> Option<&'a Map<String, Value>> {
    document.value.get("deploy")?.get(name)?.get("env")?.as_object()
}

/// Returns the apps, or `None` where a mistake was reported.
fn in_object<'a>(
    object: &'a Map<String, Value>,
    at: &Pointer,
    document: &Document,
    report: &mut Report,
) -> Option<Vec<Found<'a>>> {
    let is_package = std::path::Path::new(&document.source.name).file_name().is_some_and(|name| name == "package.json");
    let key = ["apps", "pm2"].into_iter().find(|key| object.contains_key(*key));
    if !is_package {
        warn_of_neighbours(object, at, key.is_some(), document, report);
    }
    let Some(key) = key else {
        if is_package {
            report.mistake_of_file(at, "package.json has no `pm2` or `apps`", "expected a list of apps under `pm2`");
            return None;
        }
        let about_apps = object.keys().any(|key| matches!(meaning(key), Meaning::Key(_)));
        let balances_only = object.keys().any(|key| TOP_LEVEL.contains(&key.as_str()));
        return Some(match about_apps || !balances_only {
            true if !object.is_empty() => vec![Found { at: at.clone(), number: 1, object }],
            _ => Vec::new(),
        });
    };
    let inside = at.key(key);
    match &object[key] {
        Value::Array(list) => in_list(list, &inside, report),
        Value::Object(nested) if nested.contains_key("apps") => in_object(nested, &inside, document, report),
        Value::Object(app) => Some(vec![Found { at: inside, number: 1, object: app }]),
        Value::Null => Some(Vec::new()),
        _ => {
            report.mistake_of_file(&inside, &format!("`{key}` holds no apps"), "expected a list of apps");
            None
        }
    }
}

fn in_list<'a>(list: &'a [Value], at: &Pointer, report: &mut Report) -> Option<Vec<Found<'a>>> {
    let mut found = Vec::new();
    let mut sound = true;
    for (index, element) in list.iter().enumerate() {
        let at = at.index(index);
        match element {
            Value::Object(object) => found.push(Found { at, number: index + 1, object }),
            _ => {
                report.mistake_of_file(&at, &format!("app number {} is no object", index + 1), "expected an object");
                sound = false;
            }
        }
    }
    sound.then_some(found)
}

/// Warns of keys beside `apps` that do nothing.
fn warn_of_neighbours(
    object: &Map<String, Value>,
    at: &Pointer,
    has_apps: bool,
    document: &Document,
    report: &mut Report,
) {
    for key in object.keys() {
        let pointer = at.key(key);
        match key.as_str() {
            known if TOP_LEVEL.contains(&known) => {}
            // Without `apps` the object is an app itself, and its keys are looked at as such.
            _ if !has_apps => {}
            unknown => {
                let near = nearest(unknown, TOP_LEVEL.iter().copied());
                // In YAML such a key is the usual home of an anchor that the apps refer to.
                if near.is_some() || document.format != Format::Yaml {
                    report.warn_top_level(&pointer, &format!("`{unknown}` is unknown and has no effect"), near);
                }
            }
        }
    }
}
