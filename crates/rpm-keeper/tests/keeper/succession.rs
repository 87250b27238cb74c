//! What the keeper promises when another one was killed before it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStdin, Command, Stdio};

use rpm_keeper::{Adopted, ExitStatus, Message, Request, SpawnRequest};
use rpm_sys::fd;
use rpm_sys::pidfd::Pidfd;
use rpm_sys::signal::SIGKILL;

use crate::stage::*;

promises! {
    an_adopted_process_ends_in_a_way_that_nobody_knows
    an_upgrade_keeps_adopted_processes
    a_successor_has_everything_that_the_killed_keeper_had
}

/// A process that no keeper has started; it ends with the code that it reads.
fn stranger() -> (Child, Pidfd, OwnedFd) {
    let mut child =
        Command::new("/bin/sh").args(["-c", "read code; exit $code"]).stdin(Stdio::piped()).spawn().unwrap();
    let pidfd = Pidfd::open(child.id() as i32).unwrap();
    let input: ChildStdin = child.stdin.take().unwrap();
    (child, pidfd, input.into())
}

fn adopt(daemon: &mut Daemon, key: &str, process: &(Child, Pidfd, OwnedFd)) {
    daemon.ask(&Request::Adopt(Adopted {
        key,
        note: b"noted",
        pid: process.0.id() as i32,
        pidfd: process.1.as_fd(),
        started_at_micros: 42,
    }));
}

fn is_the_stranger(found: &[Message], process: &(Child, Pidfd, OwnedFd)) -> bool {
    matches!(found, [Message::Child { key, note, pid, pidfd: Some(_), started_at_micros: 42, exit: None }]
        if key == "api" && note == b"noted" && *pid == process.0.id() as i32)
}

fn ends_unknown(daemon: &mut Daemon, mut process: (Child, Pidfd, OwnedFd)) {
    write(&process.2, "7\n").unwrap();
    match daemon.hear() {
        Message::Exited { key, pid, exit, maxrss_bytes, .. } => {
            assert_eq!((key.as_str(), pid), ("api", process.0.id() as i32));
            assert_eq!((exit, maxrss_bytes), (ExitStatus::Unknown, 0));
        }
        other => panic!("an exit was due, not {other:?}"),
    }
    assert_eq!(process.0.wait().unwrap().code(), Some(7));
}

fn an_adopted_process_ends_in_a_way_that_nobody_knows() {
    let (stage, mut daemon) = Stage::set();
    daemon.hello();
    let process = stranger();
    adopt(&mut daemon, "api", &process);
    adopt(&mut daemon, "api", &process);
    let (about, text) = daemon.error();
    assert!(about == "api" && text.contains("alive"), "{about}: {text}");
    daemon.kill();
    let mut daemon = stage.next_daemon();
    daemon.hello();
    assert!(is_the_stranger(&daemon.inventory().children, &process));
    ends_unknown(&mut daemon, process);
    // Kept like any other exit.
    assert!(matches!(
        &daemon.inventory().children[..],
        [Message::Child { pidfd: None, exit: Some(end), .. }] if end.exit == ExitStatus::Unknown
    ));
    daemon.ask(&Request::Ack { key: "api" });
    assert!(daemon.inventory().children.is_empty());
}

fn an_upgrade_keeps_adopted_processes() {
    let (_stage, mut daemon) = Stage::set();
    let keeper = daemon.hello();
    let process = stranger();
    adopt(&mut daemon, "api", &process);
    for _ in 0..2 {
        daemon.ask(&Request::Upgrade { binary: &own_program() });
        assert!(matches!(daemon.hear(), Message::Hello { pid, .. } if pid == keeper));
    }
    assert!(is_the_stranger(&daemon.inventory().children, &process));
    ends_unknown(&mut daemon, process);
}

/// Kills the keeper and waits until the daemon can know.
fn kill_keeper(stage: &mut Stage, daemon: &mut Daemon, keeper: i32) {
    Pidfd::open(keeper).unwrap().signal(SIGKILL).unwrap();
    assert!(!stage.keeper_leaves());
    await_readable(&daemon.client);
    assert_eq!(daemon.client.recv().unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

fn a_successor_has_everything_that_the_killed_keeper_had() {
    let (mut stage, mut daemon) = Stage::set();
    let keeper = daemon.hello();
    let (input, input_write) = fd::pipe(None).unwrap();
    let (kept, kept_write) = fd::pipe(None).unwrap();
    write(&kept_write, "still here").unwrap();
    daemon.ask(&Request::Spawn(SpawnRequest {
        inherit: vec![(input.as_fd(), 0)],
        keep: vec![("kept", kept.as_fd()), ("dropped", kept.as_fd())],
        note: b"noted",
        ..SpawnRequest::new("alive", OsStr::new("/bin/cat"))
    }));
    let (pid, worker) = daemon.spawned("alive");
    daemon.ask(&Request::Drop { name: "dropped" });
    let args = shell("exit 3");
    for key in ["acknowledged", "dead"] {
        daemon.ask(&Request::Spawn(SpawnRequest { args: &args, ..SpawnRequest::new(key, sh()) }));
        daemon.spawned(key);
        assert!(matches!(daemon.hear(), Message::Exited { .. }));
    }
    daemon.ask(&Request::Ack { key: "acknowledged" });
    let limit = rpm_sys::reap::nofile();
    kill_keeper(&mut stage, &mut daemon, keeper);
    drop((kept, kept_write, input));

    // Nobody hears this, and it is no failure: the next keeper does.
    let args = shell("ulimit -n; exit 4");
    let (read, output) = fd::pipe(None).unwrap();
    daemon.ask(&Request::Spawn(SpawnRequest {
        args: &args,
        inherit: vec![(output.as_fd(), 1)],
        ..SpawnRequest::new("asked twice", sh())
    }));
    drop(output);
    assert_eq!(daemon.client.unanswered().collect::<Vec<_>>(), ["asked twice"]);

    let argv = argv("role-keeper", stage.path());
    let next = daemon.client.hand_over(stage.path(), &stage.path().join("rpm.log"), &argv).unwrap();
    assert!(matches!(daemon.hear(), Message::Hello { pid, .. } if pid == next.pid && pid != keeper));
    daemon.spawned("asked twice");
    let exit = match daemon.hear() {
        Message::Exited { key, exit, .. } if key == "asked twice" => exit,
        other => panic!("an exit was due, not {other:?}"),
    };
    // A child of the new keeper, with the limit of the old one's children.
    assert_eq!((exit, read_all(read).trim()), (ExitStatus::Code(4), limit.to_string().as_str()));
    daemon.ask(&Request::Ack { key: "asked twice" });
    let mut inventory = daemon.inventory();
    assert_eq!(inventory.end_of_dead_beside_alive(pid), ExitStatus::Code(3), "what is known stays known");
    assert_eq!(inventory.held.len(), 1);
    let (name, kept) = inventory.held.pop().unwrap();
    assert_eq!((name.as_str(), read_all(kept).as_str()), ("kept", "still here"));
    assert_eq!(stage.written_pid(), next.pid);
    assert!(fd::flock_exclusive(&stage.path().join("keeper.lock")).unwrap().is_none());

    drop(input_write);
    await_readable(&worker);
    assert!(matches!(daemon.hear(), Message::Exited { exit: ExitStatus::Unknown, .. }));
    // The daemon that it would watch over is this test.
    next.pidfd.signal(SIGKILL).unwrap();
    await_readable(&next.pidfd);
}
