//! Damage: bytes of safetensors files, values of JSON files, lines of text, by a seed.

use serde_json::{Value, json};

use crate::texts::Random;

/// One of some.
pub(super) fn pick<'a, T>(random: &mut Random, all: &'a [T]) -> &'a T {
    &all[random.below(all.len() as u64) as usize]
}

/// A damaged copy of a file's bytes; `other` are those of another file of the folder.
pub(super) fn damaged(random: &mut Random, name: &str, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(2) {
        bytes = match random.below(10) {
            0 => bytes[..random.below(bytes.len() as u64 + 1) as usize].to_vec(),
            1 => flipped(random, bytes),
            2 if random.below(4) == 0 => other.to_vec(),
            _ => match name.rsplit('.').next() {
                Some("safetensors") => tensors(random, bytes),
                Some("json") => configuration(random, bytes),
                _ => lines(random, &bytes),
            },
        };
    }
    bytes
}

fn flipped(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..=random.below(4) {
        if let Some(place) = (!bytes.is_empty()).then(|| random.below(bytes.len() as u64) as usize) {
            bytes[place] ^= 1 << random.below(8);
        }
    }
    bytes
}

/// A header's value, a name, a number that is none, the size of the header, bytes too many.
fn tensors(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    let Some(size) = bytes.get(..8).map(|size| u64::from_le_bytes(size.try_into().unwrap())) else { return bytes };
    let Some(end) = size.checked_add(8).map(|end| end as usize).filter(|end| *end <= bytes.len()) else { return bytes };
    match random.below(8) {
        0 => {
            let size = *pick(random, &[0, 1, 7, size - 1, size + 1, 1 << 20, 1 << 40, u64::MAX]);
            bytes[..8].copy_from_slice(&size.to_le_bytes());
            bytes
        }
        1 => {
            bytes.extend(std::iter::repeat_n(0, 1 + random.below(9) as usize));
            bytes
        }
        2 | 3 if end + 8 < bytes.len() => {
            let place = end + 2 * random.below((bytes.len() - end) as u64 / 2 - 1) as usize;
            let value: u16 = *pick(random, &[0x7C00, 0x7E00, 0xFC00, 0x7FC0, 0x7F80, 0xFF80]);
            bytes[place..place + 2].copy_from_slice(&value.to_le_bytes());
            bytes
        }
        _ => {
            let header = configuration(random, bytes[8..end].to_vec());
            [&(header.len() as u64).to_le_bytes(), header.as_slice(), &bytes[end..]].concat()
        }
    }
}

/// One value or key of a JSON document.
fn configuration(random: &mut Random, bytes: Vec<u8>) -> Vec<u8> {
    let Ok(mut document) = serde_json::from_slice::<Value>(&bytes) else { return flipped(random, bytes) };
    let mut places = Vec::new();
    list(&document, String::new(), &mut places);
    if places.is_empty() {
        return bytes;
    }
    let place = pick(random, &places).clone();
    let (parent, key) = place.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/").replace("~0", "~");
    let odd = odd_value(random, document.pointer(&place).unwrap_or(&Value::Null));
    match (random.below(6), document.pointer_mut(parent)) {
        (0, Some(Value::Object(parent))) => drop(parent.remove(&key)),
        (0, Some(Value::Array(parent))) => {
            parent.pop();
        }
        (1, Some(Value::Object(parent))) => {
            let value = parent.remove(&key).unwrap_or_default();
            parent.insert(format!("{key}_2"), value);
        }
        (1, Some(Value::Array(parent))) => parent.push(odd),
        (2, _) => {
            let other = document.pointer(pick(random, &places).as_str()).cloned();
            if let (Some(target), Some(other)) = (document.pointer_mut(&place), other) {
                *target = other;
            }
        }
        _ => {
            if let Some(target) = document.pointer_mut(&place) {
                *target = odd;
            }
        }
    }
    serde_json::to_vec(&document).unwrap()
}

fn list(value: &Value, at: String, places: &mut Vec<String>) {
    if !at.is_empty() {
        places.push(at.clone());
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                list(value, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), places);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                list(value, format!("{at}/{index}"), places);
            }
        }
        _ => {}
    }
}

fn odd_value(random: &mut Random, old: &Value) -> Value {
    if let Some(number) = old.as_i64().filter(|_| random.below(2) == 0) {
        let near = [number + 1, number - 1, 2 * number, -number, number * 1000];
        return json!(pick(random, &near));
    }
    let nested = (0..200).fold(json!(0), |value, _| json!([value]));
    let all = [
        Value::Null,
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(3),
        json!(-1),
        json!(0.5),
        json!(-1e-9),
        json!(1e308),
        json!(1_000_000_000),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(""),
        json!("<|endoftext|>"),
        json!("../../etc/passwd"),
        json!([]),
        json!([0]),
        json!([1, 2, 4, 8, 16, 32]),
        json!({}),
        json!({"a": 1}),
        nested,
    ];
    pick(random, &all).clone()
}

fn lines(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return b"\xff\xfe".to_vec();
    }
    let place = random.below(lines.len() as u64) as usize;
    match random.below(5) {
        0 => drop(lines.remove(place)),
        1 => lines.insert(place, lines[place]),
        2 => lines[place] = "three words here",
        3 => lines[place] = "zq xj",
        _ => lines.reverse(),
    }
    lines.join("\n").into_bytes()
}
