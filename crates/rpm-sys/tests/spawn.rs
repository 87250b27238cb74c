//! What a spawned program finds, and what is said when it cannot be started.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rpm_sys::credentials::Credentials;
use rpm_sys::fd;
use rpm_sys::reap::{Status, wait_any};
use rpm_sys::spawn::{Spawn, Spawned};

/// The children of this process are reaped by one test at a time.
static PARENT: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn shell<'a>(script: &'a str) -> Spawn<'a> {
    let mut spawn = Spawn::new(OsStr::new("sh"));
    spawn.args = vec![OsStr::new("-c"), OsStr::new(script)];
    spawn
}

/// Starts it with its standard output in a pipe, and returns all it said when it has exited.
fn output(spawn: Spawn<'_>) -> (String, Status) {
    let (read, write) = fd::pipe(None).unwrap();
    let spawned = {
        let mut spawn = spawn;
        spawn.fds.push((write.as_fd(), 1));
        spawn.start().unwrap()
    };
    drop(write);
    let mut text = String::new();
    File::from(read).read_to_string(&mut text).unwrap();
    (text, wait_for(&spawned))
}

fn wait_for(spawned: &Spawned) -> Status {
    loop {
        rpm_sys::poll::wait([rpm_sys::poll::Interest { fd: spawned.pidfd.as_fd(), read: true, write: false }], None)
            .unwrap();
        if let Some(reaped) = wait_any() {
            assert_eq!(reaped.pid, spawned.pid);
            return reaped.status;
        }
    }
}

fn failure(spawn: Spawn<'_>) -> (&'static str, i32) {
    let error = spawn.start().expect_err("it cannot start");
    assert_eq!(wait_any(), None, "a failed spawn leaves no child behind");
    (error.step, error.errno)
}

#[test]
fn the_child_finds_what_it_was_given_and_nothing_else() {
    let _parent = PARENT.lock().unwrap_or_else(|e| e.into_inner());
    let home = tempfile::tempdir().unwrap();
    let stranger = File::open("/dev/zero").unwrap();
    fd::set_cloexec(&stranger, false).unwrap();
    let mut spawn = shell("pwd; env | sort; ls /proc/self/fd | sort -n | tr '\\n' ' '; umask; ulimit -n; cat");
    spawn.env = ["PATH=/usr/bin:/bin", "GREETING=good day", "LISTEN_PID=1"].map(OsStr::new).to_vec();
    spawn.cwd = Some(home.path());
    spawn.listen_pid = true;
    spawn.new_session = true;
    spawn.umask = Some(0o027);
    spawn.nofile = Some(64);
    let (text, status) = output(spawn);
    assert_eq!(status, Status::Code(0));
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("_=") && !line.starts_with("OLDPWD")).collect();
    let pid = lines[2].strip_prefix("LISTEN_PID=").expect("its own pid, and only that");
    assert_ne!(pid, "1");
    let cwd = fs::canonicalize(home.path()).unwrap();
    assert_eq!(lines[0], cwd.to_str().unwrap());
    assert_eq!(lines[1], "GREETING=good day");
    assert_eq!(lines[3], "PATH=/usr/bin:/bin");
    // ls itself opens the directory.
    assert_eq!(&lines[lines.len() - 2..], ["0 1 2 3 0027", "64"]);
}

#[test]
fn the_child_leads_its_session_and_handles_signals_as_usual() {
    let _parent = PARENT.lock().unwrap_or_else(|e| e.into_inner());
    rpm_sys::reap::ignore(&[1]).unwrap();
    let _blocked = rpm_sys::reap::signalfd(&[12]).unwrap();
    // grep takes the shell's place: while a shell waits for its vfork it blocks signals itself.
    let mut spawn = shell("echo $$; cut -d' ' -f6 /proc/$$/stat; exec grep -E 'Sig(Blk|Ign)' /proc/self/status");
    spawn.new_session = true;
    let (text, _) = output(spawn);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], lines[1]);
    assert_eq!(lines[2..], ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"]);
    let (_, status) = output(shell("kill -12 $$"));
    assert_eq!(status, Status::Signal { signal: 12, core: false });
}

