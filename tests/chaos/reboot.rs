//! The machine loses its power and comes back: nothing runs, the files tell of what did, and their numbers belong to others.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rpm_tests::until;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::scenario::{May, Scenario};
use crate::stage::{Stage, script, texts};

pub(crate) const TABLE: &[Scenario] =
    &[Scenario::new("power_cut_and_boot", &[], boot).may(&[May::Outages, May::Forget]).root()];

/// Another boot id, for a command and whatever it starts.
const ELSEWHERE: &str = r#"mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@""#;

fn boot(stage: &mut Stage) {
    let boot_id = stage.scratch.path().join("boot_id");
    fs::write(&boot_id, "00000000-1111-4222-8333-444444444444\n").expect("a file");
    if !in_next_boot(&boot_id, &["true".into()]).status().is_ok_and(|status| status.success()) {
        return stage.skip("a boot id cannot be mounted here");
    }
    // Declared: what only the shell had is not in the list.
    let web = json!({ "name": "web", "script": script("http.js"), "instances": 2, "env": { "PORT": stage.port } });
    let file = stage.rpm.file_of(web, &json!({ "exec_mode": "cluster" }));
    stage.ok(&["start", &file]);
    stage.start("plain", "idle.sh", &[]);
    stage.start("stopped", "idle.sh", &[]);
    stage.ok(&["stop", "stopped"]);
    stage.watch.list_ms.store(2000, std::sync::atomic::Ordering::Relaxed);
    stage.ok(&["save"]);
    // Started after the last save: of this boot only.
    stage.start("unsaved", "idle.sh", &[]);
    let unit = stage.scratch.path().join("root");
    stage.ok(&["startup", "systemd", "--root", &unit.to_string_lossy()]);
    until("the second copy", || {
        let copy = fs::read_to_string(stage.rpm.home().join("state.json.bak")).unwrap_or_default();
        copy.contains("unsaved")
    });

    power_cut(stage);
    reuse_pids(stage);
    let command = resurrection(&unit, stage.rpm.home());
    let output = in_next_boot(&boot_id, &command).output().expect("it runs");
    assert!(output.status.success(), "{:?}", texts(&output));
    each_once(stage);
    // By hand, after the unit; and in a daemon that was killed since.
    let output = in_next_boot(&boot_id, &command).output().expect("it runs");
    assert!(output.status.success(), "{:?}", texts(&output));
    each_once(stage);
    stage.rpm.kill_daemon();
    each_once(stage);
    stage.innocents_live();
}

fn in_next_boot(boot_id: &Path, command: &[String]) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", ELSEWHERE]).arg(boot_id).args(command);
    unshare.stdin(Stdio::null()).stderr(Stdio::piped());
    unshare
}

/// Everything ends at once, and nobody tidies up.
fn power_cut(stage: &Stage) {
    let daemon = stage.rpm.daemon_pid();
    stage.signal_own(daemon, Signal::STOP);
    stage.signal_own(stage.rpm.keeper_pid(), Signal::KILL);
    stage.processes().iter().for_each(|process| stage.signal_own(process.pid, Signal::KILL));
    until("darkness", || stage.processes().is_empty());
    for file in ["state.json", "rpm.pid", "keeper.pid", "rpm.sock"] {
        assert!(stage.rpm.home().join(file).exists(), "{file} is left");
    }
}

/// Every number in the files belongs to somebody else now, who was started at the same tick, even.
fn reuse_pids(stage: &mut Stage) {
    for name in ["state.json", "state.json.bak"] {
        let path = stage.rpm.home().join(name);
        let mut state: Value = serde_json::from_slice(&fs::read(&path).expect("a state")).expect("JSON");
        let processes = state["processes"].as_object_mut().expect("processes");
        assert_eq!(processes.len(), 4, "{processes:?}");
        for seen in processes.values_mut() {
            let innocent = stage.innocent();
            *seen = json!([innocent, rpm_sys::proc::start_time(innocent)]);
        }
        fs::write(&path, state.to_string()).expect("a file");
    }
    let pids = fs::read_dir(stage.rpm.home().join("pids")).expect("the pid files").flatten();
    let files: Vec<_> = pids.map(|entry| entry.path()).collect();
    let own = ["rpm.pid", "keeper.pid"].map(|name| stage.rpm.home().join(name));
    assert!(!files.is_empty());
    for file in files.into_iter().chain(own) {
        fs::write(file, stage.innocent().to_string()).expect("a file");
    }
}

/// Returns what the unit runs at boot, with the environment it gives.
fn resurrection(root: &Path, home: &Path) -> Vec<String> {
    let unit = fs::read_to_string(root.join("etc/systemd/system/rpm-root.service")).expect("the unit");
    let values = |key: &str| -> Vec<String> {
        let lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.map(|value| value.trim_matches('"').to_owned()).collect()
    };
    let start = values("ExecStart");
    let [start] = start.as_slice() else { panic!("one command: {unit}") };
    let words = start.split_whitespace().map(|word| word.trim_matches('"').to_owned());
    let environment = values("Environment");
    // Not the one of whoever runs the tests.
    assert!(environment.iter().any(|one| one == &format!("RPM_HOME={}", home.display())), "{unit}");
    ["env".to_owned(), "-i".to_owned()].into_iter().chain(environment).chain(words).collect()
}

fn each_once(stage: &Stage) {
    stage.settle();
    let there = ["web", "plain", "stopped", "unsaved"].map(|app| stage.mains(app).len());
    assert_eq!(there, [2, 1, 0, 0], "what was saved is there, once");
    assert_eq!(stage.rpm.restarts("web"), [0, 0]);
    assert_eq!(stage.rpm.statuses("stopped"), ["stopped"]);
}
