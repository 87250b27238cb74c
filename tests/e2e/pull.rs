//! `pull`, `forward`, `backward`: git moves an app's directory, and the app is reloaded.

use std::path::{Path, PathBuf};
use std::process::Command;

use rpm_tests::{Rpm, app};

/// Runs git in a directory; it must succeed.
pub(crate) fn git(directory: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main"])
        .args(words)
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Writes a file and commits it.
pub(crate) fn commit(directory: &Path, name: &str, text: &str) -> String {
    std::fs::write(directory.join(name), text).expect("a file can be written");
    git(directory, &["add", name]);
    git(directory, &["commit", "-q", "-m", text]);
    git(directory, &["rev-parse", "HEAD"])
}

/// Makes a repository whose file `version` says 1, and a clone of it.
pub(crate) fn origin_and_clone(place: &Path) -> (PathBuf, PathBuf) {
    let (origin, clone) = (place.join("origin"), place.join("clone"));
    std::fs::create_dir(&origin).expect("a directory");
    git(&origin, &["init", "-q"]);
    commit(&origin, "version", "1");
    git(place, &["clone", "-q", "origin", "clone"]);
    (origin, clone)
}

#[test]
fn an_app_goes_forward_and_backward() {
    let (rpm, place) = (Rpm::new(), tempfile::tempdir().expect("a directory"));
    let (origin, clone) = origin_and_clone(place.path());
    let version = || std::fs::read_to_string(clone.join("version")).expect("the file is there");
    let directory = clone.to_string_lossy().into_owned();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle", "--cwd", &directory]);
    rpm.ok(&["start", &app("idle.sh"), "--name", "elsewhere", "--cwd", "/"]);

    rpm.ok(&["pull", "idle"]);
    assert_eq!(rpm.restarts("idle"), [0], "nothing new, nothing reloaded");
    let second = commit(&origin, "version", "2");
    commit(&origin, "version", "3");
    rpm.ok(&["forward", "idle"]);
    assert_eq!((version().as_str(), rpm.restarts("idle")), ("2", vec![1]));
    rpm.ok(&["pull", "idle"]);
    assert_eq!((version().as_str(), rpm.restarts("idle")), ("3", vec![2]));
    rpm.ok(&["backward", "idle"]);
    assert_eq!((version().as_str(), rpm.restarts("idle")), ("2", vec![3]));
    rpm.ok(&["pull", "idle", "main"]);
    rpm.ok(&["pull", "idle", &second]);
    assert_eq!(version(), "2");

    // What the user changed is not thrown away.
    std::fs::write(clone.join("version"), "mine").expect("a file can be written");
    let told = rpm.fails(&["backward", "idle"]);
    assert!(told.contains("git reset failed"), "{told}");
    assert_eq!(version(), "mine");
    assert!(rpm.fails(&["pull", "elsewhere"]).contains("no git repository"));
    assert!(rpm.fails(&["pull", "idle", "--upload-pack=x"]).contains("unexpected argument"));
}
