//! DDIM inversion: from an image to the noise that the sampler would have made it from.
//!
//! Inversion-DPO, arXiv 2507.11554, equation 9 (with ᾱ under the root, as in the paper's figure), and its released
//! script: the step that arrives at t starts from s = t − ⌊1000/N⌋,
//! x_t = √ᾱ(t) x₀ + √(1 − ᾱ(t)) ε, x₀ = (x_s − √(1 − ᾱ(s)) ε)/√ᾱ(s). The exact ε would be that at (x_t, t), which is
//! not known yet; it is taken at x_s, with the label t in the script and s in the paper.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{NoiseSchedule, estimates, weighted_sum};
use crate::{Error, Result};

/// Which timestep the network is told while it looks at x_s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InverseLabel {
    /// t, as in the released script; the more accurate of the two.
    #[default]
    Destination,
    /// s, as the paper reads.
    Source,
}

/// One step of an inversion, as plain numbers: `next = sample_weight · sample + output_weight · output`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DdimInverseStep {
    /// Timestep that the network is told.
    pub label: usize,
    /// Training timestep of the result.
    pub timestep: usize,
    /// ᾱ of the sample.
    pub source_alpha: f64,
    /// ᾱ of the result.
    pub alpha: f64,
    pub sample_weight: f64,
    pub output_weight: f64,
    epsilon_weights: (f64, f64),
}

impl DdimInverseStep {
    /// The noisier sample.
    ///
    /// # Errors
    /// The shapes do not agree.
    pub fn next(&self, sample: &Tensor, output: &Tensor) -> Result<Tensor> {
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
    /// The steps of an inversion in their order, from image to noise; they arrive at the sampler's timesteps, ascending.
    ///
    /// # Errors
    /// As [`NoiseSchedule::timesteps`]; a start where nothing of the image is left.
    pub fn ddim_inverse_steps(&self, num_inference_steps: usize, label: InverseLabel) -> Result<Vec<DdimInverseStep>> {
        let mut timesteps = self.timesteps(num_inference_steps)?;
        timesteps.reverse();
        let step = |timestep: usize| {
            let source = self.previous_timestep(timestep, num_inference_steps);
            let source_alpha = self.alpha_cumprod(source)?;
            let alpha = self.alpha_cumprod(timestep as i64)?;
            let (original, epsilon) = estimates(self.config().prediction_type, source_alpha);
            let (to_original, to_epsilon) = (alpha.sqrt(), (1. - alpha).sqrt());
            let step = DdimInverseStep {
                label: match label {
                    InverseLabel::Destination => timestep,
                    // Before the first timestep there is only the first.
                    InverseLabel::Source => source.max(0) as usize,
                },
                timestep,
                source_alpha,
                alpha,
                sample_weight: to_original * original.0 + to_epsilon * epsilon.0,
                output_weight: to_original * original.1 + to_epsilon * epsilon.1,
                epsilon_weights: epsilon,
            };
            if step.sample_weight.is_finite() && step.output_weight.is_finite() {
                Ok(step)
            } else {
                Err(Error::Invalid(format!("an inversion cannot start at timestep {source}: no image is left there")))
            }
        };
        timesteps.into_iter().map(step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::SchedulerConfig;

    fn schedule() -> NoiseSchedule {
        NoiseSchedule::new(SchedulerConfig::stable_diffusion()).unwrap()
    }

    #[test]
    fn the_first_step_is_the_identity_and_labels_differ() {
        let steps = schedule().ddim_inverse_steps(20, InverseLabel::Destination).unwrap();
        assert!((steps[0].sample_weight - 1.).abs() < 1e-15 && steps[0].output_weight.abs() < 1e-15);
        assert_eq!((steps[1].timestep, steps[1].label, steps[19].timestep), (50, 50, 950));
        let paper = schedule().ddim_inverse_steps(20, InverseLabel::Source).unwrap();
        assert_eq!((paper[0].label, paper[1].label), (0, 0));
        assert_eq!(paper[19].label, 900);
    }

    #[test]
    fn equation_9_in_its_printed_form() {
        let step = schedule().ddim_inverse_steps(20, InverseLabel::Destination).unwrap()[7];
        let (s, t) = (step.source_alpha, step.alpha);
        assert!((step.sample_weight - (t / s).sqrt()).abs() < 1e-12);
        assert!((step.output_weight - ((1. - t).sqrt() - (t / s - t).sqrt())).abs() < 1e-12);
    }

    #[test]
    fn a_constant_epsilon_is_inverted_exactly() {
        let schedule = schedule();
        let mut x = 0.37;
        for step in schedule.ddim_inverse_steps(20, InverseLabel::Destination).unwrap() {
            x = step.sample_weight * x + step.output_weight * -1.2;
        }
        for step in schedule.ddim_steps(20, 0.).unwrap() {
            x = step.sample_weight * x + step.output_weight * -1.2;
        }
        assert!((x - 0.37).abs() < 1e-12);
    }

    /// Data N(0, s²) has the exact ε = x √(1 − ᾱ)/(ᾱ s² + 1 − ᾱ); inverting and sampling x = 1 leaves these errors.
    #[test]
    fn gaussian_data_leaves_the_known_error() {
        let schedule = schedule();
        let error = |variance: f64, n: usize, label: InverseLabel| {
            let epsilon = |x: f64, timestep: usize| {
                let alpha = schedule.alpha_cumprod(timestep as i64).unwrap();
                x * (1. - alpha).sqrt() / (alpha * variance + 1. - alpha)
            };
            let mut x = 1.;
            for step in schedule.ddim_inverse_steps(n, label).unwrap() {
                x = step.sample_weight * x + step.output_weight * epsilon(x, step.label);
            }
            for step in schedule.ddim_steps(n, 0.).unwrap() {
                x = step.sample_weight * x + step.output_weight * epsilon(x, step.timestep);
            }
            (x - 1.).abs()
        };
        let (destination, source) = (InverseLabel::Destination, InverseLabel::Source);
        let golden: [(f64, InverseLabel, [f64; 5]); 6] = [
            (0.1, destination, [0.615_30, 0.391_07, 0.213_01, 0.106_56, 0.049_74]),
            (0.1, source, [0.708_14, 0.501_87, 0.320_24, 0.188_77, 0.101_23]),
            (0.5, destination, [0.217_44, 0.096_21, 0.043_35, 0.020_29, 0.009_32]),
            (0.5, source, [0.476_99, 0.283_52, 0.158_93, 0.085_72, 0.043_24]),
            (2.0, destination, [0.037_49, 0.037_12, 0.023_61, 0.013_11, 0.006_53]),
            (2.0, source, [0.343_47, 0.198_26, 0.107_19, 0.056_08, 0.027_47]),
        ];
        for (variance, label, errors) in golden {
            for (n, expected) in [5, 10, 20, 40, 80].into_iter().zip(errors) {
                let got = error(variance, n, label);
                assert!((got - expected).abs() < 6e-6, "s² {variance}, {label:?}, N {n}: {got} for {expected}");
            }
        }
    }
}
