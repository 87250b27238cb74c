//! Reading back what was recorded.

use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::event::EventRecord;
use crate::exit::ExitRecord;
use crate::ledger::before;
use crate::{Sort, app_path, events_path};

/// Returns the events that are wanted, oldest first.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn events(root: &Path, wanted: impl Fn(&EventRecord) -> bool) -> io::Result<Vec<EventRecord>> {
    let mut events = lines(&events_path(root))?;
    events.retain(wanted);
    Ok(events)
}

/// Returns the exits of one app, oldest first.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn exits(root: &Path, app: &str) -> io::Result<Vec<ExitRecord>> {
    let mut exits: Vec<ExitRecord> = Vec::new();
    for sort in Sort::ALL {
        exits.extend(lines::<ExitRecord>(&app_path(root, sort, app))?);
    }
    exits.retain(|exit| exit.app == app);
    // Those of a time when no daemon ran are written when the next one is there.
    exits.sort_by_key(|exit| exit.at_ms);
    Ok(exits)
}

/// Returns the names of all apps that have exits on record, in order.
///
/// # Errors
/// When a directory is there and cannot be read.
pub fn apps(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for sort in Sort::ALL {
        let entries = match std::fs::read_dir(sort.path(root)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "jsonl") {
                names.extend(lines::<ExitRecord>(&path)?.into_iter().map(|exit| exit.app));
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Reads both parts of a file; what is no record is passed over.
fn lines<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    let mut records = Vec::new();
    for path in [before(path), path.to_owned()] {
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).split(b'\n') {
            records.extend(serde_json::from_slice::<T>(&line?).ok());
        }
    }
    Ok(records)
}
