//! Values of secrets: read on a thread when a process is to be started, given to that process, and kept nowhere.
//!
//! The exception is what comes from a shell's environment, which cannot be asked again: it is held in memory, in a
//! sealed memory file of the keeper's so that the next daemon has it too, and never in a file with a name.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpm_keeper::client::Request;
use rpm_model::{AppId, AppSpec, Environment, Life, Secret};
use rpm_supervise::{Event, Note};
use rpm_sys::pidfd::Pidfd;
use rpm_sys::poll::{Interest, wait};
use serde::{Deserialize, Serialize};

use crate::daemon::Daemon;
use crate::releases;

/// The name by which the keeper knows them.
pub(crate) const HELD: &str = "secrets";

/// A variable may have 128 KiB with its name (MAX_ARG_STRLEN).
const VALUE_MAX: usize = 120 * 1024;

/// All that is held together. At the bound a shell's value is refused.
const HELD_MAX: usize = 4 * 1024 * 1024;

/// Longer than any vault takes that answers at all.
const COMMAND_WITHIN: Duration = Duration::from_secs(10);

/// A command that has ended may have left somebody who holds its output.
const REST_WITHIN: Duration = Duration::from_secs(1);

/// What came from shells: by app, then by the shell's variable.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct FromShells(BTreeMap<String, Environment>);

impl FromShells {
    /// Takes the values out of what a client has sent; returns whether anything has changed.
    pub(crate) fn take(&mut self, spec: &mut AppSpec) -> bool {
        let mut changed = false;
        for secret in spec.secrets.values() {
            let Secret::Env(name) = secret else { continue };
            if let Some(value) = spec.env_shell.remove(name) {
                let before = self.0.entry(spec.name.clone()).or_default().insert(name.clone(), value);
                changed |= before.as_ref() != self.get(&spec.name, name);
            }
        }
        changed
    }

    fn get(&self, app: &str, name: &str) -> Option<&String> {
        self.0.get(app)?.get(name)
    }

    /// Forgets the values of apps that are not there any more; returns whether there were any.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&str) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain(|app, _| is_there(app));
        self.0.len() != before
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads what an earlier daemon has left with the keeper.
    pub(crate) fn read(file: &OwnedFd) -> Self {
        let content = rpm_sys::fd::read_sealed(file, HELD_MAX).unwrap_or_default();
        serde_json::from_slice(&content).unwrap_or_default()
    }
}

impl std::fmt::Debug for FromShells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FromShells of {:?}", self.0.keys())
    }
}

/// A process that is started once its secrets are known.
pub(crate) struct Prepared {
    pub(crate) app: AppId,
    pub(crate) spec: Arc<AppSpec>,
    pub(crate) instance: u32,
    pub(crate) note: Note,
    /// Closed when nobody waits any more: commands are ended then.
    _wanted: Option<OwnedFd>,
}

impl Prepared {
    pub(crate) fn new(app: AppId, spec: Arc<AppSpec>, instance: u32, note: Note) -> Self {
        Self { app, spec, instance, note, _wanted: None }
    }
}

/// What became of the secrets of a life.
pub(crate) type Resolved = (Life, Result<Environment, String>);

