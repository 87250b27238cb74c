//! `make install`: lays the program into place, and never over, or in front of, another one of its name.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use rpm_tests::Rpm;

fn install(args: &[&str], path: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/install.sh");
    Command::new("sh").arg(script).args(args).env("PATH", path).output().expect("sh runs")
}

/// Stands in for Red Hat's package manager.
fn other_rpm(directory: &Path) {
    let file = directory.join("rpm");
    let text = "#!/bin/sh\ncase $1 in --version) echo 'RPM version 4.18.0';; *) echo 'Usage: rpm [OPTION...]';; esac\n";
    std::fs::write(&file, text).expect("a script");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("its mode");
}

#[test]
fn it_is_installed_again_and_removed_again() {
    let rpm = Rpm::new();
    let binary = rpm.command(&[]).get_program().to_string_lossy().into_owned();
    let place = tempfile::tempdir().expect("a directory");
    let bin = place.path().join("bin").to_string_lossy().into_owned();
    let path = format!("{bin}:/usr/bin:/bin");
    for _ in 0..2 {
        let output = install(&[&binary, &bin, "rpm"], &path);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let version = Command::new(format!("{bin}/rpm")).arg("--version").output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&version.stdout), concat!("rpm ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(install(&["--remove", &bin, "rpm"], &path).status.success());
    assert!(!Path::new(&bin).join("rpm").exists());
}

#[test]
fn another_program_of_the_name_is_left_alone() {
    let rpm = Rpm::new();
    let binary = rpm.command(&[]).get_program().to_string_lossy().into_owned();
    let (theirs, ours) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    other_rpm(theirs.path());
    let (theirs, ours) = (theirs.path().to_string_lossy(), ours.path().to_string_lossy());
    let path = format!("{theirs}:/usr/bin:/bin");
    for directory in [&theirs, &ours] {
        let output = install(&[&binary, directory, "rpm"], &path);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains("not installed") && error.contains("NAME="), "{error}");
    }
    assert!(!install(&["--remove", &theirs, "rpm"], &path).status.success());
    let left = Command::new(format!("{theirs}/rpm")).arg("--version").output().expect("it runs");
    assert!(String::from_utf8_lossy(&left.stdout).starts_with("RPM version"));
    // Under another name it may come.
    assert!(install(&[&binary, &ours, "rpmx"], &path).status.success());
}
