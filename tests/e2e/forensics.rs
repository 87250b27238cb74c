//! Every end leaves a record, whoever asked for it and whoever looked: `why`, `crashes`, `events`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rpm_tests::{Rpm, app, signal, until};
use serde_json::Value;

fn crashes(rpm: &Rpm, words: &[&str]) -> Vec<Value> {
    let text = rpm.ok(&[&["crashes", "--json"], words].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("crashes is not JSON ({error}): {text}"))
}

/// Waits until so many ends are on record: the last words of a process are waited for.
fn until_recorded(rpm: &Rpm, words: &[&str], count: usize) -> Vec<Value> {
    let mut last = Vec::new();
    until(&format!("{count} ends in crashes {words:?}"), || {
        last = crashes(rpm, words);
        last.len() >= count
    });
    assert_eq!(last.len(), count, "{last:?}");
    last
}

#[test]
fn a_crash_leaves_its_code_its_last_words_and_a_sentence() {
    let rpm = Rpm::new();
    rpm.fails(&["start", &app("crash.js"), "--name", "crash", "--max-restarts", "3"]);
    let ends = until_recorded(&rpm, &["crash"], 3);
    for end in &ends {
        assert_eq!(end["exit"]["code"], 3, "{end}");
        assert!(end["err"].to_string().contains("about to fail"), "{end}");
        assert!(end["memory_max"].as_u64() > Some(1 << 20) && end["asked"].is_null(), "{end}");
    }
    let text = rpm.ok(&["why", "crash"]);
    assert!(text.contains("crash, worker 0, is down and is not tried again: exit code 3 after"), "{text}");
    assert!(text.contains("| about to fail: no database") && text.contains("restart overlimit"), "{text}");
    let document: Value = serde_json::from_str(&rpm.ok(&["why", "crash", "--json"])).expect("JSON");
    assert_eq!(document[0]["workers"][0]["crashes_last_hour"], 3);
    assert!(rpm.fails(&["why", "crahs"]).contains("did you mean `crash`?"));
}

#[test]
fn an_end_that_was_asked_for_says_by_whom_and_is_no_crash() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    rpm.ok(&["restart", "idle"]);
    rpm.ok(&["stop", "idle"]);
    let ends = until_recorded(&rpm, &["idle", "--all"], 2);
    assert_eq!([&ends[0]["asked"]["cause"], &ends[1]["asked"]["cause"]], ["restart", "stop"]);
    let by = ends[1]["asked"]["by"].as_str().expect("somebody");
    assert!(by.contains("(rpm stop idle)"), "{by}");
    assert!(crashes(&rpm, &["idle"]).is_empty());
    let text = rpm.ok(&["why", "idle"]);
    assert!(text.contains("is stopped: ") && text.contains("asked to leave: stop by "), "{text}");
    let events = rpm.ok(&["events", "idle"]);
    assert!(events.contains("command    restart by ") && events.contains("stopping   stop by "), "{events}");
    // What is on record of an app outlives the app, and the daemon.
    rpm.ok(&["delete", "idle"]);
    rpm.ok(&["kill"]);
    assert!(rpm.ok(&["why", "idle"]).contains("idle is not there; its last process ended"));
    assert_eq!(crashes(&rpm, &["idle", "--all"]).len(), 2);
}

#[test]
fn a_signal_from_outside_is_told_as_one() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    signal(rpm.pids("idle")[0], 9);
    let ends = until_recorded(&rpm, &["idle"], 1);
    assert_eq!(ends[0]["exit"]["signal"]["signal"], 9);
    rpm.until("online again", "idle", |list| list[0]["pm2_env"]["status"] == "online");
    let text = rpm.ok(&["why", "idle"]);
    assert!(text.contains("is online since") && text.contains("SIGKILL after"), "{text}");
}

#[test]
fn an_end_while_no_daemon_ran_is_recorded_once() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle", "--no-autorestart"]);
    let (daemon, worker) = (rpm.daemon_pid(), rpm.pids("idle")[0]);
    // The keeper starts the next daemon at once; one that is stopped first cannot hear of the end.
    signal(daemon, 19);
    signal(worker, 15);
    until("the end of the worker", || !rpm_tests::is_alive(worker));
    signal(daemon, 9);
    let ends = until_recorded(&rpm, &["idle"], 1);
    assert_eq!(ends[0]["exit"]["signal"]["signal"], 15, "{ends:?}");
    // Killed again and again, the same end is told again and recorded once.
    rpm.kill_daemon();
    rpm.kill_daemon();
    assert_eq!(crashes(&rpm, &["idle"]).len(), 1);
}

#[test]
fn events_can_be_followed() {
    let rpm = Rpm::new();
    rpm.ok(&["ping"]);
    let mut follower = rpm.command(&["events", "-f", "--json"]).stdout(Stdio::piped()).spawn().expect("rpm runs");
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    let lines = BufReader::new(follower.stdout.take().expect("a pipe")).lines();
    let events = lines.map(|line| serde_json::from_str::<Value>(&line.expect("a line")).expect("JSON"));
    let online = events.into_iter().find(|event| event["event"] == "online" && event["app"] == "idle");
    assert!(online.is_some_and(|event| event["worker"] == 0));
    let _ = follower.kill();
    let _ = follower.wait();
}
