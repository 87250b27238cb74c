//! `health_check` of an app: what is asked of each of its workers.

use std::time::Duration;

use rpm_model::{AppSpec, HealthSpec, Probe, Runtime, StackDump};
use serde_json::Value;

use super::{Given, Reader, policy};
use crate::balance::section::{Section, place};
use crate::balance::upstream;
use crate::values;

/// The sorts of check, of which one is wanted.
const SORTS: [&str; 3] = ["path", "tcp", "exec"];

pub(super) fn apply(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    hang(reader, spec);
    let Some(setting) = reader.app.settings.get("health_check") else { return };
    match &setting.value {
        Value::Null | Value::Bool(false) => spec.health = None,
        Value::Bool(true) => spec.health = Some(HealthSpec::default()),
        Value::Object(object) => {
            let label = format!("{}, `health_check`", reader.app.label);
            let mut section = Section::new(object, place(setting), label, reader.report);
            spec.health = Some(read(&mut section));
            section.finish();
        }
        _ => reader.refuse("health_check", "expected an object with `path`, `tcp` or `exec`, or true to connect only"),
    }
}

/// The shortest time in which a worker may be asked for a sign of life.
const WATCHDOG_LEAST: Duration = Duration::from_millis(100);

fn hang(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    match reader.read("watchdog", values::duration) {
        Given::Value(Duration::ZERO) => spec.watchdog = None,
        Given::Value(short) if short < WATCHDOG_LEAST => reader.refuse("watchdog", "expected at least 100 ms"),
        given => given.put_option(&mut spec.watchdog),
    }
    let how = |value: &serde_json::Value| match value.as_str() {
        Some("inspector") => Some(StackDump::Of(Runtime::Inspector)),
        _ => policy::signal(value).map(StackDump::Signal),
    };
    match reader.read("stack_dump", |value| Some(how(value))) {
        Given::Value(None) => {
            let expected = "expected a signal, for example \"SIGQUIT\", or \"inspector\" for Node";
            reader.refuse("stack_dump", expected);
        }
        Given::Value(Some(StackDump::Of(Runtime::Inspector))) if !spec.is_run_by_node() => {
            reader.refuse("stack_dump", "the app is not run by Node: expected a signal, for example \"SIGQUIT\"");
        }
        Given::Value(how) => spec.stack_dump = how,
        Given::Default => spec.stack_dump = None,
        Given::Absent => {}
    }
}

fn read(check: &mut Section<'_, '_>) -> HealthSpec {
    let usual = HealthSpec::default();
    let given: Vec<&str> = SORTS.into_iter().filter(|key| check.has(key)).collect();
    if let [first, second, ..] = given[..] {
        let reason = format!("it has `{first}` and `{second}`");
        check.refuse_whole(&reason, "expected one of `path` (HTTP), `tcp` and `exec`");
    }
    let path = upstream::path(check);
    let argv = check.read("exec", "a command: a list of text, or one text", |value| {
        values::words(value).filter(|argv| argv.first().is_some_and(|program| !program.is_empty()))
    });
    check.flag("tcp");
    let (host, body) = (check.text("host"), check.text("body"));
    let status = upstream::statuses(check);
    let port = upstream::port(check);
    let asks = ["host", "status", "body"].into_iter().find(|key| check.has(key));
    if let Some(key) = asks.filter(|_| !check.has("path")) {
        check.refuse_whole(&format!("`{key}` says how something is asked for"), "expected `path` too");
    }
    if check.has("exec") && check.has("port") {
        check.refuse_whole("`port` is where a connection is made", "expected `path` or `tcp` with it");
    }
    let probe = match (path, argv) {
        (Some(path), _) => Probe::Http { path, host, status, body, port },
        (None, Some(argv)) => Probe::Exec { argv },
        (None, None) => Probe::Tcp { port },
    };
    let spec = HealthSpec {
        probe,
        interval: check.duration("interval").unwrap_or(usual.interval),
        timeout: check.duration("timeout").unwrap_or(usual.timeout),
        rise: check.count("rise").unwrap_or(usual.rise),
        fall: check.count("fall").unwrap_or(usual.fall),
        start_period: check.duration("start_period").unwrap_or(usual.start_period),
    };
    for key in ["interval", "timeout"] {
        let zero = check.read(key, "a time", values::duration).is_some_and(|time| time.is_zero());
        if zero && let Some((_, setting)) = check.find(key) {
            check.refuse(&setting, "expected a time longer than nothing, for example \"5s\"");
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rpm_model::{AppSpec, HealthSpec, Probe};

    fn load(check: &str) -> Result<Option<HealthSpec>, String> {
        let cwd = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let path = std::env::var("PATH").expect("a PATH");
        let shell_env = [("PATH".to_owned(), path), ("HOME".to_owned(), "/home/me".to_owned())].into();
        let context = crate::Context { cwd, shell_env, cpus: 2, ..crate::Context::default() };
        let text = format!(r#"{{ "apps": [{{ "script": "runs.sh", "health_check": {check} }}] }}"#);
        let loaded = crate::load_text(&text, crate::Format::Json, "stdin", &crate::AppOptions::default(), &context);
        let spec = |specs: Vec<AppSpec>| specs.into_iter().next().expect("one app").health;
        loaded.map(|loaded| spec(loaded.specs)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_sort_of_check_is_read() {
        assert_eq!(load("true"), Ok(Some(HealthSpec::default())));
        assert_eq!(load("false"), Ok(None));
        let http =
            load(r#"{ "path": "/health", "status": [200, "300-302"], "body": "ok", "interval": "1s", "rise": 2 }"#);
        let http = http.expect("it is fine").expect("it is there");
        assert!(matches!(&http.probe, Probe::Http { path, status, body: Some(body), .. }
            if path == "/health" && status.len() == 2 && body == "ok"));
        assert_eq!((http.interval, http.rise, http.fall), (Duration::from_secs(1), 2, 3));
        let exec =
            load(r#"{ "exec": "./check.sh --fast", "timeout": 500 }"#).expect("it is fine").expect("it is there");
        assert_eq!(exec.probe, Probe::Exec { argv: vec!["./check.sh".into(), "--fast".into()] });
        let tcp = load(r#"{ "tcp": true, "port": 9000 }"#).expect("it is fine").expect("it is there");
        assert_eq!(tcp.probe, Probe::Tcp { port: Some(9000) });
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (check, told) in [
            (r#"{ "path": "/h", "exec": "x" }"#, "it has `path` and `exec`"),
            (r#"{ "path": "health" }"#, "a path that begins with /"),
            (r#"{ "status": 200 }"#, "`status` says how something is asked for"),
            (r#"{ "exec": [] }"#, "a command"),
            (r#"{ "path": "/", "interval": 0 }"#, "longer than nothing"),
            (r#"{ "path": "/", "rise": 0 }"#, "at least 1"),
            (r#"{ "path": "/", "intervall": 5 }"#, "interval"),
            (r#""/health""#, "expected an object"),
        ] {
            let error = load(check).expect_err(check);
            assert!(error.contains(told), "{check}: {error}");
        }
    }
}
