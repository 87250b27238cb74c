//! `canary`: how many workers run ahead in a reload, and what they are judged by.

use std::time::Duration;

use rpm_model::{AppSpec, CanaryRule};
use serde_json::Value;

use super::Reader;
use crate::balance::section::Section;
use crate::values;

pub(super) fn apply(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    find(reader, spec);
    if spec.canary > 0
        && !spec.shares_sockets()
        && let Some(setting) = reader.app.settings.get("canary")
    {
        let reason = "has no effect: workers in fork mode cannot serve beside each other, so all are restarted at once";
        reader.report.warn(&reader.app.label, setting, reason);
    }
}

fn find(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    let Some(setting) = reader.app.settings.get("canary") else { return };
    if let Some(mut section) = reader.section("canary") {
        let instances = section.count("instances").unwrap_or(1);
        (spec.canary, spec.canary_rule) = (instances, Some(read(&mut section)));
        section.finish();
        return;
    }
    (spec.canary, spec.canary_rule) = match &setting.value {
        Value::Null | Value::Bool(false) => (0, None),
        number => match values::number(number) {
            Some(instances) => (instances, None),
            None => {
                return reader.refuse("canary", "expected a whole number, not negative, or an object with `duration`");
            }
        },
    };
}

fn read(section: &mut Section<'_, '_>) -> CanaryRule {
    let usual = CanaryRule::default();
    let rate = section
        .read("max_error_rate", "percent, 0 to 100", |value| values::amount(value).filter(|rate| *rate <= 100.0));
    let ratio = section.read("max_latency_ratio", "a number of at least 1", |value| {
        values::amount(value).filter(|ratio| *ratio >= 1.0)
    });
    let rule = CanaryRule {
        duration: section.duration("duration").unwrap_or(usual.duration),
        max_error_rate: rate.unwrap_or(usual.max_error_rate),
        max_latency_ratio: ratio,
        min_requests: section.count("min_requests").map_or(usual.min_requests, u64::from),
    };
    let day = Duration::from_secs(86_400);
    if let Some((_, setting)) = section.find("duration").filter(|_| rule.duration.is_zero() || rule.duration > day) {
        section.refuse(&setting, "expected more than nothing, and at most 24 h");
    }
    rule
}

#[cfg(test)]
mod tests {
    use rpm_model::CanaryRule;

    use super::*;

    fn loaded(text: &str) -> Result<crate::Loaded, crate::ConfigError> {
        let cwd = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let path = std::env::var("PATH").expect("a PATH");
        let shell_env = [("PATH".to_owned(), path), ("HOME".to_owned(), "/home/me".to_owned())].into();
        let context = crate::Context { cwd, shell_env, cpus: 2, ..crate::Context::default() };
        crate::load_text(text, crate::Format::Json, "stdin", &crate::AppOptions::default(), &context)
    }

    fn load(canary: &str) -> Result<(u32, Option<CanaryRule>), String> {
        let text = format!(r#"{{ "apps": [{{ "script": "runs.sh", "canary": {canary} }}] }}"#);
        let loaded = loaded(&text);
        let spec = |specs: Vec<AppSpec>| specs.into_iter().next().expect("one app");
        let canary = |spec: AppSpec| (spec.canary, spec.canary_rule);
        loaded.map(|loaded| canary(spec(loaded.specs))).map_err(|error| error.to_string())
    }

    #[test]
    fn a_number_waits_for_people_and_an_object_is_judged() {
        assert_eq!(load("2"), Ok((2, None)));
        assert_eq!(load("null"), Ok((0, None)));
        assert_eq!(load("{}"), Ok((1, Some(CanaryRule::default()))));
        let rule = load(r#"{ "instances": 2, "duration": "5m", "maxErrorRate": 0.5, "max_latency_ratio": 1.5 }"#);
        let wanted = CanaryRule {
            duration: Duration::from_secs(300),
            max_error_rate: 0.5,
            max_latency_ratio: Some(1.5),
            ..CanaryRule::default()
        };
        assert_eq!(rule, Ok((2, Some(wanted))));
    }

    /// It was said at the reload.
    #[test]
    fn what_nobody_can_judge_is_told_when_the_file_is_read() {
        let warnings = |more: &str| -> Vec<String> {
            let text = format!(r#"{{ "apps": [{{ "script": "runs.sh", "name": "api", "canary": {{}}, {more} }}] }}"#);
            loaded(&text).expect("it is well").warnings.iter().map(ToString::to_string).collect()
        };
        let fork = warnings(r#""exec_mode": "fork""#);
        assert!(fork.iter().any(|told| told.contains("`canary` has no effect: workers in fork mode")), "{fork:?}");
        let socket = warnings(r#""exec_mode": "socket", "listen": "127.0.0.1:8080""#);
        assert!(socket.iter().any(|told| told.contains("no balancer of the file sends api requests")), "{socket:?}");
        let proxy = warnings(r#""exec_mode": "proxy", "listen": "127.0.0.1:8080""#);
        assert!(!proxy.iter().any(|told| told.contains("canary")), "{proxy:?}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (canary, told) in [
            (r#""some""#, "a whole number"),
            ("-1", "a whole number"),
            (r#"{ "instances": 0 }"#, "at least 1"),
            (r#"{ "duration": 0 }"#, "more than nothing"),
            (r#"{ "duration": "2d" }"#, "at most 24 h"),
            (r#"{ "max_error_rate": 101 }"#, "percent, 0 to 100"),
            (r#"{ "max_latency_ratio": 0.5 }"#, "at least 1"),
            (r#"{ "min_requests": 0 }"#, "at least 1"),
            (r#"{ "max_errors_rate": 1 }"#, "max_error_rate"),
        ] {
            let error = load(canary).expect_err(canary);
            assert!(error.contains(told), "{canary}: {error}");
        }
    }
}
