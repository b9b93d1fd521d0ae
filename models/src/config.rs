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

/// Keys that every configuration of transformers holds or once held; they steer text generation, training and what is
/// handed back, never the numbers of a forward pass.
pub(crate) const PRETRAINED: [&str; 66] = [
    "add_cross_attention",
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dropout",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "label_smoothing",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "prefix",
    "problem_type",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_word_embeddings",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
    "use_return_dict",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "projection_dim",
];

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
