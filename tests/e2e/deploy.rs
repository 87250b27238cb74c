//! `deploy`: over a real ssh, to a real sshd on this machine.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rpm_tests::{Rpm, deps, free_port, until};

use crate::pull::{commit, git};

/// An sshd with a port, keys and configuration of its own, that lets this user in.
struct Sshd {
    place: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Sshd {
    fn start() -> Self {
        let place = tempfile::tempdir().expect("a directory");
        for name in ["host", "user"] {
            let key = place.path().join(name);
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
            assert!(made.expect("ssh-keygen runs").success());
        }
        std::fs::copy(place.path().join("user.pub"), place.path().join("authorized_keys")).expect("a copy");
        // sshd of root wants this directory, and gives it up to nobody.
        let _ = std::fs::create_dir("/run/sshd");
        let port = free_port();
        let at = |name: &str| place.path().join(name).display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             StrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n",
            at("host"),
            at("authorized_keys")
        );
        std::fs::write(place.path().join("config"), config).expect("a file can be written");
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(place.path().join("config"))
            .stderr(Stdio::null())
            .spawn()
            .expect("sshd runs: `make setup` installs it");
        until("sshd", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { place, port, process }
    }

    fn key(&self) -> PathBuf {
        self.place.path().join("user")
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `deploy` where the file is; it must succeed.
fn deploy(rpm: &Rpm, directory: &Path, words: &[&str]) -> String {
    let output = attempt(rpm, directory, words);
    assert!(output.status.success(), "deploy {words:?}\n{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn attempt(rpm: &Rpm, directory: &Path, words: &[&str]) -> Output {
    let mut command = rpm.command(&["deploy"]);
    command.args(words).current_dir(directory).output().expect("rpm runs")
}

#[test]
fn commits_come_to_a_host_and_go_back() {
    let (rpm, sshd) = (Rpm::new(), Sshd::start());
    let place = tempfile::tempdir().expect("a directory");
    // A path that a shell would take apart.
    let (origin, target) = (place.path().join("ori'gin"), place.path().join("my $target"));
    std::fs::create_dir(&origin).expect("a directory");
    git(&origin, &["init", "-q"]);
    std::fs::write(origin.join("idle.sh"), "#!/bin/bash\nwhile :; do sleep 1000; done\n").expect("a file");
    std::fs::write(origin.join("ecosystem.json"), r#"{"apps": [{"name": "shipped", "script": "./idle.sh"}]}"#)
        .expect("a file");
    git(&origin, &["add", "."]);
    let first = commit(&origin, "version", "1");

    let bin = std::env::current_exe().expect("a test has a path");
    let bin = bin.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("there is a PATH"));
    let environment = serde_json::json!({
        "user": user(),
        "host": "127.0.0.1",
        "port": sshd.port,
        "key": sshd.key(),
        "ssh_options": ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"],
        "repo": origin,
        "ref": "origin/main",
        "path": target,
        "env": { "PATH": path, "RPM_HOME": rpm.home(), "ODD": "it's \"$HOME\" `id`\n;" },
        "pre-setup": "echo pre-setup",
        "post-setup": "printf %s \"$ODD\" > odd",
        "pre-deploy-local": format!("echo local > '{}/local'", place.path().display()),
        "pre-deploy": "echo pre-deploy >> ../hooks",
    });
    let file = serde_json::json!({ "apps": [], "deploy": { "production": environment } });
    std::fs::write(place.path().join("ecosystem.json"), file.to_string()).expect("a file can be written");

    let told = deploy(&rpm, place.path(), &["production", "setup"]);
    assert!(told.contains("pre-setup"), "{told}");
    assert_eq!(std::fs::read_to_string(target.join("source/odd")).expect("post-setup ran"), "it's \"$HOME\" `id`\n;");
    assert!(target.join("shared/logs").is_dir() && target.join("current/version").is_file());
    let again = attempt(&rpm, place.path(), &["production", "setup"]);
    assert!(text(&again.stderr).contains("is there already"));

    // Without a post-deploy the apps of the file there are started.
    deploy(&rpm, place.path(), &["ecosystem.json", "production"]);
    assert_eq!(rpm.statuses("shipped"), ["online"]);
    assert!(place.path().join("local").exists());
    let second = commit(&origin, "version", "2");
    deploy(&rpm, place.path(), &["production", "update"]);
    let version = || std::fs::read_to_string(target.join("current/version")).expect("the file is there");
    assert_eq!((version().as_str(), rpm.restarts("shipped")), ("2", vec![1]));
    assert_eq!(std::fs::read_to_string(target.join("hooks")).expect("pre-deploy ran").lines().count(), 2);

    let short = |commit: &str| commit[..7].to_owned();
    let line = |words: &[&str]| deploy(&rpm, place.path(), words).trim().to_owned();
    assert_eq!(line(&["production", "curr"]), short(&second));
    assert_eq!(line(&["production", "prev"]), first);
    assert_eq!(line(&["production", "list"]), format!("0\t{second}\n1\t{first}"));
    deploy(&rpm, place.path(), &["production", "revert", "1"]);
    assert_eq!((version().as_str(), rpm.restarts("shipped")), ("1", vec![2]));
    deploy(&rpm, place.path(), &["production", &second]);
    assert_eq!(version(), "2");
    assert_eq!(line(&["production", "exec", "cat version && printf %s \"$ODD\""]), "2it's \"$HOME\" `id`\n;");
    let failed = attempt(&rpm, place.path(), &["production", "exec", "exit 7"]);
    assert!(text(&failed.stderr).contains("exit status: 7"), "{}", text(&failed.stderr));
    let unknown = attempt(&rpm, place.path(), &["prodution"]);
    assert!(text(&unknown.stderr).contains("production"), "{}", text(&unknown.stderr));
    let far = attempt(&rpm, place.path(), &["production", "revert", "99"]);
    assert!(text(&far.stderr).contains("deployments are known"));
}

#[test]
fn a_host_that_pm2_has_set_up_goes_on() {
    let (rpm, sshd) = (Rpm::as_pm2(), Sshd::start());
    let place = tempfile::tempdir().expect("a directory");
    let (origin, target) = (place.path().join("origin"), place.path().join("target"));
    std::fs::create_dir(&origin).expect("a directory");
    git(&origin, &["init", "-q"]);
    let first = commit(&origin, "version", "1");
    let file = serde_json::json!({ "apps": [{ "name": "x", "script": "x.js" }], "deploy": { "production": {
        "user": user(),
        "host": ["127.0.0.1"],
        "port": sshd.port.to_string(),
        "key": sshd.key(),
        "ssh_options": ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"],
        "repo": origin,
        "ref": "origin/main",
        "path": target,
        "post-deploy": "cp version was-there",
    }}});
    // PM2 wants the file in a clone.
    git(place.path(), &["clone", "-q", "origin", "work"]);
    let work = place.path().join("work");
    std::fs::write(work.join("ecosystem.json"), file.to_string()).expect("a file can be written");

    let pm2_home = tempfile::tempdir().expect("a directory");
    let pm2 = |words: &[&str]| {
        let mut command = Command::new(deps().join("node_modules/.bin/pm2"));
        command.args(words).current_dir(&work).stdin(Stdio::null());
        command.env("PM2_HOME", pm2_home.path()).env("PM2_DISABLE_VERSION_CHECK", "true");
        let output = command.output().expect("pm2 runs");
        assert!(output.status.success(), "pm2 {words:?}\n{}\n{}", text(&output.stdout), text(&output.stderr));
    };
    pm2(&["deploy", "ecosystem.json", "production", "setup"]);
    pm2(&["deploy", "ecosystem.json", "production"]);
    pm2(&["kill"]);

    let second = commit(&origin, "version", "2");
    deploy(&rpm, &work, &["production"]);
    let version = || std::fs::read_to_string(target.join("current/was-there")).expect("post-deploy ran");
    assert_eq!(version(), "2");
    assert_eq!(deploy(&rpm, &work, &["production", "list"]), format!("0\t{second}\n1\t{first}\n"));
    deploy(&rpm, &work, &["production", "revert"]);
    assert_eq!(version(), "1");
}
