//! CLIP's byte-pair tokenizer, as transformers' `CLIPTokenizer` has it.
//!
//! Source: `transformers/models/clip/tokenization_clip.py` (version 5). The text is brought to NFC, white space is
//! collapsed, letters are lower-cased, the text is split by CLIP's expression, each piece is written in GPT-2's byte
//! alphabet, and pairs are merged by rank; the last symbol of a piece carries `</w>`. A sequence is
//! `<|startoftext|>` … `<|endoftext|>`, at most 77 ids.

pub mod vocabulary;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{self, Lowercase, NFC, Replace};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

pub use vocabulary::Vocabulary;

use crate::{Error, Result};

/// Begins every sequence.
pub const BOS_TOKEN: &str = "<|startoftext|>";
/// Ends every sequence; also the unknown token, and what CLIP ViT-L pads with.
pub const EOS_TOKEN: &str = "<|endoftext|>";
/// Ids in a padded sequence.
pub const MAX_LENGTH: usize = 77;

const SPLIT: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// A CLIP tokenizer, ready to encode.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: u32,
    eos: u32,
    pad: u32,
    max_length: usize,
}

impl Tokenizer {
    /// Opens a tokenizer folder: `vocab.json` + `merges.txt` (or a `tokenizer.json` that holds both), and, where they
    /// are, `tokenizer_config.json` and `special_tokens_map.json`.
    ///
    /// # Errors
    /// A file that is missing or malformed, or a special token that the vocabulary lacks.
    pub fn load(dir: &Path) -> Result<Self> {
        let settings = Settings::read(dir)?;
        Self::new(&Vocabulary::load(dir)?, &settings).map_err(|error| match error {
            Error::Tokenizer(message) => Error::Tokenizer(format!("{}: {message}", dir.display())),
            other => other,
        })
    }

    /// A tokenizer with CLIP's usual special tokens that pads with `pad_token`.
    ///
    /// # Errors
    /// The vocabulary lacks a special token.
    pub fn from_vocabulary(vocabulary: &Vocabulary, pad_token: &str) -> Result<Self> {
        Self::new(vocabulary, &Settings::with_pad(pad_token))
    }

    fn new(vocabulary: &Vocabulary, settings: &Settings) -> Result<Self> {
        let model = BPE::builder()
            .vocab_and_merges(vocabulary.ids::<Vocab>(), vocabulary.merges().to_vec())
            .end_of_word_suffix("</w>".to_owned())
            .continuing_subword_prefix(String::new())
            .unk_token(settings.unk.clone())
            .build()
            .map_err(tokenizer_error)?;
        let mut inner = tokenizers::Tokenizer::new(model);
        inner.with_normalizer(Some(normalizer()?)).map_err(tokenizer_error)?;
        inner.with_pre_tokenizer(Some(pre_tokenizer()?));
        inner.add_special_tokens(settings.added.values().cloned()).map_err(tokenizer_error)?;
        let id = |token: &str| {
            inner
                .token_to_id(token)
                .ok_or_else(|| Error::Tokenizer(format!("the special token `{token}` is not in the vocabulary")))
        };
        let (bos, eos, pad) = (id(&settings.bos)?, id(&settings.eos)?, id(&settings.pad)?);
        Ok(Self { bos, eos, pad, max_length: settings.max_length, inner })
    }

    /// Ids of a text with begin and end, cut to [`Self::max_length`] ids, without padding.
    ///
    /// # Errors
    /// The tokenizer library failed on the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode_body(text)?;
        ids.truncate(self.max_length - 2);
        ids.insert(0, self.bos);
        ids.push(self.eos);
        Ok(ids)
    }

    /// Ids of a text without begin and end, and not cut.
    ///
    /// # Errors
    /// The tokenizer library failed on the text.
    pub fn encode_body(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(tokenizer_error)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Ids of a text with begin and end, padded to [`Self::max_length`] ids.
    ///
    /// # Errors
    /// The tokenizer library failed on the text.
    pub fn encode_padded(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode(text)?;
        ids.resize(self.max_length, self.pad);
        Ok(ids)
    }

    /// Id that begins a sequence.
    pub fn bos(&self) -> u32 {
        self.bos
    }

    /// Id that ends a sequence.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// Id that fills a sequence up.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// Ids in a padded sequence, 77 unless the folder says less.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Tokens in the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The token of an id.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }
}

