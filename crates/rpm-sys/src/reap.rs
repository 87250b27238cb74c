//! Being a parent: exits, orphans, and signals as a descriptor.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Resource, Rlimit};

use crate::error::{Result, SysError, check, named};

/// Makes this process the parent of every descendant whose own parent leaves.
pub fn become_subreaper() -> Result<()> {
    // SAFETY: the option takes a number and touches no memory.
    check("prctl(PR_SET_CHILD_SUBREAPER)", unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// Leaves the terminal behind: a session and process group of our own. Being the leader already is no mistake.
pub fn lead_session() -> Result<()> {
    match rustix::process::setsid() {
        Ok(_) | Err(rustix::io::Errno::PERM) => Ok(()),
        Err(errno) => Err(SysError::new("setsid", errno.raw_os_error())),
    }
}

/// A child that has exited and is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaped {
    /// Its number, free to be used again.
    pub pid: i32,
    /// How it ended.
    pub status: Status,
    /// CPU time spent in its own code, its waited-for children included.
    pub utime: Duration,
    /// CPU time spent in the kernel, likewise.
    pub stime: Duration,
    /// The largest resident set it ever had, in bytes.
    pub maxrss: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It returned this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether a core was dumped.
        core: bool,
    },
}

/// Takes one child that has exited; `None` when no child has.
pub fn wait_any() -> Option<Reaped> {
    loop {
        let mut status = 0;
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: both places are valid for the time of the call.
        let pid = unsafe { libc::wait4(-1, &mut status, libc::WNOHANG, usage.as_mut_ptr()) };
        match pid {
            0 => return None,
            -1 if SysError::last("wait4").errno == libc::EINTR => continue,
            // ECHILD: no children at all.
            -1 => return None,
            _ => {}
        }
        // SAFETY: wait4 has filled it in; and all zeroes would be valid too.
        let usage = unsafe { usage.assume_init() };
        let status = if libc::WIFEXITED(status) {
            Status::Code(libc::WEXITSTATUS(status))
        } else if libc::WIFSIGNALED(status) {
            Status::Signal { signal: libc::WTERMSIG(status), core: libc::WCOREDUMP(status) }
        } else {
            // Stopped or traced: only when another tool traces our children.
            continue;
        };
        return Some(Reaped {
            pid,
            status,
            utime: duration(usage.ru_utime),
            stime: duration(usage.ru_stime),
            maxrss: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
        });
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_micros(time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_usec.unsigned_abs())
}

/// Signals that arrive through a descriptor.
#[derive(Debug)]
pub struct Signals(OwnedFd);

/// Blocks signals in this thread, and makes a descriptor that they are read from.
///
/// To be called while there is one thread, since a thread that does not block a signal would get it.
pub fn signalfd(signals: &[i32]) -> Result<Signals> {
    // SAFETY: sigset_t is plain data; all zeroes is the empty set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in signals {
        // SAFETY: changes the set it is given; a number that is no signal is an error.
        check("sigaddset", unsafe { libc::sigaddset(&mut set, *signal) })?;
    }
    // SAFETY: the set is valid; we do not ask for the old one.
    let blocked = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
    if blocked != 0 {
        return Err(SysError::new("pthread_sigmask", blocked));
    }
    // SAFETY: the set is valid for the time of the call.
    let fd = check("signalfd", unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(Signals(unsafe { OwnedFd::from_raw_fd(fd) }))
}

impl Signals {
    /// Takes the next signal that has arrived.
    pub fn next(&self) -> Option<i32> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the place is as large as said.
        let read = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if usize::try_from(read) != Ok(size) {
            return None;
        }
        // SAFETY: a whole record has been read; and all zeroes would be valid too.
        i32::try_from(unsafe { info.assume_init() }.ssi_signo).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Ignores signals in this process. Programs started by [`crate::spawn`] do not inherit that.
pub fn ignore(signals: &[i32]) -> Result<()> {
    for signal in signals {
        // SAFETY: SIG_IGN runs no code of ours.
        if unsafe { libc::signal(*signal, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(SysError::last("signal"));
        }
    }
    Ok(())
}

/// Raises the soft limit of open files to the hard one; returns the soft limit as it was.
pub fn raise_nofile() -> Result<Option<u64>> {
    let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
    if current != maximum {
        named("setrlimit", rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }))?;
    }
    Ok(current)
}

/// Returns how many files this process may have open.
pub fn nofile() -> u64 {
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read() {
        let signals = signalfd(&[libc::SIGUSR2]).unwrap();
        assert_eq!(signals.next(), None);
        // SAFETY: the signal is blocked in this thread, to which it is sent.
        unsafe { libc::raise(libc::SIGUSR2) };
        assert_eq!(signals.next(), Some(libc::SIGUSR2));
        assert_eq!(signals.next(), None);
        assert!(signalfd(&[1000]).is_err());
    }

    #[test]
    fn the_limit_of_open_files_is_raised() {
        raise_nofile().unwrap();
        let limit = rustix::process::getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(limit.current.unwrap_or(u64::MAX), nofile());
    }
}
