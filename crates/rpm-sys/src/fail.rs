//! Points at which a test lets a process die, as if by `kill -9`.
//!
//! A kill at a random instant finds the wide gaps between two steps; at a point it finds the narrow ones too, and every
//! one of them. Keeper and daemon say what they are ([`play`]) and pass their points; nobody else has any.
//!
//! The variable [`VAR`] names a directory of the test's. A file [`ARMED`] in it names a point and a count: the process that
//! passes the point for that many times removes the file, so that its successor lives, and kills itself; in place of the
//! count, `stop` has it stop itself. Where there is a file [`PASSED`], every point that is passed is added to it, one a line.
//!
//! A build without debug assertions (every release) has nothing of this: [`pass`] does nothing and is gone.

/// The environment variable that names the test's directory.
pub const VAR: &str = "RPM_FAIL";
/// The file that says where to die, `point count`, or to stop, `point stop`.
pub const ARMED: &str = "armed";
/// The file that tells what was passed.
pub const PASSED: &str = "passed";

/// Every point there is: who, at what, and the steps. A point is named by the three with dots between.
pub const POINTS: &[(&str, &str, &[&str])] = &[
    // The keeper: its first moments, its children, its daemon.
    ("keeper", "start", &["locked", "written", "daemon_started"]),
    ("keeper", "spawn", &["prepared", "executing", "executed", "told"]),
    ("keeper", "exit", &["reaped", "told"]),
    ("keeper", "daemon", &["gone", "forgotten", "started"]),
    // Requests, before and after they are carried out.
    (
        "keeper",
        "got",
        &["hello", "adopt", "spawn", "ack", "store", "drop", "drop_prefix", "inventory", "upgrade", "shutdown"],
    ),
    (
        "keeper",
        "did",
        &["hello", "adopt", "spawn", "ack", "store", "drop", "drop_prefix", "inventory", "upgrade", "shutdown"],
    ),
    ("keeper", "inventory", &["ended"]),
    ("keeper", "upgrade", &["begun", "written", "marked", "resumed", "restored"]),
    ("keeper", "succeed", &["begun", "written", "done"]),
    // The daemon: its first moments.
    (
        "daemon",
        "restore",
        &["begun", "inventoried", "read", "taken_in", "decided", "listening", "adopted", "carried_out", "done"],
    ),
    ("daemon", "orphans", &["found", "adopted", "stored", "seen_off"]),
    // Its conversation with the keeper.
    ("daemon", "heard", &["hello", "spawned", "exited", "child", "held", "inventory_end"]),
    (
        "daemon",
        "asked",
        &["hello", "adopt", "spawn", "ack", "store", "drop", "drop_prefix", "inventory", "upgrade", "shutdown"],
    ),
    // One turn: decided, written down if it must be, carried out.
    ("daemon", "turn", &["handled", "written", "carried_out"]),
    (
        "daemon",
        "effect",
        &["spawn", "watch_settling", "admit", "drain", "ask", "kill", "close", "forget", "reply", "publish", "leave"],
    ),
    ("daemon", "spawn", &["opened", "prepared", "executing", "executed"]),
    ("daemon", "signal", &["sent"]),
    ("daemon", "query", &["asked", "claimed", "kept", "answered"]),
    ("daemon", "worker", &["listens", "ready"]),
    ("daemon", "exit", &["recorded"]),
    // Files.
    ("daemon", "state", &["begun", "filled", "renamed", "copied", "held"]),
    ("daemon", "state_copy", &["begun", "filled", "renamed"]),
    ("daemon", "list", &["begun", "filled", "synced", "renamed", "kept", "written"]),
    ("daemon", "list_copy", &["begun", "filled", "synced", "renamed", "kept"]),
    // Another program, another keeper, the end.
    ("daemon", "update", &["hello", "written", "answered"]),
    ("daemon", "succession", &["noticed", "found", "prepared", "told", "started", "done"]),
    ("daemon", "farewell", &["begun", "forgotten", "closed"]),
];

/// Says what this process is. Before it does, no point is passed.
pub fn play(role: &'static str) {
    #[cfg(debug_assertions)]
    armed::play(role);
    #[cfg(not(debug_assertions))]
    let _ = role;
}

/// Passes a point, or dies there.
#[inline(always)]
pub fn pass(what: &'static str, step: &'static str) {
    #[cfg(debug_assertions)]
    armed::pass(what, step);
    #[cfg(not(debug_assertions))]
    let _ = (what, step);
}

/// Returns whether this process is to die at a point that somebody else passes for it.
#[inline(always)]
pub(crate) fn is_to_die(what: &'static str, step: &'static str) -> bool {
    #[cfg(debug_assertions)]
    return armed::is_to_die(what, step);
    #[cfg(not(debug_assertions))]
    {
        let _ = (what, step);
        false
    }
}

#[cfg(debug_assertions)]
mod armed {
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::OnceLock;

    use rustix::process::{Signal, getpid, kill_process};

    use super::{ARMED, PASSED, POINTS, VAR};

    /// The role, and the test's directory.
    static PLAYED: OnceLock<(&'static str, PathBuf)> = OnceLock::new();

    pub(super) fn play(role: &'static str) {
        if let Some(directory) = std::env::var_os(VAR) {
            let _once = PLAYED.set((role, directory.into()));
        }
    }

    pub(super) fn pass(what: &'static str, step: &'static str) {
        if let Some(signal) = signal_at(what, step) {
            let _no_return = kill_process(getpid(), signal);
        }
    }

    pub(super) fn is_to_die(what: &'static str, step: &'static str) -> bool {
        signal_at(what, step) == Some(Signal::KILL)
    }

    /// Returns what is to befall this process there.
    fn signal_at(what: &'static str, step: &'static str) -> Option<Signal> {
        let (role, directory) = PLAYED.get()?;
        let listed = POINTS.iter().any(|(who, at, steps)| (*who, *at) == (*role, what) && steps.contains(&step));
        assert!(listed, "{role}.{what}.{step} is not in the list of points");
        let name = format!("{role}.{what}.{step}");
        if let Ok(mut passed) = OpenOptions::new().append(true).open(directory.join(PASSED)) {
            // In one write: others write there as well.
            let _the_test_may_be_over = passed.write_all(format!("{name}\n").as_bytes());
        }
        let armed = directory.join(ARMED);
        let text = fs::read_to_string(&armed).ok()?;
        let (_, count) = text.trim().split_once(' ').filter(|(point, _)| *point == name)?;
        match (count, count.parse::<u32>()) {
            ("stop", _) => fs::remove_file(&armed).ok().map(|()| Signal::STOP),
            (_, Ok(count @ 2..)) => {
                let counted = fs::write(&armed, format!("{name} {}", count - 1));
                counted.is_err().then_some(Signal::KILL)
            }
            _ => fs::remove_file(&armed).ok().map(|()| Signal::KILL),
        }
    }
}
