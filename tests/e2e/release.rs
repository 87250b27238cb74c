//! Releases under load: broken, slow, failing after their check, hanging; and a file as the desired state. Users see nothing of it.

use rpm_tests::{Load, Rpm, app, free_port, http, until};
use serde_json::{Value, json};

fn ecosystem(rpm: &Rpm, apps: &[Value]) -> String {
    std::fs::create_dir_all(rpm.home().join("control")).expect("a directory");
    let path = rpm.home().join("eco.json");
    std::fs::write(&path, json!({ "apps": apps }).to_string()).expect("a file");
    path.to_string_lossy().into_owned()
}

fn web(rpm: &Rpm, port: u16, version: &str) -> Value {
    json!({
        "name": "web", "script": app("health.js"), "instances": 4, "exec_mode": "cluster",
        "env": { "PORT": port, "CONTROL": rpm.home().join("control"), "VERSION": version },
        "health_check": { "path": "/health", "interval": "200ms", "timeout": "500ms", "fall": 2, "start_period": "3s" },
    })
}

fn versions(port: u16) -> Vec<String> {
    let version = |_| {
        let answer: Value = serde_json::from_str(&http::get(port, "/").expect("an answer")).expect("JSON");
        answer["version"].as_str().unwrap_or_default().to_owned()
    };
    let mut seen: Vec<String> = (0..40).map(version).collect();
    seen.sort();
    seen.dedup();
    seen
}

#[test]
fn a_canary_is_promoted_without_a_lost_request() {
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &ecosystem(&rpm, &[web(&rpm, port, "one")])]);
    let load = Load::start(port, "/", 4);
    let mut two = web(&rpm, port, "two");
    two["canary"] = json!(1);
    let told = rpm.ok(&["reload", &ecosystem(&rpm, &[two])]);
    assert!(told.contains("1 of 4 run the new release"), "{told}");
    assert_eq!(versions(port), ["one", "two"]);
    let refused = rpm.fails(&["reload", "web"]);
    assert!(refused.contains("a canary of web waits for"), "{refused}");
    rpm.ok(&["promote", "web"]);
    assert_eq!(versions(port), ["two"]);
    load.wait_for(20);
    assert_eq!(load.stop(), Vec::<String>::new());
    assert!(rpm.fails(&["promote", "web"]).contains("no canary of web waits"));
}

#[test]
fn a_release_that_passes_its_check_and_then_fails_is_aborted_at_no_more_than_its_share() {
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &ecosystem(&rpm, &[web(&rpm, port, "one")])]);
    let mut two = web(&rpm, port, "two");
    (two["canary"], two["env"]["FAIL"]) = (json!(1), json!("10"));
    rpm.ok(&["reload", &ecosystem(&rpm, &[two])]);
    let load = Load::start(port, "/", 4);
    load.wait_for(400);
    rpm.ok(&["abort", "web"]);
    assert_eq!(versions(port), ["one"]);
    let answered = load.answered() as f64;
    let failures = load.stop();
    // A tenth of a quarter, and no more than twice that by chance.
    assert!((failures.len() as f64) < answered * 0.1 * 0.25 * 2.0, "{} of {answered}", failures.len());
    assert!(failures.iter().all(|failure| failure.contains("500")), "{failures:?}");
}

#[test]
fn a_canary_that_falls_ill_is_taken_back_by_itself() {
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &ecosystem(&rpm, &[web(&rpm, port, "one")])]);
    let mut two = web(&rpm, port, "two");
    two["canary"] = json!(1);
    rpm.ok(&["reload", &ecosystem(&rpm, &[two])]);
    let load = Load::start(port, "/", 4);
    std::fs::write(rpm.home().join("control/ill.two"), "").expect("a file");
    until("the old release is back", || versions(port) == ["one"] && rpm.pids("web").len() == 4);
    load.wait_for(50);
    assert_eq!(load.stop(), Vec::<String>::new());
}

