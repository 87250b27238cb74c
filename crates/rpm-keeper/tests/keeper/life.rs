//! What the keeper promises of itself: how it begins, ends, and becomes a newer program.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use rpm_keeper::{ExitStatus, Message, Request, SpawnRequest};
use rpm_sys::fd;
use rpm_sys::pidfd::Pidfd;
use rpm_sys::proc;
use rpm_sys::signal::SIGTERM;

use crate::stage::*;

promises! {
    shutdown_ends_the_keeper_after_its_daemon
    last_words_are_heard
    what_is_started_by_last_words_does_not_stay
    a_daemon_that_cannot_work_is_not_tried_again
    a_daemon_that_failed_later_is_started_again
    sigterm_is_passed_on
    two_launches_give_one_keeper
    a_launch_tells_why_the_daemon_failed
    a_killed_keeper_leaves_its_children_alive_and_its_home_free
    an_upgrade_keeps_everything
    a_failed_upgrade_changes_nothing
}

fn shutdown_ends_the_keeper_after_its_daemon() {
    let (mut stage, mut daemon) = Stage::set();
    daemon.hello();
    let null = fd::null().unwrap();
    daemon.ask(&Request::Store { name: "held", fd: null.as_fd() });
    daemon.ask(&Request::Shutdown);
    // It stays until the daemon has gone.
    daemon.hello();
    daemon.tell(0);
    assert!(stage.keeper_leaves());
    assert!(!stage.path().join("keeper.pid").exists());
}

/// A daemon that dies with unread answers makes the kernel report an error before its last requests; those are a
/// Shutdown here, and were once lost.
fn last_words_are_heard() {
    let (mut stage, mut daemon) = Stage::set();
    for _ in 0..100 {
        daemon.ask(&Request::Fetch { name: "no such name" });
    }
    daemon.ask(&Request::Shutdown);
    let Daemon { client, raw, .. } = daemon;
    let process = Pidfd::open(daemon.pid).unwrap();
    process.signal(rpm_sys::signal::SIGKILL).unwrap();
    drop((client, raw));
    assert!(stage.keeper_leaves());
}

/// A stopped keeper finds the daemon gone, and its last words: to start something, and that it leaves. What it started ran on,
/// and nobody knew of it.
fn what_is_started_by_last_words_does_not_stay() {
    let (mut stage, mut daemon) = Stage::set();
    let keeper = Pidfd::open(daemon.hello()).unwrap();
    let (read, write_end) = fd::pipe(None).unwrap();
    keeper.signal(rpm_sys::signal::SIGSTOP).unwrap();
    let args = shell("exec sleep 1000");
    let spawn = SpawnRequest { args: &args, inherit: vec![(write_end.as_fd(), 1)], ..SpawnRequest::new("late", sh()) };
    daemon.ask(&Request::Spawn(spawn));
    daemon.ask(&Request::Shutdown);
    daemon.kill();
    drop(write_end);
    keeper.signal(rpm_sys::signal::SIGCONT).unwrap();
    assert!(stage.keeper_leaves());
    // Whoever has the other end is gone.
    assert_eq!(read_all(read), "");
}

fn a_daemon_that_cannot_work_is_not_tried_again() {
    let (mut stage, mut daemon) = Stage::set();
    daemon.hello();
    daemon.tell(3);
    assert!(!stage.keeper_leaves());
}

fn a_daemon_that_failed_later_is_started_again() {
    let (stage, mut daemon) = Stage::set();
    daemon.hello();
    let null = fd::null().unwrap();
    daemon.ask(&Request::Store { name: "held", fd: null.as_fd() });
    daemon.hello();
    daemon.tell(101);
    let mut next = stage.next_daemon();
    assert_ne!(next.pid, daemon.pid);
    assert_eq!(next.inventory().held.len(), 1);
    // Quick deaths are answered more and more slowly, but always.
    let begin = Instant::now();
    for _ in 0..5 {
        next.kill();
        next = stage.next_daemon();
    }
    assert!(begin.elapsed().as_millis() >= 10 + 20 + 40 + 80);
    next.hello();
}

