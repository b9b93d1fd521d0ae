//! ResnetBlock2D, the block that UNet and VAE share.
//!
//! Source: diffusers `models/resnet.py`, class `ResnetBlock2D`.
//! b batch · i input channels · o output channels · h, w height, width · e width of the time embedding

use crate::Result;
use crate::layers::{Conv2d, GroupNorm};
use crate::linear::Linear;
use crate::ops;
use candle_core::Tensor;
use candle_nn::VarBuilder;

/// Shape of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResnetConfig {
    pub in_channels: usize,
    pub out_channels: usize,
    /// Width of the time embedding; `None` in the VAE.
    pub time_embed_dim: Option<usize>,
    pub norm_num_groups: usize,
    pub eps: f64,
}

/// norm1 · SiLU · conv1 · (+ time) · norm2 · SiLU · conv2 · (+ shortcut).
#[derive(Clone, Debug)]
pub(crate) struct ResnetBlock2D {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
}

impl ResnetBlock2D {
    pub(crate) fn load(vb: &VarBuilder, config: ResnetConfig) -> Result<Self> {
        let ResnetConfig { in_channels, out_channels, time_embed_dim, norm_num_groups, eps } = config;
        Ok(Self {
            norm1: GroupNorm::load(&vb.pp("norm1"), in_channels, norm_num_groups, eps)?,
            conv1: Conv2d::load(&vb.pp("conv1"), in_channels, out_channels, 3)?,
            time_emb_proj: time_embed_dim
                .map(|width| Linear::load(vb.pp("time_emb_proj"), width, out_channels, true))
                .transpose()?,
            norm2: GroupNorm::load(&vb.pp("norm2"), out_channels, norm_num_groups, eps)?,
            conv2: Conv2d::load(&vb.pp("conv2"), out_channels, out_channels, 3)?,
            conv_shortcut: (in_channels != out_channels)
                .then(|| Conv2d::load(&vb.pp("conv_shortcut"), in_channels, out_channels, 1))
                .transpose()?,
        })
    }

    /// `x [b, i, h, w]`, `time_embedding [b, e]` after its SiLU → `[b, o, h, w]`.
    pub(crate) fn forward(&self, x: &Tensor, time_embedding: Option<&Tensor>) -> Result<Tensor> {
        let mut hidden = self.conv1.forward(&self.norm1.forward_silu(x)?)?;
        if let (Some(projection), Some(embedding)) = (&self.time_emb_proj, time_embedding) {
            let (b, c, _, _) = hidden.dims4()?;
            let shift = projection.forward(embedding)?.reshape((b, c, 1, 1))?;
            hidden = hidden.broadcast_add(&shift)?;
        }
        let hidden = self.conv2.forward(&self.norm2.forward_silu(&hidden)?)?;
        let shortcut = match &self.conv_shortcut {
            Some(convolution) => convolution.forward(x)?,
            None => x.clone(),
        };
        Ok((shortcut + hidden)?)
    }
}

/// Nearest-neighbour doubling and a 3 × 3 convolution.
#[derive(Clone, Debug)]
pub(crate) struct Upsample2D {
    conv: Conv2d,
}

impl Upsample2D {
    pub(crate) fn load(vb: &VarBuilder, channels: usize) -> Result<Self> {
        Ok(Self { conv: Conv2d::load(&vb.pp("conv"), channels, channels, 3)? })
    }

    /// `[b, c, h, w]` → `[b, c, 2h, 2w]`, or the upper left of that in the height and width of `like [b, ·, h', w']`.
    pub(crate) fn forward(&self, x: &Tensor, like: Option<&[usize]>) -> Result<Tensor> {
        let mut x = ops::upsample_nearest2x(x)?;
        if let Some(&[_, _, height, width]) = like {
            let (_, _, h, w) = x.dims4()?;
            if (h, w) != (height, width) {
                x = x.narrow(2, 0, height)?.narrow(3, 0, width)?.contiguous()?;
            }
        }
        self.conv.forward(&x)
    }
}
