//! `reset`: the restart counters are zero again.

use rpm_ipc::Request;

use crate::acting;
use crate::args::Targets;
use crate::commands::{Invocation, workers_of};
use crate::report::Failure;

pub(super) fn run(args: &Targets, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let before = session.list(false)?;
    let workers = workers_of(&args.targets, None, &before, invocation)?;
    acting::act_and_show(&mut session, invocation, &before, vec![("reset", Request::Reset { workers })])
}
