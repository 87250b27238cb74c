//! The pump with real pipes, files and processes.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rpm_logs::pump::RETAIN_MAX;
use rpm_logs::{Event, Kind, Pump, Stream, Target, new_staging};
use rpm_model::{LogFormat, WorkerId};

const PATIENCE: Duration = Duration::from_secs(60);

fn pump() -> (Pump, Receiver<Event>) {
    let (sender, events) = channel();
    let pump = Pump::start(move |event| drop(sender.send(event))).expect("starts");
    (pump, events)
}

fn raw(key: &str, pipe: OwnedFd, logs: &[&Path]) -> Stream {
    Stream {
        key: key.into(),
        pipe,
        staging: new_staging(key).expect("a memory file"),
        resume: false,
        targets: logs.iter().map(|path| Target::Path(path.to_path_buf())).collect(),
        format: LogFormat::Raw,
        date_format: None,
        kind: Kind::Out,
        worker: WorkerId(7),
        app_name: "app".into(),
        max_size: None,
    }
}

fn dated(key: &str, pipe: OwnedFd, logs: &[&Path]) -> Stream {
    Stream { date_format: Some("YYYY-MM-DDTHH:mm:ss.SSS".into()), ..raw(key, pipe, logs) }
}

fn json(key: &str, pipe: OwnedFd, logs: &[&Path]) -> Stream {
    Stream { format: LogFormat::Json, ..raw(key, pipe, logs) }
}

fn pipe() -> (OwnedFd, File) {
    let (reader, writer) = rpm_sys::fd::pipe(None).expect("a pipe");
    (reader, writer.into())
}

fn ended(events: &Receiver<Event>, key: &str) {
    match events.recv_timeout(PATIENCE).expect("an event") {
        Event::Ended { key: told } => assert_eq!(told, key),
        other => panic!("{other:?}"),
    }
}

/// Waits for a condition that nobody announces.
fn until(condition: impl Fn() -> bool) {
    for _ in 0..6000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("the log")
}

fn without_date(line: &str) -> &str {
    let (date, rest) = line.split_once(": ").expect("a date");
    assert_eq!(date.len(), "2026-11-22T12:43:52.300".len(), "{line}");
    rest
}

fn message(line: &str) -> String {
    let record: serde_json::Value = serde_json::from_str(line).expect("a record");
    assert_eq!((record["process_id"].as_u64(), record["app_name"].as_str()), (Some(7), Some("app")));
    record["message"].as_str().expect("text").trim_end_matches('\n').to_owned()
}

#[test]
fn two_hundred_thousand_lines_arrive_intact_however_they_are_cut() {
    const LINES: usize = 200_000;
    let content: String = (0..LINES).map(|n| format!("line {n} {}\n", "é".repeat(n % 40))).collect();
    let dir = tempfile::tempdir().expect("a directory");
    let (pump, events) = pump();
    for (name, make) in [("dated", dated as fn(&str, OwnedFd, &[&Path]) -> Stream), ("json", json), ("raw", raw)] {
        let log = dir.path().join(name);
        let (reader, mut writer) = pipe();
        pump.add(make(name, reader, &[&log]));
        let (mut rest, mut size) = (content.as_bytes(), 1);
        while !rest.is_empty() {
            // 1 to 99,999 bytes, all odd to lines and pages.
            size = (size * 7919 + 13) % 99_999 + 1;
            let (piece, more) = rest.split_at(size.min(rest.len()));
            writer.write_all(piece).expect("the pump reads");
            rest = more;
        }
        drop(writer);
        ended(&events, name);
        let text = read(&log);
        assert_eq!(text.lines().count(), LINES, "{name}");
        for (line, expected) in text.lines().zip(content.lines()) {
            match name {
                "dated" => assert_eq!(without_date(line), expected),
                "json" => assert_eq!(message(line), expected),
                _ => assert_eq!(line, expected),
            }
        }
    }
    assert_eq!(pump.counters().bytes_taken, 3 * content.len() as u64);
    assert_eq!(pump.counters().streams, 0);
}

