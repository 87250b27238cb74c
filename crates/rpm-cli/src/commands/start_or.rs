//! `startOrRestart`, `startOrReload`: the apps of a file are as the file says, whatever they were before.

use rpm_ipc::Request;
use rpm_model::AppSpec;

use crate::acting::{self, Ask};
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
    let requests = requests(plan.finish(), how, args.app.force, Vec::new(), invocation);
    acting::act_and_show(&mut session, invocation, &before, requests)
}

/// Returns what is asked for a plan: what is there first, as in PM2, unless that is to depend on what is new. `opening` is
/// what is said when the new apps are taken up.
pub(super) fn requests(
    mut plan: Plan,
    how: How,
    force: bool,
    mut opening: Vec<String>,
    invocation: &Invocation,
) -> Vec<Ask> {
    match Settings::read(&invocation.home) {
        Ok(settings) => {
            let respecs = plan.respecs.iter_mut().map(|respec| &mut respec.spec);
            plan.missing.iter_mut().chain(respecs).for_each(|spec| settings.overlay(spec));
        }
        Err(failure) => invocation.voice.warn(failure.text()),
    }
    let new_first = depends_on_new(plan.respecs.iter().map(|respec| &respec.spec), &plan.missing);
    let start = (!plan.missing.is_empty()).then(|| {
        if !plan.workers.is_empty() {
            let names: Vec<&str> = plan.missing.iter().map(|spec| spec.name.as_str()).collect();
            opening.insert(0, format!("Applications {} not running, starting...", names.join(", ")));
        }
        Ask { opening, ..Ask::from(("start", Request::Start { specs: plan.missing })) }
    });
    // A job takes up a new spec without being run.
    let again = (!plan.workers.is_empty() || !plan.respecs.is_empty())
        .then(|| (how.verb(), how.request(plan.workers, plan.respecs, force)).into());
    let in_order = if new_first { [start, again] } else { [again, start] };
    in_order.into_iter().flatten().collect()
}

/// Returns whether apps that are there will depend on new ones, which must be known before.
pub(super) fn depends_on_new<'a>(mut there: impl Iterator<Item = &'a AppSpec>, new: &[AppSpec]) -> bool {
    there.any(|spec| new.iter().any(|new| spec.depends_on.contains_key(&new.name)))
}
