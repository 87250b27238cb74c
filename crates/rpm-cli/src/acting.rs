//! Asking for something to be done, and telling what came of it: a line for each worker, then the table.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use rpm_ipc::{List, Reply, Request};
use rpm_model::WorkerId;

use crate::commands::Invocation;
use crate::progress::Progress;
use crate::report::Failure;
use crate::say;
use crate::screens::sort::Order;
use crate::screens::{host, table};
use crate::session::Session;

/// More workers of one app than this are told in one line.
const LINES_PER_APP: usize = 8;

/// Asks, shows how far it is, and returns the workers acted on; `verb` completes "could not …".
///
/// # Errors
/// When it was refused or did not succeed.
pub fn act(
    session: &mut Session,
    invocation: &Invocation,
    verb: &'static str,
    request: Request,
) -> Result<Vec<WorkerId>, Failure> {
    let mut progress = Progress::new(&invocation.voice, verb);
    let reply = session.act(request, |notice| progress.notice(notice));
    drop(progress);
    match reply? {
        Reply::Done { workers } => Ok(workers),
        Reply::Refused { message, hint } => Err(Failure::new(format!("could not {verb}: {message}")).maybe_hint(hint)),
        Reply::Failed(failed) => Err(Failure::of_action(verb, failed, invocation.voice.program())),
        other @ (Reply::Pong(_) | Reply::List(_) | Reply::Answers { .. }) => Err(crate::session::unexpected(other)),
    }
}

/// Asks for several things, tells each, and ends with the table whether all went well or not.
///
/// # Errors
/// The first that did not succeed; nothing after it is asked.
pub fn act_and_show(
    session: &mut Session,
    invocation: &Invocation,
    before: &List,
    requests: Vec<(&'static str, Request)>,
) -> Result<(), Failure> {
    let mut outcome = Ok(());
    let mut acted = Vec::new();
    for (verb, request) in requests {
        match act(session, invocation, verb, request) {
            Ok(workers) => acted.push(workers),
            Err(failure) => {
                outcome = Err(failure);
                break;
            }
        }
    }
    if invocation.voice.silent {
        return outcome;
    }
    let after = match session.list(false) {
        Ok(after) => after,
        // The failure that was there first says more.
        Err(failure) => return outcome.and(Err(failure)),
    };
    for workers in acted {
        tell(invocation, &workers, &[&after, before]);
    }
    show(invocation, &after);
    outcome
}

/// Tells which workers were acted on, by the names they have in the first list that knows them.
pub fn tell(invocation: &Invocation, workers: &[WorkerId], lists: &[&List]) {
    let mut by_name: BTreeMap<&str, Vec<WorkerId>> = BTreeMap::new();
    for id in workers {
        let app = lists.iter().find_map(|list| crate::target::find(list, *id)).map(|(app, _)| app);
        by_name.entry(app.map_or("?", |app| &app.spec.name)).or_default().push(*id);
    }
    let tick = format!("{}✓{:#}", say::GREEN, say::GREEN);
    for (name, ids) in by_name {
        if ids.len() > LINES_PER_APP {
            let (first, last) = (ids[0], ids[ids.len() - 1]);
            invocation.voice.say(format_args!("[{name}]({first}…{last}) {tick} {} workers", ids.len()));
            continue;
        }
        for id in ids {
            invocation.voice.say(format_args!("[{name}]({id}) {tick}"));
        }
    }
}

/// Shows the table, and the machine's line.
pub fn show(invocation: &Invocation, list: &List) {
    show_sorted(invocation, list, Order::default());
}

/// Shows the table in the given order, and the machine's line.
pub fn show_sorted(invocation: &Invocation, list: &List, order: Order) {
    if invocation.voice.silent {
        return;
    }
    let mut screen = table::table(list, order, say::width(), now_ms());
    screen.extend(host::line());
    invocation.voice.show(&screen);
}

/// Returns the wall clock.
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
