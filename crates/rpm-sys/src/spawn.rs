//! Starting a program.
//!
//! The child borrows our memory until it executes (clone with CLONE_VM and CLONE_VFORK), so a spawn costs the same
//! however large we are, and a failure comes back as a value: the child writes it where we can read it. Everything that
//! allocates or looks something up is done before; between clone and execve there are system calls only.
//!
//! ```text
//!   parent: find program, lay out strings ─ block signals ─ clone ┄┄┄┄┄┄┄ waits ┄┄┄┄┄┄┄ read failure, unblock
//!   child:                                                   └ signals, session, limits, chdir, fds, user, execve
//! ```

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use crate::credentials::Credentials;
use crate::error::{Result, SysError};
use crate::limit::Limits;
use crate::pidfd::Pidfd;
use crate::{fail, fd};

/// A program to start, and the world it is to find.
///
/// The child has default signal handling, nothing blocked, and only the descriptors named here.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// The program; without a slash it is looked for on the `PATH` of `env`.
    pub program: &'a OsStr,
    /// What the program sees as its own name; `program` if none.
    pub argv0: Option<&'a OsStr>,
    /// The arguments after that.
    pub args: Vec<&'a OsStr>,
    /// The whole environment, as `NAME=value`.
    pub env: Vec<&'a OsStr>,
    /// The working directory; ours if none.
    pub cwd: Option<&'a Path>,
    /// Descriptors and the number each has in the child. Without 0, 1 or 2 there is `/dev/null` in that place.
    pub fds: Vec<(BorrowedFd<'a>, RawFd)>,
    /// Who to run as. A program run as another user cannot gain privileges again (no_new_privs).
    pub user: Option<Credentials>,
    /// Whether to add `LISTEN_PID`, the child's own pid, to the environment.
    pub listen_pid: bool,
    /// Whether the child leads a session of its own.
    pub new_session: bool,
    /// The file mode mask; ours if none.
    pub umask: Option<u32>,
    /// The soft limit of open files, at most the hard one; ours if none.
    pub nofile: Option<u64>,
    /// By what its descendants are known, whatever they do; see [`limit`](crate::limit).
    pub mark: Option<u64>,
    /// The `cgroup.procs` of a control group, open for writing: the child is in it before it executes anything, so nothing
    /// that it starts is outside.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A program that runs: the child executes it.
#[derive(Debug)]
pub struct Spawned {
    /// The child.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: Pidfd,
}

/// A program that could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {}", std::io::Error::from_raw_os_error(*errno))]
pub struct SpawnError {
    /// What failed, as a system call or a deed.
    pub step: &'static str,
    /// Why.
    pub errno: i32,
}

impl SpawnError {
    fn new(step: &'static str, errno: i32) -> Self {
        Self { step, errno }
    }
}

impl From<SysError> for SpawnError {
    fn from(error: SysError) -> Self {
        Self { step: error.call, errno: error.errno }
    }
}

impl<'a> Spawn<'a> {
    /// Describes a program without arguments, environment or descriptors, in our own directory and session.
    pub fn new(program: &'a OsStr) -> Self {
        Self {
            program,
            argv0: None,
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            fds: Vec::new(),
            user: None,
            listen_pid: false,
            new_session: false,
            umask: None,
            nofile: None,
            mark: None,
            cgroup: None,
        }
    }

    /// Starts the program. When this returns the child executes it, or there is no child.
    pub fn start(&self) -> std::result::Result<Spawned, SpawnError> {
        let program = self.find_program()?;
        let mut strings = Strings::with_capacity(self.args.len() + self.env.len() + 8);
        let program_at = strings.add(program.as_os_str().as_bytes())?;
        let cwd_at = self.cwd.map(|cwd| strings.add(cwd.as_os_str().as_bytes())).transpose()?;
        let argv =
            strings.add_all(std::iter::once(self.argv0.unwrap_or(self.program)).chain(self.args.iter().copied()))?;
        let env = self.env.iter().copied();
        let mut env = strings.add_all(env.filter(|v| !self.listen_pid || !v.as_bytes().starts_with(LISTEN_PID)))?;
        let listen_pid_at = if self.listen_pid {
            let at = strings.add(LISTEN_PID_SLOT)?;
            env.push(at);
            Some(at + LISTEN_PID.len())
        } else {
            None
        };

        // The shell's way to run a file that is no program: `sh file arguments`.
        let shell_argv: Vec<*const libc::c_char> = [SHELL.as_ptr(), strings.pointer(program_at)]
            .into_iter()
            .chain(argv.iter().skip(1).map(|at| strings.pointer(*at)))
            .chain([null()])
            .collect();
        let argv = strings.pointers(&argv);
        let env = strings.pointers(&env);

        let null_fd = if (0..3).all(|n| self.fds.iter().any(|(_, t)| *t == n)) { None } else { Some(fd::null()?) };
        let mut moves: Vec<Move> = Vec::with_capacity(self.fds.len() + 3);
        moves.extend(self.fds.iter().map(|(fd, target)| Move { source: fd.as_raw_fd(), target: *target }));
        if let Some(null_fd) = &null_fd {
            for target in 0..3 {
                if self.fds.iter().all(|(_, given)| *given != target) {
                    moves.push(Move { source: null_fd.as_raw_fd(), target });
                }
            }
        }
        moves.sort_by_key(|m| m.target);
        if moves.iter().any(|m| m.target < 0) || moves.windows(2).any(|pair| pair[0].target == pair[1].target) {
            return Err(SpawnError::new("dup2", libc::EBADF));
        }
        let first_free = moves.last().map_or(3, |m| m.target + 1);
        let gaps: Vec<Gap> = gaps_between(&moves);

        let mut plan = Plan {
            program: strings.pointer(program_at),
            argv: argv.as_ptr(),
            shell_argv: shell_argv.as_ptr(),
            env: env.as_ptr(),
            cwd: cwd_at.map_or(null(), |at| strings.pointer(at)),
            listen_pid: listen_pid_at.map_or(null_mut(), |at| strings.pointer_mut(at)),
            moves: moves.as_mut_ptr(),
            moves_count: moves.len(),
            first_free,
            gaps: gaps.as_ptr(),
            gaps_count: gaps.len(),
            user: self.user.as_ref().filter(|user| !user.are_ours()).map_or(null(), |user| user),
            new_session: self.new_session,
            umask: self.umask,
            limits: Limits::new(self.nofile, self.mark),
            cgroup: self.cgroup.map(|fd| fd.as_raw_fd()),
            ends_parent: false,
            failed_step: null(),
            failed_errno: 0,
        };
        fail::pass("spawn", "prepared");
        plan.ends_parent = fail::is_to_die("spawn", "executing");
        let (pid, pidfd) = clone_and_run(&mut plan)?;
        fail::pass("spawn", "executed");
        if plan.failed_step.is_null() {
            return Ok(Spawned { pid, pidfd: Pidfd::from_fd(pidfd) });
        }
        // SAFETY: waiting for our own child, which has called _exit; we ask for no status.
        unsafe { libc::waitpid(pid, null_mut(), 0) };
        // SAFETY: a failed step points to one of the literals in `become_program`.
        let step = unsafe { CStr::from_ptr(plan.failed_step) }.to_str().unwrap_or("spawn");
        Err(SpawnError::new(step, plan.failed_errno))
    }

    /// Does what execvp does with the `PATH` the child is to have, before there is a child.
    fn find_program(&self) -> std::result::Result<PathBuf, SpawnError> {
        let name = self.program.as_bytes();
        if name.is_empty() {
            return Err(SpawnError::new("find program", libc::ENOENT));
        }
        if name.contains(&b'/') {
            return Ok(PathBuf::from(self.program));
        }
        let path = self.env.iter().find_map(|variable| variable.as_bytes().strip_prefix(b"PATH="));
        let mut errno = libc::ENOENT;
        for directory in path.unwrap_or(DEFAULT_PATH).split(|byte| *byte == b':') {
            let mut candidate = self.cwd.map(PathBuf::from).unwrap_or_default();
            // An absolute entry replaces what was there; an empty one means the working directory.
            candidate.push(OsStr::from_bytes(directory));
            if candidate.as_os_str().is_empty() {
                candidate.push(".");
            }
            candidate.push(self.program);
            match rustix::fs::access(&candidate, rustix::fs::Access::EXEC_OK) {
                Ok(()) if candidate.is_file() => return Ok(candidate),
                Ok(()) | Err(rustix::io::Errno::ACCESS) if candidate.is_file() => errno = libc::EACCES,
                Ok(()) | Err(_) => {}
            }
        }
        Err(SpawnError::new("find program", errno))
    }
}

/// Becomes another program in place, with our signal mask and all descriptors that are not close-on-exec; returns only
/// when that fails.
pub fn execute(program: &Path, argv: &[&OsStr], env: &[&OsStr]) -> SpawnError {
    let lay_out = || -> std::result::Result<_, SpawnError> {
        let mut strings = Strings::with_capacity(argv.len() + env.len() + 1);
        let program = strings.add(program.as_os_str().as_bytes())?;
        let argv = strings.add_all(argv.iter().copied())?;
        let env = strings.add_all(env.iter().copied())?;
        Ok((strings, program, argv, env))
    };
    let (strings, program, argv, env) = match lay_out() {
        Ok(laid_out) => laid_out,
        Err(error) => return error,
    };
    let (argv, env) = (strings.pointers(&argv), strings.pointers(&env));
    // SAFETY: program, argv and env are null-terminated and valid for the time of the call.
    unsafe { libc::execve(strings.pointer(program), argv.as_ptr(), env.as_ptr()) };
    SysError::last("execve").into()
}

/// Lets the kernel kill a command when the thread that starts it is gone.
pub fn die_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let own = std::process::id();
    let before_exec = move || {
        // SAFETY: a system call on numbers.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } == -1 {
            return Err(std::io::Error::last_os_error());
        }
        // It may have gone before we asked.
        if std::os::unix::process::parent_id() != own {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        Ok(())
    };
    // SAFETY: two system calls, and an error that allocates nothing.
    unsafe { command.pre_exec(before_exec) };
}

