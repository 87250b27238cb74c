//! `update`: keeper and daemon become the program that is installed now; the apps go on.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rpm_ipc::{DaemonInfo, Reply, Request};

use crate::commands::Invocation;
use crate::report::Failure;
use crate::session::{self, Session};

/// A daemon with a thousand workers finds them again within a second.
const NEXT_DAEMON_WITHIN: Duration = Duration::from_secs(20);

/// Nothing tells when the next daemon is there, so it is asked for: the socket outlives the daemon, and the question
/// waits in it.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

pub(super) fn run(invocation: &Invocation) -> Result<(), Failure> {
    let binary = program()?;
    let mut session = invocation.session()?;
    let before = session.ping()?;
    match session.act(Request::Update { binary }, |_| {}) {
        // The daemon may be gone before its answer is read; the next one is the answer.
        Err(_) | Ok(Reply::Done { .. }) => {}
        Ok(Reply::Refused { message, hint }) => {
            return Err(Failure::new(format!("could not update: {message}"))
                .detail("daemon and apps are as before")
                .maybe_hint(hint));
        }
        Ok(other) => return Err(session::unexpected(other)),
    }
    drop(session);
    let after = next_daemon(&before, invocation)?;
    renew_balancers(invocation)?;
    let (from, to) = (&before.version, &after.version);
    invocation.voice.say(format_args!("Daemon updated from {from} to {to} (pid {}); no app was touched", after.pid));
    Ok(())
}

/// Replaces the balancers' processes, which are our own program too: their sockets stay, and so do their connections.
fn renew_balancers(invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let list = session.list(false)?;
    let is_up = |app: &rpm_ipc::AppInfo| app.workers.iter().any(|worker| worker.pid.is_some());
    let workers = crate::target::ids(&list, |app| app.spec.is_balancer() && is_up(app));
    if workers.is_empty() {
        return Ok(());
    }
    let request = Request::Reload { workers, specs: Vec::new(), force: true };
    crate::acting::act(&mut session, invocation, "reload the balancers", request).map(|_| ())
}

/// Returns the program that is on disk now, which must be one that runs.
fn program() -> Result<PathBuf, Failure> {
    let binary =
        std::env::current_exe().map_err(|error| Failure::new(format!("failed to find our own program: {error}")))?;
    let tried = Command::new(&binary).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    match tried {
        Ok(output) if output.status.success() && output.stdout.starts_with(b"rpm") => Ok(binary),
        Ok(output) => Err(Failure::new(format!("{} --version ended with {}", binary.display(), output.status))),
        Err(error) => Err(Failure::new(format!("{} cannot be run: {error}", binary.display()))
            .hint("was it replaced while this command started? Try again")),
    }
}

fn next_daemon(before: &DaemonInfo, invocation: &Invocation) -> Result<DaemonInfo, Failure> {
    let deadline = Instant::now() + NEXT_DAEMON_WITHIN;
    loop {
        // The old daemon may still take a connection on its way out, and close it.
        let asked = Session::open_existing(&invocation.home).and_then(|session| match session {
            Some(mut session) => session.ping().map(Some),
            None => Ok(None),
        });
        match asked {
            Ok(Some(info)) if info.pid != before.pid => return Ok(info),
            _ if Instant::now() > deadline => {
                return Err(Failure::new(format!("no new daemon answered within {} s", NEXT_DAEMON_WITHIN.as_secs()))
                    .detail("the apps themselves do not depend on it")
                    .hint(format!("its last words are in {}", invocation.home.daemon_log().display())));
            }
            Ok(_) | Err(_) => std::thread::sleep(BETWEEN_TRIES),
        }
    }
}
