//! JSON objects, field by field: every fault is noted with its pointer, and reading goes on.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::error::Fault;

/// The fields of one JSON object, read one by one; what is wrong is noted and reading goes on.
pub struct Fields<'a> {
    pointer: String,
    map: &'a Map<String, Value>,
    known: Vec<String>,
}

impl<'a> Fields<'a> {
    /// Opens `value`, which stands at `pointer`; notes a fault and gives `None` where it is not an object.
    pub fn open(value: &'a Value, pointer: String, faults: &mut Vec<Fault>) -> Option<Self> {
        if let Value::Object(map) = value {
            return Some(Self { pointer, map, known: Vec::new() });
        }
        faults.push(Fault::new(pointer, "is an object"));
        None
    }

    /// The JSON pointer of `key`.
    pub fn pointer(&self, key: &str) -> String {
        format!("{}/{}", self.pointer, key.replace('~', "~0").replace('/', "~1"))
    }

    /// The value of `key`; null counts as absent. `key` is known from now on.
    pub fn take(&mut self, key: &str) -> Option<&'a Value> {
        if !self.known.iter().any(|known| known == key) {
            self.known.push(key.to_owned());
        }
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// A number within `range`.
    pub fn number(&mut self, key: &str, default: f64, range: RangeInclusive<f64>, faults: &mut Vec<Fault>) -> f64 {
        let Some(value) = self.take(key) else {
            return default;
        };
        let pointer = self.pointer(key);
        match value.as_f64() {
            Some(number) if range.contains(&number) => number,
            Some(_) => {
                faults.push(Fault::new(pointer, format!("is between {} and {}", range.start(), range.end())));
                default
            }
            None => {
                faults.push(Fault::new(pointer, "is a number"));
                default
            }
        }
    }

    /// A whole number within `range`.
    pub fn count(&mut self, key: &str, default: usize, range: RangeInclusive<usize>, faults: &mut Vec<Fault>) -> usize {
        let Some(value) = self.take(key) else {
            return default;
        };
        let pointer = self.pointer(key);
        match value.as_u64() {
            Some(number) if range.contains(&(number as usize)) => number as usize,
            None if !value.is_number() => {
                faults.push(Fault::new(pointer, "is a whole number"));
                default
            }
            _ => {
                faults
                    .push(Fault::new(pointer, format!("is a whole number from {} to {}", range.start(), range.end())));
                default
            }
        }
    }

    /// A seed: a whole number that a double holds.
    pub fn seed(&mut self, key: &str, default: i64, faults: &mut Vec<Fault>) -> i64 {
        self.count(key, default as usize, 0..=(1 << 53) - 1, faults) as i64
    }

    /// One of `words`.
    pub fn choice(&mut self, key: &str, default: &str, words: &[&str], faults: &mut Vec<Fault>) -> String {
        let Some(value) = self.take(key) else {
            return default.to_owned();
        };
        match value.as_str() {
            Some(word) if words.contains(&word) => return word.to_owned(),
            Some(word) => {
                faults.push(Fault::new(self.pointer(key), format!("{word:?} is not one of {}", words.join(", "))));
            }
            None => faults.push(Fault::new(self.pointer(key), "is a text")),
        }
        default.to_owned()
    }

    /// Yes or no.
    pub fn flag(&mut self, key: &str, default: bool, faults: &mut Vec<Fault>) -> bool {
        let Some(value) = self.take(key) else {
            return default;
        };
        value.as_bool().unwrap_or_else(|| {
            faults.push(Fault::new(self.pointer(key), "is true or false"));
            default
        })
    }

    /// One of `numbers`.
    pub fn choice_of_numbers(&mut self, key: &str, default: i64, numbers: &[i64], faults: &mut Vec<Fault>) -> i64 {
        let Some(value) = self.take(key) else {
            return default;
        };
        match value.as_i64() {
            Some(number) if numbers.contains(&number) => number,
            _ => {
                faults.push(Fault::new(self.pointer(key), format!("is one of {numbers:?}")));
                default
            }
        }
    }

    /// Texts that are not empty, at least one of them.
    pub fn texts(&mut self, key: &str, faults: &mut Vec<Fault>) -> Option<Vec<String>> {
        let value = self.take(key)?;
        let texts = value.as_array().and_then(|values| {
            let texts: Option<Vec<String>> = values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
            texts.filter(|texts| !texts.is_empty() && texts.iter().all(|text| !text.trim().is_empty()))
        });
        if texts.is_none() {
            faults.push(Fault::new(self.pointer(key), "is a list of at least one text"));
        }
        texts
    }

    /// A text that is not empty.
    pub fn text(&mut self, key: &str, faults: &mut Vec<Fault>) -> Option<String> {
        let value = self.take(key)?;
        match value.as_str() {
            Some(text) if !text.trim().is_empty() && text.len() <= 1000 => Some(text.to_owned()),
            Some(_) => {
                faults.push(Fault::new(self.pointer(key), "has 1 to 1000 characters"));
                None
            }
            None => {
                faults.push(Fault::new(self.pointer(key), "is a text"));
                None
            }
        }
    }

    /// A UUID that must be there.
    pub fn uuid(&mut self, key: &str, faults: &mut Vec<Fault>) -> Uuid {
        let pointer = self.pointer(key);
        match self.take(key) {
            None => faults.push(Fault::new(pointer, "is the id of a pairing")),
            Some(value) => match value.as_str().map(Uuid::parse_str) {
                Some(Ok(id)) => return id,
                _ => faults.push(Fault::new(pointer, "is a UUID")),
            },
        }
        Uuid::nil()
    }

    /// Notes every field that was not asked for.
    pub fn finish(self, faults: &mut Vec<Fault>) {
        for key in self.map.keys() {
            if !self.known.iter().any(|known| known == key) {
                faults
                    .push(Fault::new(self.pointer(key), format!("is not known; known are {}", self.known.join(", "))));
            }
        }
    }
}
