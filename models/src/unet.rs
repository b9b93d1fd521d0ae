//! UNet2DConditionModel: the noise predictor of SD1.5 and SDXL.
//!
//! Source: diffusers `models/unets/unet_2d_condition.py`; Podell et al. 2023 (SDXL), Rombach et al. 2022.
//! b batch · c latent channels · h, w latent height, width · s tokens · d width of the conditioning ·
//! p width of the pooled conditioning · e width of the time embedding

mod blocks;
mod config;
mod embeddings;
mod transformer;

pub use config::{PerBlock, UNet2DConditionConfig};

use crate::layers::{Conv2d, GroupNorm};
use crate::ops;
use crate::{Error, Result};
use blocks::{DownBlock, MidBlock, UpBlock};
use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use embeddings::{Sinusoids, TimestepEmbedding};
use transformer::{Context, KeysValues};

/// SDXL's added conditioning.
#[derive(Clone, Debug)]
pub struct AddedConditioning {
    /// Pooled text embedding, `[b, p]`.
    pub text_embeds: Tensor,
    /// Original height, width, crop top, left, target height, width, in pixels: `[b, 6]`.
    pub time_ids: Tensor,
}

/// A condition made ready for many timesteps: the keys and values of all cross-attentions, the bulk of what does not
/// depend on the latents.
#[derive(Clone, Debug)]
pub struct ProjectedStates(Vec<KeysValues>);

/// The network.
#[derive(Clone, Debug)]
pub struct UNet2DConditionModel {
    config: UNet2DConditionConfig,
    conv_in: Conv2d,
    timestep_sinusoids: Sinusoids,
    size_sinusoids: Sinusoids,
    time_embedding: TimestepEmbedding,
    add_embedding: Option<TimestepEmbedding>,
    down_blocks: Vec<DownBlock>,
    mid_block: Option<MidBlock>,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    gradient_checkpointing: bool,
}

impl UNet2DConditionModel {
    /// Reads the parameters; an error names the first that is missing or of the wrong shape.
    pub fn load(vb: &VarBuilder, config: &UNet2DConditionConfig) -> Result<Self> {
        config.check()?;
        let channels = &config.block_out_channels;
        let levels = channels.len();
        let (first, last) = (channels[0], channels[levels - 1]);
        let time_embed_dim = config.time_embed_dim();

        let mut down_blocks = Vec::with_capacity(levels);
        let mut in_channels = first;
        for (i, &out_channels) in channels.iter().enumerate() {
            let downsamples = i + 1 < levels;
            down_blocks.push(DownBlock::load(
                &vb.pp("down_blocks").pp(i),
                config,
                i,
                in_channels,
                out_channels,
                downsamples,
            )?);
            in_channels = out_channels;
        }

        let mut up_blocks = Vec::with_capacity(levels);
        let mut previous = last;
        for i in 0..levels {
            let level = levels - 1 - i;
            let skip_in = channels[level.saturating_sub(1)];
            let upsamples = i + 1 < levels;
            up_blocks.push(UpBlock::load(
                &vb.pp("up_blocks").pp(i),
                config,
                level,
                skip_in,
                previous,
                channels[level],
                upsamples,
            )?);
            previous = channels[level];
        }

        Ok(Self {
            conv_in: Conv2d::load(&vb.pp("conv_in"), config.in_channels, first, config.conv_in_kernel)?,
            timestep_sinusoids: Sinusoids::new(first, config, vb.device())?,
            size_sinusoids: Sinusoids::new(config.addition_time_embed_dim.unwrap_or_default(), config, vb.device())?,
            time_embedding: TimestepEmbedding::load(&vb.pp("time_embedding"), first, time_embed_dim)?,
            add_embedding: config
                .added_embedding_width()
                .map(|width| TimestepEmbedding::load(&vb.pp("add_embedding"), width, time_embed_dim))
                .transpose()?,
            down_blocks,
            mid_block: config
                .mid_block_type
                .is_some()
                .then(|| MidBlock::load(&vb.pp("mid_block"), config, last))
                .transpose()?,
            up_blocks,
            conv_norm_out: GroupNorm::load(&vb.pp("conv_norm_out"), first, config.norm_num_groups, config.norm_eps)?,
            conv_out: Conv2d::load(&vb.pp("conv_out"), first, config.out_channels, config.conv_out_kernel)?,
            config: config.clone(),
            gradient_checkpointing: false,
        })
    }

    /// The same network, which for a gradient keeps the input of each residual block and its transformer alone and computes
    /// them again on the way back: [`ops::backward`] then gives the gradients, candle's own `backward` only some.
    #[must_use]
    pub fn with_gradient_checkpointing(self, on: bool) -> Self {
        Self { gradient_checkpointing: on, ..self }
    }

    /// Precision of the parameters, which it computes in.
    pub fn dtype(&self) -> DType {
        self.conv_in.dtype()
    }

    /// The configuration that it was built from.
    pub fn config(&self) -> &UNet2DConditionConfig {
        &self.config
    }

