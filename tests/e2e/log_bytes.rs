//! Bytes are bytes, readers are slow, disks are full: the app goes on, and nothing grows.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use rpm_tests::{Rpm, signal, until};

/// Resident memory of a process, in KiB.
fn memory(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// Starts a Python program with more keys in the ecosystem file.
fn python(rpm: &Rpm, source: &str, keys: &str) {
    let (script, config) = (rpm.home().join("app.py"), rpm.home().join("app.json"));
    std::fs::write(&script, source).expect("writes");
    let app =
        format!(r#"{{"apps": [{{"name": "app", "script": "{}", "interpreter": "python3"{keys}}}]}}"#, script.display());
    std::fs::write(&config, app).expect("writes");
    rpm.ok(&["start", &config.to_string_lossy()]);
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_default()
}

#[test]
fn bytes_are_bytes_whichever_way_they_go() {
    let source = r#"
import os, time
os.write(1, b"\xff\xfe\x00 and \x00\n" + bytes(range(256)) + b"\n")
time.sleep(100000)
"#;
    let mut expected = b"\xff\xfe\x00 and \x00\n".to_vec();
    expected.extend(0..=255u8);
    expected.push(b'\n');
    // Direct, and through the pump.
    for keys in ["", r#", "max_log_size": "60K""#] {
        let rpm = Rpm::new();
        python(&rpm, source, keys);
        let log = rpm.home().join("logs/app-out.log");
        until("the bytes", || read(&log) == expected);
        let shown = rpm.run(&["logs", "app", "--raw", "--nostream", "--out"]).stdout;
        assert_eq!(shown, expected, "as they were written");
        let shown = rpm.ok(&["logs", "app", "--nostream"]);
        assert!(!shown.contains('\u{0}') && shown.contains("\\x00"), "nothing reaches the terminal that moves it");
    }
}

#[test]
fn a_line_of_200_megabytes_does_not_fill_the_memory() {
    let source = r#"
import os, time
piece = b"y" * (1 << 20)
for _ in range(200):
    os.write(1, piece)
os.write(1, b"\nend\n")
time.sleep(100000)
"#;
    for keys in [r#", "time": true, "max_log_size": 0"#, r#", "log_type": "json", "max_log_size": 0"#] {
        let rpm = Rpm::new();
        rpm.ok(&["ping"]);
        let mut most = 0;
        python(&rpm, source, keys);
        let log = rpm.home().join("logs/app-out.log");
        until("the end", || {
            most = most.max(memory(rpm.daemon_pid()));
            let length = log.metadata().map_or(0, |meta| meta.len());
            length > 200 << 20 && {
                let mut file = std::fs::File::open(&log).expect("opens");
                std::io::Seek::seek(&mut file, std::io::SeekFrom::End(-200)).expect("seeks");
                let mut tail = Vec::new();
                file.read_to_end(&mut tail).expect("reads");
                tail.windows(3).any(|three| three == b"end")
            }
        });
        assert!(most < 64 << 10, "{keys}: {most} KiB");
        // A reader bears it, too.
        let shown = rpm.run(&["logs", "app", "--raw", "--nostream", "--out", "--lines", "1"]).stdout;
        assert!(shown.windows(3).any(|three| three == b"end"), "{keys}");
    }
}

#[test]
fn a_reader_that_is_stopped_holds_nobody_up() {
    let source = r#"
import os, time
for n in range(400000):
    os.write(1, b"line %d of a log that nobody reads\n" % n)
os.write(1, b"end\n")
time.sleep(100000)
"#;
    let rpm = Rpm::new();
    rpm.ok(&["ping"]);
    let mut reader =
        rpm.command(&["logs", "--raw"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("rpm runs");
    signal(reader.id() as i32, 19);
    let before = memory(rpm.daemon_pid());
    python(&rpm, source, "");
    until("the end", || rpm.log("app-out.log").ends_with("end\n"));
    let grown = memory(rpm.daemon_pid()).saturating_sub(before);
    assert!(grown < 8 << 10, "the daemon grew by {grown} KiB");
    signal(reader.id() as i32, 18);
    reader.kill().expect("it runs");
    reader.wait().expect("it ran");
}

#[test]
fn a_full_disk_stops_no_app_and_what_is_lost_is_told() {
    let rpm = Rpm::new();
    let disk = rpm.home().join("disk");
    std::fs::create_dir(&disk).expect("makes");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(&disk).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: mounting a small file system needs root");
        return;
    }
    let _unmount = Unmount(disk.clone());
    let source = format!(
        r#"
import os, time
for n in range(600000):
    os.write(1, b"line %d of a log that does not fit its disk\n" % n)
open({:?}, "w").close()
while True:
    os.write(1, b"again\n")
    time.sleep(0.05)
"#,
        rpm.home().join("done")
    );
    let (log, filler) = (disk.join("app.log"), disk.join("filler"));
    std::fs::write(&filler, vec![0; 10 << 20]).expect("writes");
    python(&rpm, &source, &format!(r#", "time": true, "max_log_size": 0, "out_file": "{}""#, log.display()));
    until("the app to come to its end", || rpm.home().join("done").exists());
    until("the loss to be told", || rpm.daemon_log().contains("is being dropped"));
    assert_eq!(rpm.statuses("app"), ["online"]);
    let described = rpm.ok(&["describe", "app"]);
    assert!(described.contains("output lost"), "{described}");
    std::fs::remove_file(filler).expect("removes");
    until("writing to resume", || read(&log).ends_with(b"again\n"));
    assert!(rpm.daemon_log().contains("is written again"));
    let whole = String::from_utf8(read(&log)).expect("text");
    let is_whole = |line: &str| {
        let said = line.split_once(": ").map(|(_, said)| said);
        said.is_some_and(|said| said == "again" || said.starts_with("line ") && said.ends_with(" fit its disk"))
    };
    let torn: Vec<_> = whole.lines().filter(|line| !is_whole(line)).collect();
    assert!(torn.is_empty(), "lines that are not whole: {torn:?}");
}

/// The worker alone hears that its write has failed. That the disk is full is seen all the same, and told.
#[test]
fn a_full_disk_under_a_log_that_the_worker_writes_itself_is_noticed() {
    let rpm = Rpm::new();
    let disk = rpm.home().join("disk");
    std::fs::create_dir(&disk).expect("makes");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&disk).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: mounting a small file system needs root");
        return;
    }
    let _unmount = Unmount(disk.clone());
    let source = r#"
import os, time
while True:
    try:
        os.write(1, b"x" * 999 + b"\n")
    except OSError:
        pass
    time.sleep(0.001)
"#;
    let log = disk.join("app.log");
    python(&rpm, source, &format!(r#", "max_log_size": 0, "out_file": "{}""#, log.display()));
    until("the full disk to be told", || rpm.daemon_log().contains("the disk is full"));
    assert_eq!(rpm.statuses("app"), ["online"]);
    let described = rpm.ok(&["describe", "app"]);
    assert!(described.contains("log cannot be written") && described.contains("the disk is full"), "{described}");
    rpm.ok(&["flush", "app"]);
    until("writing to resume", || rpm.daemon_log().contains("can be written again"));
    until("lines", || read(&log).ends_with(b"x\n"));
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
