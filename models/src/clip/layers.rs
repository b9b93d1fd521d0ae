//! The transformer layers of both towers.

use candle_core::Tensor;
use candle_nn::VarBuilder;

use super::config::{ClipTextConfig, ClipVisionConfig, HiddenAct};
use crate::layers::LayerNorm;
use crate::linear::Linear;
use crate::{Error, Result, ops};

/// What both towers tell their layers.
pub(super) struct EncoderConfig {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_act: HiddenAct,
    layer_norm_eps: f64,
}

impl From<&ClipTextConfig> for EncoderConfig {
    fn from(config: &ClipTextConfig) -> Self {
        Self {
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            hidden_act: config.hidden_act,
            layer_norm_eps: config.layer_norm_eps,
        }
    }
}

impl From<&ClipVisionConfig> for EncoderConfig {
    fn from(config: &ClipVisionConfig) -> Self {
        Self {
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            hidden_act: config.hidden_act,
            layer_norm_eps: config.layer_norm_eps,
        }
    }
}

pub(super) fn load_layers(vb: &VarBuilder, config: &EncoderConfig) -> Result<Vec<EncoderLayer>> {
    let heads = config.num_attention_heads;
    if heads == 0 || !config.hidden_size.is_multiple_of(heads) {
        return Err(config_error(vb, "num_attention_heads", "must divide hidden_size"));
    }
    let vb = vb.pp("encoder.layers");
    (0..config.num_hidden_layers).map(|i| EncoderLayer::load(&vb.pp(i), config)).collect()
}

pub(super) fn config_error(vb: &VarBuilder, key: &str, message: &str) -> Error {
    Error::Config { path: vb.prefix().into(), key: key.to_owned(), message: message.to_owned() }
}

/// Pre-norm transformer layer.
#[derive(Clone, Debug)]
pub(super) struct EncoderLayer {
    layer_norm1: LayerNorm,
    self_attn: Attention,
    layer_norm2: LayerNorm,
    mlp: Mlp,
}

impl EncoderLayer {
    fn load(vb: &VarBuilder, config: &EncoderConfig) -> Result<Self> {
        let (width, eps) = (config.hidden_size, config.layer_norm_eps);
        Ok(Self {
            layer_norm1: LayerNorm::load(&vb.pp("layer_norm1"), width, eps)?,
            self_attn: Attention::load(&vb.pp("self_attn"), config)?,
            layer_norm2: LayerNorm::load(&vb.pp("layer_norm2"), width, eps)?,
            mlp: Mlp::load(&vb.pp("mlp"), config)?,
        })
    }

    pub(super) fn forward(&self, hidden_states: &Tensor, causal: bool) -> Result<Tensor> {
        let attended = self.self_attn.forward(&self.layer_norm1.forward(hidden_states)?, causal)?;
        let hidden_states = (hidden_states + attended)?;
        let fed = self.mlp.forward(&self.layer_norm2.forward(&hidden_states)?)?;
        Ok((hidden_states + fed)?)
    }
}

#[derive(Clone, Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    num_heads: usize,
    scale: f64,
}

impl Attention {
    fn load(vb: &VarBuilder, config: &EncoderConfig) -> Result<Self> {
        let width = config.hidden_size;
        let linear = |name: &str| Linear::load(vb.pp(name), width, width, true);
        Ok(Self {
            q_proj: linear("q_proj")?,
            k_proj: linear("k_proj")?,
            v_proj: linear("v_proj")?,
            out_proj: linear("out_proj")?,
            num_heads: config.num_attention_heads,
            scale: ((width / config.num_attention_heads) as f64).powf(-0.5),
        })
    }

    fn forward(&self, hidden_states: &Tensor, causal: bool) -> Result<Tensor> {
        let query = self.q_proj.forward(hidden_states)?;
        let key = self.k_proj.forward(hidden_states)?;
        let value = self.v_proj.forward(hidden_states)?;
        let attended = ops::attention(&query, &key, &value, self.num_heads, self.scale, causal)?;
        self.out_proj.forward(&attended)
    }
}

#[derive(Clone, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
    hidden_act: HiddenAct,
}

impl Mlp {
    fn load(vb: &VarBuilder, config: &EncoderConfig) -> Result<Self> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        Ok(Self {
            fc1: Linear::load(vb.pp("fc1"), width, inner, true)?,
            fc2: Linear::load(vb.pp("fc2"), inner, width, true)?,
            hidden_act: config.hidden_act,
        })
    }

    fn forward(&self, hidden_states: &Tensor) -> Result<Tensor> {
        let inner = self.fc1.forward(hidden_states)?;
        let inner = match self.hidden_act {
            HiddenAct::QuickGelu => ops::quick_gelu(&inner)?,
            HiddenAct::Gelu => ops::gelu(&inner)?,
        };
        self.fc2.forward(&inner)
    }
}
