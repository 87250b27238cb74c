//! A reload replaces workers one after another, and a release that does not come up never hurts.

use rpm_tests::{Load, Rpm, app, free_port, http};
use serde_json::json;

fn start(rpm: &Rpm, script: &str, port: u16, env: &[(&str, &str)], more: &[&str]) {
    let script = app(script);
    let mut args = vec!["start", &script, "--name", "web", "-i", "2"];
    args.extend(more);
    let output = rpm.command(&args).env("PORT", port.to_string()).envs(env.iter().copied()).output().expect("rpm runs");
    assert!(output.status.success(), "{output:?}\n{}", rpm.daemon_log());
}

#[test]
fn a_reload_under_load_loses_no_request_and_replaces_every_worker() {
    let (rpm, port) = (Rpm::new(), free_port());
    start(&rpm, "http.js", port, &[], &[]);
    let load = Load::start(port, "/?slow=10", 8);
    for _ in 0..5 {
        let before = rpm.pids("web");
        rpm.ok(&["reload", "web"]);
        let after = rpm.pids("web");
        assert_eq!(after.len(), 2);
        assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} -> {after:?}");
    }
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!(rpm.restarts("web"), [5, 5]);
}

#[test]
fn a_request_in_flight_for_seconds_is_answered() {
    let (rpm, port) = (Rpm::new(), free_port());
    start(&rpm, "http.js", port, &[], &[]);
    let slow: Vec<_> = (0..4).map(|_| std::thread::spawn(move || http::get(port, "/?slow=2500"))).collect();
    // The requests must be in the workers' hands first.
    let load = Load::start(port, "/", 1);
    load.wait_for(50);
    rpm.ok(&["reload", "web"]);
    for request in slow {
        request.join().expect("no panic").expect("an answer");
    }
    assert_eq!(load.stop(), Vec::<String>::new());
}

#[test]
fn a_release_that_crashes_at_boot_leaves_the_old_workers_serving() {
    let (rpm, port) = (Rpm::new(), free_port());
    let script = rpm.home().join("app.js");
    std::fs::copy(app("http.js"), &script).expect("a copy");
    let path = script.to_string_lossy().into_owned();
    let started = rpm.command(&["start", &path, "--name", "web", "-i", "2"]).env("PORT", port.to_string()).output();
    assert!(started.expect("rpm runs").status.success());
    let before = rpm.pids("web");

    std::fs::copy(app("crash.js"), &script).expect("a copy");
    let load = Load::start(port, "/", 4);
    let error = rpm.fails(&["reload", "web"]);
    assert!(error.contains("exit code 3"), "{error}");
    assert!(error.contains("about to fail: no database"), "the last lines of stderr are shown: {error}");
    assert!(error.contains("old workers keep serving"), "{error}");
    load.wait_for(20);
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!(rpm.pids("web"), before, "the old workers stay");
    assert_eq!(rpm.statuses("web"), ["online", "online"]);

    // The next good release goes through.
    std::fs::copy(app("http.js"), &script).expect("a copy");
    rpm.ok(&["reload", "web"]);
    assert!(rpm.pids("web").iter().all(|pid| !before.contains(pid)));
}

#[test]
fn a_worker_that_never_says_ready_does_not_replace_a_good_one() {
    let (rpm, port) = (Rpm::new(), free_port());
    start(&rpm, "ready.js", port, &[("VERSION", "one")], &["--wait-ready", "--listen-timeout", "1500"]);
    let before = rpm.pids("web");
    let output = rpm
        .command(&["reload", "web", "--update-env"])
        .env("PORT", port.to_string())
        .envs([("SAY", "never"), ("VERSION", "two")])
        .output()
        .expect("rpm runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not ready within 1500 ms"), "{output:?}");
    assert_eq!(rpm.pids("web"), before);
    assert!(http::get(port, "/").expect("an answer").contains("one"));
}

#[test]
fn a_new_environment_arrives_with_a_reload() {
    let (rpm, port) = (Rpm::new(), free_port());
    start(&rpm, "http.js", port, &[("VERSION", "one")], &[]);
    let output = rpm
        .command(&["reload", "web", "--update-env"])
        .env("PORT", port.to_string())
        .env("VERSION", "two")
        .output()
        .expect("rpm runs");
    assert!(output.status.success(), "{output:?}");
    for _ in 0..10 {
        assert!(http::get(port, "/").expect("an answer").contains("\"two\""));
    }
}

