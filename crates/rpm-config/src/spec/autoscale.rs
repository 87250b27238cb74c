//! `autoscale`: between which numbers, and by what, the number of workers follows the load.

use std::time::Duration;

use rpm_model::{AppSpec, AutoscaleSpec, ExecMode, Load};

use super::Reader;
use crate::balance::section::Section;
use crate::values;

/// What may be gone by.
const TARGETS: &str = "`cpu`, `memory`, `in_flight`, `rate` or `queue`";

pub(super) fn apply(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    if !reader.app.settings.contains_key("autoscale") {
        return;
    }
    let Some(mut section) = reader.section("autoscale") else {
        // Anything else was refused for its kind.
        spec.autoscale = None;
        return;
    };
    let policy = read(&mut section, spec);
    section.finish();
    let Some(policy) = policy else { return };
    // A number in the same file that cannot be is a mistake; `max` and -N depend on the machine, and are made to fit.
    let given =
        reader.setting("instances").and_then(|setting| values::number(&setting.value)).filter(|given| *given > 0);
    match given {
        Some(given) if given < policy.min || given > policy.max => {
            let (min, max) = (policy.min, policy.max);
            reader.refuse("instances", &format!("`autoscale` allows {min} to {max}, and it begins with {given}"));
        }
        _ if spec.instances_given => spec.instances = spec.instances.clamp(policy.min, policy.max),
        // One that runs keeps the number that it has come to.
        _ if reader.app.is_change => {}
        _ => spec.instances = policy.min,
    }
    spec.autoscale = Some(Box::new(policy));
}

