//! Configurations of others: nginx, HAProxy, and files of variables.

use std::path::Path;

use rpm_config::foreign::{Program, import};
use rpm_config::{AppOptions, Format, load_text};

/// Imports a configuration of nginx.
pub fn nginx(bytes: &[u8]) {
    // What is included may be any file of this machine, and one that never ends.
    if memchr::memmem::find(bytes, b"include").is_none() {
        imported(Program::Nginx, bytes);
    }
}

/// Imports a configuration of HAProxy.
pub fn haproxy(bytes: &[u8]) {
    imported(Program::Haproxy, bytes);
}

/// Reads a file of variables, as `env_file` names it.
pub fn dotenv(bytes: &[u8]) {
    with_file(bytes, |path| {
        let app = serde_json::json!({ "apps": [{ "name": "a", "script": "/bin/sh", "env_file": path }] });
        let loaded =
            load_text(&app.to_string(), Format::Json, "stdin", &AppOptions::default(), &crate::config::context());
        match loaded {
            Ok(loaded) => {
                let env = loaded.specs.iter().flat_map(|spec| &spec.env);
                env.for_each(|(name, value)| assert!(!name.contains(['=', '\0']) && !value.contains('\0'), "{name}"));
            }
            Err(error) => assert!(!error.mistakes().is_empty(), "a refusal without a reason"),
        }
    });
}

fn imported(program: Program, bytes: &[u8]) {
    with_file(bytes, |path| match import(program, path, Path::new("theirs.conf")) {
        Ok(imported) => {
            imported.warnings.iter().for_each(|warning| drop(warning.render(true)));
            serde_json::from_str::<serde_json::Value>(&imported.text).expect("what is written is JSON");
            // It may name files and hosts that are not there; those are refused with a reason.
            let options = AppOptions::default();
            let loaded = load_text(&imported.text, Format::Json, "imported.json", &options, &crate::config::context());
            assert!(loaded.err().is_none_or(|error| !error.mistakes().is_empty()), "a refusal without a reason");
        }
        Err(error) => {
            assert!(!error.mistakes().is_empty(), "a refusal without a reason");
            error.render(true);
        }
    });
}

fn with_file(bytes: &[u8], read: impl FnOnce(&Path)) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("writes");
    read(file.path());
}
