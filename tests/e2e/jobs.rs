//! Jobs: apps that run at their times, to their end; what becomes of times that find them running, or nobody at all.

use rpm_tests::{Rpm, app, until};
use serde_json::{Value, json};

const EVERY_SECOND: &str = "*/1 * * * * *";

/// Writes an ecosystem file of one job that is a line of shell.
fn file(rpm: &Rpm, line: &str, more: &Value) -> String {
    rpm.file_of(json!({ "name": "job", "script": "/bin/sh", "args": ["-c", line] }), more)
}

/// Waits until a file is there, without end.
const GATE: &str = "while [ ! -e gate ]; do sleep 0.02; done";

fn open_gate(rpm: &Rpm) {
    std::fs::write(rpm.home().join("gate"), "").expect("a file");
}

/// Returns what was recorded of the job: `event` or `event: detail`.
fn events(rpm: &Rpm) -> Vec<String> {
    let text = rpm.ok(&["events", "--app", "job", "--json"]);
    let list: Vec<Value> = match serde_json::from_str(&text) {
        Ok(list) => list,
        Err(_) => text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
    };
    let told = |event: &Value| {
        let name = event["event"].as_str().unwrap_or_default();
        event["detail"].as_str().map_or_else(|| name.to_owned(), |detail| format!("{name}: {detail}"))
    };
    list.iter().map(told).collect()
}

fn count(rpm: &Rpm, event: &str) -> usize {
    events(rpm).iter().filter(|told| *told == event).count()
}

#[test]
fn a_job_runs_at_its_times_to_its_end_and_leaves_a_record_of_each() {
    let rpm = Rpm::new();
    let text = rpm.ok(&["start", &file(&rpm, "echo ran; exit 3", &json!({ "schedule": EVERY_SECOND }))]);
    assert!(text.contains("scheduled"), "{text}");
    until("two runs", || count(&rpm, "exit: exit code 3") >= 2);
    assert!(count(&rpm, "start: schedule") >= 2);
    rpm.until("between runs", "job", |list| list[0]["pm2_env"]["status"] == "stopped");
    assert_eq!(rpm.restarts("job"), [0]);
    let page = rpm.ok(&["describe", "job"]);
    for told in ["schedule", EVERY_SECOND, "next run", "last run", "exit code 3", "failed"] {
        assert!(page.contains(told), "no {told:?} in {page}");
    }
    assert!(rpm.ok(&["list"]).contains("failed"));
    let why = rpm.ok(&["why", "job"]);
    assert!(why.contains("exit code 3"), "{why}");
    let list: Value = serde_json::from_str(&rpm.ok(&["list", "--json"])).expect("JSON");
    assert!(list["apps"][0]["next_run_ms"].as_u64().is_some());
}

#[test]
fn the_command_line_says_what_a_file_does() {
    let rpm = Rpm::new();
    let text = rpm.ok(&[
        "start",
        "sleep 600",
        "--name",
        "job",
        "--schedule",
        "0 3 * * *",
        "--on-overlap",
        "replace",
        "--time-zone",
        "UTC",
    ]);
    assert!(text.contains("scheduled"), "{text}");
    let list: Value = serde_json::from_str(&rpm.ok(&["list", "--json"])).expect("JSON");
    let wanted = json!({ "schedule": "0 3 * * *", "time_zone": "UTC", "on_overlap": "replace", "catch_up": false });
    assert_eq!(list["apps"][0]["spec"]["job"], wanted);
    assert!(rpm.ok(&["describe", "job"]).contains("0 3 * * *"));
    rpm.ok(&["delete", "job"]);
    for (words, told) in [
        (&["--schedule", "often"][..], "cron pattern"),
        (&["--schedule", "0 0 30 2 *"], "never"),
        (&["--schedule", "@daily", "--on-overlap", "allow"], "skip, queue or replace"),
        (&["--schedule", "@daily", "--on-overlap", "kill"], "--on-overlap"),
        (&["--schedule", "@daily", "--time-zone", "Europe/Berlinn"], "Europe/Berlin"),
        (&["--schedule", "@daily", "--watch"], "cannot stand beside"),
        (&["--catch-up"], "there is none"),
    ] {
        let said = rpm.fails(&[&["start", "sleep 600", "--name", "job"], words].concat());
        assert!(said.contains(told), "{words:?}: {said}");
    }
    assert!(rpm.jlist().is_empty());
}

#[test]
fn a_time_during_a_run_is_skipped() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &file(&rpm, GATE, &json!({ "schedule": EVERY_SECOND }))]);
    until("two times that were skipped", || count(&rpm, "skipped: schedule: the run before has not ended") >= 2);
    assert_eq!(count(&rpm, "start: schedule"), 1);
    let refused = rpm.fails(&["run", "job"]);
    assert!(refused.contains("could not run: a run of job is under way"), "{refused}");
    open_gate(&rpm);
    until("the next run", || count(&rpm, "start: schedule") >= 2);
}

