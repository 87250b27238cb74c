//! `runtime`: apps in the foreground, for containers; `start --no-daemon` is the same for one command.

use std::time::Duration;

use rpm_model::{Flavour, LogTarget};

use crate::args::{AppArgs, Form, Logs, Runtime, Start};
use crate::commands::foreground::{self, Foreground};
use crate::commands::{Invocation, start};
use crate::report::Failure;

pub(super) fn run(mut args: Runtime, invocation: &Invocation) -> Result<(), Failure> {
    if args.targets.first().is_some_and(|first| first == "start") {
        args.targets.remove(0);
    }
    if std::env::var_os("PM2_RUNTIME_DEBUG").is_some_and(|value| value == "true") {
        // Not in the foreground: so that somebody can look at what was started with other commands. Nobody reads then.
        let no_files = (invocation.home.flavour() == Flavour::Pm2).then_some(LogTarget::Null);
        return start::run(Start { no_files, ..start_of(args.targets, args.args, args.app) }, invocation);
    }
    let delay = Duration::from_secs(args.delay);
    let foreground = Foreground { view: view(args.form, None), auto_exit: !args.no_auto_exit, after_start: None };
    let start = Start { no_files: Some(LogTarget::Console), ..start_of(args.targets, args.args, args.app) };
    run_start(start, foreground, delay, invocation)
}

/// Starts apps as `start` does and stays with them.
pub(super) fn no_daemon(args: Start, invocation: &Invocation) -> Result<(), Failure> {
    let form = Form { formatted: true, ..Form::default() };
    let foreground = Foreground { view: view(form, None), auto_exit: true, after_start: None };
    run_start(Start { no_daemon: false, attach: false, ..args }, foreground, Duration::ZERO, invocation)
}

fn run_start(args: Start, foreground: Foreground, delay: Duration, invocation: &Invocation) -> Result<(), Failure> {
    foreground::run(invocation, foreground, move |invocation| {
        std::thread::sleep(delay);
        start::run(args, invocation)
    })
}

/// Returns the arguments of the `start` that is meant.
pub(super) fn start_of(targets: Vec<String>, args: Vec<String>, app: AppArgs) -> Start {
    Start { targets, no_daemon: false, attach: false, no_files: None, args, app }
}

/// Returns how lines are shown; raw unless something else is asked for.
pub(super) fn view(form: Form, timestamp: Option<String>) -> Logs {
    let raw = form.raw || !(form.formatted || form.json || form.format);
    Logs { raw: raw && timestamp.is_none(), json: form.json, format: form.format, timestamp, ..Logs::default() }
}