const LISTEN_PID: &[u8] = b"LISTEN_PID=";
/// Room for the ten digits of the largest pid.
const LISTEN_PID_SLOT: &[u8] = b"LISTEN_PID=0000000000";
/// Where to look when the environment says nothing (glibc's choice, with the place of local programs).
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";
const SHELL: &CStr = c"/bin/sh";
/// The child's stack; the deepest path through `become_program` uses less than one page.
const STACK_SIZE: usize = 64 * 1024;

/// Many C strings in one allocation; they are known by offset until all are there.
struct Strings(Vec<u8>);

impl Strings {
    fn with_capacity(strings: usize) -> Self {
        Self(Vec::with_capacity(strings * 48))
    }

    fn add(&mut self, text: &[u8]) -> std::result::Result<usize, SpawnError> {
        if text.contains(&0) {
            return Err(SpawnError::new("string with a zero byte", libc::EINVAL));
        }
        let at = self.0.len();
        self.0.extend_from_slice(text);
        self.0.push(0);
        Ok(at)
    }

    fn add_all<'s>(&mut self, texts: impl Iterator<Item = &'s OsStr>) -> std::result::Result<Vec<usize>, SpawnError> {
        texts.map(|text| self.add(text.as_bytes())).collect()
    }

    fn pointer(&self, at: usize) -> *const libc::c_char {
        self.0[at..].as_ptr().cast()
    }

    fn pointer_mut(&mut self, at: usize) -> *mut libc::c_char {
        self.0[at..].as_mut_ptr().cast()
    }

    fn pointers(&self, all: &[usize]) -> Vec<*const libc::c_char> {
        all.iter().map(|at| self.pointer(*at)).chain([null()]).collect()
    }
}

