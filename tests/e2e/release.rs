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

/// Returns what release each worker runs, in the order of their ids; of one that has just ended, nothing.
fn releases(rpm: &Rpm, app: &str) -> Vec<String> {
    let of = |pid: &i32| {
        let environ = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split('\0').find_map(|variable| variable.strip_prefix("VERSION=")).map(str::to_owned)
    };
    rpm.pids(app).iter().filter_map(of).collect()
}

#[test]
fn releases_of_the_past_show_no_environment() {
    let rpm = Rpm::new();
    for token in ["hunter2", "hunter3"] {
        let idle = json!({ "name": "idle", "script": app("idle.sh"), "env": { "TOKEN": token } });
        rpm.ok(&["startOrRestart", &ecosystem(&rpm, &[idle])]);
    }
    let told = rpm.ok(&["history", "idle", "--json"]);
    assert!(told.contains("TOKEN") && !told.contains("hunter"), "{told}");
}

#[test]
fn a_canary_stays_one_through_restart_scale_save_and_boot() {
    // A restart made a lasting mixture of it, scale started new workers with it, and save took it for what is wanted.
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &ecosystem(&rpm, &[web(&rpm, port, "one")])]);
    let mut two = web(&rpm, port, "two");
    two["canary"] = json!(1);
    rpm.ok(&["reload", &ecosystem(&rpm, &[two])]);
    assert_eq!(releases(&rpm, "web"), ["two", "one", "one", "one"]);
    rpm.ok(&["restart", "web"]);
    assert_eq!(releases(&rpm, "web"), ["two", "one", "one", "one"]);
    rpm.ok(&["scale", "web", "6"]);
    assert_eq!(releases(&rpm, "web"), ["two", "one", "one", "one", "one", "one"]);
    rpm.ok(&["save"]);
    rpm.ok(&["abort", "web"]);
    assert_eq!(releases(&rpm, "web"), ["one"; 6]);
    rpm.ok(&["kill"]);
    rpm.ok(&["resurrect"]);
    assert_eq!(releases(&rpm, "web"), ["one"; 6]);
}

#[test]
fn a_restart_in_the_middle_of_a_reload_leaves_no_mixture() {
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &ecosystem(&rpm, &[web(&rpm, port, "one")])]);
    let mut two = web(&rpm, port, "two");
    two["env"]["BOOT"] = json!(500);
    let file = ecosystem(&rpm, &[two]);
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| rpm.ok(&["reload", &file]));
        until("the first is replaced", || releases(&rpm, "web").iter().any(|release| release == "two"));
        rpm.ok(&["restart", "web"]);
        reload.join().expect("it ends well");
    });
    assert_eq!(releases(&rpm, "web"), ["two"; 4]);
    assert_eq!(versions(port), ["two"]);
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
fn an_empty_list_means_that_nothing_is_to_run() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "a"]);
    let file = ecosystem(&rpm, &[]);
    assert!(rpm.fails(&["apply", &file]).contains("there are no apps in the file"));
    assert!(rpm.ok(&["diff", &file, "--prune"]).contains("- a: delete"));
    let refused = rpm.fails(&["apply", &file, "--prune"]);
    assert!(refused.contains("names no app, so everything would be deleted (1 app)"), "{refused}");
    assert!(refused.contains("--yes does it"), "{refused}");
    assert_eq!(rpm.pids("a").len(), 1);
    rpm.ok(&["apply", &file, "--prune", "--yes"]);
    assert!(rpm.jlist().is_empty());
    assert!(rpm.ok(&["apply", &file, "--prune"]).contains("Nothing to do"));
    // No list is no empty list.
    std::fs::write(&file, "{}").expect("a file");
    assert!(rpm.fails(&["apply", &file, "--prune", "--yes"]).contains("there are no apps in the file"));
}

