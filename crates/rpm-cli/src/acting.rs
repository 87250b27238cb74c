//! Asking for something to be done, and telling what came of it: a line for each worker, then the table.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rpm_ipc::{AppInfo, BalancerInfo, Failed, List, Reply, Request};
use rpm_model::{AppId, Flavour, Status, WorkerId};

use crate::commands::Invocation;
use crate::modules;
use crate::progress::Progress;
use crate::report::{Failure, Served};
use crate::say;
use crate::screens::sort::Order;
use crate::screens::{self, host, table};
use crate::session::Session;
use crate::target;

/// More workers of one app than this are told in one line.
const LINES_PER_APP: usize = 8;

/// Sixteen starts of a broken release take about this long; then it is given up.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);

/// Often enough for a person not to notice.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Something to ask for.
#[derive(Debug)]
pub struct Ask {
    /// What completes "could not …".
    pub verb: &'static str,
    /// What is asked.
    pub request: Request,
    /// What is said as soon as it is known that it is not refused, a line each.
    pub opening: Vec<String>,
    /// Only where the app waits after its first workers (`canary`) for somebody to decide.
    pub if_it_waits: bool,
}

impl From<(&'static str, Request)> for Ask {
    fn from((verb, request): (&'static str, Request)) -> Self {
        Self { verb, request, opening: Vec::new(), if_it_waits: false }
    }
}

impl Ask {
    /// Returns the app that it is about where it is about one: whoever races with another command may have to tell of workers
    /// that are in no list.
    fn app(&self) -> Option<AppId> {
        match &self.request {
            Request::Scale { app, .. } | Request::Promote { app } | Request::Abort { app } => Some(*app),
            Request::Restart { specs, .. } | Request::Reload { specs, .. } => match &specs[..] {
                [respec] => Some(respec.app),
                _ => None,
            },
            _ => None,
        }
    }
}

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
    act_knowing(session, invocation, (verb, request).into(), None)
}

/// Acts, and can say of a failure whether somebody served before.
fn act_knowing(
    session: &mut Session,
    invocation: &Invocation,
    ask: Ask,
    before: Option<&List>,
) -> Result<Vec<WorkerId>, Failure> {
    let Ask { verb, request, opening, .. } = ask;
    let is_apart =
        matches!(&request, Request::Reload { specs, .. } if specs.iter().any(|new| !new.spec.shares_sockets()));
    let mut progress = Progress::new(&invocation.voice, verb, opening);
    let reply = session.act(request, |notice| progress.notice(notice));
    if matches!(reply, Ok(Reply::Done { .. } | Reply::Failed(_))) {
        progress.taken_up();
    }
    drop(progress);
    match reply? {
        Reply::Done { workers } => Ok(workers),
        Reply::Refused { message, hint } => Err(Failure::new(format!("could not {verb}: {message}")).maybe_hint(hint)),
        Reply::Failed(failed) => {
            let served = before.map_or(Served::No, |before| served(&failed, before, is_apart));
            let forgiven = is_forgiven(invocation.voice.flavour, verb, &failed);
            let failure = Failure::of_action(verb, failed, served, invocation.voice.program());
            if !forgiven {
                return Err(failure);
            }
            invocation.voice.warn(failure.text());
            Ok(Vec::new())
        }
        other @ (Reply::Pong(_)
        | Reply::List(_)
        | Reply::Figures(_)
        | Reply::Noted { .. }
        | Reply::Saved { .. }
        | Reply::Balancers(_)
        | Reply::History(_)
        | Reply::Answers { .. }) => Err(crate::session::unexpected(other)),
    }
}

/// What becomes of the other things when one does not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    /// They may need it: they are not asked for.
    Stop,
    /// None needs another: all are tried, and what failed is told at the end.
    GoOn,
}

