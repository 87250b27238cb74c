//! Which files an app's output and pid go to.
//!
//! The names are PM2's (measured with 7.0): `NAME-out.log`, `NAME-error.log`, `NAME.log` for both together and
//! `NAME-ID.pid`. Unless the logs are merged, `-ID` is inserted before `.log`, in files that the user named as well;
//! a name without `.log` at its end is left alone, so the workers share it.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rpm_model::{AppSpec, Home, LogTarget, WorkerId};

use crate::target::{Kind, Target};

/// A name of a file has at most 255 bytes; what is added to this (the number, `-error-99999`, the time of an archive and its
/// endings) has some 50.
const STEM_MAX: usize = 190;

/// The files of one worker; `None` where output is thrown away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPaths {
    /// Gets standard output.
    pub out: Option<PathBuf>,
    /// Gets standard error.
    pub err: Option<PathBuf>,
    /// Gets both.
    pub combined: Option<PathBuf>,
}

impl LogPaths {
    /// Returns the files that one stream of the worker is written to; a file named twice is written once.
    pub fn of(&self, kind: Kind) -> Vec<&Path> {
        let own = match kind {
            Kind::Out => &self.out,
            Kind::Err => &self.err,
        };
        let mut files: Vec<&Path> = [own, &self.combined].into_iter().flatten().map(PathBuf::as_path).collect();
        files.dedup();
        files
    }

    /// Returns the same as targets of the pump.
    pub fn targets(&self, kind: Kind) -> Vec<Target> {
        self.of(kind).into_iter().map(|path| Target::Path(path.to_owned())).collect()
    }
}

/// Returns where the output of one worker goes.
pub fn paths(spec: &AppSpec, worker: WorkerId, home: &Home) -> LogPaths {
    let name = log_name(&spec.name);
    let place = |target: &LogTarget, suffix: &str| {
        let path = match target {
            LogTarget::Default => home.logs().join(format!("{name}{suffix}.log")),
            LogTarget::Null | LogTarget::Console => return None,
            LogTarget::File(path) if is_null(path) => return None,
            LogTarget::File(path) => path.clone(),
        };
        Some(if spec.logs.merge { path } else { with_id(&path, ".log", worker) })
    };
    LogPaths {
        out: place(&spec.logs.out, "-out"),
        err: place(&spec.logs.err, "-error"),
        combined: spec.logs.combined.as_ref().and_then(|target| place(target, "")),
    }
}

/// Returns the named pipe of a stream that goes to the [console](LogTarget::Console).
pub fn console_path(worker: WorkerId, kind: Kind, home: &Home) -> PathBuf {
    home.console().join(format!("{worker}-{}", kind.as_str()))
}

/// Returns the pid file of one worker: always with `-ID`, before `.pid` where the user's name ends in that.
pub fn pid_path(spec: &AppSpec, worker: WorkerId, home: &Home) -> PathBuf {
    match &spec.pid_file {
        Some(path) => with_id(path, ".pid", worker),
        None => home.pids().join(format!("{}-{worker}.pid", fitting_name(pid_name(spec)))),
    }
}

/// Returns the name that the pid file is called after: of a command line without a name of its own, the first word.
fn pid_name(spec: &AppSpec) -> &str {
    match spec.args.as_slice() {
        [option, line] if option == "-c" && *line == spec.name => line.split_whitespace().next().unwrap_or(line),
        _ => &spec.name,
    }
}

/// Returns an app's name as PM2 writes it in file names: all but letters, digits, `.`, `-` and `\` become `-`, one for
/// each UTF-16 unit.
pub fn file_name(name: &str) -> String {
    name.chars()
        .flat_map(|c| {
            let kept = c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '\\');
            std::iter::repeat_n(if kept { c } else { '-' }, c.len_utf16())
        })
        .collect()
}

/// Returns the name that an app's logs are called after: PM2's, and where that has lost letters outside of ASCII, a number made
/// of the name after it. Else `日本` and `中文` would write to one file.
fn log_name(name: &str) -> String {
    if name.is_ascii() { fitting_name(name) } else { numbered(file_name(name), name) }
}

/// Returns PM2's name; where that is too long for a file, its beginning and a number made of the whole.
fn fitting_name(name: &str) -> String {
    let as_pm2 = file_name(name);
    if as_pm2.len() <= STEM_MAX { as_pm2 } else { numbered(as_pm2, name) }
}

fn numbered(mut stem: String, name: &str) -> String {
    // It has ASCII letters only.
    stem.truncate(STEM_MAX);
    format!("{stem}-{:08x}", fnv1a(name.as_bytes()))
}

/// FNV-1a: the same in every version of this program, which files that outlive it need.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn is_null(path: &Path) -> bool {
    path == Path::new("/dev/null") || path.file_name() == Some(OsStr::new("NULL"))
}

