//! A log that somebody renamed while its worker writes to it: logrotate's `create`.
//!
//! The worker cannot be told to open another file, so the file that it writes to gets its old name back, and what logrotate
//! wanted to have aside is moved there as a rotation would do it:
//!
//! ```text
//!  logrotate left          api-out.log (new, empty)        api-out.log.1 (the worker's)
//!  names exchanged         api-out.log (the worker's)      api-out.log.1 (empty)
//!  the head moved          api-out.log (nearly empty)      api-out.log.1 (what was there)
//! ```
//!
//! The exchange is one system call, and the second step is [`collapse`](super::collapse)'s: a kill anywhere loses and
//! doubles nothing. What is behind the cut stays in the log: less than a block, or up to half of a small log whose lines
//! end on no boundary of blocks.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::collapse::{self, open_log};
use super::ledger::Ledger;
use super::rotator::Writer;
use crate::hand;

/// Puts a log back if it was renamed.
pub(super) fn put_back(writer: &Writer) -> io::Result<()> {
    let log = &writer.log;
    let descriptor = PathBuf::from(format!("/proc/{}/fd/{}", writer.pid, writer.descriptor));
    let Ok(written) = std::fs::metadata(&descriptor) else { return Ok(()) };
    let named = identity_of(log)?;
    let identity = (written.dev(), written.ino());
    if !written.is_file() || named.is_some_and(|(named, _)| named == identity) {
        return Ok(());
    }
    // Only a file that had this name: the app may have sent its output elsewhere.
    let was_ours = match Ledger::read(log)? {
        Some(ledger) => ledger.header()?.is_identity(identity),
        None => false,
    };
    let place = std::fs::read_link(&descriptor)?;
    if !was_ours || identity_of(&place)?.is_none_or(|(place, _)| place != identity) {
        return Err(io::Error::other(
            "the worker writes to a file that was removed, or that is not known; a restart makes it write here",
        ));
    }
    // What the worker has open only we may look at; from here on it is the log.
    let _acting = hand::act_for(log)?;
    let directory = log.parent().unwrap_or(Path::new("/"));
    if !collapse::is_possible(directory) {
        return Err(io::Error::other(format!(
            "the worker goes on writing to {} until it is restarted; logrotate's copytruncate works on this file system",
            place.display()
        )));
    }
    match named {
        Some((_, 0)) => {}
        Some(_) => {
            return Err(io::Error::other(format!(
                "somebody has written to the new file already, so the worker goes on in {} until it is restarted",
                place.display()
            )));
        }
        None => drop(File::options().write(true).create_new(true).mode(0o600).open(log)?),
    }
    let wanted = std::fs::symlink_metadata(log)?;
    renameat_with(CWD, log, CWD, &place, RenameFlags::EXCHANGE)?;
    let file = open_log(log)?;
    // logrotate's `create` says whose the logs are; that was said of the file that is the archive now.
    let _ = std::os::unix::fs::chown(log, Some(wanted.uid()), Some(wanted.gid()));
    let _ = std::fs::set_permissions(log, std::fs::Permissions::from_mode(wanted.mode() & 0o777));
    drop(file);
    collapse::rotate_to(log, &place)?;
    Ok(())
}

/// Returns which file has this name, and its length.
fn identity_of(path: &Path) -> io::Result<Option<((u64, u64), u64)>> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(((meta.dev(), meta.ino()), meta.len()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
