//! An app as PM2's client resolves it before it asks its daemon to `prepare` it.
//!
//! The client has read files, found the interpreter and made paths absolute; the names here are what it sends (measured
//! with 7.0), which are partly not those of an ecosystem file: `pm_exec_path`, `pm_cwd`, `fork_mode`.

use std::path::PathBuf;
use std::time::Duration;

use rpm_model::{AppSpec, Bytes, Environment, ExecMode, LogFormat, LogTarget};
use serde_json::{Map, Value};

/// Keys that are read here. The others are kept as written, for `jlist`.
const KNOWN: [&str; 45] = [
    "script",
    "name",
    "namespace",
    "pm_exec_path",
    "pm_cwd",
    "args",
    "env",
    "exec_interpreter",
    "node_args",
    "interpreter_args",
    "exec_mode",
    "instances",
    "instance_var",
    "increment_var",
    "autostart",
    "autorestart",
    "stop_exit_codes",
    "min_uptime",
    "max_restarts",
    "restart_delay",
    "exp_backoff_restart_delay",
    "kill_timeout",
    "treekill",
    "shutdown_with_message",
    "wait_ready",
    "listen_timeout",
    "max_memory_restart",
    "merge_logs",
    "log_date_format",
    "log_type",
    "pm_out_log_path",
    "pm_err_log_path",
    "pm_log_path",
    "pm_pid_path",
    "uid",
    "gid",
    "username",
    "km_link",
    "vizion_running",
    "watch",
    "ignore_watch",
    "watch_delay",
    "cron_restart",
    "updateEnv",
    "parallel",
];

/// Returns the spec of a new app.
///
/// The client sends the whole environment of its shell and the app's own variables in one; what `surroundings` have
/// with the same value counts as the shell's, the rest as the app's.
///
/// # Errors
/// When something is missing or of the wrong kind: a sentence.
pub fn spec(app: &Map<String, Value>, surroundings: &Environment) -> Result<AppSpec, String> {
    let text = |key: &str| app.get(key).and_then(Value::as_str).ok_or(format!("{key} is missing or no text"));
    let (name, script, cwd) = (text("name")?, text("pm_exec_path")?, text("pm_cwd")?);
    change(&AppSpec::new(name, script, cwd), app, surroundings)
}

/// Returns what a spec becomes when some keys are given anew.
///
/// # Errors
/// When something is of the wrong kind: a sentence.
pub fn change(current: &AppSpec, app: &Map<String, Value>, surroundings: &Environment) -> Result<AppSpec, String> {
    let mut spec = current.clone();
    let given = Given { app };
    given.text("name", &mut spec.name)?;
    given.text("namespace", &mut spec.namespace)?;
    given.put("pm_exec_path", path, &mut spec.script)?;
    given.put("pm_cwd", path, &mut spec.cwd)?;
    given.put("args", words, &mut spec.args)?;
    given.put("exec_interpreter", interpreter, &mut spec.interpreter)?;
    given.put("interpreter_args", words, &mut spec.interpreter_args)?;
    given.put("node_args", words, &mut spec.interpreter_args)?;
    given.put("exec_mode", exec_mode, &mut spec.exec_mode)?;
    given.put("instances", instances, &mut spec.instances)?;
    spec.instances_given |= app.contains_key("instances") && (spec.instances > 1 || spec.exec_mode != ExecMode::Fork);
    given.text("instance_var", &mut spec.instance_var)?;
    given.put("increment_var", |value| value.as_str().map(|name| Some(name.into())), &mut spec.increment_var)?;
    given.put("autostart", Value::as_bool, &mut spec.autostart)?;
    given.put("autorestart", Value::as_bool, &mut spec.restart.autorestart)?;
    given.put("stop_exit_codes", codes, &mut spec.restart.stop_exit_codes)?;
    given.put("min_uptime", millis, &mut spec.restart.min_uptime)?;
    given.put("max_restarts", number, &mut spec.restart.max_restarts)?;
    given.put("restart_delay", millis, &mut spec.restart.restart_delay)?;
    given.put("exp_backoff_restart_delay", |value| millis(value).map(Some), &mut spec.restart.exp_backoff)?;
    given.put("kill_timeout", millis, &mut spec.stop.kill_timeout)?;
    given.put("treekill", Value::as_bool, &mut spec.stop.treekill)?;
    given.put("shutdown_with_message", Value::as_bool, &mut spec.stop.shutdown_with_message)?;
    given.put("wait_ready", Value::as_bool, &mut spec.wait_ready)?;
    given.put("listen_timeout", |value| millis(value).map(Some), &mut spec.listen_timeout)?;
    given.put("max_memory_restart", |value| bytes(value).map(Some), &mut spec.max_memory_restart)?;
    given.put("merge_logs", Value::as_bool, &mut spec.logs.merge)?;
    given.put("log_date_format", |value| value.as_str().map(|text| Some(text.into())), &mut spec.logs.date_format)?;
    given.put("log_type", log_type, &mut spec.logs.format)?;
    given.put("pm_out_log_path", log, &mut spec.logs.out)?;
    given.put("pm_err_log_path", log, &mut spec.logs.err)?;
    given.put("pm_log_path", |value| log(value).map(Some), &mut spec.logs.combined)?;
    given.put("pm_pid_path", |value| path(value).map(Some), &mut spec.pid_file)?;
    if app.get("disable_logs") == Some(&Value::Bool(true)) {
        (spec.logs.out, spec.logs.err, spec.logs.combined) = (LogTarget::Null, LogTarget::Null, None);
    }
    user(app, &mut spec)?;
    watch(&given, &mut spec)?;
    given.put("cron_restart", cron, &mut spec.cron)?;
    if let Some(env) = app.get("env") {
        let env = env.as_object().ok_or("env is no object")?;
        environment(env, surroundings, &mut spec);
    }
    for (key, value) in app {
        let is_variable = spec.env.contains_key(key) || spec.env_shell.contains_key(key);
        if !KNOWN.contains(&key.as_str()) && *key != spec.name && !is_variable {
            spec.other.insert(key.clone(), value.clone());
        }
    }
    Ok(spec)
}

