//! Commands become requests, answers become sentences.

use rpm_ipc::{AppInfo, Failed, Reply, Request, WorkerInfo};
use rpm_model::{Status, WorkerId};

use crate::keys::Command;
use crate::text::{count, plain};

/// A request, and how to speak of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish {
    pub(crate) request: Request,
    /// `reload api`, `stop api (worker 3)`.
    pub(crate) deed: String,
    /// Whether the user is asked first: it ends a process without a replacement at work.
    pub(crate) confirm: bool,
}

/// Returns what a command asks for on the selected worker; `whole` widens it to all workers of the app.
///
/// A refusal is a sentence without a full stop. Commands that ask for nothing give nothing.
pub(crate) fn wish(
    command: Command,
    app: &AppInfo,
    selected: &WorkerInfo,
    whole: bool,
) -> Option<Result<Wish, String>> {
    let workers: Vec<WorkerId> =
        if whole { app.workers.iter().map(|worker| worker.id).collect() } else { vec![selected.id] };
    let name = plain(&app.spec.name);
    let target = if whole { name.clone() } else { format!("{name} (worker {})", selected.id) };
    let specs = Vec::new();
    let scale = |instances: usize| Request::Scale { app: app.id, instances: instances as u32 };
    let wish = match command {
        Command::Reload => Wish {
            request: Request::Reload { workers, specs, force: false },
            deed: format!("reload {target}"),
            confirm: false,
        },
        Command::Restart => {
            Wish { request: Request::Restart { workers, specs }, deed: format!("restart {target}"), confirm: true }
        }
        Command::StopOrStart if is_down(selected.status) => {
            let down = |id: &WorkerId| app.workers.iter().any(|worker| worker.id == *id && is_down(worker.status));
            let workers = workers.into_iter().filter(down).collect();
            Wish { request: Request::Restart { workers, specs }, deed: format!("start {target}"), confirm: false }
        }
        Command::StopOrStart => {
            Wish { request: Request::Stop { workers }, deed: format!("stop {target}"), confirm: true }
        }
        Command::ScaleUp => {
            let wanted = app.workers.len() + 1;
            Wish {
                request: scale(wanted),
                deed: format!("scale {name} to {}", count(wanted, "worker")),
                confirm: false,
            }
        }
        Command::ScaleDown if app.workers.len() <= 1 => {
            return Some(Err(format!("{name} has only this worker; s stops it")));
        }
        Command::ScaleDown => {
            let wanted = app.workers.len() - 1;
            Wish { request: scale(wanted), deed: format!("scale {name} to {}", count(wanted, "worker")), confirm: true }
        }
        Command::Up | Command::Down | Command::PageUp | Command::PageDown | Command::First | Command::Last => {
            return None;
        }
        Command::Scope | Command::Filter | Command::Logs | Command::Details | Command::Help => return None,
        Command::Back | Command::Quit => return None,
    };
    Some(Ok(wish))
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
        Ok(Reply::Done { workers }) => Ok(format!("{deed}: done ({})", count(workers.len(), "worker"))),
        Ok(Reply::Pong(_) | Reply::List(_) | Reply::Balancers(_) | Reply::Answers { .. }) => {
            Ok(format!("{deed}: done"))
        }
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
