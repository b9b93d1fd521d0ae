//! DDIM sampling: Song et al. 2021, arXiv 2010.02502, equations 12 and 16; `DDIMScheduler.step` of diffusers.
//!
//! With x₀ and ε estimated from the sample x_t and the network's output,
//! x_s = √ᾱ(s) x₀ + √(1 − ᾱ(s) − σ²) ε + σ·noise, σ = η √((1 − ᾱ(s))/(1 − ᾱ(t))) √(1 − ᾱ(t)/ᾱ(s)).
//! With `clip_sample` x₀ is clipped first; ε stays that of the network.

use candle_core::Tensor;

use super::{NoiseSchedule, estimates, weighted_sum};
use crate::{Error, Result};

/// One step of a DDIM sampler, as plain numbers: `previous = sample_weight · sample + output_weight · output + sigma · noise`,
/// unless x₀ is clipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DdimStep {
    /// Training timestep of the sample, and the network's label.
    pub timestep: usize,
    /// Training timestep of the result; negative: the image.
    pub previous_timestep: i64,
    /// ᾱ of the sample.
    pub alpha: f64,
    /// ᾱ of the result.
    pub previous_alpha: f64,
    pub sample_weight: f64,
    pub output_weight: f64,
    /// Deviation of the fresh noise; 0 for η = 0.
    pub sigma: f64,
    /// Bound of x₀, where it is clipped; the step is then not linear in sample and output.
    pub clip: Option<f64>,
    original_weights: (f64, f64),
    epsilon_weights: (f64, f64),
    /// Shares of x₀ and ε in the result.
    shares: (f64, f64),
}

impl DdimStep {
    /// `sample_weight · sample + output_weight · output`: the previous sample where `sigma` is 0, else its mean.
    ///
    /// # Errors
    /// The shapes do not agree.
    pub fn previous(&self, sample: &Tensor, output: &Tensor) -> Result<Tensor> {
        if let Some(bound) = self.clip {
            let original = weighted_sum(sample, output, self.original_weights)?.clamp(-bound, bound)?;
            return weighted_sum(&original, &self.epsilon(sample, output)?, self.shares);
        }
        weighted_sum(sample, output, (self.sample_weight, self.output_weight))
    }

    /// The ε that the network's output stands for: the output itself, or from v-prediction.
    ///
    /// # Errors
    /// The shapes do not agree.
    pub fn epsilon(&self, sample: &Tensor, output: &Tensor) -> Result<Tensor> {
        match self.epsilon_weights {
            (0., 1.) => Ok(output.clone()),
            weights => weighted_sum(sample, output, weights),
        }
    }
}

impl NoiseSchedule {
    /// The steps of a DDIM sampler in their order, from noise to image.
    ///
    /// # Errors
    /// As [`NoiseSchedule::timesteps`]; ε-prediction at a timestep where nothing of the image is left.
    pub fn ddim_steps(&self, num_inference_steps: usize, eta: f64) -> Result<Vec<DdimStep>> {
        let timesteps = self.timesteps(num_inference_steps)?;
        timesteps.into_iter().map(|timestep| self.ddim_step(timestep, num_inference_steps, eta)).collect()
    }

