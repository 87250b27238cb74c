//! The dashboard in a real terminal: tmux.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rpm_tests::{Load, Rpm, app, free_port, signal, until};
use serde_json::json;

/// A terminal of our own with the dashboard in it. It ends with the test.
struct Terminal {
    /// The name of tmux's socket: each terminal has a server of its own.
    server: String,
}

impl Terminal {
    fn open(rpm: &Rpm, (width, height): (u16, u16), words: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = format!("rpm-monit-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let terminal = Self { server };
        let program = rpm.command(&[]).get_program().to_string_lossy().into_owned();
        let program = format!("RPM_HOME={} {words} ; echo left with $?; read", rpm.home().display())
            .replace("monit", &format!("{program} monit"));
        let (width, height) = (width.to_string(), height.to_string());
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &width, "-y", &height, &program]);
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = Command::new("tmux").args(["-L", &self.server]).args(args).output().expect("tmux runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Types; names of keys (`Enter`) are those of tmux.
    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn resize(&self, width: u16, height: u16) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// Waits for a screen with all these words.
    fn shows(&self, words: &[&str]) -> String {
        let mut screen = String::new();
        until(&format!("a screen with {words:?}"), || {
            screen = self.screen();
            words.iter().all(|word| screen.contains(word))
        });
        screen
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn monit_works_in_every_size_and_leaves_the_terminal_as_it_was() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "web", "-i", "2"]);
    rpm.ok(&["start", &app("idle.sh"), "--name", "名前 one"]);
    let terminal = Terminal::open(&rpm, (80, 24), "monit");
    for (width, height) in [(80, 24), (60, 20), (200, 60), (120, 36)] {
        terminal.resize(width, height);
        let screen = terminal.shows(&["2/2 up", "web:1", "名前 one", "[log]", "? help"]);
        assert!(screen.lines().all(|line| line.chars().count() <= usize::from(width)), "{screen}");
    }
    terminal.resize(20, 5);
    terminal.shows(&["too small"]);
    terminal.resize(80, 24);
    terminal.shows(&["2/2 up", "web:1"]);
    for (key, words) in [("?", "Looking"), ("d", "peak"), ("e", "[events]"), ("l", "[log]")] {
        terminal.keys(&[key]);
        terminal.shows(&[words, "Esc back"]);
        terminal.keys(&["Escape"]);
        terminal.shows(&["web:1"]);
    }
    terminal.keys(&["q"]);
    let screen = terminal.shows(&["left with 0"]);
    assert!(!screen.contains("online"), "{screen}");
}

#[test]
fn monit_acts_on_what_is_selected_and_asks_where_it_hurts() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "api"]);
    rpm.ok(&["start", &app("idle.sh"), "--name", "other"]);
    let terminal = Terminal::open(&rpm, (100, 30), "monit");
    terminal.shows(&["api", "other"]);
    let before = rpm.pids("api");
    terminal.keys(&["R"]);
    terminal.shows(&["restart api?"]);
    terminal.keys(&["n"]);
    terminal.shows(&["nothing was done"]);
    assert_eq!(rpm.pids("api"), before);
    terminal.keys(&["R", "y"]);
    terminal.shows(&["restart api: done (1 worker)"]);
    assert_ne!(rpm.pids("api"), before);
    // What others do is seen, too, and what is gone is no longer selected.
    terminal.keys(&[":", "scale other 3", "Enter"]);
    terminal.shows(&["scale other to 3 workers: done", "3/3 up", "other:2"]);
    rpm.ok(&["delete", "api"]);
    until("the deleted app to go", || !terminal.screen().contains(" api "));
    terminal.keys(&["e"]);
    terminal.shows(&["delete", "online"]);
    // Escape and the next key at once would be Alt and that key.
    terminal.keys(&["Escape"]);
    terminal.shows(&["3/3 up"]);
    terminal.keys(&[":", "stop other", "Enter", "y"]);
    terminal.shows(&["○ stopped"]);
    assert_eq!(rpm.statuses("other"), ["stopped"; 3]);
    terminal.keys(&[":", "restrat", "Enter"]);
    terminal.shows(&["no command is called restrat; is it restart?"]);
}

