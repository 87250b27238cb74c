//! Apps that are restarted at certain times, and jobs that run at theirs.
//!
//! One timer of the kernel on the wall clock, set to the next time of all. It is cancelled when somebody sets the clock, and
//! it keeps its word across a suspend; so nothing is polled, and no time is missed by more than the setting of the clock
//! itself. A time that passed while the machine slept comes once, when it wakes.
//!
//! Of jobs it is also written down when they were last looked at ([`Stamps`]): a time that passed while no daemon ran comes
//! once, if the job wants that or it was only just missed, and is told otherwise.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rpm_ipc::Request;
use rpm_model::{AppId, AppSpec, Home, JobSpec, WorkerId};
use rpm_records::EventRecord;
use rpm_supervise::{Cause, Command, CommandId};
use rpm_trigger::{BadCron, Schedule};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::daemon::{Asked, Daemon};
use crate::files::Durability;
use crate::stamps::Stamps;
use crate::watch::Token;

/// The apps that have times.
pub(crate) struct Cron {
    /// Made when the first app wants it.
    timer: Option<OwnedFd>,
    apps: BTreeMap<AppId, Armed>,
    stamps: Stamps,
}

impl Cron {
    pub(crate) fn new(home: &Home) -> Self {
        Self { timer: None, apps: BTreeMap::new(), stamps: Stamps::of(home) }
    }

    /// Returns when an app is next due, in milliseconds since the Unix epoch.
    pub(crate) fn next_of(&self, app: AppId) -> Option<u64> {
        self.apps.get(&app)?.next_ms
    }
}

/// A daemon that dies and comes back, or is replaced by a newer one, loses no time of a job.
const JUST_NOW_MS: u64 = 60_000;

/// Which times an app has.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Times {
    /// Those of `cron_restart`.
    Restarts(String),
    /// Those of a job.
    Runs(JobSpec),
}

impl Times {
    fn of(spec: &AppSpec) -> Option<Self> {
        let restarts = || spec.cron.clone().map(Self::Restarts);
        spec.job.clone().map(Self::Runs).or_else(restarts)
    }

    fn schedule(&self) -> Result<Schedule, BadCron> {
        match self {
            Self::Restarts(pattern) => Schedule::parse(pattern),
            Self::Runs(job) => Schedule::of_job(&job.schedule, job.time_zone.as_deref()),
        }
    }

    fn job(&self) -> Option<&JobSpec> {
        match self {
            Self::Restarts(_) => None,
            Self::Runs(job) => Some(job),
        }
    }
}

/// One app that has times.
struct Armed {
    name: String,
    times: Times,
    schedule: Schedule,
    /// When it is next due, in milliseconds since the Unix epoch.
    next_ms: Option<u64>,
    /// The restart under way.
    restart: Option<CommandId>,
}

impl Daemon {
    /// Takes up the times of the apps that there are.
    pub(crate) fn fit_cron(&mut self) {
        let wanted: BTreeMap<AppId, (String, Times)> =
            self.core.apps().filter_map(|app| Some((app.id, (app.spec.name.clone(), Times::of(app.spec)?)))).collect();
        let stays = |app: &AppId, armed: &Armed| wanted.get(app).is_some_and(|(_, times)| *times == armed.times);
        let gone: BTreeMap<AppId, Armed> = self.cron.apps.extract_if(.., |app, armed| !stays(app, armed)).collect();
        let mut has_changed = !gone.is_empty();
        for (app, armed) in &gone {
            // What is deleted and comes again is new.
            if armed.times.job().is_some() && !wanted.contains_key(app) {
                self.cron.stamps.forget(&armed.name);
            }
        }
        for (app, (name, times)) in wanted {
            if self.cron.apps.contains_key(&app) {
                continue;
            }
            match times.schedule() {
                Ok(schedule) => {
                    let now_ms = rpm_sys::proc::wall_clock_millis();
                    let missed = times
                        .job()
                        .filter(|_| !gone.contains_key(&app))
                        .and_then(|job| self.missed(&name, job, &schedule, now_ms));
                    // One that is made up for is stamped when it runs: a daemon that dies before has not kept it.
                    if times.job().is_some() && missed.is_none() {
                        self.cron.stamps.set(&name, now_ms);
                        self.cron.stamps.write(Durability::Process);
                    }
                    let next_ms = missed.or_else(|| schedule.next_after(now_ms));
                    self.cron.apps.insert(app, Armed { name, times, schedule, next_ms, restart: None });
                    has_changed = true;
                }
                // It was read before it came here, so this daemon is older than whoever sent it.
                Err(error) => tracing::error!("app {app}: its times {times:?} have no effect: {error}"),
            }
        }
        if has_changed {
            self.set_cron_timer();
        }
    }

