//! Every end leaves a record, whoever asked for it and whoever looked: `why`, `crashes`, `events`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rpm_tests::{Rpm, app, signal, until};
use serde_json::{Value, json};

fn crashes(rpm: &Rpm, words: &[&str]) -> Vec<Value> {
    let text = rpm.ok(&[&["crashes", "--json"], words].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("crashes is not JSON ({error}): {text}"))
}

/// Waits until so many ends are on record: the last words of a process are waited for.
fn until_recorded(rpm: &Rpm, words: &[&str], count: usize) -> Vec<Value> {
    let mut last = Vec::new();
    until(&format!("{count} ends in crashes {words:?}"), || {
        last = crashes(rpm, words);
        last.len() >= count
    });
    assert_eq!(last.len(), count, "{last:?}");
    last
}

#[test]
fn a_crash_leaves_its_code_its_last_words_and_a_sentence() {
    let rpm = Rpm::new();
    rpm.fails(&["start", &app("crash.js"), "--name", "crash", "--max-restarts", "3"]);
    let ends = until_recorded(&rpm, &["crash"], 3);
    for end in &ends {
        assert_eq!(end["exit"]["code"], 3, "{end}");
        assert!(end["err"].to_string().contains("about to fail"), "{end}");
        assert!(end["memory_max"].as_u64() > Some(1 << 20) && end["asked"].is_null(), "{end}");
    }
    let text = rpm.ok(&["why", "crash"]);
    assert!(text.contains("crash, worker 0, is down and is not tried again: exit code 3 after"), "{text}");
    assert!(text.contains("| about to fail: no database") && text.contains("restart overlimit"), "{text}");
    let document: Value = serde_json::from_str(&rpm.ok(&["why", "crash", "--json"])).expect("JSON");
    assert_eq!(document[0]["workers"][0]["crashes_last_hour"], 3);
    assert!(rpm.fails(&["why", "crahs"]).contains("did you mean `crash`?"));
}

#[test]
fn a_core_dump_can_be_found() {
    let rpm = Rpm::new();
    let script = rpm.home().join("dumps.sh");
    std::fs::write(&script, "ulimit -c unlimited\nkill -SEGV $$\n").expect("a file");
    let script = script.to_str().expect("UTF-8");
    let home = rpm.home().to_str().expect("UTF-8");
    rpm.run(&["start", script, "--name", "dumps", "--no-autorestart", "--cwd", home]);
    let end = until_recorded(&rpm, &["dumps"], 1).remove(0);
    // Where the machine's limit or its disk allows none, there is none to be found.
    if end["exit"]["signal"]["core"] == false {
        return assert!(end["core"].is_null(), "{end}");
    }
    let told = match end["core"]["file"].as_str() {
        Some(file) => {
            assert!(Path::new(file).is_file(), "{end}");
            file
        }
        None => {
            let taken = &end["core"]["taken"];
            taken["ask"].as_str().or(taken["by"].as_str()).expect("a file or a program")
        }
    };
    let (crashes, why) = (rpm.ok(&["crashes", "dumps"]), rpm.ok(&["why", "dumps"]));
    assert!(crashes.contains("its core dump: ") && crashes.contains(told), "{crashes}");
    assert!(why.contains("its core dump: "), "{why}");
}

#[test]
fn an_end_that_was_asked_for_says_by_whom_and_is_no_crash() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    rpm.ok(&["restart", "idle"]);
    rpm.ok(&["stop", "idle"]);
    let ends = until_recorded(&rpm, &["idle", "--all"], 2);
    assert_eq!([&ends[0]["asked"]["cause"], &ends[1]["asked"]["cause"]], ["restart", "stop"]);
    let by = ends[1]["asked"]["by"].as_str().expect("somebody");
    assert!(by.contains("(rpm stop idle)"), "{by}");
    assert!(crashes(&rpm, &["idle"]).is_empty());
    let text = rpm.ok(&["why", "idle"]);
    assert!(text.contains("is stopped: ") && text.contains("asked to leave: stop by "), "{text}");
    let events = rpm.ok(&["events", "idle"]);
    assert!(events.contains("command    restart by ") && events.contains("stopping   stop by "), "{events}");
    // What is on record of an app outlives the app, and the daemon.
    rpm.ok(&["delete", "idle"]);
    rpm.ok(&["kill"]);
    assert!(rpm.ok(&["why", "idle"]).contains("idle is not there; its last process ended"));
    assert_eq!(crashes(&rpm, &["idle", "--all"]).len(), 2);
}