#[derive(Debug, Clone, Copy)]
struct Move {
    source: RawFd,
    target: RawFd,
}

/// Numbers to close, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    first: libc::c_uint,
    last: libc::c_uint,
}

fn gaps_between(sorted: &[Move]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut next = 0;
    for m in sorted {
        let target = m.target.unsigned_abs();
        if target > next {
            gaps.push(Gap { first: next, last: target - 1 });
        }
        next = target + 1;
    }
    gaps.push(Gap { first: next, last: libc::c_uint::MAX });
    gaps
}

/// Everything the child needs, laid out beforehand; all pointers outlive the clone call.
struct Plan {
    program: *const libc::c_char,
    argv: *const *const libc::c_char,
    shell_argv: *const *const libc::c_char,
    env: *const *const libc::c_char,
    cwd: *const libc::c_char,
    listen_pid: *mut libc::c_char,
    moves: *mut Move,
    moves_count: usize,
    first_free: RawFd,
    gaps: *const Gap,
    gaps_count: usize,
    user: *const Credentials,
    new_session: bool,
    umask: Option<u32>,
    limits: Limits,
    cgroup: Option<RawFd>,
    /// Whether the parent is to die while the child is about to execute: see [`fail`].
    ends_parent: bool,
    /// Where the child says what failed: a C string literal.
    failed_step: *const libc::c_char,
    failed_errno: i32,
}

/// A mapping for the child to run on; unmapped when dropped.
struct Stack(*mut libc::c_void);

