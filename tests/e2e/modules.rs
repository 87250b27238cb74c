//! Modules: installed by npm, run beside the apps.

use std::path::Path;

use rpm_tests::{Rpm, app};

/// Writes a package that npm can install without the network.
fn package(directory: &Path, version: &str, main: &str) {
    std::fs::create_dir_all(directory).expect("a directory");
    let text = format!(
        r#"{{"name": "sample-module", "version": "{version}", "main": "index.js", "config": {{"size": 10, "on": true}}}}"#
    );
    std::fs::write(directory.join("package.json"), text).expect("a file can be written");
    std::fs::write(directory.join("index.js"), main).expect("a file can be written");
}

const RUNS: &str = "console.log('size ' + process.env.size); setInterval(() => {}, 1000);";

/// Packs a package; returns the tarball. (A directory would be run where it lies.)
fn pack(place: &Path, version: &str, main: &str) -> String {
    let directory = place.join(version);
    package(&directory, version, main);
    let output = std::process::Command::new("npm")
        .args(["pack", "--silent", "--pack-destination"])
        .arg(place)
        .current_dir(&directory)
        .output()
        .expect("npm runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    place.join(format!("sample-module-{version}.tgz")).to_string_lossy().into_owned()
}

#[test]
fn a_module_is_installed_configured_and_not_meant_by_all() {
    let (rpm, place) = (Rpm::new(), tempfile::tempdir().expect("a directory"));
    rpm.ok(&["install", &pack(place.path(), "1.0.0", RUNS)]);
    assert!(rpm.home().join("modules/sample-module/node_modules/sample-module/index.js").is_file());
    let module = &rpm.processes("sample-module")[0];
    assert_eq!((&module["pm2_env"]["pmx_module"], &module["pm2_env"]["version"]), (&true.into(), &"1.0.0".into()));
    rpm_tests::until("its output", || rpm.log("sample-module-out.log").contains("size 10"));
    rpm.ok(&["set", "sample-module:size", "25"]);
    rpm_tests::until("the new value", || rpm.log("sample-module-out.log").contains("size 25"));

    rpm.fails(&["stop", "all"]);
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    rpm.ok(&["save"]);
    let listed = rpm.ok(&["list"]);
    let (apps, modules) = listed.split_once("Module\n").expect("two tables");
    assert!(apps.contains("idle") && !apps.contains("sample-module") && modules.contains("sample-module"), "{listed}");
    rpm.ok(&["stop", "all"]);
    rpm.ok(&["delete", "all"]);
    assert_eq!(rpm.statuses("sample-module"), ["online"]);
    assert!(rpm.processes("idle").is_empty());

    // With the next daemon it is there again, though never saved.
    rpm.ok(&["kill"]);
    rpm.ok(&["resurrect"]);
    assert_eq!(rpm.statuses("sample-module"), ["online"]);
    assert_eq!(rpm.statuses("idle"), ["online"]);
    assert_eq!(rpm.processes("sample-module").len(), 1);

    rpm.ok(&["uninstall", "sample-module"]);
    assert!(rpm.processes("sample-module").is_empty());
    assert!(!rpm.home().join("modules/sample-module").exists());
    assert_eq!(rpm.ok(&["get", "sample-module:size"]), "Value for module sample-module key size: 25\n");
    assert!(rpm.fails(&["uninstall", "sample-module"]).contains("there is no module sample-module"));
}

#[test]
fn a_version_that_does_not_run_leaves_the_one_before() {
    let (rpm, place) = (Rpm::new(), tempfile::tempdir().expect("a directory"));
    rpm.ok(&["install", &pack(place.path(), "1.0.0", RUNS)]);
    let told = rpm.fails(&["install", "--safe", "20000", &pack(place.path(), "2.0.0", "process.exit(1)")]);
    assert!(told.contains("the version before runs again"), "{told}");
    let version = || rpm.processes("sample-module")[0]["pm2_env"]["version"].clone();
    assert_eq!((version(), rpm.statuses("sample-module")), ("1.0.0".into(), vec!["online".to_owned()]));
    // Neither does a package that cannot be had.
    assert!(rpm.fails(&["install", "/no/such/package"]).contains("nothing was changed"));
    assert_eq!(version(), "1.0.0");
    let left: Vec<_> = std::fs::read_dir(rpm.home().join("modules")).expect("the modules").flatten().collect();
    assert_eq!(left.len(), 1, "nothing is left of the attempts: {left:?}");
    rpm.ok(&["install", &pack(place.path(), "3.0.0", RUNS)]);
    assert_eq!(version(), "3.0.0");
}

#[test]
fn a_module_in_development_runs_where_it_lies() {
    let (rpm, place) = (Rpm::new(), tempfile::tempdir().expect("a directory"));
    let run = |words: &[&str]| rpm.command(words).current_dir(place.path()).output().expect("rpm runs");
    assert!(run(&["module:generate", "mine"]).status.success());
    assert!(!run(&["module:generate", "mine"]).status.success(), "nothing is overwritten");
    assert!(!run(&["module:generate", "../mine"]).status.success());
    assert!(run(&["install", "./mine"]).status.success());
    assert_eq!(rpm.processes("mine")[0]["pm2_env"]["pm_cwd"], place.path().join("mine").to_string_lossy().as_ref());
    rpm.ok(&["uninstall", "all"]);
    assert!(rpm.jlist().is_empty());
    assert!(place.path().join("mine/index.js").exists(), "it is the user's");
}

#[test]
fn a_module_is_brought_up_to_date_from_where_it_came() {
    let (rpm, place) = (Rpm::new(), tempfile::tempdir().expect("a directory"));
    package(place.path(), "1.0.0", RUNS);
    rpm.ok(&["install", &place.path().to_string_lossy()]);
    let version = || rpm.processes("sample-module")[0]["pm2_env"]["version"].clone();
    assert_eq!(version(), "1.0.0");
    package(place.path(), "1.1.0", RUNS);
    rpm.ok(&["module:update", "sample-module"]);
    assert_eq!((version(), rpm.statuses("sample-module")), ("1.1.0".into(), vec!["online".to_owned()]));
    let error = rpm.fails(&["module:update", "simple-module"]);
    assert!(error.contains("did you mean `sample-module`?"), "{error}");
    assert_eq!(rpm.processes("sample-module").len(), 1);
}
