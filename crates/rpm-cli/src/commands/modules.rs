//! `install`, `uninstall`, `module:update`, `module:generate`.
//!
//! npm is called with arguments, never through a shell. A package is installed beside its place and moved there when
//! all of it has arrived, so a failed installation changes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rpm_ipc::Request;
use rpm_model::Home;
use serde_json::Value;

use crate::acting;
use crate::args::{Generate, Install};
use crate::commands::{Invocation, settings as shown};
use crate::modules::{self, Package};
use crate::report::Failure;
use crate::session::Session;
use crate::settings::{Key, Settings};
use crate::target;

/// A module that restarts more often than this while it is watched is put back, as in PM2.
const RESTARTS_MAX: u32 = 2;

/// How often a module that is watched is looked at.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

pub(super) fn install(args: &Install, invocation: &Invocation) -> Result<(), Failure> {
    let local = Path::new(&args.module);
    if local.join("package.json").is_file() {
        return install_local(local, invocation);
    }
    let Installed { name, before } = fetch(&args.module, invocation)?;
    let started = register(&name, None, invocation).and_then(|()| match args.safe {
        Some(ms) => stays_up(&name, Duration::from_millis(ms), invocation),
        None => Ok(()),
    });
    if let Err(failure) = started {
        return Err(put_back(&name, before, invocation, failure));
    }
    if let Some(before) = before {
        remove(&before)?;
    }
    finish(&name, invocation)
}

/// A module in development is run where it lies.
fn install_local(directory: &Path, invocation: &Invocation) -> Result<(), Failure> {
    let directory = fs::canonicalize(directory)
        .map_err(|error| Failure::new(format!("{} cannot be found: {error}", directory.display())))?;
    let package = Package::read(&directory)?;
    let name = package.name().ok_or_else(|| {
        Failure::new(format!("{} has no usable `name`", directory.join("package.json").display()))
            .hint("letters, digits, `-`, `_` and `.`, perhaps with a @scope/ before it")
    })?;
    if package.dependencies().next().is_some() && !directory.join("node_modules").exists() {
        npm(["install"].map(Into::into).to_vec(), &directory, invocation)?;
    }
    register(name, Some(&directory), invocation)?;
    finish(name, invocation)
}

fn finish(name: &str, invocation: &Invocation) -> Result<(), Failure> {
    invocation.voice.say(format_args!("Module {name} installed and launched"));
    let settings = Settings::read(&invocation.home)?;
    if !invocation.voice.silent {
        shown::show(&settings, |app| app == name, invocation);
    }
    acting::show(invocation, &invocation.session()?.list(false)?, &[]);
    Ok(())
}

/// A package that has arrived.
struct Installed {
    name: String,
    /// What was there under its name, out of the way.
    before: Option<PathBuf>,
}

/// Lets npm fetch a package, and puts it in its place.
fn fetch(package: &str, invocation: &Invocation) -> Result<Installed, Failure> {
    crate::home::prepare(&invocation.home)?;
    let all = invocation.home.modules();
    let staging = all.join(format!(".new-{}", std::process::id()));
    let failed = |error: std::io::Error| Failure::new(format!("{} cannot be prepared: {error}", all.display()));
    fs::create_dir_all(&staging).map_err(failed)?;
    let fetched = fetch_into(&staging, package, invocation).and_then(|name| {
        let before = swap(&invocation.home, &name, &staging)?;
        Ok(Installed { name, before })
    });
    if fetched.is_err() {
        let _ = fs::remove_dir_all(&staging);
    }
    fetched
}

fn fetch_into(staging: &Path, package: &str, invocation: &Invocation) -> Result<String, Failure> {
    // npm takes the nearest package.json upwards for the project; one of its own keeps it here.
    fs::write(staging.join("package.json"), "{}\n")
        .map_err(|error| Failure::new(format!("{} cannot be written: {error}", staging.display())))?;
    // A path is meant from where the user is, not from where npm runs.
    let package = match fs::canonicalize(package) {
        Ok(path) => path.into_os_string(),
        Err(_) => package.into(),
    };
    invocation.voice.say(format_args!("Calling npm to install {} ...", package.display()));
    let options = ["install", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error", "--"];
    let mut words: Vec<std::ffi::OsString> = options.map(Into::into).to_vec();
    words.push(package);
    npm(words, staging, invocation)?;
    let project = Package::read(staging)?;
    let mut names = project.dependencies();
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err(Failure::new("npm installed nothing that has a name"));
    };
    if !modules::is_package_name(name) {
        return Err(Failure::new(format!("{name:?} is no name for a module")));
    }
    Ok(name.to_owned())
}

