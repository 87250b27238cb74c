//! `/metrics`: what is to be alerted of can be seen, and nothing that happens goes uncounted.

use rpm_tests::{Rpm, app, free_port, is_alive, signal, until};
use serde_json::json;

use crate::web::{Web, series};

/// A web server, and what opens its `/metrics`.
struct Scraped(Web, String);

impl Scraped {
    fn start(rpm: &Rpm) -> Self {
        let web = Web::start(rpm, &[]);
        let token = rpm.ok(&["web", "token", "--metrics"]);
        Self(web, format!("Authorization: Bearer {}\r\n", token.trim()))
    }

    fn series(&self, name: &str) -> Option<u64> {
        series(&self.0.ask("GET", "/metrics", &self.1, "").2, name)
    }
}

/// They were up, ready and online: an alert on a sick service could not be written.
#[test]
fn ill_workers_are_neither_up_nor_ready() {
    let rpm = Rpm::new();
    let control = rpm.home().join("control");
    std::fs::create_dir(&control).expect("a directory");
    let ill = json!({
        "name": "ill",
        "script": app("health.js"),
        "instances": 2,
        "exec_mode": "cluster",
        "env": { "PORT": free_port(), "CONTROL": control, "VERSION": "one" },
    });
    let check = json!({ "path": "/health", "interval": "200ms", "timeout": "1s", "fall": 2, "start_period": "2s" });
    rpm.ok(&["start", &rpm.file_of(ill, &json!({ "health_check": check }))]);
    let metrics = Scraped::start(&rpm);
    let of_app = |name: &str| metrics.series(&format!("rpm_app_instances_{name}{{app=\"ill\",namespace=\"default\"}}"));
    until("both are ready", || of_app("ready") == Some(2));
    assert_eq!(of_app("unhealthy"), Some(0));
    std::fs::write(control.join("ill.one"), "").expect("a file");
    until("none is ready", || of_app("ready") == Some(0) && of_app("unhealthy") == Some(2));
    assert_eq!(of_app("desired"), Some(2));
    let of_worker = "app=\"ill\",instance=\"0\",namespace=\"default\"";
    assert_eq!(metrics.series(&format!("rpm_worker_up{{{of_worker}}}")), Some(0));
    assert_eq!(metrics.series(&format!("rpm_worker_state{{{of_worker},state=\"unhealthy\"}}")), Some(1));
    let (_, all) = metrics.0.with_token("GET", "/api/v1/apps", "");
    let of = all["apps"].as_array().expect("apps").iter().find(|app| app["name"] == "ill").expect("it is there");
    let worker = &of["workers"][0];
    assert_eq!([&worker["status"], &worker["shown"], &worker["health"]], ["online", "unhealthy", "unhealthy"]);
    // Who was stopped is not wanted.
    rpm.ok(&["stop", "ill"]);
    until("none is wanted", || of_app("desired") == Some(0) && of_app("unhealthy") == Some(0));
}

/// What happened while no daemon ran, and until the web server had found the next one, was not counted.
#[test]
fn what_happens_while_no_daemon_runs_is_counted() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle", "--namespace", "far"]);
    let metrics = Scraped::start(&rpm);
    let (daemon, worker) = (rpm.daemon_pid(), rpm.pids("idle")[0]);
    signal(daemon, 19);
    signal(worker, 9);
    until("the end of the worker", || !is_alive(worker));
    signal(daemon, 9);
    let labels = "app=\"idle\",namespace=\"far\"";
    let exits = || metrics.series(&format!("rpm_app_exits_total{{{labels},code=\"\",signal=\"SIGKILL\"}}"));
    let restarts = || metrics.series(&format!("rpm_app_restarts_total{{{labels},reason=\"crash\"}}"));
    until("the end is counted, and the restart", || exits().is_some() && restarts().is_some());
    assert_eq!((exits(), restarts()), (Some(1), Some(1)));
}

#[test]
fn of_two_apps_of_one_name_each_has_its_own_counts() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "twin"]);
    let metrics = Scraped::start(&rpm);
    rpm.ok(&["start", &app("idle.sh"), "--name", "twin", "-f"]);
    let mut ids = Vec::new();
    until("both are seen", || {
        let (_, all) = metrics.0.with_token("GET", "/api/v1/apps", "");
        let twins = all["apps"].as_array().expect("apps").iter().filter(|app| app["name"] == "twin");
        ids = twins.map(|app| app["id"].clone()).collect();
        ids.len() == 2
    });
    let second = format!("twin#{}", ids[1]);
    signal(rpm.pids("twin")[1], 9);
    let exits = |app: &str| {
        let labels = format!("app=\"{app}\",namespace=\"default\",code=\"\",signal=\"SIGKILL\"");
        metrics.series(&format!("rpm_app_exits_total{{{labels}}}"))
    };
    until("the end of the second is counted", || exits(&second).is_some());
    assert_eq!((exits("twin"), exits(&second)), (None, Some(1)));
}

/// A launcher with a busy child was shown as idle, and what the child had used was not counted.
#[test]
fn what_a_child_uses_is_its_worker_s_and_stays_counted() {
    let rpm = Rpm::new();
    let script = rpm.home().join("launcher.sh");
    std::fs::write(&script, "(while :; do :; done) &\nwait\nexec sleep 999\n").expect("a file");
    rpm.ok(&["start", script.to_str().expect("UTF-8"), "--name", "busy"]);
    let metrics = Scraped::start(&rpm);
    rpm.until("it is busy", "busy", |all| all.iter().all(|one| one["monit"]["cpu"].as_f64() > Some(5.0)));
    let used = || {
        let text = metrics.0.ask("GET", "/metrics", &metrics.1, "").2;
        let name = "rpm_worker_cpu_seconds_total{app=\"busy\",instance=\"0\",namespace=\"default\"} ";
        text.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok())
    };
    until("it is counted", || used() > Some(0.2));
    let before = used();
    let worker = rpm.pids("busy")[0];
    let children = || std::fs::read_to_string(format!("/proc/{worker}/task/{worker}/children")).expect("a worker");
    signal(children().trim().parse().expect("one child"), 9);
    until("its child is gone", || children().is_empty());
    assert!(used() >= before, "{:?} after {before:?}", used());
    // A new daemon has seen nobody.
    rpm.kill_daemon();
    rpm.until("it is seen", "busy", |all| all.iter().all(|one| one["pid"] == worker));
    assert!(used() >= before, "{:?} after {before:?}", used());
    rpm.until("it is idle", "busy", |all| all.iter().all(|one| one["monit"]["cpu"] == 0));
}
