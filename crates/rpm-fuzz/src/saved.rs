//! Files in the home: the state that the next daemon goes on with, and the list of `save`.

use std::sync::Arc;

use rpm_model::Moment;
use rpm_supervise::{Command, Fact, Resurrected};

use crate::core::Core;

/// Goes on with a state, once with all its processes alive and once with none.
pub fn state(bytes: &[u8]) {
    let Some((saved, processes)) = rpm_daemon::fuzz::state(bytes) else { return };
    let known = |life: &rpm_model::Life| life.generation.0 < u64::from(u32::MAX) && life.worker.0 < u32::MAX;
    // Lives come from the keeper, which has them from us.
    let alive = processes.into_iter().filter(|(life, _)| known(life)).map(|(life, (pid, started))| Fact {
        life,
        pid,
        started_at: Moment(started),
        exit: None,
        leftovers: false,
        note: None,
    });
    let alive: Vec<Fact> = alive.collect();
    for facts in [&*alive, &[]] {
        let mut core = Core::restore(Moment(1_000_000), saved.clone(), facts);
        core.command(Command::Shutdown);
    }
}

/// Starts what a list says.
pub fn dump(bytes: &[u8]) {
    rpm_daemon::dump::of_pm2(bytes);
    let Ok(apps) = rpm_daemon::dump::from_bytes(bytes) else { return };
    let apps = apps.into_iter().map(|app| Resurrected {
        spec: Arc::new(app.spec),
        is_stopped: app.stopped,
        is_scaled_by_hand: app.autoscale_off,
    });
    Core::new().command(Command::Resurrect { apps: apps.collect() });
}