/// Moves what has arrived to its place; returns where that which was there is now.
fn swap(home: &Home, name: &str, staging: &Path) -> Result<Option<PathBuf>, Failure> {
    let place = modules::prefix(home, name);
    let failed = |error: std::io::Error| Failure::new(format!("{} cannot be replaced: {error}", place.display()));
    fs::create_dir_all(place.parent().expect("the place has the modules above it")).map_err(failed)?;
    let before = place.exists().then(|| home.modules().join(format!(".old-{}", std::process::id())));
    if let Some(before) = &before {
        fs::rename(&place, before).map_err(failed)?;
    }
    fs::rename(staging, &place).map_err(failed)?;
    Ok(before)
}

/// Notes the module, fills in the values that its author suggests, and starts it.
fn register(name: &str, own: Option<&Path>, invocation: &Invocation) -> Result<(), Failure> {
    crate::home::prepare(&invocation.home)?;
    let home = &invocation.home;
    let directory = own.map_or_else(|| modules::directory(home, name), Path::to_owned);
    let package = Package::read(&directory)?;
    let mut settings = Settings::read(home)?;
    for (key, value) in package.config() {
        let key = Key(vec![name.to_owned(), key.clone()]);
        // What the user has set is kept. Nested objects describe how PM2's service shows the module.
        if settings.get(&key).is_none() && !value.is_object() {
            settings.set(&key, suggestion(value));
        }
    }
    settings.write(home)?;
    let spec = modules::spec(name, &directory, home, &invocation.voice)?;
    let mut session = invocation.session()?;
    forget(name, &mut session, invocation)?;
    modules::start(&mut session, spec)?;
    settings.add_module(name, own);
    settings.write(home)
}

/// PM2 keeps numbers as text.
fn suggestion(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.to_string().into(),
        other => other.clone(),
    }
}

/// Deletes the processes of a module; none is as well.
fn forget(name: &str, session: &mut Session, invocation: &Invocation) -> Result<(), Failure> {
    let list = session.list(false)?;
    let workers = target::ids(&list, |app| app.spec.is_module() && app.spec.name == name);
    if workers.is_empty() {
        return Ok(());
    }
    acting::act(session, invocation, "delete", Request::Delete { workers }).map(drop)
}

