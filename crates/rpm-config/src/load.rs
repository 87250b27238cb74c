//! From a file, a command line or a change to specs: the order of things.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rpm_model::depends::circle;
use rpm_model::{AppSpec, ExecMode, nearest};
use serde_json::{Map, Value};

use crate::balance;
use crate::context::Context;
use crate::diagnostic::{ConfigError, Diagnostic, Source};
use crate::document::{Document, Format, Pointer};
use crate::options::AppOptions;
use crate::raw::{Origin, RawApp, Setting, app_label, default_name};
use crate::report::Report;
use crate::spec::{self, Reader, program};
use crate::top::{self, Found};
use crate::{effective, values};

/// What was asked for, ready to be sent, and what the user should know about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// One for each app, in the order of the file.
    pub specs: Vec<AppSpec>,
    /// Unknown keys, keys without effect, environments that are not there.
    pub warnings: Vec<Diagnostic>,
}

/// Reads an ecosystem file. Relative `path`s hang on the context's directory.
pub fn load(path: &Path, options: &AppOptions, context: &Context) -> Result<Loaded, ConfigError> {
    let name = path.to_string_lossy().into_owned();
    let absolute = context.resolve(&context.cwd, &name);
    let bytes = std::fs::read(&absolute)
        .map_err(|error| Diagnostic::mistake(format!("{name} could not be read")).label(error.to_string()))?;
    let Some(format) = Format::of(&absolute) else {
        let mistake = Diagnostic::mistake(format!("{name} is no ecosystem file"));
        return Err(mistake.label("expected .json, .yaml, .yml, .toml, .config.js, .config.cjs or .config.mjs").into());
    };
    let directory = absolute.parent().map(Path::to_path_buf);
    let document = match format {
        Format::Script => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Document::from_script(&absolute, Source { name, text }, context)?
        }
        _ => {
            let text = String::from_utf8(bytes)
                .map_err(|_| Diagnostic::mistake(format!("{name} could not be read")).label("it is not UTF-8 text"))?;
            Document::from_text(Source { name, text }, format, context)?
        }
    };
    from_document(&document, directory.as_deref(), options, context)
}

/// Reads a text that came another way (standard input); `name` is what messages call it.
pub fn load_text(
    text: &str,
    format: Format,
    name: &str,
    options: &AppOptions,
    context: &Context,
) -> Result<Loaded, ConfigError> {
    let source = Source { name: name.to_owned(), text: text.to_owned() };
    let document = Document::from_text(source, format, context)?;
    from_document(&document, None, options, context)
}

/// Makes the spec of a script, a program on PATH, or a command line (text with a space, run by `bash -c`).
pub fn from_script(target: &str, options: &AppOptions, context: &Context) -> Result<Loaded, ConfigError> {
    let mut report = Report::default();
    let name = options.name.clone().unwrap_or_else(|| default_name(target));
    let mut app = RawApp { label: app_label(&name), ..RawApp::default() };
    app.settings.insert("script", Setting { value: target.into(), origin: Origin::Target });
    app.overlay(&options.settings(), &mut report);
    if let Some(name) = &options.env_name {
        report.warn_of_app(format!("`--env {name}` has no effect: it chooses among the `env_` of an ecosystem file"));
    }
    let mut reader = Reader { app: &app, context, report: &mut report };
    let spec = new_spec(&mut reader, None, None, None);
    let proxied = spec.as_ref().filter(|spec| spec.exec_mode == ExecMode::Proxy);
    let made = proxied.and_then(|spec| balance::made_for(&mut reader, spec));
    let warnings = report.finish()?;
    Ok(Loaded { specs: spec.into_iter().chain(made).collect(), warnings })
}

