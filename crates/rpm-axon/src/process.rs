//! A worker in exactly PM2's shape: what `jlist` prints and what `getMonitorData` answers.
//!
//! `pm2_env` is three things in one object, as PM2 has it: the configuration, the whole environment, and the state. The
//! order of the keys and how often a word occurs are part of the shape: scripts count the lines that grep finds.

use rpm_ipc::{AppInfo, List, WorkerInfo};
use rpm_model::{AppId, AppSpec, Every, Exit, LogFormat, RestartPolicy, Rotation, StopPolicy, WorkerId};
use serde_json::{Map, Value, json};

/// PM2's mark of a worker that its online service watches. It has no effect but to be seen.
pub const MONITORED: &str = "_km_monitored";

/// Returns the list as a value, by id.
pub fn list_value(list: &List) -> Value {
    // PM2's clients know no balancers.
    let apps = list.apps.iter().filter(|app| !app.spec.is_balancer());
    let mut workers: Vec<_> = apps.flat_map(|app| app.workers.iter().map(move |worker| (app, worker))).collect();
    workers.sort_by_key(|(_, worker)| worker.id);
    workers.into_iter().map(|(app, worker)| process(app, worker)).collect()
}

/// Returns one worker as PM2 describes it.
pub fn process(app: &AppInfo, worker: &WorkerInfo) -> Value {
    json!({
        "pid": worker.pid.unwrap_or(0),
        "name": app.spec.name,
        "pm2_env": pm2_env(app, worker),
        "pm_id": worker.id.0,
        "monit": { "memory": worker.memory.0, "cpu": cpu(worker.cpu) },
    })
}

/// Returns PM2's object about one worker.
pub fn pm2_env(app: &AppInfo, worker: &WorkerInfo) -> Map<String, Value> {
    let spec = &app.spec;
    let environment = environment(spec, worker);
    let mut out = Map::new();
    configuration(&mut out, app, worker, &environment);
    for (name, value) in &environment {
        // What PM2 says of the app itself is never overwritten by a variable of the same name.
        out.entry(name).or_insert_with(|| value.clone());
    }
    state(&mut out, app, worker);
    for (key, value) in &spec.other {
        // Marks of single workers are kept by id.
        let value = match value {
            Value::Object(by_worker) if key == MONITORED => {
                by_worker.get(&worker.id.to_string()).unwrap_or(&Value::Null)
            }
            value => value,
        };
        if let Some((key, value)) = noted(key, value) {
            out.entry(key).or_insert_with(|| value.clone());
        }
    }
    out
}

/// Returns what PM2 notes of a setting that has no field of its own: a switch that is off by default is told when it is on,
/// and `disable_trace` as what it does.
fn noted<'v>(key: &'v str, value: &'v Value) -> Option<(&'v str, &'v Value)> {
    match (key, value) {
        ("env", _) | (_, Value::Null) => None,
        ("disable_trace", Value::Bool(true)) => Some(("trace", &Value::Bool(false))),
        ("disable_trace" | "source_map_support" | "disable_source_map_support", Value::Bool(false)) => None,
        _ => Some((key, value)),
    }
}

/// Returns what the app finds in its environment by the user's will: the shell's variables under the declared ones.
fn environment(spec: &AppSpec, worker: &WorkerInfo) -> Map<String, Value> {
    let mut environment: Map<String, Value> =
        spec.env_shell.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    environment.extend(spec.env.iter().map(|(name, value)| (name.clone(), as_written(spec, name, value))));
    environment.insert("PM2_USAGE".into(), "CLI".into());
    if let Some(name) = &spec.increment_var
        && let Some(base) = spec.env.get(name).or_else(|| spec.env_shell.get(name))
        && let Ok(base) = base.parse::<i64>()
    {
        environment.insert(name.clone(), base.saturating_add(worker.instance.into()).into());
    }
    environment
}