/// Watches a module that was just started.
fn stays_up(name: &str, time: Duration, invocation: &Invocation) -> Result<(), Failure> {
    invocation.voice.say(format_args!("Watching {name} for {} s ...", time.as_secs_f32()));
    let mut session = invocation.session()?;
    let until = Instant::now() + time;
    while Instant::now() < until {
        let list = session.list(false)?;
        let mine = list.apps.iter().filter(|app| app.spec.is_module() && app.spec.name == name);
        let restarts = mine.flat_map(|app| &app.workers).map(|worker| worker.restarts).max().unwrap_or(0);
        if restarts > RESTARTS_MAX {
            return Err(Failure::new(format!("module {name} restarted {restarts} times")));
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    Ok(())
}

/// Brings the module's version before back, if there was one, and says so.
fn put_back(name: &str, before: Option<PathBuf>, invocation: &Invocation, failure: Failure) -> Failure {
    let home = &invocation.home;
    let restored = (|| {
        forget(name, &mut invocation.session()?, invocation)?;
        remove(&modules::prefix(home, name))?;
        let Some(before) = before else {
            let mut settings = Settings::read(home)?;
            settings.remove_module(name);
            settings.write(home)?;
            return Ok(false);
        };
        fs::rename(&before, modules::prefix(home, name))
            .map_err(|error| Failure::new(format!("{} cannot be moved back: {error}", before.display())))?;
        register(name, None, invocation).map(|()| true)
    })();
    match restored {
        Ok(true) => failure.detail("the version before runs again"),
        Ok(false) => failure.detail("it was removed again"),
        Err(another) => failure.detail(format!("it could not be undone: {}", another.text())),
    }
}

pub(super) fn uninstall(name: &str, invocation: &Invocation) -> Result<(), Failure> {
    let mut settings = Settings::read(&invocation.home)?;
    let installed = settings.modules();
    let wanted: Vec<_> = installed.iter().filter(|(known, _)| name == "all" || known == name).collect();
    if wanted.is_empty() && name != "all" {
        let near = rpm_model::nearest(name, installed.iter().map(|(name, _)| name.as_str()));
        let failure = Failure::new(format!("there is no module {name}"));
        return Err(failure.maybe_hint(near.map(|near| format!("did you mean `{near}`?"))));
    }
    let mut session = invocation.session()?;
    for (name, own) in wanted {
        forget(name, &mut session, invocation)?;
        if own.is_none() && modules::is_package_name(name) {
            remove(&modules::prefix(&invocation.home, name))?;
        }
        settings.remove_module(name);
        settings.write(&invocation.home)?;
        invocation.voice.say(format_args!("Module {name} removed; its settings stay"));
    }
    acting::show(invocation, &session.list(false)?, &[]);
    Ok(())
}

pub(super) fn update(name: &str, invocation: &Invocation) -> Result<(), Failure> {
    let installed = Settings::read(&invocation.home)?.modules();
    match installed.iter().find(|(known, _)| known == name) {
        None => {
            let near = rpm_model::nearest(name, installed.iter().map(|(name, _)| name.as_str()));
            let failure = Failure::new(format!("there is no module {name}"));
            Err(failure.maybe_hint(near.map(|near| format!("did you mean `{near}`?"))))
        }
        Some((_, Some(own))) => install_local(own, invocation),
        Some((_, None)) => {
            let module = format!("{name}@latest");
            install(
                &Install { module, tarball: false, install: false, docker: false, v1: false, safe: None },
                invocation,
            )
        }
    }
}

pub(super) fn generate(args: &Generate, invocation: &Invocation) -> Result<(), Failure> {
    let name = &args.name;
    if !modules::is_package_name(name) || name.starts_with('@') {
        return Err(Failure::new(format!("{name:?} is no name for a module")).hint("letters, digits, `-`, `_` and `.`"));
    }
    let failed = |error: std::io::Error| Failure::new(format!("{name} cannot be written: {error}"));
    // Refuses a directory that is there: nothing of the user's is overwritten.
    fs::create_dir(name).map_err(failed)?;
    let package = serde_json::json!({
        "name": name,
        "version": "0.1.0",
        "description": "What the module does",
        "main": "index.js",
        "config": { "interval": 10 },
    });
    let package = serde_json::to_string_pretty(&package).expect("JSON");
    fs::write(Path::new(name).join("package.json"), format!("{package}\n")).map_err(failed)?;
    fs::write(Path::new(name).join("index.js"), SKELETON).map_err(failed)?;
    let program = invocation.voice.program();
    invocation.voice.say(format_args!("Module written to {name}/"));
    invocation.voice.show(&format!("$ {program} install ./{name}\n$ {program} logs {name}\n"));
    Ok(())
}

/// What `module:generate` writes.
const SKELETON: &str = "\
'use strict';

// Everything under `config` in package.json, with what `set` has changed, is in the environment.
const interval = Number(process.env.interval || 10);

setInterval(() => {
  console.log('still here');
}, interval * 1000);
";

/// Runs npm; what it says goes where the user sees it.
fn npm(words: Vec<std::ffi::OsString>, cwd: &Path, invocation: &Invocation) -> Result<(), Failure> {
    let mut command = Command::new("npm");
    command.args(words).current_dir(cwd).stdin(Stdio::null());
    if invocation.voice.silent {
        command.stdout(Stdio::null());
    }
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("npm could not install it ({status})")).detail("nothing was changed")),
        Err(error) => Err(Failure::new(format!("npm cannot be run: {error}")).hint("modules need Node.js and npm")),
    }
}

fn remove(directory: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::new(format!("{} cannot be removed: {error}", directory.display()))),
    }
}
