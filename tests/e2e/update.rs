//! `update`: keeper and daemon become another program; no request is lost, no worker replaced.

use rpm_tests::{Load, Rpm, app, free_port};

#[test]
fn an_update_loses_no_request_and_touches_no_worker() {
    let (rpm, port) = (Rpm::new(), free_port());
    let script = app("http.js");
    let started = rpm.command(&["start", &script, "--name", "web", "-i", "2"]).env("PORT", port.to_string()).output();
    assert!(started.expect("rpm runs").status.success());
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    let (pids, keeper) = (rpm.pids("web"), rpm.keeper_pid());

    let load = Load::start(port, "/?slow=5", 4);
    for _ in 0..2 {
        load.wait_for(30);
        let daemon = rpm.daemon_pid();
        let told = rpm.ok(&["update"]);
        assert!(told.contains("no app was touched"), "{told}");
        assert_ne!(rpm.daemon_pid(), daemon, "a new daemon");
        assert_eq!(rpm.keeper_pid(), keeper, "the keeper becomes the new program in place");
    }
    load.wait_for(30);
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!((rpm.pids("web"), rpm.restarts("web")), (pids.clone(), vec![0, 0]));

    // The new ones supervise for real, by PM2's name for the command too.
    rpm_tests::signal(pids[0], 9);
    rpm.until("a restart", "web", |list| {
        list[0]["pm2_env"]["restart_time"] == 1 && list[0]["pm2_env"]["status"] == "online"
    });
    rpm.ok(&["updatePM2"]);
    let load = Load::start(port, "/", 4);
    rpm.ok(&["reload", "web"]);
    assert_eq!(load.stop(), Vec::<String>::new());
    rpm.ok(&["stop", "idle"]);
}

#[test]
fn an_update_starts_a_daemon_where_there_is_none() {
    let rpm = Rpm::new();
    rpm.ok(&["update"]);
    assert!(rpm_tests::is_alive(rpm.daemon_pid()));
}
