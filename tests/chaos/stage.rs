//! Where one scenario plays: a daemon of its own, an observer, and a clean house at the end.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rpm_model::Status;
use rpm_tests::{Load, Rpm, free_port, until};
use rustix::process::{Pid, Signal, kill_process};

use crate::observer::{self, Observer, Watch};
use crate::processes::{self, Process, Scanner};
use crate::random::Random;
use crate::scenario::{May, Scenario, Setup};

/// A command that has not ended by then never will: the longest time limit of its own is ten seconds.
const COMMAND_AT_MOST: Duration = Duration::from_secs(40);

/// The stage of one scenario.
#[derive(Debug)]
pub(crate) struct Stage {
    // Dropped first, so that it sees nothing of the cleaning up.
    observer: Option<Observer>,
    load: Option<Load>,
    pub(crate) rpm: Rpm,
    pub(crate) random: Random,
    pub(crate) watch: Arc<Watch>,
    /// Where the server of `http.js` listens.
    pub(crate) port: u16,
    /// A directory for the scenario's own files.
    pub(crate) scratch: tempfile::TempDir,
    /// The directory that tells where to die: see [`rpm_sys::fail`].
    points: Option<PathBuf>,
    long: bool,
    innocents: Vec<Child>,
    mounted: Vec<PathBuf>,
    skipped: Option<String>,
}

impl Stage {
    /// Sets up: the apps run, the observer looks.
    pub(crate) fn set(scenario: &Scenario, seed: u64, long: bool) -> Self {
        let rpm = Rpm::new();
        let scratch = tempfile::Builder::new().prefix("chaos-").tempdir().expect("a temporary directory");
        let mut stage = Self {
            observer: None,
            load: None,
            rpm,
            random: Random::new(seed),
            watch: Arc::default(),
            port: free_port(),
            scratch,
            points: None,
            long,
            innocents: Vec::new(),
            mounted: Vec::new(),
            skipped: None,
        };
        for may in scenario.may {
            match may {
                May::Overlap => stage.watch.overlap.store(true, Relaxed),
                May::Outages => stage.watch.outages.store(true, Relaxed),
                May::Forget => stage.watch.counters.store(false, Relaxed),
            }
        }
        scenario.apps.iter().for_each(|app| stage.set_up(app));
        stage.observer = Some(Observer::start(stage.rpm.home(), stage.watch.clone()));
        stage
    }

    /// Starts an app that is there before anything happens.
    pub(crate) fn set_up(&self, app: &Setup) {
        self.start(app.name, app.script, app.options);
        if app.script == "http.js" {
            until("the server", || rpm_tests::http::get(self.port, "/").is_ok());
        }
        if app.promised > 0 {
            self.promise(app.name, app.promised);
        }
    }

    /// From now on the processes of rpm can be told where to die. To be called before there are any.
    pub(crate) fn let_die(&mut self) {
        let directory = self.scratch.path().join("points");
        std::fs::create_dir(&directory).expect("a directory");
        self.points = Some(directory);
    }

    /// Returns the directory where they are told.
    pub(crate) fn points(&self) -> &Path {
        self.points.as_deref().expect("they were told that there is one")
    }

    /// Returns how often something is done.
    pub(crate) fn times(&self, quick: usize, long: usize) -> usize {
        if self.long { long } else { quick }
    }

