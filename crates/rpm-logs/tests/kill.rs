//! SIGKILL at random instants, with the real thing: a pump in a process of its own.
//!
//! The child is this test program again. It opens the parent's pipe and staging file through `/proc`, as the keeper's
//! duplicates would be handed to it.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rpm_logs::{Event, Kind, Pump, Stream, Target, new_staging};
use rpm_model::{LogFormat, WorkerId};

const LINES: u32 = 400_000;

/// What the child needs to know: `PID PIPE STAGING PIPE STAGING DIRECTORY`.
const ORDERS: &str = "RPM_LOGS_TEST_PUMP";

const KEYS: [&str; 2] = ["a", "b"];

/// The child's part; in the parent's run of all tests it does nothing.
#[test]
fn child() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let mut words = orders.split(' ');
    let mut word = || words.next().expect("an order");
    let parent = word();
    let mut descriptor = |write: bool| -> OwnedFd {
        let path = format!("/proc/{parent}/fd/{}", word());
        File::options().read(true).write(write).open(path).expect("the parent's descriptor").into()
    };
    let ends = KEYS.map(|_| (descriptor(false), descriptor(true)));
    let dir = PathBuf::from(words.next().expect("a directory"));
    let (sender, events) = std::sync::mpsc::channel();
    let pump = Pump::start(move |event| drop(sender.send(event))).expect("starts");
    let streams = KEYS.iter().zip(ends).map(|(key, (pipe, staging))| Stream {
        key: (*key).into(),
        pipe,
        staging,
        resume: true,
        targets: vec![Target::Path(dir.join(key)), Target::Path(dir.join("all"))],
        format: if *key == "a" { LogFormat::Raw } else { LogFormat::Json },
        date_format: Some("HH:mm:ss.SSS".into()),
        kind: Kind::Out,
        worker: WorkerId(0),
        app_name: "app".into(),
        max_size: None,
    });
    pump.add_all(streams.collect());
    for _ in KEYS {
        match events.recv() {
            Ok(Event::Ended { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn start(orders: &str) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child", "--test-threads=1"])
        .env(ORDERS, orders)
        .stdout(Stdio::null())
        .spawn()
        .expect("starts")
}

#[test]
fn a_pump_that_is_killed_again_and_again_writes_each_line_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut orders = std::process::id().to_string();
    let mut kept = Vec::new();
    let mut writers = Vec::new();
    for key in KEYS {
        let (reader, writer) = rpm_sys::fd::pipe(None).expect("a pipe");
        let staging = new_staging(key).expect("a memory file");
        orders += &format!(" {} {}", rpm_sys::fd::number(&reader), rpm_sys::fd::number(&staging));
        kept.push((reader, staging));
        writers.push(std::thread::spawn(move || {
            let mut writer = std::io::BufWriter::with_capacity(777, File::from(writer));
            for n in 0..LINES {
                writeln!(writer, "{key} {n}").expect("somebody reads");
            }
        }));
    }
    orders += &format!(" {}", dir.path().display());
    let mut kills = 0;
    let mut wait = 20_011;
    while writers.iter().any(|writer| !writer.is_finished()) && kills < 60 {
        let mut child = start(&orders);
        // 5 to 45 ms, never the same: enough to start and to be in the middle of something.
        wait = (wait * 48_271) % 2_147_483_647;
        std::thread::sleep(Duration::from_micros(5_000 + wait % 40_000));
        child.kill().expect("SIGKILL");
        child.wait().expect("reaped");
        kills += 1;
    }
    assert!(start(&orders).wait().expect("reaped").success());
    for writer in writers {
        writer.join().expect("wrote");
    }
    eprintln!("{kills} kills");
    for key in KEYS {
        check(&dir.path().join(key), key);
        check(&dir.path().join("all"), key);
    }
}

fn check(log: &Path, key: &str) {
    let text = std::fs::read_to_string(log).expect("the log");
    let mut expected = 0;
    for line in text.lines() {
        let said = match line.strip_prefix(r#"{"message":""#) {
            Some(record) => record.split_once("\\n").expect("a record").0,
            None => line.split_once(": ").expect("a date").1,
        };
        if let Some(number) = said.strip_prefix(key) {
            assert_eq!(number.trim().parse(), Ok(expected), "in {}: {line}", log.display());
            expected += 1;
        }
    }
    assert_eq!(expected, LINES, "{key} in {}", log.display());
}