impl Daemon {
    /// Takes shells' values of secrets out of specs that have come, before anything is written down.
    pub(crate) fn take_secrets<'s>(&mut self, specs: impl Iterator<Item = &'s mut AppSpec>) {
        let mut changed = false;
        for spec in specs {
            changed |= self.from_shells.take(spec);
        }
        if changed {
            self.hold_secrets();
        }
    }

    /// Forgets those of apps that were deleted.
    pub(crate) fn forget_secrets(&mut self) {
        if self.from_shells.is_empty() {
            return;
        }
        let names: std::collections::BTreeSet<String> = self.core.apps().map(|app| app.spec.name.clone()).collect();
        if self.from_shells.retain(|app| names.contains(app)) {
            self.hold_secrets();
        }
    }

    fn hold_secrets(&mut self) {
        let content = serde_json::to_vec(&self.from_shells).unwrap_or_default();
        if content.len() > HELD_MAX {
            tracing::error!(
                "the secrets of shells take more than {HELD_MAX} bytes: the next daemon will not have them"
            );
            return;
        }
        match rpm_sys::fd::sealed_memory_file("rpm-secrets", &content) {
            Ok(file) => self.ask_keeper(&Request::Store { name: HELD, fd: file.as_fd() }),
            Err(error) => tracing::error!("the next daemon will not have the secrets of shells: {error}"),
        }
    }

    /// Begins to read the secrets of a life; its process is started when they are known.
    pub(crate) fn resolve(&mut self, life: Life, mut prepared: Prepared) {
        let unwanted = match rpm_sys::fd::pipe(None) {
            Ok((unwanted, wanted)) => {
                prepared._wanted = Some(wanted);
                unwanted
            }
            Err(error) => {
                let why = format!("its secrets could not be read: {error}");
                return self.events.push_back(Event::SpawnFailed { life, why });
            }
        };
        let spec = prepared.spec.clone();
        let mut sources = Vec::new();
        for (name, secret) in &spec.secrets {
            let known = match secret {
                Secret::Env(shell) => self.from_shells.get(&spec.name, shell).cloned(),
                Secret::File(_) | Secret::Cmd(_) => None,
            };
            sources.push((name.clone(), secret.clone(), known));
        }
        let news = self.resolved.0.clone();
        let read = move || {
            let mut values = Environment::new();
            for (name, secret, known) in sources {
                let value = known.map_or_else(|| value_of(&secret, &spec, &unwanted), Ok);
                match value {
                    Ok(value) => values.insert(name, value),
                    Err(why) => return Err(format!("the secret {name} ({secret}) could not be had: {why}")),
                };
            }
            Ok(values)
        };
        let thread = std::thread::Builder::new().name("secrets".into());
        let started = thread.spawn(move || {
            // The loop may have left already.
            let _ = news.send((life, read()));
        });
        match started {
            Ok(_) => {
                self.resolving.insert(life, prepared);
            }
            Err(error) => {
                let why = format!("its secrets could not be read: {error}");
                self.events.push_back(Event::SpawnFailed { life, why });
            }
        }
    }

    /// Starts the process that waited for its secrets, unless it was stopped meanwhile.
    pub(crate) fn take_resolved(&mut self, (life, values): Resolved) {
        let Some(prepared) = self.resolving.remove(&life) else { return };
        match values {
            Ok(values) => {
                self.apps_differ = true;
                self.begin_start(life, prepared, values);
            }
            Err(why) => self.events.push_back(Event::SpawnFailed { life, why }),
        }
    }

    /// Gives up a start that waits for its secrets, or for its hook; returns whether there was one.
    pub(crate) fn give_up_start(&mut self, life: Life) -> bool {
        if self.give_up_hook(life) {
            return true;
        }
        let waited = self.resolving.remove(&life).is_some();
        if waited {
            let why = "it was stopped before its secrets were known".to_owned();
            self.events.push_back(Event::SpawnFailed { life, why });
        }
        waited
    }
}

