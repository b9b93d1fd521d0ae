//! BERT's word pieces for BLIP's questions: lower case, `[ENC]` … `[SEP]`, at most 35 ids.
//!
//! Source: Karine-Huang/T2I-CompBench at 1b70949, `BLIPvqa_eval/models/blip_vqa.py`, `data/utils.py` (`pre_question`).

use std::path::Path;

use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

use super::folder::refuse;
use crate::{Error, Result};

/// Ids of a question, begin and end among them.
const MAX_TOKENS: usize = 35;
/// Words of a question.
const MAX_WORDS: usize = 50;
/// Left out of a question.
const DROPPED: [char; 10] = ['.', '!', '"', '(', ')', '*', '#', ':', ';', '~'];

/// The vocabulary, ready to encode.
pub struct QuestionTokenizer {
    inner: tokenizers::Tokenizer,
    begin: u32,
    end: u32,
    yes: u32,
    no: u32,
}

impl QuestionTokenizer {
    /// Opens a folder with `tokenizer.json` or `vocab.txt`. `begin`: the id of `[ENC]` where the vocabulary lacks it.
    ///
    /// # Errors
    /// Neither file is there, one is malformed, or it lacks `[SEP]`, `yes` or `no`; the error names it.
    pub fn open(dir: &Path, begin: u32) -> Result<Self> {
        let (json, plain) = (dir.join("tokenizer.json"), dir.join("vocab.txt"));
        let path = if json.exists() { json } else { plain };
        let failed = |error: tokenizers::Error| Error::Tokenizer(format!("{}: {error}", path.display()));
        let inner = if path.ends_with("tokenizer.json") {
            let bytes = fs_err::read(&path)?;
            let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(failed)?;
            inner.with_truncation(None).map_err(failed)?;
            inner.with_padding(None);
            inner
        } else {
            let text = fs_err::read_to_string(&path)?;
            let vocabulary: Vocab = text.lines().zip(0..).map(|(token, id)| (token.to_owned(), id)).collect();
            let model = WordPiece::builder().vocab(vocabulary).unk_token("[UNK]".to_owned()).build().map_err(failed)?;
            let mut inner = tokenizers::Tokenizer::new(model);
            inner.with_normalizer(Some(BertNormalizer::default())).map_err(failed)?;
            inner.with_pre_tokenizer(Some(BertPreTokenizer));
            inner
        };
        let id = |token: &str| match inner.token_to_id(token) {
            Some(id) => Ok(id),
            None => refuse(&path, token, "this token is not in the vocabulary"),
        };
        let (end, yes, no) = (id("[SEP]")?, id("yes")?, id("no")?);
        let begin = inner.token_to_id("[ENC]").unwrap_or(begin);
        Ok(Self { inner, begin, end, yes, no })
    }

    /// Ids of a question.
    ///
    /// # Errors
    /// The tokenizer library failed on the text.
    pub fn encode(&self, question: &str) -> Result<Vec<u32>> {
        let encoding =
            self.inner.encode_fast(prepared(question), false).map_err(|error| Error::Tokenizer(error.to_string()))?;
        let body = encoding.get_ids().iter().copied().take(MAX_TOKENS - 2);
        Ok(std::iter::once(self.begin).chain(body).chain([self.end]).collect())
    }

    /// Id of the answer `yes`.
    pub fn yes(&self) -> u32 {
        self.yes
    }

    /// Id of the answer `no`.
    pub fn no(&self) -> u32 {
        self.no
    }

    /// The highest id that can come out.
    pub fn max_id(&self) -> u32 {
        let vocabulary = (self.inner.get_vocab_size(true) as u32).saturating_sub(1);
        vocabulary.max(self.begin)
    }
}

/// `pre_question`: lower case, without some signs, at most 50 words.
fn prepared(question: &str) -> String {
    let text: String = question.to_lowercase().chars().filter(|c| !DROPPED.contains(c)).collect();
    let words: Vec<&str> = text.trim_end_matches(' ').split(' ').take(MAX_WORDS).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_prepared_as_published() {
        assert_eq!(prepared("A \"Red\" (big) bus?  "), "a red big bus?");
        assert_eq!(prepared(&"word ".repeat(60)).split(' ').count(), 50);
    }

    #[test]
    fn ids_from_a_plain_vocabulary() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\nyes\nno\nred\n##ish\nbus\n?\n")
            .unwrap();
        let tokenizer = QuestionTokenizer::open(dir.path(), 11).unwrap();
        assert_eq!(tokenizer.encode("Redish bus, no?").unwrap(), [11, 6, 7, 8, 1, 5, 9, 3]);
        assert_eq!((tokenizer.yes(), tokenizer.no(), tokenizer.max_id()), (4, 5, 11));
        assert_eq!(tokenizer.encode(&"bus ".repeat(49)).unwrap().len(), 35);
        fs_err::write(dir.path().join("vocab.txt"), "[PAD]\n[UNK]\n[SEP]\nyes\n").unwrap();
        let error = QuestionTokenizer::open(dir.path(), 11).err().unwrap().to_string();
        assert!(error.contains("vocab.txt") && error.contains("`no`"), "{error}");
    }
}
