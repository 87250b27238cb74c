//! Where output goes, and how it is shown.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rpm_tests::{Rpm, until};
use serde_json::Value;

fn talker(rpm: &Rpm) -> String {
    let script = rpm.home().join("talk.sh");
    std::fs::write(&script, "#!/bin/sh\necho to out\necho to err >&2\nexec sleep 100000\n").expect("a script");
    script.to_string_lossy().into_owned()
}

#[test]
fn output_goes_to_pm2s_files() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &talker(&rpm), "--name", "talk"]);
    until("the output", || rpm.log("talk-out.log") == "to out\n" && rpm.log("talk-error.log") == "to err\n");
}

#[test]
fn several_instances_have_their_ids_in_the_names_unless_merged() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &talker(&rpm), "--name", "talk", "-i", "2"]);
    until("the output", || rpm.log("talk-out-0.log") == "to out\n" && rpm.log("talk-out-1.log") == "to out\n");
    rpm.ok(&["delete", "talk"]);
    rpm.ok(&["start", &talker(&rpm), "--name", "merged", "-i", "2", "--merge-logs"]);
    until("the output", || rpm.log("merged-out.log") == "to out\nto out\n");
}

#[test]
fn paths_of_the_users_own_and_a_combined_file() {
    let rpm = Rpm::new();
    let path = |name: &str| rpm.home().join("deep/er").join(name).to_string_lossy().into_owned();
    let (out, err, all) = (path("o.log"), path("e.log"), path("all.log"));
    rpm.ok(&["start", &talker(&rpm), "--name", "talk", "-o", &out, "-e", &err, "-l", &all]);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    until("the output", || {
        read(&out) == "to out\n" && read(&err) == "to err\n" && {
            let both = read(&all);
            both.contains("to out\n") && both.contains("to err\n")
        }
    });
}

#[test]
fn each_line_gets_its_time() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &talker(&rpm), "--name", "talk", "--time"]);
    until("the output", || rpm.log("talk-out.log").ends_with(": to out\n"));
    let log = rpm.log("talk-out.log");
    let stamp = log.strip_suffix(": to out\n").expect("one line");
    assert_eq!(stamp.len(), "2026-11-25T18:00:00".len(), "{log}");
    assert_eq!(stamp.as_bytes()[10], b'T', "{log}");
}

#[test]
fn logs_shows_the_last_lines_and_follows() {
    let rpm = Rpm::new();
    let script = rpm.home().join("count.sh");
    let source =
        "#!/bin/bash\nfor i in 1 2 3; do echo before $i; done\nread -r < \"$GO\"\necho after\nexec sleep 100000\n";
    std::fs::write(&script, source).expect("a script");
    let go = rpm.home().join("go");
    assert!(std::process::Command::new("mkfifo").arg(&go).status().expect("mkfifo runs").success());
    let started = rpm.command(&["start", &script.to_string_lossy(), "--name", "count"]).env("GO", &go).output();
    assert!(started.expect("rpm runs").status.success());
    until("the output", || rpm.log("count-out.log").contains("before 3"));

    let shown = rpm.ok(&["logs", "count", "--nostream", "--lines", "2"]);
    assert!(shown.contains("before 2") && shown.contains("before 3") && !shown.contains("before 1"), "{shown}");
    assert!(shown.contains("0|count"), "{shown}");
    assert!(rpm.ok(&["logs", "count", "--nostream", "--raw"]).lines().any(|line| line == "before 1"));

    // The last words of a process often have no end.
    let words = rpm.home().join("words.sh");
    std::fs::write(&words, "#!/bin/sh\nprintf 'out of luck' >&2\nexec sleep 100000\n").expect("a script");
    rpm.ok(&["start", &words.to_string_lossy(), "--name", "words"]);
    until("the words", || rpm.log("words-error.log") == "out of luck");
    assert_eq!(rpm.ok(&["logs", "words", "--nostream", "--raw", "--err"]), "out of luck\n");

    let mut follower =
        rpm.command(&["logs", "count", "--raw", "--lines", "1"]).stdout(Stdio::piped()).spawn().expect("rpm runs");
    let mut lines = BufReader::new(follower.stdout.take().expect("a pipe")).lines();
    assert!(lines.by_ref().map_while(Result::ok).any(|line| line == "before 3"));
    std::fs::write(&go, "go\n").expect("the fifo takes it");
    assert!(lines.by_ref().map_while(Result::ok).any(|line| line == "after"));
    follower.kill().expect("it runs");
    follower.wait().expect("an end");
}

