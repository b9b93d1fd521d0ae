//! The noise schedule: how much of the image is left at each timestep, and which timesteps a sampler visits.
//!
//! Source: `diffusers/schedulers/scheduling_ddim.py`; Song et al. 2021, arXiv 2010.02502; zero terminal SNR and the
//! spacings: Lin et al. 2023, arXiv 2305.08891. ᾱ(t), `alphas_cumprod` in code, is the product of 1 − β up to t.
//!
//! All coefficients are f64 numbers, computed once per step and independent of any tensor, so that a path can be
//! replayed bit for bit.

mod ddim;
mod ddim_inverse;
mod euler;

use std::path::Path;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

pub use ddim::DdimStep;
pub use ddim_inverse::{DdimInverseStep, InverseLabel};
pub use euler::{EulerStep, EulerSteps};

use crate::{Error, Result};

/// Published schedules have a thousand; a number beyond this would only cost memory.
const MAX_TIMESTEPS: usize = 1_000_000;

/// `scheduler/scheduler_config.json`, as diffusers' DDIM reads it; keys of other schedulers are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    #[serde(rename = "_class_name")]
    pub class_name: String,
    pub num_train_timesteps: usize,
    pub beta_start: f64,
    pub beta_end: f64,
    pub beta_schedule: BetaSchedule,
    /// Absent: `leading` for DDIM, `linspace` for Euler, as in diffusers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestep_spacing: Option<TimestepSpacing>,
    pub steps_offset: usize,
    /// Whether ᾱ before the first timestep is 1, or ᾱ(0).
    pub set_alpha_to_one: bool,
    pub prediction_type: PredictionType,
    /// Whether DDIM clips its estimate of x₀; Euler's sampler and the inversion (that of the released script) never do.
    /// Absent: true for `DDIMScheduler` and `DDPMScheduler`, as in diffusers, false for schedulers that know no clipping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_sample: Option<bool>,
    /// Bound of the clipping: x₀ is brought into ± this.
    pub clip_sample_range: f64,
    pub thresholding: bool,
    pub rescale_betas_zero_snr: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trained_betas: Option<Vec<f64>>,
    /// Keys that do not change the numbers of DDIM.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl Default for SchedulerConfig {
    /// diffusers' defaults for keys that a file lacks.
    fn default() -> Self {
        Self {
            class_name: "DDIMScheduler".to_owned(),
            num_train_timesteps: 1000,
            beta_start: 0.0001,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
            timestep_spacing: None,
            steps_offset: 0,
            set_alpha_to_one: true,
            prediction_type: PredictionType::Epsilon,
            clip_sample: None,
            clip_sample_range: 1.,
            thresholding: false,
            rescale_betas_zero_snr: false,
            trained_betas: None,
            other: serde_json::Map::new(),
        }
    }
}

impl SchedulerConfig {
    /// The schedule of Stable Diffusion and SDXL, sampled by DDIM as in the released Inversion-DPO script: leading
    /// spacing without offset, ᾱ(0) before the first timestep.
    pub fn stable_diffusion() -> Self {
        Self {
            beta_start: 0.000_85,
            beta_end: 0.012,
            beta_schedule: BetaSchedule::ScaledLinear,
            timestep_spacing: Some(TimestepSpacing::Leading),
            set_alpha_to_one: false,
            clip_sample: Some(false),
            ..Self::default()
        }
    }
}

/// How β grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// β linear in t.
    Linear,
    /// √β linear in t.
    ScaledLinear,
}

/// Which training timesteps a sampler visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepSpacing {
    /// k·⌊1000/N⌋ + offset.
    Leading,
    /// From the last timestep down in steps of 1000/N.
    Trailing,
    /// N values from 0 to the last timestep, both included.
    Linspace,
}

/// What the network predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise ε.
    Epsilon,
    /// v = √ᾱ ε − √(1 − ᾱ) x₀.
    VPrediction,
}

