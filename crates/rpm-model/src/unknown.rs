//! Fields that this program does not know.
//!
//! What is saved may have been written by a newer program, which will find its own fields again when it is back:
//! [`Unknown`] keeps those beside the known ones, [`deep`] those at any depth of a spec.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Fields of something saved that a newer program has written: kept as they are.
///
/// To be flattened into what is saved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unknown(BTreeMap<String, serde_json::Value>);

impl Unknown {
    /// Returns whether everything is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads and writes a saved spec with the fields that are unknown within its parts, too.
///
/// Between reading and writing, also where the spec goes over the socket, they are under one name of
/// [`AppSpec::unknown`](crate::AppSpec::unknown). A part that is gone meanwhile, or a list of another length, takes its own along.
pub mod deep {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::{Map, Value};

    use crate::AppSpec;

    /// Their name: no setting is called so.
    const WITHIN: &str = "unknown_within";

    /// What is unknown of one part, and of the parts in it.
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Beyond {
        /// Fields that are not known.
        #[serde(skip_serializing_if = "Map::is_empty")]
        fields: Map<String, Value>,
        /// Parts that are, by name.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        parts: BTreeMap<String, Beyond>,
        /// The parts of a list.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        items: Vec<Beyond>,
    }

    /// Writes a spec (`#[serde(with = "deep")]`).
    ///
    /// # Errors
    /// Those of the writer.
    pub fn serialize<S: Serializer>(spec: &AppSpec, to: S) -> Result<S::Ok, S::Error> {
        let Some(beyond) = spec.unknown.0.get(WITHIN) else { return spec.serialize(to) };
        // Something else of that name stays as it is.
        let Ok(beyond) = Beyond::deserialize(beyond) else { return spec.serialize(to) };
        let mut value = serde_json::to_value(spec).map_err(serde::ser::Error::custom)?;
        if let Value::Object(fields) = &mut value {
            fields.remove(WITHIN);
        }
        beyond.add_to(&mut value);
        value.serialize(to)
    }

    /// Reads a spec.
    ///
    /// # Errors
    /// Those of the reader, and where it is no spec.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<AppSpec, D::Error> {
        let value = Value::deserialize(from)?;
        let mut spec = AppSpec::deserialize(&value).map_err(serde::de::Error::custom)?;
        let known = serde_json::to_value(&spec).map_err(serde::de::Error::custom)?;
        let beyond = Beyond::of(value, &known);
        if !beyond.is_empty() {
            let beyond = serde_json::to_value(beyond).map_err(serde::de::Error::custom)?;
            spec.unknown.0.insert(WITHIN.to_owned(), beyond);
        }
        Ok(spec)
    }

    impl Beyond {
        /// Finds what is in `value` and not in `known`.
        ///
        /// A known field that is left out because it has its usual value is taken for unknown. That does no harm: it is
        /// written only where it would still be left out.
        fn of(value: Value, known: &Value) -> Self {
            let mut beyond = Self::default();
            match (value, known) {
                (Value::Object(fields), Value::Object(known)) => {
                    for (name, value) in fields {
                        match known.get(&name) {
                            Some(known) => {
                                let part = Self::of(value, known);
                                if !part.is_empty() {
                                    beyond.parts.insert(name, part);
                                }
                            }
                            None => drop(beyond.fields.insert(name, value)),
                        }
                    }
                }
                (Value::Array(items), Value::Array(known)) if items.len() == known.len() => {
                    let parts: Vec<_> =
                        items.into_iter().zip(known).map(|(item, known)| Self::of(item, known)).collect();
                    if parts.iter().any(|part| !part.is_empty()) {
                        beyond.items = parts;
                    }
                }
                _ => {}
            }
            beyond
        }

        fn is_empty(&self) -> bool {
            *self == Self::default()
        }

        /// Puts everything back where the part that it was in is still there.
        fn add_to(&self, value: &mut Value) {
            match value {
                Value::Object(fields) => {
                    for (name, part) in &self.parts {
                        if let Some(field) = fields.get_mut(name) {
                            part.add_to(field);
                        }
                    }
                    for (name, value) in &self.fields {
                        fields.entry(name).or_insert_with(|| value.clone());
                    }
                }
                Value::Array(items) if items.len() == self.items.len() => {
                    items.iter_mut().zip(&self.items).for_each(|(item, part)| part.add_to(item));
                }
                _ => {}
            }
        }
    }

