//! Variables whose values are read when a process is started: `"DB_PASSWORD": "file:/run/secrets/db"`.

use std::collections::BTreeMap;
use std::path::Path;

use rpm_model::{AppSpec, Secret, nearest};
use serde_json::Value;

use super::{Given, Reader};
use crate::context::Context;
use crate::values;

const KINDS: [&str; 3] = ["file", "cmd", "env"];

pub(super) fn apply(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    let Given::Value(written) = reader.read("secrets", |value| value.as_object().cloned()) else {
        reader.read("secrets", |_| None::<BTreeMap<String, Secret>>).put(&mut spec.secrets, BTreeMap::new());
        return;
    };
    let mut secrets = BTreeMap::new();
    for (name, value) in &written {
        match one(reader, &spec.cwd, name, value) {
            Ok(secret) => {
                secrets.insert(name.clone(), secret);
            }
            // What stands there may be the secret itself: it is not repeated.
            Err(why) => reader.report.mistake_unshown(&reader.app.label, &format!("secrets.{name}"), &why),
        }
    }
    spec.secrets = secrets;
}

fn one(reader: &Reader<'_>, base: &Path, name: &str, value: &Value) -> Result<Secret, String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err("expected the name of a variable".into());
    }
    place_of(reader.context, base, value)
}

/// Reads where a secret comes from.
pub(super) fn place_of(context: &Context, base: &Path, value: &Value) -> Result<Secret, String> {
    let expected = "expected \"file:PATH\", \"cmd:PROGRAM ARGUMENTS\" or \"env:NAME\"";
    let Some((kind, rest)) = value.as_str().and_then(|text| text.split_once(':')) else {
        return Err(format!("{expected}: a secret itself does not belong here"));
    };
    let rest = rest.trim();
    match kind {
        _ if rest.is_empty() && KINDS.contains(&kind) => Err(format!("nothing stands after {kind}:")),
        "file" => Ok(Secret::File(context.resolve(base, rest))),
        "cmd" => Ok(Secret::Cmd(values::split_words(rest))),
        "env" => Ok(Secret::Env(rest.to_owned())),
        other => {
            let hint = nearest(other, KINDS).map(|near| format!("; did you mean {near:?}?"));
            Err(format!("{expected}{}", hint.unwrap_or_default()))
        }
    }
}
