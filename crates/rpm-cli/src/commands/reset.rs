//! `reset`: the restart counters are zero again.

use rpm_ipc::Request;

use crate::acting;
use crate::args::Targets;
use crate::commands::{Invocation, workers_of};
use crate::report::Failure;

pub(super) fn run(args: &Targets, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let before = session.list(false)?;
    // As in PM2, nothing to reset is no failure.
    let nothing = before.apps.is_empty() && args.targets.iter().all(|word| word == "all");
    let mut requests = Vec::new();
    if !nothing {
        let workers = workers_of(&args.targets, None, &before, invocation)?;
        requests.push(("reset", Request::Reset { workers }));
    }
    acting::act_and_show(&mut session, invocation, &before, requests)
}
