//! Transformer2DModel: self-attention, cross-attention and a gated feed-forward over the places of a feature map.
//!
//! Source: diffusers `models/transformers/transformer_2d.py`, `models/attention.py`.
//! b batch · c channels · h, w height, width · s tokens · d width of the conditioning

use crate::layers::{Conv2d, GroupNorm, LayerNorm};
use crate::linear::Linear;
use crate::ops;
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;

/// ε of the transformer's own group norm, fixed in diffusers.
const GROUP_NORM_EPS: f64 = 1e-6;
const LAYER_NORM_EPS: f64 = 1e-5;

/// Keys and values `[b, s, c]` of a cross-attention; none where they are all zero.
pub(super) type KeysValues = Option<(Tensor, Tensor)>;

/// What the cross-attentions of a network read.
pub(super) enum Context<'a> {
    /// Hidden states `[b, s, d]`, from which each makes its keys and values.
    States(&'a Tensor),
    /// Keys and values made before, in the order in which the cross-attentions are asked.
    Projected(std::slice::Iter<'a, KeysValues>),
}

/// Shape of a transformer.
#[derive(Clone, Copy, Debug)]
pub(super) struct TransformerConfig {
    pub channels: usize,
    pub num_heads: usize,
    pub num_layers: usize,
    pub cross_attention_dim: usize,
    pub norm_num_groups: usize,
    pub use_linear_projection: bool,
}

#[derive(Clone, Debug)]
enum Projection {
    Linear(Linear),
    Convolution(Conv2d),
}

#[derive(Clone, Debug)]
pub(super) struct Transformer2DModel {
    norm: GroupNorm,
    proj_in: Projection,
    transformer_blocks: Vec<BasicTransformerBlock>,
    proj_out: Projection,
}

impl Transformer2DModel {
    pub(super) fn load(vb: &VarBuilder, config: TransformerConfig) -> Result<Self> {
        let TransformerConfig { channels, use_linear_projection, .. } = config;
        let projection = |name: &str| -> Result<Projection> {
            Ok(if use_linear_projection {
                Projection::Linear(Linear::load(vb.pp(name), channels, channels, true)?)
            } else {
                Projection::Convolution(Conv2d::load(&vb.pp(name), channels, channels, 1)?)
            })
        };
        Ok(Self {
            norm: GroupNorm::load(&vb.pp("norm"), channels, config.norm_num_groups, GROUP_NORM_EPS)?,
            proj_in: projection("proj_in")?,
            transformer_blocks: (0..config.num_layers)
                .map(|i| BasicTransformerBlock::load(&vb.pp("transformer_blocks").pp(i), config))
                .collect::<Result<_>>()?,
            proj_out: projection("proj_out")?,
        })
    }

    /// Adds the keys and values of `encoder_hidden_states [b, s, d]`, in the order of [`forward`](Self::forward).
    pub(super) fn project(&self, encoder_hidden_states: &Tensor, all: &mut Vec<KeysValues>) -> Result<()> {
        for block in &self.transformer_blocks {
            all.push(block.attn2.project(encoder_hidden_states)?);
        }
        Ok(())
    }

    /// `x [b, c, h, w]` → `[b, c, h, w]`.
    pub(super) fn forward(&self, x: &Tensor, context: &mut Context) -> Result<Tensor> {
        let (b, c, h, w) = x.dims4()?;
        let to_tokens = |x: &Tensor| x.flatten_from(2)?.transpose(1, 2)?.contiguous(); // [b, h·w, c]
        let to_map = |x: &Tensor| x.transpose(1, 2)?.contiguous()?.reshape((b, c, h, w));
        let normed = self.norm.forward(x)?;
        let mut tokens = match &self.proj_in {
            Projection::Linear(linear) => linear.forward(&to_tokens(&normed)?)?,
            Projection::Convolution(convolution) => to_tokens(&convolution.forward(&normed)?)?,
        };
        for block in &self.transformer_blocks {
            tokens = block.forward(&tokens, context)?;
        }
        let out = match &self.proj_out {
            Projection::Linear(linear) => to_map(&linear.forward(&tokens)?)?,
            Projection::Convolution(convolution) => convolution.forward(&to_map(&tokens)?)?,
        };
        Ok((x + out)?)
    }
}

#[derive(Clone, Debug)]
struct BasicTransformerBlock {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    feed_forward_in: Linear,
    feed_forward_out: Linear,
}

impl BasicTransformerBlock {
    fn load(vb: &VarBuilder, config: TransformerConfig) -> Result<Self> {
        let TransformerConfig { channels, num_heads, cross_attention_dim, .. } = config;
        let norm = |name: &str| LayerNorm::load(&vb.pp(name), channels, LAYER_NORM_EPS);
        let inner = 4 * channels;
        Ok(Self {
            norm1: norm("norm1")?,
            attn1: Attention::load(&vb.pp("attn1"), channels, channels, num_heads)?,
            norm2: norm("norm2")?,
            attn2: Attention::load(&vb.pp("attn2"), channels, cross_attention_dim, num_heads)?,
            norm3: norm("norm3")?,
            feed_forward_in: Linear::load(vb.pp("ff.net.0.proj"), channels, 2 * inner, true)?,
            feed_forward_out: Linear::load(vb.pp("ff.net.2"), inner, channels, true)?,
        })
    }

    fn forward(&self, x: &Tensor, context: &mut Context) -> Result<Tensor> {
        let normed = self.norm1.forward(x)?;
        let x = (x + self.attn1.forward(&normed, &normed)?)?;
        let x = (&x + self.attn2.cross(&self.norm2.forward(&x)?, context)?)?;
        let gated = ops::geglu(&self.feed_forward_in.forward(&self.norm3.forward(&x)?)?)?;
        Ok((x + self.feed_forward_out.forward(&gated)?)?)
    }
}

#[derive(Clone, Debug)]
struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    num_heads: usize,
    scale: f64,
}

