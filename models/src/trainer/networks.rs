//! What a step computes with: policy and reference on the same states, under conditions that both sides of a pair share.

use super::draw::{Drawn, sides};
use super::states::States;
use crate::pipeline::{Conditioning, Pipeline};
use crate::scene_graph_encoder::{GraphFeatures, GraphTokens, SceneGraphEncoder};
use crate::scheduler::guide;
use crate::unet::{AddedConditioning, UNet2DConditionModel};
use crate::weights::VarMap;
use crate::{Error, Result};
use candle_core::{DType, Tensor};

/// A scene-graph encoder that learns, with what the text encoders say about every graph.
pub(super) struct TrainedEncoder {
    pub network: SceneGraphEncoder,
    pub graphs: Vec<(Vec<GraphTokens>, GraphFeatures)>,
}

/// Policy, reference and conditions.
pub(super) struct Networks<'a> {
    pub policy: &'a UNet2DConditionModel,
    pub reference: &'a Pipeline,
    /// The reference's noise predictor, in the precision of the policy.
    pub reference_unet: &'a UNet2DConditionModel,
    /// Of every graph, as the reference's encoder has it.
    pub conditioning: &'a Conditioning,
    /// The policy's own encoder, where it has one.
    pub encoder: Option<&'a TrainedEncoder>,
    pub vars: &'a VarMap,
}

/// Which side of a pair is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sides {
    /// Winners, then losers.
    Both,
    /// Winners only.
    Winners,
}

impl Sides {
    pub(super) fn count(self, pairs: usize) -> usize {
        match self {
            Self::Both => 2 * pairs,
            Self::Winners => pairs,
        }
    }
}

/// The conditions of a shard, for policy and reference.
pub(super) struct Conditions {
    policy: Conditioning,
    reference: Conditioning,
}

impl Networks<'_> {
    /// `count` latents out of their values.
    pub(super) fn latents(&self, values: Vec<f32>, count: usize) -> Result<Tensor> {
        let side = self.reference.latent_size();
        Ok(Tensor::from_vec(values, (count, self.reference.latent_channels(), side, side), self.reference.device())?)
    }

    /// Images of a shard.
    pub(super) fn images(&self, shard: &[Drawn], of: Sides) -> Result<Tensor> {
        let count = of.count(shard.len());
        let values = sides(shard).take(count).flat_map(|(drawn, side)| drawn.image(side).iter().copied()).collect();
        self.latents(values, count)
    }

    /// Conditions of a shard's images; those of an empty prompt where the condition is dropped.
    pub(super) fn conditions(&self, shard: &[Drawn], of: Sides) -> Result<Conditions> {
        let count = of.count(shard.len());
        let indices: Vec<usize> = sides(shard).take(count).map(|(drawn, _)| drawn.pair.condition).collect();
        let mut reference = self.conditioning.select(&indices)?;
        let mut policy = match self.encoder {
            None => reference.clone(),
            Some(encoder) => Conditioning {
                encoder_hidden_states: encoder.states(shard, of)?,
                text_embeds: reference.text_embeds.clone(),
            },
        };
        if shard.iter().any(|drawn| drawn.dropped) {
            let kept = sides(shard).take(count).map(|(drawn, _)| f32::from(u8::from(!drawn.dropped))).collect();
            let kept = Tensor::from_vec(kept, (count, 1), self.reference.device())?;
            let empty = self.reference.unconditional(count)?;
            policy = masked(&policy, &empty, &kept)?;
            reference = masked(&reference, &empty, &kept)?;
        }
        Ok(Conditions { policy, reference })
    }

    /// Predictions of policy (with gradient) and reference, `[b, c, h, w]` each, in one batch shape: the reference's own
    /// outputs are then bit for bit the policy's where the two are the same network. A `guidance_scale` of 1 leaves the
    /// unconditional pass out.
    pub(super) fn predict(
        &self,
        states: &States,
        conditions: &Conditions,
        guidance_scale: f64,
    ) -> Result<(Tensor, Tensor)> {
        let policy = self.run(self.policy, states, &conditions.policy, guidance_scale)?;
        let reference = self.run(self.reference_unet, states, &conditions.reference, guidance_scale)?;
        Ok((policy, reference.detach()))
    }

    /// The policy's conditional prediction without a gradient.
    pub(super) fn policy_only(&self, states: &States, conditions: &Conditions) -> Result<Tensor> {
        Ok(self.run(self.policy, states, &conditions.policy, 1.0)?.detach())
    }

    fn run(
        &self,
        unet: &UNet2DConditionModel,
        states: &States,
        conditioning: &Conditioning,
        guidance_scale: f64,
    ) -> Result<Tensor> {
        let count = states.timesteps.len();
        let device = self.reference.device();
        let timesteps = Tensor::from_vec(states.timesteps.iter().map(|t| *t as i64).collect(), count, device)?;
        let time_ids = self.reference.time_ids(count)?;
        let under = |conditioning: &Conditioning| {
            let added = AddedConditioning { text_embeds: conditioning.text_embeds.clone(), time_ids: time_ids.clone() };
            unet.forward(&states.noisy, &timesteps, &conditioning.encoder_hidden_states, Some(&added))
        };
        let conditional = under(conditioning)?;
        if guidance_scale == 1.0 {
            return Ok(conditional);
        }
        guide(&under(&self.reference.unconditional(count)?)?, &conditional, guidance_scale)
    }
}

/// The conditioning where `kept [b, 1]` is 1, the empty one where it is 0.
fn masked(conditioning: &Conditioning, empty: &Conditioning, kept: &Tensor) -> Result<Conditioning> {
    let dropped = kept.affine(-1., 1.)?;
    let mix = |of: &Tensor, empty: &Tensor, kept: &Tensor, dropped: &Tensor| {
        of.broadcast_mul(kept)? + empty.broadcast_mul(dropped)?
    };
    Ok(Conditioning {
        encoder_hidden_states: mix(
            &conditioning.encoder_hidden_states,
            &empty.encoder_hidden_states,
            &kept.unsqueeze(2)?,
            &dropped.unsqueeze(2)?,
        )?,
        text_embeds: mix(&conditioning.text_embeds, &empty.text_embeds, kept, &dropped)?,
    })
}

impl TrainedEncoder {
    /// Conditioning of a shard, each graph once and the same tensor on both sides: `[b, 77, d]`.
    fn states(&self, shard: &[Drawn], of: Sides) -> Result<Tensor> {
        let states = shard
            .iter()
            .map(|drawn| {
                let index = drawn.pair.condition;
                let (tokens, features) =
                    self.graphs.get(index).ok_or_else(|| Error::Invalid(format!("there is no graph {index}")))?;
                Ok(self.network.forward(tokens, features)?.to_dtype(DType::F32)?)
            })
            .collect::<Result<Vec<_>>>()?;
        let winners = Tensor::cat(&states, 0)?;
        match of {
            Sides::Winners => Ok(winners),
            Sides::Both => Ok(Tensor::cat(&[&winners, &winners], 0)?),
        }
    }
}