#[test]
fn a_slow_release_is_waited_for_and_one_that_is_too_slow_is_not() {
    let (rpm, port) = (Rpm::new(), free_port());
    let slow = |version: &str, boots: u32| {
        let mut web = web(&rpm, port, version);
        (web["instances"], web["env"]["BOOT"]) = (json!(2), json!(boots));
        web["progress_deadline"] = json!("4s");
        web
    };
    rpm.ok(&["start", &ecosystem(&rpm, &[slow("one", 0)])]);
    let load = Load::start(port, "/", 4);
    rpm.ok(&["reload", &ecosystem(&rpm, &[slow("two", 1500)])]);
    assert_eq!(versions(port), ["two"]);
    let error = rpm.fails(&["reload", &ecosystem(&rpm, &[slow("three", 60_000)])]);
    assert!(
        error.contains("web") && (error.contains("not ready within 4000 ms") || error.contains("health check")),
        "{error}"
    );
    assert_eq!(versions(port), ["two"]);
    assert_eq!(load.stop(), Vec::<String>::new());
}

#[test]
fn a_release_that_does_not_stay_ready_never_replaces_one_that_does() {
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &ecosystem(&rpm, &[web(&rpm, port, "one")])]);
    let before = rpm.pids("web");
    let load = Load::start(port, "/health", 4);
    let mut two = web(&rpm, port, "two");
    (two["min_ready"], two["env"]["ENDS"]) = (json!("3s"), json!("700"));
    let error = rpm.fails(&["reload", &ecosystem(&rpm, &[two])]);
    assert!(error.contains("exit code 9"), "{error}");
    assert_eq!(rpm.pids("web"), before);
    load.wait_for(20);
    assert_eq!(versions(port), ["one"]);
    // Whoever was with the new one in its last moment was with an app that ended by itself.
    assert!(load.stop().len() <= 4);
}

#[test]
fn a_file_is_made_so_once() {
    let (rpm, port) = (Rpm::new(), free_port());
    let idle = |name: &str| json!({ "name": name, "script": app("idle.sh") });
    let file = ecosystem(&rpm, &[idle("a"), idle("old"), web(&rpm, port, "one")]);
    let plan = rpm.ok(&["diff", &file]);
    assert!(plan.contains("+ a: start, 1 worker") && plan.contains("+ web: start, 4 workers"), "{plan}");
    rpm.ok(&["apply", &file, "--dry-run"]);
    assert!(rpm.jlist().is_empty());
    rpm.ok(&["apply", &file]);
    let pids = || ["a", "old", "web"].map(|name| rpm.pids(name));
    let before = pids();
    assert!(rpm.ok(&["apply", &file]).contains("Nothing to do"));
    assert_eq!(pids(), before);

    let mut two = web(&rpm, port, "two");
    two["instances"] = json!(2);
    let file = ecosystem(&rpm, &[idle("a"), two]);
    let plan = rpm.ok(&["diff", &file, "--prune"]);
    assert!(plan.contains("env.VERSION: \"one\" → \"two\"") && plan.contains("- old: delete"), "{plan}");
    let load = Load::start(port, "/", 4);
    rpm.ok(&["apply", &file, "--prune"]);
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!((rpm.pids("a"), rpm.pids("old").len(), rpm.pids("web").len()), (before[0].clone(), 0, 2));
    assert_eq!(versions(port), ["two"]);
    let plan: Value = serde_json::from_str(&rpm.ok(&["diff", &file, "--json"])).expect("JSON");
    assert!(plan.as_array().expect("a list").iter().all(|step| step["action"] == "none"), "{plan}");
    // A file in which only the number differs scales.
    let mut three = web(&rpm, port, "two");
    three["instances"] = json!(3);
    assert!(rpm.ok(&["apply", &ecosystem(&rpm, &[idle("a"), three])]).contains("scale, 2 → 3 workers"));
    assert_eq!(rpm.pids("web").len(), 3);
}

#[test]
fn an_earlier_release_is_put_back_by_name() {
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &ecosystem(&rpm, &[web(&rpm, port, "one")])]);
    assert!(rpm.fails(&["rollback", "web"]).contains("web has no earlier release"));
    rpm.ok(&["reload", &ecosystem(&rpm, &[web(&rpm, port, "two")])]);
    std::fs::write(rpm.home().join("control/ill.three"), "").expect("a file");
    rpm.fails(&["reload", &ecosystem(&rpm, &[web(&rpm, port, "three")])]);
    let history = rpm.ok(&["history", "web"]);
    assert!(
        history.contains("failed, rolled back") && history.contains("env.VERSION: \"three\" → \"two\""),
        "{history}"
    );
    let load = Load::start(port, "/", 4);
    // Also under the next daemon.
    rpm.kill_daemon();
    rpm.ok(&["rollback", "web"]);
    assert_eq!(versions(port), ["one"]);
    assert_eq!(load.stop(), Vec::<String>::new());
}
