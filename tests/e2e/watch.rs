//! Changed files restart an app: which ones, how often, and for how long.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rpm_tests::{Rpm, app, until};
use serde_json::{Value, json};

/// A daemon, and a directory with an app in it.
struct Stage {
    rpm: Rpm,
    directory: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let stage = Self { rpm: Rpm::new(), directory };
        for below in ["src", "logs", "node_modules/x"] {
            fs::create_dir_all(stage.path(below)).expect("a directory");
        }
        fs::copy(app("idle.sh"), stage.path("app.sh")).expect("a copy");
        stage
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn write(&self, path: &str) {
        fs::write(self.path(path), "changed").expect("it is written");
    }

    /// Starts an app whose restart, for `src/first`, is under way until the file is there that is returned.
    fn restart_that_waits(&self) -> PathBuf {
        fs::copy(app("slow-stop.sh"), self.path("app.sh")).expect("a copy");
        let gate = self.rpm.home().join("gate");
        let args = ["start", "./app.sh", "--name", "app", "--watch", "--kill-timeout", "60000"];
        assert!(self.command(&args).env("GATE", &gate).output().expect("rpm runs").status.success());
        self.write("src/first");
        until("the restart to be under way", || self.rpm.log("app-out.log").contains("leaving"));
        gate
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.rpm.command(args);
        command.current_dir(self.directory.path());
        command
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("rpm runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "rpm {args:?}: {text}\n{}", self.rpm.daemon_log());
        text
    }

    /// Starts `app.sh` as `app`.
    fn start(&self, options: &[&str]) {
        self.ok(&[&["start", "./app.sh", "--name", "app"], options].concat());
    }

    fn env(&self, key: &str) -> Value {
        self.rpm.processes("app")[0]["pm2_env"][key].clone()
    }

    /// Waits until every worker was restarted so often and is up.
    fn restarted(&self, times: u64) {
        let is_up =
            |process: &Value| process["pm2_env"]["restart_time"] == times && process["pm2_env"]["status"] == "online";
        self.rpm.until(&format!("{times} restarts"), "app", |list| list.iter().all(is_up));
    }

    /// Returns the files that restarts were for, each once for each worker that was asked to leave.
    fn reasons(&self) -> Vec<String> {
        let log = self.rpm.daemon_log();
        let stops = log.lines().filter(|line| line.contains("] stopping (watch: "));
        stops.filter_map(|line| Some(line.rsplit_once("watch: ")?.1.trim_end_matches(')').to_owned())).collect()
    }

    /// Changes a file that matters, and makes sure that nothing before it caused a restart after the ones given.
    fn only_this_matters(&self, before: u64) {
        self.write("src/marker");
        self.restarted(before + 1);
        assert_eq!(self.reasons().last().map(String::as_str), Some("src/marker"), "{:?}", self.reasons());
    }
}

#[test]
fn a_change_restarts_every_worker_of_the_app_and_names_the_file() {
    let stage = Stage::new();
    stage.start(&["--watch", "-i", "2"]);
    stage.ok(&["start", &app("idle.sh"), "--name", "other"]);
    stage.write("src/a.js");
    stage.restarted(1);
    assert_eq!(stage.reasons(), ["src/a.js", "src/a.js"]);
    assert_eq!(stage.rpm.restarts("other"), [0]);
    let list: Value = serde_json::from_str(&stage.rpm.ok(&["list", "--json"])).expect("JSON");
    assert_eq!(list["apps"][0]["workers"][0]["cause"], "watch");
}

#[test]
fn what_is_hidden_or_in_node_modules_does_not_matter() {
    let stage = Stage::new();
    stage.start(&["--watch"]);
    for path in [".env", "node_modules/x/a.js", "src/.a.js.swp", "src/a.js~"] {
        stage.write(path);
    }
    stage.only_this_matters(0);
    fs::remove_file(stage.path("src/marker")).expect("it is removed");
    stage.restarted(2);
}

#[test]
fn paths_and_patterns_of_an_ecosystem_file_count_from_the_working_directory() {
    let stage = Stage::new();
    let file = r"module.exports = { apps: [{ name: 'app', script: './app.sh', watch: ['src', 'conf/*.json'],
        ignore_watch: ['src/gen', '**/*.tmp', /\.MD$/i], watch_delay: 50 }] }";
    fs::write(stage.path("eco.config.js"), file).expect("it is written");
    stage.ok(&["start", "eco.config.js"]);
    assert_eq!(stage.env("watch"), json!(["src", "conf/*.json"]));
    assert_eq!(stage.env("ignore_watch"), json!(["src/gen", "**/*.tmp", "/\\.MD$/i"]));
    assert_eq!(stage.env("watch_delay"), 50);
    fs::create_dir_all(stage.path("src/gen")).expect("a directory");
    for path in ["src/gen/x", "src/x.tmp", "src/readme.md", "logs/x", "top.json"] {
        stage.write(path);
    }
    stage.only_this_matters(0);
    fs::create_dir(stage.path("conf")).expect("a directory");
    stage.write("conf/x.json");
    stage.restarted(2);
    assert_eq!(stage.reasons()[1], "conf/x.json");
}

