//! Limits of the kernel: descriptors, processes.

use std::process::Command;

use rpm_tests::until;

use crate::disk::{as_nobody, give_to_nobody, nobody_can_run, take_back};
use crate::scenario::{May, Scenario};
use crate::stage::{Stage, script, texts};

pub(crate) const TABLE: &[Scenario] = &[
    Scenario::new("sixty_four_descriptors", &[], few_descriptors).may(&[May::Outages]),
    Scenario::new("idle_clients_and_few_descriptors", &[], few_descriptors_and_clients).may(&[May::Outages]),
    Scenario::new("small_files_only", &[], small_files),
    Scenario::new("no_more_processes", &[], few_processes).may(&[May::Outages]).root(),
    Scenario::new("a_control_group_or_a_word_about_it", &[], control_group),
    Scenario::new("a_worker_has_the_limits_of_the_shell", &[], worker_limits),
];

/// Either the kernel keeps the limits, and nothing of the app escapes, or it is said that it does not.
fn control_group(stage: &mut Stage) {
    let config = stage.scratch.path().join("apps.json");
    let app = script("family.py");
    let text = format!(
        r#"{{ "apps": [{{ "name": "a", "script": "{app}", "pids_max": 40, "memory_max": "200M", "kill_timeout": 300 }}] }}"#
    );
    std::fs::write(&config, text).expect("written");
    stage.watch.overlap.store(true, std::sync::atomic::Ordering::Relaxed);
    let (_, said) = texts(&stage.run(&["start", &config.to_string_lossy()]));
    until("the family", || stage.processes().iter().filter(|one| one.app.as_deref() == Some("a")).count() >= 4);
    let family: Vec<i32> =
        stage.processes().iter().filter(|one| one.app.as_deref() == Some("a")).map(|one| one.pid).collect();
    let groups: Vec<String> = family
        .iter()
        .map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default())
        .map(|text| text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned())
        .collect();
    if said.contains("without its limits") {
        assert!(stage.ok(&["describe", "a"]).contains("not limited"), "only the command said so");
    } else {
        assert!(groups.iter().all(|group| group.contains("/rpm-") && *group == groups[0]), "{groups:?}: {said}");
    }
    stage.ok(&["delete", "a"]);
    until("the end of the family", || !stage.processes().iter().any(|one| one.app.as_deref() == Some("a")));
}

/// The daemon may write no file of more than some kilobytes: its log is cut off, its state is not, and the workers have the limit
/// of the shell.
fn small_files(stage: &mut Stage) {
    let output = with_limit(stage, "-f 16", &["start", &script("idle.sh"), "--name", "first"]);
    assert!(output.status.success(), "{:?}", texts(&output));
    stage.promise("first", 1);
    let log = stage.rpm.home().join("rpm.log");
    stage.start("restarted", "idle.sh", &[]);
    for _ in 0..200 {
        stage.ok(&["restart", "restarted"]);
        if log.metadata().expect("the log").len() >= 8 << 10 {
            break;
        }
    }
    stage.ok(&["restart", "restarted"]);
    stage.ok(&["save"]);
    stage.rpm.kill_daemon();
    assert_eq!(stage.mains("restarted").len(), 1);
    stage.settle();
}

/// Runs a command where both limits of descriptors are this.
fn with_descriptors(stage: &Stage, limit: u32, args: &[&str]) -> std::process::Output {
    with_limit(stage, &format!("-n {limit}"), args)
}

/// Runs a command with limits of the shell, hard and soft.
fn with_limit(stage: &Stage, limit: &str, args: &[&str]) -> std::process::Output {
    let rpm = stage.command(args);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit {limit}; exec \"$0\" \"$@\"")]).arg(rpm.get_program()).args(args);
    command.envs(rpm.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("sh runs");
    stage.finish_command(child, &format!("{args:?}"))
}