impl Attention {
    fn load(vb: &VarBuilder, channels: usize, context_width: usize, num_heads: usize) -> Result<Self> {
        Ok(Self {
            to_q: Linear::load(vb.pp("to_q"), channels, channels, false)?,
            to_k: Linear::load(vb.pp("to_k"), context_width, channels, false)?,
            to_v: Linear::load(vb.pp("to_v"), context_width, channels, false)?,
            to_out: Linear::load(vb.pp("to_out.0"), channels, channels, true)?,
            num_heads,
            scale: 1.0 / ((channels / num_heads) as f64).sqrt(),
        })
    }

    /// `x [b, n, c]` attends to `context [b, m, ·]` → `[b, n, c]`.
    fn forward(&self, x: &Tensor, context: &Tensor) -> Result<Tensor> {
        self.attend(x, &self.to_k.forward(context)?, &self.to_v.forward(context)?)
    }

    /// As [`forward`](Self::forward), with keys and values that may have been made before.
    fn cross(&self, x: &Tensor, context: &mut Context) -> Result<Tensor> {
        let projected = match context {
            Context::States(states) => return self.forward(x, states),
            Context::Projected(projected) => projected.next(),
        };
        match projected {
            Some(Some((key, value))) => self.attend(x, key, value),
            Some(None) => self.to_out.forward_zeros(x),
            None => Err(Error::Invalid("the context was projected by another network".to_owned())),
        }
    }

    fn attend(&self, x: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        let query = self.to_q.forward(x)?;
        self.to_out.forward(&ops::attention(&query, key, value, self.num_heads, self.scale, false)?)
    }

    /// Neither projection has a bias: all-zero states, SDXL's empty condition, have all-zero keys and values.
    fn project(&self, states: &Tensor) -> Result<KeysValues> {
        let largest = states.abs()?.flatten_all()?.max(0)?.to_dtype(DType::F32)?.to_scalar::<f32>()?;
        Ok(if largest == 0.0 { None } else { Some((self.to_k.forward(states)?, self.to_v.forward(states)?)) })
    }
}