/// Asks for several things, tells each, and ends with the table whether all went well or not.
///
/// # Errors
/// The first that did not succeed; nothing after it is asked.
pub fn act_and_show(
    session: &mut Session,
    invocation: &Invocation,
    before: &List,
    requests: Vec<impl Into<Ask>>,
) -> Result<(), Failure> {
    let (acted, outcome) = act_on_all(session, invocation, before, requests, AfterFailure::Stop);
    show_acted(session, invocation, before, acted, outcome)
}

/// Workers that were acted on, and the app that was meant, where it was one.
pub type Acted = Vec<(Vec<WorkerId>, Option<AppId>)>;

/// Asks for several things; what failed ends it, or is told with what else fails.
pub fn act_on_all(
    session: &mut Session,
    invocation: &Invocation,
    before: &List,
    requests: Vec<impl Into<Ask>>,
    after_failure: AfterFailure,
) -> (Acted, Result<(), Failure>) {
    let mut outcome: Result<(), Failure> = Ok(());
    let mut acted = Vec::new();
    for ask in requests.into_iter().map(Into::into) {
        let (app, if_it_waits) = (ask.app(), ask.if_it_waits);
        let waits = |now: &AppInfo| Some(now.id) == app && !now.canaries.is_empty();
        let done = match if_it_waits.then(|| session.list(false)).transpose() {
            Ok(Some(list)) if !list.apps.iter().any(waits) => continue,
            Ok(_) => act_knowing(session, invocation, ask, Some(before)),
            Err(failure) => Err(failure),
        };
        match done {
            // Its workers were told by what came before.
            Ok(_) if if_it_waits => {}
            Ok(workers) => acted.push((workers, app)),
            Err(failure) => {
                outcome = Err(match outcome {
                    Ok(()) => failure,
                    Err(first) => first.and(failure),
                });
                if after_failure == AfterFailure::Stop {
                    break;
                }
            }
        }
    }
    (acted, outcome)
}

/// Tells what was done, and shows the table.
///
/// # Errors
/// What did not succeed, or that there is no table.
pub fn show_acted(
    session: &mut Session,
    invocation: &Invocation,
    before: &List,
    acted: Acted,
    outcome: Result<(), Failure>,
) -> Result<(), Failure> {
    if invocation.voice.silent {
        return outcome;
    }
    let after = match if outcome.is_ok() { session.list(false) } else { settled(session) } {
        Ok(after) => after,
        // The failure that was there first says more.
        Err(failure) => return outcome.and(Err(failure)),
    };
    for (workers, app) in acted {
        let apps = before.apps.iter().chain(&after.apps);
        let app = apps.into_iter().find(|known| Some(known.id) == app).map(|app| &*app.spec.name);
        tell(invocation, &workers, app, &[&after, before]);
    }
    for app in after.apps.iter().filter(|app| !app.canaries.is_empty()) {
        let (name, program) = (&app.spec.name, invocation.voice.program());
        let (count, all) = (app.canaries.len(), app.workers.len());
        invocation.voice.say(format_args!(
            "{name}: {count} of {all} run the new release; `{program} promote {name}` or `{program} abort {name}`"
        ));
    }
    // What was done is told whether or not their counters are.
    let balancers = session.balancers(&after).unwrap_or_default();
    show(invocation, &after, &balancers);
    outcome
}

/// Returns whether what failed does not make the command fail.
///
/// For PM2 an app that was started is started, whatever becomes of it: scripts written for it start programs that end at
/// once, under `set -e`. What was taken back, and every reload, is a failure there too.
fn is_forgiven(flavour: Flavour, verb: &str, failed: &Failed) -> bool {
    flavour == Flavour::Pm2 && !failed.undone && verb != "reload"
}

/// Says how a failed command has left those who were up before; `is_apart` is whether new processes could not serve beside old
/// ones.
fn served(failed: &Failed, before: &List, is_apart: bool) -> Served {
    let found = || failed.failures.iter().filter_map(|failure| target::find(before, failure.worker));
    let is_apart = is_apart || found().any(|(app, _)| !app.spec.shares_sockets());
    match found().any(|(_, worker)| worker.status == Status::Online) {
        true if is_apart => Served::Before,
        true => Served::On,
        false => Served::No,
    }
}

