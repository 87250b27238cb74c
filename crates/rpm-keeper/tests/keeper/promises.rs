//! What the keeper promises its daemon, one test for each.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rpm_keeper::{ExitStatus, Message, Request, SpawnRequest};
use rpm_sys::fd;
use rpm_sys::pidfd::Pidfd;
use rpm_sys::proc;
use rpm_sys::signal::{EACCES, EAGAIN, ENOENT, SIGTERM};
use rpm_sys::spawn::Spawn;

use crate::stage::*;

promises! {
    a_program_gets_its_descriptors_and_environment
    an_exit_is_kept_until_it_is_acknowledged_across_daemons
    a_new_daemon_finds_the_same_children_and_descriptors
    orphans_are_listed
    failed_spawns_name_the_step_and_keep_nothing
    a_key_is_used_by_one_living_child
    stored_descriptors_are_fetched_replaced_and_dropped
    garbage_is_answered_and_survived
    a_daemon_that_does_not_read_loses_nothing
    a_full_keeper_refuses_and_goes_on
    long_requests_are_taken
    a_hundred_spawns_are_quick_and_small
}

fn a_program_gets_its_descriptors_and_environment() {
    let (stage, mut daemon) = Stage::set();
    assert_eq!(daemon.hello(), stage.written_pid());
    let (read, write_end) = fd::pipe(None).unwrap();
    let (seven, seven_write) = fd::pipe(None).unwrap();
    write(&seven_write, "seven").unwrap();
    drop(seven_write);
    let args = shell(
        "echo \"$GREETING $PWD $(test \"$LISTEN_PID\" = $$ && echo own pid)\"; cat <&7; cat; ls -m /proc/self/fd; exit 5",
    );
    let env: Vec<OsString> = ["GREETING=hello", "PATH=/usr/bin:/bin"].map(OsString::from).to_vec();
    daemon.ask(&Request::Spawn(SpawnRequest {
        args: &args,
        env: &env,
        cwd: Path::new("/usr"),
        inherit: vec![(write_end.as_fd(), 1), (seven.as_fd(), 7)],
        listen_pid: true,
        note: b"anything",
        ..SpawnRequest::new("api/0", sh())
    }));
    drop(write_end);
    let (pid, pidfd) = daemon.spawned("api/0");
    // 3 is the directory that is listed.
    assert_eq!(read_all(read), "hello /usr own pid\nseven0, 1, 2, 3, 7\n");
    await_readable(&pidfd);
    match daemon.hear() {
        Message::Exited { key, pid: dead, exit, at_micros, maxrss_bytes, .. } => {
            assert_eq!((key.as_str(), dead, exit), ("api/0", pid, ExitStatus::Code(5)));
            assert!(at_micros <= proc::boot_clock_micros() && maxrss_bytes > 0);
        }
        other => panic!("an exit was due, not {other:?}"),
    }
    daemon.ask(&Request::Ack { key: "api/0" });
    assert!(daemon.inventory().children.is_empty());
}

fn an_exit_is_kept_until_it_is_acknowledged_across_daemons() {
    let (stage, mut daemon) = Stage::set();
    daemon.hello();
    let (input, input_write) = fd::pipe(None).unwrap();
    let args = shell("read line; exit $line");
    daemon.ask(&Request::Spawn(SpawnRequest {
        args: &args,
        inherit: vec![(input.as_fd(), 0)],
        note: b"life 1",
        ..SpawnRequest::new("api", sh())
    }));
    let (pid, pidfd) = daemon.spawned("api");
    daemon.kill();
    write(&input_write, "7\n").unwrap();
    await_readable(&pidfd);
    // Once more, so that the exit lies between two daemons for certain.
    stage.next_daemon().kill();
    let mut daemon = stage.next_daemon();
    daemon.hello();
    for _ in 0..2 {
        let inventory = daemon.inventory();
        let [Message::Child { key, note, pid: known, pidfd: None, exit: Some(end), started_at_micros }] =
            &inventory.children[..]
        else {
            panic!("one exited child was due: {inventory:?}")
        };
        assert_eq!(
            (key.as_str(), note.as_slice(), *known, end.exit),
            ("api", &b"life 1"[..], pid, ExitStatus::Code(7))
        );
        assert!(*started_at_micros > 0 && *started_at_micros <= end.at_micros);
        daemon.kill();
        daemon = stage.next_daemon();
        daemon.hello();
    }
    daemon.ask(&Request::Ack { key: "api" });
    assert!(daemon.inventory().children.is_empty());
}