    fn ddim_step(&self, timestep: usize, num_inference_steps: usize, eta: f64) -> Result<DdimStep> {
        let previous_timestep = self.previous_timestep(timestep, num_inference_steps);
        let alpha = self.alpha_cumprod(timestep as i64)?;
        let previous_alpha = self.alpha_cumprod(previous_timestep)?;
        let sigma = match eta {
            0. => 0.,
            _ => eta * ((1. - previous_alpha) / (1. - alpha) * (1. - alpha / previous_alpha)).max(0.).sqrt(),
        };
        let (original, epsilon) = estimates(self.config().prediction_type, alpha);
        let to_original = previous_alpha.sqrt();
        let to_epsilon = (1. - previous_alpha - sigma * sigma).max(0.).sqrt();
        let step = DdimStep {
            timestep,
            previous_timestep,
            alpha,
            previous_alpha,
            sample_weight: to_original * original.0 + to_epsilon * epsilon.0,
            output_weight: to_original * original.1 + to_epsilon * epsilon.1,
            sigma,
            clip: self.clip_range(),
            original_weights: original,
            epsilon_weights: epsilon,
            shares: (to_original, to_epsilon),
        };
        if step.sample_weight.is_finite() && step.output_weight.is_finite() && sigma.is_finite() {
            Ok(step)
        } else {
            Err(Error::Config {
                path: "scheduler_config.json".into(),
                key: "prediction_type".to_owned(),
                message: format!("epsilon says nothing of the image at timestep {timestep}, where its share is 0"),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{PredictionType, SchedulerConfig};

    #[test]
    fn a_step_has_the_weights_of_the_formula() {
        let schedule = NoiseSchedule::new(SchedulerConfig::stable_diffusion()).unwrap();
        let step = schedule.ddim_steps(20, 0.).unwrap()[0];
        assert_eq!((step.timestep, step.previous_timestep), (950, 900));
        let (a, s) = (step.alpha, step.previous_alpha);
        // Equation 12 by hand for x = 2, ε = 3.
        let original = (2. - (1. - a).sqrt() * 3.) / a.sqrt();
        let expected = s.sqrt() * original + (1. - s).sqrt() * 3.;
        assert!((2. * step.sample_weight + 3. * step.output_weight - expected).abs() < 1e-12);
        assert_eq!(step.sigma, 0.);
        let last = schedule.ddim_steps(20, 0.).unwrap()[19];
        assert_eq!((last.timestep, last.previous_timestep, last.previous_alpha), (0, -50, last.alpha));
    }

    #[test]
    fn the_estimate_of_the_image_is_clipped_and_epsilon_is_not() {
        let config =
            SchedulerConfig { clip_sample: Some(true), clip_sample_range: 0.5, ..SchedulerConfig::stable_diffusion() };
        let step = NoiseSchedule::new(config).unwrap().ddim_steps(20, 0.).unwrap()[12];
        let (a, s) = (step.alpha, step.previous_alpha);
        let device = candle_core::Device::Cpu;
        // x₀ of 0.25 stays, of −3 becomes −0.5.
        let (originals, noise) = ([0.25, -3.], 0.7);
        let sample = originals.map(|original| a.sqrt() * original + (1. - a).sqrt() * noise);
        let sample = Tensor::new(&sample, &device).unwrap();
        let previous = step.previous(&sample, &Tensor::new(&[noise; 2], &device).unwrap()).unwrap();
        for (found, original) in previous.to_vec1::<f64>().unwrap().into_iter().zip([0.25, -0.5]) {
            assert!((found - (s.sqrt() * original + (1. - s).sqrt() * noise)).abs() < 1e-9, "{found}");
        }
    }

    #[test]
    fn eta_adds_noise_and_keeps_the_variance() {
        let schedule = NoiseSchedule::new(SchedulerConfig::stable_diffusion()).unwrap();
        let step = schedule.ddim_steps(20, 1.).unwrap()[3];
        let (a, s) = (step.alpha, step.previous_alpha);
        let variance = (1. - s) / (1. - a) * (1. - a / s);
        assert!((step.sigma.powi(2) - variance).abs() < 1e-12);
        // An exact ε is kept with deviation √(1 − ᾱ(s) − σ²): the ε of x = ε√(1 − ᾱ) maps to that.
        let kept = step.sample_weight * (1. - a).sqrt() + step.output_weight;
        assert!((kept.powi(2) + variance - (1. - s)).abs() < 1e-12);
    }

    #[test]
    fn v_prediction_takes_the_same_step() {
        let plain = NoiseSchedule::new(SchedulerConfig::stable_diffusion()).unwrap();
        let config = SchedulerConfig {
            prediction_type: PredictionType::VPrediction,
            rescale_betas_zero_snr: false,
            ..SchedulerConfig::stable_diffusion()
        };
        let velocity = NoiseSchedule::new(config.clone()).unwrap();
        let (original, noise) = (0.7, -1.3);
        for (e, v) in plain.ddim_steps(10, 0.).unwrap().into_iter().zip(velocity.ddim_steps(10, 0.).unwrap()) {
            let (signal, deviation) = (e.alpha.sqrt(), (1. - e.alpha).sqrt());
            let x = signal * original + deviation * noise;
            let by_epsilon = e.sample_weight * x + e.output_weight * noise;
            let by_velocity = v.sample_weight * x + v.output_weight * (signal * noise - deviation * original);
            assert!((by_epsilon - by_velocity).abs() < 1e-12);
        }
        let config = SchedulerConfig { rescale_betas_zero_snr: true, ..config };
        assert!(NoiseSchedule::new(config.clone()).unwrap().ddim_steps(1000, 0.).is_ok());
        let config = SchedulerConfig { prediction_type: PredictionType::Epsilon, ..config };
        assert!(NoiseSchedule::new(config).unwrap().ddim_steps(1000, 0.).is_err());
    }
}
