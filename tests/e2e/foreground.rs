//! Apps in the foreground: `runtime`, `start --no-daemon`, `dev`; as process 1 of a container too.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rpm_tests::{Rpm, app, is_alive, signal, until};

/// A command that stays, and what it has said so far.
struct Running {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, out }
    }

    /// Reads lines until one has the words.
    fn says(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            let length = self.out.read_line(&mut line).expect("a line");
            assert!(length > 0, "it never said {words:?}: {}", self.errors());
            if line.contains(words) {
                return line;
            }
        }
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        let _ = self.child.stderr.take().map(|mut errors| errors.read_to_string(&mut text));
        text
    }

    fn code(mut self) -> Option<i32> {
        // Whatever is left is read, so that nobody waits for a full pipe.
        let _ = self.out.read_to_end(&mut Vec::new());
        self.child.wait().expect("an end").code()
    }

    fn pid(&self) -> i32 {
        self.child.id() as i32
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn talker(directory: &Path) -> String {
    let script = directory.join("talker.sh");
    let source =
        "#!/bin/bash\necho up\ntrap 'echo cleaned up; exit 0' INT TERM\nwhile :; do read -rt 1 <> <(:) || :; done\n";
    std::fs::write(&script, source).expect("a script");
    script.to_string_lossy().into_owned()
}

/// `docker exec CONTAINER pm2 logs`: there are no files, and `runtime` alone reads what the apps say.
#[test]
fn logs_beside_runtime_show_what_is_said_from_then_on() {
    for rpm in [Rpm::new(), Rpm::as_pm2()] {
        let script = rpm.home().join("counter.sh");
        let source =
            "#!/bin/bash\nfor ((n = 1; ; n++)); do echo \"out $n\"; echo \"err $n\" >&2; read -rt 0.02 <> <(:); done\n";
        std::fs::write(&script, source).expect("a script");
        let mut running = Running::start(&mut rpm.command(&["runtime", &script.to_string_lossy(), "--name", "count"]));
        running.says("out 1");
        let mut looking = Running::start(&mut rpm.command(&["logs", "count", "--raw"]));
        let first: u32 = looking.says("out ").trim().trim_start_matches("out ").parse().expect("a number");
        for number in first + 1..first + 20 {
            assert_eq!(looking.says("out "), format!("out {number}\n"));
        }
        let mut errors = Running::start(&mut rpm.command(&["logs", "--err"]));
        assert!(errors.says("err ").starts_with("0|count"), "whose line it is");
        // Of those who leave, nothing stays.
        drop((looking, errors));
        until("the pipes of who left to go", || {
            let names = std::fs::read_dir(rpm.home().join("console")).expect("it is there").flatten();
            names.into_iter().all(|entry| !entry.file_name().to_string_lossy().contains('.'))
        });
        signal(running.pid(), 2);
        assert_eq!(running.code(), Some(0));
    }
}

#[test]
fn a_signal_stops_the_apps_and_what_they_say_then_is_still_seen() {
    let rpm = Rpm::new();
    let script = talker(rpm.home());
    for number in [2, 15] {
        let mut running = Running::start(&mut rpm.command(&["runtime", &script]));
        running.says("up");
        let keeper = rpm.keeper_pid();
        signal(running.pid(), number);
        running.says("cleaned up");
        assert_eq!(running.code(), Some(0));
        assert!(!is_alive(keeper), "nothing is left behind");
    }
}

#[test]
fn a_signal_during_the_start_leaves_nothing_behind() {
    let rpm = Rpm::new();
    let script = talker(rpm.home());
    // At every stage of the start: before there is a daemon, while it starts, while the app does.
    for wait_ms in [1, 5, 10, 20, 40, 80] {
        let running = Running::start(&mut rpm.command(&["runtime", &script]));
        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
        signal(running.pid(), 15);
        // Before the handlers are there, the signal itself ends it.
        assert!(matches!(running.code(), Some(0) | None), "after {wait_ms} ms");
        until("the end of the daemon", || !rpm.home().join("rpm.sock").exists());
    }
}

#[test]
fn lines_have_the_form_that_was_asked_for() {
    let rpm = Rpm::new();
    let script = talker(rpm.home());
    for (option, expected) in [
        ("--raw", "up\n"),
        ("--formatted", "0|talker "),
        ("--json", "\"message\":\"up\""),
        ("--format", "app=talker id=0 type=out message=up"),
    ] {
        let mut running = Running::start(&mut rpm.command(&["runtime", "start", &script, option]));
        let line = running.says("up");
        assert!(line.contains(expected), "{option}: {line}");
        signal(running.pid(), 2);
        assert_eq!(running.code(), Some(0), "{option}");
    }
}

/// Every file below a directory with its size.
fn files(directory: &Path) -> Vec<(String, u64)> {
    let entries = directory.read_dir().into_iter().flatten().flatten();
    entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.metadata().map_or(0, |m| m.len())))
        .collect()
}

