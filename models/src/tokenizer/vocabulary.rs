//! The tokens and merges of a byte-pair tokenizer: read, learned from a corpus, written in transformers' format.
//!
//! The order of ids is CLIP's (`clip/simple_tokenizer.py` of OpenAI): 256 byte symbols, the same with `</w>`, the
//! merges by rank, then `<|startoftext|>` and `<|endoftext|>`, which thereby is the highest id.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::{NormalizedString, Normalizer as _};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

use super::{BOS_TOKEN, EOS_TOKEN, MAX_LENGTH, normalizer, parse_json, pre_tokenizer, tokenizer_error};
use crate::{Error, Result};

const END_OF_WORD: &str = "</w>";

/// Tokens by id, and merges by rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    tokens: Vec<(String, u32)>,
    merges: Vec<(String, String)>,
}

impl Vocabulary {
    /// Learns at most `vocab_size` tokens from the lines of a corpus. Deterministic: the most frequent pair is merged
    /// first, of equals the one that comes first in code point order. Stops early when every word is one token.
    ///
    /// # Errors
    /// `vocab_size` is below the 514 tokens that are always there.
    pub fn train<'a>(corpus: impl IntoIterator<Item = &'a str>, vocab_size: usize) -> Result<Self> {
        let num_fixed = 2 * 256 + 2;
        if vocab_size < num_fixed {
            return Err(Error::Invalid(format!("a CLIP vocabulary has at least {num_fixed} tokens, not {vocab_size}")));
        }
        let mut words: Vec<(Vec<String>, usize)> =
            count_words(corpus)?.into_iter().map(|(word, count)| (symbols(&word), count)).collect();
        let mut merges = Vec::new();
        while merges.len() < vocab_size - num_fixed {
            let mut counts: HashMap<(&str, &str), usize> = HashMap::new();
            for (symbols, count) in &words {
                for pair in symbols.windows(2) {
                    *counts.entry((&pair[0], &pair[1])).or_default() += count;
                }
            }
            let best = counts.into_iter().min_by_key(|&(pair, count)| (Reverse(count), pair));
            let Some(((first, second), _)) = best else {
                break;
            };
            let (first, second) = (first.to_owned(), second.to_owned());
            for (symbols, _) in &mut words {
                merge(symbols, &first, &second);
            }
            merges.push((first, second));
        }

        let bytes = bytes_to_unicode();
        let mut tokens: Vec<String> = bytes.iter().map(char::to_string).collect();
        tokens.extend(bytes.iter().map(|symbol| format!("{symbol}{END_OF_WORD}")));
        for (first, second) in &merges {
            // Two merges may spell one token; its first id stands.
            let token = format!("{first}{second}");
            if !tokens.contains(&token) {
                tokens.push(token);
            }
        }
        tokens.extend([BOS_TOKEN.to_owned(), EOS_TOKEN.to_owned()]);
        let tokens = tokens.into_iter().zip(0..).collect();
        Ok(Self { tokens, merges })
    }

    /// Reads `vocab.json` and `merges.txt`, or else the same from `tokenizer.json`.
    ///
    /// # Errors
    /// The files are missing or malformed.
    pub fn load(dir: &Path) -> Result<Self> {
        let vocab_path = dir.join("vocab.json");
        let whole_path = dir.join("tokenizer.json");
        if !vocab_path.exists() && whole_path.exists() {
            let file: TokenizerFile = parse_json(&whole_path, &fs_err::read(&whole_path)?)?;
            let merges = file.model.merges.into_iter().map(|merge| match merge {
                Merge::Pair(first, second) => Ok((first, second)),
                Merge::Line(line) => split_merge(&whole_path, &line),
            });
            return Ok(Self { tokens: sorted(file.model.vocab), merges: merges.collect::<Result<_>>()? });
        }
        let vocab: BTreeMap<String, u32> = parse_json(&vocab_path, &fs_err::read(&vocab_path)?)?;
        let merges_path = dir.join("merges.txt");
        let merges = fs_err::read_to_string(&merges_path)?
            .lines()
            .filter(|line| !line.starts_with("#version") && !line.is_empty())
            .map(|line| split_merge(&merges_path, line))
            .collect::<Result<_>>()?;
        Ok(Self { tokens: sorted(vocab), merges })
    }

    /// Writes a folder that transformers' `CLIPTokenizer` opens: `vocab.json`, `merges.txt`, `tokenizer_config.json`,
    /// `special_tokens_map.json`. CLIP ViT-L pads with [`EOS_TOKEN`], the second tokenizer of SDXL with `!`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, dir: &Path, pad_token: &str) -> Result<()> {
        fs_err::create_dir_all(dir)?;
        let vocab: serde_json::Map<String, Value> =
            self.tokens.iter().map(|(token, id)| (token.clone(), json!(id))).collect();
        let merges: String = std::iter::once("#version: 0.2\n".to_owned())
            .chain(self.merges.iter().map(|(a, b)| format!("{a} {b}\n")))
            .collect();
        let special_tokens = json!({
            "bos_token": BOS_TOKEN, "eos_token": EOS_TOKEN, "unk_token": EOS_TOKEN, "pad_token": pad_token,
        });
        let config = json!({
            "add_prefix_space": false, "bos_token": BOS_TOKEN, "do_lower_case": true, "eos_token": EOS_TOKEN,
            "errors": "replace", "model_max_length": MAX_LENGTH, "pad_token": pad_token,
            "tokenizer_class": "CLIPTokenizer", "unk_token": EOS_TOKEN,
        });
        fs_err::write(dir.join("vocab.json"), Value::Object(vocab).to_string())?;
        fs_err::write(dir.join("merges.txt"), merges)?;
        fs_err::write(dir.join("special_tokens_map.json"), format!("{special_tokens:#}\n"))?;
        fs_err::write(dir.join("tokenizer_config.json"), format!("{config:#}\n"))?;
        Ok(())
    }

    /// Number of tokens, special ones included.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Tokens with their ids, in the order of ids.
    pub fn tokens(&self) -> &[(String, u32)] {
        &self.tokens
    }

    /// Merges by rank.
    pub fn merges(&self) -> &[(String, String)] {
        &self.merges
    }

    pub(super) fn ids<M: FromIterator<(String, u32)>>(&self) -> M {
        self.tokens.iter().cloned().collect()
    }
}

