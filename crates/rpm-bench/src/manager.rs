//! `rpm` or PM2 behind one face: both are only ever spoken to by their command line.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

use crate::process;

/// The longest that any command may take. PM2 needs a minute to stop 100 programs that ignore its signal.
const COMMAND_MAX: Duration = Duration::from_secs(120);

/// Which process manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Rpm,
    /// PM2 from npm.
    Pm2,
}

impl Kind {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Rpm => "rpm",
            Kind::Pm2 => "PM2",
        }
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; nothing when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote, to standard error first.
    pub told: String,
}

/// One daemon with a state directory of its own. Dropping it ends the daemon and everything it has started.
#[derive(Debug)]
pub struct Manager {
    kind: Kind,
    binary: PathBuf,
    home: TempDir,
    environment: Vec<(String, String)>,
}

impl Manager {
    /// Names a program; starts nothing.
    ///
    /// # Errors
    /// When there is no room for a state directory.
    pub fn new(kind: Kind, binary: &Path) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("rpm-bench-").tempdir()?;
        homes().push(home.path().to_owned());
        Ok(Self { kind, binary: binary.to_owned(), home, environment: Vec::new() })
    }

    /// Adds a variable to the environment of its commands, and so of what they start.
    pub fn environment(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Returns which it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the state directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs a command and returns what it printed.
    ///
    /// # Errors
    /// When it fails, with what it wrote to standard error; or takes too long.
    pub fn run<S: AsRef<str>>(&self, arguments: &[S]) -> Result<String> {
        let said = || self.said(arguments);
        let (status, out, err) = self.end_of(arguments).with_context(said)?;
        if !status.success() {
            bail!("`{}` ended with {status}: {}", said(), if err.trim().is_empty() { out.trim() } else { err.trim() });
        }
        Ok(out)
    }

    /// Runs a command that may well fail, and returns how it ended.
    ///
    /// # Errors
    /// When it cannot be run, or takes too long.
    pub fn attempt<S: AsRef<str>>(&self, arguments: &[S]) -> Result<Ended> {
        let (status, out, err) = self.end_of(arguments).with_context(|| self.said(arguments))?;
        Ok(Ended { code: status.code(), told: format!("{err}{out}") })
    }

    fn said<S: AsRef<str>>(&self, arguments: &[S]) -> String {
        arguments.iter().fold(self.kind.name().to_owned(), |said, word| said + " " + word.as_ref())
    }

    fn end_of<S: AsRef<str>>(&self, arguments: &[S]) -> Result<(ExitStatus, String, String)> {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        // Files, not pipes: a daemon that inherits a pipe would keep it open after the command has ended.
        let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let status = self.wait(&arguments, &out, &err)?;
        Ok((status, text_of(&mut out)?, text_of(&mut err)?))
    }

    fn wait(&self, arguments: &[&str], out: &File, err: &File) -> Result<ExitStatus> {
        let variable = match self.kind {
            Kind::Rpm => "RPM_HOME",
            Kind::Pm2 => "PM2_HOME",
        };
        let mut child = Command::new(&self.binary)
            .args(arguments)
            .env(variable, self.home())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(err.try_clone()?)
            .spawn()
            .with_context(|| format!("could not run {}", self.binary.display()))?;
        if !process::wait_gone(child.id() as i32, COMMAND_MAX) {
            child.kill()?;
            child.wait()?;
            bail!("gave no result within {} s", COMMAND_MAX.as_secs());
        }
        Ok(child.wait()?)
    }

    /// Returns the daemon's pid, if it runs.
    pub fn daemon_pid(&self) -> Option<i32> {
        let name = match self.kind {
            Kind::Rpm => "rpm.pid",
            Kind::Pm2 => "pm2.pid",
        };
        self.pid_in(name)
    }

    /// Returns the pids of the manager itself: the daemon, and what stands beside it.
    ///
    /// # Errors
    /// When the daemon does not run.
    pub fn own_pids(&self) -> Result<Vec<i32>> {
        let daemon = self.daemon_pid().with_context(|| format!("no daemon of {} runs", self.kind.name()))?;
        let keeper = match self.kind {
            Kind::Rpm => Some(self.pid_in("keeper.pid").context("no keeper runs")?),
            Kind::Pm2 => None,
        };
        Ok(std::iter::once(daemon).chain(keeper).collect())
    }

    fn pid_in(&self, name: &str) -> Option<i32> {
        let pid = std::fs::read_to_string(self.home().join(name)).ok()?.trim().parse().ok()?;
        process::is_alive(pid).then_some(pid)
    }

    /// Returns the pids of the workers that are online.
    ///
    /// # Errors
    /// When `jlist` fails or prints no list.
    pub fn online(&self) -> Result<Vec<i32>> {
        let printed = self.run(&["jlist"])?;
        // PM2 prints its greeting before the list when it has just started the daemon.
        let json = printed.lines().rev().find(|line| line.starts_with('[')).context("`jlist` printed no list")?;
        let list: Vec<Value> = serde_json::from_str(json).context("`jlist` printed no JSON")?;
        let online = list.iter().filter(|worker| worker["pm2_env"]["status"] == "online");
        online
            .map(|worker| worker["pid"].as_i64().map(|pid| pid as i32).context("an online worker has no pid"))
            .collect()
    }

    /// Waits until exactly this many workers are online.
    ///
    /// # Errors
    /// When that takes more than `deadline`.
    pub fn wait_online(&self, count: usize, deadline: Duration) -> Result<Vec<i32>> {
        let until = Instant::now() + deadline;
        loop {
            match self.online() {
                Ok(pids) if pids.len() == count => return Ok(pids),
                Ok(pids) if Instant::now() > until => {
                    bail!("{} workers are online instead of {count} after {} s", pids.len(), deadline.as_secs())
                }
                Err(error) if Instant::now() > until => return Err(error),
                // A poll is all that a command line offers.
                Ok(_) | Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Ends the daemon and everything it has started.
    pub fn end(&self) {
        if self.daemon_pid().is_some() {
            let _ = self.run(&["kill"]);
        }
        end_all_of(self.home());
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.end();
        homes().retain(|home| home != self.home.path());
    }
}

/// The state directories in use, or those that they are in.
static HOMES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn homes() -> MutexGuard<'static, Vec<PathBuf>> {
    HOMES.lock().expect("nobody panics with the list of state directories in hand")
}

/// Counts a directory among those in use, whoever runs a manager there.
pub fn count_in(directory: &Path) {
    homes().push(directory.to_owned());
}

/// From now on an interrupted program leaves no daemon and no worker behind.
///
/// # Errors
/// When the signals cannot be had.
pub fn clean_up_when_interrupted() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        // Held to the end: no state directory comes to be meanwhile.
        let homes = homes();
        for home in homes.iter() {
            end_all_of(home);
            let _ = std::fs::remove_dir_all(home);
        }
        std::process::exit(128 + signal);
    });
    Ok(())
}

