//! The hidden roles of the same program: `rpm keeper` and `rpm daemon`. Their names show in `ps`.

use std::ffi::OsString;

use rpm_model::{Flavour, Home};

use crate::report::{Failure, chain};

/// Runs the parent of every worker.
pub fn keeper(home: Home) -> Result<(), Failure> {
    outlive_file_limits();
    let daemon_command = role("daemon", &home)?;
    let ready = rpm_keeper::ready::inherited()
        .map_err(|error| Failure::new(format!("the keeper cannot tell when it is ready: {error}")))?;
    let options = rpm_keeper::Options { home: home.root().to_owned(), log: home.daemon_log(), daemon_command, ready };
    rpm_keeper::run(options).map_err(|error| Failure::new(format!("the keeper could not start: {}", chain(&error))))
}

/// Runs the program that decides.
pub fn daemon(home: Home) -> Result<(), Failure> {
    outlive_file_limits();
    let keeper_command = role("keeper", &home)?;
    rpm_daemon::run(&rpm_daemon::Options { home, keeper_command })
        .map_err(|error| Failure::new(format!("the daemon could not start: {}", chain(&error))))
}

/// Sends the messages that stand in standard input; what was not taken is told in the daemon's log.
pub fn webhook() -> Result<(), Failure> {
    // From its beginning, wherever whoever wrote it has left off.
    let batch = std::fs::read("/proc/self/fd/0")
        .map_err(|error| Failure::new(format!("webhooks are sent by the daemon, never by hand: {error}")))?;
    let failed = |why: String| Failure::new(format!("webhook: {why}"));
    let failures = rpm_webhook::run(&batch).map_err(failed)?;
    if failures.is_empty() { Ok(()) } else { Err(failed(failures.join("\nerror: webhook: "))) }
}

/// Asks a Node process that hangs where it is; the answer goes to its log.
pub fn node_stack(pid: i32) -> Result<(), Failure> {
    let calls =
        rpm_daemon::node_stack(pid).map_err(|why| Failure::new(format!("where it hangs is not known: {why}")))?;
    eprint!("It hangs; Node's inspector tells where:\n{calls}");
    Ok(())
}

/// Makes a limit of file sizes (`ulimit -f`) an error of the write that meets it, as a full disk is; by default it ends the
/// process.
fn outlive_file_limits() {
    let _the_default_is_left = rpm_sys::reap::ignore(&[rpm_sys::signal::SIGXFSZ]);
}

/// Returns the command that plays a role.
pub fn role(name: &str, home: &Home) -> Result<Vec<OsString>, Failure> {
    let program =
        std::env::current_exe().map_err(|error| Failure::new(format!("failed to find our own program: {error}")))?;
    let mut command = vec![program.into_os_string(), name.into(), "--home".into(), home.root().into()];
    if home.flavour() == Flavour::Pm2 {
        command.push("--pm2".into());
    }
    Ok(command)
}

/// Runs the data plane of a balancer; the daemon talks to it over its descriptor 3.
pub fn edge() -> Result<(), Failure> {
    outlive_file_limits();
    let control = rpm_daemon::edge_control()
        .map_err(|error| Failure::new(format!("the edge is started by the daemon, never by hand: {error}")))?;
    match rpm_balance::run(Vec::new(), control, rpm_balance::Options::default()) {
        0 => Ok(()),
        code => std::process::exit(i32::from(code)),
    }
}
