//! Modules of PM2's world, unmodified from npm, run as ordinary apps.

use std::path::PathBuf;

use rpm_tests::{Rpm, app, deps, http, until};

fn module(name: &str, script: &str) -> PathBuf {
    let path = deps().join("modules/node_modules").join(name).join(script);
    assert!(path.exists(), "{} is missing: `make setup` installs it", path.display());
    path
}

#[test]
fn pm2_logrotate_rotates_the_logs() {
    let pm2 = Rpm::as_pm2();
    let script = module("pm2-logrotate", "app.js");
    let settings = r#"{"max_size":"1K","workerInterval":"1","retain":"2","compress":"false","rotateModule":"true",
        "dateFormat":"YYYY-MM-DD_HH-mm-ss","rotateInterval":"0 0 * * *"}"#;
    let file = pm2.home().join("module.json");
    let config = serde_json::json!({"apps": [
        {"name": "noisy", "script": app("pm2/noisy.js")},
        {"name": "pm2-logrotate", "script": script, "cwd": script.parent(), "env": {"pm2-logrotate": settings}},
    ]});
    std::fs::write(&file, config.to_string()).expect("the file is written");
    pm2.ok(&["start", &file.to_string_lossy()]);
    let rotated = || {
        let names = std::fs::read_dir(pm2.home().join("logs")).expect("logs").flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with("noisy-out__")).collect::<std::collections::BTreeSet<_>>()
    };
    let mut seen = std::collections::BTreeSet::new();
    until("three rotated logs, of which the oldest was removed", || {
        seen.extend(rotated());
        seen.len() >= 3 && rotated().len() < seen.len()
    });
    // Its metrics reach the list.
    pm2.until("metrics", "pm2-logrotate", |list| list[0]["pm2_env"]["axm_monitor"]["Files count"].is_object());
    assert_eq!(pm2.restarts("pm2-logrotate"), [0]);
}

#[test]
fn a_prometheus_exporter_exports() {
    let pm2 = Rpm::as_pm2();
    pm2.ok(&["start", &app("idle.sh"), "--name", "sleeper"]);
    let exporter = module("pm2-prometheus-exporter", "exporter.js");
    let shim = format!("--require {}", app("pm2/any_port.js"));
    pm2.ok(&["start", &exporter.to_string_lossy(), "--name", "exporter", "--node-args", &shim]);
    let mut port = None;
    until("its port", || {
        port = pm2.log("exporter-out.log").lines().find_map(|line| line.strip_prefix("port ")?.parse().ok());
        port.is_some()
    });
    let metrics = http::get(port.expect("a port"), "/metrics").expect("metrics");
    assert!(metrics.contains("pm2_up{name=\"sleeper\",instance=\"0\"} 1"), "{metrics}");
    assert!(metrics.contains("pm2_memory{name=\"exporter\",instance=\"0\"}"), "{metrics}");
}
