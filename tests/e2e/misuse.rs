//! What each command refuses: one line that names it, a code that is not 0, and nothing half done.

use rpm_tests::{Rpm, app};
use serde_json::Value;

/// A command line, and the words that its first line must have.
type Case = (&'static [&'static str], &'static [&'static str]);

/// Options of commands that change an app; `restart` and `reload` take the same.
const CHANGES: &[(&str, &str)] = &[
    ("--instances", "many"),
    ("--max-memory-restart", "lots"),
    ("--kill-timeout", "soon"),
    ("--listen-timeout", "soon"),
    ("--restart-delay", "soon"),
    ("--exp-backoff-restart-delay", "soon"),
    ("--min-uptime", "-5"),
    ("--drain-timeout", "soon"),
    ("--watch-delay", "soon"),
    ("--ignore-watch", "!(a)"),
    ("--max-restarts", "-1"),
    ("--reload-parallel", "0"),
    ("--cron-restart", "noon"),
    ("--cron-restart", "99 * * * *"),
    ("--cron-restart", "0 0 31 2 *"),
    ("--schedule", "noon"),
    ("--schedule", "99 * * * *"),
    ("--time-zone", "Mars/Olympus"),
    ("--on-overlap", "often"),
    ("--stop-exit-codes", "300"),
    ("--log-type", "xml"),
    ("--interpreter", "no-such-program"),
    ("--exec-mode", "thread"),
    ("--socket-mode", "private"),
    ("--listen", "nowhere"),
    ("--kill-signal", "SIGNOPE"),
    ("--cwd", "/nowhere/at/all"),
    ("--uid", "nobody-of-this-name"),
    ("--gid", "no-group-of-this-name"),
    ("--user", "nobody-of-this-name"),
    ("--env", "nowhere"),
    ("--env-file", "/nowhere/.env"),
    ("--only", "x"),
    ("--parallel", "x"),
    ("--output", "/"),
    ("--error", "/etc/passwd/x"),
    ("--log", "/tmp"),
    ("--pid", "/"),
    ("--update-env", "1"),
    ("--nope", "1"),
];

/// Options of those commands that take any text.
const ANY_TEXT: &[&str] =
    &["--name", "--namespace", "--interpreter-args", "--filter-env", "--watch", "--ext", "--log-date-format"];

