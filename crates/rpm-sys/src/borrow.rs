//! Descriptors of another process: a duplicate, or what its pipes lead to opened once more.
//!
//! Both need the rights of a debugger over that process (root, or the same user where the system allows it), and a refusal is
//! an error like any other.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};

use crate::error::{Result, check_long, named};
use crate::pidfd::Pidfd;

/// Duplicates a descriptor of another process (Linux 5.6 or later).
pub fn duplicate(process: &Pidfd, number: RawFd) -> Result<OwnedFd> {
    let pidfd = process.as_fd().as_raw_fd();
    // SAFETY: pidfd_getfd takes numbers; it touches no memory.
    let fd = check_long("pidfd_getfd", unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, number, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Returns the numbers of a process's open descriptors whose link begins with `kind`: `socket:`, `pipe:`.
pub fn numbers(pid: i32, kind: &str) -> Vec<RawFd> {
    let Ok(listing) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let is_meant = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path()).is_ok_and(|link| link.to_string_lossy().starts_with(kind))
    };
    let mut numbers: Vec<RawFd> =
        listing.flatten().filter(is_meant).filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// Opens an end of a pipe of which another process has the descriptor `number`, whichever end that is.
pub fn open_pipe(pid: i32, number: RawFd, to_write: bool) -> Result<OwnedFd> {
    let access = if to_write { OFlags::WRONLY } else { OFlags::RDONLY };
    // Without O_NONBLOCK this would wait for somebody at the other end.
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC;
    named("open(/proc/PID/fd)", rustix::fs::open(format!("/proc/{pid}/fd/{number}"), flags, Mode::empty()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::net::listen::{is_listening, local_address};

    #[test]
    fn a_listening_socket_and_a_pipe_of_another_process_are_had_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut child = Command::new("/bin/sh")
            .args(["-c", "echo one; exec sleep 60"])
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id().cast_signed();
        let process = Pidfd::open(pid).unwrap();
        assert!(numbers(pid, "socket:").contains(&0) && numbers(pid, "pipe:").contains(&1));
        let socket = duplicate(&process, 0).unwrap();
        assert!(is_listening(&socket));
        assert_eq!(local_address(&socket), Some(address));

        let pipe = open_pipe(pid, 1, false).unwrap();
        drop(child.stdout.take());
        let mut ready = [rustix::event::PollFd::new(&pipe, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut ready, None).unwrap();
        let mut text = [0; 16];
        let length = std::fs::File::from(pipe).read(&mut text).unwrap();
        assert_eq!(&text[..length], b"one\n");

        child.kill().unwrap();
        child.wait().unwrap();
        assert!(duplicate(&process, 0).is_err());
        assert!(numbers(pid, "").is_empty());
    }
}