#[test]
fn what_is_down_or_another_release_is_no_app_as_the_file_says() {
    // After a `stop`, a failed roll without `rollback`, or beside a canary, `apply` said that there was nothing to do.
    let (rpm, port) = (Rpm::new(), free_port());
    let one = web(&rpm, port, "one");
    let file = ecosystem(&rpm, std::slice::from_ref(&one));
    rpm.ok(&["start", &file]);
    rpm.ok(&["stop", "web"]);
    let plan = rpm.ok(&["diff", &file]);
    assert!(plan.contains("+ web: start, workers 0, 1, 2, 3 are down"), "{plan}");
    rpm.ok(&["apply", &file]);
    assert_eq!(releases(&rpm, "web"), ["one"; 4]);
    assert!(rpm.ok(&["apply", &file]).contains("Nothing to do"));

    let mut two = web(&rpm, port, "two");
    two["canary"] = json!(1);
    let canary = ecosystem(&rpm, &[two]);
    assert!(rpm.ok(&["apply", &canary]).contains("1 of 4 run the new release"));
    let plan = rpm.ok(&["apply", &canary]);
    assert!(plan.contains("! web: 1 of 4 run the new release: it waits for `promote web` or `abort web`"), "{plan}");
    rpm.ok(&["abort", "web"]);

    // Its second worker does not come up: what stands is a mixture.
    let mut three = web(&rpm, port, "three");
    three["rollback"] = json!(false);
    three["script"] = json!(rpm.home().join("three.js"));
    let broken = format!(
        "if (process.env.NODE_APP_INSTANCE === '1' && !require('fs').existsSync('{0}/mended')) process.exit(3); require('{1}');",
        rpm.home().display(),
        app("health.js")
    );
    std::fs::write(rpm.home().join("three.js"), broken).expect("a file");
    let file = ecosystem(&rpm, &[three]);
    let error = rpm.fails(&["apply", &file]);
    assert!(error.contains("exit code 3") && !error.contains("the old workers keep serving"), "{error}");
    assert_eq!(releases(&rpm, "web"), ["three", "one", "one", "one"]);
    let plan = rpm.ok(&["diff", &file]);
    assert!(plan.contains("~ web: reload, workers 1, 2, 3 are not as the app is to be"), "{plan}");
    std::fs::write(rpm.home().join("mended"), "").expect("a file");
    rpm.ok(&["apply", &file]);
    assert_eq!(releases(&rpm, "web"), ["three"; 4]);
}

#[test]
fn an_app_that_fails_keeps_no_other_of_its_file_from_being_applied() {
    let (rpm, port) = (Rpm::new(), free_port());
    let idle = |name: &str, number: u32| json!({ "name": name, "script": app("idle.sh"), "instances": number });
    rpm.ok(&["start", &ecosystem(&rpm, &[web(&rpm, port, "one"), idle("grown", 1)])]);
    std::fs::write(rpm.home().join("control/ill.two"), "").expect("a file");
    let file = ecosystem(&rpm, &[web(&rpm, port, "two"), idle("grown", 2), idle("new", 1)]);
    let error = rpm.fails(&["apply", &file]);
    assert!(error.contains("could not reload web"), "{error}");
    assert_eq!((rpm.pids("grown").len(), rpm.pids("new").len()), (2, 1));
    assert_eq!(releases(&rpm, "web"), ["one"; 4]);
}

