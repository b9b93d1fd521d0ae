//! One step's pairs, states and noises, and the gradients of their loss.

use super::data_parallel;
use super::example::PairInput;
use super::optimizer::Gradients;
use super::settings::TrainerSettings;
use super::trajectory::Trajectory;
use crate::objective::{
    InversionDpoPublished, ObjectiveSettings, PairErrors, PairSummary, four_term_logits, inversion_dpo,
    inversion_dpo_published, mean_squared_errors, preference_loss, summarize,
};
use crate::pipeline::{Conditioning, Pipeline};
use crate::scheduler::guide;
use crate::unet::{AddedConditioning, UNet2DConditionModel};
use crate::weights::VarMap;
use crate::{Error, Result};
use candle_core::Tensor;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// Pairs that a thread works on at a time; fixed, so that sums come out the same on every machine.
const PAIRS_PER_SHARD: usize = 4;

/// What a step computes with.
pub(super) struct Networks<'a> {
    pub policy: &'a UNet2DConditionModel,
    pub reference: &'a Pipeline,
    pub conditioning: &'a Conditioning,
    pub vars: &'a VarMap,
}

/// What a step comes to.
pub(super) struct Outcome {
    pub gradients: Gradients,
    pub summary: PairSummary,
    pub drift: f64,
}

/// One pair as drawn.
struct Drawn<'a> {
    pair: &'a PairInput,
    paths: Option<&'a [Arc<Trajectory>; 2]>,
    /// Share of the way along the path, 0..1; winner and loser stand at the same one.
    place: f64,
    /// Seed of fresh noise; the same for winner and loser.
    noise: u64,
}

/// The pairs of a step.
pub(super) struct Batch<'a> {
    drawn: Vec<Drawn<'a>>,
}

/// States of the pairs of a shard, winners first: `[2p, c, h, w]`.
struct States {
    noisy: Tensor,
    target: Tensor,
    timesteps: Vec<usize>,
}

