//! One error for every system call: which call, and what the kernel answered.

use std::io;

/// A system call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {}", io::Error::from_raw_os_error(*errno))]
pub struct SysError {
    /// The call's name as its manual page has it.
    pub call: &'static str,
    /// The kernel's answer, an `E…` number.
    pub errno: i32,
}

/// The result of asking the kernel.
pub type Result<T> = std::result::Result<T, SysError>;

impl SysError {
    /// Names the call that gave `errno`.
    pub fn new(call: &'static str, errno: i32) -> Self {
        Self { call, errno }
    }

    /// Names the call that just failed; its error is still in `errno`.
    pub fn last(call: &'static str) -> Self {
        Self { call, errno: io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) }
    }

    /// Names the call behind a failure of the standard library.
    pub fn from_io(call: &'static str, error: &io::Error) -> Self {
        Self { call, errno: error.raw_os_error().unwrap_or(libc::EIO) }
    }

    /// Returns whether the call would have had to wait.
    pub fn would_block(&self) -> bool {
        self.errno == libc::EAGAIN || self.errno == libc::EWOULDBLOCK
    }
}

impl From<SysError> for io::Error {
    fn from(error: SysError) -> Self {
        io::Error::from_raw_os_error(error.errno)
    }
}

/// Turns the kernel's "-1 and errno" into a result.
pub(crate) fn check(call: &'static str, returned: libc::c_int) -> Result<libc::c_int> {
    if returned == -1 { Err(SysError::last(call)) } else { Ok(returned) }
}

/// The same for calls made through `syscall(2)`.
pub(crate) fn check_long(call: &'static str, returned: libc::c_long) -> Result<libc::c_long> {
    if returned == -1 { Err(SysError::last(call)) } else { Ok(returned) }
}

/// Gives a rustix failure the name of its call.
pub(crate) fn named<T>(call: &'static str, result: rustix::io::Result<T>) -> Result<T> {
    result.map_err(|errno| SysError { call, errno: errno.raw_os_error() })
}
