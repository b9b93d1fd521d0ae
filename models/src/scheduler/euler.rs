//! Euler's sampler, SDXL's default: Karras et al. 2022, arXiv 2206.00364, algorithm 2 without churn;
//! `diffusers/schedulers/scheduling_euler_discrete.py`.
//!
//! In the scale x̃ = x/√ᾱ, with σ = √((1 − ᾱ)/ᾱ), a step is x̃ ← x̃ + (σ' − σ) ε. The network sees x̃/√(σ² + 1).

use candle_core::Tensor;

use super::{NoiseSchedule, PredictionType, TimestepSpacing, weighted_sum};
use crate::config::refuse;
use crate::{Error, Result};

const FILE: &str = "scheduler_config.json";
/// ᾱ of a last timestep that would be 0: the least number in f16, as in the reference.
const LEAST_ALPHA: f64 = 1. / 16_777_216.;

/// All steps, from noise to image.
#[derive(Clone, Debug, PartialEq)]
pub struct EulerSteps {
    /// What standard normal noise is multiplied by first.
    pub initial_sigma: f64,
    /// In their order.
    pub steps: Vec<EulerStep>,
}

/// One step, as plain numbers: `previous = sample_weight · sample + output_weight · output`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EulerStep {
    /// The network's label; with `linspace` between two training timesteps.
    pub timestep: f64,
    /// σ of the sample.
    pub sigma: f64,
    /// σ of the result.
    pub next_sigma: f64,
    pub sample_weight: f64,
    pub output_weight: f64,
}

impl EulerStep {
    /// What the network is given.
    ///
    /// # Errors
    /// Candle's.
    pub fn model_input(&self, sample: &Tensor) -> Result<Tensor> {
        Ok(sample.affine(1. / (self.sigma * self.sigma + 1.).sqrt(), 0.)?)
    }

    /// The cleaner sample.
    ///
    /// # Errors
    /// The shapes do not agree.
    pub fn previous(&self, sample: &Tensor, output: &Tensor) -> Result<Tensor> {
        weighted_sum(sample, output, (self.sample_weight, self.output_weight))
    }
}

impl NoiseSchedule {
    /// The steps of Euler's sampler.
    ///
    /// # Errors
    /// No step at all, more than training timesteps, or a variant that is not implemented (Karras' and other spacings
    /// of σ, interpolation in log σ, continuous timesteps).
    pub fn euler_steps(&self, num_inference_steps: usize) -> Result<EulerSteps> {
        let last_is_zero = self.check_euler()?;
        let train = self.num_train_timesteps();
        let spacing = self.config().timestep_spacing.unwrap_or(TimestepSpacing::Linspace);
        let timesteps: Vec<f64> = match spacing {
            // Not rounded, other than DDIM's.
            TimestepSpacing::Linspace if num_inference_steps > 0 && num_inference_steps <= train => {
                let mut timesteps = super::linspace(0., (train - 1) as f64, num_inference_steps);
                timesteps.reverse();
                timesteps
            }
            spacing => self.spaced_timesteps(num_inference_steps, spacing)?.into_iter().map(|t| t as f64).collect(),
        };
        let sigmas: Vec<f64> = self.alphas_cumprod.iter().map(|&alpha| sigma(alpha)).collect();
        let at = |timestep: f64| -> Result<f64> {
            let low = timestep.floor() as usize;
            let (Some(&a), share) = (sigmas.get(low), timestep.fract()) else {
                return Err(Error::Invalid(format!(
                    "timestep {timestep} is beyond the schedule's last, {}",
                    train - 1
                )));
            };
            let b = sigmas.get(low + 1).copied().unwrap_or(a);
            Ok(a + share * (b - a))
        };
        let mut levels = timesteps.iter().map(|&t| at(t)).collect::<Result<Vec<f64>>>()?;
        levels.push(if last_is_zero { 0. } else { sigmas.first().copied().unwrap_or_default() });
        let largest = levels.iter().copied().fold(0., f64::max);
        let steps = timesteps
            .iter()
            .zip(levels.windows(2))
            .map(|(&timestep, pair)| {
                let (sigma, next_sigma) = (pair[0], pair[1]);
                let (length, square) = (next_sigma - sigma, sigma * sigma + 1.);
                let (sample_weight, output_weight) = match self.config().prediction_type {
                    PredictionType::Epsilon => (1., length),
                    PredictionType::VPrediction => (1. + length * sigma / square, length / square.sqrt()),
                };
                EulerStep { timestep, sigma, next_sigma, sample_weight, output_weight }
            })
            .collect();
        let initial_sigma = match spacing {
            TimestepSpacing::Leading => (largest * largest + 1.).sqrt(),
            TimestepSpacing::Linspace | TimestepSpacing::Trailing => largest,
        };
        Ok(EulerSteps { initial_sigma, steps })
    }

    /// Refuses variants; whether the last σ is 0.
    fn check_euler(&self) -> Result<bool> {
        let other = &self.config().other;
        for key in ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"] {
            if other.get(key).is_some_and(|value| value == true) {
                return refuse(FILE, key, "is not implemented; must be false");
            }
        }
        for (key, only) in [("interpolation_type", "linear"), ("timestep_type", "discrete")] {
            if let Some(value) = other.get(key).filter(|value| !value.is_null() && *value != only) {
                return refuse(FILE, key, format!("{value} is not implemented; only `{only}` is"));
            }
        }
        match other.get("final_sigmas_type").and_then(|value| value.as_str()) {
            None | Some("zero") => Ok(true),
            Some("sigma_min") => Ok(false),
            Some(value) => refuse(FILE, "final_sigmas_type", format!("`{value}` is not known")),
        }
    }
}

fn sigma(alpha: f64) -> f64 {
    let alpha = if alpha > 0. { alpha } else { LEAST_ALPHA };
    ((1. - alpha) / alpha).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::SchedulerConfig;

    #[test]
    fn a_step_is_ddims_in_another_scale() {
        let config = SchedulerConfig {
            timestep_spacing: Some(TimestepSpacing::Trailing),
            ..SchedulerConfig::stable_diffusion()
        };
        let schedule = NoiseSchedule::new(config).unwrap();
        let euler = schedule.euler_steps(10).unwrap();
        let ddim = schedule.ddim_steps(10, 0.).unwrap();
        for (e, d) in euler.steps.iter().zip(&ddim).take(9) {
            let (x, epsilon) = (0.7, -1.2);
            let by_ddim = d.sample_weight * x + d.output_weight * epsilon;
            let by_euler = e.sample_weight * x / d.alpha.sqrt() + e.output_weight * epsilon;
            assert!((by_euler * d.previous_alpha.sqrt() - by_ddim).abs() < 1e-12);
        }
        assert_eq!(euler.steps[9].next_sigma, 0.);
    }

    #[test]
    fn variants_are_refused_by_key() {
        let config: SchedulerConfig = serde_json::from_str(
            r#"{"_class_name":"EulerDiscreteScheduler","clip_sample":false,"use_karras_sigmas":true}"#,
        )
        .unwrap();
        let error = NoiseSchedule::new(config).unwrap().euler_steps(10).unwrap_err();
        assert!(error.to_string().contains("use_karras_sigmas"), "{error}");
    }
}
