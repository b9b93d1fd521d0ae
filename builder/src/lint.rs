//! What can be wrong with a LAION-SG record, and where: every finding has a code, a JSON pointer and a way out.
//!
//! Codes with `E_` reject the record, codes with `W_` let it pass. File faults (syntax, encoding) are
//! found by [`crate::laion_sg`]; this module looks at one well-formed record, and [`content`] at what its graph says.

mod code;
pub mod content;

pub use code::{Code, Severity};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};
use unicode_normalization::UnicodeNormalization;

/// Labels longer than this are reported.
const LONG_LABEL_CHARS: usize = 256;

/// One finding, with its place in the file: a line of `diptych lint --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The file, as the user named it.
    pub file: String,
    /// Index of the record in the file; none for a finding about the whole file.
    pub record: Option<u64>,
    /// JSON pointer (RFC 6901) whose first segment is the record's index; "" is the whole file.
    pub pointer: String,
    /// What was found.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, in words.
    pub message: String,
    /// What to do about it.
    pub suggestion: String,
}

/// A finding inside one record: [`Finding`] without file and record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What was found.
    pub code: Code,
    /// JSON pointer from the record.
    pub pointer: String,
    /// What is wrong, in words.
    pub message: String,
    /// What to do about it.
    pub suggestion: &'static str,
}

impl Fault {
    /// A fault at this place.
    pub fn new(code: Code, pointer: impl Into<String>, message: impl Into<String>, suggestion: &'static str) -> Self {
        Self { code, pointer: pointer.into(), message: message.into(), suggestion }
    }

    /// The finding that this is in record `record` of `file`, or about the whole file.
    pub fn at(self, file: &str, record: Option<u64>) -> Finding {
        Finding {
            file: file.to_owned(),
            record,
            pointer: record.map_or_else(|| self.pointer.clone(), |record| format!("/{record}{}", self.pointer)),
            code: self.code,
            severity: self.code.severity(),
            message: self.message,
            suggestion: self.suggestion.to_owned(),
        }
    }
}

/// Everything that is wrong with one record, in the order of the record's keys.
pub fn check(record: &Value) -> Vec<Fault> {
    let mut checker = Checker { faults: Vec::new(), pointer: String::new() };
    match record {
        Value::Object(map) => checker.record(map),
        other => checker.wrong_type("a record must be an object", other),
    }
    checker.faults
}

