//! `promote`, `abort`: what becomes of a release of which the first workers run.

use rpm_ipc::Request;

use crate::acting;
use crate::args::OneApp;
use crate::commands::{Invocation, scale};
use crate::report::Failure;

pub(super) fn promote(args: &OneApp, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let before = session.list(false)?;
    let app = scale::find(&args.app, &before)?.id;
    acting::act_and_show(&mut session, invocation, &before, vec![("promote", Request::Promote { app })])
}

pub(super) fn abort(args: &OneApp, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let before = session.list(false)?;
    let app = scale::find(&args.app, &before)?.id;
    acting::act_and_show(&mut session, invocation, &before, vec![("abort", Request::Abort { app })])
}