    /// Returns a command of this stage: apps get its port.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.rpm.command(args);
        command.env("PORT", self.port.to_string());
        if let Some(points) = &self.points {
            command.env(rpm_sys::fail::VAR, points);
        }
        command
    }

    /// Runs a command, whatever becomes of it; it must end, and must not panic.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.finish_command(self.spawn(args), &format!("{args:?}"))
    }

    /// Runs a command that succeeds; returns its output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = texts(&output);
        assert!(output.status.success(), "rpm {args:?} failed: {}\n{out}\n{err}", output.status);
        out
    }

    /// Runs a command that fails, with a reason; returns the reason.
    pub(crate) fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = texts(&output);
        assert!(matches!(output.status.code(), Some(1..=5)), "rpm {args:?}: {}\n{out}\n{err}", output.status);
        assert!(!err.trim().is_empty(), "rpm {args:?} failed without a word");
        err
    }

    /// Starts a command and lets it run.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("rpm runs")
    }

    /// Waits for a command: every one ends, and none panics.
    pub(crate) fn finish_command(&self, mut child: Child, what: &str) -> Output {
        let deadline = Instant::now() + COMMAND_AT_MOST;
        let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
        let status = loop {
            match child.try_wait().expect("a child can be waited for") {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let _gone = child.kill();
                    panic!("rpm {what} did not end within {COMMAND_AT_MOST:?}");
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let output = Output { status, stdout: out.join().expect("read"), stderr: err.join().expect("read") };
        let (_, err) = texts(&output);
        assert!(!err.contains("panicked"), "rpm {what} panicked\n{err}");
        output
    }

    /// Starts an app.
    pub(crate) fn start(&self, name: &str, app: &str, options: &[&str]) {
        let script = script(app);
        let mut args = vec!["start", script.as_str(), "--name", name];
        args.extend(options);
        self.ok(&args);
    }

    /// From now on so many main processes of the app are there.
    pub(crate) fn promise(&self, app: &str, workers: usize) {
        self.watch.promised.lock().expect("nobody panics with it").insert(app.to_owned(), workers);
    }

    /// Nothing is promised of the app any more.
    pub(crate) fn release(&self, app: &str) {
        self.watch.promised.lock().expect("nobody panics with it").remove(app);
    }

    /// Requests from now on; each must be answered.
    pub(crate) fn load(&mut self, clients: usize) {
        let load = Load::start(self.port, "/?slow=2", clients);
        load.wait_for(5);
        self.load = Some(load);
    }

    /// Waits until this many more requests were answered.
    pub(crate) fn served(&self, more: u64) {
        self.load.as_ref().expect("there is load").wait_for(more);
    }

    /// Ends the load; every request was answered.
    pub(crate) fn all_answered(&mut self) {
        if let Some(load) = self.load.take() {
            assert_eq!(load.stop(), Vec::<String>::new(), "requests failed");
        }
    }

    /// Kills the daemon this instant, if there is one.
    pub(crate) fn kill_daemon_now(&self) {
        if let Some(pid) = self.pid_in("rpm.pid") {
            self.signal_own(pid, Signal::KILL);
        }
    }

    /// Signals daemon or keeper: only a process of this stage.
    pub(crate) fn signal_own(&self, pid: i32, number: Signal) {
        let is_ours = self.processes().iter().any(|process| process.pid == pid);
        if let Some(pid) = Pid::from_raw(pid).filter(|_| is_ours) {
            let _gone_is_as_good = kill_process(pid, number);
        }
    }

    /// Waits until a daemon answers.
    pub(crate) fn daemon_answers(&self) {
        until("an answer of the daemon", || observer::list(self.rpm.home()).is_ok());
    }

    /// Waits until what the daemon tells is what /proc tells, and nothing is under way.
    pub(crate) fn settle(&self) {
        let deadline = Instant::now() + COMMAND_AT_MOST;
        while let Some(difference) = self.difference() {
            assert!(Instant::now() < deadline, "it did not settle: {difference}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn difference(&self) -> Option<String> {
        let list = match observer::list(self.rpm.home()) {
            Ok(list) => list,
            Err(error) => return Some(error),
        };
        let processes = self.processes();
        let mut real: Vec<i32> = processes::mains(&processes).iter().map(|process| process.pid).collect();
        let mut told = Vec::new();
        for app in &list.apps {
            if app.rolling {
                return Some(format!("{} rolls", app.spec.name));
            }
            for worker in &app.workers {
                match worker.status {
                    Status::Online | Status::Stopped | Status::Errored => told.extend(worker.pid),
                    other => return Some(format!("{} is {other}", app.spec.name)),
                }
            }
        }
        real.sort_unstable();
        told.sort_unstable();
        (real != told).then(|| format!("the daemon tells of {told:?}, /proc of {real:?} ({processes:?})"))
    }

    /// Returns the processes of this stage.
    pub(crate) fn processes(&self) -> Vec<Process> {
        Scanner::new(self.rpm.home()).scan()
    }

    /// Returns the main processes of an app.
    pub(crate) fn mains(&self, app: &str) -> Vec<i32> {
        let processes = self.processes();
        let mains = processes::mains(&processes).into_iter();
        mains.filter(|process| process.app.as_deref() == Some(app)).map(|process| process.pid).collect()
    }

    /// Returns a process that has nothing to do with us, and must not be touched.
    pub(crate) fn innocent(&mut self) -> i32 {
        let child = Command::new("sleep").arg("100000").stdin(Stdio::null()).spawn().expect("sleep runs");
        let pid = child.id() as i32;
        self.innocents.push(child);
        pid
    }

    /// Fails when one of them was touched.
    pub(crate) fn innocents_live(&mut self) {
        for child in &mut self.innocents {
            let ended = child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "a process that is not ours was ended: {ended:?}");
        }
    }

    /// Mounts a small file system over a directory; `false` where that is not allowed.
    pub(crate) fn mount_small(&mut self, on: &Path, size: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs"]).arg(on).stderr(Stdio::null());
        let mounted = mount.status().is_ok_and(|status| status.success());
        if mounted {
            self.mounted.push(on.to_owned());
        } else {
            self.skip("a file system cannot be mounted here");
        }
        mounted
    }

    /// Returns whether a process may be started as another user.
    pub(crate) fn may_change_user(&mut self) -> bool {
        let may = rustix::process::geteuid().is_root() && Command::new("setpriv").arg("--version").output().is_ok();
        if !may {
            self.skip("needs root and setpriv");
        }
        may
    }

    /// The rest cannot be played on this machine.
    pub(crate) fn skip(&mut self, why: &str) {
        self.skipped = Some(why.to_owned());
    }

    pub(crate) fn pid_in(&self, file: &str) -> Option<i32> {
        std::fs::read_to_string(self.rpm.home().join(file)).ok()?.trim().parse().ok()
    }

    /// Stops keeping an eye on things; the end of what is looked at.
    pub(crate) fn stop_observing(&mut self) {
        self.observer = None;
    }

    /// The end: everything is answered, nothing is left. Returns why it was not played whole, if so.
    pub(crate) fn clear(mut self) -> (Option<String>, String) {
        self.all_answered();
        self.observer = None;
        self.innocents_live();
        let complaints = self.watch.complaints();
        assert!(complaints.is_empty(), "the observer saw:\n  {}", complaints.join("\n  "));
        // The daemon lives, and may be writing one at this moment.
        let begun = temporary_files(self.rpm.home());
        let is_left = || temporary_files(self.rpm.home()).iter().any(|file| begun.contains(file));
        until(&format!("{begun:?} to be finished"), || !is_left());
        let log = self.rpm.daemon_log();
        assert!(!log.contains("panicked"), "something panicked:\n{log}");
        if !self.processes().is_empty() {
            self.ok(&["kill"]);
            let gone = Instant::now() + Duration::from_secs(5);
            while !self.processes().is_empty() {
                assert!(Instant::now() < gone, "left behind: {:?}", self.processes());
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let left = temporary_files(self.rpm.home());
        assert!(left.is_empty(), "temporary files were left: {left:?}");
        let figures = format!(
            "{} looks, slowest list {} ms, daemon {} KiB",
            self.watch.looks.load(Relaxed),
            self.watch.slowest_ms.load(Relaxed),
            self.watch.largest_kib.load(Relaxed),
        );
        (self.skipped.take(), figures)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.observer = None;
        if let Some(load) = self.load.take() {
            load.stop();
        }
        for child in &mut self.innocents {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
        // Whatever a failed scenario left: stopped processes first, then all.
        for process in self.processes() {
            if std::thread::panicking() || process.state == 'T' {
                self.signal_own(process.pid, Signal::CONT);
            }
        }
        if std::thread::panicking() {
            let log = self.rpm.daemon_log();
            let tail = log.lines().rev().take(30).collect::<Vec<_>>();
            eprintln!("--- the end of rpm.log ---");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
            for _ in 0..3 {
                let mut left = self.processes();
                // The keeper first: it would start the others again.
                left.sort_by_key(|process| Some(process.pid) != self.pid_in("keeper.pid"));
                left.iter().for_each(|process| self.signal_own(process.pid, Signal::KILL));
            }
        }
        for path in &self.mounted {
            let _told = Command::new("umount").arg("-l").arg(path).status();
        }
    }
}

/// Returns the path of one of the apps.
pub(crate) fn script(name: &str) -> String {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("chaos/apps").join(name);
    if ours.exists() { ours.to_string_lossy().into_owned() } else { rpm_tests::app(name) }
}

pub(crate) fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn temporary_files(home: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(home).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(".new") || name.ends_with(".tmp")).collect()
}

/// Reads a pipe to its end, beside everything else: a full pipe would hold its writer.
fn drain(pipe: Option<impl io::Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _what_came = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}
