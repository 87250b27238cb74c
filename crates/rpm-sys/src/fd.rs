//! Descriptors: making, marking, passing and locking them.
//!
//! Every descriptor made here is close-on-exec; what a program is to inherit is said in [`crate::spawn`].

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, MemfdFlags, OFlags, SealFlags};
use rustix::io::FdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::pipe::PipeFlags;

use crate::error::{Result, SysError, check, check_long, named};

/// The most descriptors the kernel lets one message carry (SCM_MAX_FD).
pub const FDS_PER_MESSAGE_MAX: usize = 253;

/// Sets or clears close-on-exec.
pub fn set_cloexec(fd: impl AsFd, on: bool) -> Result<()> {
    let mut flags = named("fcntl(F_GETFD)", rustix::io::fcntl_getfd(&fd))?;
    flags.set(FdFlags::CLOEXEC, on);
    named("fcntl(F_SETFD)", rustix::io::fcntl_setfd(&fd, flags))
}

/// Makes calls on this open file wait, or answer EAGAIN. Shared by everyone who holds a duplicate.
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> Result<()> {
    let mut flags = named("fcntl(F_GETFL)", rustix::fs::fcntl_getfl(&fd))?;
    if flags.contains(OFlags::NONBLOCK) == on {
        return Ok(());
    }
    flags.set(OFlags::NONBLOCK, on);
    named("fcntl(F_SETFL)", rustix::fs::fcntl_setfl(&fd, flags))
}

/// Makes a second descriptor for the same open file.
pub fn dup(fd: impl AsFd) -> Result<OwnedFd> {
    named("fcntl(F_DUPFD_CLOEXEC)", rustix::io::fcntl_dupfd_cloexec(fd, 3))
}

/// Opens `/dev/null` for reading and writing.
pub fn null() -> Result<OwnedFd> {
    named(
        "open(/dev/null)",
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY, rustix::fs::Mode::empty()),
    )
}

/// Makes a pipe (read end, write end) that holds `capacity` bytes, or as much as the kernel grants.
///
/// Beyond `/proc/sys/fs/pipe-max-size`, or the user's share of pipe memory, the pipe keeps its default size.
pub fn pipe(capacity: Option<usize>) -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = named("pipe2", rustix::pipe::pipe_with(PipeFlags::CLOEXEC))?;
    if let Some(capacity) = capacity {
        let _kept_at_default = rustix::pipe::fcntl_setpipe_size(&write, capacity);
    }
    Ok((read, write))
}

/// Makes a pipe as [`pipe`] does, whose ends are (ours, the worker's); we read, or write if `to_write`.
///
/// The worker's end is open for both directions, so that it is its own other end where all of ours are gone: it meets
/// no EPIPE and no end of file, but waits until somebody opens the pipe again. For us an end of file comes as ever: with the
/// last of the worker's descriptors its last writer is gone.
pub fn pipe_outlived(capacity: Option<usize>, to_write: bool) -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe(capacity)?;
    let path = format!("/proc/self/fd/{}", read.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let both = named("open(/proc/self/fd)", rustix::fs::open(path, flags, rustix::fs::Mode::empty()))?;
    Ok((if to_write { write } else { read }, both))
}

/// Makes a pair of connected stream sockets.
pub fn socketpair_stream() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(SocketType::STREAM)
}

/// Makes a pair of connected sockets that keep message boundaries.
pub fn socketpair_seqpacket() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(SocketType::SEQPACKET)
}

fn socketpair(kind: SocketType) -> Result<(OwnedFd, OwnedFd)> {
    named("socketpair", rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None))
}

/// Sends bytes with descriptors attached to the first of them. Never raises SIGPIPE.
///
/// On a stream socket fewer bytes than given may be taken; the descriptors went with them then.
pub fn send_with_fds(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize> {
    let mut space = [MaybeUninit::<u8>::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_MESSAGE_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(SysError::new("sendmsg", libc::EINVAL));
    }
    named(
        "sendmsg",
        rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
        }),
    )
}

/// Receives bytes and at most `fds_max` descriptors, which are close-on-exec. Zero bytes mean that the peer has left.
///
/// A message that does not fit is an error (EMSGSIZE), never a shortened message: descriptors that did not fit, or the
/// tail of a packet, would otherwise be lost without a trace.
pub fn recv_with_fds(socket: impl AsFd, bytes: &mut [u8], fds_max: usize) -> Result<(usize, Vec<OwnedFd>)> {
    let received = recv_packet(socket, bytes, fds_max)?;
    if received.bytes_lost || received.fds_lost {
        return Err(SysError::new("recvmsg", libc::EMSGSIZE));
    }
    Ok((received.length, received.fds))
}

