//! As whom a program runs.

use crate::error::{Result, SysError};

/// A user, a group, and the other groups to be in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

impl Credentials {
    /// Looks up the groups that the user is in; a user without a name is only in the group given.
    ///
    /// Asks the system's user database, which may be slow where that is remote.
    pub fn of(uid: u32, gid: u32) -> Result<Self> {
        let user = nix::unistd::User::from_uid(uid.into()).map_err(|e| SysError::new("getpwuid_r", e as i32))?;
        let Some(user) = user else { return Ok(Self { uid, gid, groups: vec![gid] }) };
        let name = std::ffi::CString::new(user.name).map_err(|_| SysError::new("getgrouplist", libc::EINVAL))?;
        let groups =
            nix::unistd::getgrouplist(&name, gid.into()).map_err(|e| SysError::new("getgrouplist", e as i32))?;
        Ok(Self { uid, gid, groups: groups.into_iter().map(|group| group.as_raw()).collect() })
    }

    /// Looks up a user by name or number; `None` when there is no such name.
    pub fn named(name: &str) -> Result<Option<Self>> {
        let user = match name.parse::<u32>() {
            Ok(uid) => nix::unistd::User::from_uid(uid.into()),
            Err(_) => nix::unistd::User::from_name(name),
        };
        let user = user.map_err(|e| SysError::new("getpwnam_r", e as i32))?;
        user.map(|user| Self::of(user.uid.as_raw(), user.gid.as_raw())).transpose()
    }

    /// Returns whether this process is this user already and may not change its groups anyway.
    pub(crate) fn are_ours(&self) -> bool {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        !uid.is_root() && uid.as_raw() == self.uid && gid.as_raw() == self.gid
    }
}
