//! The loss of a batch and its gradient, in the memory of one timestep.
//!
//! A pair is asked at one or several timesteps t of its states; each gives a part z_t of its logit. Where every timestep has
//! a loss of its own, L = (1/K) Σ_t f(z_t), the gradient is gathered one timestep at a time as it is. Where one loss goes
//! over the sum, L = f(Σ_t z_t), the gradient is f'(Σ_t z_t) · Σ_t ∇z_t: the gradients of the parts are gathered in the same
//! pass that sums the parts, and scaled by the slope at the end. Nothing is computed twice, and memory does not grow with
//! the number of timesteps (published scripts keep the graphs of all of them).

use super::data_parallel;
use super::draw::Drawn;
use super::gradients::Gradients;
use super::networks::{Networks, Sides};
use super::settings::TrainerSettings;
use super::states::{self, States};
use super::trajectory::Trajectory;
use crate::objective::{
    InversionDpo, InversionDpoPublished, ObjectiveSettings, PairErrors, PairSummary, TimestepReduction, d3po,
    four_term_logits, mean_squared_errors, summarize,
};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;

/// Pairs that a thread works on at a time; fixed, so that sums come out the same on every machine.
const PAIRS_PER_SHARD: usize = 4;

/// An objective with its share of the loss and the paths that it needs.
pub(super) struct Component {
    pub objective: ObjectiveSettings,
    pub weight: f64,
    /// Of winner and loser of each pair; empty where the objective needs none.
    pub paths: Vec<[Arc<Trajectory>; 2]>,
}

/// What a step comes to.
#[derive(Default)]
pub(super) struct Outcome {
    pub gradients: Gradients,
    pub loss: f64,
    /// Absent for objectives without logits.
    pub pairs: Option<PairSummary>,
    /// Mean square of ε_θ − ε_ref.
    pub drift: f64,
}

/// What a shard reports beside its gradients; all of it is where the networks are, and read once a batch.
#[derive(Default)]
struct Report {
    gradients: Gradients,
    /// One for each loss.
    logits: Vec<Tensor>,
    /// Losses that have no logit.
    losses: Vec<Tensor>,
    /// Of each batch of predictions: sum over the pairs of the mean square of ε_θ − ε_ref.
    drifts: Vec<Tensor>,
}

impl Report {
    fn add(&mut self, other: Self) -> Result<()> {
        self.gradients.add(other.gradients)?;
        self.logits.extend(other.logits);
        self.losses.extend(other.losses);
        self.drifts.extend(other.drifts);
        Ok(())
    }
}

/// Loss and gradient of `objective` on the pairs `drawn`.
pub(super) fn of_batch(
    networks: &Networks,
    settings: &TrainerSettings,
    objective: &ObjectiveSettings,
    component: &Component,
    drawn: &[Drawn],
) -> Result<Outcome> {
    // An accelerator is filled by one shard, and has no room for the gradients of several.
    let one_by_one = !networks.reference.device().is_cpu();
    of_shards(networks, settings, objective, component, drawn, one_by_one)
}

/// As [`of_batch`]; shards go `one_by_one`, or each on a thread of its own.
pub(super) fn of_shards(
    networks: &Networks,
    settings: &TrainerSettings,
    objective: &ObjectiveSettings,
    component: &Component,
    drawn: &[Drawn],
    one_by_one: bool,
) -> Result<Outcome> {
    let asked = Asked { networks, settings, objective, component, total: drawn.len() as f64 };
    let pairs_per_shard = if asked.loss_of_sum() { 1 } else { PAIRS_PER_SHARD };
    let shards: Vec<&[Drawn]> = drawn.chunks(pairs_per_shard).collect();
    let mut whole = Report::default();
    if one_by_one {
        shards.iter().try_for_each(|shard| asked.ask(shard, &mut whole))?;
    } else {
        for round in shards.chunks(settings.batch_size.div_ceil(pairs_per_shard)) {
            let reports = data_parallel::map(networks.reference.device(), round, |shard| {
                let mut report = Report::default();
                asked.ask(shard, &mut report)?;
                Ok(report)
            })?;
            reports.into_iter().try_for_each(|report| whole.add(report))?;
        }
    }
    let mean = |of: &[Tensor]| Ok::<_, Error>(numbers(of)?.into_iter().sum::<f64>() / asked.total);
    let (logits, losses, drift) = (numbers(&whole.logits)?, mean(&whole.losses)?, mean(&whole.drifts)?);
    let pairs = (!logits.is_empty()).then(|| summarize(&logits, settings.preference));
    Ok(Outcome { gradients: whole.gradients, loss: pairs.map_or(losses, |pairs| pairs.loss), pairs, drift })
}