/// Returns the list once nobody is on the way from one state to the next, or as it is when that takes too long: what has
/// failed is being cleared away or tried again, and a table of that moment helps nobody.
fn settled(session: &mut Session) -> Result<List, Failure> {
    let deadline = Instant::now() + SETTLES_WITHIN;
    loop {
        let list = session.list(false)?;
        let mut workers = list.apps.iter().flat_map(|app| &app.workers);
        let moves = workers.any(|worker| matches!(worker.status, Status::Launching | Status::Stopping));
        if !moves || Instant::now() > deadline {
            return Ok(list);
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// Tells which workers were acted on, by the names they have in the first list that knows them, else by that of the app that
/// was meant. One that came and went meanwhile, by another's command, is nobody's whom the user knows.
pub fn tell(invocation: &Invocation, workers: &[WorkerId], meant: Option<&str>, lists: &[&List]) {
    let by_name = by_name(workers, meant, lists);
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

fn by_name<'a>(workers: &[WorkerId], meant: Option<&'a str>, lists: &[&'a List]) -> BTreeMap<&'a str, Vec<WorkerId>> {
    let mut by_name: BTreeMap<&str, Vec<WorkerId>> = BTreeMap::new();
    for id in workers {
        let app = lists.iter().find_map(|list| crate::target::find(list, *id)).map(|(app, _)| &*app.spec.name);
        if let Some(name) = app.or(meant) {
            by_name.entry(name).or_default().push(*id);
        }
    }
    by_name
}

/// Shows the table, and the machine's line.
pub fn show(invocation: &Invocation, list: &List, balancers: &[BalancerInfo]) {
    show_sorted(invocation, list, balancers, Order::default());
}

/// Shows the table in the given order, and the machine's line.
pub fn show_sorted(invocation: &Invocation, list: &List, balancers: &[BalancerInfo], order: Order) {
    if !invocation.voice.silent {
        invocation.voice.show(&sorted(list, balancers, order));
    }
}

/// Returns the table in the given order, and the machine's line.
pub fn sorted(list: &List, balancers: &[BalancerInfo], order: Order) -> String {
    let (mut apps, its_modules) = modules::split(list);
    let its_balancers: Vec<AppInfo> = apps.apps.extract_if(.., |app| app.spec.is_balancer()).collect();
    let mut screen = table::table(&apps, order, say::width(), now_ms());
    screen.push_str(&screens::balancers::tables(&its_balancers, balancers, say::width(), now_ms()));
    screen.push_str(&screens::modules::modules(&its_modules));
    screen.extend(host::line());
    screen
}

/// Returns the wall clock.
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screens::samples::{app, list};

    #[test]
    fn a_worker_that_came_and_went_is_told_by_the_app_that_was_meant_or_not_at_all() {
        let list = list(vec![app(1, "api", "default", &[0])]);
        let workers = [WorkerId(0), WorkerId(3)];
        assert_eq!(
            by_name(&workers, Some("web"), &[&list]),
            [("api", vec![workers[0]]), ("web", vec![workers[1]])].into()
        );
        assert_eq!(by_name(&workers, None, &[&list]), [("api", vec![workers[0]])].into());
    }

    #[test]
    fn pm2_s_start_succeeds_though_the_app_ends_at_once() {
        let ended = Failed { failures: Vec::new(), undone: false };
        let undone = Failed { undone: true, ..ended.clone() };
        assert!(is_forgiven(Flavour::Pm2, "start", &ended));
        assert!(is_forgiven(Flavour::Pm2, "restart", &ended));
        assert!(!is_forgiven(Flavour::Pm2, "reload", &ended));
        assert!(!is_forgiven(Flavour::Pm2, "start", &undone), "nothing is there");
        assert!(!is_forgiven(Flavour::Rpm, "start", &ended));
    }
}