/// Crashes and ends that were asked for shared a file: a few restarts of a chatty app, and its crash was forgotten.
#[test]
fn restarts_of_a_chatty_app_push_no_crash_out_of_the_record() {
    let rpm = Rpm::new();
    let gate = rpm.home().join("crashed");
    let line = format!(
        "i=0; while [ $i -lt 250 ]; do echo $i {0}; i=$((i + 1)); done; \
         [ -e {1} ] || {{ touch {1}; exit 42; }}; exec sleep 100000",
        "x".repeat(300),
        gate.to_str().expect("plain letters")
    );
    let script = json!({ "name": "chatty", "script": "/bin/sh", "args": ["-c", line] });
    rpm.fails(&["start", &rpm.file_of(script, &json!({ "restart_delay": 10 }))]);
    let ends = until_recorded(&rpm, &["chatty"], 1);
    let lines = ends[0]["out"].as_array().expect("lines");
    assert!(lines.len() == 200 && lines[199].as_str().is_some_and(|line| line.starts_with("249 ")), "{}", lines.len());
    rpm.until("online again", "chatty", |list| list[0]["pm2_env"]["status"] == "online");
    for _ in 0..20 {
        rpm.ok(&["restart", "chatty"]);
    }
    until("a restart on record", || crashes(&rpm, &["chatty", "--all", "-n", "1"])[0]["asked"]["cause"] == "restart");
    let ends = crashes(&rpm, &["chatty"]);
    assert_eq!((ends.len(), &ends[0]["exit"]["code"]), (1, &json!(42)));
    assert!(rpm.ok(&["why", "chatty"]).contains("crashes in the last hour 1"));
    let text = rpm.ok(&["crashes", "chatty", "-n", "0"]);
    assert!(text.contains("on record of chatty: 1 crash; none is shown"), "{text}");
}

#[test]
fn a_signal_from_outside_is_told_as_one() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    signal(rpm.pids("idle")[0], 9);
    let ends = until_recorded(&rpm, &["idle"], 1);
    assert_eq!(ends[0]["exit"]["signal"]["signal"], 9);
    rpm.until("online again", "idle", |list| list[0]["pm2_env"]["status"] == "online");
    let text = rpm.ok(&["why", "idle"]);
    assert!(text.contains("is online since") && text.contains("SIGKILL after"), "{text}");
}

#[test]
fn an_end_while_no_daemon_ran_is_recorded_once() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle", "--no-autorestart"]);
    let (daemon, worker) = (rpm.daemon_pid(), rpm.pids("idle")[0]);
    // The keeper starts the next daemon at once; one that is stopped first cannot hear of the end.
    signal(daemon, 19);
    signal(worker, 15);
    until("the end of the worker", || !rpm_tests::is_alive(worker));
    signal(daemon, 9);
    let ends = until_recorded(&rpm, &["idle"], 1);
    assert_eq!(ends[0]["exit"]["signal"]["signal"], 15, "{ends:?}");
    // Killed again and again, the same end is told again and recorded once.
    rpm.kill_daemon();
    rpm.kill_daemon();
    assert_eq!(crashes(&rpm, &["idle"]).len(), 1);
}

