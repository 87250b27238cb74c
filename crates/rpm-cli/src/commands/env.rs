//! `env`: what a worker finds in its environment, as `name: value`.

use std::fmt::Write as _;

use serde_json::Value;

use crate::args::One;
use crate::commands::{Invocation, cwd};
use crate::report::Failure;
use crate::screens::format;
use crate::target;

pub(super) fn run(args: &One, invocation: &Invocation) -> Result<(), Failure> {
    let list = invocation.session()?.list(true)?;
    let workers = target::resolve_workers(&args.target, &list, &cwd())?;
    let mut out = String::new();
    for (app, worker) in workers.iter().filter_map(|id| target::find(&list, *id)) {
        for (name, value) in rpm_axon::process::pm2_env(app, worker) {
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
