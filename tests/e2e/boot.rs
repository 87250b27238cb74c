//! `startup`, `unstartup`, `logrotate`, `completion`, `init`, `cleardump`: files written for others.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use rpm_tests::{Rpm, app};

#[test]
fn a_service_is_written_and_removed() {
    let rpm = Rpm::new();
    let root = rpm.home().join("root");
    let root = root.to_string_lossy();
    for (platform, file, mode) in [
        ("systemd", "etc/systemd/system/rpm-root.service", 0o644),
        ("openrc", "etc/init.d/rpm-root", 0o755),
        ("upstart", "etc/init.d/rpm-root", 0o755),
        ("launchd", "Library/LaunchDaemons/rpm-root.plist", 0o644),
    ] {
        let path = rpm.home().join("root").join(file);
        rpm.ok(&["startup", platform, "-u", "root", "--root", &root]);
        let text = std::fs::read_to_string(&path).expect("the file");
        assert!(text.contains("resurrect"), "{text}");
        // It is root's directory only where root runs the tests; another user has one below their own home.
        let is_ours = rpm.home().metadata().expect("the home is there").uid() == 0;
        assert_eq!(text.contains(&*rpm.home().to_string_lossy()), is_ours, "{text}");
        assert_eq!(path.metadata().expect("it is there").permissions().mode() & 0o777, mode, "{platform}");
        rpm.ok(&["unstartup", platform, "-u", "root", "--root", &root]);
        assert!(!path.exists(), "{platform}");
    }
    for platform in ["plan9", "rcd", "rcd-openbsd", "smf"] {
        let error = rpm.fails(&["startup", platform]);
        assert!(error.contains(platform) && error.contains("systemd"), "{error}");
    }
    assert!(rpm.fails(&["startup", "systemd", "-u", "nobody-here", "--root", &root]).contains("no user nobody-here"));
}

#[test]
fn who_is_not_root_is_told_what_root_would_type() {
    use std::os::unix::process::CommandExt;
    let rpm = Rpm::new();
    for (word, platform) in [("startup", "systemd"), ("startup", "openrc"), ("unstartup", "launchd")] {
        let mut command = rpm.command(&[word, platform]);
        if rpm.home().metadata().expect("the home is there").uid() == 0 {
            // A copy: nobody may not look into the directory of the build, perhaps.
            let copy = rpm.home().join("rpm");
            std::fs::copy(command.get_program(), &copy).expect("a copy");
            let open = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&copy, open.clone()).expect("permissions");
            std::fs::set_permissions(rpm.home(), open).expect("permissions");
            command = Command::new(copy);
            command.args([word, platform]).env("RPM_HOME", rpm.home()).current_dir("/").uid(65534);
        }
        let output = command.output().expect("rpm runs");
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "nothing was done: {output:?}");
        let line = told.lines().find(|line| line.starts_with("sudo env PATH=")).expect("a line to copy");
        assert!(line.contains(&format!("rpm {word} {platform} -u ")) && line.contains(" --hp "), "{line}");
        assert!(line.contains(&format!(" RPM_HOME={} ", rpm.home().display())), "{line}");
    }
}

#[test]
fn logrotate_gets_a_file_that_it_understands() {
    let rpm = Rpm::new();
    let root = rpm.home().join("root");
    rpm.ok(&["logrotate", "--root", &root.to_string_lossy()]);
    let file = std::fs::read_dir(root.join("etc/logrotate.d")).expect("the directory").next().expect("a file");
    let file = file.expect("a file").path();
    assert!(std::fs::read_to_string(&file).expect("its text").contains("copytruncate"));
    if let Ok(output) = Command::new("logrotate").arg("--debug").arg(&file).output() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn words_are_completed_with_the_names_of_apps() {
    let rpm = Rpm::new();
    assert_eq!(rpm.ok(&["completion", "--", "rpm", "restart", ""]), "", "no daemon is started for that");
    assert!(!rpm.home().join("rpm.sock").exists());
    rpm.ok(&["start", &app("idle.sh"), "--name", "my-app"]);
    assert_eq!(rpm.ok(&["completion", "--", "rpm", "restart", "my"]), "my-app\n");
    assert_eq!(rpm.ok(&["completion", "--", "rpm", "resur"]), "resurrect\n");
}

#[test]
fn completion_is_installed_and_removed() {
    let rpm = Rpm::new();
    let home = rpm.home().join("me");
    std::fs::create_dir(&home).expect("a directory");
    std::fs::write(home.join(".bashrc"), "mine\n").expect("a file");
    let run = |args: &[&str]| rpm.command(args).env("HOME", &home).output().expect("rpm runs").status.success();
    let text = || std::fs::read_to_string(home.join(".bashrc")).expect("a file");
    assert!(run(&["completion", "install", "bash"]) && run(&["completion", "install", "bash"]));
    assert_eq!(text().matches("begin-rpm-completion").count(), 1, "{}", text());
    assert!(run(&["completion", "uninstall", "bash"]));
    assert_eq!(text(), "mine\n");
    assert!(run(&["completion", "install", "fish"]) && home.join(".config/fish/completions/rpm.fish").exists());
}

#[test]
fn a_first_file_can_be_started_and_is_not_written_over() {
    let rpm = Rpm::new();
    let directory = rpm.home().join("work");
    std::fs::create_dir(&directory).expect("a directory");
    std::fs::write(directory.join("app.js"), "setInterval(() => {}, 1000)").expect("a script");
    let run = |args: &[&str]| rpm.command(args).current_dir(&directory).output().expect("rpm runs").status.success();
    assert!(run(&["init", "simple"]));
    assert!(!run(&["init"]), "somebody may have edited it");
    assert!(run(&["start"]));
    assert_eq!(rpm.statuses("app1"), ["online"]);
    std::fs::remove_file(directory.join("ecosystem.config.js")).expect("it is there");
    assert!(run(&["ecosystem"]));
}

#[test]
fn a_cleared_list_brings_nothing_back() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "a"]);
    rpm.ok(&["save"]);
    rpm.ok(&["kill"]);
    rpm.ok(&["cleardump"]);
    rpm.ok(&["resurrect"]);
    assert!(rpm.jlist().is_empty());
    let report = rpm.ok(&["report"]);
    assert!(report.contains("--- daemon") && report.contains(env!("CARGO_PKG_VERSION")), "{report}");
    assert!(rpm.ok(&["slist", "--json"]).contains("RAM Total"));
}

#[test]
fn a_saved_list_that_cannot_be_read_is_kept_when_another_is_saved() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "a"]);
    rpm.ok(&["save"]);
    rpm.ok(&["save"]);
    let good = std::fs::read(rpm.home().join("dump.json.bak")).expect("a backup");
    let newer = r#"{"version": 99, "apps": []}"#;
    std::fs::write(rpm.home().join("dump.json"), newer).expect("a list of a newer version");
    let said = rpm.run(&["save"]);
    let warned = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && warned.contains("dump.json.broken") && warned.contains("version 99"), "{warned}");
    assert_eq!(std::fs::read_to_string(rpm.home().join("dump.json.broken")).expect("it is kept"), newer);
    assert_eq!(std::fs::read(rpm.home().join("dump.json.bak")).expect("a backup"), good);
    assert_eq!(std::fs::read(rpm.home().join("dump.json")).expect("a list"), good);
}