#[test]
fn monit_runs_a_job() {
    let rpm = Rpm::new();
    let job = json!({ "name": "once", "script": "/bin/sh", "args": ["-c", "echo ran"], "schedule": "0 0 1 1 *" });
    rpm.ok(&["start", &rpm.file_of(job, &json!({}))]);
    rpm.ok(&["start", &app("idle.sh"), "--name", "api"]);
    let terminal = Terminal::open(&rpm, (100, 30), "monit");
    terminal.shows(&["once", "scheduled"]);
    terminal.keys(&[":", "run once", "Enter"]);
    terminal.shows(&["run once: done", "ran"]);
    assert_eq!(rpm.log("once-out.log"), "ran\n");
    terminal.keys(&[":", "run api", "Enter"]);
    terminal.shows(&["api", "no job"]);
}

#[test]
fn monit_follows_and_searches_the_log() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("lines.sh"), "--name", "lines"]);
    let terminal = Terminal::open(&rpm, (80, 24), "monit");
    terminal.shows(&["done"]);
    terminal.keys(&["l", "/", "line 99", "Enter"]);
    terminal.shows(&["▶line 999", "line 99"]);
    terminal.keys(&["n", "n"]);
    terminal.shows(&["▶line 997"]);
    terminal.keys(&["E"]);
    terminal.shows(&["no errors have been written yet"]);
}

/// There are no files then, and `runtime` alone reads what the apps say.
#[test]
fn monit_beside_runtime_shows_what_is_said_from_then_on() {
    let rpm = Rpm::new();
    let script = rpm.home().join("counter.sh");
    let source = "#!/bin/bash\nfor ((n = 1; ; n++)); do echo \"said $n\"; read -rt 0.1 <> <(:); done\n";
    std::fs::write(&script, source).expect("a script");
    let mut runtime = rpm.command(&["runtime", &script.to_string_lossy(), "--name", "count"]);
    let mut runtime = runtime.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("rpm runs");
    until("the daemon", || rpm.home().join("rpm.sock").exists());
    let terminal = Terminal::open(&rpm, (100, 30), "monit");
    terminal.shows(&["count", "said 1"]);
    terminal.keys(&["q"]);
    terminal.shows(&["left with 0"]);
    signal(runtime.id() as i32, 15);
    assert!(runtime.wait().expect("it ends").success());
}

#[test]
fn monit_waits_for_a_daemon_that_dies_and_starts_none_after_kill() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "api"]);
    let terminal = Terminal::open(&rpm, (80, 24), "monit");
    terminal.shows(&["online"]);
    let old = rpm.daemon_pid();
    rpm.kill_daemon();
    until("another daemon on the screen", || {
        let screen = terminal.screen();
        screen.contains("daemon ")
            && screen.contains("up ")
            && !screen.contains(&format!("daemon {old} "))
            && !screen.contains("daemon away")
    });
    terminal.shows(&["api", "online"]);
    rpm.ok(&["kill"]);
    terminal.shows(&["daemon away", "no daemon is running; trying again", "api"]);
    rpm.ok(&["ping"]);
    terminal.shows(&["nothing is running"]);
}

#[test]
fn monit_without_colours_read_only_recorded_and_seen_again() {
    let rpm = Rpm::new();
    rpm.fails(&["start", &app("crash.js"), "--name", "bad", "--no-autorestart"]);
    let file = rpm.home().join("session");
    let words = format!("NO_COLOR=1 monit --read-only --record {}", file.display());
    let terminal = Terminal::open(&rpm, (100, 30), &words);
    let screen = terminal.shows(&["bad", "exit code 3 after", "read-only"]);
    assert!(!screen.contains("exit code 3, exit code 3"), "{screen}");
    let coloured = terminal.tmux(&["capture-pane", "-p", "-e"]);
    assert!(
        !["\u{1b}[3", "\u{1b}[9", "\u{1b}[4"].iter().any(|code| {
            // 39 and 49 are the terminal's own colours.
            coloured.match_indices(code).any(|(place, _)| !coloured[place + code.len()..].starts_with("9m"))
        }),
        "{coloured:?}"
    );
    terminal.keys(&["s"]);
    terminal.shows(&["this dashboard is read-only"]);
    terminal.keys(&["q"]);
    terminal.shows(&["left with 0"]);
    let replay = Terminal::open(&rpm, (100, 30), &format!("monit --replay {}", file.display()));
    replay.shows(&["bad", "exit code 3 after", "this dashboard is read-only"]);
    replay.keys(&["q"]);
    replay.shows(&["left with 0"]);
}

