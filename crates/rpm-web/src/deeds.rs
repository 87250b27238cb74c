//! What is to be done, from a path and a body. Pure.

use rpm_ipc::{AppFigures, Request, WorkerFigures};
use rpm_model::worker::signal_number;
use rpm_model::{Status, WorkerId};
use serde_json::Value;

use crate::answer::Trouble;

/// What can be done to an app.
pub(crate) const OF_APPS: [&str; 14] = [
    "start",
    "stop",
    "restart",
    "reload",
    "delete",
    "reset",
    "signal",
    "scale",
    "flush",
    "promote",
    "abort",
    "rollback",
    "autoscale",
    "run",
];

/// What can be done to one worker.
pub(crate) const OF_WORKERS: [&str; 7] = ["start", "stop", "restart", "reload", "delete", "reset", "signal"];

/// Something to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Deed {
    /// By the daemon.
    Ask(Request),
    /// By the daemon, which may take as long as a job does.
    Begin(Request),
    /// The app's logs are emptied.
    Flush,
    /// The app becomes what it was so many releases before.
    RollBack(usize),
}

/// Returns what a verb means for an app.
pub(crate) fn of_app(verb: &str, app: &AppFigures, body: &[u8], instances_max: u32) -> Result<Deed, Trouble> {
    let id = app.id;
    Ok(match verb {
        "scale" => Deed::Ask(Request::Scale { app: id, instances: instances(body, instances_max)? }),
        "promote" => Deed::Ask(Request::Promote { app: id }),
        "abort" => Deed::Ask(Request::Abort { app: id }),
        "autoscale" => {
            let on = parse(body)?.get("on").and_then(Value::as_bool);
            let on = on.ok_or_else(|| Trouble::Bad("`on`: expected true or false".into()))?;
            Deed::Ask(Request::Autoscale { app: id, on })
        }
        "run" => Deed::Begin(Request::Run { workers: app.workers.iter().map(|worker| worker.id).collect() }),
        "flush" => Deed::Flush,
        "rollback" => Deed::RollBack(back(body)?),
        _ => Deed::Ask(of_workers(verb, &app.name, &app.workers, body)?),
    })
}

/// Returns what a verb means for one worker.
pub(crate) fn of_worker(verb: &str, worker: &WorkerFigures, body: &[u8]) -> Result<Deed, Trouble> {
    let name = format!("worker {}", worker.id);
    of_workers(verb, &name, std::slice::from_ref(worker), body).map(Deed::Ask)
}

fn of_workers(verb: &str, name: &str, all: &[WorkerFigures], body: &[u8]) -> Result<Request, Trouble> {
    let ids = |keep: fn(&WorkerFigures) -> bool| -> Vec<WorkerId> {
        all.iter().filter(|worker| keep(worker)).map(|worker| worker.id).collect()
    };
    let (workers, specs) = (ids(|_| true), Vec::new());
    Ok(match verb {
        "start" => {
            let workers = ids(|worker| is_down(worker.status));
            if workers.is_empty() {
                return Err(Trouble::Conflict(format!("{name} is up already")));
            }
            Request::Restart { workers, specs }
        }
        "stop" => Request::Stop { workers },
        "restart" => Request::Restart { workers, specs },
        "reload" => Request::Reload { workers, specs, force: false },
        "delete" => Request::Delete { workers },
        "reset" => Request::Reset { workers },
        "signal" => {
            let signal = signal(body)?;
            let workers = ids(|worker| !is_down(worker.status));
            if workers.is_empty() {
                return Err(Trouble::Conflict(format!("{name} is down: nobody would get it")));
            }
            Request::Signal { workers, signal }
        }
        _ => return Err(Trouble::NotFound(verb.to_owned())),
    })
}

/// Returns whether there is no process and none is on its way.
fn is_down(status: Status) -> bool {
    match status {
        Status::Stopped | Status::Errored => true,
        Status::Launching | Status::Online | Status::Stopping | Status::WaitingRestart => false,
    }
}

fn parse(body: &[u8]) -> Result<Value, Trouble> {
    serde_json::from_slice(body).map_err(|error| Trouble::Bad(error.to_string()))
}

fn instances(body: &[u8], most: u32) -> Result<u32, Trouble> {
    number(&parse(body)?, "instances")
        .filter(|count| (1..=most).contains(count))
        .ok_or_else(|| Trouble::Bad(format!("`instances`: expected a number from 1 to {most}")))
}

fn back(body: &[u8]) -> Result<usize, Trouble> {
    if body.is_empty() {
        return Ok(1);
    }
    let body = parse(body)?;
    let count = if body.get("back").is_none() && body.is_object() { Some(1) } else { number(&body, "back") };
    let count = count.filter(|count| *count > 0);
    count.map(|count| count as usize).ok_or_else(|| Trouble::Bad("`back`: expected a number from 1".into()))
}

fn signal(body: &[u8]) -> Result<i32, Trouble> {
    let body = parse(body)?;
    let name = body.get("signal").and_then(Value::as_str);
    name.and_then(signal_number).ok_or_else(|| Trouble::Bad("`signal`: expected a name such as \"USR2\"".into()))
}

/// Reads a whole number; for JSON 3.0 is as whole as 3.
fn number(body: &Value, name: &str) -> Option<u32> {
    let count = body.get(name)?;
    let whole = || count.as_f64().filter(|count| count.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(count));
    let count = count.as_u64().or_else(|| whole().map(|count| count as u64))?;
    u32::try_from(count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_workers_is_whole_and_bounded() {
        let of = |text: &str| instances(format!("{{\"instances\":{text}}}").as_bytes(), 5).ok();
        assert_eq!(["3", "3.0", "5"].map(of), [Some(3), Some(3), Some(5)]);
        assert_eq!(["0", "6", "-1", "2.5", "1e300", "\"3\"", "null", "[3]"].map(of), [None; 8]);
    }

    #[test]
    fn a_release_is_one_back_unless_it_is_said() {
        let of = |text: &str| back(text.as_bytes()).ok();
        assert_eq!(["", "{}", "{\"back\":2}"].map(of), [Some(1), Some(1), Some(2)]);
        assert_eq!(["{\"back\":4294967295}", "{\"back\":4294967295.0}"].map(of), [Some(4_294_967_295); 2]);
        assert_eq!(["{\"back\":0}", "{\"back\":\"2\"}", "[]", "3"].map(of), [None; 4]);
    }

    #[test]
    fn a_signal_is_a_name() {
        let of = |text: &str| signal(text.as_bytes()).ok();
        assert_eq!(of("{\"signal\":\"USR2\"}").zip(of("{\"signal\":\"SIGUSR2\"}")), Some((12, 12)));
        assert_eq!(of("{\"signal\":\"USR9\"}").or(of("{}")), None);
    }
}