#[test]
fn or_it_is_queued() {
    let rpm = Rpm::new();
    let more = json!({ "schedule": EVERY_SECOND, "on_overlap": "queue" });
    rpm.ok(&["start", &file(&rpm, GATE, &more)]);
    until("one in the queue, and no more", || {
        count(&rpm, "queued: the run before has not ended") == 1
            && count(&rpm, "skipped: schedule: the run before has not ended") >= 1
    });
    assert_eq!(count(&rpm, "start: schedule"), 1);
    open_gate(&rpm);
    until("the queued run", || count(&rpm, "start: schedule") >= 2);
    let told = events(&rpm);
    let (end, queued) = (position(&told, "exit: exit code 0", 0), position(&told, "start: schedule", 1));
    assert_eq!(told[end + 1..queued].iter().filter(|event| event.starts_with("start")).count(), 0, "{told:?}");
}

fn position(events: &[String], event: &str, nth: usize) -> usize {
    let mut found = events.iter().enumerate().filter(|(_, told)| *told == event).map(|(index, _)| index);
    found.nth(nth).unwrap_or_else(|| panic!("no {event} in {events:?}"))
}

#[test]
fn or_it_replaces_the_run() {
    let rpm = Rpm::new();
    let more = json!({ "schedule": EVERY_SECOND, "on_overlap": "replace" });
    rpm.ok(&["start", &file(&rpm, "exec sleep 1000", &more)]);
    until("two runs that were replaced", || count(&rpm, "stopping: schedule") >= 2);
    until("a third run", || count(&rpm, "start: schedule") >= 3);
    let why = rpm.ok(&["crashes", "job", "--all"]);
    assert!(why.contains("asked to leave: schedule"), "{why}");
}

#[test]
fn run_waits_for_the_end_and_says_how_it_was() {
    let rpm = Rpm::new();
    let line = format!("{GATE}; exit $(cat gate)");
    rpm.ok(&["start", &file(&rpm, &line, &json!({ "schedule": "@yearly" }))]);
    assert_eq!(rpm.statuses("job"), ["stopped"]);
    std::fs::write(rpm.home().join("gate"), "0").expect("a file");
    let text = rpm.ok(&["run", "job"]);
    assert!(text.contains("[job](0) ✓"), "{text}");
    std::fs::write(rpm.home().join("gate"), "7").expect("a file");
    let text = rpm.fails(&["run", "job"]);
    assert!(text.contains("could not run job: worker 0 ended with exit code 7"), "{text}");
    assert_eq!(count(&rpm, "start: run"), 2);
    // Nobody runs all jobs because all apps are restarted.
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    for how in ["restart", "reload", "start"] {
        rpm.ok(&[how, "all"]);
    }
    assert_eq!(count(&rpm, "exit: exit code 7"), 1);
    rpm.run(&["restart", "job"]);
    until("a run by restart", || count(&rpm, "exit: exit code 7") == 2);
    let text = rpm.fails(&["run", "idle"]);
    assert!(text.contains("idle is no job: it has no `schedule`"), "{text}");
}

#[test]
fn stop_lets_its_times_pass_until_the_file_or_a_run_calls_it_back() {
    let rpm = Rpm::new();
    let path = file(&rpm, "true", &json!({ "schedule": EVERY_SECOND }));
    rpm.ok(&["start", &path]);
    until("a run", || count(&rpm, "start: schedule") >= 1);
    let text = rpm.ok(&["stop", "job"]);
    assert!(text.contains("job is not run at its times"), "{text}");
    let list: Value = serde_json::from_str(&rpm.ok(&["list", "--json"])).expect("JSON");
    assert_eq!(list["apps"][0].get("next_run_ms"), None);
    let before = count(&rpm, "start: schedule");
    // Another job shows that times go by.
    rpm.ok(&["start", &app("idle.sh"), "--name", "clock", "--cron", EVERY_SECOND]);
    rpm.until("two seconds", "clock", |list| list[0]["pm2_env"]["restart_time"].as_u64() >= Some(2));
    assert_eq!(count(&rpm, "start: schedule"), before);
    rpm.ok(&["start", &path]);
    until("it is called back", || count(&rpm, "start: schedule") > before);
    rpm.ok(&["save"]);
    rpm.ok(&["kill"]);
    rpm.ok(&["resurrect"]);
    let before = count(&rpm, "start: schedule");
    until("it runs after a resurrection", || count(&rpm, "start: schedule") > before);
}

