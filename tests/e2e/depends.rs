//! Apps that wait for others, and are stopped before them.

use rpm_tests::{Rpm, app, free_port};
use serde_json::{Value, json};

fn start(rpm: &Rpm, apps: &Value) -> String {
    let path = rpm.home().join("eco.json");
    std::fs::write(&path, json!({ "apps": apps }).to_string()).expect("a file");
    path.to_string_lossy().into_owned()
}

/// Returns the order of what happened: `app event`.
fn story(rpm: &Rpm) -> Vec<String> {
    let events = rpm.ok(&["events", "--json", "--last", "1000"]);
    let line = |line: &str| {
        let event: Value = serde_json::from_str(line).ok()?;
        Some(format!("{} {}", event["app"].as_str()?, event["event"].as_str()?))
    };
    match serde_json::from_str::<Vec<Value>>(&events) {
        Ok(list) => list.iter().filter_map(|event| line(&event.to_string())).collect(),
        Err(_) => events.lines().filter_map(line).collect(),
    }
}

fn position(story: &[String], what: &str) -> usize {
    story.iter().position(|line| line == what).unwrap_or_else(|| panic!("no {what:?} in {story:?}"))
}

#[test]
fn a_chain_starts_in_order_and_stops_the_other_way_round() {
    let (rpm, port) = (Rpm::new(), free_port());
    let file = start(
        &rpm,
        &json!([
            { "name": "web", "script": app("idle.sh"), "depends_on": { "api": "healthy", "migrate": "completed" } },
            { "name": "api", "script": app("http.js"), "exec_mode": "cluster", "env": { "PORT": port },
              "health_check": { "path": "/", "interval": "200ms" }, "depends_on": ["db"] },
            { "name": "migrate", "script": "sleep 0.3; true", "autorestart": false, "depends_on": ["db"] },
            { "name": "db", "script": app("idle.sh") },
        ]),
    );
    rpm.ok(&["start", &file]);
    let up = story(&rpm);
    assert!(position(&up, "db start") < position(&up, "api start"));
    assert!(position(&up, "api online") < position(&up, "web start"));
    assert!(position(&up, "migrate exit") < position(&up, "web start"));
    rpm.ok(&["stop", "all"]);
    let down = story(&rpm);
    assert!(position(&down, "web exit") < position(&down, "api stopping"));
    assert!(position(&down, "api exit") < position(&down, "db stopping"));
}

#[test]
fn a_circle_is_refused_by_its_names() {
    let rpm = Rpm::new();
    let file = start(
        &rpm,
        &json!([
            { "name": "hen", "script": app("idle.sh"), "depends_on": ["egg"] },
            { "name": "egg", "script": app("idle.sh"), "depends_on": ["hen"] },
        ]),
    );
    let error = rpm.fails(&["start", &file]);
    assert!(error.contains("hen → egg → hen"), "{error}");
    assert!(rpm.jlist().is_empty());
    let file = start(&rpm, &json!([{ "name": "hen", "script": app("idle.sh"), "depends_on": ["egg"] }]));
    let error = rpm.fails(&["start", &file]);
    assert!(error.contains("hen depends on egg, and no app is called so"), "{error}");
}

#[test]
fn what_depends_on_a_failed_job_does_not_start_and_says_why() {
    let rpm = Rpm::new();
    let file = start(
        &rpm,
        &json!([
            { "name": "migrate", "script": "exit 3", "autorestart": false },
            { "name": "web", "script": app("idle.sh"), "depends_on": { "migrate": "completed" } },
        ]),
    );
    let error = rpm.fails(&["start", &file]);
    assert!(error.contains("waits for migrate to be completed, which is down"), "{error}");
    assert_eq!(rpm.statuses("web"), ["waiting restart"]);
}

