//! `unet/config.json`, with diffusers' keys and defaults.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A value for all blocks, or one for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerBlock<T> {
    /// The same everywhere.
    All(T),
    /// One a block, finest first.
    Each(Vec<T>),
}

impl<T: Copy> PerBlock<T> {
    /// The value of block `index`.
    pub fn get(&self, index: usize) -> Option<T> {
        match self {
            Self::All(value) => Some(*value),
            Self::Each(values) => values.get(index).copied(),
        }
    }
}

/// Configuration of a [`UNet2DConditionModel`](super::UNet2DConditionModel); unknown keys are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UNet2DConditionConfig {
    /// Side of the latents it was trained on.
    pub sample_size: Option<usize>,
    /// Channels of a latent.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Order of cosine and sine in the time embedding.
    pub flip_sin_to_cos: bool,
    /// Shift in the denominators of the frequencies.
    pub freq_shift: f64,
    /// `DownBlock2D` or `CrossAttnDownBlock2D`, finest first.
    pub down_block_types: Vec<String>,
    /// Only `UNetMidBlock2DCrossAttn`.
    pub mid_block_type: Option<String>,
    /// `UpBlock2D` or `CrossAttnUpBlock2D`, coarsest first.
    pub up_block_types: Vec<String>,
    /// Channels of each level, finest first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks a level on the way down; one more on the way up.
    pub layers_per_block: PerBlock<usize>,
    /// Only `silu`.
    pub act_fn: String,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// ε of the residual blocks' group norms.
    pub norm_eps: f64,
    /// Width of the conditioning.
    pub cross_attention_dim: usize,
    /// Transformer layers at each attention.
    pub transformer_layers_per_block: PerBlock<usize>,
    /// Really the *number* of heads, a historical misnomer of diffusers, unless `num_attention_heads` is set.
    pub attention_head_dim: PerBlock<usize>,
    /// Overrides `attention_head_dim`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_attention_heads: Option<PerBlock<usize>>,
    /// Linear instead of 1 × 1 convolutional projections around the transformers.
    pub use_linear_projection: bool,
    /// `text_time` (SDXL) or none.
    pub addition_embed_type: Option<String>,
    /// Width of the embedding of each of the six `time_ids`.
    pub addition_time_embed_dim: Option<usize>,
    /// Width of the pooled embedding and the embedded `time_ids` together.
    pub projection_class_embeddings_input_dim: Option<usize>,
    /// Keys that this version does not read.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl Default for UNet2DConditionConfig {
    fn default() -> Self {
        let types = |names: [&str; 4]| names.map(str::to_owned).to_vec();
        Self {
            sample_size: None,
            in_channels: 4,
            out_channels: 4,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            down_block_types: types([
                "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D",
                "DownBlock2D",
            ]),
            mid_block_type: Some("UNetMidBlock2DCrossAttn".to_owned()),
            up_block_types: types(["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]),
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: PerBlock::All(2),
            act_fn: "silu".to_owned(),
            norm_num_groups: 32,
            norm_eps: 1e-5,
            cross_attention_dim: 1280,
            transformer_layers_per_block: PerBlock::All(1),
            attention_head_dim: PerBlock::All(8),
            num_attention_heads: None,
            use_linear_projection: false,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            projection_class_embeddings_input_dim: None,
            other: serde_json::Map::new(),
        }
    }
}

impl UNet2DConditionConfig {
    /// The embedded default's: 8 × 8 × 4 latents, SDXL's form.
    pub fn tiny(cross_attention_dim: usize, pooled_width: usize) -> Self {
        let addition_time_embed_dim = 32;
        Self {
            sample_size: Some(8),
            down_block_types: vec!["CrossAttnDownBlock2D".to_owned(); 2],
            up_block_types: vec!["CrossAttnUpBlock2D".to_owned(); 2],
            block_out_channels: vec![64, 128],
            layers_per_block: PerBlock::All(1),
            norm_num_groups: 16,
            cross_attention_dim,
            transformer_layers_per_block: PerBlock::All(1),
            attention_head_dim: PerBlock::Each(vec![2, 4]),
            use_linear_projection: true,
            addition_embed_type: Some("text_time".to_owned()),
            addition_time_embed_dim: Some(addition_time_embed_dim),
            projection_class_embeddings_input_dim: Some(6 * addition_time_embed_dim + pooled_width),
            ..Self::default()
        }
    }

    /// Width of the time embedding.
    pub fn time_embed_dim(&self) -> usize {
        4 * self.block_out_channels[0]
    }

    /// Width of what goes into the added embedding, where there is one.
    pub(super) fn added_embedding_width(&self) -> Option<usize> {
        self.addition_embed_type.as_ref().and(self.projection_class_embeddings_input_dim)
    }

    /// Width of the pooled text embedding, where there is one.
    pub fn pooled_width(&self) -> Option<usize> {
        let ids = 6 * self.addition_time_embed_dim?;
        self.added_embedding_width()?.checked_sub(ids)
    }

    /// Heads of the attentions at `level`.
    pub(super) fn num_heads(&self, level: usize) -> usize {
        self.num_attention_heads.as_ref().unwrap_or(&self.attention_head_dim).get(level).unwrap_or(1)
    }

    /// Transformer layers of the attentions at `level`.
    pub(super) fn num_transformer_layers(&self, level: usize) -> usize {
        self.transformer_layers_per_block.get(level).unwrap_or(1)
    }

    /// Residual blocks at `level` on the way down.
    pub(super) fn num_resnets(&self, level: usize) -> usize {
        self.layers_per_block.get(level).unwrap_or(1)
    }

    /// Refuses what is not implemented, naming key and value.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |key: &str, message: String| {
            Err(Error::Config { path: PathBuf::from("unet/config.json"), key: key.to_owned(), message })
        };
        let levels = self.block_out_channels.len();
        if levels == 0 || self.down_block_types.len() != levels || self.up_block_types.len() != levels {
            return refuse("block_out_channels", "must have one entry for each down and up block".to_owned());
        }
        for kind in &self.down_block_types {
            if kind != "DownBlock2D" && kind != "CrossAttnDownBlock2D" {
                return refuse("down_block_types", format!("`{kind}` is not implemented"));
            }
        }
        for kind in &self.up_block_types {
            if kind != "UpBlock2D" && kind != "CrossAttnUpBlock2D" {
                return refuse("up_block_types", format!("`{kind}` is not implemented"));
            }
        }
        if let Some(kind) = self.mid_block_type.as_deref().filter(|kind| *kind != "UNetMidBlock2DCrossAttn") {
            return refuse("mid_block_type", format!("`{kind}` is not implemented"));
        }
        if self.act_fn != "silu" {
            return refuse("act_fn", format!("`{}` is not implemented; only `silu` is", self.act_fn));
        }
        if let Some(kind) = self.addition_embed_type.as_deref().filter(|kind| *kind != "text_time") {
            return refuse("addition_embed_type", format!("`{kind}` is not implemented; only `text_time` is"));
        }
        if self.addition_embed_type.is_some() && self.pooled_width().is_none() {
            return refuse(
                "projection_class_embeddings_input_dim",
                "must be at least 6 × addition_time_embed_dim where addition_embed_type is `text_time`".to_owned(),
            );
        }
        let per_block = [&self.layers_per_block, &self.transformer_layers_per_block, &self.attention_head_dim];
        for (key, value) in ["layers_per_block", "transformer_layers_per_block", "attention_head_dim"].iter().zip(per_block) {
            if value.get(levels - 1).is_none() {
                return refuse(key, format!("must be a number or {levels} numbers"));
            }
        }
        for (level, &channels) in self.block_out_channels.iter().enumerate() {
            let heads = self.num_heads(level);
            if heads == 0 || !channels.is_multiple_of(heads) {
                return refuse("attention_head_dim", format!("{heads} heads do not divide {channels} channels"));
            }
        }
        self.check_other(refuse)
    }

    /// Switches that this network does not have must be off.
    fn check_other(&self, refuse: impl Fn(&str, String) -> Result<()>) -> Result<()> {
        const OFF: [&str; 9] = [
            "class_embed_type",
            "encoder_hid_dim_type",
            "encoder_hid_dim",
            "time_embedding_act_fn",
            "timestep_post_act",
            "time_cond_proj_dim",
            "cross_attention_norm",
            "reverse_transformer_layers_per_block",
            "attention_type",
        ];
        for key in OFF {
            match self.other.get(key) {
                None | Some(serde_json::Value::Null) => {}
                Some(value) if key == "attention_type" && value == "default" => {}
                Some(value) => return refuse(key, format!("{value} is not implemented; leave it null")),
            }
        }
        for key in ["dual_cross_attention", "only_cross_attention", "center_input_sample", "class_embeddings_concat"] {
            match self.other.get(key) {
                None | Some(serde_json::Value::Null | serde_json::Value::Bool(false)) => {}
                Some(value) => return refuse(key, format!("{value} is not implemented; only false is")),
            }
        }
        for (key, accepted) in [("resnet_time_scale_shift", "default"), ("time_embedding_type", "positional")] {
            match self.other.get(key) {
                None | Some(serde_json::Value::Null) => {}
                Some(value) if value == accepted => {}
                Some(value) => return refuse(key, format!("{value} is not implemented; only `{accepted}` is")),
            }
        }
        Ok(())
    }
}