impl PredictionType {
    /// The word for it in modelspec's headers.
    pub fn modelspec(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::VPrediction => "v",
        }
    }
}

/// A noise schedule, ready for use.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseSchedule {
    config: SchedulerConfig,
    alphas_cumprod: Vec<f64>,
    final_alpha_cumprod: f64,
}

impl NoiseSchedule {
    /// Reads `scheduler_config.json` of a scheduler folder.
    ///
    /// # Errors
    /// The file is missing or malformed, or holds a value that is not implemented.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("scheduler_config.json");
        let config: SchedulerConfig = serde_json::from_slice(&fs_err::read(&path)?)
            .map_err(|source| Error::Json { path: path.clone(), source })?;
        Self::new(config).map_err(|error| match error {
            Error::Config { key, message, .. } => Error::Config { path, key, message },
            other => other,
        })
    }

    /// # Errors
    /// A value that is not implemented or makes no sense.
    pub fn new(config: SchedulerConfig) -> Result<Self> {
        let refuse = |key: &str, message: String| {
            Err(Error::Config { path: "scheduler_config.json".into(), key: key.to_owned(), message })
        };
        if !(config.clip_sample_range > 0. && config.clip_sample_range.is_finite()) {
            return refuse("clip_sample_range", format!("{} is no bound to clip at", config.clip_sample_range));
        }
        if config.thresholding {
            return refuse("thresholding", "is not implemented; must be false".to_owned());
        }
        // Of PNDM, Euler, DDPM and their like; they steer samplers that are not these.
        let free = [
            "skip_prk_steps",
            "sample_max_value",
            "dynamic_thresholding_ratio",
            "interpolation_type",
            "use_karras_sigmas",
            "use_exponential_sigmas",
            "use_beta_sigmas",
            "sigma_min",
            "sigma_max",
            "timestep_type",
            "final_sigmas_type",
            "variance_type",
            "solver_order",
            "solver_type",
            "algorithm_type",
            "lower_order_final",
            "euler_at_final",
            "lambda_min_clipped",
            "use_lu_lambdas",
            "use_flow_sigmas",
            "flow_shift",
        ];
        crate::config::check_other("scheduler_config.json", &config.other, &[], &free)?;
        let count = config.num_train_timesteps;
        if !(1..=MAX_TIMESTEPS).contains(&count) {
            return refuse("num_train_timesteps", format!("must lie in 1..={MAX_TIMESTEPS}, not {count}"));
        }
        let betas = match &config.trained_betas {
            Some(betas) if betas.len() == count => betas.clone(),
            Some(betas) => return refuse("trained_betas", format!("{} values for {count} timesteps", betas.len())),
            None => match config.beta_schedule {
                BetaSchedule::Linear => linspace(config.beta_start, config.beta_end, count),
                BetaSchedule::ScaledLinear => linspace(config.beta_start.sqrt(), config.beta_end.sqrt(), count)
                    .into_iter()
                    .map(|root| root * root)
                    .collect(),
            },
        };
        if !betas.iter().all(|beta| (0. ..1.).contains(beta)) {
            return refuse("beta_start", "betas must lie in [0, 1)".to_owned());
        }
        let mut alphas_cumprod: Vec<f64> = betas
            .iter()
            .scan(1., |product, beta| {
                *product *= 1. - beta;
                Some(*product)
            })
            .collect();
        if config.rescale_betas_zero_snr {
            rescale_zero_terminal_snr(&mut alphas_cumprod);
        }
        let final_alpha_cumprod = if config.set_alpha_to_one { 1. } else { alphas_cumprod[0] };
        Ok(Self { config, alphas_cumprod, final_alpha_cumprod })
    }

    /// The configuration that it was made from.
    pub fn config(&self) -> &SchedulerConfig {
        &self.config
    }

    /// The bound that DDIM clips its estimate of x₀ at, where it does.
    pub fn clip_range(&self) -> Option<f64> {
        let by_default = ["DDIMScheduler", "DDPMScheduler"].contains(&self.config.class_name.as_str());
        self.config.clip_sample.unwrap_or(by_default).then_some(self.config.clip_sample_range)
    }

    /// Number of timesteps that the network was trained on.
    pub fn num_train_timesteps(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// ᾱ of a training timestep; before the first one the schedule's final value.
    ///
    /// # Errors
    /// The timestep is beyond the last.
    pub fn alpha_cumprod(&self, timestep: i64) -> Result<f64> {
        match usize::try_from(timestep) {
            Err(_) => Ok(self.final_alpha_cumprod),
            Ok(t) => self.alphas_cumprod.get(t).copied().ok_or_else(|| {
                Error::Invalid(format!("timestep {t} is beyond the schedule's last, {}", self.alphas_cumprod.len() - 1))
            }),
        }
    }

    /// Timesteps of a sampler with `num_inference_steps` steps, the noisiest first.
    ///
    /// # Errors
    /// No step at all, more steps than training timesteps, or an offset that leads beyond the last.
    pub fn timesteps(&self, num_inference_steps: usize) -> Result<Vec<usize>> {
        self.spaced_timesteps(num_inference_steps, self.config.timestep_spacing.unwrap_or(TimestepSpacing::Leading))
    }

    fn spaced_timesteps(&self, num_inference_steps: usize, spacing: TimestepSpacing) -> Result<Vec<usize>> {
        let (train, steps) = (self.num_train_timesteps(), num_inference_steps);
        if steps == 0 || steps > train {
            return Err(Error::Invalid(format!("num_inference_steps must lie in 1..={train}, not {steps}")));
        }
        let timesteps: Vec<usize> = match spacing {
            TimestepSpacing::Leading => {
                let ratio = train / steps;
                (0..steps).rev().map(|k| k * ratio + self.config.steps_offset).collect()
            }
            TimestepSpacing::Trailing => {
                // As numpy's `arange` counts down: its step is the difference of its first two values, rounded.
                let start = train as f64;
                let step = (start - start / steps as f64) - start;
                (0..steps).map(|k| ((start + k as f64 * step).round_ties_even() as usize).max(1) - 1).collect()
            }
            TimestepSpacing::Linspace => linspace(0., (train - 1) as f64, steps)
                .into_iter()
                .rev()
                .map(|t| t.round_ties_even() as usize)
                .collect(),
        };
        match timesteps.iter().find(|&&t| t >= train) {
            None => Ok(timesteps),
            Some(t) => Err(Error::Config {
                path: "scheduler_config.json".into(),
                key: "steps_offset".to_owned(),
                message: format!("{steps} steps would visit timestep {t}, beyond the last, {}", train - 1),
            }),
        }
    }

    /// The timestep from which a step of `num_inference_steps` arrives at `timestep`, or to which it goes when
    /// sampling: ⌊1000/N⌋ earlier, in every spacing; negative before the first.
    pub fn previous_timestep(&self, timestep: usize, num_inference_steps: usize) -> i64 {
        timestep as i64 - (self.num_train_timesteps() / num_inference_steps.max(1)) as i64
    }

    /// √ᾱ(t) x₀ + √(1 − ᾱ(t)) ε, with a timestep for each example.
    ///
    /// # Shapes
    /// `sample`, `noise` and the result `[b, …]`, `timesteps [b]`.
    ///
    /// # Errors
    /// The number of timesteps is not b, or one is beyond the last.
    pub fn add_noise(&self, sample: &Tensor, noise: &Tensor, timesteps: &[usize]) -> Result<Tensor> {
        self.mix(sample, noise, timesteps, |signal, deviation| (signal, deviation))
    }

    /// √ᾱ(t) ε − √(1 − ᾱ(t)) x₀, what a network with v-prediction is trained to give; shapes as in [`Self::add_noise`].
    ///
    /// # Errors
    /// The number of timesteps is not b, or one is beyond the last.
    pub fn velocity(&self, sample: &Tensor, noise: &Tensor, timesteps: &[usize]) -> Result<Tensor> {
        self.mix(sample, noise, timesteps, |signal, deviation| (-deviation, signal))
    }

    fn mix(
        &self,
        sample: &Tensor,
        noise: &Tensor,
        timesteps: &[usize],
        weights: impl Fn(f64, f64) -> (f64, f64),
    ) -> Result<Tensor> {
        let b = sample.dim(0)?;
        if timesteps.len() != b {
            return Err(Error::Invalid(format!("{} timesteps for {b} examples", timesteps.len())));
        }
        let mut of_sample = Vec::with_capacity(b);
        let mut of_noise = Vec::with_capacity(b);
        for &t in timesteps {
            let alpha = self.alpha_cumprod(t as i64)?;
            let (for_sample, for_noise) = weights(alpha.sqrt(), (1. - alpha).sqrt());
            of_sample.push(for_sample as f32);
            of_noise.push(for_noise as f32);
        }
        let mut shape = vec![1; sample.rank()];
        shape[0] = b;
        let column = |values: Vec<f32>| -> Result<Tensor> {
            Ok(Tensor::from_vec(values, shape.as_slice(), sample.device())?.to_dtype(sample.dtype())?)
        };
        Ok((sample.broadcast_mul(&column(of_sample)?)? + noise.broadcast_mul(&column(of_noise)?)?)?)
    }
}