const COMMANDS: &[Case] = &[
    (&["scale"], &["<APP>"]),
    (&["scale", "a"], &["<N|+N|-N|max>"]),
    (&["scale", "a", "x"], &["x", "max"]),
    (&["scale", "a", "1.5"], &["1.5"]),
    (&["scale", "a", "20000"], &["20000"]),
    (&["scale", "all", "2"], &["all"]),
    (&["scale", "a", "2", "3"], &["3"]),
    (&["autoscale", "a"], &["a has no `autoscale`"]),
    (&["autoscale", "nope"], &["nope"]),
    (&["autoscale", "a", "of"], &["off"]),
    (&["stop"], &["<TARGETS>"]),
    (&["stop", "a", "nope"], &["nope"]),
    (&["stop", "/(/"], &["/(/"]),
    (&["delete", "a", "99"], &["99"]),
    (&["restart", "a", "nope"], &["nope"]),
    (&["reload", "nope"], &["nope"]),
    (&["reset"], &["<TARGETS>"]),
    (&["startOrRestart"], &["<FILE>"]),
    (&["startOrRestart", "nope.json"], &["nope.json"]),
    (&["startOrReload", "nope.js"], &["nope.js"]),
    (&["sendSignal"], &["<SIGNAL>"]),
    (&["sendSignal", "SIGNOPE", "a"], &["SIGNOPE"]),
    (&["sendSignal", "99", "a"], &["99"]),
    (&["sendSignal", "SIGUSR2", "nope"], &["nope"]),
    (&["send", "0"], &["<LINE>"]),
    (&["send", "99", "x"], &["99"]),
    (&["trigger", "a"], &["<ACTION>"]),
    (&["trigger", "a", "nope"], &["nope"]),
    (&["trigger", "nope", "x"], &["nope"]),
    (&["attach"], &["<TARGET>"]),
    (&["attach", "99"], &["99"]),
    (&["logs", "--lines", "x"], &["--lines", "x"]),
    (&["logs", "--since", "soon", "--nostream"], &["--since", "soon"]),
    (&["logs", "--until", "25:99", "--nostream"], &["--until", "25:99"]),
    (&["logs", "--since", "2h", "--until", "3h"], &["--until", "3h"]),
    (&["logs", "--grep", "(", "--nostream"], &["--grep", "("]),
    (&["logs", "/(/"], &["/(/"]),
    (&["flush", "nope"], &["nope"]),
    (&["list", "--sort", "colour"], &["colour", "cpu"]),
    (&["list", "a"], &["list", "a"]),
    (&["list", "--sort", "name:up"], &["up", "desc"]),
    (&["describe"], &["<TARGET>"]),
    (&["env", "99"], &["99"]),
    (&["pid", "a", "b"], &["b"]),
    (&["why", "nope"], &["nope"]),
    (&["crashes", "--since", "soon"], &["--since", "soon"]),
    (&["events", "nope"], &["nope"]),
    (&["monit", "--theme", "pink"], &["pink", "dark"]),
    (&["monit", "--replay", "/nowhere/session"], &["/nowhere/session"]),
    (&["monit"], &["terminal"]),
    (&["serve", "/nowhere/at/all"], &["/nowhere/at/all"]),
    (&["serve", ".", "99999"], &["99999"]),
    (&["serve", ".", "x"], &["x", "number"]),
    (&["serve", "--basic-auth-username", "u"], &["--basic-auth-password"]),
    (&["serve", "--basic-auth-username", "u:v", "--basic-auth-password", "p"], &["u:v", "colon"]),
    (&["deploy"], &["<WORDS>"]),
    (&["deploy", "/nowhere/eco.json", "production"], &["/nowhere/eco.json"]),
    (&["startup", "dos"], &["dos", "systemd"]),
    (&["startup", "systemd", "-u", "nobody-of-this-name"], &["nobody-of-this-name"]),
    (&["startup", "systemd", "--hp", "/nowhere/at/all"], &["--hp", "/nowhere/at/all"]),
    (&["startup", "systemd", "--service-name", "a/b"], &["a/b"]),
    (&["unstartup", "dos"], &["dos", "systemd"]),
    (&["logrotate", "-u", "nobody-of-this-name"], &["nobody-of-this-name"]),
    (&["save", "extra"], &["extra"]),
    (&["kill", "extra"], &["extra"]),
    (&["update", "/nowhere/rpm"], &["/nowhere/rpm"]),
    (&["completion", "nosuchshell"], &["nosuchshell"]),
    (&["init", "nope"], &["nope", "simple"]),
    (&["runtime", "--nope", "x.js"], &["--nope"]),
    (&["dev"], &["<TARGETS>"]),
    (&["dev", "nope.js"], &["nope.js"]),
    (&["set", "a:", "1"], &["a:"]),
    (&["multiset", "a b c"], &["c"]),
    (&["get", "nope"], &["nope"]),
    (&["unset"], &["<KEY>"]),
    (&["uninstall", "nope"], &["nope"]),
    (&["module:update", "nope"], &["nope"]),
    (&["module:generate", ""], &["name"]),
    (&["import", "nope"], &["nope"]),
    (&["import", "nginx"], &["nginx"]),
    (&["import", "nginx", "/nowhere/nginx.conf"], &["/nowhere/nginx.conf"]),
    (&["export", "nope"], &["nope"]),
    (&["drain", "up"], &["<SERVER>"]),
    (&["ready", "up", "server"], &["up"]),
    (&["weight", "up", "server", "x"], &["x", "number"]),
    (&["monitor", "nope"], &["nope"]),
    (&["pull", "nope"], &["nope"]),
    (&["backward"], &["<NAME>"]),
];