/// Returns what a running app becomes by the options of a `restart` or `reload`.
pub fn update(current: &AppSpec, options: &AppOptions, context: &Context) -> Result<AppSpec, ConfigError> {
    let mut report = Report::default();
    let mut app = RawApp { label: app_label(&current.name), is_change: true, ..RawApp::default() };
    app.is_toggled = options.watch_toggles;
    app.overlay(&options.settings(), &mut report);
    if let Some(filter) = current.other.get("filter_env") {
        let kept = Setting { value: filter.clone(), origin: Origin::Option("--filter-env") };
        app.settings.entry("filter_env").or_insert(kept);
    }
    let mut spec = current.clone();
    // It means the directory as it is now.
    spec.release = None;
    let mut reader = Reader { app: &app, context, report: &mut report };
    spec::change(&mut reader, &mut spec);
    effective::change(&mut reader, &mut spec, options.update_env, options.env_name.as_deref());
    report.finish()?;
    Ok(spec)
}

fn from_document(
    document: &Document,
    directory: Option<&Path>,
    options: &AppOptions,
    context: &Context,
) -> Result<Loaded, ConfigError> {
    let mut report = Report::about(document.source.clone(), document.places.clone());
    let served = top::served(document, &mut report);
    let mut found = top::apps(document, options.may_name_none, &mut report);
    let number = found.len();
    let of_static = served.iter().enumerate();
    found.extend(of_static.map(|(index, (at, object))| Found { at: at.clone(), number: number + index + 1, object }));
    let names = found.iter().map(name_of).collect();
    let selected = options.only.as_deref();
    let found = only(found, selected, document, &mut report);
    let mut settings = options.settings();
    if found.len() > 1
        && let Some(name) = settings.remove("name")
    {
        let reason = format!("{} apps cannot have one name", found.len());
        report.mistake_with_help("", &name, &reason, "choose one of them with `--only`");
    }
    let deploy = options.env_name.as_deref().and_then(|name| top::deploy_env(document, name));
    let (mut specs, mut made) = (Vec::new(), Vec::new());
    for Found { at, number, object } in &found {
        let mut app = RawApp::read(object, at, *number, &mut report);
        app.overlay(&settings, &mut report);
        app.inherit(top::common(document), &mut report);
        let mut reader = Reader { app: &app, context, report: &mut report };
        if let Some(spec) = new_spec(&mut reader, directory, options.env_name.as_deref(), deploy) {
            if spec.exec_mode == ExecMode::Proxy {
                made.extend(balance::made_for(&mut reader, &spec).map(|made| (at.clone(), made)));
            }
            specs.push((at.clone(), spec));
        }
    }
    let mut balancers = balance::read(document, directory, context, &specs, &names, &mut report);
    balancers.retain(|(_, spec)| is_selected(selected, &spec.name));
    specs.extend(made.into_iter().chain(balancers));
    warn_of_canaries(&specs, &mut report);
    refuse_same_names(&specs, &mut report);
    refuse_same_addresses(&specs, &mut report);
    refuse_circles(&specs, &mut report);
    let warnings = report.finish()?;
    Ok(Loaded { specs: specs.into_iter().map(|(_, spec)| spec).collect(), warnings })
}

/// Makes the spec of a new app; `None` where its program was not found, which is reported.
fn new_spec(
    reader: &mut Reader<'_>,
    directory: Option<&Path>,
    env_name: Option<&str>,
    deploy: Option<&Map<String, Value>>,
) -> Option<AppSpec> {
    let program = program::find(reader, directory);
    let found = program.is_some();
    let mut spec = match program {
        Some(program) => spec::create(reader, program),
        // For the sake of the other mistakes, the rest is read on a program that is never run.
        None => spec::check(reader),
    };
    effective::create(reader, &mut spec, directory, env_name, deploy);
    spec::serve::pass_its_socket(reader, &mut spec);
    found.then_some(spec)
}

/// Returns what an app of a file is called.
fn name_of(app: &Found<'_>) -> String {
    let name = app.object.get("name").and_then(values::text);
    name.or_else(|| app.object.get("script").and_then(Value::as_str).map(default_name)).unwrap_or_default()
}

/// Returns whether `--only` means this name.
fn is_selected(only: Option<&str>, name: &str) -> bool {
    only.is_none_or(|only| only.split(',').any(|wanted| wanted.trim() == name))
}