/// What [`recv_packet`] took from a socket.
#[derive(Debug)]
pub struct Received {
    /// How many bytes are in the buffer; zero when the peer has left.
    pub length: usize,
    /// The descriptors that came with them.
    pub fds: Vec<OwnedFd>,
    /// The packet was longer than the buffer.
    pub bytes_lost: bool,
    /// Descriptors were lost: more than expected, or this process may not open as many.
    pub fds_lost: bool,
}

/// Like [`recv_with_fds`], but hands out what is left of a message that did not fit, so that it can be answered.
pub fn recv_packet(socket: impl AsFd, bytes: &mut [u8], fds_max: usize) -> Result<Received> {
    const SPACE: usize = rustix::cmsg_space!(ScmRights(FDS_PER_MESSAGE_MAX));
    let mut space = [MaybeUninit::<u8>::uninit(); SPACE];
    let wanted = rustix::cmsg_space!(ScmRights(fds_max.min(FDS_PER_MESSAGE_MAX)));
    let space = if fds_max == 0 { &mut space[..0] } else { &mut space[..wanted] };
    let mut control = RecvAncillaryBuffer::new(space);
    let received = named(
        "recvmsg",
        rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
        }),
    )?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let fds_lost = fds.len() > fds_max || received.flags.contains(ReturnFlags::CTRUNC);
    fds.truncate(fds_max);
    let bytes_lost = received.flags.contains(ReturnFlags::TRUNC);
    Ok(Received { length: received.bytes, fds, bytes_lost, fds_lost })
}

/// Looks at what is waiting in a socket without taking it.
pub fn peek(socket: impl AsFd, bytes: &mut [u8]) -> Result<usize> {
    let (length, _) = named(
        "recv(MSG_PEEK)",
        rustix::io::retry_on_intr(|| rustix::net::recv(&socket, &mut *bytes, RecvFlags::PEEK)),
    )?;
    Ok(length)
}

/// Takes `count` waiting bytes out of a stream socket and drops them; descriptors that came with them are closed.
///
/// Returns how many were taken, which is less than `count` when less was waiting.
pub fn consume(socket: impl AsFd, count: usize) -> Result<usize> {
    let mut scratch = [0u8; 4096];
    let mut taken = 0;
    while taken < count {
        let want = (count - taken).min(scratch.len());
        let result =
            rustix::io::retry_on_intr(|| rustix::net::recv(&socket, &mut scratch[..want], RecvFlags::DONTWAIT));
        match result {
            Ok((0, _)) => break,
            Ok((length, _)) => taken += length,
            Err(rustix::io::Errno::AGAIN) => break,
            Err(errno) => return Err(SysError::new("recv", errno.raw_os_error())),
        }
    }
    Ok(taken)
}

/// Makes a file that lives in memory only; `name` shows in `/proc/PID/fd`.
pub fn memory_file(name: &str) -> Result<OwnedFd> {
    named("memfd_create", rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING))
}

/// Makes a memory file with this content that nobody can change any more.
pub fn sealed_memory_file(name: &str, content: &[u8]) -> Result<OwnedFd> {
    let file = memory_file(name)?;
    let mut rest = content;
    while !rest.is_empty() {
        let written = named("write", rustix::io::retry_on_intr(|| rustix::io::write(&file, rest)))?;
        rest = &rest[written..];
    }
    named("fcntl(F_ADD_SEALS)", rustix::fs::fcntl_add_seals(&file, ALL_SEALS))?;
    Ok(file)
}

/// Makes a memory file with what is left to read of a file, that nobody can change any more.
pub fn sealed_copy(name: &str, from: &mut File) -> Result<OwnedFd> {
    let mut file = File::from(memory_file(name)?);
    // By the kernel, without a buffer of ours.
    std::io::copy(from, &mut file)
        .map_err(|error| SysError::new("sendfile", error.raw_os_error().unwrap_or(libc::EIO)))?;
    named("fcntl(F_ADD_SEALS)", rustix::fs::fcntl_add_seals(&file, ALL_SEALS))?;
    Ok(file.into())
}

/// Reads a sealed memory file from its beginning.
///
/// Refuses (EPERM) a file that could still change while it is read, and (EMSGSIZE) one longer than `length_max`.
pub fn read_sealed(file: impl AsFd, length_max: usize) -> Result<Vec<u8>> {
    let seals = named("fcntl(F_GET_SEALS)", rustix::fs::fcntl_get_seals(&file))?;
    if !seals.contains(ALL_SEALS) {
        return Err(SysError::new("fcntl(F_GET_SEALS)", libc::EPERM));
    }
    let length = named("fstat", rustix::fs::fstat(&file))?.st_size;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > length_max {
        return Err(SysError::new("fstat", libc::EMSGSIZE));
    }
    let mut content = vec![0; length];
    let mut filled = 0;
    while filled < length {
        let read = named("pread", rustix::io::pread(&file, &mut content[filled..], filled as u64))?;
        if read == 0 {
            content.truncate(filled);
            break;
        }
        filled += read;
    }
    Ok(content)
}

