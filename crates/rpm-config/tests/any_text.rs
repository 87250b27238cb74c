//! Whatever stands in a file, the answer is specs or messages, never a panic.

mod common;

use proptest::prelude::*;
use rpm_config::{AppOptions, Format, load_text};

/// Pieces of configuration and of trouble. None of them is code, so no runtime is started.
fn piece() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "'",
        "\n",
        "\r\n",
        "\t",
        " ",
        "  ",
        "#",
        "//",
        "/*",
        "*/",
        "-",
        "=",
        "&a",
        "*a",
        "<<",
        "|",
        ">",
        "apps",
        "name",
        "script",
        "app.js",
        "instances",
        "lots",
        "exec_mod",
        "env",
        "env_x",
        "listen",
        "true",
        "~",
        "1",
        "-1",
        "1e999",
        "0x",
        "\\",
        "\\u{",
        "ü",
        "🦀",
        "\u{7f}",
        "\u{feff}",
        "\u{2028}",
        "\u{1b}[31m",
    ];
    prop_oneof![
        4 => prop::sample::select(WORDS).prop_map(str::to_owned),
        1 => Just("{ apps: [{ name: 'ü', script: 'app.js', instances: 'lots', zebra: 1 }] }".to_owned()),
        1 => Just("apps:\n  - name: ü\n    script: app.js\n    instances: lots\n    zebra: 1\n".to_owned()),
        1 => Just("[[apps]]\nname = \"ü\"\ninstances = \"lots\"\nzebra = 1\n".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(pieces in prop::collection::vec(piece(), 0..24)) {
        let text = pieces.concat();
        for format in [Format::Json, Format::Yaml, Format::Toml] {
            match load_text(&text, format, "stdin", &AppOptions::default(), &common::context()) {
                Ok(loaded) => loaded.warnings.iter().for_each(|warning| drop(warning.render(true))),
                Err(error) => drop((error.render(true), error.to_string())),
            }
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    for format in [Format::Json, Format::Yaml, Format::Toml] {
        for open in ["[", "{a:", "- ", "{\"a\": ", "a = [", "a:\n "] {
            let text = open.repeat(50_000);
            assert!(load_text(&text, format, "stdin", &AppOptions::default(), &common::context()).is_err());
        }
        let closed = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
        let _ = load_text(&closed, format, "stdin", &AppOptions::default(), &common::context());
    }
}