/// Text as the merges see it: NFC, one blank for white space, lower case.
fn normalizer() -> Result<normalizers::Sequence> {
    let blanks = Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ");
    Ok(normalizers::Sequence::new(vec![NFC.into(), blanks.map_err(tokenizer_error)?.into(), Lowercase.into()]))
}

/// Pieces of a text, in the byte alphabet.
fn pre_tokenizer() -> Result<PreTokenizers> {
    let split = Split::new(SplitPattern::Regex(SPLIT.to_owned()), SplitDelimiterBehavior::Removed, true);
    Ok(PreTokenizers::new(vec![
        split.map_err(tokenizer_error)?.into(),
        // With GPT-2's own expression on top, as in transformers.
        ByteLevel::new(false, true, true).into(),
    ]))
}

/// What `tokenizer_config.json` and `special_tokens_map.json` say.
struct Settings {
    bos: String,
    eos: String,
    unk: String,
    pad: String,
    /// Tokens that are found in a text before anything else, by id or by order of mention.
    added: BTreeMap<u64, AddedToken>,
    max_length: usize,
}

impl Settings {
    fn with_pad(pad_token: &str) -> Self {
        let mut settings = Self {
            bos: BOS_TOKEN.to_owned(),
            eos: EOS_TOKEN.to_owned(),
            unk: EOS_TOKEN.to_owned(),
            pad: pad_token.to_owned(),
            added: BTreeMap::new(),
            max_length: MAX_LENGTH,
        };
        settings.add_special_tokens();
        settings
    }

    fn read(dir: &Path) -> Result<Self> {
        let map: ConfigFile = read_json_or_default(&dir.join("special_tokens_map.json"))?;
        let config_path = dir.join("tokenizer_config.json");
        let config: ConfigFile = read_json_or_default(&config_path)?;
        let pick = |of: fn(&ConfigFile) -> Option<&SpecialToken>, default: &str| {
            of(&config).or(of(&map)).map_or_else(|| default.to_owned(), |token| token.content().to_owned())
        };
        let mut settings = Self {
            bos: pick(|file| file.bos_token.as_ref(), BOS_TOKEN),
            eos: pick(|file| file.eos_token.as_ref(), EOS_TOKEN),
            unk: pick(|file| file.unk_token.as_ref(), EOS_TOKEN),
            pad: pick(|file| file.pad_token.as_ref(), EOS_TOKEN),
            added: BTreeMap::new(),
            max_length: MAX_LENGTH,
        };
        // transformers writes 1e30 where no length is known.
        if let Some(length) = config.model_max_length.as_ref().and_then(Value::as_f64)
            && length < MAX_LENGTH as f64
        {
            if length < 3.0 {
                return Err(Error::Config {
                    path: config_path,
                    key: "model_max_length".to_owned(),
                    message: format!("{length} leaves no room for text"),
                });
            }
            settings.max_length = length as usize;
        }
        for (id, token) in &config.added_tokens_decoder {
            let id = id.parse().map_err(|_| Error::Config {
                path: config_path.clone(),
                key: format!("added_tokens_decoder.{id}"),
                message: "the key is not an id".to_owned(),
            })?;
            settings.added.insert(id, token.to_added());
        }
        settings.add_special_tokens();
        Ok(settings)
    }

    /// Special tokens are found in a text even where the folder does not list them as added.
    fn add_special_tokens(&mut self) {
        let named = [&self.bos, &self.eos, &self.unk, &self.pad];
        for (index, token) in named.into_iter().enumerate() {
            if !self.added.values().any(|added| &added.content == token) {
                let added = AddedToken::from(token.clone(), true);
                self.added.insert(u64::MAX - 4 + index as u64, added);
            }
        }
    }
}

