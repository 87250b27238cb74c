//! What has happened, kept on disk in bounded space: every exit with its evidence, every event.
//!
//! ```text
//! RPM_HOME/events.jsonl        one event a line; events.jsonl.1 is the part before
//! RPM_HOME/crashes/APP.jsonl   one crash of an app a line, with the last lines it wrote; APP.jsonl.1 likewise
//! RPM_HOME/exits/APP.jsonl     its other ends likewise: however many there are, no crash is pushed out by them
//! ```
//!
//! The daemon hands both to the [`Recorder`], a thread of its own, so that no disk is waited for in a turn. The command
//! line reads the files ([`events`], [`exits`]), so a question is answered also while no daemon runs. A line that was cut
//! by a power failure is passed over; unknown fields are ignored, so that an older program reads what a newer one wrote.
//!
//! - [`exit`], [`event`]: what a line says
//! - [`recorder`]: the thread that writes
//! - [`read`]: reading back
//! - within: `core_dump` (where the kernel has put it), `ledger` (a file with a bound), `tail` (the last lines of a log)
#![forbid(unsafe_code)]

pub mod event;
pub mod exit;
pub mod read;
pub mod recorder;

mod core_dump;
mod ledger;
mod queue;
mod tail;

use std::path::{Path, PathBuf};

pub use event::EventRecord;
pub use exit::{Asked, CoreDump, ExitRecord};
pub use read::{events, exits};
pub use recorder::{Ended, LogPart, Recorder};
pub use tail::last_lines;

/// Returns the file of the events.
pub fn events_path(root: &Path) -> PathBuf {
    root.join("events.jsonl")
}

/// What sort of ends a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// Something went wrong.
    Crash,
    /// It was asked for, or ended well.
    Exit,
}

impl Sort {
    const ALL: [Self; 2] = [Self::Crash, Self::Exit];

    fn of(record: &ExitRecord) -> Self {
        if record.is_crash() { Self::Crash } else { Self::Exit }
    }

    /// Returns the directory of such files.
    fn path(self, root: &Path) -> PathBuf {
        match self {
            Self::Crash => root.join("crashes"),
            Self::Exit => root.join("exits"),
        }
    }
}

/// Returns the file of one app's ends of a sort. Bytes that a file name should not have are written as `%2F`.
fn app_path(root: &Path, sort: Sort, app: &str) -> PathBuf {
    use std::fmt::Write as _;
    let mut name = String::new();
    for byte in app.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            // Not at the beginning, where it would hide the file or mean a directory.
            b'.' if !name.is_empty() => name.push('.'),
            _ => {
                let _ = write!(name, "%{byte:02X}");
            }
        }
    }
    // A file name has 255 bytes; two names that share their first 200 share a file, and their records say whose they are.
    name.truncate(200);
    sort.path(root).join(format!("{name}.jsonl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_the_directory() {
        let name = |app: &str| app_path(Path::new("/h"), Sort::Crash, app).display().to_string();
        assert_eq!(name("api-1.2"), "/h/crashes/api-1.2.jsonl");
        assert_eq!(name("../../etc"), "/h/crashes/%2E.%2F..%2Fetc.jsonl");
        assert_eq!(name("a b"), "/h/crashes/a%20b.jsonl");
        assert_eq!(name(&"x".repeat(400)).len(), "/h/crashes/.jsonl".len() + 200);
    }
}
