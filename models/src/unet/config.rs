//! `unet/config.json`, with diffusers' keys and defaults.

use crate::{Result, config};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The file in errors, until the loader puts its whole path there.
const FILE: &str = "unet/config.json";

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

    fn has_length(&self, blocks: usize) -> bool {
        match self {
            Self::All(_) => true,
            Self::Each(values) => values.len() == blocks,
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
    /// `UNetMidBlock2DCrossAttn`, `UNetMidBlock2D` (a single residual block) or none.
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
    pub cross_attention_dim: PerBlock<usize>,
    /// Transformer layers at each attention.
    pub transformer_layers_per_block: PerBlock<usize>,
    /// Really the *number* of heads, a historical misnomer of diffusers.
    pub attention_head_dim: PerBlock<usize>,
    /// Linear instead of 1 × 1 convolutional projections around the transformers.
    pub use_linear_projection: bool,
    /// `text_time` (SDXL) or none.
    pub addition_embed_type: Option<String>,
    /// Width of the embedding of each of the six `time_ids`.
    pub addition_time_embed_dim: Option<usize>,
    /// Width of the pooled embedding and the embedded `time_ids` together.
    pub projection_class_embeddings_input_dim: Option<usize>,
    /// Width of the time embedding, where it is not four times the finest level's channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_embedding_dim: Option<usize>,
    /// Side of the first convolution's kernel, odd.
    pub conv_in_kernel: usize,
    /// Side of the last convolution's kernel, odd.
    pub conv_out_kernel: usize,
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
            cross_attention_dim: PerBlock::All(1280),
            transformer_layers_per_block: PerBlock::All(1),
            attention_head_dim: PerBlock::All(8),
            use_linear_projection: false,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            projection_class_embeddings_input_dim: None,
            time_embedding_dim: None,
            conv_in_kernel: 3,
            conv_out_kernel: 3,
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
            cross_attention_dim: PerBlock::All(cross_attention_dim),
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
        self.time_embedding_dim.unwrap_or(4 * self.block_out_channels[0])
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
        self.attention_head_dim.get(level).unwrap_or(1)
    }

    /// Width of the conditioning at `level`.
    pub fn conditioning_width(&self, level: usize) -> usize {
        self.cross_attention_dim.get(level).unwrap_or(1)
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
        let refuse = |key: &str, message: String| config::refuse(FILE, key, message);
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
        match self.mid_block_type.as_deref() {
            None | Some("UNetMidBlock2DCrossAttn" | "UNetMidBlock2D") => {}
            Some(kind) => return refuse("mid_block_type", format!("`{kind}` is not implemented")),
        }
        if self.act_fn != "silu" && self.act_fn != "swish" {
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
        for (key, value) in [
            ("layers_per_block", &self.layers_per_block),
            ("transformer_layers_per_block", &self.transformer_layers_per_block),
            ("attention_head_dim", &self.attention_head_dim),
            ("cross_attention_dim", &self.cross_attention_dim),
        ] {
            if !value.has_length(levels) {
                return refuse(key, format!("must be a number or {levels} numbers"));
            }
        }
        for (key, kernel) in [("conv_in_kernel", self.conv_in_kernel), ("conv_out_kernel", self.conv_out_kernel)] {
            if kernel.is_multiple_of(2) {
                return refuse(key, format!("{kernel} is not odd"));
            }
        }
        let groups = self.norm_num_groups;
        for (level, &channels) in self.block_out_channels.iter().enumerate() {
            let heads = self.num_heads(level);
            if heads == 0 || !channels.is_multiple_of(heads) {
                return refuse("attention_head_dim", format!("{heads} heads do not divide {channels} channels"));
            }
            if channels == 0 || groups == 0 || !channels.is_multiple_of(groups) {
                return refuse("norm_num_groups", format!("{groups} groups do not divide {channels} channels"));
            }
        }
        self.check_other()
    }

    /// Switches that this network does not have must be off.
    fn check_other(&self) -> Result<()> {
        const OFF: [&str; 11] = [
            "class_embed_type",
            "num_class_embeds",
            "encoder_hid_dim_type",
            "encoder_hid_dim",
            "time_embedding_act_fn",
            "timestep_post_act",
            "time_cond_proj_dim",
            "cross_attention_norm",
            "reverse_transformer_layers_per_block",
            "mid_block_only_cross_attention",
            "num_attention_heads",
        ];
        let mut fixed: Vec<(&str, Value)> = OFF.iter().map(|key| (*key, Value::Null)).collect();
        let switches = [
            "dual_cross_attention",
            "only_cross_attention",
            "center_input_sample",
            "class_embeddings_concat",
            "resnet_skip_time_act",
        ];
        fixed.extend(switches.map(|key| (key, Value::Bool(false))));
        fixed.extend([
            ("attention_type", Value::from("default")),
            ("resnet_time_scale_shift", Value::from("default")),
            ("time_embedding_type", Value::from("positional")),
            ("downsample_padding", Value::from(1)),
            ("mid_block_scale_factor", Value::from(1)),
            ("resnet_out_scale_factor", Value::from(1)),
        ]);
        // Dropout is off when nothing trains with it; attention is computed in f32 at least, as `upcast_attention` asks.
        let free = ["dropout", "upcast_attention", "addition_embed_type_num_heads"];
        config::check_other(FILE, &self.other, &fixed, &free)
    }
}
