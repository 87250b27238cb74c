//! The parts, and what a test does with them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rpm_keeper::{Client, ExitStatus, Message, Options, Request, ready};
use rpm_sys::fd;
use rpm_sys::pidfd::{Pidfd, ProcessRef};
use rpm_sys::poll::{Interest, wait};
use rpm_sys::signal::SIGKILL;

/// Longer than anything here takes on a busy machine; only failures wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn play_keeper(home: &Path) {
    let options = Options {
        home: home.to_owned(),
        log: home.join("rpm.log"),
        daemon_command: argv("role-daemon", home),
        ready: ready::inherited().expect("a sound environment"),
    };
    if let Err(error) = rpm_keeper::run(options) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

/// Gives the connection away, then does what single bytes tell it: `r`eady, `f`ailure, or exit with that code.
pub(crate) fn play_daemon(home: &Path) {
    let connection = fd::take_inherited(3).expect("the keeper's connection");
    let mut ready = ready::inherited().expect("a sound environment");
    let Ok(stage) = UnixStream::connect(home.join("stage.sock")) else { std::process::exit(9) };
    let pid = std::process::id().to_le_bytes();
    fd::send_with_fds(&stage, &pid, &[connection.as_fd()]).expect("the test listens");
    drop(connection);
    loop {
        let mut byte = [0];
        // The end of the stage ends the daemon.
        let _ended_is_zero = (&stage).read(&mut byte);
        match byte[0] {
            b'r' => ready.take().map_or((), ready::tell_ready),
            b'f' => ready.take().map_or((), |pipe| ready::tell_failure(pipe, "the port is taken")),
            code => std::process::exit(i32::from(code)),
        }
    }
}

pub(crate) fn play_launcher(home: &Path) {
    match rpm_keeper::launch(home, &home.join("rpm.log"), &argv("role-keeper", home)) {
        Ok(()) => println!("launched"),
        Err(error) => println!("{error}"),
    }
}

pub(crate) fn argv(role: &str, home: &Path) -> Vec<OsString> {
    vec![own_program().into(), role.into(), home.into()]
}

pub(crate) fn own_program() -> PathBuf {
    std::env::current_exe().expect("a program has a path")
}

/// A home with a keeper in it. All it started dies with this value.
pub(crate) struct Stage {
    pub(crate) home: tempfile::TempDir,
    entrance: UnixListener,
    pub(crate) keeper: Option<Child>,
}

impl Stage {
    /// A home without a keeper.
    pub(crate) fn empty() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let entrance = UnixListener::bind(home.path().join("stage.sock")).expect("a short path");
        Self { home, entrance, keeper: None }
    }

    /// A keeper and its first daemon.
    pub(crate) fn set() -> (Self, Daemon) {
        Self::set_with_open_files(None)
    }

    /// The same, with at most so many open files.
    pub(crate) fn set_with_open_files(max: Option<u32>) -> (Self, Daemon) {
        let mut stage = Self::empty();
        stage.start_keeper(max);
        let daemon = stage.next_daemon();
        (stage, daemon)
    }

    pub(crate) fn start_keeper(&mut self, open_files_max: Option<u32>) {
        let limit = open_files_max.map(|max| format!("ulimit -n {max}; ")).unwrap_or_default();
        let keeper = Command::new("/bin/sh")
            .args(["-c", &format!("{limit}exec \"$@\""), "sh"])
            .args(argv("role-keeper", self.home.path()))
            .stderr(Stdio::null())
            .spawn();
        self.keeper = Some(keeper.expect("a keeper"));
    }

    pub(crate) fn path(&self) -> &Path {
        self.home.path()
    }

    /// Waits for the next daemon to come in.
    pub(crate) fn next_daemon(&self) -> Daemon {
        await_readable(&self.entrance);
        let (strings, _) = self.entrance.accept().expect("a daemon");
        await_readable(&strings);
        let mut pid = [0; 4];
        let (_, fds) = fd::recv_with_fds(&strings, &mut pid, 1).expect("its connection");
        let raw = fds.into_iter().next().expect("its connection");
        let spare = fd::dup(&raw).expect("a duplicate");
        Daemon { client: Client::new(raw).expect("a client"), raw: spare, pid: i32::from_le_bytes(pid), strings }
    }

    /// Waits for a daemon to come in or for the launcher to end, whichever is first.
    pub(crate) fn daemon_unless_over(&self, launcher: &Child) -> Option<Daemon> {
        let launcher = Pidfd::open(launcher.id() as i32).expect("not waited for");
        let interests = [self.entrance.as_fd(), launcher.as_fd()].map(|fd| Interest { fd, read: true, write: false });
        let [daemon, _] = wait(interests, Some(PATIENCE)).expect("poll");
        daemon.read.then(|| self.next_daemon())
    }

    /// Waits for the keeper to leave; returns whether it did so without an error.
    pub(crate) fn keeper_leaves(&mut self) -> bool {
        let mut keeper = self.keeper.take().expect("a keeper");
        await_readable(&Pidfd::open(keeper.id() as i32).expect("not waited for"));
        keeper.wait().expect("its exit").success()
    }

    /// The keeper's pid as it wrote it.
    pub(crate) fn written_pid(&self) -> i32 {
        let text = std::fs::read_to_string(self.path().join("keeper.pid")).expect("keeper.pid");
        text.trim().parse().expect("a number")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let pid = match &self.keeper {
            Some(keeper) => Some(keeper.id() as i32),
            None => std::fs::read_to_string(self.path().join("keeper.pid")).ok().and_then(|t| t.trim().parse().ok()),
        };
        // Everything that was started is below the keeper, which adopts what loses its parent.
        let keeper = pid.and_then(|pid| ProcessRef::open(pid).ok().flatten());
        rpm_sys::tree::signal_tree(keeper.as_ref(), &[], SIGKILL);
        if let Some(keeper) = &mut self.keeper {
            let _ = keeper.wait();
        }
    }
}

