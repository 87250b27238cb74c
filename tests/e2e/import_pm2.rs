//! `import pm2`: a real PM2 gives its apps to us.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rpm_tests::{Rpm, app, deps, free_port, http, is_alive, signal};

/// A PM2 from npm with a state directory of its own; its daemon goes with it.
struct Pm2 {
    home: PathBuf,
    /// Where it is a directory of its own.
    _own: Option<tempfile::TempDir>,
}

impl Pm2 {
    fn new() -> Self {
        let own = tempfile::Builder::new().prefix("pm2-").tempdir().expect("a directory");
        Self { home: own.path().to_owned(), _own: Some(own) }
    }

    fn in_the_home_of(rpm: &Rpm) -> Self {
        Self { home: rpm.home().to_owned(), _own: None }
    }

    fn run(&self, args: &[&str], port: u16) -> Output {
        Command::new(deps().join("node_modules/.bin/pm2"))
            .args(args)
            .env("PM2_HOME", &self.home)
            .env("PM2_DISABLE_VERSION_CHECK", "true")
            .env("PORT", port.to_string())
            .env("ONLY_PM2_KNOWS", "this")
            .output()
            .expect("pm2 runs")
    }

    fn ok(&self, args: &[&str], port: u16) {
        let output = self.run(args, port);
        assert!(output.status.success(), "pm2 {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn daemon(&self) -> Option<i32> {
        std::fs::read_to_string(self.home.join("pm2.pid")).ok()?.trim().parse().ok()
    }

    fn path(&self) -> PathBuf {
        self.home.clone()
    }
}

#[test]
fn who_takes_pm2s_name_finds_its_apps_in_its_directory() {
    let (rpm, port) = (Rpm::as_pm2(), free_port());
    let pm2 = Pm2::in_the_home_of(&rpm);
    pm2.ok(&["start", &app("http.js"), "--name", "web", "-i", "2"], port);
    pm2.ok(&["start", &app("idle.sh"), "--name", "idle"], port);
    pm2.ok(&["save"], port);
    let daemon = pm2.daemon().expect("a daemon");

    // Beside a PM2 that runs nothing is started.
    let told = rpm.fails(&["list"]);
    assert!(told.contains(&format!("PM2 itself (pid {daemon})")) && told.contains("`pm2 import pm2`"), "{told}");
    assert!(is_alive(daemon) && !rpm.home().join("keeper.pid").exists());

    // After it has gone, its saved list is ours; so it is in one step.
    pm2.ok(&["kill"], port);
    rpm.ok(&["resurrect"]);
    assert_eq!((rpm.statuses("web").len(), rpm.statuses("idle").len()), (2, 1));
    assert!(http::get(port, "/").is_ok());
    rpm.ok(&["save"]);
    assert!(rpm.home().join("dump.pm2.bak").exists(), "PM2's own list is kept");
    rpm.ok(&["kill"]);

    pm2.ok(&["start", &app("idle.sh"), "--name", "other"], port);
    let home = pm2.path().to_string_lossy().into_owned();
    rpm.ok(&["import", "pm2", "--home", &home, "--take-over"]);
    assert_eq!(rpm.statuses("other"), ["online"]);
    rpm.ok(&["kill"]);
}

impl Drop for Pm2 {
    fn drop(&mut self) {
        if self.daemon().is_some_and(is_alive) {
            let _ = self.run(&["kill"], 0);
        }
        if let Some(daemon) = self.daemon().filter(|pid| is_alive(*pid)) {
            signal(daemon, 9);
        }
    }
}

fn import(rpm: &Rpm, home: &Path, options: &[&str]) -> Output {
    let home = home.to_string_lossy().into_owned();
    let mut words = vec!["import", "pm2", "--home", &home];
    words.extend(options);
    rpm.run(&words)
}

#[test]
fn a_pm2_that_runs_is_taken_over() {
    let (pm2, rpm, port) = (Pm2::new(), Rpm::new(), free_port());
    pm2.ok(&["start", &app("http.js"), "--name", "web", "-i", "2", "--max-memory-restart", "300M"], port);
    pm2.ok(&["start", &app("idle.sh"), "--name", "idle", "--cron-restart", "0 3 * * *"], port);
    pm2.ok(&["start", &app("idle.sh"), "--name", "asleep"], port);
    pm2.ok(&["stop", "asleep"], port);
    let daemon = pm2.daemon().expect("a daemon");

    let shown = import(&rpm, &pm2.path(), &["--dry-run"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.status.success()
            && text.contains("web: ")
            && text.contains("(2 workers, env ONLY_PM2_KNOWS PM2_DISABLE_VERSION_CHECK PORT)"),
        "{text}"
    );
    assert!(text.contains("(1 worker, stopped"), "{text}");
    let refused = import(&rpm, &pm2.path(), &[]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--take-over"));
    assert!(is_alive(daemon), "neither looking nor a refusal touches it");

    let taken = import(&rpm, &pm2.path(), &["--take-over"]);
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    assert!(!is_alive(daemon));
    assert_eq!(rpm.statuses("web"), ["online", "online"]);
    assert_eq!((rpm.statuses("idle"), rpm.statuses("asleep")), (vec!["online".to_owned()], vec!["stopped".to_owned()]));
    assert!(http::get(port, "/").is_ok(), "it serves on the port that only PM2 knew");
    let web = &rpm.processes("web")[0]["pm2_env"];
    assert_eq!((&web["exec_mode"], &web["max_memory_restart"]), (&"cluster_mode".into(), &314_572_800.into()));
    assert_eq!(web["ONLY_PM2_KNOWS"], "this");
    assert_eq!(web["pm_out_log_path"], rpm.home().join("logs/web-out-0.log").to_string_lossy().as_ref());
    assert_eq!(rpm.processes("idle")[0]["pm2_env"]["cron_restart"], "0 3 * * *");
    // Once more is once too often.
    let again = import(&rpm, &pm2.path(), &[]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("already"));
    // The way back is open: PM2 saved its list when it left.
    assert!(pm2.path().join("dump.pm2").exists());
    rpm.ok(&["save"]);
}

#[test]
fn a_saved_list_is_enough() {
    let (pm2, rpm) = (Pm2::new(), Rpm::new());
    pm2.ok(&["start", &app("idle.sh"), "--name", "idle"], 0);
    pm2.ok(&["save"], 0);
    pm2.ok(&["kill"], 0);
    let output = import(&rpm, &pm2.path(), &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(rpm.statuses("idle"), ["online"]);
    let nowhere = import(&rpm, Path::new("/no/such/place"), &[]);
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("there is no PM2"));
}

#[test]
fn a_list_that_a_variable_moved_is_found() {
    let (rpm, pm2) = (Rpm::new(), tempfile::tempdir().expect("a directory"));
    let list = serde_json::json!([{ "name": "moved", "pm_exec_path": rpm_tests::app("idle.sh"), "pm_cwd": "/",
        "exec_interpreter": "bash", "exec_mode": "fork_mode", "status": "online" }]);
    std::fs::write(pm2.path().join("elsewhere"), list.to_string()).expect("a list can be written");
    let home = pm2.path().to_string_lossy();
    let mut command = rpm.command(&["import", "pm2", "--home", &home, "--dry-run"]);
    let output = command.env("PM2_DUMP_FILE_PATH", pm2.path().join("elsewhere")).output().expect("rpm runs");
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("moved"), "{output:?}");
}