    /// The same for several.
    pub mod list {
        use std::sync::Arc;

        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        use crate::AppSpec;

        #[derive(Serialize)]
        #[serde(transparent)]
        struct Written<'a>(#[serde(with = "super")] &'a AppSpec);

        #[derive(Deserialize)]
        #[serde(transparent)]
        struct Read(#[serde(with = "super")] AppSpec);

        /// Writes specs.
        ///
        /// # Errors
        /// Those of the writer.
        pub fn serialize<S: Serializer>(specs: &[Arc<AppSpec>], to: S) -> Result<S::Ok, S::Error> {
            to.collect_seq(specs.iter().map(|spec| Written(spec)))
        }

        /// Reads specs.
        ///
        /// # Errors
        /// Those of the reader, and where one is no spec.
        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Arc<AppSpec>>, D::Error> {
            let specs = Vec::<Read>::deserialize(from)?;
            Ok(specs.into_iter().map(|Read(spec)| Arc::new(spec)).collect())
        }
    }

    #[cfg(test)]
    mod tests {
        use serde_json::json;

        use super::*;

        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Saved {
            #[serde(with = "super")]
            spec: AppSpec,
        }

        /// Calls `each` with `value` once for every object in it, which has a field more then.
        fn with_one_more(value: &Value, each: &mut dyn FnMut(Value)) {
            let mut pointers = vec![String::new()];
            let mut at = 0;
            while at < pointers.len() {
                let here = pointers[at].clone();
                match value.pointer(&here) {
                    Some(Value::Object(fields)) => {
                        pointers.extend(fields.keys().map(|name| format!("{here}/{}", name.replace('/', "~1"))));
                        let mut more = value.clone();
                        more.pointer_mut(&here).unwrap()["newer"] = json!({ "a": [1, { "b": null }] });
                        each(more);
                    }
                    Some(Value::Array(items)) => pointers.extend((0..items.len()).map(|n| format!("{here}/{n}"))),
                    _ => {}
                }
                at += 1;
            }
        }

        fn rich() -> Value {
            let mut spec = AppSpec::new("a", "/a", "/");
            spec.health = Some(crate::HealthSpec::default());
            spec.autoscale = Some(Box::new(crate::AutoscaleSpec::new(1, 2, crate::Load::default())));
            spec.hooks = Some(Box::default());
            let webhook = |url: &str| crate::Webhook {
                url: crate::WebhookUrl::Plain(url.to_owned()),
                events: Vec::new(),
                secret: None,
                timeout: crate::Webhook::TIMEOUT,
            };
            spec.webhooks = vec![webhook("http://localhost/1"), webhook("http://localhost/2")];
            serde_json::to_value(spec).unwrap()
        }

        #[test]
        fn what_is_unknown_anywhere_is_written_again_also_after_a_way_over_the_socket() {
            let mut kept = 0;
            with_one_more(&rich(), &mut |newer| {
                // A newer program may have more kinds of something; such a spec cannot be read, however it is done.
                let Ok(read) = serde_json::from_value::<Saved>(json!({ "spec": newer })) else { return };
                let sent: AppSpec = serde_json::from_slice(&serde_json::to_vec(&read.spec).unwrap()).unwrap();
                for spec in [read.spec, sent] {
                    assert_eq!(serde_json::to_value(Saved { spec }).unwrap()["spec"], newer);
                    kept += 1;
                }
            });
            assert!(kept >= 20, "{kept}");
        }

        #[test]
        fn what_was_in_a_part_goes_with_the_part() {
            let mut newer = rich();
            for place in ["/health", "/hooks", "/webhooks/1"] {
                newer.pointer_mut(place).unwrap()["newer"] = json!(1);
            }
            let mut read: Saved = serde_json::from_value(json!({ "spec": newer })).unwrap();
            read.spec.health = None;
            read.spec.webhooks.pop();
            let again = serde_json::to_value(&read).unwrap();
            let at = |place: &str| again["spec"].pointer(place);
            assert_eq!((at("/health"), at("/hooks/newer"), at("/webhooks/1")), (None, Some(&json!(1)), None));
            assert!(!again.to_string().contains(WITHIN));
        }
    }
}