/// The keys that were given.
struct Given<'a> {
    app: &'a Map<String, Value>,
}

impl Given<'_> {
    /// Puts a key's value in its place, if it is given.
    fn put<T>(&self, key: &str, read: impl Fn(&Value) -> Option<T>, place: &mut T) -> Result<(), String> {
        match self.app.get(key) {
            None | Some(Value::Null) => Ok(()),
            Some(value) => {
                *place = read(value).ok_or_else(|| format!("{key} cannot be {value}"))?;
                Ok(())
            }
        }
    }

    fn text(&self, key: &str, place: &mut String) -> Result<(), String> {
        self.put(key, |value| value.as_str().map(str::to_owned), place)
    }
}

fn path(value: &Value) -> Option<PathBuf> {
    value.as_str().map(PathBuf::from)
}

fn words(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(text.split_whitespace().map(str::to_owned).collect()),
        Value::Array(words) => words.iter().map(scalar).collect(),
        _ => None,
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn interpreter(value: &Value) -> Option<Option<String>> {
    value.as_str().map(|name| (name != "none").then(|| name.to_owned()))
}

fn exec_mode(value: &Value) -> Option<ExecMode> {
    match value.as_str()? {
        "fork" | "fork_mode" => Some(ExecMode::Fork),
        "cluster" | "cluster_mode" => Some(ExecMode::Cluster),
        _ => None,
    }
}

/// `max` and 0 are the number of CPUs, -1 is one less.
fn instances(value: &Value) -> Option<u32> {
    let cpus = std::thread::available_parallelism().map_or(1, |count| count.get() as i64);
    let wanted = match value {
        Value::String(text) if text == "max" => 0,
        Value::String(text) => text.parse().ok()?,
        _ => value.as_i64()?,
    };
    let wanted = if wanted <= 0 { (cpus + wanted).max(1) } else { wanted };
    u32::try_from(wanted).ok()
}

fn number(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

fn codes(value: &Value) -> Option<Vec<i32>> {
    let code = |value: &Value| value.as_i64().and_then(|code| i32::try_from(code).ok());
    match value {
        Value::Array(codes) => codes.iter().map(code).collect(),
        _ => code(value).map(|code| vec![code]),
    }
}

fn millis(value: &Value) -> Option<Duration> {
    value.as_u64().map(Duration::from_millis)
}

fn bytes(value: &Value) -> Option<Bytes> {
    match value {
        Value::String(text) => Bytes::parse(text).ok(),
        _ => value.as_u64().map(Bytes),
    }
}

fn log_type(value: &Value) -> Option<LogFormat> {
    Some(if value.as_str()? == "json" { LogFormat::Json } else { LogFormat::Raw })
}

fn log(value: &Value) -> Option<LogTarget> {
    match value.as_str()? {
        "/dev/null" | "NULL" => Some(LogTarget::Null),
        path => Some(LogTarget::File(path.into())),
    }
}

/// The client sends numbers where the app has a user.
fn user(app: &Map<String, Value>, spec: &mut AppSpec) -> Result<(), String> {
    let number = |key: &str| match app.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let id = value.as_u64().or_else(|| value.as_str()?.parse().ok()).and_then(|id| u32::try_from(id).ok());
            id.map(Some).ok_or_else(|| format!("{key} cannot be {value}: a number is expected"))
        }
    };
    if let Some(uid) = number("uid")? {
        spec.user = Some((uid, number("gid")?.unwrap_or(uid)));
    }
    Ok(())
}

