//! `kill`: every app stops, then daemon and keeper leave.

use std::time::Duration;

use rpm_ipc::{Reply, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::commands::Invocation;
use crate::progress::Progress;
use crate::report::Failure;
use crate::session::{self, Session};

/// The keeper has nothing left to do when the daemon has answered.
const KEEPER_LEAVES_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn run(invocation: &Invocation) -> Result<(), Failure> {
    let Some(mut session) = Session::open_existing(&invocation.home)? else {
        invocation.voice.say("no daemon is running");
        return Ok(());
    };
    let keeper = session.ping()?.keeper_pid;
    let keeper = Pid::from_raw(keeper).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let before = session.list(false)?;
    let mut progress = Progress::new(&invocation.voice, "stop", Vec::new());
    let reply = session.act(Request::Kill, |notice| progress.notice(notice));
    drop(progress);
    match reply {
        // The daemon may leave before its answer is read.
        Err(_) | Ok(Reply::Done { .. }) => {}
        Ok(other) => return Err(session::unexpected(other)),
    }
    let workers = crate::target::ids(&before, |_| true);
    crate::acting::tell(invocation, &workers, None, &[&before]);
    if let Some(keeper) = keeper {
        let mut polled = [PollFd::new(&keeper, PollFlags::IN)];
        let timeout = Timespec::try_from(KEEPER_LEAVES_WITHIN).ok();
        if poll(&mut polled, timeout.as_ref()) == Ok(0) {
            return Err(Failure::new("the apps are stopped, but the daemon is still there")
                .hint(format!("its log is {}", invocation.home.daemon_log().display())));
        }
    }
    invocation.voice.say("All applications stopped, daemon stopped");
    Ok(())
}
