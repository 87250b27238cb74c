//! YAML, read as js-yaml reads it: `yes` is text, merge keys are merged.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::{Location, Spanned};

use super::places::at_column;
use super::{Places, Pointer};
use crate::diagnostic::{ConfigError, Diagnostic, Source};

/// Reads a text with the place of each value.
pub(super) fn read(source: &Arc<Source>) -> Result<(Value, Places), ConfigError> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    let node: Spanned<Node> = serde_saphyr::from_str_with_options(&source.text, options).map_err(|error| {
        let mistake = Diagnostic::mistake(format!("{} is not valid YAML", source.name));
        let span = error.location().map(|location| {
            let index = |count: u64| usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(1);
            let (line, column) = (index(location.line()), index(location.column()));
            range(&location).unwrap_or_else(|| at_column(&source.text, line, column))
        });
        mistake.label(first_sentence(&error.to_string())).at(source, span)
    })?;
    let mut places = Places::default();
    let value = convert(node, None, &Pointer::default(), &mut places);
    Ok((value, places))
}

/// One value with the places of what it holds.
enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Object(Vec<(Spanned<Text>, Spanned<Node>)>),
}

/// A key; `1:` and `true:` are text too.
struct Text(String);

fn convert(node: Spanned<Node>, key: Option<Range<usize>>, at: &Pointer, places: &mut Places) -> Value {
    if let Some(span) = range(&node.referenced) {
        places.insert(at.clone(), key, span);
    }
    match node.value {
        Node::Scalar(value) => value,
        Node::List(list) => {
            let elements = list.into_iter().enumerate();
            Value::Array(elements.map(|(index, element)| convert(element, None, &at.index(index), places)).collect())
        }
        Node::Object(entries) => {
            let mut object = Map::new();
            for (key, value) in entries {
                let pointer = at.key(&key.value.0);
                let value = convert(value, range(&key.referenced), &pointer, places);
                object.insert(key.value.0, value);
            }
            Value::Object(object)
        }
    }
}

/// Returns the byte offsets of a location, where the parser kept them.
fn range(location: &Location) -> Option<Range<usize>> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    Some(start..start + length)
}

/// Returns the sentence of an error without the place, which the annotation shows.
fn first_sentence(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    line.split(" at line ").next().unwrap_or(line).trim_start_matches("error: ").to_owned()
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Text)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Scalar(flag.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Scalar(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Scalar(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        // js-yaml makes 777 of 777.0, and so does JSON.stringify.
        let whole = number.fract() == 0.0 && number.abs() < (1u64 << 53) as f64;
        Ok(Node::Scalar(if whole { (number as i64).into() } else { number.into() }))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Scalar(text.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = seq.next_element()? {
            list.push(element);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Object(entries))
    }
}
