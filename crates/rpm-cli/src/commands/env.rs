//! `env`: what a worker finds in its environment, as `name: value`.

use std::fmt::Write as _;

use serde_json::Value;

use crate::args::One;
use crate::commands::{Invocation, cwd};
use crate::report::Failure;
use crate::screens::format;
use crate::target;

/// What PM2 knows of every app beside its environment, and does not show here.
const NOT_SHOWN: [&str; 30] = [
    "automation",
    "autorestart",
    "autostart",
    "created_at",
    "exec_interpreter",
    "exec_mode",
    "exit_code",
    "gid",
    "instance_var",
    "instances",
    "kill_retry_time",
    "merge_logs",
    "name",
    "pm_cwd",
    "pm_err_log_path",
    "pm_exec_path",
    "pm_id",
    "pm_out_log_path",
    "pm_pid_path",
    "pm_uptime",
    "pmx",
    "restart_time",
    "status",
    "treekill",
    "uid",
    "unstable_restarts",
    "username",
    "vizion",
    "watch",
    "windowsHide",
];

pub(super) fn run(args: &One, invocation: &Invocation) -> Result<(), Failure> {
    let list = invocation.session()?.list(true)?;
    let workers = target::resolve_workers(&args.target, &list, &cwd())?;
    let mut out = String::new();
    for (app, worker) in workers.iter().filter_map(|id| target::find(&list, *id)) {
        for (name, value) in rpm_axon::process::pm2_env(app, worker) {
            // A variable may have such a name.
            let is_variable = app.spec.env.contains_key(&name) || app.spec.env_shell.contains_key(&name);
            if NOT_SHOWN.contains(&name.as_str()) && !is_variable {
                continue;
            }
            let text = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => continue,
            };
            let _ = writeln!(out, "{}: {}", format::one_line(&name), format::one_line(&text));
        }
    }
    invocation.voice.data(&out);
    Ok(())
}