const ALL_SEALS: SealFlags = SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// A lock on a file, held as long as this value (and every duplicate of its descriptor) lives.
#[derive(Debug)]
pub struct Lock(OwnedFd);

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Lock {
    /// Takes over a lock that was passed on as a descriptor.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// Locks a file for oneself, creating it (0600); `None` when someone else has it.
pub fn flock_exclusive(path: &Path) -> Result<Option<Lock>> {
    let file = open_lock(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(SysError::new("flock", errno.raw_os_error())),
    }
}

/// Locks a file for oneself, waiting as long as it takes.
pub fn flock_exclusive_wait(path: &Path) -> Result<Lock> {
    let file = open_lock(path)?;
    named("flock", rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive)))?;
    Ok(Lock(file))
}

fn open_lock(path: &Path) -> Result<OwnedFd> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY)
        .open(path)
        .map(OwnedFd::from)
        .map_err(|error| SysError::from_io("open", &error))
}

/// Returns the user at the other end of a unix socket, as it was when the two connected.
pub fn peer_uid(socket: impl AsFd) -> Result<u32> {
    Ok(named("getsockopt(SO_PEERCRED)", rustix::net::sockopt::socket_peercred(socket))?.uid.as_raw())
}

/// Returns the pid of the process at the other end of a connected unix socket, as it was when it connected.
pub fn peer_pid(socket: impl AsFd) -> Result<i32> {
    Ok(named("getsockopt(SO_PEERCRED)", rustix::net::sockopt::socket_peercred(socket))?.pid.as_raw_nonzero().get())
}

/// Takes over a descriptor that this process was started with, and makes it close-on-exec.
///
/// Each number is given out once in the life of the process, so that two owners of one descriptor cannot come about;
/// asking again, or for a number that is not open, is EBADF. Call it before anything else opens descriptors.
pub fn take_inherited(number: RawFd) -> Result<OwnedFd> {
    static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());
    // SAFETY: F_GETFD only reads a flag, and any number may be asked about.
    check("fcntl(F_GETFD)", unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    if !TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(number) {
        return Err(SysError::new("fcntl(F_GETFD)", libc::EBADF));
    }
    // SAFETY: the number is open, and the set above gives it out only once.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    set_cloexec(&fd, true)?;
    Ok(fd)
}

/// Marks every descriptor from `first` on as close-on-exec: nothing slips into a program that is executed in place.
///
/// Marking, not closing: descriptors have owners in this process, who would close a stranger's number later.
pub fn cloexec_from(first: RawFd) -> Result<()> {
    let first = libc::c_uint::try_from(first).map_err(|_| SysError::new("close_range", libc::EBADF))?;
    // SAFETY: close_range with CLOSE_RANGE_CLOEXEC changes a flag of open descriptors and closes none.
    let marked = check_long("close_range", unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    });
    match marked {
        Ok(_) => Ok(()),
        Err(_) => mark_from_slowly(first as RawFd),
    }
}

