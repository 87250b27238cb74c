//! Opening files as somebody else.
//!
//! What a directory's owner may rename, he may make a link of, at any moment: a path through it leads where he wants. So
//! whoever may open everything (root) does not look for files there in his own name: [`act_as`] makes the thread that
//! owner where files are concerned, and the kernel refuses what he may not open.
//! [`is_ours_alone`] tells where that is not needed.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::ptr::null_mut;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::credentials::Credentials;
use crate::error::{Result, SysError, check_long};

/// As many links as the kernel follows in one path.
const LINKS_MAX: usize = 40;

/// Files are opened, made, renamed and removed as somebody else by this thread, until this is dropped.
#[derive(Debug)]
pub struct Acting {
    before: Credentials,
    /// It is this thread's alone.
    _here: PhantomData<*const ()>,
}

/// Has this thread act as a user where files are concerned (`setfsuid(2)`); everything else stays as it is.
///
/// # Errors
/// When we are not root.
pub fn act_as(user: &Credentials) -> Result<Acting> {
    let before = present()?;
    // From here on the way back is certain, also where only half is done.
    let acting = Acting { before, _here: PhantomData };
    set_groups(&user.groups)?;
    set_ids(user);
    let reached = present()?;
    if (reached.uid, reached.gid) != (user.uid, user.gid) {
        return Err(SysError::new("setfsuid", libc::EPERM));
    }
    Ok(acting)
}

impl Drop for Acting {
    fn drop(&mut self) {
        set_ids(&self.before);
        let back = set_groups(&self.before.groups).and_then(|()| present());
        if !back.is_ok_and(|back| back == self.before) {
            // To go on as somebody else would open the wrong files; nobody who got here was refused before.
            std::process::abort();
        }
    }
}

fn set_ids(user: &Credentials) {
    // SAFETY: plain numbers. They return what was before; whether it worked is asked by `present`.
    unsafe {
        libc::setfsgid(user.gid);
        libc::setfsuid(user.uid);
    }
}

/// Returns as whom this thread opens files.
fn present() -> Result<Credentials> {
    // SAFETY: numbers that are no user and no group change nothing, and what is set is returned.
    let (uid, gid) = unsafe { (libc::setfsuid(u32::MAX), libc::setfsgid(u32::MAX)) };
    // SAFETY: asked with no room it only tells how many there are.
    let count = check_long("getgroups", unsafe { libc::syscall(libc::SYS_getgroups, 0, null_mut::<u32>()) })?;
    let mut groups = vec![0u32; count as usize];
    // SAFETY: the array has the length that is given; nobody but this thread changes how many there are.
    check_long("getgroups", unsafe { libc::syscall(libc::SYS_getgroups, groups.len(), groups.as_mut_ptr()) })?;
    Ok(Credentials { uid: uid as u32, gid: gid as u32, groups })
}

fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the array has the length that is given. The library's function would change all threads.
    check_long("setgroups", unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Returns whether nobody but root and us decides what an absolute path leads to, but for the file itself: every
/// directory on the way, links followed, is of one of us, and others may at most add to it (`/tmp`). What is missing at its
/// end is ours to make.
pub fn is_ours_alone(path: &Path) -> bool {
    let us = rustix::process::geteuid().as_raw();
    let is_ours = |uid: u32| uid == 0 || uid == us;
    let names = |path: &Path| -> Vec<OsString> {
        let names = path.components().rev().filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
        names.map(|part| part.as_os_str().to_owned()).collect()
    };
    // What is still to go, the next one last.
    let mut left = names(path.parent().unwrap_or(path));
    let (mut here, mut links) = (PathBuf::from("/"), 0);
    loop {
        let Ok(meta) = here.symlink_metadata() else { return true };
        if meta.is_symlink() {
            links += 1;
            let Ok(target) = here.read_link() else { return false };
            if links > LINKS_MAX || !is_ours(meta.uid()) {
                return false;
            }
            here.pop();
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            left.extend(names(&target));
        } else if !is_ours(meta.uid()) || (meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0) {
            return false;
        }
        match left.pop() {
            Some(name) if name == ".." => drop(here.pop()),
            Some(name) => here.push(name),
            None => return true,
        }
    }
}

/// Opens a file to look at it, where no part of its path is a link.
///
/// # Errors
/// When it is not there, or there is a link (ELOOP).
pub fn open_without_links(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn a_thread_is_somebody_else_and_itself_again() {
        if !is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "secret").unwrap();
        let nobody = Credentials { uid: 65534, gid: 65534, groups: vec![7, 65534] };
        let before = present().unwrap();
        {
            let _acting = act_as(&nobody).unwrap();
            assert_eq!(present().unwrap(), nobody);
            assert!(std::fs::read(&file).is_err());
            drop(act_as(&before).unwrap());
            assert!(std::fs::read(&file).is_err());
            let elsewhere = std::thread::spawn(move || std::fs::read(file).is_ok());
            assert!(!elsewhere.join().unwrap(), "a thread begins as the one that made it");
        }
        assert_eq!(present().unwrap(), before);
        assert!(std::fs::read(directory.path().join("file")).is_ok());
    }

    #[test]
    fn a_way_is_ours_where_nobody_else_may_turn_it() {
        if !is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["ours", "theirs", "theirs/ours", "open", "sticky"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        chown(at("theirs"), Some(65534), Some(65534)).unwrap();
        std::fs::set_permissions(at("open"), PermissionsExt::from_mode(0o777)).unwrap();
        std::fs::set_permissions(at("sticky"), PermissionsExt::from_mode(0o1777)).unwrap();
        symlink("ours", at("link")).unwrap();
        symlink(at("ours"), at("sticky/theirs")).unwrap();
        std::os::unix::fs::lchown(at("sticky/theirs"), Some(65534), None).unwrap();
        symlink("../link", at("ours/there-and-back")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let is_ours = |name: &str| is_ours_alone(&at(name));
        for name in
            ["a.log", "ours/a.log", "link/a.log", "sticky/a.log", "ours/missing/a.log", "ours/there-and-back/a.log"]
        {
            assert!(is_ours(name), "{name}");
        }
        for name in ["theirs/a.log", "theirs/ours/a.log", "open/a.log", "sticky/theirs/a.log", "loop/a.log"] {
            assert!(!is_ours(name), "{name}");
        }
        assert!(open_without_links(&at("link/missing")).is_err());
        std::fs::write(at("ours/file"), "").unwrap();
        assert!(open_without_links(&at("ours/file")).is_ok() && open_without_links(&at("link/file")).is_err());
    }
}
