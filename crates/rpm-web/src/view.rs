//! What the API shows, as JSON. Published: a field that is there stays and keeps its meaning.

use rpm_ipc::{AppFigures, BetweenRuns, WorkerFigures};
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
        "next_run_ms": app.next_run_ms,
        "traffic": traffic,
        "workers": app.workers.iter().map(|one| worker(one, snapshot)).collect::<Vec<_>>(),
    })
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
