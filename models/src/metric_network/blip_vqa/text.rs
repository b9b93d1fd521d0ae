//! BLIP's text encoder and decoder: BERT, post-norm, with cross-attention in every layer.

use candle_core::Tensor;
use candle_nn::VarBuilder;

use super::TextConfig;
use crate::clip::HiddenAct;
use crate::layers::LayerNorm;
use crate::linear::Linear;
use crate::{Error, Result, ops};

pub(super) struct TextModel {
    word_embeddings: Tensor,
    position_embeddings: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl TextModel {
    /// `memory_width`: of what the cross-attention looks at.
    pub(super) fn load(
        vb: &VarBuilder,
        config: &TextConfig,
        word_embeddings: Tensor,
        memory_width: usize,
    ) -> Result<Self> {
        let embeddings = vb.pp("embeddings");
        let shape = (config.max_position_embeddings, config.hidden_size);
        let layers = vb.pp("encoder.layer");
        Ok(Self {
            word_embeddings,
            position_embeddings: embeddings.get(shape, "position_embeddings.weight")?,
            norm: LayerNorm::load(&embeddings.pp("LayerNorm"), config.hidden_size, config.layer_norm_eps)?,
            layers: (0..config.num_hidden_layers)
                .map(|i| Layer::load(&layers.pp(i), config, memory_width))
                .collect::<Result<_>>()?,
        })
    }

    /// Keys and values of every layer's cross-attention over `memory [c, m, d]`.
    pub(super) fn keys_values(&self, memory: &Tensor) -> Result<Vec<(Tensor, Tensor)>> {
        let both = |layer: &Layer| Ok((layer.cross.key.forward(memory)?, layer.cross.value.forward(memory)?));
        self.layers.iter().map(both).collect()
    }

    /// Ids `[b, n]` to `[b, n, d]`. The memory is that of one picture for all, or one for each row.
    ///
    /// All tokens see all others: a question is read as a whole, and the decoder is asked for its first token alone.
    pub(super) fn forward(&self, input_ids: &Tensor, memory: &[(Tensor, Tensor)]) -> Result<Tensor> {
        let (b, n) = input_ids.dims2()?;
        let (positions, d) = self.position_embeddings.dims2()?;
        if n > positions {
            return Err(Error::Invalid(format!("{n} tokens, but the text encoder has {positions} positions")));
        }
        let words = self.word_embeddings.index_select(&input_ids.flatten_all()?, 0)?.reshape((b, n, d))?;
        let mut hidden = self.norm.forward(&words.broadcast_add(&self.position_embeddings.narrow(0, 0, n)?)?)?;
        for (layer, (key, value)) in self.layers.iter().zip(memory) {
            hidden = layer.forward(&hidden, key, value)?;
        }
        Ok(hidden)
    }
}

/// Projections of an attention, and what follows it.
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    dense: Linear,
    norm: LayerNorm,
    heads: usize,
}

impl Attention {
    fn load(vb: &VarBuilder, config: &TextConfig, memory_width: usize) -> Result<Self> {
        let width = config.hidden_size;
        let (own, output) = (vb.pp("self"), vb.pp("output"));
        Ok(Self {
            query: Linear::load(own.pp("query"), width, width, true)?,
            key: Linear::load(own.pp("key"), memory_width, width, true)?,
            value: Linear::load(own.pp("value"), memory_width, width, true)?,
            dense: Linear::load(output.pp("dense"), width, width, true)?,
            norm: LayerNorm::load(&output.pp("LayerNorm"), width, config.layer_norm_eps)?,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, hidden: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        let query = self.query.forward(hidden)?;
        let (b, n, d) = query.dims3()?;
        // One picture for all questions: their tokens are queries of one sequence, for queries do not see each other.
        let shared = key.dim(0)? == 1;
        let query = if shared { query.reshape((1, b * n, d))? } else { query };
        let scale = ((d / self.heads) as f64).powf(-0.5);
        let attended = ops::attention(&query, key, value, self.heads, scale, false)?.reshape((b, n, d))?;
        self.norm.forward(&(self.dense.forward(&attended)? + hidden)?)
    }
}

struct Layer {
    attention: Attention,
    cross: Attention,
    intermediate: Linear,
    output: Linear,
    norm: LayerNorm,
    hidden_act: HiddenAct,
}

impl Layer {
    fn load(vb: &VarBuilder, config: &TextConfig, memory_width: usize) -> Result<Self> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let output = vb.pp("output");
        Ok(Self {
            attention: Attention::load(&vb.pp("attention"), config, width)?,
            cross: Attention::load(&vb.pp("crossattention"), config, memory_width)?,
            intermediate: Linear::load(vb.pp("intermediate.dense"), width, inner, true)?,
            output: Linear::load(output.pp("dense"), inner, width, true)?,
            norm: LayerNorm::load(&output.pp("LayerNorm"), width, config.layer_norm_eps)?,
            hidden_act: config.hidden_act,
        })
    }

    fn forward(&self, hidden: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        let (own_key, own_value) = (self.attention.key.forward(hidden)?, self.attention.value.forward(hidden)?);
        let hidden = self.attention.forward(hidden, &own_key, &own_value)?;
        let hidden = self.cross.forward(&hidden, key, value)?;
        let inner = activate(self.hidden_act, &self.intermediate.forward(&hidden)?)?;
        self.norm.forward(&(self.output.forward(&inner)? + &hidden)?)
    }
}

/// The activation of a configuration.
pub(super) fn activate(act: HiddenAct, x: &Tensor) -> Result<Tensor> {
    Ok(match act {
        HiddenAct::QuickGelu => ops::quick_gelu(x)?,
        HiddenAct::Gelu => ops::gelu(x)?,
    })
}
