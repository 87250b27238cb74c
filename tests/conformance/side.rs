//! One side of the comparison: a program that answers to `pm2`, a home and a directory to work in.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rpm_tests::{is_alive, signal, until};
use serde_json::{Value, json};

/// Longer than any command of a scenario takes on a busy machine; PM2 hangs for ever in a few cases.
const COMMAND_MAX: Duration = Duration::from_secs(40);

/// Who plays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Player {
    Pm2,
    Rpm,
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None: it was ended because it took too long.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// One side.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) player: Player,
    root: tempfile::TempDir,
}

impl Side {
    /// Lays out an empty home.
    ///
    /// # Panics
    /// When no directory can be made.
    pub(crate) fn new(player: Player, program: &Path) -> Self {
        // Short and equally long for both: the path of a unix socket has 107 bytes.
        let root = tempfile::Builder::new().prefix("conf-").tempdir().expect("a temporary directory");
        std::fs::create_dir(root.path().join("bin")).expect("a directory");
        for name in ["pm2", "pm2-runtime", "pm2-dev"] {
            let program = match player {
                Player::Pm2 => &program.with_file_name(name),
                Player::Rpm => program,
            };
            std::os::unix::fs::symlink(program, root.path().join("bin").join(name)).expect("a link");
        }
        let side = Self { player, root };
        std::fs::create_dir(side.work()).expect("a directory");
        side
    }

    /// The root of everything that belongs to this side.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// `PM2_HOME`.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// Where the commands run.
    pub(crate) fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// Returns the path a step means: `home/…` in the home, anything else in the working directory.
    pub(crate) fn path(&self, text: &str) -> PathBuf {
        match text.strip_prefix("home/") {
            Some(rest) => self.home().join(rest),
            None => self.work().join(text),
        }
    }

    /// Runs a line of shell.
    ///
    /// # Panics
    /// When there is no shell.
    pub(crate) fn run(&self, line: &str, env: &BTreeMap<String, String>) -> Ended {
        let output = |name: &str| std::fs::File::create(self.root().join(name)).expect("a file for what is printed");
        let path = format!("{}/bin:{}:/usr/local/bin:/usr/bin:/bin", self.root().display(), node_directory());
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(line).current_dir(self.work()).env_clear().envs(env);
        command.env("PATH", path).env("HOME", self.root()).env("PM2_HOME", self.home()).env("LANG", "C.UTF-8");
        command.env("PM2_DISABLE_VERSION_CHECK", "true");
        // Files, not pipes: a daemon that keeps its creator's stdout must not keep us waiting.
        command.stdin(Stdio::null()).stdout(output("stdout")).stderr(output("stderr")).process_group(0);
        let mut child = command.spawn().expect("a shell");
        let deadline = Instant::now() + COMMAND_MAX;
        let code = loop {
            if let Some(status) = child.try_wait().expect("our own child") {
                break status.code();
            }
            if Instant::now() > deadline {
                signal(-(child.id() as i32), 9);
                let _ = child.wait();
                break None;
            }
            std::thread::park_timeout(Duration::from_millis(3));
        };
        let text = |name: &str| {
            String::from_utf8_lossy(&std::fs::read(self.root().join(name)).unwrap_or_default()).into_owned()
        };
        Ended { code, stdout: text("stdout"), stderr: text("stderr") }
    }

    /// Returns the list of processes, without starting a daemon.
    pub(crate) fn list(&self) -> Vec<Value> {
        let list = match self.player {
            // Node takes 0.2 s to start; the daemon answers in a millisecond.
            Player::Pm2 => self.ask("getMonitorData", &json!({})),
            Player::Rpm => serde_json::from_str(&self.run("pm2 jlist", &BTreeMap::new()).stdout).ok(),
        };
        list.and_then(|list| list.as_array().cloned()).unwrap_or_default()
    }

    /// Returns the processes of one name.
    pub(crate) fn processes(&self, name: &str) -> Vec<Value> {
        self.list().into_iter().filter(|process| process["name"] == name || name == "*").collect()
    }

    /// Makes it as good as new, with the daemon left running.
    ///
    /// # Panics
    /// When files cannot be removed.
    pub(crate) fn clear(&self) {
        for process in self.list() {
            self.ask("deleteProcessId", &process["pm_id"]);
        }
        for name in ["logs", "pids"] {
            let _ = std::fs::remove_dir_all(self.home().join(name));
            std::fs::create_dir_all(self.home().join(name)).expect("a directory");
        }
        for name in ["dump.pm2", "dump.pm2.bak", "module_conf.json", "reload.lock"] {
            let _ = std::fs::remove_file(self.home().join(name));
        }
        std::fs::remove_dir_all(self.work()).expect("the working directory");
        std::fs::create_dir(self.work()).expect("a directory");
    }

    /// Returns every process that was started with our home in its environment.
    fn processes_of_home(&self) -> Vec<i32> {
        let mark = format!("PM2_HOME={}", self.home().display());
        let has_mark = |pid: &i32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|line| line == mark.as_bytes()) && is_alive(*pid)
        };
        let entries = Path::new("/proc").read_dir().into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(has_mark).collect()
    }

    /// Calls a method of PM2's daemon: axon's `req` socket with JSON in AMP frames.
    fn ask(&self, method: &str, argument: &Value) -> Option<Value> {
        let mut stream = UnixStream::connect(self.home().join("rpc.sock")).ok()?;
        stream.set_read_timeout(Some(COMMAND_MAX)).ok()?;
        let call = format!("j:{}", json!({ "type": "call", "method": method, "args": [argument] }));
        let mut frame = vec![0x12];
        for part in [call.as_str(), "s:1:0"] {
            frame.extend_from_slice(&(part.len() as u32).to_be_bytes());
            frame.extend_from_slice(part.as_bytes());
        }
        stream.write_all(&frame).ok()?;
        stream.read_exact(&mut [0]).ok()?;
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer).ok()?;
        let answer: Value = serde_json::from_slice(answer.strip_prefix(b"j:")?).ok()?;
        Some(answer["args"][0].clone())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if self.processes_of_home().is_empty() {
            return;
        }
        let _ = self.run("pm2 kill", &BTreeMap::new());
        // Whatever is left: a daemon whose PID file is elsewhere, the child of an app that was told not to kill it.
        let is_clean = || {
            let left = self.processes_of_home();
            left.iter().for_each(|pid| signal(*pid, 9));
            left.is_empty()
        };
        if std::thread::panicking() {
            is_clean();
        } else {
            until("the end of everything that was started", is_clean);
        }
    }
}

/// Returns the directory with `node`, which both sides have in their path.
fn node_directory() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories = std::env::split_paths(&path);
    let found = directories.find(|directory| directory.join("node").is_file());
    found.map_or_else(|| "/usr/bin".to_owned(), |directory| directory.to_string_lossy().into_owned())
}
