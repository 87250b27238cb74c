//! `schedule`: an app that runs at its times, to its end.

use rpm_model::{AppSpec, ExecMode, JobSpec, Overlap};
use rpm_trigger::{BadCron, Schedule};
use serde_json::Value;

use super::{Given, Reader};
use crate::values;

/// The words for what happens when the run before has not ended.
const OVERLAPS: &[(&str, Overlap)] =
    &[("skip", Overlap::Skip), ("queue", Overlap::Queue), ("replace", Overlap::Replace)];

/// Keys that say something about a schedule.
const DETAILS: [&str; 3] = ["time_zone", "on_overlap", "catch_up"];

/// To be called when everything else is read: it judges what stands beside it.
pub(super) fn apply(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    match reader.read("schedule", values::text) {
        Given::Absent => {}
        Given::Default => spec.job = None,
        Given::Value(schedule) => {
            let empty =
                || JobSpec { schedule: String::new(), time_zone: None, on_overlap: Overlap::Skip, catch_up: false };
            spec.job.get_or_insert_with(empty).schedule = schedule;
        }
    }
    let Some(mut job) = spec.job.take() else {
        for key in DETAILS {
            reader.refuse_with_help(
                key,
                "it says something about a `schedule`, and there is none",
                "for example `schedule: \"0 3 * * *\"`",
            );
        }
        return;
    };
    reader.read("time_zone", values::text).put_option(&mut job.time_zone);
    overlap(reader, &mut job);
    reader.read("catch_up", Value::as_bool).put(&mut job.catch_up, false);
    judge(reader, &job);
    fit(reader, spec);
    spec.job = Some(job);
}

fn overlap(reader: &mut Reader<'_>, job: &mut JobSpec) {
    let asked = reader.setting("on_overlap").and_then(|setting| setting.value.as_str());
    if asked == Some("allow") {
        let help = "use skip, queue or replace; or let the job start what may run several times, and end";
        return reader.refuse_with_help(
            "on_overlap",
            "a worker has one process: two runs would share its id, its logs and its PID file",
            help,
        );
    }
    reader.word("on_overlap", OVERLAPS).put(&mut job.on_overlap, Overlap::Skip);
}

fn judge(reader: &mut Reader<'_>, job: &JobSpec) {
    match Schedule::of_job(&job.schedule, job.time_zone.as_deref()) {
        Ok(_) => {}
        Err(BadCron::Never) => reader.refuse("schedule", "this time never comes"),
        Err(BadCron::NoZone(near)) => {
            let Some(setting) = reader.setting("time_zone") else { return };
            let expected = "the name of a time zone, for example \"Europe/Berlin\" or \"UTC\"";
            reader.report.mistake(&reader.app.label, setting, expected, near.as_deref());
        }
        Err(BadCron::Unreadable(why)) => {
            let expected = "expected a cron pattern of 5 or 6 fields, for example \"0 3 * * *\", @daily, or @every 10m";
            reader.refuse_with_help("schedule", expected, &why);
        }
    }
}

/// A job runs to its end: what would start it again before its time, or keep it for ever, is refused.
fn fit(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    let beside: [(&'static str, bool, &str); 6] = [
        (
            "autorestart",
            reader.read("autorestart", Value::as_bool).value() == Some(true),
            "runs to its end and is not started again before its time",
        ),
        ("cron_restart", spec.cron.is_some(), "has its times already"),
        ("watch", spec.watch.enabled, "runs at its times, and not when files change"),
        ("health_check", spec.health.is_some(), "ends by itself, and is judged by how it does"),
        ("autoscale", spec.autoscale.is_some(), "has as many runs as it has instances"),
        ("exec_mode", spec.exec_mode != ExecMode::Fork, "has no sockets to share"),
    ];
    for (key, is_so, why) in beside {
        if is_so {
            let said = if reader.setting(key).is_some() { key } else { "schedule" };
            reader.refuse(said, &format!("`{key}` cannot stand beside `schedule`: a job {why}"));
        }
    }
    spec.restart.autorestart = false;
}
