//! `run`: a job runs now, and the command waits for its end.

use rpm_ipc::Request;

use crate::acting;
use crate::args::Targets;
use crate::commands::{Invocation, cwd};
use crate::report::Failure;
use crate::target;

pub(super) fn run(args: &Targets, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let before = session.list(false)?;
    let mut workers = Vec::new();
    for word in &args.targets {
        workers.extend(target::resolve_workers(word, &before, &cwd())?);
    }
    workers.sort_unstable();
    workers.dedup();
    let apps = workers.iter().filter_map(|worker| target::find(&before, *worker)).map(|(app, _)| app);
    if let Some(app) = apps.into_iter().find(|app| app.spec.job.is_none()) {
        let (name, program) = (&app.spec.name, invocation.voice.program());
        return Err(Failure::new(format!("{name} is no job: it has no `schedule`"))
            .hint(format!("`{program} start {name}` or `{program} restart {name}` starts it")));
    }
    acting::act_and_show(&mut session, invocation, &before, vec![("run", Request::Run { workers })])
}
