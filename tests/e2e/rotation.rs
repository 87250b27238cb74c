//! Logs that grow too large, and logs that somebody else moves away.

use std::io::Read;
use std::path::{Path, PathBuf};

use rpm_tests::{Rpm, until};

/// Returns what a log and its archives hold together, oldest first.
fn everything(rpm: &Rpm, log: &str) -> Vec<u8> {
    let logs = rpm.home().join("logs");
    let stem = format!("{}__", log.trim_end_matches(".log"));
    let of_log = |path: &PathBuf| name(path).starts_with(&stem);
    let mut whole = Vec::new();
    // A log may still be cut while it is read, or have been cut into a file that has no archive's name yet.
    until("no rotation to be under way", || {
        let begun = entries(&logs);
        let mut parts: Vec<PathBuf> = begun.iter().filter(|path| of_log(path)).cloned().collect();
        parts.sort_by_key(|path| name(path).trim_end_matches(".gz").to_owned());
        // `a__DATE.log` and `a__DATE.1.log`: the number counts on.
        parts.sort_by_key(|path| {
            let name = name(path);
            let rest = name.trim_end_matches(".gz").trim_end_matches(".log").trim_start_matches(&stem).to_owned();
            let (date, number) = rest.split_once('.').unwrap_or((&rest, "0"));
            (date.to_owned(), number.parse::<u32>().expect("a number"))
        });
        parts.dedup_by_key(|path| name(path).trim_end_matches(".gz").to_owned());
        parts.push(logs.join(log));
        whole = parts.iter().flat_map(|path| content(path)).collect();
        let is_between = |path: &PathBuf| name(path).contains(".copied-") || name(path).ends_with(".copying");
        !begun.iter().any(is_between) && entries(&logs) == begun
    });
    whole
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(directory).expect("lists").map(|entry| entry.expect("an entry").path());
    let mut entries: Vec<PathBuf> = listed.collect();
    entries.sort();
    entries
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

fn content(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Ok(file) = std::fs::File::open(path) else { return bytes };
    match path.extension().is_some_and(|extension| extension == "gz") {
        true => flate2::read::GzDecoder::new(file).read_to_end(&mut bytes),
        false => { file }.read_to_end(&mut bytes),
    }
    .expect("reads");
    bytes
}

/// Starts an app that writes numbered lines and then waits.
fn flood(rpm: &Rpm, keys: &str, lines: usize) -> String {
    let script = rpm.home().join("flood.sh");
    let source =
        format!("#!/bin/sh\nseq -f 'line %.0f of many that are written' {lines}\necho end\nexec sleep 100000\n");
    std::fs::write(&script, source).expect("a script");
    let config = rpm.home().join("flood.json");
    let app = format!(
        r#"{{"apps": [{{"name": "flood", "script": "{}", "interpreter": "/bin/sh"{keys}}}]}}"#,
        script.display()
    );
    std::fs::write(&config, app).expect("a file");
    rpm.ok(&["start", &config.to_string_lossy()]);
    let mut expected: String = (1..=lines).map(|n| format!("line {n} of many that are written\n")).collect();
    expected.push_str("end\n");
    expected
}

fn is_whole(rpm: &Rpm, expected: &str) -> bool {
    everything(rpm, "flood-out.log") == expected.as_bytes()
}

fn archives(rpm: &Rpm) -> usize {
    entries(&rpm.home().join("logs")).iter().filter(|path| name(path).starts_with("flood-out__")).count()
}

#[test]
fn a_log_is_rotated_while_it_is_written() {
    let rpm = Rpm::new();
    let expected = flood(&rpm, r#", "max_log_size": "1M", "log_retain": 0"#, 300_000);
    until("every line once", || archives(&rpm) > 0 && is_whole(&rpm, &expected));
    until("the archives are compressed", || {
        entries(&rpm.home().join("logs")).iter().all(|path| !name(path).contains("__") || name(path).ends_with(".gz"))
    });
    assert!(is_whole(&rpm, &expected));
    let described = rpm.ok(&["describe", "flood"]);
    assert!(described.contains("at 1mb; all archives, gzip"), "{described}");
    assert!(rpm.ok(&["jlist"]).contains(r#""max_log_size":1048576"#));
}

#[test]
fn a_log_that_the_pump_writes_is_rotated_between_two_writes() {
    let rpm = Rpm::new();
    // Too small for taking heads away, so it goes through the pump.
    let expected = flood(&rpm, r#", "max_log_size": "60K", "log_retain": 0, "log_compress": false"#, 20_000);
    until("every line once", || archives(&rpm) > 1 && is_whole(&rpm, &expected));
    for archive in entries(&rpm.home().join("logs")).iter().filter(|path| name(path).contains("__")) {
        assert!(content(archive).ends_with(b"\n"), "{}", archive.display());
    }
}

#[test]
fn only_so_many_archives_are_kept() {
    let rpm = Rpm::new();
    flood(&rpm, r#", "max_log_size": "60K", "log_retain": 2"#, 20_000);
    until("the rest is gone", || archives(&rpm) == 2 && everything(&rpm, "flood-out.log").ends_with(b"end\n"));
}

#[test]
fn a_killed_daemon_rotates_on_without_a_lost_line() {
    let rpm = Rpm::new();
    let expected = flood(&rpm, r#", "max_log_size": "100K", "log_retain": 0"#, 1_000_000);
    for _ in 0..4 {
        rpm.kill_daemon();
    }
    until("every line once", || archives(&rpm) > 0 && is_whole(&rpm, &expected));
}

/// Starts an app that writes a line for each one it gets in a fifo; returns the fifo.
fn echo(rpm: &Rpm, options: &[&str]) -> std::fs::File {
    let (script, fifo) = (rpm.home().join("echo.sh"), rpm.home().join("fifo"));
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    std::fs::write(&script, format!("#!/bin/sh\nexec cat < {}\n", fifo.display())).expect("a script");
    let script = script.to_string_lossy().into_owned();
    rpm.ok(&[&["start", &script, "--name", "echo"], options].concat());
    std::fs::File::options().read(true).write(true).open(&fifo).expect("opens")
}

/// Runs logrotate as cron would, over the app's log.
fn logrotate(rpm: &Rpm, how: &str) {
    let log = rpm.home().join("logs/echo-out.log");
    let config = rpm.home().join("logrotate.conf");
    let program = rpm.command(&[]).get_program().to_string_lossy().into_owned();
    let (home, mode) = (
        rpm.home().display(),
        std::os::unix::fs::PermissionsExt::mode(&log.metadata().expect("it is there").permissions()),
    );
    assert_eq!(mode & 0o777, 0o600);
    let postrotate = format!("postrotate\nRPM_HOME={home} {program} reloadLogs\nendscript");
    let postrotate = if how == "copytruncate" { "" } else { &postrotate };
    std::fs::write(&config, format!("{} {{\nrotate 3\ncompress\n{how}\n{postrotate}\n}}\n", log.display()))
        .expect("writes");
    let state = rpm.home().join("logrotate.state");
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = std::process::Command::new("logrotate")
        .env("PATH", path)
        .args(["--force", "--state"])
        .args([&state, &config])
        .output()
        .expect("logrotate is there (make setup)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What logrotate has put aside, oldest first, and the log.
fn logrotated(rpm: &Rpm) -> Vec<u8> {
    let logs = rpm.home().join("logs");
    let names = ["echo-out.log.3.gz", "echo-out.log.2.gz", "echo-out.log.1.gz", "echo-out.log"];
    names.iter().flat_map(|name| content(&logs.join(name))).collect()
}

#[test]
fn logrotate_moves_a_log_away_under_its_writer() {
    use std::io::Write;

    for (how, options) in [
        ("create 600", &[][..]),
        ("nocreate", &[]),
        ("create 600", &["--log-type", "raw", "-l", "/dev/null"]),
        ("copytruncate", &[]),
    ] {
        let rpm = Rpm::new();
        let mut fifo = echo(&rpm, options);
        let mut expected = String::new();
        for round in 0..3 {
            for n in 0..2_000 {
                expected.push_str(&format!("round {round} line {n}\n"));
            }
            let sent: String = (0..2_000).map(|n| format!("round {round} line {n}\n")).collect();
            fifo.write_all(sent.as_bytes()).expect("writes");
            until("the lines", || logrotated(&rpm).len() == expected.len());
            logrotate(&rpm, how);
            assert!(logrotated(&rpm) == expected.as_bytes(), "{how} {options:?}, round {round}");
            // The cut is behind a line on a block's boundary: somewhere in the newer half.
            assert!(rpm.log("echo-out.log").len() < expected.len() / 2 + 4096, "{how}: it was moved away");
        }
        fifo.write_all(b"after\n").expect("writes");
        expected.push_str("after\n");
        until("what came after", || logrotated(&rpm) == expected.as_bytes());
        assert!(rpm.log("echo-out.log").ends_with("after\n"), "{how}: the worker writes where its log is");
    }
}

#[test]
fn logrotate_comes_when_the_log_has_long_been_silent() {
    use std::io::Write;

    let rpm = Rpm::new();
    let mut fifo = echo(&rpm, &[]);
    let lines: String = (0..2_000).map(|n| format!("line {n}\n")).collect();
    fifo.write_all(lines.as_bytes()).expect("writes");
    until("the lines", || logrotated(&rpm) == lines.as_bytes());
    // A log that grows is looked at every second, a silent one only when something happens to it.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    logrotate(&rpm, "create 600");
    fifo.write_all(b"after\n").expect("writes");
    until("what came after", || logrotated(&rpm) == (lines.clone() + "after\n").as_bytes());
    assert!(rpm.log("echo-out.log").ends_with("after\n"), "the worker writes where its log is");
}

#[test]
fn who_follows_a_log_sees_each_line_once_over_all_its_rotations() {
    use std::io::{BufRead, BufReader, Write};

    for options in [&[][..], &["--time"]] {
        let rpm = Rpm::new();
        let config = rpm.home().join("echo.json");
        let (script, fifo) = (rpm.home().join("echo.sh"), rpm.home().join("fifo"));
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
        std::fs::write(&script, format!("#!/bin/sh\nexec cat < {}\n", fifo.display())).expect("a script");
        let time = !options.is_empty();
        let app = serde_json::json!({ "name": "echo", "script": script, "max_log_size": "70K", "time": time });
        std::fs::write(&config, serde_json::json!({ "apps": [app] }).to_string()).expect("writes");
        rpm.ok(&["start", &config.to_string_lossy()]);
        let mut fifo = std::fs::File::options().read(true).write(true).open(&fifo).expect("opens");
        let mut command = rpm.command(&["logs", "echo", "--raw", "--out"]);
        let mut follower = command.stdout(std::process::Stdio::piped()).spawn().expect("rpm runs");
        let lines = BufReader::new(follower.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let mut numbers = lines.filter_map(|line| line.rsplit_once("line ")?.1.parse::<usize>().ok());
        fifo.write_all(b"line 0\n").expect("writes");
        assert_eq!(numbers.next(), Some(0));
        let writer = std::thread::spawn(move || {
            for n in 1..40_000 {
                writeln!(fifo, "line {n}").expect("writes");
            }
        });
        let seen: Vec<usize> = numbers.by_ref().take(39_999).collect();
        let wrong = seen.iter().zip(1..).find(|(seen, wanted)| **seen != *wanted);
        assert_eq!(wrong, None, "{options:?}: what was seen, and what was to be seen next");
        writer.join().expect("writes");
        follower.kill().expect("it runs");
        follower.wait().expect("an end");
    }
}

#[test]
fn what_was_written_is_found_by_time_and_text() {
    use std::io::Write;

    let rpm = Rpm::new();
    let mut fifo = echo(&rpm, &["--namespace", "x"]);
    fifo.write_all(b"early one\nearly two \xff\n").expect("writes");
    until("the lines", || rpm.log("echo-out.log").contains("early two"));
    let shown = |args: &[&str]| rpm.ok(&[&["logs", "echo", "--nostream", "--raw"], args].concat());
    // The ledger times what comes after a silence when it comes, so a moment in between tells the two apart.
    let moment =
        || std::process::Command::new("date").arg("+%Y-%m-%dT%H:%M:%S.%N%:z").output().expect("date runs").stdout;
    // Longer than the ledger looks on after the last line.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let between = String::from_utf8(moment()).expect("text").trim().to_owned();
    // Times are kept in milliseconds.
    std::thread::sleep(std::time::Duration::from_millis(10));
    fifo.write_all(b"late one\nlate two\n").expect("writes");
    until("the lines", || rpm.log("echo-out.log").contains("late two"));
    until("the ledger", || shown(&["--since", &between]) == "late one\nlate two\n");
    assert_eq!(shown(&["--until", &between, "--grep", "o[nv]e"]), "early one\n");
    assert_eq!(shown(&["--since", "1h", "--lines", "3"]).lines().next(), Some("early two \u{fffd}"));
    assert_eq!(shown(&["--since", "1h", "--err"]), "");
    let records = rpm.ok(&["logs", "echo", "--nostream", "--json", "--since", "1h"]);
    let first: serde_json::Value = serde_json::from_str(records.lines().next().expect("a line")).expect("a record");
    assert!(
        first["message"] == "early one" && first["timestamp"].as_str().is_some_and(|at| at.starts_with("20")),
        "{first}"
    );
    let refused = rpm.fails(&["logs", "echo", "--since", "soon"]);
    assert!(refused.contains("--since cannot be `soon`") && refused.contains("14:30"), "{refused}");
}

#[test]
fn archives_are_searched_too() {
    let rpm = Rpm::new();
    let expected = flood(&rpm, r#", "max_log_size": "1M", "log_retain": 0"#, 200_000);
    until("every line once", || archives(&rpm) > 0 && is_whole(&rpm, &expected));
    let found = rpm.ok(&["logs", "flood", "--nostream", "--raw", "--since", "1h", "--grep", "line (17|199998) "]);
    assert_eq!(found, "line 17 of many that are written\nline 199998 of many that are written\n");
    let all = rpm.ok(&["logs", "flood", "--nostream", "--raw", "--since", "1h"]);
    assert!(all == expected);
}

/// An app that writes numbered lines for as long as it lives, says how many there were, and serves, so that it is
/// replaced without a gap: old and new write at the same time.
const COUNTING: &str = r#"
const fs = require("fs");
let n = 0;
const say = (text) => {
  for (let rest = Buffer.from(text); rest.length > 0; )
    try { rest = rest.subarray(fs.writeSync(1, rest)); } catch (error) { if (error.code !== "EAGAIN") throw error; }
};
const timer = setInterval(() => {
  for (let i = 0; i < 200; i++) say(`worker ${process.pid} line ${n++} of many\n`);
}, 5);
process.on("SIGINT", () => { clearInterval(timer); say(`worker ${process.pid} wrote ${n}\n`); process.exit(); });
require("http").createServer((_, answer) => answer.end()).listen(0);
"#;

#[test]
fn changing_the_way_of_the_output_in_the_middle_of_rotations_costs_no_line() {
    let rpm = Rpm::new();
    let (script, config) = (rpm.home().join("count.js"), rpm.home().join("count.json"));
    std::fs::write(&script, COUNTING).expect("a script");
    let write_config = |keys: &str| {
        let app = format!(
            r#"{{"apps": [{{"name": "count", "script": "{}", "exec_mode": "cluster", "merge_logs": true,
                "max_log_size": "128K", "log_retain": 0, "log_compress": false{keys}}}]}}"#,
            script.display()
        );
        std::fs::write(&config, app).expect("a file");
    };
    write_config("");
    rpm.ok(&["start", &config.to_string_lossy()]);
    // Straight into the file, through the pump, and back.
    for keys in [r#", "time": true"#, "", r#", "time": true"#, ""] {
        std::thread::sleep(std::time::Duration::from_millis(700));
        write_config(keys);
        rpm.ok(&["reload", &config.to_string_lossy()]);
    }
    rpm.ok(&["stop", "count"]);
    let mut seen: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    let all = String::from_utf8(everything(&rpm, "count-out.log")).expect("text");
    let mut ended = 0;
    let mut last = "";
    for line in all.lines() {
        let begin = line.find("worker ").unwrap_or_else(|| panic!("no line: {line:?} after {last:?}"));
        last = line;
        let line = &line[begin..];
        let words: Vec<&str> = line.split(' ').collect();
        let next = seen.entry(words[1].to_owned()).or_default();
        match words[2] {
            "line" => {
                assert_eq!(words[3], next.to_string(), "{line}");
                *next += 1;
            }
            _ => {
                assert_eq!(words[3], next.to_string(), "{line}");
                ended += 1;
            }
        }
    }
    assert_eq!((seen.len(), ended), (5, 5), "{:?}", rpm.daemon_log());
    let archives = entries(&rpm.home().join("logs")).iter().filter(|path| name(path).contains("__")).count();
    assert!(archives > 4, "{archives} archives");
}
