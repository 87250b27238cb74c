//! PM2's list, as `pm2 save` writes it and its daemon tells it, turned into specs.
//!
//! PM2 lists processes; apps are what we want. What has the same name, namespace and script is one app with as many
//! workers. What PM2 notes about a process (its pid, how often it was restarted) is left out.

use std::path::{Path, PathBuf};

use rpm_model::{AppSpec, Environment, ExecMode, Home, LogTarget};
use serde_json::{Map, Value};

/// What PM2 says of a process, not of its configuration.
const STATE: [&str; 27] = [
    "unique_id",
    "status",
    "pm_uptime",
    "axm_actions",
    "axm_monitor",
    "axm_options",
    "axm_dynamic",
    "created_at",
    "pm_id",
    "restart_time",
    "unstable_restarts",
    "version",
    "node_version",
    "exit_code",
    "prev_restart_delay",
    "versioning",
    "_pm2_version",
    "started_inside",
    "command",
    "pid",
    "pm_pid",
    "cwd",
    "NODE_APP_INSTANCE",
    "PM2_HOME",
    "PM2_USAGE",
    "PM2_JSON_PROCESSING",
    "PM2_INTERACTOR_PROCESSING",
];

/// Variables that say where the shell was, not what the app wants.
const OF_THE_SHELL: [&str; 9] = [
    "_",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "PM2_HOME",
    "PM2_USAGE",
    "PM2_JSON_PROCESSING",
    "PM2_INTERACTOR_PROCESSING",
    "unique_id",
];

/// One app of PM2.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What is asked for it.
    pub spec: AppSpec,
    /// Whether none of its processes ran.
    pub stopped: bool,
}