#[test]
fn options_of_the_command_line_choose_files() {
    let stage = Stage::new();
    stage.start(&[
        "--watch",
        "src",
        "--watch",
        "logs",
        "--ignore-watch",
        "src/gen",
        "--ext",
        "js,json",
        "--watch-delay",
        "0.2",
    ]);
    assert_eq!(stage.env("watch"), json!(["src", "logs"]));
    assert_eq!(stage.env("watch_delay"), 200);
    fs::create_dir(stage.path("src/gen")).expect("a directory");
    for path in ["src/gen/a.js", "src/a.txt", "top.js"] {
        stage.write(path);
    }
    stage.write("logs/b.json");
    stage.restarted(1);
    assert_eq!(stage.reasons(), ["logs/b.json"]);
}

#[test]
fn a_burst_of_changes_is_one_restart() {
    let stage = Stage::new();
    stage.start(&["--watch", "--watch-delay", "1"]);
    for number in 0..500 {
        stage.write(&format!("src/f{number}"));
    }
    stage.restarted(1);
    stage.only_this_matters(1);
}

#[test]
fn changes_during_a_restart_are_exactly_one_more() {
    let stage = Stage::new();
    let gate = stage.restart_that_waits();
    stage.write("src/second");
    stage.write("src/third");
    fs::write(&gate, "").expect("it is written");
    stage.restarted(2);
    assert_eq!(stage.reasons(), ["src/first", "src/second"]);
    stage.only_this_matters(2);
    assert_eq!(stage.reasons().len(), 3);
}

#[test]
fn an_update_during_a_restart_leaves_it_to_the_next_daemon() {
    let stage = Stage::new();
    let gate = stage.restart_that_waits();
    stage.rpm.ok(&["update"]);
    fs::write(&gate, "").expect("it is written");
    stage.restarted(1);
    until("the app", || stage.rpm.log("app-out.log").matches("started").count() == 2);
}

#[test]
fn its_own_logs_and_pid_file_never_restart_an_app() {
    let stage = Stage::new();
    let script = "#!/bin/sh\nwhile :; do echo line; echo line >&2; sleep 0.05; done\n";
    fs::write(stage.path("app.sh"), script).expect("it is written");
    stage.start(&["--watch", "-o", "src/out.log", "-e", "src/err.log", "-p", "src/app.pid", "--ignore-watch", "none"]);
    until("some output", || fs::read(stage.path("src/out.log")).is_ok_and(|text| text.len() > 50));
    stage.only_this_matters(0);
    assert_eq!(stage.reasons(), ["src/marker"]);
}

