//! Deeds become requests, answers become sentences.

use rpm_ipc::{AppInfo, Failed, Reply, Request, WorkerInfo};
use rpm_model::{Status, WorkerId};

use crate::Errand;
use crate::target::Target;
use crate::text::{count, plain};

/// Something that is done to workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Reload,
    Restart,
    Stop,
    Start,
    Delete,
    Reset,
    Run,
    Signal(i32),
    Flush,
    Why,
    Crashes,
}

/// An errand, and how to speak of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish {
    pub(crate) errand: Errand,
    /// `reload api`, `stop api (worker 3)`.
    pub(crate) deed: String,
    /// What it costs, where it ends a process without a replacement at work: the user is asked first.
    pub(crate) cost: Option<String>,
}

/// Returns what to ask for; a refusal is a sentence without a full stop.
pub(crate) fn wish(deed: Deed, target: &Target<'_>) -> Result<Wish, String> {
    let all = || target.workers.iter();
    let named = |verb: &str| format!("{verb} {}", target.name);
    let ids = |keep: fn(&WorkerInfo) -> bool| -> Vec<WorkerId> {
        all().filter(|worker| keep(worker)).map(|worker| worker.id).collect()
    };
    let (workers, specs) = (ids(|_| true), Vec::new());
    let alive = all().filter(|worker| !is_down(worker.status)).count();
    let serve = if alive == 1 { "serves" } else { "serve" };
    let wish = match deed {
        Deed::Reload => {
            Wish { errand: Request::Reload { workers, specs, force: false }.into(), deed: named("reload"), cost: None }
        }
        Deed::Restart => Wish {
            errand: Request::Restart { workers, specs }.into(),
            deed: named("restart"),
            cost: (alive > 0)
                .then(|| format!("{} {serve} nothing in between; a reload leaves no gap", count(alive, "worker"))),
        },
        Deed::Stop if alive == 0 => return Err(format!("{} is down already", target.name)),
        Deed::Stop => Wish {
            errand: Request::Stop { workers: ids(|worker| !is_down(worker.status)) }.into(),
            deed: named("stop"),
            cost: Some(format!("{} {serve} nothing until started again", count(alive, "worker"))),
        },
        Deed::Start if alive == workers.len() => return Err(format!("{} is up already", target.name)),
        Deed::Start => Wish {
            errand: Request::Restart { workers: ids(|worker| is_down(worker.status)), specs }.into(),
            deed: named("start"),
            cost: None,
        },
        Deed::Delete => {
            let cost = format!("{} forgotten, {alive} of them running", count(workers.len(), "worker"));
            Wish { errand: Request::Delete { workers }.into(), deed: named("delete"), cost: Some(cost) }
        }
        Deed::Reset => {
            Wish { errand: Request::Reset { workers }.into(), deed: named("reset the counters of"), cost: None }
        }
        Deed::Run => Wish { errand: Request::Run { workers }.into(), deed: named("run"), cost: None },
        Deed::Flush => Wish {
            errand: Errand::Flush(workers),
            deed: named("empty the logs of"),
            cost: Some("what is in them is lost".into()),
        },
        Deed::Why => Wish { errand: Errand::Why(workers), deed: named("why"), cost: None },
        Deed::Crashes => Wish { errand: Errand::Crashes(workers), deed: named("crashes of"), cost: None },
        Deed::Signal(signal) => {
            let name = rpm_model::worker::signal_name(signal).map_or(format!("signal {signal}"), str::to_owned);
            let cost = format!("{} {} it", count(alive, "worker"), if alive == 1 { "gets" } else { "get" });
            let request = Request::Signal { workers: ids(|worker| !is_down(worker.status)), signal };
            Wish { errand: request.into(), deed: format!("send {name} to {}", target.name), cost: Some(cost) }
        }
    };
    Ok(wish)
}

/// Returns the request for another number of workers.
pub(crate) fn scale(app: &AppInfo, instances: usize) -> Result<Wish, String> {
    let (name, present) = (plain(&app.spec.name), app.workers.len());
    if instances == 0 {
        return Err(format!("{name} keeps at least one worker; stop or delete ends it"));
    }
    if instances == present {
        return Err(format!("{name} has {} already", count(present, "worker")));
    }
    let Ok(wanted) = u32::try_from(instances) else { return Err(format!("{instances} is not a number of workers")) };
    Ok(Wish {
        errand: Request::Scale { app: app.id, instances: wanted }.into(),
        deed: format!("scale {name} to {}", count(instances, "worker")),
        cost: (instances < present).then(|| format!("{} leave", count(present - instances, "worker"))),
    })
}

/// Returns whether there is no process and none is on its way.
pub(crate) fn is_down(status: Status) -> bool {
    match status {
        Status::Stopped | Status::Errored => true,
        Status::Launching | Status::Online | Status::Stopping | Status::WaitingRestart => false,
    }
}

/// Returns what became of a deed: `Ok` when it was done.
pub(crate) fn outcome(deed: &str, result: Result<Reply, String>) -> Result<String, String> {
    match result {
        Ok(Reply::Noted { note } | Reply::Saved { note: Some(note), .. }) => Ok(format!("{deed}: done; {note}")),
        // What is done to no worker (the list is saved) is done all the same.
        Ok(Reply::Done { workers }) if workers.is_empty() => Ok(format!("{deed}: done")),
        Ok(Reply::Done { workers }) => Ok(format!("{deed}: done ({})", count(workers.len(), "worker"))),
        Ok(
            Reply::Pong(_)
            | Reply::List(_)
            | Reply::Saved { note: None, .. }
            | Reply::Figures(_)
            | Reply::Balancers(_)
            | Reply::History(_)
            | Reply::Answers { .. },
        ) => Ok(format!("{deed}: done")),
        Ok(Reply::Refused { message, hint }) => {
            let hint = hint.map(|hint| format!("; {}", plain(&hint))).unwrap_or_default();
            Err(format!("could not {deed}: {}{hint}", plain(&message)))
        }
        Ok(Reply::Failed(failed)) => Err(format!("could not {deed}: {}", failure(&failed))),
        Err(error) => Err(format!("could not {deed}: {}", plain(&error))),
    }
}

fn failure(failed: &Failed) -> String {
    let mut text = match failed.failures.as_slice() {
        [] => "it did not succeed".to_owned(),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            format!("worker {} {}{more}", first.worker, plain(&first.message))
        }
    };
    if failed.undone {
        text.push_str("; everything is as it was");
    }
    text
}
