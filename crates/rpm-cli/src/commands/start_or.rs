//! `startOrRestart`, `startOrReload`: the apps of a file are as the file says, whatever they were before.

use rpm_ipc::Request;

use crate::acting;
use crate::args::File;
use crate::commands::restart::How;
use crate::commands::{Invocation, cwd};
use crate::report::Failure;
use crate::settings::Settings;
use crate::specs::{self, Plan};
use crate::target::Target;

pub(super) fn run(args: &File, how: How, invocation: &Invocation) -> Result<(), Failure> {
    if args.file != "-" && !rpm_config::is_config_file(&args.file) {
        return Err(Failure::new(format!("{} is not an ecosystem file: its name does not say so", args.file))
            .detail("such a name has one of .json, .yml, .yaml, .toml, .config.js, .config.cjs, .config.mjs, .config.ts in it")
            .hint(format!("`{} start {}` starts a script", invocation.voice.program(), args.file)));
    }
    let target = if args.file == "-" { Target::Stdin } else { Target::File(cwd().join(&args.file)) };
    let context = specs::context(&invocation.home)?;
    let loaded = specs::of_file(&target, &args.app.options(&[]), &context, &invocation.voice)?;
    let mut session = invocation.session()?;
    let before = session.list(true)?;
    let mut plan = Plan::default();
    plan.apply(loaded, &before, args.app.update_env);
    let requests = requests(plan.finish(), how, args.app.force, invocation);
    acting::act_and_show(&mut session, invocation, &before, requests)
}

/// Returns what is asked for a plan: what is there first, as in PM2.
pub(super) fn requests(mut plan: Plan, how: How, force: bool, invocation: &Invocation) -> Vec<(&'static str, Request)> {
    match Settings::read(&invocation.home) {
        Ok(settings) => {
            let respecs = plan.respecs.iter_mut().map(|respec| &mut respec.spec);
            plan.missing.iter_mut().chain(respecs).for_each(|spec| settings.overlay(spec));
        }
        Err(failure) => invocation.voice.warn(failure.text()),
    }
    let mut requests = Vec::new();
    if !plan.missing.is_empty() && !plan.workers.is_empty() {
        let names: Vec<&str> = plan.missing.iter().map(|spec| spec.name.as_str()).collect();
        invocation.voice.say(format_args!("Applications {} not running, starting...", names.join(", ")));
    }
    if !plan.workers.is_empty() {
        requests.push((how.verb(), how.request(plan.workers, plan.respecs, force)));
    }
    if !plan.missing.is_empty() {
        requests.push(("start", Request::Start { specs: plan.missing }));
    }
    requests
}