/// A daemon: its process does nothing, the test speaks for it.
pub(crate) struct Daemon {
    pub(crate) client: Client,
    /// The same connection, for packets that no client sends.
    pub(crate) raw: OwnedFd,
    pub(crate) pid: i32,
    strings: UnixStream,
}

/// What the inventory says.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) children: Vec<Message>,
    pub(crate) held: Vec<(String, OwnedFd)>,
}

impl Inventory {
    /// Returns how `dead` has ended, where it and `alive`, with its note and this pid, are all the children there are.
    pub(crate) fn end_of_dead_beside_alive(&self, pid: i32) -> ExitStatus {
        let [
            Message::Child { key: first, note, pid: known, pidfd: Some(_), exit: None, .. },
            Message::Child { key: second, exit: Some(end), pidfd: None, .. },
        ] = &self.children[..]
        else {
            panic!("one lives, one is dead: {self:?}")
        };
        assert_eq!((first.as_str(), note.as_slice(), *known, second.as_str()), ("alive", &b"noted"[..], pid, "dead"));
        end.exit
    }
}

impl Daemon {
    pub(crate) fn ask(&mut self, request: &Request<'_>) {
        self.client.send(request).expect("the keeper reads");
    }

    /// Waits for the next message.
    pub(crate) fn hear(&mut self) -> Message {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.client.flush().expect("the keeper reads");
            if let Some(message) = self.client.recv().expect("the keeper is there") {
                return message;
            }
            let left = deadline.checked_duration_since(Instant::now()).expect("an answer in time");
            let interest = Interest { fd: self.client.as_fd(), read: true, write: self.client.wants_flush() };
            wait([interest], Some(left)).expect("poll");
        }
    }

    pub(crate) fn hello(&mut self) -> i32 {
        self.ask(&Request::Hello { version: rpm_keeper::client::VERSION });
        match self.hear() {
            Message::Hello { pid, version: 1 } => pid,
            other => panic!("Hello is answered by Hello, not {other:?}"),
        }
    }

    pub(crate) fn inventory(&mut self) -> Inventory {
        self.ask(&Request::Inventory);
        let mut inventory = Inventory::default();
        loop {
            match self.hear() {
                child @ Message::Child { .. } => inventory.children.push(child),
                Message::Held { name, fd } => inventory.held.push((name, fd)),
                Message::InventoryEnd => return inventory,
                other => panic!("an inventory has no {other:?}"),
            }
        }
    }

    pub(crate) fn error(&mut self) -> (String, String) {
        match self.hear() {
            Message::Error { about, text } => (about, text),
            other => panic!("an error was due, not {other:?}"),
        }
    }

    /// Waits until a program runs; returns its pid and pidfd.
    pub(crate) fn spawned(&mut self, expected: &str) -> (i32, OwnedFd) {
        match self.hear() {
            Message::Spawned { key, pid, pidfd, at_micros } if key == expected && at_micros > 0 => (pid, pidfd),
            other => panic!("{expected} should have been spawned: {other:?}"),
        }
    }

    /// Tells its process something; see [`play_daemon`].
    pub(crate) fn tell(&mut self, byte: u8) {
        self.strings.write_all(&[byte]).expect("it listens");
    }

    /// Kills it as `kill -9` would, and waits until it is dead.
    pub(crate) fn kill(self) {
        let process = Pidfd::open(self.pid).expect("it lives");
        drop(self.client);
        process.signal(SIGKILL).expect("it lives");
        await_readable(&process);
    }
}

/// A shell command as a spawn request; `env` and `args` are lent by the caller.
pub(crate) fn shell(script: &str) -> Vec<OsString> {
    vec!["-c".into(), script.into()]
}

pub(crate) fn sh() -> &'static OsStr {
    OsStr::new("/bin/sh")
}

pub(crate) fn read_all(pipe: OwnedFd) -> String {
    let mut text = String::new();
    File::from(pipe).read_to_string(&mut text).expect("text");
    text
}

/// Reads one line and no more, so that the rest stays in the pipe.
pub(crate) fn read_line(pipe: &OwnedFd) -> String {
    let mut file = File::from(fd::dup(pipe).expect("a duplicate"));
    let mut line = Vec::new();
    let mut byte = [0];
    while matches!(file.read(&mut byte), Ok(1)) && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).expect("text")
}

pub(crate) fn write(pipe: &OwnedFd, text: &str) -> io::Result<()> {
    File::from(fd::dup(pipe)?).write_all(text.as_bytes())
}

/// Waits until there is something to read, or an end; a pidfd is readable when its process is dead.
pub(crate) fn await_readable(fd: &impl AsFd) {
    let [ready] = wait([Interest { fd: fd.as_fd(), read: true, write: false }], Some(PATIENCE)).expect("poll");
    assert!(ready.read, "nothing happened in time");
}
