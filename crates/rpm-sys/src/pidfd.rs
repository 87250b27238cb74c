//! Holding on to one process, whatever happens to its number.
//!
//! A pid is a name that the kernel gives to someone else later; a pidfd means one process for ever. So nothing here
//! signals by pid.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::null;

use crate::error::{Result, check_long};
use crate::proc;

/// A descriptor that means one process. It becomes readable when the process exits.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

impl Pidfd {
    /// Opens the process that has this number now.
    pub fn open(pid: i32) -> Result<Self> {
        // SAFETY: pidfd_open takes a number and flags; it touches no memory.
        let fd = check_long("pidfd_open", unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// Takes a descriptor that came from elsewhere.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Sends a signal; 0 only asks whether it could. ESRCH when the process has been waited for.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let no_info: *const libc::siginfo_t = null();
        // SAFETY: without a siginfo the kernel reads no memory of ours.
        check_long("pidfd_send_signal", unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal, no_info, 0)
        })
        .map(drop)
    }

    /// Returns whether the process has exited, waited for or not.
    pub fn has_exited(&self) -> bool {
        let mut poll = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        matches!(rustix::event::poll(&mut poll, Some(&rustix::event::Timespec::default())), Ok(1..))
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Pidfd> for OwnedFd {
    fn from(pidfd: Pidfd) -> Self {
        pidfd.0
    }
}

/// A process known by pid and start time, held by a pidfd.
#[derive(Debug)]
pub struct ProcessRef {
    /// Its number.
    pub pid: i32,
    /// When it was started, in clock ticks since boot; with the boot id this names a process for ever.
    pub start_time: u64,
    /// Its descriptor.
    pub pidfd: Pidfd,
}

impl ProcessRef {
    /// Takes hold of the process that has this number now; `None` when there is none.
    pub fn open(pid: i32) -> Result<Option<Self>> {
        let Some(pidfd) = open_if_there(pid)? else { return Ok(None) };
        // Read after the open. If the number has changed hands in between, the pidfd means a process that has been
        // waited for, and says so.
        let Some(start_time) = proc::start_time(pid) else { return Ok(None) };
        Ok(pidfd.signal_reaches().then_some(Self { pid, start_time, pidfd }))
    }

    /// Takes hold of a process seen before; `None` when it is gone, even if its number is in use again.
    pub fn reopen(pid: i32, start_time: u64) -> Result<Option<Self>> {
        Ok(Self::open(pid)?.filter(|process| process.start_time == start_time))
    }

    /// Sends a signal to this process and no other.
    pub fn signal(&self, signal: i32) -> Result<()> {
        self.pidfd.signal(signal)
    }
}

impl Pidfd {
    fn signal_reaches(&self) -> bool {
        match self.signal(0) {
            Ok(()) => true,
            // It is there, and someone else's.
            Err(error) => error.errno == libc::EPERM,
        }
    }
}

fn open_if_there(pid: i32) -> Result<Option<Pidfd>> {
    match Pidfd::open(pid) {
        Ok(pidfd) => Ok(Some(pidfd)),
        // EINVAL: no pid at all, or (before 6.9) a thread's.
        Err(error) if error.errno == libc::ESRCH || error.errno == libc::EINVAL || error.errno == libc::ENOENT => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_held_by_number_and_start_time() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id() as i32;
        let held = ProcessRef::open(pid).unwrap().expect("it runs");
        assert!(ProcessRef::reopen(pid, held.start_time).unwrap().is_some());
        assert!(ProcessRef::reopen(pid, held.start_time + 1).unwrap().is_none());
        assert!(!held.pidfd.has_exited());
        held.signal(libc::SIGKILL).unwrap();
        child.wait().unwrap();
        assert!(held.pidfd.has_exited());
        assert_eq!(held.signal(0).unwrap_err().errno, libc::ESRCH);
        assert!(ProcessRef::open(pid).unwrap().is_none());
        assert!(ProcessRef::open(-1).unwrap().is_none());
    }
}
