//! `dev`: one app in the foreground, restarted when its files change, in a home of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rpm_model::{Flavour, Home};

use crate::args::{Dev, TIMESTAMP_FORMAT};
use crate::commands::foreground::{self, Foreground};
use crate::commands::{Invocation, runtime, start};
use crate::report::Failure;

/// PM2's wait before a crashed app is started again: time to read why.
const RESTART_DELAY: &str = "1000";

pub(super) fn run(mut args: Dev, invocation: &Invocation) -> Result<(), Failure> {
    if args.targets.len() > 1 && args.targets[0] == "start" {
        args.targets.remove(0);
    }
    let invocation = Invocation { home: home(invocation.home.flavour())?, voice: invocation.voice };
    if args.app.watch.is_empty() {
        args.app.watch.push(String::new());
    }
    args.app.ignore_watch.append(&mut args.ignore);
    args.app.restart_delay.get_or_insert_with(|| RESTART_DELAY.to_owned());
    let timestamp = args.timestamp.then(|| TIMESTAMP_FORMAT.to_owned());
    let mut form = args.form;
    form.formatted |= !(form.raw || form.json || form.format);
    let silent = args.silent_exec;
    let after_start = args.post_exec.map(|command| {
        let run: Box<dyn Fn() + Send> = Box::new(move || after_start(&command, silent));
        run
    });
    if args.test_mode {
        // As in PM2: started and left alone.
        return start::run(runtime::start_of(args.targets, args.args, args.app), &invocation);
    }
    let foreground = Foreground { view: runtime::view(form, timestamp), auto_exit: args.auto_exit, after_start };
    let start = runtime::start_of(args.targets, args.args, args.app);
    foreground::run(&invocation, foreground, move |invocation| start::run(start, invocation))
}

/// Runs the command of `--post-exec`; it is told nothing and awaited by nobody but itself.
fn after_start(command: &str, silent: bool) {
    let output = || if silent { Stdio::null() } else { Stdio::inherit() };
    let child = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).stdout(output()).stderr(output()).spawn();
    match child {
        Ok(mut child) => {
            std::thread::spawn(move || child.wait());
        }
        Err(error) => crate::say::out(&format!("--post-exec could not be run: {error}\n")),
    }
}

/// Returns the directory of apps under development, away from the others.
fn home(flavour: Flavour) -> Result<Home, Failure> {
    let name = match flavour {
        Flavour::Rpm => ".rpm-dev",
        Flavour::Pm2 => ".pm2-dev",
    };
    let home =
        std::env::var_os("HOME").filter(|home| !home.is_empty()).ok_or_else(|| Failure::new("HOME is not set"))?;
    Ok(Home::new(PathBuf::from(home).join(name), flavour))
}