/// What [`cloexec_from`] does where the kernel (before 5.11) lacks the flag.
fn mark_from_slowly(first: RawFd) -> Result<()> {
    let listing =
        std::fs::read_dir("/proc/self/fd").map_err(|error| SysError::from_io("open(/proc/self/fd)", &error))?;
    for entry in listing.flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        if number >= first {
            // SAFETY: F_SETFD changes one flag; a number closed meanwhile gives EBADF, which is as good.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Returns the number of a descriptor, for messages and for environment variables.
pub fn number(fd: impl AsFd) -> RawFd {
    fd.as_fd().as_raw_fd()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn descriptors_travel_with_their_packet() {
        let (left, right) = socketpair_seqpacket().unwrap();
        let (read, write) = pipe(Some(1 << 20)).unwrap();
        assert_eq!(send_with_fds(&left, b"two ends", &[read.as_fd(), write.as_fd()]).unwrap(), 8);
        drop((read, write));
        let mut buffer = [0; 64];
        let (length, fds) = recv_with_fds(&right, &mut buffer, 2).unwrap();
        assert_eq!(&buffer[..length], b"two ends");
        let [read, write] = <[OwnedFd; 2]>::try_from(fds).unwrap();
        assert!(rustix::io::fcntl_getfd(&read).unwrap().contains(FdFlags::CLOEXEC));
        std::fs::File::from(write).write_all(b"through").unwrap();
        let mut text = String::new();
        std::fs::File::from(read).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn the_workers_end_of_a_pipe_outlives_ours_and_its_own_end_is_told() {
        let (ours, its) = pipe_outlived(None, false).unwrap();
        let reopen = || File::options().read(true).open(format!("/proc/self/fd/{}", number(&its))).unwrap();
        drop(ours);
        let mut worker = File::from(its.try_clone().unwrap());
        worker.write_all(b"nobody is there").unwrap();
        let mut next = reopen();
        drop((its, worker));
        let mut text = String::new();
        next.read_to_string(&mut text).unwrap();
        assert_eq!(text, "nobody is there");

        let (ours, its) = pipe_outlived(None, true).unwrap();
        drop(ours);
        set_nonblocking(&its, true).unwrap();
        let nothing = File::from(its.try_clone().unwrap()).read(&mut [0; 8]).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
        let (mut ours, its) = pipe_outlived(None, true).map(|(ours, its)| (File::from(ours), its)).unwrap();
        drop(its);
        assert_eq!(ours.write_all(b"x").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_message_that_does_not_fit_is_an_error_and_leaks_nothing() {
        let (left, right) = socketpair_seqpacket().unwrap();
        let null = null().unwrap();
        send_with_fds(&left, b"x", &[null.as_fd(); 8]).unwrap();
        assert_eq!(recv_with_fds(&right, &mut [0; 8], 2).unwrap_err().errno, libc::EMSGSIZE);
        send_with_fds(&left, b"too long", &[]).unwrap();
        assert_eq!(recv_with_fds(&right, &mut [0; 4], 2).unwrap_err().errno, libc::EMSGSIZE);
        send_with_fds(&left, b"x", &[null.as_fd(); FDS_PER_MESSAGE_MAX]).unwrap();
        assert_eq!(recv_with_fds(&right, &mut [0; 4], FDS_PER_MESSAGE_MAX).unwrap().1.len(), FDS_PER_MESSAGE_MAX);
        assert!(send_with_fds(&left, b"x", &[null.as_fd(); FDS_PER_MESSAGE_MAX + 1]).is_err());
    }

    #[test]
    fn a_line_can_be_seen_before_it_is_taken() {
        let (left, right) = socketpair_stream().unwrap();
        send_with_fds(&left, b"one\ntwo\n", &[]).unwrap();
        let mut buffer = [0; 64];
        assert_eq!(peek(&right, &mut buffer).unwrap(), 8);
        assert_eq!(consume(&right, 4).unwrap(), 4);
        assert_eq!(recv_with_fds(&right, &mut buffer, 0).unwrap().0, 4);
        assert_eq!(&buffer[..4], b"two\n");
        assert_eq!(consume(&right, 4).unwrap(), 0);
    }

    #[test]
    fn a_sealed_file_is_read_and_an_open_one_refused() {
        let sealed = sealed_memory_file("test", b"payload").unwrap();
        assert_eq!(read_sealed(&sealed, 100).unwrap(), b"payload");
        assert_eq!(read_sealed(&sealed, 3).unwrap_err().errno, libc::EMSGSIZE);
        assert!(rustix::io::write(&sealed, b"x").is_err());
        assert_eq!(read_sealed(memory_file("test").unwrap(), 100).unwrap_err().errno, libc::EPERM);
    }

    #[test]
    fn a_lock_is_held_once_and_never_through_a_symlink() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lock");
        let lock = flock_exclusive(&path).unwrap().expect("nobody has it");
        assert!(flock_exclusive(&path).unwrap().is_none());
        drop(lock);
        assert!(flock_exclusive(&path).unwrap().is_some());
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(flock_exclusive(&link).unwrap_err().errno, libc::ELOOP);
    }

    #[test]
    fn the_peer_of_a_pair_is_oneself() {
        let (left, _right) = socketpair_stream().unwrap();
        assert_eq!(peer_uid(&left).unwrap(), rustix::process::geteuid().as_raw());
    }

    #[test]
    fn flags_are_set_and_cleared() {
        let (read, _write) = pipe(None).unwrap();
        set_nonblocking(&read, true).unwrap();
        assert_eq!(rustix::io::read(&read, &mut [0u8; 1]).unwrap_err(), rustix::io::Errno::AGAIN);
        set_cloexec(&read, false).unwrap();
        assert!(!rustix::io::fcntl_getfd(&read).unwrap().contains(FdFlags::CLOEXEC));
        for mark in [mark_from_slowly, cloexec_from] {
            set_cloexec(&read, false).unwrap();
            mark(read.as_raw_fd()).unwrap();
            assert!(rustix::io::fcntl_getfd(&read).unwrap().contains(FdFlags::CLOEXEC));
        }
        assert_eq!(take_inherited(-1).unwrap_err().errno, libc::EBADF);
        assert_eq!(take_inherited(1_000_000).unwrap_err().errno, libc::EBADF);
    }
}
