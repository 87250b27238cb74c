//! What a worker gets, and what nobody else sees.

use std::fs;

use rpm_tests::until;

use crate::processes;
use crate::scenario::{May, Scenario, Setup};
use crate::stage::{Stage, script, texts};

const IDLE: Setup = Setup { name: "bystander", script: "idle.sh", options: &[], promised: 1 };
const WEB: Setup = Setup { name: "web", script: "http.js", options: &["-i", "2"], promised: 2 };

/// Found wherever it should not be.
const SECRET: &str = "s3cr3t-5b1f0c";

pub(crate) const TABLE: &[Scenario] = &[
    Scenario::new("a_secret_of_the_shell", &[], shell_secret).may(&[May::Outages]),
    Scenario::new("declared_secrets_are_written_nowhere", &[], declared_secrets).may(&[May::Outages]),
    Scenario::new("a_secret_that_cannot_be_had", &[IDLE], missing_secret),
    Scenario::new("descriptors_of_a_fork_worker", &[IDLE], fork_descriptors),
    Scenario::new("descriptors_of_a_cluster_worker", &[WEB], cluster_descriptors),
    Scenario::new("descriptors_after_kill_9_and_a_restart", &[IDLE, WEB], later_descriptors)
        .may(&[May::Outages, May::Overlap]),
    Scenario::new("signals_of_a_worker", &[IDLE], signal_state),
    Scenario::new("a_worker_of_another_user", &[], other_user).root(),
];

/// A variable of the shell that started the app: in the app, in PM2's own lists, nowhere else.
fn shell_secret(stage: &mut Stage) {
    let mut command = stage.command(&["start", &script("idle.sh"), "--name", "a"]);
    let output = command.env("DB_PASSWORD", SECRET).output().expect("rpm runs");
    assert!(output.status.success(), "{:?}", texts(&output));
    stage.ok(&["save"]);
    let mut command = stage.command(&["restart", "a", "--update-env"]);
    let output = command.env("DB_PASSWORD", SECRET).output().expect("rpm runs");
    assert!(output.status.success(), "{:?}", texts(&output));
    stage.rpm.kill_daemon();
    for args in
        [&["describe", "a"][..], &["list"], &["list", "--json"], &["logs", "--nostream"], &["describe", "a", "--json"]]
    {
        let output = stage.run(args);
        let (out, err) = texts(&output);
        assert!(!out.contains(SECRET) && !err.contains(SECRET), "{args:?} shows it");
    }
    for name in ["rpm.log", "dump.json", "dump.json.bak"] {
        let text = fs::read(stage.rpm.home().join(name)).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&text).contains(SECRET), "it is in {name}");
    }
    let environment = fs::read(format!("/proc/{}/environ", stage.mains("a")[0])).expect("it runs");
    assert!(String::from_utf8_lossy(&environment).contains(SECRET), "the app did not get it");
}

const SECRETS: &str = r#"{ "apps": [{
  "name": "a", "script": "SCRIPT", "env": { "PLAIN": "shown" },
  "secrets": { "FROM_FILE": "file:@", "FROM_CMD": "cmd:cat @", "FROM_ENV": "env:SHELL_TOKEN" }
}] }"#;

/// Read at each start, and in the app alone, whatever becomes of the daemon.
fn declared_secrets(stage: &mut Stage) {
    let file = stage.scratch.path().join("secret");
    fs::write(&file, format!("{SECRET}-1\n")).expect("written");
    let config = stage.scratch.path().join("apps.json");
    let text = SECRETS.replace("SCRIPT", &script("idle.sh")).replace("@", &file.to_string_lossy());
    fs::write(&config, text).expect("written");
    let mut command = stage.command(&["start", &config.to_string_lossy()]);
    let output = command.env("SHELL_TOKEN", format!("{SECRET}-0")).output().expect("rpm runs");
    assert!(output.status.success(), "{:?}", texts(&output));
    let environment = |stage: &Stage| {
        let environ = fs::read(format!("/proc/{}/environ", stage.mains("a")[0])).expect("it runs");
        String::from_utf8_lossy(&environ).replace('\0', "\n")
    };
    let seen = environment(stage);
    for line in [format!("FROM_FILE={SECRET}-1\n"), format!("FROM_CMD={SECRET}-1\n"), format!("FROM_ENV={SECRET}-0\n")]
    {
        assert!(seen.contains(&line), "{line} is missing");
    }
    assert!(!seen.contains("SHELL_TOKEN"), "it has it twice");
    stage.ok(&["save"]);
    // The file has a new one, and the daemon is another one.
    fs::write(&file, format!("{SECRET}-2\n")).expect("written");
    stage.rpm.kill_daemon();
    stage.daemon_answers();
    stage.ok(&["restart", "a"]);
    let seen = environment(stage);
    for line in [format!("FROM_FILE={SECRET}-2\n"), format!("FROM_ENV={SECRET}-0\n")] {
        assert!(seen.contains(&line), "{line} is missing after a restart");
    }
    stage.ok(&["save"]);
    for args in [
        &["describe", "a"][..],
        &["describe", "a", "--json"],
        &["list", "--json"],
        &["jlist"],
        &["prettylist"],
        &["env", "a"],
        &["report"],
        &["logs", "--nostream"],
    ] {
        let (out, err) = texts(&stage.run(args));
        assert!(!out.contains(SECRET) && !err.contains(SECRET), "{args:?} shows it");
    }
    for entry in fs::read_dir(stage.rpm.home()).expect("the home").flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let text = fs::read(entry.path()).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&text).contains(SECRET), "it is in {:?}", entry.path());
        }
    }
    assert!(stage.ok(&["describe", "a"]).contains("FROM_ENV (env:SHELL_TOKEN)"));
}