#[test]
fn lines_longer_than_any_buffer_arrive_whole_but_for_the_splits_of_json() {
    let dir = tempfile::tempdir().expect("a directory");
    let (pump, events) = pump();
    let content = format!("{}\nshort\n{}", "é".repeat(1_700_000), "x".repeat(300_000));
    for (name, make) in [("dated", dated as fn(&str, OwnedFd, &[&Path]) -> Stream), ("json", json)] {
        let log = dir.path().join(name);
        let (reader, mut writer) = pipe();
        pump.add(make(name, reader, &[&log]));
        writer.write_all(content.as_bytes()).expect("the pump reads");
        drop(writer);
        ended(&events, name);
        let text = read(&log);
        if name == "dated" {
            assert!(text.lines().map(without_date).eq(content.lines()));
        } else {
            assert_eq!(text.lines().map(message).collect::<String>(), content.replace('\n', ""));
            assert_eq!(text.lines().count(), 4 + 1 + 1, "3.4 MB in records of 1 MiB");
        }
    }
}

#[test]
fn lines_of_streams_that_share_a_file_are_not_torn() {
    sharing(dated, without_date);
    sharing(raw, |line| line);
}

fn sharing(make: fn(&str, OwnedFd, &[&Path]) -> Stream, plain: fn(&str) -> &str) {
    const LINES: usize = 20_000;
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("all.log");
    let (pump, events) = pump();
    // All are there before the first speaks, so the pump knows that they share.
    let writers = ["a", "b", "c"].map(|name| {
        let (reader, writer) = pipe();
        pump.add(make(name, reader, &[&dir.path().join(name), &log]));
        (name, writer)
    });
    let mut children = Vec::new();
    until(|| pump.counters().streams == 3);
    for (name, writer) in writers {
        // `dd` writes pieces of 37 bytes, so no write ends where a line does.
        let script = format!("seq -f '{name} %.0f' {LINES} | dd bs=37 status=none");
        let child = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).stdout(writer).spawn();
        children.push(child.expect("sh starts"));
    }
    for _ in &children {
        assert!(matches!(events.recv_timeout(PATIENCE), Ok(Event::Ended { .. })));
    }
    for mut child in children {
        assert!(child.wait().expect("waits").success());
    }
    let all = read(&log);
    for name in ["a", "b", "c"] {
        let expected = (1..=LINES).map(|n| format!("{name} {n}"));
        let own = read(&dir.path().join(name));
        assert!(own.lines().map(plain).eq(expected.clone()), "{name}");
        let shared = all.lines().map(plain).filter(|line| line.starts_with(name));
        assert!(shared.eq(expected), "{name} in the shared file");
    }
}

#[test]
fn files_are_opened_anew_after_they_were_moved() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, old) = (dir.path().join("out.log"), dir.path().join("out.log.1"));
    let (pump, events) = pump();
    let (reader, mut writer) = pipe();
    pump.add(raw("x", reader, &[&log]));
    writer.write_all(b"one\n").expect("writes");
    until(|| log.exists() && read(&log) == "one\n");
    std::fs::rename(&log, &old).expect("moves");
    writer.write_all(b"two\n").expect("writes");
    until(|| read(&old) == "one\ntwo\n");
    pump.reopen();
    until(|| log.exists());
    writer.write_all(b"three\n").expect("writes");
    drop(writer);
    ended(&events, "x");
    assert_eq!((read(&old).as_str(), read(&log).as_str()), ("one\ntwo\n", "three\n"));
}

#[test]
fn a_file_that_cannot_be_written_is_told_once_and_written_later() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, good) = (dir.path().join("out.log"), dir.path().join("all.log"));
    std::fs::create_dir(&log).expect("in its place");
    let (pump, events) = pump();
    let (reader, mut writer) = pipe();
    pump.add(dated("x", reader, &[&log, &good]));
    writer.write_all(b"one\n").expect("writes");
    match events.recv_timeout(PATIENCE).expect("an event") {
        Event::WriteFailed { path, .. } => assert_eq!(path.as_deref(), Some(&*log)),
        other => panic!("{other:?}"),
    }
    writer.write_all(b"two\n").expect("the app goes on");
    // At least one more attempt fails, silently.
    until(|| pump.counters().write_errors >= 2);
    std::fs::remove_dir(&log).expect("out of the way");
    match events.recv_timeout(PATIENCE).expect("an event") {
        Event::WriteResumed { path, .. } => assert_eq!(path.as_deref(), Some(&*log)),
        other => panic!("{other:?}"),
    }
    drop(writer);
    ended(&events, "x");
    for log in [&log, &good] {
        assert!(read(log).lines().map(without_date).eq(["one", "two"]), "{}", log.display());
    }
    assert_eq!(pump.counters().bytes_dropped, 0);
}