fn watch(given: &Given<'_>, spec: &mut AppSpec) -> Result<(), String> {
    match given.app.get("watch") {
        None | Some(Value::Null) => {}
        Some(Value::Bool(enabled)) => spec.watch.enabled = *enabled,
        Some(paths) => {
            spec.watch.paths = names(paths).ok_or_else(|| format!("watch cannot be {paths}"))?;
            spec.watch.enabled = true;
        }
    }
    given.put("ignore_watch", |value| names(value).map(Some), &mut spec.watch.ignore)?;
    given.put("watch_delay", millis, &mut spec.watch.delay)
}

/// One name, or several.
fn names(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(name) => Some(vec![name.clone()]),
        Value::Array(names) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// `0` and the like turn it off.
fn cron(value: &Value) -> Option<Option<String>> {
    match value {
        Value::String(pattern) if pattern == "0" || pattern.is_empty() => Some(None),
        Value::String(pattern) => Some(Some(pattern.clone())),
        Value::Number(_) | Value::Bool(false) => Some(None),
        _ => None,
    }
}

fn environment(env: &Map<String, Value>, surroundings: &Environment, spec: &mut AppSpec) {
    for (name, value) in env {
        // PM2 keeps the app's own variables under its name: an object, or its text.
        let is_own = *name == spec.name && (value.is_object() || value == "{}");
        if is_own || !rpm_model::is_inheritable(name) {
            continue;
        }
        let value = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if surroundings.get(name) == Some(&value) {
            spec.env.remove(name);
            spec.env_shell.insert(name.clone(), value);
        } else {
            spec.env_shell.remove(name);
            spec.env.insert(name.clone(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What the npm client of PM2 7.0 sent for `start({name, script, env, args, exec_mode})`.
    fn sent() -> Map<String, Value> {
        let Value::Object(app) = json!({
            "name": "c", "args": ["x", "y"], "env": {"A": "1", "PATH": "/bin", "NODE_CHANNEL_FD": "3", "c": "{}", "N": 5},
            "instances": 2, "vizion": true, "autostart": true, "autorestart": true, "exec_mode": "cluster_mode",
            "instance_var": "NODE_APP_INSTANCE", "pmx": true, "automation": true, "treekill": true,
            "username": "root", "windowsHide": true, "kill_retry_time": 100, "namespace": "default", "node_args": [],
            "pm_exec_path": "/srv/app.js", "pm_cwd": "/srv", "exec_interpreter": "node",
            "pm_out_log_path": "/h/logs/c-out.log", "pm_err_log_path": "/dev/null", "pm_pid_path": "/h/pids/c.pid",
            "km_link": false, "max_memory_restart": "100M", "kill_timeout": 500, "uid": 33
        }) else {
            unreachable!("it is an object")
        };
        app
    }

    fn surroundings() -> Environment {
        [("PATH".to_owned(), "/bin".to_owned())].into()
    }

    #[test]
    fn an_app_of_pm2_becomes_a_spec() {
        let spec = spec(&sent(), &surroundings()).unwrap();
        assert_eq!((spec.name.as_str(), spec.instances, spec.exec_mode), ("c", 2, ExecMode::Cluster));
        assert_eq!((spec.interpreter.as_deref(), spec.args.as_slice()), (Some("node"), &["x".into(), "y".into()][..]));
        assert_eq!(spec.env, [("A".to_owned(), "1".to_owned()), ("N".to_owned(), "5".to_owned())].into());
        assert_eq!(spec.env_shell, surroundings());
        assert_eq!(spec.logs.out, LogTarget::File("/h/logs/c-out.log".into()));
        assert_eq!(spec.logs.err, LogTarget::Null);
        assert_eq!(spec.max_memory_restart, Some(Bytes(100 << 20)));
        assert_eq!(spec.stop.kill_timeout, Duration::from_millis(500));
        assert_eq!(spec.user, Some((33, 33)));
        let other: Vec<&str> = spec.other.keys().map(String::as_str).collect();
        assert_eq!(other, ["vizion", "pmx", "automation", "windowsHide", "kill_retry_time"]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let mut app = sent();
        app.remove("pm_cwd");
        assert_eq!(spec(&app, &surroundings()).unwrap_err(), "pm_cwd is missing or no text");
        let mut app = sent();
        app.insert("kill_timeout".into(), "soon".into());
        assert_eq!(spec(&app, &surroundings()).unwrap_err(), "kill_timeout cannot be \"soon\"");
    }

    #[test]
    fn a_restart_without_news_changes_nothing() {
        let current = spec(&sent(), &surroundings()).unwrap();
        let Value::Object(same) = json!({"km_link": false, "updateEnv": true, "env": {"c": {}, "A": "1"}}) else {
            unreachable!("it is an object")
        };
        assert_eq!(change(&current, &same, &surroundings()).unwrap(), current);
        let Value::Object(news) = json!({"env": {"A": "2"}}) else { unreachable!("it is an object") };
        assert_eq!(change(&current, &news, &surroundings()).unwrap().env["A"], "2");
    }
}