/// All values, in order.
fn numbers(of: &[Tensor]) -> Result<Vec<f64>> {
    if of.is_empty() {
        return Ok(Vec::new());
    }
    let flat = of.iter().map(Tensor::flatten_all).collect::<candle_core::Result<Vec<_>>>()?;
    Ok(Tensor::cat(&flat, 0)?.to_dtype(DType::F64)?.to_vec1()?)
}

/// An objective at work on a batch.
struct Asked<'a> {
    networks: &'a Networks<'a>,
    settings: &'a TrainerSettings,
    objective: &'a ObjectiveSettings,
    component: &'a Component,
    total: f64,
}

impl Asked<'_> {
    /// Whether one loss goes over several timesteps.
    fn loss_of_sum(&self) -> bool {
        match self.objective {
            ObjectiveSettings::InversionDpo(InversionDpo { num_timesteps, timestep_reduction, .. }) => {
                *num_timesteps != 1 && *timestep_reduction == TimestepReduction::Sum
            }
            ObjectiveSettings::InversionDpoPublished(_) | ObjectiveSettings::InversionDpoOfficial(_) => true,
            _ => false,
        }
    }

    /// Timesteps that each pair of a shard is asked at.
    fn num_timesteps(&self, shard: &[Drawn]) -> Result<usize> {
        match self.objective {
            ObjectiveSettings::InversionDpo(InversionDpo { num_timesteps: 1, .. }) => Ok(1),
            ObjectiveSettings::InversionDpo(objective) => {
                let longest = states::longest_path(shard, &self.component.paths)?;
                Ok(if objective.num_timesteps == 0 { longest } else { objective.num_timesteps.min(longest) })
            }
            ObjectiveSettings::InversionDpoPublished(_) | ObjectiveSettings::InversionDpoOfficial(_) => {
                states::longest_path(shard, &self.component.paths)
            }
            _ => Ok(1),
        }
    }

    /// Adds what there is to say of a shard to `report`.
    fn ask(&self, shard: &[Drawn], report: &mut Report) -> Result<()> {
        match self.objective {
            ObjectiveSettings::Sft(_) => self.winners(shard, report),
            _ if self.loss_of_sum() => self.sum(shard, report),
            _ => self.each(shard, report),
        }
    }

    /// A loss for each timestep of each pair.
    fn each(&self, shard: &[Drawn], report: &mut Report) -> Result<()> {
        let count = self.num_timesteps(shard)?;
        for i in 0..count {
            let (logits, drift) = self.logits(shard, (i, count))?;
            let loss = (self.settings.preference.losses(&logits)?.sum_all()? / (self.total * count as f64))?;
            report.gradients.gather(self.networks.vars, &loss)?;
            report.logits.push(logits.detach());
            report.drifts.push((drift / count as f64)?);
        }
        Ok(())
    }

    /// One loss for all timesteps of a pair; the shard is a single pair, since each has a slope of its own.
    fn sum(&self, shard: &[Drawn], report: &mut Report) -> Result<()> {
        let count = self.num_timesteps(shard)?;
        // The parts of a four-term logit are each as large as the whole; those of a published one have their weights.
        let share = if self.objective.two_term().is_some() { 1.0 } else { 1.0 / count as f64 };
        let mut gradients = Gradients::default();
        let mut parts_of_logit = Vec::with_capacity(count);
        for i in 0..count {
            let (parts, drift) = self.logits(shard, (i, count))?;
            let part = (parts.sum_all()? * share)?;
            gradients.gather(self.networks.vars, &part)?;
            parts_of_logit.push(part.detach());
            report.drifts.push((drift / count as f64)?);
        }
        let logit: f64 = numbers(&parts_of_logit)?.into_iter().sum();
        gradients.scale(self.settings.preference.slope(logit) / self.total)?;
        report.gradients.add(gradients)?;
        report.logits.push(Tensor::new(&[logit], &Device::Cpu)?);
        Ok(())
    }

    /// No pairs: the loss of the winners alone.
    fn winners(&self, shard: &[Drawn], report: &mut Report) -> Result<()> {
        let (states, target) = states::noised(shard, self.networks, Sides::Winners)?;
        let conditions = self.networks.conditions(shard, Sides::Winners)?;
        let (policy, reference) = self.networks.predict(&states, &conditions, 1.0)?;
        let losses = mean_squared_errors(&policy, &target)?.sum_all()?;
        report.gradients.gather(self.networks.vars, &(&losses / self.total)?)?;
        report.losses.push(losses.detach());
        report.drifts.push(drift(&policy, &reference, shard.len())?);
        Ok(())
    }

    /// The part of each pair's logit at the `i`-th of its `count` timesteps, `[p]`, and the sum of its drifts.
    fn logits(&self, shard: &[Drawn], place: (usize, usize)) -> Result<(Tensor, Tensor)> {
        let (networks, paths) = (self.networks, &self.component.paths);
        match self.objective {
            ObjectiveSettings::DiffusionDpo(objective) => {
                let (states, target) = states::noised(shard, networks, Sides::Both)?;
                self.four_term(shard, &states, &target, objective.beta)
            }
            ObjectiveSettings::InversionDpo(objective) => {
                let states = states::on_paths(shard, networks, paths, place, objective.between_steps)?;
                let target = states::path_targets(shard, networks, paths, place, objective.target, &states)?;
                let noised = (states, target);
                let (states, target) =
                    states::with_fresh_noise(shard, networks, noised, objective.eta, place.0 as u64)?;
                self.four_term(shard, &states, &target, objective.beta)
            }
            ObjectiveSettings::Inpo(objective) => {
                let (states, target) = states::inverted_by_policy(shard, networks, objective)?;
                self.four_term(shard, &states, &target, objective.beta)
            }
            ObjectiveSettings::InversionDpoPublished(_)
            | ObjectiveSettings::InversionDpoOfficial(_)
            | ObjectiveSettings::SingleTimestep(_) => {
                let objective = self.objective.two_term().ok_or_else(unpaired)?;
                self.two_term(shard, place, &objective)
            }
            ObjectiveSettings::D3po(objective) => {
                let (states, next, steps) = states::stochastic_steps(shard, networks, objective)?;
                let conditions = networks.conditions(shard, Sides::Both)?;
                let (policy, reference) = networks.predict(&states, &conditions, objective.guidance_scale)?;
                let likelihood = |output: &Tensor| d3po::log_likelihood(&steps, &states.noisy, &next, output);
                let ratios = d3po::clipped_log_ratio(&likelihood(&policy)?, &likelihood(&reference)?, objective.clip)?;
                let (winner, loser) = halves(&ratios)?;
                Ok((((winner - loser)? * objective.beta)?, drift(&policy, &reference, shard.len())?))
            }
            ObjectiveSettings::Sft(_) | ObjectiveSettings::Mixture(_) => Err(unpaired()),
        }
    }

    fn four_term(&self, shard: &[Drawn], states: &States, target: &Tensor, beta: f64) -> Result<(Tensor, Tensor)> {
        let conditions = self.networks.conditions(shard, Sides::Both)?;
        let (policy, reference) = self.networks.predict(states, &conditions, 1.0)?;
        let (winner, loser) = halves(&mean_squared_errors(&policy, target)?)?;
        let (winner_reference, loser_reference) = halves(&mean_squared_errors(&reference, target)?)?;
        let logits = four_term_logits(&PairErrors { winner, winner_reference, loser, loser_reference }, beta)?;
        Ok((logits, drift(&policy, &reference, shard.len())?))
    }

    fn two_term(
        &self,
        shard: &[Drawn],
        (i, count): (usize, usize),
        objective: &InversionDpoPublished,
    ) -> Result<(Tensor, Tensor)> {
        let networks = self.networks;
        let states = states::on_paths(shard, networks, &self.component.paths, (i, count), false)?;
        let conditions = networks.conditions(shard, Sides::Both)?;
        let (policy, reference) = networks.predict(&states, &conditions, objective.guidance_scale)?;
        let distances = mean_squared_errors(&policy, &reference)?;
        let schedule = networks.reference.schedule();
        let elements = networks.reference.latent_channels() * networks.reference.latent_size().pow(2);
        let weights = states.timesteps[..shard.len()]
            .iter()
            .map(|timestep| {
                let alpha = schedule.alpha_cumprod(*timestep as i64)?;
                Ok(objective.term_weight(alpha, count, elements) as f32)
            })
            .collect::<Result<Vec<f32>>>()?;
        let weights = Tensor::from_vec(weights, shard.len(), distances.device())?;
        let (winner, loser) = halves(&distances)?;
        Ok((((winner - loser)? * weights)?, drift(&policy, &reference, shard.len())?))
    }
}

/// Winners and losers of `[2p]`.
fn halves(values: &Tensor) -> Result<(Tensor, Tensor)> {
    let pairs = values.dim(0)? / 2;
    Ok((values.narrow(0, 0, pairs)?, values.narrow(0, pairs, pairs)?))
}

/// Sum over the pairs of the mean square of the difference.
fn drift(policy: &Tensor, reference: &Tensor, pairs: usize) -> Result<Tensor> {
    Ok((mean_squared_errors(&policy.detach(), reference)?.mean_all()? * pairs as f64)?)
}

fn unpaired() -> Error {
    Error::Training("this objective has no logit of a pair".to_owned())
}