/// Reads `dump.pm2`, or its backup where it cannot be read.
///
/// # Errors
/// When there is none that can be read: a sentence.
pub fn read(home: &Home) -> Result<Vec<Value>, String> {
    let parse = |path: PathBuf| {
        let text = std::fs::read(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        match serde_json::from_slice(&text) {
            Ok(Value::Array(processes)) => Ok(processes),
            Ok(_) | Err(_) => Err(format!("{} is no list of PM2", path.display())),
        }
    };
    parse(home.dump()).or_else(|first| parse(home.dump_backup()).map_err(|_| first))
}

/// Turns processes into apps. Modules are left out: PM2 installs them apart.
///
/// # Errors
/// When one cannot be understood: a sentence that names it.
pub fn apps(processes: &[Value], home: &Path, shell: &Environment) -> Result<Vec<Found>, String> {
    let mut processes: Vec<&Map<String, Value>> = processes
        .iter()
        .map(|process| {
            process.as_object().ok_or_else(|| "PM2's list has something in it that is no process".to_owned())
        })
        .collect::<Result<_, _>>()?;
    processes.retain(|process| process.get("pmx_module") != Some(&Value::Bool(true)));
    processes.sort_by_key(|process| process.get("pm_id").and_then(Value::as_u64));
    let mut found: Vec<Found> = Vec::new();
    for process in processes {
        let name = process.get("name").map_or_else(|| "?".to_owned(), crate::settings::text);
        let spec = spec(process, home, shell).map_err(|why| format!("{name} of PM2 cannot be taken over: {why}"))?;
        let stopped = matches!(process.get("status").and_then(Value::as_str), Some("stopped" | "stopping" | "errored"));
        match found.iter_mut().find(|app| is_same(&app.spec, &spec)) {
            Some(app) => {
                app.spec.instances += 1;
                app.spec.instances_given = true;
                app.stopped &= stopped;
            }
            None => found.push(Found { spec, stopped }),
        }
    }
    Ok(found)
}

fn is_same(one: &AppSpec, other: &AppSpec) -> bool {
    one.name == other.name && one.namespace == other.namespace && one.script == other.script
}

fn spec(process: &Map<String, Value>, home: &Path, shell: &Environment) -> Result<AppSpec, String> {
    let id = process.get("pm_id").and_then(Value::as_u64);
    let mut process = process.clone();
    // A name may be a number in PM2's list.
    if let Some(name) = process.get_mut("name") {
        *name = crate::settings::text(name).into();
    }
    let version = process.get("version").and_then(Value::as_str).filter(|version| *version != "N/A").map(str::to_owned);
    let instance_var = process.get("instance_var").and_then(Value::as_str).map(str::to_owned);
    process.retain(|key, _| !STATE.contains(&key.as_str()) && Some(key) != instance_var.as_ref());
    if let Some(Value::Object(env)) = process.get_mut("env") {
        env.retain(|name, _| !OF_THE_SHELL.contains(&name.as_str()));
    }
    for name in OF_THE_SHELL {
        process.remove(name);
    }
    let mut spec = rpm_axon::app::spec(&process, shell)?;
    spec.env_shell = shell.clone();
    spec.version = version;
    spec.instances = 1;
    spec.instances_given = spec.exec_mode == ExecMode::Cluster;
    let name = spec.name.clone();
    spec.logs.out = log(spec.logs.out, home, &name, "out", id);
    spec.logs.err = log(spec.logs.err, home, &name, "error", id);
    spec.logs.combined = spec.logs.combined.map(|target| match target {
        LogTarget::File(path) => LogTarget::File(without_id(&path, id)),
        other => other,
    });
    let pids = home.join("pids");
    spec.pid_file = spec.pid_file.filter(|path| !path.starts_with(&pids)).map(|path| without_id(&path, id));
    Ok(spec)
}

/// Returns the file as it was asked for: PM2 writes each process' own number into it.
fn log(target: LogTarget, home: &Path, name: &str, stream: &str, id: Option<u64>) -> LogTarget {
    let LogTarget::File(path) = target else { return target };
    let path = without_id(&path, id);
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    if path == home.join("logs").join(format!("{plain}-{stream}.log")) {
        return LogTarget::Default;
    }
    LogTarget::File(path)
}

fn without_id(path: &Path, id: Option<u64>) -> PathBuf {
    let (Some(id), Some(stem)) = (id, path.file_stem().and_then(|stem| stem.to_str())) else { return path.to_owned() };
    let Some(stem) = stem.strip_suffix(&format!("-{id}")) else { return path.to_owned() };
    match path.extension().and_then(|extension| extension.to_str()) {
        Some(extension) => path.with_file_name(format!("{stem}.{extension}")),
        None => path.with_file_name(stem),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn process(id: u64, name: &str) -> Value {
        json!({
            "pm_id": id, "name": name, "namespace": "default", "pm_exec_path": "/srv/a.js", "pm_cwd": "/srv",
            "exec_mode": "cluster_mode", "exec_interpreter": "node", "instances": 2, "node_args": [], "status": "online",
            "pm_out_log_path": format!("/h/.pm2/logs/{name}-out-{id}.log"), "pm_err_log_path": format!("/var/log/a-{id}.log"),
            "pm_pid_path": format!("/h/.pm2/pids/{name}-{id}.pid"), "restart_time": 5, "axm_monitor": {}, "version": "1.2.3",
            "env": {"PATH": "/bin", "SECRET": "s", "SHLVL": "2", "PM2_HOME": "/h/.pm2", name: {}}, "PATH": "/bin",
            "SECRET": "s", "PM2_HOME": "/h/.pm2", "vizion": false, "NODE_APP_INSTANCE": id, "watch": ["src"],
            "cron_restart": "0 3 * * *"
        })
    }

    fn shell() -> Environment {
        [("PATH".to_owned(), "/bin".to_owned()), ("HOME".to_owned(), "/h".to_owned())].into()
    }

    #[test]
    fn processes_of_one_app_become_one_app() {
        let mut stopped = process(7, "job");
        stopped["status"] = "stopped".into();
        let mut module = process(9, "pm2-logrotate");
        module["pmx_module"] = true.into();
        let list = [process(1, "api"), stopped, process(0, "api"), module];
        let found = apps(&list, Path::new("/h/.pm2"), &shell()).unwrap();
        assert_eq!(found.len(), 2);
        let api = &found[0].spec;
        assert_eq!((api.name.as_str(), api.instances, api.exec_mode), ("api", 2, ExecMode::Cluster));
        assert_eq!(api.logs.out, LogTarget::Default);
        assert_eq!(api.logs.err, LogTarget::File("/var/log/a.log".into()));
        assert_eq!(api.pid_file, None);
        assert_eq!(api.env, Environment::from([("SECRET".to_owned(), "s".to_owned())]), "what differs from the shell");
        assert_eq!(api.env_shell, shell());
        assert_eq!(api.version.as_deref(), Some("1.2.3"));
        assert_eq!((api.watch.enabled, api.cron.as_deref()), (true, Some("0 3 * * *")));
        assert_eq!(api.other.keys().collect::<Vec<_>>(), ["vizion"], "nothing of the state is left");
        assert!(!found[0].stopped && found[1].stopped);
    }

    #[test]
    fn a_process_that_cannot_be_read_is_named() {
        let mut odd = process(0, "odd");
        odd["exec_mode"] = "magic".into();
        let text = apps(&[odd], Path::new("/h/.pm2"), &shell()).unwrap_err();
        assert!(text.contains("odd of PM2") && text.contains("exec_mode"), "{text}");
    }

    #[test]
    fn a_broken_list_has_a_backup() {
        let home = tempfile::tempdir().unwrap();
        assert!(read(&Home::new(home.path().to_owned(), rpm_model::Flavour::Pm2)).is_err());
        std::fs::write(home.path().join("dump.pm2"), "[{").unwrap();
        assert!(
            read(&Home::new(home.path().to_owned(), rpm_model::Flavour::Pm2))
                .unwrap_err()
                .contains("is no list of PM2")
        );
        std::fs::write(home.path().join("dump.pm2.bak"), "[]").unwrap();
        assert_eq!(read(&Home::new(home.path().to_owned(), rpm_model::Flavour::Pm2)), Ok(Vec::new()));
    }
}