#[test]
fn logs_as_json_are_one_object_a_line() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &talker(&rpm), "--name", "talk"]);
    until("the output", || rpm.log("talk-error.log").contains("to err"));
    let text = rpm.ok(&["logs", "talk", "--nostream", "--json"]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(
        lines.iter().any(|line| line["message"] == "to out" && line["type"] == "out" && line["app_name"] == "talk"),
        "{text}"
    );
    assert!(lines.iter().any(|line| line["message"] == "to err" && line["type"] == "err"), "{text}");
    // Times are noted when the log is next looked at.
    until("their times", || {
        let text = rpm.ok(&["logs", "talk", "--nostream", "--json"]);
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.all(|line| line["app_name"] != "talk" || line["timestamp"].is_string())
    });
}

#[test]
fn flush_empties_the_logs_of_one_app() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &talker(&rpm), "--name", "a"]);
    rpm.ok(&["start", &talker(&rpm), "--name", "b"]);
    until("the output", || !rpm.log("a-out.log").is_empty() && !rpm.log("b-out.log").is_empty());
    rpm.ok(&["flush", "a"]);
    assert!(rpm.log("a-out.log").is_empty() && !rpm.log("b-out.log").is_empty());
}

#[test]
fn nothing_is_kept_of_a_stream_sent_nowhere() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &talker(&rpm), "--name", "talk", "-o", "NULL"]);
    until("the output", || rpm.log("talk-error.log").contains("to err"));
    assert!(!rpm.home().join("logs/talk-out.log").exists());
}

/// What a user's directory leads to is his to say: nothing is opened there that he could not open himself.
#[test]
fn a_log_of_an_app_of_another_user_is_opened_in_his_name() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    const NOBODY: u32 = 65534;
    let rpm = Rpm::new();
    if rpm.home().metadata().expect("the home is there").uid() != 0 {
        eprintln!("skipped: only root starts apps of others");
        return;
    }
    // The home itself is closed to others.
    let place = tempfile::tempdir().expect("a directory");
    let at = |name: &str| place.path().join(name);
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).expect("sets");
    for name in ["secret", "theirs", "theirs/logs"] {
        std::fs::create_dir(at(name)).expect("makes");
    }
    std::fs::set_permissions(at("secret"), PermissionsExt::from_mode(0o700)).expect("sets");
    std::fs::write(at("secret/out.log"), "kept\n").expect("writes");
    for name in ["theirs", "theirs/logs"] {
        chown(at(name), Some(NOBODY), Some(NOBODY)).expect("gives");
    }
    symlink(at("secret"), at("theirs/turned")).expect("links");
    let script = at("talk.sh");
    std::fs::write(&script, "#!/bin/sh\necho said\nexec sleep 100000\n").expect("writes");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("sets");
    let start = |name: &str, logs: &str| {
        let (log, pid) = (at(logs).join("out.log"), at(logs).join("app.pid"));
        let script = script.to_string_lossy();
        let logs = ["--output", &log.to_string_lossy(), "--error", "/dev/null", "--pid", &pid.to_string_lossy()]
            .map(str::to_owned);
        let args =
            ["start", &script, "--name", name, "--uid", "65534", "--gid", "65534", "--merge-logs"].map(str::to_owned);
        let all: Vec<String> = args.into_iter().chain(logs).collect();
        rpm.run(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert!(start("good", "theirs/logs").status.success());
    until("the output", || std::fs::read(at("theirs/logs/out.log")).is_ok_and(|said| said == b"said\n"));
    assert_eq!(at("theirs/logs/out.log").metadata().expect("it is there").uid(), NOBODY);
    let refused = start("bad", "theirs/turned");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("out.log cannot be opened"), "{said}");
    rpm.run(&["flush"]);
    assert_eq!(std::fs::read(at("secret/out.log")).expect("reads"), b"kept\n");
    let made: Vec<_> =
        std::fs::read_dir(at("secret")).expect("lists").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(made, ["out.log"]);
    rpm.ok(&["flush", "good"]);
    until("it is empty", || std::fs::read(at("theirs/logs/out.log")).is_ok_and(|said| said.is_empty()));
}