#[test]
fn descriptors_may_trade_places() {
    let _parent = PARENT.lock().unwrap_or_else(|e| e.into_inner());
    let (a_read, a_write) = fd::pipe(None).unwrap();
    let (b_read, b_write) = fd::pipe(None).unwrap();
    File::from(a_write).write_all(b"a").unwrap();
    File::from(b_write).write_all(b"b").unwrap();
    let (a, b) = (fd::number(&a_read), fd::number(&b_read));
    let script = format!("cat <&{b}; cat <&{a}; cat <&200");
    let mut spawn = shell(&script);
    let (c_read, c_write): (OwnedFd, OwnedFd) = fd::pipe(None).unwrap();
    File::from(c_write).write_all(b"c").unwrap();
    spawn.program = OsStr::new("/bin/bash");
    spawn.fds = vec![(a_read.as_fd(), b), (b_read.as_fd(), a), (c_read.as_fd(), 200)];
    assert_eq!(output(spawn).0, "abc");
    let null = fd::null().unwrap();
    let mut twice = shell("true");
    twice.fds = vec![(null.as_fd(), 5), (null.as_fd(), 5)];
    assert_eq!(failure(twice), ("dup2", EBADF));
}

const EBADF: i32 = 9;

#[test]
fn failures_name_the_step() {
    let _parent = PARENT.lock().unwrap_or_else(|e| e.into_inner());
    const ENOENT: i32 = 2;
    const EACCES: i32 = 13;
    const EINVAL: i32 = 22;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("data");
    fs::write(&file, "no program").unwrap();
    let path = format!("PATH={}:/nowhere", home.path().display());

    assert_eq!(failure(Spawn::new(OsStr::new("no-such-program"))), ("find program", ENOENT));
    assert_eq!(failure(Spawn::new(OsStr::new("/no/such/program"))), ("execve", ENOENT));
    assert_eq!(failure(Spawn::new(OsStr::new(""))), ("find program", ENOENT));
    assert_eq!(failure(Spawn::new(file.as_os_str())), ("execve", EACCES));
    let mut on_path = Spawn::new(OsStr::new("data"));
    on_path.env = vec![OsStr::new(&path)];
    assert_eq!(failure(on_path), ("find program", EACCES));
    let mut nowhere = shell("true");
    nowhere.cwd = Some(Path::new("/no/such/place"));
    assert_eq!(failure(nowhere), ("chdir", ENOENT));
    let mut zero = shell("true");
    zero.args.push(OsStr::new("a\0b"));
    assert_eq!(failure(zero), ("string with a zero byte", EINVAL));
}

#[test]
fn a_script_without_an_interpreter_line_is_run_by_the_shell() {
    let _parent = PARENT.lock().unwrap_or_else(|e| e.into_inner());
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("plain script");
    fs::write(&file, "echo \"$# $1\"").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let mut spawn = Spawn::new(file.as_os_str());
    spawn.args = vec![OsStr::new("one two")];
    assert_eq!(output(spawn).0, "1 one two\n");
    // Found through a PATH entry that is relative to the child's directory.
    let mut spawn = Spawn::new(OsStr::new("plain script"));
    spawn.env = vec![OsStr::new("PATH=.")];
    spawn.cwd = Some(home.path());
    assert_eq!(output(spawn).0, "0 \n");
}

#[test]
fn another_user_has_its_groups_and_no_way_back() {
    let _parent = PARENT.lock().unwrap_or_else(|e| e.into_inner());
    let Some(nobody) = Credentials::named("nobody").unwrap() else { return };
    assert_eq!(Credentials::named("no such user").unwrap(), None);
    if fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m)).unwrap_or(1) != 0 {
        return;
    }
    let (uid, gid) = (nobody.uid, nobody.gid);
    let mut spawn = shell("id -u; id -g; grep NoNewPrivs /proc/self/status");
    spawn.user = Some(nobody);
    assert_eq!(output(spawn).0, format!("{uid}\n{gid}\nNoNewPrivs:\t1\n"));
    let mut refused = shell("true");
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("private");
    fs::write(&file, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
    refused.program = file.as_os_str();
    refused.user = Some(Credentials::of(uid, gid).unwrap());
    assert_eq!(failure(refused), ("execve", 13));
}
