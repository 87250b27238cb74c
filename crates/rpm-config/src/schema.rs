//! The format of ecosystem files as a JSON schema, for editors: made from the table of the keys, so it says what is read.

use serde_json::{Map, Value, json};

use crate::keys::{COMMON, KEYS, Kind, SILENT, camel_case};

/// Returns the schema.
pub fn schema() -> Value {
    let list_of_apps = json!({ "type": "array", "items": { "$ref": "#/$defs/app" } });
    let apps = json!({ "anyOf": [list_of_apps, { "$ref": "#/$defs/app" }] });
    let mut beside = json!({
        "apps": apps,
        "pm2": apps,
        "deploy": { "description": "Deployments, by name", "type": "object" },
        "static": { "description": "Directories that are served", "type": "array", "items": { "type": "object" } },
        "upstreams": { "description": "Servers that balancers send requests to", "type": "array", "items": { "type": "object" } },
        "balancers": { "description": "Balancers", "type": "array", "items": { "type": "object" } },
        "$schema": { "type": "string" },
    });
    for key in KEYS.iter().filter(|key| COMMON.contains(&key.name)) {
        beside[key.name] = of_kind(key.kind);
    }
    let file = json!({ "type": "object", "anyOf": [{ "required": ["apps"] }, { "required": ["pm2"] },
        { "required": ["static"] }, { "required": ["balancers"] }], "properties": beside });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rpm ecosystem file",
        "description": "Apps, and what is balanced among them. docs/ecosystem-file.md describes each key.",
        "anyOf": [file, list_of_apps, { "$ref": "#/$defs/app" }],
        "$defs": { "app": app() },
    })
}

fn app() -> Value {
    let mut properties = Map::new();
    for key in KEYS {
        for name in key.aliases.iter().chain([&key.name]) {
            let mut value = of_kind(key.kind);
            if *name != key.name {
                value["description"] = format!("The same as `{}`", key.name).into();
            }
            // One name in both ways of writing is listed once.
            properties.insert(camel_case(name), value.clone());
            properties.insert((*name).to_owned(), value);
        }
    }
    properties.extend(SILENT.iter().map(|name| ((*name).to_owned(), json!({}))));
    let script = KEYS.iter().filter(|key| key.name == "script");
    let names = script.flat_map(|key| key.aliases.iter().chain([&key.name]));
    let has_script: Vec<Value> = names.map(|name| json!({ "required": [name] })).collect();
    json!({
        "type": "object",
        "properties": properties,
        "anyOf": has_script,
        "patternProperties": { "^env_(?!file$).+": of_kind(Kind::Environment) },
        "additionalProperties": false,
    })
}

/// Returns what may stand at a key; `null` is the default everywhere.
fn of_kind(kind: Kind) -> Value {
    let texts = json!({ "type": "array", "items": { "type": ["string", "number"] } });
    let with = |first: &[&str], more: &[Value]| {
        let types = [first, &["null"]].concat();
        let own = json!({ "type": types });
        let all = [std::slice::from_ref(&own), more].concat();
        if more.is_empty() { own } else { json!({ "anyOf": all }) }
    };
    let mut value = match kind {
        Kind::Text => with(&["string"], &[]),
        Kind::TextOrNumber => with(&["string", "number"], &[]),
        Kind::Flag => with(&["boolean"], &[]),
        Kind::FlagOrText => with(&["boolean", "string"], &[]),
        Kind::Number => with(&["integer"], &[]),
        Kind::Duration | Kind::Memory | Kind::Instances => with(&["number", "string"], &[]),
        Kind::Words | Kind::Texts => with(&["string", "number"], &[texts]),
        Kind::ExitCodes => with(&["integer"], &[json!({ "type": "array", "items": { "type": "integer" } })]),
        Kind::FlagOrTexts => with(&["boolean", "string"], &[texts]),
        Kind::Environment | Kind::Object => with(&["object"], &[]),
        Kind::Any => json!({}),
    };
    if kind != Kind::Any {
        value["description"] = format!("Expected: {}", kind.expected()).into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::all_names;

    #[test]
    fn every_name_is_in_it_and_means_what_the_table_says() {
        let schema = schema();
        let properties = schema["$defs"]["app"]["properties"].as_object().unwrap();
        for name in all_names() {
            assert!(properties.contains_key(name) && properties.contains_key(&camel_case(name)), "{name}");
        }
        assert_eq!(properties["wait_ready"]["type"], json!(["boolean", "null"]));
        assert_eq!(properties["cmd"]["description"], "The same as `script`");
    }
}
