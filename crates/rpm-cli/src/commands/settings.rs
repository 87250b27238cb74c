//! `set`, `multiset`, `get`, `unset`, `conf`, `config`: the values of apps and modules.

use rpm_ipc::{Request, Respec};
use serde_json::Value;

use crate::acting;
use crate::args::{Key as KeyArg, Multiset, Set, Unset};
use crate::commands::Invocation;
use crate::report::Failure;
use crate::session::Session;
use crate::settings::{self, Key, Settings};

pub(super) fn set(args: &Set, invocation: &Invocation) -> Result<(), Failure> {
    match (&args.key, &args.value) {
        (Some(key), Some(value)) => change(&[(Key::parse(key)?, value.as_str())], invocation),
        // As in PM2, half a command shows what there is.
        (Some(_), None) => conf(None, invocation),
        (None, _) => Err(Failure::new("nothing to set")
            .hint(format!("{} set app:key value", invocation.voice.program()))
            .hint(format!("the file is {}", settings::path(&invocation.home).display()))),
    }
}

pub(super) fn multiset(args: &Multiset, invocation: &Invocation) -> Result<(), Failure> {
    // PM2 takes one word with all of them in it; several words are as clear.
    let words: Vec<&str> = args.pairs.iter().flat_map(|words| words.split_whitespace()).collect();
    if !words.len().is_multiple_of(2) {
        return Err(Failure::new(format!("{:?} has no value", words[words.len() - 1]))
            .hint(format!("{} multiset \"app:key value app:key value\"", invocation.voice.program())));
    }
    let pairs = words.chunks_exact(2).map(|pair| Ok((Key::parse(pair[0])?, pair[1])));
    change(&pairs.collect::<Result<Vec<_>, Failure>>()?, invocation)
}

fn change(pairs: &[(Key, &str)], invocation: &Invocation) -> Result<(), Failure> {
    crate::home::prepare(&invocation.home)?;
    let mut settings = Settings::read(&invocation.home)?;
    for (key, value) in pairs {
        settings.set(key, Value::from(*value));
    }
    settings.write(&invocation.home)?;
    let mut apps: Vec<&str> = pairs.iter().filter_map(|(key, _)| key.app()).collect();
    apps.sort_unstable();
    apps.dedup();
    if let Some(mut session) = Session::open_existing(&invocation.home)? {
        apps.iter().try_for_each(|app| restart(app, &settings, &mut session, invocation))?;
    }
    invocation.voice.say("Setting changed");
    show(&settings, |app| apps.contains(&app), invocation);
    Ok(())
}

/// Restarts the apps of this name with the values in their environment.
fn restart(name: &str, settings: &Settings, session: &mut Session, invocation: &Invocation) -> Result<(), Failure> {
    let list = session.list(true)?;
    for app in list.apps.iter().filter(|app| app.spec.name == name) {
        let mut spec = app.spec.clone();
        settings.overlay(&mut spec);
        let workers = app.workers.iter().map(|worker| worker.id).collect();
        let request = Request::Restart { workers, specs: vec![Respec { app: app.id, spec }] };
        acting::act(session, invocation, "restart", request)?;
        invocation.voice.say(format_args!("Module {name} restarted"));
    }
    Ok(())
}

pub(super) fn get(args: &KeyArg, invocation: &Invocation) -> Result<(), Failure> {
    let settings = Settings::read(&invocation.home)?;
    let Some(text) = &args.key else {
        invocation.voice.data(&commands(&settings, |_| true, invocation));
        return Ok(());
    };
    let key = Key::parse(text)?;
    match settings.get(&key) {
        Some(Value::Object(_)) => invocation.voice.data(&commands(&settings, |app| app == key.0[0], invocation)),
        Some(value) => {
            let value = settings::text(value);
            let (last, _) = key.0.split_last().expect("a key has at least one word");
            let of = key.app().map_or_else(String::new, |app| format!("for module {app} "));
            invocation.voice.data(&format!("Value {of}key {last}: {value}\n"));
        }
        None => {
            return Err(Failure::new(format!("{text} is not set"))
                .hint(format!("`{} conf` shows what is", invocation.voice.program())));
        }
    }
    Ok(())
}

pub(super) fn unset(args: &Unset, invocation: &Invocation) -> Result<(), Failure> {
    let mut settings = Settings::read(&invocation.home)?;
    if args.key == "all" {
        let gone: Vec<(String, Value)> =
            settings.values().map(|(app, values)| (app.to_owned(), values.clone())).collect();
        settings.clear();
        settings.write(&invocation.home)?;
        return gone.iter().try_for_each(|(app, values)| forget(app, values, &settings, invocation));
    }
    let key = Key::parse(&args.key)?;
    let before = settings.get(&Key(vec![key.0[0].clone()])).cloned().unwrap_or_default();
    if !settings.unset(&key) {
        invocation.voice.warn(format_args!("{} was not set", args.key));
        return Ok(());
    }
    settings.write(&invocation.home)?;
    forget(&key.0[0], &before, &settings, invocation)?;
    show(&settings, |app| app == key.0[0], invocation);
    Ok(())
}

/// Takes what is no longer set from the environment of the app's next processes; the running ones keep it.
fn forget(name: &str, before: &Value, settings: &Settings, invocation: &Invocation) -> Result<(), Failure> {
    let (Value::Object(before), Some(mut session)) = (before, Session::open_existing(&invocation.home)?) else {
        return Ok(());
    };
    for app in session.list(true)?.apps.iter().filter(|app| app.spec.name == name) {
        let mut spec = app.spec.clone();
        for (key, value) in before {
            // A variable that has another value by now came from somewhere else.
            if spec.env.get(key) == Some(&settings::text(value)) {
                spec.env.remove(key);
            }
        }
        spec.env.remove(name);
        settings.overlay(&mut spec);
        let request = Request::Restart { workers: Vec::new(), specs: vec![Respec { app: app.id, spec }] };
        acting::act(&mut session, invocation, "unset", request)?;
    }
    Ok(())
}

pub(super) fn conf(app: Option<&str>, invocation: &Invocation) -> Result<(), Failure> {
    let settings = Settings::read(&invocation.home)?;
    invocation.voice.data(&commands(&settings, |name| app.is_none_or(|app| app == name), invocation));
    Ok(())
}

pub(super) fn config(args: &Set, invocation: &Invocation) -> Result<(), Failure> {
    match (&args.key, &args.value) {
        (Some(_), Some(_)) => set(args, invocation),
        (app, _) => conf(app.as_deref(), invocation),
    }
}

/// Shows, after something was set, what is.
pub(super) fn show(settings: &Settings, wanted: impl Fn(&str) -> bool, invocation: &Invocation) {
    invocation.voice.show(&commands(settings, wanted, invocation));
}

/// Returns values as the commands that set them.
fn commands(settings: &Settings, wanted: impl Fn(&str) -> bool, invocation: &Invocation) -> String {
    let program = invocation.voice.program();
    let mut text = String::new();
    for (app, values) in settings.values().filter(|(app, _)| wanted(app)) {
        match values {
            Value::Object(values) => {
                text.push_str(&format!("Module: {app}\n"));
                for (key, value) in values {
                    text.push_str(&format!("$ {program} set {app}:{key} {}\n", settings::text(value)));
                }
            }
            value => text.push_str(&format!("$ {program} set {app} {}\n", settings::text(value))),
        }
    }
    text
}