/// Takes the apps that `--only` names; reports names that neither an app nor a balancer has.
fn only<'a>(found: Vec<Found<'a>>, only: Option<&str>, document: &Document, report: &mut Report) -> Vec<Found<'a>> {
    let Some(only) = only else { return found };
    let balancers = document.value.get("balancers").and_then(Value::as_array).into_iter().flatten();
    let balancers = balancers.filter_map(|balancer| balancer.get("name")?.as_str().map(str::to_owned));
    let names: Vec<_> = found.iter().map(name_of).chain(balancers).collect();
    let wanted: Vec<_> = only.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    for name in wanted.iter().filter(|name| !names.iter().any(|known| known == **name)) {
        let mistake = Diagnostic::mistake(format!("`--only {name}`: no app of the file is called {name:?}"));
        let mistake = match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => mistake.suggest(Some(near), None),
            None if names.is_empty() => mistake,
            None => mistake.help(format!("its apps are {}", names.join(", "))),
        };
        report.push(mistake);
    }
    let is_wanted = |app: &Found<'_>| wanted.contains(&name_of(app).as_str());
    found.into_iter().filter(is_wanted).collect()
}

/// Warns of canaries that nobody can judge: what they are judged by, balancers count.
fn warn_of_canaries(specs: &[(Pointer, AppSpec)], report: &mut Report) {
    let reached: BTreeSet<&str> =
        specs.iter().filter_map(|(_, spec)| spec.balancer.as_ref()).flat_map(|all| all.apps()).collect();
    let is_judged = |spec: &AppSpec| spec.canary_rule.is_some() && spec.shares_sockets();
    for (at, spec) in specs.iter().filter(|(_, spec)| is_judged(spec) && !reached.contains(spec.name.as_str())) {
        let name = spec.name.escape_debug();
        let title = format!(
            "no balancer of the file sends {name} requests: unless another does, nobody judges its canary, which waits for \
             `promote {name}` or `abort {name}`"
        );
        report.warn_top_level(&at.key("canary"), &title, None);
    }
}

fn refuse_same_names(specs: &[(Pointer, AppSpec)], report: &mut Report) {
    let mut seen = BTreeMap::new();
    for (at, spec) in specs {
        if seen.insert(&spec.name, ()).is_some() {
            let sentence = format!("two apps of the file are called `{}`", spec.name.escape_debug());
            report.mistake_of_app(Some(&at.key("name")), sentence);
        }
    }
}

fn refuse_same_addresses(specs: &[(Pointer, AppSpec)], report: &mut Report) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (at, spec) in specs.iter().filter(|(_, spec)| spec.exec_mode == ExecMode::Socket) {
        for address in &spec.listen {
            if let Some(other) = seen.insert(address, &spec.name)
                && other != spec.name
            {
                let sentence = format!("app `{}` and app `{other}` both listen on {address}", spec.name);
                report.mistake_of_app(Some(&at.key("listen")), sentence);
            }
        }
    }
}

/// Refuses apps of the file that wait for one another, each circle once. What they wait for of apps that run already is
/// the daemon's to judge.
fn refuse_circles(specs: &[(Pointer, AppSpec)], report: &mut Report) {
    let all: BTreeMap<&str, BTreeSet<&str>> = specs
        .iter()
        .map(|(_, spec)| (spec.name.as_str(), spec.depends_on.keys().map(String::as_str).collect()))
        .collect();
    let mut told: BTreeSet<BTreeSet<String>> = BTreeSet::new();
    for (at, spec) in specs {
        // Who waits for itself alone was told so.
        for other in spec.depends_on.keys().filter(|other| **other != spec.name) {
            let Some(names) = circle(&spec.name, other, &all) else { continue };
            if told.insert(names.iter().cloned().collect()) {
                let sentence = format!("app `{}` would wait for itself: {}", spec.name, names.join(" → "));
                report.mistake_of_app(Some(&at.key("depends_on")), sentence);
            }
        }
    }
}
