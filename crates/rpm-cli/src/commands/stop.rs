//! `stop`: the workers leave, and stay in the list.

use rpm_ipc::Request;

use crate::acting;
use crate::args::Leave;
use crate::commands::{Invocation, workers_of};
use crate::report::Failure;

pub(super) fn run(args: &Leave, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let before = session.list(false)?;
    let workers = workers_of(&args.targets, args.only.as_deref(), &before, invocation)?;
    acting::act_and_show(&mut session, invocation, &before, vec![("stop", Request::Stop { workers })])
}