fn with_id(path: &Path, extension: &str, worker: WorkerId) -> PathBuf {
    let Some(stem) = path.as_os_str().as_bytes().strip_suffix(extension.as_bytes()) else {
        return path.to_owned();
    };
    let mut bytes = stem.to_vec();
    bytes.extend_from_slice(format!("-{worker}{extension}").as_bytes());
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpm_model::Flavour;

    fn home() -> Home {
        Home::new("/h".into(), Flavour::Rpm)
    }

    fn spec(name: &str) -> AppSpec {
        AppSpec::new(name, "/app.js", "/")
    }

    fn file(path: &str) -> LogTarget {
        LogTarget::File(path.into())
    }

    #[test]
    fn names_of_apps_become_names_of_files_as_in_pm2() {
        // Each pair was read from `pm_out_log_path` of PM2.
        for (name, expected) in [
            ("a_b.c d/e@é日x-1", "a-b.c-d-e---x-1"),
            ("x!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~😀Z9", "x-------------.---------\\----------Z9"),
        ] {
            assert_eq!(file_name(name), expected, "{name}");
        }
    }

    #[test]
    fn names_that_differ_only_in_letters_of_other_scripts_have_logs_of_their_own() {
        let log = |name: &str| paths(&spec(name), WorkerId(0), &home()).out.expect("a log");
        assert_eq!(log("日本"), Path::new("/h/logs/---9f26ee51-out-0.log"));
        assert_ne!(log("日本"), log("中文"));
        assert_ne!(log("größe"), log("grüße"));
        assert_eq!(log("a_b"), Path::new("/h/logs/a-b-out-0.log"), "as in PM2");
    }

    #[test]
    fn a_name_of_any_length_is_a_name_of_a_file() {
        let names = ["a".repeat(400), "日".repeat(400), format!("{}b", "a".repeat(400))];
        let specs = names.map(|name| spec(&name));
        let logs = specs.each_ref().map(|spec| paths(spec, WorkerId(99_999), &home()).err.expect("a log"));
        let pids = specs.each_ref().map(|spec| pid_path(spec, WorkerId(99_999), &home()));
        for path in logs.iter().chain(&pids) {
            let name = path.file_name().expect("a name").len();
            assert!(name + "__2026-11-26_01-02-03.99.log.gz.part".len() <= 255, "{name}: {}", path.display());
        }
        assert_ne!(logs[0], logs[2]);
    }

    #[test]
    fn workers_that_do_not_merge_have_files_of_their_own() {
        let mut spec = spec("in st");
        let paths = paths(&spec, WorkerId(3), &home());
        assert_eq!(paths.out, Some("/h/logs/in-st-out-3.log".into()));
        assert_eq!(paths.err, Some("/h/logs/in-st-error-3.log".into()));
        assert_eq!(paths.combined, None);
        spec.logs.merge = true;
        spec.logs.combined = Some(LogTarget::Default);
        let merged = super::paths(&spec, WorkerId(3), &home());
        assert_eq!(merged.out, Some("/h/logs/in-st-out.log".into()));
        assert_eq!(merged.combined, Some("/h/logs/in-st.log".into()));
    }

    #[test]
    fn only_log_at_the_end_of_a_given_name_takes_the_id() {
        let mut spec = spec("u");
        for (given, expected) in [
            ("/l/o.log.d/o.log", "/l/o.log.d/o-6.log"),
            ("/l/o.txt", "/l/o.txt"),
            ("/l/e.log.1", "/l/e.log.1"),
            ("/l/O.LOG", "/l/O.LOG"),
            ("/l/.log", "/l/-6.log"),
        ] {
            spec.logs.out = file(given);
            assert_eq!(paths(&spec, WorkerId(6), &home()).out, Some(expected.into()), "{given}");
        }
    }

    #[test]
    fn null_is_nowhere() {
        let mut spec = spec("n");
        spec.logs.err = LogTarget::Null;
        for null in ["/dev/null", "/cwd/NULL"] {
            spec.logs.out = file(null);
            let paths = paths(&spec, WorkerId(0), &home());
            assert_eq!((paths.out, paths.err), (None, None), "{null}");
        }
    }

    #[test]
    fn pid_files_always_carry_the_id() {
        let mut spec = spec("p q");
        spec.logs.merge = true;
        assert_eq!(pid_path(&spec, WorkerId(7), &home()), Path::new("/h/pids/p-q-7.pid"));
        spec.pid_file = Some("/r/p.pid".into());
        assert_eq!(pid_path(&spec, WorkerId(7), &home()), Path::new("/r/p-7.pid"));
        spec.pid_file = Some("/r/p.x".into());
        assert_eq!(pid_path(&spec, WorkerId(7), &home()), Path::new("/r/p.x"));
    }

    #[test]
    fn the_pid_file_of_a_command_line_is_called_after_its_first_word() {
        let mut spec = spec("sleep 1000");
        spec.args = vec!["-c".into(), "sleep 1000".into()];
        assert_eq!(pid_path(&spec, WorkerId(0), &home()), Path::new("/h/pids/sleep-0.pid"));
        spec.name = "my job".into();
        assert_eq!(pid_path(&spec, WorkerId(0), &home()), Path::new("/h/pids/my-job-0.pid"));
    }

    #[test]
    fn a_file_named_twice_is_written_once() {
        let mut spec = spec("t");
        spec.logs.merge = true;
        spec.logs.out = file("/l/all.log");
        spec.logs.combined = Some(file("/l/all.log"));
        let paths = paths(&spec, WorkerId(0), &home());
        assert_eq!(paths.of(Kind::Out), [Path::new("/l/all.log")]);
        assert_eq!(paths.of(Kind::Err).len(), 2);
    }
}
