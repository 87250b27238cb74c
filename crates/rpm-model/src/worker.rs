//! Who is who among the workers, and how they fare.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names one seat of one app: what PM2 shows as `id` (`pm_id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub u32);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the processes that one seat has had. The first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// This worker process and no other: the seat, and which of its processes.
///
/// News of a past life is dropped, and a reused pid is never signalled, because everything names lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Life {
    /// The seat.
    pub worker: WorkerId,
    /// Which of its processes.
    pub generation: Generation,
}

impl Life {
    /// Returns the life of `worker` with the given generation.
    pub fn new(worker: WorkerId, generation: u64) -> Self {
        Self { worker, generation: Generation(generation) }
    }

    /// Reads the form that [`fmt::Display`] writes, `3.17`.
    pub fn parse(text: &str) -> Option<Self> {
        let (worker, generation) = text.split_once('.')?;
        Some(Self::new(WorkerId(worker.parse().ok()?), generation.parse().ok()?))
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.worker.0, self.generation.0)
    }
}

/// What we show of a worker, in PM2's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Started, not yet ready.
    #[serde(rename = "launching")]
    Launching,
    /// Serving.
    #[serde(rename = "online")]
    Online,
    /// Asked to leave.
    #[serde(rename = "stopping")]
    Stopping,
    /// Down because the user or its policy wants it so.
    #[serde(rename = "stopped")]
    Stopped,
    /// Down because it failed too often, or could not be started.
    #[serde(rename = "errored")]
    Errored,
    /// Down until its restart delay has passed.
    #[serde(rename = "waiting restart")]
    WaitingRestart,
}

impl Status {
    /// Returns PM2's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Launching => "launching",
            Status::Online => "online",
            Status::Stopping => "stopping",
            Status::Stopped => "stopped",
            Status::Errored => "errored",
            Status::WaitingRestart => "waiting restart",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether a core was dumped.
        core: bool,
    },
    /// It ended while nobody could see its status (the keeper had been killed).
    Unknown,
}

impl Exit {
    /// Reads the form that [`fmt::Display`] writes, `exit code 3` or `SIGSEGV (core dumped)`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(code) = text.strip_prefix("exit code ") {
            return Some(Exit::Code(code.parse().ok()?));
        }
        let (name, core) = text.strip_suffix(" (core dumped)").map_or((text, false), |name| (name, true));
        match name {
            "unknown exit" => Some(Exit::Unknown),
            name if name.starts_with("SIG") => Some(Exit::Signal { signal: signal_number(name)?, core }),
            name => Some(Exit::Signal { signal: name.strip_prefix("signal ")?.parse().ok()?, core }),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal { signal, core } => {
                match signal_name(*signal) {
                    Some(name) => write!(f, "{name}")?,
                    None => write!(f, "signal {signal}")?,
                }
                if *core { f.write_str(" (core dumped)") } else { Ok(()) }
            }
            Exit::Unknown => f.write_str("unknown exit"),
        }
    }
}

/// Signals by the names of Linux, in the order of their numbers from 1.
#[rustfmt::skip]
const SIGNALS: [&str; 31] = [
    "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1", "SIGSEGV",
    "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN",
    "SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS",
];

/// Returns the name of a signal (`SIGINT` for 2).
pub fn signal_name(number: i32) -> Option<&'static str> {
    SIGNALS.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
}

/// Returns the number of a signal given as `SIGUSR2`, `USR2`, `usr2` or `12`.
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    let name = if name == "SIGPOLL" { "SIGIO".to_owned() } else { name };
    SIGNALS.iter().position(|known| *known == name).map(|index| index as i32 + 1)
}

/// Returns every signal name, for messages that list what is allowed.
pub fn signal_names() -> &'static [&'static str] {
    &SIGNALS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_reads_back_as_written() {
        let life = Life::new(WorkerId(3), 17);
        assert_eq!(life.to_string(), "3.17");
        assert_eq!(Life::parse("3.17"), Some(life));
        assert_eq!(Life::parse("3"), None);
        assert_eq!(Life::parse("3.x"), None);
    }

    #[test]
    fn signals_have_the_names_of_linux() {
        assert_eq!(signal_name(2), Some("SIGINT"));
        assert_eq!(signal_name(31), Some("SIGSYS"));
        assert_eq!(signal_name(0), None);
        assert_eq!(signal_number("usr2"), Some(12));
        assert_eq!(signal_number("SIGTERM"), Some(15));
        assert_eq!(signal_number("9"), Some(9));
        assert_eq!(signal_number("SIGNOPE"), None);
    }

    #[test]
    fn an_exit_says_what_happened() {
        assert_eq!(Exit::Code(3).to_string(), "exit code 3");
        assert_eq!(Exit::Signal { signal: 11, core: true }.to_string(), "SIGSEGV (core dumped)");
        let signals = (1..64).flat_map(|signal| [true, false].map(|core| Exit::Signal { signal, core }));
        for exit in [Exit::Code(0), Exit::Code(255), Exit::Unknown].into_iter().chain(signals) {
            assert_eq!(Exit::parse(&exit.to_string()), Some(exit));
        }
        assert_eq!(Exit::parse("the end"), None);
    }
}
