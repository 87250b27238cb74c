//! Waiting for several descriptors at once.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::error::{Result, SysError};

/// What to wait for on one descriptor.
#[derive(Debug, Clone, Copy)]
pub struct Interest<'a> {
    /// The descriptor.
    pub fd: BorrowedFd<'a>,
    /// Whether to wait until it can be read, too; its end and its errors are always reported.
    pub read: bool,
    /// Whether to wait until it can be written.
    pub write: bool,
}

/// What a descriptor is ready for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready {
    /// It can be read, has ended or has failed.
    pub read: bool,
    /// It can be written or has failed.
    pub write: bool,
    /// The other side has left, or an error waits.
    pub hung_up: bool,
}

/// Waits until one of the descriptors is ready or the time is up, without a limit if none; an interrupting signal counts as nothing ready.
pub fn wait<const N: usize>(interests: [Interest<'_>; N], timeout: Option<Duration>) -> Result<[Ready; N]> {
    let mut entries = interests.map(entry);
    poll(&mut entries, timeout).map(|any| if any { entries.map(|entry| found(&entry)) } else { [Ready::default(); N] })
}

/// Does as [`wait`], for as many descriptors as there are.
pub fn wait_all(interests: &[Interest<'_>], timeout: Option<Duration>) -> Result<Vec<Ready>> {
    let mut entries: Vec<PollFd<'_>> = interests.iter().copied().map(entry).collect();
    let any = poll(&mut entries, timeout)?;
    Ok(entries.iter().map(|entry| if any { found(entry) } else { Ready::default() }).collect())
}

fn entry(interest: Interest<'_>) -> PollFd<'_> {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, interest.read);
    flags.set(PollFlags::OUT, interest.write);
    PollFd::from_borrowed_fd(interest.fd, flags)
}

/// Returns whether anything was found; an interrupting signal leaves nothing to be looked at.
fn poll(entries: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<bool> {
    // Rounded up by the kernel, never down: we do not wake a moment early and spin.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match rustix::event::poll(entries, timeout.as_ref()) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(SysError::new("poll", errno.raw_os_error())),
    }
}

fn found(entry: &PollFd<'_>) -> Ready {
    let found = entry.revents();
    let hung_up = found.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
    Ready { read: hung_up || found.contains(PollFlags::IN), write: hung_up || found.contains(PollFlags::OUT), hung_up }
}
