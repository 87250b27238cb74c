//! The unit that `startup` writes, under a real systemd: boot, kills of daemon and keeper, stop.
//!
//! systemd is process 1 of namespaces of its own. It sees the machine's files, but another `/run`, no other unit and nothing of
//! the other processes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rpm_tests::{Load, Rpm, app, free_port, http, is_alive, until};

/// `sh -c SCRIPT UNIT`. The only units are ours: the machine's own would start what belongs to it, and clean its `/tmp`.
const BOOT: &str = r#"
set -e
mount --make-rprivate /
for place in /run /etc/systemd/system /sys/fs/cgroup; do mount -t tmpfs tmpfs $place; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys
cp "$0" /etc/systemd/system/
for target in sysinit basic network shutdown; do
    printf '[Unit]\nDefaultDependencies=no\n' > /etc/systemd/system/$target.target
done
printf '[Unit]\nDefaultDependencies=no\nWants=%s\n' "${0##*/}" > /etc/systemd/system/test.target
export container=unshare SYSTEMD_UNIT_PATH=/etc/systemd/system
exec /lib/systemd/systemd --system --unit=test.target --show-status=no --log-target=null
"#;

/// A machine of its own that has booted.
struct Machine {
    unshare: Child,
    /// Its process 1, as it is numbered here.
    init: i32,
}

impl Machine {
    /// Boots with a unit; `None` where that cannot be done.
    fn boot(unit: &Path) -> Option<Self> {
        let unshared = ["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--cgroup", "--ipc", "--uts"];
        let is_possible = Path::new("/lib/systemd/systemd").exists()
            && Command::new("unshare")
                .args(unshared)
                .args(["sh", "-c", "mount -t tmpfs tmpfs /run && mount -t cgroup2 cgroup2 /run"])
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success());
        if !is_possible {
            eprintln!("skipped: systemd cannot be started here in namespaces of its own");
            return None;
        }
        let mut unshare = Command::new("unshare");
        unshare
            .args(unshared)
            .args(["sh", "-c", BOOT])
            .arg(unit)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let unshare = unshare.spawn().expect("unshare runs");
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let mut machine = Self { unshare, init: 0 };
        until("process 1", || {
            let text = std::fs::read_to_string(&children).unwrap_or_default();
            machine.init = text.split_whitespace().next().and_then(|pid| pid.parse().ok()).unwrap_or(0);
            machine.init != 0
        });
        until("the boot", || machine.run(&["systemctl", "is-system-running"]).stdout.starts_with(b"running"));
        Some(machine)
    }

    /// Runs a program there.
    fn run(&self, words: &[&str]) -> Output {
        let init = self.init.to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &init, "--mount", "--pid", "--cgroup"]).args(words).stdin(Stdio::null());
        command.output().expect("nsenter runs")
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A property of the unit.
    fn property(&self, name: &str) -> String {
        self.ok(&["systemctl", "show", UNIT, "--value", "-p", name]).trim().to_owned()
    }

    /// Waits until the unit runs, with the keeper of the home for its main process; returns that.
    fn is_up(&self, rpm: &Rpm, but_not: &str) -> String {
        let mut keeper = String::new();
        until("the unit to be active", || {
            keeper = pid_of(rpm, "keeper.pid");
            let shown = || (self.property("ActiveState"), self.property("SubState"), self.property("MainPID"));
            keeper != but_not && !keeper.is_empty() && shown() == ("active".into(), "running".into(), keeper.clone())
        });
        keeper
    }

    fn kill(&self, rpm: &Rpm, files: &[&str]) {
        let line = files.iter().fold("kill -9".to_owned(), |line, file| format!("{line} {}", pid_of(rpm, file)));
        self.ok(&["sh", "-c", &line]);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With process 1 all the others go.
        rpm_tests::signal(self.init, 9);
        let _killed = self.unshare.wait();
    }
}

const UNIT: &str = "rpm-root.service";

#[test]
fn a_unit_brings_the_apps_back_and_outlives_daemon_and_keeper() {
    let rpm = Rpm::new();
    if rpm.home().metadata().expect("the home is there").uid() != 0 {
        eprintln!("skipped: only root can start systemd");
        return;
    }
    let port = free_port();
    let web = serde_json::json!({
        "name": "web", "script": app("http.js"), "instances": 2, "exec_mode": "cluster", "env": { "PORT": port },
    });
    rpm.ok(&["start", &rpm.file_of(web, &serde_json::json!({}))]);
    rpm.ok(&["save"]);
    rpm.ok(&["kill"]);
    let root = rpm.home().join("root");
    rpm.ok(&["startup", "systemd", "--root", &root.to_string_lossy()]);
    let Some(machine) = Machine::boot(&root.join("etc/systemd/system").join(UNIT)) else { return };

    let booted = machine.is_up(&rpm, "");
    let program = rpm.command(&[]).get_program().to_string_lossy().into_owned();
    let home = format!("RPM_HOME={}", rpm.home().display());
    let pids = || machine.ok(&["env", &home, &program, "pid", "web"]);
    let workers = pids();
    assert_eq!(workers.split_whitespace().count(), 2, "{workers}");

    let load = Load::start(port, "/", 2);
    load.wait_for(20);
    let daemon = pid_of(&rpm, "rpm.pid");
    machine.kill(&rpm, &["rpm.pid"]);
    until("the next daemon", || ![&daemon, ""].contains(&&*pid_of(&rpm, "rpm.pid")));
    // It answers, so it has everything.
    assert_eq!(pids(), workers, "the workers were started again");
    machine.kill(&rpm, &["keeper.pid"]);
    let second = machine.is_up(&rpm, &booted);
    load.wait_for(20);
    assert_eq!(pids(), workers, "the workers were started again");
    machine.ok(&["systemctl", "reload", UNIT]);
    load.wait_for(20);
    assert_eq!(load.stop(), Vec::<String>::new());
    assert!(pids().split_whitespace().all(|pid| !workers.contains(pid)), "nothing was reloaded");

    // Both at once: the workers of a Node cluster leave, and come back.
    machine.kill(&rpm, &["rpm.pid", "keeper.pid"]);
    let third = machine.is_up(&rpm, &second);
    until("an answer", || http::get(port, "/").is_ok());
    machine.ok(&["systemctl", "restart", UNIT]);
    machine.is_up(&rpm, &third);
    until("an answer", || http::get(port, "/").is_ok());
    let inside: Vec<i32> = processes_of(&rpm);
    assert!(inside.len() >= 4, "{inside:?}");
    machine.ok(&["systemctl", "stop", UNIT]);
    assert_eq!(machine.property("Result"), "success");
    until("everything to be gone", || inside.iter().all(|pid| !is_alive(*pid)));
}

/// Returns what a pid file says; empty without one.
fn pid_of(rpm: &Rpm, file: &str) -> String {
    std::fs::read_to_string(rpm.home().join(file)).unwrap_or_default().trim().to_owned()
}

/// Returns the processes that have this home, as they are numbered here.
fn processes_of(rpm: &Rpm) -> Vec<i32> {
    let mark = format!("RPM_HOME={}", rpm.home().display());
    let pids = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has_mark = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    pids.filter(has_mark).collect()
}