#[test]
fn two_reloads_at_once_are_one_reload_and_one_refusal() {
    let (rpm, port) = (Rpm::new(), free_port());
    // Long enough that the second one comes in its middle.
    let app = json!({ "name": "web", "script": app("http.js"), "exec_mode": "cluster", "instances": 2,
                      "min_ready": "2s", "env": { "PORT": port } });
    rpm.ok(&["start", &rpm.file_of(app, &json!({}))]);
    let first = rpm.command(&["reload", "web"]).spawn().expect("rpm runs");
    rpm_tests::until("the first reload to begin", || {
        let list: serde_json::Value = serde_json::from_str(&rpm.ok(&["list", "--json"])).expect("JSON");
        list["apps"][0]["rolling"] == true
    });
    let error = rpm.fails(&["reload", "web"]);
    assert!(error.contains("already in progress"), "{error}");
    assert!(first.wait_with_output().expect("an end").status.success());
}

#[test]
fn a_single_instance_is_replaced_without_a_gap() {
    let (rpm, port) = (Rpm::new(), free_port());
    let script = app("http.js");
    let started = rpm.command(&["start", &script, "--name", "web", "-i", "1"]).env("PORT", port.to_string()).output();
    assert!(started.expect("rpm runs").status.success());
    let load = Load::start(port, "/", 4);
    rpm.ok(&["reload", "web"]);
    rpm.ok(&["reload", "web"]);
    assert_eq!(load.stop(), Vec::<String>::new());
}

#[test]
fn a_fork_app_is_restarted() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    let before = rpm.pids("idle");
    rpm.ok(&["reload", "idle"]);
    assert_ne!(rpm.pids("idle"), before);
    assert_eq!(rpm.statuses("idle"), ["online"]);
}

/// The app was down for good: in fork mode, and where the mode changed, nothing was put back.
#[test]
fn a_release_that_crashes_in_fork_mode_or_in_another_mode_makes_room_for_the_one_before() {
    for (mode, instances) in [("fork", 1), ("cluster", 2)] {
        let (rpm, port) = (Rpm::new(), free_port());
        let release = |script: &str, mode: &str, rollback: bool| {
            // However long a busy machine takes until it crashes.
            let min_uptime = if script == "crash.js" { "60s" } else { "1s" };
            let app = json!({ "name": "web", "script": app(script), "exec_mode": mode, "instances": instances,
                              "rollback": rollback, "min_uptime": min_uptime, "env": { "PORT": port } });
            let path = rpm.home().join("eco.json");
            std::fs::write(&path, json!({ "apps": [app] }).to_string()).expect("a file");
            path.to_string_lossy().into_owned()
        };
        rpm.ok(&["start", &release("http.js", mode, true)]);
        let error = rpm.fails(&["reload", &release("crash.js", "fork", true)]);
        assert!(error.contains("exit code 3") && error.contains("what ran before is up again"), "{error}");
        // It is answered when that is up.
        assert_eq!(rpm.statuses("web"), vec!["online"; instances]);
        Load::start(port, "/", 1).wait_for(5);
        assert!(rpm.ok(&["history", "web"]).contains("failed"));
        if mode == "fork" {
            rpm.ok(&["reload", &release("idle.sh", "fork", true)]);
            // What asks for no rollback stays what it is, and so does a restart.
            assert!(!rpm.run(&["reload", &release("crash.js", "fork", false)]).status.success());
            assert!(rpm.ok(&["describe", "web"]).contains("crash.js"));
        }
    }
}

/// The reload was done before the workers that it adds had started, and kept a release that they could not run.
#[test]
fn workers_that_a_reload_adds_are_a_part_of_it() {
    let (rpm, port) = (Rpm::new(), free_port());
    let script = rpm.home().join("web.js");
    let text = format!(
        "if (process.env.V === 'new' && process.env.NODE_APP_INSTANCE > 1) process.exit(4);\nrequire({:?})",
        app("http.js")
    );
    std::fs::write(&script, text).expect("a script");
    let release = |version: &str, instances: u32| {
        let app = json!({ "name": "web", "script": script, "exec_mode": "cluster", "instances": instances,
                          "env": { "PORT": port, "V": version } });
        let path = rpm.home().join("eco.json");
        std::fs::write(&path, json!({ "apps": [app] }).to_string()).expect("a file");
        path.to_string_lossy().into_owned()
    };
    rpm.ok(&["start", &release("old", 2)]);
    let load = Load::start(port, "/", 2);
    let error = rpm.fails(&["reload", &release("new", 4)]);
    assert!(error.contains("exit code 4"), "{error}");
    let list = rpm.until("the workers before", "web", |list| {
        list.len() == 2 && list.iter().all(|worker| worker["pm2_env"]["status"] == "online")
    });
    assert!(list.iter().all(|worker| worker["pm2_env"]["V"] == "old"), "{list:?}");
    rpm.ok(&["reload", &release("newer", 4)]);
    assert_eq!(rpm.statuses("web"), ["online"; 4]);
    assert_eq!(load.stop(), Vec::<String>::new());
}
