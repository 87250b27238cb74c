//! A follower beside real writers, real moves and real rotations.

use super::reading::BLOCK;
use super::*;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Ample for a slow machine; a test that passes never waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("opens");
    file.write_all(text.as_bytes()).expect("writes");
}

fn expect<L: Clone + PartialEq>(follower: &mut Follower<L>, lines: &[&str]) {
    for expected in lines {
        let line = follower.next_before(Instant::now() + PATIENCE).expect("follows").expect("a line");
        assert_eq!(String::from_utf8_lossy(&line.bytes), **expected);
    }
    assert!(follower.ready().expect("follows").is_none(), "no line more");
}

fn follower(path: &Path, begin: Begin) -> Follower<&'static str> {
    let mut follower = Follower::new().expect("begins");
    follower.add("a", path, begin);
    follower
}

#[test]
fn new_lines_come_and_half_ones_wait_for_their_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("a.log");
    append(&log, "old\n");
    for (begin, first) in [(Begin::End, &[][..]), (Begin::Start, &["old"]), (Begin::Offset(1), &["ld"])] {
        let mut follower = follower(&log, begin);
        expect(&mut follower, first);
    }
    let mut follower = follower(&log, Begin::End);
    expect(&mut follower, &[]);
    append(&log, "one\ntw");
    expect(&mut follower, &["one"]);
    append(&log, "o\n\n");
    expect(&mut follower, &["two", ""]);
}

#[test]
fn a_file_that_is_cut_is_read_from_its_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("a.log");
    append(&log, "a long line before\n");
    let mut follower = follower(&log, Begin::End);
    append(&log, "one\nhalf");
    expect(&mut follower, &["one"]);
    File::create(&log).expect("cuts");
    append(&log, "two\n");
    expect(&mut follower, &["two"]);
}

#[test]
fn a_file_that_is_moved_away_is_read_to_its_end_and_then_its_successor() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, old) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
    append(&log, "zero\n");
    let mut follower = follower(&log, Begin::End);
    expect(&mut follower, &[]);
    std::fs::rename(&log, &old).expect("moves");
    append(&old, "one\n");
    expect(&mut follower, &["one"]);
    File::create(&log).expect("the new one");
    // Its writer was not told yet.
    append(&old, "two\n");
    expect(&mut follower, &["two"]);
    append(&old, "last");
    append(&log, "three\n");
    expect(&mut follower, &["last", "three"]);
    append(&old, "nobody reads this\n");
    append(&log, "four\n");
    expect(&mut follower, &["four"]);
    // Again, with nobody looking in between.
    std::fs::rename(&log, &old).expect("moves");
    append(&old, "five\n");
    append(&log, "six\n");
    expect(&mut follower, &["five", "six"]);
    std::fs::remove_file(&log).expect("removes");
    append(&log, "seven\n");
    expect(&mut follower, &["seven"]);
}

#[test]
fn files_and_directories_that_are_missing_are_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("x/y/a.log");
    let mut follower = follower(&log, Begin::End);
    expect(&mut follower, &[]);
    std::fs::create_dir(dir.path().join("x")).expect("makes");
    expect(&mut follower, &[]);
    std::fs::create_dir(dir.path().join("x/y")).expect("makes");
    append(&log, "one\n");
    expect(&mut follower, &["one"]);
    std::fs::remove_dir_all(dir.path().join("x")).expect("removes");
    expect(&mut follower, &[]);
    std::fs::create_dir_all(dir.path().join("x/y")).expect("makes");
    append(&log, "two\n");
    expect(&mut follower, &["two"]);
}

#[test]
fn files_are_added_and_removed_while_it_waits() {
    let dir = tempfile::tempdir().expect("a directory");
    let paths: Vec<PathBuf> = (0..3).map(|n| dir.path().join(format!("{n}.log"))).collect();
    let mut follower = Follower::new().expect("begins");
    let handle = follower.handle();
    let (sender, lines) = mpsc::channel();
    let waiting = std::thread::spawn(move || {
        while let Some(line) = follower.next().expect("follows") {
            sender.send((line.label, String::from_utf8(line.bytes).expect("text"))).expect("listens");
        }
    });
    for (label, path) in paths.iter().enumerate() {
        append(path, &format!("line {label}\n"));
        handle.add(label, path, Begin::Start);
        assert_eq!(lines.recv_timeout(PATIENCE), Ok((label, format!("line {label}"))));
    }
    handle.remove(1);
    append(&paths[1], "unheard\n");
    append(&paths[2], "heard\n");
    assert_eq!(lines.recv_timeout(PATIENCE), Ok((2, "heard".into())));
    handle.close();
    waiting.join().expect("ends");
    assert!(lines.try_recv().is_err());
}

#[test]
fn one_file_under_two_labels_speaks_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("a.log");
    let mut follower = Follower::new().expect("begins");
    let handle = follower.handle();
    handle.add(1, &log, Begin::Start);
    handle.add(2, &log, Begin::Start);
    append(&log, "x\n");
    expect(&mut follower, &["x", "x"]);
    handle.remove(1);
    expect(&mut follower, &[]);
    append(&log, "y\n");
    expect(&mut follower, &["y"]);
}