fn sigterm_is_passed_on() {
    let (mut stage, mut daemon) = Stage::set();
    let keeper = Pidfd::open(daemon.hello()).unwrap();
    let (input, input_write) = fd::pipe(None).unwrap();
    daemon.ask(&Request::Spawn(SpawnRequest {
        inherit: vec![(input.as_fd(), 0)],
        ..SpawnRequest::new("api", OsStr::new("/bin/cat"))
    }));
    let (_, worker) = daemon.spawned("api");
    let process = Pidfd::open(daemon.pid).unwrap();
    keeper.signal(SIGTERM).unwrap();
    // This daemon does not know what to do with it and dies. As there is a worker to look after, there is a next one;
    // it is told when it listens.
    await_readable(&process);
    let mut next = stage.next_daemon();
    let process = Pidfd::open(next.pid).unwrap();
    drop(input_write);
    await_readable(&worker);
    assert!(!process.has_exited());
    next.ask(&Request::Hello { version: 1 });
    await_readable(&process);
    assert!(stage.keeper_leaves());
}

fn two_launches_give_one_keeper() {
    let stage = Stage::empty();
    let launch = || {
        let args = argv("role-launcher", stage.path());
        Command::new(&args[0]).args(&args[1..]).stdout(Stdio::piped()).spawn().unwrap()
    };
    let launchers = [launch(), launch()];
    let mut daemon = stage.next_daemon();
    daemon.hello();
    daemon.tell(b'r');
    let mut said: Vec<String> = launchers
        .into_iter()
        .map(|launcher| String::from_utf8(launcher.wait_with_output().unwrap().stdout).unwrap())
        .collect();
    said.sort();
    assert_eq!(said, ["a keeper is running already\n", "launched\n"]);
    assert_eq!(daemon.hello(), stage.written_pid());
    let keeper = proc::stat(stage.written_pid()).unwrap();
    assert_eq!(keeper.session, keeper.pid);
}

fn a_launch_tells_why_the_daemon_failed() {
    let stage = Stage::empty();
    let args = argv("role-launcher", stage.path());
    let launch = || Command::new(&args[0]).args(&args[1..]).stdout(Stdio::piped()).spawn().unwrap();
    let said = |launcher: std::process::Child| String::from_utf8(launcher.wait_with_output().unwrap().stdout).unwrap();
    let launcher = launch();
    let mut daemon = stage.next_daemon();
    daemon.tell(b'f');
    daemon.tell(1);
    assert_eq!(said(launcher), "the port is taken\n");
    // Without a word: its exit is enough. The keeper of before may still be leaving.
    let text = loop {
        let launcher = launch();
        if let Some(mut daemon) = stage.daemon_unless_over(&launcher) {
            daemon.tell(1);
            break said(launcher);
        }
        assert_eq!(said(launcher), "a keeper is running already\n");
    };
    assert!(text.contains("died") && text.contains("rpm.log"), "{text}");
}

