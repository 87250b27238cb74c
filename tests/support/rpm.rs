//! One daemon with a state directory of its own, driven through the real binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The longest that any condition may take; ten times what the slowest one takes on two busy cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// One daemon.
#[derive(Debug)]
pub struct Rpm {
    home: tempfile::TempDir,
    /// Where the program is called `pm2`, if it is.
    alias: Option<tempfile::TempDir>,
}

impl Default for Rpm {
    fn default() -> Self {
        Self::new()
    }
}

impl Rpm {
    /// Makes a state directory; the daemon starts with the first command.
    ///
    /// # Panics
    /// When no directory can be made.
    pub fn new() -> Self {
        // Short: the path of a unix socket has 107 bytes.
        Self { home: directory(), alias: None }
    }

    /// Makes a state directory for a program that is called as `pm2`.
    ///
    /// # Panics
    /// When no directory can be made.
    pub fn as_pm2() -> Self {
        let alias = directory();
        std::os::unix::fs::symlink(binary(), alias.path().join("pm2")).expect("a link can be made");
        Self { home: directory(), alias: Some(alias) }
    }

    /// Returns the state directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Returns a command that is about to run `rpm` with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let (program, home) = match &self.alias {
            None => (binary(), "RPM_HOME"),
            Some(alias) => (alias.path().join("pm2"), "PM2_HOME"),
        };
        let mut command = Command::new(program);
        command.args(args).env(home, self.home()).env("NO_COLOR", "1").env_remove("COLUMNS");
        command.stdin(Stdio::null());
        command
    }

    /// Writes an ecosystem file of one app with `more` in its settings, and returns its path.
    pub fn file_of(&self, mut app: Value, more: &Value) -> String {
        let settings = app.as_object_mut().expect("an object");
        settings.extend(more.as_object().expect("an object").clone());
        settings.entry("cwd").or_insert_with(|| json!(self.home()));
        let path = self.home().join("eco.json");
        std::fs::write(&path, json!({ "apps": [app] }).to_string()).expect("a file");
        path.to_string_lossy().into_owned()
    }

    /// Runs `rpm` with these arguments.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("rpm runs")
    }

    /// Runs `rpm`, which must succeed; returns its standard output.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = texts(&output);
        assert!(
            output.status.success(),
            "rpm {args:?} failed ({})\n{out}\n{err}\n{}",
            output.status,
            self.daemon_log()
        );
        out
    }

    /// Runs `rpm`, which must fail with exit code 1 or 2; returns its standard error.
    ///
    /// # Panics
    /// When it succeeds, or is ended by a signal.
    pub fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = texts(&output);
        assert!(
            matches!(output.status.code(), Some(1..=5)),
            "rpm {args:?} did not fail: {}\n{out}\n{err}",
            output.status
        );
        assert!(!err.contains("panicked"), "rpm {args:?} panicked\n{err}");
        err
    }

    /// Returns `jlist`.
    ///
    /// # Panics
    /// When it is not one JSON document.
    pub fn jlist(&self) -> Vec<Value> {
        let text = self.ok(&["jlist"]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("jlist is not JSON ({error}): {text}"))
    }

    /// Returns the processes of one app in `jlist`.
    pub fn processes(&self, app: &str) -> Vec<Value> {
        self.jlist().into_iter().filter(|process| process["name"] == app).collect()
    }

    /// Returns the pids of the running processes of one app, by id.
    pub fn pids(&self, app: &str) -> Vec<i32> {
        let pids = self.processes(app).into_iter().filter_map(|process| process["pid"].as_i64());
        pids.filter(|pid| *pid > 0).map(|pid| pid as i32).collect()
    }

    /// Returns how often each process of an app was started again, by id.
    pub fn restarts(&self, app: &str) -> Vec<u64> {
        let list = self.processes(app).into_iter();
        list.filter_map(|process| process["pm2_env"]["restart_time"].as_u64()).collect()
    }

    /// Returns the status of each process of an app, by id.
    pub fn statuses(&self, app: &str) -> Vec<String> {
        let list = self.processes(app).into_iter();
        list.filter_map(|process| Some(process["pm2_env"]["status"].as_str()?.to_owned())).collect()
    }

    /// Waits until the processes of `app` are as wanted.
    ///
    /// # Panics
    /// When they are not in time.
    pub fn until(&self, what: &str, app: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let mut last = Vec::new();
        until(&format!("{app}: {what}"), || {
            last = self.processes(app);
            wanted(&last)
        });
        last
    }

    /// Returns the daemon's pid.
    ///
    /// # Panics
    /// When there is no daemon.
    pub fn daemon_pid(&self) -> i32 {
        self.pid_in(self.pid_file()).expect("a daemon runs")
    }

    /// Returns the keeper's pid.
    ///
    /// # Panics
    /// When there is no keeper.
    pub fn keeper_pid(&self) -> i32 {
        self.pid_in("keeper.pid").expect("a keeper runs")
    }

    /// Kills the daemon with SIGKILL and waits until the next one has taken its place.
    ///
    /// # Panics
    /// When none does.
    pub fn kill_daemon(&self) {
        let before = self.daemon_pid();
        signal(before, 9);
        until("the next daemon", || {
            self.pid_in(self.pid_file()).is_some_and(|pid| pid != before) && self.run(&["ping"]).status.success()
        });
    }

    /// Returns what the daemon and the keeper wrote.
    pub fn daemon_log(&self) -> String {
        std::fs::read_to_string(self.home().join(if self.alias.is_some() { "pm2.log" } else { "rpm.log" }))
            .unwrap_or_default()
    }

    /// Returns the log of an app: `api-out.log`.
    pub fn log(&self, name: &str) -> String {
        let bytes = std::fs::read(self.home().join("logs").join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn pid_file(&self) -> &'static str {
        if self.alias.is_some() { "pm2.pid" } else { "rpm.pid" }
    }

    fn pid_in(&self, file: &str) -> Option<i32> {
        std::fs::read_to_string(self.home().join(file)).ok()?.trim().parse().ok()
    }
}

