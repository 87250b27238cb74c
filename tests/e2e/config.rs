//! Ecosystem files in every format.

use rpm_tests::{Rpm, app, until};

fn write(rpm: &Rpm, name: &str, content: &str) -> String {
    let path = rpm.home().join(name);
    std::fs::write(&path, content).expect("a file");
    path.to_string_lossy().into_owned()
}

#[test]
fn every_format_starts_the_same_app() {
    let script = app("idle.sh");
    let files = [
        (
            "eco.config.js",
            format!(
                "module.exports = {{ apps: [{{ name: 'one', script: '{script}', instances: 2, exec_mode: 'fork' }}] }};"
            ),
        ),
        (
            "eco.config.cjs",
            format!(
                "module.exports = {{ apps: [{{ name: 'one', script: '{script}', instances: 1 + 1, exec_mode: 'fork' }}] }};"
            ),
        ),
        (
            "eco.config.mjs",
            format!(
                "export default {{ apps: [{{ name: 'one', script: '{script}', instances: 2, exec_mode: 'fork' }}] }};"
            ),
        ),
        (
            "eco.json",
            format!(
                "{{ apps: [{{ name: 'one', script: '{script}', instances: 2, exec_mode: 'fork', }}, ] /* JSON5 */ }}"
            ),
        ),
        ("eco.yaml", format!("apps:\n  - name: one\n    script: {script}\n    instances: 2\n    exec_mode: fork\n")),
        ("eco.toml", format!("[[apps]]\nname = 'one'\nscript = '{script}'\ninstances = 2\nexec_mode = 'fork'\n")),
    ];
    for (name, content) in files {
        let rpm = Rpm::new();
        let path = write(&rpm, name, &content);
        rpm.ok(&["start", &path]);
        assert_eq!(rpm.statuses("one"), ["online", "online"], "{name}");
        rpm.ok(&["delete", &path]);
        assert!(rpm.jlist().is_empty(), "{name}");
    }
}

#[test]
fn start_without_an_argument_takes_the_file_here() {
    let rpm = Rpm::new();
    write(
        &rpm,
        "ecosystem.config.js",
        &format!("module.exports = {{ apps: [{{ name: 'here', script: '{}' }}] }};", app("idle.sh")),
    );
    let output = rpm.command(&["start"]).current_dir(rpm.home()).output().expect("rpm runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(rpm.statuses("here"), ["online"]);
}

#[test]
fn an_environment_is_chosen_by_name() {
    let rpm = Rpm::new();
    let script = write(&rpm, "show.sh", "#!/bin/sh\necho \"mode=$MODE kept=$KEPT\"\nexec sleep 100000\n");
    let path = write(
        &rpm,
        "eco.json",
        &format!(
            r#"{{ "apps": [{{ "name": "show", "script": "{script}", "env": {{ "MODE": "base", "KEPT": 1 }}, "env_production": {{ "MODE": "production" }} }}] }}"#
        ),
    );
    rpm.ok(&["start", &path, "--env", "production"]);
    until("the output", || rpm.log("show-out.log").contains("mode=production kept=1"));
}

#[test]
fn all_mistakes_are_shown_at_once_and_nothing_is_started() {
    let rpm = Rpm::new();
    let path = write(
        &rpm,
        "bad.json",
        &format!(
            r#"{{ "apps": [
  {{ "name": "a", "script": "{}", "instances": "lots", "max_memory_restart": "1Z" }},
  {{ "name": "b", "script": "./missing.js", "exec_mod": "cluster" }}
] }}"#,
            app("idle.sh")
        ),
    );
    let error = rpm.fails(&["start", &path]);
    for wanted in ["lots", "1Z", "missing.js", "exec_mode", "bad.json"] {
        assert!(error.contains(wanted), "{wanted} is not mentioned:\n{error}");
    }
    assert!(rpm.jlist().is_empty());
}

#[test]
fn an_unknown_key_is_a_warning_with_the_nearest_name() {
    let rpm = Rpm::new();
    let path = write(
        &rpm,
        "eco.json",
        &format!(r#"{{ "apps": [{{ "name": "a", "script": "{}", "autorestrat": true }}] }}"#, app("idle.sh")),
    );
    let output = rpm.run(&["start", &path]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && error.contains("autorestrat") && error.contains("autorestart"), "{error}");
}

#[test]
fn a_syntax_error_is_shown_in_its_line() {
    let rpm = Rpm::new();
    let path = write(&rpm, "broken.config.js", "module.exports = {\n  apps: [{ name: 'a' script: 'x' }]\n};\n");
    let error = rpm.fails(&["start", &path]);
    assert!(error.contains("broken.config.js:2"), "{error}");
}

#[test]
fn a_changed_file_changes_the_running_app() {
    let rpm = Rpm::new();
    let file = |count: u32, delay: u32| {
        format!(
            r#"{{ "apps": [{{ "name": "a", "script": "{}", "exec_mode": "fork", "instances": {count}, "restart_delay": {delay} }}] }}"#,
            app("idle.sh")
        )
    };
    let path = write(&rpm, "eco.json", &file(2, 0));
    rpm.ok(&["start", &path]);
    write(&rpm, "eco.json", &file(3, 50));
    rpm.ok(&["restart", &path]);
    assert_eq!(rpm.statuses("a").len(), 3);
    assert_eq!(rpm.processes("a")[0]["pm2_env"]["restart_delay"], 50);
}

#[test]
fn the_example_of_the_readme_is_valid() {
    let rpm = Rpm::new();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../ecosystem.example.json");
    let port = rpm_tests::free_port().to_string();
    let output = rpm.command(&["start", &path.to_string_lossy()]).env("PORT", &port).output().expect("rpm runs");
    assert!(output.status.success(), "{output:?}");
    assert!(!rpm.jlist().is_empty());
}
