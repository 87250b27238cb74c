//! `trigger`: calls an action that the app has registered, and shows what it returns.

use rpm_ipc::{Reply, Request};
use serde_json::Value;

use crate::args::Trigger;
use crate::commands::{Invocation, cwd};
use crate::report::Failure;
use crate::{session, target};

pub(super) fn run(args: &Trigger, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let list = session.list(false)?;
    let workers = target::resolve_workers(&args.target, &list, &cwd())?;
    let count = workers.len();
    let params = args.params.as_ref().map(|text| Value::from(text.as_str()));
    let request = Request::Trigger { workers, action: args.action.clone(), params };
    let (answers, silent) = match session.act(request, |_| {})? {
        Reply::Answers { answers, silent } => (answers, silent),
        Reply::Refused { message, hint } => {
            return Err(Failure::new(format!("could not trigger {}: {message}", args.action)).maybe_hint(hint));
        }
        other => return Err(session::unexpected(other)),
    };
    invocation.voice.show(&format!("{count} processes have received command {}\n", args.action));
    for answer in answers {
        let app =
            target::find(&list, answer.worker).map(|(app, _)| (app.spec.name.as_str(), app.spec.namespace.as_str()));
        let (name, namespace) = app.unwrap_or_default();
        invocation.voice.data(&format!("[{name}:{}:{namespace}]={}\n", answer.worker, answer.value));
    }
    if silent.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = silent.iter().map(ToString::to_string).collect();
    Err(Failure::new(format!("no answer to {} from worker {}", args.action, ids.join(", ")))
        .detail("it ended, or said nothing within 30 s"))
}
