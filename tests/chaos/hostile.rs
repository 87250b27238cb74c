//! Clients that do not behave, on the daemon's socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rpm_ipc::{FromClient, FromDaemon, Hello, Request, frame};
use rpm_tests::until;

use crate::processes;
use crate::scenario::{Scenario, Setup};
use crate::stage::Stage;

const IDLE: Setup = Setup { name: "bystander", script: "idle.sh", options: &["-i", "5"], promised: 5 };

pub(crate) const TABLE: &[Scenario] = &[
    Scenario::new("client_of_garbage", &[IDLE], garbage),
    Scenario::new("client_with_a_huge_length", &[IDLE], huge_length),
    Scenario::new("client_of_slow_bytes", &[IDLE], slow_bytes),
    Scenario::new("five_hundred_idle_clients", &[IDLE], idle_clients),
    Scenario::new("more_silent_clients_than_there_is_room_for", &[IDLE], silent_clients),
    Scenario::new("client_that_never_reads", &[IDLE], never_reads),
    Scenario::new("client_of_events_that_never_reads", &[IDLE], never_reads_events),
    Scenario::new("client_that_leaves_in_the_middle", &[IDLE], leaves),
    Scenario::new("client_of_deep_and_wide_json", &[IDLE], odd_json),
    Scenario::new("client_of_another_version", &[IDLE], other_version),
    Scenario::new("client_of_another_user", &[IDLE], other_user).root(),
    Scenario::new("clients_that_connect_and_leave", &[IDLE], come_and_go),
];

fn connect(stage: &Stage) -> UnixStream {
    let stream = UnixStream::connect(stage.rpm.home().join("rpm.sock")).expect("the daemon listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    stream.set_write_timeout(Some(Duration::from_secs(5))).expect("a limit");
    stream
}

fn greeted(stage: &Stage) -> UnixStream {
    let mut stream = connect(stage);
    frame::write(&mut stream, &FromClient::Hello(Hello::ours())).expect("it listens");
    assert!(matches!(frame::read(&mut stream), Ok(Some(FromDaemon::Hello(_)))), "no greeting");
    stream
}

/// The daemon hangs up, sooner or later.
fn is_hung_up(stream: &mut UnixStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the daemon does not hang up: {error}"),
    }
}

/// Connected, with a hello and without, and never a word after that: the longest idle make room, whoever asks is served.
fn silent_clients(stage: &mut Stage) {
    let mut working = greeted(stage);
    let daemon = stage.rpm.daemon_pid();
    let mut silent: Vec<UnixStream> = Vec::new();
    for number in 0..600 {
        silent.push(if number % 2 == 0 { connect(stage) } else { greeted(stage) });
        if number % 50 == 0 {
            frame::write(&mut working, &FromClient::Ask { id: number, request: Request::Ping }).expect("it listens");
            assert!(matches!(frame::read(&mut working), Ok(Some(FromDaemon::Reply { .. }))), "not served");
            stage.ok(&["list"]);
        }
    }
    let open = processes::descriptors(daemon).len();
    assert!(open < 400, "the daemon has {open} descriptors");
    until("the first to be hung up on", || {
        let mut byte = [0; 1];
        silent[0].set_read_timeout(Some(Duration::from_millis(50))).expect("a limit");
        matches!(silent[0].read(&mut byte), Ok(0) | Err(_))
    });
    drop(silent);
    stage.ok(&["list"]);
}

fn garbage(stage: &mut Stage) {
    for _ in 0..stage.times(30, 1000) {
        let mut stream = connect(stage);
        let length = stage.random.below(5000) as usize;
        let bytes: Vec<u8> = (0..length).map(|_| stage.random.next() as u8).collect();
        let _until_it_hangs_up = stream.write_all(&bytes);
    }
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\0\0\0", b"\0\0\0\x01x", b"\0\0\0\x02{}"] {
        let mut stream = connect(stage);
        stream.write_all(bytes).expect("it listens");
        is_hung_up(&mut stream);
    }
    stage.settle();
}