#[test]
fn a_full_disk_does_not_stop_the_app() {
    let (pump, events) = pump();
    let (reader, mut writer) = pipe();
    pump.add(raw("x", reader, &[Path::new("/dev/full")]));
    // Far more than pipe and staging hold: returns only when somebody reads.
    let line = [&[b'x'; 99][..], b"\n"].concat();
    for _ in 0..200 {
        writer.write_all(&line.repeat(1000)).expect("the app goes on");
    }
    drop(writer);
    // What is not dropped is kept: no more than the bound, and what one look at the pipe takes.
    until(|| pump.counters().bytes_taken == 20_000_000);
    until(|| pump.counters().bytes_dropped >= 20_000_000 - RETAIN_MAX - (1 << 20));
    let told: Vec<Event> = events.try_iter().collect();
    assert!(
        matches!(&told[..], [Event::WriteFailed { error, .. }, Event::Dropping { is_first: true, .. }, ..]
            if error.kind() == io::ErrorKind::StorageFull),
        "{told:?}"
    );
    let dropped = told.iter().filter_map(|event| match event {
        Event::Dropping { lost, lines, .. } => Some((lost, lines)),
        _ => None,
    });
    let (bytes, lines) = dropped.fold((0, 0), |(bytes, lines), (lost, more)| (bytes + lost, lines + more));
    assert_eq!(lines, bytes / 100, "of {bytes} bytes in lines of 100");
}

#[test]
fn a_prompt_shows_before_its_line_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("out.log");
    let (pump, events) = pump();
    let (reader, mut writer) = pipe();
    pump.add(dated("x", reader, &[&log]));
    writer.write_all(b"Name: ").expect("writes");
    until(|| log.exists() && read(&log).ends_with("Name: "));
    writer.write_all(b"Bob\n").expect("writes");
    drop(writer);
    ended(&events, "x");
    assert_eq!(without_date(read(&log).trim_end()), "Name: Bob");
}

#[test]
fn an_idle_pump_sleeps() {
    let dir = tempfile::tempdir().expect("a directory");
    let (pump, events) = pump();
    let (reader, mut writer) = pipe();
    pump.add(json("x", reader, &[&dir.path().join("log")]));
    writer.write_all(b"one\nhalf").expect("writes");
    until(|| pump.counters().bytes_written > 0);
    let before = pump.counters().wakeups;
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(pump.counters().wakeups, before);
    drop(writer);
    ended(&events, "x");
    pump.finish("x");
    ended(&events, "x");
}

#[test]
fn a_new_pump_goes_on_where_the_last_one_stopped() {
    let dir = tempfile::tempdir().expect("a directory");
    let log: PathBuf = dir.path().join("out.log");
    let (reader, mut writer) = pipe();
    let staging = new_staging("x").expect("a memory file");
    let text: String = (0..50_000).map(|n| format!("{n}\n")).collect();
    // The pipe is full half of the time, so every pump stops with something in it.
    let writing = std::thread::spawn(move || writer.write_all(text.as_bytes()).expect("somebody reads"));
    let stream = || Stream {
        pipe: reader.try_clone().expect("a duplicate"),
        staging: staging.try_clone().expect("a duplicate"),
        resume: true,
        ..dated("x", reader.try_clone().expect("a duplicate"), &[&log])
    };
    for _ in 0..20 {
        let (pump, _events) = pump();
        pump.add(stream());
        pump.shutdown();
    }
    let (pump, events) = pump();
    pump.add(stream());
    ended(&events, "x");
    writing.join().expect("wrote");
    assert!(read(&log).lines().map(without_date).eq((0..50_000).map(|n| n.to_string())));
}
