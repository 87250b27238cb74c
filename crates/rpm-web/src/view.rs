//! What the API shows, as JSON. Published: a field that is there stays and keeps its meaning.

use rpm_ipc::{AppFigures, AppInfo, BetweenRuns, WorkerFigures};
use rpm_records::ExitRecord;
use serde_json::{Value, json};

use crate::look::Snapshot;

/// Returns everything there is.
pub(crate) fn all(snapshot: &Snapshot) -> Value {
    let daemon = &snapshot.list.daemon;
    let host = &snapshot.host;
    json!({
        "at_ms": snapshot.at_ms,
        "daemon": { "version": daemon.version, "pid": daemon.pid, "started_at_ms": daemon.started_at_ms },
        "host": {
            "cpus": host.cpus,
            "load": host.load,
            "memory_total": host.memory_total,
            "memory_available": host.memory_available,
        },
        "apps": snapshot.list.apps.iter().map(|one| app(one, snapshot)).collect::<Vec<_>>(),
    })
}

/// Returns one app.
pub(crate) fn app(app: &AppFigures, snapshot: &Snapshot) -> Value {
    let traffic = snapshot.traffic.get(&app.name).map(|traffic| {
        json!({
            "requests_per_second": traffic.rate,
            "in_flight": traffic.in_flight,
            "queue": traffic.queue,
            "p99_ms": traffic.p99,
        })
    });
    json!({
        "id": app.id,
        "name": app.name,
        "namespace": app.namespace,
        "kind": app.kind.name(),
        "exec_mode": app.exec_mode.name(),
        "rolling": app.rolling,
        "canaries": app.canaries,
        "autoscale": app.autoscale.as_ref().map(|autoscale| json!({
            "on": autoscale.info.is_on,
            "min": autoscale.min,
            "max": autoscale.max,
            "standing": autoscale.info.standing,
            "last": autoscale.info.last.as_ref().map(|last| json!({ "at_ms": last.at_ms, "text": last.text })),
        })),
        "is_job": app.is_job,
        "next_run_ms": app.next_run_ms,
        "traffic": traffic,
        "workers": app.workers.iter().map(|one| worker(one, snapshot)).collect::<Vec<_>>(),
    })
}

/// Returns one app with what takes longer to find out: how its workers fare as to requests, and how they ended last.
pub(crate) fn whole(figures: &AppFigures, info: &AppInfo, snapshot: &Snapshot) -> Value {
    let mut value = app(figures, snapshot);
    for one in value["workers"].as_array_mut().into_iter().flatten() {
        let Some(worker) = info.workers.iter().find(|worker| one["id"] == worker.id.0) else { continue };
        one["health"] = json!(worker.health);
        one["check"] = json!(worker.check);
        one["last_exit"] = worker.last_exit.map_or(Value::Null, |exit| exit.to_string().into());
        one["last_exit_at_ms"] = json!(worker.last_exit_at_ms);
    }
    value
}

/// Returns the end of a process as it is on record, and in words.
pub(crate) fn crash(exit: &ExitRecord) -> Value {
    let mut value = json!(exit);
    value["text"] = exit.exit.to_string().into();
    if let Some(core) = &exit.core {
        value["core_text"] = core.to_string().into();
    }
    value
}

fn worker(worker: &WorkerFigures, snapshot: &Snapshot) -> Value {
    let measured = snapshot.workers.get(&worker.id);
    json!({
        "id": worker.id,
        "instance": worker.instance,
        "status": worker.status,
        "shown": worker.between_runs.map_or(worker.state(), BetweenRuns::word),
        "health": worker.health,
        "pid": worker.pid,
        "cpu": worker.cpu,
        "memory": worker.memory.0,
        "restarts": worker.restarts,
        "started_at_ms": worker.started_at_ms,
        "why": worker.why,
        "cause": worker.cause,
        "threads": measured.map(|measured| measured.threads),
        "open_fds": measured.and_then(|measured| measured.open_fds),
    })
}