impl<'a> Batch<'a> {
    /// The pairs of step `step`: an epoch goes through all of them in an order of its own.
    pub(super) fn draw(
        settings: &TrainerSettings,
        step: usize,
        pairs: &'a [PairInput],
        paths: &'a [[Arc<Trajectory>; 2]],
    ) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        rng.set_stream(step as u64 + 1);
        let mut drawn = Vec::with_capacity(settings.batch_size);
        let mut order: (usize, Vec<usize>) = (usize::MAX, Vec::new());
        for position in step * settings.batch_size..(step + 1) * settings.batch_size {
            let epoch = position / pairs.len();
            if order.0 != epoch {
                let mut indices: Vec<usize> = (0..pairs.len()).collect();
                let mut epoch_rng = ChaCha8Rng::seed_from_u64(settings.seed);
                epoch_rng.set_stream(u64::MAX - epoch as u64);
                indices.shuffle(&mut epoch_rng);
                order = (epoch, indices);
            }
            let index = order.1[position % pairs.len()];
            drawn.push(Drawn {
                pair: &pairs[index],
                paths: paths.get(index),
                place: rng.random(),
                noise: rng.random(),
            });
        }
        Ok(Self { drawn })
    }

    /// Four-term losses, one timestep a pair: on the paths where there are any, else at freshly noised images.
    pub(super) fn four_term(&self, networks: &Networks, beta: f64) -> Result<Outcome> {
        let shards: Vec<&[Drawn]> = self.drawn.chunks(PAIRS_PER_SHARD).collect();
        let count = self.drawn.len() as f64;
        let (gradients, reports) = data_parallel::accumulate(networks.vars, &shards, |shard| {
            let states = if shard.iter().all(|drawn| drawn.paths.is_some()) {
                path_states(shard, networks)?
            } else {
                noised_states(shard, networks)?
            };
            let (policy, reference) = networks.predict(shard, &states)?;
            let errors = mean_squared_errors(&policy, &states.target)?;
            let reference_errors = mean_squared_errors(&reference, &states.target)?;
            let pairs = shard.len();
            let logits = four_term_logits(
                &PairErrors {
                    winner: errors.narrow(0, 0, pairs)?,
                    winner_reference: reference_errors.narrow(0, 0, pairs)?,
                    loser: errors.narrow(0, pairs, pairs)?,
                    loser_reference: reference_errors.narrow(0, pairs, pairs)?,
                },
                beta,
            )?;
            let loss = (preference_loss(&logits)?.sum_all()? / count)?;
            let drift = f64::from(mean_squared_errors(&policy, &reference)?.mean_all()?.to_scalar::<f32>()?);
            let logits: Vec<f64> = logits.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
            Ok((loss, (logits, drift * pairs as f64)))
        })?;
        let drift = reports.iter().map(|(_, drift)| drift).sum::<f64>() / count;
        let logits: Vec<f64> = reports.into_iter().flat_map(|(logits, _)| logits).collect();
        Ok(Outcome { gradients, summary: summarize(&logits), drift: drift.sqrt() })
    }

    /// Equation 16: one logit over all timesteps of a pair's paths, its gradient gathered one timestep at a time, so
    /// that memory does not grow with the length of the path (first a pass for the logit, then one with gradients).
    pub(super) fn published(&self, networks: &Networks, objective: &InversionDpoPublished) -> Result<Outcome> {
        let count = self.drawn.len() as f64;
        let pairs: Vec<&[Drawn]> = self.drawn.chunks(1).collect();
        let parts = data_parallel::map(&pairs, |pair| {
            let Some(paths) = pair.first().and_then(|drawn| drawn.paths) else {
                return Err(Error::Training("this objective needs a path for every image".to_owned()));
            };
            let steps = paths[0].timesteps.len();
            let distance = |k: usize| -> Result<Tensor> {
                let states = states_at(pair, networks, |_, _| k)?;
                let (policy, reference) = networks.predict_guided(pair, &states, objective.guidance_scale)?;
                mean_squared_errors(&policy, &reference.detach()) // [2]
            };
            let mut distances = Vec::with_capacity(steps);
            for k in 0..steps {
                distances.push(distance(k)?.to_vec1::<f32>()?);
            }
            let side = |index: usize| -> Vec<f64> { distances.iter().map(|d| f64::from(d[index])).collect() };
            let (winner, loser) = (side(0), side(1));
            let schedule = networks.reference.schedule();
            let alphas: Vec<f64> =
                paths[0].timesteps.iter().map(|t| schedule.alpha_cumprod(*t as i64)).collect::<Result<_>>()?;
            let elements = networks.reference.latent_channels() * networks.reference.latent_size().pow(2);
            let weights = objective.term_weights(&alphas, elements);
            let logit = inversion_dpo_published::logit(&weights, &winner, &loser);
            let mut gradients = Gradients::new();
            for (k, slope) in inversion_dpo_published::term_slopes(&weights, logit).into_iter().enumerate() {
                let distance = distance(k)?;
                let difference = (distance.get(0)? - distance.get(1)?)?;
                let part = data_parallel::gradients_of(networks.vars, &(difference * (slope / count))?)?;
                data_parallel::add_gradients(&mut gradients, part);
            }
            let drift = winner.iter().chain(&loser).sum::<f64>() / (2 * steps).max(1) as f64;
            Ok((gradients, logit, drift))
        })?;
        let mut gradients = Gradients::new();
        let mut logits = Vec::new();
        let mut drift = 0.0;
        for (part, logit, of_pair) in parts {
            data_parallel::add_gradients(&mut gradients, part);
            logits.push(logit);
            drift += of_pair / count;
        }
        Ok(Outcome { gradients, summary: summarize(&logits), drift: drift.sqrt() })
    }
}

/// Winner's and loser's images of a shard, winners first, `[2p, c, h, w]`.
fn clean_latents(shard: &[Drawn], networks: &Networks) -> Result<Tensor> {
    let values = sides(shard).flat_map(|(drawn, side)| image_of(drawn, side).iter().copied()).collect();
    networks.tensor(values, 2 * shard.len())
}

fn image_of<'a>(drawn: &'a Drawn, side: usize) -> &'a [f32] {
    if side == 0 { &drawn.pair.winner.latent } else { &drawn.pair.loser.latent }
}

/// All winners, then all losers.
fn sides<'a>(shard: &'a [Drawn<'a>]) -> impl Iterator<Item = (&'a Drawn<'a>, usize)> {
    (0..2).flat_map(move |side| shard.iter().map(move |drawn| (drawn, side)))
}

