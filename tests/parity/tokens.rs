//! Token ids of more than 10,000 strings are those of transformers.

use models::model_folder::{ModelFolder, Which};
use models::weights::read_json;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::golden;
use super::texts::texts;

/// Digits of a hash that are kept of each string.
const DIGITS: usize = 8;

#[derive(Deserialize)]
struct Expected {
    count: usize,
    tokenizer: String,
    tokenizer_2: String,
}

#[test]
fn ids_are_those_of_transformers() {
    let texts = texts();
    let expected: Expected = read_json(&golden("tokens.json")).unwrap();
    assert!(texts.len() > 10_000);
    assert_eq!(texts.len(), expected.count, "not the same strings");
    let folder = ModelFolder::open(&golden("sdxl/model")).unwrap();
    for (which, hashes) in [(Which::First, expected.tokenizer), (Which::Second, expected.tokenizer_2)] {
        let tokenizer = folder.tokenizer(which).unwrap();
        for (i, text) in texts.iter().enumerate() {
            let ids = tokenizer.encode_padded(text).unwrap();
            let listed = ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            let hash = hex::encode(Sha256::digest(listed));
            assert_eq!(hash[..DIGITS], hashes[i * DIGITS..][..DIGITS], "{which:?}: string {i}, {text:?}: {ids:?}");
        }
    }
}
