//! What the fuzz targets (`rpm-fuzz`) call of the rooms within; nothing else does.

use std::collections::BTreeMap;
use std::path::Path;

use rpm_ipc::Request;
use rpm_model::{AppId, AppSpec, Flavour, Home, Life};
use rpm_supervise::{Command, Saved};

use crate::launch::{self, Descriptors, Seat};
use crate::{requests, state};

/// Pid and start time of each process.
pub type Processes = BTreeMap<Life, (i32, u64)>;

/// Returns what the core is asked by a request.
pub fn command(request: &Request) -> Option<Command> {
    requests::command(request).ok()
}

/// Reads a state file: what is wanted, and which processes ran.
pub fn state(content: &[u8]) -> Option<(Saved, Processes)> {
    let state = state::from_bytes(content)?;
    Some((state.saved?, state.processes))
}

/// Works out what a worker would see. Files in the home stay in the home.
pub fn launch(spec: &AppSpec, life: Life) {
    let home = Home::new("/home/me/.rpm".into(), Flavour::Rpm);
    let logs = rpm_logs::paths(spec, life.worker, &home);
    let pid_path = rpm_logs::pid_path(spec, life.worker, &home);
    let seat = Seat {
        app: AppId(0),
        life,
        user: "me",
        instance: u32::MAX,
        restarts: 0,
        unstable: 0,
        created_at_ms: 0,
        now_ms: 0,
        home: &home,
        logs: &logs,
        pid_path: &pid_path,
    };
    let descriptors = Descriptors { channel: Some(3), listen: spec.listen.clone(), ..Descriptors::default() };
    launch::arguments(spec);
    launch::environment(spec, &spec.env, &seat, &descriptors);
    if spec.pid_file.is_none() {
        assert_eq!(pid_path.parent(), Some(home.pids().as_path()), "a name leads out of the home");
    }
    let named = AppSpec { logs: rpm_model::LogSpec::default(), ..spec.clone() };
    let logs = rpm_logs::paths(&named, life.worker, &home);
    let in_logs = |path: &Path| path.parent() == Some(home.logs().as_path());
    assert!([logs.out, logs.err].iter().flatten().all(|path| in_logs(path)), "a name leads out of the home");
}
