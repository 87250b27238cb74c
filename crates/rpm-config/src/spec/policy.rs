//! When to start again, when to give up, how to stop, and when the app is ready.

use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::Signal;
use rpm_model::{AppSpec, Environment, RestartPolicy, StopPolicy};
use serde_json::Value;

use super::{Given, Reader};
use crate::values;

/// PM2's lower bound of `min_uptime`; below it a crash at start cannot be told from a run.
const MIN_UPTIME_LEAST: Duration = Duration::from_millis(100);

pub(super) fn apply(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    restart(reader, &mut spec.restart);
    stop(reader, &mut spec.stop);
    reader.read("autostart", Value::as_bool).put(&mut spec.autostart, true);
    reader.read("wait_ready", Value::as_bool).put(&mut spec.wait_ready, false);
    match reader.read("listen_timeout", values::duration) {
        Given::Default => spec.listen_timeout = usual_listen_timeout(&reader.context.shell_env),
        given => given.put_option(&mut spec.listen_timeout),
    }
    reader.read("min_ready", values::duration).put(&mut spec.min_ready, Duration::ZERO);
    match reader.read("progress_deadline", values::duration) {
        Given::Value(Duration::ZERO) => spec.progress_deadline = None,
        given => given.put_option(&mut spec.progress_deadline),
    }
    reader.read("rollback", Value::as_bool).put(&mut spec.rollback, true);
    reader.read("drain_timeout", values::duration).put(&mut spec.drain_timeout, Duration::from_secs(10));
    match reader.read("max_memory_restart", values::memory) {
        Given::Value(bytes) if bytes.0 == 0 => spec.max_memory_restart = None,
        given => given.put_option(&mut spec.max_memory_restart),
    }
}

fn restart(reader: &mut Reader<'_>, policy: &mut RestartPolicy) {
    let defaults = RestartPolicy::default();
    reader.read("autorestart", Value::as_bool).put(&mut policy.autorestart, defaults.autorestart);
    reader.read("stop_exit_codes", values::exit_codes).put(&mut policy.stop_exit_codes, defaults.stop_exit_codes);
    reader.read("max_restarts", values::number).put(&mut policy.max_restarts, defaults.max_restarts);
    reader.read("restart_delay", values::duration).put(&mut policy.restart_delay, defaults.restart_delay);
    match reader.read("min_uptime", values::duration) {
        Given::Value(short) if short < MIN_UPTIME_LEAST => reader.refuse("min_uptime", "expected at least 100 ms"),
        given => given.put(&mut policy.min_uptime, defaults.min_uptime),
    }
    match reader.read("exp_backoff_restart_delay", values::duration) {
        Given::Value(Duration::ZERO) => policy.exp_backoff = None,
        given => given.put_option(&mut policy.exp_backoff),
    }
}

/// What holds for every app of a shell that says so; PM2's daemon reads these variables when it starts.
pub(super) fn usual_stop(shell: &Environment) -> StopPolicy {
    let mut policy = StopPolicy::default();
    let variable = |name: &str| shell.get(name).filter(|value| !value.is_empty()).cloned().map(Value::String);
    if let Some(timeout) = variable("PM2_KILL_TIMEOUT").and_then(|value| values::duration(&value)) {
        policy.kill_timeout = timeout;
    }
    if let Some(signal) = variable("PM2_KILL_SIGNAL").and_then(|value| signal(&value)) {
        policy.signal = signal;
    }
    policy.shutdown_with_message = variable("PM2_KILL_USE_MESSAGE").is_some_and(|value| value != "false");
    policy
}

/// The same of PM2's `PM2_GRACEFUL_LISTEN_TIMEOUT`.
pub(super) fn usual_listen_timeout(shell: &Environment) -> Option<Duration> {
    let value = shell.get("PM2_GRACEFUL_LISTEN_TIMEOUT").filter(|value| !value.is_empty())?;
    values::duration(&Value::String(value.clone()))
}

fn stop(reader: &mut Reader<'_>, policy: &mut StopPolicy) {
    let defaults = usual_stop(&reader.context.shell_env);
    reader.read("kill_timeout", values::duration).put(&mut policy.kill_timeout, defaults.kill_timeout);
    reader.read("treekill", Value::as_bool).put(&mut policy.treekill, defaults.treekill);
    let with_message = reader.read("shutdown_with_message", Value::as_bool);
    with_message.put(&mut policy.shutdown_with_message, defaults.shutdown_with_message);
    match reader.read("kill_signal", |value| Some(signal(value))) {
        Given::Value(None) => {
            reader.refuse("kill_signal", "expected the name or number of a signal, for example SIGTERM")
        }
        Given::Value(Some(signal)) => policy.signal = signal,
        Given::Default => policy.signal = defaults.signal,
        Given::Absent => {}
    }
}

/// Reads `SIGTERM`, `term` or 15.
pub(super) fn signal(value: &Value) -> Option<i32> {
    let text = values::text(value)?.trim().to_ascii_uppercase();
    if let Ok(number) = text.parse::<i32>() {
        return Signal::try_from(number).ok().map(|signal| signal as i32);
    }
    let name = if text.starts_with("SIG") { text } else { format!("SIG{text}") };
    Signal::from_str(&name).ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::signal;

    #[test]
    fn signals_have_names_and_numbers() {
        for (value, number) in [(json!("SIGTERM"), 15), (json!("hup"), 1), (json!(9), 9), (json!("12"), 12)] {
            assert_eq!(signal(&value), Some(number), "{value}");
        }
        for bad in [json!("SIGNOPE"), json!(0), json!(99), json!("")] {
            assert_eq!(signal(&bad), None, "{bad}");
        }
    }
}
