//! What goes through the launcher's ready pipe: one word from the first daemon (or its keeper) to the waiting command.
//!
//! A first byte `+` means ready, `=` means that another keeper has the home already; anything else is the text of an
//! error. The end of the pipe without a word means that the daemon died.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rpm_sys::fd;

use crate::READY_FD_VAR;

pub(crate) const READY: u8 = b'+';
pub(crate) const ALREADY_RUNNING: u8 = b'=';

/// Takes the ready pipe this process was started with, if it was. Works once in the life of a process.
pub fn inherited() -> io::Result<Option<OwnedFd>> {
    let Some(value) = std::env::var_os(READY_FD_VAR) else { return Ok(None) };
    let number = value.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
        let text = format!("{READY_FD_VAR} should be the number of a descriptor, it is {value:?}");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    Ok(Some(fd::take_inherited(number)?))
}

/// Tells the waiting command that the daemon takes requests. A command that no longer waits is no mistake.
pub fn tell_ready(pipe: OwnedFd) {
    say(pipe, &[READY]);
}

/// Tells the waiting command why the daemon cannot work.
pub fn tell_failure(pipe: OwnedFd, text: &str) {
    say(pipe, text.as_bytes());
}

pub(crate) fn tell_already_running(pipe: OwnedFd) {
    say(pipe, &[ALREADY_RUNNING]);
}

fn say(pipe: OwnedFd, word: &[u8]) {
    // Up to PIPE_BUF bytes never wait in an empty pipe; longer texts lose their end.
    let _nobody_listens = File::from(pipe).write_all(&word[..word.len().min(4096)]);
}
