//! What the fuzz targets of logs (`rpm-fuzz`) call of the rooms within; nothing else does.

use std::io;
use std::path::{Path, PathBuf};

use crate::rotate::collapse;
use crate::rotate::ledger::Ledger;

/// Where the ledger of a log is.
pub fn ledger_path(log: &Path) -> PathBuf {
    Ledger::path(log)
}

/// Does what a rotator does first with a log that it finds: finishes what was begun, and opens or repairs the ledger.
pub fn take_up(log: &Path) -> io::Result<()> {
    collapse::recover(log)?;
    collapse::rotate(log)?;
    Ok(())
}
