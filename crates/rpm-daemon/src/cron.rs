//! Apps that are restarted at certain times.
//!
//! One timer of the kernel on the wall clock, set to the next time of all. It is cancelled when somebody sets the clock, and
//! it keeps its word across a suspend; so nothing is polled, and no time is missed by more than the setting of the clock
//! itself. A time that passed while the machine slept comes once, when it wakes.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rpm_ipc::Request;
use rpm_model::{AppId, WorkerId};
use rpm_supervise::{Cause, Command, CommandId};
use rpm_trigger::Schedule;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::daemon::{Asked, Daemon};
use crate::watch::Token;

/// The apps that have times.
#[derive(Default)]
pub(crate) struct Cron {
    /// Made when the first app wants it.
    timer: Option<OwnedFd>,
    apps: BTreeMap<AppId, Armed>,
}

/// One app that has times.
struct Armed {
    pattern: String,
    schedule: Schedule,
    /// When it is next due, in milliseconds since the Unix epoch.
    next_ms: Option<u64>,
    /// The restart under way.
    restart: Option<CommandId>,
}

impl Daemon {
    /// Takes up the times of the apps that there are.
    pub(crate) fn fit_cron(&mut self) {
        let wanted: BTreeMap<AppId, String> =
            self.core.apps().filter_map(|app| Some((app.id, app.spec.cron.clone()?))).collect();
        let before = self.cron.apps.len();
        self.cron.apps.retain(|app, armed| wanted.get(app) == Some(&armed.pattern));
        let mut has_changed = before != self.cron.apps.len();
        for (app, pattern) in wanted {
            if self.cron.apps.contains_key(&app) {
                continue;
            }
            match Schedule::parse(&pattern) {
                Ok(schedule) => {
                    let next_ms = schedule.next_after(rpm_sys::proc::wall_clock_millis());
                    self.cron.apps.insert(app, Armed { pattern, schedule, next_ms, restart: None });
                    has_changed = true;
                }
                // It was read before it came here, so this daemon is older than whoever sent it.
                Err(error) => tracing::error!("app {app}: cron {pattern:?} has no effect: {error}"),
            }
        }
        if has_changed {
            self.set_cron_timer();
        }
    }

    /// The timer is due, or the clock was set.
    pub(crate) fn take_cron_timer(&mut self) {
        let Some(timer) = &self.cron.timer else { return };
        let clock_was_set = rustix::io::read(timer, &mut [0u8; 8]) == Err(Errno::CANCELED);
        let now_ms = rpm_sys::proc::wall_clock_millis();
        let mut due = Vec::new();
        for (app, armed) in &mut self.cron.apps {
            let is_due = armed.next_ms.is_some_and(|next| next <= now_ms);
            if is_due {
                due.push(*app);
            }
            if is_due || clock_was_set {
                armed.next_ms = armed.schedule.next_after(now_ms);
            }
        }
        for app in due {
            self.restart_scheduled(app);
        }
        self.set_cron_timer();
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
            tracing::error!("the times of cron_restart cannot be kept: {error}");
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
