//! The keeper was killed: the next one gets everything that it had.
//!
//! Workers and this daemon live on, under another parent. The connection's other end is all that is lost, so: make sure that
//! the old keeper is gone, look for a process that it had started without telling, start a keeper and hand it the
//! copy of what the old one had ([`rpm_keeper::Client::hand_over`]). The core is not told: nothing has happened to any worker,
//! but that the end of those that run will be an unknown one.

use std::time::Duration;

use rpm_model::{Flavour, Home, Life, Moment};
use rpm_sys::pidfd::{Pidfd, ProcessRef};
use rpm_sys::poll::{Interest, wait};
use rpm_sys::{fail, proc, reap};
use std::os::fd::AsFd;

use crate::daemon::Daemon;
use crate::watch::Token;
use crate::{DaemonError, launch, news, view};

/// A killed process is gone when its memory and descriptors are; on a machine that swaps this takes a moment.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// No memory or no process to be had passes, perhaps.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// A child of the killed keeper that had not yet executed its program has its mark a moment later.
const LOOKS: u32 = 3;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

const SIGKILL: i32 = 9;

impl Daemon {
    /// Puts a new keeper in the place of one whose connection has ended.
    pub(crate) fn replace_keeper(&mut self) -> Result<(), DaemonError> {
        tracing::error!("the keeper (process {}) is gone; another one takes its place", self.keeper_pid);
        fail::pass("succession", "noticed");
        self.watch.remove(&self.keeper);
        if let Some(old) = self.keeper_process.take() {
            see_off(&old);
        }
        // It was our child if it was a successor itself. There are no others.
        while reap::wait_any().is_some() {}
        self.keeper_not_upgraded("the keeper was killed in the meantime".to_owned());
        self.find_unanswered();
        fail::pass("succession", "found");

        let (home, log) = (self.home.root().to_owned(), self.home.daemon_log());
        let mut tries = 0;
        let keeper = loop {
            match self.keeper.hand_over(&home, &log, &self.keeper_command) {
                Ok(keeper) => break keeper,
                Err(error) => {
                    tracing::error!("no keeper could be started: {error}");
                    tries += 1;
                    if tries == TRIES || matches!(error, rpm_keeper::HandoverError::AlreadyRunning) {
                        return Err(DaemonError::Handover(error));
                    }
                    std::thread::sleep(BETWEEN_TRIES);
                }
            }
        };
        tracing::info!("the new keeper is process {}", keeper.pid);
        fail::pass("succession", "done");
        self.keeper_pid = keeper.pid;
        self.keeper_process = Some(keeper.pidfd);
        let parents = self.processes.values().filter_map(|process| Some(proc::stat(process.pid()?)?.ppid));
        self.reapers.extend(parents.collect::<Vec<_>>());
        self.watch
            .add(&self.keeper, Token::Keeper)
            .map_err(|error| DaemonError::System { what: "watch the keeper", error })
    }

    /// Makes sure that the keeper's pid file is there: a service manager that saw a keeper die removes it when the next
    /// one has written it already (systemd does, with its `PIDFile`), and waits for it after `resurrect`.
    pub(crate) fn name_keeper(&self) {
        let path = self.home.keeper_pid();
        let named = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        if named != Some(self.keeper_pid)
            && let Err(error) = news::write_pid(&path, self.keeper_pid)
        {
            tracing::warn!("{} could not be written: {error}", path.display());
        }
    }

    /// Looks for processes whose start was not answered, so that none is started twice.
    fn find_unanswered(&mut self) {
        for _ in 0..LOOKS {
            let mut waiting: Vec<Life> = self.keeper.unanswered().filter_map(Life::parse).collect();
            if waiting.is_empty() {
                return;
            }
            for (life, process) in marked(&self.home, |life| waiting.contains(&life)) {
                waiting.retain(|other| *other != life);
                let now = proc::boot_clock_micros();
                self.keeper.found(&life.to_string(), process.pid, process.pidfd.as_fd(), now);
                self.spawned(life, process.pid, process.pidfd, Moment(now));
            }
            if !waiting.is_empty() {
                std::thread::sleep(BETWEEN_LOOKS);
            }
        }
    }
}

/// Finds the main processes of lives by the marks in their environments, the oldest of each life.
pub(crate) fn marked(home: &Home, is_wanted: impl Fn(Life) -> bool) -> Vec<(Life, ProcessRef)> {
    let own_home = home_mark(home);
    let mut found: Vec<(Life, ProcessRef)> = Vec::new();
    for pid in proc::pids() {
        // Each worker leads a session; what it starts usually does not.
        if proc::stat(pid).is_none_or(|stat| stat.session != pid || stat.state == b'Z') {
            continue;
        }
        let Some(life) = proc::environ_get(pid, launch::MARK).and_then(|life| Life::parse(&life)) else { continue };
        if !is_wanted(life) || !proc::environ_has(pid, own_home.as_bytes()) {
            continue;
        }
        if let Ok(Some(process)) = ProcessRef::open(pid) {
            found.push((life, process));
        }
    }
    found.sort_by_key(|(life, process)| (*life, process.start_time));
    found.dedup_by_key(|(life, _)| *life);
    found
}

/// Returns what every worker of this home has in its environment.
pub(crate) fn home_mark(home: &Home) -> String {
    let name = match home.flavour() {
        Flavour::Pm2 => "PM2_HOME",
        Flavour::Rpm => "RPM_HOME",
    };
    format!("{name}={}", home.root().display())
}

/// Makes sure that a keeper is gone, with its lock. One that has closed its connection and lives is of no use.
fn see_off(keeper: &Pidfd) {
    let _gone_is_as_good = keeper.signal(SIGKILL);
    let gone = Interest { fd: keeper.as_fd(), read: true, write: false };
    let until = view::now() + GONE_WITHIN;
    while !keeper.has_exited() && view::now() < until {
        let _interrupted = wait([gone], Some(until.since(view::now())));
    }
}
