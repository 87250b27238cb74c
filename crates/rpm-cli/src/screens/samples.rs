//! Lists for the tests of the screens.

use std::path::PathBuf;

use rpm_ipc::{AppInfo, DaemonInfo, List, WorkerInfo};
use rpm_model::{AppId, AppSpec, Bytes, Life, Status, WorkerId};

/// The moment at which the screens are drawn: 12 s after every start.
pub const NOW_MS: u64 = 1_795_630_184_021;

/// An app with these workers, all online.
pub fn app(id: u32, name: &str, namespace: &str, workers: &[u32]) -> AppInfo {
    let mut spec = AppSpec::new(name, format!("/srv/{name}.js"), "/srv");
    spec.namespace = namespace.into();
    spec.interpreter = Some("node".into());
    spec.instances = workers.len() as u32;
    let workers = workers.iter().enumerate().map(|(instance, id)| worker(name, *id, instance as u32)).collect();
    AppInfo { id: AppId(id), spec, rolling: false, canaries: Vec::new(), autoscale: None, next_run_ms: None, workers }
}

fn worker(name: &str, id: u32, instance: u32) -> WorkerInfo {
    WorkerInfo {
        id: WorkerId(id),
        instance,
        status: Status::Online,
        pid: Some(8700 + id as i32),
        life: Some(Life::new(WorkerId(id), 1)),
        restarts: 0,
        unstable: 0,
        created_at_ms: NOW_MS - 12_000,
        started_at_ms: Some(NOW_MS - 12_000),
        last_exit: None,
        last_exit_at_ms: None,
        parked: false,
        outdated: false,
        why: None,
        cause: Some("start".into()),
        cpu: 0.0,
        cpu_time_ms: None,
        threads: None,
        memory: Bytes(55_050_240),
        out_log: Some(PathBuf::from(format!("/home/me/.rpm/logs/{name}-out.log"))),
        err_log: Some(PathBuf::from(format!("/home/me/.rpm/logs/{name}-error.log"))),
        combined_log: None,
        pid_file: PathBuf::from(format!("/home/me/.rpm/pids/{name}-{id}.pid")),
        backoff_ms: None,
        user: "root".into(),
        contact: serde_json::Map::new(),
        health: None,
        check: None,
        output_lost: 0,
        not_limited: None,
        log_trouble: None,
    }
}

/// A list of these apps.
pub fn list(apps: Vec<AppInfo>) -> List {
    let daemon = DaemonInfo { version: "0.1.0".into(), pid: 41, keeper_pid: 40, started_at_ms: NOW_MS - 60_000 };
    List { apps, daemon }
}
