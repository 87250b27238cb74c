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