fn a_new_daemon_finds_the_same_children_and_descriptors() {
    let (stage, mut daemon) = Stage::set();
    let keeper = daemon.hello();
    let (input, input_write) = fd::pipe(None).unwrap();
    let (output, output_write) = fd::pipe(None).unwrap();
    let args = shell("while read line; do echo \"got $line\"; done; exit 3");
    daemon.ask(&Request::Spawn(SpawnRequest {
        args: &args,
        inherit: vec![(input.as_fd(), 0), (output_write.as_fd(), 1)],
        keep: vec![("api/out", output.as_fd()), ("api/in", input_write.as_fd())],
        ..SpawnRequest::new("api", sh())
    }));
    let (pid, _) = daemon.spawned("api");
    write(&input_write, "one\ntwo\n").unwrap();
    // Written while the first daemon lives, read by nobody, and more while there is none.
    drop((output, output_write, input, input_write));
    daemon.kill();

    let mut daemon = stage.next_daemon();
    assert_eq!(daemon.hello(), keeper);
    let inventory = daemon.inventory();
    let [Message::Child { pid: known, pidfd: Some(pidfd), exit: None, .. }] = &inventory.children[..] else {
        panic!("the child lives: {inventory:?}")
    };
    assert_eq!(*known, pid);
    let names: Vec<&str> = inventory.held.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["api/in", "api/out"]);
    let (input_write, output) = (&inventory.held[0].1, &inventory.held[1].1);
    assert_eq!((read_line(output), read_line(output)), ("got one".to_owned(), "got two".to_owned()));
    write(input_write, "three\n").unwrap();
    assert_eq!(read_line(output), "got three");
    let pidfd = Pidfd::from_fd(fd::dup(pidfd).unwrap());
    pidfd.signal(SIGTERM).unwrap();
    match daemon.hear() {
        Message::Exited { exit, .. } => assert_eq!(exit, ExitStatus::Signal { signal: SIGTERM, core: false }),
        other => panic!("an exit was due, not {other:?}"),
    }
}

fn orphans_are_listed() {
    let (_stage, mut daemon) = Stage::set();
    daemon.hello();
    let (output, output_write) = fd::pipe(None).unwrap();
    let args = shell("sh -c 'sleep 60 & echo $!'; exec cat");
    let (input, _input_write) = fd::pipe(None).unwrap();
    daemon.ask(&Request::Spawn(SpawnRequest {
        args: &args,
        env: &["PATH=/usr/bin:/bin".into()],
        inherit: vec![(input.as_fd(), 0), (output_write.as_fd(), 1)],
        ..SpawnRequest::new("api", sh())
    }));
    daemon.spawned("api");
    let orphan: i32 = read_line(&output).parse().unwrap();
    // Its parent has said its pid, but may not have exited yet.
    loop {
        daemon.ask(&Request::Orphans);
        match daemon.hear() {
            Message::Orphans { pids } if pids == [orphan] => break,
            Message::Orphans { pids } => assert!(pids.is_empty(), "{pids:?}"),
            other => panic!("orphans were asked for: {other:?}"),
        }
    }
}

fn failed_spawns_name_the_step_and_keep_nothing() {
    let (_stage, mut daemon) = Stage::set();
    daemon.hello();
    let null = fd::null().unwrap();
    let mut fail = |program: &str, cwd: &str| {
        daemon.ask(&Request::Spawn(SpawnRequest {
            cwd: Path::new(cwd),
            keep: vec![("kept", null.as_fd())],
            ..SpawnRequest::new("api", OsStr::new(program))
        }));
        match daemon.hear() {
            Message::SpawnFailed { key, step, errno } if key == "api" => (step, errno),
            other => panic!("it cannot start: {other:?}"),
        }
    };
    assert_eq!(fail("no-such-program", "/"), ("find program".to_owned(), ENOENT));
    assert_eq!(fail("/bin/sh", "/no/such/place"), ("chdir".to_owned(), ENOENT));
    assert_eq!(fail("/etc/passwd", "/"), ("execve".to_owned(), EACCES));
    let inventory = daemon.inventory();
    assert!(inventory.children.is_empty() && inventory.held.is_empty());
}

fn a_key_is_used_by_one_living_child() {
    let (_stage, mut daemon) = Stage::set();
    daemon.hello();
    let (input, input_write) = fd::pipe(None).unwrap();
    let spawn = || {
        Request::Spawn(SpawnRequest {
            inherit: vec![(input.as_fd(), 0)],
            ..SpawnRequest::new("api", OsStr::new("/bin/cat"))
        })
    };
    daemon.ask(&spawn());
    daemon.spawned("api");
    daemon.ask(&spawn());
    let (about, text) = daemon.error();
    assert_eq!(about, "api");
    assert!(text.contains("alive"), "{text}");
    daemon.ask(&Request::Ack { key: "api" });
    assert_eq!(daemon.error().0, "api");
    drop(input_write);
    assert!(matches!(daemon.hear(), Message::Exited { .. }));
    // An exit gives way to the next life, acknowledged or not.
    daemon.ask(&spawn());
    daemon.spawned("api");
}

