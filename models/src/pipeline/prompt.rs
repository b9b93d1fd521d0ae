//! Plain prompts as diffusers' pipelines encode them, and what stands for an empty one in guidance.
//!
//! Source: `StableDiffusionPipeline.encode_prompt`, `StableDiffusionXLPipeline.encode_prompt`.

use super::Conditioning;
use crate::model_folder::{ModelFolder, Which};
use crate::text_conditioning::TextStack;
use crate::tokenizer::Tokenizer;
use crate::weights::read_json;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// The tokenizers of a folder; they share their ids but not what they pad with.
#[derive(Clone)]
pub(super) struct Tokenizers {
    pub first: Tokenizer,
    second: Option<Tokenizer>,
}

impl Tokenizers {
    pub(super) fn load(folder: &ModelFolder, encoders: &TextStack) -> Result<Self> {
        let second = match encoders {
            TextStack::One(_) => None,
            TextStack::Two(_) => Some(folder.tokenizer(Which::Second)?),
        };
        Ok(Self { first: folder.tokenizer(Which::First)?, second })
    }

    /// `encoder_hidden_states [b, 77, d]` and `text_embeds [b, p]` of prompts, padded.
    pub(super) fn encode(&self, prompts: &[String], encoders: &TextStack, device: &Device) -> Result<Conditioning> {
        let ids = |tokenizer: &Tokenizer| -> Result<Tensor> {
            let rows = prompts.iter().map(|prompt| tokenizer.encode_padded(prompt)).collect::<Result<Vec<_>>>()?;
            Ok(Tensor::from_vec(rows.concat(), (prompts.len(), tokenizer.max_length()), device)?)
        };
        let first = ids(&self.first)?;
        let second = self.second.as_ref().map(ids).transpose()?;
        let (encoder_hidden_states, text_embeds) = encoders.encode_padded(&first, second.as_ref())?;
        Conditioning { encoder_hidden_states, text_embeds }.to_dtype(DType::F32)
    }

    /// The condition of an image that is told nothing, one row: zeros where `model_index.json` says
    /// `force_zeros_for_empty_prompt` (SDXL's default), else the encoding of the empty prompt (always SD1.5's).
    pub(super) fn empty(&self, folder: &ModelFolder, encoders: &TextStack, device: &Device) -> Result<Conditioning> {
        let empty = self.encode(&[String::new()], encoders, device)?;
        let zeros = match encoders {
            TextStack::One(_) => false,
            TextStack::Two(_) => forces_zeros(folder)?,
        };
        if !zeros {
            return Ok(empty);
        }
        Ok(Conditioning {
            encoder_hidden_states: empty.encoder_hidden_states.zeros_like()?,
            text_embeds: empty.text_embeds.zeros_like()?,
        })
    }
}

fn forces_zeros(folder: &ModelFolder) -> Result<bool> {
    let path = folder.path().join("model_index.json");
    if !path.is_file() {
        return Ok(true);
    }
    let index: serde_json::Value = read_json(&path)?;
    let key = "force_zeros_for_empty_prompt";
    match index.get(key) {
        None => Ok(true),
        Some(serde_json::Value::Bool(value)) => Ok(*value),
        Some(value) => {
            Err(Error::Config { path, key: key.to_owned(), message: format!("{value} is neither true nor false") })
        }
    }
}