#[test]
fn a_line_without_end_comes_in_pieces() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("a.log");
    append(&log, &"x".repeat(3 * LINE_MAX));
    let mut follower = follower(&log, Begin::Start);
    let mut length = 0;
    while let Some(line) = follower.ready().expect("follows") {
        length += line.bytes.len();
    }
    assert_eq!(length, 3 * LINE_MAX);
}

#[test]
fn a_flood_in_one_file_does_not_silence_the_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let (flood, quiet) = (dir.path().join("flood.log"), dir.path().join("quiet.log"));
    append(&flood, &"flood\n".repeat(100_000));
    append(&quiet, "quiet\n");
    let mut follower = Follower::new().expect("begins");
    follower.handle().add("flood", &flood, Begin::Start);
    follower.handle().add("quiet", &quiet, Begin::Start);
    let mut before = 0;
    loop {
        let line = follower.ready().expect("follows").expect("a line");
        if line.label == "quiet" {
            break;
        }
        before += 1;
    }
    assert!(before <= BLOCK / 6 + 1, "{before} lines before");
}

#[test]
fn a_file_is_followed_while_its_head_is_taken_away() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory");
    if !crate::rotate::collapse::is_possible(dir.path()) {
        eprintln!("skipped: the head of files cannot be taken away on this file system");
        return;
    }
    let path = dir.path().join("a.log");
    append(&path, "");
    let mut follower = follower(&path, Begin::Start);
    let writer = {
        let path = path.clone();
        std::thread::spawn(move || {
            let mut file = OpenOptions::new().append(true).open(path).expect("opens");
            for n in 0..60_000 {
                writeln!(file, "line {n} of many").expect("writes");
            }
        })
    };
    let rotating = {
        let path = path.clone();
        std::thread::spawn(move || {
            let mut rotations = 0;
            while !writer.is_finished() {
                rotations += usize::from(crate::rotate::collapse::rotate(&path).expect("rotates").is_some());
            }
            rotations
        })
    };
    for n in 0..60_000 {
        // A slow reader finds what it missed in the archives.
        if n % 20_000 == 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
        let line = follower.next_before(Instant::now() + PATIENCE).expect("follows").expect("a line");
        assert_eq!(String::from_utf8_lossy(&line.bytes), format!("line {n} of many"));
    }
    assert!(rotating.join().expect("it rotated") > 1);
    assert!(follower.ready().expect("follows").is_none());
}

#[test]
fn pipes_are_read_beside_files_until_the_follower_is_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("a.log");
    let mut follower = follower(&log, Begin::Start);
    let handle = follower.handle();
    let paths = ["0-out", "1-out"].map(|name| dir.path().join(name));
    let mut writers = paths.each_ref().map(|path| File::from(crate::console_writer(path).expect("opens")));
    writers[0].write_all(b"before\n").expect("waits for its reader");
    for (label, path) in ["b", "c"].into_iter().zip(&paths) {
        handle.add_pipe(label, crate::console_reader(path).expect("opens"));
    }
    expect(&mut follower, &["before"]);
    append(&log, "of a file\n");
    expect(&mut follower, &["of a file"]);
    // A writer leaves, the next one comes.
    writers[0] = File::from(crate::console_writer(&paths[0]).expect("opens"));
    writers[0].write_all(b"again\nhal").expect("writes");
    expect(&mut follower, &["again"]);
    writers[1].write_all(b"other\nno end").expect("writes");
    writers[0].write_all(b"f\nnor here").expect("writes");
    let mut seen = Vec::new();
    handle.close();
    while let Some(line) = follower.next().expect("follows") {
        seen.push((line.label, String::from_utf8(line.bytes).expect("text")));
    }
    seen.sort();
    let expected = [("b", "half"), ("b", "nor here"), ("c", "no end"), ("c", "other")];
    assert_eq!(seen, expected.map(|(label, text)| (label, text.to_owned())));
}

#[test]
fn a_pipe_that_is_never_empty_does_not_keep_files_waiting() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, path) = (dir.path().join("a.log"), dir.path().join("0-out"));
    let mut follower = follower(&log, Begin::Start);
    follower.handle().add_pipe("b", crate::console_reader(&path).expect("opens"));
    let mut writer = File::from(crate::console_writer(&path).expect("opens"));
    let full = "line\n".repeat(3 * BLOCK / 5);
    writer.write_all(full.as_bytes()).expect("there is room for it");
    append(&log, "of a file\n");
    let mut before = 0;
    while follower.next().expect("follows").expect("a line").label == "b" {
        before += 1;
    }
    assert!(before < 3 * BLOCK / 5, "all of the pipe came first");
}

#[test]
fn what_is_said_without_an_end_is_given_out_after_a_while() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("a.log");
    let mut follower = follower(&log, Begin::Start);
    let mut said = || String::from_utf8(follower.next_said().expect("follows").expect("a line").bytes).expect("text");
    append(&log, "one\nName: ");
    assert_eq!((said(), said()), ("one".to_owned(), "Name: ".to_owned()));
    append(&log, "\ntwo\nAge: ");
    assert_eq!((said(), said()), ("two".to_owned(), "Age: ".to_owned()));
    append(&log, "7\n\n");
    assert_eq!((said(), said()), ("7".to_owned(), String::new()));
}