fn stored_descriptors_are_fetched_replaced_and_dropped() {
    let (_stage, mut daemon) = Stage::set();
    daemon.hello();
    let fetch = |daemon: &mut Daemon, wanted: &str| -> Option<OwnedFd> {
        daemon.ask(&Request::Fetch { name: wanted });
        match daemon.hear() {
            Message::Fd { name, fd } if name == wanted => fd,
            other => panic!("a descriptor was asked for: {other:?}"),
        }
    };
    let (read, write_end) = fd::pipe(None).unwrap();
    daemon.ask(&Request::Store { name: "pipe", fd: write_end.as_fd() });
    drop(write_end);
    write(&fetch(&mut daemon, "pipe").expect("stored"), "through the keeper").unwrap();
    assert!(fetch(&mut daemon, "pip").is_none());
    // Storing something else under the name closes the keeper's end, the last one.
    let null = fd::null().unwrap();
    daemon.ask(&Request::Store { name: "pipe", fd: null.as_fd() });
    assert_eq!(read_all(read), "through the keeper");
    for name in ["slot/1", "slot/2", "slots"] {
        daemon.ask(&Request::Store { name, fd: null.as_fd() });
    }
    daemon.ask(&Request::DropPrefix { prefix: "slot/" });
    daemon.ask(&Request::Drop { name: "pipe" });
    daemon.ask(&Request::Drop { name: "no such name" });
    let names: Vec<String> = daemon.inventory().held.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["slots"]);
}

