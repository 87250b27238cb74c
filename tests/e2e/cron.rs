//! Restarts by cron patterns: at their times, without a gap where sockets are shared, and until they are turned off.

use rpm_tests::{Load, Rpm, app, free_port};
use serde_json::Value;

const EVERY_SECOND: &str = "*/1 * * * * *";

fn at_least(times: u64) -> impl Fn(&[Value]) -> bool {
    move |list| list.iter().all(|process| process["pm2_env"]["restart_time"].as_u64() >= Some(times))
}

#[test]
fn an_app_is_restarted_at_its_times_until_they_are_turned_off() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle", "--cron-restart", EVERY_SECOND]);
    rpm.ok(&["start", &app("idle.sh"), "--name", "clock", "-c", EVERY_SECOND]);
    let list = rpm.until("two restarts", "idle", at_least(2));
    assert_eq!(list[0]["pm2_env"]["cron_restart"], EVERY_SECOND);
    let list: Value = serde_json::from_str(&rpm.ok(&["list", "--json"])).expect("JSON");
    assert_eq!(list["apps"][0]["workers"][0]["cause"], "cron");
    rpm.ok(&["restart", "idle", "--cron-restart", "0"]);
    assert_eq!(rpm.processes("idle")[0]["pm2_env"].get("cron_restart"), None);
    let after = rpm.restarts("idle");
    let now = rpm.restarts("clock")[0];
    rpm.until("two more of another app", "clock", at_least(now + 2));
    assert_eq!(rpm.restarts("idle"), after);
}

#[test]
fn workers_that_share_sockets_are_replaced_without_a_gap() {
    let (rpm, port) = (Rpm::new(), free_port());
    let script = app("http.js");
    let args = ["start", &script, "--name", "web", "-i", "2", "--cron", "*/2 * * * * *"];
    assert!(rpm.command(&args).env("PORT", port.to_string()).output().expect("rpm runs").status.success());
    let load = Load::start(port, "/?slow=10", 4);
    rpm.until("three rolls", "web", at_least(3));
    assert_eq!(load.stop(), Vec::<String>::new());
    assert!(rpm.daemon_log().contains("restart (cron)"), "{}", rpm.daemon_log());
}

/// As in PM2: a stop does not turn the times off, and says so.
#[test]
fn a_stopped_app_is_started_at_its_time_and_stop_warns_of_it() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle", "--cron", EVERY_SECOND]);
    let output = rpm.run(&["stop", "idle"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("App idle stopped but CRON RESTART is still UP */1 * * * * *"), "{text}");
    rpm.until("online again", "idle", |list| list[0]["pm2_env"]["status"] == "online");
    rpm.ok(&["delete", "idle"]);
    assert_eq!(rpm.jlist(), Vec::<Value>::new());
}

#[test]
fn a_job_that_ends_by_itself_runs_at_its_times() {
    let rpm = Rpm::new();
    rpm.ok(&["start", "/bin/sh", "--name", "job", "--no-autorestart", "--cron", EVERY_SECOND, "--", "-c", "echo ran"]);
    rpm_tests::until("three runs", || rpm.log("job-out.log").lines().count() >= 3);
}

#[test]
fn times_survive_the_daemon() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle", "--cron", EVERY_SECOND]);
    rpm.kill_daemon();
    let now = rpm.restarts("idle")[0];
    rpm.until("two more restarts", "idle", at_least(now + 2));
}

#[test]
fn a_pattern_that_cannot_be_or_never_comes_is_refused() {
    let rpm = Rpm::new();
    for (pattern, why) in [("61 * * * *", "out of bounds"), ("0 0 31 2 *", "never comes"), ("soon", "5 or 6 fields")] {
        let text = rpm.fails(&["start", &app("idle.sh"), "--cron", pattern]);
        assert!(text.contains("--cron-restart") && text.contains(why), "{pattern}: {text}");
    }
    assert_eq!(rpm.jlist(), Vec::<Value>::new());
}
