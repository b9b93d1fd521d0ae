//! The UNet's blocks: down, middle, up, each with or without cross-attention.
//!
//! Source: diffusers `models/unets/unet_2d_blocks.py`.
//! b batch · c channels · h, w height, width · e width of the time embedding · s tokens · d width of the conditioning

use super::config::UNet2DConditionConfig;
use super::transformer::{Context, KeysValues, Transformer2DModel, TransformerConfig};
use crate::layers::Conv2d;
use crate::ops::{self, Padding};
use crate::resnet::{ResnetBlock2D, ResnetConfig, Upsample2D};
use crate::{Error, Result};
use candle_core::Tensor;
use candle_nn::VarBuilder;

fn load_resnet(vb: &VarBuilder, config: &UNet2DConditionConfig, from: usize, to: usize) -> Result<ResnetBlock2D> {
    ResnetBlock2D::load(
        vb,
        ResnetConfig {
            in_channels: from,
            out_channels: to,
            time_embed_dim: Some(config.time_embed_dim()),
            norm_num_groups: config.norm_num_groups,
            eps: config.norm_eps,
        },
    )
}

fn load_transformer(
    vb: &VarBuilder,
    config: &UNet2DConditionConfig,
    level: usize,
    channels: usize,
) -> Result<Transformer2DModel> {
    Transformer2DModel::load(
        vb,
        TransformerConfig {
            channels,
            num_heads: config.num_heads(level),
            num_layers: config.num_transformer_layers(level),
            cross_attention_dim: config.conditioning_width(level),
            norm_num_groups: config.norm_num_groups,
            use_linear_projection: config.use_linear_projection,
        },
    )
}

/// A residual block and the transformer after it: what gradient checkpointing keeps the input of and computes again.
fn residual_and_attention(
    resnet: &ResnetBlock2D,
    attention: Option<&Transformer2DModel>,
    x: &Tensor,
    time_embedding: &Tensor,
    context: &mut Context,
) -> Result<Tensor> {
    // Projected states are for sampling, which has no way back.
    if let (Context::States(states), true) = (&*context, ops::keeps_input_alone(x)) {
        let (resnet, attention) = (resnet.clone(), attention.cloned());
        let (time_embedding, states) = (time_embedding.clone(), Tensor::clone(states));
        let part = move |x: &Tensor| {
            let _off = ops::checkpoints(false);
            residual_and_attention(&resnet, attention.as_ref(), x, &time_embedding, &mut Context::States(&states))
                .map_err(candle_core::Error::wrap)
        };
        return Ok(ops::checkpoint(x, part)?);
    }
    let x = resnet.forward(x, Some(time_embedding))?;
    match attention {
        Some(attention) => attention.forward(&x, context),
        None => Ok(x),
    }
}

/// `DownBlock2D` or `CrossAttnDownBlock2D`.
#[derive(Clone, Debug)]
pub(super) struct DownBlock {
    resnets: Vec<ResnetBlock2D>,
    /// One a resnet, or none.
    attentions: Vec<Transformer2DModel>,
    downsampler: Option<Conv2d>,
}

impl DownBlock {
    pub(super) fn load(
        vb: &VarBuilder,
        config: &UNet2DConditionConfig,
        level: usize,
        in_channels: usize,
        out_channels: usize,
        downsamples: bool,
    ) -> Result<Self> {
        let count = config.num_resnets(level);
        let attends = config.down_block_types[level] == "CrossAttnDownBlock2D";
        Ok(Self {
            resnets: (0..count)
                .map(|j| {
                    let from = if j == 0 { in_channels } else { out_channels };
                    load_resnet(&vb.pp("resnets").pp(j), config, from, out_channels)
                })
                .collect::<Result<_>>()?,
            attentions: (0..if attends { count } else { 0 })
                .map(|j| load_transformer(&vb.pp("attentions").pp(j), config, level, out_channels))
                .collect::<Result<_>>()?,
            downsampler: downsamples
                .then(|| {
                    let vb = vb.pp("downsamplers.0.conv");
                    Conv2d::load_strided(&vb, out_channels, out_channels, 3, 2, Padding::symmetric(1))
                })
                .transpose()?,
        })
    }

    /// As [`Transformer2DModel::project`].
    pub(super) fn project(&self, encoder_hidden_states: &Tensor, all: &mut Vec<KeysValues>) -> Result<()> {
        self.attentions.iter().try_for_each(|attention| attention.project(encoder_hidden_states, all))
    }

