//! Programs in any language share a port by passed sockets (LISTEN_FDS).

use std::collections::BTreeSet;

use rpm_tests::{Load, Rpm, app, free_port, http, until};

fn shared_by_two(rpm: &Rpm, port: u16, script: &str) {
    let listen = format!("127.0.0.1:{port}");
    rpm.ok(&["start", script, "--name", "web", "--exec-mode", "socket", "--listen", &listen, "-i", "2"]);
    let pids: BTreeSet<i32> = rpm.pids("web").into_iter().collect();
    assert_eq!(pids.len(), 2);
    let mut seen = BTreeSet::new();
    until("answers from both", || {
        seen.insert(http::get(port, "/").expect("an answer").parse::<i32>().expect("a pid"));
        seen == pids
    });
    let load = Load::start(port, "/", 4);
    rpm.ok(&["reload", "web"]);
    rpm.ok(&["scale", "web", "+1"]);
    rpm.ok(&["scale", "web", "-2"]);
    rpm.ok(&["reload", "web"]);
    assert_eq!(load.stop(), Vec::<String>::new());
    assert!(rpm.pids("web").iter().all(|pid| !pids.contains(pid)));
}

#[test]
fn a_python_server_is_shared_reloaded_and_scaled_without_loss() {
    shared_by_two(&Rpm::new(), free_port(), &app("passed.py"));
}

#[test]
fn a_compiled_server_is_shared_reloaded_and_scaled_without_loss() {
    let rpm = Rpm::new();
    let program = rpm.home().join("server");
    let built = std::process::Command::new("cc").args(["-O1", "-o"]).arg(&program).arg(app("passed.c")).status();
    assert!(built.expect("cc runs").success());
    shared_by_two(&rpm, free_port(), &program.to_string_lossy());
}

#[test]
fn a_killed_single_worker_costs_no_connection_that_was_not_accepted() {
    let (rpm, port) = (Rpm::new(), free_port());
    let listen = format!("127.0.0.1:{port}");
    rpm.ok(&["start", &app("passed.py"), "--name", "web", "--exec-mode", "socket", "--listen", &listen]);
    let load = Load::start(port, "/", 1);
    for _ in 0..5 {
        load.wait_for(10);
        rpm_tests::signal(rpm.pids("web")[0], 9);
    }
    load.wait_for(10);
    let failures = load.stop();
    assert!(failures.len() <= 5 && failures.iter().all(|failure| !failure.contains("refused")), "{failures:?}");
}