#[test]
fn the_end_of_a_run_is_known_to_the_next_daemon() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &file(&rpm, &format!("{GATE}; exit 5"), &json!({ "schedule": EVERY_SECOND }))]);
    until("a run", || count(&rpm, "start: schedule") == 1);
    rpm.kill_daemon();
    open_gate(&rpm);
    until("its end", || count(&rpm, "exit: exit code 5") >= 1 || rpm.ok(&["crashes", "job"]).contains("exit code 5"));
    until("the next run", || count(&rpm, "start: schedule") >= 2);
}

/// Puts the clock of the job back, as if no daemon had run for three hours.
fn three_hours_pass(rpm: &Rpm) {
    rpm.ok(&["save"]);
    rpm.ok(&["kill"]);
    let path = rpm.home().join("jobs.json");
    let mut stamps: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    let last = stamps["job"].as_u64().expect("the job is in it");
    stamps["job"] = (last - 3 * 3_600_000).into();
    std::fs::write(&path, stamps.to_string()).expect("written");
    rpm.ok(&["resurrect"]);
}

#[test]
fn a_time_that_nobody_kept_is_told_or_made_up_for_once() {
    let (rpm, line) = (Rpm::new(), "echo ran");
    // Half an hour from now at least, so that no time comes in the middle.
    let minute = this_minute();
    let schedule = format!("{} * * * *", (minute + 30) % 60);
    rpm.ok(&["start", &file(&rpm, line, &json!({ "schedule": schedule }))]);
    three_hours_pass(&rpm);
    until("it is told", || events(&rpm).iter().any(|told| told.starts_with("missed: no daemon ran at ")));
    assert_eq!(rpm.log("job-out.log"), "");
    rpm.ok(&["start", &file(&rpm, line, &json!({ "schedule": schedule, "catch_up": true }))]);
    assert_eq!(rpm.log("job-out.log"), "", "a new definition has missed nothing");
    three_hours_pass(&rpm);
    until("it is made up for", || rpm.log("job-out.log") == "ran\n");
    until("that is told", || count(&rpm, "start: schedule") == 1);
    rpm.kill_daemon();
    rpm.until("it has ended", "job", |list| list[0]["pm2_env"]["status"] == "stopped");
    assert_eq!((count(&rpm, "start: schedule"), &*rpm.log("job-out.log")), (1, "ran\n"), "once");
}

/// Returns the present minute of the hour.
fn this_minute() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    now.as_secs() / 60 % 60
}

#[test]
fn a_job_has_a_time_zone_of_its_own() {
    let rpm = Rpm::new();
    let more = json!({ "schedule": "0 3 * * *", "time_zone": "Asia/Tokyo" });
    rpm.ok(&["start", &file(&rpm, "true", &more)]);
    let list: Value = serde_json::from_str(&rpm.ok(&["list", "--json"])).expect("JSON");
    const HOUR: u64 = 3_600_000;
    let next = list["apps"][0]["next_run_ms"].as_u64().expect("it is known");
    assert_eq!(next % (24 * HOUR), 18 * HOUR, "3 o'clock there is 18 o'clock UTC");
    assert!(rpm.ok(&["describe", "job"]).contains("0 3 * * * (Asia/Tokyo)"));
}

#[test]
fn what_cannot_stand_beside_a_schedule_is_refused() {
    let rpm = Rpm::new();
    for (more, told) in [
        (json!({ "schedule": "soon" }), "5 or 6 fields"),
        (json!({ "schedule": "0 0 31 2 *" }), "never comes"),
        (json!({ "schedule": "@daily", "time_zone": "Europe/Berln" }), "Europe/Berlin"),
        (json!({ "schedule": "@daily", "on_overlap": "que" }), "queue"),
        (json!({ "schedule": "@daily", "on_overlap": "allow" }), "a worker has one process"),
        (json!({ "schedule": "@daily", "autorestart": true }), "`autorestart` cannot stand beside `schedule`"),
        (json!({ "on_overlap": "skip" }), "there is none"),
    ] {
        let text = rpm.fails(&["start", &file(&rpm, "true", &more)]);
        assert!(text.contains(told), "{more}: {text}");
    }
    assert!(rpm.jlist().is_empty());
}

/// It was said to have met the limit of restarts, of which it has none.
#[test]
fn a_job_whose_hook_fails_is_errored_and_events_say_why() {
    let rpm = Rpm::new();
    let job = json!({ "name": "report", "script": app("idle.sh"), "schedule": "@yearly",
                      "hooks": { "pre_start": ["sh", "-c", "exit 3"] } });
    let path = rpm.home().join("eco.json");
    std::fs::write(&path, json!({ "apps": [job] }).to_string()).expect("a file");
    rpm.ok(&["start", &path.to_string_lossy()]);
    rpm.fails(&["run", "report"]);
    let events = rpm.ok(&["events", "report"]);
    assert!(events.contains("errored") && events.contains("its pre_start hook failed: exit code 3"), "{events}");
    assert!(!events.contains("overlimit"), "{events}");
}
