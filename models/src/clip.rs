//! CLIP: the text encoders of Stable Diffusion and SDXL, and the image tower that they are trained against.
//!
//! Source: `transformers/models/clip/modeling_clip.py`; Radford et al. 2021, arXiv 2103.00020.
//!
//! b batch · n tokens (77, or fewer: the mask is causal, so padding changes nothing before it) · d hidden size ·
//! p projection · c, h, w channels, height, width of an image

mod config;
mod layers;

pub use config::{ClipTextConfig, ClipVisionConfig, HiddenAct};

use candle_core::{D, DType, Tensor};
use candle_nn::VarBuilder;

use crate::layers::LayerNorm;
use crate::linear::Linear;
use crate::ops::{self, Padding};
use crate::{Error, Result};
use layers::{EncoderConfig, EncoderLayer, config_error, load_layers};

/// What a text encoder gives.
#[derive(Clone, Debug)]
pub struct ClipTextOutput {
    /// `[b, n, d]`, after the final norm.
    pub last_hidden_state: Tensor,
    /// `[b, n, d]`, `hidden_states[-2]` of transformers: what enters the last layer, without norm. SDXL conditions on it.
    pub penultimate: Tensor,
    /// `[b, d]`: the end token of `last_hidden_state`; `[b, p]` with a projection.
    pub pooled: Tensor,
}

/// Text encoder without projection: the only one of SD1.5, the first of SDXL.
#[derive(Clone, Debug)]
pub struct ClipTextModel {
    token_embedding: Tensor,
    position_embedding: Tensor,
    layers: Vec<EncoderLayer>,
    final_layer_norm: LayerNorm,
    eos_token_id: u32,
}

impl ClipTextModel {
    /// Names as in transformers: below `text_model.`, or at the root as its version 5 keeps them in memory.
    ///
    /// # Errors
    /// A tensor is missing or has another shape, or the configuration makes no sense.
    pub fn load(vb: &VarBuilder, config: &ClipTextConfig) -> Result<Self> {
        let at_root = vb.contains_tensor("embeddings.token_embedding.weight");
        let vb = if at_root { vb.clone() } else { vb.pp("text_model") };
        let width = config.hidden_size;
        config.check()?;
        let embeddings = vb.pp("embeddings");
        let positions = config.max_position_embeddings;
        Ok(Self {
            token_embedding: embeddings.get((config.vocab_size, width), "token_embedding.weight")?,
            position_embedding: embeddings.get((positions, width), "position_embedding.weight")?,
            layers: load_layers(&vb, &EncoderConfig::from(config))?,
            final_layer_norm: LayerNorm::load(&vb.pp("final_layer_norm"), width, config.layer_norm_eps)?,
            eos_token_id: config.eos_token_id,
        })
    }

    /// Encodes ids `[b, n]` (u32), n at most `max_position_embeddings`.
    ///
    /// # Errors
    /// More ids than positions, or an id beyond the vocabulary.
    pub fn forward(&self, input_ids: &Tensor) -> Result<ClipTextOutput> {
        let (b, n) = input_ids.dims2()?;
        let (positions, d) = self.position_embedding.dims2()?;
        if n > positions {
            return Err(Error::Invalid(format!("{n} tokens, but the text encoder has {positions} positions")));
        }
        // 1. embeddings
        let ids = input_ids.flatten_all()?;
        let tokens = self.token_embedding.index_select(&ids, 0)?.reshape((b, n, d))?;
        let mut hidden_states = tokens.broadcast_add(&self.position_embedding.narrow(0, 0, n)?)?;

        // 2. layers
        let mut penultimate = hidden_states.clone();
        for layer in &self.layers {
            penultimate = hidden_states;
            hidden_states = layer.forward(&penultimate, true)?;
        }

        // 3. norm, and the token that stands for the whole
        let last_hidden_state = self.final_layer_norm.forward(&hidden_states)?;
        let rows = self.pooled_rows(&input_ids.to_dtype(DType::U32)?.to_vec2::<u32>()?);
        let rows = Tensor::from_vec(rows, b, input_ids.device())?;
        let pooled = last_hidden_state.reshape((b * n, d))?.index_select(&rows, 0)?; // [b, d]
        Ok(ClipTextOutput { last_hidden_state, penultimate, pooled })
    }

    /// Index of the pooled token of every sequence in the flattened batch.
    fn pooled_rows(&self, input_ids: &[Vec<u32>]) -> Vec<u32> {
        let place = |ids: &Vec<u32>| {
            let wanted = match self.eos_token_id {
                2 => ids.iter().copied().max(),
                eos => Some(eos),
            };
            // As in transformers, a sequence without end is pooled at its first token.
            ids.iter().position(|&id| Some(id) == wanted).unwrap_or(0)
        };
        input_ids.iter().enumerate().map(|(i, ids)| (i * ids.len() + place(ids)) as u32).collect()
    }
}

