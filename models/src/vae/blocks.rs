//! Encoder and decoder of the AutoencoderKL, and their middle block.

use super::AutoencoderKLConfig;
use crate::Result;
use crate::layers::{Conv2d, GroupNorm};
use crate::linear::Linear;
use crate::ops::{self, Padding};
use crate::resnet::{ResnetBlock2D, ResnetConfig, Upsample2D};
use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;

const EPS: f64 = 1e-6;

fn resnet_config(config: &AutoencoderKLConfig, in_channels: usize, out_channels: usize) -> ResnetConfig {
    ResnetConfig { in_channels, out_channels, time_embed_dim: None, norm_num_groups: config.norm_num_groups, eps: EPS }
}

#[derive(Clone, Debug)]
pub(super) struct Encoder {
    conv_in: Conv2d,
    down_blocks: Vec<DownEncoderBlock2D>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

#[derive(Clone, Debug)]
struct DownEncoderBlock2D {
    resnets: Vec<ResnetBlock2D>,
    downsampler: Option<Conv2d>,
}

impl Encoder {
    pub(super) fn load(vb: &VarBuilder, config: &AutoencoderKLConfig) -> Result<Self> {
        let channels = &config.block_out_channels;
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let mut down_blocks = Vec::with_capacity(channels.len());
        let mut in_channels = first;
        for (i, &out_channels) in channels.iter().enumerate() {
            let vb = vb.pp("down_blocks").pp(i);
            let resnets = (0..config.layers_per_block)
                .map(|j| {
                    let from = if j == 0 { in_channels } else { out_channels };
                    ResnetBlock2D::load(&vb.pp("resnets").pp(j), resnet_config(config, from, out_channels))
                })
                .collect::<Result<_>>()?;
            // The VAE pads only below and to the right before halving.
            let padding = Padding::asymmetric(0, 1, 0, 1);
            let downsampler = (i + 1 < channels.len())
                .then(|| {
                    let vb = vb.pp("downsamplers").pp(0).pp("conv");
                    Conv2d::load_strided(&vb, out_channels, out_channels, 3, 2, padding)
                })
                .transpose()?;
            down_blocks.push(DownEncoderBlock2D { resnets, downsampler });
            in_channels = out_channels;
        }
        Ok(Self {
            conv_in: Conv2d::load(&vb.pp("conv_in"), config.in_channels, first, 3)?,
            down_blocks,
            mid_block: MidBlock::load(&vb.pp("mid_block"), last, config)?,
            conv_norm_out: GroupNorm::load(&vb.pp("conv_norm_out"), last, config.norm_num_groups, EPS)?,
            conv_out: Conv2d::load(&vb.pp("conv_out"), last, 2 * config.latent_channels, 3)?,
        })
    }