/// `tokenizer_config.json` or `special_tokens_map.json`; other keys do not change the ids.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ConfigFile {
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
    unk_token: Option<SpecialToken>,
    pad_token: Option<SpecialToken>,
    model_max_length: Option<Value>,
    added_tokens_decoder: BTreeMap<String, SpecialToken>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Plain(String),
    Full {
        content: String,
        #[serde(default)]
        lstrip: bool,
        #[serde(default)]
        rstrip: bool,
        #[serde(default)]
        single_word: bool,
        #[serde(default)]
        normalized: bool,
    },
}

impl SpecialToken {
    fn content(&self) -> &str {
        match self {
            Self::Plain(content) | Self::Full { content, .. } => content,
        }
    }

    fn to_added(&self) -> AddedToken {
        match self {
            Self::Plain(content) => AddedToken::from(content.clone(), true),
            Self::Full { content, lstrip, rstrip, single_word, normalized } => AddedToken::from(content.clone(), true)
                .lstrip(*lstrip)
                .rstrip(*rstrip)
                .single_word(*single_word)
                .normalized(*normalized),
        }
    }
}

fn read_json_or_default<T: Default + serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    match fs_err::read(path) {
        Ok(bytes) => parse_json(path, &bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(error.into()),
    }
}

fn parse_json<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| Error::Json { path: path.to_owned(), source })
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn tokenizer_error(error: tokenizers::Error) -> Error {
    Error::Tokenizer(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Tokenizer {
        let corpus = ["a red circle left of a blue square", "a red square"];
        let vocabulary = Vocabulary::train(corpus, 600).unwrap();
        Tokenizer::from_vocabulary(&vocabulary, EOS_TOKEN).unwrap()
    }

    #[test]
    fn frames_cuts_and_pads() {
        let tokenizer = tiny();
        let ids = tokenizer.encode("A  Red\n circle").unwrap();
        assert_eq!(ids.len(), 5, "three whole words: {ids:?}");
        assert_eq!((ids[0], ids[4]), (tokenizer.bos(), tokenizer.eos()));
        assert_eq!(ids, tokenizer.encode("a red circle").unwrap());

        let long = tokenizer.encode(&"circle ".repeat(200)).unwrap();
        assert_eq!((long.len(), long[76]), (77, tokenizer.eos()));
        let padded = tokenizer.encode_padded("a").unwrap();
        assert_eq!((padded.len(), padded[2], padded[76]), (77, tokenizer.eos(), tokenizer.pad()));
    }

    #[test]
    fn unknown_words_and_scripts_fall_back_to_bytes() {
        let tokenizer = tiny();
        for text in ["zebra", "été", "日本", "🦊", "<|endoftext|> x", ""] {
            let ids = tokenizer.encode(text).unwrap();
            assert!(ids.len() >= 2);
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        }
        // Composed and decomposed letters are the same text.
        assert_eq!(tokenizer.encode("e\u{301}").unwrap(), tokenizer.encode("\u{e9}").unwrap());
    }

    #[test]
    fn a_saved_folder_gives_the_same_ids() {
        let dir = tempfile::tempdir().unwrap();
        let corpus = ["a red circle left of a blue square", "the square!"];
        let vocabulary = Vocabulary::train(corpus, 560).unwrap();
        vocabulary.save(dir.path(), "!").unwrap();
        let loaded = Tokenizer::load(dir.path()).unwrap();
        assert_eq!(loaded.pad(), 0);
        let made = Tokenizer::from_vocabulary(&vocabulary, "!").unwrap();
        for text in ["a red square", "hello, world!", "left of"] {
            assert_eq!(loaded.encode(text).unwrap(), made.encode(text).unwrap());
        }
        // As the padding token, "!" is found before the merges.
        assert_eq!(loaded.encode("!").unwrap()[1], 0);
    }
}
