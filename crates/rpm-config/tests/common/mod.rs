//! What the tests of files share: surroundings that are the same everywhere, and expected texts beside the files.
#![allow(dead_code, reason = "each test program uses its part")]

use std::path::{Path, PathBuf};

use rpm_config::Context;

/// The directory of the tests.
pub(crate) fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// A command given in `tests/fixtures`, on a machine with two CPUs, with stand-ins for python3 and ruby.
pub(crate) fn context() -> Context {
    let fixtures = tests().join("fixtures");
    let path = std::env::var("PATH").expect("a PATH with node on it");
    let path = format!("{}:{path}", fixtures.join("bin").display());
    let shell_env = [("PATH", path.as_str()), ("HOME", "/home/me"), ("NODE_CHANNEL_FD", "3"), ("KEPT", "yes")];
    let shell_env = shell_env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Context { cwd: fixtures, shell_env, cpus: 2, home: "/home/me/.rpm".into(), program: "/opt/rpm/rpm".into() }
}

/// Returns the cases of a directory: every file but the expected texts, scripts and directories without a case.
pub(crate) fn cases(directory: &str) -> Vec<PathBuf> {
    let mut cases: Vec<_> = walk(&tests().join(directory));
    let is_expected_text = |path: &Path| path.extension().is_some_and(|extension| extension == "txt");
    cases.retain(|path| !is_expected_text(path) && rpm_config::is_config_file(&path.to_string_lossy()));
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {directory}");
    cases
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = directory.read_dir().expect("the directory of cases");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// Compares a text with the one kept beside a case (`CASE.txt`); writes it instead with UPDATE_EXPECTED=1.
pub(crate) fn compare(case: &Path, actual: &str, failures: &mut Vec<String>) {
    let actual = format!("{}\n", redact(actual).trim_end());
    let expected_path = PathBuf::from(format!("{}.txt", case.display()));
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&expected_path, actual).expect("the expected text can be written");
        return;
    }
    let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
    if expected != actual {
        let name = case.file_name().unwrap_or_default().to_string_lossy();
        failures.push(format!("== {name}\n-- expected\n{expected}-- actual\n{actual}"));
    }
}

/// Takes out what differs between machines.
fn redact(text: &str) -> String {
    text.replace(&tests().display().to_string(), "TESTS").lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
