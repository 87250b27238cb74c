//! Where the output goes.

use std::time::Duration;

use rpm_model::{AppSpec, Every, ExecMode, LogFormat, LogTarget, Rotation};
use serde_json::Value;

use super::{Given, Reader};
use crate::values;

/// What `time: true` means, as in PM2.
const TIME_FORMAT: &str = "YYYY-MM-DDTHH:mm:ss";

/// More often is a mistake in the unit: a number alone is milliseconds.
const ROTATE_MIN: Duration = Duration::from_secs(60);

const LOG_TYPES: &[(&str, LogFormat)] = &[("json", LogFormat::Json), ("raw", LogFormat::Raw)];

pub(super) fn apply(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    file(reader, spec, "out_file").put(&mut spec.logs.out, LogTarget::Default);
    file(reader, spec, "error_file").put(&mut spec.logs.err, LogTarget::Default);
    match reader.read("log_file", |value| Some(value.clone())) {
        Given::Absent => {}
        Given::Default | Given::Value(Value::Bool(false)) => spec.logs.combined = None,
        Given::Value(Value::Bool(true)) => spec.logs.combined = Some(LogTarget::Default),
        Given::Value(_) => spec.logs.combined = file(reader, spec, "log_file").value(),
    }
    if let Some(true) = reader.read("disable_logs", Value::as_bool).value() {
        spec.logs.out = LogTarget::Null;
        spec.logs.err = LogTarget::Null;
        spec.logs.combined = None;
    }
    merge(reader, spec);
    reader.word("log_type", LOG_TYPES).put(&mut spec.logs.format, LogFormat::default());
    let time = reader.read("time", Value::as_bool);
    if matches!(time, Given::Value(false) | Given::Default) {
        spec.logs.date_format = None;
    }
    match reader.read("log_date_format", |value| value.as_str().map(str::to_owned)) {
        Given::Value(format) if format.is_empty() => spec.logs.date_format = None,
        given => given.put_option(&mut spec.logs.date_format),
    }
    if matches!(time, Given::Value(true)) {
        // Of both, PM2 takes this one.
        spec.logs.date_format = Some(TIME_FORMAT.into());
    }
    rotation(reader, &mut spec.logs.rotation);
    let target = |target: Option<&LogTarget>| match target {
        Some(LogTarget::File(path)) => Some(path.clone()),
        _ => None,
    };
    for (key, path) in [
        ("out_file", target(Some(&spec.logs.out))),
        ("error_file", target(Some(&spec.logs.err))),
        ("log_file", target(spec.logs.combined.as_ref())),
    ] {
        reader.refuse_no_file(key, path.as_deref());
    }
}

/// Nothing and `0` turn a limit off where that is sensible; `null` is the default again.
fn rotation(reader: &mut Reader<'_>, rotation: &mut Rotation) {
    let default = Rotation::default();
    reader
        .read("max_log_size", values::memory)
        .map(|bytes| (bytes.0 > 0).then_some(bytes))
        .put(&mut rotation.max_size, default.max_size);
    reader
        .read("log_retain", values::number)
        .map(|count| (count > 0).then_some(count))
        .put(&mut rotation.retain, default.retain);
    reader.read("log_retain_age", values::duration).put_option(&mut rotation.retain_age);
    reader.read("log_compress", Value::as_bool).put(&mut rotation.compress, default.compress);
    match reader.read("log_rotate", |value| Some(value.clone())) {
        Given::Value(value) => match every(&value) {
            Some(every) => rotation.every = Some(every),
            None => reader.refuse("log_rotate", "expected \"daily\", or a duration of a minute or more such as \"6h\""),
        },
        Given::Default => rotation.every = None,
        Given::Absent => {}
    }
}

fn every(value: &Value) -> Option<Every> {
    if value.as_str() == Some("daily") {
        return Some(Every::Day);
    }
    let period = values::duration(value)?;
    (period >= ROTATE_MIN).then_some(Every::Millis(u64::try_from(period.as_millis()).ok()?))
}

/// One set of files for all workers is the default where one worker was asked for, by saying nothing, and, as in PM2,
/// where the number was left to the machine.
fn merge(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    let instances = reader.setting("instances").and_then(|setting| values::text(&setting.value));
    let as_many_as_possible = matches!(instances.as_deref(), Some("max" | "0"));
    let default = as_many_as_possible || spec.exec_mode != ExecMode::Cluster && !spec.instances_given;
    match reader.read("merge_logs", Value::as_bool) {
        Given::Value(merge) => spec.logs.merge = merge,
        Given::Default => spec.logs.merge = default,
        // The names of files in use stay what they are when the app is changed in another respect.
        Given::Absent if reader.app.is_change => {}
        Given::Absent => spec.logs.merge = default,
    }
}

fn file(reader: &Reader<'_>, spec: &AppSpec, key: &'static str) -> Given<LogTarget> {
    reader.read(key, |value| {
        let path = values::text(value)?;
        Some(match path.as_str() {
            "NULL" | "null" | "/dev/null" => LogTarget::Null,
            "" => LogTarget::Default,
            path => LogTarget::File(reader.context.resolve(&spec.cwd, path)),
        })
    })
}
