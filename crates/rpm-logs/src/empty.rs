//! Emptying a log.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rpm_model::{AppSpec, Home};
use rustix::fs::OFlags;

use crate::hand;

/// Empties a log file of an app, in the name in which it is opened.
///
/// # Errors
/// When nobody may open it, or it cannot be cut.
pub fn empty_of(path: &Path, spec: &AppSpec, home: &Home) -> io::Result<()> {
    hand::choose(path, spec, home)?;
    empty(path)
}

/// Empties a log file. Its writers hold it open for appending, so they go on at its start. One that is not there is empty.
///
/// # Errors
/// When it cannot be opened or cut.
pub fn empty(path: &Path) -> io::Result<()> {
    let _acting = hand::act_for(path)?;
    // Never through a link in the last place, as the logs are opened: it could lead to anybody's file.
    match OpenOptions::new().write(true).custom_flags(OFlags::NOFOLLOW.bits() as i32).open(path) {
        // Only a file has a length; a terminal or a pipe somebody named as a log has none.
        Ok(file) if file.metadata()?.is_file() => file.set_len(0),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
