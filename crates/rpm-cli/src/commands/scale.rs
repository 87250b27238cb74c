//! `scale`: another number of workers for one app.

use rpm_ipc::{AppInfo, List, Request};
use rpm_model::WorkerId;

use crate::acting;
use crate::args::Scale;
use crate::commands::Invocation;
use crate::report::Failure;
use crate::{specs, target};

pub(super) fn run(args: &Scale, invocation: &Invocation) -> Result<(), Failure> {
    // A number that cannot be read is told without asking anybody.
    rpm_config::parse_scale(&args.number, 1, 1)?;
    let mut session = invocation.session()?;
    let before = session.list(false)?;
    if args.app == "all" && !before.apps.iter().any(|app| app.spec.name == "all") {
        let names: Vec<&str> = before.apps.iter().map(|app| app.spec.name.as_str()).collect();
        let each = names.first().map(|name| format!("`{} scale {name} {}`", invocation.voice.program(), args.number));
        return Err(Failure::new("scale takes one app, not all of them").maybe_hint(each));
    }
    let app = find(&args.app, &before)?;
    let current = u32::try_from(app.workers.len()).unwrap_or(u32::MAX);
    let wanted = rpm_config::parse_scale(&args.number, current, specs::cpus())?;
    let name = &app.spec.name;
    if wanted == current {
        let s = if current == 1 { "" } else { "s" };
        return Err(Failure::new(format!("Nothing to do: {name} has {current} worker{s} already")));
    }
    invocation.voice.say(format_args!("Scaling {name} from {current} to {wanted}"));
    let request = Request::Scale { app: app.id, instances: wanted };
    acting::act_and_show(&mut session, invocation, &before, vec![("scale", request)])?;
    if app.autoscale.is_some() && wanted > 0 {
        let program = invocation.voice.program();
        invocation.voice.say(format_args!("{name} does not scale itself any more; `{program} autoscale {name} on`"));
    }
    Ok(())
}

pub(super) fn find<'a>(word: &str, list: &'a List) -> Result<&'a AppInfo, Failure> {
    let by_name = list.apps.iter().find(|app| app.spec.name == word);
    let by_id = || word.parse().ok().and_then(|id| target::find(list, WorkerId(id))).map(|(app, _)| app);
    by_name.or_else(by_id).ok_or_else(|| target::unknown(word, list))
}