#[test]
fn a_canary_of_files_changed_in_place_is_not_said_to_be_taken_back() {
    let (rpm, port) = (Rpm::new(), free_port());
    let mut one = web(&rpm, port, "one");
    one["canary"] = json!(1);
    rpm.ok(&["start", &ecosystem(&rpm, &[one])]);
    rpm.ok(&["reload", "web"]);
    let error = rpm.fails(&["abort", "web"]);
    assert!(error.contains("could not abort web: worker 0 runs on as it is"), "{error}");
    rpm.ok(&["reload", "web"]);
    rpm.ok(&["promote", "web"]);
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

#[test]
fn what_is_put_back_by_name_waits_for_nobody_and_keeps_its_canaries() {
    // The release before was put back without its `canary`, so that later ones were rolled out without a look at the first.
    let (rpm, port) = (Rpm::new(), free_port());
    let release = |version: &str| {
        let mut app = web(&rpm, port, version);
        app["canary"] = json!(1);
        ecosystem(&rpm, &[app])
    };
    rpm.ok(&["start", &release("one")]);
    rpm.ok(&["reload", &release("two")]);
    rpm.ok(&["promote", "web"]);
    let told = rpm.ok(&["rollback", "web"]);
    assert!(!told.contains("run the new release"), "{told}");
    assert_eq!(versions(port), ["one"]);
    assert!(rpm.ok(&["diff", &release("one")]).contains("Nothing to do"));
    assert!(rpm.ok(&["reload", &release("three")]).contains("1 of 4 run the new release"));
}

/// A directory that is a link to a release, and moved from one to the next.
#[test]
fn a_release_behind_a_link_is_rolled_back_to_the_files_that_it_replaced() {
    let (rpm, port) = (Rpm::new(), free_port());
    let root = rpm.home().join("srv");
    let release = |name: &str, start: &str| {
        let directory = root.join("releases").join(name);
        std::fs::create_dir_all(&directory).expect("a directory");
        let serve =
            format!("require('http').createServer((_, res) => res.end('{{\"version\":\"{name}\"}}')).listen({port});");
        std::fs::write(directory.join("app.js"), format!("{start}\n{serve}\n")).expect("a file");
    };
    let lead_to = |name: &str| {
        let next = root.join("next");
        std::os::unix::fs::symlink(root.join("releases").join(name), &next).expect("a link");
        std::fs::rename(next, root.join("current")).expect("it is moved");
    };
    release("one", "");
    // Its first worker comes up and serves; the second one does not.
    release("two", "if (process.env.NODE_APP_INSTANCE === '1') throw new Error('broken');");
    release("three", "");
    lead_to("one");
    let file = ecosystem(
        &rpm,
        &[
            json!({ "name": "web", "script": "app.js", "cwd": root.join("current"), "instances": 2, "exec_mode": "cluster" }),
        ],
    );
    rpm.ok(&["start", &file]);
    lead_to("two");
    let plan = rpm.ok(&["diff", &file]);
    assert!(plan.contains("releases/one\" → ") && plan.contains("releases/two\""), "{plan}");
    rpm.fails(&["reload", "web"]);
    rpm.until("both serve", "web", |all| all.iter().all(|one| one["pm2_env"]["status"] == "online"));
    assert_eq!(versions(port), ["one"]);
    // A crash brings in nothing that was not reloaded, either.
    let before = rpm.pids("web");
    rpm_tests::signal(before[0], 9);
    rpm.until("it is started again", "web", |all| {
        all.iter().all(|one| one["pm2_env"]["status"] == "online" && one["pid"] != before[0])
    });
    assert_eq!(versions(port), ["one"]);
    lead_to("three");
    rpm.ok(&["reload", "web"]);
    assert_eq!(versions(port), ["three"]);
    rpm.ok(&["rollback", "web"]);
    assert_eq!(versions(port), ["one"]);
    let told = rpm.ok(&["describe", "web"]);
    assert!(told.contains("releases/one"), "{told}");
    // Whoever restarts it means the link.
    rpm.ok(&["restart", "web"]);
    rpm.until("both serve", "web", |all| all.iter().all(|one| one["pm2_env"]["status"] == "online"));
    assert_eq!(versions(port), ["three"]);
}

/// Writes a file of one app of four workers behind a balancer.
fn balanced(rpm: &Rpm, port: u16, version: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut app = web(rpm, free_port(), version);
    (app["name"], app["exec_mode"]) = (json!("api"), json!("proxy"));
    app["env"].as_object_mut().expect("an object").remove("PORT");
    app["env"]["SLOW"] = json!(5);
    app["canary"] =
        json!({ "instances": 1, "duration": "4s", "max_error_rate": 1, "max_latency_ratio": 5, "min_requests": 20 });
    change(&mut app);
    let path = ecosystem(rpm, &[]);
    let file = json!({
        "apps": [app],
        "upstreams": [{ "name": "api", "servers": [{ "app": "api" }] }],
        "balancers": [{ "name": "web", "listen": format!("127.0.0.1:{port}"), "upstream": "api" }],
    });
    std::fs::write(&path, file.to_string()).expect("a file");
    path
}

#[test]
fn a_bad_canary_is_aborted_by_itself_at_no_more_than_its_share() {
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &balanced(&rpm, port, "one", |_| {})]);
    let load = Load::start(port, "/", 4);
    load.wait_for(100);
    let before = load.answered();
    let began = std::time::Instant::now();
    // It passes its health check, and then fails a tenth of its requests.
    let error = rpm.fails(&["reload", &balanced(&rpm, port, "two", |app| app["env"]["FAIL"] = json!("10"))]);
    let took = began.elapsed();
    let answered = (load.answered() - before) as f64;
    assert!(error.contains("could not reload api: worker 0 did worse than the others:"), "{error}");
    assert!(error.contains("requests failed") && error.contains("the old workers keep serving"), "{error}");
    assert_eq!(versions(port), ["one"]);
    let failures = load.stop();
    println!(
        "aborted {} ms after the reload began; {} of {answered} requests failed: {error}",
        took.as_millis(),
        failures.len()
    );
    // A tenth of a quarter, and no more than twice that by chance; while one worker of four has it.
    assert!((failures.len() as f64) < answered * 0.1 * 0.25 * 2.0 + 3.0, "{} of {answered}", failures.len());
    assert!(failures.iter().all(|failure| failure.contains("500")), "{failures:?}");
    let events = rpm.ok(&["events", "api", "-n", "200"]);
    assert!(events.contains("1 of 4 run the new release; watched for 4 s") && events.contains("aborted: "), "{events}");
    assert!(rpm.ok(&["history", "api"]).contains("failed, rolled back"));
}

