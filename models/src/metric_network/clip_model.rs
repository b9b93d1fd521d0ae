//! A whole CLIP, both towers and the scale, from a folder of transformers' `CLIPModel`: CLIPScore and PickScore.
//!
//! Sources: `transformers/models/clip/modeling_clip.py`; Kirstain et al. 2023 (PickScore), arXiv 2305.01569.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value};

use super::folder::{check_tower, normalization, part, refuse};
use super::pixels::{Center, Normalization, Pixels};
use crate::clip::{ClipTextConfig, ClipTextModelWithProjection, ClipVisionConfig, ClipVisionModelWithProjection};
use crate::tokenizer::Tokenizer;
use crate::weights::{WeightFiles, content_hash, read_json};
use crate::{Error, Result};

/// Texts that are encoded at a time.
const TEXTS: usize = 64;

/// Text and image encoder into one space of `p` dimensions.
pub struct ClipModel {
    text_model: ClipTextModelWithProjection,
    vision_model: ClipVisionModelWithProjection,
    tokenizer: Tokenizer,
    normalization: Normalization,
    image_size: usize,
    logit_scale: f64,
    positions: usize,
    content_hash: String,
    device: Device,
}

impl ClipModel {
    /// Opens a folder: `config.json` with `text_config` and `vision_config`, `model.safetensors`. The tokenizer and, where
    /// it is, `preprocessor_config.json` are read from `processor`, for PickScore's weights are published without.
    ///
    /// # Errors
    /// A file is missing, damaged or of another network; the error names file and key or tensor.
    pub fn open(dir: &Path, processor: &Path, device: &Device) -> Result<Self> {
        let path = dir.join("config.json");
        let all: Map<String, Value> = read_json(&path)?;
        if let Some(other) = all.get("model_type").filter(|value| **value != "clip") {
            return refuse(&path, "model_type", format!("is {other}; a CLIPModel has \"clip\""));
        }
        let (text, vision) = configs(&path, &all)?;
        let load = |vb: candle_nn::VarBuilder| {
            Ok((
                ClipTextModelWithProjection::load(&vb, &text)?,
                ClipVisionModelWithProjection::load(&vb, &vision)?,
                vb.get((), "logit_scale")?,
            ))
        };
        let ((text_model, vision_model, logit_scale), tensors) =
            WeightFiles::open(dir)?.load(DType::F32, device, load)?;
        let tokenizer = Tokenizer::load(processor)?;
        if tokenizer.vocab_size() > text.vocab_size {
            let message = format!("{} tokens, the tokenizer has {}", text.vocab_size, tokenizer.vocab_size());
            return refuse(&path, "text_config.vocab_size", message);
        }
        Ok(Self {
            text_model,
            vision_model,
            tokenizer,
            normalization: normalization(processor)?,
            image_size: vision.image_size,
            logit_scale: f64::from(logit_scale.to_scalar::<f32>()?),
            positions: text.max_position_embeddings,
            content_hash: content_hash([("clip", &tensors)])?,
            device: device.clone(),
        })
    }

    /// What scores are multiplied by before a softmax: `exp(logit_scale)`, as trained.
    pub fn scale(&self) -> f64 {
        self.logit_scale.exp()
    }

    /// SHA-256 over all weights, in hex.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }

    /// Ids of a text with begin and end, before it is cut.
    ///
    /// # Errors
    /// The tokenizer failed.
    pub fn num_tokens(&self, text: &str) -> Result<usize> {
        Ok(self.tokenizer.encode_body(text)?.len() + 2)
    }

    /// Ids that the text encoder takes.
    pub fn max_tokens(&self) -> usize {
        self.positions.min(self.tokenizer.max_length())
    }