#[test]
fn what_apps_say_goes_to_no_file_unless_one_is_named() {
    let rpm = Rpm::new();
    let script = rpm.home().join("both.sh");
    std::fs::write(&script, "#!/bin/sh\necho to out\necho to err >&2\nexec sleep 1000\n").expect("a script");
    let script = script.to_string_lossy().into_owned();
    let named = rpm.home().join("named.log");
    let options = ["--output", &named.to_string_lossy()].map(str::to_owned);
    for options in [&[][..], &options] {
        let mut arguments = vec!["runtime", &script];
        arguments.extend(options.iter().map(String::as_str));
        let mut running = Running::start(&mut rpm.command(&arguments));
        assert_eq!(running.says("to "), "to out\n");
        assert_eq!(files(&rpm.home().join("logs")), [], "{options:?}");
        let process = &rpm.jlist()[0]["pm2_env"];
        assert_eq!(process["pm_err_log_path"], "/dev/null");
        signal(running.pid(), 2);
        // As the app itself would have it.
        assert_eq!(running.errors(), "to err\n");
        assert_eq!(running.code(), Some(0));
    }
    assert_eq!(std::fs::read_to_string(&named).expect("a log"), "to out\n");
}

#[test]
fn a_file_of_apps_has_its_logs_as_pm2_and_its_formats_without_logs() {
    for (rpm, has_logs) in [(Rpm::new(), false), (Rpm::as_pm2(), true)] {
        let script = talker(rpm.home());
        let file = rpm.home().join("apps.json");
        let app = serde_json::json!({ "name": "a", "script": script, "log_date_format": "[at]" });
        let record = serde_json::json!({ "name": "b", "script": script, "log_type": "json" });
        std::fs::write(&file, serde_json::json!([app, record]).to_string()).expect("written");
        let mut running = Running::start(&mut rpm.command(&["runtime", &file.to_string_lossy()]));
        let mut lines = [running.says("up"), running.says("up")];
        lines.sort();
        assert_eq!(lines[0], "at: up\n");
        let record: serde_json::Value = serde_json::from_str(&lines[1]).expect("a record");
        assert_eq!((&record["message"], &record["app_name"]), (&"up\n".into(), &"b".into()));
        assert_eq!(!files(&rpm.home().join("logs")).is_empty(), has_logs);
        signal(running.pid(), 2);
        assert_eq!(running.code(), Some(0));
    }
}

#[test]
fn called_pm2_it_takes_options_that_nobody_knows() {
    let pm2 = Rpm::as_pm2();
    let script = talker(pm2.home());
    let mut running = Running::start(&mut pm2.command(&["runtime", &script, "--no-such-thing", "x"]));
    running.says("up");
    signal(running.pid(), 2);
    assert_eq!(running.errors(), "warning: --no-such-thing is unknown and has no effect\n");
    assert_eq!(running.code(), Some(0));
}

#[test]
fn more_than_the_disk_could_hold_goes_through_whole() {
    let rpm = Rpm::new();
    let script = rpm.home().join("floods.sh");
    std::fs::write(&script, "#!/bin/sh\nseq 1 300000\necho over\nexec sleep 1000\n").expect("a script");
    let script = script.to_string_lossy().into_owned();
    for options in [&[][..], &["--formatted"], &["-i", "2"]] {
        let mut arguments = vec!["runtime", &script];
        arguments.extend(options);
        let mut running = Running::start(&mut rpm.command(&arguments));
        let workers = if options.contains(&"-i") { 2 } else { 1 };
        let (mut sum, mut overs) = (0, 0);
        while overs < workers {
            let line = running.says("");
            let text = line.trim_end().rsplit("| ").next().unwrap_or_default();
            match text.parse::<u64>() {
                Ok(number) => sum += number,
                Err(_) => overs += u64::from(text == "over"),
            }
        }
        assert_eq!(sum, workers * 300_000 * 300_001 / 2, "{options:?}");
        let held: u64 = files(rpm.home()).iter().chain(&files(&rpm.home().join("logs"))).map(|(_, size)| size).sum();
        assert!(held < 200_000, "{held} bytes are on the disk");
        signal(running.pid(), 2);
        assert_eq!(running.code(), Some(0));
        assert!(!rpm.home().join("console").exists());
    }
}

#[test]
fn a_worker_that_comes_later_is_heard_too() {
    let rpm = Rpm::new();
    let script = rpm.home().join("counts.sh");
    std::fs::write(&script, "#!/bin/sh\necho $$ is up\nexec sleep 1000\n").expect("a script");
    let mut running = Running::start(&mut rpm.command(&["runtime", &script.to_string_lossy(), "--name", "a"]));
    let mut said = std::collections::BTreeSet::from([running.says("is up")]);
    for command in [&["restart", "a"][..], &["scale", "a", "2"], &["reload", "a"]] {
        rpm.ok(command);
        said.insert(running.says("is up"));
    }
    said.insert(running.says("is up"));
    assert_eq!(said.len(), 5, "{said:?}");
    signal(running.pid(), 15);
    assert_eq!(running.code(), Some(0));
}

