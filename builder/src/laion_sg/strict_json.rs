//! JSON values with the keys that an object holds twice, which serde_json drops without a word.

use crate::lint::pointer_segment;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Why bytes are no JSON value.
pub(super) enum Unreadable {
    Utf8,
    Json(serde_json::Error),
}

/// The value, and the pointers of keys that an object holds twice.
pub(super) fn parse(bytes: &[u8]) -> Result<(Value, Vec<String>), Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unreadable::Utf8)?;
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict { duplicates: &mut duplicates }.deserialize(&mut deserializer).map_err(Unreadable::Json)?;
    deserializer.end().map_err(Unreadable::Json)?;
    Ok((value, duplicates))
}

/// Reads a `Value` as serde_json does, but remembers repeated keys (their pointers grow from the
/// inside outwards, so that nothing is spent on them where there are none).
struct Strict<'d> {
    duplicates: &'d mut Vec<String>,
}

impl Strict<'_> {
    fn child(&mut self) -> Strict<'_> {
        Strict { duplicates: self.duplicates }
    }

    /// Puts a segment before the pointers that were found since `from`.
    fn prefix(&mut self, from: usize, segment: impl Fn() -> String) {
        for pointer in &mut self.duplicates[from..] {
            pointer.insert_str(0, &format!("/{}", segment()));
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let from = self.duplicates.len();
            let Some(value) = access.next_element_seed(self.child())? else { break };
            self.prefix(from, || values.len().to_string());
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let from = self.duplicates.len();
            let value = access.next_value_seed(self.child())?;
            self.prefix(from, || pointer_segment(&key));
            if map.contains_key(&key) {
                self.duplicates.push(format!("/{}", pointer_segment(&key)));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
