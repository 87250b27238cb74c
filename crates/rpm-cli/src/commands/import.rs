//! `import pm2`: the apps of a PM2 become ours.
//!
//! Nothing is touched before everything is understood. A PM2 that runs is stopped first, since two managers cannot have
//! one port; it is asked for unless `--take-over` says so. Its own list stays where it is, so that there is a way back.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use rpm_ipc::{Request, SavedApp};
use rpm_model::{Flavour, Home};

use crate::acting;
use crate::args::Import;
use crate::commands::{Invocation, foreign_config};
use crate::pm2::dump::{self, Found};
use crate::pm2::live::Pm2;
use crate::report::Failure;
use crate::session::Session;
use crate::specs;

pub(super) fn run(args: &Import, invocation: &Invocation) -> Result<(), Failure> {
    if matches!(args.what.as_str(), "nginx" | "haproxy") {
        return foreign_config::import(args, invocation);
    }
    if args.what != "pm2" {
        let near = rpm_model::nearest(&args.what, ["pm2", "nginx", "haproxy"]);
        return Err(Failure::new(format!("{:?} cannot be imported", args.what))
            .detail("expected: pm2, nginx or haproxy")
            .maybe_hint(near.map(|near| format!("did you mean `{near}`?"))));
    }
    if let Some(file) = &args.file {
        return Err(Failure::new(format!("`import pm2` takes no file; found {}", file.display()))
            .hint("`--home DIR` names the state directory of a PM2"));
    }
    let home = home_of_pm2(args)?;
    let context = specs::context(&invocation.home)?;
    let shell = rpm_config::shell_variables(&context, None);
    let files = Home::new(home.clone(), Flavour::Pm2).with_variables(|name| std::env::var_os(name).map(PathBuf::from));
    let running = Pm2::find(&files);
    let processes = match &running {
        Some(pm2) => pm2.processes(&files),
        None => dump::read(&files),
    };
    let processes = processes.map_err(|why| Failure::new(why).hint("`pm2 save` writes PM2's list"))?;
    let found = dump::apps(&processes, &home, &shell).map_err(|why| Failure::new(why).detail("nothing was changed"))?;
    if args.dry_run {
        for app in &found {
            invocation.voice.data(&format!("{}\n", line(app)));
        }
        return Ok(());
    }
    if found.is_empty() {
        invocation.voice.warn(format_args!("PM2 has no apps in {}", home.display()));
        return Ok(());
    }
    // A daemon of ours is started when PM2 has left: both may be meant to live in the same directory.
    let there = match Session::open_existing(&invocation.home)? {
        Some(mut session) => session.list(false)?.apps,
        None => Vec::new(),
    };
    let names = |app: &&Found| there.iter().any(|known| known.spec.name == app.spec.name);
    if let Some(app) = found.iter().find(names) {
        return Err(Failure::new(format!("there is an app {} here already", app.spec.name))
            .detail("nothing was changed")
            .hint(format!("{} delete {}", invocation.voice.program(), app.spec.name)));
    }
    if let Some(pm2) = &running {
        if !args.take_over && !agrees(pm2, found.len())? {
            return Err(Failure::new("PM2 goes on; nothing was changed"));
        }
        invocation.voice.say(format_args!("Stopping PM2 (pid {}) ...", pm2.pid()));
        pm2.leave().map_err(Failure::new)?;
    }
    let mut session = invocation.session()?;
    let before = session.list(false)?;
    // What ran runs again, what was stopped stays so.
    let apps = found.into_iter().map(|Found { spec, stopped }| SavedApp { spec, stopped, autoscale_off: false });
    let request = Request::Resurrect { apps: apps.collect() };
    acting::act_and_show(&mut session, invocation, &before, vec![("start", request)]).map_err(|failure| {
        let there = running.is_some().then(|| "PM2 is stopped; `pm2 resurrect` brings its apps back".to_owned());
        failure.maybe_hint(there)
    })?;
    let program = invocation.voice.program();
    invocation.voice.say(format_args!("Apps of {} taken over; `{program} save` keeps them", home.display()));
    Ok(())
}

fn home_of_pm2(args: &Import) -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = args.home.clone().or_else(|| set("PM2_HOME")).or_else(|| set("HOME").map(|home| home.join(".pm2")));
    let home = home.ok_or_else(|| Failure::new("PM2's directory is not known").hint("name it with --home"))?;
    let home = std::path::absolute(&home).unwrap_or(home);
    if !Path::new(&home).is_dir() {
        return Err(
            Failure::new(format!("there is no PM2 in {}", home.display())).hint("name its directory with --home")
        );
    }
    Ok(home)
}

/// Asks whether a PM2 that runs may be stopped.
fn agrees(pm2: &Pm2, apps: usize) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::new(format!("PM2 runs (pid {}), and two cannot run the same apps", pm2.pid()))
            .detail("nothing was changed")
            .hint("--take-over stops PM2 and starts its apps here")
            .hint("--dry-run shows what would be started"));
    }
    let s = if apps == 1 { "" } else { "s" };
    eprint!("PM2 (pid {}) runs. Stop it and start its {apps} app{s} here? [y/N] ", pm2.pid());
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.map_err(|error| Failure::new(format!("no answer could be read: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Returns what would be started, in a line.
fn line(app: &Found) -> String {
    let spec = &app.spec;
    let count = spec.instances;
    let state = if app.stopped { ", stopped" } else { "" };
    let variables: Vec<&str> = spec.env.keys().map(String::as_str).collect();
    let s = if count == 1 { "" } else { "s" };
    let env = if variables.is_empty() { String::new() } else { format!(", env {}", variables.join(" ")) };
    format!("{}: {} ({count} worker{s}{state}{env})", spec.name, spec.script.display())
}