#[derive(Deserialize)]
struct TokenizerFile {
    model: TokenizerModel,
}

#[derive(Deserialize)]
struct TokenizerModel {
    vocab: BTreeMap<String, u32>,
    merges: Vec<Merge>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

fn sorted(vocab: BTreeMap<String, u32>) -> Vec<(String, u32)> {
    let mut tokens: Vec<_> = vocab.into_iter().collect();
    tokens.sort_by_key(|(_, id)| *id);
    tokens
}

fn split_merge(path: &Path, line: &str) -> Result<(String, String)> {
    match line.split_once(' ') {
        Some((first, second)) if !second.contains(' ') => Ok((first.to_owned(), second.to_owned())),
        _ => Err(Error::Tokenizer(format!(
            "{}: the merge `{line}` is not two symbols with one blank between",
            path.display()
        ))),
    }
}

/// Words of a corpus in the byte alphabet, with how often each occurs.
fn count_words<'a>(corpus: impl IntoIterator<Item = &'a str>) -> Result<BTreeMap<String, usize>> {
    let normalizer = normalizer()?;
    let pre_tokenizer = pre_tokenizer()?;
    let mut counts = BTreeMap::new();
    for line in corpus {
        let mut text = NormalizedString::from(line);
        normalizer.normalize(&mut text).map_err(tokenizer_error)?;
        let mut pieces = PreTokenizedString::from(text);
        pre_tokenizer.pre_tokenize(&mut pieces).map_err(tokenizer_error)?;
        for (word, _, _) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            *counts.entry(word.to_owned()).or_default() += 1;
        }
    }
    Ok(counts)
}

fn symbols(word: &str) -> Vec<String> {
    let mut symbols: Vec<String> = word.chars().map(String::from).collect();
    if let Some(last) = symbols.last_mut() {
        last.push_str(END_OF_WORD);
    }
    symbols
}

fn merge(symbols: &mut Vec<String>, first: &str, second: &str) {
    let mut index = 0;
    while index + 1 < symbols.len() {
        if symbols[index] == first && symbols[index + 1] == second {
            let tail = symbols.remove(index + 1);
            symbols[index].push_str(&tail);
        }
        index += 1;
    }
}

/// GPT-2's byte alphabet in CLIP's order of ids: the printable bytes stand for themselves, the others for U+0100 and up.
fn bytes_to_unicode() -> Vec<char> {
    let printable = |byte: &u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let num_others = (0u32..256).filter(|byte| !printable(byte)).count() as u32;
    (0u32..256).filter(printable).chain(256..256 + num_others).filter_map(char::from_u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_has_clips_order() {
        let alphabet = bytes_to_unicode();
        assert_eq!(alphabet.len(), 256);
        assert_eq!(alphabet[0], '!');
        assert_eq!(alphabet[93], '~');
        assert_eq!(alphabet[94], '¡');
        assert_eq!(alphabet[188], 'Ā');
        assert_eq!(alphabet[255], 'Ń');
    }

    #[test]
    fn merges_the_most_frequent_pair_and_breaks_ties_by_order() {
        // "ab" three times, "cb" once: a+b</w> first, then c+b</w>.
        let vocabulary = Vocabulary::train(["ab ab ab cb"], 600).unwrap();
        assert_eq!(vocabulary.merges(), [("a", "b</w>"), ("c", "b</w>")].map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(vocabulary.tokens()[512], ("ab</w>".to_owned(), 512));
        assert_eq!(vocabulary.tokens()[515], (EOS_TOKEN.to_owned(), 515));

        let ties = Vocabulary::train(["zy xw"], 515).unwrap();
        assert_eq!(ties.merges(), [("x".to_owned(), "w</w>".to_owned())]);
    }

    #[test]
    fn a_vocabulary_below_the_bytes_is_refused() {
        assert!(Vocabulary::train(["a"], 100).is_err());
    }
}