#[test]
fn an_end_while_no_daemon_ran_tells_what_is_known_and_no_more() {
    let rpm = Rpm::new();
    let file = rpm.file_of(
        json!({ "name": "talks", "script": "/bin/sh", "args": ["-c", "echo life of $$; exec sleep 100000"] }),
        &json!({ "autorestart": false }),
    );
    rpm.ok(&["start", &file]);
    let gate = rpm.home().join("gate");
    let slow = json!({ "name": "slow", "script": app("slow-stop.sh"), "interpreter": "sh", "env": { "GATE": gate } });
    rpm.ok(&["start", &rpm.file_of(slow, &json!({ "kill_timeout": 60_000 }))]);
    let said = |name: &str, word: &str| until(word, || rpm.log(&format!("{name}-out.log")).contains(word));
    said("talks", "life of");
    rpm.ok(&["restart", "talks"]);
    let worker = rpm.pids("talks")[0];
    said("talks", &format!("life of {worker}"));
    // The next daemon goes on with where a life begins in its log, and with who has asked.
    rpm.kill_daemon();
    let mut stop =
        rpm.command(&["stop", "slow"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("rpm runs");
    said("slow", "leaving");
    let (daemon, slow) = (rpm.daemon_pid(), rpm.pids("slow")[0]);
    signal(daemon, 19);
    signal(worker, 15);
    std::fs::write(&gate, "").expect("a file");
    until("both ends", || [worker, slow].iter().all(|pid| !rpm_tests::is_alive(*pid)));
    signal(daemon, 9);
    let _ = stop.wait();
    let ends = until_recorded(&rpm, &["talks"], 1);
    assert_eq!(ends[0]["out"], json!([format!("life of {worker}")]), "{}", ends[0]);
    assert!(ends[0]["memory"].is_null() && ends[0]["cpu"].is_null() && ends[0]["memory_max"].is_u64(), "{}", ends[0]);
    let text = rpm.ok(&["crashes", "talks"]);
    assert!(text.contains("  memory at most ") && !text.contains("cpu 0%"), "{text}");
    let ends = until_recorded(&rpm, &["slow", "--all"], 1);
    assert_eq!(ends[0]["asked"]["cause"], "stop", "{}", ends[0]);
    assert!(ends[0]["asked"]["by"].as_str().is_some_and(|by| by.contains("(rpm stop slow)")), "{}", ends[0]);
}

#[test]
fn events_can_be_followed() {
    let rpm = Rpm::new();
    rpm.ok(&["ping"]);
    let mut follower = rpm.command(&["events", "-f", "--json"]).stdout(Stdio::piped()).spawn().expect("rpm runs");
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    let lines = BufReader::new(follower.stdout.take().expect("a pipe")).lines();
    let events = lines.map(|line| serde_json::from_str::<Value>(&line.expect("a line")).expect("JSON"));
    let online = events.into_iter().find(|event| event["event"] == "online" && event["app"] == "idle");
    assert!(online.is_some_and(|event| event["worker"] == 0));
    let _ = follower.kill();
    let _ = follower.wait();
}

/// A control group whose processes may have 32 MiB together.
struct Tight(PathBuf);

impl Tight {
    const LIMIT: &str = "33554432";

    /// Makes one, by whichever version of control groups the machine lets us; `None` where it does not.
    fn new(name: &str) -> Option<Self> {
        let unified = std::fs::read_to_string("/sys/fs/cgroup/cgroup.subtree_control").unwrap_or_default();
        let (parent, file) = match unified.split_whitespace().any(|controller| controller == "memory") {
            true => ("/sys/fs/cgroup", "memory.max"),
            false => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        };
        let path = Path::new(parent).join(format!("rpm-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        let group = Self(path);
        std::fs::write(group.0.join(file), Self::LIMIT).ok()?;
        // Else the machine's swap would take what is too much.
        let _ = std::fs::write(group.0.join("memory.swap.max"), "0");
        let _ = std::fs::write(group.0.join("memory.swappiness"), "0");
        Some(group)
    }

    /// Returns a shell's line that enters the group and takes more than there is.
    fn greedy(&self) -> String {
        let path = self.0.to_str().expect("plain letters");
        format!("echo $$ > {path}/cgroup.procs && exec python3 -c 'x = bytearray(1 << 28)'")
    }
}

impl Drop for Tight {
    fn drop(&mut self) {
        // Empty once the kernel is through with those that were in it.
        for _ in 0..200 {
            match std::fs::remove_dir(&self.0) {
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(()) | Err(_) => return,
            }
        }
    }
}

#[test]
fn who_is_killed_by_the_kernel_for_want_of_memory_is_told_to_be() {
    let Some(group) = Tight::new("own") else {
        eprintln!("skipped: no control group with a limit of memory can be made here");
        return;
    };
    let rpm = Rpm::new();
    let script = json!({ "name": "greedy", "script": "/bin/sh", "args": ["-c", group.greedy()] });
    rpm.fails(&["start", &rpm.file_of(script, &json!({ "max_restarts": 2, "restart_delay": 50 }))]);
    let ends = until_recorded(&rpm, &["greedy"], 2);
    for end in &ends {
        assert_eq!((&end["exit"]["signal"]["signal"], &end["oom"]), (&json!(9), &json!(true)), "{end}");
    }
    let why = rpm.ok(&["why", "greedy"]);
    assert!(why.contains("out of memory"), "{why}");
    let events = rpm.ok(&["events", "greedy"]);
    assert!(events.contains("crash: out of memory"), "{events}");
    // A kill from outside is none of the kernel's.
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    signal(rpm.pids("idle")[0], 9);
    let ends = until_recorded(&rpm, &["idle"], 1);
    assert_ne!(ends[0]["oom"], json!(true), "{}", ends[0]);
}

/// Whether the kernel's log may be read and names processes by the numbers that we know.
fn kernel_names_its_victims() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link == Path::new("pid:[4026531836]"))
        && std::fs::File::open("/dev/kmsg").is_ok()
}

/// The machine's count was compared at the first end after a kill, whoever that was; the second victim of three, and
/// whoever ended while no daemon ran, were "not sent by rpm".
#[test]
fn a_kill_for_want_of_memory_is_laid_to_its_victim_and_to_nobody_else() {
    let groups: Vec<Tight> = ["first", "second", "third", "strange"].into_iter().filter_map(Tight::new).collect();
    let [victims @ .., strange] = &groups[..] else { return };
    if victims.len() < 3 || !kernel_names_its_victims() {
        eprintln!("skipped: the kernel does not tell us whom it kills");
        return;
    }
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "idle"]);
    // One that is none of rpm's.
    let killed = std::process::Command::new("/bin/sh").args(["-c", &strange.greedy()]).status().expect("a shell");
    assert!(!killed.success());
    signal(rpm.pids("idle")[0], 9);
    let ends = until_recorded(&rpm, &["idle"], 1);
    assert_eq!(ends[0]["oom"], json!(false), "{}", ends[0]);
    assert!(rpm.ok(&["why", "idle"]).contains("not sent by rpm"));

    for (name, daemon_is_away) in [("seen", false), ("missed", true)] {
        let gate = rpm.home().join(format!("{name}.gate"));
        let gate = gate.to_str().expect("plain letters");
        assert!(std::process::Command::new("mkfifo").arg(gate).status().expect("mkfifo").success());
        let apps = victims.iter().enumerate().map(|(index, group)| {
            let line = format!("read line < {gate}; {}", group.greedy());
            json!({ "name": format!("{name}-{index}"), "script": "/bin/sh", "args": ["-c", line], "autorestart": false })
        });
        let apps: Vec<Value> = apps.collect();
        let file = rpm.home().join(format!("{name}.json"));
        std::fs::write(&file, json!({ "apps": apps }).to_string()).expect("a file");
        rpm.ok(&["start", file.to_str().expect("plain letters")]);
        let pids: Vec<i32> = (0..3).map(|index| rpm.pids(&format!("{name}-{index}"))[0]).collect();
        let daemon = rpm.daemon_pid();
        if daemon_is_away {
            signal(daemon, 19);
        }
        // Whoever opens it for writing lets all go on.
        let opened = std::fs::OpenOptions::new().write(true).open(gate).expect("somebody reads");
        std::io::Write::write_all(&mut &opened, b"go\ngo\ngo\n").expect("somebody reads");
        drop(opened);
        until("the ends of all", || pids.iter().all(|pid| !rpm_tests::is_alive(*pid)));
        if daemon_is_away {
            signal(daemon, 9);
        }
        for index in 0..3 {
            let ends = until_recorded(&rpm, &[&format!("{name}-{index}")], 1);
            assert_eq!(ends[0]["oom"], json!(true), "{}", ends[0]);
        }
    }
}