#[test]
fn monit_shows_what_passes_through_a_balancer() {
    let (rpm, port) = (Rpm::new(), free_port());
    let file = json!({
        "apps": [{ "name": "api", "script": app("http.js"), "instances": 2, "exec_mode": "proxy" }],
        "upstreams": [{ "name": "backend", "servers": [{ "app": "api" }] }],
        "balancers": [{ "name": "web", "listen": format!("127.0.0.1:{port}"), "upstream": "backend" }],
    });
    let path = rpm.home().join("ecosystem.json");
    std::fs::write(&path, file.to_string()).expect("written");
    rpm.ok(&["start", &path.to_string_lossy()]);
    let load = Load::start(port, "/", 2);
    let terminal = Terminal::open(&rpm, (120, 36), "monit");
    // A rate takes two looks.
    let mut screen = terminal.shows(&["api:0", "api:1", "web", "req/s", "a second", "p99", "in flight"]);
    let rate = |screen: &str, name: &str| -> f64 {
        let line = screen.lines().find(|line| line.contains(name)).unwrap_or_default();
        let words = line.split_whitespace().skip_while(|word| !word.contains(name));
        let rates = words.filter_map(|word| match word.strip_suffix('k') {
            Some(thousands) => thousands.parse::<f64>().ok().map(|thousands| thousands * 1000.0),
            None => word.parse().ok(),
        });
        rates.last().unwrap_or_default()
    };
    until("both workers have a rate", || {
        screen = terminal.screen();
        rate(&screen, "api:0") > 1.0 && rate(&screen, "api:1") > 1.0
    });
    assert_eq!(load.stop(), Vec::<String>::new());
    until("nothing passes any more", || {
        screen = terminal.screen();
        rate(&screen, "api:0") < 0.1 && rate(&screen, "api:1") < 0.1
    });
}

#[test]
fn monit_tells_why_and_who_and_does_to_releases_what_the_command_line_does() {
    let rpm = Rpm::new();
    let port = free_port().to_string();
    let spec = |canary: bool, version: &str| {
        let env = json!({ "PORT": port, "V": version });
        let mut app =
            json!({ "name": "api", "script": app("http.js"), "instances": 2, "exec_mode": "cluster", "env": env });
        if canary {
            app["canary"] = json!(1);
        }
        rpm.file_of(app, &json!({}))
    };
    rpm.ok(&["start", &spec(false, "1")]);
    let terminal = Terminal::open(&rpm, (110, 30), "monit");
    terminal.shows(&["api", "2/2 up"]);
    // What happened before, and to no worker, is there; what happens says who asked.
    terminal.keys(&["e"]);
    terminal.shows(&["[events]", "command start by"]);
    rpm.ok(&["restart", "api"]);
    terminal.shows(&["command restart by", "rpm restart api"]);
    terminal.keys(&["Escape"]);
    terminal.shows(&["2/2 up"]);
    let killed = rpm.pids("api")[0];
    signal(killed, 9);
    rpm.until("it runs again", "api", |all| {
        all.iter().all(|one| one["pid"] != killed && one["pm2_env"]["status"] == "online")
    });
    terminal.keys(&[":", "why api", "Enter"]);
    terminal.shows(&["why api", "api, worker 0, is online", "SIGKILL", "what happened last"]);
    terminal.keys(&["Escape"]);
    terminal.keys(&[":", "crashes", "Enter"]);
    terminal.shows(&["crashes of api", "SIGKILL"]);
    terminal.keys(&["Escape"]);
    terminal.keys(&[":", "save", "Enter"]);
    terminal.shows(&["save the list: done"]);
    terminal.keys(&[":", "flush api", "Enter", "y"]);
    terminal.shows(&["empty the logs of api: done (2 workers)"]);
    // A release of which the first workers wait is told without asking.
    rpm.ok(&["reload", &spec(true, "2")]);
    terminal.keys(&["Down", "Up"]);
    terminal.shows(&["1 of 2 run the new release; :promote api or :abort api"]);
    terminal.keys(&[":", "promote api", "Enter", "y"]);
    terminal.shows(&["promote api: done"]);
    terminal.keys(&[":", "rollback api", "Enter", "y"]);
    terminal.shows(&["roll back api: done"]);
    let env = |rpm: &Rpm| rpm.processes("api")[1]["pm2_env"]["V"].clone();
    assert_eq!(env(&rpm), "1");
}

#[test]
fn monit_says_that_the_daemon_hangs() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "api"]);
    let terminal = Terminal::open(&rpm, (100, 30), "monit");
    terminal.shows(&["api", "online"]);
    let daemon = rpm.daemon_pid();
    signal(daemon, 19);
    terminal.shows(&["the daemon does not answer; as of", "daemon silent"]);
    signal(daemon, 18);
    until("it answers again", || !terminal.screen().contains("does not answer"));
}