impl Stack {
    fn new() -> Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe { libc::mmap(null_mut(), STACK_SIZE, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED { Err(SysError::last("mmap")) } else { Ok(Self(base)) }
    }

    fn top(&self) -> *mut libc::c_void {
        // Stacks grow down; the end of a mapping is aligned to a page, which is more than the ABI wants.
        self.0.wrapping_byte_add(STACK_SIZE)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: this mapping was made by `new`, and the child that used it has executed or exited.
        unsafe { libc::munmap(self.0, STACK_SIZE) };
    }
}

fn clone_and_run(plan: &mut Plan) -> std::result::Result<(i32, OwnedFd), SpawnError> {
    let stack = Stack::new()?;
    let mut pidfd: RawFd = -1;
    // Our handlers must not run in the child, where they would write to our memory.
    let blocked = Blocked::all();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let plan: *mut Plan = plan;
    // SAFETY: the child runs `child` on a stack of its own while this thread waits (CLONE_VFORK), so the plan, which the
    // child may write to, is used by one side at a time; with CLONE_PIDFD the fifth argument receives the descriptor.
    let pid = unsafe { libc::clone(child, stack.top(), flags, plan.cast(), &raw mut pidfd) };
    let error = SysError::last("clone");
    drop(blocked);
    if pid == -1 {
        return Err(error.into());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// All signals blocked in this thread, until dropped.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn all() -> Self {
        // SAFETY: sigset_t is plain data; all zeroes is a valid value that is overwritten below.
        let mut every: libc::sigset_t = unsafe { std::mem::zeroed() };
        let mut before = every;
        // SAFETY: fills the set it is given.
        unsafe { libc::sigfillset(&mut every) };
        // SAFETY: both sets are valid for the time of the call.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &every, &mut before) };
        Self(before)
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: restores the set that `all` was given by the kernel.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, null_mut()) };
    }
}

extern "C" fn child(plan: *mut libc::c_void) -> libc::c_int {
    let plan: *mut Plan = plan.cast();
    // SAFETY: the parent lends its plan and waits until we execute or exit.
    let plan = unsafe { &mut *plan };
    let (step, errno) = become_program(plan);
    plan.failed_step = step.as_ptr();
    plan.failed_errno = errno;
    // SAFETY: ends the child without running the parent's exit handlers.
    unsafe { libc::_exit(127) }
}

/// Becomes the program; returns only when that fails.
///
/// Runs between clone and execve in memory shared with the parent: system calls only, no allocation, no locks, nothing
/// that can panic.
fn become_program(plan: &mut Plan) -> (&'static CStr, i32) {
    macro_rules! step {
        ($name:literal, $call:expr) => {
            // SAFETY: a system call on values and on memory that the plan keeps valid; nothing of ours is freed by it.
            if unsafe { $call } == -1 {
                return ($name, errno());
            }
        };
    }
    // By the raw call: the C library refuses the two signals it uses itself, which may be inherited ignored all the same.
    // All zeroes, in the kernel's layout, are SIG_DFL, no flags and an empty mask of eight bytes.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: sets the child's own table (there is no CLONE_SIGHAND); numbers that may not be changed give EINVAL.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), null::<u64>(), 8usize) };
    }
    // First: the number is the parent's, and what is set up below may take it.
    if let Some(procs) = plan.cgroup {
        // "0" is who writes it.
        step!(c"enter the control group", libc::write(procs, c"0".as_ptr().cast(), 1) as libc::c_int);
    }
    if plan.new_session {
        step!(c"setsid", libc::setsid());
    }
    if let Some(mask) = plan.umask {
        // SAFETY: umask cannot fail.
        unsafe { libc::umask(mask as libc::mode_t) };
    }
    if !plan.cwd.is_null() {
        step!(c"chdir", libc::chdir(plan.cwd));
    }

    // First out of the way of every target, then into place: so no move overwrites the source of a later one.
    for n in 0..plan.moves_count {
        // SAFETY: n is below the length of the array behind the pointer.
        let this = unsafe { &mut *plan.moves.add(n) };
        // SAFETY: makes a descriptor in the child's own table.
        this.source = unsafe { libc::fcntl(this.source, libc::F_DUPFD_CLOEXEC, plan.first_free) };
        if this.source == -1 {
            return (c"fcntl(F_DUPFD)", errno());
        }
    }
    for n in 0..plan.moves_count {
        // SAFETY: as above.
        let this = unsafe { &*plan.moves.add(n) };
        step!(c"dup2", libc::dup2(this.source, this.target));
    }
    for n in 0..plan.gaps_count {
        // SAFETY: n is below the length of the array behind the pointer.
        let gap = unsafe { *plan.gaps.add(n) };
        close_gap(gap);
    }
    // After the moves: a soft limit below the numbers in use would forbid them.
    if !plan.limits.set() {
        return (c"setrlimit", errno());
    }

    if !plan.user.is_null() {
        // SAFETY: the credentials belong to the Spawn that the parent is busy with.
        let user = unsafe { &*plan.user };
        // Raw calls: the wrappers of the C library would make every thread of the parent follow.
        step!(c"setgroups", libc::syscall(libc::SYS_setgroups, user.groups.len(), user.groups.as_ptr()));
        step!(c"setresgid", libc::syscall(libc::SYS_setresgid, user.gid, user.gid, user.gid));
        step!(c"setresuid", libc::syscall(libc::SYS_setresuid, user.uid, user.uid, user.uid));
        step!(c"prctl(PR_SET_NO_NEW_PRIVS)", libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    }
    if !plan.listen_pid.is_null() {
        write_own_pid(plan.listen_pid);
    }

    // SAFETY: sigset_t is plain data; all zeroes is the empty set.
    let nothing: libc::sigset_t = unsafe { std::mem::zeroed() };
    step!(c"sigprocmask", libc::sigprocmask(libc::SIG_SETMASK, &nothing, null_mut()));
    if plan.ends_parent {
        // SAFETY: a signal, by number, to the parent, which waits for this child and so cannot have ended.
        step!(c"kill", libc::kill(libc::getppid(), libc::SIGKILL));
    }
    // SAFETY: program, argv and env are null-terminated and valid; on success nothing of ours is left.
    unsafe { libc::execve(plan.program, plan.argv, plan.env) };
    let failure = errno();
    if failure == libc::ENOEXEC {
        // SAFETY: as above.
        unsafe { libc::execve(SHELL.as_ptr(), plan.shell_argv, plan.env) };
    }
    (c"execve", failure)
}

