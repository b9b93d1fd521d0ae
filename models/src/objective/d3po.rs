//! D3PO: Yang et al. 2023, arXiv 2311.13231, and its released code: DPO on the exact likelihoods of single sampling steps.
//!
//! A step of the stochastic sampler (DDIM with η > 0) is normal: p_θ(x_s | x_t) = N(μ_θ, σ² I), with μ_θ the mean of
//! DDIM's equation 12 under the guided prediction. So its likelihood is exact, and
//!
//! z = β (log ρ_w − log ρ_l), ρ = clip(p_θ(x_s | x_t)/p_ref(x_s | x_t), 1 − c, 1 + c),
//! log p(x_s | x_t) = −mean (x_s − μ)²/(2 σ²) + constant,
//!
//! the mean over the elements as in the script (which has it from DDPO), one step of a path a pair. Where the ratio is
//! clipped there is no gradient: a step moves the policy by a bounded amount, whatever the size of σ.
//!
//! The path is drawn from the process that ends in the image: x_t from q(x_t | x₀), then x_s from q_σ(x_s | x_t, x₀)
//! (DDIM's equation 7 with the same η), the law of the sampler's own path given where it ended, were the network exact.
//! So any pair can be learned from, not only images that were sampled with this η.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::positive;
use crate::scheduler::DdimStep;
use crate::{Error, Result};

/// Settings of D3PO; the defaults are its script's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct D3po {
    /// β; 0.1 in the script, where z is of the size of c.
    pub beta: f64,
    /// c.
    pub clip: f64,
    /// Steps of the sampler.
    pub num_inference_steps: usize,
    /// Guidance of policy and reference.
    pub guidance_scale: f64,
    /// η of the sampler; 1 is ancestral sampling.
    pub eta: f64,
}

impl Default for D3po {
    fn default() -> Self {
        Self { beta: 0.1, clip: 0.1, num_inference_steps: 20, guidance_scale: 5., eta: 1. }
    }
}

impl D3po {
    pub(super) fn validate(&self) -> Result<()> {
        positive("beta", self.beta)?;
        if !(self.clip > 0. && self.clip < 1.) {
            return Err(Error::Invalid(format!("`objective.clip` must lie between 0 and 1, not {}", self.clip)));
        }
        if !(self.eta > 0. && self.eta <= 1.) {
            // Without noise a step has no density.
            return Err(Error::Invalid(format!("`objective.eta` must be above 0 and at most 1, not {}", self.eta)));
        }
        if self.num_inference_steps < 2 {
            return Err(Error::Invalid("`objective.num_inference_steps` must be at least 2".to_owned()));
        }
        if !self.guidance_scale.is_finite() {
            return Err(Error::Invalid("`objective.guidance_scale` must be a number".to_owned()));
        }
        Ok(())
    }
}

/// Logarithm of the density of a step up to a constant, divided by the number of elements: `[b]`.
///
/// # Shapes
/// `state` (x_t), `next` (x_s) and `output` (of the network at x_t) `[b, …]`; `steps` one for each of the b.
///
/// # Errors
/// The shapes do not agree, a step without noise, or one that clips x₀.
pub fn log_likelihood(steps: &[DdimStep], state: &Tensor, next: &Tensor, output: &Tensor) -> Result<Tensor> {
    if let Some(step) = steps.iter().find(|step| step.sigma <= 0.) {
        return Err(Error::Invalid(format!("the step from timestep {} has no noise, so no density", step.timestep)));
    }
    if steps.iter().any(|step| step.clip.is_some()) {
        let message = "d3po needs a scheduler without `clip_sample`: with it the density of a step has kinks";
        return Err(Error::Invalid(message.to_owned()));
    }
    let column = |of: fn(&DdimStep) -> f64| super::column(steps.iter().map(of), state);
    let mean = (state.broadcast_mul(&column(|step| step.sample_weight)?)?
        + output.broadcast_mul(&column(|step| step.output_weight)?)?)?;
    let scaled = (next - mean)?.broadcast_mul(&column(|step| 1. / step.sigma)?)?;
    Ok((scaled.sqr()?.flatten_from(1)?.mean(1)? * -0.5)?)
}

/// log clip(exp(policy − reference), 1 − c, 1 + c), `[b]`.
///
/// # Errors
/// The shapes do not agree.
pub fn clipped_log_ratio(policy: &Tensor, reference: &Tensor, clip: f64) -> Result<Tensor> {
    let ratio = (policy - reference.detach())?;
    // The logarithm is monotone: clipping it clips the ratio, and cannot overflow.
    let (low, high) = ((1. - clip).ln(), (1. + clip).ln());
    // Written out since candle's `clamp` passes the gradient where it clips: high − relu(high − low − relu(ratio − low)).
    let above = (ratio - low)?.relu()?;
    Ok((high - ((high - low) - above)?.relu()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{NoiseSchedule, SchedulerConfig};
    use candle_core::{Device, Var};

    #[test]
    fn a_step_has_the_density_of_its_normal() {
        let schedule = NoiseSchedule::new(SchedulerConfig::stable_diffusion()).unwrap();
        let steps = schedule.ddim_steps(20, 1.).unwrap();
        let (step, last) = (steps[3], steps[19]);
        let row = |values: [f64; 2]| Tensor::new(&[values], &Device::Cpu).unwrap();
        let (state, output, next) = ([0.4, -1.1], [0.7, 0.2], [0.5, -0.9]);
        let found =
            log_likelihood(&[step], &row(state), &row(next), &row(output)).unwrap().to_vec1::<f64>().unwrap()[0];
        let mean = |i: usize| step.sample_weight * state[i] + step.output_weight * output[i];
        let by_hand = (0..2).map(|i| -(next[i] - mean(i)).powi(2) / (2. * step.sigma.powi(2))).sum::<f64>() / 2.;
        assert!((found - by_hand).abs() < 1e-5 * by_hand.abs(), "{found} {by_hand}");
        assert!(log_likelihood(&[last], &row(state), &row(next), &row(output)).is_err());
    }

    #[test]
    fn beyond_the_clip_nothing_pulls() {
        let policy = Var::new(&[0f64, 0.05, 0.4, -0.4, 800.], &Device::Cpu).unwrap();
        let reference = Tensor::zeros_like(policy.as_tensor()).unwrap();
        let ratio = clipped_log_ratio(policy.as_tensor(), &reference, 0.1).unwrap();
        let expected = [0., 0.05, 1.1f64.ln(), 0.9f64.ln(), 1.1f64.ln()];
        for (found, expected) in ratio.to_vec1::<f64>().unwrap().into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        let gradients = ratio.sum_all().unwrap().backward().unwrap();
        assert_eq!(gradients.get(policy.as_tensor()).unwrap().to_vec1::<f64>().unwrap(), [1., 1., 0., 0., 0.]);
    }
}
