//! TOML.

use std::sync::Arc;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Places, Pointer};
use crate::diagnostic::{ConfigError, Diagnostic, Source};

/// Reads a text with the place of each value.
pub(super) fn read(source: &Arc<Source>) -> Result<(Value, Places), ConfigError> {
    let table = DeTable::parse(&source.text).map_err(|error| {
        let mistake = Diagnostic::mistake(format!("{} is not valid TOML", source.name));
        mistake.label(error.message()).at(source, error.span())
    })?;
    let mut places = Places::default();
    let value = object(table.get_ref(), &Pointer::default(), &mut places);
    Ok((value, places))
}

fn object(table: &DeTable<'_>, at: &Pointer, places: &mut Places) -> Value {
    let mut entries: Vec<_> = table.iter().collect();
    // The table is sorted by name; people read their own order.
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut object = Map::new();
    for (key, value) in entries {
        let name = key.get_ref().to_string();
        let pointer = at.key(&name);
        places.insert(pointer.clone(), Some(key.span()), value.span());
        object.insert(name, convert(value, &pointer, places));
    }
    Value::Object(object)
}

fn convert(value: &Spanned<DeValue<'_>>, at: &Pointer, places: &mut Places) -> Value {
    match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => number.into(),
            Err(_) => Value::String(number.to_string()),
        },
        DeValue::Float(number) => {
            let float = number.as_str().parse().ok().and_then(Number::from_f64);
            float.map_or_else(|| Value::String(number.to_string()), Value::Number)
        }
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(date) => Value::String(date.to_string()),
        DeValue::Table(table) => object(table, at, places),
        DeValue::Array(list) => {
            let elements = list.iter().enumerate().map(|(index, element)| {
                let pointer = at.index(index);
                places.insert(pointer.clone(), None, element.span());
                convert(element, &pointer, places)
            });
            Value::Array(elements.collect())
        }
    }
}