/// Classifier-free guidance: unconditional + g (conditional − unconditional).
///
/// # Errors
/// The shapes do not agree.
pub fn guide(unconditional: &Tensor, conditional: &Tensor, guidance_scale: f64) -> Result<Tensor> {
    let direction = (conditional - unconditional)?;
    Ok((unconditional + (direction * guidance_scale)?)?)
}

/// Weights of the sample and of the network's output in an estimate.
type Weights = (f64, f64);

/// x₀ and ε as weighted sums of the sample at level ᾱ and of the network's output.
fn estimates(prediction_type: PredictionType, alpha: f64) -> (Weights, Weights) {
    let (signal, deviation) = (alpha.sqrt(), (1. - alpha).sqrt());
    match prediction_type {
        PredictionType::Epsilon => ((1. / signal, -deviation / signal), (0., 1.)),
        PredictionType::VPrediction => ((signal, -deviation), (deviation, signal)),
    }
}

/// sample · a + output · b, in this order and rounding everywhere.
pub(crate) fn weighted_sum(sample: &Tensor, output: &Tensor, (a, b): Weights) -> Result<Tensor> {
    Ok((sample.affine(a, 0.)? + output.affine(b, 0.)?)?)
}

fn linspace(start: f64, end: f64, count: usize) -> Vec<f64> {
    let step = if count > 1 { (end - start) / (count - 1) as f64 } else { 0. };
    (0..count).map(|i| if i > 0 && i + 1 == count { end } else { start + step * i as f64 }).collect()
}