/// Rotation is ours, so what is as usual is not said.
fn rotation(rotation: &Rotation, put: &mut impl FnMut(&str, Value)) {
    let usual = Rotation::default();
    let ms = |duration: std::time::Duration| Value::from(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    if rotation.max_size != usual.max_size {
        put("max_log_size", rotation.max_size.map_or(0, |size| size.0).into());
    }
    if let Some(every) = rotation.every {
        put(
            "log_rotate",
            match every {
                Every::Day => "daily".into(),
                Every::Millis(period) => period.into(),
            },
        );
    }
    if rotation.retain != usual.retain {
        put("log_retain", rotation.retain.unwrap_or(0).into());
    }
    if let Some(age) = rotation.retain_age {
        put("log_retain_age", ms(age));
    }
    if rotation.compress != usual.compress {
        put("log_compress", rotation.compress.into());
    }
}

/// Returns a declared variable as the file has it: `PORT: 3000` is a number in PM2's list, and text for the app.
fn as_written(spec: &AppSpec, name: &str, value: &str) -> Value {
    let declared = spec.other.iter().filter(|(key, _)| *key == "env" || key.starts_with("env_"));
    let port = spec.other.get("port").filter(|_| name == "PORT");
    let mut written = declared.filter_map(|(_, object)| object.get(name)).chain(port);
    let is_same = |written: &&Value| {
        let text = (written.is_number() || written.is_boolean()).then(|| written.to_string());
        text.as_deref() == Some(value)
    };
    written.find(is_same).cloned().unwrap_or_else(|| value.into())
}

fn configuration(out: &mut Map<String, Value>, app: &AppInfo, worker: &WorkerInfo, environment: &Map<String, Value>) {
    let spec = &app.spec;
    let policy = RestartPolicy::default();
    let stop = StopPolicy::default();
    let other = |key: &str, default: Value| spec.other.get(key).cloned().unwrap_or(default);
    let ms = |duration: std::time::Duration| Value::from(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    let mut put = |key: &str, value: Value| {
        out.insert(key.to_owned(), value);
    };
    put("name", spec.name.as_str().into());
    put("filter_env", other("filter_env", json!([])));
    put("namespace", spec.namespace.as_str().into());
    if !spec.args.is_empty() {
        put("args", spec.args.clone().into());
    }
    if let Some(format) = &spec.logs.date_format {
        put("log_date_format", format.as_str().into());
    }
    if spec.logs.format == LogFormat::Json {
        put("log_type", "json".into());
    }
    rotation(&spec.logs.rotation, &mut put);
    if let Some(limit) = spec.max_memory_restart {
        put("max_memory_restart", limit.0.into());
    }
    if spec.restart.restart_delay != policy.restart_delay {
        put("restart_delay", ms(spec.restart.restart_delay));
    }
    if let Some(first) = spec.restart.exp_backoff {
        put("exp_backoff_restart_delay", ms(first));
    }
    if spec.wait_ready {
        put("wait_ready", true.into());
    }
    if spec.stop.kill_timeout != stop.kill_timeout {
        put("kill_timeout", ms(spec.stop.kill_timeout));
    }
    if let Some(timeout) = spec.listen_timeout {
        put("listen_timeout", ms(timeout));
    }
    if spec.stop.shutdown_with_message {
        put("shutdown_with_message", true.into());
    }
    let mut env = environment.clone();
    // PM2 keeps the app's own variables under its name; where there are settings, they are there as text already.
    env.entry(spec.name.clone()).or_insert_with(|| json!({}));
    env.insert("unique_id".into(), unique_id(app.id, worker.id).into());
    put("env", env.into());
    if let Some(cron) = &spec.cron {
        put("cron_restart", cron.as_str().into());
    }
    if spec.logs.merge {
        put("merge_logs", true.into());
    }
    put("instances", spec.instances.into());
    put("vizion", other("vizion", true.into()));
    put("autostart", spec.autostart.into());
    put("autorestart", spec.restart.autorestart.into());
    if !spec.restart.stop_exit_codes.is_empty() {
        put("stop_exit_codes", spec.restart.stop_exit_codes.clone().into());
    }
    let watch = &spec.watch;
    put(
        "watch",
        if watch.paths.is_empty() || !watch.enabled { watch.enabled.into() } else { watch.paths.clone().into() },
    );
    if let Some(ignore) = &watch.ignore {
        put("ignore_watch", ignore.clone().into());
    }
    if !watch.delay.is_zero() {
        put("watch_delay", ms(watch.delay));
    }
    if spec.restart.max_restarts != policy.max_restarts {
        put("max_restarts", spec.restart.max_restarts.into());
    }
    if spec.restart.min_uptime != policy.min_uptime {
        put("min_uptime", ms(spec.restart.min_uptime));
    }
    put("instance_var", spec.instance_var.as_str().into());
    if let Some(name) = &spec.increment_var {
        put("increment_var", name.as_str().into());
    }
    put("pmx", other("pmx", true.into()));
    put("automation", other("automation", true.into()));
    put("treekill", spec.stop.treekill.into());
    if let Some((uid, gid)) = spec.user {
        put("uid", uid.into());
        put("gid", gid.into());
    }
    put("username", worker.user.as_str().into());
    put("windowsHide", other("windowsHide", true.into()));
    put("kill_retry_time", other("kill_retry_time", 100.into()));
    if spec.other.get("node_args") != Some(&Value::Null) {
        put("node_args", spec.interpreter_args.clone().into());
    }
    put("pm_exec_path", spec.script.to_string_lossy().into());
    put("pm_cwd", spec.cwd.to_string_lossy().into());
    put("exec_interpreter", spec.interpreter.as_deref().unwrap_or("none").into());
    put("exec_mode", spec.exec_mode.name().into());
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map_or_else(|| Value::from("/dev/null"), |path| path.to_string_lossy().into())
    };
    if spec.logs.combined.is_some() {
        put("pm_log_path", path(&worker.combined_log));
    }
    put("pm_out_log_path", path(&worker.out_log));
    put("pm_err_log_path", path(&worker.err_log));
    put("pm_pid_path", worker.pid_file.to_string_lossy().into());
    put("km_link", false.into());
    put("vizion_running", false.into());
    put(&spec.instance_var, worker.instance.into());
}

fn state(out: &mut Map<String, Value>, app: &AppInfo, worker: &WorkerInfo) {
    let spec = &app.spec;
    let contact = |key: &str| worker.contact.get(key).cloned();
    let mut put = |key: &str, value: Value| {
        out.insert(key.to_owned(), value);
    };
    put("unique_id", unique_id(app.id, worker.id).into());
    put("status", worker.status.as_str().into());
    // PM2 has no word for it.
    if let Some(health) = worker.health.filter(|_| spec.health.is_some()) {
        put("health", health.as_str().into());
    }
    put("pm_uptime", worker.started_at_ms.unwrap_or(worker.created_at_ms).into());
    put("axm_actions", contact("axm_actions").unwrap_or_else(|| json!([])));
    put("axm_monitor", contact("axm_monitor").unwrap_or_else(|| json!({})));
    put("axm_options", contact("axm_options").unwrap_or_else(|| module(spec)));
    put("axm_dynamic", json!({}));
    put("created_at", worker.created_at_ms.into());
    put("pm_id", worker.id.0.into());
    put("restart_time", worker.restarts.into());
    put("unstable_restarts", worker.unstable.into());
    put("version", spec.version.as_deref().unwrap_or("N/A").into());
    if let Some(version) = contact("node_version") {
        put("node_version", version);
    }
    if let Some(backoff_ms) = worker.backoff_ms {
        put("prev_restart_delay", backoff_ms.into());
    }
    match worker.last_exit {
        None => {}
        Some(Exit::Code(code)) => put("exit_code", code.into()),
        // PM2 says 0 here, which reads as success; the shell's number does not.
        Some(Exit::Signal { signal, .. }) => put("exit_code", (128 + signal).into()),
        Some(Exit::Unknown) => put("exit_code", Value::Null),
    }
}

/// What PM2's metrics library says of a Node app at its start; scripts count the name in it.
fn module(spec: &AppSpec) -> Value {
    let interpreter = spec.interpreter.as_deref().and_then(|program| program.rsplit('/').next());
    // PM2's static file server is a program of Node.
    let is_served = interpreter.is_none() && spec.args.first().is_some_and(|first| first == "static-server");
    let is_node = is_served || interpreter.is_some_and(|program| program == "node" || program == "bun");
    if !is_node || spec.other.get("pmx") == Some(&Value::Bool(false)) {
        return json!({});
    }
    json!({ "module_name": spec.name, "module_version": env!("CARGO_PKG_VERSION") })
}

/// Returns PM2's identity of a worker: the same as long as the worker is in the list.
pub fn unique_id(app: AppId, worker: WorkerId) -> String {
    format!("{:08x}-0000-4000-8000-{:012x}", app.0, worker.0)
}

/// Returns a share with one decimal, whole where it is whole.
fn cpu(percent: f32) -> Value {
    let tenths = (f64::from(percent) * 10.0).round();
    if tenths % 10.0 == 0.0 { ((tenths / 10.0) as i64).into() } else { (tenths / 10.0).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_one_decimal() {
        assert_eq!(cpu(0.0), json!(0));
        assert_eq!(cpu(12.54), json!(12.5));
        assert_eq!(cpu(99.99), json!(100));
    }
}
