//! `set` and its kin, and what leads elsewhere.

use rpm_tests::{Rpm, app};

fn variable(rpm: &Rpm, app: &str, name: &str) -> Option<String> {
    let text = rpm.ok(&["env", app]);
    text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned()))
}

#[test]
fn a_value_that_is_set_restarts_its_app_and_is_a_variable_of_it() {
    let rpm = Rpm::new();
    rpm.ok(&["set", "idle:early", "1"]);
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    rpm.ok(&["start", &app("idle.sh"), "--name", "other"]);
    assert_eq!(variable(&rpm, "idle", "early").as_deref(), Some("1"), "set before the start");
    let pids = rpm.pids("other");
    rpm.ok(&["set", "idle.config1", "val 1"]);
    assert_eq!(variable(&rpm, "idle", "config1").as_deref(), Some("val 1"));
    assert_eq!(variable(&rpm, "idle", "idle").as_deref(), Some(r#"{"early":"1","config1":"val 1"}"#));
    assert_eq!(rpm.restarts("idle"), [1]);
    assert_eq!(rpm.pids("other"), pids, "nobody else is touched");
    // The running process itself has it, not only our word for it.
    let environ = std::fs::read(format!("/proc/{}/environ", rpm.pids("idle")[0])).expect("a process has variables");
    assert!(environ.split(|byte| *byte == 0).any(|variable| variable == b"config1=val 1"));
    rpm.ok(&["multiset", "idle:a 1 idle:b 2"]);
    assert_eq!(rpm.restarts("idle"), [2], "one restart for all of them");
    assert_eq!(variable(&rpm, "idle", "b").as_deref(), Some("2"));

    assert_eq!(rpm.ok(&["get", "idle:a"]), "Value for module idle key a: 1\n");
    assert!(rpm.ok(&["get", "idle"]).contains("$ rpm set idle:b 2"));
    assert!(rpm.ok(&["conf"]).contains("Module: idle"));
    rpm.ok(&["unset", "idle:a"]);
    rpm.fails(&["get", "idle:a"]);
    assert_eq!(rpm.restarts("idle"), [2], "unset restarts nothing");
    rpm.ok(&["restart", "idle"]);
    assert_eq!(variable(&rpm, "idle", "a"), None);
    assert_eq!(variable(&rpm, "idle", "b").as_deref(), Some("2"));
    rpm.ok(&["unset", "all"]);
    rpm.fails(&["get", "idle:b"]);
    let text = std::fs::read_to_string(rpm.home().join("module_conf.json")).expect("the file is there");
    assert_eq!(text, "{}");
}

#[test]
fn called_pm2_the_file_may_be_elsewhere() {
    let (rpm, place) = (Rpm::as_pm2(), tempfile::tempdir().expect("a directory"));
    let file = place.path().join("conf");
    let output = rpm.command(&["set", "api:limit", "10"]).env("PM2_MODULE_CONF_FILE", &file).output();
    assert!(output.expect("rpm runs").status.success());
    assert!(std::fs::read_to_string(&file).expect("the file is there").contains("limit"));
    assert!(!rpm.home().join("module_conf.json").exists());
}

#[test]
fn wrong_keys_are_told_and_change_nothing() {
    let rpm = Rpm::new();
    assert!(rpm.fails(&["set"]).contains("set app:key value"));
    assert!(rpm.fails(&["set", "a:", "1"]).contains("is no key"));
    assert!(rpm.fails(&["multiset", "odd"]).contains("has no value"));
    assert!(rpm.fails(&["get", "nope"]).contains("nope is not set"));
    assert!(!rpm.home().join("module_conf.json").exists());
    rpm.ok(&["unset", "nope"]);
    // None of these needs a daemon, so none is started.
    assert!(!rpm.home().join("keeper.pid").exists());
}

#[test]
fn the_commands_of_the_online_service_lead_home() {
    let rpm = Rpm::new();
    rpm.ok(&["link", "delete"]);
    rpm.ok(&["unlink"]);
    for words in
        [&["link", "a", "b"][..], &["plus"], &["login"], &["open"], &["monitor"], &["install-otel"], &["deepUpdate"]]
    {
        assert!(rpm.fails(words).contains("hint:"), "{words:?}");
    }
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    let pids = rpm.pids("idle");
    rpm.ok(&["monitor", "idle"]);
    assert_eq!(rpm.ok(&["prettylist"]).matches("_km_monitored: true").count(), 1);
    rpm.ok(&["unmonitor"]);
    assert_eq!(rpm.ok(&["prettylist"]).matches("_km_monitored: false").count(), 1);
    assert_eq!((rpm.pids("idle"), rpm.restarts("idle")), (pids, vec![0]), "a mark restarts nothing");
    rpm.fails(&["monitor", "nope"]);
}
