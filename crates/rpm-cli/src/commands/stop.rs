//! `stop`: the workers leave, and stay in the list.

use rpm_ipc::{AppInfo, Request};

use crate::acting;
use crate::args::Leave;
use crate::commands::{Invocation, words_to_do, workers_of};
use crate::report::Failure;

pub(super) fn run(args: &Leave, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let before = session.list(false)?;
    let (words, wrong) = words_to_do(&args.targets, &before, invocation);
    let workers = workers_of(words, args.only.as_deref(), &before, invocation)?;
    let is_stopped = |app: &&AppInfo| app.workers.iter().any(|worker| workers.contains(&worker.id));
    let request = Request::Stop { workers: workers.clone() };
    acting::act_and_show(&mut session, invocation, &before, vec![("stop", request)])?;
    for app in before.apps.iter().filter(is_stopped) {
        if let Some(cron) = &app.spec.cron {
            let (name, voice) = (&app.spec.name, &invocation.voice);
            voice.warn(format_args!("App {name} stopped but CRON RESTART is still UP {cron}"));
            voice.warn(format_args!("`{} restart {name} --cron-restart 0` turns it off", voice.program()));
        }
        if app.spec.job.is_some() {
            let (name, voice) = (&app.spec.name, &invocation.voice);
            voice.say(format_args!("{name} is not run at its times until `{} start` or `run`", voice.program()));
        }
    }
    wrong.map_or(Ok(()), Err)
}