/// Text encoder whose pooled output is projected: the second of SDXL.
#[derive(Clone, Debug)]
pub struct ClipTextModelWithProjection {
    text_model: ClipTextModel,
    text_projection: Linear,
}

impl ClipTextModelWithProjection {
    /// Names as in transformers: `text_model.…` and `text_projection.weight`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape, or the configuration makes no sense.
    pub fn load(vb: &VarBuilder, config: &ClipTextConfig) -> Result<Self> {
        Ok(Self {
            text_model: ClipTextModel::load(vb, config)?,
            text_projection: Linear::load(vb.pp("text_projection"), config.hidden_size, config.projection_dim, false)?,
        })
    }

    /// As [`ClipTextModel::forward`], with `pooled [b, p]` projected.
    ///
    /// # Errors
    /// More ids than positions, or an id beyond the vocabulary.
    pub fn forward(&self, input_ids: &Tensor) -> Result<ClipTextOutput> {
        let output = self.text_model.forward(input_ids)?;
        let pooled = self.text_projection.forward(&output.pooled)?;
        Ok(ClipTextOutput { pooled, ..output })
    }
}

/// Image tower with projection.
#[derive(Clone, Debug)]
pub struct ClipVisionModelWithProjection {
    class_embedding: Tensor,
    patch_embedding: Tensor,
    position_embedding: Tensor,
    pre_layrnorm: LayerNorm,
    layers: Vec<EncoderLayer>,
    post_layernorm: LayerNorm,
    visual_projection: Linear,
    image_size: usize,
    patch_size: usize,
}

impl ClipVisionModelWithProjection {
    /// Names as in transformers, its misspelt `pre_layrnorm` too.
    ///
    /// # Errors
    /// A tensor is missing or has another shape, or the configuration makes no sense.
    pub fn load(vb: &VarBuilder, config: &ClipVisionConfig) -> Result<Self> {
        let (width, patch) = (config.hidden_size, config.patch_size);
        let vision = vb.pp("vision_model");
        if patch == 0 || !config.image_size.is_multiple_of(patch) {
            return Err(config_error(&vision, "patch_size", "must divide image_size"));
        }
        let num_patches = (config.image_size / patch).pow(2);
        let embeddings = vision.pp("embeddings");
        Ok(Self {
            class_embedding: embeddings.get(width, "class_embedding")?,
            patch_embedding: embeddings.get((width, config.num_channels, patch, patch), "patch_embedding.weight")?,
            position_embedding: embeddings.get((num_patches + 1, width), "position_embedding.weight")?,
            pre_layrnorm: LayerNorm::load(&vision.pp("pre_layrnorm"), width, config.layer_norm_eps)?,
            layers: load_layers(&vision, &EncoderConfig::from(config))?,
            post_layernorm: LayerNorm::load(&vision.pp("post_layernorm"), width, config.layer_norm_eps)?,
            visual_projection: Linear::load(vb.pp("visual_projection"), width, config.projection_dim, false)?,
            image_size: config.image_size,
            patch_size: patch,
        })
    }

    /// Pixels `[b, c, h, w]` to `image_embeds [b, p]` (not normalised).
    ///
    /// # Errors
    /// The image does not have the configured size.
    pub fn forward(&self, pixel_values: &Tensor) -> Result<Tensor> {
        let (b, _, h, w) = pixel_values.dims4()?;
        if (h, w) != (self.image_size, self.image_size) {
            return Err(Error::Invalid(format!("a CLIP image has {0} × {0} pixels, not {w} × {h}", self.image_size)));
        }
        // 1. patches, the class token before them
        let patches = ops::conv2d(pixel_values, &self.patch_embedding, None, self.patch_size, Padding::symmetric(0))?;
        let patches = patches.flatten_from(2)?.transpose(1, 2)?; // [b, patches, d]
        let d = patches.dim(2)?;
        let class = self.class_embedding.broadcast_as((b, 1, d))?;
        let embeddings = Tensor::cat(&[&class.contiguous()?, &patches.contiguous()?], 1)?;
        let embeddings = embeddings.broadcast_add(&self.position_embedding)?;

        // 2. layers
        let mut hidden_states = self.pre_layrnorm.forward(&embeddings)?;
        for layer in &self.layers {
            hidden_states = layer.forward(&hidden_states, false)?;
        }

        // 3. the class token stands for the whole
        let pooled = self.post_layernorm.forward(&hidden_states.narrow(1, 0, 1)?.squeeze(1)?)?;
        self.visual_projection.forward(&pooled)
    }
}