#[test]
fn a_new_spec_of_an_app_that_runs_is_refused_like_a_new_app_and_nothing_is_claimed() {
    let rpm = Rpm::new();
    let idle = |name: &str, on: Value| json!({ "name": name, "script": app("idle.sh"), "depends_on": on });
    rpm.ok(&["start", &start(&rpm, &json!([idle("hen", json!(["egg"])), idle("egg", json!([]))]))]);
    let before = (rpm.pids("hen"), rpm.pids("egg"));
    let circle = start(&rpm, &json!([idle("egg", json!(["hen"]))]));
    for how in ["start", "restart", "reload", "startOrReload", "apply"] {
        let error = rpm.fails(&[how, &circle]);
        assert!(error.contains("egg → hen → egg"), "{how}: {error}");
    }
    let nobody = start(&rpm, &json!([idle("egg", json!(["cock"]))]));
    assert!(rpm.fails(&["restart", &nobody]).contains("egg depends on cock, and no app is called so"));
    assert_eq!((rpm.pids("hen"), rpm.pids("egg")), before);
    let stranger = start(&rpm, &json!([idle("duck", json!(["cock"]))]));
    let output = rpm.run(&["start", &stranger]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && !text.contains("Starting"), "{text}");
    // Both turned round at once.
    rpm.ok(&["start", &start(&rpm, &json!([idle("hen", json!([])), idle("egg", json!(["hen"]))]))]);
}

#[test]
fn an_app_that_runs_may_come_to_depend_on_a_new_one() {
    let rpm = Rpm::new();
    let idle = |name: &str, on: Value| json!({ "name": name, "script": app("idle.sh"), "depends_on": on });
    rpm.ok(&["start", &start(&rpm, &json!([idle("web", json!([])), idle("api", json!([]))]))]);
    let text = rpm.ok(&["start", &start(&rpm, &json!([idle("web", json!(["cache"])), idle("cache", json!([]))]))]);
    assert!(text.contains("Starting"), "{text}");
    assert_eq!(rpm.statuses("web"), ["online"]);
    rpm.ok(&["apply", &start(&rpm, &json!([idle("web", json!(["queue"])), idle("queue", json!([]))]))]);
    assert_eq!((rpm.statuses("web"), rpm.statuses("queue")), (vec!["online".to_owned()], vec!["online".to_owned()]));
}

/// A job that had done its work was saved as stopped: after a boot it never ran, and what waits for it never started.
#[test]
fn after_a_boot_a_job_that_had_ended_runs_again_for_those_that_wait_for_it() {
    let rpm = Rpm::new();
    let file = start(
        &rpm,
        &json!([
            { "name": "migrate", "script": "sleep 0.2; true", "autorestart": false },
            { "name": "seed", "script": "sleep 0.2; true", "autorestart": false },
            { "name": "web", "script": app("idle.sh"), "depends_on": { "migrate": "completed" } },
        ]),
    );
    rpm.ok(&["start", &file]);
    rpm.until("its end", "seed", |list| list.iter().all(|worker| worker["pm2_env"]["status"] == "stopped"));
    rpm.ok(&["stop", "seed"]);
    rpm.ok(&["save"]);
    rpm.ok(&["kill"]);
    rpm.ok(&["resurrect"]);
    assert_eq!(rpm.statuses("web"), ["online"]);
    let up = story(&rpm);
    let runs = |job: &str| up.iter().filter(|line| **line == format!("{job} start")).count();
    assert_eq!((runs("migrate"), runs("seed")), (2, 1), "what somebody has stopped stays so: {up:?}");
}

/// Only the first start kept the order: the job ran a second before its database.
#[test]
fn what_is_started_again_together_starts_in_order() {
    let rpm = Rpm::new();
    let file = start(
        &rpm,
        &json!([
            { "name": "web", "script": app("idle.sh"), "depends_on": { "migrate": "completed" } },
            { "name": "migrate", "script": "sleep 0.3; true", "autorestart": false, "depends_on": ["db"] },
            { "name": "db", "script": app("idle.sh") },
        ]),
    );
    rpm.ok(&["start", &file]);
    for (how, is_down) in [
        (&["start", &*file][..], true),
        (&["start", "all"], true),
        (&["start", "web", "migrate", "db"], true),
        (&["startOrReload", &file], true),
        (&["restart", "all"], false),
    ] {
        if is_down {
            rpm.ok(&["stop", "all"]);
        }
        let before = story(&rpm).len();
        rpm.ok(how);
        let again = &story(&rpm)[before..];
        assert!(first_start(again, "db") < first_start(again, "migrate"), "{how:?}: {again:?}");
        assert!(position(again, "migrate online") < first_start(again, "web"), "{how:?}: {again:?}");
    }
}

fn first_start(story: &[String], app: &str) -> usize {
    let starts = [format!("{app} start"), format!("{app} restart")];
    story.iter().position(|line| starts.contains(line)).unwrap_or_else(|| panic!("no start of {app} in {story:?}"))
}
