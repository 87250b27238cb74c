//! In whose name files of an app are opened, where it runs as another user than we do.
//!
//! A log may lie where that user decides what a path leads to. There all is done in his name, so that a link of his leads
//! nowhere that he could not go himself. Where nobody but us decides, as in `/var/log`, he often may not write, and where he
//! may not write though the directory above is his, he has nothing to win by a link to a file: there we act ourselves, on
//! paths without links.
//!
//! Whose a log is, is known by its path, of the whole process: pump and rotator are threads that know nothing of users.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rpm_model::{AppSpec, Home};
use rpm_sys::credentials::Credentials;
use rpm_sys::identity::{self, Acting};
use rustix::fs::{Access, AtFlags, CWD};

use crate::rotate::archive;
use crate::rotate::ledger::Ledger;

/// The files that are not opened in our own name; nothing for those that are not opened in anybody's.
static OTHERS: Mutex<BTreeMap<PathBuf, Option<Arc<Credentials>>>> = Mutex::new(BTreeMap::new());

fn others() -> MutexGuard<'static, BTreeMap<PathBuf, Option<Arc<Credentials>>>> {
    // It is whole whenever the lock is free.
    OTHERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds out in whose name a file of an app is opened from now on.
///
/// # Errors
/// When it can be opened in nobody's name without a link that may lead anywhere, or the user cannot be looked up.
pub fn choose(path: &Path, spec: &AppSpec, home: &Home) -> io::Result<()> {
    let chosen = match spec.user {
        Some((uid, gid)) if uid != rustix::process::geteuid().as_raw() && !path.starts_with(home.root()) => {
            of_user(path, uid, gid)
        }
        Some(_) | None => Ok(None),
    };
    match chosen {
        Ok(None) => drop(others().remove(path)),
        Ok(user) => drop(others().insert(path.to_owned(), user)),
        Err(error) => {
            others().insert(path.to_owned(), None);
            return Err(error);
        }
    }
    Ok(())
}

/// Has this thread act for whoever `path` is opened for, until what is returned is dropped.
///
/// # Errors
/// When nobody may open it, or we may not act as somebody else.
pub fn act_for(path: &Path) -> io::Result<Option<Acting>> {
    match others().get(path).cloned() {
        None => Ok(None),
        Some(Some(user)) => Ok(Some(identity::act_as(&user)?)),
        Some(None) => Err(io::Error::new(io::ErrorKind::PermissionDenied, "nobody may open it")),
    }
}

fn of_user(path: &Path, uid: u32, gid: u32) -> io::Result<Option<Arc<Credentials>>> {
    if identity::is_ours_alone(path) {
        return Ok(None);
    }
    let user = Credentials::of(uid, gid)?;
    let (place, may_write) = {
        let _acting = identity::act_as(&user)?;
        let there = path.ancestors().skip(1).find(|directory| directory.exists()).unwrap_or(Path::new("/"));
        // As the thread is now, not as the process was started.
        let may_write = rustix::fs::accessat(CWD, there, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
        (there.canonicalize().unwrap_or_else(|_| there.to_owned()), may_write)
    };
    if may_write {
        hand_over(&place, path, &user);
        return Ok(Some(Arc::new(user)));
    }
    match identity::open_without_links(path.parent().unwrap_or(path)) {
        Ok(_) => Ok(None),
        // An older kernel does not know how to refuse them.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.kind() == io::ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("user {uid} may not write there, and a link of somebody else's leads there: {error}"),
        )),
    }
}

/// Gives the user what is there of a log already, as far as it is ours: made when all was opened in our name.
fn hand_over(directory: &Path, path: &Path, user: &Credentials) {
    let Some(name) = path.file_name() else { return };
    let log = directory.join(name);
    let archives = archive::list(&log).unwrap_or_default().into_iter().map(|archive| archive.path);
    let ledger = Ledger::path(&log);
    for file in [log, ledger].into_iter().chain(archives) {
        let Ok(file) = identity::open_without_links(&file) else { continue };
        let Ok(meta) = file.metadata() else { continue };
        // What has another name somewhere may be no log there.
        if meta.is_file() && meta.nlink() == 1 && meta.uid() == rustix::process::geteuid().as_raw() {
            let _ = fchown(&file, Some(user.uid), Some(user.gid));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use rpm_model::Flavour;

    use super::*;

    const NOBODY: u32 = 65534;

    #[test]
    fn a_link_of_the_user_leads_only_where_the_user_may_go() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let at = |name: &str| directory.path().join(name);
        let home = Home::new(at("home"), Flavour::Rpm);
        let mut spec = AppSpec::new("a", "/a", "/");
        spec.user = Some((NOBODY, NOBODY));
        for name in ["secret", "theirs", "theirs/logs", "theirs/roots"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        std::fs::set_permissions(at("secret"), PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::write(at("theirs/logs/a.log"), "before\n").unwrap();
        for name in ["theirs", "theirs/logs"] {
            chown(at(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        symlink(at("secret"), at("theirs/link")).unwrap();
        symlink("logs", at("theirs/current")).unwrap();
        symlink("roots", at("theirs/to-roots")).unwrap();
        let owner = |name: &str| std::fs::symlink_metadata(at(name)).unwrap().uid();
        let open = |name: &str| {
            choose(&at(name), &spec, &home)?;
            crate::target::direct(&at(name))
        };
        assert!(open("theirs/link/a.log").is_err());
        assert!(!at("secret/a.log").exists());
        assert!(open("theirs/link/new/a.log").is_err());
        // Their own links are theirs to follow, and what we made there before is theirs now.
        open("theirs/current/a.log").unwrap();
        open("theirs/logs/new/b.log").unwrap();
        assert_eq!((owner("theirs/logs/a.log"), owner("theirs/logs/new/b.log")), (NOBODY, NOBODY));
        // A directory of ours within theirs, as a supervisor that does not care makes it.
        open("theirs/roots/a.log").unwrap();
        assert_eq!(owner("theirs/roots/a.log"), 0);
        assert!(open("theirs/to-roots/a.log").is_err());
        // Nobody turns the way to these.
        open("secret/a.log").unwrap();
        open("home/logs/a.log").unwrap();
        assert_eq!((owner("secret/a.log"), owner("home/logs/a.log")), (0, 0));
    }
}