/// Algorithm 1 of arXiv 2305.08891: shift and scale √ᾱ so that the last is 0 and the first stays.
fn rescale_zero_terminal_snr(alphas_cumprod: &mut [f64]) {
    let (Some(first), Some(last)) = (alphas_cumprod.first(), alphas_cumprod.last()) else { return };
    let (first, last) = (first.sqrt(), last.sqrt());
    for alpha in alphas_cumprod {
        *alpha = ((alpha.sqrt() - last) * first / (first - last)).powi(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> NoiseSchedule {
        NoiseSchedule::new(SchedulerConfig::stable_diffusion()).unwrap()
    }

    #[test]
    fn alphas_are_those_of_stable_diffusion() {
        let schedule = schedule();
        for (t, expected) in [
            (-1, 0.999_150),
            (0, 0.999_150),
            (12, 0.988_640),
            (50, 0.951_577),
            (100, 0.894_223),
            (250, 0.673_793),
            (500, 0.276_333),
            (750, 0.056_170),
            (948, 0.008_434),
            (950, 0.008_247),
            (975, 0.006_196),
            (999, 0.004_660),
        ] {
            let alpha = schedule.alpha_cumprod(t).unwrap();
            assert!((alpha - expected).abs() < 1e-6, "{t}: {alpha}");
        }
        assert!(schedule.alpha_cumprod(1000).is_err());
    }

    #[test]
    fn timesteps_follow_the_spacing() {
        let mut config = SchedulerConfig::stable_diffusion();
        let of = |config: &SchedulerConfig, n| NoiseSchedule::new(config.clone()).unwrap().timesteps(n);
        assert_eq!(of(&config, 5).unwrap(), [800, 600, 400, 200, 0]);
        assert_eq!(of(&config, 80).unwrap()[0], 948);
        config.steps_offset = 1;
        assert_eq!(of(&config, 4).unwrap(), [751, 501, 251, 1]);
        assert!(of(&config, 1000).is_err());
        config.timestep_spacing = Some(TimestepSpacing::Trailing);
        assert_eq!(of(&config, 3).unwrap(), [999, 666, 332]);
        config.timestep_spacing = Some(TimestepSpacing::Linspace);
        assert_eq!(of(&config, 3).unwrap(), [999, 500, 0]); // 499.5 to the even neighbour
        assert_eq!(of(&config, 1).unwrap(), [0]);
        assert!(of(&config, 0).is_err() && of(&config, 1001).is_err());
    }

    #[test]
    fn zero_terminal_snr_keeps_the_first_and_empties_the_last() {
        let plain = schedule();
        let config = SchedulerConfig { rescale_betas_zero_snr: true, ..SchedulerConfig::stable_diffusion() };
        let rescaled = NoiseSchedule::new(config).unwrap();
        assert!((rescaled.alpha_cumprod(0).unwrap() - plain.alpha_cumprod(0).unwrap()).abs() < 1e-12);
        assert_eq!(rescaled.alpha_cumprod(999).unwrap(), 0.);
    }

    #[test]
    fn noise_is_mixed_per_example() {
        let device = candle_core::Device::Cpu;
        let sample = Tensor::new(&[[[[1f32]]], [[[1.]]]], &device).unwrap();
        let noise = Tensor::new(&[[[[10f32]]], [[[10.]]]], &device).unwrap();
        let mixed = schedule().add_noise(&sample, &noise, &[0, 500]).unwrap().flatten_all().unwrap();
        let expected = [0.999_150_f64, 0.276_333].map(|a| a.sqrt() + 10. * (1. - a).sqrt());
        for (got, want) in mixed.to_vec1::<f32>().unwrap().into_iter().zip(expected) {
            assert!((f64::from(got) - want).abs() < 1e-4, "{got} {want}");
        }
        assert!(schedule().add_noise(&sample, &noise, &[0]).is_err());
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_key() {
        let refused = |text: &str| {
            let config: SchedulerConfig = serde_json::from_str(text).unwrap();
            match NoiseSchedule::new(config) {
                Err(Error::Config { key, .. }) => key,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(r#"{"clip_sample":true,"clip_sample_range":0}"#), "clip_sample_range");
        assert_eq!(refused(r#"{"clip_sample":false,"thresholding":true}"#), "thresholding");
        assert_eq!(refused(r#"{"clip_sample":false,"trained_betas":[0.1]}"#), "trained_betas");
        let euler =
            r#"{"_class_name":"EulerDiscreteScheduler","beta_schedule":"scaled_linear","use_karras_sigmas":false}"#;
        assert!(NoiseSchedule::new(serde_json::from_str(euler).unwrap()).is_ok());
    }
}