#[test]
fn directories_that_come_later_are_watched() {
    let stage = Stage::new();
    stage.start(&["--watch", "--ext", "js"]);
    fs::create_dir_all(stage.path("new/deep")).expect("a directory");
    stage.write("new/deep/a.js");
    stage.restarted(1);
    stage.write("new/deep/b.js");
    stage.restarted(2);
    assert_eq!(stage.reasons(), ["new/deep/a.js", "new/deep/b.js"]);
}

/// PM2's life cycle of the flag, as measured.
#[test]
fn a_stop_ends_watching_and_restart_watch_turns_it_over() {
    let stage = Stage::new();
    stage.start(&["--watch"]);
    assert_eq!(stage.env("watch"), true);
    stage.ok(&["stop", "app"]);
    assert_eq!(stage.env("watch"), false);
    stage.write("src/while-stopped");
    stage.ok(&["restart", "app"]);
    assert_eq!(stage.env("watch"), false, "a restart leaves it as it is");
    stage.write("src/unwatched");
    stage.ok(&["restart", "app", "--watch"]);
    assert_eq!(stage.env("watch"), true);
    stage.only_this_matters(1);
    stage.ok(&["restart", "app", "--watch"]);
    assert_eq!(stage.env("watch"), false);
    stage.ok(&["restart", "app", "--watch"]);
    stage.ok(&["stop", "app", "--watch"]);
    assert_eq!(stage.env("watch"), false);
    assert_eq!(stage.reasons(), ["src/marker"]);
}

#[test]
fn watching_survives_the_daemon_and_a_broken_app_comes_back_with_its_file() {
    let stage = Stage::new();
    stage.start(&["--watch", "--max-restarts", "2"]);
    stage.rpm.kill_daemon();
    stage.write("src/a");
    stage.restarted(1);
    fs::write(stage.path("app.sh"), "#!/bin/sh\nexit 1\n").expect("it is written");
    stage.rpm.until("errored", "app", |list| list[0]["pm2_env"]["status"] == "errored");
    fs::copy(app("idle.sh"), stage.path("app.sh")).expect("a copy");
    stage.rpm.until("online", "app", |list| list[0]["pm2_env"]["status"] == "online");
}

#[test]
fn a_bad_pattern_is_refused_before_anything_starts() {
    let stage = Stage::new();
    let output = stage.command(&["start", "./app.sh", "--watch", "--ignore-watch", "a/["]).output().expect("rpm runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("--ignore-watch") && text.contains("not a pattern"), "{text}");
    assert_eq!(stage.rpm.jlist(), Vec::<Value>::new());
}

/// In a user namespace of its own the limit can be set without touching the machine's.
#[test]
fn the_kernels_limit_is_named_with_its_value() {
    let limit = Path::new("/proc/sys/user/max_inotify_watches");
    let set = ["-U", "-r", "sh", "-c", "echo 3 > /proc/sys/user/max_inotify_watches"];
    let may = Command::new("unshare").args(set).output().is_ok_and(|output| output.status.success());
    if !limit.exists() || !may {
        eprintln!("left out: no user namespaces here");
        return;
    }
    let stage = Stage::new();
    for number in 0..10 {
        fs::create_dir(stage.path(&format!("src/d{number}"))).expect("a directory");
    }
    let rpm = stage.command(&["start", "./app.sh", "--name", "app", "--watch"]);
    let mut command = Command::new("unshare");
    command.args(["-U", "-r", "sh", "-c", "echo 3 > /proc/sys/user/max_inotify_watches; exec \"$@\"", "sh"]);
    command.arg(rpm.get_program()).args(rpm.get_args()).current_dir(stage.directory.path());
    command.env("RPM_HOME", stage.rpm.home()).env("NO_COLOR", "1");
    let output = command.output().expect("rpm runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let problem = "fs.inotify.max_user_watches";
    until("the problem in the log", || stage.rpm.daemon_log().contains(problem));
    assert!(stage.rpm.daemon_log().contains("allows 3 watched directories"), "{}", stage.rpm.daemon_log());
    assert!(text.contains(problem), "it is told in the reply: {text}");
}
