//! `start`: new apps from scripts, programs, command lines and files; what is there already is restarted.

use rpm_config::{AppOptions, Context};
use rpm_ipc::{AppInfo, DaemonInfo, List};
use rpm_model::{AppSpec, Flavour, Status};

use crate::acting;
use crate::args::{Logs, Start};
use crate::commands::restart::How;
use crate::commands::{Invocation, logs, only_chooses_in_files, runtime, start_or};
use crate::report::Failure;
use crate::session::Session;
use crate::specs::{self, Plan};
use crate::target::{self, Target};

pub(super) fn run(mut args: Start, invocation: &Invocation) -> Result<(), Failure> {
    if args.no_daemon {
        return runtime::no_daemon(args, invocation);
    }
    if args.targets.is_empty() {
        args.targets.extend(args.app.give_back_target());
    }
    let context = specs::context(&invocation.home)?;
    if args.targets.is_empty() {
        let file = rpm_config::find_default(&context.cwd).ok_or_else(|| {
            Failure::new("nothing to start: no target was given and there is no ecosystem file here")
                .hint(format!("`{} start app.js`, or write an ecosystem.config.js", invocation.voice.program()))
        })?;
        args.targets.push(file.to_string_lossy().into_owned());
    }
    for option in args.app.idle() {
        invocation.voice.warn(format_args!("{option} has no effect"));
    }
    // Mistakes in the options are told before a daemon is started for them.
    let options = args.app.options(&args.args);
    if let Some(instances) = &options.instances {
        rpm_config::parse_instances(instances, context.cpus)?;
    }
    // Nothing is started for a mistake, the daemon neither: where there is none, there is no app to know.
    let mut session = if Session::nothing_is_there(&invocation.home)? { None } else { Some(invocation.session()?) };
    let mut before = match &mut session {
        Some(session) => session.list(true)?,
        None => List { apps: Vec::new(), daemon: DaemonInfo::default() },
    };
    let mut plan = Plan::default();
    let mut by_name = Plan::default();
    for word in &args.targets {
        match named(word, &before, &context)? {
            Some(Target::Workers(mut workers)) => {
                specs::leave_jobs_out(word, &mut workers, &before);
                only_chooses_in_files(options.only.as_deref(), word)?;
                by_name.again(workers);
            }
            Some(file) => {
                let mut loaded = specs::of_file(&file, &options, &context, &invocation.voice)?;
                // As in PM2, which keeps only the output of scripts out of files.
                if let Some(elsewhere) = &args.no_files
                    && invocation.home.flavour() == Flavour::Rpm
                {
                    loaded.iter_mut().for_each(|spec| spec.logs.leave_default_files(elsewhere));
                }
                plan.apply(loaded, &before, args.app.update_env);
            }
            None => {
                only_chooses_in_files(options.only.as_deref(), word)?;
                for mut spec in specs::of_script(word, &options, &context, &invocation.voice)? {
                    if let Some(elsewhere) = &args.no_files {
                        spec.logs.leave_default_files(elsewhere);
                    }
                    if args.app.write {
                        write(word, &spec.name, &options, &context, invocation)?;
                    }
                    match namesake(&spec, &before, &plan, args.app.force) {
                        Namesake::None => plan.missing.push(spec),
                        Namesake::Down(app) => by_name.again(app.workers.iter().map(|worker| worker.id)),
                        Namesake::Runs => return Err(already(&spec, invocation)),
                        Namesake::Other => {
                            warn_of_namesake(&spec, invocation);
                            plan.missing.push(spec);
                        }
                    }
                }
            }
        }
    }
    if args.app.changes_something() || !args.args.is_empty() {
        by_name.update(&before, &options, &context)?;
    }
    plan.merge(by_name);
    plan.tell_of_numbers(&before, &options, &invocation.voice);
    let plan = plan.finish();
    let mut session = match session {
        Some(session) => session,
        None => {
            let mut session = invocation.session()?;
            // Another first command may have been quicker.
            before = session.list(true)?;
            let started = |spec: &&AppSpec| before.apps.iter().any(|app| is_same(&app.spec, spec));
            if let Some(spec) = plan.missing.iter().find(started).filter(|_| !args.app.force) {
                return Err(already(spec, invocation));
            }
            session
        }
    };
    let claims = plan.missing.iter().map(|spec| {
        let s = if spec.instances == 1 { "" } else { "s" };
        let (script, mode, count) = (spec.script.display(), spec.exec_mode.name(), spec.instances);
        format!("Starting {script} in {mode} ({count} instance{s})")
    });
    let opening = claims.collect();
    let requests = start_or::requests(plan, How::Restart, false, opening, invocation);
    acting::act_and_show(&mut session, invocation, &before, requests)?;
    if args.attach {
        logs::run(&Logs { lines: Some(0), ..Logs::default() }, invocation)?;
    }
    Ok(())
}

/// Writes the file that starts the same app again.
fn write(
    script: &str,
    name: &str,
    options: &AppOptions,
    context: &Context,
    invocation: &Invocation,
) -> Result<(), Failure> {
    let mut app = options.as_written();
    app.insert("name".into(), name.into());
    app.insert("script".into(), script.into());
    let path = context.cwd.join(format!("{}-pm2.json", name.replace('/', "-")));
    std::fs::write(&path, format!("{:#}\n", serde_json::Value::Object(app)))
        .map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))?;
    invocation.voice.say(format_args!("Written to {}", path.display()));
    Ok(())
}

