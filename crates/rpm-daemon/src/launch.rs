//! What a worker sees when it starts: its arguments and its environment.
//!
//! Pure. The variables are PM2's (an app finds `pm_id`, `NODE_APP_INSTANCE`, `name` … as it does there), with the
//! precedence: shell < declared by the app < secrets < ours.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rpm_logs::LogPaths;
use rpm_model::{AppId, AppSpec, Environment, ExecMode, Flavour, Home, Life, Runtime, StackDump};
use rpm_sys::proc;

use crate::releases;

/// The name of the variable by which a descendant that left its process tree is still known as ours.
pub(crate) const MARK: &str = "RPM_LIFE";

/// Returns the mark of a life that its descendants keep when they lose that one (see [`rpm_sys::limit`]).
///
/// A number that no limit is, and below infinity: bit 62, and a hash of home and life in the bits under it.
pub(crate) fn mark(home: &Home, life: Life) -> u64 {
    const BIT: u64 = 1 << 62;
    BIT | (hash(format!("{}/{life}", home.root().display()).as_bytes()) & (BIT - 1))
}

/// FNV-1a: the same in every version of this program.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What is known of a seat when a process is started for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seat<'a> {
    pub(crate) app: AppId,
    pub(crate) life: Life,
    pub(crate) user: &'a str,
    pub(crate) instance: u32,
    pub(crate) restarts: u32,
    pub(crate) unstable: u32,
    pub(crate) created_at_ms: u64,
    pub(crate) now_ms: u64,
    pub(crate) home: &'a Home,
    pub(crate) logs: &'a LogPaths,
    pub(crate) pid_path: &'a Path,
}

/// Which descriptors the process gets beyond its output.
#[derive(Debug, Clone, Default)]
pub(crate) struct Descriptors {
    /// The number of the IPC channel's descriptor.
    pub(crate) channel: Option<i32>,
    /// Names of the passed listening sockets, which start at descriptor 3.
    pub(crate) listen: Vec<String>,
    /// Where `READY=1` may be sent.
    pub(crate) notify: Option<String>,
    /// Within which time it is to give a sign of life.
    pub(crate) watchdog: Option<Duration>,
    /// What it is to listen on, in proxy mode: a port, or a path.
    pub(crate) port: Option<String>,
}

/// Returns the program that daemon and keeper are, for the keeper to execute.
///
/// By its path, where that is there: a helper shows in `ps` by it.
pub(crate) fn own_program() -> PathBuf {
    let path = std::env::current_exe().ok().filter(|path| path.exists());
    path.unwrap_or_else(|| proc::OWN_PROGRAM.into())
}

/// Returns the program and its arguments, without argv[0].
pub(crate) fn arguments(spec: &AppSpec) -> (String, Vec<String>) {
    // A balancer is run by the program that this daemon is, which may be newer than the one that asked for it.
    let script = if spec.is_balancer() { own_program() } else { releases::script(spec) };
    let script = script.to_string_lossy().into_owned();
    match &spec.interpreter {
        None => (script, spec.args.clone()),
        Some(interpreter) => {
            let mut args = Vec::new();
            if wants_source_maps(spec) {
                args.push("--enable-source-maps".into());
            }
            if spec.stack_dump == Some(StackDump::Of(Runtime::Inspector)) {
                // The usual port is one, and workers are several.
                args.push("--inspect-port=0".into());
            }
            args.extend(spec.interpreter_args.iter().cloned());
            args.push(script);
            args.extend(spec.args.iter().cloned());
            (interpreter.clone(), args)
        }
    }
}

/// Returns whether Node is to name the sources of compiled code in its stack traces: as in PM2, unless that was turned off.
fn wants_source_maps(spec: &AppSpec) -> bool {
    let says = |key: &str, what: bool| spec.other.get(key).and_then(serde_json::Value::as_bool) == Some(what);
    spec.is_run_by_node() && !says("disable_source_map_support", true) && !says("source_map_support", false)
}