fn read(section: &mut Section<'_, '_>, spec: &AppSpec) -> Option<AutoscaleSpec> {
    let (min, max) = (section.count("min"), section.count("max"));
    let targets = Load {
        cpu: section.amount("cpu"),
        memory: section.memory("memory").map(|bytes| bytes.0 as f64),
        in_flight: section.amount("in_flight"),
        rate: section.amount("rate"),
        queue: section.amount("queue"),
    };
    let has_target = ["cpu", "memory", "in_flight", "rate", "queue"].into_iter().any(|key| section.has(key));
    let usual = AutoscaleSpec::new(min.unwrap_or(1), max.unwrap_or(1), targets);
    let policy = AutoscaleSpec {
        up_after: section.duration("up_after").unwrap_or(usual.up_after),
        down_after: section.duration("down_after").unwrap_or(usual.down_after),
        step_up: section.count("step_up").unwrap_or(usual.step_up),
        step_down: section.count("step_down").unwrap_or(usual.step_down),
        cool_down: section.duration("cool_down").unwrap_or(usual.cool_down),
        ..usual
    };
    for key in ["max", "memory"] {
        let Some((value, setting)) = section.find(key) else { continue };
        if key == "max" && values::number(value).is_some_and(|max| max > AppSpec::INSTANCES_MAX) {
            section.refuse(&setting, &format!("expected at most {}", AppSpec::INSTANCES_MAX));
        }
        if key == "memory" && values::memory(value).is_some_and(|bytes| bytes.0 == 0) {
            section.refuse(&setting, "expected more than nothing, for example \"400M\"");
        }
    }
    if !section.has("max") {
        section.refuse_whole("it has no `max`", "expected `max`: never more workers than this");
    }
    let blind = match spec.exec_mode {
        ExecMode::Fork => Some("fork"),
        ExecMode::Proxy => Some("proxy"),
        ExecMode::Cluster | ExecMode::Socket => None,
    };
    if let (Some(mode), Some((_, setting))) = (blind, section.find("queue")) {
        let why =
            format!("the queue is seen where workers share a port (cluster and socket mode), and this is {mode} mode");
        section.refuse(&setting, &why);
    }
    if !has_target {
        section
            .refuse_whole("it says nothing of the load", &format!("expected what one worker should carry: {TARGETS}"));
    }
    if let (Some(min), Some(max)) = (min, max)
        && min > max
        && let Some((_, setting)) = section.find("min")
    {
        section.refuse(&setting, &format!("expected at most `max`, which is {max}"));
    }
    for (key, longest) in [("up_after", 3600), ("down_after", 86_400), ("cool_down", 86_400)] {
        let long = section
            .find(key)
            .filter(|(value, _)| values::duration(value).is_some_and(|time| time > Duration::from_secs(longest)));
        if let Some((_, setting)) = long {
            section.refuse(&setting, &format!("expected at most {} h", longest / 3600));
        }
    }
    if spec.name.is_empty() && spec.script.as_os_str().is_empty() {
        return None;
    }
    Some(policy)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rpm_model::{AppSpec, Load};

    fn load(app: &str) -> Result<AppSpec, String> {
        let cwd = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let path = std::env::var("PATH").expect("a PATH");
        let shell_env = [("PATH".to_owned(), path), ("HOME".to_owned(), "/home/me".to_owned())].into();
        let context = crate::Context { cwd, shell_env, cpus: 32, ..crate::Context::default() };
        let text = format!(r#"{{ "apps": [{{ "script": "runs.sh", {app} }}] }}"#);
        let loaded = crate::load_text(&text, crate::Format::Json, "stdin", &crate::AppOptions::default(), &context);
        loaded.map(|loaded| loaded.specs.into_iter().next().expect("one app")).map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_read_and_begins_with_the_fewest() {
        let app = load(
            r#""autoscale": { "min": 2, "max": 8, "cpu": 70, "memory": "400M", "inFlight": 2.5, "up_after": 500 }"#,
        );
        let app = app.expect("it is fine");
        let policy = app.autoscale.expect("it is there");
        assert_eq!((app.instances, policy.min, policy.max, policy.step_up), (2, 2, 8, 4));
        let memory = Some(400.0 * 1024.0 * 1024.0);
        assert_eq!(policy.targets, Load { cpu: Some(70.0), memory, in_flight: Some(2.5), ..Load::default() });
        assert_eq!((policy.up_after, policy.cool_down), (Duration::from_millis(500), Duration::from_secs(60)));
        assert_eq!(load(r#""autoscale": null"#).map(|app| app.autoscale), Ok(None));
    }

    #[test]
    fn instances_says_with_how_many_it_begins() {
        let begins = |app: &str| {
            load(&format!(r#"{app}, "autoscale": {{ "min": 2, "max": 8, "rate": 10 }}"#)).map(|app| app.instances)
        };
        assert_eq!(begins(r#""instances": 3"#), Ok(3));
        assert_eq!(begins(r#""instances": "max""#), Ok(8), "as many as there may be");
        let told = begins(r#""instances": 9"#).expect_err("too many");
        assert!(told.contains("`autoscale` allows 2 to 8"), "{told}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (policy, told) in [
            (r#"{ "min": 1, "cpu": 70 }"#, "it has no `max`"),
            (r#"{ "max": 4 }"#, "it says nothing of the load"),
            (r#"{ "min": 5, "max": 4, "cpu": 70 }"#, "expected at most `max`, which is 4"),
            (r#"{ "min": 0, "max": 4, "cpu": 70 }"#, "a whole number, at least 1"),
            (r#"{ "max": 4, "cpu": 0 }"#, "a number above 0"),
            (r#"{ "max": 4, "cpu": "lots" }"#, "a number above 0"),
            (r#"{ "max": 4, "memory": 0 }"#, "more than nothing"),
            (r#"{ "max": 20000, "cpu": 70 }"#, "expected at most 10000"),
            (r#"{ "max": 4, "cpu": 70, "cool_down": "2d" }"#, "expected at most 24 h"),
            (r#"{ "max": 4, "cpu": 70, "step_up": 0 }"#, "at least 1"),
            (r#"{ "max": 4, "in_flights": 5 }"#, "in_flight"),
            (r#"{ "max": 4, "queue": 2 }"#, "and this is fork mode"),
            (r#"70"#, "an object"),
        ] {
            let error = load(&format!(r#""autoscale": {policy}"#)).expect_err(policy);
            assert!(error.contains(told), "{policy}: {error}");
        }
    }
}