/// Returns what a word names that is there or is a file of apps; `None` for a script.
fn named(word: &str, list: &List, context: &Context) -> Result<Option<Target>, Failure> {
    if word == "-" {
        return Ok(Some(Target::Stdin));
    }
    if rpm_config::is_config_file(word) {
        return Ok(Some(Target::File(context.cwd.join(word))));
    }
    // A word that looks like a path is a script, even when an app is called the same.
    let looks_like_path = word.contains('.') || word.contains('/') && !is_regex(word);
    if looks_like_path && context.cwd.join(word).is_file() {
        return Ok(None);
    }
    let workers = target::workers_by_name(word, list)?;
    Ok((!workers.is_empty()).then_some(Target::Workers(workers)))
}

fn is_regex(word: &str) -> bool {
    word.len() > 2 && word.starts_with('/') && word.ends_with('/')
}

/// Who has the name of a new app already.
enum Namesake<'a> {
    /// Nobody.
    None,
    /// The same app, stopped: it is started again as it was.
    Down(&'a AppInfo),
    /// The same app, running.
    Runs,
    /// Another script.
    Other,
}

fn namesake<'a>(spec: &AppSpec, list: &'a List, plan: &Plan, force: bool) -> Namesake<'a> {
    let same = list.apps.iter().find(|app| is_same(&app.spec, spec));
    let twice = plan.missing.iter().any(|other| is_same(other, spec));
    match same {
        _ if force => Namesake::None,
        Some(app) if runs(app) => Namesake::Runs,
        Some(app) => Namesake::Down(app),
        None if twice => Namesake::Runs,
        None if list.apps.iter().any(|app| app.spec.name == spec.name) => Namesake::Other,
        None => Namesake::None,
    }
}

/// PM2 takes an app for the same one when name and script are.
fn is_same(one: &AppSpec, other: &AppSpec) -> bool {
    one.name == other.name && one.script == other.script
}

fn runs(app: &AppInfo) -> bool {
    app.workers.iter().any(|worker| !matches!(worker.status, Status::Stopped | Status::Errored))
}

pub(super) fn already(spec: &AppSpec, invocation: &Invocation) -> Failure {
    Failure::new("Script already launched, add -f option to force re-execution").hint(format!(
        "`{} restart {}` starts it again",
        invocation.voice.program(),
        spec.name
    ))
}

fn warn_of_namesake(spec: &AppSpec, invocation: &Invocation) {
    let name = &spec.name;
    invocation.voice.warn(format_args!("another app is called {name} too: commands for {name} will reach both"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screens::samples::{app, list};

    fn context(cwd: &std::path::Path) -> Context {
        Context { cwd: cwd.to_owned(), ..Context::default() }
    }

    #[test]
    fn a_word_is_a_file_of_apps_then_a_script_then_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let cwd = directory.path();
        std::fs::write(cwd.join("web.js"), "").unwrap();
        std::fs::write(cwd.join("api"), "").unwrap();
        let list = list(vec![app(1, "api", "prod", &[0, 1]), app(2, "web.js", "prod", &[2])]);
        let of = |word| named(word, &list, &context(cwd)).unwrap();
        assert_eq!(of("-"), Some(Target::Stdin));
        assert_eq!(of("eco.json"), Some(Target::File(cwd.join("eco.json"))));
        assert_eq!(of("web.js"), None, "a script, although an app has that name");
        let api = ids(&list, "api");
        assert_eq!(of("api"), Some(Target::Workers(api.clone())), "a name, although a file has it");
        assert_eq!(of("/^api$/"), Some(Target::Workers(api)));
        assert_eq!(of("prod"), Some(Target::Workers(target::ids(&list, |_| true))));
        assert_eq!(of("server"), None);
    }

    fn ids(list: &List, name: &str) -> Vec<rpm_model::WorkerId> {
        target::ids(list, |app| app.spec.name == name)
    }

    #[test]
    fn the_same_app_is_not_started_twice() {
        let mut down = app(2, "down", "default", &[2]);
        down.workers[0].status = Status::Stopped;
        let list = list(vec![app(1, "api", "default", &[0]), down]);
        let spec = |name: &str, script: &str| AppSpec::new(name, script, "/srv");
        let of = |spec: &AppSpec, plan: &Plan, force| namesake(spec, &list, plan, force);
        let nothing = Plan::default();
        assert!(matches!(of(&spec("api", "/srv/api.js"), &nothing, false), Namesake::Runs));
        assert!(matches!(of(&spec("api", "/srv/api.js"), &nothing, true), Namesake::None), "forced");
        assert!(matches!(of(&spec("api", "/srv/other.js"), &nothing, false), Namesake::Other));
        assert!(matches!(of(&spec("down", "/srv/down.js"), &nothing, false), Namesake::Down(_)));
        let new = spec("new", "/srv/new.js");
        assert!(matches!(of(&new, &nothing, false), Namesake::None));
        let planned = Plan { missing: vec![new.clone()], ..Plan::default() };
        assert!(matches!(of(&new, &planned, false), Namesake::Runs), "named twice in one command");
    }
}