fn garbage_is_answered_and_survived() {
    let (_stage, mut daemon) = Stage::set();
    let keeper = daemon.hello();
    let null = fd::null().unwrap();
    // A little generator of our own: the same garbage on every run.
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut byte = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let mut packets: Vec<Vec<u8>> = vec![vec![1], vec![0, 0, 1, 0], vec![1, 0, 0xff, 0x7f], vec![7; 200_000]];
    // Each request without its fields, and with a field that claims too much. Not Shutdown, which is no garbage.
    packets.extend((2..=10).filter(|op| *op != 8 && *op != 9).map(|op| vec![1, 0, op, 0]));
    packets.extend((2..=7).map(|op| vec![1, 0, op, 0, 1, 0, 255, 255, 255, 127]));
    packets.extend((2..=7).map(|op| vec![1, 0, op, 0, 1, 0, 2, 0, 0, 0, 0xff, 0xfe]));
    packets.extend((0..500).map(|n| (0..n % 97 + 1).map(|_| byte() | 1).collect()));
    for packet in packets {
        let fds = vec![null.as_fd(); packet.len() % 5];
        loop {
            match fd::send_with_fds(&daemon.raw, &packet, &fds) {
                Ok(_) => break,
                Err(error) if error.errno == EAGAIN => assert!(matches!(daemon.hear(), Message::Error { .. })),
                // Longer than any socket takes.
                Err(_) if packet.len() > 100_000 => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    daemon.ask(&Request::Hello { version: 99 });
    let pid = loop {
        match daemon.hear() {
            Message::Error { text, .. } => assert!(!text.is_empty()),
            Message::Hello { pid, .. } => break pid,
            other => panic!("garbage is answered by errors: {other:?}"),
        }
    };
    assert_eq!(pid, keeper);
    assert!(daemon.inventory().children.is_empty());
    let open = std::fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().count();
    assert!(open < 20, "{open} descriptors are left of the garbage");
}

fn a_daemon_that_does_not_read_loses_nothing() {
    let (_stage, mut daemon) = Stage::set();
    daemon.hello();
    let args = shell("exit 1");
    let names: Vec<String> = (0..5_000).map(|n| format!("{n:0>200}")).collect();
    for name in &names {
        daemon.ask(&Request::Fetch { name });
    }
    daemon.ask(&Request::Spawn(SpawnRequest { args: &args, ..SpawnRequest::new("api", sh()) }));
    for expected in &names {
        match daemon.hear() {
            Message::Fd { name, fd: None } => assert_eq!(name, *expected),
            other => panic!("answers come in order: {other:?}"),
        }
    }
    daemon.spawned("api");
    assert!(matches!(daemon.hear(), Message::Exited { .. }));
}

fn a_full_keeper_refuses_and_goes_on() {
    let (stage, mut daemon) = Stage::set_with_open_files(Some(80));
    let keeper = daemon.hello();
    let null = fd::null().unwrap();
    let names: Vec<String> = (0..40).map(|n| format!("held/{n}")).collect();
    for name in &names {
        daemon.ask(&Request::Store { name, fd: null.as_fd() });
    }
    daemon.ask(&Request::Spawn(SpawnRequest::new("api", OsStr::new("/bin/true"))));
    for refused in names[32..].iter().map(String::as_str).chain(["api"]) {
        let (about, text) = daemon.error();
        assert_eq!(about, refused);
        assert!(text.contains("32"), "{text}");
    }
    // More descriptors in one message than the keeper can open at all: they are lost, and it is said whose.
    daemon.ask(&Request::Spawn(SpawnRequest {
        inherit: (3..200).map(|target| (null.as_fd(), target)).collect(),
        ..SpawnRequest::new("greedy", OsStr::new("/bin/true"))
    }));
    assert_eq!(daemon.error().0, "greedy");
    // Full as it is, it has what it takes to start a daemon.
    daemon.kill();
    let mut daemon = stage.next_daemon();
    assert_eq!(daemon.hello(), keeper);
    assert_eq!(daemon.inventory().held.len(), 32);
    daemon.ask(&Request::DropPrefix { prefix: "held/" });
    daemon.ask(&Request::Spawn(SpawnRequest::new("api", OsStr::new("/bin/true"))));
    daemon.spawned("api");
}

fn long_requests_are_taken() {
    let (_stage, mut daemon) = Stage::set();
    daemon.hello();
    let (output, output_write) = fd::pipe(None).unwrap();
    let env: Vec<OsString> = (0..10).map(|n| format!("V{n}={}", "x".repeat(100_000)).into()).collect();
    let args = shell("echo ${#V9}");
    daemon.ask(&Request::Spawn(SpawnRequest {
        args: &args,
        env: &env,
        inherit: vec![(output_write.as_fd(), 1)],
        ..SpawnRequest::new("api", sh())
    }));
    drop(output_write);
    daemon.spawned("api");
    assert_eq!(read_all(output), "100000\n");
    let key = "k".repeat(129);
    assert!(daemon.client.send(&Request::Spawn(SpawnRequest::new(&key, sh()))).is_err());
}

/// The keeper adds little to what starting a program costs anyway, and stays small.
fn a_hundred_spawns_are_quick_and_small() {
    const COUNT: usize = 100;
    let (_stage, mut daemon) = Stage::set();
    let keeper = daemon.hello();
    let env: Vec<OsString> = (0..40).map(|n| format!("VARIABLE_{n}={}", "x".repeat(60)).into()).collect();
    let (input, input_write) = fd::pipe(None).unwrap();
    let null = fd::null().unwrap();

    let bare_round = || {
        let begin = Instant::now();
        for _ in 0..COUNT {
            let mut spawn = Spawn::new(OsStr::new("/bin/cat"));
            spawn.env = env.iter().map(OsString::as_os_str).collect();
            spawn.new_session = true;
            spawn.fds = vec![(input.as_fd(), 0), (null.as_fd(), 1), (null.as_fd(), 2)];
            spawn.start().unwrap();
        }
        begin.elapsed()
    };
    let kept_round = |daemon: &mut Daemon, round: usize| {
        let keys: Vec<String> = (0..COUNT).map(|n| format!("api/{round}/{n}")).collect();
        let begin = Instant::now();
        for key in &keys {
            daemon.ask(&Request::Spawn(SpawnRequest {
                env: &env,
                inherit: vec![(input.as_fd(), 0), (null.as_fd(), 1), (null.as_fd(), 2)],
                keep: vec![(key, null.as_fd())],
                ..SpawnRequest::new(key, OsStr::new("/bin/cat"))
            }));
        }
        for key in &keys {
            daemon.spawned(key);
        }
        begin.elapsed()
    };
    // The better of several rounds each, in turns: other work on the machine slows down some of them.
    let rounds = [0, 1, 2].map(|round| (bare_round(), kept_round(&mut daemon, round)));
    let bare = rounds.iter().map(|(bare, _)| *bare).min().unwrap();
    let kept = rounds.iter().map(|(_, kept)| *kept).min().unwrap();
    let rollup = std::fs::read_to_string(format!("/proc/{keeper}/smaps_rollup")).unwrap();
    let kib = |name: &str| {
        let line = rollup.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let private = kib("Private_Dirty:");
    println!("{COUNT} spawns: bare {bare:?}, by the keeper {kept:?}; Pss {} KiB, private {private} KiB", kib("Pss:"));
    // Measured 1.0 to 1.3; the bound leaves room for a machine that is busy with other things.
    assert!(kept < bare * 3, "bare {bare:?}, by the keeper {kept:?}");
    assert!(private < 1024, "{private} KiB");
    drop(input_write);
    while let Some(_bare_child) = { rpm_sys::reap::wait_any() } {}
}