    /// `x [b, c, h, w]`, `time_embedding [b, e]`; leaves its outputs in `skips`.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        time_embedding: &Tensor,
        context: &mut Context,
        skips: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let mut x = x.clone();
        for (j, resnet) in self.resnets.iter().enumerate() {
            x = residual_and_attention(resnet, self.attentions.get(j), &x, time_embedding, context)?;
            skips.push(x.clone());
        }
        if let Some(downsampler) = &self.downsampler {
            x = downsampler.forward(&x)?;
            skips.push(x.clone());
        }
        Ok(x)
    }
}

/// `UNetMidBlock2DCrossAttn`, or `UNetMidBlock2D`, which has its first block alone.
#[derive(Clone, Debug)]
pub(super) struct MidBlock {
    first: ResnetBlock2D,
    rest: Option<(Transformer2DModel, ResnetBlock2D)>,
}

impl MidBlock {
    pub(super) fn load(vb: &VarBuilder, config: &UNet2DConditionConfig, channels: usize) -> Result<Self> {
        let level = config.block_out_channels.len() - 1;
        let attends = config.mid_block_type.as_deref() == Some("UNetMidBlock2DCrossAttn");
        Ok(Self {
            first: load_resnet(&vb.pp("resnets.0"), config, channels, channels)?,
            rest: attends
                .then(|| {
                    let attention = load_transformer(&vb.pp("attentions.0"), config, level, channels)?;
                    Ok::<_, Error>((attention, load_resnet(&vb.pp("resnets.1"), config, channels, channels)?))
                })
                .transpose()?,
        })
    }

    /// As [`Transformer2DModel::project`].
    pub(super) fn project(&self, encoder_hidden_states: &Tensor, all: &mut Vec<KeysValues>) -> Result<()> {
        self.rest.iter().try_for_each(|(attention, _)| attention.project(encoder_hidden_states, all))
    }

    pub(super) fn forward(&self, x: &Tensor, time_embedding: &Tensor, context: &mut Context) -> Result<Tensor> {
        let attention = self.rest.as_ref().map(|(attention, _)| attention);
        let x = residual_and_attention(&self.first, attention, x, time_embedding, context)?;
        match &self.rest {
            None => Ok(x),
            Some((_, second)) => residual_and_attention(second, None, &x, time_embedding, context),
        }
    }
}

/// `UpBlock2D` or `CrossAttnUpBlock2D`.
#[derive(Clone, Debug)]
pub(super) struct UpBlock {
    resnets: Vec<ResnetBlock2D>,
    /// One a resnet, or none.
    attentions: Vec<Transformer2DModel>,
    upsampler: Option<Upsample2D>,
}

impl UpBlock {
    /// `level` counts from the finest; `skip_in` are the channels that entered the down block of this level.
    pub(super) fn load(
        vb: &VarBuilder,
        config: &UNet2DConditionConfig,
        level: usize,
        skip_in: usize,
        previous: usize,
        out_channels: usize,
        upsamples: bool,
    ) -> Result<Self> {
        let count = config.num_resnets(level) + 1;
        let position = config.block_out_channels.len() - 1 - level;
        let attends = config.up_block_types[position] == "CrossAttnUpBlock2D";
        Ok(Self {
            resnets: (0..count)
                .map(|j| {
                    let from = if j == 0 { previous } else { out_channels };
                    let skip = if j + 1 == count { skip_in } else { out_channels };
                    load_resnet(&vb.pp("resnets").pp(j), config, from + skip, out_channels)
                })
                .collect::<Result<_>>()?,
            attentions: (0..if attends { count } else { 0 })
                .map(|j| load_transformer(&vb.pp("attentions").pp(j), config, level, out_channels))
                .collect::<Result<_>>()?,
            upsampler: upsamples.then(|| Upsample2D::load(&vb.pp("upsamplers.0"), out_channels)).transpose()?,
        })
    }

    /// As [`Transformer2DModel::project`].
    pub(super) fn project(&self, encoder_hidden_states: &Tensor, all: &mut Vec<KeysValues>) -> Result<()> {
        self.attentions.iter().try_for_each(|attention| attention.project(encoder_hidden_states, all))
    }

    /// As [`DownBlock::forward`]; takes its skips from the end of `skips`.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        time_embedding: &Tensor,
        context: &mut Context,
        skips: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let mut x = x.clone();
        for (j, resnet) in self.resnets.iter().enumerate() {
            let Some(skip) = skips.pop() else {
                return Err(Error::Invalid("layers_per_block differs on the way down and up".to_owned()));
            };
            let both = Tensor::cat(&[&x, &skip], 1)?;
            x = residual_and_attention(resnet, self.attentions.get(j), &both, time_embedding, context)?;
        }
        match &self.upsampler {
            // To the size of the skip that comes next: one less than twice as large where halving had rounded up.
            Some(upsampler) => upsampler.forward(&x, skips.last().map(Tensor::dims)),
            None => Ok(x),
        }
    }
}