/// Kills every process of a state directory.
///
/// These are what the manager has left: orphans of a daemon that was killed, or a program that is broken. What restarts
/// others goes on doing so until it is killed itself, hence more than one round.
fn end_all_of(home: &Path) {
    for _ in 0..5 {
        let left = process::with_directory_in_environment(home);
        if left.is_empty() {
            return;
        }
        left.iter().for_each(|pid| process::kill(*pid));
        for pid in left {
            process::wait_gone(pid, Duration::from_secs(5));
        }
    }
}

/// Returns the `rpm` to be measured: `RPM_BIN`, else the one built beside this program.
///
/// # Errors
/// When there is none.
pub fn rpm_binary() -> Result<PathBuf> {
    let path = match std::env::var_os("RPM_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("rpm"),
    };
    path.canonicalize().with_context(|| format!("there is no rpm at {} (build it, or set RPM_BIN)", path.display()))
}

/// Returns the top of the repository, where the examples are.
///
/// # Errors
/// When neither the working directory nor one above it is.
pub fn repository() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let top = here.ancestors().find(|directory| directory.join("examples/api/server.js").exists());
    top.map(Path::to_owned).context("run this inside the repository: examples/api/server.js was not found")
}

/// Returns a port that nobody listens on at this moment.
///
/// # Errors
/// When the kernel has none.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn text_of(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
