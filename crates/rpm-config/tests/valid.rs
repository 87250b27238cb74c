//! Files that are accepted, and what they mean: the spec of each app, without what is the default, and the warnings.

mod common;

use rpm_config::{AppOptions, Loaded, load};
use rpm_model::AppSpec;
use serde_json::Value;

#[test]
fn files_mean_what_they_say() {
    let mut failures = Vec::new();
    for case in common::cases("valid") {
        let name = case.strip_prefix(common::tests()).expect("below the tests");
        let path = std::path::Path::new("..").join(name);
        let told = match load(&path, &AppOptions::default(), &common::context()) {
            Ok(loaded) => describe(&loaded),
            Err(error) => format!("refused: {error}"),
        };
        common::compare(&case, &told, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn describe(loaded: &Loaded) -> String {
    let warnings = loaded.warnings.iter().map(|warning| format!("{warning}\n\n"));
    let specs = loaded.specs.iter().map(|spec| {
        let told = serde_json::to_value(spec).expect("a spec is JSON");
        let usual = serde_json::to_value(AppSpec::new("", "", "")).expect("a spec is JSON");
        format!("{:#}\n", unusual(told, &usual))
    });
    warnings.chain(specs).collect()
}

/// Leaves out what is as in `usual`.
fn unusual(told: Value, usual: &Value) -> Value {
    let Value::Object(told) = told else { return told };
    let differs = |(key, value): (String, Value)| {
        // The shell's part is the same for all cases, and has a test of its own.
        let same = usual.get(&key) == Some(&value) || key == "env_shell";
        (!same).then(|| (key.clone(), unusual(value, usual.get(&key).unwrap_or(&Value::Null))))
    };
    told.into_iter().filter_map(differs).collect()
}