fn huge_length(stage: &mut Stage) {
    for length in [u32::MAX, i32::MAX as u32, frame::LONGEST as u32 + 1] {
        let mut stream = connect(stage);
        stream.write_all(&length.to_be_bytes()).expect("it listens");
        is_hung_up(&mut stream);
        let mut stream = greeted(stage);
        stream.write_all(&length.to_be_bytes()).expect("it listens");
        is_hung_up(&mut stream);
    }
    // The longest that is allowed, announced and never sent: it costs what was sent.
    let streams: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = greeted(stage);
            stream.write_all(&(frame::LONGEST as u32).to_be_bytes()).expect("it listens");
            stream
        })
        .collect();
    stage.settle();
    drop(streams);
}

fn slow_bytes(stage: &mut Stage) {
    let mut stream = connect(stage);
    let hello = frame::encode(&FromClient::Hello(Hello::ours())).expect("a frame");
    for byte in &hello {
        stream.write_all(&[*byte]).expect("it listens");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(matches!(frame::read(&mut stream), Ok(Some(FromDaemon::Hello(_)))), "no greeting");
    for byte in frame::encode(&FromClient::Ask { id: 7, request: Request::Ping }).expect("a frame") {
        stream.write_all(&[byte]).expect("it listens");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(matches!(frame::read(&mut stream), Ok(Some(FromDaemon::Reply { id: 7, .. }))), "no answer");
    // One that never says hello is not waited for.
    let mut stream = connect(stage);
    stream.write_all(&hello[..3]).expect("it listens");
    let begun = Instant::now();
    is_hung_up(&mut stream);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

fn idle_clients(stage: &mut Stage) {
    let before = processes::descriptors(stage.rpm.daemon_pid()).len();
    let silent: Vec<_> = (0..250).map(|_| connect(stage)).collect();
    let greeted: Vec<_> = (0..250).map(|_| greeted(stage)).collect();
    stage.ok(&["list"]);
    stage.settle();
    drop((silent, greeted));
    until("their descriptors to be closed", || processes::descriptors(stage.rpm.daemon_pid()).len() <= before + 4);
}

/// It asks for much, and takes nothing: its answers may not pile up in the daemon.
fn never_reads(stage: &mut Stage) {
    // Long answers.
    stage.start("more", "idle.sh", &["-i", "50"]);
    stage.watch.list_ms.store(500, std::sync::atomic::Ordering::Relaxed);
    let asked = |request: Request| FromClient::Ask { id: 1, request };
    let mut stream = greeted(stage);
    let mut sent = 0;
    let list = frame::encode(&asked(Request::List { environment: true })).expect("a frame");
    for _ in 0..20_000 {
        if stream.write_all(&list).is_err() {
            break;
        }
        sent += 1;
    }
    println!("        {sent} requests were taken from a client that never reads");
    stage.settle();
    drop(stream);
    stage.settle();
}

fn never_reads_events(stage: &mut Stage) {
    stage.release("bystander");
    let mut streams: Vec<_> = (0..5).map(|_| greeted(stage)).collect();
    for stream in &mut streams {
        frame::write(stream, &FromClient::Ask { id: 1, request: Request::Events }).expect("it listens");
    }
    for _ in 0..stage.times(10, 500) {
        stage.ok(&["restart", "bystander"]);
    }
    stage.settle();
}

fn leaves(stage: &mut Stage) {
    let apps = crate::observer::list(stage.rpm.home()).expect("a list").apps;
    let workers: Vec<_> = apps[0].workers.iter().map(|worker| worker.id).collect();
    stage.release("bystander");
    for _ in 0..stage.times(20, 500) {
        let request = match stage.random.below(3) {
            0 => Request::Restart { workers: workers.clone(), specs: Vec::new() },
            1 => Request::Stop { workers: workers.clone() },
            _ => Request::List { environment: true },
        };
        let mut stream = greeted(stage);
        let bytes = frame::encode(&FromClient::Ask { id: 1, request }).expect("a frame");
        let length =
            if stage.random.below(2) == 0 { bytes.len() } else { stage.random.below(bytes.len() as u64) as usize };
        let _hung_up = stream.write_all(&bytes[..length]);
        std::thread::sleep(stage.random.instant(5));
    }
    stage.ok(&["restart", "bystander"]);
    stage.settle();
    assert_eq!(stage.mains("bystander").len(), 5);
}

fn odd_json(stage: &mut Stage) {
    let long = format!("\"{}\"", "x".repeat(5_000_000));
    let deep = "[".repeat(200_000);
    let wide = format!("[{}1]", "1,".repeat(1_000_000));
    let unknown = r#"{"ask":{"id":9,"request":{"from_the_future":{"a":1}}}}"#;
    let numbers = r#"{"ask":{"id":18446744073709551616,"request":"ping"}}"#;
    let mut stream = greeted(stage);
    for text in [long.as_str(), &deep, &wide, numbers, "null", "\"ask\"", "\u{0}", unknown] {
        stream.write_all(&(text.len() as u32).to_be_bytes()).expect("it listens");
        stream.write_all(text.as_bytes()).expect("it listens");
    }
    // The one that has a number is answered.
    let Ok(Some(FromDaemon::Reply { id: 9, reply })) = frame::read(&mut stream) else { panic!("no answer") };
    assert!(format!("{reply:?}").contains("newer"), "{reply:?}");
    frame::write(&mut stream, &FromClient::Ask { id: 10, request: Request::Ping }).expect("it listens");
    assert!(matches!(frame::read(&mut stream), Ok(Some(FromDaemon::Reply { id: 10, .. }))), "no answer");
}

fn other_version(stage: &mut Stage) {
    let mut stream = connect(stage);
    let hello = Hello { protocol: 9999, ..Hello::ours() };
    frame::write(&mut stream, &FromClient::Hello(hello)).expect("it listens");
    let Ok(Some(FromDaemon::Hello(theirs))) = frame::read(&mut stream) else { panic!("no greeting") };
    assert_eq!(theirs.protocol, Hello::ours().protocol);
}

/// Whoever can reach the socket is still asked who it is.
fn other_user(stage: &mut Stage) {
    if !stage.may_change_user() {
        return;
    }
    let socket = stage.rpm.home().join("rpm.sock");
    let everyone = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(stage.rpm.home(), everyone(0o711)).expect("it is ours");
    std::fs::set_permissions(&socket, everyone(0o666)).expect("it is ours");
    let python = "import socket, struct, sys\n\
        peer = socket.socket(socket.AF_UNIX)\n\
        peer.connect(sys.argv[1])\n\
        hello = sys.argv[2].encode()\n\
        try:\n    \
            peer.sendall(struct.pack('>I', len(hello)) + hello)\n    \
            answer = peer.recv(100)\n\
        except OSError: answer = b''\n\
        sys.exit(7 if answer else 0)\n";
    let hello = serde_json::to_string(&FromClient::Hello(Hello::ours())).expect("JSON");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--", "/usr/bin/python3", "-c", python]);
    let status = command.arg(&socket).arg(hello).status().expect("setpriv runs");
    assert_eq!(status.code(), Some(0), "another user was answered");
    std::fs::set_permissions(stage.rpm.home(), everyone(0o700)).expect("it is ours");
    std::fs::set_permissions(&socket, everyone(0o600)).expect("it is ours");
}

fn come_and_go(stage: &mut Stage) {
    let before = processes::descriptors(stage.rpm.daemon_pid()).len();
    for _ in 0..stage.times(2000, 50_000) {
        drop(connect(stage));
    }
    stage.settle();
    until("their descriptors to be closed", || processes::descriptors(stage.rpm.daemon_pid()).len() <= before + 4);
}