/// What does not fit is refused with a reason; what runs is not harmed, and can be stopped to make room.
fn few_descriptors(stage: &mut Stage) {
    let output = with_descriptors(stage, 64, &["start", &script("idle.sh"), "--name", "first"]);
    assert!(output.status.success(), "{:?}", texts(&output));
    let first = stage.mains("first");
    stage.promise("first", 1);
    let mut refused = None;
    for number in 0..40 {
        let output = stage.run(&["start", &script("idle.sh"), "--name", &format!("app{number}")]);
        if !output.status.success() {
            refused = Some((number, texts(&output).1));
            break;
        }
    }
    if let Some((_, why)) = &refused {
        assert!(why.contains("open files") || why.contains("descriptor"), "the reason is not told: {why}");
    }
    stage.ok(&["jlist"]);
    stage.release("first");
    stage.run(&["restart", "first"]);
    stage.ok(&["jlist"]);
    assert_eq!(stage.mains("first").len(), first.len());
    let last = refused.map_or(40, |(number, _)| number);
    for number in 0..last {
        stage.ok(&["delete", &format!("app{number}")]);
    }
    stage.run(&["delete", &format!("app{last}")]);
    stage.start("again", "idle.sh", &[]);
    stage.settle();
}

/// Clients that only sit there do not keep others out for long.
fn few_descriptors_and_clients(stage: &mut Stage) {
    let output = with_descriptors(stage, 64, &["start", &script("idle.sh"), "--name", "first"]);
    assert!(output.status.success(), "{:?}", texts(&output));
    let socket = stage.rpm.home().join("rpm.sock");
    let idle: Vec<_> = (0..100).filter_map(|_| std::os::unix::net::UnixStream::connect(&socket).ok()).collect();
    until("an answer among idle clients", || crate::observer::list(stage.rpm.home()).is_ok());
    stage.ok(&["list"]);
    drop(idle);
    stage.ok(&["list"]);
}

fn few_processes(stage: &mut Stage) {
    if !nobody_can_run(stage) {
        return;
    }
    give_to_nobody(stage);
    stage.stop_observing();
    let idle = stage.scratch.path().join("idle.sh");
    std::fs::copy(script("idle.sh"), &idle).expect("a copy");
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(stage.scratch.path(), everyone).expect("it is ours");
    let idle = idle.to_string_lossy().into_owned();

    // Processes of this user that others have started count, too.
    let limit = 30;
    let run = |args: &[&str]| {
        let inner = as_nobody(stage, args);
        let mut command = Command::new("prlimit");
        command.arg(format!("--nproc={limit}")).arg("--").arg(inner.get_program()).args(inner.get_args());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir("/");
        command.output().expect("prlimit runs")
    };
    let output = run(&["start", &idle, "--name", "first"]);
    assert!(output.status.success(), "{:?}", texts(&output));
    let first = stage.mains("first");
    let output = run(&["start", &idle, "--name", "many", "-i", "60"]);
    let (out, err) = texts(&output);
    assert!(!output.status.success(), "60 processes where {limit} are allowed: {out}");
    assert!(err.contains("temporarily unavailable") || err.contains("processes"), "the reason is not told: {err}");
    assert_eq!(stage.mains("first"), first, "one that ran was harmed");
    let listed = as_nobody(stage, &["delete", "many"]).output().expect("rpm runs");
    assert!(listed.status.success(), "{:?}", texts(&listed));
    until("the end of the many", || stage.mains("many").is_empty());
    let output = run(&["start", &idle, "--name", "again"]);
    assert!(output.status.success(), "{:?}", texts(&output));
    assert_eq!(stage.mains("first"), first);
    take_back(stage);
}

/// The daemon may raise its own limit of descriptors; that of a worker stays the shell's.
fn worker_limits(stage: &mut Stage) {
    let output = with_descriptors(stage, 200, &["start", &script("idle.sh"), "--name", "first"]);
    assert!(output.status.success(), "{:?}", texts(&output));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", stage.mains("first")[0])).expect("it runs");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit").to_owned();
    assert_eq!(files.split_whitespace().nth(3), Some("200"), "{files}");
}
