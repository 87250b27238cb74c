//! `webhooks`: who is told over HTTP of what happens to an app.

use rpm_model::webhook::{EVENTS, USUAL};
use rpm_model::{AppSpec, Webhook, WebhookUrl, nearest};
use serde_json::{Map, Value};

use super::{Reader, secrets};
use crate::balance::section::{Section, place};

const EXPECTED: &str = "expected a list of objects with a `url`";

pub(super) fn apply(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    let Some(setting) = reader.app.settings.get("webhooks") else { return };
    let list: Vec<&Value> = match &setting.value {
        Value::Null => Vec::new(),
        Value::Array(list) => list.iter().collect(),
        one @ Value::Object(_) => vec![one],
        _ => return reader.refuse("webhooks", EXPECTED),
    };
    spec.webhooks = Vec::new();
    for (index, value) in list.into_iter().enumerate() {
        let Some(object) = value.as_object() else { return reader.refuse("webhooks", EXPECTED) };
        let found = one(reader, spec, index, object);
        spec.webhooks.extend(found);
    }
}

fn one(reader: &mut Reader<'_>, spec: &AppSpec, index: usize, object: &Map<String, Value>) -> Option<Webhook> {
    let setting = reader.app.settings.get("webhooks")?;
    let label = format!("{}, `webhooks`", reader.app.label);
    // Addresses and secrets may stand where they should not: they are not repeated.
    let unshown = |reader: &mut Reader<'_>, key: &str, why: &str| {
        reader.report.mistake_unshown(&reader.app.label, &format!("webhooks[{index}].{key}"), why);
    };
    let url = match object.get("url").and_then(Value::as_str) {
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            let host = url.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
            let is_clean = !url.contains(|c: char| c.is_whitespace() || c.is_control());
            if host.is_none_or(str::is_empty) || !is_clean {
                unshown(reader, "url", "expected an address, for example \"https://example.com/hook\"");
            }
            Some(WebhookUrl::Plain(url.to_owned()))
        }
        Some(url) => match secrets::place_of(reader.context, &spec.cwd, &url.into()) {
            Ok(secret) => Some(WebhookUrl::Secret(secret)),
            Err(_) => {
                unshown(
                    reader,
                    "url",
                    "expected http://, https://, or where it comes from: \"file:PATH\", \"env:NAME\"",
                );
                None
            }
        },
        None => {
            unshown(reader, "url", "it is missing, or no text");
            None
        }
    };
    let secret = match object.get("secret").filter(|value| !value.is_null()) {
        None => None,
        Some(value) => match secrets::place_of(reader.context, &spec.cwd, value) {
            Ok(secret) => Some(secret),
            Err(why) => {
                unshown(reader, "secret", &why);
                None
            }
        },
    };
    let mut section = Section::new(object, place(setting).index(index), label, reader.report);
    // Read above.
    let _ = (section.find("url"), section.find("secret"));
    let events = section.texts("events").unwrap_or_else(|| USUAL.map(str::to_owned).into());
    if let Some(unknown) = events.iter().find(|event| !EVENTS.contains(&event.as_str()))
        && let Some((_, setting)) = section.find("events")
    {
        let near = nearest(unknown, EVENTS).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
        let reason = format!("{unknown:?} is no event: expected some of {}{near}", EVENTS.join(", "));
        section.refuse(&setting, &reason);
    }
    let timeout = section.duration("timeout").filter(|timeout| !timeout.is_zero()).unwrap_or(Webhook::TIMEOUT);
    section.finish();
    Some(Webhook { url: url?, events, secret, timeout })
}