    /// Predicts the noise (or velocity) in noisy latents.
    ///
    /// Computes in the precision of its parameters; what goes in may have any, what comes out has that of `sample`.
    ///
    /// `sample [b, c, h, w]`, `timestep [b]` (any number type), `encoder_hidden_states [b, s, d]` →
    /// `[b, c, h, w]`, of any height and width. `added` is needed exactly where the configuration asks for `text_time`.
    pub fn forward(
        &self,
        sample: &Tensor,
        timestep: &Tensor,
        encoder_hidden_states: &Tensor,
        added: Option<&AddedConditioning>,
    ) -> Result<Tensor> {
        let states = encoder_hidden_states.to_dtype(self.dtype())?;
        self.forward_with(sample, timestep, Context::States(&states), added)
    }

    /// Projects `encoder_hidden_states [b, s, d]` once for any number of [`forward_projected`](Self::forward_projected).
    pub fn project(&self, encoder_hidden_states: &Tensor) -> Result<ProjectedStates> {
        let encoder_hidden_states = &encoder_hidden_states.to_dtype(self.dtype())?;
        let mut all = Vec::new();
        for block in &self.down_blocks {
            block.project(encoder_hidden_states, &mut all)?;
        }
        if let Some(block) = &self.mid_block {
            block.project(encoder_hidden_states, &mut all)?;
        }
        for block in &self.up_blocks {
            block.project(encoder_hidden_states, &mut all)?;
        }
        Ok(ProjectedStates(all))
    }

    /// As [`forward`](Self::forward), bit for bit, with what [`project`](Self::project) made of the condition.
    pub fn forward_projected(
        &self,
        sample: &Tensor,
        timestep: &Tensor,
        states: &ProjectedStates,
        added: Option<&AddedConditioning>,
    ) -> Result<Tensor> {
        self.forward_with(sample, timestep, Context::Projected(states.0.iter()), added)
    }

    fn forward_with(
        &self,
        sample: &Tensor,
        timestep: &Tensor,
        mut context: Context,
        added: Option<&AddedConditioning>,
    ) -> Result<Tensor> {
        let precision = sample.dtype();
        let sample = &sample.to_dtype(self.dtype())?;
        let context = &mut context;
        let _checkpoints = ops::checkpoints(self.gradient_checkpointing);

        // 1. time
        let embedding = self.time_embedding(sample, timestep, added)?; // [b, e]
        let embedding = ops::silu(&embedding)?;

        // 2. pre-process
        let mut x = self.conv_in.forward(sample)?;

        // 3. down
        let mut skips = vec![x.clone()];
        for block in &self.down_blocks {
            x = block.forward(&x, &embedding, context, &mut skips)?;
        }

        // 4. mid
        if let Some(block) = &self.mid_block {
            x = block.forward(&x, &embedding, context)?;
        }

        // 5. up
        for block in &self.up_blocks {
            x = block.forward(&x, &embedding, context, &mut skips)?;
        }

        // 6. post-process
        Ok(self.conv_out.forward(&self.conv_norm_out.forward_silu(&x)?)?.to_dtype(precision)?)
    }

    fn time_embedding(&self, sample: &Tensor, timestep: &Tensor, added: Option<&AddedConditioning>) -> Result<Tensor> {
        let sinusoids = self.timestep_sinusoids.of(timestep)?.to_dtype(sample.dtype())?;
        let embedding = self.time_embedding.forward(&sinusoids)?;
        match (&self.add_embedding, added) {
            (None, _) => Ok(embedding),
            (Some(_), None) => Err(Error::Invalid(
                "this UNet needs `text_embeds` and `time_ids` (addition_embed_type is `text_time`)".to_owned(),
            )),
            (Some(network), Some(added)) => {
                let b = added.time_ids.dim(0)?;
                let sizes = self.size_sinusoids.of(&added.time_ids.flatten_all()?)?;
                let sizes = sizes.reshape((b, ()))?.to_dtype(sample.dtype())?;
                let both = Tensor::cat(&[&added.text_embeds.to_dtype(sample.dtype())?, &sizes], 1)?;
                Ok((embedding + network.forward(&both)?)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use candle_nn::VarMap;

    #[test]
    fn a_projected_condition_gives_the_very_same_output() {
        let config = UNet2DConditionConfig {
            block_out_channels: vec![8, 16],
            norm_num_groups: 4,
            ..serde_json::from_str(include_str!("../tiny/unet/config.json")).unwrap()
        };
        let variables = VarMap::new();
        let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
        let network = UNet2DConditionModel::load(&vb, &config).unwrap();
        for variable in variables.all_vars() {
            variable.set(&variable.randn_like(0., 0.3).unwrap()).unwrap();
        }
        let random = |shape: &[usize]| Tensor::randn(0_f32, 1., shape, &Device::Cpu).unwrap();
        let (sample, timestep) = (random(&[2, 4, 8, 8]), Tensor::new(&[7_i64, 900], &Device::Cpu).unwrap());
        let added = AddedConditioning { text_embeds: random(&[2, 128]), time_ids: random(&[2, 6]) };
        let condition = random(&[2, 5, config.conditioning_width(0)]);
        for states in [&condition, &condition.zeros_like().unwrap()] {
            let plain = network.forward(&sample, &timestep, states, Some(&added)).unwrap();
            let ready = network.project(states).unwrap();
            let projected = network.forward_projected(&sample, &timestep, &ready, Some(&added)).unwrap();
            let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(values(&plain), values(&projected));
        }
    }
}