#[test]
fn apps_and_daemon_go_with_a_foreground_that_is_killed() {
    let rpm = Rpm::new();
    let script = talker(rpm.home());
    let mut running = Running::start(&mut rpm.command(&["runtime", &script, "--json"]));
    running.says("\"message\":\"up\"");
    rpm.kill_daemon();
    // The next daemon knows of it once it tells it what happens.
    let mut is_told = false;
    while !is_told {
        rpm.ok(&["restart", "talker"]);
        let mut line = String::new();
        while !line.contains("\"message\":\"up\"") {
            line = running.says("");
            is_told |= line.contains("process_event");
        }
    }
    let (keeper, app) = (rpm.keeper_pid(), rpm.pids("talker")[0]);
    signal(running.pid(), 9);
    until("the end of the apps and of the daemon", || !is_alive(app) && !is_alive(keeper));
}

#[test]
fn json_says_what_happens_to_the_processes_too() {
    let rpm = Rpm::new();
    let script = talker(rpm.home());
    let mut running = Running::start(&mut rpm.command(&["runtime", &script, "--json", "--kill-timeout", "300"]));
    for status in ["online", "start"] {
        let record: serde_json::Value = serde_json::from_str(&running.says("process_event")).expect("a record");
        assert_eq!((&record["status"], &record["app_name"]), (&status.into(), &"talker".into()), "{record}");
        assert!(record["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')), "{record}");
    }
    rpm.ok(&["restart", "talker"]);
    for status in ["exit", "online", "restart"] {
        running.says(&format!("\"status\":\"{status}\""));
    }
    signal(running.pid(), 2);
    assert_eq!(running.code(), Some(0));
}

#[test]
fn called_pm2_it_tells_what_happens_to_the_apps() {
    let pm2 = Rpm::as_pm2();
    let script = talker(pm2.home());
    let mut running = Running::start(&mut pm2.command(&["runtime", &script, "--name", "a"]));
    for line in ["Launching in no daemon mode", "App [a:0] starting in -fork mode-", "App [a:0] online"] {
        running.says(&format!("PM2 log: {line}"));
    }
    signal(running.pid(), 2);
    running.says("App [a:0] exited with code [0] via signal [SIGINT]");
    assert_eq!(running.code(), Some(0));
}

#[test]
fn without_an_app_that_is_up_it_leaves_with_pm2s_code() {
    let rpm = Rpm::new();
    let script = rpm.home().join("short.sh");
    std::fs::write(&script, "#!/bin/sh\necho done\nexit 0\n").expect("a script");
    let mut running = Running::start(&mut rpm.command(&["runtime", &script.to_string_lossy(), "--no-autorestart"]));
    running.says("done");
    assert_eq!(running.code(), Some(2));
    let missing = Running::start(&mut rpm.command(&["runtime", "nope.js"]));
    assert_eq!(missing.code(), Some(1), "what cannot be started at all");
}

#[test]
fn apps_that_are_there_already_are_left_alone() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "a"]);
    let error = rpm.fails(&["runtime", &app("idle.sh")]);
    assert!(error.contains("a daemon with 1 apps is running already"), "{error}");
    assert_eq!(rpm.statuses("a"), ["online"]);
}

#[test]
fn no_daemon_stays_in_the_foreground() {
    let rpm = Rpm::new();
    let script = talker(rpm.home());
    let mut running = Running::start(&mut rpm.command(&["start", &script, "--no-daemon", "--name", "talk"]));
    running.says("0|talk ");
    signal(running.pid(), 2);
    assert_eq!(running.code(), Some(0));
}

#[test]
fn it_works_as_process_1() {
    let rpm = Rpm::new();
    let script = talker(rpm.home());
    let program = rpm.command(&[]).get_program().to_owned();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(program).args(["runtime", &script]);
    command.env("RPM_HOME", rpm.home()).env("NO_COLOR", "1");
    let allowed = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        // Namespaces need rights that not every machine gives.
        return;
    }
    let mut running = Running::start(&mut command);
    running.says("up");
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.pid())).expect("children");
    let first: i32 = children.trim().parse().expect("one child, which is process 1 inside");
    signal(first, 15);
    running.says("cleaned up");
    assert_eq!(running.code(), Some(0));
}

#[test]
fn dev_restarts_what_changes_and_has_a_home_of_its_own() {
    let rpm = Rpm::new();
    let (home, source) = (rpm.home().join("me"), rpm.home().join("src"));
    std::fs::create_dir_all(&home).expect("a directory");
    std::fs::create_dir_all(&source).expect("a directory");
    let script = talker(&source);
    let mut command = rpm.command(&["dev", &script, "--raw", "--post-exec", "echo afterwards"]);
    let mut running = Running::start(command.env("HOME", &home).current_dir(&source));
    running.says("up");
    running.says("afterwards");
    assert!(home.join(".rpm-dev/keeper.pid").exists());
    std::fs::write(source.join("other.txt"), "changed").expect("a change");
    running.says("up");
    signal(running.pid(), 2);
    assert_eq!(running.code(), Some(0));
    until("the end of its daemon", || !home.join(".rpm-dev/rpm.sock").exists());
}