/// Returns the environment as `KEY=VALUE`.
pub(crate) fn environment(
    spec: &AppSpec,
    secrets: &Environment,
    seat: &Seat<'_>,
    descriptors: &Descriptors,
) -> Vec<String> {
    let mut env: std::collections::BTreeMap<&str, String> = spec
        .env_shell
        .iter()
        .chain(&spec.env)
        .chain(secrets)
        .map(|(key, value)| (key.as_str(), value.clone()))
        .collect();
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut set = |key, value: String| env.insert(key, value);

    set("name", spec.name.clone());
    set("namespace", spec.namespace.clone());
    set("pm_id", seat.life.worker.to_string());
    set("unique_id", rpm_axon::process::unique_id(seat.app, seat.life.worker));
    set("username", seat.user.to_owned());
    set("status", "launching".into());
    set("exec_mode", spec.exec_mode.name().into());
    set("exec_interpreter", spec.interpreter.clone().unwrap_or_else(|| "none".into()));
    set("pm_exec_path", path(&spec.script));
    set("pm_cwd", path(&spec.cwd));
    for (key, value) in
        [("pm_out_log_path", &seat.logs.out), ("pm_err_log_path", &seat.logs.err), ("pm_log_path", &seat.logs.combined)]
    {
        if let Some(value) = value {
            set(key, path(value));
        }
    }
    set("pm_pid_path", path(seat.pid_path));
    set("pm_uptime", seat.now_ms.to_string());
    set("created_at", seat.created_at_ms.to_string());
    set("restart_time", seat.restarts.to_string());
    set("unstable_restarts", seat.unstable.to_string());
    set("instance_var", spec.instance_var.clone());
    set("autorestart", spec.restart.autorestart.to_string());
    set("autostart", spec.autostart.to_string());
    set("treekill", spec.stop.treekill.to_string());
    set("merge_logs", spec.logs.merge.to_string());
    set(&spec.instance_var, seat.instance.to_string());
    set("instances", spec.instances.to_string());
    match seat.home.flavour() {
        Flavour::Pm2 => set("PM2_HOME", path(seat.home.root())),
        Flavour::Rpm => set("RPM_HOME", path(seat.home.root())),
    };
    set("PM2_USAGE", "CLI".into());
    set(MARK, seat.life.to_string());
    if spec.interpreter.as_deref().is_some_and(|name| name.contains("python")) {
        set("PYTHONUNBUFFERED", "1".into());
    }
    if let Some(number) = descriptors.channel {
        set("NODE_CHANNEL_FD", number.to_string());
        set("NODE_CHANNEL_SERIALIZATION_MODE", "json".into());
        if spec.exec_mode == ExecMode::Cluster {
            // Node takes 0 for "not a worker", so ids start at 1.
            set("NODE_UNIQUE_ID", (u64::from(seat.life.worker.0) + 1).to_string());
        }
    }
    if !descriptors.listen.is_empty() {
        set("LISTEN_FDS", descriptors.listen.len().to_string());
        set("LISTEN_FDNAMES", descriptors.listen.join(":"));
    }
    if let Some(address) = &descriptors.notify {
        set("NOTIFY_SOCKET", address.clone());
    }
    if let Some(time) = descriptors.watchdog {
        set("WATCHDOG_USEC", time.as_micros().to_string());
    }
    if let Some(key) = &spec.increment_var
        && let Some(first) = spec.env.get(key).and_then(|value| value.parse::<i64>().ok())
    {
        set(key, first.saturating_add(i64::from(seat.instance)).to_string());
    }
    if let Some(port) = &descriptors.port {
        env.insert("PORT", port.clone());
    }
    env.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rpm_model::WorkerId;

    use super::*;

    fn seen(spec: &AppSpec, instance: u32, descriptors: &Descriptors) -> Vec<String> {
        let home = Home::new(PathBuf::from("/h"), Flavour::Rpm);
        let logs = LogPaths { out: Some("/h/logs/a-out.log".into()), err: None, combined: None };
        let seat = Seat {
            app: AppId(1),
            life: Life::new(WorkerId(4), 2),
            user: "me",
            instance,
            restarts: 1,
            unstable: 0,
            created_at_ms: 10,
            now_ms: 20,
            home: &home,
            logs: &logs,
            pid_path: Path::new("/h/pids/a-4.pid"),
        };
        let secrets = [("KEY".to_owned(), "secret".to_owned())].into();
        environment(spec, &secrets, &seat, descriptors)
    }

    #[test]
    fn declared_variables_win_over_the_shell_and_lose_to_ours() {
        let mut spec = AppSpec::new("a", "/a.js", "/");
        spec.env_shell = [("A".into(), "shell".into()), ("B".into(), "shell".into())].into();
        spec.env = [("B".into(), "app".into()), ("KEY".into(), "app".into()), ("pm_id".into(), "99".into())].into();
        let env = seen(&spec, 0, &Descriptors::default());
        for wanted in
            ["A=shell", "B=app", "KEY=secret", "pm_id=4", "RPM_LIFE=4.2", "NODE_APP_INSTANCE=0", "restart_time=1"]
        {
            assert!(env.iter().any(|line| line == wanted), "{wanted} is missing in {env:?}");
        }
        assert!(!env.iter().any(|line| line.starts_with("NODE_CHANNEL_FD") || line.starts_with("pm_err_log_path")));
    }

    #[test]
    fn a_cluster_worker_gets_its_channel_and_an_id_that_is_not_zero() {
        let mut spec = AppSpec::new("a", "/a.js", "/");
        spec.exec_mode = ExecMode::Cluster;
        let env = seen(&spec, 0, &Descriptors { channel: Some(3), ..Descriptors::default() });
        assert!(env.contains(&"NODE_CHANNEL_FD=3".to_owned()) && env.contains(&"NODE_UNIQUE_ID=5".to_owned()));
    }

    #[test]
    fn the_increment_variable_grows_by_the_instance() {
        let mut spec = AppSpec::new("a", "/a.js", "/");
        spec.env.insert("PORT".into(), "3000".into());
        spec.increment_var = Some("PORT".into());
        assert!(seen(&spec, 2, &Descriptors::default()).contains(&"PORT=3002".to_owned()));
    }

    #[test]
    fn the_interpreter_takes_the_script_after_its_own_arguments() {
        let mut spec = AppSpec::new("a", "/a.js", "/");
        spec.interpreter_args = vec!["--harmony".into()];
        spec.args = vec!["x".into()];
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let plain = words(&["--harmony", "/a.js", "x"]);
        spec.interpreter = Some("bun".into());
        assert_eq!(arguments(&spec), ("bun".into(), plain.clone()));
        spec.interpreter = Some("/usr/bin/node".into());
        let mapped = words(&["--enable-source-maps", "--harmony", "/a.js", "x"]);
        assert_eq!(arguments(&spec), ("/usr/bin/node".into(), mapped));
        spec.other.insert("disable_source_map_support".into(), true.into());
        assert_eq!(arguments(&spec).1, plain);
    }
}