/// The start fails, with the reason; a command that hangs delays nobody, and a stop does not wait for it.
fn missing_secret(stage: &mut Stage) {
    let config = stage.scratch.path().join("apps.json");
    let apps = |secret: &str| {
        format!(
            r#"{{ "name": "b", "script": "{}", "max_restarts": 1, "secrets": {{ "KEY": "{secret}" }} }}"#,
            script("idle.sh")
        )
    };
    fs::write(&config, apps("file:/nowhere/key")).expect("written");
    let error = stage.fails(&["start", &config.to_string_lossy()]);
    assert!(error.contains("KEY") && error.contains("/nowhere/key"), "{error}");
    stage.ok(&["delete", "b"]);
    fs::write(&config, apps("cmd:sleep 100")).expect("written");
    let start = stage.spawn(&["start", &config.to_string_lossy()]);
    until("that it is being started", || stage.ok(&["list", "--json"]).contains("\"b\""));
    let begun = std::time::Instant::now();
    stage.start("c", "idle.sh", &[]);
    stage.ok(&["restart", "c"]);
    stage.ok(&["delete", "b"]);
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "it waited for the command");
    stage.finish_command(start, "start");
    fs::write(&config, apps("hunter2")).expect("written");
    let error = stage.fails(&["start", &config.to_string_lossy()]);
    assert!(error.contains("KEY") && error.contains("file:PATH"), "{error}");
}

/// 0, 1, 2, the channel, and nothing of anybody else.
fn fork_descriptors(stage: &mut Stage) {
    let open = processes::descriptors(stage.mains("bystander")[0]);
    let numbers: Vec<i32> = open.iter().map(|(number, _)| *number).collect();
    assert!(numbers.iter().all(|number| *number <= 3), "{open:?}");
    assert!(open[1].1.ends_with("bystander-out.log") && open[2].1.ends_with("bystander-error.log"), "{open:?}");
}

fn no_files_of_ours(stage: &Stage, pid: i32) {
    for (number, target) in processes::descriptors(pid) {
        let is_ours = target.starts_with(&*stage.rpm.home().to_string_lossy()) && !target.contains("/logs/");
        assert!(!is_ours, "process {pid} has {target} as {number}");
        assert!(!target.contains("pidfd"), "process {pid} has a pidfd as {number}");
        assert!(!target.contains("memfd") && !target.contains("signalfd"), "process {pid} has {target} as {number}");
    }
}

/// Node has descriptors of its own; none is one of ours.
fn cluster_descriptors(stage: &mut Stage) {
    for pid in stage.mains("web") {
        no_files_of_ours(stage, pid);
        let listening = processes::descriptors(pid).iter().filter(|(_, target)| target.starts_with("socket:")).count();
        assert!(listening <= 4, "{:?}", processes::descriptors(pid));
    }
}

fn later_descriptors(stage: &mut Stage) {
    stage.start("c", "idle.sh", &[]);
    let before = processes::descriptors(stage.rpm.keeper_pid()).len();
    for _ in 0..3 {
        stage.rpm.kill_daemon();
        stage.ok(&["delete", "c"]);
        stage.start("c", "idle.sh", &[]);
        stage.ok(&["restart", "c"]);
        stage.release("bystander");
        stage.ok(&["reload", "web"]);
    }
    stage.settle();
    fork_descriptors(stage);
    cluster_descriptors(stage);
    until("the keeper's descriptors", || processes::descriptors(stage.rpm.keeper_pid()).len() <= before);
}

/// A worker blocks and ignores no signal that its shell did not.
fn signal_state(stage: &mut Stage) {
    let pid = stage.mains("bystander")[0];
    assert_eq!(processes::field(pid, "SigBlk:").as_deref(), Some("0000000000000000"), "blocked");
    assert_eq!(processes::field(pid, "SigIgn:").as_deref(), Some("0000000000000000"), "ignored");
}

fn other_user(stage: &mut Stage) {
    let directory = stage.scratch.path().to_owned();
    let everyone = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(&directory, everyone(0o755)).expect("it is ours");
    let idle = directory.join("idle.sh");
    fs::copy(script("idle.sh"), &idle).expect("a copy");
    let output = stage.run(&["start", &idle.to_string_lossy(), "--name", "a", "--uid", "nobody", "--gid", "nogroup"]);
    assert!(output.status.success(), "{:?}", texts(&output));
    stage.settle();
    let pid = stage.mains("a")[0];
    let field = |name: &str| processes::field(pid, name).unwrap_or_default();
    let four = |id: &str| [id; 4].join("\t");
    assert_eq!(field("Uid:"), four("65534"));
    assert_eq!(field("Gid:"), four("65534"));
    let groups = field("Groups:");
    assert!(groups.split_whitespace().all(|group| group == "65534"), "groups of root: {groups}");
    assert_eq!(field("NoNewPrivs:"), "1");
    for capabilities in ["CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(capabilities), "0000000000000000", "{capabilities}");
    }
}
