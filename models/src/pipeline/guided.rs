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
}

impl<'a> Guided<'a> {
    pub(super) fn new(pipeline: &'a Pipeline, conditioning: &Conditioning, guidance_scale: f64) -> Result<Self> {
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
        })
    }

    /// `e_u + g (e_c − e_u)` for latents `[b, c, h, w]`.
    pub(super) fn predict(&self, latents: &Tensor, timestep: usize) -> Result<Tensor> {
        let timesteps = Tensor::full(timestep as i64, latents.dim(0)?, &self.pipeline.device)?;
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
