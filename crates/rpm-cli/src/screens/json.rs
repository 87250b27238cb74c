//! `--json`: our own list as one document, without the environments, which may hold secrets.

use rpm_ipc::{AppInfo, BalancerInfo, List};
use rpm_model::{AppSpec, Secret};

/// Returns the whole list.
///
/// # Panics
/// Never: the types of the wire can be written as JSON.
pub fn list(mut list: List, balancers: Vec<BalancerInfo>) -> String {
    /// The list, and the counters of the balancers.
    #[derive(serde::Serialize)]
    struct Document {
        #[serde(flatten)]
        list: List,
        balancers: Vec<BalancerInfo>,
    }
    list.apps.iter_mut().for_each(|app| redact(&mut app.spec));
    document(&Document { list, balancers })
}

/// Returns the given apps.
pub fn apps(mut apps: Vec<AppInfo>) -> String {
    apps.iter_mut().for_each(|app| redact(&mut app.spec));
    document(&apps)
}

fn document(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("the types of the wire can be written as JSON");
    text.push('\n');
    text
}

/// Takes out what may be a secret: the values of the environment, and all but the programs of the commands that tell secrets.
pub fn redact(spec: &mut AppSpec) {
    spec.env_shell.clear();
    spec.env.values_mut().for_each(|value| *value = "[redacted]".into());
    for secret in spec.secrets.values_mut() {
        if let Secret::Cmd(argv) = secret {
            argv.truncate(1);
        }
    }
    // Configuration kept as written may name environments too.
    spec.other.retain(|key, _| !(key == "env" || key.starts_with("env_")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screens::samples::{app, list as sample};

    #[test]
    fn no_secret_is_printed() {
        let mut api = app(1, "api", "default", &[0]);
        api.spec.env.insert("TOKEN".into(), "hunter2".into());
        api.spec.env_shell.insert("AWS".into(), "hunter2".into());
        api.spec.other.insert("env_production".into(), serde_json::json!({ "TOKEN": "hunter2" }));
        let argv = ["vault", "read", "-token=hunter2"].map(str::to_owned).to_vec();
        api.spec.secrets.insert("KEY".into(), Secret::Cmd(argv));
        let text = list(sample(vec![api]), Vec::new());
        assert!(!text.contains("hunter2"), "{text}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["apps"][0]["spec"]["name"], "api");
        assert_eq!(read["apps"][0]["spec"]["env"]["TOKEN"], "[redacted]");
        assert_eq!(read["apps"][0]["spec"]["secrets"]["KEY"], serde_json::json!({ "cmd": ["vault"] }));
    }
}