fn value_of(secret: &Secret, spec: &AppSpec, unwanted: &OwnedFd) -> Result<String, String> {
    let bytes = match secret {
        Secret::File(path) => {
            // A pipe would keep us waiting, already to be opened.
            let not_waiting = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
            let file = std::fs::File::options().read(true).custom_flags(not_waiting).open(path);
            let file = file.map_err(|error| error.to_string())?;
            if !file.metadata().is_ok_and(|meta| meta.is_file()) {
                return Err("it is no file".into());
            }
            let mut bytes = Vec::new();
            file.take(VALUE_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            bytes
        }
        Secret::Cmd(argv) => printed(argv, spec, unwanted)?,
        Secret::Env(name) => {
            let value = std::env::var_os(name).ok_or("neither the shell that started it nor the daemon has it")?;
            value.into_encoded_bytes()
        }
    };
    text(bytes)
}

fn text(mut bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() > VALUE_MAX {
        return Err(format!("it is longer than {VALUE_MAX} bytes"));
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.contains(&0) {
        return Err("it has a zero byte, which no variable can hold".into());
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
}

/// Runs a command, in the app's directory and with the environment of the shell that started it; returns what it prints.
fn printed(argv: &[String], spec: &AppSpec, unwanted: &OwnedFd) -> Result<Vec<u8>, String> {
    let (program, args) = argv.split_first().ok_or("there is no command")?;
    let mut command = Command::new(program);
    command.args(args).current_dir(releases::directory(spec)).process_group(0);
    if !spec.env_shell.is_empty() {
        command.env_clear().envs(&spec.env_shell);
    }
    // What it says of its troubles may be what must not be written.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    rpm_sys::spawn::die_with_parent(&mut command);
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let (told, output) = std::sync::mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(VALUE_MAX as u64 + 1).read_to_end(&mut bytes);
            let _nobody_waits_any_more = told.send(read.map(|_| bytes));
        });
    }
    let ended = wait_for(&child, unwanted);
    if !ended {
        let group = rustix::process::Pid::from_raw(child.id().cast_signed());
        if let Some(group) = group {
            let _gone_is_as_good = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if !ended {
        return Err(format!("it did not end within {} s", COMMAND_WITHIN.as_secs()));
    }
    if !status.success() {
        return Err(format!("it failed: {status}"));
    }
    output
        .recv_timeout(REST_WITHIN)
        .map_err(|_| "its output does not end".to_owned())?
        .map_err(|error| error.to_string())
}

/// Waits for the end of a command; returns whether it came in time, and while somebody waited for it.
fn wait_for(child: &std::process::Child, unwanted: &OwnedFd) -> bool {
    let Ok(pidfd) = Pidfd::open(child.id().cast_signed()) else { return false };
    let until = Instant::now() + COMMAND_WITHIN;
    while !pidfd.has_exited() {
        let left = until.saturating_duration_since(Instant::now());
        let gone = Interest { fd: pidfd.as_fd(), read: true, write: false };
        let unwanted = Interest { fd: unwanted.as_fd(), read: true, write: false };
        match wait([gone, unwanted], Some(left)) {
            Ok([_, unwanted]) if !unwanted.hung_up && !left.is_zero() => {}
            Ok(_) | Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> AppSpec {
        AppSpec::new("api", "/app", "/")
    }

    #[test]
    fn the_last_line_end_is_not_part_of_a_secret() {
        for (written, meant) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("", "")] {
            assert_eq!(text(written.into()).as_deref(), Ok(meant));
        }
        assert!(
            text(b"a\0b".to_vec()).is_err() && text(vec![0xff]).is_err() && text(vec![b'x'; VALUE_MAX + 1]).is_err()
        );
    }

    #[test]
    fn a_command_is_run_without_a_shell() {
        let (unwanted, _wanted) = rpm_sys::fd::pipe(None).unwrap();
        let value_of = |secret: &Secret, spec: &AppSpec| value_of(secret, spec, &unwanted);
        let argv = |words: &[&str]| Secret::Cmd(words.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(value_of(&argv(&["printf", "%s", "$HOME; id"]), &spec()).as_deref(), Ok("$HOME; id"));
        assert!(value_of(&argv(&["false"]), &spec()).unwrap_err().contains("exit status: 1"));
        assert!(value_of(&argv(&["/nowhere/vault"]), &spec()).is_err());
    }

    #[test]
    fn what_came_from_a_shell_is_taken_out_of_the_spec() {
        let mut held = FromShells::default();
        let mut api = spec();
        api.secrets.insert("KEY".into(), Secret::Env("TOKEN".into()));
        api.env_shell.insert("TOKEN".into(), "canary".into());
        assert!(held.take(&mut api));
        assert!(!serde_json::to_string(&api).unwrap().contains("canary") && !format!("{held:?}").contains("canary"));
        assert_eq!(held.get("api", "TOKEN").map(String::as_str), Some("canary"));
        assert!(!held.take(&mut api), "nothing new has come");
        assert!(held.retain(|_| false) && held.is_empty());
    }
}
