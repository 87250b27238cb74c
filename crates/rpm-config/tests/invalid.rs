//! Every mistake has a file in `invalid/` and its message beside it.

mod common;

use rpm_config::{AppOptions, load};

#[test]
fn every_mistake_is_told_in_its_line() {
    let mut failures = Vec::new();
    for case in common::cases("invalid") {
        let name = case.strip_prefix(common::tests()).expect("below the tests");
        let path = std::path::Path::new("..").join(name);
        let told = match load(&path, &AppOptions::default(), &common::context()) {
            Ok(loaded) => format!("accepted: {loaded:#?}"),
            Err(error) => error.to_string(),
        };
        assert!(!told.contains("node:internal"), "{told}");
        common::compare(&case, &told, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Keys where anything may stand: PM2 notes it down, and nobody here reads it.
const ANYTHING: &[&str] = &["write"];

#[test]
fn every_key_names_itself_where_its_value_is_of_no_use() {
    let mut wrong = Vec::new();
    for key in rpm_config::app_keys() {
        let mut refused = false;
        for value in ["[[[]]]", "{\"x\": {\"y\": [null]}}", "-1.5", "[\"a\", {}]"] {
            let script = match key.name {
                "script" => "",
                // A balancer's affair, where there is one.
                "sticky" => r#""script": "app.js", "exec_mode": "proxy", "listen": "127.0.0.1:9","#,
                _ => r#""script": "app.js","#,
            };
            let text = format!("[{{ {script} \"{}\": {value} }}]", key.name);
            let format = rpm_config::Format::Json;
            match rpm_config::load_text(&text, format, "stdin", &AppOptions::default(), &common::context()) {
                Ok(_) => {}
                Err(error) if error.to_string().lines().next().is_some_and(|first| first.contains(key.name)) => {
                    refused = true;
                }
                Err(error) => wrong.push(format!("{} = {value}: {error}", key.name)),
            }
        }
        if refused == ANYTHING.contains(&key.name) {
            wrong.push(format!("{}: {}", key.name, if refused { "is refused" } else { "takes anything" }));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