/// Escapes a key for use in a JSON pointer.
pub fn pointer_segment(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

struct Checker {
    faults: Vec<Fault>,
    /// Where we are, from the record.
    pointer: String,
}

/// What the relations must know of the items.
struct Items {
    ids: HashSet<u64>,
    /// Some id could not be read, so that a relation that names no known item may still be right.
    some_unreadable: bool,
}

impl Checker {
    fn report(&mut self, code: Code, message: impl Into<String>, suggestion: &'static str) {
        self.faults.push(Fault::new(code, self.pointer.clone(), message, suggestion));
    }

    fn wrong_type(&mut self, wanted: &str, value: &Value) {
        self.report(
            Code::WrongType,
            format!("{wanted}, not {}", type_name(value)),
            "write the value in the type that LAION-SG uses",
        );
    }

    /// Runs `f` one level deeper.
    fn within<T>(&mut self, segment: impl fmt::Display, f: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.pointer.len();
        // Writing to a String cannot fail.
        let _ = write!(self.pointer, "/{segment}");
        let result = f(self);
        self.pointer.truncate(length);
        result
    }

    /// Runs `f` on the value of a required key.
    fn required<'v, T>(
        &mut self,
        map: &'v Map<String, Value>,
        key: &'static str,
        f: impl FnOnce(&mut Self, &'v Value) -> Option<T>,
    ) -> Option<T> {
        self.within(key, |checker| match map.get(key) {
            Some(value) => f(checker, value),
            None => {
                checker.report(
                    Code::MissingField,
                    format!("`{key}` is missing"),
                    "add the key; every LAION-SG record has it",
                );
                None
            }
        })
    }

    fn record(&mut self, map: &Map<String, Value>) {
        self.required(map, "img_id", Self::img_id);
        self.required(map, "name", Self::name);
        self.required(map, "caption_ori", |checker, value| checker.text(value).map(drop));
        let items = self.required(map, "items", Self::items);
        self.required(map, "relations", |checker, value| {
            checker.relations(value, items.as_ref());
            Some(())
        });
        if let Some(score) = map.get("score") {
            self.within("score", |checker| checker.score(score));
        }
        for (key, value) in map {
            if !matches!(key.as_str(), "img_id" | "name" | "caption_ori" | "items" | "relations") {
                self.within(pointer_segment(key), |checker| checker.no_nul(value));
            }
        }
    }

    fn img_id(&mut self, value: &Value) -> Option<()> {
        match value {
            Value::String(text) if text.trim().is_empty() => {
                self.report(Code::EmptyImgId, "`img_id` is empty", "give the record a name of its own");
            }
            Value::String(text) => self.no_nul_in(text),
            Value::Number(number) if !number.is_f64() => {}
            other => self.wrong_type("`img_id` must be a string or an integer", other),
        }
        Some(())
    }

    fn name(&mut self, value: &Value) -> Option<()> {
        let name = self.text(value)?;
        let drive = name.as_bytes().get(1) == Some(&b':') && name.as_bytes()[0].is_ascii_alphabetic();
        if name.starts_with(['/', '\\']) || drive || name.split(['/', '\\']).any(|component| component == "..") {
            self.report(
                Code::UnsafeName,
                format!("`{name}` leads out of the image folder"),
                "use a relative path without `..`",
            );
        }
        Some(())
    }

    /// A string without NUL, which no database text can hold.
    fn text<'v>(&mut self, value: &'v Value) -> Option<&'v str> {
        if let Value::String(text) = value {
            self.no_nul_in(text);
            return Some(text);
        }
        self.wrong_type("this must be a string", value);
        None
    }

    fn no_nul_in(&mut self, text: &str) {
        if text.contains('\0') {
            self.report(Code::ControlChar, "the text holds a NUL character", "remove the character");
        }
    }

    fn no_nul(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.no_nul_in(text),
            Value::Array(values) => {
                for (i, value) in values.iter().enumerate() {
                    self.within(i, |checker| checker.no_nul(value));
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    self.within(pointer_segment(key), |checker| {
                        checker.no_nul_in(key);
                        checker.no_nul(value);
                    });
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn score(&mut self, value: &Value) {
        let numeric = match value {
            Value::Number(_) | Value::Null => true,
            Value::String(text) => text.trim().parse::<f64>().is_ok_and(f64::is_finite),
            _ => false,
        };
        if !numeric {
            self.wrong_type("`score` must be a number or a decimal string", value);
        }
    }

    fn items(&mut self, value: &Value) -> Option<Items> {
        let Value::Array(values) = value else {
            self.wrong_type("`items` must be an array", value);
            return None;
        };
        if values.is_empty() {
            self.report(Code::NoItems, "the graph has no items", "leave the record out, or add what the image shows");
        }
        let mut items = Items { ids: HashSet::with_capacity(values.len()), some_unreadable: false };
        let mut global_ids = HashSet::with_capacity(values.len());
        for (i, value) in values.iter().enumerate() {
            self.within(i, |checker| match value {
                Value::Object(map) => checker.item(map, &mut items, &mut global_ids),
                other => {
                    items.some_unreadable = true;
                    checker.wrong_type("an item must be an object", other);
                }
            });
        }
        self.normal_forms(values);
        Some(items)
    }

    fn item(&mut self, map: &Map<String, Value>, items: &mut Items, global_ids: &mut HashSet<u64>) {
        match self.required(map, "item_id", Self::id) {
            Some(id) if !items.ids.insert(id) => self.within("item_id", |checker| {
                checker.report(
                    Code::DuplicateItemId,
                    format!("item_id {id} is taken by an earlier item"),
                    "number the items of a record differently",
                );
            }),
            Some(_) => {}
            None => items.some_unreadable = true,
        }
        self.required(map, "label", |checker, value| checker.text(value).map(|label| checker.label(label)));
        self.required(map, "attributes", |checker, value| {
            checker.attributes(value);
            Some(())
        });
        if let Some(value) = map.get("global_item_id").filter(|value| !value.is_null()) {
            self.within("global_item_id", |checker| {
                if let Some(id) = checker.id(value)
                    && !global_ids.insert(id)
                {
                    checker.report(
                        Code::DuplicateGlobalId,
                        format!("global_item_id {id} is taken by an earlier item"),
                        "merge the two items, or correct the id",
                    );
                }
            });
        }
        self.extra(map, &["item_id", "label", "attributes", "global_item_id"]);
    }

    fn extra(&mut self, map: &Map<String, Value>, known: &[&str]) {
        for (key, value) in map.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            self.within(pointer_segment(key), |checker| checker.no_nul(value));
        }
    }

    fn id(&mut self, value: &Value) -> Option<u64> {
        let Value::Number(number) = value else {
            self.wrong_type("an id must be an integer", value);
            return None;
        };
        if number.is_u64() {
            return number.as_u64();
        }
        // What does not fit 64 bits reaches us as a float: an integer in the file if it is whole and that large.
        let float = number.as_f64().unwrap_or_default();
        if number.is_i64() || (float.fract() == 0.0 && float.abs() >= 9.2e18) {
            self.report(
                Code::IdRange,
                format!("id {number} is not between 0 and {}", u64::MAX),
                "number the items from 0",
            );
        } else {
            self.wrong_type("an id must be an integer", value);
        }
        None
    }

    fn label(&mut self, label: &str) {
        if label.chars().all(is_invisible) {
            self.report(Code::EmptyLabel, "the label is empty", "say what the item is, or leave it out");
            return;
        }
        self.spelling(label);
        if label.trim() != label {
            self.report(Code::UntrimmedLabel, "white space around the label", "trim the label");
        }
        if label.chars().nth(LONG_LABEL_CHARS).is_some() {
            self.report(
                Code::LongLabel,
                format!("the label has {} characters", label.chars().count()),
                "shorten the label; an encoder reads 77 tokens",
            );
        }
    }

    /// Characters that have no business in a label, an attribute or a predicate.
    fn spelling(&mut self, text: &str) {
        // NUL was reported when the text was read.
        if text.chars().any(|c| c < ' ' && c != '\0') {
            self.report(Code::ControlChar, "the text holds a control character", "remove the character");
        }
        if text.chars().any(is_bidi_control) {
            self.report(Code::BidiControl, "the text holds a bidirectional control character", "remove the character");
        }
    }

    fn attributes(&mut self, value: &Value) {
        let Value::Array(values) = value else {
            self.wrong_type("`attributes` must be an array", value);
            return;
        };
        for (i, value) in values.iter().enumerate() {
            self.within(i, |checker| {
                let Some(attribute) = checker.text(value) else { return };
                checker.spelling(attribute);
                if attribute.chars().all(is_invisible) {
                    checker.report(Code::EmptyAttribute, "the attribute is empty", "leave it out");
                } else if values[..i].iter().any(|earlier| earlier.as_str() == Some(attribute)) {
                    checker.report(Code::DuplicateAttribute, format!("`{attribute}` is said twice"), "say it once");
                }
            });
        }
    }

    fn normal_forms(&mut self, items: &[Value]) {
        let labels = items.iter().enumerate().filter_map(|(i, item)| Some((i, item.get("label")?.as_str()?)));
        // ASCII is its own normal form.
        if labels.clone().all(|(_, label)| label.is_ascii()) {
            return;
        }
        let mut spelling_of = HashMap::new();
        for (i, label) in labels {
            let first = *spelling_of.entry(label.nfc().collect::<String>()).or_insert(label);
            if first != label {
                self.within(format_args!("{i}/label"), |checker| {
                    checker.report(
                        Code::LabelsEqualAfterNfc,
                        "differs from an earlier label only by Unicode normal form",
                        "write all labels in NFC",
                    );
                });
            }
        }
    }

    fn relations(&mut self, value: &Value, items: Option<&Items>) {
        let Value::Array(values) = value else {
            self.wrong_type("`relations` must be an array", value);
            return;
        };
        if values.is_empty() {
            self.report(
                Code::NoRelations,
                "the graph has no relations",
                "kept here; LAION-SG's own loader drops the record",
            );
        }
        let mut triples = HashSet::with_capacity(values.len());
        for (i, value) in values.iter().enumerate() {
            self.within(i, |checker| match value {
                Value::Object(map) => {
                    if let Some(triple) = checker.relation(map, items)
                        && !triples.insert(triple)
                    {
                        checker.report(Code::DuplicateTriple, "the same relation was said before", "say it once");
                    }
                }
                other => checker.wrong_type("a relation must be an object", other),
            });
        }
    }

    fn relation<'v>(&mut self, map: &'v Map<String, Value>, items: Option<&Items>) -> Option<(u64, &'v str, u64)> {
        let subject = self.required(map, "item1", |checker, value| checker.end(value, items));
        let predicate = self.required(map, "relation", |checker, value| {
            let text = checker.text(value)?;
            if text.chars().all(is_invisible) {
                checker.report(
                    Code::EmptyRelation,
                    "the predicate is empty",
                    "say how the two items relate, or leave the relation out",
                );
            }
            checker.spelling(text);
            Some(text)
        });
        let object = self.required(map, "item2", |checker, value| checker.end(value, items));
        if let Some(value) = map.get("triple_id").filter(|value| !value.is_null()) {
            self.within("triple_id", |checker| checker.id(value));
        }
        self.extra(map, &["triple_id", "item1", "relation", "item2"]);
        let (subject, object) = (subject?, object?);
        if subject == object {
            self.report(Code::SelfRelation, format!("item {subject} is related to itself"), "name two different items");
        }
        Some((subject, predicate?, object))
    }

    fn end(&mut self, value: &Value, items: Option<&Items>) -> Option<u64> {
        let id = self.id(value)?;
        if let Some(items) = items
            && !items.ids.contains(&id)
            && !items.some_unreadable
        {
            self.report(Code::DanglingItem, format!("no item has item_id {id}"), "add the item, or correct the id");
        }
        Some(id)
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// White space and Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt, 16.0).
fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}'
            | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// Unicode's Bidi_Control property.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn codes(record: &Value) -> Vec<(&'static str, String)> {
        check(record).into_iter().map(|fault| (fault.code.as_str(), fault.pointer)).collect()
    }

    fn record() -> Value {
        json!({
            "img_id": "1", "name": "1.jpg", "caption_ori": "",
            "items": [
                {"item_id": 0, "label": "dog", "attributes": ["brown"], "global_item_id": 7},
                {"item_id": 1, "label": "sofa", "attributes": []},
            ],
            "relations": [{"item1": 0, "relation": "on", "item2": 1}],
        })
    }

    #[test]
    fn nothing_is_wrong_with_a_good_record() {
        assert_eq!(codes(&record()), []);
    }

    #[test]
    fn faults_that_no_shared_file_shows() {
        let cases: [(&str, Value, &str); 8] = [
            ("/relations/0/item2", json!(0), "E_SELF_RELATION /relations/0"),
            ("/items/0/attributes/0", json!(" "), "W_EMPTY_ATTRIBUTE /items/0/attributes/0"),
            ("/items/0/label", json!("do\u{202E}g"), "W_BIDI_CONTROL /items/0/label"),
            ("/relations", json!([]), "W_NO_RELATIONS /relations"),
            ("/caption_ori", json!("a\u{0}b"), "E_CONTROL_CHAR /caption_ori"),
            ("/relations/0/item1", json!(-1), "E_ID_RANGE /relations/0/item1"),
            ("/name", json!("C:\\x.jpg"), "E_UNSAFE_NAME /name"),
            ("/items/1", json!(3), "E_WRONG_TYPE /items/1"),
        ];
        for (pointer, value, expected) in cases {
            let mut broken = record();
            *broken.pointer_mut(pointer).unwrap() = value;
            let found: Vec<String> = codes(&broken).iter().map(|(code, pointer)| format!("{code} {pointer}")).collect();
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn names_of_codes_lead_back() {
        for &code in Code::ALL {
            assert_eq!(Code::from_name(code.as_str()), Some(code));
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
