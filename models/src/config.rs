//! What all configuration files have in common: switches that must be off, and keys that nobody knows.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// Makes the error for a key of `file`.
pub(crate) fn refuse<T>(file: &str, key: &str, message: impl Into<String>) -> Result<T> {
    Err(Error::Config { path: PathBuf::from(file), key: key.to_owned(), message: message.into() })
}

/// Keys that the network has no field for.
///
/// `fixed` may be there with one value only (or null), `free` with any: they change nothing here. Keys that begin with
/// an underscore are notes of the library that wrote the file. Anything else is refused, for it may change the numbers.
pub(crate) fn check_other(
    file: &str,
    other: &Map<String, Value>,
    fixed: &[(&str, Value)],
    free: &[&str],
) -> Result<()> {
    for (key, value) in other {
        if key.starts_with('_') || free.contains(&key.as_str()) {
            continue;
        }
        match fixed.iter().find(|(name, _)| name == key) {
            Some((_, accepted)) if value.is_null() || same(value, accepted) => {}
            Some((_, accepted)) => return refuse(file, key, format!("{value} is not implemented; only {accepted} is")),
            None => return refuse(file, key, format!("the key is not known (its value is {value})")),
        }
    }
    Ok(())
}

/// A null stands for the default, as Python's libraries write what nobody set.
pub(crate) fn null_is_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Equal, whole numbers and decimals alike.
fn same(a: &Value, b: &Value) -> bool {
    a == b || (a.is_number() && a.as_f64() == b.as_f64())
}
