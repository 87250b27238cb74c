//! Files that are old or new, never torn.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rpm_sys::fail;

/// Removes what a killed daemon has not finished writing. Nobody else writes there: a home has one daemon.
pub(crate) fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let is_unfinished = entry.file_name().to_str().is_some_and(|name| name.starts_with(&format!("{NEW}-")));
        if is_unfinished && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!("{} could not be removed: {error}", entry.path().display());
        }
    }
}

/// How sure a write must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Durability {
    /// Whole for the next process that reads it. Enough for what only the same boot can use.
    Process,
    /// Whole after a power cut too.
    Disk,
}

/// How the name of a file begins that is about to replace another.
pub(crate) const NEW: &str = ".new";

/// Replaces the file at `path`, mode 0600. A symlink at `path` is replaced, not followed.
pub(crate) fn replace(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    replace_with(path, durability, |file| file.write_all(content))
}

/// The same, with what `write` puts into the file.
pub(crate) fn replace_with(
    path: &Path,
    durability: Durability,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let directory = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let pass = |step| {
        if let Some(file) = point(path) {
            fail::pass(file, step);
        }
    };
    pass("begun");
    let mut file = tempfile::Builder::new()
        .prefix(&format!("{NEW}-"))
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    write(file.as_file_mut())?;
    pass("filled");
    if durability == Durability::Disk {
        file.as_file().sync_all()?;
        pass("synced");
    }
    file.persist(path).map_err(|error| error.error)?;
    pass("renamed");
    if durability == Durability::Disk {
        File::open(directory)?.sync_all()?;
        pass("kept");
    }
    Ok(())
}

/// Returns what the points of a write are called; only the files that others are rebuilt from have some.
fn point(path: &Path) -> Option<&'static str> {
    Some(match path.file_name()?.to_str()? {
        "state.json" => "state",
        "state.json.bak" => "state_copy",
        "dump.json" => "list",
        "dump.json.bak" => "list_copy",
        _ => return None,
    })
}

/// Damaged files that are kept. At the bound the last one is replaced.
const ASIDE_MAX: u32 = 9;

/// Renames a file that cannot be used, so that nothing is lost, and returns the new name.
pub(crate) fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = aside(path);
    std::fs::rename(path, &aside)?;
    Ok(aside)
}

/// Returns a name that nothing has yet, so that an earlier damage is not lost to a later one, up to a bound.
fn aside(path: &Path) -> PathBuf {
    let names = (1..ASIDE_MAX).map(|number| with_suffix(path, &format!(".broken.{number}")));
    let mut free = [with_suffix(path, ".broken")].into_iter().chain(names);
    let last = with_suffix(path, &format!(".broken.{ASIDE_MAX}"));
    free.find(|name| name.symlink_metadata().is_err()).unwrap_or(last)
}

/// Returns the path with something after its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