fn close_gap(gap: Gap) {
    // SAFETY: closes descriptors of the child's own table only (there is no CLONE_FILES).
    if unsafe { libc::syscall(libc::SYS_close_range, gap.first, gap.last, 0) } == 0 {
        return;
    }
    close_gap_slowly(gap);
}

/// Closes one by one where the kernel (before 5.9) lacks close_range.
///
/// Ours are close-on-exec anyway; this is for strangers, who sit among the low numbers.
fn close_gap_slowly(gap: Gap) {
    const STRANGERS_END: libc::c_uint = 4096;
    let mut number = gap.first;
    while number <= gap.last && number < STRANGERS_END {
        // SAFETY: as above; numbers that are not open give EBADF.
        unsafe { libc::close(number as RawFd) };
        number += 1;
    }
}

/// Writes the caller's pid in decimal, and a zero byte after it.
fn write_own_pid(slot: *mut libc::c_char) {
    // SAFETY: getpid cannot fail.
    let pid = unsafe { libc::getpid() };
    let mut divisor = 1_000_000_000;
    let mut at = 0;
    while divisor > 0 {
        let digit = (pid / divisor) % 10;
        if digit != 0 || at > 0 {
            // SAFETY: at most ten digits are written, for which the slot has room.
            unsafe { *slot.add(at) = (b'0' as libc::c_char) + digit as libc::c_char };
            at += 1;
        }
        divisor /= 10;
    }
    // SAFETY: the slot has an eleventh byte, its terminator.
    unsafe { *slot.add(at) = 0 };
}

fn errno() -> i32 {
    // SAFETY: the location of errno is valid for the thread that runs; the child shares the waiting parent's.
    unsafe { *libc::__errno_location() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_leave_the_targets_alone() {
        let moves = [0, 1, 2, 5].map(|target| Move { source: 9, target });
        let end = libc::c_uint::MAX;
        assert_eq!(gaps_between(&moves), [Gap { first: 3, last: 4 }, Gap { first: 6, last: end }]);
        assert_eq!(gaps_between(&moves[..3]), [Gap { first: 3, last: end }]);
    }

    #[test]
    fn a_gap_is_closed_without_close_range() {
        use std::os::fd::IntoRawFd;
        // A number that no other test comes near.
        let number = rustix::io::fcntl_dupfd_cloexec(fd::null().unwrap(), 900).unwrap().into_raw_fd();
        let end = libc::c_uint::MAX;
        close_gap_slowly(Gap { first: number as libc::c_uint, last: end });
        // SAFETY: F_GETFD only reads a flag, and any number may be asked about.
        assert_eq!(unsafe { libc::fcntl(number, libc::F_GETFD) }, -1);
    }

    #[test]
    fn a_pid_is_written_in_decimal() {
        let mut slot = [1 as libc::c_char; 11];
        write_own_pid(slot.as_mut_ptr());
        let text: Vec<u8> = slot.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
        assert_eq!(String::from_utf8(text).unwrap(), std::process::id().to_string());
    }
}
