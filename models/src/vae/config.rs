//! `vae/config.json`, with diffusers' keys and defaults.

use crate::{Result, config};
use candle_core::DType;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The file in errors, until the loader puts its whole path there.
const FILE: &str = "vae/config.json";

/// Configuration of an [`AutoencoderKL`](super::AutoencoderKL); unknown keys are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutoencoderKLConfig {
    /// Channels of a picture.
    pub in_channels: usize,
    /// Channels of a decoded picture.
    pub out_channels: usize,
    /// One `DownEncoderBlock2D` a level.
    pub down_block_types: Vec<String>,
    /// One `UpDecoderBlock2D` a level.
    pub up_block_types: Vec<String>,
    /// Channels of each level, finest first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks a level in the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Only `silu`.
    pub act_fn: String,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Side of the pictures it was trained on, in pixels.
    pub sample_size: usize,
    /// Latents are multiplied by this before the UNet sees them.
    pub scaling_factor: f64,
    /// Subtracted from latents before scaling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shift_factor: Option<f64>,
    /// Whether half precision overflows in this VAE, so that it must run in f32.
    pub force_upcast: bool,
    /// A 1 × 1 convolution after the encoder.
    pub use_quant_conv: bool,
    /// A 1 × 1 convolution before the decoder.
    pub use_post_quant_conv: bool,
    /// Self-attention in the middle block.
    pub mid_block_add_attention: bool,
    /// Keys that this version does not read.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl Default for AutoencoderKLConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec!["DownEncoderBlock2D".to_owned()],
            up_block_types: vec!["UpDecoderBlock2D".to_owned()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: "silu".to_owned(),
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: 32,
            scaling_factor: 0.18215,
            shift_factor: None,
            force_upcast: true,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
            other: serde_json::Map::new(),
        }
    }
}

impl AutoencoderKLConfig {
    /// The embedded default's: 64 × 64 pictures, 8 × 8 × 4 latents.
    pub fn tiny() -> Self {
        Self {
            down_block_types: vec!["DownEncoderBlock2D".to_owned(); 4],
            up_block_types: vec!["UpDecoderBlock2D".to_owned(); 4],
            block_out_channels: vec![16, 32, 64, 64],
            norm_num_groups: 8,
            sample_size: 64,
            scaling_factor: 1.0,
            force_upcast: false,
            ..Self::default()
        }
    }

    /// How much smaller a latent is than its picture, along each axis.
    pub fn downscale(&self) -> usize {
        1 << (self.block_out_channels.len().saturating_sub(1))
    }

    /// The precision to compute in where `wanted` is asked for: f32 instead of f16 where that overflows (`force_upcast`,
    /// as diffusers' pipelines have it).
    pub fn dtype(&self, wanted: DType) -> DType {
        if wanted == DType::F16 && self.force_upcast { DType::F32 } else { wanted }
    }

    /// Refuses what is not implemented, naming key and value.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |key: &str, message: String| config::refuse(FILE, key, message);
        if let Some(kind) = self.down_block_types.iter().find(|k| *k != "DownEncoderBlock2D") {
            return refuse("down_block_types", format!("`{kind}` is not known; only `DownEncoderBlock2D` is"));
        }
        if let Some(kind) = self.up_block_types.iter().find(|k| *k != "UpDecoderBlock2D") {
            return refuse("up_block_types", format!("`{kind}` is not known; only `UpDecoderBlock2D` is"));
        }
        let levels = self.block_out_channels.len();
        if levels == 0 || self.down_block_types.len() != levels || self.up_block_types.len() != levels {
            return refuse("block_out_channels", "must have one entry for each down and up block".to_owned());
        }
        if self.act_fn != "silu" && self.act_fn != "swish" {
            return refuse("act_fn", format!("`{}` is not known; only `silu` is", self.act_fn));
        }
        let groups = self.norm_num_groups;
        if let Some(channels) = self
            .block_out_channels
            .iter()
            .find(|&&channels| channels == 0 || groups == 0 || !channels.is_multiple_of(groups))
        {
            return refuse("norm_num_groups", format!("{groups} groups do not divide {channels} channels"));
        }
        if self.scaling_factor == 0.0 || !self.scaling_factor.is_finite() {
            return refuse("scaling_factor", format!("{} is no factor to divide by", self.scaling_factor));
        }
        config::check_other(FILE, &self.other, &[("latents_mean", Value::Null), ("latents_std", Value::Null)], &[])
    }
}
