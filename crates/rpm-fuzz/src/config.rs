//! Ecosystem files. What a program exports is JSON, so it is read by the same rules.

use rpm_config::{AppOptions, Context, Format, load_text};
use rpm_model::AppSpec;

/// Reads JSON as PM2 takes it.
pub fn json(bytes: &[u8]) {
    read(bytes, Format::Json);
}

/// Reads YAML.
pub fn yaml(bytes: &[u8]) {
    read(bytes, Format::Yaml);
}

/// Reads TOML.
pub fn toml(bytes: &[u8]) {
    read(bytes, Format::Toml);
}

/// Where everything is read.
pub(crate) fn context() -> Context {
    // Nothing is on this PATH: what is no JSON is not run as JavaScript.
    let shell_env = [("HOME", "/home/me"), ("PATH", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    Context {
        cwd: "/bin".into(),
        shell_env: shell_env.into(),
        cpus: 2,
        home: "/home/me/.rpm".into(),
        program: "/bin/sh".into(),
    }
}

fn read(bytes: &[u8], format: Format) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let context = context();
    let with_environment = AppOptions { env_name: Some("production".into()), ..AppOptions::default() };
    for options in [AppOptions::default(), with_environment] {
        match load_text(text, format, "stdin", &options, &context) {
            Ok(loaded) => {
                loaded.warnings.iter().for_each(|warning| drop(warning.render(true)));
                for spec in loaded.specs {
                    let written = serde_json::to_vec(&spec).expect("a spec can be written");
                    let read: AppSpec = serde_json::from_slice(&written).expect("what was written can be read");
                    assert_eq!((read.name, read.instances), (spec.name, spec.instances));
                }
            }
            Err(error) => {
                assert!(!error.mistakes().is_empty(), "a refusal without a reason");
                error.render(true);
            }
        }
    }
}
