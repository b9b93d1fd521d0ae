//! The network under classifier-free guidance, its conditions made ready once for all timesteps.

use super::{Conditioning, Pipeline};
use crate::Result;
use crate::scheduler::guide;
use crate::unet::{AddedConditioning, ProjectedStates};
use candle_core::Tensor;

/// The UNet, its conditions, and their weight against each other.
pub(super) struct Guided<'a> {
    pipeline: &'a Pipeline,
    conditional: (ProjectedStates, AddedConditioning),
    /// None at a guidance scale of 1.
    unconditional: Option<(ProjectedStates, AddedConditioning)>,
    guidance_scale: f64,
    /// `[T, b]`: laid on the device once, so that nothing is copied there from step to step.
    timesteps: Tensor,
}

impl<'a> Guided<'a> {
    /// `timesteps` are what the network is told, step by step.
    pub(super) fn new(
        pipeline: &'a Pipeline,
        conditioning: &Conditioning,
        guidance_scale: f64,
        timesteps: impl ExactSizeIterator<Item = usize>,
    ) -> Result<Self> {
        let (steps, images) = (timesteps.len(), conditioning.len());
        let told = timesteps.flat_map(|timestep| std::iter::repeat_n(timestep as i64, images)).collect();
        let ready = |conditioning: &Conditioning| -> Result<_> {
            let added = AddedConditioning {
                text_embeds: conditioning.text_embeds.clone(),
                time_ids: pipeline.time_ids(conditioning.len())?,
            };
            Ok((pipeline.unet.project(&conditioning.encoder_hidden_states)?, added))
        };
        Ok(Self {
            pipeline,
            conditional: ready(conditioning)?,
            unconditional: if guidance_scale == 1.0 {
                None
            } else {
                Some(ready(&pipeline.unconditional(conditioning.len())?)?)
            },
            guidance_scale,
            timesteps: Tensor::from_vec(told, (steps, images), &pipeline.device)?,
        })
    }

    /// `e_u + g (e_c − e_u)` for latents `[b, c, h, w]` at step `step`.
    pub(super) fn predict(&self, latents: &Tensor, step: usize) -> Result<Tensor> {
        let timesteps = self.timesteps.get(step)?;
        let predict = |(states, added): &(ProjectedStates, AddedConditioning)| {
            self.pipeline.unet.forward_projected(latents, &timesteps, states, Some(added))
        };
        let conditional = predict(&self.conditional)?;
        match &self.unconditional {
            None => Ok(conditional),
            Some(unconditional) => guide(&predict(unconditional)?, &conditional, self.guidance_scale),
        }
    }
}