impl Drop for Rpm {
    fn drop(&mut self) {
        if self.pid_in("keeper.pid").is_some_and(is_alive) {
            let _ = self.run(&["kill"]);
        }
        // Whatever a failed test has left, and commands in flight: one of these would start the next keeper.
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut left = naming(self.home());
        while !left.is_empty() && Instant::now() < deadline {
            left.iter().for_each(|pid| signal(*pid, 9));
            left = naming(self.home());
        }
        if std::thread::panicking() {
            eprintln!("--- rpm.log ---\n{}", self.daemon_log());
        }
    }
}

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("rpm-").tempdir().expect("a temporary directory")
}

/// Waits for a condition.
///
/// # Panics
/// When it does not come true in time.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Returns the path of one of the small apps in `tests/apps`.
pub fn app(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("apps").join(name);
    assert!(path.exists(), "{} is missing", path.display());
    path.to_string_lossy().into_owned()
}

/// Returns the directory with the npm packages that `make setup` installs.
///
/// # Panics
/// When it is not named: the tests are run by `make test`.
pub fn deps() -> PathBuf {
    std::env::var_os("RPM_TEST_DEPS").map(PathBuf::from).expect("RPM_TEST_DEPS is set by `make test`")
}

/// Sends a signal to a process that this test started.
pub fn signal(pid: i32, number: i32) {
    let _ = Command::new("kill").arg(format!("-{number}")).arg(pid.to_string()).stderr(Stdio::null()).status();
}

/// Returns whether a process is there and not a zombie.
pub fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).is_some_and(|state| state != 'Z')
}

/// Returns the processes with this directory in their environment: of a state directory these are all that came of it.
fn naming(directory: &Path) -> Vec<i32> {
    let needle = directory.as_os_str().as_encoded_bytes();
    let names = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(needle.len()).any(|part| part == needle)
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(names).collect()
}

/// Returns the binary under test: RPM_BIN, or the one beside this test.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("RPM_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test has a path");
    let directory = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    let path = directory.join("rpm");
    assert!(path.exists(), "{} is missing: build it with `cargo build -p rpm-cli`", path.display());
    path
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}