fn a_killed_keeper_leaves_its_children_alive_and_its_home_free() {
    let (mut stage, mut daemon) = Stage::set();
    let keeper = daemon.hello();
    let (input, input_write) = fd::pipe(None).unwrap();
    daemon.ask(&Request::Spawn(SpawnRequest {
        inherit: vec![(input.as_fd(), 0)],
        ..SpawnRequest::new("api", OsStr::new("/bin/cat"))
    }));
    let (_, worker) = daemon.spawned("api");
    Pidfd::open(keeper).unwrap().signal(rpm_sys::signal::SIGKILL).unwrap();
    assert!(!stage.keeper_leaves());
    await_readable(&daemon.client);
    assert_eq!(daemon.client.recv().unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(!Pidfd::from_fd(fd::dup(&worker).unwrap()).has_exited());

    stage.start_keeper(None);
    let mut next = stage.next_daemon();
    assert_ne!(next.hello(), keeper);
    assert!(next.inventory().children.is_empty());
    drop(input_write);
    await_readable(&worker);
}

fn an_upgrade_keeps_everything() {
    let (stage, mut daemon) = Stage::set();
    let keeper = daemon.hello();
    let (input, input_write) = fd::pipe(None).unwrap();
    let (kept, kept_write) = fd::pipe(None).unwrap();
    write(&kept_write, "still here").unwrap();
    let args = shell("read line; exit $line");
    daemon.ask(&Request::Spawn(SpawnRequest {
        args: &args,
        inherit: vec![(input.as_fd(), 0)],
        keep: vec![("kept", kept.as_fd())],
        note: b"noted",
        ..SpawnRequest::new("alive", sh())
    }));
    let (pid, _) = daemon.spawned("alive");
    let args = shell("kill -15 $$");
    daemon.ask(&Request::Spawn(SpawnRequest { args: &args, ..SpawnRequest::new("dead", sh()) }));
    daemon.spawned("dead");
    assert!(matches!(daemon.hear(), Message::Exited { .. }));
    drop((kept, kept_write, input));

    for _ in 0..2 {
        daemon.ask(&Request::Upgrade { binary: &own_program() });
        match daemon.hear() {
            Message::Hello { pid, .. } => assert_eq!(pid, keeper),
            other => panic!("the new program greets: {other:?}"),
        }
        // Told again: nobody knows whether it was heard before.
        assert!(matches!(daemon.hear(), Message::Exited { .. }));
    }
    let environ = std::fs::read(format!("/proc/{keeper}/environ")).unwrap();
    assert!(environ.split(|b| *b == 0).any(|v| v.starts_with(b"RPM_KEEPER_STATE_FD=")), "it is a new program");
    let mut inventory = daemon.inventory();
    assert_eq!(inventory.end_of_dead_beside_alive(pid), ExitStatus::Signal { signal: 15, core: false });
    let (name, kept) = inventory.held.pop().unwrap();
    assert_eq!((name.as_str(), read_all(kept).as_str()), ("kept", "still here"));
    write(&input_write, "9\n").unwrap();
    match daemon.hear() {
        Message::Exited { key, exit, .. } => assert_eq!((key.as_str(), exit), ("alive", ExitStatus::Code(9))),
        other => panic!("an exit was due, not {other:?}"),
    }
    // Still one keeper per home, and still the parent of its daemon.
    assert!(fd::flock_exclusive(&stage.path().join("keeper.lock")).unwrap().is_none());
    daemon.kill();
    assert_eq!(stage.next_daemon().hello(), keeper);
}

fn a_failed_upgrade_changes_nothing() {
    let (_stage, mut daemon) = Stage::set();
    let keeper = daemon.hello();
    let null = fd::null().unwrap();
    daemon.ask(&Request::Store { name: "held", fd: null.as_fd() });
    daemon.ask(&Request::Upgrade { binary: Path::new("/no/such/program") });
    let (about, text) = daemon.error();
    assert_eq!(about, "Upgrade");
    assert!(text.contains("/no/such/program"), "{text}");
    assert_eq!(daemon.hello(), keeper);
    // Nothing leaks into children because of the attempt.
    let (output, output_write) = fd::pipe(None).unwrap();
    let args = shell("exec ls -m /proc/self/fd");
    daemon.ask(&Request::Spawn(SpawnRequest {
        args: &args,
        inherit: vec![(output_write.as_fd(), 1)],
        env: &["PATH=/usr/bin:/bin".into()],
        ..SpawnRequest::new("api", sh())
    }));
    drop(output_write);
    daemon.spawned("api");
    // The last one is the directory that is listed.
    assert_eq!(read_all(output).trim(), "0, 1, 2, 3");
}