#[test]
fn a_canary_that_answers_nothing_is_aborted() {
    // Only what had come to its end was counted: of a release that hangs, nothing.
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &balanced(&rpm, port, "one", |_| {})]);
    let load = Load::start(port, "/", 16);
    load.wait_for(50);
    let error = rpm.fails(&[
        "reload",
        &balanced(&rpm, port, "two", |app| {
            app["env"]["SLOW"] = json!(3_600_000);
            app["canary"]["duration"] = json!("60s");
        }),
    ]);
    assert!(error.contains("worker 0 did worse than the others: 100.0 % of"), "{error}");
    assert_eq!(versions(port), ["one"]);
    drop(load);
}

#[test]
fn a_canary_that_is_all_there_is_and_answers_nothing_is_aborted() {
    // Without others beside it nothing was ever missing: it was never judged.
    let (rpm, port) = (Rpm::new(), free_port());
    let one = |app: &mut Value| app["instances"] = json!(1);
    rpm.ok(&["start", &balanced(&rpm, port, "one", one)]);
    let load = Load::start(port, "/", 4);
    load.wait_for(20);
    let error = rpm.fails(&[
        "reload",
        &balanced(&rpm, port, "two", |app| {
            one(app);
            app["env"]["SLOW"] = json!(3_600_000);
        }),
    ]);
    assert!(error.contains("worker 0 did worse than the others: 100.0 % of"), "{error}");
    assert_eq!(versions(port), ["one"]);
    drop(load);
}

#[test]
fn a_good_canary_is_promoted_by_itself() {
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &balanced(&rpm, port, "one", |_| {})]);
    let load = Load::start(port, "/", 4);
    load.wait_for(20);
    let began = std::time::Instant::now();
    let told = rpm.ok(&["reload", &balanced(&rpm, port, "two", |_| {})]);
    assert!(began.elapsed() >= std::time::Duration::from_secs(4), "it was watched");
    assert!(told.contains("api: the canary promoted: 0.0 % of"), "{told}");
    assert_eq!(versions(port), ["two"]);
    assert_eq!(load.stop(), Vec::<String>::new());
}

#[test]
fn a_slow_canary_is_aborted() {
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &balanced(&rpm, port, "one", |_| {})]);
    let load = Load::start(port, "/", 8);
    let error = rpm.fails(&["reload", &balanced(&rpm, port, "two", |app| app["env"]["SLOW"] = json!(400))]);
    assert!(error.contains("of its answers took up to") && error.contains("at most 5 times may be"), "{error}");
    assert_eq!(versions(port), ["one"]);
    assert_eq!(load.stop(), Vec::<String>::new());
}

#[test]
fn a_canary_that_nobody_asks_anything_waits_for_people() {
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &balanced(&rpm, port, "one", |_| {})]);
    let told = rpm.ok(&["reload", &balanced(&rpm, port, "two", |_| {})]);
    assert!(told.contains("waits for promote or abort: 0 of at least 20 requests have come to it"), "{told}");
    assert_eq!(versions(port), ["one", "two"]);
    rpm.ok(&["promote", "api"]);
    assert_eq!(versions(port), ["two"]);

    // Ports that workers share themselves are counted by nobody.
    let (rpm, port) = (Rpm::new(), free_port());
    rpm.ok(&["start", &ecosystem(&rpm, &[web(&rpm, port, "one")])]);
    let mut two = web(&rpm, port, "two");
    two["canary"] = json!({ "duration": "1h" });
    let told = rpm.ok(&["reload", &ecosystem(&rpm, &[two])]);
    assert!(told.contains("waits for promote or abort: no balancer sends it requests"), "{told}");
    rpm.ok(&["abort", "web"]);
    assert_eq!(versions(port), ["one"]);
}