    /// Features of texts, `[b, p]`, not normalised; longer texts are cut.
    ///
    /// # Errors
    /// The tokenizer failed, or there are no texts.
    pub fn text_features(&self, texts: &[&str]) -> Result<Tensor> {
        let mut all = Vec::new();
        for texts in texts.chunks(TEXTS) {
            let mut ids = Vec::with_capacity(texts.len());
            for text in texts {
                ids.push(self.tokenizer.encode(text)?);
            }
            let longest = ids.iter().map(Vec::len).max().unwrap_or_default();
            if longest > self.positions {
                let message = format!("a text of {longest} tokens for {} positions", self.positions);
                return Err(Error::Invalid(message));
            }
            // The mask is causal and the end token the pooled one: what pads changes nothing.
            for ids in &mut ids {
                ids.resize(longest, self.tokenizer.eos());
            }
            all.push(self.text_model.forward(&Tensor::new(ids, &self.device)?)?.pooled);
        }
        Ok(Tensor::cat(&all, 0)?)
    }

    /// Features of pictures of any size, `[b, p]`, not normalised.
    ///
    /// # Errors
    /// There are no pictures.
    pub fn image_features(&self, pictures: &[Pixels], center: Center) -> Result<Tensor> {
        let ready: Vec<Pixels> =
            pictures.iter().map(|picture| picture.resize_and_crop(self.image_size, center)).collect();
        self.vision_model.forward(&Pixels::batch(&ready, self.normalization, &self.device)?)
    }
}

fn configs(path: &Path, all: &Map<String, Value>) -> Result<(ClipTextConfig, ClipVisionConfig)> {
    let mut text: ClipTextConfig = part(path, all, "text_config")?;
    let mut vision: ClipVisionConfig = part(path, all, "vision_config")?;
    let sizes = (text.hidden_size, text.num_attention_heads, text.num_hidden_layers);
    check_tower(path, "text_config", &text.other, "clip_text_model", sizes)?;
    let sizes = (vision.hidden_size, vision.num_attention_heads, vision.num_hidden_layers);
    check_tower(path, "vision_config", &vision.other, "clip_vision_model", sizes)?;
    // The towers' own figures do not count here.
    let width = match all.get("projection_dim").filter(|value| !value.is_null()) {
        None => 512,
        Some(value) => match value.as_u64() {
            Some(width) if width > 0 => width as usize,
            _ => return refuse(path, "projection_dim", format!("must be a size, not {value}")),
        },
    };
    (text.projection_dim, vision.projection_dim) = (width, width);
    text.architectures.clear();
    text.other.clear();
    if vision.num_channels != 3 {
        return refuse(path, "vision_config.num_channels", "must be 3");
    }
    if vision.patch_size == 0 || !vision.image_size.is_multiple_of(vision.patch_size) {
        return refuse(path, "vision_config.patch_size", "must divide image_size");
    }
    Ok((text, vision))
}

/// The rows of `[n, p]` in f64.
///
/// # Errors
/// The tensor has other dimensions.
pub fn rows(features: &Tensor) -> Result<Vec<Vec<f64>>> {
    Ok(features.to_dtype(DType::F64)?.to_vec2()?)
}

/// Cosine of two features; `None` where one has no direction, which must not become a number.
pub fn cosine(a: &[f64], b: &[f64]) -> Option<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt());
    cosine.is_finite().then_some(cosine)
}

/// Softmax of `scale · scores`: of which image of a prompt is preferred.
pub fn preferences(scores: &[f64], scale: f64) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let raised: Vec<f64> = scores.iter().map(|score| (scale * (score - largest)).exp()).collect();
    let whole: f64 = raised.iter().sum();
    raised.iter().map(|value| value / whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_and_preferences() {
        assert_eq!(cosine(&[3.0, 4.0], &[4.0, 3.0]), Some(0.96));
        assert_eq!(cosine(&[0.0, 0.0], &[4.0, 3.0]), None);
        let shares = preferences(&[0.21, 0.20], 100.0);
        assert!((shares[0] - 1.0 / (1.0 + (-1.0_f64).exp())).abs() < 1e-12);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(preferences(&[1e6, 1e6], 100.0), [0.5, 0.5]);
    }
}