/// The contrastive loss of CLIP: mean cross-entropy of `exp(logit_scale) · cos(text, image)` in both directions.
///
/// `text_embeds`, `image_embeds` `[b, p]`, `logit_scale []`; the result is a scalar tensor with gradients.
///
/// # Errors
/// The shapes do not agree.
pub fn contrastive_loss(text_embeds: &Tensor, image_embeds: &Tensor, logit_scale: &Tensor) -> Result<Tensor> {
    let text = l2_normalize(text_embeds)?;
    let image = l2_normalize(image_embeds)?;
    let logits = text.matmul(&image.t()?)?.broadcast_mul(&logit_scale.exp()?)?; // [b text, b image]
    let target = Tensor::arange(0u32, logits.dim(0)? as u32, logits.device())?;
    let by_text = candle_nn::loss::cross_entropy(&logits, &target)?;
    let by_image = candle_nn::loss::cross_entropy(&logits.t()?.contiguous()?, &target)?;
    Ok(((by_text + by_image)? * 0.5)?)
}

fn l2_normalize(x: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_div(&x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::FreshParameters;
    use candle_core::Device;

    fn config() -> ClipTextConfig {
        ClipTextConfig {
            vocab_size: 40,
            hidden_size: 16,
            intermediate_size: 24,
            projection_dim: 6,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            bos_token_id: 38,
            eos_token_id: 39,
            ..ClipTextConfig::default()
        }
    }

    fn encoder(config: &ClipTextConfig) -> (ClipTextModelWithProjection, crate::weights::VarMap) {
        FreshParameters::build(1, &Device::Cpu, |vb| ClipTextModelWithProjection::load(&vb, config)).unwrap()
    }

    fn difference(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn padding_changes_nothing_before_it() {
        let (encoder, _) = encoder(&config());
        let short = Tensor::new(&[[38u32, 5, 6, 39]], &Device::Cpu).unwrap();
        let long = Tensor::new(&[[38u32, 5, 6, 39, 39, 39, 0, 0]], &Device::Cpu).unwrap();
        let (short, long) = (encoder.forward(&short).unwrap(), encoder.forward(&long).unwrap());
        assert_eq!(short.pooled.dims(), [1, 6]);
        assert!(difference(&short.pooled, &long.pooled) < 1e-6);
        let head = long.penultimate.narrow(1, 0, 4).unwrap();
        assert!(difference(&short.penultimate, &head) < 1e-6);
    }

    #[test]
    fn pools_at_the_first_end_or_for_old_files_at_the_highest_id() {
        let ids = [vec![38, 3, 39, 39], vec![38, 4, 5, 39]];
        let (model, _) = FreshParameters::build(1, &Device::Cpu, |vb| ClipTextModel::load(&vb, &config())).unwrap();
        assert_eq!(model.pooled_rows(&ids), [2, 7]);
        let old = ClipTextModel { eos_token_id: 2, ..model };
        assert_eq!(old.pooled_rows(&ids), [2, 7]);
        assert_eq!(old.pooled_rows(&[vec![2, 39, 7]]), [1]);
    }

    #[test]
    fn every_parameter_of_both_towers_learns() {
        let config = config();
        let (text, text_vars) = encoder(&config);
        let vision_config = ClipVisionConfig {
            hidden_size: 16,
            intermediate_size: 24,
            projection_dim: 6,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            image_size: 8,
            patch_size: 4,
            ..ClipVisionConfig::default()
        };
        let (vision, vision_vars) =
            FreshParameters::build(2, &Device::Cpu, |vb| ClipVisionModelWithProjection::load(&vb, &vision_config))
                .unwrap();
        let ids = Tensor::new(&[[38u32, 5, 6, 39], [38, 7, 39, 39]], &Device::Cpu).unwrap();
        let pixels = Tensor::randn(0f32, 1., (2, 3, 8, 8), &Device::Cpu).unwrap();
        let text_embeds = text.forward(&ids).unwrap().pooled;
        let image_embeds = vision.forward(&pixels).unwrap();
        let scale = candle_core::Var::new(2.659f32, &Device::Cpu).unwrap();
        let loss = contrastive_loss(&text_embeds, &image_embeds, scale.as_tensor()).unwrap();
        let gradients = loss.backward().unwrap();
        assert!(gradients.get(&scale).is_some());
        for vars in [text_vars, vision_vars] {
            for (name, var) in &vars {
                let gradient = gradients.get(var.as_tensor()).unwrap_or_else(|| panic!("{name} has no gradient"));
                let largest: f32 = gradient.abs().unwrap().max_all().unwrap().to_scalar().unwrap();
                // A bias on the keys moves all scores of a query alike, which softmax does not see.
                assert!(largest > 0. || name.ends_with("k_proj.bias"), "{name}");
            }
        }
    }

    #[test]
    fn a_config_of_transformers_is_read_and_kept() {
        let text = r#"{"architectures":["CLIPTextModel"],"hidden_act":"gelu","eos_token_id":2,"dropout":0.0,"model_type":"clip_text_model"}"#;
        let config: ClipTextConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.hidden_act, HiddenAct::Gelu);
        assert_eq!(config.other["model_type"], "clip_text_model");
        assert!(serde_json::to_string(&config).unwrap().contains("\"dropout\":0.0"));
        assert!(serde_json::from_str::<ClipTextConfig>(r#"{"hidden_act":"relu"}"#).is_err());
    }
}