    /// Returns a time of a job that passed while nobody was there to keep it, and is to be made up for now. One that is not
    /// is told.
    fn missed(&self, name: &str, job: &JobSpec, schedule: &Schedule, now_ms: u64) -> Option<u64> {
        let last_ms = self.cron.stamps.get(name)?;
        let first_ms = schedule.next_after(last_ms).filter(|time| *time <= now_ms)?;
        let recently = last_ms.max(now_ms.saturating_sub(JUST_NOW_MS));
        let just_now = schedule.next_after(recently).is_some_and(|time| time <= now_ms);
        if job.catch_up || just_now {
            return Some(now_ms);
        }
        self.forensics.event(EventRecord {
            at_ms: now_ms,
            event: "missed".to_owned(),
            app: Some(name.to_owned()),
            detail: Some(format!("no daemon ran at {}", utc(first_ms))),
            ..EventRecord::default()
        });
        None
    }

    /// The timer is due, or the clock was set.
    pub(crate) fn take_cron_timer(&mut self) {
        let Some(timer) = &self.cron.timer else { return };
        let clock_was_set = rustix::io::read(timer, &mut [0u8; 8]) == Err(Errno::CANCELED);
        let now_ms = rpm_sys::proc::wall_clock_millis();
        let mut due = Vec::new();
        let mut durability = None;
        for (app, armed) in &mut self.cron.apps {
            let is_due = armed.next_ms.is_some_and(|next| next <= now_ms);
            if is_due {
                due.push((*app, armed.times.job().is_some()));
                if let Some(job) = armed.times.job() {
                    self.cron.stamps.set(&armed.name, now_ms);
                    // What is made up for after a power cut must not have run before it.
                    durability =
                        durability.max(Some(if job.catch_up { Durability::Disk } else { Durability::Process }));
                }
            }
            if is_due || clock_was_set {
                armed.next_ms = armed.schedule.next_after(now_ms);
            }
        }
        if let Some(durability) = durability {
            self.cron.stamps.write(durability);
        }
        for (app, is_job) in due {
            if is_job { self.run_scheduled(app) } else { self.restart_scheduled(app) }
        }
        self.set_cron_timer();
    }

    /// Tells the core that the time of a job has come; what follows it decides.
    fn run_scheduled(&mut self, app: AppId) {
        let Some(view) = self.core.app(app) else { return };
        let workers: Vec<WorkerId> = view.workers.iter().map(|worker| worker.id).collect();
        let request = Request::Run { workers: workers.clone() };
        self.command(Command::Run { workers, cause: Cause::Schedule }, Asked { line: None, request });
    }

    /// As in PM2, workers that are stopped are started too: a job that ends by itself runs at its times.
    fn restart_scheduled(&mut self, app: AppId) {
        let Some(view) = self.core.app(app) else { return };
        let name = view.spec.name.clone();
        let workers: Vec<WorkerId> = view.workers.iter().map(|worker| worker.id).collect();
        if self.cron.apps.get(&app).is_some_and(|armed| armed.restart.is_some()) {
            tracing::warn!("{name}: a time of its cron is left out, since the restart before has not ended");
            return;
        }
        let request = Request::Reload { workers: workers.clone(), specs: Vec::new(), force: false };
        let renewal = Command::Renew { workers, cause: Cause::Cron, roll: true };
        let command = self.command(renewal, Asked { line: None, request });
        if let Some(armed) = self.cron.apps.get_mut(&app) {
            armed.restart = Some(command);
        }
    }

    /// Takes the end of a command, which may be a restart for its time.
    pub(crate) fn cron_hears_of_end(&mut self, command: CommandId) {
        for armed in self.cron.apps.values_mut().filter(|armed| armed.restart == Some(command)) {
            armed.restart = None;
        }
    }

    fn set_cron_timer(&mut self) {
        if let Err(error) = self.try_to_set_cron_timer() {
            tracing::error!("the times of apps cannot be kept: {error}");
        }
    }

    fn try_to_set_cron_timer(&mut self) -> io::Result<()> {
        let next_ms = self.cron.apps.values().filter_map(|armed| armed.next_ms).min();
        if self.cron.timer.is_none() {
            if next_ms.is_none() {
                return Ok(());
            }
            let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
            self.watch.add(&timer, Token::Cron)?;
            self.cron.timer = Some(timer);
        }
        let Some(timer) = &self.cron.timer else { return Ok(()) };
        // Zero turns it off.
        let at_ms = next_ms.unwrap_or(0);
        let at = Timespec { tv_sec: (at_ms / 1000) as i64, tv_nsec: ((at_ms % 1000) * 1_000_000) as i64 };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(timer.as_fd(), flags, &Itimerspec { it_interval: never, it_value: at })?;
        Ok(())
    }
}

/// Writes a moment for people.
fn utc(ms: u64) -> String {
    let moment = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(|| ms.to_string(), |moment| moment.to_string())
}
