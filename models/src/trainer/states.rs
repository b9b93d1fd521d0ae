//! The noisy states at which policy and reference are asked, and what their predictions are compared with.

use super::draw::{Drawn, sides};
use super::networks::{Networks, Sides};
use super::trajectory::Trajectory;
use crate::objective::{D3po, Inpo, PathTarget, inversion_dpo};
use crate::scheduler::DdimStep;
use crate::{Error, Result};
use candle_core::Tensor;
use std::sync::Arc;

/// States of the images of a shard, winners first.
pub(super) struct States {
    /// `[b, c, h, w]`.
    pub noisy: Tensor,
    /// What the network is told, one an image.
    pub timesteps: Vec<usize>,
}

/// Paths of winner and loser of each pair, by the number of the pair.
pub(super) type Paths = [[Arc<Trajectory>; 2]];

/// Images with fresh noise, timestep and noise the same on both sides of a pair; the noise is the target.
pub(super) fn noised(shard: &[Drawn], networks: &Networks, of: Sides) -> Result<(States, Tensor)> {
    let schedule = networks.reference.schedule();
    let train = schedule.num_train_timesteps();
    let count = of.count(shard.len());
    let timesteps: Vec<usize> =
        sides(shard).take(count).map(|(drawn, _)| ((drawn.place * train as f64) as usize).min(train - 1)).collect();
    let noise = noises(shard, networks, of, 0)?;
    let noisy = schedule.add_noise(&networks.images(shard, of)?, &noise, &timesteps)?;
    Ok((States { noisy, timesteps }, noise))
}

/// Fresh noise, the same on both sides; `draw` tells several noises of one pair apart.
fn noises(shard: &[Drawn], networks: &Networks, of: Sides, draw: u64) -> Result<Tensor> {
    let noises = sides(shard)
        .take(of.count(shard.len()))
        .map(|(drawn, _)| networks.reference.initial_latent(drawn.noise.wrapping_add(draw)))
        .collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(&noises, 0)?)
}

/// The longest path of a shard.
pub(super) fn longest_path(shard: &[Drawn], paths: &Paths) -> Result<usize> {
    sides(shard).try_fold(0, |longest, (drawn, side)| Ok(longest.max(path(paths, drawn, side)?.timesteps.len())))
}

fn path<'a>(paths: &'a Paths, drawn: &Drawn, side: usize) -> Result<&'a Trajectory> {
    paths
        .get(drawn.index)
        .map(|both| &*both[side])
        .filter(|path| !path.timesteps.is_empty())
        .ok_or_else(|| Error::Training("this objective needs a path for every image".to_owned()))
}

/// States of the reference's paths, each pair at the `i`-th of its `count` places, or on the way from there to the next.
pub(super) fn on_paths(
    shard: &[Drawn],
    networks: &Networks,
    paths: &Paths,
    (i, count): (usize, usize),
    between_steps: bool,
) -> Result<States> {
    let schedule = networks.reference.schedule();
    let mut values = Vec::new();
    let mut timesteps = Vec::with_capacity(2 * shard.len());
    for (drawn, side) in sides(shard) {
        let path = path(paths, drawn, side)?;
        let k = drawn.place_of(i, count, path.timesteps.len());
        let (timestep, state) = if between_steps {
            path.between(k, drawn.share_of(i, count, path.timesteps.len()), schedule)?
        } else {
            (path.timesteps[k], path.state(k)?)
        };
        values.extend(state);
        timesteps.push(timestep);
    }
    Ok(States { noisy: networks.latents(values, 2 * shard.len())?, timesteps })
}

/// The targets at [`on_paths`] of the same arguments.
pub(super) fn path_targets(
    shard: &[Drawn],
    networks: &Networks,
    paths: &Paths,
    (i, count): (usize, usize),
    target: PathTarget,
    states: &States,
) -> Result<Tensor> {
    match target {
        PathTarget::Image => image_targets(shard, networks, states),
        PathTarget::Step => {
            let mut values = Vec::new();
            for (drawn, side) in sides(shard) {
                let path = path(paths, drawn, side)?;
                let k = drawn.place_of(i, count, path.timesteps.len());
                values.extend(path.step_noise(k)?);
            }
            networks.latents(values, 2 * shard.len())
        }
    }
}

/// The noise between each image and its state.
fn image_targets(shard: &[Drawn], networks: &Networks, states: &States) -> Result<Tensor> {
    let schedule = networks.reference.schedule();
    let alphas: Vec<f64> = states.timesteps.iter().map(|t| schedule.alpha_cumprod(*t as i64)).collect::<Result<_>>()?;
    inversion_dpo::target(&states.noisy, &networks.images(shard, Sides::Both)?, &alphas)
}

