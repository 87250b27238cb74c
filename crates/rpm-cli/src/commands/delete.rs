//! `delete`: the workers leave and are forgotten.

use rpm_ipc::Request;

use crate::acting;
use crate::args::Leave;
use crate::commands::{Invocation, words_to_do, workers_of};
use crate::report::Failure;
use crate::target;

pub(super) fn run(args: &Leave, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let before = session.list(false)?;
    let (words, wrong) = words_to_do(&args.targets, &before, invocation);
    let workers = workers_of(words, args.only.as_deref(), &before, invocation)?;
    acting::act_and_show(&mut session, invocation, &before, vec![("delete", Request::Delete { workers })])?;
    // What is near it may be gone by now.
    match wrong {
        Some(_) => Err(target::unknown(&args.targets[words.len()], &session.list(false)?)),
        None => Ok(()),
    }
}