/// What a refused command may not change.
fn untouched(rpm: &Rpm) -> Vec<(Value, Value, Value)> {
    let part = |process: &Value| {
        let env = &process["pm2_env"];
        (process["pid"].clone(), env["restart_time"].clone(), env["status"].clone())
    };
    rpm.jlist().iter().map(part).collect()
}

/// Returns what is wrong with how a command was refused, if something is.
fn refused(rpm: &Rpm, args: &[&str], words: &[&str]) -> Option<String> {
    // A directory without an ecosystem file, so that none is taken for what was forgotten.
    let output = rpm.command(args).current_dir(rpm.home().join("logs")).output().expect("rpm runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let first = said.lines().next().unwrap_or_default();
    let errors = said.lines().filter(|line| line.starts_with("error")).count();
    let is_right = output.status.code() == Some(1)
        && first.starts_with("error: ")
        && errors == 1
        && words.iter().all(|word| first.contains(word));
    (!is_right).then(|| format!("{args:?}: {}\n{said}", output.status))
}

#[test]
fn what_is_wrong_is_named_in_one_line_and_nothing_is_touched() {
    let rpm = Rpm::new();
    rpm.ok(&["start", &app("idle.sh"), "--name", "a"]);
    let before = untouched(&rpm);
    let mut wrong: Vec<String> = COMMANDS.iter().filter_map(|(args, words)| refused(&rpm, args, words)).collect();
    for command in ["restart", "reload"] {
        for (option, value) in CHANGES {
            let word = format!("{option}={value}");
            // What is said of an unknown option is its name.
            let name = option.trim_end_matches("=1");
            wrong.extend(refused(&rpm, &[command, "a", &word], &[name]));
            if untouched(&rpm) != before {
                wrong.push(format!("{command} a {word} has touched the app"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(untouched(&rpm), before);
}

#[test]
fn every_option_that_takes_a_value_is_among_those() {
    let help = Rpm::new().ok(&["restart", "--help"]);
    let takes_value = |line: &str| {
        let option = line.split_whitespace().find(|word| word.starts_with("--"))?;
        let (_, rest) = line.split_once(option)?;
        (rest.starts_with(" <") || rest.starts_with(" [<")).then(|| option.to_owned())
    };
    let options: Vec<String> = help.lines().filter_map(takes_value).collect();
    assert!(options.len() > 30, "{help}");
    let is_tried =
        |option: &&String| CHANGES.iter().any(|(name, _)| name == option) || ANY_TEXT.contains(&option.as_str());
    let untried: Vec<&String> = options.iter().filter(|option| !is_tried(option)).collect();
    assert!(untried.is_empty(), "nobody tries bad values of {untried:?}");
}

/// A daemon was once started, and left there, for a script that does not exist.
#[test]
fn a_wrong_start_starts_no_daemon() {
    let rpm = Rpm::new();
    let idle = app("idle.sh");
    let file = rpm.home().join("eco.json");
    std::fs::write(&file, r#"{ "apps": [{ "name": "a" }] }"#).expect("written");
    let file = file.to_string_lossy().into_owned();
    for args in [
        &["start", "nope.js"][..],
        &["start", "nope.config.js"],
        &["start", "no-such-app"],
        &["start", &file],
        &["start", &idle, "-i", "many"],
        &["start", &idle, "--output", "/"],
        &["start", &idle, "nope.js"],
        &["startOrRestart", &file],
        &["serve", "/nowhere/at/all"],
        &["runtime", "nope.js"],
        &["dev", "nope.js"],
    ] {
        let error = rpm.fails(args);
        assert!(error.starts_with("error: "), "{args:?}: {error}");
        let left = rpm.home().join("keeper.pid");
        assert!(!left.exists(), "{args:?} has started a daemon");
    }
    rpm.ok(&["start", &idle]);
}
