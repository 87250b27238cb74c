//! What restarts the app from outside: changed files, and times.

use rpm_model::{AppSpec, WatchSpec};
use rpm_trigger::{BadCron, Rules, Schedule};
use serde_json::Value;

use super::{Given, Reader};
use crate::values;

pub(super) fn apply(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    cron(reader, &mut spec.cron);
    watch(reader, &mut spec.watch);
    options(reader, &mut spec.watch);
    check_patterns(reader, spec);
}

fn cron(reader: &mut Reader<'_>, cron: &mut Option<String>) {
    let pattern = match reader.read("cron_restart", values::text) {
        Given::Value(pattern) if pattern.trim() == "0" => Given::Default,
        given => given,
    };
    if let Given::Value(pattern) = &pattern {
        match Schedule::parse(pattern) {
            Ok(_) => {}
            Err(BadCron::Never | BadCron::NoZone(_)) => {
                reader.refuse("cron_restart", "this time never comes: no month has such a day")
            }
            Err(BadCron::Unreadable(why)) => {
                let expected = "expected a cron pattern of 5 or 6 fields, for example \"0 3 * * *\", or 0 for none";
                match pattern.split_whitespace().count() {
                    5 | 6 => reader.refuse_with_help("cron_restart", expected, &why),
                    _ => reader.refuse("cron_restart", expected),
                }
            }
        }
    }
    pattern.put_option(cron);
}

fn watch(reader: &mut Reader<'_>, watch: &mut WatchSpec) {
    let defaults = WatchSpec::default();
    match reader.read("watch", |value| value.as_bool().map(Watched::Flag).or_else(|| list(value).map(Watched::Paths))) {
        Given::Absent => {}
        Given::Default | Given::Value(Watched::Flag(false)) => (watch.enabled, watch.paths) = (false, Vec::new()),
        Given::Value(Watched::Flag(true)) if reader.app.is_toggled => watch.enabled = !watch.enabled,
        Given::Value(Watched::Flag(true)) => (watch.enabled, watch.paths) = (true, Vec::new()),
        Given::Value(Watched::Paths(paths)) => (watch.enabled, watch.paths) = (!paths.is_empty(), paths),
    }
    reader.read("ignore_watch", list).put_option(&mut watch.ignore);
    reader.read("watch_delay", values::duration).put(&mut watch.delay, defaults.delay);
    let extensions = reader.read("ext", |value| {
        let texts = values::texts(value)?;
        let words = texts.iter().flat_map(|text| text.split(',')).map(|word| word.trim().trim_start_matches('.'));
        Some(words.filter(|word| !word.is_empty()).map(str::to_owned).collect())
    });
    extensions.put(&mut watch.extensions, defaults.extensions);
}

enum Watched {
    Flag(bool),
    Paths(Vec<String>),
}

/// Reads texts; an empty one says nothing.
fn list(value: &Value) -> Option<Vec<String>> {
    values::texts(value).map(|texts| texts.into_iter().filter(|text| !text.is_empty()).collect())
}

/// Takes what has a meaning here from the options of PM2's library.
fn options(reader: &mut Reader<'_>, watch: &mut WatchSpec) {
    let Some(setting) = reader.setting("watch_options") else { return };
    let option = |name: &str| setting.value.get(name);
    if let Some(follow) = option("followSymlinks").and_then(Value::as_bool) {
        watch.follow_symlinks = follow;
    }
    if let Some(ignored) = option("ignored").and_then(list) {
        watch.ignore.get_or_insert_default().extend(ignored);
    }
    if option("usePolling").and_then(Value::as_bool) == Some(true) {
        let why =
            "has no `usePolling`: the kernel tells of changes, except those that other machines make over a network";
        reader.report.warn(&reader.app.label, setting, why);
    }
    if option("depth").is_some() {
        reader.report.warn(&reader.app.label, setting, "has no `depth`: name what to ignore in `ignore_watch`");
    }
}

/// Reports patterns that cannot be read, those that are not in use at the moment too.
fn check_patterns(reader: &mut Reader<'_>, spec: &AppSpec) {
    let paths = WatchSpec { paths: spec.watch.paths.clone(), ..WatchSpec::default() };
    let ignored = WatchSpec { ignore: spec.watch.ignore.clone(), ..WatchSpec::default() };
    for (key, watch) in [("watch", paths), ("ignore_watch", ignored)] {
        if let Err(error) = Rules::new(&watch, &spec.cwd, Vec::new()) {
            reader.refuse(key, &error.to_string());
        }
    }
}
