//! Resource limits of a child, and one of them as a mark.
//!
//! A program that becomes a daemon leaves its process tree, its session and, where it writes its title over it, its environment.
//! Limits it keeps: every descendant inherits them, whatever it executes. `RLIMIT_LOCKS` is one that Linux has not looked
//! at since 2.4, and that nobody sets. So a number in it that no process has by itself tells whose descendant a process is, and
//! means nothing else. What is shown of it: the line `Max file locks` in `/proc/PID/limits`, and `ulimit -x`.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// The limits that a child is to have.
pub(crate) struct Limits {
    nofile: Option<libc::rlimit>,
    mark: Option<libc::rlimit>,
}

impl Limits {
    /// Takes a soft limit of open files, and a mark.
    pub(crate) fn new(nofile: Option<u64>, mark: Option<u64>) -> Self {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(libc::RLIM_INFINITY);
        Self {
            nofile: nofile.map(|soft| libc::rlimit { rlim_cur: soft.min(hard), rlim_max: hard }),
            mark: mark.map(|mark| libc::rlimit { rlim_cur: mark, rlim_max: mark }),
        }
    }

    /// Gives them to the calling process; returns whether the one of open files was taken. Async-signal-safe.
    ///
    /// A mark that is refused is done without: somebody without privileges, who has a smaller one already.
    pub(crate) fn set(&self) -> bool {
        if let Some(mark) = &self.mark {
            // SAFETY: reads a limit that outlives the call.
            unsafe { libc::setrlimit(libc::RLIMIT_LOCKS, mark) };
        }
        // SAFETY: as above.
        self.nofile.as_ref().is_none_or(|nofile| unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, nofile) } == 0)
    }
}

/// Returns the mark that a process has inherited; `None` when it has none, or is gone.
pub fn mark_of(pid: i32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let locks = limits.lines().find_map(|line| line.strip_prefix("Max file locks"))?;
    locks.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Returns the mark that this process has inherited, and all its descendants.
pub fn own_mark() -> Option<u64> {
    getrlimit(Resource::Locks).maximum
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;
    use crate::fd;
    use crate::spawn::Spawn;

    #[test]
    fn a_mark_is_inherited_by_a_daemon_that_keeps_nothing_else() {
        let (read, write) = fd::pipe(None).unwrap();
        let script = "env -i setsid sh -c 'echo $$; exec sleep 1000' &";
        let mut spawn = Spawn::new(OsStr::new("/bin/sh"));
        spawn.args = ["-c", script].map(OsStr::new).to_vec();
        spawn.env = vec![OsStr::new("PATH=/usr/bin:/bin")];
        spawn.fds = vec![(write.as_fd(), 1)];
        spawn.mark = Some((1 << 62) + 7);
        let spawned = spawn.start().unwrap();
        drop(write);
        let mut text = [0; 16];
        let length = fs::File::from(read).read(&mut text).unwrap();
        let pid: i32 = String::from_utf8_lossy(&text[..length]).trim().parse().unwrap();
        assert_eq!(mark_of(pid), Some((1 << 62) + 7));
        assert_ne!(own_mark(), Some((1 << 62) + 7));
        crate::pidfd::Pidfd::open(pid).unwrap().signal(libc::SIGKILL).unwrap();
        drop(spawned);
    }
}
