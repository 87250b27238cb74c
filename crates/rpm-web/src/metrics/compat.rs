//! The names by which exporters for PM2 tell of its workers, so that dashboards made for those go on.

use rpm_ipc::{AppFigures, AppKind, WorkerFigures};
use rpm_model::Status;

use super::Names;
use crate::exposition::Family;
use crate::look::Snapshot;

/// Appends them. Balancers and modules are no workers that PM2 would list.
pub(super) fn pm2(text: &mut String, snapshot: &Snapshot, names: &Names) {
    let apps = snapshot.list.apps.iter().filter(|app| app.kind == AppKind::App);
    let mut each = |name, help, value: &dyn Fn(&AppFigures, &WorkerFigures) -> Option<f64>| {
        let mut family = Family::new(text, name, "gauge", help);
        for app in apps.clone() {
            for worker in &app.workers {
                let Some(value) = value(app, worker) else { continue };
                let (id, instance) = (worker.id.to_string(), worker.instance.to_string());
                family.add(&[("id", &id), ("name", &names[&app.id]), ("instance", &instance)], value);
            }
        }
    };
    // As PM2 has it, who knows of no health.
    let is_up = |worker: &WorkerFigures| worker.status == Status::Online;
    each("pm2_up", "Whether the worker is online.", &|_, worker| Some(f64::from(u8::from(is_up(worker)))));
    each("pm2_cpu", "CPU in percent of one core.", &|_, worker| worker.pid.map(|_| f64::from(worker.cpu)));
    each("pm2_memory", "Resident memory in bytes.", &|_, worker| worker.pid.map(|_| worker.memory.0 as f64));
    each("pm2_uptime", "Seconds since the process was started.", &|_, worker| {
        worker.pid?;
        Some(snapshot.at_ms.saturating_sub(worker.started_at_ms?) as f64 / 1000.0)
    });
    each("pm2_restarts", "How often the worker was started again.", &|_, worker| Some(f64::from(worker.restarts)));
    each("pm2_instances", "Workers of the worker's app.", &|app, _| Some(app.workers.len() as f64));
}