/// States of the reference's paths, each pair at its place, with the x₀-target.
fn path_states(shard: &[Drawn], networks: &Networks) -> Result<States> {
    states_at(shard, networks, |drawn, length| ((drawn.place * length as f64) as usize).min(length - 1))
}

fn states_at(shard: &[Drawn], networks: &Networks, place: impl Fn(&Drawn, usize) -> usize) -> Result<States> {
    let mut values = Vec::new();
    let mut timesteps = Vec::with_capacity(2 * shard.len());
    for (drawn, side) in sides(shard) {
        let path = drawn
            .paths
            .map(|paths| &paths[side])
            .filter(|path| !path.timesteps.is_empty())
            .ok_or_else(|| Error::Training("an image has no path".to_owned()))?;
        let k = place(drawn, path.timesteps.len());
        values.extend_from_slice(&path.states[k]);
        timesteps.push(path.timesteps[k]);
    }
    let noisy = networks.tensor(values, 2 * shard.len())?;
    let schedule = networks.reference.schedule();
    let alphas: Vec<f64> = timesteps.iter().map(|t| schedule.alpha_cumprod(*t as i64)).collect::<Result<_>>()?;
    let target = inversion_dpo::target(&noisy, &clean_latents(shard, networks)?, &alphas)?;
    Ok(States { noisy, target, timesteps })
}

/// Images with fresh noise, timestep and noise the same on both sides of a pair; the target is the noise.
fn noised_states(shard: &[Drawn], networks: &Networks) -> Result<States> {
    let schedule = networks.reference.schedule();
    let train = schedule.num_train_timesteps();
    let timesteps: Vec<usize> =
        sides(shard).map(|(drawn, _)| ((drawn.place * train as f64) as usize).min(train - 1)).collect();
    let noises =
        sides(shard).map(|(drawn, _)| networks.reference.initial_latent(drawn.noise)).collect::<Result<Vec<_>>>()?;
    let target = Tensor::cat(&noises, 0)?;
    let noisy = schedule.add_noise(&clean_latents(shard, networks)?, &target, &timesteps)?;
    Ok(States { noisy, target, timesteps })
}

impl Networks<'_> {
    fn tensor(&self, values: Vec<f32>, count: usize) -> Result<Tensor> {
        let side = self.reference.latent_size();
        Ok(Tensor::from_vec(values, (count, self.reference.latent_channels(), side, side), self.reference.device())?)
    }

    /// Conditional predictions of policy (with gradient) and reference, `[2p, c, h, w]` each, in one batch shape: the
    /// reference's own outputs are then bit for bit the policy's where the two are the same network.
    fn predict(&self, shard: &[Drawn], states: &States) -> Result<(Tensor, Tensor)> {
        let conditions: Vec<usize> = sides(shard).map(|(drawn, _)| drawn.pair.condition).collect();
        self.predict_under(&self.conditioning.select(&conditions)?, states)
    }

    fn predict_under(&self, conditioning: &Conditioning, states: &States) -> Result<(Tensor, Tensor)> {
        let count = states.timesteps.len();
        let device = self.reference.device();
        let timesteps = Tensor::from_vec(states.timesteps.iter().map(|t| *t as i64).collect(), count, device)?;
        let added = AddedConditioning {
            text_embeds: conditioning.text_embeds.clone(),
            time_ids: self.reference.time_ids(count)?,
        };
        let run = |unet: &UNet2DConditionModel| {
            unet.forward(&states.noisy, &timesteps, &conditioning.encoder_hidden_states, Some(&added))
        };
        Ok((run(self.policy)?, run(self.reference.unet())?.detach()))
    }

    /// Guided predictions of both.
    fn predict_guided(&self, shard: &[Drawn], states: &States, guidance_scale: f64) -> Result<(Tensor, Tensor)> {
        let conditions: Vec<usize> = sides(shard).map(|(drawn, _)| drawn.pair.condition).collect();
        let conditioning = self.conditioning.select(&conditions)?;
        let (policy, reference) = self.predict_under(&conditioning, states)?;
        if guidance_scale == 1.0 {
            return Ok((policy, reference));
        }
        let (policy_without, reference_without) = self.predict_under(&conditioning.unconditional()?, states)?;
        Ok((
            guide(&policy_without, &policy, guidance_scale)?,
            guide(&reference_without, &reference, guidance_scale)?.detach(),
        ))
    }
}
