//! Who may not be disturbed: logs that must keep their names for a while.
//!
//! Two ways lead into a log, and an app may change from one to the other while its old worker still writes. The pump
//! renames a log that it rotates; whoever writes the log itself would go on in the archive, which is compressed and
//! removed. And while the head of a log is being taken away, a log renamed in the middle would have its head twice. So
//! both claim the name, and a rename passes over what is claimed; it is tried again at the next write.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How often each log is claimed. Of the whole process: pump and rotator are threads that know nothing of each other.
static CLAIMED: Mutex<BTreeMap<PathBuf, usize>> = Mutex::new(BTreeMap::new());

/// A log that keeps its name as long as this lives.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    log: PathBuf,
}

impl Claim {
    /// Claims a log. When this returns nobody is renaming it.
    pub fn new(log: &Path) -> Self {
        *claimed().entry(log.to_owned()).or_default() += 1;
        Self { log: log.to_owned() }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = claimed();
        let count = claimed.get_mut(&self.log).expect("it was claimed");
        *count -= 1;
        if *count == 0 {
            claimed.remove(&self.log);
        }
    }
}

/// Renames a log, unless somebody has claimed it. `rename` should be short: claims wait for it.
pub(crate) fn unless_claimed<T>(log: &Path, rename: impl FnOnce() -> T) -> Option<T> {
    let claimed = claimed();
    (!claimed.contains_key(log)).then(rename)
}

fn claimed() -> MutexGuard<'static, BTreeMap<PathBuf, usize>> {
    // A count is whole whenever the lock is free.
    CLAIMED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_renamed_when_its_last_claim_is_gone() {
        let log = Path::new("/nowhere/a.log");
        let (first, second) = (Claim::new(log), Claim::new(log));
        assert_eq!(unless_claimed(log, || ()), None);
        drop(first);
        assert_eq!(unless_claimed(log, || ()), None);
        assert_eq!(unless_claimed(Path::new("/nowhere/b.log"), || ()), Some(()));
        drop(second);
        assert_eq!(unless_claimed(log, || ()), Some(()));
    }
}
