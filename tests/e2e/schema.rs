//! `rpm schema`, judged by a validator that is not ours.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rpm_tests::{Rpm, deps};
use serde_json::{Value, json};

#[test]
fn the_schema_for_editors_knows_the_keys_that_start_takes() {
    let rpm = Rpm::new();
    let schema: Value = serde_json::from_str(&rpm.ok(&["schema"])).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let app = schema["$defs"]["app"]["properties"].as_object().expect("what an app may have");
    for key in ["script", "instances", "exec_mode", "health_check", "autoscale", "max_memory_restart", "depends_on"] {
        assert!(app.contains_key(key), "{key} is not in {:?}", app.keys().collect::<Vec<_>>());
    }
}

/// Prints, for each document, what is wrong with it; ends with an error where the schema itself is none.
const VALIDATOR: &str = r#"
import json, sys
from jsonschema import Draft202012Validator
asked = json.load(sys.stdin)
Draft202012Validator.check_schema(asked["schema"])
judge = Draft202012Validator(asked["schema"])
json.dump([[error.message[:300] for error in judge.iter_errors(value)] for value in asked["documents"]], sys.stdout)
"#;

/// Prints what a configuration file is to a program that reads it, or the blocks of a page that are one.
const READER: &str = r#"
const fs = require('node:fs'), out = []
for (const path of process.argv.slice(1)) {
  if (path.endsWith('.js') || path.endsWith('.cjs')) { out.push([path, require(path)]); continue }
  const text = fs.readFileSync(path, 'utf8')
  const blocks = path.endsWith('.md') ? [...text.matchAll(/```jsonc?\n([^]*?)```/g)].map((found) => found[1]) : [text]
  for (const block of blocks) {
    let value
    try { value = eval('(' + block + ')') } catch { continue }
    if (['apps', 'script', 'static', 'balancers'].some((key) => key in value) || Array.isArray(value)) out.push([path, value])
  }
}
console.log(JSON.stringify(out))
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in the tree").to_owned()
}

/// Returns the documents in these files, with the file of each.
fn documents(paths: &[PathBuf]) -> Vec<(String, Value)> {
    let output = Command::new("node").args(["-e", READER]).args(paths).output().expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Returns what is wrong with each document.
fn judged(schema: &Value, documents: &[(String, Value)]) -> Vec<Vec<String>> {
    let values: Vec<&Value> = documents.iter().map(|(_, value)| value).collect();
    let asked = json!({ "schema": schema, "documents": values }).to_string();
    let mut command = Command::new(deps().join("schemathesis/bin/python"));
    command.args(["-c", VALIDATOR]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut python = command.spawn().expect("the validator runs: see tests/setup.sh");
    python.stdin.take().expect("a pipe").write_all(asked.as_bytes()).expect("it reads");
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Returns the files in a directory, and below it, whose names end so.
fn files(directory: &Path, ends: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "node_modules" {
            found.extend(files(&path, ends));
        } else if ends.iter().any(|end| path.to_string_lossy().ends_with(end)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn a_validator_takes_every_example_by_the_schema() {
    let schema: Value = serde_json::from_str(&Rpm::new().ok(&["schema"])).expect("JSON");
    let mut paths = vec![root().join("ecosystem.example.json")];
    paths.extend(files(&root().join("examples"), &["ecosystem.json", "ecosystem.config.js"]));
    paths.extend(files(&root().join("docs"), &[".md"]));
    paths.extend(files(&root().join("crates/rpm-config/tests/valid"), &[".json"]));
    // What start warns of, and goes on, an editor marks as a mistake.
    paths.retain(|path| !path.ends_with("unknown-keys.json") && !path.ends_with("hooks-beside.json"));
    let documents = documents(&paths);
    let from = |end: &str| documents.iter().filter(|(path, _)| path.contains(end)).count();
    assert!(from("example") >= 3 && from(".md") >= 8 && from("/valid/") >= 10, "{paths:?}");
    let wrong: Vec<String> = documents
        .iter()
        .zip(judged(&schema, &documents))
        .filter(|(_, errors)| !errors.is_empty())
        .map(|((path, _), errors)| format!("{path}: {}", errors.join("; ")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_validator_refuses_by_the_schema_what_start_refuses() {
    let schema: Value = serde_json::from_str(&Rpm::new().ok(&["schema"])).expect("JSON");
    let bad = [
        json!({}),
        json!("app.js"),
        json!({ "apps": 3 }),
        json!({ "apps": [{ "name": "without a script" }] }),
        json!({ "apps": [{ "script": "a.js", "instances": { "min": 1 } }] }),
        json!({ "apps": [{ "script": "a.js", "env": "A=b" }] }),
        json!({ "apps": [{ "script": ["a.js"] }] }),
        json!({ "apps": [{ "script": "a.js", "watch_delay": {} }] }),
        json!({ "apps": [{ "script": "a.js", "exec_mod": "cluster" }] }),
        json!({ "balancers": {} }),
    ];
    let documents: Vec<(String, Value)> = bad.into_iter().map(|value| (String::new(), value)).collect();
    for ((_, value), errors) in documents.iter().zip(judged(&schema, &documents)) {
        assert!(!errors.is_empty(), "it takes {value}");
    }
}
