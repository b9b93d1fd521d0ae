//! BLIP's image encoder: a pre-norm vision transformer whose every patch is handed on.

use candle_core::Tensor;
use candle_nn::VarBuilder;

use super::text::activate;
use crate::clip::{ClipVisionConfig, HiddenAct};
use crate::layers::{Conv2d, LayerNorm};
use crate::linear::Linear;
use crate::ops::{self, Padding};
use crate::{Error, Result};

pub(super) struct VisionModel {
    patch_embedding: Conv2d,
    class_embedding: Tensor,
    position_embedding: Tensor,
    layers: Vec<Layer>,
    post_layernorm: LayerNorm,
    image_size: usize,
}

impl VisionModel {
    pub(super) fn load(vb: &VarBuilder, config: &ClipVisionConfig) -> Result<Self> {
        let (width, patch, eps) = (config.hidden_size, config.patch_size, config.layer_norm_eps);
        let embeddings = vb.pp("embeddings");
        let patches = (config.image_size / patch).pow(2);
        let layers = vb.pp("encoder.layers");
        Ok(Self {
            patch_embedding: Conv2d::load_strided(
                &embeddings.pp("patch_embedding"),
                config.num_channels,
                width,
                patch,
                patch,
                Padding::symmetric(0),
            )?,
            class_embedding: embeddings.get((1, 1, width), "class_embedding")?,
            position_embedding: embeddings.get((1, patches + 1, width), "position_embedding")?,
            layers: (0..config.num_hidden_layers).map(|i| Layer::load(&layers.pp(i), config)).collect::<Result<_>>()?,
            post_layernorm: LayerNorm::load(&vb.pp("post_layernorm"), width, eps)?,
            image_size: config.image_size,
        })
    }

    /// Pixels `[b, 3, h, w]` to `[b, m, d]`, the class token first.
    pub(super) fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let (b, _, h, w) = pixels.dims4()?;
        if (h, w) != (self.image_size, self.image_size) {
            return Err(Error::Invalid(format!("a BLIP image has {0} × {0} pixels, not {w} × {h}", self.image_size)));
        }
        let patches = self.patch_embedding.forward(pixels)?.flatten_from(2)?.transpose(1, 2)?.contiguous()?;
        let class = self.class_embedding.broadcast_as((b, 1, patches.dim(2)?))?.contiguous()?;
        let mut hidden = Tensor::cat(&[&class, &patches], 1)?.broadcast_add(&self.position_embedding)?;
        for layer in &self.layers {
            hidden = layer.forward(&hidden)?;
        }
        self.post_layernorm.forward(&hidden)
    }
}

struct Layer {
    layer_norm1: LayerNorm,
    qkv: Linear,
    projection: Linear,
    layer_norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    hidden_act: HiddenAct,
    heads: usize,
}

impl Layer {
    fn load(vb: &VarBuilder, config: &ClipVisionConfig) -> Result<Self> {
        let (width, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        Ok(Self {
            layer_norm1: LayerNorm::load(&vb.pp("layer_norm1"), width, eps)?,
            qkv: Linear::load(vb.pp("self_attn.qkv"), width, 3 * width, true)?,
            projection: Linear::load(vb.pp("self_attn.projection"), width, width, true)?,
            layer_norm2: LayerNorm::load(&vb.pp("layer_norm2"), width, eps)?,
            fc1: Linear::load(vb.pp("mlp.fc1"), width, inner, true)?,
            fc2: Linear::load(vb.pp("mlp.fc2"), inner, width, true)?,
            hidden_act: config.hidden_act,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, hidden: &Tensor) -> Result<Tensor> {
        let mixed = self.qkv.forward(&self.layer_norm1.forward(hidden)?)?;
        let width = mixed.dim(2)? / 3;
        let scale = ((width / self.heads) as f64).powf(-0.5);
        let part = |i: usize| mixed.narrow(2, i * width, width);
        let attended = ops::attention(&part(0)?, &part(1)?, &part(2)?, self.heads, scale, false)?;
        let hidden = (hidden + self.projection.forward(&attended)?)?;
        let inner = activate(self.hidden_act, &self.fc1.forward(&self.layer_norm2.forward(&hidden)?)?)?;
        Ok((&hidden + self.fc2.forward(&inner)?)?)
    }
}