/// States of DDIM-InPO and their targets: the policy itself inverts the images, without a gradient, each pair to its own
/// timestep. Every image takes part in every step of the shard, so that it does not matter which pairs are beside it.
pub(super) fn inverted_by_policy(shard: &[Drawn], networks: &Networks, objective: &Inpo) -> Result<(States, Tensor)> {
    let schedule = networks.reference.schedule();
    let steps = schedule.ddim_inverse_steps(objective.inversion_steps, objective.inversion_label)?;
    // A step that does not add noise arrives at the image itself, where there is nothing to predict.
    let arrivals: Vec<usize> = (0..steps.len()).filter(|&k| steps[k].alpha < steps[k].source_alpha).collect();
    let ends: Vec<usize> = sides(shard)
        .map(|(drawn, _)| arrivals.get(drawn.place_of(0, 1, arrivals.len())).copied())
        .collect::<Option<_>>()
        .ok_or_else(|| Error::Invalid("an inversion of so few steps adds no noise".to_owned()))?;
    let conditions = networks.conditions(shard, Sides::Both)?;
    let mut states = networks.images(shard, Sides::Both)?;
    let mut arrived = vec![None; ends.len()];
    for (k, step) in steps.iter().enumerate().take(ends.iter().max().map_or(0, |last| last + 1)) {
        let at = States { noisy: states.clone(), timesteps: vec![step.label; ends.len()] };
        states = step.next(&states, &networks.policy_only(&at, &conditions)?)?.detach();
        for (image, _) in ends.iter().enumerate().filter(|(_, end)| **end == k) {
            arrived[image] = Some(states.get(image)?);
        }
    }
    let arrived: Vec<Tensor> = arrived.into_iter().flatten().collect();
    let timesteps = ends.iter().map(|&end| steps[end].timestep).collect();
    let states = States { noisy: Tensor::stack(&arrived, 0)?, timesteps };
    let target = image_targets(shard, networks, &states)?;
    with_fresh_noise(shard, networks, (states, target), objective.eta, 0)
}

/// States between image and `target` whose noise is in part a fresh one, the same on both sides of a pair: the noise is then
/// √(1 − η²) ε* + η ε, which keeps its variance. `draw` tells several noises of one pair apart.
pub(super) fn with_fresh_noise(
    shard: &[Drawn],
    networks: &Networks,
    (states, target): (States, Tensor),
    eta: f64,
    draw: u64,
) -> Result<(States, Tensor)> {
    if eta == 0.0 {
        return Ok((states, target));
    }
    let fresh = noises(shard, networks, Sides::Both, draw)?;
    let target = ((target * (1.0 - eta.powi(2)).sqrt())? + (fresh * eta)?)?;
    let images = networks.images(shard, Sides::Both)?;
    let noisy = networks.reference.schedule().add_noise(&images, &target, &states.timesteps)?;
    Ok((States { noisy, ..states }, target))
}

/// States of D3PO, each with the state after it and the step between them, drawn from the process that ends in the image.
pub(super) fn stochastic_steps(
    shard: &[Drawn],
    networks: &Networks,
    objective: &D3po,
) -> Result<(States, Tensor, Vec<DdimStep>)> {
    let schedule = networks.reference.schedule();
    let all = schedule.ddim_steps(objective.num_inference_steps, objective.eta)?;
    let with_noise: Vec<DdimStep> = all.into_iter().filter(|step| step.sigma > 0.0).collect();
    let mut steps = Vec::with_capacity(2 * shard.len());
    for (drawn, _) in sides(shard) {
        let step = with_noise.get(drawn.place_of(0, 1, with_noise.len()));
        steps.push(*step.ok_or_else(|| Error::Invalid("a sampler of so few steps adds no noise".to_owned()))?);
    }
    let images = networks.images(shard, Sides::Both)?;
    // One noise for the state and one for the step, as the process has it.
    let (first, second) = (noises(shard, networks, Sides::Both, 0)?, noises(shard, networks, Sides::Both, 1)?);
    let timesteps: Vec<usize> = steps.iter().map(|step| step.timestep).collect();
    let noisy = schedule.add_noise(&images, &first, &timesteps)?;
    let column = |of: fn(&DdimStep) -> f64| -> Result<Tensor> {
        let values: Vec<f32> = steps.iter().map(|step| of(step) as f32).collect();
        Ok(Tensor::from_vec(values, (steps.len(), 1, 1, 1), images.device())?)
    };
    // x_s = √ᾱ(s) x₀ + √(1 − ᾱ(s) − σ²) ε + σ noise
    let next = (images.broadcast_mul(&column(|step| step.previous_alpha.sqrt())?)?
        + first.broadcast_mul(&column(|step| (1.0 - step.previous_alpha - step.sigma.powi(2)).max(0.0).sqrt())?)?)?;
    let next = (next + second.broadcast_mul(&column(|step| step.sigma)?)?)?;
    Ok((States { noisy, timesteps }, next, steps))
}
