//! `resurrect`: what was saved is started, unless it is there.

use std::path::{Path, PathBuf};

use rpm_daemon::dump::{self, DumpError, DumpedApp};
use rpm_ipc::{Request, SavedApp};
use rpm_model::{Flavour, Unknown};

use crate::acting;
use crate::commands::Invocation;
use crate::home;
use crate::pm2;
use crate::report::Failure;
use crate::specs;

pub(super) fn run(invocation: &Invocation) -> Result<(), Failure> {
    let path = invocation.home.dump();
    home::check_lists(&invocation.home)?;
    let mut session = invocation.session()?;
    let context = specs::context(&invocation.home)?;
    let read = || dump::read(&path, &invocation.home.dump_backup());
    let saved = match of_pm2(&context, invocation)?.map_or_else(read, |saved| Ok((saved, None))) {
        Ok((saved, warning)) => {
            if let Some(warning) = warning {
                invocation.voice.warn(warning);
                set_aside(&path, invocation);
            }
            saved
        }
        // At boot before the first `save` there is nothing to do, and that is no failure.
        Err(error @ DumpError::Missing(_)) => {
            invocation.voice.warn(error);
            return Ok(());
        }
        Err(error @ DumpError::Broken { .. }) => {
            set_aside(&path, invocation);
            if invocation.voice.flavour == Flavour::Rpm {
                return Err(Failure::new(error.to_string()));
            }
            // No failure in PM2 either: the service that calls it at boot is there all the same.
            invocation.voice.warn(format_args!("{error}; nothing was restored"));
            return Ok(());
        }
    };
    invocation.voice.say(format_args!("Restoring processes located in {}", path.display()));
    let before = session.list(false)?;
    let is_there = |name: &str| before.apps.iter().any(|app| app.spec.name == name);
    let mut apps = Vec::new();
    for app in saved {
        if is_there(&app.spec.name) {
            invocation.voice.say(format_args!("{} is running already", app.spec.name));
            continue;
        }
        let mut spec = app.spec;
        // The shell's variables are not saved: they may be secrets. Whoever resurrects has a PATH and a HOME too.
        spec.env_shell = rpm_config::shell_variables(&context, spec.other.get("filter_env"));
        // What ran when it was saved runs again, what was stopped stays so, whatever its first start said.
        apps.push(SavedApp { spec, stopped: app.stopped, autoscale_off: app.autoscale_off });
    }
    let requests = if apps.is_empty() { Vec::new() } else { vec![("start", Request::Resurrect { apps })] };
    acting::act_and_show(&mut session, invocation, &before, requests)
}

/// Moves a list that is no JSON to `dump.pm2.broken` when called `pm2`. PM2 removes it, and scripts look whether it is gone.
fn set_aside(path: &Path, invocation: &Invocation) {
    let is_json = |content: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(content).is_ok();
    if invocation.voice.flavour != Flavour::Pm2
        || !path.is_file()
        || dump::content(path).is_ok_and(|content| is_json(&content))
    {
        return;
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(".broken");
    let aside = PathBuf::from(aside);
    match std::fs::rename(path, &aside) {
        Ok(()) => invocation.voice.warn(format_args!("the broken list is now {}", aside.display())),
        Err(error) => invocation.voice.warn(format_args!("{} could not be moved away: {error}", path.display())),
    }
}

/// Returns the list, if it is one that PM2 has saved: who takes its name finds its file.
fn of_pm2(context: &rpm_config::Context, invocation: &Invocation) -> Result<Option<Vec<DumpedApp>>, Failure> {
    let processes = dump::content(&invocation.home.dump()).ok().and_then(|content| dump::of_pm2(&content));
    let Some(processes) = processes else { return Ok(None) };
    let shell = rpm_config::shell_variables(context, None);
    let unread = |why| Failure::new(format!("{} cannot be read: {why}", invocation.home.dump().display()));
    let found = pm2::dump::apps(&processes, invocation.home.root(), &shell).map_err(unread)?;
    let as_ours = |app: pm2::dump::Found| DumpedApp {
        spec: app.spec,
        stopped: app.stopped,
        autoscale_off: false,
        unknown: Unknown::default(),
    };
    Ok(Some(found.into_iter().map(as_ours).collect()))
}
