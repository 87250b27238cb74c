//! Apps that misuse the IPC channel to the daemon.

use rpm_tests::until;

use crate::scenario::{Scenario, Setup};
use crate::stage::Stage;

const IDLE: Setup = Setup { name: "bystander", script: "idle.sh", options: &[], promised: 1 };

pub(crate) const TABLE: &[Scenario] = &[
    Scenario::new("channel_of_garbage", &[IDLE], |stage| misused(stage, &["garbage"])),
    Scenario::new("channel_with_an_endless_line", &[IDLE], endless),
    Scenario::new("channel_flooded_with_messages", &[IDLE], |stage| flooded(stage, "flood")),
    Scenario::new("channel_flooded_with_metrics", &[IDLE], |stage| flooded(stage, "flood-axm")),
    Scenario::new("channel_with_metrics_without_end", &[IDLE], |stage| flooded(stage, "many-metrics")),
    Scenario::new("channel_of_cluster_lies", &[IDLE], |stage| misused(stage, &["cluster-lies"])),
    Scenario::new("channel_that_is_closed", &[IDLE], |stage| misused(stage, &["closes"])),
    Scenario::new("channel_that_nobody_reads", &[IDLE], never_read),
];

fn misused(stage: &mut Stage, how: &[&str]) {
    let mut options = vec!["--kill-timeout", "500", "--"];
    options.extend(how);
    stage.start("odd", "channel.py", &options);
    until("its end", || stage.rpm.log("odd-out.log").contains("done"));
    stage.settle();
    assert_eq!(stage.rpm.restarts("odd"), [0], "{}", stage.rpm.log("odd-error.log"));
    for args in [&["list"][..], &["jlist"], &["describe", "odd"], &["restart", "odd"]] {
        stage.ok(args);
    }
    stage.settle();
    assert_eq!(stage.mains("odd").len(), 1);
}

fn endless(stage: &mut Stage) {
    // A line may have 16 MiB; beyond that it is skipped. Growing, and read as JSON, it is there more than once.
    stage.watch.rss_kib.store(96 * 1024, std::sync::atomic::Ordering::Relaxed);
    let megabytes = stage.times(100, 500).to_string();
    stage.start("odd", "channel.py", &["--kill-timeout", "500", "--", "endless", &megabytes]);
    until("its end", || {
        // A channel that is misused may be closed: then the app ends.
        stage.rpm.log("odd-out.log").contains("done") || stage.rpm.log("odd-error.log").contains("Error")
    });
    stage.ok(&["list"]);
    stage.ok(&["delete", "odd"]);
}

fn flooded(stage: &mut Stage, how: &str) {
    let seconds = stage.times(2, 15).to_string();
    stage.start("odd", "channel.py", &["--kill-timeout", "500", "--", how, &seconds]);
    until("its end", || stage.rpm.log("odd-out.log").contains("done"));
    stage.settle();
    stage.ok(&["jlist"]);
    stage.ok(&["delete", "odd"]);
}

/// Messages to an app that does not read: what waits is bounded, and the sender is told.
fn never_read(stage: &mut Stage) {
    stage.start("odd", "idle.sh", &[]);
    let list = crate::observer::list(stage.rpm.home()).expect("a list");
    let odd = list.apps.iter().find(|app| app.spec.name == "odd").expect("it is there");
    let worker = odd.workers[0].id;
    let stream = std::os::unix::net::UnixStream::connect(stage.rpm.home().join("rpm.sock")).expect("it listens");
    let mut client = rpm_ipc::Client::greet(stream).expect("a greeting");
    let message = serde_json::json!({"type": "process:msg", "data": "x".repeat(100_000)});
    for _ in 0..stage.times(1000, 10_000) {
        let request = rpm_ipc::Request::Send { workers: vec![worker], message: message.clone() };
        client.call(request, |_| {}).expect("an answer");
    }
    stage.ok(&["delete", "odd"]);
}