    /// `[b, 3, H, W]` → `[b, 2c, h, w]`: means and log variances.
    pub(super) fn forward(&self, sample: &Tensor) -> Result<Tensor> {
        let mut x = self.conv_in.forward(sample)?;
        for block in &self.down_blocks {
            for resnet in &block.resnets {
                x = resnet.forward(&x, None)?;
            }
            if let Some(downsampler) = &block.downsampler {
                x = downsampler.forward(&x)?;
            }
        }
        let x = self.mid_block.forward(&x)?;
        self.conv_out.forward(&self.conv_norm_out.forward_silu(&x)?)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    up_blocks: Vec<UpDecoderBlock2D>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

#[derive(Clone, Debug)]
struct UpDecoderBlock2D {
    resnets: Vec<ResnetBlock2D>,
    upsampler: Option<Upsample2D>,
}

impl Decoder {
    pub(super) fn dtype(&self) -> DType {
        self.conv_out.dtype()
    }

    pub(super) fn load(vb: &VarBuilder, config: &AutoencoderKLConfig) -> Result<Self> {
        let channels = &config.block_out_channels;
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let mut up_blocks = Vec::with_capacity(channels.len());
        let mut in_channels = last;
        for (i, &out_channels) in channels.iter().rev().enumerate() {
            let vb = vb.pp("up_blocks").pp(i);
            let resnets = (0..=config.layers_per_block)
                .map(|j| {
                    let from = if j == 0 { in_channels } else { out_channels };
                    ResnetBlock2D::load(&vb.pp("resnets").pp(j), resnet_config(config, from, out_channels))
                })
                .collect::<Result<_>>()?;
            let upsampler = (i + 1 < channels.len())
                .then(|| Upsample2D::load(&vb.pp("upsamplers").pp(0), out_channels))
                .transpose()?;
            up_blocks.push(UpDecoderBlock2D { resnets, upsampler });
            in_channels = out_channels;
        }
        Ok(Self {
            conv_in: Conv2d::load(&vb.pp("conv_in"), config.latent_channels, last, 3)?,
            mid_block: MidBlock::load(&vb.pp("mid_block"), last, config)?,
            up_blocks,
            conv_norm_out: GroupNorm::load(&vb.pp("conv_norm_out"), first, config.norm_num_groups, EPS)?,
            conv_out: Conv2d::load(&vb.pp("conv_out"), first, config.out_channels, 3)?,
        })
    }

    /// `[b, c, h, w]` → `[b, 3, H, W]`.
    pub(super) fn forward(&self, latents: &Tensor) -> Result<Tensor> {
        let mut x = self.mid_block.forward(&self.conv_in.forward(latents)?)?;
        for block in &self.up_blocks {
            for resnet in &block.resnets {
                x = resnet.forward(&x, None)?;
            }
            if let Some(upsampler) = &block.upsampler {
                x = upsampler.forward(&x, None)?;
            }
        }
        self.conv_out.forward(&self.conv_norm_out.forward_silu(&x)?)
    }
}

/// Two residual blocks with single-headed self-attention between them.
#[derive(Clone, Debug)]
struct MidBlock {
    first: ResnetBlock2D,
    attention: Option<MidAttention>,
    second: ResnetBlock2D,
}

#[derive(Clone, Debug)]
struct MidAttention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
}

impl MidBlock {
    fn load(vb: &VarBuilder, channels: usize, config: &AutoencoderKLConfig) -> Result<Self> {
        let attention = |vb: VarBuilder| -> Result<MidAttention> {
            let linear = |name: &str| Linear::load(vb.pp(name), channels, channels, true);
            Ok(MidAttention {
                group_norm: GroupNorm::load(&vb.pp("group_norm"), channels, config.norm_num_groups, EPS)?,
                to_q: linear("to_q")?,
                to_k: linear("to_k")?,
                to_v: linear("to_v")?,
                to_out: linear("to_out.0")?,
            })
        };
        Ok(Self {
            first: ResnetBlock2D::load(&vb.pp("resnets.0"), resnet_config(config, channels, channels))?,
            attention: config.mid_block_add_attention.then(|| attention(vb.pp("attentions.0"))).transpose()?,
            second: ResnetBlock2D::load(&vb.pp("resnets.1"), resnet_config(config, channels, channels))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.first.forward(x, None)?;
        if let Some(attention) = &self.attention {
            x = attention.forward(&x)?;
        }
        self.second.forward(&x, None)
    }
}

impl MidAttention {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, c, h, w) = x.dims4()?;
        let tokens = self.group_norm.forward(x)?.flatten_from(2)?.transpose(1, 2)?.contiguous()?; // [b, h·w, c]
        let (query, key, value) =
            (self.to_q.forward(&tokens)?, self.to_k.forward(&tokens)?, self.to_v.forward(&tokens)?);
        let attended = ops::attention(&query, &key, &value, 1, 1.0 / (c as f64).sqrt(), false)?;
        let out = self.to_out.forward(&attended)?.transpose(1, 2)?.reshape((b, c, h, w))?;
        Ok((x + out)?)
    }
}
